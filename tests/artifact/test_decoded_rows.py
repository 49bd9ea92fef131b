"""The rows of an artifact multiplied out: in order or by id, in either dtype, equal to what docs/artifact.md says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.artifact.decoded_rows import DecodedRows, open_decoded_rows
from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.coding.row_index import SPACING
from embcompress.exceptions import ArtifactError
from tests.artifact.artifact_oracle import decode
from tests.artifact.cases import CASES, multiply
from tests.artifact.damage import flip
from tests.cases import for_each
from tests.fixtures import NAME, draw_falling

CODED_V1 = Path(__file__).parents[1] / "data" / "coded-v1.safetensors"
KINDS = ("plain", "plain-bfloat16", "plain-complex64", "axes", "coded", "coded-complex64", "bilinear")
ROUNDING = {torch.float64: 1e-13, torch.float32: 1e-5}  # of the largest entry: products of up to 32 terms
# Bases of a coded table are computed in float64 and rounded to float32: a last bit may fall on either side.
BASES_ROUNDING = 2.0**-22


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Compress a table in each of the ways."""
    artifacts = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        safetensors.torch.save_file(dict(CASES[kind].build()), folder / "model.safetensors")
        options = {"table": NAME, "neighbours": 0, **CASES[kind].options}
        artifacts[kind] = Path(embcompress.approximate(folder / "model.safetensors", **options).output.path)
    return artifacts


@contextmanager
def opened(path: Path, *, dtype: torch.dtype = torch.float64) -> Iterator[DecodedRows]:
    """Open the rows of the one table of an artifact."""
    with open_checkpoint(path) as checkpoint:
        artifact = read_artifact(checkpoint)
        yield open_decoded_rows(artifact, artifact.tables[0], dtype=dtype, device="cpu")


def assert_near(actual: Tensor, expected: Tensor, *, dtype: torch.dtype, kind: str) -> None:
    """Compare entry by entry, to the rounding of the dtype."""
    assert actual.dtype == dtype
    slack = max(ROUNDING[dtype], BASES_ROUNDING if kind == "coded" else 0) * float(expected.abs().max())
    assert torch.allclose(actual.to(torch.float64), expected, rtol=0, atol=slack)


@pytest.mark.parametrize("kind", KINDS)
@for_each("dtype", ROUNDING)
def test_dense_rows_are_what_is_stored(kind: str, dtype: torch.dtype, made: Mapping[str, Path]) -> None:
    """In order in blocks of any sizes, and by id in any order and again, rows are those of the oracle."""
    expected = multiply(made[kind])
    ids = torch.tensor([7, 129, 0, 64, 7, 128])
    with opened(made[kind], dtype=dtype) as rows:
        assert_near(rows.read(ids), expected[ids], dtype=dtype, kind=kind)
        assert_near(rows.read(ids[:1]), expected[ids[:1]], dtype=dtype, kind=kind)
        for first, last in ((0, 1), (1, 50), (50, 51), (51, 130)):
            assert_near(rows.read_next(last - first).clone(), expected[first:last], dtype=dtype, kind=kind)
            assert_near(rows.read(ids), expected[ids], dtype=dtype, kind=kind)  # reading by id moves nothing
        rows.check()


@pytest.mark.parametrize("kind", KINDS)
def test_dense_rows_check_what_was_read(kind: str, made: Mapping[str, Path], tmp_path: Path) -> None:
    """A bit flipped in the last row shows in `check` and names the tensor; so do rows that were not read."""
    part = {"coded": "codes", "coded-complex64": "codes", "bilinear": "right"}.get(kind, "weights")
    copy = tmp_path / "damaged.safetensors"
    copy.write_bytes(made[kind].read_bytes())
    flip(copy, f"{NAME}.{part}", bit=0, share=1.0)
    with opened(copy) as rows:
        rows.read_next(130)
        with pytest.raises(ArtifactError, match="crc32") as refused:
            rows.check()
    assert f"'{NAME}.{part}'" in refused.value.message
    with opened(made[kind]) as rows:
        rows.read_next(60)
        with pytest.raises(ArtifactError, match="crc32"):
            rows.check()


def test_dense_rows_leave_the_range_of_the_original(tmp_path: Path) -> None:
    """Nothing is rounded to float16: rows differ from those of `reconstruct` by the rounding, and by no more."""
    source = tmp_path / "model.safetensors"
    safetensors.torch.save_file({NAME: draw_falling(130, 16, dtype=torch.float16)}, source)
    artifact = Path(embcompress.approximate(source, bases=5, table=NAME, neighbours=0).output.path)
    dense = safetensors.torch.load_file(embcompress.reconstruct(artifact).output.path)[NAME].to(torch.float64)
    with opened(artifact) as rows:
        actual = rows.read_next(130)
    assert not torch.equal(actual, dense)
    assert torch.allclose(actual, dense, rtol=2**-10, atol=2**-24)


def test_coded_rows_by_id_lie_beyond_the_places_counted(tmp_path: Path) -> None:
    """Rows of many kinds, on both sides of a place up to which bytes are counted, are the same by id and in order."""
    rows = 400 * SPACING + 40
    source = tmp_path / "model.safetensors"
    safetensors.torch.save_file({NAME: draw_falling(rows, 4)}, source)
    made = embcompress.approximate(source, ratio=5, effort="fast", table=NAME, neighbours=0)
    assert made.tables[0].coded is not None
    assert made.tables[0].coded.row_kinds > 1
    ids = torch.tensor(
        [rows - 1, 400 * SPACING, 400 * SPACING - 1, 0, 400 * SPACING + 1, SPACING - 1, SPACING, SPACING + 1]
    )
    with opened(Path(made.output.path)) as stored:
        by_id = stored.read(ids).clone()
        for first in range(0, rows, 3000):
            block = stored.read_next(min(3000, rows - first))
            inside = (ids >= first) & (ids < first + len(block))
            assert torch.allclose(block[ids[inside] - first], by_id[inside], rtol=1e-13, atol=0)
        stored.check()


@pytest.mark.parametrize("dtype", ROUNDING)
@for_each("number", range(4))
def test_dense_rows_of_schema_1_are_what_is_stored(number: int, dtype: torch.dtype) -> None:
    """Tables coded as by the first version are read in order and by id as docs/artifact.md says."""
    with open_checkpoint(CODED_V1) as checkpoint:
        artifact = read_artifact(checkpoint)
        table = artifact.tables[number]
        expected = torch.from_numpy(decode(CODED_V1, table.name))
        ids = torch.tensor([table.rows - 1, 0, 7, 7, 129])
        rows = open_decoded_rows(artifact, table, dtype=dtype, device="cpu")
        assert_near(rows.read(ids), expected[ids], dtype=dtype, kind="coded")
        for first in range(0, table.rows, 100):
            part = expected[first : first + 100]
            assert_near(rows.read_next(len(part)).clone(), part, dtype=dtype, kind="coded")
        rows.check()
