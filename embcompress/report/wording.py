"""Numbers as words, the same in every form of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from embcompress.report.names import Command, Name
from embcompress.results import (
    ApproximateResult,
    EvaluateResult,
    ExportResult,
    LinkPrediction,
    ListedCompression,
    Overlap,
    RowGroup,
    SweepCurve,
    SweepPoint,
    TableHead,
    TableReport,
)
from embcompress.text import human_bytes

NOTHING_WRITTEN = "Nothing was written."
HIDDEN_TIMES = 3  # how many times the error of a table its median row has where long rows hide it
HIDDEN_MIN = 0.01  # error of the median row below which there is no warning
BOUND_TIMES_MAX = 100  # times the bound that an error is at most where the bound says something of it
HIDDEN_GATE = "error.row_relative.p50 > 0.1"
TABLES_SHRANK_MIN, FILE_SHRANK_MAX = 4, 1.5  # times smaller, where the rest of a file is what it consists of
DRY_RUN = "Nothing was measured: gates on measured numbers were not judged."


def share(value: float) -> str:
    """Write an error so that a small one is not taken for none.

    Example:
        >>> share(0.12345), share(1e-9)
        ('0.1235', '1.0e-09')
    """
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def percent(value: float) -> str:
    """Write a share of a whole, which is 100 % only where nothing is missing.

    Example:
        >>> percent(0.9876), percent(0.99999), percent(1.0)
        ('98.8 %', '> 99.9 %', '100.0 %')
    """
    shown = f"{100 * value:.1f} %"
    return "> 99.9 %" if shown == "100.0 %" and value < 1 else shown


def counted(count: int, noun: str, *, many: str = "") -> str:
    """Write how many there are of something.

    Example:
        >>> counted(1, "table"), counted(2, "table")
        ('1 table', '2 tables')
    """
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"


def amount(value: float) -> str:
    """Write a norm or a row weight.

    Example:
        >>> amount(0.12345), amount(1023.4), amount(12_345_678.0)
        ('0.123', '1023', '1.23e+07')
    """
    return f"{value:.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def times_smaller(ratio: float) -> str:
    """Write a ratio of bytes."""
    return f"{ratio:.2f}x"


def shape_text(rows: int, shape: Sequence[int], dtype: str) -> str:
    """Write the size of a table."""
    return f"{' x '.join(map(str, (rows, *shape)))} {dtype}"


def table_text(table: TableHead) -> str:
    """Write the size of a table, and how the checkpoint holds it where not as one tensor of its values."""
    size = shape_text(table.rows, table.shape, table.dtype)
    return f"{size} ({table.stored_as})" if table.stored_as else size


def is_exported(table: TableReport) -> bool:
    """Return whether a table is in the form of another program, which is its coding."""
    return table.coding not in {"plain", "coded"}


def has_bases(table: TableReport) -> bool:
    """Return whether a table has bases; one whose own columns are coded or rounded has none."""
    return not is_exported(table) and (table.coded is None or table.coded.is_rotated)


def compression_text(table: ListedCompression) -> str:
    """Say how a table of an artifact is stored, but for its bits."""
    if table.matrix is not None:
        return f"{table.coding}, {table.matrix[0]} x {table.matrix[1]} matrices of rank {table.rank}"
    return f"{table.coding}, {table.rank} {'coded columns' if table.coding == 'coded' else 'bases'}"


def size_text(table: TableReport) -> str:
    """Write in few words what a table is stored as: how many bases, and in how many bits of an entry."""
    if is_exported(table):
        return f"{table.coding}, {_bits(table):.2f} bits"
    bases = [f"{table.rank} bases"] if has_bases(table) else []
    return ", ".join(bases + ([f"{table.coded.bits_per_entry:.2f} bits"] if table.coded else []))


def _bits(table: TableReport) -> float:
    """Compute the bits of an entry, everything counted."""
    return 8 * table.bytes_after / math.prod(table.dense_shape)


def coding_text(table: TableReport) -> str:
    """Describe how the weights of a table are stored."""
    coded = table.coded
    if is_exported(table):
        return size_text(table)
    if coded is None:
        return table.coding
    codes = "window codes" if coded.trellis_states is None else f"{coded.trellis_states} states"
    return f"{codes}, {coded.bits_per_entry:.2f} bits"


def making_text(table: TableReport) -> str:
    """Describe the bases of a table: their number, their solver, and how often the rows were read."""
    if is_exported(table):
        has_factors = table.rank < min(table.rows, math.prod(table.shape))
        return f"{table.rank} bases" if has_factors else "each row by itself"
    bases = f"{table.rank} bases" if has_bases(table) else "no bases"
    solver = f" by the {table.solver} solver" if table.solver and has_bases(table) else ""
    parts = [f"{bases}{solver}"]
    parts += [counted(table.coded.row_kinds, "kind")] if table.coded else []
    parts += [counted(table.passes, "pass", many="passes")] if table.passes else []
    return ", ".join(parts)


def least_word(table: TableReport) -> str:
    """Name what stands beside the error: of coded tables the bound at their bytes, else the least of their rank."""
    return "bound" if table.coded else "optimum"


def least_error(table: TableReport) -> float | None:
    """Give the least error that a table of these bytes or this rank can have, where it is known."""
    if table.coded is not None:
        return table.coded.bound_relative
    return None if table.error is None else table.error.optimal_relative


def overlap_text(overlap: Overlap) -> str:
    """Write the share of neighbours that stay, with half of its confidence band.

    Example:
        >>> overlap_text(Overlap(0.931, 0.913, 0.949)), overlap_text(Overlap(1.0, 1.0, 1.0))
        ('93 % ±2', '100 %')
    """
    half = 50 * (overlap.high - overlap.low)
    shown = (
        f"{100 * overlap.overlap:.0f}" if overlap.overlap in {0, 1} or half >= 0.5 else f"{100 * overlap.overlap:.1f}"
    )
    return f"{shown} %" + (f" ±{half:.0f}" if half >= 0.5 else f" ±{half:.1g}" if half > 0 else "")


def sample_text(table: TableReport) -> str:
    """Say of how many rows the neighbours were looked for, and what the band is where these are a sample."""
    neighbours = table.neighbours
    assert neighbours is not None
    if neighbours.queries >= table.rows:
        return f"all {counted(table.rows, 'row')} compared"
    band = f"{100 * neighbours.confidence:.0f} % band"
    return f"{neighbours.queries} of {counted(table.rows, 'row')} sampled, ± is the {band}"


def worst_group(groups: Sequence[RowGroup]) -> RowGroup | None:
    """Give the group of rows that has the largest error; None where none has one."""
    known = [group for group in groups if group.relative is not None]
    return max(known, key=lambda group: group.relative or 0.0, default=None)


def group_text(group: RowGroup, *, unit: str) -> str:
    """Return which rows a group holds.

    Example:
        >>> group_text(RowGroup(2000, 1.0, 1.3, 0.31), unit="norm")
        '2000 rows of norm 1 to 1.3'
    """
    return f"{counted(group.rows, 'row')} of {unit} {span_text(group)}"


def span_text(group: RowGroup) -> str:
    """Write the norms or the row weights of a group."""
    low, high = amount(group.low), amount(group.high)
    return low if low == high else f"{low} to {high}"


def known_text(scores: LinkPrediction) -> str:
    """Say how many triples were filtered out of the ranking, and how to leave some out where none were."""
    if not scores.known_triples:
        return "no known triples were filtered out of the ranking: --known names files of them"
    return f"{counted(scores.known_triples, 'known triple')} filtered out of the ranking"


def matrices_text(table: TableReport) -> str:
    """Describe how far a bilinear table's matrices differ, and its error as rows over bases in the same bytes."""
    assert table.matrices is not None
    in1, in2 = table.matrices.shape
    text = f"{table.matrices.count} matrices of {in1} x {in2}"
    if table.matrices.relative:
        least, most = min(table.matrices.relative), max(table.matrices.relative)
        text += f", with errors from {share(least)} to {share(most)}"
    other = table.alternative
    if other is not None:
        leave = "" if other.relative is None else f", with an error of at least {share(other.relative)}"
        text += f"; the same bytes would hold {other.rank} shared bases of whole rows{leave}"
    return text


