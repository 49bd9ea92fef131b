"""Parquet and Arrow files against pyarrow, the layouts of pandas, Spark and datasets, and files that lie."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError
from tests.checkpoints.contents import are_same_bits, expected_factors, factors_of, labels_of, large_table, tensors_of
from tests.command_line import run

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'embcompress[arrow]'")
parquet: Any = pytest.importorskip("pyarrow.parquet")
ipc: Any = pytest.importorskip("pyarrow.ipc")

ARROW_TYPES = {"f2": pa.float16(), "f4": pa.float32(), "f8": pa.float64()}


def save_parquet(table: Any, path: Path, **options: Any) -> Path:
    """Write a Parquet file."""
    parquet.write_table(table, path, **options)
    return path


def save_file(table: Any, path: Path, *, rows: int | None = None, compression: str | None = None) -> Path:
    """Write an Arrow file, as Feather is one, in batches of so many rows."""
    options = ipc.IpcWriteOptions(compression=compression)
    with ipc.new_file(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def save_stream(table: Any, path: Path, *, rows: int | None = None) -> Path:
    """Write an Arrow stream, as datasets does, in batches of so many rows."""
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


SAVERS: dict[str, Callable[..., Path]] = {"parquet": save_parquet, "file": save_file, "stream": save_stream}
each_saver = pytest.mark.parametrize("save", SAVERS.values(), ids=SAVERS)


def lists(values: Any, *, size: int = -1, is_large: bool = False) -> Any:
    """Make a column of lists of the rows of a matrix, of fixed size or of any."""
    kind = pa.from_numpy_dtype(values.dtype)
    flat = pa.array(values.reshape(-1), kind)
    if size >= 0:
        return pa.FixedSizeListArray.from_arrays(flat, size)
    offsets = np.arange(0, values.size + 1, values.shape[1])
    return (
        pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)
        if is_large
        else pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
    )


def random_matrix(generator: np.random.Generator) -> Any:
    """Make a matrix of random bits."""
    dtype = np.dtype(tuple(ARROW_TYPES)[generator.integers(3)])
    shape = tuple(generator.integers(1, 30, 2))
    return generator.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8).view(dtype).reshape(shape)


@each_saver
def test_read_listing_reads_lists(tmp_path: Path, save: Callable[..., Path]) -> None:
    """Random columns of fixed and of free lists have the bits that pyarrow wrote, and their labels, in order."""
    generator = np.random.default_rng(5)
    for number in range(24):
        values = random_matrix(generator)
        column = lists(values, size=values.shape[1] if number % 2 else -1, is_large=number % 4 == 0)
        names = [f"é {generator.integers(99)}" for _ in values]
        table = pa.table({"name": names, "embedding": column, "n": list(range(len(values)))})
        options = {"row_group_size": 7} if save is save_parquet else {"rows": 7}
        path = save(table, tmp_path / f"{number}", **options)
        assert are_same_bits(tensors_of(path)["embedding"], torch.from_numpy(values.copy()))
        assert labels_of(path) == {"embedding": names}
        with open_checkpoint(path) as checkpoint:
            assert [left.name for left in checkpoint.listing.left_out] == ["name", "n"]


@each_saver
def test_read_listing_reads_a_wide_frame(tmp_path: Path, save: Callable[..., Path]) -> None:
    """Numbered columns of floats are one table in the order of their numbers, whatever their order in the file."""
    values = np.random.default_rng(6).standard_normal((50, 12)).astype("f4")
    columns = {f"embedding_{index}": values[:, index] for index in (3, 1, *range(4, 12), 0, 2)}
    path = save(pa.table({"id": [f"Q{row}" for row in range(50)], **columns}), tmp_path / "wide")
    actual = tensors_of(path)
    assert list(actual) == ["embedding"]
    assert are_same_bits(actual["embedding"], torch.from_numpy(values))
    assert labels_of(path) == {"embedding": [f"Q{row}" for row in range(50)]}


def test_numbered_and_other_columns_are_told_apart(tmp_path: Path) -> None:
    """Two groups are two tables, columns of floats beside them are none; without numbers all floats are one."""
    ones = np.ones(5, "f4")
    table = pa.table({"user_0": ones, "user_1": ones, "item.1": ones, "item.2": ones, "score": ones, "id": [1] * 5})
    with open_checkpoint(save_parquet(table, tmp_path / "groups")) as checkpoint:
        assert {tensor.name: tensor.shape for tensor in checkpoint.tensors} == {"user": (5, 2), "item": (5, 2)}
        assert [left.name for left in checkpoint.listing.left_out] == ["score", "id"]
    path = save_parquet(pa.table({"0": ones, "1": ones, "2": ones}), tmp_path / "numbers")
    assert {name: tuple(value.shape) for name, value in tensors_of(path).items()} == {"embedding": (5, 3)}
    path = save_parquet(pa.table({"dim_x": ones, "dim_y": 2 * ones}), tmp_path / "letters")
    assert tensors_of(path)["dim"].tolist() == [[1, 2]] * 5
    path = save_parquet(pa.table({"dim_0": ones, "dim_1": ones.astype("f8")}), tmp_path / "mixed")
    with open_checkpoint(path) as checkpoint:
        assert {left.name: left.reason for left in checkpoint.listing.left_out} == dict.fromkeys(
            ("dim_0", "dim_1"), "one of several columns of different dtypes"
        )


def test_wide_frame_of_pandas_is_read(tmp_path: Path) -> None:
    """A frame as pandas saves it has its index as labels."""
    pandas = pytest.importorskip("pandas")
    values = np.random.default_rng(8).standard_normal((30, 4)).astype("f4")
    frame = pandas.DataFrame(values, index=[f"w{row}" for row in range(30)]).rename(columns=str)
    frame.to_parquet(tmp_path / "frame.parquet")
    assert are_same_bits(tensors_of(tmp_path / "frame.parquet")["embedding"], torch.from_numpy(values))
    assert labels_of(tmp_path / "frame.parquet")["embedding"] == list(frame.index)


def test_labels_are_found_by_name_or_as_the_only_texts(tmp_path: Path) -> None:
    """A label column comes before ids, in the order of the rows; a single column of texts has any name."""
    vectors = lists(np.ones((3, 2), "f4"), size=2)
    for columns, expected in (
        ({"id": [2, 0, 1], "word": ["b", None, "a"], "note": ["x", "y", "z"]}, ["b", "", "a"]),
        ({"id": [2, 0, 1], "n": [1, 1, 1], "m": [1, 1, 1]}, ["2", "0", "1"]),
        ({"text": ["b", "c", "a"], "n": [1, 2, 3]}, ["b", "c", "a"]),
        ({"token": pa.array([b"\xff", b"b", b"c"])}, ["\\xff", "b", "c"]),
    ):
        path = save_parquet(pa.table({"vector": vectors, **columns}), tmp_path / "x.parquet")
        assert labels_of(path) == {"vector": expected}
    path = save_parquet(pa.table({"vector": vectors, "a": ["x"] * 3, "b": ["y"] * 3}), tmp_path / "x.parquet")
    assert labels_of(path) == {}


def test_columns_keep_their_names(tmp_path: Path) -> None:
    """Dots in names, records and maps beside the lists, and tensors of a fixed shape, lead to no other column."""
    values = np.arange(12, dtype="f4").reshape(3, 4)
    shaped = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (4,)), lists(values + 50, size=4))
    table = pa.table(
        {
            "record": [{"list": 1.0, "element": [2.0]}] * 3,
            "map": pa.array([[("a", 1.0), ("b", 2.0)]] * 3, pa.map_(pa.string(), pa.float32())),
            "a": lists(values, size=4),
            "a.b": lists(values[:, :3] + 100),
            "shaped": shaped,
            "nested": [[[1.0, 2.0]], [[3.0]], []],
        }
    )
    actual = tensors_of(save_parquet(table, tmp_path / "x"))
    assert {name: value.tolist() for name, value in actual.items()} == {
        "a": values.tolist(),
        "a.b": (values[:, :3] + 100).tolist(),
        "shaped": (values + 50).tolist(),
    }


def test_ragged_lists_are_refused_by_row(tmp_path: Path) -> None:
    """A list that is missing, or of another length, is named with its row; so is one that the metadata do not show."""
    rows = [[1.0, 2.0]] * 100
    for number, (row, value, words) in enumerate(
        (
            (77, [1.0], "row 77 of 0 has 1, the first 2"),
            (78, None, "row 78 of 1 has none, the first 2"),
            (79, [], "row 79 of 2 has 0, the first 2"),
        )
    ):
        ragged = [*rows[:row], value, *rows[row + 1 :]]
        table = pa.table({"embedding": pa.array(ragged, pa.list_(pa.float32()))})
        with open_checkpoint(save_parquet(table, tmp_path / f"{number}", row_group_size=50)) as checkpoint:
            (left,) = checkpoint.listing.left_out
        assert words in left.reason
        done = run("approximate", tmp_path / f"{number}", "--bases", "1", "--table", "embedding")
        assert (done.code, words in done.err, "hint" in done.err) == (1, True, True)
    even = pa.table({"embedding": pa.array([*rows[:50], [1.0], [1.0] * 3, *rows[52:]], pa.list_(pa.float32()))})
    for save in (save_parquet, save_file, save_stream):
        with pytest.raises(CheckpointError, match=r"a list of 1 numbers, where 2 were expected in column .*, row 50"):
            tensors_of(save(even, tmp_path / "even"))


@each_saver
def test_nulls_are_refused_by_row(tmp_path: Path, save: Callable[..., Path]) -> None:
    """A number that is missing, in a list or in a column, is named with its row."""
    inside = pa.table({"embedding": pa.array([[1.0, 2.0]] * 9 + [[3.0, None]], pa.list_(pa.float32(), 2))})
    with pytest.raises(CheckpointError, match="no number in column 'embedding', row 9"):
        tensors_of(save(inside, tmp_path / "inside"))
    wide = pa.table({"e0": pa.array([1.0] * 10), "e1": pa.array([1.0] * 7 + [None] * 3)})
    with pytest.raises(CheckpointError, match="no number in column 'e1', row 7"):
        tensors_of(save(wide, tmp_path / "wide"))


@each_saver
def test_missing_fixed_list_is_refused(tmp_path: Path, save: Callable[..., Path]) -> None:
    """A row without a list, in a column of fixed ones, is refused, and by its row where pyarrow reads it."""
    table = pa.table({"embedding": pa.array([[1.0, 2.0]] * 9 + [None], pa.list_(pa.float32(), 2))})
    with pytest.raises(CheckpointError, match=r"row 9|index 9|cannot be read"):
        tensors_of(save(table, tmp_path / "x"))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_feather_is_read(tmp_path: Path, compression: str) -> None:
    """A Feather file whose buffers are compressed has the values that were saved."""
    values = np.random.default_rng(9).standard_normal((500, 16)).astype("f4")
    table = pa.table({"embedding": lists(values, size=16)})
    path = save_file(table, tmp_path / "x.feather", rows=60, compression=compression)
    assert are_same_bits(tensors_of(path)["embedding"], torch.from_numpy(values))


def test_inspect_reads_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To list a file takes a small part of it: the values of 4 MB are not read."""
    values = np.random.default_rng(1).standard_normal((20000, 50)).astype("f4")
    table = pa.table({"id": list(range(20000)), "embedding": lists(values, size=50)})
    paths = [save_parquet(table, tmp_path / "p"), save_file(table, tmp_path / "f"), save_stream(table, tmp_path / "s")]
    preadv = os.preadv
    read = 0

    def count(descriptor: int, buffers: Any, position: int) -> int:
        nonlocal read
        done = preadv(descriptor, buffers, position)
        read += done
        return done

    monkeypatch.setattr(os, "preadv", count)
    for path in paths:
        read = 0
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.tensors[0].shape == (20000, 50)
        assert 0 < read < 200_000, path


