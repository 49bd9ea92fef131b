"""Find out what every way of compressing leaves at every size, and recommend one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from embcompress.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import BudgetError, UsageError
from embcompress.output import AtomicFile, check_output
from embcompress.planning import choose_tables, human_bytes, quoted
from embcompress.results import (
    InputFile,
    Recommendation,
    SweepCurve,
    SweepPoint,
    SweepResult,
    SweepTotals,
    SweptTable,
)
from embcompress.suggestions import did_you_mean
from embcompress.table import Table
from embcompress.workflows.budgeting import TOO_SMALL, encoding_of, leave_dense
from embcompress.workflows.encoding import ROUNDING, Setting, bytes_alone
from embcompress.workflows.offers import Offer, TableOffers, make_offers
from embcompress.workflows.run import (
    Progress,
    check_reports,
    check_seed,
    left_out,
    refuse_compressed,
    resolve_device,
    write_reports,
)
from embcompress.workflows.spending import spend_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from embcompress.coding.trial import Estimate

RATIOS = (2, 4, 8, 16, 32, 64, 128)
CODED = "coded"
PLAIN_DTYPES: Mapping[str, str] = MappingProxyType({"plain float32": "float32", "plain float16": "float16"})
INTEGER_BITS: Mapping[str, int] = MappingProxyType({"int8 per row": 8, "int4 per row": 4})
REMARK_RATIO = 16  # at which low rank and coding are compared in words
POOR_FACTOR = 2.0  # plain low rank that leaves this many times the error of coding buys little


def sweep(
    path: str | Path,
    *,
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    effort: str = EFFORTS[0],
    max_error: float = DEFAULT_MAX_ERROR,
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    plot: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Measure error against bytes of every way to compress the embedding tables of a checkpoint.

    The ways are weights in few bits ("coded"), bases and weights as floats ("plain float32", "plain float16"), each
    at RATIOS, and integers with a scale for each row ("int8 per row", "int4 per row"), each at its own size; beside
    each point stands the Gaussian rate-distortion bound of the spectrum at its bytes. Goes over the rows of each table
    twice and writes no artifact. What a point at a ratio has is what `approximate` makes of that ratio.

    Plain errors follow from the spectrum. Coded and integer ones are measured on the sample of rows that the coder fits
    its levels to: up to 4096 rows and 2^18 numbers, which is the whole of a small table. A point says whether it is
    exact, and else its 95 % confidence band.

    The recommendation is the largest ratio at which some way leaves no table with more than `max_error`, the upper end
    of its band counted; of several ways at that ratio the one of the least error; if there is no such ratio, the point
    of the least error.

    Args:
        path: a safetensors file, or any zip-format file of torch.save.
        table: shell patterns of the tables to take; empty: those recognised by name and shape.
        exclude: shell patterns of the tables to leave.
        effort: "best", or "fast" for weights in few bits without a trellis.
        max_error: relative Frobenius error that the recommendation allows each table.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the randomized solver's start.
        report: files to write the report to, each ending choosing a renderer; none by default.
        plot: a file to draw the curves into, .svg, .png or .pdf; needs matplotlib.
        force: overwrite existing outputs.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        UsageError: an argument outside its range.
        CheckpointError: the input is not readable.
        TableError: no table, NaN or infinity.
        BudgetError: a table named in full, or every table chosen, is so small that nothing makes it smaller.
        OutputError: a report or the picture cannot be written, or matplotlib is not installed.
        DeviceError: the device is not there.
    """
    if effort not in EFFORTS:
        raise UsageError(
            f"--effort must be {' or '.join(EFFORTS)}; got {effort!r}.", hint=did_you_mean(effort, EFFORTS)
        )
    if not 0 < max_error < 1:
        raise UsageError(f"--max-error must be between 0 and 1; got {max_error:.15g}.")
    check_seed(seed)
    source = Path(path)
    named = [table] if isinstance(table, str) else list(table)
    excluded = [exclude] if isinstance(exclude, str) else list(exclude)
    with open_checkpoint(source) as checkpoint:
        refuse_compressed(checkpoint)
        reports = check_reports(report, output=None, force=force, inputs=[source])
        picture = None if plot is None else _check_picture(Path(plot), reports, force=force, source=source)
        setting = Setting(checkpoint, resolve_device(device), seed, progress)
        swept, skipped = [], []
        for item in choose_tables(checkpoint, table=named, exclude=excluded):
            one = _Swept(item, setting, effort=effort)
            if one.offers.least().nbytes >= item.nbytes:
                skipped.append(leave_dense(item, TOO_SMALL, path=source, named=named))
            else:
                swept.append(one)
        if not swept:
            what = "; ".join(f"table {item.name!r} {item.reason}" for item in skipped)
            raise BudgetError(f"nothing in {source} gets smaller: {what}.")
        tables = tuple(one.report() for one in swept)
        before = sum(one.table.nbytes for one in swept)
        totals = SweepTotals(before, _alone(tables[0]) if len(tables) == 1 else _curves(swept, setting))
        options = [
            *(("--effort", effort) if effort != EFFORTS[0] else ()),
            *(part for pattern in named for part in ("--table", pattern)),
            *(part for pattern in excluded for part in ("--exclude", pattern)),
            *(("--device", device) if device != "auto" else ()),
            *(("--seed", str(seed)) if seed else ()),
        ]
        result = SweepResult(
            command="sweep",
            input=InputFile(str(source), checkpoint.nbytes),
            tables=tables,
            skipped=(*left_out(checkpoint), *skipped),
            totals=totals,
            recommendation=recommend(totals, max_error=max_error, path=source, options=options),
        )
    if picture is None:
        write_reports(result, reports, force=force)
        return result
    from embcompress.report.plot import render_plot

    target, form = picture
    with AtomicFile(target, force=force) as file:
        file.write(render_plot(result, form))
        write_reports(result, reports, force=force, before=file.commit)
    return result


