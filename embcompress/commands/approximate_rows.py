"""The part of `approximate` that reads rows: fit, write, measure, and try again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.output import Output
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.schema import staged_bytes
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.commands.memory import estimate_neighbour_memory
from embcompress.commands.run import check_space, left_out, planned_file, write_reports
from embcompress.commands.unrecognised import Unrecognised
from embcompress.compression.artifact_file import ArtifactFile, approximate_result
from embcompress.compression.budget import Budget
from embcompress.compression.budget_search import WithinBudget
from embcompress.compression.coded_budget import CodedWithinBudget
from embcompress.compression.encoding import AnyEncoding
from embcompress.compression.encoding_maker import EncodingMaker
from embcompress.compression.fixed_rank import FixedRank
from embcompress.compression.plan import Plan
from embcompress.evaluation.comparison import compare_neighbours
from embcompress.evaluation.gates import Conditions
from embcompress.evaluation.grading import grade_tables
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import ApproximateResult, OutputFile, TableReport, Threshold
from embcompress.tables.progress import Progress
from embcompress.tables.row_info import RowInfo
from embcompress.tables.rows import read_bytes
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table


class Compression:
    """The tables of a run on their way into an artifact: with a planned number of bases, or within a budget.

    Args:
        checkpoint: an open one, that holds them.
        budget: what was asked for.
        device: where rows are worked on.
        seed: of randomized solvers, and of the rows whose neighbours are looked for.
        facts: row weights and labels.
        dtype: of floats, one of STORED_DTYPES.
        named: the patterns by which tables were named.
        fixed_rows: whether strings of one kind get one length.
        seekable: whether coded rows are to be read one at a time.
        neighbours: rows of each table whose nearest rows are looked for.
        conditions: tested on the report.
        thresholds: of the grades of the tables.
        unrecognised: matrices that the report names beside the tables.
        output: where the artifact goes.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        budget: Budget,
        *,
        device: str,
        seed: int,
        facts: RowInfo,
        dtype: str,
        named: Sequence[str],
        fixed_rows: bool,
        seekable: bool,
        neighbours: int,
        conditions: Conditions,
        thresholds: Sequence[Threshold],
        unrecognised: Unrecognised,
        output: Output,
        progress: Progress | None,
    ) -> None:
        self._checkpoint, self._budget = checkpoint, budget
        self._table_source = TableSource(checkpoint, device, seed, progress, facts)
        self._dtype, self._named, self._neighbours = dtype, named, neighbours
        self._fixed_rows, self._seekable = fixed_rows, seekable
        self._unrecognised = unrecognised
        self._conditions, self._thresholds, self._output = conditions, tuple(thresholds), output

    def plan(self, chosen: Plan | Sequence[Table], choices: Sequence[SolverChoice] = ()) -> ApproximateResult:
        """Return what `run` would write, from the same arguments."""
        maker = self._maker(chosen, choices, dry_run=True)
        encodings = maker.encodings()
        entries = [entry for encoding in encodings for entry in encoding.planned_entries()]
        file = self._file_of(encodings)
        size = file.writer(entries).nbytes
        self._check_space(size, encodings, entries)
        result = approximate_result(
            self._checkpoint,
            planned_file(self._output.target, size),
            [encoding.planned_report() for encoding in encodings],
            (*left_out(self._checkpoint), *maker.skipped),
            header=file.header_bytes(entries),
            warnings=self._table_source.facts.warnings,
            notes=self._table_source.facts.notes,
            memory=maker.memory() + estimate_neighbour_memory(self._neighbours),
        )
        return replace(self._unrecognised.add_to(result), gates=self._conditions.gates(result))

    def run(
        self,
        chosen: Plan | Sequence[Table],
        choices: Sequence[SolverChoice],
        *,
        reports: Sequence[tuple[Path, str]],
    ) -> ApproximateResult:
        """Write the artifact and its reports; more than once where a measured error misses its target.

        Args:
            chosen: the plan of a number of bases, or the tables within a budget.
            choices: the solver of each planned table.
            reports: where the reports go, and what renders each.
        """
        maker = self._maker(chosen, choices, dry_run=False)
        result = None
        while result is None:
            result = self._try(maker, reports)
        return result

    def _maker(
        self, chosen: Plan | Sequence[Table], choices: Sequence[SolverChoice], *, dry_run: bool
    ) -> EncodingMaker:
        """Choose the maker of encodings: by a number of bases, or within a budget as floats or as codes."""
        tables = [planned.table for planned in chosen.tables] if isinstance(chosen, Plan) else chosen
        self._table_source = replace(self._table_source, names=tuple(table.name for table in tables))
        if isinstance(chosen, Plan):
            return FixedRank(chosen, choices, self._table_source)
        if not self._budget.is_plain:
            return CodedWithinBudget(
                chosen,
                self._budget,
                self._table_source,
                named=self._named,
                dry_run=dry_run,
                fixed_rows=self._fixed_rows,
                seekable=self._seekable,
            )
        return WithinBudget(
            chosen,
            self._budget,
            self._table_source,
            stored_dtype=lambda table: table.real_dtype if self._dtype == "same" else self._dtype,
            named=self._named,
        )

    def _try(self, maker: EncodingMaker, reports: Sequence[tuple[Path, str]]) -> ApproximateResult | None:
        """Write the artifact and its reports; None where a measured error misses its target."""
        encodings = maker.encodings()
        fitted = [encoding.fit() for encoding in encodings]
        file = self._file_of(encodings)
        entries = [entry for table in fitted for entry in table.entries]
        with file.writer(entries) as writer:
            self._check_space(writer.nbytes, encodings, entries)
            written = [encoding.write(table, writer) for encoding, table in zip(encodings, fitted, strict=True)]
            if not maker.accepts(written):
                return None
            for entry, stored in file.copied.items():
                writer.write(entry, read_bytes(stored, files=self._checkpoint.files))
            errors = [table.error.relative for table in written]
            sha256 = writer.finish(file.metadata(errors, checksums=writer.checksums))
            tables = [encoding.report(table) for encoding, table in zip(encodings, written, strict=True)]
            result = approximate_result(
                self._checkpoint,
                OutputFile(str(self._output.target), sha256, writer.nbytes),
                _with_neighbours(tables, writer.path, self._table_source, queries=self._neighbours),
                (*left_out(self._checkpoint), *maker.skipped),
                header=file.header_bytes(entries),
                warnings=self._table_source.facts.warnings,
                notes=self._table_source.facts.notes,
            )
            graded = grade_tables(result.tables, self._thresholds)
            result = replace(result, tables=graded, thresholds=self._thresholds)
            result = _withhold(replace(self._unrecognised.add_to(result), gates=self._conditions.gates(result)))
            commit = _nothing if result.withheld else writer.commit
            write_reports(result, reports, force=self._output.force, before=commit)
            return result

    def _check_space(self, nbytes: int, encodings: Sequence[AnyEncoding], entries: Sequence[Entry]) -> None:
        staged = staged_bytes([encoding.compressed for encoding in encodings], entries)
        check_space(self._output.resolved, nbytes, staged=staged)

    def _file_of(self, encodings: Sequence[AnyEncoding]) -> ArtifactFile:
        compressed = [encoding.compressed for encoding in encodings]
        return ArtifactFile(self._output, self._checkpoint, compressed)


def _withhold(result: ApproximateResult) -> ApproximateResult:
    """Withhold the artifact where a gate failed."""
    return replace(result, withheld=not all(gate.passed for gate in result.gates))


def _nothing() -> None:
    """Leave the artifact where it is, to be removed."""


def _with_neighbours(
    tables: Sequence[TableReport], path: Path, table_source: TableSource, *, queries: int
) -> list[TableReport]:
    """Look for the neighbours of rows in the tables and in what the file at `path` stores of them."""
    if not queries:
        return list(tables)
    stored = {tensor.name: tensor for tensor in table_source.checkpoint.tensors}
    reports = []
    with open_checkpoint(path) as written:
        artifact = read_artifact(written)
        compressed = {table.name: table for table in artifact.tables}
        for table in tables:
            started = time.perf_counter()
            rows = table_source.rows(Table(table.name, (), stored[table.name]), "neighbours")
            assert table.error is not None
            compared = compare_neighbours(
                rows, artifact, compressed[table.name], error=table.error, queries=queries, seed=table_source.seed
            )
            seconds = table.seconds + time.perf_counter() - started
            passes = table.passes + (compared is not None)
            reports.append(replace(table, neighbours=compared, passes=passes, seconds=seconds))
    return reports
