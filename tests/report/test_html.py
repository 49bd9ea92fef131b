"""The report as a page: it holds all it shows, loads nothing, and reads well on a phone and at a desk."""

from __future__ import annotations

import dataclasses
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from embcompress.report import render
from embcompress.report.document import document_of
from embcompress.report.document.compression import FIGURED_MAX
from embcompress.report.document.model import SizesDrawing
from embcompress.report.figures import BAR_LETTERS, COLORS, render_figure
from embcompress.report.names import Name, shortened, spelled, text_of
from embcompress.results import Gate, WorstRow
from tests.report.browser import CHROMEDRIVER, CHROMIUM, Browser, open_browser
from tests.report.hostile import HOSTILE
from tests.report.results import every_result, full_approximation, full_table

ADDRESS = re.compile(r"(?:https?:)?//|www\.|url\((?!#)|@import|javascript:", re.IGNORECASE)
VOID = {"meta", "wbr", "br", "img", "link", "input"}


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and that it is open."""
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element of a figure that holds nothing."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data

    @property
    def tags(self) -> list[str]:
        """The names of the elements, those left out that only let a long name go on in the next line."""
        return [tag for tag, _ in self.elements if tag != "wbr"]


@cache
def page_of(command: str) -> str:
    """Render the page of a command's result, whose names do no harm."""
    return render(every_result()[command], ".html")


@pytest.mark.parametrize("command", every_result())
def test_render_html_is_whole_and_loads_nothing(command: str) -> None:
    """Elements close in order, ids are there once, references find them, and no address or script is in the page."""
    text = page_of(command)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & set(page.tags)
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert not ADDRESS.search(value or "")
            if name in {"href", "xlink:href"}:
                assert (value or "").removeprefix("#") in ids
            for reference in re.findall(r"url\(#([^)]*)\)", value or ""):
                assert reference in ids
            if name in {"aria-labelledby", "aria-describedby"}:
                assert value in ids
        if attributes.get("role") == "img":
            assert re.search(r"\d", attributes["aria-label"] or "")
    style = text[text.index("<style>") : text.index("</style>")]
    assert not ADDRESS.search(style)


def test_render_html_says_what_a_person_asks() -> None:
    """What was compressed, by how much, how good, where it is bad and what failed stand in this order."""
    page = Page(page_of("evaluate"))
    words = " ".join(page.text.split())
    places = [
        words.index(part)
        for part in (
            "entities.weight-compressed beside entities.weight, 15.71x smaller",
            "1 of 3 gates and 1 of 3 checks failed.",
            "11 MB → 700 kB",
            "10.4 MB → 675 kB",
            "error.relative > 0.2",
            "the original has 9 rows, and the artifact is made for 7",
            "Link prediction",
            "2000 rows of norm 1 to 1.3",
            "Worst rows",
        )
    ]
    assert places == sorted(places)
    assert "Error against norm" in words
    assert "Error by norm" not in words  # its grid, which a figure stands for
    labels = [attributes["aria-label"] for _, attributes in page.elements if attributes.get("role") == "img"]
    assert "Histogram of the error of 20000 rows: median 0.1834, p99 0.3127, largest 0.4821." in labels
    assert "Bytes of 3 tables: 10.4 MB before, 675 kB after." in labels
    assert len(labels) == 3 + 4 + 4  # of all tables, and of the two that were measured
    assert page.tags.count("svg") == len(labels)


def test_document_of_many_tables_draws_the_largest() -> None:
    """Of thirty tables the twelve largest have figures of their own, and all have their numbers."""
    tables = tuple(dataclasses.replace(full_table(f"layer{size}"), bytes_before=size) for size in range(30))
    document = document_of(dataclasses.replace(full_approximation(), tables=tables))
    details = [section for section in document.sections if section.is_detail]
    figures = {text_of(section.title): len(section.figures) for section in details}
    assert figures == {f"layer{size}": 4 * (size >= 30 - FIGURED_MAX) for size in range(30)}
    assert all(section.facts[0].value == "0.2031" for section in details)


def test_render_html_leaves_colours_to_the_page() -> None:
    """Figures have no colour of their own: each is a variable that the style has in light and in dark."""
    text = render(full_approximation(), ".html")
    assert text == page_of("approximate")  # the same result, the same bytes
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}|font-family|DejaVu", figures)
    used = set(re.findall(r"var\(--([\w-]+)\)", figures))
    assert {"ink", "muted", "line", "accent", "bad"} <= used <= set(COLORS)
    light, dark = text.split("prefers-color-scheme: dark")
    assert all(f"--{name}:" in light and f"--{name}:" in dark for name in COLORS)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_render_html_is_safe_from_names(name: str) -> None:
    """Any name leaves the same elements with the same attributes, and no character that is not printed."""
    for command in ("inspect", "backfill", "reconstruct"):
        text = render(every_result(name)[command], ".html")
        page, expected = Page(text), Page(page_of(command))
        assert page.tags == expected.tags
        assert [set(one) for _, one in page.elements if one] == [set(one) for _, one in expected.elements if one]
        assert all(char.isprintable() or char == "\n" for char in text)


