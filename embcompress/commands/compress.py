"""What `approximate` does with the rows of tables: fit, write, measure, and try again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.commands.memory import estimate_neighbour_memory
from embcompress.commands.run import check_space, left_out, write_reports
from embcompress.commands.unrecognised import Unrecognised
from embcompress.compression.artifact_file import ArtifactFile, approximate_result
from embcompress.compression.bilinear_encoding import BilinearEncoding
from embcompress.compression.budget import Budget
from embcompress.compression.budget_search import BudgetedTables
from embcompress.compression.coded_budget import CodedTables
from embcompress.compression.encoding import Encoding, bytes_alone
from embcompress.compression.plain_encoding import PlainEncoding
from embcompress.compression.plan import Plan, PlannedTable
from embcompress.evaluation.comparison import compare_neighbours
from embcompress.evaluation.gates import Conditions
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import ApproximateResult, OutputFile, TableReport
from embcompress.tables.progress import Progress
from embcompress.tables.row_info import RowFacts
from embcompress.tables.rows import read_bytes
from embcompress.tables.source import Setting
from embcompress.tables.table import Table


class Compression:
    """The tables of a run on their way into an artifact: as planned with a number of bases, or held to a budget.

    Args:
        checkpoint: an open one, that holds them.
        budget: what was asked for.
        device: where rows are worked on.
        seed: of randomized solvers, and of the rows whose neighbours are looked for.
        facts: row weights and labels.
        dtype: of floats, one of STORED_DTYPES.
        named: the patterns by which tables were named.
        fixed_rows: whether strings of one kind get one length.
        neighbours: rows of each table whose nearest rows are looked for.
        conditions: that the report is held to.
        unrecognised: matrices that the report names beside the tables.
        target: the artifact, as it was named.
        resolved: where it goes.
        force: whether a file that is there by then is replaced.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        budget: Budget,
        *,
        device: str,
        seed: int,
        facts: RowFacts,
        dtype: str,
        named: Sequence[str],
        fixed_rows: bool,
        neighbours: int,
        conditions: Conditions,
        unrecognised: Unrecognised,
        target: Path,
        resolved: Path,
        force: bool,
        progress: Progress | None,
    ) -> None:
        self._checkpoint, self._budget = checkpoint, budget
        self._setting = Setting(checkpoint, device, seed, progress, facts)
        self._dtype, self._named, self._fixed_rows, self._neighbours = dtype, named, fixed_rows, neighbours
        self._unrecognised = unrecognised
        self._conditions, self._target, self._resolved, self._force = conditions, target, resolved, force

    def plan(self, chosen: Plan | Sequence[Table]) -> ApproximateResult:
        """Tell what a run held to a budget would write."""
        assert not isinstance(chosen, Plan), "a number of bases is planned without torch"
        budgeted = self._hold(chosen, dry_run=True)
        encodings = budgeted.encodings()
        size = self._sizes(encodings)[0]
        check_space(self._resolved, size)
        result = approximate_result(
            self._checkpoint,
            OutputFile(str(self._target), None, size),
            [encoding.report() for encoding in encodings],
            (*left_out(self._checkpoint), *budgeted.skipped),
            warnings=self._setting.facts.warnings,
            memory=budgeted.estimate_memory() + estimate_neighbour_memory(self._neighbours),
        )
        return replace(self._unrecognised.tell(result), gates=self._conditions.gates(result))

    def run(
        self,
        chosen: Plan | Sequence[Table],
        choices: Sequence[SolverChoice],
        *,
        reports: Sequence[tuple[Path, str]],
    ) -> ApproximateResult:
        """Write the artifact and its reports; more than once where a measured error misses its target.

        Args:
            chosen: the plan of a number of bases, or the tables that are held to a budget.
            choices: the solver of each planned table.
            reports: where the reports go, and what renders each.
        """
        budgeted: BudgetedTables | CodedTables | None = None
        if isinstance(chosen, Plan):
            encodings = [
                make_encoding(planned, choice, self._setting)
                for planned, choice in zip(chosen.tables, choices, strict=True)
            ]
        else:
            budgeted = self._hold(chosen, dry_run=False)
            encodings = budgeted.encodings()
        while True:
            file = self._file_of(encodings)
            with file.writer([entry for encoding in encodings for entry in encoding.fit()]) as writer:
                check_space(self._resolved, writer.nbytes)
                errors = [encoding.write(writer) for encoding in encodings]
                if budgeted is None or budgeted.accepts([encoding.measured_relative for encoding in encodings]):
                    for entry, stored in file.copied.items():
                        writer.write(entry, read_bytes(stored, file=self._checkpoint.file))
                    sha256 = writer.finish(file.metadata(errors, checksums=writer.checksums))
                    tables = [encoding.report() for encoding in encodings]
                    tables = _with_neighbours(tables, writer.path, self._setting, queries=self._neighbours)
                    skipped = (
                        chosen.skipped if isinstance(chosen, Plan) else () if budgeted is None else budgeted.skipped
                    )
                    result = approximate_result(
                        self._checkpoint,
                        OutputFile(str(self._target), sha256, writer.nbytes),
                        tables,
                        (*left_out(self._checkpoint), *skipped),
                        warnings=self._setting.facts.warnings,
                    )
                    result = self._unrecognised.tell(result)
                    result = _held_back(replace(result, gates=self._conditions.gates(result)))
                    commit = _nothing if result.withheld else writer.commit
                    write_reports(result, reports, force=self._force, before=commit)
                    return result
            encodings = _continue(budgeted.encodings(), encodings)

    def _hold(self, tables: Sequence[Table], *, dry_run: bool) -> BudgetedTables | CodedTables:
        """Hold tables to the budget: with weights as floats, or as codes."""
        if not self._budget.is_plain:
            return CodedTables(
                tables,
                self._budget,
                self._setting,
                named=self._named,
                size_of=self._sizes,
                dry_run=dry_run,
                fixed_rows=self._fixed_rows,
            )
        return BudgetedTables(
            tables,
            self._budget,
            self._setting,
            stored_dtype=lambda item: item.real_dtype if self._dtype == "same" else self._dtype,
            named=self._named,
            size_of=self._sizes,
        )

    def _file_of(self, encodings: Sequence[Encoding]) -> ArtifactFile:
        compressed = [encoding.compressed for encoding in encodings]
        return ArtifactFile(self._resolved, self._checkpoint, compressed, force=self._force)

    def _sizes(self, encodings: Sequence[Encoding]) -> tuple[int, int]:
        """Count the bytes of the file, and of one with the compressed tables alone."""
        own = [entry for encoding in encodings for entry in encoding.planned_entries()]
        return self._file_of(encodings).writer(own).nbytes, bytes_alone(encodings)


