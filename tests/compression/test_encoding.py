"""The contract of encodings and of their makers: one fit serves any number of writings, and the report is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch

from embcompress.artifact.writer import SafetensorsWriter
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.compression.budget import Budget
from embcompress.compression.budget_search import WithinBudget
from embcompress.compression.coded_budget import CodedWithinBudget
from embcompress.compression.encoding import AnyEncoding, WrittenTable
from embcompress.compression.encoding_maker import EncodingMaker
from embcompress.compression.fixed_rank import FixedRank
from embcompress.compression.plan import choose_solver, plan_tables
from embcompress.tables.selection import choose_tables
from embcompress.tables.source import TableSource

ROWS, SIDE = 400, 6


def make_source(checkpoint: Checkpoint) -> TableSource:
    """Make the source of a checkpoint's tables on the CPU."""
    return TableSource(checkpoint, "cpu", 0, None)


def fix_rank(checkpoint: Checkpoint, *, bilinear: Sequence[str] = ()) -> EncodingMaker:
    """Make encodings of two bases."""
    chosen = choose_tables(checkpoint, table=(), exclude=(), bilinear=bilinear)
    shape = (SIDE, SIDE) if bilinear else None
    plan = plan_tables(checkpoint, chosen, bases=2, bilinear=bilinear, bilinear_shape=shape)
    choices = [choose_solver(table) for table in plan.tables]
    return FixedRank(plan, choices, make_source(checkpoint))


def factor_matrices(checkpoint: Checkpoint) -> EncodingMaker:
    """Make encodings of each matrix by itself."""
    return fix_rank(checkpoint, bilinear=["entity.weight"])


def bound_error(checkpoint: Checkpoint) -> EncodingMaker:
    """Make encodings of weights as floats that leave an error of 0.5 at most."""
    return WithinBudget(
        choose_tables(checkpoint, table=(), exclude=()),
        Budget("max_error", 0.5),
        make_source(checkpoint),
        stored_dtype=lambda table: table.real_dtype,
        named=(),
    )


def code(checkpoint: Checkpoint) -> EncodingMaker:
    """Make encodings as codes that leave an error of 0.5 at most."""
    budget = Budget("max_error", 0.5, is_plain=False)
    return CodedWithinBudget(choose_tables(checkpoint, table=(), exclude=()), budget, make_source(checkpoint), named=())


MAKERS = (fix_rank, factor_matrices, bound_error, code)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Save a table of 400 x 36 normal numbers whose columns weaken."""
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(ROWS, SIDE**2, generator=draw) * 0.8 ** torch.arange(SIDE**2)
    safetensors.torch.save_file({"entity.weight": table}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def write(encoding: AnyEncoding, fitted: object, target: Path) -> tuple[WrittenTable, bytes]:
    """Write a fitted table into a file of its own; also give the file."""
    with SafetensorsWriter(target, fitted.entries, metadata={}, force=True) as writer:
        written = encoding.write(fitted, writer)
        writer.finish({})
        writer.commit()
    return written, target.read_bytes()


@pytest.mark.parametrize("make", MAKERS)
def test_one_fit_is_written_twice_alike(
    path: Path, tmp_path: Path, make: Callable[[Checkpoint], EncodingMaker]
) -> None:
    """Writing leaves nothing in an encoding or a fit: the second file has the same bytes, error and passes."""
    with open_checkpoint(path) as checkpoint:
        (encoding,) = make(checkpoint).encodings()
        fitted = encoding.fit()
        first, first_bytes = write(encoding, fitted, tmp_path / "first")
        second, second_bytes = write(encoding, fitted, tmp_path / "second")
    assert first_bytes == second_bytes
    assert (first.error, first.nbytes, first.work.passes) == (second.error, second.nbytes, second.work.passes)


@pytest.mark.parametrize("make", MAKERS)
def test_report_tells_what_was_written(path: Path, tmp_path: Path, make: Callable[[Checkpoint], EncodingMaker]) -> None:
    """The report has the written table's error, bytes, passes and seconds; before, it has no error."""
    with open_checkpoint(path) as checkpoint:
        maker = make(checkpoint)
        (encoding,) = maker.encodings()
        planned = encoding.planned_report()
        fitted = encoding.fit()
        written, _ = write(encoding, fitted, tmp_path / "file")
        report = encoding.report(written)
        assert maker.accepts([written])
    assert planned.error is None
    assert not maker.skipped
    assert [entry.name for entry in fitted.entries] == [entry.name for entry in encoding.planned_entries()]
    assert (report.error, report.bytes_after) == (written.error, written.nbytes)
    assert (report.passes, report.seconds) == (written.work.passes, written.work.seconds)
    assert report.passes > encoding.earlier.passes
    assert maker.memory() > ROWS * SIDE**2 * 4
