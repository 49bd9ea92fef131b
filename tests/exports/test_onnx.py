"""ONNX models of tables: checked by onnx, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import OutputError, TableError
from embcompress.exports.quantized.kind import ExportPlan
from embcompress.exports.quantized.onnx_file import OnnxFile
from embcompress.exports.quantized.source import open_source
from embcompress.tables.rows import tensor_bytes
from tests.fixtures import draw, save

onnx: Any = pytest.importorskip("onnx", reason="onnx, which checks the models, is not installed")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the models, is not installed")


def look_up(path: Path, ids: Mapping[str, Any], rows: str) -> Tensor:
    """Check a model, and run it."""
    onnx.checker.check_model(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that inputs with a default are no constants
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (values,) = session.run([rows], {name: np.array(value, dtype=np.int64) for name, value in ids.items()})
    return torch.from_numpy(values)


@pytest.mark.parametrize("kind", ["onnx:int8", "onnx:int4"])
def test_tables_of_a_model_are_looked_up_one_by_one(kind: str, tmp_path: Path) -> None:
    """Each has an input of its own, which may be left out, and rows whose last block has fewer columns."""
    state = {"emb.weight": draw(50, 72), "rel_emb.weight": draw(9, 40, seed=1) + 0.5}
    result = embcompress.export(save(tmp_path / "model.safetensors", state), kind, neighbours=0)
    for table in result.tables:
        ids = {f"{table.name}.ids": [list(range(table.rows))]}
        rows = look_up(Path(result.output.path), ids, f"{table.name}.rows")[0]
        exact = state[table.name]
        relative = float((rows - exact).double().norm() / exact.double().norm())
        assert table.error is not None
        assert abs(table.error.relative / relative - 1) < 1e-5
        assert relative < (0.01 if kind.endswith("8") else 0.1)
    # Codes, scales of three blocks and of two, and with 4 bits their zeros, two in a byte.
    expected = [72 + 6, 40 + 4] if kind.endswith("8") else [36 + 6 + 2, 20 + 4 + 1]
    assert [table.bytes_after // table.rows for table in result.tables] == expected


def test_small_numbers_of_ids_and_none(tmp_path: Path) -> None:
    """One id, one twice, counted from the end, and no id at all give rows of their number."""
    state = {"emb.weight": draw(20, 32)}
    path = Path(embcompress.export(save(tmp_path / "model.safetensors", state), "onnx:int8").output.path)
    every = look_up(path, {"ids": [list(range(20))]}, "rows")[0]
    assert look_up(path, {"ids": [[19], [3]]}, "rows").equal(every[[19, 3]][:, None])
    assert look_up(path, {"ids": [[-1]]}, "rows")[0].equal(every[[19]])
    assert look_up(path, {"ids": np.zeros((1, 0))}, "rows").shape == (1, 0, 32)


@pytest.mark.parametrize("bits", [8, 4])
def test_tensors_of_a_large_model_lie_beside_it(bits: int, tmp_path: Path) -> None:
    """The model names the file and where in it they are, and onnxruntime reads them from there."""
    kind, values = OnnxFile(bits, bytes_max=1000), draw(70, 64)
    source = save(tmp_path / "model.safetensors", {"emb.weight": values})
    target = tmp_path / "large.onnx"
    with open_checkpoint(source) as checkpoint:
        (table,) = open_source(checkpoint, None, table=(), exclude=()).tables
        encoding = kind.encode(table)
        plan = ExportPlan(target, False, ((table.table.head, encoding),), (), checkpoint, lambda _: ())
        kind.check(plan)
        with kind.open_writer(plan) as writer:
            rounded = encoding.round(values)
            for entry, part in zip(encoding.entries, rounded.parts, strict=True):
                for row in part:
                    writer.append(entry, tensor_bytes(row))
            writer.finish()
            assert not target.exists()
            writer.commit()
        assert look_up(target, {"ids": [list(range(70))]}, "rows")[0].equal(rounded.values)
        sizes = [path.stat().st_size for path in (target, tmp_path / "large.onnx.data")]
        assert sum(sizes) == writer.nbytes
        assert sizes[0] < 1000
        with pytest.raises(OutputError, match=r"large\.onnx\.data exists already"):
            kind.check(plan)


def test_odd_rows_are_refused_in_halves(tmp_path: Path) -> None:
    """Two codes share a byte; of 8 bits any number of columns fits."""
    source = save(tmp_path / "model.safetensors", {"emb.weight": draw(20, 33)})
    with pytest.raises(TableError, match="has an odd number of columns") as caught:
        embcompress.export(source, "onnx:int4")
    assert "onnx:int8" in caught.value.hint
    assert embcompress.export(source, "onnx:int8", neighbours=0).tables[0].bytes_after == 20 * (33 + 4)
