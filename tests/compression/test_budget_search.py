"""Budgets: sizes and errors that are never exceeded, bytes that are spent, and refusals that name what can be had."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.compression.budget import EFFORTS, choose_budget, parse_size
from embcompress.exceptions import BudgetError, NonFiniteError, UsageError
from embcompress.results import ApproximateResult, TableReport
from tests import fixtures
from tests.fixtures import SAMPLES, save

draw = partial(fixtures.draw_falling, fall=0.9, spread=0.5)

SAMPLE_FILES = (
    "kinships-complex/trained_model.pkl",
    "kinships-complex/model.safetensors",
    "kinships-transe/trained_model.pkl",
    "kinships-rescal/trained_model.pkl",
    "words/model.pt",
)
SPARE_BYTES = 64  # that the smallest size of a refusal has beside what the estimate says
HEADER_BYTES = 8  # a header is padded to a multiple of that


def compress(source: Path, *, folder: Path | None = None, **options: Any) -> ApproximateResult:
    """Compress a checkpoint, by the quickest effort unless another is given, and check what holds for every result.

    No budget looks at neighbours, which take a sixth of the time of a small table.
    """
    output = (folder or source.parent) / "out.safetensors"
    quick = {} if {"effort", "plain", "energy"} & set(options) else {"effort": "fast"}
    result = embcompress.approximate(source, output=output, force=True, neighbours=0, **quick, **options)
    assert result.output.bytes == output.stat().st_size
    tensors = safetensors.torch.load_file(output)
    for table in result.tables:
        own = sum(
            value.numel() * value.element_size()
            for name, value in tensors.items()
            if re.fullmatch(re.escape(table.name) + r"\.(bases|weights|codes|index|codebook)", name)
        )
        assert table.bytes_after == own < table.bytes_before
        assert table.error is not None
    return result


def compress_one(folder: Path, values: Tensor, **options: Any) -> TableReport:
    """Compress a checkpoint of one table."""
    (report,) = compress(save(folder / "model.safetensors", {"entities.weight": values}), **options).tables
    return report


def error_of(table: TableReport) -> float:
    """Give the relative error."""
    assert table.error is not None
    return table.error.relative


def measure(folder: Path, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Multiply the result out, and compute the relative error of every table in float64."""
    dense = embcompress.reconstruct(folder / "out.safetensors", output=folder / "dense.safetensors", force=True)
    tensors = safetensors.torch.load_file(dense.output.path)
    errors = {}
    for name, value in state.items():
        wide = torch.complex128 if value.is_complex() else torch.float64
        scale = float(value.abs().max()) or 1.0
        exact, stored = value.to(wide) / scale, tensors[name].to(wide) / scale
        errors[name] = float(torch.linalg.vector_norm(exact - stored) / (torch.linalg.vector_norm(exact) or 1.0))
    return errors


@cache
def smallest_size(sample: str) -> int:
    """Ask for a file of one byte, and take the smallest size from the refusal."""
    with pytest.raises(BudgetError) as caught:
        embcompress.approximate(SAMPLES / sample, max_size=1, effort="fast", dry_run=True)
    ((option, size),) = (retry.arguments for retry in caught.value.retries)
    assert option == "--max-size"
    return int(size)


@pytest.fixture(params=SAMPLE_FILES)
def sample(request: pytest.FixtureRequest) -> str:
    """Name a sample checkpoint."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for outputs that replace each other."""
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize(
    ("name", "share", "effort"),
    [
        ("kinships-complex/trained_model.pkl", 0.0, "fast"),
        ("kinships-complex/trained_model.pkl", 0.71, "best"),
        ("kinships-complex/model.safetensors", 0.83, "default"),
        ("kinships-transe/trained_model.pkl", 0.92, "fast"),
        ("kinships-rescal/trained_model.pkl", 0.57, "default"),
        ("words/model.pt", 0.43, "default"),
        ("words/model.pt", 0.97, "fast"),
    ],
)
def test_max_size_is_never_exceeded(name: str, scratch: Path, share: float, effort: str) -> None:
    """The whole file has at most the bytes asked for, at any size between the smallest and the original's."""
    whole = (SAMPLES / name).stat().st_size
    limit = int(whole * 0.02 * (30.0**share))
    try:
        result = compress(SAMPLES / name, folder=scratch, max_size=limit, effort=effort)
    except BudgetError as err:
        ((option, size),) = (retry.arguments for retry in err.retries)
        assert option == "--max-size"
        assert int(size) > limit
        return
    assert result.output.bytes <= limit


