"""The choice of the tables that get rows for new ids, made without torch."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.exceptions import IdsError, TableError
from embcompress.growth.model_folders import NAMED_ROLES, find_heads, read_configurations
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, BaseTable, GrowingTable
from embcompress.growth.unlabelled import PaddingRequest, retries_for
from embcompress.tables.padding import padding_max, rows_of_labels
from embcompress.tables.recognition import matches
from embcompress.tables.selection import group_tensors, recognised_name, refuse_unmatched
from embcompress.tables.table import Table
from embcompress.text import quoted


def plan_growth(
    bases: Sequence[Base], placement: Placement, *, table: Sequence[str] = (), padding: PaddingRequest
) -> tuple[GrowingTable, ...]:
    """Find the tables whose rows the ids belong to.

    They are those named, else those recognised that have as many rows as there are ids, or, for labels, a few more;
    any number more where an option is on these. Untied heads of a Hugging Face folder go with its embeddings.

    Args:
        bases: open; all dense or all compressed.
        placement: the new id of each of their rows.
        table: shell patterns of the tables.
        padding: the options on rows without a label.

    Raises:
        IdsError: more or fewer ids than a table has rows, or tables of which not all have as many.
        TableError: no table, tables that differ between bases, dense bases beside compressed ones, a coded table in
            one of several bases, or one that is coded as in schema 1.
    """
    chosen: tuple[BaseTable, ...] = ()
    grown: list[list[BaseTable]] = []
    for base in bases:
        parts = _parts_of(base)
        if not grown:
            chosen = _choose(parts, base, placement, table=table, padding=padding)
            grown = [[part] for part in chosen]
            continue
        by_name = {name: part for part in parts for name in part.table.names}
        for alike, first in zip(grown, chosen, strict=True):
            part = by_name.get(first.table.name)
            if part is None:
                raise TableError(f"{base.path} has no table {first.table.name!r}, which {bases[0].path} has.")
            _check_alike(first, part)
            alike.append(part)
    tables = []
    for alike in grown:
        _refuse_windowed(alike[0])
        surplus = [part.table.rows - len(new_ids) for part, new_ids in zip(alike, placement.new_ids, strict=True)]
        for part, first, new_ids, more in zip(alike, grown[0], placement.new_ids, surplus, strict=True):
            is_padded = placement.new is not None and (padding.is_told or more <= padding_max(len(new_ids)))
            if more < 0 or (more and not is_padded):
                raise _wrong_count(part, placement, len(new_ids), padding)
            if first.table.rows != part.table.rows:
                raise IdsError(
                    f"tables {first.table.name!r} and {part.table.name!r} in {part.base.path} have {first.table.rows} "
                    f"and {part.table.rows} rows, and there are {len(new_ids)} labels.",
                    hint="Say with --table whose labels these are.",
                )
        tables.append(GrowingTable(tuple(alike), tuple(surplus)))
    return tuple(tables)


def _parts_of(base: Base) -> list[BaseTable]:
    parts = []
    for table in base.artifact.tables if base.artifact else ():
        assert base.artifact is not None
        if table.matrix is not None:
            continue  # a new relation's matrix cannot be drawn like a row
        factors = base.artifact.factors(table)
        parts.append(BaseTable(table, factors, base, is_recognised=True))
    for group in group_tensors(base.dense, files=base.checkpoint.files, is_whole=base.artifact is None):
        if group.is_matrix:
            stored, name, is_table = group.stored, recognised_name(group), group.verdict.is_table
            tied = tuple(other for other in group.names if other != name)
            head = Table(name, tied, stored).head
            parts.append(BaseTable(head, (stored,), base, is_table))
    return parts


def _choose(
    parts: Sequence[BaseTable], base: Base, placement: Placement, *, table: Sequence[str], padding: PaddingRequest
) -> tuple[BaseTable, ...]:
    """Choose the tables of the first base."""
    if table:
        refuse_unmatched("--table", table, [name for part in parts for name in part.table.names], path=base.path)
        return tuple(part for part in parts if matches(table, part.table.names))
    count = len(placement.new_ids[0])
    recognised = [part for part in parts if part.is_recognised]
    rows: int | None = count
    if placement.new is not None:
        sizes = {part.table.rows for part in recognised}
        rows = rows_of_labels(count, sizes, offset=padding.row_offset or 0, is_told=padding.is_told)
    exact = [part for part in recognised if part.table.rows == rows]
    if not exact:
        if len(recognised) == 1:
            raise _wrong_count(recognised[0], placement, count, padding)
        listed = (
            ", ".join(f"{part.table.name!r} has {part.table.rows}" for part in recognised) or "no table is recognised"
        )
        offset = padding.row_offset or 0
        why = f"for {count} labels from row {offset} on" if offset else "as many as ids were given"
        raise IdsError(
            f"no table in {base.path} has {count + offset} rows, {why}: {listed}.",
            hint=f"`embcompress inspect {quoted(base.path)}` lists its tables; --table names one.",
        )
    kinds = {next((kind for kind in NAMED_ROLES if kind in part.table.name.lower()), "") for part in exact}
    if len(kinds) > 1:
        raise TableError(
            f"several tables in {base.path} have {rows} rows: {', '.join(repr(part.table.name) for part in exact)}.",
            hint="Say with --table whose ids these are.",
        )
    heads = find_heads(parts, exact, read_configurations(base.checkpoint))
    return (*exact, *heads)


def _check_alike(first: BaseTable, part: BaseTable) -> None:
    for one in (first, part):
        if one.is_coded:
            raise TableError(
                f"table {first.table.name!r} is coded in {one.base.path}: a coded table can grow from one base only.",
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


def _refuse_windowed(part: BaseTable) -> None:
    if part.compressed is not None and part.compressed.is_windowed:
        raise TableError(
            f"table {part.table.name!r} in {part.base.path} is coded as in artifact schema 1, to which no rows can "
            "be added.",
            hint=f"Restore it: `embcompress reconstruct {quoted(part.base.path)}`, backfill that, and approximate "
            "again.",
        )


def _wrong_count(part: BaseTable, placement: Placement, count: int, padding: PaddingRequest) -> IdsError:
    rows = part.table.rows
    if count < rows:
        which = f"row {count} has none" if count == rows - 1 else f"rows {count}..{rows - 1} have none"
    else:
        which = f"the last {count - rows} have no row"
    is_padded = count < rows and placement.new is not None and len(placement.new_ids) == 1
    return IdsError(
        f"table {part.table.name!r} in {part.base.path} has {rows} rows, and {count} ids were given: {which}.",
        hint="If that is meant, say what they are:" if is_padded else "",
        retries=retries_for(rows - count, placement, padding) if is_padded else (),
    )
