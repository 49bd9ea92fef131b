"""Results to text: one pure function a form, in one table; what a form needs is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from embcompress.exceptions import UsageError
from embcompress.report.json import render_json
from embcompress.results import Result

__all__ = ["RENDERERS", "render", "renderer_for"]


def _render_markdown(result: Result) -> str:
    from embcompress.report.markdown import render_markdown

    return render_markdown(result)


def _render_html(result: Result) -> str:
    from embcompress.report.html import render_html

    return render_html(result)


def _render_junit(result: Result) -> str:
    from embcompress.report.junit import render_junit

    return render_junit(result)


RENDERERS: Mapping[str, Callable[[Result], str]] = MappingProxyType(
    {".json": render_json, ".md": _render_markdown, ".html": _render_html, ".xml": _render_junit}
)
# The ending of a report's file -> the function that writes it.


def renderer_for(path: Path) -> str:
    """Choose the renderer of a report by the ending of its file.

    Raises:
        UsageError: no renderer has this ending.
    """
    ending = path.suffix.lower()
    if ending not in RENDERERS:
        raise UsageError(
            f"--report {path}: no report ends in {path.suffix or 'nothing'!r}.",
            hint=f"Use {', '.join(RENDERERS)}.",
        )
    return ending


def render(result: Result, renderer: str) -> str:
    """Render a result with one of RENDERERS."""
    return RENDERERS[renderer](result)