def recommend(
    totals: SweepTotals, *, max_error: float, path: Path, options: Sequence[str] = ()
) -> Recommendation | None:
    """Choose the largest ratio at which some way keeps every table within an error; else the point of the least error.

    Args:
        totals: of the sweep.
        max_error: relative, allowed for each table.
        path: of the checkpoint.
        options: of the sweep that the command shares; --effort goes with coded weights only.
    """
    points = [
        (curve.way, point)
        for curve in totals.curves
        for point in curve.points
        if point.asked_ratio is not None and point.largest_relative is not None
    ]
    if not points:
        return None
    within = [(way, point) for way, point in points if (point.largest_relative or 0.0) <= max_error]
    if within:
        most = max(point.asked_ratio or 0 for _, point in within)
        way, point = min(((way, point) for way, point in within if point.asked_ratio == most), key=_error_of)
        reason = f"the largest ratio tried at which no table is left with an error above {max_error:g}"
    else:
        way, point = min(points, key=_error_of)
        reason = f"no ratio tried leaves every table with an error of at most {max_error:g}; this one leaves the least"
    shared = list(options)
    if way != CODED and "--effort" in shared:
        at = shared.index("--effort")
        del shared[at : at + 2]
    how = [] if way == CODED else ["--plain", "--dtype", PLAIN_DTYPES[way]]
    words = ["embcompress", "approximate", str(path), "--ratio", f"{point.asked_ratio:g}", *how, *shared]
    command = " ".join(quoted(word) for word in words)
    return Recommendation(way, point.asked_ratio or 0.0, point.bytes, point.relative, bool(within), reason, command)


def _error_of(found: tuple[str, SweepPoint]) -> float:
    return found[1].relative


