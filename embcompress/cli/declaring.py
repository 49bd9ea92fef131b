"""The declaration of an option as a manual would write it, and the panels of the help that options stand in."""

from __future__ import annotations

from typing import Any

import typer

# In the order in which the parameters of a command stand.
SIZE, ROWS, TABLES, OUTPUT, QUALITY = "Size", "Rows", "Tables", "Output", "Quality and gates"
ADVANCED = "Advanced"


def option(spec: str, panel: str, text: str, **more: Any) -> Any:
    """Declare an option as a manual would write it, `-o --output FILE`, with its panel and its text in the help."""
    words = spec.split()
    names = [word for word in words if word.startswith("-")]
    metavar = words[-1] if words[-1] not in names else None
    return typer.Option(*names, metavar=metavar, rich_help_panel=panel, help=text, **more)
