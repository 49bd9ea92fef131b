"""Tables read from files in any layout: rows, columns, samples and raw bytes, against the same view in memory."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import ITEM_BYTES, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.svd import factorize
from embcompress.tables.rows import StoredRows, TableRows, read_bytes, tensor_bytes
from embcompress.tables.table import BLOCK_BYTES_MAX, RING_BYTES, Table, as_real, block_rows_for

START = 13  # no dtype's items are aligned in the file
FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16")


def write(path: Path, base: Tensor) -> Path:
    """Write a contiguous tensor's bytes between others, beginning at START."""
    path.write_bytes(b"\xff" * START + bytes(tensor_bytes(base)) + b"\xff" * 5)
    return path


def stored_as(view: Tensor) -> StoredTensor:
    """Describe a view of the tensor that was written, as a reader would."""
    dtype = str(view.dtype).removeprefix("torch.")
    start = START + view.storage_offset() * view.element_size()
    return StoredTensor("weight", dtype, tuple(view.shape), tuple(view.stride()), start)


def as_bits(values: Tensor) -> Tensor:
    """View entries as integers, so that NaN equals NaN of the same payload."""
    return values.clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8)


def as_matrix(view: Tensor) -> Tensor:
    """Flatten a view to what linalg sees of it: (rows, dim), complex entries as pairs of reals."""
    real = torch.view_as_real(view) if view.is_complex() else view
    return real.reshape(len(view), -1) if view.dim() > 1 or view.is_complex() else real.reshape(-1, 1)


@contextmanager
def table_rows(path: Path, view: Tensor, **options: object) -> Iterator[TableRows]:
    """Open the rows of a view of the tensor in a file."""
    with open(path, "rb", buffering=0) as file:
        yield TableRows(stored_as(view), files=Files.of(file), **options)  # type: ignore[arg-type]


def assert_read_alike(path: Path, view: Tensor) -> None:
    """Compare blocks, column blocks, a sample and the raw bytes with the view in memory, bit for bit, twice over."""
    expected = as_matrix(view)
    with table_rows(path, view) as rows:
        assert (rows.rows, rows.dim, rows.dtype) == (*expected.shape, expected.dtype)
        for _ in range(2):
            blocks = [block.clone() for block in rows.blocks()]
            assert torch.equal(as_bits(torch.cat(blocks)), as_bits(expected))
            columns = [block.clone() for block in rows.column_blocks()]
            assert torch.equal(as_bits(torch.cat(columns)), as_bits(expected.T))
        assert max(block.nbytes for block in blocks + columns) <= BLOCK_BYTES_MAX
        every = rows.sample(len(expected))
        assert torch.equal(as_bits(every), as_bits(expected[: len(every)]))
    assert_bytes_alike(path, view)


def assert_bytes_alike(path: Path, view: Tensor) -> None:
    """Compare the raw bytes with those of the dense view."""
    with open(path, "rb", buffering=0) as file:
        actual = b"".join(bytes(part) for part in read_bytes(stored_as(view), files=Files.of(file)))
    assert actual == bytes(tensor_bytes(view.contiguous()))


def patterned(shape: tuple[int, ...], dtype: str = "float32") -> Tensor:
    """Fill a tensor with random bits, NaN payloads, infinities and subnormals among them."""
    nbytes = math.prod(shape) * ITEM_BYTES[dtype]
    bits = torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if dtype == "bool":
        bits %= 2
    return bits.view(getattr(torch, dtype)).view(shape)


LAYOUTS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {}  # each makes a contiguous base and a view of it


