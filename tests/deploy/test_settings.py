"""What instances are started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import ConfigError
from deploy import settings

RECORD = Path("/srv/record.db")


def test_they_share_a_record_and_have_ports_of_their_own() -> None:
    given = {"PATH": "/bin", "BENTOCAST_PORT": "3000", "BENTOCAST_HOST": "0.0.0.0", "BENTOCAST_MAX_SERIES": "5"}
    assert settings.of(given, RECORD) == {
        "BENTOCAST_MAX_SERIES": "5",
        "BENTOCAST_RECORD_URL": "sqlite:////srv/record.db",
    }


def test_paths_do_not_depend_on_the_folder() -> None:
    found = settings.of({"BENTOCAST_KEYS_FILE": "keys.json"}, RECORD)
    assert found["BENTOCAST_KEYS_FILE"] == str(Path("keys.json").resolve())


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"BENTOCAST_GRPC": "false"}, "BENTOCAST_GRPC: got 'false', but the router brings gRPC to users: unset it"),
        ({"BENTOCAST_TLS_CERT": "a.pem"}, "BENTOCAST_TLS_CERT: instances listen on 127.0.0.1 alone"),
    ],
)
def test_what_cannot_be_kept_is_refused(given: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigError) as err:
        settings.of(given, RECORD)
    assert fault in err.value.message


def test_whether_there_is_a_record() -> None:
    assert settings.record_url(settings.of({}, RECORD)) == "sqlite:////srv/record.db"
    assert settings.record_url(settings.of({"BENTOCAST_RECORD": "False"}, RECORD)) is None
