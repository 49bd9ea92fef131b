"""Compare an artifact with its original, from the two files alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import Artifact, describe_codes, read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.dense_rows import open_dense_rows
from embcompress.exceptions import ArtifactError, NonFiniteError, UsageError
from embcompress.gates import read_conditions
from embcompress.memory import estimate_evaluation_memory, estimate_neighbour_memory
from embcompress.planning import DEFAULT_NEIGHBOURS
from embcompress.results import (
    Check,
    CodedReport,
    EvaluateResult,
    InputFile,
    MatricesReport,
    NeighboursReport,
    TableReport,
    Totals,
)
from embcompress.workflows.artifact_checks import (
    TablePair,
    all_checks,
    check_copies,
    check_recorded,
    check_unmatched,
    match_tables,
    refuse_swapped,
)
from embcompress.workflows.comparison import (
    add_block,
    check_neighbours,
    measure_error,
    paired_blocks,
    search_neighbours,
)
from embcompress.workflows.encoding import STORING_ERROR, Setting
from embcompress.workflows.link_prediction import (
    check_link_prediction,
    estimate_ranking_memory,
    measure_link_prediction,
)
from embcompress.workflows.row_facts import read_row_facts
from embcompress.workflows.run import Progress, check_reports, check_seed, resolve_device, write_reports
from embcompress.workflows.spectrum import RANK_MAX

if TYPE_CHECKING:
    import torch

    from embcompress.linalg.error import ErrorAccumulator
    from embcompress.linalg.svd import Factorization


def evaluate(
    original: str | Path,
    artifact: str | Path,
    *,
    neighbours: int = DEFAULT_NEIGHBOURS,
    row_weights: str | Path | None = None,
    labels: str | Path | None = None,
    triples: str | Path | None = None,
    known: Sequence[str | Path] | str | Path = (),
    interaction: str | None = None,
    fail_if: Sequence[str] | str = (),
    baseline: str | Path | None = None,
    max_regression: float | str | None = None,
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Measure what an artifact leaves of its original, and check the artifact, from the two files alone.

    Goes over the rows of each table as often as the solver of its spectrum needs, mostly once, and once more beside
    what is stored of them; memory as for `approximate`, and with `triples` that of the dense tables.

    Args:
        original: the checkpoint that was compressed.
        artifact: what was made of it.
        neighbours: rows of each table whose nearest rows are looked for among all rows; 0 for none.
        row_weights: a file with how much the error of each row counts.
        labels: a file with the labels of the rows, for row weights by label and for the worst rows.
        triples: of a knowledge graph, head<TAB>relation<TAB>tail, ranked before and after; needs PyKEEN.
        known: files of other triples that are true, which count in no rank.
        interaction: what scores triples, as in "TransE:p=1", where the original does not tell.
        fail_if: conditions on the report that must not hold, such as "error.relative > 0.05".
        baseline: the JSON report of an earlier artifact that this one must not be worse than.
        max_regression: by how much it may be: a share, or a text such as "1%", the default.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the draw of rows.
        report: files to write the report to, each ending choosing a renderer; default: none.
        force: overwrite existing reports.
        dry_run: compare the headers, tell the memory, read no row.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        UsageError: an argument outside its range, a condition that is none.
        CheckpointError: a file is not readable.
        ArtifactError: the second file is no artifact, or none that can be read.
        TableError: the first file is an artifact, or holds NaN or infinity.
        OutputError, DeviceError: as for `approximate`.
    """
    check_neighbours(neighbours)
    check_seed(seed)
    others = tuple(Path(one) for one in ([known] if isinstance(known, (str, Path)) else known))
    if triples is None and (others or interaction is not None):
        raise UsageError(f"--{'known' if others else 'interaction'} goes with --triples.")
    conditions = read_conditions(EvaluateResult, fail_if=fail_if, baseline=baseline, max_regression=max_regression)
    source, target = Path(original), Path(artifact)
    with open_checkpoint(source) as checkpoint, open_checkpoint(target) as made:
        refuse_swapped(checkpoint, made)
        opened = read_artifact(made)
        inputs = [
            source,
            target,
            *others,
            *(Path(one) for one in (row_weights, labels, baseline, triples) if one is not None),
        ]
        reports = check_reports(report, output=None, force=force, inputs=inputs)
        place = resolve_device(device, dry_run=dry_run)
        pairs, failed = match_tables(checkpoint, opened)
        chosen = [pair.table for pair in pairs]
        facts = read_row_facts(row_weights=row_weights, labels=labels, tables=lambda: chosen)
        weighed = [pair.table for pair in pairs if pair.compressed.matrix is None or row_weights is None]
        if row_weights is not None and not weighed:
            raise UsageError(f"--row-weights weighs rows, and {target} holds matrices: leave it out.")
        facts.check(weighed, path=row_weights)
        plan = None
        if triples is not None:  # before any table is read
            plan = check_link_prediction(checkpoint, triples=Path(triples), known=others, interaction=interaction)
        tables, ranked = [_unmeasured(pair, opened) for pair in pairs], None
        if not dry_run:
            setting = Setting(checkpoint, place, seed, progress, facts)
            for number, pair in enumerate(pairs):
                try:
                    tables[number] = _Comparison(pair, opened, setting, neighbours=neighbours).report()
                except ArtifactError as err:
                    failed.append(Check("checksums", pair.table.name, passed=False, detail=err.message.rstrip(".")))
                    continue
                failed += check_recorded(pair, tables[number].error)
            failed += check_copies(checkpoint, opened)
            failed += check_unmatched(opened, pairs)
            if plan is not None:
                try:
                    ranked = measure_link_prediction(plan, checkpoint, opened, device=place, progress=progress)
                except ArtifactError as err:
                    failed.append(Check("link prediction", None, passed=False, detail=err.message.rstrip(".")))
        before, after = sum(table.bytes_before for table in tables), sum(table.bytes_after for table in tables)
        memory = estimate_evaluation_memory([(pair.table, pair.compressed.rank) for pair in pairs])
        memory += estimate_neighbour_memory(neighbours)
        memory += 0 if plan is None else estimate_ranking_memory(plan)
        result = EvaluateResult(
            command="evaluate",
            input=InputFile(str(source), checkpoint.nbytes),
            artifact=InputFile(str(target), made.nbytes),
            tables=tuple(tables),
            totals=Totals(before, after, before / after if after else 1.0),
            link_prediction=ranked,
            checks=all_checks(failed, opened, tables=tables, has_read=not dry_run),
            dry_run=dry_run,
            memory_bytes=memory if dry_run else None,
        )
        result = replace(result, gates=conditions.gates(result))
        if not dry_run:
            write_reports(result, reports, force=force)
    return result


