"""The report as one page that holds everything it shows: no script, no network, no font but the reader's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from embcompress.report.document import document_of
from embcompress.report.document.model import Figure
from embcompress.report.figures import render_figure
from embcompress.report.names import Inline, Name, parts_of, text_of
from embcompress.report.words import WORDS, find_word
from embcompress.results import Result

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

# Of labels and remarks, the words that carry their meaning.
EXPLAINED = re.compile(
    r"\b(bound|optimum|p99|p01|energy|coded|states|kinds?|bits|cosine|neighbours|norm|MRR|grade|passes|tied)\b"
)
PIECES = re.compile(r"[^._/-]*[._/-]|[^._/-]+")  # of a name, each up to where it may be broken


def render_html(result: Result) -> str:
    """Render a result as a page of its own."""
    document = document_of(result)
    anchors = {
        text_of(section.title): f"section-{index}"
        for index, section in enumerate(document.sections, start=1)
        if section.is_detail
    }
    return _template().render(document=document, anchors=anchors if len(anchors) > 1 else {})


@cache
def _template() -> Template:
    """Read the page's template; a name that it lacks is an exception, not a blank."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["line"] = _line
    environment.filters["bare"] = text_of
    environment.filters["drawn"] = _drawn
    environment.filters["linked"] = _linked
    environment.filters["explained"] = _explained
    return environment.from_string((files("embcompress.report") / "page.html.jinja").read_text(encoding="utf-8"))


def _line(inline: Inline) -> Markup:
    """Escape a line; names are set as code."""
    from markupsafe import Markup, escape

    return Markup("").join(
        Markup("<code>{}</code>").format(_with_breaks(part.text)) if isinstance(part, Name) else escape(part)
        for part in parts_of(inline)
    )


def _linked(inline: Inline, anchors: Mapping[str, str]) -> Markup:
    """Link a table in a list of them to where the page looks closer at it."""
    from markupsafe import Markup

    names = [part.text for part in parts_of(inline) if isinstance(part, Name)]
    anchor = anchors.get(names[0]) if len(names) == 1 else None
    return _line(inline) if anchor is None else Markup('<a href="#{}">{}</a>').format(anchor, _line(inline))


def _explained(inline: Inline) -> Markup:
    """Escape a line; words that need a definition carry it."""
    from markupsafe import Markup, escape

    if not isinstance(inline, str):
        return _line(inline)
    pieces = EXPLAINED.split(text_of(inline))
    return Markup("").join(
        Markup('<abbr title="{}">{}</abbr>').format(WORDS[str(find_word(piece))], piece) if index % 2 else escape(piece)
        for index, piece in enumerate(pieces)
    )


def _with_breaks(name: str) -> Markup:
    """Let a long name go on in the next line after its dots and slashes."""
    from markupsafe import Markup

    return Markup("<wbr>").join(PIECES.findall(name))


def _drawn(figure: Figure) -> Markup:
    from markupsafe import Markup

    # It is built as XML from numbers and from text that XML has escaped.
    return Markup(render_figure(figure.drawing))  # noqa: S704
