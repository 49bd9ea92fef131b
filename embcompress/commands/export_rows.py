"""The part of `export` that reads rows: round, write, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.output import Output, companions_of
from embcompress.artifact.writer import copied_entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.commands.memory import estimate_export_memory, estimate_neighbour_memory
from embcompress.commands.run import check_space, left_out, write_reports
from embcompress.evaluation.gates import Conditions
from embcompress.evaluation.grading import grade_tables
from embcompress.exports.quantized.kind import ExportPlan, ExportWriter, Kind, TableEncoding
from embcompress.exports.quantized.source import ExportSource, SourceTable, stored_rows
from embcompress.exports.quantized.table_pass import TablePass
from embcompress.results import THRESHOLDS, ExportResult, InputFile, OutputFile, Skipped, TableReport, Totals
from embcompress.tables.progress import row_bytes_of
from embcompress.tables.source import TableSource


class Quantization:
    """The tables of a run on their way into a form that another program serves.

    Args:
        kind: of the form.
        name: of the kind.
        source: the tables, and all else.
        table_source: device, seed, progress, row weights and labels.
        reference: the checkpoint that errors are measured against; None: the rows that are rounded.
        originals: its tables, by name.
        neighbours: rows of each table whose nearest rows are looked for.
        conditions: tested on the report.
        output: where it goes.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        source: ExportSource,
        table_source: TableSource,
        *,
        reference: Checkpoint | None,
        originals: Mapping[str, StoredTensor],
        neighbours: int,
        conditions: Conditions,
        output: Output,
    ) -> None:
        self._kind, self._name, self._source, self._table_source = kind, name, source, table_source
        self._reference, self._originals = reference, originals
        self._neighbours, self._conditions, self._output = neighbours, conditions, output
        reasons = {one.stored.name: kind.why_left_out(one.stored) for one in source.copied}
        self._copied = {copied_entry(one.stored): one for one in source.copied if not reasons[one.stored.name]}
        self._encodings = {one.table.name: kind.encode(one) for one in source.tables}
        self._skipped = (
            *left_out(source.checkpoint),
            *source.skipped,
            *(Skipped(name, f"{why}: left out") for name, why in reasons.items() if why),
        )

    def plan(self) -> ExportResult:
        """Return what `run` would write."""
        writer = self._open_writer()
        memory = estimate_export_memory(one.table for one in self._source.tables)
        result = self._result(
            OutputFile(str(self._output.target), None, writer.nbytes),
            [self._unmeasured(one) for one in self._source.tables],
        )
        memory += estimate_neighbour_memory(self._neighbours)
        return self._judged(replace(result, dry_run=True, memory_bytes=memory))

    def run(self, reports: Sequence[tuple[Path, str]]) -> ExportResult:
        """Write the output and its reports.

        Args:
            reports: where the reports go, and what renders each.
        """
        with self._open_writer() as writer:
            tables = [self._write_table(one, writer) for one in self._source.tables]
            for entry, one in self._copied.items():
                for part in one.read():
                    writer.append(entry, part)
            sha256 = writer.finish()
            result = self._judged(self._result(OutputFile(str(self._output.target), sha256, writer.nbytes), tables))
            result = replace(result, withheld=not all(gate.passed for gate in result.gates))
            before = {} if result.withheld else {"before": writer.commit}
            write_reports(result, reports, force=self._output.force, **before)
        return result

    def _open_writer(self) -> ExportWriter:
        """Make the writer, and refuse what neither the form nor the disk can hold."""
        checkpoint, facts = self._source.checkpoint, self._table_source.facts
        tables = {one.table.name: one.table for one in self._source.tables}
        plan = ExportPlan(
            self._output.resolved,
            self._output.force,
            tuple((one.table.head, self._encodings[one.table.name]) for one in self._source.tables),
            tuple(self._copied),
            checkpoint,
            lambda name: facts.labels_of(tables[name]),
            companions_of(checkpoint),
        )
        self._kind.check(plan)
        writer = self._kind.open_writer(plan)
        check_space(self._output.resolved, writer.nbytes)
        return writer

    def _write_table(self, one: SourceTable, writer: ExportWriter) -> TableReport:
        started = time.perf_counter()
        table, device, facts = one.table, self._table_source.device, self._table_source.facts
        original = None
        if self._reference is not None:
            original = stored_rows(self._reference, self._originals[table.name], device=device)
        table_pass = TablePass(
            table.name,
            one.open_rows(device, self._progress_of(one)),
            original=original,
            encoding=self._encodings[table.name],
            queries=self._neighbours,
            seed=self._table_source.seed,
            row_weights=self._table_source.row_weights(table),
        )
        seen = table_pass.write(writer, count=table.rows)
        error = seen.error.result(labels=facts.labels_of(table), unweighted_rows=facts.unweighted_rows_of(table))
        return replace(
            self._unmeasured(one),
            passes=1,
            error=error,
            neighbours=seen.neighbours,
            zero_rows=seen.error.zero_rows,
            seconds=time.perf_counter() - started,
        )

    def _unmeasured(self, one: SourceTable) -> TableReport:
        encoding: TableEncoding = self._encodings[one.table.name]
        return TableReport(
            **vars(one.table.head),
            kind="embedding",
            rank=min(one.table.rows, one.table.dim) if encoding.rank is None else encoding.rank,
            coding=self._name,
            solver=None,
            solver_reason=None,
            passes=0,
            bytes_before=one.bytes_before,
            bytes_after=encoding.nbytes,
            error=None,
            seconds=0.0,
        )

    def _progress_of(self, one: SourceTable) -> Callable[[int], None]:
        progress, done = self._table_source.progress, 0
        row_bytes = row_bytes_of(one.table.stored)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(f"{one.table.name}: rounding", done, one.table.rows, row_bytes)

        return advance

    def _result(self, output: OutputFile, tables: Sequence[TableReport]) -> ExportResult:
        checkpoint, reference = self._source.checkpoint, self._reference
        before, after = sum(table.bytes_before for table in tables), sum(table.bytes_after for table in tables)
        return ExportResult(
            command="export",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            output=output,
            tables=tuple(tables),
            skipped=self._skipped,
            totals=Totals(before, after, before / after, checkpoint.nbytes / output.bytes),
            warnings=(*self._kind.warnings(checkpoint), *self._table_source.facts.warnings),
            notes=(*self._measured_against(), *self._table_source.facts.notes),
            kind=self._name,
            original=None if reference is None else InputFile(reference.name, reference.nbytes),
        )

    def _measured_against(self) -> tuple[str, ...]:
        """Say of an artifact without its original that errors leave out what it lost itself."""
        if self._reference is not None or not self._source.is_decoded:
            return ()
        return (
            f"errors are those against the rows that {self._source.checkpoint.name} decodes to, without its own error: "
            "--original CKPT measures both",
        )

    def _judged(self, result: ExportResult) -> ExportResult:
        thresholds = tuple(THRESHOLDS.values())
        result = replace(result, tables=grade_tables(result.tables, thresholds), thresholds=thresholds)
        return replace(result, gates=self._conditions.gates(result))