def write_parts(folder: Path, tables: list[Any], name: str) -> Path:
    """Write the parts of a table as Spark does, with the files that it puts beside them."""
    folder.mkdir()
    for number, table in enumerate(tables):
        save_parquet(table, folder / name.format(number, len(tables)))
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").write_bytes(b"crc")
    return folder


@pytest.mark.parametrize("name", ["part-{:05}-c000.snappy.parquet", "part.{}.parquet", "train-{:05}-of-{:05}.parquet"])
def test_folder_of_parts_is_one_table(tmp_path: Path, name: str) -> None:
    """The parts that Spark, Dask and datasets write are one table in the order of their numbers, empty ones too."""
    values = np.random.default_rng(2).standard_normal((111, 6)).astype("f4")
    bounds = [0, *range(10, 101, 10), 100, 111]
    tables = [
        pa.table({"id": pa.array(range(begin, end), pa.int64()), "features": lists(values[begin:end])})
        for begin, end in pairwise(bounds)
    ]
    folder = write_parts(tmp_path / "parts", tables, name)
    assert are_same_bits(tensors_of(folder)["features"], torch.from_numpy(values))
    assert labels_of(folder)["features"] == [str(row) for row in range(111)]


def test_folder_of_arrow_streams_is_one_table(tmp_path: Path) -> None:
    """The streams that datasets saves are one table; without one of them the folder is refused."""
    values = np.random.default_rng(2).standard_normal((90, 6)).astype("f4")
    for number in range(3):
        part = pa.table({"embeddings": lists(values[30 * number : 30 * number + 30])})
        save_stream(part, tmp_path / f"data-0000{number}-of-00003.arrow", rows=11)
    (tmp_path / "state.json").write_text("{}")
    assert are_same_bits(tensors_of(tmp_path)["embeddings"], torch.from_numpy(values))
    (tmp_path / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(CheckpointError, match="holds 2 of 3 parts; the part 1 is missing"):
        open_checkpoint(tmp_path)


def test_folder_refuses_parts_that_do_not_fit(tmp_path: Path) -> None:
    """A part of other columns, of other widths, of no such format or outside of the folder is named."""
    two, three = (pa.table({"features": lists(np.ones((4, width), "f4"))}) for width in (2, 3))
    folder = write_parts(tmp_path / "parts", [two, three], "part-{:05}.parquet")
    with open_checkpoint(folder) as checkpoint:
        assert "row 0 of part-00001.parquet has 3, the first 2" in checkpoint.listing.left_out[0].reason
    second = folder / "part-00001.parquet"
    save_parquet(pa.table({"other": lists(np.ones((4, 2), "f4"))}), second)
    with pytest.raises(DamagedFileError, match=r"part-00001\.parquet has other columns than"):
        open_checkpoint(folder)
    second.write_bytes(b"no parquet")
    with pytest.raises(DamagedFileError, match=r"part-00001\.parquet is neither"):
        open_checkpoint(folder)
    second.unlink()
    second.symlink_to(save_parquet(two, tmp_path / "away.parquet"))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(folder)


def test_links_of_a_cache_are_followed(tmp_path: Path) -> None:
    """In the cache of Hugging Face the parts are links into the folder of blobs."""
    table = pa.table({"embedding": lists(np.ones((4, 2), "f4"))})
    repository = tmp_path / "hub" / "datasets--org--name"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (snapshot / "part-0.parquet").symlink_to(save_parquet(table, blobs / "0123"))
    assert tuple(tensors_of(snapshot)["embedding"].shape) == (4, 2)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two columns of one name would be two tables of one name."""
    table = pa.table([lists(np.ones((4, 2), "f4")), lists(np.ones((4, 2), "f4"))], names=["x", "x"])
    with pytest.raises(DamagedFileError, match="several columns of one name: 'x'"):
        open_checkpoint(save_file(table, tmp_path / "x"))


def test_more_rows_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    """A record batch that claims a billion rows is refused before memory is taken for them."""
    table = pa.table({"embedding": lists(np.ones((77, 2), "f4"), size=2)})
    raw = save_stream(table, tmp_path / "x").read_bytes()
    index = raw.rindex(struct.pack("<q", 77), 0, raw.rindex(struct.pack("<f", 1.0)))
    actual = 0
    while index > 0:
        (tmp_path / "y").write_bytes(raw[:index] + struct.pack("<q", 10**9) + raw[index + 8 :])
        with pytest.raises(CheckpointError) as caught:
            tensors_of(tmp_path / "y")
        actual += "promises 8000000000 bytes" in caught.value.message
        index = raw.rfind(struct.pack("<q", 77), 0, index)
    assert actual == 1


@each_saver
def test_read_listing_survives_any_damage(tmp_path: Path, save: Callable[..., Path]) -> None:
    """With up to eight bytes changed, a file is read or refused; nothing else is raised."""
    table = pa.table({"name": ["a", "b", "c"] * 5, "embedding": lists(np.ones((15, 2), "f4"))})
    raw = save(table, tmp_path / "x").read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(raw)
        for index in generator.integers(8, len(raw), generator.integers(1, 9)):
            damaged[index] = generator.integers(256)
        (tmp_path / "d").write_bytes(damaged)
        try:
            tensors_of(tmp_path / "d")
        except CheckpointError:
            refused += 1
    assert refused > 100


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the message says what to install."""
    path = save_parquet(pa.table({"embedding": lists(np.ones((4, 2), "f4"))}), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = run("inspect", path)
    assert done.code == 1
    assert "pip install 'embcompress[arrow]'" in done.err


def test_bases_are_those_of_a_safetensors_file(tmp_path: Path) -> None:
    """20,000 x 64 numbers have the same weights and bases, to the bit, however the file holds them."""
    table = large_table()
    values = table.numpy()
    expected = expected_factors(table, tmp_path)
    column = pa.table({"embedding": lists(values)})
    save_parquet(column, tmp_path / "lists.parquet", row_group_size=3001)
    save_parquet(pa.table({f"embedding_{index}": values[:, index] for index in range(64)}), tmp_path / "wide.parquet")
    save_file(column, tmp_path / "lists.arrow", rows=3001)
    write_parts(
        tmp_path / "parts",
        [pa.table({"embedding": lists(part.numpy())}) for part in table.split(3001)],
        "part-{}.parquet",
    )
    for name in ("lists.parquet", "wide.parquet", "lists.arrow", "parts"):
        actual = factors_of(tmp_path / name, tmp_path)
        assert all(are_same_bits(one, other) for one, other in zip(actual, expected, strict=True)), name
