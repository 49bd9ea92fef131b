"""Tables of packed codes: the values that the libraries that packed them give, to the bit.

The files of tests/data/packed were written by mlx 0.32.4 and compressed-tensors 0.20.1, each with what the decoder of
its library makes of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.inspect import inspect
from embcompress.exceptions import EmbcompressError
from embcompress.tables.rows import TableRows, read_bytes
from embcompress.tables.scaling import unpack
from embcompress.tables.selection import choose_tables

PACKED = Path(__file__).parents[1] / "data" / "packed"
NAME = "model.embed_tokens"


@pytest.mark.parametrize("library", ["mlx", "compressed_tensors"])
def test_values_are_those_of_the_library(library: str) -> None:
    """Codes of 2 to 8 bits in groups of columns or whole rows, with zero points or biases, of every dtype of scales."""
    expected = safetensors.torch.load_file(PACKED / library / "values.safetensors")
    with open_checkpoint(PACKED / library / "model.safetensors") as checkpoint:
        assert {stored.name for stored in checkpoint.tensors} == set(expected)
        assert len(choose_tables(checkpoint, table=[], exclude=[])) == len(expected)
        for stored in checkpoint.tensors:
            values = expected[stored.name]
            assert f"torch.{stored.dtype}" == str(values.dtype)
            rows = TableRows(stored, files=checkpoint.files)
            assert torch.cat([block.clone() for block in rows.blocks()]).equal(values)
            assert torch.cat([block.clone() for block in rows.column_blocks()]).equal(values.T)
            ids = torch.tensor([len(values) - 1, 0, min(33, len(values) - 1), 2])
            assert rows.read(ids).equal(values[ids])
            content = bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))))
            assert torch.frombuffer(content, dtype=values.dtype).view(values.shape).equal(values)


def pack(codes: Tensor, *, bits: int) -> Tensor:
    """Write the codes of each row as one string of bits, the first in the lowest: (rows, columns) -> int32 words."""
    rows = []
    for row in codes.tolist():
        string = sum(code << (bits * index) for index, code in enumerate(row))
        words = -(-len(row) * bits // 32)
        rows.append(list(string.to_bytes(4 * words, "little")))
    return torch.tensor(rows, dtype=torch.uint8).view(torch.int32)


def draw_codes(rows: int, columns: int, *, bits: int) -> Tensor:
    """Draw codes of every value."""
    return torch.randint(0, 2**bits, (rows, columns), generator=torch.Generator().manual_seed(bits))


@pytest.mark.parametrize("bits", range(1, 9))
def test_unpack_takes_codes_across_words(bits: int) -> None:
    """Rows whose last word is not full come back whole, as codes of any number of bits."""
    for columns in (1, 7, 32, 45):
        codes = draw_codes(5, columns, bits=bits)
        assert unpack(pack(codes, bits=bits), bits)[:, :columns].equal(codes)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_symmetric_codes_are_offset(tmp_path: Path, bits: int, dtype: torch.dtype) -> None:
    """A code stands for itself less half of its range, times the scale of its row, as is documented."""
    codes = draw_codes(70, 40, bits=bits)
    scales = (torch.rand(70, 1, generator=torch.Generator().manual_seed(9)) + 0.1).to(dtype)
    expected = (codes - 2 ** (bits - 1)).to(dtype) * scales
    tensors = {"weight_packed": pack(codes, bits=bits), "weight_scale": scales, "weight_shape": torch.tensor([70, 40])}
    path = save(tmp_path, tensors)
    with open_checkpoint(path) as checkpoint:
        (stored,) = checkpoint.tensors
        assert stored.name == f"{NAME}.weight"
        assert stored.stored_bytes == tensors["weight_packed"].nbytes + scales.nbytes
        rows = TableRows(stored, files=checkpoint.files)
        assert torch.cat([block.clone() for block in rows.blocks()]).equal(expected)


def save(folder: Path, tensors: dict[str, Tensor], *, configuration: Any = None) -> Path:
    """Write a module's tensors, and a configuration beside them."""
    if configuration is not None:
        (folder / "config.json").write_text(json.dumps(configuration))
    path = folder / "model.safetensors"
    safetensors.torch.save_file({f"{NAME}.{name}": tensor for name, tensor in tensors.items()}, path)
    return path


def mlx_tensors(*, words: int = 16, groups: int = 4) -> dict[str, Tensor]:
    """Make a table of MLX: by its shapes either 4 bits in groups of 32, or 2 bits in groups of 64."""
    return {
        "weight": torch.arange(20 * words).view(20, words).to(torch.uint32),
        "scales": torch.rand(20, groups, generator=torch.Generator().manual_seed(1)),
        "biases": torch.rand(20, groups, generator=torch.Generator().manual_seed(2)),
    }