def _unmeasured(pair: TablePair, artifact: Artifact) -> TableReport:
    """Tell what the headers tell of a table."""
    table, compressed = pair.table, pair.compressed
    matrices = None
    if compressed.matrix is not None:
        matrices = MatricesReport(compressed.matrix, table.rows * pair.matrices_of_row, ())
    return TableReport(
        **vars(table.head),
        kind=compressed.kind,
        rank=compressed.rank,
        coding=compressed.coding,
        solver=None,
        solver_reason=None,
        passes=0,
        bytes_before=table.nbytes,
        bytes_after=sum(stored.nbytes for stored in artifact.factors(compressed)),
        error=None,
        seconds=0.0,
        matrices=matrices,
        coded=_coded(pair, artifact, None),
    )


def _coded(pair: TablePair, artifact: Artifact, factors: Factorization | None) -> CodedReport | None:
    """Tell how the weights of a coded table are stored; None for other tables, and where that is damaged."""
    compressed = pair.compressed
    if not compressed.is_coded:
        return None
    from embcompress.coding.bound import coded_report

    try:
        kinds, is_rotated, states = describe_codes(artifact, compressed)
    except ArtifactError:  # told as a check that failed, when the rows are read
        return None
    return coded_report(
        factors,
        rows=pair.table.rows,
        dim=pair.table.dim,
        nbytes=sum(stored.nbytes for stored in artifact.factors(compressed)),
        kinds=kinds,
        is_rotated=is_rotated,
        states=states,
    )


