"""What an operator sets: every fault has a message, all of them at once, and nothing starts that is open by mistake."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import ConfigError
from service import settings as configuration
from service.settings import Settings, check_ports, load

OPEN = (
    "settings: the service would answer anybody who reaches {}: set BENTOCAST_KEYS_FILE (make one with `python -m service "
    "key NAME`) or BENTOCAST_TLS_CLIENT_CA, or BENTOCAST_ALLOW_ANONYMOUS=true if something in front of it decides who may "
    "ask, or serve on 127.0.0.1"
)


def loaded(**values: object) -> Settings:
    return load({"BENTOCAST_" + key.upper(): str(value) for key, value in values.items()})


def refused(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(**values)
    assert caught.value.exit_code == 2
    return caught.value.message


class TestRead:
    def test_nothing_set_is_a_service_for_this_machine(self) -> None:
        made = load({"PATH": "/bin", "BENTOML_PORT": "99", "bentocast_port": "98"})
        assert made == Settings()
        assert (made.host, made.port, made.grpc_at, made.workers) == ("127.0.0.1", 3000, 3001, 1)
        assert (made.keys_file, made.tls_cert, made.metrics_access, made.docs_access) == (None, None, "open", "open")

    def test_every_field_is_a_variable(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        given = {
            "host": "0.0.0.0",
            "port": "8080",
            "workers": "4",
            "grpc": "false",
            "grpc_port": "9090",
            "keys_file": str(file),
            "allow_anonymous": "true",
            "metrics_access": "key",
            "docs_access": "off",
            "tls_cert": str(file),
            "tls_key": str(file),
            "tls_client_ca": str(file),
            "record": "no",
            "record_url": "postgresql://u:secret@h/d",
            "record_retention": "30d",
            "max_body_bytes": "2048",
            "max_series": "3",
            "max_values": "4",
            "deadline_seconds": "1.5",
            "max_wait_seconds": "0.25",
            "drain_seconds": "0",
        }
        assert set(given) <= set(Settings.model_fields)
        made = loaded(**given)
        assert (made.host, made.port, made.grpc, made.grpc_at, made.record) == ("0.0.0.0", 8080, False, 9090, False)
        assert (made.deadline_seconds, made.drain_seconds, made.max_series) == (1.5, 0.0, 3)

    def test_a_secret_is_not_shown(self) -> None:
        made = loaded(record_url="postgresql://u:secret@h/d")
        assert "secret" not in repr(made)
        assert made.record_url is not None
        assert made.record_url.get_secret_value().endswith("secret@h/d")

    def test_settings_do_not_change(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Settings().port = 1  # type: ignore[misc]


class TestFaults:
    @pytest.mark.parametrize(
        ("values", "text"),
        [
            (
                {"port": "http"},
                "BENTOCAST_PORT: got 'http', input should be a valid integer, unable to parse string as an",
            ),
            ({"port": "0"}, "BENTOCAST_PORT: got '0', input should be greater than or equal to 1"),
            ({"port": "70000"}, "BENTOCAST_PORT: got '70000', input should be less than or equal to 65535"),
            ({"workers": "0"}, "BENTOCAST_WORKERS: got '0', input should be greater than or equal to 1"),
            ({"grpc": "perhaps"}, "BENTOCAST_GRPC: got 'perhaps', input should be a valid boolean"),
            ({"grpc_port": "none"}, "BENTOCAST_GRPC_PORT: got 'none', input should be a valid integer"),
            ({"metrics_access": "all"}, "BENTOCAST_METRICS_ACCESS: got 'all', input should be 'open', 'key' or 'off'"),
            ({"docs_access": "KEY"}, "BENTOCAST_DOCS_ACCESS: got 'KEY', input should be 'open', 'key' or 'off'"),
            (
                {"max_body_bytes": "10"},
                "BENTOCAST_MAX_BODY_BYTES: got '10', input should be greater than or equal to 1024",
            ),
            ({"deadline_seconds": "0"}, "BENTOCAST_DEADLINE_SECONDS: got '0', input should be greater than 0"),
            ({"deadline_seconds": "nan"}, "BENTOCAST_DEADLINE_SECONDS: got 'nan', input should be "),
            (
                {"max_wait_seconds": "inf"},
                "BENTOCAST_MAX_WAIT_SECONDS: got 'inf', input should be less than or equal to 60",
            ),
            ({"drain_seconds": "-1"}, "BENTOCAST_DRAIN_SECONDS: got '-1', input should be greater than or equal to 0"),
            ({"tls_cert": "x.pem"}, "BENTOCAST_TLS_CERT and BENTOCAST_TLS_KEY belong together, got one of them"),
            ({"tls_key": "x.pem"}, "BENTOCAST_TLS_CERT and BENTOCAST_TLS_KEY belong together, got one of them"),
            ({"tls_client_ca": "ca.pem"}, "BENTOCAST_TLS_CLIENT_CA needs BENTOCAST_TLS_CERT and BENTOCAST_TLS_KEY"),
            ({"tls_cert": "/no/c", "tls_key": "/no/k"}, "/no/c is not a file that can be read"),
            ({"keys_file": "/no/keys"}, "/no/keys is not a file that can be read"),
            ({"keys_file": "/"}, "/ is not a file that can be read"),
            ({"metrics_access": "key"}, "access by key needs BENTOCAST_KEYS_FILE"),
            ({"docs_access": "key"}, "access by key needs BENTOCAST_KEYS_FILE"),
            ({"port": "65535"}, "gRPC would listen on port 65536: set BENTOCAST_GRPC_PORT to a free port, or "),
            (
                {"port": "8080", "grpc_port": "8080"},
                "HTTP and gRPC cannot both listen on port 8080: set BENTOCAST_GRPC_PORT",
            ),
        ],
    )
    def test_each_has_its_text(self, values: dict[str, str], text: str) -> None:
        message = refused(**values)
        assert message.startswith(f"settings: {text}")
        assert ";" not in message

    def test_ports_are_no_matter_to_a_service_without_grpc(self) -> None:
        assert loaded(port=65_535, grpc="false").port == 65_535
        assert loaded(port=8_080, grpc_port=8_080, grpc="false").port == 8_080

    def test_all_come_at_once(self) -> None:
        message = refused(port="x", workers="0", hots="localhost")
        assert message.count(";") == 2
        assert all(name in message for name in ("BENTOCAST_PORT:", "BENTOCAST_WORKERS:", "BENTOCAST_HOTS is unknown"))

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("KEY_FILE", "BENTOCAST_KEY_FILE is unknown, did you mean BENTOCAST_KEYS_FILE?"),
            ("MAX_BODY_BYTE", "BENTOCAST_MAX_BODY_BYTE is unknown, did you mean BENTOCAST_MAX_BODY_BYTES?"),
            ("", "BENTOCAST_ is unknown, known are BENTOCAST_HOST, BENTOCAST_PORT, "),
        ],
    )
    def test_an_unknown_variable_is_most_likely_misspelled(self, name: str, text: str) -> None:
        assert refused(**{name: "1"}).startswith(f"settings: {text}")

    def test_an_unknown_variable_like_no_other(self) -> None:
        message = refused(xyzzy_plugh_qwerty="1")
        assert "BENTOCAST_XYZZY_PLUGH_QWERTY is unknown, known are BENTOCAST_HOST, BENTOCAST_PORT, " in message


class TestOpen:
    """A service that anybody reaches is not open by mistake."""

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
    def test_to_others_without_a_key_is_refused(self, host: str) -> None:
        assert refused(host=host) == OPEN.format(host)

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_to_this_machine_is_served(self, host: str) -> None:
        assert loaded(host=host).host == host

    def test_to_others_with_keys_or_certificates_or_on_purpose(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        assert loaded(host="0.0.0.0", keys_file=file)
        assert loaded(host="0.0.0.0", tls_cert=file, tls_key=file, tls_client_ca=file)
        assert loaded(host="0.0.0.0", allow_anonymous="true")
        assert refused(host="0.0.0.0", tls_cert=file, tls_key=file) == OPEN.format("0.0.0.0")


class TestTls:
    def test_nothing_without_a_certificate(self) -> None:
        assert configuration.tls(Settings()) == {}

    def test_clients_need_a_certificate_where_an_authority_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        (plain,) = configuration.tls(loaded(tls_cert=file, tls_key=file)).values()
        assert (plain["enabled"], plain["ca_certs"], plain["cert_reqs"]) == (True, None, ssl.CERT_NONE)
        (mutual,) = configuration.tls(loaded(tls_cert=file, tls_key=file, tls_client_ca=file)).values()
        assert (mutual["ca_certs"], mutual["cert_reqs"]) == (str(file), ssl.CERT_REQUIRED)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(str(mutual["ciphers"]))
        assert all("GCM" in cipher["name"] or "CHACHA" in cipher["name"] for cipher in context.get_ciphers())


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", *, shared: bool = False) -> Iterator[socket.socket]:
    """A server's socket, with the option that servers set."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((host, 0))
        taken.listen()
        yield taken


