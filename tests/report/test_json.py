"""The JSON report: the keys of its schema, no NaN, and text that survives."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from embcompress.exceptions import EmbcompressError
from embcompress.report import RENDERERS, render, renderer_for
from embcompress.report.json import is_ok, render_json, render_json_failure
from embcompress.results import (
    ApproximateResult,
    Cosine,
    Gate,
    Histogram,
    InputFile,
    InspectResult,
    NormRatio,
    OutputFile,
    ReconstructResult,
    RowGroup,
    RowRelative,
    Skipped,
    TableErrorReport,
    TableReport,
    Totals,
    WorstRow,
)

TABLE = TableReport(
    name="entities.weight",
    tied_names=("head.weight",),
    rows=3,
    shape=(2,),
    dtype="float32",
    kind="embedding",
    rank=1,
    coding="plain",
    solver="dense",
    solver_reason="small",
    passes=2,
    bytes_before=24,
    bytes_after=20,
    error=TableErrorReport(
        0.25,
        None,
        RowRelative(0.1, 0.2, 0.3, 0.4),
        Cosine(0.9, 0.8, 0.7),
        (WorstRow(2, None, 0.4),),
        norm_ratio=NormRatio(1.0, 0.9, 1.0, 1.1),
        histogram=Histogram((0.0, 0.5), (3,)),
        by_norm=(RowGroup(3, 1.0, 2.0, 0.25),),
    ),
    seconds=0.5,
)
RESULT = ApproximateResult(
    command="approximate",
    input=InputFile("in.pt", 100),
    output=OutputFile("out.safetensors", "ab" * 32, 90),
    tables=(TABLE,),
    skipped=(Skipped("relations.weight", "would grow"),),
    totals=Totals(24, 20, 1.2, 1.1),
)


def test_render_json_has_the_keys_of_schema_1() -> None:
    """Every key of the schema is there, in its order, and none beside them."""
    document = json.loads(render_json(RESULT))
    assert list(document) == [
        "schema_version", "command", "ok", "input", "output", "tables", "skipped", "totals", "gates", "warnings",
        "notes",
        "thresholds",
    ]  # fmt: skip
    assert (document["schema_version"], document["command"], document["ok"]) == (2, "approximate", True)
    assert list(document["input"]) == ["path", "bytes"]
    assert list(document["output"]) == ["path", "sha256", "bytes"]
    (table,) = document["tables"]
    assert list(table) == [
        "name", "tied_names", "rows", "shape", "dtype", "stored_as", "kind", "rank", "coding", "solver",
        "solver_reason", "solver_remarks", "passes", "bytes_before", "bytes_after", "error", "seconds", "matrices",
        "alternative", "coded", "spectrum", "neighbours", "zero_rows", "grade",
    ]  # fmt: skip
    assert table["error"] == {
        "relative": 0.25,
        "optimal_relative": None,
        "weighted_relative": None,
        "unweighted_rows": None,
        "row_relative": {"mean": 0.1, "p50": 0.2, "p99": 0.3, "max": 0.4},
        "cosine": {"mean": 0.9, "p01": 0.8, "min": 0.7},
        "norm_ratio": {"mean": 1.0, "p01": 0.9, "p50": 1.0, "p99": 1.1},
        "worst_rows": [{"id": 2, "label": None, "relative": 0.4}],
        "histogram": {"edges": [0.0, 0.5], "counts": [3]},
        "by_norm": [{"rows": 3, "low": 1.0, "high": 2.0, "relative": 0.25}],
        "by_frequency": None,
    }
    assert document["skipped"] == [{"name": "relations.weight", "reason": "would grow"}]
    assert document["totals"] == {
        "bytes_before": 24,
        "bytes_after": 20,
        "ratio": 1.2,
        "file_ratio": 1.1,
        "header_bytes": 0,
    }
    assert document["gates"] == []


def test_render_json_tells_the_weighted_error() -> None:
    """With row weights the error has a number beside the plain one, which stays as it is."""
    assert TABLE.error is not None
    error = dataclasses.replace(TABLE.error, weighted_relative=0.125)
    table = dataclasses.replace(TABLE, error=error)
    (fields,) = json.loads(render_json(dataclasses.replace(RESULT, tables=(table,))))["tables"]
    assert list(fields["error"])[:3] == ["relative", "optimal_relative", "weighted_relative"]
    assert (fields["error"]["relative"], fields["error"]["weighted_relative"]) == (0.25, 0.125)


def test_render_json_tells_more_of_a_dry_run() -> None:
    """Only a dry run says that it is one, what memory the run needs, and whether its output is there."""
    document = json.loads(render_json(dataclasses.replace(RESULT, dry_run=True, memory_bytes=7)))
    assert (document["dry_run"], document["memory_bytes"], document["output"]["overwrites"]) == (True, 7, False)


def test_render_json_lists_what_inspect_left_out() -> None:
    """The list of an inspected file has `skipped` only where something was left out."""
    result = InspectResult("inspect", InputFile("in.pt", 100), (), (), ())
    assert list(json.loads(render_json(result))) == ["schema_version", "command", "ok", "input", "tables", "others"]
    result = dataclasses.replace(result, skipped=(Skipped("a", "sparse"),))
    assert json.loads(render_json(result))["skipped"] == [{"name": "a", "reason": "sparse"}]


def test_render_json_of_a_reconstruction() -> None:
    """The dense file's report has its input, output and tables."""
    result = ReconstructResult("reconstruct", InputFile("a", 1), OutputFile("b", None, 2), ("t",), 3)
    assert json.loads(render_json(result)) == {
        "schema_version": 2,
        "command": "reconstruct",
        "ok": True,
        "input": {"path": "a", "bytes": 1},
        "output": {"path": "b", "sha256": None, "bytes": 2},
        "tables": ["t"],
        "tensors": 3,
        "skipped": [],
        "warnings": [],
    }