def test_render_html_is_safe_from_labels_gates_and_tables() -> None:
    """All names at once as tables, tied names, labels, expressions and paths are as harmless as numbers are."""

    def tags_with(names: Sequence[str]) -> list[str]:
        table = full_table(names[0])
        assert table.error is not None
        rows = tuple(WorstRow(number, name, 0.5) for number, name in enumerate(names))
        lone = dataclasses.replace(table, error=None, spectrum=None, neighbours=None, solver_remarks=())
        tables = (
            dataclasses.replace(
                table, tied_names=tuple(names), error=dataclasses.replace(table.error, worst_rows=rows)
            ),
            *(dataclasses.replace(lone, name=name) for name in names[1:]),
        )
        gates = tuple(Gate(name, f"table {name}", None, passed=False) for name in names)
        result = dataclasses.replace(full_approximation(names[0]), tables=tables, gates=gates)
        text = render(result, ".html")
        assert all(char.isprintable() or char == "\n" for char in text)
        return Page(text).tags

    assert tags_with(list(HOSTILE.values())) == tags_with([f"name{number}" for number in range(len(HOSTILE))])


def test_render_figure_shows_names_as_they_are() -> None:
    """Every name above a bar is its letters, spelled out and shortened: no markup, no formula."""
    names = [name for name in HOSTILE.values() if name.strip()]
    drawing = SizesDrawing(tuple(map(Name, names)), (1000,) * len(names), (10,) * len(names))
    figure = ET.fromstring(render_figure(drawing))
    shown = [element.text for element in figure.iter("text")][::2]
    assert [one.strip() for one in shown if one] == [
        shortened(spelled(name), limit=BAR_LETTERS - len("1 kB → 10 B")).strip() for name in names
    ]


def test_render_html_shows_names_as_they_are() -> None:
    """Markup in a name is text on the page."""
    name = "<b>&amp;'\"{{ x }}"
    assert name in Page(render(full_approximation(name), ".html")).text


def test_page_needs_no_library_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn where matplotlib is not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert render(full_approximation(), ".html") == page_of("approximate")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all pages."""
    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        pytest.skip(f"no browser: {CHROMIUM} and {CHROMEDRIVER} are Debian's chromium and chromium-driver")
    with open_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the page of every result, with short names and with long ones that break well or not at all."""
    folder = tmp_path_factory.mktemp("pages")
    long = every_result("name_of_a.table/" * 40 + "x" * 800)
    texts = {command: page_of(command) for command in every_result()}
    texts |= {f"{command}-long": render(long[command], ".html") for command in long if command != "evaluate"}
    for command, text in texts.items():
        (folder / f"{command}.html").write_text(text, encoding="utf-8")
    return {command: folder / f"{command}.html" for command in texts}


WIDER = """
const wide = [];
for (const element of document.querySelectorAll('main *')) {
  const box = element.getBoundingClientRect();
  if (!element.closest('.box') && !element.closest('svg') && box.right > innerWidth + 0.5) wide.push(element.tagName);
}
for (const text of document.querySelectorAll('svg text')) {
  const box = text.getBoundingClientRect(), card = text.closest('section').getBoundingClientRect();
  if (box.left < card.left || box.right > card.right) wide.push(text.textContent);
}
return wide;
"""  # elements that reach beyond the page, and letters of figures beyond their section
DARK = "return getComputedStyle(document.body).backgroundColor;"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_page_opens_without_complaint(browser: Browser, pages: Mapping[str, Path], width: int, is_dark: bool) -> None:
    """No message, no request, nothing wider than the window, in either scheme, of any result and of long names."""
    for command, page in pages.items():
        browser.open(page, width=width, is_dark=is_dark)
        seen = browser.look(page)
        assert (seen.problems, seen.requests) == ((), ()), command
        sizes = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert sizes == [width, width], command
        assert browser.run(WIDER) == [], command
    assert browser.run(DARK) == ("rgb(15, 19, 23)" if is_dark else "rgb(245, 246, 248)")


def test_browser_tells_what_a_page_asks_for(browser: Browser, tmp_path: Path) -> None:
    """A page with a script that fails and a picture from elsewhere is caught: the test above can fail."""
    page = tmp_path / "bad.html"
    page.write_text("<img src='missing.png'><script>throw new Error('seen')</script><p style='width:999px'>x")
    browser.open(page, width=360, is_dark=False)
    seen = browser.look(page)
    assert any("seen" in problem for problem in seen.problems)
    assert [request.rpartition("/")[2] for request in seen.requests] == ["missing.png"]
    assert browser.run("return document.documentElement.scrollWidth") > 999
