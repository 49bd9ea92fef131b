"""Small checkpoints compressed and evaluated, for gates and baselines to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

import embcompress
from embcompress.evaluation.baseline import Measured
from embcompress.results import ApproximateResult, EvaluateResult, LinkPrediction, Ranking
from tests.fixtures import OPTIONS, Pair, write_lines


@pytest.fixture(scope="session", params=OPTIONS)
def results(
    request: pytest.FixtureRequest,
    small_results: Mapping[str, ApproximateResult],
    small_pairs: Mapping[str, Pair],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Measured, Measured]:
    """Compress and evaluate, with row weights, and with ranks that an evaluation of link prediction could find."""
    weights = None
    if request.param != "bilinear":
        weights = write_lines(tmp_path_factory.mktemp("gates") / "weights.txt", range(1, 301))
    pair = small_pairs[request.param]
    found = embcompress.evaluate(pair.original, pair.artifact, row_weights=weights)
    ranks = LinkPrediction("DistMult", 10, 20, Ranking(0.5, 0.25, 0.5, 0.75), Ranking(0.4, 0.2, 0.4, 0.6))
    return small_results[request.param], replace(found, link_prediction=ranks)


@pytest.fixture(scope="session")
def plain(small_pairs: Mapping[str, Pair]) -> EvaluateResult:
    """Evaluate one plain artifact."""
    return embcompress.evaluate(small_pairs["plain"].original, small_pairs["plain"].artifact)
