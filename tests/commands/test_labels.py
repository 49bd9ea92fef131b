"""Labels and row weights of tables with more rows than labels, through the commands that take them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import embcompress
from embcompress.exceptions import IdsError
from embcompress.results import ApproximateResult, EvaluateResult

ROWS, LABELS = 40, 37


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Save a table of 40 rows, 37 labels in sentencepiece's form, and counts of most of them."""
    values = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(0))
    values[-1] *= 0.01  # which two bases of the others do not hold: a worst row, and one without a label
    save_file({"embedding.weight": values}, tmp_path / "model.safetensors")
    (tmp_path / "m.vocab").write_text("".join(f"piece{row}\t{-row - 0.5}\n" for row in range(LABELS)))
    counts = [*(f"piece{row}\t{100 - row}\n" for row in range(30)), "gone\t1\n"]
    (tmp_path / "counts.tsv").write_text("".join(counts))
    return tmp_path / "model.safetensors"


def assert_labelled(result: ApproximateResult | EvaluateResult) -> None:
    """Hold the labels of the worst rows, the rows without a weight, and the warnings."""
    (table,) = result.tables
    assert table.error is not None
    assert any(row.id >= LABELS for row in table.error.worst_rows)
    for row in table.error.worst_rows:
        assert row.label == (f"piece{row.id}" if row.id < LABELS else None)
    assert table.error.unweighted_rows == 10
    assert result.warnings == (
        "m.vocab was read as piece and score",
        "'embedding.weight' has 40 rows and 37 labels, which were taken for those of rows 0..36",
        "counts.tsv: 1 of 31 labels are not among --labels, and were passed over",
    )


def test_commands_take_more_rows_than_labels(source: Path) -> None:
    """Both tell labels of the rows that have one, weigh the others least, and say so."""
    files = {"labels": source.with_name("m.vocab"), "row_weights": source.with_name("counts.tsv")}
    made = embcompress.approximate(source, bases=2, **files)
    result = embcompress.evaluate(source, made.output.path, **files)
    assert_labelled(made)
    assert_labelled(result)
    weights = torch.tensor([100.0 - min(row, 29) for row in range(ROWS)], dtype=torch.float64)
    alone = source.with_name("weights.txt")
    alone.write_text("".join(f"{weight}\n" for weight in weights.tolist()))
    same = embcompress.approximate(source, bases=2, row_weights=alone, output=source.with_name("same.safetensors"))
    for one, other in ((made, same), (result, same)):
        assert one.tables[0].error is not None
        assert other.tables[0].error is not None
        assert one.tables[0].error.weighted_relative == pytest.approx(other.tables[0].error.weighted_relative, rel=1e-6)
    assert same.tables[0].error is not None
    assert (same.tables[0].error.unweighted_rows, same.warnings) == (0, ())
    report = json.loads(source.with_name("model-2bases.report.json").read_text())
    assert report["warnings"][0] == "m.vocab was read as piece and score"


def test_commands_refuse_fewer_rows_than_labels(source: Path) -> None:
    """A label too many is of another table."""
    made = embcompress.approximate(source, bases=2)
    labels = source.with_name("labels.txt")
    labels.write_text("".join(f"label {row}\n" for row in range(ROWS + 1)))
    message = (
        r"--labels holds 41 labels, and no chosen table has as many rows, or a few more: 'embedding.weight: 40 rows'"
    )
    with pytest.raises(IdsError, match=message):
        embcompress.approximate(source, bases=2, labels=labels, force=True)
    with pytest.raises(IdsError, match=message):
        embcompress.evaluate(source, made.output.path, labels=labels)


def test_dry_run_warns_too(source: Path) -> None:
    """Whatever the size is asked by, a dry run says what the labels were taken for."""
    for size in ({"bases": 2}, {"max_error": 0.5}):
        result = embcompress.approximate(source, dry_run=True, labels=source.with_name("m.vocab"), **size)
        assert result.warnings[0] == "m.vocab was read as piece and score"
