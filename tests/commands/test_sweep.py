"""Sweeping: every point is what compressing leaves, the recommendation keeps its rule, and its command runs."""

from __future__ import annotations

import importlib.util
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.commands.sweep import recommend
from embcompress.compression.curves import RATIOS
from embcompress.exceptions import BudgetError, OutputError, TableError, UsageError
from embcompress.results import SweepCurve, SweepPoint, SweepResult, SweepTotals, SweptTable
from tests.command_line import run, snapshot

WORDS = Path(__file__).parents[2] / "sample_checkpoints" / "words" / "model.pt"
WAYS = ["coded", "plain float32", "plain float16", "int8 per row", "int4 per row", "float16"]
ITEM_BYTES = {"plain float32": 4, "plain float16": 2}
CODED_TOLERANCE = 0.022  # of an error: 24 bytes fewer are 192 bits, of 400 x 16 numbers 0.03 bit each, times log 2
POINT_KEYS = [
    "target_ratio", "ratio", "bytes", "rank", "relative", "low", "high", "exact", "bound_relative", "largest_relative",
]  # fmt: skip


def decaying(rows: int, dim: int, *, seed: int) -> Tensor:
    """Draw a table whose singular values fall by two decades, with rows of different norms."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, dim, generator=random) @ torch.linalg.qr(torch.randn(dim, dim, generator=random)).Q
    values *= torch.exp(torch.randn(rows, 1, generator=random) / 2)
    left, _, right = torch.linalg.svd(values, full_matrices=False)
    return left * 0.01 ** (torch.arange(dim) / dim) @ right


MODEL: Mapping[str, Tensor] = {
    "entities.weight": decaying(700, 24, seed=0),
    "relations.weight": 50 * decaying(400, 16, seed=1),
    "tiny_embedding.weight": torch.eye(2).half(),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of three tables, one too small to shrink."""
    path = tmp_path_factory.mktemp("sweep") / "model.safetensors"
    safetensors.torch.save_file(dict(MODEL), path)
    return path


@pytest.fixture(scope="module")
def swept(model: Path) -> SweepResult:
    """Sweep it."""
    return embcompress.sweep(model, effort="fast")


def curve(table: SweptTable | SweepTotals, way: str) -> tuple[SweepPoint, ...]:
    """Find the points of a way."""
    return next(one.points for one in table.curves if one.method == way)


def test_sweep_lists_every_way_of_every_table(swept: SweepResult) -> None:
    """Tables in the order of the file, all ways of each, points by ascending ratio; the tiny table is left."""
    assert [table.name for table in swept.tables] == ["entities.weight", "relations.weight"]
    assert [(left.name, left.reason) for left in swept.skipped] == [
        ("tiny_embedding.weight", "is too small to compress")
    ]
    for table in (*swept.tables, swept.totals):
        assert [one_curve.method for one_curve in table.curves] == WAYS
        for one_curve in table.curves:
            asked = [point.target_ratio for point in one_curve.points]
            has_one_size = one_curve.method in WAYS[3:]
            assert asked == ([None] if has_one_size else [ratio for ratio in RATIOS if ratio in asked])
            assert all(point.exact and point.low == point.high == point.relative for point in one_curve.points)
    assert [table.sample_rows for table in swept.tables] == [700, 400]


@pytest.mark.parametrize("way", ["plain float32", "plain float16"])
def test_plain_points_are_the_optimum_of_a_dense_svd(swept: SweepResult, way: str) -> None:
    """The largest rank whose file stays within the ratio, and the share of the singular values that it drops.

    To 1e-5 where float32 sums made the spectrum, plus the typical rounding of the dtype.
    """
    rounding = {"plain float32": 1e-7, "plain float16": 3e-4}[way]
    for table in swept.tables:
        squares = torch.linalg.svdvals(MODEL[table.name].double()).square()
        points = curve(table, way)
        assert len(points) >= 3
        for point in points:
            assert point.rank is not None
            assert point.target_ratio is not None
            assert point.bytes == point.rank * (table.rows + table.shape[0]) * ITEM_BYTES[way]
            limit = table.bytes_before / point.target_ratio
            one_more = point.bytes * (point.rank + 1) / point.rank
            assert point.bytes <= limit < one_more + 800  # the header of a file with one table
            expected = math.sqrt(float(squares[point.rank :].sum() / squares.sum()) + rounding**2)
            assert point.relative == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("way", "bits"), [("int8 per row", 8), ("int4 per row", 4)])
