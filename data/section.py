"""What the sections of params.yaml are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data import durations


def _duration(text: str) -> str:
    return durations.name(durations.seconds(text))


Duration = Annotated[str, AfterValidator(_duration)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of params.yaml: no unknown keys, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)
