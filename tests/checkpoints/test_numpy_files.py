"""Arrays of NumPy, alone and in archives, against what NumPy itself reads of them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import read_bytes

DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "b1")
FLOATS = np.arange(12, dtype=np.float32).reshape(4, 3)


def contents_of(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Read dtype, shape and bytes of every tensor."""
    return {
        tensor.name: (tensor.dtype, tensor.shape, b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files))))
        for tensor in checkpoint.tensors
    }


def as_content(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """Give dtype, shape and little-endian row-major bytes of an array."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return str(little.dtype), array.shape, little.tobytes(order="C")


def random_array(rng: np.random.Generator) -> np.ndarray:
    """Draw an array of any dtype that is read, byte order, memory order and number of axes; its bits are random."""
    shape = tuple(rng.integers(0, 6, size=rng.integers(0, 5)).tolist())
    code = str(rng.choice(DTYPES))
    dtype = np.dtype(f"{'<' if code.endswith('1') else rng.choice(['<', '>'])}{code}")
    count = int(np.prod(shape, dtype=int))
    raw = rng.integers(0, 2, count, dtype=np.uint8) if code == "b1" else rng.bytes(count * dtype.itemsize)
    array = np.frombuffer(bytes(raw), dtype=dtype).reshape(shape)
    return np.asfortranarray(array) if rng.integers(2) else array


def test_npy_equals_what_numpy_reads(tmp_path: Path) -> None:
    """A hundred arrays of random bits, each dtype, order of bytes, order of axes and version, come back bit for bit."""
    rng = np.random.default_rng(0)
    for number in range(100):
        array = random_array(rng)
        path = tmp_path / f"{number}.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, array, version=((1, 0), (2, 0), (3, 0))[number % 3])
        with open_checkpoint(path) as checkpoint:
            assert contents_of(checkpoint) == {"embedding.weight": as_content(np.load(path))}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_npz_equals_what_numpy_reads(tmp_path: Path, save: type(np.savez)) -> None:
    """Archives of five random arrays each come back by name and bit for bit."""
    rng = np.random.default_rng(1)
    for number in range(20):
        path = tmp_path / f"{number}.npz"
        save(path, **{name: random_array(rng) for name in ("entity", "b", "wörter", "a.weight", "x/y")})
        with open_checkpoint(path) as checkpoint, np.load(path) as arrays:
            assert contents_of(checkpoint) == {name: as_content(arrays[name]) for name in arrays.files}


def test_npz_reads_a_deflated_table_longer_than_its_parts(tmp_path: Path) -> None:
    """Three megabytes of compressible rows are unpacked over several parts to the same bytes."""
    table = np.repeat(np.arange(3000, dtype=np.float32), 256).reshape(3000, 256)
    np.savez_compressed(tmp_path / "a.npz", entity=table)
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert contents_of(checkpoint) == {"entity": as_content(table)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
@pytest.mark.parametrize("dtype", [">U9", "<U9", "S9"])
def test_npz_labels_rows_by_texts(tmp_path: Path, save: type(np.savez), dtype: str) -> None:
    """An array of as many texts as a table has rows labels them; one of another length labels nothing."""
    words = [f"word {number}" for number in range(5000)]
    save(
        tmp_path / "a.npz",
        vectors=np.zeros((5000, 2), np.float32),
        words=np.array(words, dtype=dtype),
        others=np.array(["x", "y"]),
    )
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert list(checkpoint.listing.labels) == ["vectors"]
        assert checkpoint.listing.labels["vectors"]() == words
        assert {one.name: one.reason for one in checkpoint.listing.left_out} == {
            "words": "the labels of the rows of 'vectors'",
            "others": "texts, which are not carried along",
        }


def test_npz_labels_no_rows_where_several_arrays_may(tmp_path: Path) -> None:
    """Of two arrays of texts of one length the one named `words` holds the labels; of unknown names none."""
    texts = {"left": np.array(["a", "b"]), "right": np.array(["c", "d"])}
    np.savez(tmp_path / "a.npz", vectors=np.ones((2, 2)), **texts)
    np.savez(tmp_path / "b.npz", vectors=np.ones((2, 2)), words=np.array(["é", "\N{GRINNING FACE}"]), **texts)
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert checkpoint.listing.labels == {}
    with open_checkpoint(tmp_path / "b.npz") as checkpoint:
        assert checkpoint.listing.labels["vectors"]() == ["é", "\N{GRINNING FACE}"]


def test_npy_reads_the_fields_of_a_structured_array(tmp_path: Path) -> None:
    """Fields of floats become tensors that are read in place, and a field of texts labels their rows."""
    array = np.zeros(3, dtype=[("word", "<U4"), ("vec", ">f4", (5,)), ("count", "<f8")])
    array["word"], array["vec"], array["count"] = ["a", "bb", "ccc"], np.arange(15).reshape(3, 5), [1, 2, 3]
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, array[["word", "vec"]].astype([("word", "<U4"), ("vec", ">f4", (5,))]))
    with open_checkpoint(tmp_path / "a.npy") as checkpoint:
        assert contents_of(checkpoint) == {"vec": as_content(array["vec"])}
        assert checkpoint.listing.labels["vec"]() == ["a", "bb", "ccc"]
    np.save(tmp_path / "b.npy", array)  # 44 bytes a row, of which the field of 8 is no whole part
    with open_checkpoint(tmp_path / "b.npy") as checkpoint:
        assert set(contents_of(checkpoint)) == {"vec"}
        assert [one.name for one in checkpoint.listing.left_out] == ["count", "word"]
        assert "Save its fields apart" in checkpoint.listing.left_out[0].hint


def test_npy_notes_bytes_behind_the_array(tmp_path: Path) -> None:
    """Of two arrays saved one behind the other the first is read, and the other is told of."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, FLOATS)
        np.save(file, FLOATS)
    with open_checkpoint(tmp_path / "a.npy") as checkpoint:
        assert contents_of(checkpoint) == {"embedding.weight": as_content(FLOATS)}
        assert checkpoint.listing.left_out[0].reason == "176 bytes behind the array"


def npy(descr: str, shape: str, content: bytes = b"", *, version: int = 1) -> bytes:
    """Write an array by hand: the header may say anything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + content
    )


BAD_ARRAYS: dict[str, tuple[bytes, type[CheckpointError], str, str]] = {
    "objects": (
        npy("'|O'", "(2,)", b"\x80\x04N."),
        UnknownFormatError,
        "objects of Python, which are pickled",
        "stack",
    ),
    "bfloat16": (npy("'<V2'", "(2,)", bytes(4)), UnknownFormatError, "bfloat16 of ml_dtypes", "astype('float32')"),
    "FP8": (npy("'<V1'", "(2,)", bytes(2)), UnknownFormatError, "FP8 of ml_dtypes", "astype('float32')"),
    "complex128": (npy("'<c16'", "(1,)", bytes(16)), UnknownFormatError, "complex numbers", "astype('complex64')"),
    "longdouble": (npy("'<f16'", "(1,)", bytes(16)), UnknownFormatError, "more than 8 bytes", "astype('float64')"),
    "texts": (npy("'<U2'", "(1,)", bytes(8)), UnknownFormatError, "holds texts", "Name the file"),
    "dates": (npy("'<M8[ns]'", "(1,)", bytes(8)), UnknownFormatError, "dates or times", "Name the file"),
    "nested fields": (npy("[('a', [('b', '<f4')])]", "(1,)", bytes(4)), UnknownFormatError, "no field", "apart"),
    "field of no form": (npy("[('a', 'b', 'c', 'd')]", "(1,)", bytes(4)), DamagedFileError, "a field", "again"),
    "equal fields": (npy("[('a', '<f4'), ('a', '<f4')]", "(1,)", bytes(8)), DamagedFileError, "two arrays", "anew"),
    "a shape to compute": (npy("'<f4'", "(10**9, 300)"), DamagedFileError, "header cannot be read", "again"),
    "10^18 rows": (npy("'<f4'", "(1000000000000000000, 3)", bytes(9)), DamagedFileError, "it is cut short", "again"),
    "negative": (npy("'<f4'", "(-1, 3)"), DamagedFileError, "header cannot be read", "again"),
    "truth values": (npy("'<f4'", "(True, 3)"), DamagedFileError, "header cannot be read", "again"),
    "65 axes": (npy("'<f4'", str((1,) * 65), bytes(4)), DamagedFileError, "header cannot be read", "again"),
    "a call": (npy("__import__('os').system('touch planted')", "(2,)"), DamagedFileError, "cannot be read", "again"),
    "long header": (npy("'<f4'", "(1,)" + " " * 20_000, version=2), DamagedFileError, "cannot be read", "again"),
    "deep header": (npy("(" * 4000 + ")" * 4000, "(1,)"), DamagedFileError, "cannot be read", "again"),
    "version 9": (npy("'<f4'", "(1,)", version=9), UnknownFormatError, "version 9", "numpy.load"),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_npy_refuses_what_it_cannot_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no array of numbers is named, with what to do; nothing in a header is run."""
    content, error, message, hint = BAD_ARRAYS[kind]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert list(tmp_path.iterdir()) == [path]


def test_npy_reads_the_long_integers_of_python_2(tmp_path: Path) -> None:
    """A shape written as (2L, 3L) is read."""
    (tmp_path / "a.npy").write_bytes(npy("'<f4'", "(2L, 3L)", FLOATS[:2].tobytes()))
    with open_checkpoint(tmp_path / "a.npy") as checkpoint:
        assert contents_of(checkpoint) == {"embedding.weight": as_content(FLOATS[:2])}


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Write an archive of members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def patched(content: bytes, *, field: int, value: bytes) -> bytes:
    """Replace bytes of the directory's first entry."""
    entry = content.index(b"PK\x01\x02") + field
    return content[:entry] + value + content[entry + len(value) :]


GOOD = npy("'<f4'", "(4, 3)", FLOATS.tobytes())
DEFLATED = zipped(("a.npy", GOOD), method=zipfile.ZIP_DEFLATED)
BAD_ARCHIVES: dict[str, tuple[bytes, type[CheckpointError], str]] = {
    "values missing": (zipped(("a.npy", GOOD[:-4])), DamagedFileError, "should be"),
    "values behind": (zipped(("a.npy", GOOD + b"1234")), DamagedFileError, "should be"),
    "bomb": (patched(DEFLATED, field=24, value=struct.pack("<I", 2**31)), DamagedFileError, "declares 2147483648"),
    "encrypted": (patched(zipped(("a.npy", GOOD)), field=8, value=b"\x01"), DamagedFileError, "encrypted"),
    "bzip2": (zipped(("a.npy", GOOD), method=zipfile.ZIP_BZIP2), UnknownFormatError, "packed by method 12"),
    "no number": (zipped(("a.npy", npy("'|O'", "(1,)", b"N."))), UnknownFormatError, "holds no array of numbers"),
    "two of a name": (
        zipped(("a.npy", npy("[('b', '<f4')]", "(1,)", bytes(4))), ("a.b.npy", GOOD)),
        DamagedFileError,
        "two arrays named 'a.b'",
    ),
    "overlap": (
        patched(zipped(("a.npy", GOOD), ("b.npy", GOOD)), field=20, value=struct.pack("<II", 300, 300)),
        DamagedFileError,
        "overlap",
    ),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_npz_refuses_what_cannot_be_true(tmp_path: Path, kind: str) -> None:
    """An archive whose directory and headers contradict each other is refused before anything is made of it."""
    content, error, message = BAD_ARCHIVES[kind]
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("position", [60, 120, 170])
def test_npz_sees_damage_in_deflated_values(tmp_path: Path, position: int) -> None:
    """A changed byte in deflated values is an error when they are opened or read, never other values."""
    noise = np.random.default_rng(2).standard_normal((40, 30)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", entity=noise)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[-position - 400] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DamagedFileError), open_checkpoint(tmp_path / "a.npz") as checkpoint:
        contents_of(checkpoint)


def test_npz_leaves_out_objects_and_other_members(tmp_path: Path) -> None:
    """Beside arrays of numbers, pickled ones and other files are named and not read."""
    objects = io.BytesIO()
    np.save(objects, np.array(["a", None], dtype=object), allow_pickle=True)
    members = (
        ("entity.npy", GOOD),
        ("words.npy", objects.getvalue()),
        ("README", b"hello"),
        ("__metadata__.npy", GOOD),
    )
    (tmp_path / "a.npz").write_bytes(zipped(*members))
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert list(contents_of(checkpoint)) == ["entity"]
        assert [one.name for one in checkpoint.listing.left_out] == ["words", "README", "__metadata__"]
        assert "no pickle is read" in checkpoint.listing.left_out[0].reason
