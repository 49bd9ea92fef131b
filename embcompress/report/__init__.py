"""Results to text: one pure function a form, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from embcompress.exceptions import UsageError
from embcompress.report.json import render_json
from embcompress.results import Result

__all__ = ["RENDERERS", "render", "renderer_for"]

RENDERERS: Mapping[str, Callable[[Result], str]] = MappingProxyType({".json": render_json})
# The ending of a report's file -> the function that writes it.


def renderer_for(path: Path) -> str:
    """Choose the renderer of a report by the ending of its file.

    Raises:
        UsageError: no renderer has this ending.
    """
    if path.suffix.lower() not in RENDERERS:
        raise UsageError(
            f"--report {path}: no report ends in {path.suffix or 'nothing'!r}.", hint=f"Use {', '.join(RENDERERS)}."
        )
    return path.suffix.lower()


def render(result: Result, renderer: str) -> str:
    """Render a result with one of RENDERERS."""
    return RENDERERS[renderer](result)
