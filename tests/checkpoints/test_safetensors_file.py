"""The header of a safetensors file: the same tensors as safetensors' own reader finds, and no lie believed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.safetensors_file import DTYPES, is_recognised
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import CheckpointError, DamagedFileError
from embcompress.tables.rows import read_bytes

SHAPES = ((), (1,), (0,), (3,), (2, 0, 4), (2, 3), (2, 1, 3, 2))


def write_raw(path: Path, header: object, buffer: bytes = b"", *, length: int | None = None) -> Path:
    """Write a safetensors file from a header, or the bytes of one, whatever it claims."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + buffer)
    return path


def entry(begin: object = 0, end: object = 8, *, shape: object = (2,), dtype: object = "F32") -> dict[str, Any]:
    """Make the entry of a tensor; by default two float32 in eight bytes."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def contents(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Read all tensors of a file: name -> dtype, shape, bytes."""
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "safetensors"
        return {
            tensor.name: (tensor.dtype, tensor.shape, b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files))))
            for tensor in checkpoint.stored
        }


def test_read_listing_finds_what_safetensors_wrote(tmp_path: Path) -> None:
    """Names, dtypes, shapes and every bit of 16 dtypes in 7 shapes, scalars and empty ones among them; metadata too."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name in DTYPES.values():
        for shape in SHAPES:
            raw = torch.randint(0, 256, (*shape, ITEM_BYTES[name]), dtype=torch.uint8, generator=generator)
            raw = raw % 2 if name == "bool" else raw
            tensors[f"{name}{shape}"] = raw.view(getattr(torch, name)).squeeze(-1)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "ü": "\n"})
    actual = contents(path)
    assert actual == {
        name: (
            str(value.dtype).removeprefix("torch."),
            tuple(value.shape),
            value.reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
        for name, value in tensors.items()
    }
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.listing.metadata == {"format": "pt", "ü": "\n"}
        assert checkpoint.nbytes == path.stat().st_size


def test_read_listing_allows_an_empty_file(tmp_path: Path) -> None:
    """A header without tensors is a checkpoint without tensors, padded with blanks or not."""
    for raw in (b"{}", b"{}      ", b'{"__metadata__":{"format":"pt"}}'):
        assert contents(write_raw(tmp_path / "empty", raw)) == {}


LIES = {
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "leaves a gap or an overlap before tensor 'b', at byte 8"),
    "same bytes twice": ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "leaves a gap or an overlap before tensor 'b'"),
    "gap": ({"a": entry(0, 8), "b": entry(12, 20)}, 20, "leaves a gap or an overlap before tensor 'b'"),
    "gap at start": ({"a": entry(4, 12)}, 12, "leaves a gap or an overlap before tensor 'a', at byte 0"),
    "beyond the file": ({"a": entry(0, 8)}, 7, "it is cut short"),
    "half a byte an element": ({"a": entry(0, 7, shape=(3,), dtype="F4")}, 7, "which no dtype of shape [3] takes"),
    "end before begin": ({"a": entry(8, 0)}, 8, "gives tensor 'a' -8 bytes"),
    "negative offset": ({"a": entry(-8, 0)}, 8, "gives tensor 'a' no pair of data_offsets"),
    "bool offset": ({"a": entry(False, 8)}, 8, "no pair of data_offsets"),
    "float offset": ({"a": entry(0, 8.0)}, 8, "no pair of data_offsets"),
    "huge offset": ({"a": entry(0, 2**70)}, 8, "no pair of data_offsets"),
    "text offset": ({"a": entry(0, "8")}, 8, "no pair of data_offsets"),
    "three offsets": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}, 8, "no pair of data_offsets"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, 8, "no pair of data_offsets"),
    "entry is a list": ({"a": [0, 8]}, 8, "no pair of data_offsets"),
    "entry is null": ({"a": None}, 8, "no pair of data_offsets"),
    "negative size": ({"a": entry(shape=[-2])}, 8, "gives tensor 'a' no shape"),
    "two negative sizes": ({"a": entry(shape=[-1, -2])}, 8, "no shape"),
    "bool size": ({"a": entry(shape=[True, 2])}, 8, "no shape"),
    "float size": ({"a": entry(shape=[2.0])}, 8, "no shape"),
    "size of infinity": (b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}', 8, "no shape"),
    "huge size": ({"a": entry(shape=[2**70])}, 8, "no shape"),
    "sizes that wrap to 2": ({"a": entry(shape=[2**62, 2**3, 2])}, 8, "gives tensor 'a' 8 bytes, which is not F32"),
    "65 axes": ({"a": entry(shape=[1] * 64 + [2])}, 8, "no shape"),
    "a million sizes": ({"a": entry(shape=[2**62] * 10**6)}, 8, "no shape"),
    "shape is text": ({"a": entry(shape="2")}, 8, "no shape"),
    "shape too small": ({"a": entry(shape=[1])}, 8, "gives tensor 'a' 8 bytes, which is not F32 of shape [1]"),
    "shape too large": ({"a": entry(shape=[3])}, 8, "gives tensor 'a' 8 bytes"),
    "twice in the header": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        8,
        "names one tensor twice",
    ),
    "not JSON": (b"{nonsense}", 0, "has a header that is not JSON"),
    "cut JSON": (b'{"a":{"dtype":', 0, "has a header that is not JSON"),
    "JSON and more": (b"{}{}", 0, "has a header that is not JSON"),
    "number of 10^5 digits": (b'{"a":' + b"9" * 10**5 + b"}", 0, "has a header that is not JSON"),
    "deeply nested": (b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}", 0, "has a header that is not JSON"),
    "deeply nested objects": (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, 0, "has a header that is not JSON"),
    "UTF-16": ("{}".encode("utf-16-le"), 0, "has a header that is not JSON"),
    "Latin-1": (b'{"\xe4":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8, "has a header that is not JSON"),
    "lone surrogate": (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8, "that is not JSON"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0, "metadata that is not a map from strings to strings"),
    "metadata is text": ({"__metadata__": "format"}, 0, "metadata that is not a map from strings to strings"),
    "a tensor named as the metadata": ({"__metadata__": entry()}, 8, "metadata that is not a map"),
}


@pytest.mark.parametrize(("header", "buffer_bytes", "message"), LIES.values(), ids=LIES)
def test_read_listing_refuses_a_lie(tmp_path: Path, header: object, buffer_bytes: int, message: str) -> None:
    """A header that is no JSON object, or whose tensors do not fill the buffer exactly, is damage, told in words."""
    path = write_raw(tmp_path / "lie.safetensors", header, bytes(buffer_bytes))
    with pytest.raises(DamagedFileError) as caught:
        open_checkpoint(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("dtype", ["f32", "", "F32 ", None, 7, ["F32"], {}], ids=str)
def test_read_listing_refuses_what_is_no_dtype(tmp_path: Path, dtype: object) -> None:
    """A dtype that is not a name in capitals is damage."""
    with pytest.raises(DamagedFileError, match="gives tensor 'a' no dtype"):
        open_checkpoint(write_raw(tmp_path / "a", {"a": entry(dtype=dtype)}, bytes(8)))


@pytest.mark.parametrize(("dtype", "shape"), [("F4", (16,)), ("F6_E2M3", (2, 8)), ("Q99", (4,))])
def test_read_listing_takes_an_unknown_dtype_as_bytes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """A dtype that this version does not know costs that tensor, which is copied, and not the file."""
    nbytes = 12 if dtype == "F6_E2M3" else 8
    header = {"a": entry(0, nbytes, shape=shape, dtype=dtype), "b": entry(nbytes, nbytes + 8)}
    content = bytes(range(nbytes + 8))
    assert contents(write_raw(tmp_path / "a", header, content)) == {
        "a": (dtype, shape, content[:nbytes]),
        "b": ("float32", (2,), content[nbytes:]),
    }


def test_read_listing_tells_of_bytes_behind_the_last_tensor(tmp_path: Path) -> None:
    """What some writers leave at the end is passed over and told."""
    with open_checkpoint(write_raw(tmp_path / "a", {"a": entry(0, 8)}, bytes(17))) as checkpoint:
        assert [(item.name, item.reason) for item in checkpoint.listing.left_out] == [
            ("the end of the file", "9 bytes behind the last tensor")
        ]
        assert [tensor.nbytes for tensor in checkpoint.tensors] == [8]


@pytest.mark.parametrize("length", [100_000_001, 2**40, 2**56 - 1])
def test_read_listing_refuses_a_long_header(tmp_path: Path, length: int) -> None:
    """More than the format's 100 MB is refused before anything of that size is reserved."""
    with pytest.raises(DamagedFileError, match="100000000 is the most allowed"):
        open_checkpoint(write_raw(tmp_path / "a", {"a": entry()}, bytes(8), length=length))


