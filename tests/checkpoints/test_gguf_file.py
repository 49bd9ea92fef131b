"""GGUF files against the package gguf, and files that lie."""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.gguf_files.gguf_file import CODED, PLAIN
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from tests.checkpoints.contents import are_same_bits, expected_factors, factors_of, labels_of, large_table, tensors_of
from tests.command_line import run

gguf: Any = pytest.importorskip("gguf", reason="gguf is not installed: pip install 'embcompress[gguf]'")
quants: Any = pytest.importorskip("gguf.quants")

HEAD = b"GGUF" + struct.pack("<I", 3)


def save(path: Path, arrays: Mapping[str, Any], *, tokens: list[str] | None = None, **options: Any) -> Path:
    """Write arrays with gguf: floats as they are, a pair of codes and their type as codes."""
    writer = gguf.GGUFWriter(path, "llama", **options)
    if tokens is not None:
        writer.add_token_list(tokens)
        writer.add_token_merges(["a b", "c d"])
    for name, array in arrays.items():
        if isinstance(array, tuple):
            writer.add_tensor(name, array[0], raw_dtype=array[1])
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_codes(kind: Any, rows: int, blocks: int, generator: np.random.Generator) -> Any:
    """Make codes of a type, (rows, bytes of a row): any bytes are some."""
    return generator.integers(0, 256, (rows, blocks * gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)


def text(value: bytes) -> bytes:
    """Encode a text as GGUF does."""
    return struct.pack("<Q", len(value)) + value


def info(name: bytes, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    """Encode what a header tells of a tensor; dims in the order of the file."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


@pytest.mark.parametrize("kind", CODED, ids=[code.name for code in CODED.values()])
def test_read_listing_makes_floats_as_gguf_does(tmp_path: Path, kind: int) -> None:
    """Codes of every type become the floats that gguf itself makes of them, to the bit, NaN included."""
    kind = gguf.GGMLQuantizationType(kind)
    codes = random_codes(kind, 37, 3, np.random.default_rng(kind))
    path = save(tmp_path / "m.gguf", {"token_embd.weight": (codes, kind)})
    with np.errstate(all="ignore"):
        expected = quants.dequantize(codes, kind)
    assert CODED[kind].name == kind.name
    assert are_same_bits(tensors_of(path)["token_embd.weight"], torch.from_numpy(expected))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tensors[0].stored_bytes == codes.nbytes


def test_read_listing_makes_floats_in_several_parts(tmp_path: Path) -> None:
    """Of codes whose values take more than one buffer, the values are those of all rows at once."""
    kind = gguf.GGMLQuantizationType.Q4_0
    codes = random_codes(kind, 20001, 4, np.random.default_rng(1))
    path = save(tmp_path / "m.gguf", {"token_embd.weight": (codes, kind)})
    with np.errstate(all="ignore"):
        expected = quants.dequantize(codes, kind)
    assert are_same_bits(tensors_of(path)["token_embd.weight"], torch.from_numpy(expected))


@pytest.mark.parametrize("endianess", ["LITTLE", "BIG"])
def test_read_listing_reads_what_gguf_writes(tmp_path: Path, endianess: str) -> None:
    """A hundred random files: names, axes and values are those that gguf's own reader gives, in either byte order."""
    generator = np.random.default_rng(3)
    dtypes = (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64)
    for number in range(50):
        arrays = {}
        for index in range(generator.integers(1, 5)):
            shape = generator.integers(1, 6, generator.integers(1, 5))
            dtype = np.dtype(dtypes[generator.integers(len(dtypes))])
            arrays[f"blk.{index}.é"] = np.frombuffer(
                generator.bytes(int(np.prod(shape)) * dtype.itemsize), dtype
            ).reshape(shape)
        path = save(tmp_path / f"{number}.gguf", arrays, endianess=gguf.GGUFEndian[endianess])
        actual = tensors_of(path)
        assert [tensor.name for tensor in gguf.GGUFReader(path).tensors] == list(actual)
        assert all(are_same_bits(actual[name], torch.from_numpy(array.copy())) for name, array in arrays.items())


def test_read_listing_reads_bfloat16_in_place(tmp_path: Path) -> None:
    """The 16 bits of each number are those of the file, and no copy of them is made."""
    values = torch.randn(9, 4).to(torch.bfloat16)
    raw = values.view(torch.uint8).numpy()
    path = save(tmp_path / "m.gguf", {"position_embd.weight": (raw, gguf.GGMLQuantizationType.BF16)})
    assert are_same_bits(tensors_of(path)["position_embd.weight"], values)
    with open_checkpoint(path) as checkpoint:
        assert not checkpoint.files.is_made(checkpoint.tensors[0].start)


def test_plain_types_are_those_of_gguf() -> None:
    """The numbers of types are those of the package, and each type that it makes floats of is read."""
    names = {"float32": "F32", "float16": "F16", "float64": "F64", "bfloat16": "BF16"}
    for number, dtype in PLAIN.items():
        assert gguf.GGMLQuantizationType(number).name == names.get(dtype, dtype.upper().replace("INT", "I"))
    made = {kind.value for kind in quants._type_traits} - set(PLAIN) - {gguf.GGMLQuantizationType.NVFP4.value}
    assert made <= set(CODED)
    for number, code in CODED.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)] == (code.block, code.nbytes)