@pytest.mark.parametrize(
    ("name", "ratio", "effort"),
    [
        ("kinships-complex/trained_model.pkl", 7.3, "default"),
        ("kinships-complex/model.safetensors", 23.9, "best"),
        ("kinships-transe/trained_model.pkl", 3.1, "fast"),
        ("kinships-rescal/trained_model.pkl", 11.7, "best"),
        ("kinships-rescal/trained_model.pkl", 23.9, "fast"),
        ("words/model.pt", 1.5, "fast"),
        ("words/model.pt", 13.3, "default"),
    ],
)
def test_ratio_is_reached(name: str, scratch: Path, ratio: float, effort: str) -> None:
    """The chosen tables are at least as many times smaller as asked for, or the refusal names a ratio below."""
    try:
        result = compress(SAMPLES / name, folder=scratch, ratio=ratio, effort=effort)
    except BudgetError as err:
        ((option, smallest),) = (retry.arguments for retry in err.retries)
        assert option == "--ratio"
        assert float(smallest) < ratio
        return
    assert result.totals.ratio >= ratio
    assert not result.skipped or result.totals.bytes_after <= result.totals.bytes_before / ratio


@pytest.mark.parametrize(
    ("name", "power", "effort"),
    [
        ("kinships-complex/trained_model.pkl", -0.2, "fast"),
        ("kinships-complex/model.safetensors", -0.9, "best"),
        ("kinships-transe/trained_model.pkl", -1.5, "fast"),
        ("kinships-rescal/trained_model.pkl", -0.5, "default"),
        ("words/model.pt", -0.3, "default"),
        ("words/model.pt", -1.2, "fast"),
    ],
)
def test_max_error_is_never_exceeded(name: str, scratch: Path, power: float, effort: str) -> None:
    """No table is left with a larger error than asked for, as measured on what is stored."""
    target = 10**power
    result = compress(SAMPLES / name, folder=scratch, max_error=target, effort=effort)
    assert max(error_of(table) for table in result.tables) <= target
    for table in result.tables:
        assert error_of(table) >= 0.5 * target  # not far more bytes than that takes


@pytest.mark.parametrize("name", ["words/model.pt"])
def test_trellis_keeps_to_a_size(name: str, scratch: Path) -> None:
    """With the best effort a sample's tables fit into a 9th, with no larger an error than the quick way leaves."""
    best, fast = (compress(SAMPLES / name, folder=scratch, ratio=9, effort=effort) for effort in ("best", "fast"))
    assert best.totals.ratio >= 9
    squares = [sum(error_of(table) ** 2 for table in result.tables) for result in (best, fast)]
    assert squares[0] <= squares[1] * 1.02


def test_smallest_size_that_is_named_works(sample: str, tmp_path: Path) -> None:
    """A file of one byte is refused, and the smallest size that the refusal names works, with 0.2 % to spare."""
    least = smallest_size(sample)
    assert compress(SAMPLES / sample, folder=tmp_path, max_size=least, effort="fast").output.bytes <= least
    spare = 0.002 * least + SPARE_BYTES + HEADER_BYTES
    with pytest.raises(BudgetError):
        embcompress.approximate(
            SAMPLES / sample, output=tmp_path / "no.safetensors", max_size=int(least - spare), effort="fast"
        )
    assert not (tmp_path / "no.safetensors").exists()


def test_smallest_ratio_that_is_named_works(tmp_path: Path) -> None:
    """The ratio that a refusal names is one that works."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(900, 24)})
    with pytest.raises(BudgetError) as caught:
        embcompress.approximate(source, ratio=5000, effort="fast")
    ((option, smallest),) = (retry.arguments for retry in caught.value.retries)
    assert option == "--ratio"
    assert compress(source, ratio=float(smallest)).totals.ratio >= float(smallest)


@pytest.mark.parametrize(
    ("effort", "sizes"), [("fast", (25000, 50000, 111111)), ("default", (50000,)), ("best", (25000,))]
)
def test_bytes_are_spent(tmp_path: Path, effort: str, sizes: tuple[int, ...]) -> None:
    """99.8 % of a size are used, and of a ratio, which counts the header of a file with the table alone."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(3000, 24)})
    for size in sizes:
        assert 0.998 * size <= compress(source, max_size=size, effort=effort).output.bytes <= size
    limit = 3000 * 24 * 4 / 10
    assert 0.998 * limit <= compress(source, ratio=10, effort=effort).output.bytes <= limit