def test_integer_points_are_direct_quantization(swept: SweepResult, way: str, bits: int) -> None:
    """Rows divided by their largest magnitude over 127 or 7, as a float16, and rounded."""
    most = 2 ** (bits - 1) - 1
    for table in swept.tables:
        (point,) = curve(table, way)
        values = MODEL[table.name].double()
        unit = 2.0 ** round(math.log2(float(values.square().mean())) / 2)
        scales = (values.abs().amax(dim=1, keepdim=True) / most / unit).half().double() * unit
        rounded = (values / scales).round().clamp(-most, most) * scales
        assert point.bytes == table.rows * (table.shape[0] * bits // 8 + 2)
        assert point.relative == pytest.approx(float((rounded - values).norm() / values.norm()), rel=1e-3)


def test_float16_points_are_the_rounded_table(swept: SweepResult) -> None:
    """Half of the bytes of float32, and what rounding each number to float16 leaves."""
    for table in swept.tables:
        (point,) = curve(table, "float16")
        values = MODEL[table.name].double()
        assert (point.bytes, point.ratio) == (table.bytes_before // 2, 2)
        assert point.relative == pytest.approx(
            float((values.half().double() - values).norm() / values.norm()), rel=1e-3
        )


@pytest.mark.parametrize("ratio", [4, 8])
def test_coded_points_are_what_approximate_makes(swept: SweepResult, model: Path, tmp_path: Path, ratio: int) -> None:
    """A table alone and all together: the same bytes and, as the sample is the whole, the same error.

    A file may leave 0.04 % of its bytes, or 24 of them, unused.
    """
    options: dict[str, Any] = {"ratio": ratio, "effort": "fast", "exclude": "tiny*", "force": True, "neighbours": 0}
    for table in swept.tables:
        made = embcompress.approximate(model, table=table.name, output=tmp_path / "one.safetensors", **options)
        point = next(point for point in curve(table, "coded") if point.target_ratio == ratio)
        assert made.tables[0].error is not None
        assert point.bytes == pytest.approx(made.tables[0].bytes_after, rel=5e-4, abs=24)
        assert point.relative == pytest.approx(made.tables[0].error.relative, rel=CODED_TOLERANCE)
    made = embcompress.approximate(model, output=tmp_path / "all.safetensors", **options)
    point = next(point for point in curve(swept.totals, "coded") if point.target_ratio == ratio)
    errors = [table.error.relative for table in made.tables if table.error is not None]
    totals = made.totals
    assert point.bytes == pytest.approx(totals.bytes_after - totals.header_bytes, rel=5e-4, abs=2 * 24)
    assert point.relative == pytest.approx(math.sqrt(sum(error**2 for error in errors) / 2), rel=CODED_TOLERANCE)
    assert point.largest_relative == pytest.approx(max(errors), rel=CODED_TOLERANCE)


def test_coded_point_of_a_trained_table(tmp_path: Path) -> None:
    """Word vectors, 2325 x 64: the sample is the whole table, so the error is the artifact's."""
    (table,) = (result := embcompress.sweep(WORDS, effort="fast")).tables
    assert table.sample_rows == 2325
    point = next(point for point in curve(table, "coded") if point.target_ratio == 16)
    output = tmp_path / "words.safetensors"
    made = embcompress.approximate(WORDS, ratio=16, effort="fast", output=output, neighbours=0).tables[0]
    assert made.error is not None
    assert made.coded is not None
    assert point.relative == pytest.approx(made.error.relative, rel=1e-3)
    assert point.bound_relative == pytest.approx(made.coded.bound_relative, rel=1e-3)
    assert [one.points[0].relative for one in result.totals.curves] == [one.points[0].relative for one in table.curves]
    assert table.remarks[0].startswith("plain low rank is far worse here: at 1/16 its error is 0.7")


def test_points_of_a_long_table_have_a_band(tmp_path: Path) -> None:
    """20000 x 20 rows are sampled: the error of the whole lies within twice the band, and plain figures are exact."""
    values = decaying(20_000, 20, seed=2)
    path = tmp_path / "long.safetensors"
    safetensors.torch.save_file({"entities.weight": values}, path)
    (table,) = embcompress.sweep(path, effort="fast").tables
    assert table.sample_rows == 8224  # chunks of 32, every 77 rows, as 8192 are wanted
    assert all(point.exact for point in curve(table, "plain float16"))
    point = next(point for point in curve(table, "coded") if point.target_ratio == 8)
    output = tmp_path / "o.safetensors"
    made = embcompress.approximate(path, ratio=8, effort="fast", output=output, neighbours=0).tables[0]
    assert made.error is not None
    (whole,) = curve(table, "int4 per row")
    scales = (values.abs().amax(dim=1, keepdim=True) / 7).double()
    rounded = (values / scales).round().clamp(-7, 7) * scales
    for seen, truth in (
        (point, made.error.relative),
        (whole, float((rounded - values).norm() / values.double().norm())),
    ):
        assert not seen.exact
        assert 0 < seen.low < seen.relative < seen.high < 1.1 * seen.low
        assert abs(seen.relative - truth) <= seen.high - seen.low


def point_at(ratio: float, relative: float, *, largest: float | None = None) -> SweepPoint:
    """Make a point of the totals."""
    return SweepPoint(ratio, ratio, 1000, None, relative, relative, relative, True, None, largest or relative)


@pytest.mark.parametrize(
    ("coded", "plain", "expected"),
    [
        ({2: 0.01, 8: 0.05, 16: 0.2}, {2: 0.3, 8: 0.6}, ("coded", 8, True)),
        ({2: 0.01, 8: 0.1, 16: 0.101}, {}, ("coded", 8, True)),
        ({2: 0.02, 8: 0.09}, {2: 0.01, 8: 0.05}, ("plain float16", 8, True)),
        ({2: 0.3, 8: 0.4}, {2: 0.5}, ("coded", 2, False)),
    ],
    ids=["largest ratio within", "just within", "least error of two ways", "none within: least error"],
)
def test_recommendation(coded: dict[int, float], plain: dict[int, float], expected: tuple[str, int, bool]) -> None:
    """The largest ratio at which no table exceeds the error; there the better way; else the least error of all."""
    curves = [
        SweepCurve(way, tuple(point_at(ratio, relative) for ratio, relative in points.items()))
        for way, points in (("coded", coded), ("plain float16", plain))
    ]
    call = {"effort": "fast", "table": ["a b*"]}
    recommendation = recommend(SweepTotals(10, tuple(curves)), max_error=0.1, path=Path("a model.pt"), call=call)
    assert recommendation is not None
    way, ratio, is_within = expected
    assert (recommendation.method, recommendation.ratio, recommendation.is_within_max_error) == expected
    how = "--effort fast" if way == "coded" else "--plain --dtype float16"
    assert recommendation.command == f"embcompress approximate 'a model.pt' --ratio {ratio} {how} --table 'a b*'"
    assert ("no ratio tried" in recommendation.reason) is not is_within


def test_recommendation_counts_the_worst_table() -> None:
    """An error of 0.05 in total is too much where one table has 0.11; nothing to choose from gives nothing."""
    points = (point_at(4, 0.02), point_at(8, 0.05, largest=0.11))
    recommendation = recommend(SweepTotals(10, (SweepCurve("coded", points),)), max_error=0.1, path=Path("m"))
    assert recommendation is not None
    assert recommendation.ratio == 4
    assert recommend(SweepTotals(10, (SweepCurve("coded", ()),)), max_error=0.1, path=Path("m")) is None


def test_the_command_that_is_recommended_runs(swept: SweepResult) -> None:
    """Pasted as printed it makes a file with the error foretold, within what was allowed."""
    recommendation = swept.recommendation
    assert recommendation is not None
    program, *words = shlex.split(recommendation.command)
    assert program == "embcompress"
    report = json.loads(run(*words, "--json").out)
    totals = report["totals"]
    assert totals["bytes_after"] - totals["header_bytes"] == pytest.approx(recommendation.bytes, rel=5e-4, abs=2 * 24)
    errors = [table["error"]["relative"] for table in report["tables"]]
    assert max(errors) <= 0.1
    assert math.sqrt(sum(error**2 for error in errors) / len(errors)) == pytest.approx(
        recommendation.relative, rel=CODED_TOLERANCE
    )


def test_sweep_prints_one_json_document_and_writes_what_is_asked_for(model: Path, tmp_path: Path) -> None:
    """Nothing is written but the report and the picture; the report is what --json prints but for the seconds."""
    before = snapshot(model.parent)
    report, plot = tmp_path / "sweep.json", tmp_path / "sweep.svg"
    args = ["sweep", model, "--table", "relations*", "--effort", "fast", "--json"]
    outcome = run(*args, "--report", report, "--plot", plot)
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == [
        "schema_version", "command", "ok", "input", "tables", "skipped", "totals", "recommendation",
    ]  # fmt: skip
    assert (document["schema_version"], document["command"], document["ok"]) == (2, "sweep", True)
    (table,) = document["tables"]
    assert list(table) == [
        "name", "tied_names", "rows", "shape", "dtype", "stored_as", "bytes_before", "passes", "sample_rows", "curves",
        "remarks", "seconds",
    ]  # fmt: skip
    assert list(table["curves"][0]) == ["method", "points"]
    assert list(table["curves"][0]["points"][0]) == POINT_KEYS
    assert list(document["totals"]) == ["bytes_before", "curves"]
    assert list(document["recommendation"]) == [
        "method", "ratio", "bytes", "relative", "is_within_max_error", "reason", "command",
    ]  # fmt: skip
    assert report.read_text() == outcome.out
    assert plot.read_bytes().startswith(b"<?xml")
    assert snapshot(model.parent) == before
    refused = run(*args, "--plot", plot)
    assert (refused.code, "exists already" in refused.out) == (1, True)


def test_a_table_too_small_to_shrink_is_refused_alone(model: Path) -> None:
    """By name, as approximate refuses it, and where a pattern chooses nothing else."""
    with pytest.raises(BudgetError, match=r"'tiny_embedding\.weight' .* is too small to compress"):
        embcompress.sweep(model, table="tiny_embedding.weight")
    with pytest.raises(BudgetError, match=r"nothing in .* gets smaller"):
        embcompress.sweep(model, table="tiny*")


def test_signs_need_no_bases(tmp_path: Path) -> None:
    """A table of +-1 is coded without bases, and the remark says that low rank buys nothing."""
    signs = torch.randint(0, 2, (800, 32), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    path = tmp_path / "signs.safetensors"
    safetensors.torch.save_file({"entities.weight": signs}, path)
    (table,) = embcompress.sweep(path, effort="fast").tables
    assert table.remarks[0].startswith("bases do not help here: at 1/16 coding is best without them")


def test_a_table_of_low_rank_is_coded_in_few_columns(tmp_path: Path) -> None:
    """3000 x 64 of rank 3: at 1/16 bases and codes leave what float32 holds, plain float16 the rounding of float16."""
    random = torch.Generator().manual_seed(3)
    values = torch.randn(3000, 3, generator=random) @ torch.randn(3, 64, generator=random)
    path = tmp_path / "low.safetensors"
    safetensors.torch.save_file({"entities.weight": values}, path)
    (table,) = embcompress.sweep(path, effort="fast").tables
    plain = next(point for point in curve(table, "plain float16") if point.target_ratio == 16)
    coded = next(point for point in curve(table, "coded") if point.target_ratio == 16)
    assert plain.relative == pytest.approx(3e-4, rel=0.01)
    assert coded.rank == 3
    assert coded.relative < 1e-5
    output = tmp_path / "o.safetensors"
    made = embcompress.approximate(path, ratio=16, effort="fast", output=output, neighbours=0).tables[0]
    assert made.error is not None
    assert made.error.relative < 1e-5


def test_every_effort_recommends_a_command_that_names_it(model: Path) -> None:
    """All but the default one; plain ways take none."""
    recommendation = embcompress.sweep(model, table="relations*", effort="best").recommendation
    assert recommendation is not None
    assert recommendation.method == "coded"
    assert recommendation.command.endswith(f"--ratio {recommendation.ratio:g} --effort best --table 'relations*'")


def test_rows_are_read_once_beside_the_sample(model: Path) -> None:
    """Of a table of which the sample is the whole, each row is read twice, and no row more often."""
    seen: dict[str, int] = {}

    def progress(doing: str, done: int, rows: int, row_bytes: int) -> None:
        if row_bytes:
            seen[doing] = max(seen.get(doing, 0), done)
            assert rows == 400

    (table,) = embcompress.sweep(model, table="relations*", progress=progress).tables
    assert table.passes == 1
    assert seen == {"relations.weight: spectrum": 400}


REFUSALS: Mapping[str, tuple[dict[str, Any], type[Exception], str]] = {
    "effort": ({"effort": "slow"}, UsageError, "--effort must be default or fast or best"),
    "error": ({"max_error": 1.0}, UsageError, "--max-error must be between 0 and 1; got 1"),
    "seed": ({"seed": -1}, UsageError, "--seed must be"),
    "picture": ({"plot": "x.gif"}, UsageError, "no picture ends in '.gif'"),
    "report": ({"report": "x.txt"}, UsageError, "no report ends in '.txt'"),
    "no such table": ({"table": "nothing*"}, TableError, "matches none"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_sweep_refuses(model: Path, case: str) -> None:
    """Before a row is read, in words that name the option."""
    options, kind, message = REFUSALS[case]
    with pytest.raises(kind, match=message):
        embcompress.sweep(model, **options)


def test_sweep_refuses_an_artifact(model: Path, tmp_path: Path) -> None:
    """What is compressed already is not swept."""
    artifact = tmp_path / "small.safetensors"
    embcompress.approximate(model, bases=3, output=artifact)
    with pytest.raises(TableError, match="compressed already"):
        embcompress.sweep(artifact)


def test_a_picture_without_matplotlib_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to install it, before any work is done."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"needs matplotlib.*pip install 'embcompress\[plot\]'"):
        embcompress.sweep(model, plot="x.svg")
