"""What can be known of a run without torch: its tables, the solver of each, how many bytes, how much memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import RankError, TableError
from embcompress.linalg.solvers import SolverChoice, select_solver
from embcompress.recognition import TABLE_DTYPES, Verdict, matches, rank_candidates, recognise
from embcompress.results import Skipped
from embcompress.suggestions import suggest_names
from embcompress.table import Table

STORED_DTYPES = ("same", "float32", "float16", "bfloat16")  # of --dtype
DEFAULT_NEIGHBOURS = 100  # queries of a table: a band of some +-3 %, for the price of two products with 100 columns
WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Group:
    """A tensor of a checkpoint under all its names, and whether it is an embedding table."""

    names: tuple[str, ...]
    stored: StoredTensor
    verdict: Verdict

    @property
    def is_matrix(self) -> bool:
        """Whether it could be factored at all."""
        return self.stored.dtype in TABLE_DTYPES and len(self.stored.shape) >= 2 and self.stored.numel > 0


@dataclass(frozen=True)
class PlannedTable:
    """A table that will be compressed: its rank, the dtype of its factors, its bytes."""

    table: Table
    rank: int
    stored_dtype: str
    matrix: tuple[int, int] | None = None  # (in1, in2), where each matrix of the table is factored by itself

    @property
    def bytes_after(self) -> int:
        """Count the bytes of bases and weights, or of left and right factors."""
        item_bytes = ITEM_BYTES[self.stored_dtype]
        if self.matrix is None:
            return factor_bytes(self.table, self.rank, item_bytes)
        count = self.table.rows * self.table.dim // math.prod(self.matrix)
        return count * sum(self.matrix) * self.rank * item_bytes

    @property
    def rows_rank(self) -> int:
        """Count the shared bases that the same bytes pay for; 0 if not one."""
        item_bytes = ITEM_BYTES[self.stored_dtype]
        pays = self.bytes_after // ((self.table.rows + self.table.dim) * item_bytes)
        return min(pays, self.table.rows, self.table.dim)


@dataclass(frozen=True)
class Plan:
    """The tables of a run in the order of the file, and those that stay dense, with reasons."""

    tables: tuple[PlannedTable, ...]
    skipped: tuple[Skipped, ...]


def group_tensors(tensors: Iterable[StoredTensor]) -> tuple[Group, ...]:
    """Put tensors of equal place together, in the order of the file, and judge each."""
    by_place: dict[object, list[StoredTensor]] = {}
    for stored in tensors:
        # Empty tensors all lie in the same place without being one tensor.
        by_place.setdefault(stored.place if stored.numel else stored.name, []).append(stored)
    groups = []
    for members in by_place.values():
        names = tuple(member.name for member in members)
        first = members[0]
        groups.append(Group(names, first, recognise(names, shape=first.shape, dtype=first.dtype)))
    return tuple(groups)


def factor_bytes(table: Table, rank: int, item_bytes: int) -> int:
    """Count the bytes of `rank` bases and the weights of all rows, in a dtype of `item_bytes`."""
    return rank * (table.rows + table.dim) * item_bytes


def largest_rank(table: Table, item_bytes: int) -> int:
    """Compute the largest rank that the table has and at which its factors are smaller than it; 0 if none is."""
    return min(table.rows, table.dim, (table.nbytes - 1) // ((table.rows + table.dim) * item_bytes))


def plan_tables(
    checkpoint: Checkpoint,
    *,
    bases: int,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    bilinear: Sequence[str] | str = (),
    bilinear_shape: tuple[int, int] | None = None,
) -> Plan:
    """Choose the tables of a checkpoint and what becomes of each.

    Args:
        checkpoint: an open one.
        bases: the number of bases of every table.
        dtype: one of STORED_DTYPES.
        table: shell patterns of the tables to take, or one; empty: those recognised.
        exclude: shell patterns of the tables to leave, or one.
        bilinear: shell patterns of the tables of which each matrix is factored by itself, or one.
        bilinear_shape: (in1, in2) of these matrices, where rows are flat and nothing else tells.

    Raises:
        TableError: no table is chosen, a pattern matches nothing, or a name chosen is not a matrix of floats.
        RankError: a table named in full, or every table chosen, has fewer than `bases` rows or columns or would grow.
    """
    table, bilinear = _as_patterns(table), _as_patterns(bilinear)
    chosen = choose_tables(checkpoint, table=table, exclude=exclude, bilinear=bilinear)
    planned: list[PlannedTable] = []
    skipped: list[Skipped] = []
    most = 0  # the largest number of bases that pays for any of them
    for item in chosen:
        stored_dtype = item.real_dtype if dtype == "same" else dtype
        item_bytes = ITEM_BYTES[stored_dtype]
        if matches(bilinear, (item.name, *item.tied_names)):
            matrix = _matrix_of(item, checkpoint, given=bilinear_shape)
            planned.append(PlannedTable(item, bases, stored_dtype, matrix))
            _check_matrices(planned[-1], checkpoint.path)
            continue
        reason = _why_dense(item, bases, item_bytes)
        if reason:
            best = largest_rank(item, item_bytes)
            most = max(most, best)
            if any(name in table for name in (item.name, *item.tied_names)):
                raise RankError(f"table {item.name!r} in {checkpoint.path} {reason}.", hint=_rank_hint(best))
            skipped.append(Skipped(item.name, reason))
            continue
        planned.append(PlannedTable(item, bases, stored_dtype))
    if not planned:
        what = "; ".join(f"table {item.name!r} {item.reason}" for item in skipped)
        raise RankError(f"with {bases} bases nothing in {checkpoint.path} gets smaller: {what}.", hint=_rank_hint(most))
    return Plan(tuple(planned), tuple(skipped))


def choose_solver(planned: PlannedTable, *, solver: str = "auto", device: str = "cpu") -> SolverChoice:
    """Choose the solver of a table for a device, "cpu" or "cuda...", unless one is asked for."""
    if planned.matrix is not None:
        return SolverChoice("dense", "an exact SVD of each {} x {} matrix".format(*planned.matrix))
    if solver != "auto":
        return SolverChoice(solver, "asked for")
    table = planned.table
    kind = device.partition(":")[0]
    return select_solver(rows=table.rows, dim=table.dim, rank=planned.rank, dtype=table.real_dtype, device=kind)


def _as_patterns(patterns: Sequence[str] | str) -> Sequence[str]:
    """Take one pattern as it is: as a sequence, a string would be one of its letters."""
    return [patterns] if isinstance(patterns, str) else patterns


def choose_tables(
    checkpoint: Checkpoint,
    *,
    table: Sequence[str] | str,
    exclude: Sequence[str] | str,
    bilinear: Sequence[str] | str = (),
) -> tuple[Table, ...]:
    """Choose the tables of a checkpoint, by the patterns of `plan_tables`.

    Raises:
        TableError: none is chosen, a pattern matches nothing, or a name chosen is not a matrix of floats.
    """
    table, exclude, bilinear = (_as_patterns(patterns) for patterns in (table, exclude, bilinear))
    groups = group_tensors(checkpoint.tensors)
    every_name = [name for group in groups for name in group.names]
    for option, patterns in (("--table", table), ("--exclude", exclude), ("--bilinear", bilinear)):
        refuse_unmatched(option, patterns, every_name, path=checkpoint.path)
    chosen = []
    for group in groups:
        named = [name for name in group.names if matches([*table, *bilinear], [name])]
        if matches(exclude, group.names) or not (named or (not table and group.verdict.is_table)):
            continue
        if not group.is_matrix:
            if any(WILDCARDS.isdisjoint(pattern) for pattern in (*table, *bilinear) if pattern in group.names):
                raise TableError(
                    f"{named[0]!r} in {checkpoint.path} is {group.stored.dtype} of shape {group.stored.shape}; "
                    f"a table has at least two axes and one of the dtypes {', '.join(TABLE_DTYPES)}.",
                    hint=f"`embcompress inspect {quoted(checkpoint.path)}` lists the tables.",
                )
            continue
        name = named[0] if named else recognised_name(group)
        others = tuple(other for other in group.names if other != name)
        reason = "asked for" if named else group.verdict.reason
        chosen.append(Table(name, others, group.stored, reason))
    for pattern in bilinear:
        if not any(matches([pattern], (item.name, *item.tied_names)) for item in chosen):
            raise TableError(
                f"--bilinear {pattern} leaves no table in {checkpoint.path}: what it matches is excluded, or no matrix "
                "of floats.",
                hint=f"`embcompress inspect {quoted(checkpoint.path)}` lists the tables.",
            )
    if not chosen:
        raise _nothing_chosen(checkpoint, groups, is_asked=bool(table or exclude))
    return tuple(chosen)


def refuse_unmatched(option: str, patterns: Iterable[str], names: Sequence[str], *, path: Path) -> None:
    """Refuse a pattern that matches no name, and suggest what was meant.

    Raises:
        TableError: there is one.
    """
    for pattern in patterns:
        if not matches([pattern], names):
            close = suggest_names(pattern, names)
            meant = f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise TableError(
                f"{option} {pattern} matches none of the {len(names)} tensors in {path}.",
                hint=meant or f"`embcompress inspect {quoted(path)}` lists them.",
            )


def recognised_name(group: Group) -> str:
    """Of several tied names, choose the first that names a table: the embedding, not the head tied to it."""
    stored = group.stored
    is_table = (recognise((name,), shape=stored.shape, dtype=stored.dtype).is_table for name in group.names)
    return next((name for name, is_one in zip(group.names, is_table, strict=True) if is_one), group.names[0])


def _why_dense(table: Table, bases: int, item_bytes: int) -> str:
    """Say why a table stays dense at this number of bases; empty where it does not."""
    size = f"{table.rows} x {table.dim}" + (" reals" if table.is_complex else "")
    if bases > min(table.rows, table.dim):
        return f"is {size}, so it has at most {min(table.rows, table.dim)} bases, not {bases}"
    after = factor_bytes(table, bases, item_bytes)
    if after >= table.nbytes:
        return f"would grow from {table.nbytes} to {after} bytes: it is {size}, and {bases} bases do not pay"
    return ""


def table_widths(checkpoint: Checkpoint, *, but: int) -> set[int]:
    """List the columns of the recognised tables of a checkpoint, chosen or not, but for those of `but` columns."""
    groups = group_tensors(checkpoint.tensors)
    shapes = [group.stored.shape for group in groups if group.verdict.is_table and group.is_matrix]
    return {shape[1] for shape in shapes if len(shape) == 2} - {but}


def matrix_shape(
    table: Table, *, row_shape: tuple[int, ...] | None = None, widths: Iterable[int] = ()
) -> tuple[int, int] | None:
    """Tell the sides of the matrices that the rows of a table hold; None where nothing tells.

    Args:
        table: (..., in1, in2), or flat, (rows, k * in1 * in2).
        row_shape: what the checkpoint's own module says of a row.
        widths: columns of the other tables: relations of RESCAL and NTN hold d x d matrices for entities of d columns.
    """
    if len(table.shape) >= 2:
        return table.shape[-2], table.shape[-1]
    columns = table.shape[0]
    if row_shape is not None:
        is_matrix = len(row_shape) >= 2 and math.prod(row_shape) == columns
        return (row_shape[-2], row_shape[-1]) if is_matrix else None
    sides = {width for width in widths if width > 1 and columns % width**2 == 0}
    side = math.isqrt(columns)
    if len(sides) == 1:
        (side,) = sides
        return side, side
    is_square = side > 1 and side**2 == columns and table.rows != columns  # a square table may be one matrix itself
    return (side, side) if not sides and is_square else None


def largest_matrix_rank(matrix: tuple[int, int]) -> int:
    """Compute the largest rank at which two factors are smaller than a matrix: below in1 in2 / (in1 + in2)."""
    return min(*matrix, (math.prod(matrix) - 1) // sum(matrix))


def _matrix_of(item: Table, checkpoint: Checkpoint, *, given: tuple[int, int] | None) -> tuple[int, int]:
    if item.is_complex:
        raise TableError(f"--bilinear: table {item.name!r} in {checkpoint.path} is complex, and forms are real.")
    columns = math.prod(item.shape)
    if given is not None and len(item.shape) > 1 and given != item.shape[-2:]:
        raise TableError(
            f"--bilinear-shape {given[0]},{given[1]}: table {item.name!r} in {checkpoint.path} holds "
            f"{item.shape[-2]} x {item.shape[-1]} matrices by its own axes.",
            hint="The option is for flat rows.",
        )
    if given is not None:
        if columns % math.prod(given):
            raise TableError(
                f"--bilinear-shape {given[0]},{given[1]}: the {columns} columns of table {item.name!r} in "
                f"{checkpoint.path} are no multiple of {math.prod(given)}."
            )
        return given
    told = [checkpoint.listing.row_shapes.get(name) for name in (item.name, *item.tied_names)]
    found = matrix_shape(item, row_shape=next(filter(None, told), None), widths=table_widths(checkpoint, but=item.dim))
    if found is None:
        raise TableError(
            f"table {item.name!r} in {checkpoint.path} has rows of {columns} numbers, and nothing tells the sides of "
            "their matrices.",
            hint="Give them by --bilinear-shape IN1,IN2.",
        )
    return found


def _check_matrices(planned: PlannedTable, path: Path) -> None:
    """Refuse ranks that the matrices of a table do not have, or at which it would grow."""
    assert planned.matrix is not None
    (in1, in2), item = planned.matrix, planned.table
    if planned.rank > min(in1, in2) or planned.bytes_after >= item.nbytes:
        narrow = ITEM_BYTES[planned.stored_dtype] / ITEM_BYTES[item.real_dtype]
        even = in1 * in2 / (in1 + in2) / narrow
        most = max(min(in1, in2, math.ceil(even) - 1), 0)
        raise RankError(
            f"table {item.name!r} in {path} holds {in1} x {in2} matrices, which {planned.rank} bases would not make "
            f"smaller: they break even at {even:.4g}.",
            hint=_rank_hint(most),
        )


def _rank_hint(most: int) -> str:
    return f"The largest that pays is --bases {most}." if most else "No number of bases makes it smaller."


def _nothing_chosen(checkpoint: Checkpoint, groups: Sequence[Group], *, is_asked: bool) -> TableError:
    if not checkpoint.tensors:
        return TableError(f"{checkpoint.path} holds no tensors.")
    matrices = [group.stored for group in groups if group.is_matrix]
    candidates = rank_candidates([stored for stored in matrices if _example_rank(stored)])
    if not candidates:
        why = "large enough to get smaller" if matrices else "at all: only integers, vectors and numbers"
        return TableError(
            f"{checkpoint.path} holds no matrix of floats {why}.",
            hint=f"`embcompress inspect {quoted(checkpoint.path)}` lists its {len(groups)} tensors.",
        )
    what = "the patterns given leave no" if is_asked else "no tensor is named like an"
    commands = "\n".join(
        f"  embcompress approximate {quoted(checkpoint.path)} --bases {_example_rank(stored)}"
        f" --table {quoted(stored.name)}"
        f"  # {' x '.join(map(str, stored.shape))} {stored.dtype}"
        for stored in candidates
    )
    return TableError(f"{what} embedding table in {checkpoint.path}.", hint=f"The largest candidates:\n{commands}")


def _example_rank(stored: StoredTensor) -> int:
    table = Table(stored.name, (), stored)
    return min(8, largest_rank(table, ITEM_BYTES[table.real_dtype]))


def quoted(value: Path | str) -> str:
    """Quote a path or a name for a shell."""
    import shlex

    return shlex.quote(str(value))


def human_bytes(count: float) -> str:
    """Write a number of bytes in the largest decimal unit that fits.

    Example:
        >>> human_bytes(1_234_567)
        '1.23 MB'
    """
    if count < 1000:
        return f"{count:.0f} B"
    exponent = min(int(math.log10(count)) // 3, 5)
    value = count / 1000**exponent
    if value >= 999.5 and exponent < 5:
        exponent, value = exponent + 1, value / 1000
    return f"{value:.3g} {'kMGTP'[exponent - 1]}B"
