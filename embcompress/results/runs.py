"""The findings of `approximate`, `evaluate`, `reconstruct`, `verify` and `inspect`."""

from __future__ import annotations

from dataclasses import dataclass, field

from embcompress.results.common import (
    Check,
    Gate,
    InputFile,
    OutputFile,
    Skipped,
    TableHead,
    Totals,
    UnrecognisedMatrix,
)
from embcompress.results.grades import Threshold
from embcompress.results.tables import TableReport


@dataclass(frozen=True)
class ApproximateResult:
    """The compression that `approximate` did, or in a dry run would do.

    Attributes:
        withheld: whether a gate failed, so that `output` describes a file that was measured, but not written.
        warnings: sentences on how the files of labels and row weights were read.
        notes: sentences on labels that were found beside the model.
        thresholds: that the tables were graded by.
        unrecognised_matrices: large matrices that stayed dense, although they may be tables.
        unrecognised_command: a command that compresses these, too, to paste into a shell; None where there are none.
    """

    command: str
    input: InputFile
    output: OutputFile
    tables: tuple[TableReport, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    gates: tuple[Gate, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    withheld: bool = False
    unrecognised_matrices: tuple[UnrecognisedMatrix, ...] = ()
    unrecognised_command: str | None = None
    dry_run: bool = False
    memory_bytes: int | None = None  # estimate of the peak, in a dry run only


@dataclass(frozen=True)
class ExportResult(ApproximateResult):
    """The export that `export` wrote, or in a dry run would write.

    Attributes:
        input: the checkpoint or the artifact.
        kind: of the form, as --to names it.
        original: the checkpoint that the error was measured against; None: the input, whose rows were rounded.
        withheld: whether a gate failed, so that `output` describes a file that was measured, but not written.
        warnings: sentences on what the output lacks, and on how the files of labels and row weights were read.
        notes: sentences on what the errors are measured against, and on labels that were found beside the model.
        skipped: tables and tensors that the form does not hold, or holds as they are, and why.
    """

    kind: str = field(default="", kw_only=True)
    original: InputFile | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Ranking:
    """Ranks of the right entities, both sides of all triples together, other known triples left out (filtered).

    Ranks are realistic: among equal scores, the mean of the best and the worst place.
    """

    mrr: float
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float


@dataclass(frozen=True)
class LinkPrediction:
    """Link prediction with the original and with the artifact.

    Attributes:
        interaction: PyKEEN's name of the function that scores a triple.
        triples: number of triples that were ranked.
        known_triples: number of other true triples, filtered out of the ranking.
        before: with the original's tables.
        after: with those of the artifact.
    """

    interaction: str
    triples: int
    known_triples: int
    before: Ranking
    after: Ranking


@dataclass(frozen=True)
class EvaluateResult:
    """The comparison of an artifact with its original.

    Attributes:
        input: the original.
        artifact: the file that was evaluated.
        tables: the compressed tables; `error` is None where a table cannot be compared, for the reason in `checks`.
        checks: of the artifact.
        link_prediction: None without triples.
        warnings: sentences on how the files of labels and row weights were read.
        notes: sentences on labels that were found beside the model.
        skipped: entries of the original that no safetensors file can hold, and that were not compared.
        thresholds: that the tables were graded by.
    """

    command: str
    input: InputFile
    artifact: InputFile
    tables: tuple[TableReport, ...]
    totals: Totals
    checks: tuple[Check, ...]
    link_prediction: LinkPrediction | None = None
    gates: tuple[Gate, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    dry_run: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True)
class ReconstructResult:
    """The dense file that `reconstruct` wrote, or in a dry run would write."""

    command: str
    input: InputFile
    output: OutputFile
    tables: tuple[str, ...]
    tensors: int
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True)
class VerifyResult:
    """The checks of an artifact by itself.

    Attributes:
        input: the artifact.
        schema: version of its schema.
        sha256: of the file; of a folder, of the list of its files; None of one that lies elsewhere.
        report: the report beside it that names this hash; None where there is none.
        tables: the compressed tables.
        tensors: number of stored tensors.
        checks: of the artifact.
    """

    command: str
    input: InputFile
    schema: int
    sha256: str | None
    report: str | None
    tables: tuple[str, ...]
    tensors: int
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class ListedTable(TableHead):
    """A matrix of a checkpoint, whether it would be compressed, and why."""

    bytes: int
    chosen: bool
    reason: str


@dataclass(frozen=True)
class ListedTensor:
    """A tensor of a checkpoint that cannot be a table."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class ListedCompression(TableHead):
    """A compressed table of an artifact, read from its header.

    Attributes:
        dtype: of the dense table, as `rows` and `shape` are.
        matrix: (in1, in2) of a bilinear table, whose rows hold one matrix or several; else null.
        rank: the number of bases, of coded columns, or of columns of the factors of a matrix.
        bits_per_entry: of the table, everything counted; a complex entry is two.
        bytes: of all its tensors.
        bytes_before: of the dense table.
        relative: the recorded relative error; null where none is.
    """

    kind: str
    matrix: tuple[int, int] | None
    rank: int
    coding: str
    bits_per_entry: float
    bytes: int
    bytes_before: int
    relative: float | None


@dataclass(frozen=True)
class InspectResult:
    """The tensors of a checkpoint, and which of them are tables.

    Attributes:
        compressed_tables: of an artifact, its compressed tables; their tensors are in `tables` and `others`, too.
    """

    command: str
    input: InputFile
    tables: tuple[ListedTable, ...]
    others: tuple[ListedTensor, ...]
    skipped: tuple[Skipped, ...]
    compressed_tables: tuple[ListedCompression, ...] = ()
