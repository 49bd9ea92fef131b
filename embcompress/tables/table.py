"""One embedding table of an open checkpoint, and the size of its blocks of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from embcompress.checkpoints.tensors import StoredTensor
from embcompress.results import TableHead

BLOCK_BYTES = 4 * 2**20  # at least: smaller blocks pay for their calls, larger ones leave the cache
# At least, while that stays under BLOCK_BYTES_MAX: adding up a Gram matrix per block must stay cheap.
BLOCK_ROWS_MIN = 4096
BLOCK_BYTES_MAX = 64 * 2**20  # of one block, whatever its shape
RING_BYTES = 64 * 2**20  # read into by turns: into what another core has in its cache a read took four times as long
REAL_PARTS = {"complex64": "float32", "complex128": "float64"}


@dataclass(frozen=True)
class Table:
    """One embedding table: a tensor of a checkpoint under all the names that it is tied under.

    Attributes:
        name: the name that the report and the artifact use.
        tied_names: the other names of the same memory.
        stored: where it lies.
        reason: why it is a table.
    """

    name: str
    tied_names: tuple[str, ...]
    stored: StoredTensor
    reason: str = ""

    @property
    def head(self) -> TableHead:
        """Its names, size and dtype, for what else is told of it."""
        return TableHead(
            self.name,
            self.tied_names,
            self.rows,
            self.shape,
            self.dtype,
            stored_as=describe_storage(self.stored),
        )

    @property
    def rows(self) -> int:
        """Count the rows."""
        return self.stored.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.stored.shape[1:]

    @property
    def dtype(self) -> str:
        """Torch's name of the dtype."""
        return self.stored.dtype

    @property
    def shards(self) -> tuple[tuple[str, int], ...]:
        """The tensors of rows that its model has in its place: names and rows, in order; empty where it is one."""
        if not self.stored.has_named_pieces:
            return ()
        return tuple((piece.tensor.name, piece.rows) for piece in self.stored.pieces)

    @property
    def is_complex(self) -> bool:
        """Whether its entries are complex; it is then factored as pairs of reals."""
        return self.dtype in REAL_PARTS

    @property
    def real_dtype(self) -> str:
        """The dtype of an entry, or of its real part."""
        return REAL_PARTS.get(self.dtype, self.dtype)

    @property
    def dim(self) -> int:
        """Count the real columns of the flattened table."""
        return math.prod(self.shape) * (2 if self.is_complex else 1)

    @property
    def nbytes(self) -> int:
        """Count the bytes that the checkpoint takes for it, once however many names it has."""
        return self.stored.stored_bytes


def describe_storage(stored: StoredTensor) -> str:
    """Say how a checkpoint holds a tensor; empty where as one of its own values.

    Example:
        >>> describe_storage(StoredTensor("x", "float32", (2, 2), (2, 1), 0))
        ''
    """
    words = []
    count = len(stored.pieces)
    if count > 1:
        words.append(f"{count} {'shards' if stored.has_named_pieces else 'pieces'}")
    codes = stored.pieces[0].tensor if stored.pieces else stored
    if codes.dtype != stored.dtype:
        scales = "and scales" if stored.pieces[0].scaling.scales is not None else "without scales"
        words.append(f"{'of ' if words else ''}{codes.dtype} {scales}")
    return " ".join(words)


def as_real(stored: StoredTensor) -> StoredTensor:
    """View a complex tensor as pairs of reals in a last axis; a real one as it is."""
    if stored.dtype not in REAL_PARTS:
        return stored
    pieces = tuple(
        replace(piece, tensor=as_real(piece.tensor), column=2 * piece.column, columns=2 * piece.columns)
        for piece in stored.pieces
    )
    return replace(
        stored,
        pieces=pieces,
        dtype=REAL_PARTS[stored.dtype],
        shape=(*stored.shape, 2),
        strides=(*(2 * step for step in stored.strides), 1),
    )


def block_rows_for(*, rows: int, dim: int, item_bytes: int) -> int:
    """Count the rows of a block of a table with `rows` rows of `dim` entries."""
    row_bytes = max(1, dim * item_bytes)
    wanted = max(BLOCK_BYTES // row_bytes, min(BLOCK_ROWS_MIN, BLOCK_BYTES_MAX // row_bytes), 1)
    return min(wanted, max(rows, 1))
