"""API keys: hashes at rest, several of them, changed while the service runs."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ConfigError
from service import keys
from service.keys import Keys, UnauthorizedError, of_headers

WANTS = "this service wants an API key: send the header 'authorization: Bearer KEY' or 'x-api-key: KEY'"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(path: Path, *lines: str) -> None:
    """A file whose time is not that of the one before, however quick the test is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("".join(line + "\n" for line in lines))
    os.utime(path, ns=(before + 1, before + 1))


class TestMade:
    def test_key_is_long_and_never_the_same(self) -> None:
        made = {keys.make("ann")[0] for _ in range(20)}
        assert len(made) == 20
        assert all(re.fullmatch(r"bc_[\w-]{43}", key) for key in made)

    def test_file_holds_the_hash_and_not_the_key(self, tmp_path: Path) -> None:
        key, line = keys.make("ann@example.org")
        write(tmp_path / "keys", line)
        text = (tmp_path / "keys").read_text()
        assert key not in text
        assert key.removeprefix("bc_") not in text
        assert text == f"ann@example.org {hashlib.sha256(key.encode()).hexdigest()}\n"
        assert keys.read(tmp_path / "keys") == {keys.hashed(key): "ann@example.org"}

    @pytest.mark.parametrize("name", ["", "a b", "a#b", "n" * 65, "ann\n", "a/b"])
    def test_name_that_the_file_cannot_hold(self, name: str) -> None:
        with pytest.raises(ConfigError) as caught:
            keys.make(name)
        assert caught.value.message == f"name: got {name!r}, wanted 1 to 64 letters, digits, '.', '-', '_' or '@'"


class TestChecked:
    def test_each_of_several_is_known_by_its_name(self, tmp_path: Path, clock: Clock) -> None:
        made = {name: keys.make(name) for name in ("ann", "ben", "carl-7")}
        write(tmp_path / "keys", *(line for _, line in made.values()))
        known = Keys(tmp_path / "keys", clock)
        assert {name: known.check(key) for name, (key, _) in made.items()} == {name: name for name in made}

    @pytest.mark.parametrize("key", [None, "", "bc_", "ann", "\u96ea", "\udcff", "x" * 100_000])
    def test_no_key_and_no_such_one(self, tmp_path: Path, clock: Clock, key: str | None) -> None:
        write(tmp_path / "keys", keys.make("ann")[1])
        with pytest.raises(UnauthorizedError) as caught:
            Keys(tmp_path / "keys", clock).check(key)
        assert (caught.value.message, caught.value.status, caught.value.code) == (WANTS, 401, "unauthorized")

    def test_hash_is_no_key(self, tmp_path: Path, clock: Clock) -> None:
        """Who reads the file cannot ask with what stands in it."""
        _, line = keys.make("ann")
        write(tmp_path / "keys", line)
        for text in (line, line.split()[1]):
            with pytest.raises(UnauthorizedError):
                Keys(tmp_path / "keys", clock).check(text)


