"""The decoders of a coded table's rows, read from an artifact. docs/artifact.md describes the bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import (
    BASES_SUFFIX,
    BASIS_SCALES_SUFFIX,
    BITS_SUFFIX,
    CENTERS_SUFFIX,
    CODEBOOK_SUFFIX,
    CODES_SUFFIX,
    GROUPS_SUFFIX,
    INDEX_SUFFIX,
    LEVELS_SUFFIX,
    SCALES_SUFFIX,
    CompressedTable,
    real_row_shape,
)
from embcompress.artifact.tensors import read_tensor
from embcompress.checkpoints import StoredTensor
from embcompress.coding.codebook import Codebook, read_codebook
from embcompress.coding.constants import HALF_BIT, group_width
from embcompress.coding.rotation import decode_rotation
from embcompress.coding.row_index import RowIndex, read_row_index
from embcompress.coding.seekable_index import SeekableIndex, read_seekable
from embcompress.coding.window_codebook import WindowCodebook, unpack_numbers
from embcompress.exceptions import ArtifactError


def read_coded(artifact: Artifact, table: CompressedTable) -> CodedFactors:
    """Read all of a coded table but its codes.

    Raises:
        ArtifactError: a tensor does not have the checksum of the header, or does not fit to the others.
    """
    return read_factors(
        table, artifact.coded_factors(table), lambda stored: read_tensor(artifact, stored), parts=artifact.read
    )


def read_seekable_factors(artifact: Artifact, table: CompressedTable) -> SeekableFactors:
    """Read what decodes single rows of a table with a seekable index; raises as `read_coded` does."""
    tensors = artifact.coded_factors(table)
    codebook, bases = _read_decoder(table, tensors, lambda stored: read_tensor(artifact, stored))
    index = read_seekable(read_tensor(artifact, tensors[INDEX_SUFFIX]).numpy(), rows=table.rows, codebook=codebook)
    _check_size(table, index.nbytes, tensors[CODES_SUFFIX])
    return SeekableFactors(codebook, bases, index)


def read_windowed(artifact: Artifact, table: CompressedTable) -> WindowFactors:
    """Read all of a table coded as in schema 1 but its codes; raises as `read_coded` does."""
    return read_window_factors(table, artifact.coded_factors(table), lambda stored: read_tensor(artifact, stored))


def describe_codes(artifact: Artifact, table: CompressedTable) -> tuple[int, bool, int | None]:
    """Return how many kinds of rows a coded table has, whether it has bases, and the states of its trellis.

    Raises:
        ArtifactError: the codebook does not have the checksum of the header, or is damaged.
    """
    factors = artifact.coded_factors(table)
    if table.is_windowed:
        return len(artifact.codes(table)), BASES_SUFFIX in factors, None
    stored = read_tensor(artifact, factors[CODEBOOK_SUFFIX]).numpy()
    dim = table.rank if table.is_tuned else math.prod(real_row_shape(table))
    book = read_codebook(stored, rank=table.rank, dim=dim)
    return book.kinds - 1, book.rotation is not None or BASES_SUFFIX in factors, book.states


@dataclass(frozen=True)
class CodedFactors:
    """A coded table but for its codes, in memory.

    Attributes:
        codebook: what decodes the codes to weights.
        bases: (rank, real entries of a row) float32; None where the table's own columns are coded.
        index: the kind of every row, and where its string lies.
    """

    codebook: Codebook
    bases: Tensor | None
    index: RowIndex


@dataclass(frozen=True)
class SeekableFactors:
    """What decodes single rows of a table with a seekable index, in memory.

    Attributes:
        codebook: what decodes the codes to weights.
        bases: (rank, real entries of a row) float32; None where the table's own columns are coded.
        index: where the block of each row lies.
    """

    codebook: Codebook
    bases: Tensor | None
    index: SeekableIndex


@dataclass(frozen=True)
class WindowFactors:
    """A table coded as in schema 1 but for its codes, in memory.

    Attributes:
        codebook: bits, scales and levels.
        bases: (rank, real entries of a row) float32 or float64; None where the table's own columns are coded.
        groups_of_rows: (rows,) uint8.
    """

    codebook: WindowCodebook
    bases: Tensor | None
    groups_of_rows: Tensor


def read_factors(
    table: CompressedTable,
    tensors: Mapping[str, StoredTensor],
    read: Callable[[StoredTensor], Tensor],
    *,
    parts: Callable[[StoredTensor], Iterator[memoryview]],
) -> CodedFactors:
    """Read all tensors of a coded table but the codes; of a seekable one goes over these once, for kinds and lengths.

    Args:
        table: that they belong to.
        tensors: by `find_coded`.
        read: reads a tensor and checks it.
        parts: yields the bytes of a tensor and checks them.

    Raises:
        ArtifactError: what they hold does not fit together.
    """
    codebook, bases = _read_decoder(table, tensors, read)
    stored = read(tensors[INDEX_SUFFIX]).numpy()
    if table.is_seekable:
        seekable = read_seekable(stored, rows=table.rows, codebook=codebook)
        _check_size(table, seekable.nbytes, tensors[CODES_SUFFIX])
        return CodedFactors(codebook, bases, seekable.read_rows(parts(tensors[CODES_SUFFIX])))
    index = read_row_index(stored, rows=table.rows, codebook=codebook)
    _check_size(table, index.nbytes, tensors[CODES_SUFFIX])
    return CodedFactors(codebook, bases, index)


def _read_decoder(
    table: CompressedTable, tensors: Mapping[str, StoredTensor], read: Callable[[StoredTensor], Tensor]
) -> tuple[Codebook, Tensor | None]:
    """Read codebook and bases."""
    if table.is_tuned:
        return _read_tuned(table, tensors, read)
    dim = math.prod(real_row_shape(table))
    codebook = read_codebook(read(tensors[CODEBOOK_SUFFIX]).numpy(), rank=table.rank, dim=dim)
    if codebook.rotation is None:
        return codebook, None
    return codebook, decode_rotation(codebook.rotation, table.rank).to(torch.float32)


def _read_tuned(
    table: CompressedTable, tensors: Mapping[str, StoredTensor], read: Callable[[StoredTensor], Tensor]
) -> tuple[Codebook, Tensor | None]:
    """Read codebook and bases of a table whose scales, centers and bases lie beside the codebook."""
    codebook = read_codebook(read(tensors[CODEBOOK_SUFFIX]).numpy(), rank=table.rank, dim=table.rank)
    floats = {
        suffix: read(tensors[suffix]) for suffix in (SCALES_SUFFIX, CENTERS_SUFFIX, BASES_SUFFIX) if suffix in tensors
    }
    for suffix, values in floats.items():
        if not bool(torch.isfinite(values).all()):
            raise _unfit(table, f"its {suffix[1:]} hold NaN or infinity")
    centers = floats.get(CENTERS_SUFFIX)
    if centers is not None and len(centers) != len(codebook.classes):
        raise _unfit(table, f"it has centers of {len(centers)} profiles, and {len(codebook.classes)} profiles")
    codebook = replace(
        codebook,
        column_scales=floats[SCALES_SUFFIX].numpy(),
        tuned_centers=None if centers is None else centers.numpy(),
    )
    bases = floats.get(BASES_SUFFIX)
    return codebook, None if bases is None else bases.flatten(1)


def _check_size(table: CompressedTable, nbytes: int, codes: StoredTensor) -> None:
    """Refuse codes of another size than the index says."""
    if nbytes != codes.nbytes:
        raise _unfit(table, f"its strings have {nbytes} bytes, and its codes {codes.nbytes}")


def read_window_factors(
    table: CompressedTable, tensors: Mapping[str, StoredTensor], read: Callable[[StoredTensor], Tensor]
) -> WindowFactors:
    """Read all tensors of a table coded as in schema 1 but the codes.

    Args:
        table: that they belong to.
        tensors: by `find_coded`.
        read: reads a tensor and checks it.

    Raises:
        ArtifactError: what they hold does not fit together.
    """
    packed = read(tensors[BITS_SUFFIX])
    groups = len(packed)
    bits = unpack_numbers(packed.flatten(), 4, count=packed.numel() * 2).view(groups, -1)[:, : table.rank]
    known = torch.tensor([0, *(bits for bits, _ in table.windows)], dtype=torch.uint8)
    if not bool(torch.isin(bits, known).all()) or bool(((bits == HALF_BIT).sum(dim=1) % 2).any()):
        raise _unfit(table, "its bits have no levels, or half bits are not in pairs")
    has_bits = bits > 0
    scales = read(tensors[SCALES_SUFFIX]).to(torch.float32)
    if int(has_bits.sum()) != len(scales):
        raise _unfit(table, f"{int(has_bits.sum())} columns have bits, and {len(scales)} a scale")
    spread = torch.zeros(bits.shape)
    spread[has_bits] = scales
    levels = read(tensors[LEVELS_SUFFIX]).to(torch.float32)
    codebook = WindowCodebook(bits=bits, scales=spread, windows=dict(table.windows), levels=levels)
    if any(
        tensors[f"{CODES_SUFFIX}.{group}"].shape[1] != layout.row_bytes for group, layout in enumerate(codebook.layouts)
    ):
        raise _unfit(table, "its codes are not as long as its bits say")
    rows = table.rows
    groups_of_rows = torch.zeros(rows, dtype=torch.uint8)
    if groups > 1:
        groups_of_rows = unpack_numbers(read(tensors[GROUPS_SUFFIX]), group_width(groups), count=rows)
    counts = torch.bincount(groups_of_rows, minlength=groups).tolist()
    if counts != [tensors[f"{CODES_SUFFIX}.{group}"].shape[0] for group in range(groups)]:
        raise _unfit(table, "its groups have other rows than its codes")
    bases = None
    if BASES_SUFFIX in tensors:
        bases = read(tensors[BASES_SUFFIX]).flatten(1).to(torch.float32)
        if BASIS_SCALES_SUFFIX in tensors:
            bases = bases * read(tensors[BASIS_SCALES_SUFFIX])[:, None]
    numbers = {SCALES_SUFFIX: spread, LEVELS_SUFFIX: levels, BASES_SUFFIX: bases}
    for suffix, values in numbers.items():
        if values is not None and not bool(torch.isfinite(values).all()):
            raise _unfit(table, f"its {suffix[1:]} hold NaN or infinity")
    return WindowFactors(codebook, bases, groups_of_rows)


def _unfit(table: CompressedTable, why: str) -> ArtifactError:
    return ArtifactError(
        f"coded table {table.name!r} does not fit together: {why}.", hint="Compress the original again."
    )
