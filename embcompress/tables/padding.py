"""Rows of a table that no label belongs to: how many there may be, and where they stand."""

from __future__ import annotations

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.scales import FLOAT_CODES
from embcompress.checkpoints.tensors import AS_STORED, StoredTensor, contiguous_bytes, is_contiguous

# A table may have a few more rows than labels: published vocabularies are padded to multiples of 8, those of 30 000 and
# more by up to 400 rows; here a 32nd of the labels.
PADDING_ROWS = 7
PADDING_SHARE = 32


def padding_max(count: int) -> int:
    """Tell how many rows beside `count` labels may have none."""
    return PADDING_ROWS + count // PADDING_SHARE


def rows_of_labels(count: int, sizes: set[int], *, offset: int = 0, is_told: bool = False) -> int | None:
    """Find the size of the tables that labels belong to: as many rows, else a few more; None where it is not clear.

    Of several sizes that are about as large none is guessed.

    Args:
        count: of labels.
        sizes: numbers of rows.
        offset: rows before the first label.
        is_told: whether there may be any number of rows more.

    Example:
        >>> rows_of_labels(1000, {50, 1001}), rows_of_labels(1000, {998, 1001})
        (1001, None)
    """
    if not offset and count in sizes:
        return count
    near = [size for size in sizes if abs(size - count) <= padding_max(count)]
    if is_told:
        near = [size for size in near if size >= count + offset] or [size for size in sizes if size >= count + offset]
    return near[0] if len(near) == 1 and near[0] > count else None


def is_zero_row(stored: StoredTensor, row: int, *, files: Files) -> bool:
    """Tell whether a row of a tensor is all zeros; not, where its numbers do not lie beside each other."""
    if stored.pieces:
        # Zero times any scale is zero; integers have zero points.
        touched = [piece for piece in stored.pieces if piece.row <= row < piece.row + piece.rows]
        return all(
            (piece.scaling == AS_STORED or piece.tensor.dtype in FLOAT_CODES)
            and is_zero_row(piece.tensor, row - piece.row, files=files)
            for piece in touched
        )
    one = StoredTensor(
        stored.name,
        stored.dtype,
        stored.shape[1:],
        stored.strides[1:],
        stored.start + row * stored.strides[0] * (stored.nbytes // stored.numel),
    )
    if not is_contiguous(one):
        return False
    return not any(any(part) for part in contiguous_bytes(one, files=files))


def begins_with_padding(stored: StoredTensor, *, surplus: int, files: Files) -> bool:
    """Tell whether the only row without a label is the first: it is all zeros, and the last one is not.

    So do models count items from 1 that keep row 0 for padding.
    """
    return (
        surplus == 1
        and stored.numel > 0
        and is_zero_row(stored, 0, files=files)
        and not is_zero_row(stored, stored.shape[0] - 1, files=files)
    )