def test_read_listing_refuses_a_file_shorter_than_its_header(tmp_path: Path) -> None:
    """A header that would end behind the file is a cut file."""
    with pytest.raises(DamagedFileError, match=r"claims a header of 99999999 bytes .* cut short"):
        open_checkpoint(write_raw(tmp_path / "a", {"a": entry()}, bytes(8), length=99_999_999))


def test_read_listing_refuses_every_cut(tmp_path: Path) -> None:
    """Cut after any number of bytes, from none to all but one, a file is refused and never read as a smaller one."""
    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file({"a.weight": torch.ones(4, 5), "b": torch.ones(3)}, whole, metadata={"format": "pt"})
    raw = whole.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(raw)):
        cut.write_bytes(raw[:length])
        with pytest.raises(CheckpointError):
            open_checkpoint(cut)
    assert len(raw) == len(cut.read_bytes()) + 1


@pytest.mark.parametrize(
    "head", [b"", b"\x08", bytes(8), bytes(7) + b"\x01{", bytes(8) + b"[", b"PK\x03\x04" + bytes(8)]
)
def test_is_recognised_needs_a_length_and_an_object(head: bytes) -> None:
    """A length of 2^56 and more, and what does not go on with a brace, is no safetensors file."""
    assert not is_recognised(Path("model"), head)
    assert is_recognised(Path("model"), b"\x02" + bytes(7) + b"{}")


