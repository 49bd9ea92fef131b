"""The reports of two sample checkpoints in every form, as the files in golden/ hold them.

`python -m tests.report.golden_reports` writes those files again, after a change that is meant.
"""

from __future__ import annotations

import dataclasses
import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

import embcompress
from embcompress.report import RENDERERS, render
from embcompress.report.terminal import render_terminal

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "words": ("words/model.pt", {"bases": 16, "labels": SAMPLES / "words" / "vocabulary.txt"}),
        "kinships": ("kinships-complex/model.safetensors", {"ratio": 8}),
    }
)
# Name -> a file of sample_checkpoints, and how it is compressed.
FORMS = (".txt", *RENDERERS)
FIGURE = re.compile(r"<svg.*?</svg>", re.DOTALL)
STYLE = re.compile(r"(?<=<style>).*(?=</style>)", re.DOTALL)
LETTERS = re.compile(r">([^<]+)</text>")


def make_reports(name: str) -> dict[str, str]:
    """Compress as one of RUNS, and give the report in every form: ending -> text, with times, paths and hash masked.

    Of figures only the letters are kept: where matplotlib puts a path differs from version to version. The style of the
    page is left out, which the tests of the page look at in a browser.
    """
    source, options = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        result = embcompress.approximate(
            SAMPLES / source, output=Path(folder) / "output.safetensors", device="cpu", **options
        )
    masked = dataclasses.replace(
        result,
        input=dataclasses.replace(result.input, path=f"folder/{Path(source).name}"),
        output=dataclasses.replace(result.output, path="folder/output.safetensors", sha256="hash"),
        tables=tuple(dataclasses.replace(table, seconds=0.5) for table in result.tables),
    )
    texts = {ending: render(masked, ending) for ending in RENDERERS}
    texts[".html"] = FIGURE.sub(lambda figure: f"<svg>{' '.join(LETTERS.findall(figure[0]))}</svg>", texts[".html"])
    texts[".html"] = STYLE.sub("", texts[".html"])
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(render_terminal(masked), crop=False)
    assert isinstance(console.file, io.StringIO)
    return texts | {".txt": console.file.getvalue()}


def main() -> None:
    """Write the files."""
    GOLDEN.mkdir(exist_ok=True)
    for name in RUNS:
        for ending, text in make_reports(name).items():
            (GOLDEN / f"{name}{ending}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
