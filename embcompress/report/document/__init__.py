"""Results to documents: one model between what a run found and the forms that people and pipelines read."""

from __future__ import annotations

from embcompress.report.document.compression import compression_document
from embcompress.report.document.growth import backfill_document
from embcompress.report.document.inspect import inspect_document, reconstruct_document
from embcompress.report.document.model import Document
from embcompress.report.document.sweep import sweep_document
from embcompress.report.document.verification import verification_document
from embcompress.results import BackfillResult, InspectResult, ReconstructResult, Result, SweepResult, VerifyResult

__all__ = ["Document", "document_of"]


def document_of(result: Result) -> Document:
    """Say in a document what a run found: first what a person asks first, failures before what holds."""
    if isinstance(result, SweepResult):
        return sweep_document(result)
    if isinstance(result, BackfillResult):
        return backfill_document(result)
    if isinstance(result, InspectResult):
        return inspect_document(result)
    if isinstance(result, ReconstructResult):
        return reconstruct_document(result)
    if isinstance(result, VerifyResult):
        return verification_document(result)
    return compression_document(result)