def layout(make: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    """Add a layout under its name."""
    LAYOUTS[make.__name__] = make
    return make


@layout
def contiguous() -> tuple[Tensor, Tensor]:
    """Several blocks of rows."""
    base = patterned((20_000, 128))
    return base, base


@layout
def transposed() -> tuple[Tensor, Tensor]:
    """Rows are the columns of the file."""
    base = patterned((96, 15_000))
    return base, base.T


@layout
def narrow_column_slice() -> tuple[Tensor, Tensor]:
    """A twentieth of each row, read row by row."""
    base = patterned((9000, 200))
    return base, base[:, 17:27]


@layout
def wide_column_slice() -> tuple[Tensor, Tensor]:
    """Most of each row, read through."""
    base = patterned((9000, 200))
    return base, base[:, 3:150]


@layout
def stepped_columns() -> tuple[Tensor, Tensor]:
    """Every seventh column."""
    base = patterned((9000, 140))
    return base, base[:, 2::7]


@layout
def strided_rows() -> tuple[Tensor, Tensor]:
    """Every third row."""
    base = patterned((30_000, 40))
    return base, base[1::3]


@layout
def sparse_rows() -> tuple[Tensor, Tensor]:
    """Every thirtieth row and every second column."""
    base = patterned((30_000, 40))
    return base, base[5::30, ::2]


@layout
def permuted() -> tuple[Tensor, Tensor]:
    """Three axes whose last two are swapped, so that no two flatten."""
    base = patterned((6000, 12, 20))
    return base, base.permute(0, 2, 1)


@layout
def rotated() -> tuple[Tensor, Tensor]:
    """Three axes with the rows in the middle of the file's order."""
    base = patterned((12, 6000, 20))
    return base, base.permute(1, 2, 0)


@layout
def rows_innermost() -> tuple[Tensor, Tensor]:
    """Three axes with the rows last in the file."""
    base = patterned((12, 20, 5000))
    return base, base.permute(2, 0, 1)


@layout
def expanded_rows() -> tuple[Tensor, Tensor]:
    """One row a hundred thousand times: stride 0."""
    base = patterned((1, 30))
    return base, base.expand(100_000, 30)


@layout
def expanded_columns() -> tuple[Tensor, Tensor]:
    """One column many times, inside a shape of two axes."""
    base = patterned((9000, 3, 1))
    return base, base.expand(9000, 3, 16)


@layout
def expanded_middle() -> tuple[Tensor, Tensor]:
    """A middle axis of stride 0."""
    base = patterned((9000, 1, 5))
    return base, base.expand(9000, 4, 5)


@layout
def one_row() -> tuple[Tensor, Tensor]:
    """A single row."""
    base = patterned((1, 50))
    return base, base


@layout
def one_row_of_many() -> tuple[Tensor, Tensor]:
    """A single row with the strides of a larger table."""
    base = patterned((40, 50))
    return base, base.T[7:8]


@layout
def one_column() -> tuple[Tensor, Tensor]:
    """A single column out of many."""
    base = patterned((9000, 50))
    return base, base[:, 11:12]


@layout
def vector() -> tuple[Tensor, Tensor]:
    """No axis but the rows."""
    base = patterned((9000,))
    return base, base[::2]


@layout
def unit_axes() -> tuple[Tensor, Tensor]:
    """Axes of size one, whose strides mean nothing."""
    base = patterned((700, 6, 5))
    return base, base.as_strided((700, 1, 6, 1, 5), (30, 999, 5, 777, 1))


@layout
def many_columns() -> tuple[Tensor, Tensor]:
    """Several blocks of columns: a wide table, which costs no space in the file."""
    base = patterned((1, 9000))
    return base, base.expand(2100, 9000)


@pytest.mark.parametrize("name", LAYOUTS)
def test_table_rows_reads_every_layout(name: str, tmp_path: Path) -> None:
    """Whatever the strides, rows, columns, sample and bytes are those of the view, bit for bit."""
    base, view = LAYOUTS[name]()
    assert_read_alike(write(tmp_path / "file", base), view)


@pytest.mark.parametrize("dtype", [*FLOAT_DTYPES, "complex64", "complex128"])
def test_table_rows_reads_every_float_dtype(dtype: str, tmp_path: Path) -> None:
    """Every float dtype comes as it is and every complex one as pairs of reals: contiguous, transposed, sliced."""
    base = patterned((400, 30), dtype)
    path = write(tmp_path / "file", base)
    for view in (base, base.T, base[::3], base[:, 4:9], base[:, ::11], base.view(400, 5, 6).permute(0, 2, 1)):
        assert_read_alike(path, view)


@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_read_bytes_copies_every_dtype(dtype: str, tmp_path: Path) -> None:
    """Bytes of any dtype are copied bit for bit, whatever the strides and the number of axes."""
    base = patterned((60, 10), dtype)
    path = write(tmp_path / "file", base)
    views = [
        base,
        base.T,
        base[::7],
        base[:, 3:5],
        base[5, 5],
        base[5],
        base[:, 2],
        base.view(60, 2, 5).permute(1, 2, 0),
    ]
    views += [base[:0], base[:, :0], base[3:4].expand(9, 10)]
    for view in views:
        assert_bytes_alike(path, view)


def test_read_bytes_copies_in_blocks(tmp_path: Path) -> None:
    """A dense tensor of 10 MB comes in parts of 4 MB at most."""
    base = patterned((20_000, 128))
    with open(write(tmp_path / "file", base), "rb", buffering=0) as file:
        sizes = [len(part) for part in read_bytes(stored_as(base), files=Files.of(file))]
    assert sizes == [4 * 2**20, 4 * 2**20, 20_000 * 128 * 4 - 8 * 2**20]


@pytest.mark.parametrize("shape", [(0, 5), (0,), (0, 3, 2)])
def test_table_rows_reads_no_rows_of_an_empty_table(shape: tuple[int, ...], tmp_path: Path) -> None:
    """A table without rows yields no block, and no byte."""
    view = torch.zeros(shape)
    path = write(tmp_path / "file", torch.zeros(1))
    with table_rows(path, view) as rows:
        assert (rows.rows, list(rows.blocks())) == (0, [])
        assert sum(block.numel() for block in rows.column_blocks()) == 0
        assert rows.sample(10).shape == (0, rows.dim)
    assert_bytes_alike(path, view)


@st.composite
def views(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw a contiguous base and a view of it: permuted, sliced with steps, expanded."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    base = patterned(tuple(shape), draw(st.sampled_from(FLOAT_DTYPES)))
    view = base.permute(draw(st.permutations(range(len(shape)))))
    for axis in range(view.dim()):
        first = draw(st.integers(0, view.shape[axis] - 1))
        step = draw(st.integers(1, 4))
        view = view[(slice(None),) * axis + (slice(first, draw(st.integers(first + 1, 9)), step),)]
        if view.shape[axis] == 1 and draw(st.booleans()):
            view = view.expand(*view.shape[:axis], draw(st.integers(1, 6)), *view.shape[axis + 1 :])
    return base, view


@given(both=views())
@settings(max_examples=40, deadline=None)
def test_table_rows_reads_drawn_layouts(both: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Small tables of any shape and non-negative strides are read bit for bit."""
    base, view = both
    assert_read_alike(write(tmp_path_factory.mktemp("views") / "file", base), view)


@given(rows=st.integers(0, 10**9), dim=st.integers(0, 10**8), item_bytes=st.sampled_from([2, 4, 8]))
def test_block_rows_for_bounds_the_bytes_of_a_block(rows: int, dim: int, item_bytes: int) -> None:
    """A block has rows of the table, at least one and 64 MB at most unless one row is larger; and 4 MB or 4096 rows."""
    count = block_rows_for(rows=rows, dim=dim, item_bytes=item_bytes)
    nbytes = count * dim * item_bytes
    assert 1 <= count <= max(rows, 1)
    assert nbytes <= BLOCK_BYTES_MAX or count == 1
    is_all = count == max(rows, 1)
    assert is_all or count >= 4096 or nbytes > BLOCK_BYTES_MAX - dim * item_bytes or nbytes > 3 * 2**20


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("step", [100, 100_000])
def test_table_rows_bounds_its_memory_on_sparse_layouts(step: int, is_wide: bool, tmp_path: Path) -> None:
    """A slice whose elements lie far apart is read through a buffer of 64 MB, however much of the file it spans."""
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(400_000_000)  # a hole: no space on the disk
    shape, strides = ((40, 2_000_000 // step), (2_000_000, step))
    if is_wide:
        shape, strides = shape[::-1], strides[::-1]
    with open(path, "rb", buffering=0) as file:
        rows = TableRows(StoredTensor("weight", "float32", shape, strides, 0), files=Files.of(file))
        tracemalloc.start()
        try:
            seen = sum(len(block) for block in rows.blocks())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == shape[0]
    assert peak <= BLOCK_BYTES_MAX + 2**20


def test_table_rows_bounds_its_memory_on_a_long_table(tmp_path: Path) -> None:
    """A file of 400 MB goes through one ring of 64 MB, whose places are used again."""
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(400_000_000)
    with open(path, "rb", buffering=0) as file:
        rows = TableRows(StoredTensor("weight", "float32", (1_000_000, 100), (100, 1), 0), files=Files.of(file))
        tracemalloc.start()
        try:
            addresses = {block.data_ptr() for block in rows.blocks()}
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(addresses) <= 16  # blocks of 4 MB
    assert peak <= RING_BYTES + 2**20


@pytest.mark.parametrize("name", ["contiguous", "transposed", "permuted", "expanded_columns", "many_columns", "vector"])
def test_table_rows_tells_progress_in_rows(name: str, tmp_path: Path) -> None:
    """The rows told add up to those of the table in each pass, over rows and over columns; a sample tells none."""
    base, view = LAYOUTS[name]()
    counts: list[int] = []
    with table_rows(write(tmp_path / "file", base), view, on_rows=counts.append) as rows:
        for blocks in (rows.blocks, rows.column_blocks):
            counts.clear()
            count = sum(1 for _ in blocks())
            assert (len(counts), sum(counts)) == (count, len(view))
        counts.clear()
        rows.sample(100)
        assert counts == []


@pytest.mark.parametrize("count", [1, 10, 63, 64, 100, 2048, 30_000, 10**6])
@pytest.mark.parametrize("name", ["contiguous", "permuted", "strided_rows", "one_row"])
def test_table_rows_samples_over_the_whole_table(name: str, count: int, tmp_path: Path) -> None:
    """A sample is of rows in order, from start to end, two thirds to twice as many as asked; its ids are told."""
    base, view = LAYOUTS[name]()
    numbered = torch.arange(len(view), dtype=torch.float32)
    base = base.clone()
    view = base.as_strided(view.shape, view.stride(), view.storage_offset())
    view[(slice(None),) + (0,) * (view.dim() - 1)] = numbered
    with table_rows(write(tmp_path / "file", base), view) as rows:
        actual = rows.sample(count)[:, 0]
        assert torch.equal(rows.sample_ids(count).to(torch.float32), actual)
    asked = min(count, len(view))
    assert asked * 2 / 3 <= len(actual) <= 2 * asked
    assert bool((actual.diff() > 0).all())
    gap = len(view) / min(asked, 64)  # a sample is of 64 chunks
    assert float(actual[0]) == 0
    assert float(actual[-1]) >= len(view) - 1 - 2 * gap


def test_table_rows_samples_copies(tmp_path: Path) -> None:
    """A sample stays valid while blocks are read after it."""
    base = torch.randn(20_000, 128, generator=torch.Generator().manual_seed(0))
    with table_rows(write(tmp_path / "file", base), base) as rows:
        actual = rows.sample(2048)
        before = actual.clone()
        for _ in rows.blocks():
            pass
    assert torch.equal(actual, before)


@pytest.mark.parametrize("name", ["contiguous", "transposed", "narrow_column_slice", "permuted"])
def test_table_rows_raises_where_the_file_is_cut_while_read(name: str, tmp_path: Path) -> None:
    """A file cut between two blocks, or two passes, is a damaged file, named, and no crash."""
    base, view = LAYOUTS[name]()
    path = write(tmp_path / "file", base)
    with table_rows(path, view) as rows:
        blocks = rows.blocks()
        next(blocks)
        with open(path, "r+b") as file:
            file.truncate(START + 1001)
        reads: list[Callable[[], object]] = [lambda: list(rows.blocks()), lambda: list(rows.column_blocks())]
        reads.append(lambda: rows.sample(5000))
        if name in ("contiguous", "transposed", "permuted"):  # which are of several blocks
            reads.append(lambda: list(blocks))
        for read in reads:
            with pytest.raises(DamagedFileError, match=r"file ends at byte \d+, .* the file is cut short"):
                read()
    with open(path, "rb", buffering=0) as file, pytest.raises(DamagedFileError):
        list(read_bytes(stored_as(view), files=Files.of(file)))


@pytest.mark.parametrize("solver", ["dense", "gram", "qr", "krylov"])
@pytest.mark.parametrize("name", ["contiguous", "transposed", "permuted"])
def test_table_rows_feeds_the_solvers(name: str, solver: str, tmp_path: Path) -> None:
    """Every solver finds in a file what it finds in memory: the same error, to 1e-3 for the randomized one."""
    generator = torch.Generator().manual_seed(0)
    base, view = LAYOUTS[name]()
    base = torch.randn(base.shape, generator=generator)
    view = base.as_strided(view.shape, view.stride(), view.storage_offset())[:5000]
    flat = as_matrix(view) * 1.0
    with table_rows(write(tmp_path / "file", base), view) as rows:
        actual = factorize(rows, 5, solver=solver)
    expected = factorize(TensorRows(flat), 5, solver=solver)
    assert actual.relative == pytest.approx(expected.relative, rel=1e-3 if solver == "krylov" else 1e-6)
    assert actual.passes == expected.passes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: torch.cuda.is_available() is False")
def test_table_rows_brings_blocks_to_the_gpu(tmp_path: Path) -> None:
    """Blocks, column blocks and samples arrive on the device asked for, bit for bit, while the buffer is used again."""
    base, view = LAYOUTS["contiguous"]()
    with table_rows(write(tmp_path / "file", base), view, device="cuda") as rows:
        blocks, columns, sample = list(rows.blocks()), list(rows.column_blocks()), rows.sample(len(view))
    assert {part.device.type for part in (*blocks, *columns, sample)} == {"cuda"}
    assert torch.equal(as_bits(torch.cat(blocks).cpu()), as_bits(view))
    assert torch.equal(as_bits(torch.cat(columns).cpu()), as_bits(view.T))


@pytest.mark.parametrize(
    ("dtype", "shape", "dim", "nbytes", "real_dtype"),
    [
        ("float32", (7, 3), 3, 84, "float32"),
        ("float16", (7, 2, 3), 6, 84, "float16"),
        ("complex64", (7, 3), 6, 168, "float32"),
        ("complex128", (7,), 2, 112, "float64"),
        ("bfloat16", (7,), 1, 14, "bfloat16"),
    ],
)
def test_table_tells_its_sizes(dtype: str, shape: tuple[int, ...], dim: int, nbytes: int, real_dtype: str) -> None:
    """Rows, shape of a row, real columns and bytes come from the stored tensor; complex entries count twice."""
    stored = StoredTensor("weight", dtype, shape, contiguous_strides(shape), 0)
    table = Table("weight", ("tied",), stored)
    assert (table.rows, table.shape, table.dim, table.nbytes) == (7, shape[1:], dim, nbytes)
    assert (table.dtype, table.real_dtype, table.is_complex) == (dtype, real_dtype, dtype.startswith("complex"))


def test_as_real_appends_an_axis_of_pairs() -> None:
    """A complex tensor's strides double and a last axis of two follows; a real one stays as it is."""
    stored = StoredTensor("weight", "complex64", (5, 3), (1, 5), 40)
    assert as_real(stored) == StoredTensor("weight", "float32", (5, 3, 2), (2, 10, 1), 40)
    real = replace(stored, dtype="float32")
    assert as_real(real) is real


@pytest.mark.parametrize("shape", [(), (0,), (4, 3), (0, 3)])
def test_tensor_bytes_copies_row_major(shape: tuple[int, ...]) -> None:
    """The bytes are those of the dense tensor, whatever its strides, and a copy."""
    values = patterned(shape, "float16")
    view = values.t() if values.dim() == 2 else values
    actual = tensor_bytes(view)
    expected = bytes(view.contiguous().view(-1).view(torch.uint8).tolist()) if view.numel() else b""
    values.fill_(0)
    assert bytes(actual) == expected


def test_table_rows_leaves_the_position_of_the_file(tmp_path: Path) -> None:
    """Reading moves no shared position, so that several readers can take turns on one open file."""
    base = patterned((50, 4))
    with open(write(tmp_path / "file", base), "rb", buffering=0) as file:
        one, other = (_blocks_of(base, file) for _ in range(2))
        assert torch.equal(as_bits(next(one)), as_bits(next(other)))
        assert file.tell() == 0


def _blocks_of(view: Tensor, file: BinaryIO) -> Iterator[Tensor]:
    return TableRows(stored_as(view), files=Files.of(file)).blocks()


def random_bits(shape: tuple[int, ...], dtype: torch.dtype, *, seed: int = 0) -> Tensor:
    """Draw every bit, so that NaN of all payloads, infinities and -0 are among the entries."""
    size = math.prod(shape) * dtype.itemsize
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator).view(dtype).view(shape)


def row_bits(view: Tensor) -> Tensor:
    """View each row as bytes, (rows, row_bytes)."""
    return as_bits(view).view(len(view), -1)


ROW_VIEWS: dict[str, Callable[[torch.dtype], tuple[Tensor, Tensor]]] = {
    "contiguous": lambda dtype: ((base := random_bits((60, 6), dtype)), base),
    "rows of two axes": lambda dtype: ((base := random_bits((60, 2, 3), dtype)), base),
    "rows of one entry": lambda dtype: ((base := random_bits((60,), dtype)), base),
    "behind others": lambda dtype: ((base := random_bits((80, 6), dtype)), base[15:75]),
    "transposed": lambda dtype: ((base := random_bits((6, 60), dtype)), base.T),
    "every second row": lambda dtype: ((base := random_bits((120, 6), dtype)), base[::2]),
    "some columns": lambda dtype: ((base := random_bits((60, 9), dtype)), base[:, 2:8]),
    "permuted": lambda dtype: ((base := random_bits((3, 60, 2), dtype)), base.permute(1, 2, 0)),
    "one row again and again": lambda dtype: ((base := random_bits((1, 6), dtype)), base.expand(60, 6)),
}


@pytest.mark.parametrize("name", ROW_VIEWS)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int8], ids=str
)
def test_stored_rows_gives_any_rows_bit_for_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Random, repeated, consecutive, last and no rows come as their own bytes, whatever the layout in the file."""
    base, view = ROW_VIEWS[name](dtype)
    expected = row_bits(view)
    generator = torch.Generator().manual_seed(1)
    with open(write(tmp_path / "file", base), "rb", buffering=0) as file:
        rows = StoredRows(stored_as(view), files=Files.of(file), folder=tmp_path)
        assert rows.row_bytes == expected.shape[1]
        for asked in (
            torch.randperm(60, generator=generator),
            torch.randint(0, 60, (200,), generator=generator),
            torch.arange(60),
            torch.arange(60).flip(0),
            torch.tensor([59]),
            torch.tensor([7, 8, 9, 9, 10, 3, 4, 59, 0, 1]),
            torch.tensor([], dtype=torch.int64),
        ):
            actual = rows.read(asked)
            assert (actual.shape, actual.dtype) == ((len(asked), rows.row_bytes), torch.uint8)
            assert torch.equal(actual, expected[asked])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_stored_rows_raises_where_the_file_is_cut(tmp_path: Path) -> None:
    """Rows beyond the end of a file that shrank are a damaged file, named, and those before it still come."""
    base = random_bits((60, 6), torch.float32)
    path = write(tmp_path / "file", base)
    with open(path, "r+b", buffering=0) as file:
        rows = StoredRows(stored_as(base), files=Files.of(file), folder=tmp_path)
        file.truncate(START + 40 * 24 + 5)
        assert torch.equal(rows.read(torch.tensor([39, 0])), row_bits(base)[[39, 0]])
        for asked in ([40], [38, 39, 40, 41], [59]):
            with pytest.raises(DamagedFileError, match=r"file ends at byte \d+, .* the file is cut short"):
                rows.read(torch.tensor(asked))


def test_stored_rows_of_no_entries(tmp_path: Path) -> None:
    """Rows without columns, and a table without rows, have no bytes."""
    for shape in ((5, 0), (0, 3)):
        base = torch.empty(shape)
        with open(write(tmp_path / "file", base), "rb", buffering=0) as file:
            rows = StoredRows(stored_as(base), files=Files.of(file), folder=tmp_path)
            assert rows.row_bytes == 0
            assert rows.read(torch.arange(shape[0])).shape == (shape[0], 0)
