"""The rows that are given for new ids: where they lie, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import IdsError, TableError, UsageError
from embcompress.growth.model_folders import is_head
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, Fill, GrowingTable
from embcompress.tables.labels import read_labels
from embcompress.tables.selection import group_tensors
from embcompress.tables.table import REAL_PARTS
from embcompress.tables.text_files import repeated
from embcompress.text import named, quoted


def read_fill_labels(
    fill: str | Path | None, fill_labels: str | Path | None, placement: Placement, *, labels: Path | None
) -> tuple[int, ...] | None:
    """Find the id of every row of the fill by its label; None where rows come in the order of the new ids."""
    if fill_labels is None:
        return None
    if fill is None or labels is None or placement.new is None:
        raise UsageError("--fill-labels goes with --fill and --labels.")
    path = Path(fill_labels)
    ids = {label: index for index, label in enumerate(read_labels(labels), placement.offset)}
    new = Counter(placement.new)
    row_labels = read_labels(path)
    if unknown := [label for label in row_labels if label not in new]:
        raise IdsError(f"{path}: only new labels can be filled; these are not new: {named(unknown)}.")
    if again := [*repeated(row_labels), *(label for label in row_labels if new[label] > 1)]:
        raise IdsError(f"{path}: labels must not repeat, here or in --labels; these do: {named(again)}.")
    return tuple(ids[label] for label in row_labels)


def find_fills(fill: str | Path | None, tables: Sequence[GrowingTable], stack: ExitStack) -> dict[str, Fill]:
    """Find the rows of each table in the fill: under its name, else the only matrix of its shape."""
    if fill is None:
        return {}
    checkpoint = stack.enter_context(open_checkpoint(Path(fill)))
    base = Base.of(checkpoint)
    if base.artifact is not None:
        raise TableError(
            f"--fill {fill} is compressed.", hint=f"Restore it first: `embcompress reconstruct {quoted(str(fill))}`."
        )
    tensors = group_tensors(checkpoint.tensors, files=checkpoint.files)
    fills: dict[str, Fill] = {}
    names = {name for group in tensors for name in group.names}
    for table in tables:
        part = table.first
        # Rows of embeddings are none of an untied head beside them.
        if len(tables) > 1 and is_head(part.table.name) and names.isdisjoint(part.table.names):
            continue
        groups = [
            group
            for group in tensors
            if group.is_matrix
            and group.stored.shape[1:] == part.table.shape
            and (group.stored.dtype in REAL_PARTS) == (part.table.dtype in REAL_PARTS)
        ]
        alike = [group.stored for group in groups if set(part.table.names) & set(group.names)] or [
            group.stored for group in groups
        ]
        if len(alike) != 1:
            what = "several tensors" if alike else "no tensor"
            kind = "complex" if part.table.dtype in REAL_PARTS else "real"
            raise TableError(
                f"--fill {fill} has {what} with {kind} rows of shape {part.table.shape} for table {part.table.name!r}."
            )
        is_named = any(set(part.table.names) & set(group.names) for group in groups)
        if not is_named and any(other.stored.name == alike[0].name for other in fills.values()):
            raise TableError(
                f"--fill {fill}: {alike[0].name!r} would fill several tables, {part.table.name!r} among them.",
                hint="Give each table its rows under its own name, or name one table with --table.",
            )
        fills[part.table.name] = Fill(alike[0], base)
    return fills