class TestPorts:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    @pytest.mark.parametrize("shared", [False, True])
    def test_one_that_somebody_else_has_is_refused(self, host: str, *, shared: bool) -> None:
        """Also one that is offered for sharing: a stranger's calls would come here, and ours go there."""
        with listening(host, shared=shared) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError) as caught:
                check_ports(loaded(host=host, grpc_port=port))
        text = (
            f"gRPC cannot listen on {host}:{port}: Address already in use; set BENTOCAST_GRPC_PORT to a free port, or "
        )
        assert caught.value.message == text + "BENTOCAST_GRPC=false to serve HTTP alone"

    def test_a_free_one_is_left_free(self) -> None:
        with listening() as taken:
            port = taken.getsockname()[1]
        for _ in range(2):
            check_ports(loaded(grpc_port=port))

    def test_one_without_grpc_is_not_looked_at(self) -> None:
        with listening() as taken:
            check_ports(loaded(grpc_port=taken.getsockname()[1], grpc="false"))

    def test_a_name_that_leads_nowhere(self) -> None:
        with pytest.raises(ConfigError, match=r"^gRPC cannot listen on nowhere\.invalid:3001: "):
            check_ports(loaded(host="nowhere.invalid", allow_anonymous="true"))

    def test_a_service_can_be_started_again_at_once(self) -> None:
        """The connections of the one before, which it ended itself, wait a minute in the system for stragglers."""
        with listening(shared=True) as taken:
            address = taken.getsockname()
            with socket.create_connection(address) as client:
                accepted, _ = taken.accept()
                accepted.close()
                assert client.recv(1) == b""
        check_ports(loaded(grpc_port=address[1]))