class TestChanged:
    """The file changes while the service runs."""

    def test_new_key_is_taken_up_and_an_old_one_withdrawn(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        (old, old_line), (new, new_line) = keys.make("ann"), keys.make("ann-2")
        write(tmp_path / "keys", old_line)
        known = Keys(tmp_path / "keys", clock)
        write(tmp_path / "keys", old_line, new_line)
        with pytest.raises(UnauthorizedError):
            known.check(new)
        clock.now += keys.LOOK_SECONDS
        with caplog.at_level(logging.INFO):
            assert (known.check(new), known.check(old)) == ("ann-2", "ann")
        assert caplog.messages == [f"read 2 API keys from {tmp_path / 'keys'}"]
        write(tmp_path / "keys", new_line)
        clock.now += keys.LOOK_SECONDS
        assert known.check(new) == "ann-2"
        with pytest.raises(UnauthorizedError):
            known.check(old)

    def test_file_put_in_the_place_of_another_is_seen(self, tmp_path: Path, clock: Clock) -> None:
        """As Kubernetes changes a secret: another file under the same name, perhaps of the same size and time."""
        (old, old_line), (new, new_line) = keys.make("ann"), keys.make("ben")
        write(tmp_path / "keys", old_line)
        write(tmp_path / "other", new_line)
        found = (tmp_path / "keys").stat()
        os.utime(tmp_path / "other", ns=(found.st_atime_ns, found.st_mtime_ns))
        known = Keys(tmp_path / "keys", clock)
        (tmp_path / "other").rename(tmp_path / "keys")
        clock.now += keys.LOOK_SECONDS
        assert known.check(new) == "ben"
        with pytest.raises(UnauthorizedError):
            known.check(old)

    def test_line_that_is_none_is_left_out_and_said(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A key whose line was deleted is withdrawn, whatever else somebody wrote there meanwhile."""
        (old, old_line), (new, new_line) = keys.make("ann"), keys.make("ben")
        write(tmp_path / "keys", old_line)
        known = Keys(tmp_path / "keys", clock)
        write(tmp_path / "keys", "carl", new_line)
        clock.now += keys.LOOK_SECONDS
        with caplog.at_level(logging.INFO):
            assert known.check(new) == "ben"
        with pytest.raises(UnauthorizedError):
            known.check(old)
        wanted = "wanted a name and the SHA-256 of a key, as `python -m service key NAME` writes them"
        path = tmp_path / "keys"
        assert caplog.messages == [
            f"API keys: the line is left out: {path}, line 1: {wanted}",
            f"read 1 API keys from {path}",
        ]

    @pytest.mark.parametrize("lines", [[], ["# nobody"], ["ann"]])
    def test_file_without_a_key_refuses_everybody_and_says_so(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, lines: list[str]
    ) -> None:
        key, line = keys.make("ann")
        path = tmp_path / "keys"
        write(path, line)
        known = Keys(path, clock)
        write(path, *lines)
        for _ in range(2):
            clock.now += keys.LOOK_SECONDS
            with pytest.raises(UnauthorizedError):
                known.check(key)
        wanted = f"{path} holds no key: make one with `python -m service key NAME --file {path}`"
        assert caplog.messages[-1] == f"API keys: everybody is refused: {wanted}"
        assert len(caplog.messages) == (2 if "ann" in lines else 1)
        write(path, "# mended", line)
        clock.now += keys.LOOK_SECONDS
        assert known.check(key) == "ann"

    def test_file_that_is_gone_leaves_the_keys_as_they_were(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        key, line = keys.make("ann")
        write(tmp_path / "keys", line)
        known = Keys(tmp_path / "keys", clock)
        (tmp_path / "keys").unlink()
        clock.now += keys.LOOK_SECONDS
        assert known.check(key) == "ann"
        assert "API keys stay as they were" in caplog.text

    def test_file_is_looked_at_no_more_often_than_needed(
        self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, line = keys.make("ann")
        write(tmp_path / "keys", line)
        looked: list[Path] = []
        known = Keys(tmp_path / "keys", clock)
        monkeypatch.setattr(keys, "_stamp", looked.append)
        for _ in range(1_000):
            clock.now += keys.LOOK_SECONDS / 500
            known.check(key)
        assert 1 <= len(looked) <= 2


class TestRead:
    def test_comments_and_empty_lines(self, tmp_path: Path) -> None:
        mark = "0" * 64
        (tmp_path / "keys").write_text(f"# ours\n\n  \nann  {mark} # since May\r\n")
        assert keys.read(tmp_path / "keys") == {mark: "ann"}

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("ann", 1),
            ("ann 123", 1),
            (f"ann {'0' * 63}", 1),
            (f"ann {'A' * 64}", 1),
            (f"{'0' * 64}", 1),
            (f"a b {'0' * 64}", 1),
            (f"ann {'0' * 64}\nbc_key", 2),
            (f"# x\n\nann {'0' * 64} {'0' * 64}", 3),
        ],
    )
    def test_line_that_is_none_is_named_and_not_shown(self, tmp_path: Path, text: str, line: int) -> None:
        """It may be a key that somebody put there by mistake."""
        path = tmp_path / "keys"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            keys.read(path)
        wanted = "wanted a name and the SHA-256 of a key, as `python -m service key NAME` writes them"
        assert caught.value.message == f"{path}, line {line}: {wanted}"

    @pytest.mark.parametrize("text", ["", "\n", "# nobody yet\n"])
    def test_file_without_a_key(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "keys"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            Keys(path)
        wanted = f"{path} holds no key: make one with `python -m service key NAME --file {path}`"
        assert caught.value.message == wanted

    @pytest.mark.parametrize("make", [Path.absolute, Path.mkdir, lambda path: path.write_bytes(b"\xff")])
    def test_file_that_cannot_be_read(self, tmp_path: Path, make: object) -> None:
        path = tmp_path / "keys"
        assert callable(make)
        make(path)
        with pytest.raises(ConfigError) as caught:
            Keys(path)
        assert caught.value.message.startswith(f"cannot read the API keys in {path}: ")


class TestHeaders:
    @pytest.mark.parametrize(
        ("authorization", "api_key", "key"),
        [
            (None, None, None),
            (b"Bearer abc", None, "abc"),
            (b"bearer  abc ", None, "abc"),
            (b"BEARER abc", None, "abc"),
            (b"Bearer", None, None),
            (b"Bearer ", None, ""),
            (b"Basic YTpi", None, None),
            (b"abc", None, None),
            (None, b"abc", "abc"),
            (b"Bearer abc", b"xyz", "xyz"),
            (None, b"\xff", "\xff"),
        ],
    )
    def test_key(self, authorization: bytes | None, api_key: bytes | None, key: str | None) -> None:
        assert of_headers(authorization, api_key) == key

    @given(authorization=st.none() | st.binary(), api_key=st.none() | st.binary())
    def test_any_bytes_have_a_hash(self, authorization: bytes | None, api_key: bytes | None) -> None:
        key = of_headers(authorization, api_key)
        assert key is None or len(keys.hashed(key)) == 64
