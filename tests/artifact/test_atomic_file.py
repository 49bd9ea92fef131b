"""Outputs: whole or not at all, in the mode of the umask, through links, and never over the input."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embcompress.artifact.atomic_file import AtomicFile, check_output, discard_pending
from embcompress.exceptions import OutputError


def write_whole(target: Path, content: bytes, *, force: bool = True) -> None:
    """Write a file in one go."""
    with AtomicFile(target, force=force) as file:
        file.write(content)
        file.commit()


@contextmanager
def file_size_limit(nbytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond `nbytes`, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 kB, where that is permitted."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "embcompress-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_opening_leaves_nothing_where_the_first_bytes_fail(tmp_path: Path) -> None:
    """A fault of the file system goes on, without the temporary file; what is written whole stays until `__exit__`."""
    failing, whole = AtomicFile(tmp_path / "failing"), AtomicFile(tmp_path / "whole")
    with file_size_limit(100), pytest.raises(OutputError, match="File too large"), failing.opening():
        failing.write(bytes(101))
    with whole.opening():
        whole.write(b"first")
    assert [path.name for path in tmp_path.iterdir()] == [whole.path.name]
    whole.write(b" and next")
    whole.commit()
    whole.__exit__(None, None, None)
    assert (tmp_path / "whole").read_bytes() == b"first and next"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_atomic_file_has_the_mode_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """The file is readable by whom the umask lets, where tempfile would leave 0600."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "out", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    assert (tmp_path / "out").read_bytes() == b"content"


def test_atomic_file_shows_only_when_committed(tmp_path: Path) -> None:
    """Until the commit the old content is there, and one hidden temporary file beside it; after it only the new."""
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with AtomicFile(target) as file:
        file.write(b"......")
        file.write(b"new", at=0)
        assert (target.read_bytes(), file.read(10, at=1)) == (b"old", b"ew...")
        assert [path.name.startswith(".out.") for path in tmp_path.iterdir() if path != target] == [True]
        file.commit()
        assert target.read_bytes() == b"new..."
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_file_leaves_nothing_without_commit(tmp_path: Path, exception: type[BaseException]) -> None:
    """Whatever ends the writing, the temporary file goes and the old content stays."""
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(exception), AtomicFile(tmp_path / "out") as file:  # noqa: PT012 - the whole block must end
        file.write(b"new")
        raise exception
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out": b"old"}


def test_discard_pending_removes_what_is_being_written(tmp_path: Path) -> None:
    """What a watchdog does before it ends the process: no temporary file is left, and the block can still end."""
    with AtomicFile(tmp_path / "a"), AtomicFile(tmp_path / "b") as second:
        second.write(b"half")
        discard_pending()
        assert list(tmp_path.iterdir()) == []


def test_atomic_file_reports_a_full_disk(tmp_path: Path) -> None:
    """A write beyond what the disk holds is an OutputError that says so; the old content stays and nothing else."""
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with (
        file_size_limit(1000),
        pytest.raises(OutputError, match=r"out cannot be written: File too large\. Free some space"),
        AtomicFile(target) as file,
    ):
        file.write(b"x" * 2000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out": b"old"}


def test_atomic_file_reports_a_full_file_system(small_disk: Path) -> None:
    """The same on a real full disk."""
    with pytest.raises(OutputError, match="No space left on device"), AtomicFile(small_disk / "out") as file:
        file.write(b"x" * 300_000)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127], ids=["ascii", "two bytes each"])
def test_atomic_file_takes_the_longest_names(tmp_path: Path, name: str) -> None:
    """A name of 255 bytes, the most of Linux, can be written: the temporary one is shorter."""
    write_whole(tmp_path / name, b"content")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"content"}


def test_check_output_follows_a_link(tmp_path: Path) -> None:
    """A symlink, dangling or not, stays, and what it points to is written."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "out")
    for content in (b"first", b"second"):
        write_whole(check_output(link, force=True), content)
        assert link.is_symlink()
        assert (tmp_path / "real" / "out").read_bytes() == content


def make_input(folder: Path) -> Path:
    """Write a file that stands for the input of a run."""
    path = folder / "model.pt"
    path.write_bytes(b"input")
    return path


@pytest.mark.parametrize("how", ["itself", "symlink", "hard link", "dotted", "folder link"])
def test_check_output_refuses_the_input(tmp_path: Path, how: str) -> None:
    """The input is refused under whatever name, with force too."""
    source = make_input(tmp_path)
    target = tmp_path / "other"
    if how == "itself":
        target = source
    elif how == "symlink":
        target.symlink_to(source)
    elif how == "hard link":
        target.hardlink_to(source)
    elif how == "dotted":
        (tmp_path / "sub").mkdir()
        target = tmp_path / "sub" / ".." / "model.pt"
    else:
        target.symlink_to(tmp_path, target_is_directory=True)
        target = target / "model.pt"
    with pytest.raises(OutputError, match="is the input itself"):
        check_output(target, force=True, inputs=[source])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/null", "is not a regular file"),
        ("/dev/full", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("folder", "is a folder"),
        ("missing/out", "missing of the output does not exist"),
        ("model.pt/out", "cannot be used: Not a directory"),
        ("loop", "cannot be used: Too many levels of symbolic links"),
        ("n" * 300, "cannot be used: File name too long"),
    ],
)
def test_check_output_refuses_what_is_no_file(tmp_path: Path, name: str, message: str) -> None:
    """Devices, pipes, folders, missing folders, loops of links and endless names are refused before any work."""
    make_input(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "loop", "model.pt"]


def test_check_output_refuses_to_overwrite(tmp_path: Path) -> None:
    """An existing file is refused without force and allowed with it."""
    path = make_input(tmp_path)
    with pytest.raises(OutputError, match=r"exists already\. Overwrite it with --force"):
        check_output(path, force=False)
    assert check_output(path, force=True) == path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
def test_check_output_refuses_a_read_only_folder(tmp_path: Path) -> None:
    """A folder without permission to write is refused."""
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(OutputError, match="cannot be written by this user"):
        check_output(tmp_path / "locked" / "out", force=False)


def test_atomic_file_keeps_what_appeared_meanwhile(tmp_path: Path) -> None:
    """Without force, a file that something else made during the work stays; with force it is replaced."""
    target = tmp_path / "out"
    with pytest.raises(OutputError, match="in the meantime"), AtomicFile(target, force=False) as file:  # noqa: PT012
        file.write(b"mine")
        target.write_bytes(b"theirs")
        file.commit()
    assert target.read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    write_whole(target, b"mine")
    assert target.read_bytes() == b"mine"
    target.unlink()
    write_whole(target, b"first", force=False)
    assert target.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
