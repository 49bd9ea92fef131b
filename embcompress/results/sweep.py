"""The findings of `sweep`."""

from __future__ import annotations

from dataclasses import dataclass

from embcompress.results.common import InputFile, Skipped, TableHead


@dataclass(frozen=True)
class SweepPoint:
    """The error of one method, of a table or of all tables together, at one size.

    Attributes:
        target_ratio: the ratio that was asked for; None for a method with one size only.
        ratio: bytes of the dense tables divided by `bytes`.
        bytes: of the tensors.
        rank: the number of bases, or of coded columns; None in totals and for integers.
        relative: the relative error; in totals the root mean square of those of the tables.
        low: the lower end of its 95 % confidence band; `relative` itself where it is exact.
        high: the upper end.
        exact: whether every row was measured, not a sample.
        bound_relative: the least relative error of a Gaussian source with the same spectrum at these bytes; None where
            the spectrum is not known whole.
        largest_relative: in totals the error of the worst table, the upper end of its band; else None.
    """

    target_ratio: float | None
    ratio: float
    bytes: int
    rank: int | None
    relative: float
    low: float
    high: float
    exact: bool
    bound_relative: float | None
    largest_relative: float | None = None


@dataclass(frozen=True)
class SweepCurve:
    """The points of one method, by ascending ratio; empty where the method makes nothing smaller."""

    method: str
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class SweptTable(TableHead):
    """Error against bytes of one table.

    Attributes:
        passes: how often its rows were read.
        sample_rows: how many of them were encoded to measure the error.
        remarks: sentences on which methods help, without the table's name.
    """

    bytes_before: int
    passes: int
    sample_rows: int
    curves: tuple[SweepCurve, ...]
    remarks: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class SweepTotals:
    """Error against bytes of all tables together, each counted once however many names it has."""

    bytes_before: int
    curves: tuple[SweepCurve, ...]


@dataclass(frozen=True)
class Recommendation:
    """The point that a sweep recommends, and the command that makes it.

    Attributes:
        method: that of one of the curves.
        ratio: as the command asks for it.
        bytes: of the tensors.
        relative: the error in total.
        is_within_max_error: whether every table's error is at most --max-error.
        reason: one sentence.
        command: ready to paste into a shell.
    """

    method: str
    ratio: float
    bytes: int
    relative: float
    is_within_max_error: bool
    reason: str
    command: str


@dataclass(frozen=True)
class SweepResult:
    """Error against bytes of a checkpoint's tables; `recommendation` is None where no tried ratio is reachable."""

    command: str
    input: InputFile
    tables: tuple[SweptTable, ...]
    skipped: tuple[Skipped, ...]
    totals: SweepTotals
    recommendation: Recommendation | None
