"""The new id of every base row by what was given: files of ids or labels, or labels that a base holds itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.artifact.writer import Entry
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, OFFSETS_SUFFIX, encode_labels, read_own_labels
from embcompress.exceptions import UsageError
from embcompress.growth.placement import Placement, match_labels, place_ids
from embcompress.growth.plan import Base, GrowingTable
from embcompress.tables.labels import LabelFile, read_ids, read_label_file
from embcompress.tables.recognition import matches
from embcompress.text import named

NEITHER = "give either --base-ids with --max-id, or --base-labels with --labels, so that every base row has an id."


@dataclass(frozen=True)
class PlacedRows:
    """The placement of base rows.

    Attributes:
        placement: not settled yet.
        remarks: a sentence each on the files of labels.
        new_labels: in the order of their ids; empty where ids were given.
    """

    placement: Placement
    remarks: tuple[str, ...] = ()
    new_labels: Sequence[str] = ()


def place_base_rows(
    bases: Sequence[Base],
    *,
    max_id: int | None,
    base_ids: Sequence[Path],
    base_labels: Sequence[Path],
    labels: Path | None,
    table: Sequence[str],
) -> PlacedRows:
    """Tell the new id of every base row.

    Args:
        bases: open ones.
        max_id: the number of ids.
        base_ids: a file for each base, of the new id of each of its rows.
        base_labels: a file for each base, of the label of each of its rows; empty with `labels`: the bases hold them.
        labels: a file of the new labels.
        table: shell patterns of the tables that grow; empty: any.

    Raises:
        UsageError: ids and labels, or neither; not one file for each base.
        CheckpointError, IdsError: as for what reads the files.
    """
    if not bases:
        raise UsageError("no BASE was given.")
    if (base_ids and base_labels) or not (base_ids or base_labels or labels is not None):
        raise UsageError(NEITHER)
    given, option = (base_ids, "--base-ids") if base_ids else (base_labels, "--base-labels")
    if given and len(given) != len(bases):
        raise UsageError(f"each BASE needs a {option} of its own: {len(bases)} in all; got {len(given)}.")
    if max_id is not None and max_id < 1:
        raise UsageError(f"--max-id must be at least 1; got {max_id}.")
    if base_ids:
        if max_id is None or labels is not None:
            raise UsageError("--base-ids goes with --max-id, the number of ids, and without --labels.")
        return PlacedRows(place_ids([read_ids(path) for path in base_ids], max_id=max_id, paths=base_ids))
    if labels is None:
        raise UsageError("--base-labels goes with --labels, the file of the new labels.")
    old = [read_label_file(path) for path in base_labels] or [read_base_labels(base, table=table) for base in bases]
    new = read_label_file(labels)
    remarks = dict.fromkeys(warning for file in (*old, new) for warning in file.warnings)
    return PlacedRows(
        match_labels([file.labels for file in old], new.labels, max_id=max_id), tuple(remarks), new.labels
    )


def label_names(tables: Iterable[GrowingTable]) -> set[str]:
    """Name the tensors that hold the labels of tables."""
    return {grown.first.table.name + suffix for grown in tables for suffix in (LABELS_SUFFIX, OFFSETS_SUFFIX)}


def read_base_labels(base: Base, *, table: Sequence[str]) -> LabelFile:
    """Read the labels of the rows of a base that holds them.

    Args:
        base: an open one.
        table: shell patterns of the tables that grow; empty: any.

    Raises:
        UsageError: it holds none, or those of several tables that are not the same.
    """
    sizes = {stored.name: stored.shape[0] for stored in base.checkpoint.tensors if len(stored.shape) > 1}
    if base.artifact:
        sizes = {compressed.name: compressed.rows for compressed in base.artifact.tables}
    known = {
        name: labels
        for name, rows in sizes.items()
        if (not table or matches(table, [name])) and (labels := read_own_labels(base.checkpoint, name, rows=rows))
    }
    distinct = {tuple(labels) for labels in known.values()}
    if not known:
        raise UsageError(
            f"{base.path} holds no labels of its rows.",
            hint="Give a file of them with --base-labels, or ids with --base-ids and --max-id.",
        )
    if len(distinct) > 1:
        raise UsageError(
            f"{base.path} holds labels of {len(known)} tables, which are not the same: {named(list(known))}.",
            hint="Choose one with --table.",
        )
    return LabelFile(list(next(iter(known.values()))))


def grown_labels(tables: Sequence[GrowingTable], placement: Placement, *, labels: Sequence[str]) -> dict[Entry, bytes]:
    """Make the labels of grown tables of a first base that holds labels, as tensors to be written.

    Known rows keep those of their bases; new ids get those that were given, else blank ones.

    Args:
        tables: that grow.
        placement: settled.
        labels: of the new ids, from the first that has one; empty: none were given.
    """
    contents = {}
    for grown in tables:
        name = grown.first.table.name
        known = [read_own_labels(part.base.checkpoint, part.table.name, rows=part.table.rows) for part in grown.parts]
        if not known[0]:
            continue
        texts = [""] * placement.max_id
        for own, new_ids in zip(known, placement.new_ids, strict=True):
            for label, new_id in zip(own, new_ids, strict=False):
                if new_id >= 0:
                    texts[new_id] = label
        texts[placement.offset : placement.offset + len(labels)] = labels[: placement.max_id - placement.offset]
        for part in encode_labels(name, texts):
            contents[Entry(part.name, part.dtype, (part.count,))] = part.content
    return contents
