"""Files of torch.save before 1.6: the same names and values as torch.load, and nothing else."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.torch_files import legacy_file
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import read_bytes

MAGIC = 0x1950A86A20F9469CFC6C


def save(value: object, path: Path, *, protocol: int = 2) -> Path:
    """Write with torch's older form."""
    torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    return path


def read_back(path: Path) -> dict[str, Tensor]:
    """Read every tensor that is listed."""
    tensors = {}
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "torch before 1.6"
        for stored in checkpoint.tensors:
            content = bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))))
            dtype = getattr(torch, stored.dtype)
            empty = torch.empty(stored.shape, dtype=dtype)
            tensors[stored.name] = torch.frombuffer(content, dtype=dtype).view(stored.shape) if content else empty
    return tensors


def assert_equal(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names in order, dtypes, shapes and bits."""
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape)
        assert (
            actual[name].reshape(-1).view(torch.uint8).equal(value.detach().contiguous().reshape(-1).view(torch.uint8))
        )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_read_listing_reads_a_state_dict_bit_for_bit(tmp_path: Path, protocol: int) -> None:
    """Every dtype, slice, transpose, scalar and empty tensor has the bits that torch.load gives."""
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(7))
    dtypes = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64, torch.bool)
    state = {str(dtype): base.mul(10).to(dtype) for dtype in dtypes}
    state |= {"slice": base[1:5:2, 3:], "transposed": base.T, "base": base, "same": base, "scalar": base[3, 4]}
    state |= {"empty": torch.empty(0, 4), "parameter": torch.nn.Parameter(base[2])}
    path = save(state, tmp_path / "model.bin", protocol=protocol)
    assert_equal(read_back(path), torch.load(path, weights_only=protocol == 2))
    with open_checkpoint(path) as checkpoint:
        places = {stored.name: stored.memory_key for stored in checkpoint.tensors}
    assert places["base"] == places["same"]
    assert places["transposed"][0] == places["base"][0]


def test_read_listing_equals_torch_on_random_files(tmp_path: Path) -> None:
    """A hundred files of random shapes, dtypes and views."""
    generator = torch.Generator().manual_seed(3)
    path = tmp_path / "model.pt"
    for number in range(100):
        state: dict[str, Tensor] = {}
        for index in range(number % 4 + 1):
            rows, columns, first, kind = torch.randint(0, 6, (4,), generator=generator).tolist()
            dtype = (torch.float32, torch.float64, torch.float16, torch.int8, torch.int32, torch.bfloat16)[kind]
            whole = torch.randn(rows + first, columns + 1, generator=generator).mul(50).to(dtype)
            state[f"layers.{index}"] = whole[first:, : max(1, columns)]
            state[f"layers.{index}.t"] = whole.T
        save(state, path, protocol=2 + number % 4)
        assert_equal(read_back(path), torch.load(path, weights_only=False))


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
def test_read_listing_reads_a_module(tmp_path: Path) -> None:
    """A whole module, of which the older form keeps the source, is listed as its state dict."""
    model = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    assert_equal(read_back(save(model, tmp_path / "model.pt")), model.state_dict())


def test_read_listing_reads_storage_views(tmp_path: Path) -> None:
    """What torch 0.4 wrote of a part of a storage is the part that torch.load takes."""
    path = save({"a": torch.arange(8.0)[:4], "b": torch.arange(8.0)}, tmp_path / "model.pt")
    content = path.read_bytes()
    # In the place of None, the view: a name, the first element 3, and 4 elements.
    view = b"X\x01\0\0\0vK\x03K\x04\x87"
    at = content.index(b"K\x08N") + 2
    path.write_bytes(content[:at] + view + content[at + 1 :])
    expected = torch.load(path, weights_only=False)
    assert expected["a"].tolist() == [3, 4, 5, 6]
    assert_equal(read_back(path), expected)
    path.write_bytes(content[:at] + view.replace(b"K\x03", b"K\x05") + content[at + 1 :])
    with pytest.raises(DamagedFileError, match="a view of a storage that reaches beyond it"):
        open_checkpoint(path)


def write_parts(path: Path, *parts: object, tail: bytes = b"") -> Path:
    """Write pickles one behind the other."""
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + tail)
    return path


@pytest.mark.parametrize(
    ("parts", "tail", "message"),
    [
        ((MAGIC,), b"", "cut short"),
        ((MAGIC, 1000), b"", "version 1000 of torch's older protocol"),
        ((MAGIC, 1001, {}, {"a": 1}, ["1"]), b"", "other storages than the 0"),
        ((MAGIC, 1001, {}, {"a": 1}, "x"), b"", "other storages than the 0"),
        ((MAGIC, 1001, {}, {"a": 1}, []), b"", "no tensor was found"),
    ],
)
def test_read_listing_refuses_other_parts(tmp_path: Path, parts: tuple[Any, ...], tail: bytes, message: str) -> None:
    """Each of the five pickles is what it should be, or is named."""
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(write_parts(tmp_path / "model.pt", *parts, tail=tail))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("count", "message"),
    [(5, "declares a storage of 6 elements and stores 5"), (-1, "stores -1"), (2**62, "stores 4611686018427387904")],
)
def test_read_listing_refuses_lying_counts(tmp_path: Path, count: int, message: str) -> None:
    """The number of elements in front of a storage is that of the pickle."""
    path = save({"a": torch.arange(6.0)}, tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    struct.pack_into("<q", content, len(content) - 32, count)
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=message):
        open_checkpoint(path)


def test_read_listing_refuses_a_lying_pickle(tmp_path: Path) -> None:
    """A pickle that declares 2^40 elements, as does the storage, is held against the length of the file."""
    path = save({"a": torch.arange(6.0)}, tmp_path / "model.pt")
    content = path.read_bytes()
    at = content.index(b"K\x06N")
    content = content[:at] + b"\x8a\x06" + (2**40).to_bytes(6, "little") + content[at + 2 : -32]
    path.write_bytes(content + struct.pack("<q", 2**40) + bytes(24))
    with pytest.raises(DamagedFileError, match="has 24 bytes for a storage of 4398046511104"):
        open_checkpoint(path)


def test_read_listing_runs_nothing(tmp_path: Path) -> None:
    """A call in any of the pickles is inert."""
    marker = tmp_path / "marker"
    shell = b"cposix\nsystem\nX" + struct.pack("<I", len(f"touch {marker}")) + f"touch {marker}".encode() + b"\x85R."
    good = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {}, {"a": 1}, [])]
    for position in range(1, 5):
        (tmp_path / "model.pt").write_bytes(b"".join([*good[:position], b"\x80\x02" + shell, *good[position + 1 :]]))
        with pytest.raises(CheckpointError):
            open_checkpoint(tmp_path / "model.pt")
    assert not marker.exists()


def test_a_tar_of_torch_is_named(tmp_path: Path) -> None:
    """The form before that, a tar archive, is refused by its name."""
    (tmp_path / "model.pt").write_bytes(b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(250))
    with pytest.raises(UnknownFormatError, match=r"written by torch\.save before torch 0\.1\.10") as caught:
        open_checkpoint(tmp_path / "model.pt")
    assert "torch.load" in caught.value.hint


def test_a_table_gives_the_same_bases_as_from_safetensors(tmp_path: Path) -> None:
    """Bases and weights of a 20,000 x 64 table are equal to the bit."""
    table = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    safetensors.torch.save_file({"embedding.weight": table}, tmp_path / "a.safetensors")
    save({"embedding.weight": table}, tmp_path / "b.pt")
    factors = []
    for name in ("a.safetensors", "b.pt"):
        approximate(
            tmp_path / name, bases=4, neighbours=0, output=tmp_path / f"{name}.out", report=[tmp_path / f"{name}.json"]
        )
        factors.append(safetensors.torch.load_file(tmp_path / f"{name}.out"))
    assert all(factors[0][name].equal(factors[1][name]) for name in factors[0] | factors[1])


def test_files_are_told_by_the_number_in_any_protocol() -> None:
    """The first pickle has a frame since protocol 4."""
    for protocol in (2, 3, 4, 5):
        buffer = io.BytesIO()
        torch.save({}, buffer, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
        assert legacy_file.is_recognised(Path("x"), buffer.getvalue())
