"""Results with everything in them, as long runs over real tables give them, made by hand."""

from __future__ import annotations

import dataclasses
import math

from embcompress.results import (
    THRESHOLDS,
    ApproximateResult,
    BackfillResult,
    Check,
    CodedReport,
    Cosine,
    EvaluateResult,
    ExportResult,
    Gate,
    Grade,
    GrownTable,
    Histogram,
    InputFile,
    InspectResult,
    LinkPrediction,
    ListedCompression,
    ListedTable,
    ListedTensor,
    MeanCosine,
    NeighboursReport,
    NormRatio,
    Norms,
    OutputFile,
    Overlap,
    Ranking,
    Recommendation,
    ReconstructResult,
    Result,
    RowGroup,
    RowRelative,
    RowStatisticsReport,
    Skipped,
    SpectrumReport,
    SweepCurve,
    SweepPoint,
    SweepResult,
    SweepTotals,
    SweptTable,
    TableErrorReport,
    TableReport,
    Totals,
    VerifyResult,
    VocabularyReport,
    WorstRow,
)


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
        grade=Grade("good", "neighbours", 0.871),
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
        thresholds=tuple(THRESHOLDS.values()),
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
        thresholds=tuple(THRESHOLDS.values()),
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


def verify_result(name: str = "entities.weight") -> VerifyResult:
    """Make a verification of which one check failed, every name in it the one given."""
    checks = (
        Check("schema", None, passed=True, detail="the header follows schema 2"),
        Check("checksums", name, passed=False, detail=f"{name} was changed"),
    )
    return VerifyResult("verify", InputFile(name, 700), 2, "ef" * 32, None, (name,), 3, checks)


def export_result(name: str = "entities.weight") -> ExportResult:
    """Make an export of one table of an artifact beside a tensor that was left out, every name in it the one given."""
    coded = full_table(name)
    table = dataclasses.replace(
        coded, rank=128, coding="gguf:q4_0", solver=None, solver_reason=None, coded=None, spectrum=None
    )
    return ExportResult(
        "export",
        InputFile(name, 700_000),
        OutputFile(name, "ab" * 32, 1_440_000),
        (table,),
        (Skipped(name, f"GGUF has no type for {name}: left out"),),
        Totals(table.bytes_before, table.bytes_after, 16.0, 0.7 / 1.44),
        kind="gguf:q4_0",
        original=InputFile(name, 11_000_000),
    )


def every_result(name: str = "entities.weight") -> dict[str, Result]:
    """Make a result of every kind: the command -> what it found."""
    return {
        "approximate": full_approximation(name),
        "evaluate": full_evaluation(name),
        "export": export_result(name),
        "backfill": backfill_result(name),
        "inspect": inspect_result(name),
        "reconstruct": reconstruct_result(name),
        "sweep": sweep_result(name),
        "verify": verify_result(name),
    }


def approximate_result(name: str = "entities.weight") -> ApproximateResult:
    """Make a result whose every name is the one given."""
    error = TableErrorReport(
        0.12345,
        0.12344,
        RowRelative(0.1, 0.2, 0.3, 0.4),
        Cosine(0.9876, 0.8, 0.7),
        (WorstRow(2, name, 0.4),),
        norm_ratio=NormRatio(1.0, 0.9, 1.0, 1.1),
        histogram=Histogram((0.0, 0.5), (3,)),
        by_norm=(RowGroup(3, 1.0, 2.0, 0.25),),
    )
    table = TableReport(
        name=name,
        tied_names=(name,),
        rows=5000,
        shape=(4, 6),
        dtype="float32",
        kind="embedding",
        rank=8,
        coding="plain",
        solver="gram",
        solver_reason="small",
        solver_remarks=("a further look",),
        passes=3,
        bytes_before=480_000,
        bytes_after=160_192,
        error=error,
        seconds=0.5,
    )
    return ApproximateResult(
        "approximate", InputFile(name, 1_000_000), OutputFile(name, "ab", 700_000), (table,),
        (Skipped(name, "would grow"),), Totals(480_000, 160_192, 480_000 / 160_192, 2.0),
    )  # fmt: skip


def inspect_result(name: str = "entities.weight") -> InspectResult:
    """Make a list whose every name is the one given."""
    table = ListedTable(name, (name,), 5000, (24,), "float32", 480_000, True, f"named like {name}")
    return InspectResult(
        "inspect",
        InputFile(name, 1_000_000),
        (table,),
        (ListedTensor(name, (), "int64", 8),),
        (Skipped(name, "sparse"),),
        (
            ListedCompression(
                name, (name,), 900, (48,), "float32", "embedding", None, 40, "coded", 2.5, 13_500, 172_800, 0.25
            ),
        ),
    )


def sweep_result(name: str = "entities.weight") -> SweepResult:
    """Make a sweep of one table, every name the one given."""
    coded = (
        SweepPoint(8, 8.25, 232_700, 20, 0.0512, 0.0500, 0.0524, False, 0.0400, None),
        SweepPoint(16, 16.5, 116_300, 12, 0.2415, 0.2400, 0.2430, False, 0.2000, None),
    )
    floats = (SweepPoint(16, 17.1, 112_000, 1, 0.8765, 0.8765, 0.8765, True, 0.2100, None),)
    halves = (SweepPoint(None, 2.0, 960_000, None, 2e-4, 2e-4, 2e-4, True, 1e-38, None),)
    integers = (SweepPoint(None, 7.38, 260_000, None, 0.1234, 0.1200, 0.1268, False, 0.0300, None),)
    curves = (
        SweepCurve("coded", coded),
        SweepCurve("plain float32", floats),
        SweepCurve("plain float16", ()),
        SweepCurve("int8 per row", ()),
        SweepCurve("int4 per row", integers),
        SweepCurve("float16", halves),
    )
    table = SweptTable(
        name, (name,), 20_000, (4, 6), "float32", 1_920_000, 2, 4096, curves, ("plain low rank buys little",), 0.5
    )
    said = Recommendation("coded", 8, 232_700, 0.0512, True, "the largest ratio tried", f"embcompress {name}")
    skipped = (Skipped(name, "is so small"),)
    return SweepResult("sweep", InputFile(name, 10**6), (table,), skipped, SweepTotals(1_920_000, curves), said)
