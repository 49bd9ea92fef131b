"""The findings of a run: data only, and the version of its JSON form.

Field names are those of the JSON report (docs/report.md); units are bytes, rows, seconds and shares of a Frobenius
norm.
"""

from __future__ import annotations

from embcompress.results.common import (
    NOT_COMPRESSED,
    NOT_IN_BASELINE,
    Check,
    Gate,
    InputFile,
    OutputFile,
    Skipped,
    TableHead,
    Totals,
    UnrecognisedMatrix,
)
from embcompress.results.grades import COSINE, GRADES, NEIGHBOURS, THRESHOLDS, WORST_GROUP, Grade, Threshold
from embcompress.results.growth import (
    BackfillResult,
    GrownTable,
    MeanCosine,
    Norms,
    RowStatisticsReport,
    VocabularyReport,
)
from embcompress.results.runs import (
    ApproximateResult,
    EvaluateResult,
    ExportResult,
    InspectResult,
    LinkPrediction,
    ListedCompression,
    ListedTable,
    ListedTensor,
    Ranking,
    ReconstructResult,
    VerifyResult,
)
from embcompress.results.sweep import Recommendation, SweepCurve, SweepPoint, SweepResult, SweepTotals, SweptTable
from embcompress.results.tables import (
    Alternative,
    CodedReport,
    Cosine,
    Histogram,
    MatricesReport,
    NeighboursReport,
    NormRatio,
    Overlap,
    RowGroup,
    RowRelative,
    SpectrumReport,
    TableErrorReport,
    TableReport,
    WorstRow,
)

__all__ = [
    "COSINE",
    "GRADES",
    "NEIGHBOURS",
    "NOT_COMPRESSED",
    "NOT_IN_BASELINE",
    "SCHEMA_VERSION",
    "THRESHOLDS",
    "WORST_GROUP",
    "Alternative",
    "ApproximateResult",
    "BackfillResult",
    "Check",
    "CodedReport",
    "Cosine",
    "EvaluateResult",
    "ExportResult",
    "Gate",
    "Grade",
    "GrownTable",
    "Histogram",
    "InputFile",
    "InspectResult",
    "LinkPrediction",
    "ListedCompression",
    "ListedTable",
    "ListedTensor",
    "MatricesReport",
    "MeanCosine",
    "NeighboursReport",
    "NormRatio",
    "Norms",
    "OutputFile",
    "Overlap",
    "Ranking",
    "Recommendation",
    "ReconstructResult",
    "Result",
    "RowGroup",
    "RowRelative",
    "RowStatisticsReport",
    "Skipped",
    "SpectrumReport",
    "SweepCurve",
    "SweepPoint",
    "SweepResult",
    "SweepTotals",
    "SweptTable",
    "TableErrorReport",
    "TableHead",
    "TableReport",
    "Threshold",
    "Totals",
    "UnrecognisedMatrix",
    "VerifyResult",
    "VocabularyReport",
    "WorstRow",
]

SCHEMA_VERSION = 2

Result = (
    ApproximateResult
    | BackfillResult
    | EvaluateResult
    | ExportResult
    | InspectResult
    | ReconstructResult
    | SweepResult
    | VerifyResult
)