def test_is_ok_needs_every_gate() -> None:
    """One failed gate makes the report not ok, and the gate is in it."""
    gate = Gate("error.relative > 0.2", "entities.weight", 0.25, passed=False)
    result = dataclasses.replace(RESULT, gates=(dataclasses.replace(gate, passed=True), gate))
    document = json.loads(render_json(result))
    assert (is_ok(result), document["ok"]) == (False, False)
    assert document["gates"][1] == {
        "expression": "error.relative > 0.2",
        "table": "entities.weight",
        "value": 0.25,
        "passed": False,
        "is_numeric": True,
    }
    assert is_ok(RESULT)


def test_render_json_failure_has_three_fields() -> None:
    """A failure is its id, message and hint."""
    failure = EmbcompressError("what", hint="do")
    assert json.loads(render_json_failure(failure)) == {
        "schema_version": 2,
        "ok": False,
        "error": {"id": "error", "message": "what", "hint": "do"},
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_render_json_refuses_nan(value: float) -> None:
    """NaN and infinity, which JSON does not have, are never written."""
    with pytest.raises(ValueError):
        render_json(dataclasses.replace(RESULT, totals=Totals(1, 1, value, 1.0)))


@pytest.mark.parametrize("path", ["ü\N{ROCKET}", 'a\nb\x1b[31m"\\', "\udcff\udc80.pt"], ids=ascii)
def test_render_json_keeps_every_path(path: str) -> None:
    """Any name comes back from the document, also that of a file whose name is not UTF-8; the text itself is UTF-8."""
    text = render_json(dataclasses.replace(RESULT, input=InputFile(path, 1)))
    assert json.loads(text.encode())["input"]["path"] == path
    assert "\x1b" not in text


def test_render_json_writes_floats_in_full() -> None:
    """A float comes back to the last bit."""
    text = render_json(dataclasses.replace(RESULT, totals=Totals(1, 1, 1 / 3, 1.0)))
    assert json.loads(text)["totals"]["ratio"] == 1 / 3


def test_renderer_for_goes_by_the_ending() -> None:
    """Every ending of RENDERERS is taken in either case, and renders the result."""
    from pathlib import Path

    for ending in RENDERERS:
        assert renderer_for(Path(f"a.b{ending}")) == renderer_for(Path(f"a.b{ending.upper()}")) == ending
        assert "weight" in render(RESULT, ending)


def test_json_reports_import_no_library_of_other_forms() -> None:
    """What pages and pictures need is imported when one is asked for: a run for --json does not pay for it."""
    lines = (
        "import sys, embcompress.cli.main, embcompress.report.json; print({'matplotlib', 'jinja2'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout == "set()\n"