SIZES = st.one_of(st.integers(-2, 9), st.sampled_from([True, None, 2.0, 2**63, "4"]))
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "U8", "F64", "BOOL", "X", 3]),
        "shape": st.one_of(st.lists(SIZES, max_size=3), SIZES),
        "data_offsets": st.one_of(st.lists(SIZES, min_size=2, max_size=2), SIZES),
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(st.sampled_from(["a", "b", "", "__metadata__"]), ENTRIES), size=st.integers(0, 24))
def test_read_listing_believes_no_header_that_safetensors_refuses(tmp_path: Path, header: object, size: int) -> None:
    """Of random headers of known dtypes none gets through that safetensors' own reader refuses; all lies inside."""
    path = write_raw(tmp_path / "random", header, bytes(size))
    try:
        actual = contents(path)
    except CheckpointError:
        return
    known = {name: tensor for name, tensor in actual.items() if tensor[0] != "X"}
    if len(known) == len(actual):
        used = 8 + len(json.dumps(header)) + sum(len(content) for _, _, content in known.values())
        assert {name for name, _ in safetensors.deserialize(path.read_bytes()[:used])} == set(actual)
    for dtype, shape, content in known.values():
        assert len(content) == math.prod(shape) * ITEM_BYTES[dtype]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 140), value=st.integers(0, 255))
def test_read_listing_survives_a_changed_byte(tmp_path: Path, position: int, value: int) -> None:
    """One changed byte anywhere in the header is refused, or leaves a listing that fits the file."""
    raw = bytearray(safetensors.torch.save({"a.weight": torch.ones(4, 5), "b": torch.ones(3)}, {"format": "pt"}))
    raw[position] = value
    path = tmp_path / "changed"
    path.write_bytes(raw)
    try:
        actual = contents(path)
    except CheckpointError:
        return
    assert sum(len(content) for _, _, content in actual.values()) == 92