class _Comparison:
    """One table beside what is stored of it.

    Args:
        pair: the table, and what the artifact says of it.
        artifact: an open one.
        setting: of the run.
        neighbours: rows whose nearest rows are looked for.
    """

    def __init__(self, pair: TablePair, artifact: Artifact, setting: Setting, *, neighbours: int) -> None:
        self._pair, self._artifact, self._setting, self._neighbours = pair, artifact, setting, neighbours
        self._stored_dtypes = [stored.dtype for stored in artifact.factors(pair.compressed)]

    def report(self) -> TableReport:
        """Measure all that the report tells.

        Raises:
            ArtifactError: what is stored is damaged.
            NonFiniteError: the original holds NaN or infinity.
        """
        started = time.perf_counter()
        try:
            return replace(self._measured(), seconds=time.perf_counter() - started)
        except NonFiniteError as err:
            hint = "Name the original that the artifact was made from, or repair the row in both."
            raise NonFiniteError(f"{self._setting.checkpoint.path}: {err.message}", hint=hint) from err

    def _measured(self) -> TableReport:
        import torch

        from embcompress.linalg.projection import FLOAT32_ERROR_MIN
        from embcompress.linalg.spectrum import spectrum_report

        found = _unmeasured(self._pair, self._artifact)
        table, compressed = self._pair.table, self._pair.compressed
        factors, optimum, passes = self._best_possible()
        dtype = self._measuring_dtype(factors)
        seen = self._compare(dtype)
        if dtype == torch.float32 and seen.error.result().relative < FLOAT32_ERROR_MIN:  # less than the artifact tells
            seen, passes = self._compare(torch.float64), passes + 1
        matrices = found.matrices
        labels = self._setting.facts.labels_of(table) if self._pair.matrices_of_row == 1 else ()
        return replace(
            found,
            passes=passes + 1,
            error=seen.error.result(optimal_relative=optimum, labels=labels),
            matrices=None if matrices is None else replace(matrices, relative=seen.relatives),
            coded=_coded(self._pair, self._artifact, factors),
            spectrum=None
            if factors is None
            else spectrum_report(factors, side=min(table.rows, table.dim), rank=compressed.rank),
            neighbours=seen.neighbours,
        )

    def _best_possible(self) -> tuple[Factorization | None, float | None, int]:
        """Find the spectrum, the least error that factors of the same rank leave, and count the passes it took."""
        import torch

        from embcompress.linalg.bilinear import BilinearCompression
        from embcompress.linalg.svd import factorize

        table, compressed = self._pair.table, self._pair.compressed
        if compressed.matrix is not None:
            in1, in2 = compressed.matrix
            made = BilinearCompression(
                self._setting.rows(table, "matrices"), in1=in1, in2=in2, rank=compressed.rank, dtype=torch.float64
            )
            for _ in made.blocks():
                pass
            return None, made.optimal_relative, 1
        stored = self._artifact.weights(compressed).dtype if not compressed.is_coded else table.real_dtype
        rank = min(table.rows, table.dim, RANK_MAX) if compressed.is_coded else compressed.rank
        factors = factorize(
            self._setting.rows(table, "spectrum"), rank, tolerance=STORING_ERROR[stored], seed=self._setting.seed
        )
        return factors, None if compressed.is_coded else factors.optimal_relative, factors.passes

    def _measuring_dtype(self, factors: Factorization | None) -> torch.dtype:
        """Choose the dtype that the error is measured in, from what the artifact tells of it."""
        import torch

        from embcompress.linalg.projection import measuring_dtype

        if factors is None:
            return torch.float64
        floats = {self._pair.table.real_dtype, *self._stored_dtypes} & set(STORING_ERROR)
        return measuring_dtype(
            relative=self._pair.compressed.error or 0.0,
            norm=factors.squared_norm**0.5,
            dtypes=tuple(getattr(torch, name) for name in sorted(floats)),
        )

    def _compare(self, dtype: torch.dtype) -> _Seen:
        """Read the table and what is stored of it once."""
        from embcompress.linalg.bilinear import RELATIVES_MAX
        from embcompress.linalg.error import ErrorAccumulator

        pair, setting = self._pair, self._setting
        stored = open_dense_rows(self._artifact, pair.compressed, dtype=dtype, device=setting.device)
        rows = setting.rows(pair.table, "comparison")
        search = search_neighbours(rows, stored, queries=self._neighbours, seed=setting.seed)
        error = ErrorAccumulator(None if pair.compressed.matrix else setting.facts.weights_of(pair.table))
        relatives: list[float] = []
        has_each = pair.compressed.matrix is not None and pair.table.rows * pair.matrices_of_row <= RELATIVES_MAX
        for block in paired_blocks(rows, stored):
            if search is not None:
                add_block(search, block)
            found = measure_error(block, error, parts=pair.matrices_of_row)
            if has_each:
                relatives += found.tolist()
        return _Seen(error, tuple(relatives), None if search is None else search.result())


@dataclass(frozen=True)
class _Seen:
    """What one comparison found; `relatives` of the matrices of a bilinear table."""

    error: ErrorAccumulator
    relatives: tuple[float, ...]
    neighbours: NeighboursReport | None