@pytest.mark.parametrize(
    ("configuration", "columns"),
    [
        ({"quantization": {"group_size": 32, "bits": 4}}, 128),
        ({"quantization": {"group_size": 64, "bits": 2}}, 256),
        ({"quantization": {"group_size": 32, "bits": 4, NAME: {"group_size": 64, "bits": 2}}}, 256),
        ({"quantization": {"group_size": 32, "bits": 4, "model.layers": {"group_size": 64, "bits": 2}}}, 128),
        ({"quantization": {"group_size": 32, "bits": 4, NAME: True}}, 128),
    ],
)
def test_the_configuration_tells_the_bits(tmp_path: Path, configuration: dict[str, Any], columns: int) -> None:
    """Where the shapes leave a choice, the entry of the module decides, else that of the model."""
    with open_checkpoint(save(tmp_path, mlx_tensors(), configuration=configuration)) as checkpoint:
        assert [stored.shape for stored in checkpoint.tensors] == [(20, columns)]


@pytest.mark.parametrize(
    "configuration", [None, [], {}, {"quantization": 4}, {"quantization": {"bits": 8, "group_size": 64}}]
)
def test_codes_whose_bits_nothing_tells_are_refused(tmp_path: Path, configuration: Any) -> None:
    """Without a configuration, or with one that the shapes contradict, nothing is read."""
    path = save(tmp_path, mlx_tensors(), configuration=configuration)
    with pytest.raises(EmbcompressError) as caught, open_checkpoint(path) as checkpoint:
        choose_tables(checkpoint, table=[], exclude=[])
    assert f"'{NAME}.weight' is packed codes (uint32)" in caught.value.message
    assert "config.json" in caught.value.hint
    assert not any(table.chosen for table in inspect(path).tables)


def test_shapes_that_leave_one_choice_need_no_configuration(tmp_path: Path) -> None:
    """Eight bits in groups of 128 are the only ones of 1024 bits for each group."""
    with open_checkpoint(save(tmp_path, mlx_tensors(words=128, groups=4))) as checkpoint:
        (stored,) = checkpoint.tensors
        assert (stored.shape, stored.pieces[0].scaling.bits) == ((20, 512), 8)


def packed_tensors() -> dict[str, Tensor]:
    """Make a table of compressed-tensors, of 4 bits in rows of 40."""
    codes = draw_codes(70, 40, bits=4)
    return {
        "weight_packed": pack(codes, bits=4),
        "weight_scale": torch.rand(70, 1) + 0.1,
        "weight_shape": torch.tensor([70, 40]),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"weight_shape": torch.tensor([71, 40])},
        {"weight_shape": torch.tensor([70, 400])},
        {"weight_shape": torch.tensor([70, -40])},
        {"weight_shape": torch.tensor([70, 2**62])},
        {"weight_shape": torch.tensor([70, 0])},
        {"weight_shape": torch.tensor([70])},
        {"weight_shape": torch.tensor([70.0, 40.0])},
        {"weight_scale": torch.rand(70, 7)},
        {"weight_scale": torch.ones(70, 1, dtype=torch.int32)},
        {"weight_zero_point": torch.ones(8, 1, dtype=torch.int32)},
        {"weight_zero_point": torch.ones(70, 2, dtype=torch.int8)},
        {"weight_g_idx": torch.arange(40, dtype=torch.int32)},
        {"weight": torch.ones(70, 40, dtype=torch.int32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_packed_codes_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Tensor]) -> None:
    """Shapes that contradict each other, columns in another order, and a second weight leave the codes unread."""
    path = save(tmp_path, packed_tensors() | change)
    with open_checkpoint(path) as checkpoint:
        assert f"{NAME}.weight_packed" in {stored.name for stored in checkpoint.tensors}
        with pytest.raises(EmbcompressError, match="weight_packed' is quantized"):
            choose_tables(checkpoint, table=[], exclude=[])


def test_a_packed_table_is_compressed(tmp_path: Path) -> None:
    """The bytes before are those of codes and scales, and what else lies in the file is carried along."""
    path = save(tmp_path, {**packed_tensors(), "norm": torch.ones(3)})
    result = approximate(path, bases=2, output=tmp_path / "out.safetensors")
    compressed = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert {"model.embed_tokens.norm", "model.embed_tokens.weight.bases"} <= set(compressed)
    assert f"{NAME}.weight_packed" not in compressed
    assert f"{NAME}.weight_scale" not in compressed
    assert result.tables[0].bytes_before == 70 * 5 * 4 + 70 * 4


def test_a_large_configuration_is_not_read(tmp_path: Path) -> None:
    """Sixteen megabytes are no configuration: the shapes alone decide."""
    shutil.copy(PACKED / "mlx" / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(" " * 2**24 + (PACKED / "mlx" / "config.json").read_text())
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert not any(stored.pieces and "bits_4" in stored.name for stored in checkpoint.tensors)
