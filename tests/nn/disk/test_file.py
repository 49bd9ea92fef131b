"""A file that rows are read from: parts come as they lie, and a file that is no longer what it was is an error."""

from __future__ import annotations

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompress.checkpoints.files import FilePlace, identify
from embcompress.exceptions import ArtifactError
from embcompress.nn.disk.file import PAGE_BYTES, DiskFile, spans_of

FIRST = 11  # position that all others count from


def write(path: Path, content: bytes) -> bytes:
    """Write a file, some bytes of another kind before its content."""
    path.write_bytes(b"\xee" * FIRST + content)
    return content


def open_disk_file(path: Path) -> DiskFile:
    """Open a file behind its first bytes."""
    return DiskFile(FilePlace(path, identify(path.stat()), FIRST))


def read_part(file: DiskFile, start: int, size: int) -> bytes:
    """Read one part."""
    parts = file.read(np.array([start]), np.array([size]))
    return parts.buffer[parts.positions[0] :][:size].tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write 50,000 random bytes."""
    content = np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8)
    write(tmp_path / "rows", content.tobytes())
    return tmp_path / "rows"


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 9000)), min_size=1, max_size=30))
def test_spans_hold_all_parts(parts: list[tuple[int, int]]) -> None:
    """Spans are disjoint, hold the parts that they are said to hold, and join none over more than a page."""
    starts, sizes = np.array(sorted(parts)).T
    spans = spans_of(starts, sizes)
    ends = spans.starts + spans.sizes
    assert (spans.starts[1:] > ends[:-1] + PAGE_BYTES).all()
    assert (spans.starts[spans.of_parts] <= starts).all()
    assert (starts + sizes <= ends[spans.of_parts]).all()
    covered = np.zeros(70_000, bool)
    for start, size in parts:
        covered[start : start + size] = True
    for start, end in zip(spans.starts, ends, strict=True):
        empty = np.flatnonzero(~covered[start:end])
        runs = np.split(empty, np.flatnonzero(np.diff(empty) != 1) + 1)
        assert max(map(len, runs)) <= PAGE_BYTES


def test_parts_come_as_they_lie(path: Path) -> None:
    """Parts that are apart, side by side, one inside another and empty come with their bytes; zeros follow the last."""
    content = path.read_bytes()[FIRST:]
    file = open_disk_file(path)
    starts, sizes = np.array([0, 5, 5, 9, 20_000, 40_000, 49_990]), np.array([5, 100, 4, 0, 3, 9000, 10])
    parts = file.read(starts, sizes)
    for start, size, position in zip(starts, sizes, parts.positions, strict=True):
        assert parts.buffer[position : position + size].tobytes() == content[start : start + size]
    assert parts.buffer[-2:].tolist() == [0, 0]
    assert file.read(starts[:0], sizes[:0]).positions.tolist() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc counts reads")
def test_each_place_is_read_once(path: Path) -> None:
    """A hundred parts in ten places take ten reads."""
    file = open_disk_file(path)
    starts = np.sort(np.concatenate([np.arange(10) * 5000 + 7 * offset for offset in range(10)]))
    sizes = np.full(100, 20)
    file.read(starts, sizes)

    def count() -> int:
        return int(Path("/proc/self/io").read_text().split("syscr: ")[1].split()[0])

    before = count()
    beside = count() - before  # what counting itself reads
    before = count()
    file.read(starts, sizes)
    assert count() - before - beside == 10


@pytest.mark.parametrize("keep", [0, FIRST, 30_000])
def test_a_file_cut_under_it_is_an_error(path: Path, keep: int) -> None:
    """After a file is cut, reading fails by name, of rows that are left, too; no signal comes."""
    file = open_disk_file(path)
    assert len(read_part(file, 40_000, 10)) == 10
    os.truncate(path, keep)
    for start in (0, 40_000):
        with pytest.raises(ArtifactError, match=r"rows was changed or cut while rows are read"):
            read_part(file, start, 10)


def test_a_file_changed_in_place_is_an_error(path: Path) -> None:
    """Bytes that another program writes into the file are not taken for rows."""
    file = open_disk_file(path)
    with path.open("r+b") as other:
        other.write(b"x")
    os.utime(path, ns=(0, 0))  # the clock of the file system may not have moved
    with pytest.raises(ArtifactError, match=r"was changed or cut"):
        read_part(file, 100, 10)


def test_a_replaced_file_is_read_on_and_not_opened_again(path: Path) -> None:
    """What is open stays what it was when another file takes its name; a process that opens it anew is told."""
    file = open_disk_file(path)
    before = read_part(file, 100, 10)
    content = pickle.dumps(file)
    write(path.with_name("other"), b"y" * 50_000)
    os.replace(path.with_name("other"), path)
    assert read_part(file, 100, 10) == before
    with pytest.raises(ArtifactError, match=r"rows is not the file that was loaded"):
        read_part(pickle.loads(content), 100, 10)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"rows cannot be opened: No such file"):
        read_part(pickle.loads(content), 100, 10)


def test_a_pickled_file_opens_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes by its absolute path, with its own descriptor, and outlives the first."""
    monkeypatch.chdir(path.parent)
    file = open_disk_file(Path(path.name))
    monkeypatch.chdir("/")
    other = pickle.loads(pickle.dumps(file))
    assert read_part(other, 5, 90) == read_part(file, 5, 90)
    file.close()
    assert len(read_part(other, 5, 90)) == 90
    with pytest.raises(ArtifactError, match=r"rows was closed"):
        read_part(file, 5, 90)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_reads_the_same(path: Path) -> None:
    """A child of a fork, as a worker of a DataLoader is, reads by the descriptor that it got."""
    file = open_disk_file(path)
    expected = read_part(file, 777, 100)
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.write(send, read_part(file, 777, 100))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receive, 200) == expected
    assert read_part(file, 777, 100) == expected
    os.close(receive)
    os.close(send)


