"""The documents of `approximate` and `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embcompress.report.document import parts
from embcompress.report.document.grades import by_grade, grade_facts, legend_of, worst_grade
from embcompress.report.document.model import Case, Column, Document, Fact, Grid, Section, Tone
from embcompress.report.document.table_figures import errors_figure, neighbours_figure, sizes_figure
from embcompress.report.document.tables import table_section, tables_grid
from embcompress.report.judgements import GRADE_TONES, check_sentence, gate_condition, gate_sentence, gate_value
from embcompress.report.names import Command, Inline, Name
from embcompress.report.wording import (
    DRY_RUN,
    NOTHING_WRITTEN,
    counted,
    hardly_smaller_text,
    hidden_error_text,
    known_text,
    least_error,
    least_word,
    overlap_text,
    percent,
    sample_text,
    shape_text,
    share,
    times_smaller,
)
from embcompress.results import (
    ApproximateResult,
    Check,
    EvaluateResult,
    ExportResult,
    Gate,
    LinkPrediction,
    TableReport,
)
from embcompress.text import human_bytes

BRIEF_MAX = 3  # tables that a short form looks closer at, those of the largest error
FIGURED_MAX = 12  # tables with figures of their own, the largest: a page of hundreds of pictures is slow, and not read
UNFOLDED_MAX = 6  # tables of which none is folded
SMALL = 0.04  # share of the bytes of all tables below which one of many is folded
PASSED, HOLDS, HOLD = "passed", "holds", "hold"  # of a gate, of a check, of checks

Compression = ApproximateResult | EvaluateResult


def compression_document(result: Compression) -> Document:
    """Say what was compressed, by how much, how good it is, and where it is bad."""
    gates = sorted(result.gates, key=lambda gate: gate.passed)  # failed ones first
    checks = sorted(result.checks if isinstance(result, EvaluateResult) else (), key=lambda check: check.passed)
    skipped = result.skipped if isinstance(result, ApproximateResult) else ()
    judged: list[Gate | Check] = [*gates, *checks]
    failed = frozenset(one.table for one in judged if one.table is not None and not one.passed)
    tables = by_grade(result.tables)
    largest = sorted(result.tables, key=lambda table: -table.bytes_before)[:FIGURED_MAX]
    sections = [
        *_gate_sections(gates),
        *check_sections(checks),
        *parts.warned(result.warnings),
        *parts.noted(result.notes),
    ]
    if result.tables:
        drawn = (sizes_figure(tables), errors_figure(tables), neighbours_figure(tables)) if len(tables) > 1 else ()
        grids = (tables_grid(tables, failed=failed),)
        sections.append(Section("Tables", grids=grids, figures=tuple(filter(None, drawn)), is_titled=False))
    if isinstance(result, EvaluateResult) and result.link_prediction is not None:
        sections.append(_link_prediction(result.link_prediction))
    is_alone = len(tables) == 1
    worst = tables[:BRIEF_MAX]
    sections += [
        table_section(
            one,
            has_figures=one in largest,
            is_alone=is_alone,
            is_brief=one in worst,
            is_small=len(tables) > UNFOLDED_MAX
            and one not in worst
            and one.bytes_before < SMALL * max(result.totals.bytes_before, 1),
        )
        for one in tables
    ]
    is_export = isinstance(result, ExportResult)
    sections += parts.not_exported(skipped) if is_export else parts.left_dense(skipped)
    sections += _unrecognised(result) if isinstance(result, ApproximateResult) else parts.not_compared(result.skipped)
    state, tone, verdict = _verdict(result, gates=gates, checks=checks)
    cases = (
        *_cases(result.tables, gates, checks),
        *parts.table_cases({}, skipped),
    )
    return Document(
        result.command,
        _title(result),
        verdict,
        state,
        tone,
        _numbers(result),
        _files(result),
        tuple(sections),
        cases,
        _outcome(result, has_failed=any(not one.passed for one in judged)),
        tuple(filter(None, (hidden_error_text(result.tables), hardly_smaller_text(result)))),
        grades=grade_facts(result),
        legend=legend_of(result),
    )


def _cases(tables: Sequence[TableReport], gates: Sequence[Gate], checks: Sequence[Check]) -> Iterator[Case]:
    """Give every fault one case: a gate its own, a check that of its table, and its own where it is of no table."""
    seconds = {table.name: table.seconds for table in tables}
    for check in checks:
        if check.name == "tables" and check.table is not None:  # one that does not fit, and is in no report
            seconds.setdefault(check.table, 0.0)
    for name, spent in seconds.items():
        wrong = (check_sentence(check) for check in checks if check.table == name and not check.passed)
        yield Case("table", Name(name), spent, tuple(wrong))
    for gate in gates:
        yield Case("gate", _gate_name(gate), failures=() if gate.passed else (gate_sentence(gate),))
    for check in checks:
        if check.table not in seconds:
            yield Case("check", check_name(check), failures=() if check.passed else (check_sentence(check),))


def _title(result: Compression) -> Inline:
    smaller = f"{times_smaller(result.totals.file_ratio)} smaller"
    if isinstance(result, EvaluateResult):
        return (parts.base_name(result.artifact.path), " beside ", parts.base_name(result.input.path), f", {smaller}")
    return (parts.base_name(result.input.path), f", {smaller}")


def _verdict(result: Compression, *, gates: Sequence[Gate], checks: Sequence[Check]) -> tuple[str, Tone, Inline]:
    bad_gates, bad_checks = sum(not gate.passed for gate in gates), sum(not check.passed for check in checks)
    tables = counted(len(result.tables), "table")
    done = "rounded" if isinstance(result, ExportResult) else "compressed"
    if bad_gates or bad_checks:
        of = [f"{bad_gates} of {counted(len(gates), 'gate')}"] if bad_gates else []
        of += [f"{bad_checks} of {counted(len(checks), 'check')}"] if bad_checks else []
        sentence = f"{' and '.join(of)} failed"
        if isinstance(result, ApproximateResult) and result.withheld:
            return "not written", "bad", (f"{sentence} after measuring: ", _output(result), " was not written.")
        return "failed", "bad", f"{NOTHING_WRITTEN} {sentence}. {DRY_RUN}" if result.dry_run else f"{sentence}."
    successes = [f"all {counted(len(gates), 'gate')} passed" if len(gates) > 1 else "the gate passed"] if gates else []
    successes += [f"all {len(checks)} checks hold" if len(checks) > 1 else "the check holds"] if checks else []
    tail = f"; {' and '.join(successes)}" if successes else ""
    if result.dry_run:
        is_evaluation = isinstance(result, EvaluateResult)
        sentence = f"Only the headers were compared, of {tables}" if is_evaluation else f"{tables} would be {done}"
        return "dry run", "plain", f"{NOTHING_WRITTEN} {sentence}{tail}. {DRY_RUN}"
    if isinstance(result, EvaluateResult):
        sentence = " and ".join(successes) or "measured from the two files"
        return (*_state(result, has_gates=bool(gates)), f"{tables}: {sentence}.")
    return (*_state(result, has_gates=bool(gates)), (f"{tables} {done} into ", _output(result), f"{tail}."))


def _state(result: Compression, *, has_gates: bool) -> tuple[str, Tone]:
    """Judge a run without failures: by its gates, and else by the worst grade of its tables."""
    if has_gates:
        return "passed", "good"
    grade = worst_grade(result.tables)
    return ("measured" if grade is None else grade.grade), ("plain" if grade is None else GRADE_TONES[grade.grade])


def _outcome(result: Compression, *, has_failed: bool) -> tuple[Fact, ...]:
    """Say on a line whether the artifact was written."""
    file = result.artifact if isinstance(result, EvaluateResult) else result.output
    sizes = f"{human_bytes(result.input.bytes)} → {human_bytes(file.bytes)}"
    smaller = f"{times_smaller(result.totals.file_ratio)} smaller; its tables {times_smaller(result.totals.ratio)}"
    value: Inline = Name(file.path)
    if isinstance(result, EvaluateResult):
        label = "would compare" if result.dry_run else "compared"
        value = (Name(file.path), " with ", Name(result.input.path))
    elif result.withheld:
        label, value = "not written:", (Name(file.path), " failed a gate after measuring")
    else:
        label = parts.writing_word(result.output, is_dry=result.dry_run)
    facts = [Fact(label, value, f"{sizes}, {smaller}", "bad" if has_failed else "plain")]
    if isinstance(result, ApproximateResult) and result.unrecognised_command is not None:
        facts.append(
            Fact("", f"to compress {counted(len(result.unrecognised_matrices), 'more matrix', many='more matrices')}:")
        )
        facts.append(Fact("", Command(result.unrecognised_command), is_whole=True))
    return (*facts, Fact("", DRY_RUN)) if result.dry_run else tuple(facts)


def _output(result: ApproximateResult) -> Name:
    return parts.base_name(result.output.path)


def _numbers(result: Compression) -> tuple[Fact, ...]:
    totals = result.totals
    file = result.artifact if isinstance(result, EvaluateResult) else result.output
    sizes = f"{human_bytes(result.input.bytes)} → {human_bytes(file.bytes)}"
    numbers = [Fact("times smaller, the file", f"{totals.file_ratio:.2f}", sizes)]
    sizes = f"{human_bytes(totals.bytes_before)} → {human_bytes(totals.bytes_after)}, everything counted"
    numbers.append(Fact("times smaller, the tables", f"{totals.ratio:.2f}", sizes))
    measured = [table for table in result.tables if table.error is not None]
    where = f", worst of {len(measured)}" if len(measured) > 1 else ""
    if measured:
        worst = max(measured, key=lambda table: table.error.relative if table.error else 0.0)
        assert worst.error is not None
        known = least_error(worst)
        least = "of the Frobenius norm" if known is None else f"{least_word(worst)} {share(known)}"
        numbers.append(Fact(f"relative error{where}", share(worst.error.relative), least))
        errors = [table.error.row_relative for table in measured if table.error is not None]
        tail = max(errors, key=lambda rows: rows.p99)
        numbers.append(
            Fact(f"p99 row error{where}", share(tail.p99), f"median {share(tail.p50)}, max {share(tail.max)}")
        )
    candidates = [(table, table.neighbours) for table in result.tables if table.neighbours is not None]
    if candidates:
        table, neighbours = min(candidates, key=lambda pair: pair[1].cosine.overlap)
        numbers.append(
            Fact(
                "neighbours kept" + (f", worst of {len(candidates)}" if len(candidates) > 1 else ""),
                overlap_text(neighbours.cosine),
                f"of the {neighbours.neighbours_per_query} nearest by cosine; {sample_text(table)}",
            )
        )
    elif measured:
        cosines = [table.error.cosine for table in measured if table.error is not None]
        cosine = min(cosines, key=lambda one: one.mean)
        numbers.append(Fact(f"cosine{where}", f"{cosine.mean:.4f}", f"mean; p01 {cosine.p01:.4f}"))
    if isinstance(result, EvaluateResult) and result.link_prediction is not None:
        scores = result.link_prediction
        numbers.append(Fact("MRR", f"{scores.after.mrr:.4f}", f"was {scores.before.mrr:.4f}"))
    return (*numbers, *parts.memory_facts(result.memory_bytes))


def _files(result: Compression) -> tuple[Fact, ...]:
    facts: tuple[Fact, ...] = (parts.file_fact("input", result.input),)
    if isinstance(result, EvaluateResult):
        return (*facts, parts.file_fact("artifact", result.artifact))
    if isinstance(result, ExportResult) and result.original is not None:
        facts += (parts.file_fact("error against", result.original),)
    label = "not written" if result.withheld else "output"
    facts += parts.output_facts(result.output, is_dry=result.dry_run, label=label)
    seconds = sum(table.seconds for table in result.tables)
    return (*facts, Fact("time", f"{seconds:.1f} s", "spent on the tables")) if seconds else facts


def _gate_name(gate: Gate) -> Inline:
    expression = Name(gate.expression)
    return expression if gate.table is None else (expression, " for ", Name(gate.table))


def check_name(check: Check) -> Inline:
    """Name a check, and what it is of."""
    return check.name if check.table is None else (f"{check.name} of ", Name(check.table))


def _gate_sections(gates: Sequence[Gate]) -> list[Section]:
    if not gates:
        return []
    rows: list[tuple[Inline, ...]] = []
    for gate in gates:
        table: Inline = "" if gate.table is None else Name(gate.table)
        rows.append((PASSED if gate.passed else "FAILED", Name(gate_condition(gate)), table, gate_value(gate)))
    columns = (Column("verdict"), Column("fails if"), Column("table", is_cut=True), Column("value", "right"))
    return [
        Section("Gates", grids=(Grid("", columns, tuple(rows), _tones(gates), heads=2, good=PASSED),), is_late=True)
    ]


def check_sections(checks: Sequence[Check]) -> list[Section]:
    """List checks, and what each found."""
    if not checks:
        return []
    rows: list[tuple[Inline, ...]] = [
        (HOLDS if check.passed else "FAILED", check_name(check), check.detail) for check in checks
    ]
    columns = (Column("verdict"), Column("check"), Column("found", is_prose=True))
    return [
        Section("Checks", grids=(Grid("", columns, tuple(rows), _tones(checks), heads=2, good=HOLD),), is_late=True)
    ]


def _tones(judged: Sequence[Gate] | Sequence[Check]) -> tuple[Tone, ...]:
    return tuple("good" if one.passed else "bad" for one in judged)


def _unrecognised(result: ApproximateResult) -> list[Section]:
    """List the large matrices that may be tables, with the command that takes them along."""
    if result.unrecognised_command is None:
        return []
    columns = (
        Column("matrix", is_cut=True), Column("shape", is_brief=False), Column("bytes", "right"),
        Column("of the file", "right"), Column("why", is_prose=True, is_brief=False),
    )  # fmt: skip
    rows: list[tuple[Inline, ...]] = [
        (
            Name(matrix.name),
            shape_text(matrix.shape[0], matrix.shape[1:], matrix.dtype),
            human_bytes(matrix.bytes),
            percent(min(matrix.bytes / result.input.bytes, 1)),
            matrix.reason,
        )
        for matrix in result.unrecognised_matrices
    ]
    return [
        Section(
            "Large matrices that stayed dense",
            facts=(Fact("to compress them, too", Command(result.unrecognised_command)),),
            grids=(Grid("", columns, tuple(rows)),),
            is_late=True,
        )
    ]


def _link_prediction(scores: LinkPrediction) -> Section:
    columns = (Column(""), *(Column(title, "right") for title in ("MRR", "Hits@1", "Hits@3", "Hits@10")))
    rows = tuple(
        (when, *(f"{value:.4f}" for value in (one.mrr, one.hits_at_1, one.hits_at_3, one.hits_at_10)))
        for when, one in (("original", scores.before), ("artifact", scores.after))
    )
    facts = (
        Fact("interaction", Name(scores.interaction), is_brief=True),
        Fact("triples ranked", str(scores.triples), known_text(scores), is_brief=True),
    )
    return Section("Link prediction", facts=facts, grids=(Grid("", columns, rows),))
