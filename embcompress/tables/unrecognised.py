"""Large matrices of a checkpoint of which nothing tells whether they are tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.results import UnrecognisedMatrix
from embcompress.tables.factor_sizes import largest_rank
from embcompress.tables.recognition import is_refused, matches
from embcompress.tables.selection import Group, as_patterns, group_tensors
from embcompress.tables.table import Table

BYTES_MIN = 2**16  # of a matrix that is worth a line of the report
FILE_SHARE_MIN = 0.01  # of the bytes of the file
# Dense layers are at most so many times longer than wide: the four gates of an LSTM, the inner layer of a transformer.
LAYER_ASPECT_MAX = 4
HEADS = ("a classifier", "a linear layer")  # kinds of output layers, as recognition names them
NUMBER = re.compile(r"\d+")


def find_unrecognised(
    checkpoint: Checkpoint,
    *,
    chosen: Sequence[Table],
    exclude: Sequence[str] | str,
    bases: int = 1,
) -> tuple[UnrecognisedMatrix, ...]:
    """List the large matrices that stay dense and may be tables, the largest first.

    A matrix with numbered siblings of its shape is one of a stack of layers. An output layer of the shape of a table
    has a row for each of the same ids.

    Args:
        checkpoint: an open one.
        chosen: the tables that were chosen.
        exclude: shell patterns of the tables to leave dense.
        bases: how many a table must pay for.
    """
    groups = group_tensors(checkpoint.tensors)
    stacks = Counter(_stack_of(group) for group in groups)
    names = {name for table in chosen for name in (table.name, *table.tied_names)}
    shapes = {table.stored.shape for table in chosen}
    large = [
        group
        for group in groups
        if not group.verdict.is_table and group.stored.nbytes >= max(BYTES_MIN, FILE_SHARE_MIN * checkpoint.nbytes)
    ]
    return tuple(
        UnrecognisedMatrix(
            group.names[0], group.stored.shape, group.stored.dtype, group.stored.nbytes, group.verdict.reason
        )
        for group in sorted(large, key=lambda group: -group.stored.nbytes)
        if _may_be_table(group, bases=bases, but_for=HEADS if group.stored.shape in shapes else ())
        and stacks[_stack_of(group)] == 1
        and not matches(as_patterns(exclude), group.names)
        and names.isdisjoint(group.names)
    )


def _may_be_table(group: Group, *, bases: int, but_for: Sequence[str]) -> bool:
    if not group.is_matrix or is_refused(group.names, shape=group.stored.shape, but_for=but_for):
        return False
    table = Table(group.names[0], group.names[1:], group.stored)
    return table.rows > LAYER_ASPECT_MAX * table.dim and largest_rank(table, ITEM_BYTES[table.real_dtype]) >= bases


def _stack_of(group: Group) -> tuple[str, tuple[int, ...]]:
    """Tell what a tensor has in common with those of other layers: its name but for numbers, and its shape."""
    return NUMBER.sub("#", group.names[0]), group.stored.shape
