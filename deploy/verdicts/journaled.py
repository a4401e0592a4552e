"""The verdict on a rollout of this deployment, as the journal has it."""

from __future__ import annotations

import os

from data.verdict import Check, Outcome, Verdict
from deploy import journals
from deploy.faults import RolloutError
from deploy.journal import Rollout
from deploy.place import Place


def last(number: int | None) -> tuple[Rollout, Verdict]:
    """A rollout and the verdict of its last look; inconclusive if nobody has looked yet.

    Args:
        number: of the rollout; the one under way if None.

    Raises:
        RolloutError: there is none, or the journal cannot be read.
    """
    place = Place.of(os.environ)
    if not os.environ.get(journals.URL) and not place.journal.is_file():
        raise RolloutError(f"no rollouts here: {place.folder} has no journal; DEPLOY_HOME says where another one is")
    journal = journals.of(place)
    try:
        found = journal.under_way() if number is None else journal.rollout(number)
        if found is None:
            which = (
                "no rollout is under way: name one with --rollout"
                if number is None
                else f"there is no rollout {number}"
            )
            raise RolloutError(f"{which}: see `python -m deploy history`")
        look = journal.last(found.id, "look")
    finally:
        journal.close()
    if look is None:
        return found, Verdict.of([Check(name="rollout", outcome=Outcome.INCONCLUSIVE, text="nothing was counted yet")])
    return found, Verdict.model_validate(look.about["verdict"])