@pytest.mark.parametrize(
    ("effort", "targets"), [("fast", (0.5, 0.05, 1e-3, 1e-4)), ("default", (0.05, 1e-4)), ("best", (0.5, 0.05))]
)
def test_error_is_spent(tmp_path: Path, effort: str, targets: tuple[float, ...]) -> None:
    """99.8 % of an error are used, down to float32's precision; 99 % where few columns have bits, as it leaps there."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(3000, 24)})
    for target in targets:
        (table,) = compress(source, max_error=target, effort=effort).tables
        assert (0.99 if target == 0.5 else 0.998) * target <= error_of(table) <= target


@pytest.mark.parametrize("options", [{"ratio": 2}, {"ratio": 9}, {"max_error": 0.3}, {"max_error": 1e-4}], ids=str)
def test_errors_are_as_predicted(tmp_path: Path, options: dict[str, Any]) -> None:
    """The error that was expected before the rows were coded is that of what is stored, to 1 %."""
    report = compress_one(tmp_path, draw(3000, 24), **options)
    assert report.coded is not None
    assert error_of(report) == pytest.approx(report.coded.predicted_relative, rel=0.01)


def test_more_bytes_leave_less(tmp_path: Path) -> None:
    """The error falls from size to size, and a size is what an error takes."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(2000, 24)})
    sizes = (5000, 12000, 32000, 60000)
    errors = [error_of(compress(source, max_size=size).tables[0]) for size in sizes]
    assert errors == sorted(errors, reverse=True)
    for size, error in zip(sizes[1:-1], errors[1:-1], strict=True):
        assert compress(source, max_error=error * 1.001).output.bytes <= size * 1.005


def test_errors_are_as_reported(tmp_path: Path) -> None:
    """Two tables share a size, and each has the error that is reported, multiplied out in float64."""
    state = {"entities.weight": draw(1500, 20), "relations.weight": draw(400, 16, seed=1)}
    result = compress(save(tmp_path / "model.safetensors", state), ratio=10, table="*.weight")
    assert measure(tmp_path, state) == {table.name: pytest.approx(error_of(table), rel=1e-4) for table in result.tables}


