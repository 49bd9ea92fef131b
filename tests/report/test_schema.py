"""The schema of the JSON report: kept in docs/, made from the dataclasses, and held by every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import embcompress
from embcompress.exceptions import EmbcompressError
from embcompress.report.json import render_json, render_json_failure
from embcompress.report.schema import report_schema
from embcompress.results import Result
from tests.report.schemas import strict

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_checkpoints"
KEPT = ROOT / "docs" / "report.schema.json"
TRANSE = SAMPLES / "kinships-transe" / "trained_model.pkl"
WORDS = SAMPLES / "words" / "model.pt"


def test_schema_in_docs_is_that_of_the_dataclasses() -> None:
    """The schema that users read is made from the code, by `make schema`."""
    assert json.loads(KEPT.read_text()) == report_schema()


def test_schema_is_one() -> None:
    """It follows the dialect that it names, and describes what a reader cannot guess."""
    Draft202012Validator.check_schema(report_schema())
    table = report_schema()["$defs"]["TableErrorReport"]["properties"]
    assert table["relative"]["description"] == "||E - E_stored||_F / ||E||_F."


def approximated(folder: Path, **options: Any) -> Path:
    """Compress the word table into a folder."""
    made = folder / "a.safetensors"
    embcompress.approximate(WORDS, output=made, **options)
    return made


RUNS: dict[str, Callable[[Path], Result]] = {
    "inspect": lambda _: embcompress.inspect(WORDS),
    "approximate by bases": lambda folder: embcompress.approximate(WORDS, bases=4, output=folder / "a.safetensors"),
    "approximate in few bits": lambda folder: embcompress.approximate(
        WORDS, ratio=8, effort="fast", output=folder / "a.safetensors", labels=SAMPLES / "words" / "vocabulary.txt"
    ),
    "approximate matrices": lambda folder: embcompress.approximate(
        SAMPLES / "kinships-rescal" / "trained_model.pkl",
        bases=4,
        bilinear="relation*",
        output=folder / "a.safetensors",
    ),
    "approximate withheld": lambda folder: embcompress.approximate(
        WORDS, bases=4, output=folder / "a.safetensors", fail_if="error.relative > 0"
    ),
    "dry run": lambda folder: embcompress.approximate(WORDS, bases=4, output=folder / "a.safetensors", dry_run=True),
    "evaluate": lambda folder: embcompress.evaluate(WORDS, approximated(folder, ratio=8, effort="fast")),
    "evaluate dry run": lambda folder: embcompress.evaluate(WORDS, approximated(folder, bases=4), dry_run=True),
    "reconstruct": lambda folder: embcompress.reconstruct(approximated(folder, bases=4)),
    "export": lambda folder: embcompress.export(WORDS, "torch:int4", output=folder / "x.safetensors"),
    "verify": lambda folder: embcompress.verify(approximated(folder, bases=4)),
    "sweep": lambda _: embcompress.sweep(TRANSE, table="relation*", effort="fast"),
    "backfill": lambda folder: embcompress.backfill(
        WORDS, max_id=2330, base_ids=numbered(folder, 2325), output=folder / "b.safetensors"
    ),
}


def numbered(folder: Path, count: int) -> Path:
    """Write the ids 0 to count - 1, one a line."""
    path = folder / "ids.txt"
    path.write_text("\n".join(map(str, range(count))))
    return path


@pytest.mark.parametrize("name", RUNS)
def test_every_report_holds_to_the_schema(name: str, tmp_path: Path) -> None:
    """What a command finds is what the schema says, to the last field."""
    document = json.loads(render_json(RUNS[name](tmp_path)))
    schema = json.loads(KEPT.read_text())
    Draft202012Validator(schema).validate(document)
    Draft202012Validator(strict(schema)).validate(document)


def test_failure_holds_to_the_schema() -> None:
    """What is printed for a failure with --json is what the schema says."""
    document = json.loads(render_json_failure(EmbcompressError("no", hint="yes")))
    Draft202012Validator(strict(json.loads(KEPT.read_text()))).validate(document)


def test_schema_refuses_what_is_not_a_report() -> None:
    """A report that lost a number, or that has a text in its place, is told."""
    document = json.loads(render_json(embcompress.inspect(WORDS)))
    validator = Draft202012Validator(json.loads(KEPT.read_text()))
    del document["tables"][0]["bytes"]
    assert not validator.is_valid(document)
    document["tables"][0]["bytes"] = "many"
    assert not validator.is_valid(document)