def hidden_error_text(tables: Sequence[TableReport]) -> tuple[str | Name, ...]:
    """Warn of tables whose error tells of a few long rows, while that of most rows is far larger; empty without one.

    The half of the rows with the larger errors then holds less than 1 / HIDDEN_TIMES^2 of the squared norm, for
    its squared error is part of that of the table.
    """
    hidden = [
        (table, table.error)
        for table in tables
        if table.error is not None
        and table.error.row_relative.p50 > max(HIDDEN_TIMES * table.error.relative, HIDDEN_MIN)
    ]
    if not hidden:
        return ()
    table, error = max(hidden, key=lambda pair: pair[1].row_relative.p50)
    where: tuple[str | Name, ...] = () if len(tables) == 1 else ("in ", Name(table.name), ", ")
    others = f", and so in {counted(len(hidden) - 1, 'other table')}" if len(hidden) > 1 else ""
    rows = "rows" if table.matrices is None else "matrices"
    return (
        *where,
        f"long {rows} hide the error of the others: half of the {rows} have an error above "
        f"{percent(error.row_relative.p50)} (error.row_relative.p50), while that of the table is "
        f"{share(error.relative)}{others}. To fail on it: ",
        Command(f"--fail-if '{HIDDEN_GATE}'"),
    )


def hardly_smaller_text(result: ApproximateResult | EvaluateResult) -> str:
    """Say why a file hardly shrank though its tables did; empty where it shrank, or they did not."""
    if isinstance(result, ExportResult):  # whose input may have been smaller than its tables
        return ""
    totals, output = result.totals, result.artifact if isinstance(result, EvaluateResult) else result.output
    if totals.ratio < TABLES_SHRANK_MIN or totals.file_ratio >= FILE_SHRANK_MAX:
        return ""
    others = output.bytes - totals.bytes_after
    return (
        f"the file is only {times_smaller(totals.file_ratio)} smaller: {percent(min(others / result.input.bytes, 1))} "
        f"of it, {human_bytes(others)}, is other tensors, which stay as they are."
    )