@pytest.mark.parametrize("options", [{"ratio": 9}, {"max_size": 9000}, {"max_error": 0.2}, {"energy": 0.9}], ids=str)
def test_same_input_same_bytes(tmp_path: Path, options: dict[str, Any]) -> None:
    """Two runs write the same file."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(900, 20)})
    digests = []
    for _ in range(2):
        compress(source, **options)
        digests.append(hashlib.sha256((tmp_path / "out.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_energy_keeps_its_share_with_as_few_bases_as_that_takes(tmp_path: Path, share: float) -> None:
    """The bases keep at least the share of the squared norm, and one fewer would not, by a dense float64 SVD."""
    table = draw(600, 30)
    report = compress_one(tmp_path, table, energy=share)
    squares = torch.linalg.svdvals(table.double()).square()
    shares = squares.cumsum(0) / squares.sum()
    assert report.coding == "plain"
    assert float(shares[report.rank - 1]) >= share > float(shares[report.rank - 2])
    assert 1 - error_of(report) ** 2 >= share


@pytest.mark.parametrize("options", [{"ratio": 3}, {"max_size": 25000}, {"max_error": 0.3}], ids=str)
def test_plain_keeps_weights_as_floats(tmp_path: Path, options: dict[str, Any]) -> None:
    """With plain all budgets are met by bases and weights, at the optimum of their rank."""
    table = draw(900, 24)
    report = compress_one(tmp_path, table, plain=True, **options)
    squares = torch.linalg.svdvals(table.double()).square()
    assert report.coding == "plain"
    assert error_of(report) == pytest.approx(float((squares[report.rank :].sum() / squares.sum()).sqrt()), rel=1e-4)
    assert error_of(report) <= options.get("max_error", 1)


def test_best_leaves_less_than_fast(tmp_path: Path) -> None:
    """At equal bytes the larger trellis leaves less than the smaller one, by 0.6 % of the error and more.

    Of rows of 128 columns; in those of 32 the start of a path, where there is no choice yet, eats all but 0.1 % of it.
    """
    table = draw(2000, 128, fall=0.99)
    best, fast = (compress_one(tmp_path, table, ratio=12, effort=effort) for effort in ("best", "fast"))
    assert best.coded is not None
    assert fast.coded is not None
    assert best.coded.trellis_states > fast.coded.trellis_states
    assert error_of(best) <= error_of(fast) * 0.994


def test_a_unit_changes_nothing(tmp_path: Path) -> None:
    """Two tables of which one is the other times 1024 get the same bytes and the same error: a budget knows shares."""
    table = draw(800, 20)
    result = compress(
        save(tmp_path / "model.safetensors", {"a.weight": table, "b.weight": table * 1024}), ratio=10, table="*"
    )
    first, second = result.tables
    assert first.bytes_after == pytest.approx(second.bytes_after, rel=0.003)
    assert error_of(first) == pytest.approx(error_of(second), rel=0.01)
    alone = [compress_one(tmp_path, values, ratio=10) for values in (table, table * 1024)]
    assert alone[0].bytes_after == alone[1].bytes_after
    assert error_of(alone[0]) == pytest.approx(error_of(alone[1]), rel=1e-5)


def test_tables_share_one_price(tmp_path: Path) -> None:
    """Bytes moved from one of two tables to the other, either way, leave no less squared error in all."""
    state = {"a.weight": draw(1500, 24, fall=0.8), "b.weight": 7 * draw(800, 40, seed=1, fall=0.97)}
    shared = {
        table.name: table for table in compress(save(tmp_path / "model.safetensors", state), ratio=10, table="*").tables
    }
    together = sum(error_of(table) ** 2 for table in shared.values())

    sources = {name: save(tmp_path / f"{name}.safetensors", {name: values}) for name, values in state.items()}
    headers = {}
    for name, source in sources.items():
        alone = compress(source, ratio=10, table="*")
        headers[name] = alone.output.bytes - alone.tables[0].bytes_after

    def error_at(name: str, nbytes: float) -> float:
        """Compress a table alone into so many bytes beside its header."""
        (report,) = compress(sources[name], max_size=int(nbytes) + headers[name], table="*").tables
        assert report.bytes_after == pytest.approx(nbytes, rel=0.003)
        return error_of(report)

    moved = 0.1 * min(table.bytes_after for table in shared.values())
    for sign in (1, -1):
        sizes = {"a.weight": shared["a.weight"].bytes_after + sign * moved,
                 "b.weight": shared["b.weight"].bytes_after - sign * moved}  # fmt: skip
        assert sum(error_at(name, nbytes) ** 2 for name, nbytes in sizes.items()) > together


def test_signs_are_nearly_kept(tmp_path: Path) -> None:
    """A table of +-1 is left with an error of 0.001 where that is asked for, though nothing in it is normal."""
    table = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0)).sign()
    assert error_of(compress_one(tmp_path, table, max_error=0.001)) <= 0.001
    assert error_of(compress_one(tmp_path, table, ratio=8)) <= 0.08


@pytest.mark.parametrize(
    ("options", "effort"),
    [
        ({"ratio": 10}, "fast"),
        ({"max_error": 0.1}, "fast"),
        ({"ratio": 3}, "fast"),
        ({"ratio": 10}, "default"),
        ({"ratio": 10}, "best"),
    ],
    ids=str,
)
def test_rows_of_zeros_are_exact(tmp_path: Path, options: dict[str, Any], effort: str) -> None:
    """Rows of zeros, also of a table whose others have a mean, come out as zeros, and no others do."""
    table = draw(1500, 20) + 0.5
    table[::7] = 0
    compress_one(tmp_path, table, effort=effort, **options)
    dense = embcompress.reconstruct(tmp_path / "out.safetensors", output=tmp_path / "dense.safetensors", force=True)
    rows = safetensors.torch.load_file(dense.output.path)["entities.weight"]
    assert torch.equal((rows == 0).all(dim=1), (table == 0).all(dim=1))


def test_dtypes_of_floats_are_refused_beside_codes(tmp_path: Path) -> None:
    """--dtype says how floats are stored, and codes are none; what the refusal hints at works."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(900, 24)})
    with pytest.raises(UsageError, match="float16") as caught:
        embcompress.approximate(source, ratio=4, dtype="float16")
    assert "--plain" in caught.value.hint
    assert compress(source, ratio=4, dtype="float16", plain=True).totals.ratio >= 4


