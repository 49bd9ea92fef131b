"""The document of `verify`."""

from __future__ import annotations

from embcompress.report.document import parts
from embcompress.report.document.compression import check_name, check_sections
from embcompress.report.document.model import Case, Document, Fact
from embcompress.report.judgements import check_sentence
from embcompress.report.names import Name
from embcompress.report.wording import counted
from embcompress.results import VerifyResult
from embcompress.text import human_bytes


def verification_document(result: VerifyResult) -> Document:
    """Say whether an artifact is whole, and what is wrong where it is not."""
    checks = sorted(result.checks, key=lambda check: check.passed)  # failed ones first
    bad = sum(not check.passed for check in checks)
    tables, tensors = counted(len(result.tables), "table"), counted(result.tensors, "stored tensor")
    verdict = f"{bad} of {counted(len(checks), 'check')} failed." if bad else f"All {len(checks)} checks hold."
    facts = [parts.file_fact("artifact", result.input)]
    facts += [] if result.sha256 is None else [Fact("sha256", Name(result.sha256))]
    facts += [] if result.report is None else [Fact("report", Name(result.report))]
    found = f"{human_bytes(result.input.bytes)}, {tables}, {tensors}"
    return Document(
        result.command,
        (parts.base_name(result.input.path), ", damaged" if bad else ", whole"),
        verdict,
        "failed" if bad else "passed",
        "bad" if bad else "good",
        (Fact("tables", str(len(result.tables))), Fact("tensors", str(result.tensors))),
        tuple(facts),
        tuple(check_sections(checks)),
        tuple(
            Case("check", check_name(check), failures=() if check.passed else (check_sentence(check),))
            for check in checks
        ),
        (Fact("verified", Name(result.input.path), found, "bad" if bad else "plain"),),
    )
