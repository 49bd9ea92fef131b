"""Results with everything in them, as long runs over real tables give them, made by hand."""

from __future__ import annotations

import dataclasses
import math

from embcompress.results import (
    ApproximateResult,
    BackfillResult,
    Check,
    CodedReport,
    Cosine,
    EvaluateResult,
    Gate,
    GrownTable,
    Histogram,
    InputFile,
    LinkPrediction,
    MeanCosine,
    NeighboursReport,
    NormRatio,
    Norms,
    OutputFile,
    Overlap,
    Ranking,
    ReconstructResult,
    Result,
    RowGroup,
    RowRelative,
    RowStatisticsReport,
    Skipped,
    SpectrumReport,
    TableErrorReport,
    TableReport,
    Totals,
    VocabularyReport,
    WorstRow,
)
from tests.report.test_terminal import inspect_result, sweep_result


def full_table(name: str = "entities.weight", *, label: str | None = None) -> TableReport:
    """Make a coded table with every number that one can have."""
    edges = tuple(0.02 * step for step in range(21))
    counts = tuple(round(4000 * math.exp(-((edge - 0.17) ** 2) / 0.004)) for edge in edges[:-1])
    groups = tuple(RowGroup(2000, 1 + 0.3 * step, 1.3 + 0.3 * step, 0.31 - 0.015 * step) for step in range(10))
    deciles = tuple(RowGroup(2000, 2.0**step - 1, 2.0 ** (step + 1) - 1, 0.29 - 0.014 * step) for step in range(10))
    values = tuple(90 * 0.97**rank for rank in range(1, 129))
    total = sum(value * value for value in values)
    energy = tuple(sum(value * value for value in values[:rank]) / total for rank in range(1, 129))
    error = TableErrorReport(
        0.2031,
        None,
        RowRelative(0.19, 0.1834, 0.3127, 0.4821),
        Cosine(0.9791, 0.9412, 0.8711),
        tuple(
            WorstRow(17 + 31 * number, name if label is None else label, 0.4821 - 0.01 * number) for number in range(10)
        ),
        weighted_relative=0.1655,
        norm_ratio=NormRatio(0.978, 0.911, 0.981, 1.034),
        histogram=Histogram(edges, counts),
        by_norm=groups,
        by_frequency=deciles,
    )
    return TableReport(
        name=name,
        tied_names=(name,),
        rows=20_000,
        shape=(128,),
        dtype="float32",
        kind="embedding",
        rank=72,
        coding="coded",
        solver="gram",
        solver_reason="for the spectrum",
        solver_remarks=("a further look",),
        passes=3,
        bytes_before=10_240_000,
        bytes_after=640_000,
        error=error,
        seconds=12.5,
        coded=CodedReport(57, True, 8, 1.98, 0.1712, 0.2044),
        spectrum=SpectrumReport(True, energy[71], tuple(range(1, 129)), values, energy),
        neighbours=NeighboursReport(10, 100, 0, 0.95, Overlap(0.871, 0.849, 0.893), Overlap(0.842, 0.8, 0.88)),
    )


def full_evaluation(name: str = "entities.weight", *, label: str | None = None) -> EvaluateResult:
    """Make an evaluation with a failed gate and a failed check, every name in it the one given."""
    large = full_table(name, label=label)
    small = dataclasses.replace(
        full_table(f"{name}.2", label=label),
        rows=400,
        bytes_before=204_800,
        bytes_after=34_100,
        coded=None,
        solver=None,
        solver_reason=None,
        solver_remarks=(),
        coding="plain",
        neighbours=None,
    )
    lost = dataclasses.replace(
        full_table(f"{name}.3"), error=None, spectrum=None, neighbours=None, bytes_before=1000, bytes_after=900
    )
    tables = (large, small, lost)
    before, after = sum(table.bytes_before for table in tables), sum(table.bytes_after for table in tables)
    return EvaluateResult(
        "evaluate",
        InputFile(name, 11_000_000),
        InputFile(f"{name}-compressed", 700_000),
        tables,
        Totals(before, after, before / after, 11 / 0.7),
        (
            Check("checksums", None, True, "14 tensors have the checksums that they were written with"),
            Check("tables", lost.name, False, "the original has 9 rows, and the artifact is made for 7"),
            Check("uncompressed_tensors", None, True, "11 tensors are those of the original to the bit"),
        ),
        LinkPrediction(
            "complex", 1074, 8544, Ranking(0.8213, 0.7412, 0.8931, 0.9622), Ranking(0.8107, 0.7281, 0.8852, 0.9591)
        ),
        (
            Gate("neighbours.cosine.overlap < 0.8", large.name, 0.871, passed=True),
            Gate("error.relative > 0.2", large.name, 0.2031, passed=False),
            Gate("totals.ratio < 4", None, before / after, passed=True),
        ),
    )


def full_approximation(name: str = "entities.weight", *, label: str | None = None) -> ApproximateResult:
    """Make a withheld compression of one table, every name in it the one given."""
    table = full_table(name, label=label)
    return ApproximateResult(
        "approximate",
        InputFile(name, 11_000_000),
        OutputFile(name, "ab" * 32, 700_000),
        (table,),
        (Skipped(name, f"would grow, as {name} says"),),
        Totals(table.bytes_before, table.bytes_after, 16.0, 11 / 0.7),
        (Gate("error.relative > 0.2", name, 0.2031, passed=False), Gate(name, None, None, passed=False)),
        withheld=True,
    )


def backfill_result(name: str = "entities.weight") -> BackfillResult:
    """Make a growth of one table, every name in it the one given."""
    rows = RowStatisticsReport(Norms(1.5, 1.4, 2.5, 3.5), MeanCosine(0.25, 0.24, -0.1, -0.2))
    table = GrownTable(
        name, (name,), 120, (4, 6), "float32", "embedding", "plain", 8, 100, 20, 5, 2,
        "gaussian", "normalize", 0.913, rows, rows, 9_600, 11_520, 0.25,
    )  # fmt: skip
    return BackfillResult(
        "backfill",
        InputFile(name, 20_000),
        (InputFile(name, 10_000),),
        OutputFile(name, "cd" * 32, 30_000),
        VocabularyReport(100, 20, 5, 1, (name, "b"), (name,)),
        (table,),
        (Skipped(name, "is no table"),),
        Totals(9_600, 11_520, 9_600 / 11_520, 1.0),
        (f"{name} has 5 rows that nothing names",),
    )


def reconstruct_result(name: str = "entities.weight") -> ReconstructResult:
    """Make a reconstruction, every name in it the one given."""
    return ReconstructResult("reconstruct", InputFile(name, 700), OutputFile(name, "ef" * 32, 11_000), (name,), 3)


def every_result(name: str = "entities.weight") -> dict[str, Result]:
    """Make a result of every kind: the command -> what it found."""
    return {
        "approximate": full_approximation(name),
        "evaluate": full_evaluation(name),
        "backfill": backfill_result(name),
        "inspect": inspect_result(name),
        "reconstruct": reconstruct_result(name),
        "sweep": sweep_result(name),
    }
