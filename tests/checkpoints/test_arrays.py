"""NumPy arrays in files of torch.save: the same values as torch.load gives, and nothing runs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import TableRows, read_bytes

Array = numpy.ndarray[Any, Any]


def draw(*shape: int, seed: int = 0) -> Array:
    """Draw float64 values, of which every byte takes every value."""
    return numpy.random.default_rng(seed).standard_normal(shape)


def read_back(path: Path) -> dict[str, Array]:
    """Read every array that is listed, as NumPy sees its bits."""
    arrays = {}
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.listing.left_out == ()
        for stored in checkpoint.tensors:
            content = b"".join(map(bytes, read_bytes(stored, files=checkpoint.files)))
            arrays[stored.name] = numpy.frombuffer(content, stored.dtype).reshape(stored.shape)
    return arrays


def assert_same(path: Path, expected: dict[str, Array]) -> None:
    """Compare names, dtypes, shapes and bits; bytes are in the order of this machine."""
    actual = read_back(path)
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype.newbyteorder("="))
        assert actual[name].tobytes() == array.astype(actual[name].dtype, "C").tobytes()


FORMS: dict[str, Callable[[Array], Array]] = {
    "C": numpy.ascontiguousarray,
    "Fortran": numpy.asfortranarray,
    "transposed": lambda array: numpy.ascontiguousarray(array.T).T,
    "rows apart": lambda array: numpy.repeat(array, 2, 0)[::2],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
}
DTYPES = ("f2", "f4", "f8", "c8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "b1")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", FORMS)
def test_arrays_are_read_bit_for_bit(tmp_path: Path, protocol: int, form: str) -> None:
    """Every dtype in every order of bytes and axes, short and longer than a key, and of no, one and three axes."""
    path = tmp_path / "model.pt"
    arrays = {
        f"{dtype}.{rows}": FORMS[form]((draw(rows, 7) * 90).astype(dtype)) for dtype in DTYPES for rows in (3, 1500)
    }
    arrays |= {"one": draw(5), "cube": draw(2, 3, 4).transpose(1, 0, 2), "empty": draw(0, 4), "number": draw()}
    torch.save({"model": arrays}, path, pickle_protocol=protocol)
    assert_same(path, arrays)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_are_read_in_blocks(tmp_path: Path, protocol: int) -> None:
    """Rows, columns and single rows of a table are those of the array, column by column and big-endian too."""
    table = draw(3000, 24).astype(">f4", order="F")
    torch.save({"emb": table, "tensor": torch.ones(2, 2)}, tmp_path / "model.pt", pickle_protocol=protocol)
    expected = torch.from_numpy(table.astype("<f4", order="C"))
    ids = torch.tensor([2999, 0, 17])
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        rows = TableRows(checkpoint.tensors[0], files=checkpoint.files)
        assert torch.cat([block.clone() for block in rows.blocks()]).equal(expected)
        assert torch.cat([block.clone() for block in rows.column_blocks()]).equal(expected.T)
        assert rows.read(ids).equal(expected[ids])


def test_an_array_under_two_names_is_one(tmp_path: Path) -> None:
    """Equal objects have one place, whether their bytes are read as they are or decoded."""
    for protocol in (2, 4):
        array = draw(4, 5)
        torch.save({"a": array, "b": array}, tmp_path / "model.pt", pickle_protocol=protocol)
        with open_checkpoint(tmp_path / "model.pt") as checkpoint:
            first, second = checkpoint.tensors
            assert first.memory_key == second.memory_key


def test_bare_arrays_and_lists_are_named_like_tensors(tmp_path: Path) -> None:
    """A matrix alone is "tensor", the items of a list go by their index."""
    torch.save(draw(3, 4), tmp_path / "a.pt")
    torch.save([draw(3, 4), draw(2, 2)], tmp_path / "b.pt")
    assert_same(tmp_path / "a.pt", {"tensor": draw(3, 4)})
    assert_same(tmp_path / "b.pt", {"0": draw(3, 4), "1": draw(2, 2)})


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (numpy.array([1, "a", None], dtype=object), "an array of Python objects, which only running"),
        (numpy.array(["a", "bc"]), "an array of texts"),
        (numpy.array([b"a", b"bc"]), "an array of texts"),
        (numpy.zeros(3, dtype=[("a", "f4"), ("b", "i4")]), "an array of records"),
        (numpy.zeros(3, dtype="c16"), "an array of dtype c16, which no tensor has"),
        (numpy.zeros(3, dtype="M8[s]"), "an array of dtype M8, which no tensor has"),
        (numpy.zeros(3, dtype=numpy.longdouble), "an array of dtype f16, which no tensor has"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_other_arrays_are_left_out_by_their_dtype(tmp_path: Path, array: Array, reason: str, protocol: int) -> None:
    """Arrays of what no tensor can hold are named beside the others."""
    torch.save({"a": array, "b": draw(2, 2)}, tmp_path / "model.pt", pickle_protocol=protocol)
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert [tensor.name for tensor in checkpoint.tensors] == ["b"]
        (left,) = checkpoint.listing.left_out
        assert left.name == "a"
        assert left.reason.startswith(reason)


def write(path: Path, pickled: bytes) -> Path:
    """Write a file of torch.save with a pickle by hand, a dict of one entry 'a'."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}X\x01\0\0\0a" + pickled + b"s.")
    return path


