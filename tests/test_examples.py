"""The examples run as their docstrings say, and what they print is so."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.pykeen

ROOT = Path(__file__).parent.parent
BACKFILL = ROOT / "examples" / "backfill_nations.py"


def commands_of(script: Path) -> list[str]:
    """Find the commands of a script's docstring that run it: what stands before two spaces or the end of the line."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return re.findall(r"^ +(python .*?)(?:  .*)?$", docstring, re.MULTILINE)


def test_backfill_nations_tells_how_to_run_it() -> None:
    """The docstring has two commands, with frozen and with trainable rows."""
    assert commands_of(BACKFILL) == [
        "python examples/backfill_nations.py",
        "python examples/backfill_nations.py --trainable",
    ]


@pytest.fixture(scope="module")
def printed() -> Iterator[dict[str, str]]:
    """Run the commands in this process, which imports PyKEEN once, and keep what each prints."""
    outputs = {}
    for command in commands_of(BACKFILL):
        _, script, *arguments = shlex.split(command)
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
            patch.setattr(sys, "argv", [script, *arguments])
            runpy.run_path(str(ROOT / script), run_name="__main__")
        outputs[command] = output.getvalue()
    yield outputs
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("command", commands_of(BACKFILL))
def test_backfill_nations_keeps_what_it_says(command: str, printed: dict[str, str], make_samples: ModuleType) -> None:
    """Frozen rows keep their bits and trainable ones do not; both models learn, and the four know more than chance."""
    from pykeen.datasets import Nations

    lines = printed[command].splitlines()
    names = re.fullmatch(r"trained: 54 triples among (.*)", lines[0])
    assert names is not None
    nations = Nations()
    ids = [nations.training.entity_to_id[name] for name in names[1].split(", ")]
    assert ids == [2, 0, 3, 1]
    assert lines[1] == f"widened: to 14 countries, of which rows {ids} were known"
    assert lines[4] == f"known rows: {'changed' if '--trainable' in command else 'identical to the bit'}"
    figures = dict(re.findall(r"^MRR (.*): (0\.\d{4})$", printed[command], re.MULTILINE))
    assert list(figures) == ["widened, before training", "widened, after training", "from scratch, after training"]
    before, after, scratch = map(float, figures.values())
    known = [nations.training.mapped_triples, nations.validation.mapped_triples]
    chance = make_samples.random_filtered_mrr(nations.testing.mapped_triples, known=known, entities=14)
    assert chance < before < after
    assert after > 1.3 * chance
    assert scratch > 1.3 * chance
