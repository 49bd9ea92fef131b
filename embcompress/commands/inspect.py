"""List what a checkpoint holds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from embcompress.artifact.reader import Artifact, is_artifact, read_artifact
from embcompress.artifact.schema import (
    BASES_SUFFIX,
    LEFT_SUFFIX,
    RIGHT_SUFFIX,
    WEIGHTS_SUFFIX,
    CompressedTable,
    real_row_shape,
)
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.commands.run import check_reports, inputs_of, write_reports
from embcompress.results import InputFile, InspectResult, ListedCompression, ListedTable, ListedTensor, Skipped
from embcompress.tables.factor_sizes import largest_rank
from embcompress.tables.matrices import largest_matrix_rank, matrix_shape, table_widths
from embcompress.tables.selection import group_tensors
from embcompress.tables.table import Table
from embcompress.tables.unread_tables import find_unread_tables, tell_scattered

ROLES = {
    BASES_SUFFIX: "bases",
    WEIGHTS_SUFFIX: "weights",
    LEFT_SUFFIX: "left factors",
    RIGHT_SUFFIX: "right factors",
}
# of the matrices of a compressed table; all else that holds one is no matrix of floats
FORM_WORDS = re.compile(r"(^|[^a-z])(bil|biaff|rel|form|rescal|ntn|pairwise|arc)")
# in the names of tables whose rows are matrices


def inspect(path: str | Path, *, report: Sequence[str | Path] | str | Path = (), force: bool = False) -> InspectResult:
    """List what a checkpoint holds, and which tables `approximate` would choose, and why. Does not import torch.

    Raises:
        CheckpointError: not readable.
    """
    with open_checkpoint(path) as checkpoint:
        reports = check_reports(report, output=None, force=force, inputs=inputs_of(checkpoint))
        artifact = read_artifact(checkpoint) if is_artifact(checkpoint) else None
        factors = (
            {
                factor.name: f"{ROLES[suffix]} of {table.name!r}"
                for table in artifact.tables
                for factor in artifact.factors(table)
                if (suffix := factor.name.removeprefix(table.name)) in ROLES
            }
            if artifact
            else {}
        )
        unread = {} if artifact else {one.name: one for one in find_unread_tables(checkpoint)}
        scattered = None if artifact else tell_scattered(checkpoint)
        tables, others = [], []
        groups = group_tensors(checkpoint.tensors, files=checkpoint.files, is_whole=artifact is None)
        widths = table_widths(groups)
        for group in groups:
            stored = group.stored
            if not group.is_matrix and stored.name in unread:
                head = Table(stored.name, group.names[1:], stored).head
                reason = unread[stored.name].reason
                tables.append(ListedTable(**vars(head), bytes=stored.nbytes, chosen=False, reason=reason))
                continue
            if not group.is_matrix:
                others += [ListedTensor(name, stored.shape, stored.dtype, stored.nbytes) for name in group.names]
                continue
            table = Table(group.names[0], group.names[1:], stored)
            reason = factors.get(table.name, group.verdict.reason)
            chosen = group.verdict.is_table and table.name not in factors
            if chosen:
                most = largest_rank(table, stored.nbytes // stored.numel // (2 if table.is_complex else 1))
                reason += f"; smaller with up to {most} bases" if most else "; no number of bases makes it smaller"
            if table.name not in factors and not table.is_complex:
                row_shapes = map(checkpoint.listing.row_shapes.get, group.names)
                row_shape = next(filter(None, row_shapes), None)
                reason += _offer_matrices(table, row_shape, widths - {table.dim})
            tables.append(
                ListedTable(
                    **vars(table.head),
                    bytes=table.nbytes,
                    chosen=chosen,
                    reason=reason,
                )
            )
        result = InspectResult(
            command="inspect",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            tables=tuple(tables),
            others=tuple(others),
            skipped=(
                *(
                    Skipped(left.name, f"{left.reason}. {left.hint}" if left.hint else left.reason)
                    for left in checkpoint.listing.left_out
                ),
                *([Skipped(scattered[0], scattered[1])] if scattered and not tables else ()),
            ),
            compressed_tables=tuple(_listed(table, artifact) for table in artifact.tables) if artifact else (),
        )
    write_reports(result, reports, force=force)
    return result


def _listed(table: CompressedTable, artifact: Artifact) -> ListedCompression:
    """Describe a compressed table by the header of its artifact."""
    nbytes = sum(stored.nbytes for stored in artifact.factors(table))
    return ListedCompression(
        **vars(table.head),
        kind=table.kind,
        matrix=table.matrix,
        rank=table.rank,
        coding=table.coding,
        bits_per_entry=8 * nbytes / (table.rows * math.prod(real_row_shape(table))),
        bytes=nbytes,
        bytes_before=math.prod(table.dense_shape) * ITEM_BYTES[table.dtype],
        relative=table.error,
    )


def _offer_matrices(table: Table, row_shape: tuple[int, ...] | None, widths: set[int]) -> str:
    """Say what --bilinear makes of a table whose rows hold matrices; empty without any, or where none gets smaller."""
    is_flat = len(table.shape) == 1
    if row_shape is None and not FORM_WORDS.search(table.name.lower()):
        return ""  # three axes are mostly those of a convolution
    if row_shape is None and is_flat and not any(table.dim % width**2 == 0 for width in widths if width > 1):
        return ""  # a square number of columns alone says nothing
    matrix = matrix_shape(table, row_shape=row_shape, widths=widths)
    most = largest_matrix_rank(matrix) if matrix else 0
    return f"; --bilinear: {matrix[0]} x {matrix[1]} matrices, smaller up to rank {most}" if matrix and most else ""