DTYPE = b"cnumpy\ndtype\nX\x02\0\0\0f4\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
MAKE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\0tb", "without a shape"),
        (b"(K\x01N" + DTYPE + b"\x89C\0tb", "without a shape"),
        (b"(K\x01K\0\x85N\x89C\0tb", "without a dtype"),
        (b"(K\x01K\x03\x85" + DTYPE + b"\x89Ntb", "whose bytes are elsewhere"),
        (b"(K\x01K\x03\x85" + DTYPE + b"\x89cposix\nsystem\nX\x01\0\0\0x\x85Rtb", "whose bytes are elsewhere"),
        (b"(K\x01tb", "does not say how it is made"),
        (b"", "does not say how it is made"),
    ],
)
def test_arrays_that_cannot_be_are_left_out(tmp_path: Path, state: bytes, reason: str) -> None:
    """An array that does not say what it is made of is named."""
    with open_checkpoint(write(tmp_path / "model.pt", MAKE + state)) as checkpoint:
        assert checkpoint.tensors == ()
        assert reason in checkpoint.listing.left_out[0].reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b"(K\x01K\x03\x85" + DTYPE + b"\x89C\x0b" + bytes(11) + b"tb", "with 11 bytes instead of 12"),
        (b"(K\x01K\x03\x85" + DTYPE + b"\x89C\x0d" + bytes(13) + b"tb", "with 13 bytes instead of 12"),
        (
            b"(K\x01\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85" + DTYPE + b"\x89C\x04" + bytes(4) + b"tb",
            "with 4 bytes instead of 4398046511104",
        ),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path: Path, state: bytes, reason: str) -> None:
    """An array has as many bytes as its shape says, or the file is damaged; nothing is allocated for what it claims."""
    with pytest.raises(DamagedFileError, match=reason) as caught:
        open_checkpoint(write(tmp_path / "model.pt", MAKE + state))
    assert "'a'" in caught.value.message


@pytest.mark.parametrize(("text", "message"), [("a" * 9 + "€", "other text"), ("é" * 7, "instead of 12000")])
def test_text_that_is_no_bytes_is_refused_when_it_is_read(tmp_path: Path, text: str, message: str) -> None:
    """What protocol 2 writes of bytes is one character below 256 for each; another is damage, found on reading."""
    content = (text * 1000).encode()
    encoded = b"c_codecs\nencode\nX" + len(content).to_bytes(4, "little") + content + b"X\x06\0\0\0latin1\x86R"
    state = b"(K\x01M" + (3000).to_bytes(2, "little") + b"\x85" + DTYPE + b"\x89" + encoded + b"tb"
    path = write(tmp_path / "model.pt", MAKE + state)
    with open_checkpoint(path) as checkpoint, pytest.raises(DamagedFileError, match=message):
        list(read_bytes(checkpoint.tensors[0], files=checkpoint.files))


def test_an_array_of_many_names_is_decoded_once(tmp_path: Path) -> None:
    """Ten thousand names of one array of 3 kB take one place of the file that is made."""
    array = draw(400)
    torch.save([array] * 10_000, tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert len({stored.start for stored in checkpoint.tensors}) == 1


def test_a_file_without_numbers_is_refused(tmp_path: Path) -> None:
    """Scalars of NumPy are no tensors."""
    torch.save({"a": numpy.float64(3)}, tmp_path / "model.pt")
    with pytest.raises(UnknownFormatError, match="no tensor was found"):
        open_checkpoint(tmp_path / "model.pt")


def test_arrays_run_nothing(tmp_path: Path) -> None:
    """A call where the bytes, the dtype or the shape of an array belong is inert."""
    marker = tmp_path / "marker"
    shell = f"touch {marker}".encode()
    call = b"cposix\nsystem\nX" + len(shell).to_bytes(4, "little") + shell + b"\x85R"
    for state in (
        b"(K\x01" + call + DTYPE + b"\x89C\0tb",
        b"(K\x01K\0\x85" + call + b"\x89C\0tb",
        b"(K\x01K\0\x85" + DTYPE + call + b"C\0tb",
        b"(K\x01K\0\x85" + DTYPE + b"\x89" + call + b"tb",
        call + b"b",
    ):
        try:
            open_checkpoint(write(tmp_path / "model.pt", MAKE + state)).files.close()
        except CheckpointError:
            continue
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_table_gives_the_same_bases_as_from_safetensors(tmp_path: Path, protocol: int) -> None:
    """Bases and weights of a 20,000 x 64 table are equal to the bit."""
    table = draw(20_000, 64).astype("f4")
    safetensors.torch.save_file({"embedding.weight": torch.from_numpy(table)}, tmp_path / "a.safetensors")
    torch.save({"embedding.weight": table}, tmp_path / "b.pt", pickle_protocol=protocol)
    factors = []
    for name in ("a.safetensors", "b.pt"):
        approximate(
            tmp_path / name, bases=4, neighbours=0, output=tmp_path / f"{name}.out", report=[tmp_path / f"{name}.json"]
        )
        factors.append(safetensors.torch.load_file(tmp_path / f"{name}.out"))
    assert all(factors[0][name].equal(factors[1][name]) for name in factors[0] | factors[1])