def test_least_error_that_is_named_works(tmp_path: Path) -> None:
    """An error that no file smaller than the table has is refused, and the one that the refusal names is reached."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(900, 24)})
    with pytest.raises(BudgetError) as caught:
        embcompress.approximate(source, max_error=1e-9, effort="fast")
    match = re.search(r"cannot get below error ([0-9.]+[0-9])", caught.value.message)
    assert match is not None
    least = float(match[1])
    assert least < 1e-5
    assert error_of(compress(source, max_error=least).tables[0]) <= least


EDGES: Mapping[str, tuple[Callable[[], Tensor], dict[str, Any]]] = {
    "float16": (lambda: draw(600, 20, dtype=torch.float16), {"ratio": 6}),
    "bfloat16": (lambda: draw(600, 20, dtype=torch.bfloat16), {"ratio": 6}),
    "float64": (lambda: draw(600, 20, dtype=torch.float64), {"ratio": 20}),
    "complex64": (lambda: draw(600, 10, dtype=torch.complex64), {"ratio": 10}),
    "three axes": (lambda: draw(600, 4, 5), {"ratio": 10}),
    "few rows": (lambda: draw(3, 400), {"max_error": 0.9}),
    "wide": (lambda: draw(60, 400), {"ratio": 6}),
    "one row": (lambda: fixtures.draw(1, 3000), {"ratio": 4}),
    "one column": (lambda: draw(3000, 1), {"ratio": 3.5}),
    "two columns": (lambda: draw(3000, 2), {"ratio": 5}),
    "zero columns": (lambda: draw(600, 20) * (torch.arange(20) % 3 > 0), {"ratio": 10}),
    "zero rows": (lambda: draw(600, 20) * (torch.arange(600)[:, None] % 3 > 0), {"ratio": 10}),
    "giant rows": (lambda: draw(600, 20) * torch.where(torch.arange(600)[:, None] % 100 == 0, 1e4, 1.0), {"ratio": 10}),
    "huge": (lambda: draw(600, 20) * 1e30, {"ratio": 6}),
    "tiny": (lambda: draw(600, 20) * 1e-30, {"ratio": 6}),
    "huge float64": (lambda: draw(600, 20, dtype=torch.float64) * 1e120, {"ratio": 3, "plain": True}),
    "tiny float64": (lambda: draw(600, 20, dtype=torch.float64) * 1e-120, {"ratio": 3, "plain": True}),
    "half": (lambda: draw(2000, 24), {"ratio": 2}),
    "a ten-thousandth": (lambda: draw(2000, 24), {"max_error": 1e-4}),
    "one giant row": (
        lambda: draw(600, 20) * torch.where(torch.arange(600)[:, None] == 37, 1e6, 1.0),
        {"max_error": 0.01},
    ),
    "rank one": (lambda: draw(2000, 1) @ draw(1, 24), {"ratio": 20}),
    "constant error": (lambda: torch.full((900, 24), 0.37), {"max_error": 0.001}),
    "large float16": (lambda: (draw(40, 64) * 1e4).clamp(-6e4, 6e4).half(), {"ratio": 1.6}),
    "signs": (lambda: draw(900, 40).sign(), {"max_error": 0.001}),
    "zeros": (lambda: torch.zeros(600, 20), {"ratio": 10}),
    "constant": (lambda: torch.full((900, 24), 0.37), {"ratio": 10}),
    "equal rows": (lambda: draw(1, 24).repeat(900, 1), {"ratio": 10}),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges_keep_to_their_budget(tmp_path: Path, case: str) -> None:
    """Tables of every dtype, shape and size keep to ratio or error, and the error is that of what is stored."""
    build, options = EDGES[case]
    table = build()
    report = compress_one(tmp_path, table, table="*", **options)
    if "ratio" in options:
        assert report.bytes_before / report.bytes_after >= options["ratio"]
    assert error_of(report) <= options.get("max_error", 1.0)
    own = {torch.float16: 4e-4, torch.bfloat16: 3e-3}.get(table.dtype, 0.0)  # rounding of the dense table itself
    measured = measure(tmp_path, {"entities.weight": table})["entities.weight"]
    assert measured == pytest.approx(error_of(report), rel=1e-3, abs=own + 1e-7)


@pytest.mark.parametrize("name", ["zeros", "constant", "equal rows"])
def test_tables_of_rank_one_are_nearly_exact(tmp_path: Path, name: str) -> None:
    """A table of zeros, of one value or of one row is left with no error to speak of at a 10th of its bytes."""
    assert error_of(compress_one(tmp_path, EDGES[name][0](), ratio=10)) <= 2e-4


@pytest.mark.parametrize("scale", [1e120, 1e-120])
def test_magnitudes_beyond_float32_stay_floats(tmp_path: Path, scale: float) -> None:
    """A float64 table that float32 cannot hold is not coded: named or not, the refusal says so, and --plain works."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(600, 20, dtype=torch.float64) * scale})
    for options in ({}, {"table": "entities.weight"}):
        with pytest.raises(BudgetError, match="magnitudes") as caught:
            embcompress.approximate(source, ratio=3, **options)
        assert "--plain" in caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("options", [{"ratio": 8}, {"max_error": 0.1}, {"energy": 0.5}], ids=str)
