"""Rows to codes, block by block, and the error that the codes leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.coding.codebook import Codebook, pack_numbers
from embcompress.coding.constants import group_width
from embcompress.coding.decoder import Decoder
from embcompress.coding.levels import LevelTables
from embcompress.coding.schemes import Allocation, StoredBases, store_bases
from embcompress.coding.survey import Survey, merged_groups, scaled_blocks
from embcompress.linalg.blocks import Rows, full_float32
from embcompress.linalg.error import ErrorAccumulator, row_norms
from embcompress.linalg.projection import measuring_dtype

TINY = torch.finfo(torch.float32).tiny  # below this a scale is as good as none


@dataclass(frozen=True)
class CodedTable:
    """What is stored of a coded table beside its codes, and what encodes them.

    Attributes:
        codebook: its scales are in the table's own units, as they are stored.
        bases: (rank, dim) as they are stored; None where the table's own columns are coded.
        groups_of_rows: (rows,) uint8.
        tables: the levels of the codebook, for the encoder.
        unit: of the survey.
        squared_error: what is expected, as a share of the squared norm.
    """

    codebook: Codebook
    bases: StoredBases | None
    groups_of_rows: Tensor
    tables: LevelTables
    unit: float
    squared_error: float

    @property
    def rows_in_groups(self) -> tuple[int, ...]:
        """Count the rows of each group."""
        return tuple(torch.bincount(self.groups_of_rows, minlength=self.codebook.groups).tolist())

    @property
    def packed_groups(self) -> Tensor | None:
        """The groups of the rows as they are stored; None where there is one."""
        width = group_width(self.codebook.groups)
        return pack_numbers(self.groups_of_rows, width) if width else None

    @property
    def projector(self) -> Tensor | None:
        """What gives the least-squares weights for the bases as they are stored, (dim, rank) float64."""
        return None if self.bases is None else torch.linalg.pinv(self.bases.values)


def settle(allocation: Allocation, found: Survey, bases: Tensor) -> CodedTable:
    """Round everything but the codes to what will be stored.

    Args:
        allocation: of the survey's table.
        found: the survey.
        bases: (all columns, dim) float64, those of the survey.
    """
    scheme, columns = allocation.scheme, allocation.columns
    scales = (scheme.moments.scales[:, columns] * found.unit).to(torch.bfloat16).to(torch.float32)
    tables = scheme.tables.only(allocation.windows)
    codebook = Codebook(
        bits=allocation.bits,
        scales=torch.where(allocation.bits > 0, scales, 0),
        windows=dict(allocation.windows),
        levels=tables.flat,
    )
    stored = None if scheme.bases is None else store_bases(bases[columns].cpu(), scheme.bases.dtype)
    groups = merged_groups(found.groups_of_rows, scheme.merge)
    return CodedTable(codebook, stored, groups, tables, found.unit, allocation.squared_error)


@dataclass(frozen=True)
class EncodedBlock:
    """Codes of consecutive rows: of each group (its rows in the block, row bytes), in the order of the rows."""

    codes: tuple[Tensor, ...]


def encode_rows(
    rows: Rows,
    coded: CodedTable,
    *,
    norm: float,
    error: ErrorAccumulator,
) -> Iterator[EncodedBlock]:
    """Encode all rows, and measure what the codes leave once they are decoded again.

    The weights are the least-squares ones for the bases as they are stored. Goes over the rows once; holds a few
    blocks.

    Args:
        rows: the table.
        coded: what is stored beside the codes.
        norm: the Frobenius norm of the table.
        error: takes what is measured.
    """
    book, unit, device = coded.codebook, coded.unit, rows.device
    bases = None if coded.bases is None else coded.bases.values  # (rank, dim)
    relative = coded.squared_error**0.5
    measured_in = measuring_dtype(relative=relative, norm=norm / unit, dtypes=(torch.float32,))
    in_units = replace(book, scales=book.scales / unit)
    decoder = Decoder(in_units, bases, dtype=measured_in, device=device)
    exact = coded.projector  # (dim, rank)
    exact = None if exact is None else exact.to(device)
    scales, projectors = [], []
    for group, layout in enumerate(decoder.layouts):
        scale = in_units.scales[group].to(device)[layout.columns].clamp_min(TINY)  # (coded,)
        scales.append(scale)
        # Rows to numbers in units of the scales, in the order of the string, in one product.
        projectors.append(None if exact is None else (exact[:, layout.columns] / scale).to(torch.float32))
    for first, values in scaled_blocks(rows, unit):
        groups = coded.groups_of_rows[first : first + len(values)].to(device)
        order = groups.argsort(stable=True)
        counts = torch.bincount(groups, minlength=book.groups).tolist()
        codes, errors, sizes, norms = [], [], [], []
        for group, own in enumerate(torch.split(values.index_select(0, order), counts)):
            layout, scale, projector = decoder.layouts[group], scales[group], projectors[group]
            packed = torch.zeros(len(own), layout.row_bytes, dtype=torch.uint8, device=device)
            if packed.numel():
                with full_float32():
                    numbers = own.index_select(1, layout.columns) / scale if projector is None else own @ projector
                shares = scale / scale.amax()
                packed = coded.tables.encode(numbers, layout, weights=shares.square())
            codes.append(packed.cpu())
            made = decoder.decode_group(packed, group)  # (count, dim)
            actual = own.to(measured_in)
            norms.append(row_norms(actual))
            sizes.append(row_norms(made))
            errors.append(row_norms(made.sub_(actual)))
        unsort = torch.empty_like(order)
        unsort[order] = torch.arange(len(order), device=device)
        error.add_norms(
            norms=torch.cat(norms)[unsort] * unit,
            reconstructed_norms=torch.cat(sizes)[unsort] * unit,
            errors=torch.cat(errors)[unsort] * unit,
            first=first,
        )
        yield EncodedBlock(tuple(codes))
