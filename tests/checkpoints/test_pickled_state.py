"""Pickles outside of torch's files: the same values as pickle.load gives, and nothing runs."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.tensors import StoredTensor
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import read_bytes

TABLE = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))


def save(value: object, path: Path, *, protocol: int = 4) -> Path:
    """Write with pickle."""
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def read_back(path: Path) -> dict[str, Tensor]:
    """Read every tensor that is listed."""
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "pickle"

        def read(stored: StoredTensor) -> Tensor:
            content = bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))))
            dtype = getattr(torch, stored.dtype)
            empty = torch.empty(stored.shape, dtype=dtype)
            return torch.frombuffer(content, dtype=dtype).view(stored.shape) if content else empty

        return {stored.name: read(stored) for stored in checkpoint.tensors}


def assert_same(path: Path, expected: Mapping[str, Any]) -> None:
    """Compare names in order, dtypes, shapes and bits."""
    actual = read_back(path)
    assert list(actual) == list(expected)
    for name, value in expected.items():
        native = value.astype(value.dtype.newbyteorder("="), "C") if isinstance(value, numpy.ndarray) else value
        tensor = torch.as_tensor(native).detach().contiguous()
        assert (actual[name].dtype, actual[name].shape) == (tensor.dtype, tensor.shape)
        assert actual[name].reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dicts_of_tensors_and_arrays_are_read(tmp_path: Path, protocol: int) -> None:
    """Short and long storages, views, parameters, and arrays in either order of axes and bytes, side by side."""
    array = TABLE.numpy()
    value = {
        "emb.weight": TABLE,
        "large": torch.randn(120, 90, generator=torch.Generator().manual_seed(1)),
        "half": TABLE.bfloat16(),
        "short": torch.ones(1),
        "view": TABLE[3:, 2:],
        "turned": TABLE.T,
        "parameter": torch.nn.Parameter(TABLE[0]),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(2),
        "array": array,
        "columns": numpy.asfortranarray(array),
        "big": array.astype(">f8"),
        "long": numpy.arange(9000).reshape(90, 100),
    }
    assert_same(save({"state_dict": value, "epoch": 3}, tmp_path / "a.pkl", protocol=protocol), value)


def test_dicts_are_read_like_torch_does_on_random_files(tmp_path: Path) -> None:
    """A hundred files of random dtypes, shapes and protocols."""
    generator = torch.Generator().manual_seed(4)
    dtypes = (torch.float32, torch.float16, torch.int64, torch.uint8, torch.float64, torch.bool)
    for number in range(100):
        value: dict[str, Any] = {}
        for index in range(number % 5 + 1):
            rows, columns, kind, is_array = torch.randint(0, 6, (4,), generator=generator).tolist()
            tensor = torch.randn(rows, columns + 1, generator=generator).mul(9).to(dtypes[kind])
            value[f"layers.{index}"] = tensor.numpy() if is_array % 2 else tensor
        path = save(value, tmp_path / "a.pkl", protocol=2 + number % 4)
        assert_same(path, pickle.loads(path.read_bytes()))


def test_modules_and_bare_matrices_are_read(tmp_path: Path) -> None:
    """A module is listed as its state dict, a matrix alone is "tensor"."""
    model = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.Linear(3, 2))
    assert_same(save(model, tmp_path / "a.pkl"), model.state_dict())
    assert_same(save(TABLE, tmp_path / "b.pkl"), {"tensor": TABLE})
    assert_same(save(TABLE.numpy(), tmp_path / "c.pkl"), {"tensor": TABLE})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_vectors_by_word_are_one_table(tmp_path: Path, protocol: int) -> None:
    """A dict of one vector a word is a table with the words as its labels."""
    words = [f"word {number}" for number in range(40)]
    for rows in (TABLE.numpy(), [row.clone() for row in TABLE]):
        path = save(dict(zip(words, rows, strict=True)), tmp_path / "a.pkl", protocol=protocol)
        assert_same(path, {"embedding.weight": TABLE})
        with open_checkpoint(path) as checkpoint:
            assert list(checkpoint.listing.labels["embedding.weight"]()) == words


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_uncompressed_files_of_joblib_are_read(tmp_path: Path, protocol: int) -> None:
    """Arrays that stand between two opcodes, padded, with texts and numbers among them, and matrices by column."""
    joblib = pytest.importorskip("joblib")
    array = TABLE.numpy()
    value = {
        "a": array,
        "text": numpy.array(["x", "yz"]),
        "columns": numpy.asfortranarray(array),
        "n": 3,
        "big": array.astype(">f4"),
        "long": numpy.arange(9000),
        "tensor": TABLE,
    }
    joblib.dump(value, tmp_path / "a.joblib", protocol=protocol)
    assert_same(tmp_path / "a.joblib", {name: value[name] for name in ("a", "columns", "big", "long", "tensor")})
    with open_checkpoint(tmp_path / "a.joblib") as checkpoint:
        assert [(left.name, left.reason) for left in checkpoint.listing.left_out] == [
            ("text", "an array of texts"),
            ("n", "not a tensor"),
        ]
    joblib.dump({"a": array, "b": numpy.array([{}, 1])}, tmp_path / "b.joblib", protocol=protocol)
    with pytest.raises(UnknownFormatError, match="an array of Python objects"):
        open_checkpoint(tmp_path / "b.joblib")


def test_joblib_files_that_are_cut_or_lie_are_refused(tmp_path: Path) -> None:
    """An array that is longer than the file, and a file cut anywhere, are named."""
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "a.joblib"
    joblib.dump({"a": numpy.arange(500.0)}, path)
    content = path.read_bytes()
    for step in range(50):
        path.write_bytes(content[: len(content) * step // 50])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)
    assert content.count(b"M\xf4\x01") == 1
    path.write_bytes(content.replace(b"M\xf4\x01", b"M\xff\xff"))
    with pytest.raises(DamagedFileError, match="has an array of 524280 bytes, where"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"epoch": 3}, "a dict of 1 entries ('epoch')"),
        ([], "a value of type list"),
        (ValueError, "a value of type Global"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, value: object, words: str) -> None:
    """What holds neither tensors nor arrays is named."""
    with pytest.raises(UnknownFormatError, match="no tensor was found") as caught:
        open_checkpoint(save(value, tmp_path / "a.pkl"))
    assert words in caught.value.message


def test_object_arrays_are_left_out(tmp_path: Path) -> None:
    """An array of objects is named, with what to do."""
    path = save({"a": numpy.array([{}, 1]), "b": TABLE}, tmp_path / "a.pkl")
    with open_checkpoint(path) as checkpoint:
        assert [stored.name for stored in checkpoint.tensors] == ["b"]
        (left,) = checkpoint.listing.left_out
        assert left.reason.startswith("an array of Python objects")
        assert "where you trust it" in left.hint


def storage_pickle(content: bytes) -> bytes:
    """Write a tensor of 6 floats whose storage has these bytes."""
    storage = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\x06\x85K\x01\x85\x89NtR"
    return b"\x80\x04}X\x01\0\0\0a" + tensor + b"s."


def storage_bytes(value: Tensor) -> bytes:
    """Pickle a storage as torch does it outside of its files."""
    (function, (content,)) = value.storage().__reduce__()
    assert function.__name__ == "_load_from_bytes"
    assert isinstance(content, bytes)
    return content


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_storages_that_lie_are_refused(tmp_path: Path) -> None:
    """A storage within the pickle is held against its own bytes, and nothing in it runs."""
    path, marker = tmp_path / "a.pkl", tmp_path / "marker"
    good = storage_bytes(torch.arange(6.0))
    path.write_bytes(storage_pickle(good))
    assert read_back(path)["a"].equal(torch.arange(6.0))
    shell = f"touch {marker}".encode()
    call = b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(shell)) + shell + b"\x85R."
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})]
    lies = {
        good[:-1]: "has 23 bytes for a storage of 24",
        good[:-30]: "ends at byte",
        good[:40]: "cut short",
        b"": "cut short",
        b"".join([*parts, pickle.dumps(3), pickle.dumps([])]): "has a storage that is none",
        b"".join([*parts, call, pickle.dumps([])]): "has a storage that is none",
        call: "does not begin with the number of torch.save",
        storage_bytes(torch.arange(5.0)): "reaches to byte 24 of a storage of 20 bytes",
        good[:-32] + struct.pack("<q", 2**60) + good[-24:]: "declares a storage of 6 elements and stores",
    }
    for content, message in lies.items():
        path.write_bytes(storage_pickle(content))
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(path)
    path.write_bytes(storage_pickle(b"").replace(b"B\0\0\0\0", b"N"))
    with pytest.raises(DamagedFileError, match="a storage whose bytes are elsewhere"):
        open_checkpoint(path)
    assert not marker.exists()


def test_a_cut_text_of_values_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Of protocol 2 the values of a storage are decoded when they are read: too few are damage."""
    path = save({"a": torch.zeros(3000)}, tmp_path / "a.pkl", protocol=2)
    content = path.read_bytes()
    at = content.index(bytes(12000))
    start = content.rindex(b"X", 0, at)
    while struct.unpack_from("<I", content, start + 1)[0] < 12000:
        start = content.rindex(b"X", 0, start)
    (length,) = struct.unpack_from("<I", content, start + 1)
    # Two bytes less of zeros, and two bytes of one character more.
    cut = content[:start] + b"X" + struct.pack("<I", length) + content[start + 5 : at + 11000] + "é".encode() * 500
    path.write_bytes(cut + content[at + 12000 :])
    with open_checkpoint(path) as checkpoint, pytest.raises(DamagedFileError, match="a text of 11500 bytes of values"):
        list(read_bytes(checkpoint.tensors[0], files=checkpoint.files))


