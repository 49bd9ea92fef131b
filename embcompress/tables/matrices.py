"""The sides of the matrices that the rows of a table hold."""

from __future__ import annotations

import math
from collections.abc import Iterable

from embcompress.checkpoints import Checkpoint
from embcompress.exceptions import TableError
from embcompress.tables.selection import Group, group_tensors
from embcompress.tables.table import Table


def table_widths(groups: Iterable[Group]) -> set[int]:
    """List the columns of the recognised tables among the tensors of a checkpoint, chosen or not."""
    shapes = [group.stored.shape for group in groups if group.verdict.is_table and group.is_matrix]
    return {shape[1] for shape in shapes if len(shape) == 2}


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


def matrix_of(item: Table, checkpoint: Checkpoint, *, given: tuple[int, int] | None) -> tuple[int, int]:
    """Tell the sides of the matrices of a table named by --bilinear; `given` where the user tells them.

    Raises:
        TableError: a complex table, sides that do not fit, or none that are known.
    """
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
    row_shapes = [checkpoint.listing.row_shapes.get(name) for name in (item.name, *item.tied_names)]
    widths = table_widths(group_tensors(checkpoint.tensors)) - {item.dim}
    shape = matrix_shape(item, row_shape=next(filter(None, row_shapes), None), widths=widths)
    if shape is None:
        raise TableError(
            f"table {item.name!r} in {checkpoint.path} has rows of {columns} numbers, and nothing tells the sides of "
            "their matrices.",
            hint="Give them by --bilinear-shape IN1,IN2.",
        )
    return shape
