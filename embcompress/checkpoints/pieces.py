"""Tensors that a checkpoint stores as several: cut into shards of rows, or as codes with their scales."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.packed_codes import PackedTable, PackedTables
from embcompress.checkpoints.scales import find_scaling, value_dtype
from embcompress.checkpoints.tensors import Listing, Piece, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError

# `model.ngram_embedding.shard_7.weight` is the piece 7 of `model.ngram_embedding.weight`.
SHARD = re.compile(r"(?P<before>.+?)[._]shards?[._]?(?P<number>\d{1,6})(?P<after>(?:\..+)?)")
# In the name before the shard: elsewhere, equal tensors with numbers may be layers or experts.
CUT_WORDS = re.compile(r"emb|lookup|table|n_?gram|vocab", re.IGNORECASE)
ARTIFACT_KEY = "embcompress"  # in the metadata of an artifact, whose tensors are as they are


def join_pieces(listing: Listing, path: Path, files: Files) -> tuple[StoredTensor, ...]:
    """Put the tensors of a checkpoint together as its model has them: codes with their scales, then shards of rows.

    Each joined tensor stands where its first part did; all others as they are.

    Raises:
        DamagedFileError: a shard is missing, or does not fit the others.
    """
    if ARTIFACT_KEY in listing.metadata:
        return listing.tensors
    by_name = {stored.name: stored for stored in listing.tensors}
    return join_shards(apply_scales(listing.tensors, PackedTables(by_name, path, files)), path)


def apply_scales(tensors: Sequence[StoredTensor], packed: PackedTables) -> tuple[StoredTensor, ...]:
    """Join codes with the scales beside them, as one tensor of their values.

    Args:
        tensors: of a checkpoint.
        packed: finds those of which an element holds several codes, and knows what the configuration tells.
    """
    by_name = {stored.name: stored for stored in tensors}
    scaled: dict[str, PackedTable] = {}
    for stored in tensors:
        table = packed.find(stored)
        if table is not None:
            scaled[stored.name] = table
        elif (scaling := find_scaling(stored, by_name, sides=packed.block_sides)) is not None:
            piece = Piece(stored, 0, 0, math.prod(stored.shape[1:]), scaling)
            scaled[stored.name] = PackedTable(stored.name, piece)
    beside = (part for table in scaled.values() for part in (*table.piece.scaling.tensors, *table.also))
    taken = {tensor.name for tensor in beside}
    joined = []
    for stored in tensors:
        if stored.name in scaled:
            joined.append(_join_scaled(scaled[stored.name]))
        elif stored.name not in taken:
            joined.append(stored)
    return tuple(joined)


def _join_scaled(table: PackedTable) -> StoredTensor:
    piece = table.piece
    shape = (piece.rows, piece.columns) if piece.scaling.bits else piece.tensor.shape
    return join(table.name, [piece], dtype=value_dtype(piece.tensor, piece.scaling), shape=shape)


def join_shards(tensors: Sequence[StoredTensor], path: Path) -> tuple[StoredTensor, ...]:
    """Join tensors whose names number the parts of one.

    Raises:
        DamagedFileError: a number is missing, or a part has another dtype or other columns than the first.
    """
    shards: dict[tuple[str, str], dict[int, StoredTensor]] = {}
    for stored in tensors:
        match = SHARD.fullmatch(stored.name)
        if match and CUT_WORDS.search(match["before"]) and len(stored.shape) >= 2:
            parts = shards.setdefault((match["before"], match["after"]), {})
            number = int(match["number"])
            if number in parts:
                raise DamagedFileError(
                    f"{path} holds shard {number} of {match['before'] + match['after']!r} twice, "
                    f"as {parts[number].name!r} and {stored.name!r}."
                )
            parts[number] = stored
    indices = {stored.name: index for index, stored in enumerate(tensors)}
    joined: dict[str, StoredTensor] = {}  # by the name of the first part
    taken: set[str] = set()
    for (before, after), parts in shards.items():
        name = before + after
        if name in indices or (len(parts) == 1 and 0 in parts):
            continue
        ordered = [parts[number] for number in sorted(parts)]
        _check_shards(name, parts, path)
        whole = replace(join_rows(name, ordered), has_named_pieces=True)
        joined[min(ordered, key=lambda stored: indices[stored.name]).name] = whole
        taken |= {stored.name for stored in ordered}
    return tuple(
        joined.get(stored.name, stored) for stored in tensors if stored.name in joined or stored.name not in taken
    )


def join_rows(name: str, parts: Sequence[StoredTensor]) -> StoredTensor:
    """Put tensors of one dtype and equal columns below each other."""
    pieces: list[Piece] = []
    row = 0
    for stored in parts:
        columns = math.prod(stored.shape[1:])
        inner = stored.pieces or (Piece(stored, 0, 0, columns),)
        pieces += [replace(piece, row=row + piece.row) for piece in inner]
        row += stored.shape[0]
    return join(name, pieces, dtype=parts[0].dtype, shape=(row, *parts[0].shape[1:]))


def join(name: str, pieces: Sequence[Piece], *, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
    """Make a tensor of pieces.

    Raises:
        DamagedFileError: they leave a gap, overlap, or reach outside of the tensor; names the piece.
    """
    ordered = tuple(sorted(pieces, key=lambda piece: (piece.row, piece.column)))
    _check_cover(name, ordered, rows=shape[0], columns=math.prod(shape[1:]))
    return StoredTensor(name, dtype, shape, contiguous_strides(shape), 0, pieces=ordered)


def _check_cover(name: str, pieces: Sequence[Piece], *, rows: int, columns: int) -> None:
    """Check that pieces cover each entry of a tensor once."""
    covered = 0
    # The pieces that reach furthest down, one for each range of columns: the next below must begin where it ends.
    ends: dict[tuple[int, int], tuple[int, str]] = {}
    for piece in pieces:
        span = (piece.column, piece.column + piece.columns)
        if piece.row + piece.rows > rows or span[1] > columns:
            raise DamagedFileError(
                f"{piece.tensor.name!r}, a piece of {name!r}, reaches to row {piece.row + piece.rows} and column "
                f"{span[1]} of a table of {rows} x {columns}."
            )
        for other, (end, other_name) in ends.items():
            if other[0] < span[1] and span[0] < other[1] and end > piece.row:
                raise DamagedFileError(
                    f"{piece.tensor.name!r} and {other_name!r}, pieces of {name!r}, overlap at row {piece.row}."
                )
        end = piece.row + piece.rows
        if end >= ends.get(span, (0, ""))[0]:
            ends[span] = (end, piece.tensor.name)
        covered += piece.rows * piece.columns
    if covered != rows * columns:
        gaps = (after for before, after in pairwise(pieces) if after.row > before.row + before.rows)
        where = next((f"before {after.tensor.name!r}" for after in gaps), "at its end")
        raise DamagedFileError(
            f"the pieces of {name!r} hold {covered} of its {rows} x {columns} entries; a piece is missing {where}.",
            hint="Copy or download all files of the checkpoint.",
        )


def _check_shards(name: str, parts: Mapping[int, StoredTensor], path: Path) -> None:
    missing = next((number for number in range(max(parts) + 1) if number not in parts), None)
    first = parts[min(parts)]
    if missing is not None:
        raise DamagedFileError(
            f"{path} holds {len(parts)} shards of {name!r}, {first.name!r} among them, and shard {missing} is missing.",
            hint="If it lies in another file, name the folder that holds them all, or its index.",
        )
    for stored in parts.values():
        if (stored.dtype, stored.shape[1:]) != (first.dtype, first.shape[1:]):
            raise DamagedFileError(
                f"shard {stored.name!r} in {path} is {stored.dtype} of rows {stored.shape[1:]}, and {first.name!r} "
                f"{first.dtype} of rows {first.shape[1:]}."
            )
