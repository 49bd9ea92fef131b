"""Parts of the reports of several commands."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class InputFile:
    """The file that was read."""

    path: str
    bytes: int


@dataclass(frozen=True)
class OutputFile:
    """The file that was written; in a dry run the one that would be, its hash unknown.

    Attributes:
        overwrites: in a dry run, whether a file is there, so that the run would need --force.
    """

    path: str
    sha256: str | None
    bytes: int
    overwrites: bool = False


@dataclass(frozen=True)
class TableHead:
    """The names, the size and the dtype of a dense table.

    Attributes:
        tied_names: other names of the same memory.
        shape: of one row.
        dtype: of the values.
        stored_as: how the checkpoint holds it, such as "128 shards" or "float8_e4m3fn and scales"; empty where as one
            tensor of these values.
    """

    name: str
    tied_names: tuple[str, ...]
    rows: int
    shape: tuple[int, ...]
    dtype: str
    stored_as: str = field(default="", kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the one in use first."""
        return (self.name, *self.tied_names)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """The shape of the dense table, rows first."""
        return (self.rows, *self.shape)

    @property
    def head(self) -> TableHead:
        """These fields alone, for another report of the same table."""
        return TableHead(self.name, self.tied_names, self.rows, self.shape, self.dtype, stored_as=self.stored_as)


@dataclass(frozen=True)
class Skipped:
    """A table that was left dense, or an entry that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class UnrecognisedMatrix:
    """A large matrix that stayed dense because it could not be recognised as a table or as a layer.

    Attributes:
        shape: rows first.
        bytes: of the dense matrix.
        reason: why it was not recognised as a table.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class Totals:
    """Bytes of the chosen tables together, each counted once however many names it has, and of the files.

    Attributes:
        bytes_after: everything that decoding the tables needs: their tensors, and the header of a file that holds
            nothing else. This is what `--ratio` counts.
        ratio: bytes_before divided by bytes_after.
        file_ratio: bytes of the whole file that was read divided by those of the file that was written or evaluated;
            of several bases all together.
        header_bytes: those of bytes_after that are the header; of `backfill` 0.
    """

    bytes_before: int
    bytes_after: int
    ratio: float
    file_ratio: float
    header_bytes: int = 0


# Expressions of the gates on which tables the baseline has.
NOT_IN_BASELINE = "table is not in the baseline"
NOT_COMPRESSED = "table of the baseline is not compressed"


@dataclass(frozen=True)
class Gate:
    """A condition on the report, and whether it passed.

    Attributes:
        expression: the condition that fails, as in `error.relative > 0.05`; of a baseline, with the number that the
            limit was derived from.
        table: the table that was tested; None for a number of the whole report.
        value: of the number; None where the report does not have it, which fails the gate.
        passed: whether the condition did not hold.
        is_numeric: whether it is on a number; else on whether this report and the baseline both have the table.
        baseline: the number in the baseline that the limit was derived from; None of other conditions.
        allowed: by which share of it the number may be worse; None of other conditions.
    """

    expression: str
    table: str | None
    value: float | None
    passed: bool
    is_numeric: bool = True
    baseline: float | None = None
    allowed: float | None = None


@dataclass(frozen=True)
class Check:
    """A property that an artifact must have, and whether it has it.

    Attributes:
        name: of the check: "schema", "tables", "checksums", "uncompressed_tensors" or "recorded_error"; of
            `verify` also "header", "sizes", "finite_numbers", "rows" or "report".
        table: the tensor or table that it failed for; None where it is one check of all of them.
        passed: whether it holds.
        detail: one sentence, without a full stop: what was compared, or what is wrong.
    """

    name: str
    table: str | None
    passed: bool
    detail: str