class _Swept:
    """One table: what it can be had for, and what each way of that leaves."""

    def __init__(self, table: Table, setting: Setting, *, effort: str) -> None:
        started = time.perf_counter()
        self.table, self._setting = table, setting
        self.offers = make_offers(table, setting, stored_dtype=table.real_dtype, is_plain=False, effort=effort)
        self.ways: Mapping[str, TableOffers] = {
            CODED: self.offers,
            **{way: self.offers.as_plain(dtype) for way, dtype in PLAIN_DTYPES.items()},
        }
        self._seconds = time.perf_counter() - started

    @property
    def squares(self) -> Tensor | None:
        """All squared singular values; None where a randomized solver knows the leading ones only."""
        found = self.offers.factors.singular_values
        return found.square() if len(found) == min(self.table.rows, self.table.dim) else None

    def estimate(self, way: str, offer: Offer) -> Estimate:
        """Find out what an offer leaves: from the spectrum, or by encoding the sample."""
        from embcompress.coding.trial import Estimate, try_allocation

        offers = self.ways[way]
        if offer.allocation is None:
            rounding = ROUNDING[offers.stored_dtype] if offers.factors.squared_norm else 0.0
            return Estimate(offers.tail(offer.rank) + rounding**2, 0.0, offers.factors.is_optimal)
        assert offers.survey is not None
        return try_allocation(offer.allocation, offers.survey, offers.factors.bases)

    def integers(self, way: str) -> tuple[int, Estimate] | None:
        """Count the bytes of integers, and find out what they leave; None without a sample."""
        from embcompress.coding.trial import integer_bytes, try_integers

        if self.offers.survey is None:
            return None
        bits = INTEGER_BITS[way]
        nbytes = integer_bytes(rows=self.table.rows, dim=self.table.dim, bits=bits)
        return nbytes, try_integers(self.offers.survey, bits)

    def report(self) -> SweptTable:
        """Measure every way at every size."""
        started = time.perf_counter()
        item, survey = self.table, self.offers.survey
        coded = list(_measure([self], CODED, self._setting))
        curves = (SweepCurve(CODED, tuple(point for point, _ in coded)), *_curves([self], self._setting, but=CODED))
        return SweptTable(
            name=item.name,
            tied_names=item.tied_names,
            rows=item.rows,
            shape=item.shape,
            dtype=item.dtype,
            bytes_before=item.nbytes,
            passes=self.offers.passes,
            sample_rows=0 if survey is None else len(survey.sample),
            curves=curves,
            remarks=tuple(self._remarks(curves, [offers[0] for _, offers in coded])),
            seconds=self._seconds + time.perf_counter() - started,
        )

    def _remarks(self, curves: Sequence[SweepCurve], coded: Sequence[Offer]) -> Iterator[str]:
        """Say what pays and what does not."""
        points = {curve.way: {point.asked_ratio: point for point in curve.points} for curve in curves}
        by_ratio = points[CODED]
        if by_ratio:
            ratio = max((one for one in by_ratio if one and one <= REMARK_RATIO), default=RATIOS[0])
            best = by_ratio[ratio]
            plain = [points[way][ratio] for way in PLAIN_DTYPES if ratio in points[way]]
            least = min((point.relative for point in plain), default=math.inf)
            offer = coded[list(by_ratio).index(ratio)]
            if not plain:
                yield f"plain low rank cannot be had at 1/{ratio:g}, where coding leaves {best.relative:.2g}"
            elif offer.allocation is None:
                yield f"plain low rank is all it takes at 1/{ratio:g}: weights in few bits leave more"
            elif offer.allocation.scheme.bases is None:
                yield (
                    f"low rank buys nothing here: at 1/{ratio:g} coding does best without bases and leaves "
                    f"{best.relative:.2g}, where plain low rank leaves {least:.2g}"
                )
            elif least > POOR_FACTOR * best.relative:
                yield (
                    f"plain low rank buys little here: at 1/{ratio:g} it leaves {least:.2g} where coding leaves "
                    f"{best.relative:.2g}"
                )
        for way in INTEGER_BITS:
            for point in points[way].values():
                found = self.offers.best_under(point.bytes)
                if found is not None and found.squared_error > point.relative**2:
                    yield (
                        f"{way} is hard to beat here: it leaves {point.relative:.2g} in {human_bytes(point.bytes)}, "
                        f"where coding leaves about {math.sqrt(found.squared_error):.2g}"
                    )
        if RATIOS[-1] not in by_ratio:
            least_bytes = _bytes_alone([self], CODED, [self.offers.least()], self._setting)
            most = self.table.nbytes / least_bytes
            yield (
                f"it is too small to be {RATIOS[-1]} times smaller: {most:.3g} times, a file's header counted"
                if most > 1
                else "it is so small that the header of a file takes more than it saves"
            )


