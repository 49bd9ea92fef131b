"""Parts that the documents of several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from embcompress.report.document.model import Case, Column, Fact, Grid, Section
from embcompress.report.names import Inline, Name, listed
from embcompress.results import InputFile, OutputFile, Skipped
from embcompress.text import human_bytes

ENTRIES_MAX = 12  # of one kind that are named, and not only counted


def base_name(path: str) -> Name:
    """Give the last part of a path."""
    return Name(PurePath(path).name or path)


def file_fact(label: str, file: InputFile | OutputFile) -> Fact:
    """Name a file, with its size."""
    return Fact(label, Name(file.path), human_bytes(file.bytes))


def output_facts(output: OutputFile, *, is_dry: bool, label: str = "output") -> tuple[Fact, ...]:
    """Name the file that was written, or would be, and its hash where there is one."""
    facts = (file_fact(writing_word(output, is_dry=True) if is_dry else label, output),)
    return facts if output.sha256 is None else (*facts, Fact("sha256", Name(output.sha256)))


def written_fact(output: OutputFile, remark: str, *, is_dry: bool) -> Fact:
    """Say in a short form what was written, or would be."""
    return Fact(writing_word(output, is_dry=is_dry), Name(output.path), remark)


def writing_word(output: OutputFile, *, is_dry: bool) -> str:
    """Say whether a file was written or would be, and in a dry run whether another one is there."""
    return ("would overwrite" if output.overwrites else "would write") if is_dry else "wrote"


def memory_facts(memory_bytes: int | None) -> tuple[Fact, ...]:
    """List the memory that a dry run estimates."""
    return () if memory_bytes is None else (Fact("memory needed", f"about {human_bytes(memory_bytes)}", is_brief=True),)


def warned(warnings: Sequence[str]) -> list[Section]:
    """Say what a user should know before trusting the numbers."""
    return (
        [Section("Warnings", notes=tuple(warnings), is_titled=False, is_late=True, note="warning")] if warnings else []
    )


def noted(notes: Sequence[str]) -> list[Section]:
    """Say what was done without being asked for, and changes no number."""
    return [Section("Notes", notes=tuple(notes), is_titled=False, is_late=True)] if notes else []


def left_dense(skipped: Sequence[Skipped]) -> list[Section]:
    """List what was left as it was, and why."""
    if not skipped:
        return []
    rows = tuple((Name(item.name), item.reason) for item in skipped)
    return [
        Section("Left as it was", grids=(Grid("", (Column("name", is_cut=True), Column("why", is_prose=True)), rows),))
    ]


def not_compared(skipped: Sequence[Skipped]) -> list[Section]:
    """List the entries of an original that no artifact can hold."""
    return _by_reason("Not compared", "of the original", skipped)


def not_written(skipped: Sequence[Skipped]) -> list[Section]:
    """List the tensors of an artifact that the form of an output does not hold."""
    return _by_reason("Not written", "of the artifact", skipped)


def not_exported(skipped: Sequence[Skipped]) -> list[Section]:
    """List what the form of another program does not hold, or holds dense."""
    return _by_reason("Not exported", "of the input", skipped)


def _by_reason(title: str, of: str, skipped: Sequence[Skipped]) -> list[Section]:
    """List entries by name, those of one reason on one line."""
    if not skipped:
        return []
    names: dict[str, list[str]] = {}
    for item in skipped:
        names.setdefault(item.reason, []).append(item.name)
    rows: list[tuple[Inline, ...]] = []
    for reason, alike in names.items():
        more = f" and {len(alike) - ENTRIES_MAX} more" if len(alike) > ENTRIES_MAX else ""
        shown = listed(alike[:ENTRIES_MAX])
        rows.append(((*shown, more) if isinstance(shown, tuple) and more else shown, reason))
    columns = (Column(of), Column("why", is_prose=True))
    return [Section(title, grids=(Grid("", columns, tuple(rows)),))]


def table_cases(seconds: Mapping[str, float], skipped: Sequence[Skipped] = ()) -> tuple[Case, ...]:
    """Give a case to each table, which passes, and to each one that was left out."""
    passed = (Case("table", Name(name), spent) for name, spent in seconds.items())
    return (*passed, *(Case("table", Name(item.name), skipped=item.reason) for item in skipped))
