"""The report as Markdown: its figures where GitHub shows them, and names that stay names."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from embcompress.report import render
from embcompress.report.markdown import LINES_MAX, ROWS_MAX
from embcompress.results import Grade
from tests.report.hostile import HOSTILE
from tests.report.results import every_result, full_approximation, full_evaluation, full_table, inspect_result

LETTERS = {"text", "code_inline", "text_special"}  # tokens that are text, however it is escaped


def tokens_of(text: str) -> list[Token]:
    """Parse as GitHub does: with tables, strikethrough, and HTML let through."""
    tokens: list[Token] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        tokens += [token, *(token.children or [])]
    return tokens


def cells_of(text: str) -> list[list[str]]:
    """Read every row of every table as bare text."""
    rows: list[list[str]] = []
    tokens = tokens_of(text)
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"td_open", "th_open"}:
            rows[-1].append("".join(child.content for child in tokens[index + 1].children or []))
    return rows


@pytest.mark.parametrize("command", every_result())
def test_render_markdown_shows_verdict_and_tables(command: str) -> None:
    """Each result has one heading with its command, and every row of a table has as many cells as its head."""
    text = render(every_result()[command], ".md")
    assert f"embcompress {command}: " in text.splitlines()[0]
    tokens = tokens_of(text)
    heads = [token.tag for token in tokens if token.type == "heading_open"]
    assert heads.count("h2") == 1
    assert any(token.type == "table_open" for token in tokens)
    assert text.count("<details>") == text.count("</details>")
    assert any("entities.weight" in cell for row in cells_of(text) for cell in row[:2])


def test_render_markdown_of_an_evaluation_tells_what_failed_first() -> None:
    """Failed gates and checks stand before those that hold; figures are those of the result."""
    text = render(full_evaluation(), ".md")
    assert text.startswith("## ❌ embcompress evaluate: `entities.weight-compressed` beside `entities.weight`, 15.71x")
    assert "1 of 3 gates and 1 of 3 checks failed." in text
    rows = cells_of(text)
    gates = [row for row in rows if row[0].endswith(("FAILED", "passed"))]
    assert gates[0] == ["❌ FAILED", "error.relative > 0.2", "entities.weight", "0.2031"]
    assert [row[0] for row in gates[1:3]] == ["✅ passed"] * 2
    lost = "the original has 9 rows, and the artifact is made for 7"
    assert ["❌ FAILED", "tables of entities.weight.3", lost] in rows
    assert ["artifact", "0.8107", "0.7281", "0.8852", "0.9591"] in rows
    assert [
        "❌ entities.weight (failed)", "20000 x 128 float32", "10.2 MB", "640 kB", "0.2031", "0.1655", "0.1712",
        "0.3127", "0.9791", "87 % ±2", "good", "72 bases, 1.98 bits",
    ] in rows  # fmt: skip
    assert "- Worst rows 17 `entities.weight` 0.4821, 48 `entities.weight` 0.4721" in text
    assert "worst norm group **0.3100** (2000 rows of norm 1 to 1.3: 1.53 times the error of the table)" in text


@cache
def kinds_of_harmless(command: str) -> list[str]:
    """List what the report of a result is made of whose names do no harm."""
    return [token.type for token in tokens_of(render(every_result()[command], ".md")) if token.type not in LETTERS]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_render_markdown_is_safe_from_names(name: str) -> None:
    """No name, label, expression or reason makes a link, an image, HTML, a heading, a cell or a mention."""
    for command, result in every_result(name).items():
        text = render(result, ".md")
        actual = tokens_of(text)
        kinds = [token.type for token in actual if token.type not in LETTERS]
        assert kinds == kinds_of_harmless(command)
        for token in actual:
            if token.type.startswith("html"):
                assert "example" not in token.content
                assert "alert" not in token.content
            if token.type == "text":  # what GitHub links although it is no markup
                assert not any(one in token.content for one in ("@", "://", "www.", "#1"))
        assert "\n\n" not in name or name not in text
        assert all(char.isprintable() or char == "\n" for char in text)


def test_render_markdown_keeps_names_readable() -> None:
    """A name comes back from its code span as it was, backticks and pipes included."""
    for name in ("a`b", "``x", "a|b", r"a\|b", "a b"):
        rows = cells_of(render(full_approximation(name), ".md"))
        assert any(row[0] == f"❌ {name} (failed)" for row in rows)


def test_render_markdown_stays_small() -> None:
    """Of many tables and matrices only some are shown, the worst first, and the rest is counted."""
    tables = tuple(full_table(f"layer{number}") for number in range(ROWS_MAX + 6))
    worst = dataclasses.replace(tables[20], grade=Grade("poor", "neighbours", 0.13))
    tables = (*tables[:20], worst, *tables[21:])
    text = render(dataclasses.replace(full_approximation(), tables=tables), ".md")
    assert "❌ **poor** neighbours kept 13 % (fair from 50 %): `layer20`" in text
    assert "\n6 more rows are in the other forms of the report.\n" in text
    assert "#### `layer20`" in text
    assert "\n25 more sections are in the other forms of the report.\n" in text
    inspected = inspect_result()
    listed = dataclasses.replace(inspected, tables=inspected.tables * 400, others=inspected.others * 400)
    for one in (text, render(listed, ".md")):
        assert len(one.splitlines()) <= LINES_MAX
        assert len(one.encode()) < 100_000
