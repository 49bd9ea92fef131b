"""A report as a document: what a renderer for people needs, and nothing of how it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embcompress.report.names import Inline, Name
from embcompress.results import Histogram, RowGroup, SpectrumReport, SweepCurve, SweepPoint

Align = Literal["left", "right"]
Tone = Literal["plain", "good", "warn", "bad"]


@dataclass(frozen=True)
class Fact:
    """A labelled value, with a remark where it needs one to be understood.

    Attributes:
        is_brief: whether a short form shows it, too.
        is_whole: whether it is to be pasted, so that no line may end inside.
    """

    label: str
    value: Inline
    remark: str = ""
    tone: Tone = "plain"
    is_brief: bool = False
    is_whole: bool = False


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        is_prose: whether it holds sentences, which may be folded and need no title beside them.
        is_brief: whether a short form shows it, too.
        is_cut: whether a short form may leave out the middle of its names, where they are too long for a line.
    """

    title: str
    align: Align = "left"
    is_prose: bool = False
    is_brief: bool = True
    is_cut: bool = False


@dataclass(frozen=True)
class Grid:
    """Rows under columns.

    Attributes:
        title: what it lists; empty where the section says so.
        tones: of each row, as many as rows; empty where all are plain.
        is_folded: whether it may be shown on demand only.
        is_drawn: whether a figure of the section shows the same; without figures it is the grid that tells it.
        heads: leading columns that name a row.
        brief_rows: of a folded grid, how many rows a short form shows, on one line.
        good: the word for rows that are good, of which a short form only says how many there are; empty where it
            lists all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Inline, ...], ...]
    tones: tuple[Tone, ...] = ()
    is_folded: bool = False
    is_drawn: bool = False
    heads: int = 1
    brief_rows: int = 0
    good: str = ""


@dataclass(frozen=True)
class SpectrumDrawing:
    """Singular values and the energy that the leading directions hold, with a mark at the rank in use."""

    spectrum: SpectrumReport
    rank: int | None


@dataclass(frozen=True)
class HistogramDrawing:
    """The histogram of the rows' errors, with marks at the median and at p99."""

    histogram: Histogram
    p50: float
    p99: float


@dataclass(frozen=True)
class GroupsDrawing:
    """The error of groups of rows that are alike in norm or row weight, beside the error of all."""

    groups: tuple[RowGroup, ...]
    by: Literal["norm", "row weight"]
    relative: float


@dataclass(frozen=True)
class SizesDrawing:
    """Bytes of each table before and after."""

    names: tuple[Name, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class ErrorsDrawing:
    """The error of each table, and the least that it could be; None where that is not known."""

    names: tuple[Name, ...]
    errors: tuple[float, ...]
    least: tuple[float | None, ...]


@dataclass(frozen=True)
class NeighboursDrawing:
    """The share of neighbours that each table keeps."""

    names: tuple[Name, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class CurvesDrawing:
    """Error against ratio for every way of storing, with a ring around the point that is recommended."""

    curves: tuple[SweepCurve, ...]
    chosen: SweepPoint | None


Drawing = (
    SpectrumDrawing
    | HistogramDrawing
    | GroupsDrawing
    | SizesDrawing
    | ErrorsDrawing
    | NeighboursDrawing
    | CurvesDrawing
)


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        title: what it shows.
        label: the same in numbers, for those who do not see it.
        caption: how to read it.
    """

    title: str
    label: str
    caption: str
    drawing: Drawing


@dataclass(frozen=True)
class Section:
    """A part of the document.

    Attributes:
        is_detail: whether it looks closer at one table of those listed before.
        is_brief: whether a short form shows it, too.
        is_titled: whether a short form needs its title.
        is_small: whether a page may show it on demand only.
        is_late: whether a short form, of which the end is read first, shows it at its end.
        note: the word for one of its notes.
    """

    title: Inline
    facts: tuple[Fact, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[Inline, ...] = ()
    figures: tuple[Figure, ...] = ()
    is_detail: bool = False
    is_brief: bool = True
    is_titled: bool = True
    is_late: bool = False
    is_small: bool = False
    note: Literal["note", "warning"] = "note"


@dataclass(frozen=True)
class Case:
    """Something that passes or fails on its own.

    Attributes:
        group: what it is: "table", "gate" or "check".
        failures: a sentence each; none where it passes.
        skipped: why it was left out; None where it was not.
    """

    group: str
    name: Inline
    seconds: float = 0.0
    failures: tuple[Inline, ...] = ()
    skipped: Inline | None = None


@dataclass(frozen=True)
class Document:
    """A run's findings, in the order that a person reads them.

    Attributes:
        command: that was run.
        title: what was done to what.
        verdict: whether it may be relied on, in a sentence.
        state: the verdict in a word or two.
        tone: "bad" where a gate or a check failed, or a table is poor.
        grades: how good the tables are and by what, a line each; the label is a grade, or empty.
        numbers: the four or five that matter most.
        facts: files, and what else belongs to the run as a whole.
        cases: everything that passes or fails on its own.
        outcome: what became of the files, at the end of a short form.
        warnings: what the numbers do not show at first sight; every form begins with them.
        legend: words that a reader may not know, and what they mean.
    """

    command: str
    title: Inline
    verdict: Inline
    state: str
    tone: Tone
    numbers: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    cases: tuple[Case, ...]
    outcome: tuple[Fact, ...]
    warnings: tuple[Inline, ...] = ()
    grades: tuple[Fact, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
