"""Tables that are stored as codes with scales: the values as they are served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate, reconstruct
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.inspect import inspect
from embcompress.tables.rows import TableRows, read_bytes
from embcompress.tables.scaling import unpack
from embcompress.tables.selection import choose_tables

ROWS, DIM = 300, 64
NAME = "model.embed_tokens.weight"
FP8 = torch.float8_e4m3fn


def draw(*shape: int) -> Tensor:
    """Draw values of which FP8 and int8 keep something."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)) * 20


WEIGHT = draw(ROWS, DIM)
ROW_SCALES = draw(ROWS).abs() + 1
BLOCK_SCALES = draw(3, 1).abs() + 1  # of 128 x 128 entries: 300 rows have three, of which the last is shorter
ZEROS = torch.randint(-5, 5, (ROWS, 1), generator=torch.Generator().manual_seed(8)).to(torch.int8)
CODES = WEIGHT.clamp(-127, 127).to(torch.int8)
EXPONENTS = torch.randint(120, 134, (ROWS, 2), generator=torch.Generator().manual_seed(9)).to(torch.uint8)
BY_EXPONENTS = (WEIGHT.to(FP8).double() * torch.exp2(EXPONENTS.double() - 127)[:, torch.arange(DIM) // 32]).bfloat16()
# What is stored, and the values that it stands for in the dtype that they have.
SCALED: dict[str, tuple[dict[str, Tensor], Tensor]] = {
    "FP8": ({NAME: WEIGHT.to(FP8)}, WEIGHT.to(FP8).bfloat16()),
    "FP8 of five exponent bits": ({NAME: WEIGHT.to(torch.float8_e5m2)}, WEIGHT.to(torch.float8_e5m2).bfloat16()),
    "FP8, a scale": ({NAME: WEIGHT.to(FP8), f"{NAME}_scale": torch.tensor(0.3)}, WEIGHT.to(FP8).float() * 0.3),
    "FP8, a scale for each row": (
        {NAME: WEIGHT.to(FP8), f"{NAME}_scale": ROW_SCALES[:, None].bfloat16()},
        WEIGHT.to(FP8).float() * ROW_SCALES[:, None].bfloat16().float(),
    ),
    "FP8, a scale for each block": (
        {NAME: WEIGHT.to(FP8), f"{NAME}_scale_inv": BLOCK_SCALES},
        WEIGHT.to(FP8).float() * BLOCK_SCALES[torch.arange(ROWS) // 128],
    ),
    "FP8, an exponent for each 32": (
        {NAME: WEIGHT.to(FP8), "model.embed_tokens.scale": EXPONENTS.view(torch.float8_e8m0fnu)},
        BY_EXPONENTS,
    ),
    "FP8, an exponent as a byte for each 32": ({NAME: WEIGHT.to(FP8), f"{NAME}_scale": EXPONENTS}, BY_EXPONENTS),
    "int8": ({NAME: CODES, "model.embed_tokens.scale": ROW_SCALES}, CODES.float() * ROW_SCALES[:, None]),
    "int8, a scale of half precision": (
        {NAME: CODES, "model.embed_tokens.scale": ROW_SCALES.half()},
        (CODES.float() * ROW_SCALES.half().float()[:, None]).half(),
    ),
    "int8, a scale for each 16": (
        {NAME: CODES, f"{NAME}_scale": draw(ROWS, 4)},
        CODES.float() * draw(ROWS, 4)[:, torch.arange(DIM) // 16],
    ),
    "int8, zero points": (
        {NAME: CODES, f"{NAME}_scale": ROW_SCALES[:, None], f"{NAME}_zero_point": ZEROS},
        (CODES.float() - ZEROS.float()) * ROW_SCALES[:, None],
    ),
    "uint8, zero points without a sign": (
        {
            NAME: (CODES.int() + 128).to(torch.uint8),
            f"{NAME}_scale": ROW_SCALES[:, None],
            f"{NAME}_zero_point": (ZEROS.int() + 128).to(torch.uint8),
        },
        (CODES.float() - ZEROS.float()) * ROW_SCALES[:, None],
    ),
    "bitsandbytes int8": (
        {NAME: CODES, "model.embed_tokens.SCB": ROW_SCALES},
        CODES.float() * ROW_SCALES[:, None] * (1 / 127),
    ),
}


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a checkpoint by its ending."""
    writer: Callable[..., Any] = torch.save if path.suffix == ".pt" else safetensors.torch.save_file
    writer({"steps": torch.arange(3), **tensors}, path)
    return path


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_table_rows_are_the_values_of_codes(tmp_path: Path, kind: str, ending: str) -> None:
    """Blocks, columns, single rows and bytes are codes times scales to the bit, and the scales are no table."""
    tensors, expected = SCALED[kind]
    path = save(tmp_path / f"model.{ending}", tensors)
    with open_checkpoint(path) as checkpoint:
        (table,) = choose_tables(checkpoint, table=[], exclude=[])
        assert (table.name, f"torch.{table.dtype}") == (NAME, str(expected.dtype))
        assert table.nbytes == sum(tensor.nbytes for tensor in tensors.values())
        rows = TableRows(table.stored, files=checkpoint.files)
        assert torch.cat([block.clone() for block in rows.blocks()]).equal(expected)
        assert torch.cat([block.clone() for block in rows.column_blocks()]).equal(expected.T)
        ids = torch.tensor([299, 0, 128, 127])
        assert rows.read(ids).equal(expected[ids])
        content = b"".join(map(bytes, read_bytes(table.stored, files=checkpoint.files)))
        assert content == expected.view(torch.uint8).numpy().tobytes()
        assert {tensor.name for tensor in checkpoint.tensors} == {NAME, "steps"}
        assert {tensor.name for tensor in checkpoint.stored} == {"steps", *tensors}
    assert [table.name for table in inspect(path).tables if table.chosen] == [NAME]


def test_approximate_measures_against_the_values_as_served(tmp_path: Path) -> None:
    """The error is that of the values; the artifact holds neither codes nor scales, and other matrices as they were."""
    tensors, expected = SCALED["FP8, a scale for each row"]
    other = {"fc.weight": WEIGHT.to(FP8), "fc.weight_scale": torch.tensor(2.0)}
    path = save(tmp_path / "model.safetensors", tensors | other)
    result = approximate(path, bases=10, dtype="float16", table=NAME, neighbours=0)
    compressed = safetensors.torch.load_file(tmp_path / "model-10bases.safetensors")
    assert set(compressed) == {"steps", *other, f"{NAME}.bases", f"{NAME}.weights"}
    for name, value in other.items():
        assert compressed[name].reshape(-1).view(torch.uint8).equal(value.reshape(-1).view(torch.uint8))
    assert result.tables[0].bytes_before == sum(tensor.nbytes for tensor in tensors.values())
    assert result.tables[0].error is not None
    reconstruct(tmp_path / "model-10bases.safetensors", output=tmp_path / "dense.safetensors")
    dense = safetensors.torch.load_file(tmp_path / "dense.safetensors")[NAME]
    assert dense.dtype == torch.float32
    relative = ((dense.double() - expected.double()).norm() / expected.double().norm()).item()
    assert relative == pytest.approx(result.tables[0].error.relative, rel=1e-3)


def test_scales_that_lie_apart_are_not_read(tmp_path: Path) -> None:
    """Scales that are a column of something wider are not taken for entries that follow each other."""
    scales = torch.stack([ROW_SCALES, -ROW_SCALES], 1)[:, :1]
    path = save(tmp_path / "model.pt", {NAME: CODES, f"{NAME}_scale": scales})
    assert not any(table.chosen for table in inspect(path).tables)


def test_blocks_of_several_sizes_are_told_by_the_configuration(tmp_path: Path) -> None:
    """Three scales of 300 rows may be of 100 or of 128 rows each: not read, unless config.json beside it tells."""
    tensors = {NAME: WEIGHT.to(FP8), f"{NAME}_scale": BLOCK_SCALES}
    path = save(tmp_path / "model.safetensors", tensors)
    assert not any(table.chosen for table in inspect(path).tables)
    configuration = {"quantization_config": {"weight_block_size": [100, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    with open_checkpoint(path) as checkpoint:
        (table,) = choose_tables(checkpoint, table=[], exclude=[])
        rows = TableRows(table.stored, files=checkpoint.files).read(torch.arange(ROWS))
    assert rows.equal(WEIGHT.to(FP8).float() * BLOCK_SCALES[torch.arange(ROWS) // 100])


@pytest.mark.parametrize(("dtype", "bits"), [(torch.uint8, 4), (torch.int32, 4), (torch.int32, 2), (torch.int32, 8)])
def test_unpack_takes_the_lowest_bits_first(dtype: torch.dtype, bits: int) -> None:
    """Codes come in the order of the bits, of negative integers too."""
    count = torch.iinfo(dtype).bits // bits
    codes = torch.randint(0, 2**bits, (7, 3, count), generator=torch.Generator().manual_seed(0))
    words = (codes << (bits * torch.arange(count))).sum(-1)
    assert unpack(words.to(dtype), bits).equal(codes.flatten(1))
