"""Quantized tensors of torch in its files: the values of dequantize(), to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.tables.rows import TableRows, read_bytes

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning"),
]
WEIGHT = torch.randn(300, 24, generator=torch.Generator().manual_seed(3)) * 3


def draw_scales(count: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw scales whose digits do not end."""
    return torch.rand(count, generator=torch.Generator().manual_seed(4), dtype=dtype) / 9 + 0.01


def draw_zeros(count: int) -> Tensor:
    """Draw zero points of either sign."""
    return torch.randint(-9, 9, (count,), generator=torch.Generator().manual_seed(5))


def quantize_rows(weight: Tensor, axis: int, dtype: torch.dtype = torch.qint8) -> Tensor:
    """Quantize with a scale for each index of an axis."""
    size = weight.shape[axis]
    zeros = draw_zeros(size) if dtype == torch.qint8 else draw_zeros(size) + 20
    return torch.quantize_per_channel(weight, draw_scales(size), zeros, axis, dtype)


def quantize_floats(dtype: torch.dtype, *, columns: int = 24) -> Tensor:
    """Quantize with zero points that are floats, as embeddings are."""
    scales = draw_scales(300, dtype=torch.float32)
    return torch.quantize_per_channel(WEIGHT[:, :columns], scales, scales.flip(0) * 50, 0, dtype)


KINDS: dict[str, Callable[[], Tensor]] = {
    "int8": lambda: torch.quantize_per_tensor(WEIGHT, 0.0473, -3, torch.qint8),
    "uint8": lambda: torch.quantize_per_tensor(WEIGHT, 1 / 3, 120, torch.quint8),
    "scale 1": lambda: torch.quantize_per_tensor(WEIGHT, 1.0, 0, torch.qint8),
    "rows": lambda: quantize_rows(WEIGHT, 0),
    "rows, uint8": lambda: quantize_rows(WEIGHT, 0, torch.quint8),
    "columns": lambda: quantize_rows(WEIGHT, 1),
    "three axes": lambda: quantize_rows(WEIGHT.view(300, 4, 6), 0),
    "a vector": lambda: torch.quantize_per_tensor(WEIGHT[0], 0.1, 0, torch.qint8),
    "turned": lambda: torch.quantize_per_tensor(WEIGHT, 0.0473, 3, torch.qint8).T,
    "floats": lambda: quantize_floats(torch.quint8),
    "floats, 4 bits": lambda: quantize_floats(torch.quint4x2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_old", [False, True])
def test_values_are_those_of_dequantize(tmp_path: Path, kind: str, is_old: bool) -> None:
    """Codes of 4 and 8 bits, one scale, one a row or one a column, in torch's file of either form."""
    value = KINDS[kind]()
    expected = value.dequantize()
    state = {"emb.weight": value, "same": value, "next": torch.ones(3)}
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=not is_old)
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert checkpoint.listing.left_out == ()
        stored = checkpoint.tensors[0]
        assert (stored.name, stored.dtype, stored.shape) == ("emb.weight", "float32", tuple(expected.shape))
        content = bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))))
        assert torch.frombuffer(content, dtype=torch.float32).view(expected.shape).equal(expected)
        if expected.dim() > 1:
            rows = TableRows(stored, files=checkpoint.files)
            assert torch.cat([block.clone() for block in rows.column_blocks()]).equal(expected.flatten(1).T)
            ids = torch.tensor([17, 0, 23])
            assert rows.read(ids).equal(expected.flatten(1)[ids])


@pytest.mark.parametrize(
    "make",
    [
        lambda: quantize_rows(WEIGHT.view(300, 4, 6), 1),
        lambda: torch.quantize_per_tensor(WEIGHT, 0.5, 0, torch.qint32),
        lambda: quantize_floats(torch.quint4x2, columns=23),
    ],
)
def test_other_forms_are_left_out(tmp_path: Path, make: Callable[[], Tensor]) -> None:
    """Scales of an inner axis, codes of 32 bits, and rows that begin within a byte are named."""
    torch.save({"a": make(), "b": torch.ones(2, 2)}, tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert [stored.name for stored in checkpoint.tensors] == ["b"]
        assert checkpoint.listing.left_out[0].reason.startswith("a quantized tensor")


def test_a_quantized_table_is_compressed(tmp_path: Path) -> None:
    """The error is that of the values, and the bytes before are those of codes, scales and zero points."""
    torch.save({"emb.weight": KINDS["rows"]()}, tmp_path / "model.pt")
    torch.save({"emb.weight": KINDS["rows"]().dequantize()}, tmp_path / "plain.pt")
    results = [
        approximate(tmp_path / name, bases=4, output=tmp_path / f"{name}.out") for name in ("model.pt", "plain.pt")
    ]
    assert results[0].tables[0].error == results[1].tables[0].error
    assert results[0].tables[0].bytes_before == 300 * 24 + 300 * 8 + 300 * 8