def band_text(point: SweepPoint) -> str:
    """Write the error of a point with half of its band, where it has one."""
    return share(point.relative) + ("" if point.exact else f" ±{(point.high - point.low) / 2:.1g}")


def over_text(point: SweepPoint) -> str:
    """Write how many times the bound an error is."""
    assert point.bound_relative
    times = point.relative / point.bound_relative
    return f"{times:.3f}" if times < 100 else f"{times:.0e}"


def has_meaningful_bound(point: SweepPoint) -> bool:
    """Return whether the bound of a point says something: what floats are rounded to is far above it at large sizes."""
    return bool(point.bound_relative) and point.relative < BOUND_TIMES_MAX * (point.bound_relative or 0.0)


def points_by_size(curves: Sequence[SweepCurve]) -> tuple[tuple[float, dict[str, SweepPoint]], ...]:
    """List every size that some way was tried at, the largest first: 1 / size, and the point of each way there."""
    # Methods at the same ratio share a line; one that has a size of its own gets its own.
    lines: dict[tuple[float, str], dict[str, SweepPoint]] = {}
    for curve in curves:
        for point in curve.points:
            own = curve.method if point.target_ratio is None else ""
            lines.setdefault((point.target_ratio or point.ratio, own), {})[curve.method] = point
    return tuple((ratio, point_of) for (ratio, _), point_of in sorted(lines.items(), key=lambda line: line[0]))