def make_encoding(planned: PlannedTable, choice: SolverChoice, setting: Setting) -> Encoding:
    """Choose how a table with a given number of bases is encoded, from its plan."""
    kind = PlainEncoding if planned.matrix is None else BilinearEncoding
    return kind(planned, choice, setting)


def _held_back(result: ApproximateResult) -> ApproximateResult:
    """Withhold the artifact where a gate failed."""
    return replace(result, withheld=not all(gate.passed for gate in result.gates))


def _nothing() -> None:
    """Leave the artifact where it is, to be removed."""


def _continue(encodings: list[Encoding], earlier: Sequence[Encoding]) -> list[Encoding]:
    """Count for each table what earlier tries of it took; some tables may have been given up."""
    by_name = {encoding.planned.table.name: encoding for encoding in earlier}
    for encoding in encodings:
        encoding.continue_from(by_name[encoding.planned.table.name])
    return encodings


def _with_neighbours(tables: Sequence[TableReport], path: Path, setting: Setting, *, queries: int) -> list[TableReport]:
    """Look for the neighbours of rows in the tables and in what the file at `path` stores of them."""
    if not queries:
        return list(tables)
    stored = {tensor.name: tensor for tensor in setting.checkpoint.tensors}
    found = []
    with open_checkpoint(path) as made:
        artifact = read_artifact(made)
        said = {table.name: table for table in artifact.tables}
        for table in tables:
            started = time.perf_counter()
            rows = setting.rows(Table(table.name, (), stored[table.name]), "neighbours")
            assert table.error is not None
            compared = compare_neighbours(
                rows, artifact, said[table.name], error=table.error, queries=queries, seed=setting.seed
            )
            seconds = table.seconds + time.perf_counter() - started
            passes = table.passes + (compared is not None)
            found.append(replace(table, neighbours=compared, passes=passes, seconds=seconds))
    return found
