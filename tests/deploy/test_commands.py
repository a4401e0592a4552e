"""What commands say of things that are not there, and with which code they end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import BentocastError
from deploy import __main__ as commands
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in (*BENTOML, "ignore:The `__get_pydantic_core_schema__`")]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment without anything, and signals as they were."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "deployment"))
    monkeypatch.delenv("DEPLOY_JOURNAL_URL", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("tag", ["nothing:none", "no tag!"])
@pytest.mark.parametrize("command", [("lineage",), ("sbom",), ("render", "kubernetes")], ids=lambda words: words[0])
def test_a_bento_that_is_not_there(command: tuple[str, ...], tag: str) -> None:
    with pytest.raises(BentocastError, match=f"BentoML's store holds no Bento '{tag}': see them with") as err:
        commands.main([*command, tag])
    assert err.value.exit_code == 6


@pytest.mark.parametrize(("number", "said"), [([], "no rollout yet"), (["7"], "no rollout 7")])
def test_a_report_of_a_rollout_that_is_not_there(number: list[str], said: str) -> None:
    """As `verdict` says it."""
    with pytest.raises(BentocastError, match=f"there is {said}: see `python -m deploy history`") as err:
        commands.main(["report", *number])
    assert err.value.exit_code == 10
