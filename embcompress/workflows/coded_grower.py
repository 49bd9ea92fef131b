"""A table that is stored in few bits grows: known codes in their new places, new rows in codes of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import read_coded
from embcompress.coded_factors import (
    BASES_SUFFIX,
    BASIS_SCALES_SUFFIX,
    BITS_SUFFIX,
    CODES_SUFFIX,
    GROUPS_MAX,
    GROUPS_SUFFIX,
    LEVELS_SUFFIX,
    SCALES_SUFFIX,
    coded_entries,
)
from embcompress.coding.constants import HALF_BIT, group_width
from embcompress.exceptions import TableError
from embcompress.growth import CodedGrowth, GrowthPlan, Part, RowRequest
from embcompress.planning import quoted
from embcompress.safetensors_writer import SafetensorsWriter
from embcompress.table import block_rows_for, tensor_bytes
from embcompress.vocabulary import Placement
from embcompress.workflows.grower import Grower, RowSource
from embcompress.workflows.run import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from embcompress.coding.codebook import Codebook

SCALE_MIN = 1e-300  # to divide by where a scale is 0


def plan_coded(part: Part, placement: Placement) -> CodedGrowth:
    """Tell what will be written of a coded table: its groups with the rows that stay, and one of the new rows.

    New rows get the bits of the group that has the most, since nobody knows yet how much they will matter. Reads
    everything but the codes; holds a byte a row.

    Args:
        part: the table, in the only base.
        placement: the new id of each of its rows.

    Raises:
        ArtifactError: what decodes the codes does not fit together.
        TableError: there are as many groups as there can be.
    """
    import torch

    artifact, compressed = part.base.artifact, part.compressed
    assert artifact is not None
    assert compressed is not None
    factors = read_coded(artifact, compressed)
    book, added = factors.codebook, placement.added
    place = torch.frombuffer(placement.places[0], dtype=torch.int64)
    kept = factors.groups_of_rows[: len(place)][place >= 0]  # rows beyond are padding
    rows_in_groups = torch.bincount(kept, minlength=book.groups).tolist()
    row_bytes = [layout.row_bytes for layout in book.layouts]
    scales = [int(count) for count in (book.bits > 0).sum(dim=1)]
    model = None
    if added:
        if book.groups == GROUPS_MAX:
            raise TableError(
                f"table {part.name!r} in {part.base.path} has {GROUPS_MAX} groups of rows, as many as there can be, "
                "and new rows need one more.",
                hint=f"Restore it: `embcompress reconstruct {quoted(part.base.path)}`, backfill that, and approximate "
                "again.",
            )
        rates = _rates(book).sum(dim=1).tolist()
        model = max(range(book.groups), key=lambda group: rates[group])
        for counts, count in ((rows_in_groups, added), (row_bytes, row_bytes[model]), (scales, scales[model])):
            counts.append(count)
    bases = artifact.coded_factors(compressed).get(BASES_SUFFIX)
    entries = coded_entries(
        replace(compressed, shape=(placement.max_id, *part.shape[1:])),
        bases_dtype=None if bases is None else bases.dtype,
        rows_in_groups=rows_in_groups,
        row_bytes=row_bytes,
        scales=sum(scales),
    )
    return CodedGrowth(factors, model, entries)


def _pack_bits(bits: Tensor) -> Tensor:
    """Pack the bits of the columns of a group, (columns,), two to a byte."""
    import torch

    from embcompress.coding.codebook import pack_numbers

    return pack_numbers(torch.nn.functional.pad(bits, (0, len(bits) % 2)), 4)


def _rates(book: Codebook) -> Tensor:
    """Tell how many bits each column takes in each group, (groups, columns) float64."""
    import torch

    return torch.where(book.bits == HALF_BIT, 0.5, book.bits.to(torch.float64))


class CodedGrower(Grower):
    """Rows that are stored in few bits: codes of known ones are moved, new ones coded on the base's own levels.

    The arguments are those of Grower. New rows are made twice: for the scales of their columns, and to be coded.
    """

    def __init__(self, plan: GrowthPlan, request: RowRequest, *, folder: Path, device: str) -> None:
        import torch

        from embcompress.coding.decoder import Decoder

        part, coded = plan.table.first, plan.coded
        assert part.base.artifact is not None
        assert part.compressed is not None
        assert coded is not None
        self._base, self._growth = part.base, coded
        factors, place = coded.factors, torch.frombuffer(plan.placement.places[0], dtype=torch.int64)
        places = torch.nn.functional.pad(place, (0, part.shape[0] - len(place)), value=-1)  # rows of padding
        sources = [
            RowSource(stored, part.base, places[factors.groups_of_rows == group])
            for group, stored in enumerate(part.base.artifact.codes(part.compressed))
        ]
        bases = None if factors.bases is None else factors.bases.to(torch.float64)
        super().__init__(plan, request, sources=sources, bases=bases, folder=folder, device=device)
        self._found = part.base.artifact.coded_factors(part.compressed)
        self._book = factors.codebook
        self._decoded_in = torch.promote_types(self._new.dtype, torch.float32)
        self._weights = Decoder(self._book, None, dtype=self._decoded_in, device=self.device)
        self._projector = None if self._bases is None else torch.linalg.pinv(self._bases)  # (dim, rank)
        self._squares = torch.zeros(self._book.columns, dtype=torch.float64)  # of the new rows, column by column

    @property
    def holdable(self) -> float:
        """What no code can hold more of: of normal numbers, b bits leave a share of 4^-b at least.

        Columns without bits do not count: rows such as the kept ones have little there.

        Source: Cover & Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.2.
        """
        if self._growth.model is None:
            return 1.0
        rates = _rates(self._book)[self._growth.model]
        total = float(self._squares[rates > 0].sum())
        return 1 - float((self._squares * 4.0**-rates)[rates > 0].sum()) / total if total else 1.0

    def write(self, writer: SafetensorsWriter, progress: Progress | None) -> None:  # noqa: D102 - as in Grower
        import torch

        from embcompress.coding.codebook import pack_numbers
        from embcompress.coding.decoder import Decoder

        self._write_decoding(writer, progress)
        entries, groups = self._growth.entries, len(self._sources)
        if GROUPS_SUFFIX in entries:
            owners = torch.where(self._owner < 0, groups, self._owner).to(torch.uint8)
            writer.append(entries[GROUPS_SUFFIX], tensor_bytes(pack_numbers(owners, group_width(self._book.groups))))
        decoder = Decoder(self._book, self._bases, dtype=self._decoded_in, device=self.device)
        coder = None if self._growth.model is None else _Coder(self._book, device=self.device)
        rows = self.plan.placement.max_id
        step = self._block_rows(rows)
        coded = sum(entry.nbytes for suffix, entry in entries.items() if suffix.startswith(CODES_SUFFIX))
        row_bytes = max(1, coded // rows)
        for first in range(0, rows, step):
            owner, row = self._owner[first : first + step], self._row[first : first + step]
            codes = [reader.read(row[owner == number]) for number, reader in enumerate(self._readers)]
            new = (owner < 0).nonzero().squeeze(1)
            if coder is not None:
                exact = self._make(first + new)
                codes.append(coder.encode(self._project(exact)))
            for group, part in enumerate(codes):
                writer.append(entries[f"{CODES_SUFFIX}{group}"], tensor_bytes(part))
            values = decoder.decode(codes, torch.where(owner < 0, groups, owner))  # (block_rows, dim)
            if coder is not None:
                made = values.index_select(0, new.to(self.device))
                self._new.refuse_non_finite(first + new, made.to(self._new.dtype))
                self._count_energy(exact, exact - made.to(torch.float64))
            self._count(values, owner)
            if progress is not None:
                progress(f"{self.name}: all rows", first + len(owner), rows, row_bytes)

    def _write_decoding(self, writer: SafetensorsWriter, progress: Progress | None) -> None:
        """Write what decodes the codes but for the groups: as it is, and bits and scales of the new rows behind it."""
        import torch

        entries, model = self._growth.entries, self._growth.model
        for suffix in (BITS_SUFFIX, SCALES_SUFFIX, LEVELS_SUFFIX, BASES_SUFFIX, BASIS_SCALES_SUFFIX):
            if suffix in entries:
                writer.write(entries[suffix], self._base.read(self._found[suffix]))
        if model is None:
            return
        bits, scales = self._book.bits[model], self._new_scales(model, progress)
        writer.append(entries[BITS_SUFFIX], tensor_bytes(_pack_bits(bits)))
        writer.append(entries[SCALES_SUFFIX], tensor_bytes(scales[bits > 0]))
        self._book = replace(
            self._book,
            bits=torch.cat([self._book.bits, bits[None]]),
            scales=torch.cat([self._book.scales, scales[None].to(torch.float32)]),
        )

    def _new_scales(self, model: int, progress: Progress | None) -> Tensor:
        """Go over the new rows: the root mean square of each column that will have bits, (columns,) bfloat16."""
        import torch

        ids, has_bits = self._new.ids, self._book.bits[model] > 0
        squares = self._squares.to(self.device)
        row_bytes = math.prod(self._new.shape) * self._new.dtype.itemsize
        done = 0
        for part in torch.split(ids, self._block_rows(len(ids))):
            exact = self._make(part)
            self._new.refuse_non_finite(part, exact.to(self._new.dtype))
            numbers = self._project(exact)
            self._new.refuse_non_finite(part, numbers.to(torch.bfloat16))
            squares += numbers.square().sum(dim=0)
            done += len(part)
            if progress is not None:
                progress(f"{self.name}: new rows", done, len(ids), row_bytes)
        self._squares = squares.cpu()
        scales = (self._squares / len(ids)).sqrt()
        return torch.where(has_bits, scales, 0).to(torch.bfloat16)

    def _make(self, ids: Tensor) -> Tensor:
        """Make the rows of new ids, (count, dim) float64."""
        import torch

        return self._new.make(ids).to(self.device, torch.float64)

    def _project(self, rows: Tensor) -> Tensor:
        """Compute what is coded of rows: their least-squares weights, (count, columns), or the rows themselves."""
        return rows if self._projector is None else rows @ self._projector

    def _block_rows(self, rows: int) -> int:
        """Count the rows of a block by what they are decoded to."""
        dim = max(self._book.columns, math.prod(self._new.shape))
        return block_rows_for(rows=rows, dim=dim, item_bytes=4)

    def _known_blocks(self, number: int) -> Iterator[Tensor]:
        import torch

        rows = self._sources[number].stored.shape[0]
        step = self._block_rows(rows)
        for first in range(0, rows, step):
            yield self._readers[number].read(torch.arange(first, min(first + step, rows)))

    def _known_columns(self, stored: Tensor, number: int) -> Tensor:
        return self._weights.decode_group(stored, number)


class _Coder:
    """Codes weights for the last group of a codebook.

    Args:
        book: with the scales of that group.
        device: where the weights are.
    """

    def __init__(self, book: Codebook, *, device: torch.device) -> None:
        import torch

        from embcompress.coding.levels import LevelTables

        self._layout = book.layouts[-1].to(device)
        scales = book.scales[-1].to(device, torch.float64)[self._layout.columns]
        # A scale is 0 where all numbers are, or too small for bfloat16: whatever the code, the weight is 0.
        self._inverse = torch.where(scales > 0, 1 / scales.clamp_min(SCALE_MIN), 0)
        costs = (scales / scales.amax().clamp_min(SCALE_MIN)).square() if len(scales) else scales
        self._costs = costs.to(torch.float32)
        self._tables = LevelTables.of_codebook(book)
        # Only levels that ascend can be searched by their borders; those of a foreign file may lie in any order.
        self._is_ascending = all(
            bool((table.diff() >= 0).all())
            for code, table in self._tables.tables.items()
            if self._tables.windows[code] == code
        )

    def encode(self, weights: Tensor) -> Tensor:
        """Encode rows of weights, (count, columns) float64, to (count, row bytes) uint8 on the CPU."""
        import torch

        from embcompress.coding.trellis import encode

        layout = self._layout
        if not layout.row_bytes or not len(weights):
            return torch.empty(len(weights), layout.row_bytes, dtype=torch.uint8)
        values = (weights.index_select(1, layout.columns) * self._inverse).to(torch.float32)  # (count, coded)
        if self._is_ascending:
            return self._tables.encode(values, layout, weights=self._costs).cpu()
        levels = self._tables.spread.to(values.device)
        return encode(values, layout.own_bits, weights=self._costs, levels=levels, kinds=layout.kinds).cpu()
