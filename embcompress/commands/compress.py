"""What `approximate` does with the rows of tables: fit, write, measure, and try again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.compression.budget import Budget
from embcompress.compression.budget_search import BudgetedTables
from embcompress.compression.coded_budget import CodedTables
from embcompress.compression.encoding import Encoding
from embcompress.evaluation.comparison import compare_neighbours
from embcompress.results import ApproximateResult, TableReport
from embcompress.tables.source import Setting
from embcompress.tables.table import Table


def hold_tables(
    tables: Sequence[Table],
    budget: Budget,
    setting: Setting,
    *,
    dtype: str,
    named: Sequence[str],
    size_of: Callable[[Sequence[Encoding]], tuple[int, int]],
    dry_run: bool,
    fixed_rows: bool,
) -> BudgetedTables | CodedTables:
    """Hold tables to a budget: with weights as floats of a dtype, or as codes; the arguments are those of either."""
    if not budget.is_plain:
        return CodedTables(
            tables, budget, setting, named=named, size_of=size_of, dry_run=dry_run, fixed_rows=fixed_rows
        )
    return BudgetedTables(
        tables,
        budget,
        setting,
        stored_dtype=lambda item: item.real_dtype if dtype == "same" else dtype,
        named=named,
        size_of=size_of,
    )


def held_back(result: ApproximateResult) -> ApproximateResult:
    """Withhold the artifact where a gate failed."""
    return replace(result, withheld=not all(gate.passed for gate in result.gates))


def nothing() -> None:
    """Leave the artifact where it is, to be removed."""


def continue_encodings(encodings: list[Encoding], earlier: Sequence[Encoding]) -> list[Encoding]:
    """Count for each table what earlier tries of it took; some tables may have been given up."""
    by_name = {encoding.planned.table.name: encoding for encoding in earlier}
    for encoding in encodings:
        encoding.continue_from(by_name[encoding.planned.table.name])
    return encodings


def with_neighbours(tables: Sequence[TableReport], path: Path, setting: Setting, *, queries: int) -> list[TableReport]:
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
