"""Which tables of a checkpoint get rows for new ids, decided without torch."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.exceptions import IdsError, TableError
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, GrowingTable, Part
from embcompress.results import TableHead
from embcompress.tables.recognition import matches
from embcompress.tables.selection import group_tensors, recognised_name, refuse_unmatched
from embcompress.text import quoted

# In the names of tables that differ in whose rows they hold, even where they have equally many.
NAMED_ROLES = ("entit", "relation", "user", "item", "wpe", "pos", "token_type", "segment")
PADDING_ROWS = 7  # a table may have a few more rows than labels: published vocabularies are padded to multiples of 8,
PADDING_SHARE = 32  # those of 30 000 and more by up to 400 rows; here a 32nd of the labels


def plan_growth(
    bases: Sequence[Base], placement: Placement, *, table: Sequence[str] = (), may_be_padded: bool
) -> tuple[GrowingTable, ...]:
    """Find the tables whose rows the ids belong to.

    They are those named, else those recognised that have as many rows as there are ids, or, for labels, a few more.

    Args:
        bases: open; all dense or all compressed.
        placement: the new id of each of their rows.
        table: shell patterns of the tables.
        may_be_padded: whether a table may have more rows than there are labels.

    Raises:
        IdsError: more or fewer ids than a table has rows.
        TableError: no table, tables that differ between bases, dense bases beside compressed ones, a coded table in
            one of several bases, or one that is coded as in schema 1.
    """
    chosen: tuple[Part, ...] = ()
    grown: list[list[Part]] = []
    for base, place in zip(bases, placement.places, strict=True):
        parts = _parts_of(base)
        if not grown:
            chosen = _choose(parts, base, count=len(place), table=table, may_be_padded=may_be_padded)
            grown = [[part] for part in chosen]
            continue
        by_name = {name: part for part in parts for name in part.table.names}
        for found, first in zip(grown, chosen, strict=True):
            part = by_name.get(first.table.name)
            if part is None:
                raise TableError(f"{base.path} has no table {first.table.name!r}, which {bases[0].path} has.")
            _check_alike(first, part)
            found.append(part)
    tables = []
    for found in grown:
        _refuse_windowed(found[0])
        padding = []
        for part, place in zip(found, placement.places, strict=True):
            padding.append(part.table.rows - len(place))
            if not 0 <= padding[-1] <= (_padding_max(len(place)) if may_be_padded else 0):
                raise _wrong_count(part, len(place))
        tables.append(GrowingTable(tuple(found), tuple(padding)))
    return tuple(tables)


def _parts_of(base: Base) -> list[Part]:
    parts = []
    for table in base.artifact.tables if base.artifact else ():
        assert base.artifact is not None
        if table.matrix is not None:
            continue  # a new relation's matrix cannot be drawn like a row
        factors = base.artifact.factors(table)
        parts.append(Part(table, factors, base, is_recognised=True))
    for group in group_tensors(base.dense, file=base.checkpoint.file):
        if group.is_matrix:
            stored, name, is_table = group.stored, recognised_name(group), group.verdict.is_table
            tied = tuple(other for other in group.names if other != name)
            head = TableHead(name, tied, stored.shape[0], stored.shape[1:], stored.dtype)
            parts.append(Part(head, (stored,), base, is_table))
    return parts


def _choose(
    parts: Sequence[Part], base: Base, *, count: int, table: Sequence[str], may_be_padded: bool
) -> tuple[Part, ...]:
    """Choose the tables of the first base."""
    if table:
        refuse_unmatched("--table", table, [name for part in parts for name in part.table.names], path=base.path)
        return tuple(part for part in parts if matches(table, part.table.names))
    recognised = [part for part in parts if part.is_recognised]
    exact = [part for part in recognised if part.table.rows == count]
    if not exact and may_be_padded and len({part.table.rows for part in recognised}) == 1:  # of several none is guessed
        exact = [part for part in recognised if 0 < part.table.rows - count <= _padding_max(count)]
    if not exact:
        if len(recognised) == 1:
            raise _wrong_count(recognised[0], count)
        listed = (
            ", ".join(f"{part.table.name!r} has {part.table.rows}" for part in recognised) or "no table is recognised"
        )
        raise IdsError(
            f"no table in {base.path} has {count} rows, as many as ids were given: {listed}.",
            hint=f"`embcompress inspect {quoted(base.path)}` lists its tables; --table names one.",
        )
    kinds = {next((kind for kind in NAMED_ROLES if kind in part.table.name.lower()), "") for part in exact}
    if len(kinds) > 1:
        raise TableError(
            f"several tables in {base.path} have {count} rows: {', '.join(repr(part.table.name) for part in exact)}.",
            hint="Say with --table whose ids these are.",
        )
    return tuple(exact)


def _padding_max(count: int) -> int:
    """Tell how many rows without a label pass for padding."""
    return PADDING_ROWS + count // PADDING_SHARE


def _check_alike(first: Part, part: Part) -> None:
    for one in (first, part):
        if one.is_coded:
            raise TableError(
                f"table {first.table.name!r} is stored in few bits in {one.base.path}: it can grow from one base "
                "alone.",
                hint=f"Restore it: `embcompress reconstruct {quoted(one.base.path)}`, likewise the other bases if they "
                "are compressed; backfill these, and approximate again.",
            )
    for what, mine, other in (
        ("shape", first.table.shape, part.table.shape),
        ("dtype", first.table.dtype, part.table.dtype),
        ("coding", first.coding, part.coding),
        ("dtype of weights", first.stored.dtype, part.stored.dtype),
        ("dtype of bases", first.bases and first.bases.dtype, part.bases and part.bases.dtype),
    ):
        if mine != other:
            raise TableError(
                f"table {first.table.name!r} has {what} {mine} in {first.base.path} and {other} in {part.base.path}.",
                hint="Bring the bases into one form first.",
            )


def _refuse_windowed(part: Part) -> None:
    if part.compressed is not None and part.compressed.is_windowed:
        raise TableError(
            f"table {part.table.name!r} in {part.base.path} is stored in few bits in the way of schema 1, to which no "
            "rows are added any more.",
            hint=f"Restore it: `embcompress reconstruct {quoted(part.base.path)}`, backfill that, and approximate "
            "again.",
        )


def _wrong_count(part: Part, count: int) -> IdsError:
    rows = part.table.rows
    if count < rows:
        which = f"row {count} has none" if count == rows - 1 else f"rows {count}..{rows - 1} have none"
    else:
        which = f"the last {count - rows} have no row"
    return IdsError(
        f"table {part.table.name!r} in {part.base.path} has {rows} rows, and {count} ids were given: {which}."
    )
