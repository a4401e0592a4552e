"""The page's files: what they may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from service import endpoints

PAGE = endpoints.FILES


def sources(*suffixes: str) -> list[Path]:
    return [path for path in sorted(PAGE.iterdir()) if path.suffix in suffixes]


class Tags(HTMLParser):
    """Every tag of a document with its attributes, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inside += data.strip()


@pytest.fixture(scope="module")
def index() -> Tags:
    return Tags((PAGE / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sources(".html"), ids=lambda path: path.name)
def test_no_document_has_anything_inline(path: Path) -> None:
    """The policy would not let it run."""
    document = Tags(path.read_text(encoding="utf-8"))
    assert document.inside == ""
    assert not [name for _, given in document.tags for name in given if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("path", sources(".html", ".js", ".css", ".svg"), ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    named = re.findall(r"(?:https?:)?//[\w.-]+\.[\w/]+", path.read_text(encoding="utf-8"))
    assert set(named) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for


@pytest.mark.parametrize("path", sources(".js"), ids=lambda path: path.name)
def test_no_script_makes_html_or_code_out_of_data(path: Path) -> None:
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|\beval\b|Function\("
    )
    assert not re.findall(ways, path.read_text(encoding="utf-8"))


def test_every_file_that_is_named_is_there(index: Tags) -> None:
    links = [given[name] for tag, given in index.tags for name in ("src", "href") if name in given and tag != "a"]
    imports = [f"page/{name}" for path in sources(".js") for name in re.findall(r'from "\./([^"]+)"', path.read_text())]
    assert len(links) == 3
    assert len(imports) >= 8
    for link in (*links, *imports):
        assert (PAGE.parent / str(link)).is_file(), link


def test_every_control_has_a_label(index: Tags) -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert index.tags[0] == ("html", {"lang": "en"})
    inside = "".join(re.findall(r"<label.*?</label>", text, re.DOTALL))
    for tag, given in index.tags:
        if tag in ("input", "select", "textarea"):
            assert (
                f'id="{given.get("id")}"' in inside
                or f'value="{given.get("value")}"' in inside
                or (f'<label for="{given["id"]}">' in text)
            )