def test_pickles_run_nothing(tmp_path: Path) -> None:
    """A pickle that pickle.load would run a command of is read without, and imports nothing."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"import antigravity; open({str(tmp_path / 'marker')!r}, 'w').close()",)

    for protocol in (2, 3, 4, 5):
        path = save({"a": TABLE, "b": Payload(), "c": [Payload()]}, tmp_path / "a.pkl", protocol=protocol)
        assert list(read_back(path)) == ["a"]
    assert not (tmp_path / "marker").exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_table_gives_the_same_bases_as_from_safetensors(tmp_path: Path, protocol: int) -> None:
    """Bases and weights of a 20,000 x 64 table are equal to the bit."""
    table = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    safetensors.torch.save_file({"embedding.weight": table}, tmp_path / "a.safetensors")
    save({"embedding.weight": table}, tmp_path / "b.pkl", protocol=protocol)
    factors = []
    for name in ("a.safetensors", "b.pkl"):
        approximate(
            tmp_path / name, bases=4, neighbours=0, output=tmp_path / f"{name}.out", report=[tmp_path / f"{name}.json"]
        )
        factors.append(safetensors.torch.load_file(tmp_path / f"{name}.out"))
    assert all(factors[0][name].equal(factors[1][name]) for name in factors[0] | factors[1])