def test_labels_are_the_tokens(tmp_path: Path) -> None:
    """The rows of the tables of tokens are called by the tokens, those behind them by nothing; no other table is."""
    tables = {
        "token_embd.weight": np.ones((4, 2), np.float32),
        "output.weight": np.ones((3, 2), np.float32),
        "position_embd.weight": np.ones((3, 2), np.float32),
    }
    path = save(tmp_path / "m.gguf", tables, tokens=["<s>", "é\n", ""])
    assert labels_of(path) == {"token_embd.weight": ["<s>", "é\n", "", ""], "output.weight": ["<s>", "é\n", ""]}


def test_read_listing_joins_a_split_model(tmp_path: Path) -> None:
    """Named by any of its parts, a split model is all of them; a part that is missing or another one is named."""
    arrays = {f"blk.{index}.weight": np.full((8, 32), index, np.float32) for index in range(4)}
    save(tmp_path / "m.gguf", {"token_embd.weight": np.ones((3, 32), np.float32), **arrays}, split_max_tensors=2)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert [part.name for part in parts] == [f"m-0000{index}-of-00003.gguf" for index in (1, 2, 3)]
    for part in parts:
        actual = tensors_of(part)
        assert all(are_same_bits(actual[name], torch.from_numpy(array)) for name, array in arrays.items())
    with open_checkpoint(parts[2]) as checkpoint:
        assert checkpoint.nbytes == sum(part.stat().st_size for part in parts)
    shutil.copy(parts[1], tmp_path / "renamed.gguf")
    with pytest.raises(CheckpointError, match=r"is part 2 of 3 .* name does not say so"):
        open_checkpoint(tmp_path / "renamed.gguf")
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=r"m-00002-of-00003\.gguf is missing"):
        open_checkpoint(parts[0])
    shutil.copy(parts[2], parts[1])
    with pytest.raises(DamagedFileError, match="says that it is part 3 of 3"):
        open_checkpoint(parts[0])


def test_read_listing_follows_no_part_out_of_the_folder(tmp_path: Path) -> None:
    """A part that is a link to a file elsewhere is not read; one that is a link to a file beside it is."""
    arrays = {f"blk.{index}.weight": np.full((8, 32), index, np.float32) for index in range(4)}
    folder = tmp_path / "model"
    folder.mkdir()
    save(folder / "m.gguf", arrays, split_max_tensors=2)
    first, second = sorted(folder.iterdir())
    second.rename(tmp_path / "elsewhere")
    second.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(first)
    (tmp_path / "elsewhere").rename(folder / "here")
    second.unlink()
    second.symlink_to("here")
    assert set(tensors_of(first)) == set(arrays)


