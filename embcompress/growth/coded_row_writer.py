"""A coded table grows: known strings in their new places, new rows by the step that most known ones have."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.artifact.coded import read_coded
from embcompress.artifact.decoded_rows import StringReader
from embcompress.artifact.schema import CODEBOOK_SUFFIX, CODES_SUFFIX, INDEX_SUFFIX, coded_entries
from embcompress.artifact.staged_strings import StagedStrings
from embcompress.artifact.writer import TensorWriter
from embcompress.coding.codebook import KINDS_MAX, ZERO_KIND, Codebook
from embcompress.coding.coder import CodedBlock, encode_block
from embcompress.coding.fit import SHIFT_MAX, Fit
from embcompress.coding.index_kernels import move_strings
from embcompress.coding.kinds import Kinds
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import store_index
from embcompress.coding.symbols import CLASS_MAX, PER_OCTAVE, distortions_of, load_symbols
from embcompress.exceptions import TableError
from embcompress.growth.placement import Placement
from embcompress.growth.plan import BaseTable, CodedGrowth, GrowthPlan, RowRequest
from embcompress.growth.row_writer import RowWriter
from embcompress.linalg.blocks import full_float32
from embcompress.tables.progress import Progress
from embcompress.tables.table import block_rows_for
from embcompress.text import quoted

# Numbers in steps are cut off here, far beyond the reach of the coder, so that their squares stay finite.
NUMBERS_MAX = 2.0**40


def plan_coded(part: BaseTable, placement: Placement) -> CodedGrowth:
    """Plan a coded table that grows. Reads everything but the codes; holds a few bytes a row.

    Args:
        part: the table, in the only base.
        placement: the new id of each of its rows.

    Raises:
        ArtifactError: what decodes the codes does not fit together.
        TableError: there may be more kinds of rows than there can be.
    """
    artifact, compressed = part.base.artifact, part.compressed
    assert artifact is not None
    assert compressed is not None
    if compressed.is_tuned:
        raise TableError(
            f"table {part.table.name!r} in {part.base.path} was trained after it was coded, and its codes cannot grow.",
            hint=f"Restore it: `embcompress reconstruct {quoted(part.base.path)}`, backfill that, and approximate "
            "again.",
        )
    factors = read_coded(artifact, compressed)
    book, index, added = factors.codebook, factors.index, placement.added
    if added and book.kinds + 2 * SHIFT_MAX + 1 > KINDS_MAX:
        raise TableError(
            f"table {part.table.name!r} in {part.base.path} has {book.kinds} kinds of rows; at most {KINDS_MAX} are "
            "can be, and new rows may need more.",
            hint=f"Restore it: `embcompress reconstruct {quoted(part.base.path)}`, backfill that, and approximate "
            "again.",
        )
    new_ids = np.frombuffer(placement.new_ids[0], np.int64)
    is_kept = new_ids >= 0
    kept_bytes, rows = int(index.lengths[is_kept].sum(dtype=np.int64)), max(len(index.kinds), 1)
    tensors, model, added_bytes = artifact.coded_factors(compressed), None, 0
    if added:
        counts = np.bincount(index.kinds[is_kept], minlength=book.kinds)
        model = _commonest(book, counts if counts[1:].any() else np.bincount(index.kinds, minlength=book.kinds))
        # New rows are expected to take as much as rows that are coded like them.
        alike = (_codings(book) == _codings(book)[model]).all(axis=1)[index.kinds] & (index.kinds != ZERO_KIND)
        added_bytes = math.ceil(added * float(index.lengths[alike].mean())) if alike.any() else 0
    heads = 0 if index.heads is None else int(index.heads.sum(dtype=np.int64))
    entries = coded_entries(
        part.table.name,
        codes=kept_bytes + added_bytes + math.ceil(heads / rows * placement.max_id),
        index=math.ceil(tensors[INDEX_SUFFIX].nbytes / rows * placement.max_id),
        codebook=tensors[CODEBOOK_SUFFIX].nbytes,
    )
    return CodedGrowth(factors, model, entries)


def starts_with_zeros(part: BaseTable) -> bool:
    """Return whether the first row of a coded table is all zeros, and the last is not."""
    artifact, compressed = part.base.artifact, part.compressed
    assert artifact is not None
    assert compressed is not None
    kinds = read_coded(artifact, compressed).index.kinds
    return bool(len(kinds) and kinds[0] == ZERO_KIND and kinds[-1] != ZERO_KIND)


def _codings(book: Codebook) -> NDArray[np.int64]:
    """Return step and scale of each kind, (kinds, 2)."""
    return np.stack([book.step_numbers, book.scales], axis=1)


def _commonest(book: Codebook, counts: NDArray[np.int64]) -> int:
    """Find a kind whose step and scale most rows have, zeros not counted; kind 0 where all are zeros."""
    counts = counts.copy()
    counts[ZERO_KIND] = 0
    if not counts.any():
        return ZERO_KIND
    _, groups = np.unique(_codings(book), axis=0, return_inverse=True)
    most = np.bincount(groups.ravel(), weights=counts).argmax()
    return int(np.flatnonzero((groups.ravel() == most) & (counts > 0))[0])


def _fit_in_steps(growth: CodedGrowth) -> tuple[tuple[int, int], float, Fit]:
    """Choose how new rows are coded: the number of the step, its scale, what turns weights into steps, a fit in these.

    A fit has profiles and shifts; columns are just of their class where the shift is 0.
    """
    book = growth.factors.codebook
    step_number, scale = _codings(book)[growth.model or ZERO_KIND].tolist()
    step = book.steps[step_number] * 2.0 ** (scale / PER_OCTAVE)
    inverse = 1 / step if step else 0.0
    counts = np.bincount(growth.factors.index.kinds, minlength=book.kinds)
    counts[ZERO_KIND] = 0
    chances = np.bincount(book.profiles, weights=counts, minlength=len(book.classes)) + 1
    centers = np.zeros_like(book.classes) if book.center_numbers is None else book.center_numbers
    in_steps = replace(book, steps=(1.0,), center_numbers=centers, center_step=book.center_step * inverse)
    fit = Fit(in_steps, None, 2.0 ** (book.classes / PER_OCTAVE), chances / chances.sum())
    return (step_number, scale), inverse, fit


class CodedRowWriter(RowWriter):
    """Rows as codes: strings of known ones are moved, new ones are coded by what decodes the table.

    The arguments are those of RowWriter.
    """

    def __init__(self, plan: GrowthPlan, request: RowRequest, *, folder: Path, device: str) -> None:
        part, growth = plan.first, plan.coded
        assert part.base.artifact is not None
        assert part.compressed is not None
        assert growth is not None
        factors = growth.factors
        bases = None if factors.bases is None else factors.bases.to(torch.float64)
        super().__init__(plan, request, bases=bases, folder=folder, device=device)
        self._artifact, self._growth, self._codebook = part.base.artifact, growth, factors.codebook
        self._tensors = self._artifact.coded_factors(part.compressed)
        self._strings = StringReader(self._tensors[CODES_SUFFIX], factors.index, files=self._artifact.checkpoint.files)
        self._decoded_in = torch.promote_types(self._new.dtype, torch.float32)
        self._numbers = Kinds.of(factors.codebook)
        self._coding, self._inverse, self._fit = _fit_in_steps(growth)
        # Of all rows, in the order of the new ids.
        self._kinds = np.zeros(plan.placement.max_id, np.uint32)
        self._lengths = np.zeros(plan.placement.max_id, np.uint32)
        self._written: int | None = None

    @property
    def nbytes(self) -> int:  # noqa: D102 - as in RowWriter
        return super().nbytes if self._written is None else self._written

    @property
    def attainable_energy(self) -> float:
        """The share of energy that codes keep of normal rows with the new rows' classes; 1 where all are zeros."""
        book, counts = self._codebook, self._count_new_kinds()
        used = counts.nonzero()[0]
        # (kinds, columns), and in squared steps as what follows from them.
        classes = np.minimum(book.classes[book.profiles[used]] + book.shifts[used][:, None], CLASS_MAX)
        squares = (2.0 ** (2 * classes / PER_OCTAVE)).sum(axis=1)
        left = distortions_of(classes, load_symbols()).sum(axis=1)
        weights = counts[used] * book.kind_steps[used].astype(np.float64) ** 2
        total = float(weights @ squares)
        return 1 - float(weights @ left) / total if total else 1.0

    def write(self, writer: TensorWriter, progress: Progress | None) -> None:  # noqa: D102 - as in RowWriter
        if self.plan.first.compressed is None or not self.plan.first.compressed.is_seekable:
            self._write(writer, progress, staged=None)
            return
        with StagedStrings(writer.path.parent) as staged:
            self._write(writer, progress, staged=staged)

    def _write(self, writer: TensorWriter, progress: Progress | None, *, staged: StagedStrings | None) -> None:
        entries, rows = self._growth.entries, self.plan.placement.max_id
        bases = None if self._bases is None else self._bases.to(self._decoded_in)
        step = self._block_rows(rows)
        row_bytes = max(1, self.nbytes // rows)
        written = 0
        for first in range(0, rows, step):
            owner = self._owner[first : first + step]
            new = (owner < 0).nonzero().squeeze(1)
            exact = self._new.make(first + new).to(self.device, torch.float64) if len(new) else None
            codes, weights = self._code_block(first, len(owner), exact)
            values = weights.to(self.device, self._decoded_in)
            if bases is not None:
                with full_float32():
                    values = values @ bases
            if exact is not None:
                made = values.index_select(0, new.to(self.device))
                self._new.refuse_non_finite(first + new, made.to(self._new.dtype))
                self._count_energy(exact, exact - made.to(torch.float64))
            self._count(values, first)
            if staged is None:
                writer.append(entries[CODES_SUFFIX], codes.data)
            else:
                staged.append(codes)
            written += len(codes)
            if progress is not None:
                progress(f"{self.name}: all rows", first + len(owner), rows, row_bytes)
        index = store_index(make_row_index(self._kinds, self._lengths), self._codebook, is_seekable=staged is not None)
        if staged is not None:
            writer.write(entries[CODES_SUFFIX], staged.blocks(index))
        writer.append(entries[INDEX_SUFFIX], index.index.data)
        book = self._tensors[CODEBOOK_SUFFIX]
        if self._codebook.kinds == self._growth.factors.codebook.kinds:
            parts = self._artifact.read(book)
        else:
            parts = iter([self._codebook.to_bytes().data])
        size = 0
        for part in parts:
            writer.append(entries[CODEBOOK_SUFFIX], part)
            size += len(part)
        self._written = written + index.nbytes + size
        self._warn_of_short()

    def _code_block(self, first: int, count: int, exact: Tensor | None) -> tuple[NDArray[np.uint8], Tensor]:
        """Put together the strings of `count` rows from `first` on, and what they decode to, (count, rank) float32.

        Args:
            first: new id of the first.
            count: of rows.
            exact: the new ones among them, (new, dim) float64, or None.
        """
        owner = self._owner[first : first + count].numpy()
        known, new = np.flatnonzero(owner >= 0), np.flatnonzero(owner < 0)
        strings = self._strings.read(self._row[first : first + count].numpy()[known])
        kinds, lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
        kinds[known], lengths[known] = strings.kinds, strings.lengths
        weights = torch.empty(count, self._codebook.rank)
        weights[torch.from_numpy(known)] = strings.decode(self._codebook)
        coded: CodedBlock | None = None
        if exact is not None:
            kinds[new], coded = self._encode(exact, ids=first + torch.from_numpy(new))
            lengths[new] = coded.lengths
            weights[torch.from_numpy(new)] = coded.weights
        positions = lengths.cumsum() - lengths
        codes = np.empty(int(lengths.sum()), np.uint8)
        move_strings(strings.codes, strings.positions, strings.lengths, positions[known], codes)
        if coded is not None:
            move_strings(coded.strings, coded.lengths.cumsum() - coded.lengths, coded.lengths, positions[new], codes)
        self._kinds[first : first + count], self._lengths[first : first + count] = kinds, lengths
        return codes, weights

    def _encode(self, exact: Tensor, *, ids: Tensor) -> tuple[NDArray[np.int64], CodedBlock]:
        """Encode new rows, (count, dim) float64: their kinds, which are added to the codebook, and their strings."""
        book, (step_number, scale) = self._codebook, self._coding
        self._new.refuse_non_finite(ids, exact.to(self._new.dtype))
        weights = exact if self._bases is None else exact @ self._bases.T
        self._new.refuse_non_finite(ids, weights.to(torch.float32))
        numbers = (weights * self._inverse).clamp(-NUMBERS_MAX, NUMBERS_MAX).to(torch.float32)
        is_zero = (exact == 0).all(dim=1)
        kinds = np.full(len(exact), ZERO_KIND, np.int64)
        has_string = ~is_zero.cpu().numpy()
        profiles = self._fit.profiles_of(numbers)
        shifts = self._fit.shifts(numbers, is_zero, profiles)[has_string]
        kinds[has_string] = self._numbers.number(
            profiles[has_string], shifts, np.full_like(shifts, scale), np.full_like(shifts, step_number)
        )
        self._codebook = self._numbers.into(book)
        block = encode_block(weights, kinds, codebook=self._codebook, threads=torch.get_num_threads())
        return kinds, block

    def _warn_of_short(self) -> None:
        """Say so where no new row has a column of a class that is coded."""
        counts = self._count_new_kinds()
        used = counts.nonzero()[0].tolist()
        if used and not any(len(self._codebook.layout(kind).columns) for kind in used):
            self.warnings.append(
                f"the {int(counts.sum())} new rows of {self.name!r} are stored as zeros: they are too short for the "
                "quantization step of the known rows. For a finer step: `embcompress reconstruct`, backfill that, and "
                "approximate again"
            )

    def _count_new_kinds(self) -> NDArray[np.int64]:
        """Count the new rows of each kind, (kinds,), zeros left out."""
        counts = np.bincount(self._kinds[self._owner.numpy() < 0], minlength=self._codebook.kinds)
        counts[ZERO_KIND] = 0
        return counts

    def _row_bytes(self, part: BaseTable) -> int:
        return max(1, self._tensors[CODES_SUFFIX].nbytes // max(part.table.rows, 1))

    def _block_rows(self, rows: int) -> int:
        """Count the rows of a block by what they are decoded to."""
        dim = max(self._codebook.rank, math.prod(self._new.shape))
        return self.block_rows or block_rows_for(rows=rows, dim=dim, item_bytes=4)

    def _known_columns(self, number: int) -> Iterator[Tensor]:
        rows, checksum = self.plan.parts[number].table.rows, 0
        step = self._block_rows(rows)
        for first in range(0, rows, step):
            strings = self._strings.read(np.arange(first, min(first + step, rows)))
            checksum = zlib.crc32(strings.used, checksum)
            yield strings.decode(self._codebook).to(self.device)
        self._artifact.check(self._tensors[CODES_SUFFIX], checksum)
