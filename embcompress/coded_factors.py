"""The tensors of a coded table in an artifact: names, shapes, and reading them. docs/artifact.md tells the bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from embcompress.checkpoints import StoredTensor
from embcompress.coding.constants import GROUPS_MAX, HALF_BIT, WINDOW_MAX, group_width, level_count
from embcompress.exceptions import ArtifactError
from embcompress.safetensors_writer import Entry
from embcompress.table import REAL_PARTS

if TYPE_CHECKING:
    from torch import Tensor

    from embcompress.coding.codebook import Codebook, RowIndex
    from embcompress.coding.window_codebook import WindowCodebook

CODED = "coded"  # the coding's name in the metadata
BASES_SUFFIX = ".bases"
BASIS_SCALES_SUFFIX = ".basis_scales"
BITS_SUFFIX = ".bits"
SCALES_SUFFIX = ".scales"
LEVELS_SUFFIX = ".levels"
GROUPS_SUFFIX = ".groups"
CODES_SUFFIX = ".codes"  # of schema 1 a dot and the group's number behind it
INDEX_SUFFIX = ".index"
CODEBOOK_SUFFIX = ".codebook"
BASES_DTYPES = ("int8", "float16", "float32")

Windows = tuple[tuple[int, int], ...]  # (bits, window), ascending


class Coded(Protocol):
    """What must be known of a coded table: a CompressedTable."""

    @property
    def name(self) -> str:
        """Of the table."""

    @property
    def rows(self) -> int:
        """Of the table."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""

    @property
    def dtype(self) -> str:
        """Of the dense table."""

    @property
    def rank(self) -> int:
        """Count the coded columns."""

    @property
    def windows(self) -> Windows:
        """Bits and windows of the levels."""


def coded_entries(name: str, *, codes: int, index: int, codebook: int) -> dict[str, Entry]:
    """Name the tensors of a coded table, by what their names end in, with the bytes that they are expected to take."""
    sizes = {CODES_SUFFIX: codes, INDEX_SUFFIX: index, CODEBOOK_SUFFIX: codebook}
    return {suffix: Entry(name + suffix, "uint8", (nbytes,), is_growing=True) for suffix, nbytes in sizes.items()}