def test_inspect_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gguf a file is listed, floats are compressed, and codes are refused by what to install."""
    kind = gguf.GGMLQuantizationType.Q8_0
    codes = random_codes(kind, 300, 2, np.random.default_rng(1))
    path = save(tmp_path / "m.gguf", {"token_embd.weight": (codes, kind)})
    monkeypatch.setitem(sys.modules, "gguf.quants", None)
    done = run("inspect", path)
    assert done.code == 0
    assert "token_embd.weight" in done.out
    done = run("approximate", path, "--bases", "2")
    assert done.code == 1
    assert "pip install 'embcompress[gguf]'" in done.err
    assert list(tmp_path.iterdir()) == [path]


def test_type_without_floats_is_refused_by_name(tmp_path: Path) -> None:
    """A tensor of a type that gguf makes no floats of is left out, and refused where it is asked for."""
    kind = gguf.GGMLQuantizationType.Q8_K
    codes = random_codes(kind, 300, 1, np.random.default_rng(1))
    path = save(tmp_path / "m.gguf", {"x": np.ones(3, np.float32), "token_embd.weight": (codes, kind)})
    with open_checkpoint(path) as checkpoint:
        assert [tensor.name for tensor in checkpoint.tensors] == ["x"]
        assert [left.name for left in checkpoint.listing.left_out] == ["token_embd.weight"]
    done = run("approximate", path, "--bases", "2", "--table", "token_embd.weight")
    assert done.code == 1
    assert "Q8_K" in done.err
    assert "llama-quantize" in done.err


BAD_FILES: dict[str, tuple[bytes, type[CheckpointError], str]] = {
    "version 1": (b"GGUF" + struct.pack("<IIQ", 1, 0, 0) + bytes(64), UnknownFormatError, "version 1"),
    "too many tensors": (HEAD + struct.pack("<QQ", 2**60, 0) + bytes(64), DamagedFileError, str(2**60)),
    "too many keys": (HEAD + struct.pack("<QQ", 0, 2**60) + bytes(64), DamagedFileError, "cut short"),
    "a long key": (HEAD + struct.pack("<QQQ", 0, 1, 2**62) + bytes(64), DamagedFileError, "claims a key"),
    "a long value": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IQ", 8, 2**63) + bytes(64),
        DamagedFileError,
        "cut short",
    ),
    "a long array": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 4, 2**62) + bytes(64),
        DamagedFileError,
        "cut short",
    ),
    "a long array of texts": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 2**62) + bytes(64),
        DamagedFileError,
        "an array of",
    ),
    "a long text in an array": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQQ", 9, 8, 2, 2**62) + bytes(64),
        DamagedFileError,
        "cut short",
    ),
    "arrays in arrays": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50,
        DamagedFileError,
        "metadata of type 9",
    ),
    "an unknown type of value": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<I", 77) + bytes(64),
        DamagedFileError,
        "metadata of type 77",
    ),
    "a key twice": (
        HEAD + struct.pack("<QQ", 0, 2) + 2 * (text(b"k") + struct.pack("<IB", 0, 1)) + bytes(64),
        DamagedFileError,
        "the key 'k' twice",
    ),
    "a name that is not UTF-8": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"\xff\xfe", (4, 2), 0, 0) + bytes(64),
        DamagedFileError,
        "not UTF-8",
    ),
    "a name twice": (
        HEAD + struct.pack("<QQ", 2, 0) + info(b"x", (4, 2), 0, 0) + info(b"x", (4, 2), 0, 32) + bytes(99),
        DamagedFileError,
        "'x' twice",
    ),
    "sizes that overflow": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"x", (2**32, 2**32), 0, 0) + bytes(64),
        DamagedFileError,
        "cut short",
    ),
    "a size beyond 63 bits": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"x", (2**63, 0), 0, 0) + bytes(64),
        DamagedFileError,
        "the shape",
    ),
    "many axes": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"x", (1,) * 9, 0, 0) + bytes(64),
        DamagedFileError,
        "9 axes",
    ),
    "a place beyond the end": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"x", (4, 2), 0, 2**40) + bytes(64),
        DamagedFileError,
        "cut short",
    ),
    "rows of part of a block": (
        HEAD + struct.pack("<QQ", 1, 0) + info(b"x", (31, 2), 2, 0) + bytes(64),
        DamagedFileError,
        "no multiple of 32",
    ),
    "no alignment": (
        HEAD + struct.pack("<QQ", 0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 24) + bytes(64),
        DamagedFileError,
        "24 bytes",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_read_listing_refuses_a_file_that_lies(tmp_path: Path, case: str) -> None:
    """Counts, lengths and places that cannot be are refused by name before anything is read or made by them."""
    content, kind, words = BAD_FILES[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        open_checkpoint(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_read_listing_survives_any_damage(tmp_path: Path) -> None:
    """With up to eight bytes of its header changed, a file is read or refused; nothing else is raised."""
    tables = {"token_embd.weight": np.ones((4, 2), np.float32)}
    raw = save(tmp_path / "m.gguf", tables, tokens=["a", "b", "c", "d"]).read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        damaged = bytearray(raw)
        for index in generator.integers(4, len(raw) - 32, generator.integers(1, 9)):
            damaged[index] = generator.integers(256)
        (tmp_path / "d.gguf").write_bytes(damaged)
        try:
            with open_checkpoint(tmp_path / "d.gguf") as checkpoint:
                for labels in checkpoint.listing.labels.values():
                    labels()
        except CheckpointError:
            refused += 1
    assert 200 < refused < 400


def test_bases_are_those_of_a_safetensors_file(tmp_path: Path) -> None:
    """20,000 x 64 numbers have the same weights and bases, to the bit, whether floats in place or made of codes."""
    table = large_table()
    save(tmp_path / "m.gguf", {"token_embd.weight": table.numpy()})
    for actual, expected in zip(
        factors_of(tmp_path / "m.gguf", tmp_path), expected_factors(table, tmp_path), strict=True
    ):
        assert are_same_bits(actual, expected)
    kind = gguf.GGMLQuantizationType.Q8_0
    codes = quants.quantize(table.numpy(), kind)
    save(tmp_path / "q.gguf", {"token_embd.weight": (codes, kind)})
    values = torch.from_numpy(quants.dequantize(codes, kind))
    for actual, expected in zip(
        factors_of(tmp_path / "q.gguf", tmp_path), expected_factors(values, tmp_path), strict=True
    ):
        assert are_same_bits(actual, expected)
