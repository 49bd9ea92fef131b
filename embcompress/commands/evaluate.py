"""Compare an artifact with its original, from the two files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import Artifact, read_artifact
from embcompress.artifact.schema import CODES_SUFFIX
from embcompress.artifact.writer import copied_entry
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.row_labels import attach_labels
from embcompress.choices import DEFAULT_NEIGHBOURS
from embcompress.commands.memory import estimate_evaluation_memory, estimate_neighbour_memory
from embcompress.commands.run import (
    check_neighbours,
    check_reports,
    check_seed,
    inputs_of,
    left_out,
    refuse_existing,
    resolve_device,
    write_reports,
)
from embcompress.compression.artifact_file import header_bytes, totals_of
from embcompress.evaluation.checks import (
    TablePair,
    all_checks,
    check_copies,
    check_recorded,
    check_unmatched,
    match_tables,
    refuse_swapped,
)
from embcompress.evaluation.gates import read_conditions
from embcompress.evaluation.grading import grade_tables, read_thresholds
from embcompress.evaluation.table_comparison import TableComparison, unmeasured_report
from embcompress.exceptions import ArtifactError, UsageError
from embcompress.link_prediction.ranking import check_link_prediction, estimate_ranking_memory, measure_link_prediction
from embcompress.results import Check, EvaluateResult, InputFile
from embcompress.tables.own_labels import add_own_labels
from embcompress.tables.progress import Progress
from embcompress.tables.row_info import read_row_info
from embcompress.tables.source import TableSource


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
    grade: Sequence[str] | str = (),
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    allow_expansion: bool = False,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Measure what an artifact leaves of its original, and check the artifact, from the two files alone.

    Goes over the rows of each table as often as the solver of its spectrum needs, mostly once, and once more beside
    what is stored of them; memory as for `approximate`, and with `triples` that of the dense tables.

    Args:
        original: the checkpoint that was compressed.
        artifact: the file that `approximate` made of it.
        neighbours: rows of each table whose nearest rows are looked for among all rows; 0 for none.
        row_weights: a file with how much the error of each row counts.
        labels: a file with the labels of the rows, for row weights by label and for the worst rows. Default, for the
            latter: those that the original brings along, as in a tokenizer.json beside it.
        triples: of a knowledge graph, head<TAB>relation<TAB>tail, ranked before and after; needs PyKEEN.
        known: files of other true triples, which are filtered out of the ranking.
        interaction: what scores triples, as in "TransE:p=1", where the original does not record it.
        fail_if: conditions on the report that must not hold, such as "error.relative > 0.05".
        baseline: the JSON report of an earlier artifact that this one must not be worse than.
        max_regression: by how much it may be: a share, or a text such as "1%", the default.
        grade: thresholds of the grades good and fair, each "MEASURE=GOOD,FAIR" of neighbours, cosine or worst_group.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the draw of rows.
        report: files to write the report to, each ending choosing a renderer; default: none.
        force: overwrite existing reports.
        dry_run: compare the headers, estimate the memory, read no row.
        allow_expansion: read an artifact whose tables claim to be far larger than it (`EXPANSION_MAX` times), too.
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
    thresholds = read_thresholds(grade)
    conditions = read_conditions(EvaluateResult, fail_if=fail_if, baseline=baseline, max_regression=max_regression)
    with open_checkpoint(original) as source, open_checkpoint(artifact) as made:
        refuse_swapped(source, made)
        opened = check_expansion(read_artifact(made), is_allowed=allow_expansion)
        checkpoint = attach_labels(source, as_in=opened.tensors)
        inputs = inputs_of(checkpoint, made, others=(*others, row_weights, labels, baseline, triples))
        reports = check_reports(report, output=None, force=True, inputs=inputs)
        chosen_device = resolve_device(device, dry_run=dry_run)
        pairs, failed = match_tables(checkpoint, opened)
        chosen = [pair.table for pair in pairs]
        facts = read_row_info(row_weights=row_weights, labels=labels, tables=lambda: chosen, files=checkpoint.files)
        if labels is None:
            facts = add_own_labels(facts, checkpoint, chosen)
        weighed = [pair.table for pair in pairs if pair.compressed.matrix is None or row_weights is None]
        if row_weights is not None and not weighed:
            raise UsageError(f"--row-weights weighs rows, and {made.path} holds matrices: leave it out.")
        facts.check(weighed, path=row_weights)
        plan = None
        if triples is not None:  # before any table is read
            plan = check_link_prediction(checkpoint, triples=Path(triples), known=others, interaction=interaction)
        tables, ranked = [unmeasured_report(pair, opened) for pair in pairs], None
        if not dry_run:
            refuse_existing([path for path, _ in reports], force=force)
            table_source = TableSource(
                checkpoint, chosen_device, seed, progress, facts, tuple(table.name for table in chosen)
            )
            for number, pair in enumerate(pairs):
                try:
                    tables[number] = TableComparison(pair, opened, table_source, neighbours=neighbours).report()
                except ArtifactError as err:
                    failed.append(Check("checksums", pair.table.name, passed=False, detail=err.message.rstrip(".")))
                    continue
                failed += check_recorded(pair, tables[number].error)
            failed += [*check_copies(checkpoint, opened), *check_unmatched(opened, pairs)]
            if plan is not None:
                try:
                    ranked = measure_link_prediction(plan, checkpoint, opened, device=chosen_device, progress=progress)
                except ArtifactError as err:
                    failed.append(Check("link prediction", None, passed=False, detail=err.message.rstrip(".")))
        memory = estimate_evaluation_memory([(pair.table, pair.compressed.rank) for pair in pairs])
        memory += estimate_neighbour_memory(neighbours)
        memory += 0 if plan is None else estimate_ranking_memory(plan)
        result = EvaluateResult(
            command="evaluate",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            artifact=InputFile(made.name, made.nbytes),
            tables=grade_tables(tables, thresholds),
            thresholds=thresholds,
            totals=totals_of(tables, header=_header_bytes(opened, pairs), before=checkpoint.nbytes, after=made.nbytes),
            link_prediction=ranked,
            skipped=left_out(checkpoint),
            checks=all_checks(
                failed, opened, tables=tables, left_out=len(checkpoint.listing.left_out), has_read=not dry_run
            ),
            warnings=facts.warnings,
            notes=facts.notes,
            dry_run=dry_run,
            memory_bytes=memory if dry_run else None,
        )
        result = replace(result, gates=conditions.gates(result))
        if not dry_run:
            write_reports(result, reports, force=force)
    return result


def _header_bytes(artifact: Artifact, pairs: Sequence[TablePair]) -> int:
    """Count the bytes of a header of the compressed tables alone; for codes it has the room that their writer keeps."""
    compressed = [pair.compressed for pair in pairs]
    factors = [(table, one) for table in compressed for one in artifact.factors(table)]
    return header_bytes(
        compressed,
        [replace(copied_entry(one), is_growing=one.name == table.name + CODES_SUFFIX) for table, one in factors],
    )
