"""Error against bytes of tables, by every method of storing them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from embcompress.artifact.schema import CODED
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.choices import STORING_METHODS
from embcompress.coding.bound import gaussian_bound
from embcompress.coding.sample_error import (
    SampleError,
    coded_error,
    estimate_share,
    integer_bytes,
    mean_estimate,
    try_integers,
)
from embcompress.compression.candidates import TableCandidates
from embcompress.compression.coded_source import CodedSource
from embcompress.compression.shared_bytes import share_bytes
from embcompress.compression.shared_step import SharedStep
from embcompress.compression.size_limit import SizeLimit, TensorLimit
from embcompress.linalg.error import row_norms
from embcompress.linalg.precision import ROUNDING
from embcompress.results import SweepCurve, SweepPoint, SweptTable
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table
from embcompress.text import human_bytes

RATIOS = (2, 4, 8, 16, 32, 64, 128)
PLAIN_DTYPES = {name: method.float_dtype for name, method in STORING_METHODS.items() if method.float_dtype}
INTEGER_BITS = {name: method.integer_bits for name, method in STORING_METHODS.items() if method.integer_bits}
DENSE_DTYPES = {name: method.dense_dtype for name, method in STORING_METHODS.items() if method.dense_dtype}
REMARK_RATIO = 16  # at which low rank and coding are compared in words
POOR_FACTOR = 2.0  # plain low rank is far worse than coding from this many times its error on


class TableMethods:
    """One table: what is known of it, and what each method of storing it leaves."""

    def __init__(self, table: Table, table_source: TableSource, *, effort: str) -> None:
        started = time.perf_counter()
        self.table, self._table_source = table, table_source
        self.source = CodedSource(table, table_source, effort=effort)
        self.plain: Mapping[str, TableCandidates] = {
            method: TableCandidates(table, self.source.factors, stored_dtype=dtype)
            for method, dtype in PLAIN_DTYPES.items()
        }
        self._seconds = time.perf_counter() - started

    def can_be(self, method: str) -> bool:
        """Return whether a way makes the table smaller; else `approximate` would leave it dense."""
        if method == CODED:
            return not self.source.why_dense
        return self.plain[method].least().nbytes < self.table.nbytes

    @property
    def squares(self) -> Tensor | None:
        """All squared singular values; None where a randomized solver knows the leading ones only."""
        values = self.source.factors.singular_values
        return values.square() if len(values) == min(self.table.rows, self.table.dim) else None

    def integers(self, method: str) -> _Stored:
        """Count the bytes of integers, and find out what they leave."""
        bits = INTEGER_BITS[method]
        nbytes = integer_bytes(rows=self.table.rows, dim=self.table.dim, bits=bits)
        return _Stored(nbytes, None, [try_integers(self.source.statistics, bits)])

    def rounded(self, dtype: str) -> _Stored | None:
        """Count the bytes of the table in a shorter dtype, and find out what that leaves; None where it is no longer.

        What is beyond the largest number of the dtype becomes that number.
        """
        nbytes = self.table.rows * self.table.dim * ITEM_BYTES[dtype]
        if nbytes >= self.table.nbytes:
            return None
        statistics, short = self.source.statistics, getattr(torch, dtype)
        limit = torch.finfo(short).max
        values = statistics.sample * statistics.unit  # (sample rows, dim)
        left = (values.clamp(-limit, limit).to(short).to(values.dtype) - values) / statistics.unit
        norms = row_norms(statistics.sample).square()
        error = estimate_share(row_norms(left).square(), norms, rows=statistics.rows)
        return _Stored(nbytes, None, [error])

    def report(self) -> SweptTable:
        """Measure every way at every size."""
        started = time.perf_counter()
        item = self.table
        coded = list(_store([self], CODED, self._table_source))
        curves = (
            SweepCurve(CODED, tuple(_point([self], one) for one in coded)),
            *measure_curves([self], self._table_source, but=CODED),
        )
        return SweptTable(
            **vars(item.head),
            bytes_before=item.nbytes,
            passes=self.source.work.passes,
            sample_rows=len(self.source.statistics.sample),
            curves=curves,
            remarks=tuple(self._remarks(curves, coded)),
            seconds=self._seconds + time.perf_counter() - started,
        )

    def _remarks(self, curves: Sequence[SweepCurve], coded: Sequence[_Stored]) -> Iterator[str]:
        """List remarks on which methods help."""
        points = {curve.method: {point.target_ratio: point for point in curve.points} for curve in curves}
        by_ratio = points[CODED]
        if by_ratio:
            ratio = max((one for one in by_ratio if one and one <= REMARK_RATIO), default=RATIOS[0])
            best = by_ratio[ratio]
            plain = [points[method][ratio] for method in PLAIN_DTYPES if ratio in points[method]]
            least = min((point.relative for point in plain), default=math.inf)
            has_bases = coded[list(by_ratio).index(ratio)].has_bases
            if not plain:
                yield f"plain low rank cannot reach 1/{ratio:g}, where coding has an error of {best.relative:.2g}"
            elif least < best.relative:
                yield (
                    f"plain low rank is enough: at 1/{ratio:g} its error is {least:.2g}, that of coding "
                    f"{best.relative:.2g}"
                )
            elif not has_bases:
                yield (
                    f"bases do not help here: at 1/{ratio:g} coding is best without them and has an error of "
                    f"{best.relative:.2g}, plain low rank {least:.2g}"
                )
            elif least > POOR_FACTOR * best.relative:
                yield (
                    f"plain low rank is far worse here: at 1/{ratio:g} its error is {least:.2g}, that of coding "
                    f"{best.relative:.2g}"
                )
        for method in INTEGER_BITS:
            for point in points[method].values():
                error = self._coded_error(point.bytes, coded, unless=point.relative)
                if error is not None and error > point.relative:
                    yield (
                        f"{method} is better than coding here: its error is {point.relative:.2g} in "
                        f"{human_bytes(point.bytes)}, that of coding about {error:.2g}"
                    )
        if RATIOS[-1] not in by_ratio and self.can_be(CODED):
            shared = SharedStep([self.source])
            coarsest = shared.least()
            least_bytes = coarsest[0].nbytes + shared.beside(coarsest, SizeLimit(self.table.nbytes))
            most = self.table.nbytes / least_bytes
            yield (
                f"it is too small to reach 1/{RATIOS[-1]:g}: with the file's header counted, at most 1/{most:.3g}"
                if most > 1
                else "it is too small to compress: the header of a file takes more than is saved"
            )

    def _coded_error(self, nbytes: int, coded: Sequence[_Stored], *, unless: float) -> float | None:
        """Estimate what codes leave in so many bytes; None where fewer leave at most `unless`, or they cannot be."""
        fewer = [one.errors[0].relative for one in coded if one.nbytes <= nbytes]
        if not self.can_be(CODED) or min(fewer, default=math.inf) <= unless:
            return None
        estimates = SharedStep([self.source]).fill(TensorLimit(nbytes))
        return None if estimates is None else coded_error(estimates[0], self.source.statistics).relative


@dataclass(frozen=True)
class _Stored:
    """Tables as one way stores them within one size.

    Attributes:
        nbytes: of their tensors.
        ratio: that was asked for; None for a way that has one size only.
        errors: of each table.
        rank: of a table alone: the number of bases, or of coded columns.
        has_bases: whether there are bases in a table.
    """

    nbytes: int
    ratio: int | None
    errors: Sequence[SampleError]
    rank: int | None = None
    has_bases: bool = True


def measure_curves(
    swept: Sequence[TableMethods], table_source: TableSource, *, but: str = ""
) -> tuple[SweepCurve, ...]:
    """Measure every way, of one table or of several together."""
    curves = [
        SweepCurve(method, tuple(_point(swept, stored) for stored in _store(swept, method, table_source)))
        for method in (CODED, *PLAIN_DTYPES)
        if method != but
    ]
    for method in INTEGER_BITS:
        curves.append(SweepCurve(method, (_point(swept, _together([one.integers(method) for one in swept])),)))
    for method, dtype in DENSE_DTYPES.items():
        stored = [kept for one in swept if (kept := one.rounded(dtype)) is not None]
        points = (_point(swept, _together(stored)),) if len(stored) == len(swept) else ()
        curves.append(SweepCurve(method, points))
    return tuple(curves)


def _together(stored: Sequence[_Stored]) -> _Stored:
    """Sum up tables of one size each."""
    return _Stored(sum(one.nbytes for one in stored), None, [one.errors[0] for one in stored])


def _store(swept: Sequence[TableMethods], method: str, table_source: TableSource) -> Iterator[_Stored]:
    """Store tables in one way within each ratio, as `approximate` would, and find out what is left."""
    if not all(one.can_be(method) for one in swept):
        return  # `approximate` would leave that table dense
    before = sum(one.table.nbytes for one in swept)
    name = swept[0].table.name if len(swept) == 1 else f"{len(swept)} tables"
    store = _store_codes if method == CODED else partial(_store_floats, method=method)
    for step, ratio in enumerate(RATIOS):
        if table_source.progress is not None:
            table_source.progress(f"{name}: {method}", step, len(RATIOS), 0)
        stored = store(swept, limit=int(before / ratio))
        if stored is not None:
            yield replace(stored, ratio=ratio, rank=stored.rank if len(swept) == 1 else None)
    if table_source.progress is not None:
        table_source.progress(f"{name}: {method}", len(RATIOS), len(RATIOS), 0)


def _store_codes(swept: Sequence[TableMethods], *, limit: int) -> _Stored | None:
    """Code tables within a file of `limit` bytes, and find out from their samples what is left."""
    shared, file_limit = SharedStep([one.source for one in swept]), SizeLimit(limit)
    estimates = shared.fill(file_limit)
    if estimates is None:
        return None
    # An estimate over the budget is corrected while the table is written.
    nbytes = min(math.ceil(sum(one.nbytes for one in estimates)), limit - shared.beside(estimates, file_limit))
    errors = [coded_error(estimate, one.source.statistics) for one, estimate in zip(swept, estimates, strict=True)]
    has_bases = any(estimate.fit.bases is not None for estimate in estimates)
    return _Stored(nbytes, None, errors, estimates[0].fit.codebook.rank, has_bases)


def _store_floats(swept: Sequence[TableMethods], *, limit: int, method: str) -> _Stored | None:
    """Choose ranks of tables within a file of `limit` bytes, and conclude from their spectra what is left."""
    tables = [one.plain[method] for one in swept]
    candidates = share_bytes(tables, SizeLimit(limit))
    if candidates is None:
        return None
    errors = []
    for table, candidate in zip(tables, candidates, strict=True):
        rounding = ROUNDING[table.stored_dtype] if table.factors.squared_norm else 0.0
        errors.append(SampleError(table.tail(candidate.rank) + rounding**2, 0.0, table.factors.is_optimal))
    return _Stored(sum(candidate.nbytes for candidate in candidates), None, errors, candidates[0].rank)


def _point(swept: Sequence[TableMethods], stored: _Stored) -> SweepPoint:
    """Make the point of one table, or of several together."""
    together = mean_estimate(stored.errors)
    low, high = together.band
    return SweepPoint(
        target_ratio=stored.ratio,
        ratio=sum(one.table.nbytes for one in swept) / stored.nbytes,
        bytes=stored.nbytes,
        rank=stored.rank,
        relative=together.relative,
        low=low,
        high=high,
        exact=together.is_exact,
        bound_relative=_bound(swept, stored.nbytes),
        largest_relative=max(one.band[1] for one in stored.errors) if len(swept) > 1 else None,
    )


def _bound(swept: Sequence[TableMethods], nbytes: int) -> float | None:
    """Compute the Gaussian bound of tables at some bytes; of several, with each one's squares as shares of its norm."""
    squares = [one.squares for one in swept]
    if any(one is None for one in squares):
        return None
    known = [(one.cpu(), each.table.rows) for one, each in zip(squares, swept, strict=True) if one is not None]
    variances = [one / one.sum().clamp_min(1e-300) / rows for one, rows in known]
    counts = [torch.full_like(one, rows) for one, rows in known]
    return gaussian_bound(torch.cat(variances), nbytes * 8, counts=torch.cat(counts))
