"""What Prometheus and Alertmanager are told: taken by their own tools; and which alert mutes which, by a real Alertmanager."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from data import params
from data.errors import ConfigError
from data.params import Params
from monitoring import alerts, servers
from tests.monitoring.servers import alertmanager, program, wait_for

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config() -> Params:
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def folder(config: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("conf")
    servers.write(made, config, servers.Addresses(made / "targets.json"), {})
    return made


def test_prometheus_takes_its_configuration(folder: Path) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", folder / servers.PROMETHEUS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("environ", [{}, {servers.WEBHOOK: "https://chat.example/hook/s3cret"}])
def test_alertmanager_takes_its_configuration(config: Params, tmp_path: Path, environ: dict[str, str]) -> None:
    servers.write(tmp_path, config, servers.Addresses(tmp_path / "targets.json"), environ)
    file = tmp_path / servers.ALERTMANAGER
    done = subprocess.run([program("amtool"), "check-config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 receivers" in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [({"severity": "page"}, "pages"), ({"severity": "ticket"}, "tickets"), ({"severity": "odd"}, "tickets")],
)
def test_alerts_go_by_their_severity(folder: Path, labels: dict[str, str], receiver: str) -> None:
    asked = [f"{name}={value}" for name, value in labels.items()]
    done = subprocess.run(
        [program("amtool"), "config", "routes", "test", f"--config.file={folder / servers.ALERTMANAGER}", *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == receiver, done.stderr


def test_what_mutes_is_limited_to_its_own_and_names_alerts_that_are_there(config: Params) -> None:
    names = {rule["alert"] for rule in alerts.alerts(config)}
    found = servers.alertmanager(None)["inhibit_rules"]
    assert found
    for rule in found:
        assert rule["equal"]
        source = re.findall(r'"(.*)"', rule["source_matchers"][0])[0]
        target = re.compile(re.findall(r'"(.*)"', rule["target_matchers"][0])[0])
        assert source in names
        assert {name for name in names if target.fullmatch(name)} - {source}
        assert not target.fullmatch(source), f"{source} mutes itself"


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), servers.alertmanager(None)) as url:
        yield url


SERVICE, EXPORTER = {"job": "bentocast"}, {"job": "monitoring", "instance": "m"}
ELSEWHERE = {"namespace": "another"}
MUTED = [
    ("ServiceDown", SERVICE, "InstanceDown", SERVICE | {"instance": "a"}, True),
    ("ServiceDown", SERVICE, "MlTestFailed", EXPORTER | {"test": "quality"}, True),
    ("ServiceDown", SERVICE, "MlTestInconclusive", EXPORTER | {"test": "quality"}, True),
    ("ServiceDown", SERVICE, "MlTestStale", EXPORTER | {"test": "quality"}, False),
    ("ServiceDown", SERVICE | ELSEWHERE, "MlTestFailed", EXPORTER | {"test": "quality"}, False),
    ("TargetMissing", SERVICE, "MlTestFailed", EXPORTER | {"test": "quality"}, True),
    ("TargetMissing", {"job": "pushgateway"}, "MlTestFailed", EXPORTER | {"test": "quality"}, False),
    ("InputsDrifted", EXPORTER | {"test": "invariants"}, "MlTestFailed", EXPORTER | {"test": "invariants"}, True),
    ("InputsDrifted", EXPORTER | {"test": "invariants"}, "MlTestFailed", EXPORTER | {"test": "quality"}, False),
    ("RecordDown", SERVICE | {"instance": "a"}, "RecordDropsForecasts", SERVICE, True),
]


@pytest.mark.parametrize(("source", "its", "target", "labels", "muted"), MUTED)
def test_one_alert_mutes_what_follows_from_it_and_no_other(
    manager: str,
    source: str,
    its: dict[str, str],
    target: str,
    labels: dict[str, str],
    muted: bool,  # noqa: FBT001
) -> None:
    """By a real Alertmanager; what another case left is resolved first."""

    def tell(name: str, told: dict[str, str], **ends: str) -> None:
        asked = [{"labels": {"alertname": name} | told, **ends}]
        httpx.post(f"{manager}/api/v2/alerts", json=asked, trust_env=False).raise_for_status()

    def found() -> dict[str, list[str]]:
        answer = httpx.get(f"{manager}/api/v2/alerts", trust_env=False).raise_for_status().json()
        return {one["labels"]["alertname"]: one["status"]["inhibitedBy"] for one in answer}

    # Alerts are looked at in their order: once the last pair is muted, what the first one mutes is known.
    last = {"job": "last"}
    pairs = [(source, its), (target, labels), ("LatencyBudgetBurns", last), ("LatencyBudgetBurnsSlowly", last)]
    try:
        for name, told in pairs:
            tell(name, told)
        wait_for(lambda: bool(found().get("LatencyBudgetBurnsSlowly")), "the last alert is not muted")
        assert bool(found()[target]) is muted
        assert not found()[source]
    finally:
        for name, told in pairs:
            tell(name, told, endsAt="2020-01-01T00:00:00Z", startsAt="2019-01-01T00:00:00Z")
        wait_for(lambda: not found(), "the alerts do not end")


def test_a_webhook_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hook"
    file.write_text("https://chat.example/hook/s3cret\n")
    assert servers.webhook({servers.WEBHOOK_FILE: str(file)}) == "https://chat.example/hook/s3cret"
    assert servers.webhook({}) is None
    file.unlink()
    with pytest.raises(ConfigError, match=r"ALERT_WEBHOOK_FILE: cannot read .*hook: No such file"):
        servers.webhook({servers.WEBHOOK_FILE: str(file)})


def test_what_is_no_webhook_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        servers.webhook({servers.WEBHOOK: "s3cret"})
    assert caught.value.message == (
        "ALERT_WEBHOOK: what it holds is no address, wanted one that begins with https:// or http://"
    )


def test_optional_servers_are_left_out(tmp_path: Path) -> None:
    made = servers.prometheus(servers.Addresses(tmp_path / "targets.json", alertmanager=None, pushgateway=None))
    assert "alerting" not in made
    assert [job["job_name"] for job in made["scrape_configs"]] == ["deployment", "monitoring", "prometheus"]
    assert Path(made["scrape_configs"][0]["file_sd_configs"][0]["files"][0]).is_absolute()
