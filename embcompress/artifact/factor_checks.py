"""The tensors of compressed tables in an artifact, found by name and checked against its header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from embcompress.artifact.schema import (
    BASES_DTYPES,
    BASES_SUFFIX,
    BITS_SUFFIX,
    CENTERS_SUFFIX,
    CODEBOOK_SUFFIX,
    CODES_SUFFIX,
    INDEX_SUFFIX,
    SCALES_SUFFIX,
    CompressedTable,
    real_row_shape,
    tuned_entries,
    window_entries,
)
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import StoredTensor
from embcompress.coding.constants import GROUPS_MAX
from embcompress.exceptions import ArtifactError
from embcompress.tables.recognition import TABLE_DTYPES
from embcompress.tables.table import REAL_PARTS
from embcompress.text import brief


def check_plain(table: CompressedTable, tensors: Mapping[str, StoredTensor], path: Path) -> None:
    """Check that the factors of a table whose weights are floats are there, with the dtypes and shapes of the header.

    Raises:
        ArtifactError: one is missing, or is none of this table's.
    """
    for suffix, shape in table.factor_shapes.items():
        is_complex = suffix == BASES_SUFFIX and table.dtype in REAL_PARTS
        factor = tensors.get(table.name + suffix)
        if factor is None or factor.shape != shape:
            raise ArtifactError(
                f"{path} should hold {brief(table.name + suffix)} of shape {brief(shape)}, "
                f"and holds {'none' if factor is None else brief(factor.shape)}.",
                hint="Compress the original again.",
            )
        if factor.dtype not in TABLE_DTYPES or (factor.dtype in REAL_PARTS) != is_complex:
            raise ArtifactError(
                f"{path} holds {brief(factor.name)} as {factor.dtype}, which cannot be a factor of a {table.dtype} "
                "table.",
                hint="Compress the original again.",
            )
    sides = {tensors[table.name + suffix].dtype for suffix in table.factor_shapes}
    if table.matrix is not None and len(sides) > 1:
        raise ArtifactError(
            f"{path} holds the factors of {table.name!r} in two dtypes.", hint="Compress the original again."
        )


def find_coded(table: CompressedTable, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find the tensors of a coded table, by what their names end in, and check their dtypes and shapes.

    Raises:
        ValueError: one is missing, or has a dtype or a shape that cannot be.
    """
    if table.windows:
        return _find_windowed(table, tensors)
    factors = {}
    for suffix in (CODES_SUFFIX, INDEX_SUFFIX, CODEBOOK_SUFFIX):
        stored = tensors.get(table.name + suffix)
        if stored is None or stored.dtype != "uint8" or len(stored.shape) != 1:
            what = "none" if stored is None else f"{stored.dtype} {stored.shape}"
            raise ValueError(f"it should hold {brief(table.name + suffix)} as bytes in one axis, and holds {what}")
        factors[suffix] = stored
    return factors | _find_tuned(table, tensors) if table.is_tuned else factors


def _find_tuned(table: CompressedTable, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find the floats of a tuned table; raises as `find_coded`."""
    centers = tensors.get(table.name + CENTERS_SUFFIX)
    profiles = None if centers is None else math.prod(centers.shape[:1])
    has_bases = table.name + BASES_SUFFIX in tensors
    if not has_bases and table.rank != math.prod(real_row_shape(table)):
        raise ValueError(f"table {brief(table.name)} has no bases, and {table.rank} coded columns")
    return _find_entries(tuned_entries(table, profiles=profiles, has_bases=has_bases), tensors)


def _find_windowed(table: CompressedTable, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find the tensors of a table coded as in schema 1, and check them against each other; raises as `find_coded`."""
    bits = tensors.get(table.name + BITS_SUFFIX)
    groups = bits.shape[0] if bits is not None and len(bits.shape) == 2 else 0
    if not 1 <= groups <= GROUPS_MAX:
        raise ValueError(f"table {brief(table.name)} has no bits of 1 to {GROUPS_MAX} groups")
    codes = [tensors.get(f"{table.name}{CODES_SUFFIX}.{group}") for group in range(groups)]
    if any(one is None or len(one.shape) != 2 for one in codes):
        raise ValueError(f"table {brief(table.name)} has {groups} groups, and not as many matrices of codes")
    scales, bases = tensors.get(table.name + SCALES_SUFFIX), tensors.get(table.name + BASES_SUFFIX)
    wanted = window_entries(
        table,
        bases_dtype=None if bases is None else bases.dtype,
        rows_in_groups=[one.shape[0] for one in codes if one is not None],
        row_bytes=[one.shape[1] for one in codes if one is not None],
        scales=math.prod(scales.shape) if scales is not None else 0,
    )
    factors = _find_entries(wanted, tensors)
    if bases is None and table.rank != math.prod(real_row_shape(table)):
        raise ValueError(f"table {brief(table.name)} has no bases, and {table.rank} coded columns")
    if bases is not None and bases.dtype not in BASES_DTYPES:
        raise ValueError(f"table {brief(table.name)} has bases of {bases.dtype}")
    if sum(one.shape[0] for one in codes if one is not None) != table.rows:
        raise ValueError(f"the groups of table {table.name!r} do not have {table.rows} rows together")
    return factors


def _find_entries(wanted: Mapping[str, Entry], tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Find tensors by what their names end in, each of one dtype and shape; raises as `find_coded`."""
    factors = {}
    for suffix, entry in wanted.items():
        stored = tensors.get(entry.name)
        if stored is None or (stored.dtype, stored.shape) != (entry.dtype, entry.shape):
            what = "none" if stored is None else f"{stored.dtype} {stored.shape}"
            raise ValueError(
                f"it should hold {brief(entry.name)} as {entry.dtype} {brief(entry.shape)}, and holds {what}"
            )
        factors[suffix] = stored
    return factors