def window_entries(
    table: Coded, *, bases_dtype: str | None, rows_in_groups: Sequence[int], row_bytes: Sequence[int], scales: int
) -> dict[str, Entry]:
    """Name the tensors of a table coded as in schema 1, by what their names end in.

    Args:
        table: that they belong to.
        bases_dtype: one of BASES_DTYPES; None where the table's own columns are coded.
        rows_in_groups: how many rows each group has.
        row_bytes: of a row's string in each group.
        scales: how many columns of groups have bits.
    """
    groups = len(rows_in_groups)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        BITS_SUFFIX: ("uint8", (groups, -(-table.rank // 2))),
        SCALES_SUFFIX: ("bfloat16", (scales,)),
        LEVELS_SUFFIX: ("float16", (count_levels(table.windows),)),
    }
    if bases_dtype is not None:
        shapes[BASES_SUFFIX] = (bases_dtype, (table.rank, *real_row_shape(table)))
    if bases_dtype == "int8":
        shapes[BASIS_SCALES_SUFFIX] = ("float32", (table.rank,))
    if groups > 1:
        shapes[GROUPS_SUFFIX] = ("uint8", (-(-table.rows * group_width(groups) // 8),))
    for group, (rows, width) in enumerate(zip(rows_in_groups, row_bytes, strict=True)):
        shapes[f"{CODES_SUFFIX}.{group}"] = ("uint8", (rows, width))
    return {suffix: Entry(table.name + suffix, dtype, shape) for suffix, (dtype, shape) in shapes.items()}


def count_levels(windows: Windows) -> int:
    """Count the levels of all tables."""
    return sum(level_count(bits, window) for bits, window in windows)


def real_row_shape(table: Coded) -> tuple[int, ...]:
    """Tell the shape of a row as reals: complex ones have a last axis of 2."""
    return (*table.shape, 2) if table.dtype in REAL_PARTS else table.shape


def find_coded(table: Coded, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find the tensors of a coded table, by what their names end in, and check their dtypes and shapes.

    Raises:
        ValueError: one is missing, or has a dtype or a shape that cannot be.
    """
    if table.windows:
        return _find_windowed(table, tensors)
    found = {}
    for suffix in (CODES_SUFFIX, INDEX_SUFFIX, CODEBOOK_SUFFIX):
        stored = tensors.get(table.name + suffix)
        if stored is None or stored.dtype != "uint8" or len(stored.shape) != 1:
            what = "none" if stored is None else f"{stored.dtype} {stored.shape}"
            raise ValueError(f"it should hold {table.name + suffix!r} as bytes in one axis, and holds {what}")
        found[suffix] = stored
    return found


def _find_windowed(table: Coded, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find the tensors of a table coded as in schema 1, and check them against each other; raises as `find_coded`."""
    bits = tensors.get(table.name + BITS_SUFFIX)
    groups = bits.shape[0] if bits is not None and len(bits.shape) == 2 else 0
    if not 1 <= groups <= GROUPS_MAX:
        raise ValueError(f"table {table.name!r} has no bits of 1 to {GROUPS_MAX} groups")
    codes = [tensors.get(f"{table.name}{CODES_SUFFIX}.{group}") for group in range(groups)]
    if any(one is None or len(one.shape) != 2 for one in codes):
        raise ValueError(f"table {table.name!r} has {groups} groups, and not as many matrices of codes")
    scales, bases = tensors.get(table.name + SCALES_SUFFIX), tensors.get(table.name + BASES_SUFFIX)
    wanted = window_entries(
        table,
        bases_dtype=None if bases is None else bases.dtype,
        rows_in_groups=[one.shape[0] for one in codes if one is not None],
        row_bytes=[one.shape[1] for one in codes if one is not None],
        scales=math.prod(scales.shape) if scales is not None else 0,
    )
    found = {}
    for suffix, entry in wanted.items():
        stored = tensors.get(entry.name)
        if stored is None or (stored.dtype, stored.shape) != (entry.dtype, entry.shape):
            what = "none" if stored is None else f"{stored.dtype} {stored.shape}"
            raise ValueError(f"it should hold {entry.name!r} as {entry.dtype} {entry.shape}, and holds {what}")
        found[suffix] = stored
    if bases is None and table.rank != math.prod(real_row_shape(table)):
        raise ValueError(f"table {table.name!r} has no bases, and {table.rank} coded columns")
    if bases is not None and bases.dtype not in BASES_DTYPES:
        raise ValueError(f"table {table.name!r} has bases of {bases.dtype}")
    if sum(one.shape[0] for one in codes if one is not None) != table.rows:
        raise ValueError(f"the groups of table {table.name!r} do not have {table.rows} rows together")
    return found


def read_windows(said: Any) -> Windows:
    """Read the pairs of `levels` in the metadata.

    Raises:
        ValueError: not pairs of bits and window, ascending.
    """
    pairs = tuple((bits, window) for bits, window in said)
    is_right = all(
        type(bits) is int
        and type(window) is int
        and 1 <= bits <= HALF_BIT
        and max(bits % HALF_BIT, 1) <= window <= WINDOW_MAX
        for bits, window in pairs
    )
    if not pairs or not is_right or list(pairs) != sorted(dict(pairs).items()):
        raise ValueError(f"levels are {said!r}")
    return pairs


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
    table: Coded, found: Mapping[str, StoredTensor], read: Callable[[StoredTensor], Tensor]
) -> CodedFactors:
    """Read all tensors of a coded table but the codes; the arguments are those of `read_window_factors`.

    Raises:
        ArtifactError: what they hold does not fit together.
    """
    import torch

    from embcompress.coding.codebook import read_codebook, read_row_index
    from embcompress.coding.rotation import decode_rotation

    dim = math.prod(real_row_shape(table))
    codebook = read_codebook(read(found[CODEBOOK_SUFFIX]).numpy(), rank=table.rank, dim=dim)
    index = read_row_index(read(found[INDEX_SUFFIX]).numpy(), rows=table.rows, codebook=codebook)
    if index.nbytes != found[CODES_SUFFIX].nbytes:
        raise _unfit(table, f"its strings have {index.nbytes} bytes, and its codes {found[CODES_SUFFIX].nbytes}")
    bases = None
    if codebook.rotation is not None:
        bases = decode_rotation(codebook.rotation, table.rank).to(torch.float32)
    return CodedFactors(codebook, bases, index)


def read_window_factors(
    table: Coded, found: Mapping[str, StoredTensor], read: Callable[[StoredTensor], Tensor]
) -> WindowFactors:
    """Read all tensors of a table coded as in schema 1 but the codes.

    Args:
        table: that they belong to.
        found: by `find_coded`.
        read: reads a tensor and checks it.

    Raises:
        ArtifactError: what they hold does not fit together.
    """
    import torch

    from embcompress.coding.window_codebook import WindowCodebook, unpack_numbers

    packed = read(found[BITS_SUFFIX])
    groups = len(packed)
    bits = unpack_numbers(packed.flatten(), 4, count=packed.numel() * 2).view(groups, -1)[:, : table.rank]
    known = torch.tensor([0, *(bits for bits, _ in table.windows)], dtype=torch.uint8)
    if not bool(torch.isin(bits, known).all()) or bool(((bits == HALF_BIT).sum(dim=1) % 2).any()):
        raise _unfit(table, "its bits have no levels, or half bits are not in pairs")
    has_bits = bits > 0
    scales = read(found[SCALES_SUFFIX]).to(torch.float32)
    if int(has_bits.sum()) != len(scales):
        raise _unfit(table, f"{int(has_bits.sum())} columns have bits, and {len(scales)} a scale")
    spread = torch.zeros(bits.shape)
    spread[has_bits] = scales
    levels = read(found[LEVELS_SUFFIX]).to(torch.float32)
    codebook = WindowCodebook(bits=bits, scales=spread, windows=dict(table.windows), levels=levels)
    if any(
        found[f"{CODES_SUFFIX}.{group}"].shape[1] != layout.row_bytes for group, layout in enumerate(codebook.layouts)
    ):
        raise _unfit(table, "its codes are not as long as its bits say")
    rows = table.rows
    groups_of_rows = torch.zeros(rows, dtype=torch.uint8)
    if groups > 1:
        groups_of_rows = unpack_numbers(read(found[GROUPS_SUFFIX]), group_width(groups), count=rows)
    counts = torch.bincount(groups_of_rows, minlength=groups).tolist()
    if counts != [found[f"{CODES_SUFFIX}.{group}"].shape[0] for group in range(groups)]:
        raise _unfit(table, "its groups have other rows than its codes")
    bases = None
    if BASES_SUFFIX in found:
        bases = read(found[BASES_SUFFIX]).flatten(1).to(torch.float32)
        if BASIS_SCALES_SUFFIX in found:
            bases = bases * read(found[BASIS_SCALES_SUFFIX])[:, None]
    for values in (spread, levels, *([] if bases is None else [bases])):
        if not bool(torch.isfinite(values).all()):
            raise _unfit(table, "it holds NaN or infinity")
    return WindowFactors(codebook, bases, groups_of_rows)


def _unfit(table: Coded, why: str) -> ArtifactError:
    return ArtifactError(
        f"coded table {table.name!r} does not fit together: {why}.", hint="Compress the original again."
    )