def test_what_is_not_finite_is_refused(tmp_path: Path, value: float, options: dict[str, Any]) -> None:
    """NaN and infinity are refused with the table and the row named, and nothing is left behind."""
    table = draw(300, 20)
    table[217, 3] = value
    source = save(tmp_path / "model.safetensors", {"entities.weight": table})
    with pytest.raises(NonFiniteError, match="217") as caught:
        embcompress.approximate(source, **options)
    assert "entities.weight" in caught.value.message
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_magnitudes_that_no_square_can_hold_are_refused(tmp_path: Path, size: float) -> None:
    """Entries whose squares leave float64 are refused with what to do, and nothing is left behind."""
    source = save(tmp_path / "model.safetensors", {"entities.weight": draw(600, 20, dtype=torch.float64) * size})
    with pytest.raises(NonFiniteError, match="power of two"):
        embcompress.approximate(source, ratio=3)
    assert list(tmp_path.iterdir()) == [source]


WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"bases": 3, "ratio": 4},
    {"ratio": 4, "max_size": 1000},
    {"max_error": 0.1, "energy": 0.5},
    {"bases": 0},
    {"energy": 0.0},
    {"energy": 1.1},
    {"energy": -1},
    {"max_error": 0.0},
    {"max_error": 1.0},
    {"max_error": -0.1},
    {"ratio": 1.0},
    {"ratio": 0.5},
    {"ratio": float("inf")},
    {"max_size": 0},
    {"max_size": -5},
    {"max_size": ""},
    {"max_size": "-5"},
    {"max_size": "1.5 XB"},
    {"max_size": "1e6"},
    {"max_size": "MB"},
    *({kind: float("nan")} for kind in ("energy", "max_error", "ratio", "max_size")),
    {"bases": 3, "plain": True},
    {"energy": 0.5, "plain": True},
    {"bases": 3, "effort": "fast"},
    {"ratio": 4, "plain": True, "effort": "fast"},
    {"ratio": 4, "effort": "better"},
)


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_wrong_budgets_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """None, several, a number out of its range and options that do not go together are refused at once."""
    with pytest.raises(UsageError):
        embcompress.approximate(tmp_path / "missing.pt", **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1500000", 1500000),
        ("1.5MB", 1500000),
        (" 2 KiB ", 2048),
        ("3gib", 3 * 2**30),
        ("0.5k", 500),
        ("7b", 7),
        ("2T", 2 * 10**12),
        ("1.999 B", 1),
    ],
)
def test_parse_size_reads_units(text: str, expected: int) -> None:
    """Decimal and binary units in either case, with a fraction and with blanks, are bytes rounded down."""
    assert parse_size(text) == expected


def test_choose_budget_tells_how_it_was_asked_for() -> None:
    """A size as text is its bytes, and the option is quoted as it could be given again."""
    none: dict[str, Any] = dict.fromkeys(("bases", "energy", "max_error", "ratio", "max_size"))
    chosen = choose_budget(**none | {"max_size": "1.5MB"}, plain=False, effort="fast")
    assert (chosen.kind, chosen.amount, chosen.is_plain, chosen.effort) == ("max_size", 1500000, False, "fast")
    assert chosen.option == "--max-size 1500000"
    assert choose_budget(**none | {"energy": 0.9}, plain=False, effort=EFFORTS[0]).is_plain