def _curves(swept: Sequence[_Swept], setting: Setting, *, but: str = "") -> tuple[SweepCurve, ...]:
    """Measure every way, of one table or of several together."""
    curves = [
        SweepCurve(way, tuple(point for point, _ in _measure(swept, way, setting)))
        for way in (CODED, *PLAIN_DTYPES)
        if way != but
    ]
    for way in INTEGER_BITS:
        found = [one.integers(way) for one in swept]
        whole = [one for one in found if one is not None]
        is_known = len(whole) == len(found)
        points = (_point(swept, sum(nbytes for nbytes, _ in whole), [one for _, one in whole]),) if is_known else ()
        curves.append(SweepCurve(way, points))
    return tuple(curves)


def _measure(swept: Sequence[_Swept], way: str, setting: Setting) -> Iterator[tuple[SweepPoint, Sequence[Offer]]]:
    """Store tables in one way within each ratio, as `approximate` would, and find out what is left."""
    if any(one.ways[way].least().nbytes >= one.table.nbytes for one in swept):
        return  # `approximate` would leave that table dense
    before = sum(one.table.nbytes for one in swept)
    name = swept[0].table.name if len(swept) == 1 else f"{len(swept)} tables"
    for step, ratio in enumerate(RATIOS):
        if setting.progress is not None:
            setting.progress(f"{name}: {way}", step, len(RATIOS), 0)
        offers = spend_bytes(
            [one.ways[way] for one in swept],
            limit=int(before / ratio),
            size_of=lambda offers: _bytes_alone(swept, way, offers, setting),
        )
        if offers is None:
            continue
        estimates = [one.estimate(way, offer) for one, offer in zip(swept, offers, strict=True)]
        point = _point(swept, sum(offer.nbytes for offer in offers), estimates)
        yield replace(point, asked_ratio=ratio, rank=offers[0].rank if len(swept) == 1 else None), offers
    if setting.progress is not None:
        setting.progress(f"{name}: {way}", len(RATIOS), len(RATIOS), 0)


def _bytes_alone(swept: Sequence[_Swept], way: str, offers: Sequence[Offer], setting: Setting) -> int:
    pairs = zip(swept, offers, strict=True)
    return bytes_alone([encoding_of(one.ways[way], offer, setting, needs="a sweep") for one, offer in pairs])


def _point(swept: Sequence[_Swept], nbytes: int, estimates: Sequence[Estimate]) -> SweepPoint:
    """Make the point of one table, or of several together."""
    from embcompress.coding.trial import mean_estimate

    together = mean_estimate(estimates)
    low, high = together.band
    return SweepPoint(
        asked_ratio=None,
        ratio=sum(one.table.nbytes for one in swept) / nbytes,
        bytes=nbytes,
        rank=None,
        relative=together.relative,
        low=low,
        high=high,
        exact=together.is_exact,
        bound_relative=_bound(swept, nbytes),
        largest_relative=max(one.band[1] for one in estimates) if len(swept) > 1 else None,
    )


def _bound(swept: Sequence[_Swept], nbytes: int) -> float | None:
    """Compute the Gaussian bound of tables at some bytes; of several, with each one's squares as shares of its norm."""
    import torch

    from embcompress.coding.bound import gaussian_bound

    squares = [one.squares for one in swept]
    if any(one is None for one in squares):
        return None
    known = [(one.cpu(), each.table.rows) for one, each in zip(squares, swept, strict=True) if one is not None]
    variances = [one / one.sum().clamp_min(1e-300) / rows for one, rows in known]
    counts = [torch.full_like(one, rows) for one, rows in known]
    return gaussian_bound(torch.cat(variances), nbytes * 8, counts=torch.cat(counts))


def _alone(table: SweptTable) -> tuple[SweepCurve, ...]:
    """Make the totals of a single table."""
    return tuple(
        replace(
            curve,
            points=tuple(replace(point, rank=None, largest_relative=point.high) for point in curve.points),
        )
        for curve in table.curves
    )


def _check_picture(plot: Path, reports: Sequence[tuple[Path, str]], *, force: bool, source: Path) -> tuple[Path, str]:
    """Check that a picture can be drawn, in which form and where it goes, before any work is done."""
    from embcompress.report.plot import plot_form

    form = plot_form(plot)
    picture = check_output(plot, force=force, inputs=[source])
    if picture in dict(reports):
        raise UsageError(f"--plot {plot} names a file that a report of this run goes to.", hint="Name another file.")
    return picture, form
