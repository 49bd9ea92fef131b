"""Artifacts of every kind, committed when they were written: each later version reads the same numbers from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

import embcompress
from embcompress.nn import LowRankBilinear
from tests.artifact.artifact_oracle import decode, parse
from tests.fixtures import write_lines

DATA = Path(__file__).parents[1] / "data"
FILES: Mapping[str, tuple[str, ...]] = {
    "plain-v2": ("float32.weight", "float64.weight", "float16.weight", "bfloat16.weight", "complex64.weight"),
    "bilinear-v2": ("relation.weight", "entity.weight"),
    "grown-v2": ("entity.weight",),
    "grown-coded-v2": ("entity.weight",),
    "grown-seekable-v2": ("entity.weight",),
}
# Of each table the Frobenius norm, and the first three reals of some rows.
EXPECTED: Mapping[tuple[str, str], tuple[float, dict[int, list[float]]]] = {
    ("plain-v2", "float32.weight"): (
        16.0623475,
        {
            0: [0.3034785, 0.1275497, 4.895573],
            9: [-1.329819, -0.6636214, 0.1261709],
            89: [-1.285034, 1.503015, -1.793975],
        },
    ),
    ("plain-v2", "float64.weight"): (
        16.0623476,
        {
            0: [0.3034785, 0.1275499, 4.895574],
            9: [-1.329819, -0.6636214, 0.1261709],
            89: [-1.285034, 1.503015, -1.793975],
        },
    ),
    ("plain-v2", "float16.weight"): (
        21.2403711,
        {
            0: [-6.698103, -0.5428819, -0.9672594],
            9: [0.8058987, 0.2446365, -0.370926],
            89: [-0.2272782, 0.2068899, -0.08538352],
        },
    ),
    ("plain-v2", "bfloat16.weight"): (
        21.2453797,
        {
            0: [-6.709652, -0.5471306, -0.9665546],
            9: [0.8042412, 0.2408409, -0.3713589],
            89: [-0.2288876, 0.209147, -0.08616161],
        },
    ),
    ("plain-v2", "complex64.weight"): (
        13.3074784,
        {
            0: [1.094009, -4.805085, -1.992606],
            9: [-0.1555523, 0.6936599, -0.7914345],
            89: [-0.2505592, 1.377784, -0.2348226],
        },
    ),
    ("bilinear-v2", "relation.weight"): (
        24.9417419,
        {
            0: [0.4613787, -1.486175, 3.835537],
            9: [-1.168083, -0.2899013, 0.1334064],
            19: [2.147089, 0.261457, -0.191492],
        },
    ),
    ("bilinear-v2", "entity.weight"): (
        14.4848035,
        {
            0: [-6.620117, -0.09576687, -0.5041315],
            9: [0.744424, 0.5619523, -0.1358377],
            89: [-0.5257368, -0.8387283, 0.250273],
        },
    ),
    ("grown-v2", "entity.weight"): (
        16.7817006,
        {
            0: [-1.285034, 1.503015, -1.793975],
            9: [0.4562416, 0.3487835, -0.9274958],
            99: [0.1174017, 1.396681, 0.2892776],
        },
    ),
    ("grown-coded-v2", "entity.weight"): (
        16.8062092,
        {
            0: [-1.106611, 0.1475481, 0.1844351],
            9: [-0.03688703, -0.1844351, 0.4049947],
            99: [-0.1475481, 0.4788496, -0.1473306],
        },
    ),
    ("grown-seekable-v2", "entity.weight"): (
        16.7754004,
        {
            0: [-1.065973, 0.1332466, 0.1772451],
            9: [-0.04441554, -0.1772451, 0.3988152],
            99: [-0.1332466, 0.4434619, -0.1330012],
        },
    ),
}
# Relative to the largest entry: products of 4 numbers in another order, and the rounding of the dense table's dtype.
ROUNDING = {"float64": 1e-14, "float32": 1e-6, "complex64": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}


def rows_of(values: Tensor) -> NDArray[np.float64]:
    """Flatten rows to reals in float64."""
    real = torch.view_as_real(values) if values.is_complex() else values
    return real.detach().double().reshape(len(values), -1).numpy()


def read_by_documentation(path: Path, name: str) -> NDArray[np.float64]:
    """Multiply a table out as docs/artifact.md says, without the package, (rows, real entries of a row)."""
    _, document, tensors = parse(path)
    table = document["tables"][name]
    if table["coding"] != "plain":
        return decode(path, name)
    if table["kind"] == "bilinear":
        left, right = (tensors[f"{name}.{side}"].astype(np.float64) for side in ("left", "right"))
        return (left @ right.swapaxes(-1, -2)).reshape(table["shape"][0], -1)
    bases, weights = tensors[f"{name}.bases"], tensors[f"{name}.weights"].astype(np.float64)
    if np.iscomplexobj(bases):
        bases = bases.view(np.float32)
    return weights @ bases.astype(np.float64).reshape(len(bases), -1)


def read_by_load(path: Path, name: str) -> Tensor:
    """Take all rows from the module of a table; of forms, the value at each pair of unit vectors."""
    module = embcompress.load(path)[name]
    with torch.no_grad():
        if isinstance(module, LowRankBilinear):
            units = torch.eye(module.in1_features), torch.eye(module.in2_features)
            return module.all_pairs(*units).permute(2, 0, 1)  # (in1, in2, out) -> (out, in1, in2)
        rows: Tensor = module(None)
        return rows


@pytest.mark.parametrize(("file", "name"), EXPECTED)
def test_committed_table_is_read_as_it_was_written(file: str, name: str, tmp_path: Path) -> None:
    """By its documentation, by reconstruct and by load: rows and norm are those that were noted then."""
    path = DATA / f"{file}.safetensors"
    norm, expected = EXPECTED[file, name]
    dtype = parse(path)[1]["tables"][name]["dtype"]
    dense = embcompress.reconstruct(path, output=tmp_path / "dense.safetensors").output.path
    loaded = rows_of(read_by_load(path, name))
    found = {
        "documentation": (read_by_documentation(path, name), 1e-6),
        "reconstruct": (rows_of(safetensors.torch.load_file(dense)[name]), 1e-6 + ROUNDING[dtype]),
        "load": (loaded, 1e-6 + 4 * ROUNDING[dtype]),
    }
    for how, (rows, slack) in found.items():
        largest = float(np.abs(rows).max())
        for row, entries in expected.items():
            np.testing.assert_allclose(rows[row, :3], entries, rtol=0, atol=slack * largest, err_msg=how)
        assert float(np.linalg.norm(rows)) == pytest.approx(norm, rel=slack), how


@pytest.mark.parametrize("file", FILES)
def test_committed_file_tells_its_tables_and_leaves_the_rest(file: str, tmp_path: Path) -> None:
    """Inspect lists the tables that are expected, and reconstruct gives the other tensor and the metadata back."""
    path = DATA / f"{file}.safetensors"
    assert path.stat().st_size < 20_000
    assert {table.name for table in embcompress.inspect(path).compressed_tables} == set(FILES[file])
    dense = Path(embcompress.reconstruct(path, output=tmp_path / "dense.safetensors").output.path)
    with safetensors.safe_open(dense, "pt") as opened:
        assert opened.metadata() == {"format": "pt", "epoch": "3"}
        assert set(opened.keys()) - set(FILES[file]) == (set() if file == "bilinear-v2" else {"layer.bias"})
        if file != "bilinear-v2":
            assert torch.equal(opened.get_tensor("layer.bias"), torch.arange(7.0))


@pytest.mark.parametrize("file", ["grown-v2", "grown-coded-v2", "grown-seekable-v2"])
def test_committed_tables_grow_once_more(file: str, tmp_path: Path) -> None:
    """Rows of a file that has grown keep their numbers in one that grows again, and new rows of zeros are zeros."""
    path = DATA / f"{file}.safetensors"
    ids = write_lines(tmp_path / "ids.txt", range(103, 3, -1))
    grown = embcompress.backfill(path, max_id=104, base_ids=ids, method="zeros", output=tmp_path / "grown.safetensors")
    rows = read_by_documentation(Path(grown.output.path), "entity.weight")
    np.testing.assert_array_equal(rows[:3:-1], read_by_documentation(path, "entity.weight"))
    assert not rows[:4].any()