def test_files_close_with_what_holds_them(path: Path) -> None:
    """The descriptor of a file that nothing refers to is closed."""
    file = open_disk_file(path)
    opened = file._descriptor
    assert opened is not None
    descriptor = opened.number
    assert os.fstat(descriptor).st_ino == path.stat().st_ino
    del file, opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what is open")
def test_files_of_one_path_share_a_descriptor(path: Path) -> None:
    """However many read a file, in whatever thread they open it, it is open once; and closed when all are."""

    def count() -> int:
        return [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()].count(str(path))

    files = [open_disk_file(path) for _ in range(3)]
    content = path.read_bytes()[FIRST:]
    files.extend(pickle.loads(pickle.dumps(files[0])) for _ in range(3))
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda file: read_part(file, 20_000, 9), files)) == {content[20_000:20_009]}
    assert count() == 1
    for file in files[:-1]:
        file.close()
    assert read_part(files[-1], 5, 90) == content[5:95]
    files[-1].close()
    assert count() == 0


def test_a_descriptor_that_became_another_is_an_error_until_the_file_is_opened_again(path: Path) -> None:
    """What a program did to all descriptors is told, never taken for rows, and opening the file anew helps."""
    file, content = open_disk_file(path), path.read_bytes()[FIRST:]
    assert file._descriptor is not None
    other = path.with_name("other")
    write(other, b"y" * 50_000)
    with other.open("rb") as opened:
        os.dup2(opened.fileno(), file._descriptor.number)
    with pytest.raises(ArtifactError, match=r"rows was changed or cut"):
        read_part(file, 5, 90)
    assert read_part(open_disk_file(path), 5, 90) == content[5:95]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a file whose bytes cannot be read is in /proc")
def test_bytes_that_cannot_be_read_are_an_error_with_its_reason() -> None:
    """Where the system refuses to read, its reason is told: nothing is mapped at the first bytes of memory."""
    file = open_disk_file(Path("/proc/self/mem"))
    with pytest.raises(ArtifactError, match=r"cannot be read where rows lie in it: Input/output error"):
        read_part(file, 100, 10)