def test_row_weights_lower_the_weighted_error(tmp_path: Path) -> None:
    """With weights the weighted error is reported and below that of a run without, at the same bytes."""
    table = draw(1200, 20, fall=0.97)
    counts = 1000.0 / torch.randperm(1200, generator=torch.Generator().manual_seed(3)).add(1)
    path = tmp_path / "counts.txt"
    path.write_text("".join(f"{count}\n" for count in counts.tolist()))

    def weighted() -> float:
        dense = embcompress.reconstruct(tmp_path / "out.safetensors", output=tmp_path / "d.safetensors", force=True)
        report = safetensors.torch.load_file(dense.output.path)["entities.weight"]
        share = counts.double()[:, None]
        squares = ((report - table).double().square() * share).sum() / (table.double().square() * share).sum()
        return float(squares.sqrt())

    for options in ({"ratio": 10}, {"ratio": 4, "plain": True}):
        assert compress_one(tmp_path, table, **options).error.weighted_relative is None  # type: ignore[union-attr]
        without = weighted()
        report = compress_one(tmp_path, table, row_weights=path, **options)
        assert report.error is not None
        assert report.error.weighted_relative == pytest.approx(weighted(), rel=1e-4)
        assert weighted() < 0.9 * without


@pytest.mark.parametrize("options", [{"ratio": 10}, {"max_error": 0.2}], ids=str)
def test_equal_row_weights_change_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    """Weights that are all 3 give the error of no weights, to 1 %, at the same bytes, to 0.5 %."""
    table = draw(1200, 20)
    path = tmp_path / "counts.txt"
    path.write_text("3\n" * 1200)
    alone, weighted = (
        compress_one(tmp_path, table, **options),
        compress_one(tmp_path, table, row_weights=path, **options),
    )
    assert weighted.error is not None
    assert weighted.error.weighted_relative == pytest.approx(error_of(weighted), rel=1e-6)
    assert error_of(weighted) == pytest.approx(error_of(alone), rel=0.01)
    assert weighted.bytes_after == pytest.approx(alone.bytes_after, rel=0.005)


@pytest.mark.parametrize("how", [{"effort": "fast"}, {"plain": True}], ids=["coded", "plain"])
def test_max_error_holds_with_row_weights(tmp_path: Path, how: dict[str, Any]) -> None:
    """An error that is asked for with weights is reached, not refused, and not at several times the bytes."""
    table = draw(700, 20)
    path = tmp_path / "counts.txt"
    path.write_text("".join(f"{1 + row % 7}\n" for row in range(700)))
    alone = compress_one(tmp_path, table, max_error=0.3, **how)
    report = compress_one(tmp_path, table, max_error=0.3, row_weights=path, **how)
    assert report.error is not None
    assert report.error.weighted_relative is not None
    assert report.error.weighted_relative <= 0.3
    assert report.bytes_after <= 1.2 * alone.bytes_after


def test_labels_are_in_the_report(tmp_path: Path) -> None:
    """Weights by label are matched, and the worst rows carry their labels."""
    labels = [f"word {row}" for row in range(400)]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n")
    (tmp_path / "counts.tsv").write_text("label\tcount\n" + "".join(f"{label}\t{1 + len(label)}\n" for label in labels))
    report = compress_one(
        tmp_path,
        draw(400, 20),
        ratio=8,
        row_weights=tmp_path / "counts.tsv",
        labels=tmp_path / "labels.txt",
    )
    assert report.error is not None
    assert report.error.worst_rows
    assert [row.label for row in report.error.worst_rows] == [f"word {row.id}" for row in report.error.worst_rows]


def test_dry_run_tells_the_size(tmp_path: Path) -> None:
    """A dry run tells the size that the run then has, to 0.1 %, and writes nothing."""
    source = Path(shutil.copy(SAMPLES / "words/model.pt", tmp_path))
    planned = embcompress.approximate(source, ratio=12, effort="fast", dry_run=True)
    assert list(tmp_path.iterdir()) == [source]
    assert compress(source, ratio=12).output.bytes == pytest.approx(planned.output.bytes, rel=1e-3)
