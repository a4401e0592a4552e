"""What a worker serves, and under which names; all protocols ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from data.errors import NotFoundError
from data.forecaster import Forecaster
from service import forecasting, rows
from service.decoding import short
from service.forecasting import Answer, Pass
from service.histories import Limits, Question
from service.rows import RowsAnswer, RowsQuestion

AnyQuestion = Question | RowsQuestion
AnyAnswer = Answer | RowsAnswer


@dataclass(frozen=True)
class Served:
    """A model and what is said of it.

    Attributes:
        forecaster: the model.
        model: its name; its trees are served as `rows_model`.
        model_version: its version in MLflow's registry.
        bento: tag of the Bento, or of the service when it is served from the project.
        lineage: what else is known of where it comes from.
        limits: what one request may ask for.
        watch: told of every pass of the model.
    """

    forecaster: Forecaster
    model: str
    model_version: str
    bento: str
    lineage: dict[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    watch: Callable[[Pass], None] = lambda _: None

    @property
    def rows_model(self) -> str:
        """Name under which the trees alone are served."""
        return f"{self.model}-rows"

    @property
    def headers(self) -> dict[str, str]:
        """Sent with every answer, so that it can be traced to the model and the code that made it."""
        return {"x-bento": self.bento, "x-model-name": self.model, "x-model-version": self.model_version}

    def named(self, model: str | None, version: str | None = None) -> str:
        """The model a client means: ours if it names none.

        Raises:
            NotFoundError: nothing of that name and version is served here.
        """
        if model not in (None, "", self.model, self.rows_model):
            raise NotFoundError(
                f"model: got {short(model)}, wanted {self.model!r}, the model served here, or {self.rows_model!r}, its trees "
                "alone",
                param="model",
            )
        if version not in (None, "", self.model_version):
            raise NotFoundError(
                f"version: got {short(version)}, wanted {self.model_version!r}, the one served here", param="version"
            )
        return model or self.model

    def answer(self, questions: Sequence[AnyQuestion]) -> list[AnyAnswer]:
        """Answer many questions in one pass for each kind, in order."""
        histories = [question for question in questions if isinstance(question, Question)]
        matrices = [question for question in questions if isinstance(question, RowsQuestion)]
        made: dict[int, AnyAnswer] = {}
        if histories:
            answers, seen = forecasting.answer(self.forecaster, histories)
            self.watch(seen)
            made.update(zip(map(id, histories), answers, strict=True))
        if matrices:
            made.update(zip(map(id, matrices), rows.answer(self.forecaster, matrices), strict=True))
        return [made[id(question)] for question in questions]
