"""Predictions of a dry run beside the run itself: sizes within 1 %, and the memory needed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.compression.memory import BASE_MEMORY_BYTES
from embcompress.exceptions import OutputError, TableError
from tests.command_line import run
from tests.fixtures import SAMPLE_FILES, SAMPLES, draw_falling, save, write_lines

WAYS: Mapping[str, dict[str, Any]] = {
    "bases": {"bases": 4},
    "bases in float16": {"bases": 4, "dtype": "float16"},
    "energy": {"energy": 0.6},
    "plain ratio": {"ratio": 3, "plain": True},
    "plain error": {"max_error": 0.5, "plain": True},
}
CODED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ratio": ("words/model.pt", {"ratio": 8}),
    "error": ("kinships-transe/trained_model.pkl", {"max_error": 0.3}),
}
TOLERANCE = 0.01  # of a size told before the rows are read


def assert_told(nbytes: int, path: str) -> None:
    """Hold the size that was told to that of the file."""
    assert nbytes == pytest.approx(Path(path).stat().st_size, rel=TOLERANCE)


@pytest.mark.parametrize("name", SAMPLE_FILES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_sizes_of_plain_factors_are_told(name: str, way: dict[str, Any], tmp_path: Path) -> None:
    """Artifact and dense file of every sample are as long as the dry runs say."""
    output, dense = tmp_path / "out.safetensors", tmp_path / "dense.safetensors"
    dry_run = embcompress.approximate(SAMPLES / name, output=output, dry_run=True, **way)
    assert not output.exists()
    done = embcompress.approximate(SAMPLES / name, output=output, neighbours=0, **way)
    assert_told(dry_run.output.bytes, done.output.path)
    assert dry_run.totals == done.totals
    assert_told(embcompress.reconstruct(output, output=dense, dry_run=True).output.bytes,
                embcompress.reconstruct(output, output=dense).output.path)  # fmt: skip


@pytest.mark.parametrize(("name", "way"), CODED.values(), ids=CODED)
def test_sizes_of_coded_weights_are_told(name: str, way: dict[str, Any], tmp_path: Path) -> None:
    """Weights in few bits are as long as the dry run says, or within 1 % where an error is the goal."""
    output = tmp_path / "out.safetensors"
    dry_run = embcompress.approximate(SAMPLES / name, output=output, effort="fast", dry_run=True, **way)
    done = embcompress.approximate(SAMPLES / name, output=output, effort="fast", neighbours=0, **way)
    assert_told(dry_run.output.bytes, done.output.path)
    assert dry_run.totals.bytes_after == pytest.approx(done.totals.bytes_after, rel=TOLERANCE)
    ids = tmp_path / "ids"
    rows = done.tables[0].rows
    ids.write_text("\n".join(map(str, range(rows))))
    grown = {
        "table": done.tables[0].name,
        "max_id": rows + 50,
        "base_ids": ids,
        "output": tmp_path / "grown.safetensors",
    }
    assert_told(embcompress.backfill(output, dry_run=True, **grown).output.bytes,
                embcompress.backfill(output, **grown).output.path)  # fmt: skip


@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_sizes_of_backfills_are_told(name: str, tmp_path: Path) -> None:
    """Every sample, dense and compressed, grows to the size that the dry run says."""
    listed = next(table for table in embcompress.inspect(SAMPLES / name).tables if table.chosen)
    ids = tmp_path / "ids"
    ids.write_text("\n".join(map(str, range(listed.rows))))
    compressed = tmp_path / "out.safetensors"
    embcompress.approximate(SAMPLES / name, bases=4, output=compressed, neighbours=0)
    for base in (SAMPLES / name, compressed):
        grown = {"table": listed.name, "max_id": 2 * listed.rows, "base_ids": ids, "force": True,
                 "output": tmp_path / "grown.safetensors"}  # fmt: skip
        dry_run = embcompress.backfill(base, dry_run=True, **grown)
        done = embcompress.backfill(base, **grown)
        assert_told(dry_run.output.bytes, done.output.path)
        assert dry_run.totals == done.totals


def test_memory_is_told_by_dry_runs_alone(tmp_path: Path) -> None:
    """Every command that writes tells it in a dry run: at least torch itself, and more for what has to be held."""
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"entities.weight": torch.randn(3000, 64)}, path)
    for name, rows in (("ids", range(3000)), ("shorter", range(30))):
        (tmp_path / name).write_text("\n".join(map(str, rows)))
    grow = {"max_id": 5000, "base_ids": tmp_path / "ids", "output": tmp_path / "grown.safetensors"}
    compressed = embcompress.approximate(path, bases=8, neighbours=0)
    estimates = {
        "zeros": embcompress.backfill(path, dry_run=True, method="zeros", **grow).memory_bytes,
        "gaussian": embcompress.backfill(path, dry_run=True, **grow).memory_bytes,
        "longer": embcompress.backfill(path, dry_run=True, **{**grow, "max_id": 10**6 + 5000}).memory_bytes,
        "compressed": embcompress.backfill(compressed.output.path, dry_run=True, **grow).memory_bytes,
        "dense": embcompress.reconstruct(compressed.output.path, dry_run=True).memory_bytes,
    }
    assert all(
        memory is not None and BASE_MEMORY_BYTES < memory < 2 * BASE_MEMORY_BYTES for memory in estimates.values()
    )
    # the covariance, its eigenvectors and what computes them: 64 x 64 in float64, six times
    assert (estimates["gaussian"] or 0) - (estimates["zeros"] or 0) == 6 * 64 * 64 * 8
    # three numbers an id, and blocks that are as long as they get
    assert (estimates["longer"] or 0) - (estimates["gaussian"] or 0) >= 10**6 * 24
    assert embcompress.backfill(path, **grow).memory_bytes is None
    assert embcompress.reconstruct(compressed.output.path).memory_bytes is None


def test_memory_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report at a prompt says it, and the JSON of a dry run alone."""
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file({"entities.weight": torch.randn(300, 64)}, "m.safetensors")
    (tmp_path / "ids").write_text("\n".join(map(str, range(300))))
    run("approximate", "m.safetensors", "--bases", 4, "--neighbours", 0)
    for args in (
        ["backfill", "m.safetensors", "--max-id", 400, "--base-ids", "ids"],
        ["reconstruct", "m-4bases.safetensors"],
    ):
        assert "memory needed: about 3" in run(*args, "-n").out
        assert '"memory_bytes": 3' in run(*args, "-n", "--json").out
        assert "memory" not in run(*args, "--json").out


def test_strings_beside_a_seekable_output_need_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that holds an output but not its codes once more is refused; one that holds these too is not."""
    state = {"entity.weight": draw_falling(600, 16), "user.weight": draw_falling(300, 16)}
    path, output = save(tmp_path / "model.safetensors", state), tmp_path / "output.safetensors"
    options: dict[str, Any] = {"ratio": 4, "effort": "fast", "neighbours": 0, "seekable": True}
    base = embcompress.approximate(path, output=tmp_path / "base.safetensors", **options).output.path
    with open_checkpoint(base) as checkpoint:
        # Those of the longer table: tables are written one after the other.
        codes = next(tensor.nbytes for tensor in checkpoint.tensors if tensor.name == "entity.weight.codes")
    grows: dict[str, Any] = {"table": "entity.weight", "max_id": 610, "base_ids": tmp_path / "ids"}
    write_lines(grows["base_ids"], map(str, range(600)))
    for command in (
        partial(embcompress.approximate, path, output=output, dry_run=True, **options),
        partial(embcompress.backfill, base, output=output, dry_run=True, **grows),
    ):
        nbytes = command().output.bytes
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, free=nbytes + 0.9 * codes: SimpleNamespace(free=int(free)))
            with pytest.raises(OutputError, match=r"kB and \S+ kB more while it is written, and its disk has"):
                command()
            patch.setattr(shutil, "disk_usage", lambda _, free=nbytes + 1.1 * codes: SimpleNamespace(free=int(free)))
            command()


def test_an_existing_output_is_refused_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --force would not mend is told first; a dry run says what it would overwrite, and refuses nothing."""
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file({"entities.weight": torch.randn(300, 64)}, "m.safetensors")
    path = Path("m-8bases.safetensors")
    planned = embcompress.approximate("m.safetensors", bases=8, dry_run=True)
    assert (planned.output.path, planned.output.overwrites) == (str(path), False)
    embcompress.approximate("m.safetensors", bases=8, neighbours=0)
    before = path.read_bytes()
    with pytest.raises(TableError, match=r"nothing\* matches none"):
        embcompress.approximate("m.safetensors", bases=8, table="nothing*")
    with pytest.raises(OutputError, match=r"m-8bases\.safetensors exists already\. .*force=True"):
        embcompress.approximate("m.safetensors", bases=8)
    assert embcompress.approximate("m.safetensors", bases=8, dry_run=True).output.overwrites
    assert "would overwrite m-8bases.safetensors" in run("approximate", "m.safetensors", "--bases", 8, "-n").out
    Path("m-8bases-dense.safetensors").write_bytes(b"old")
    assert embcompress.reconstruct(path, dry_run=True).output.overwrites
    with pytest.raises(OutputError, match=r"m-8bases-dense\.safetensors exists already"):
        embcompress.reconstruct(path)
    done = embcompress.approximate("m.safetensors", bases=8, neighbours=0, force=True)
    assert (path.read_bytes(), done.output.overwrites) == (before, False)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ({"ratio": 2.5}, "m-2.5x"),
        ({"max_error": 0.5}, "m-error0.5"),
        ({"energy": 0.25}, "m-energy0.25"),
        ({"max_size": "100 kB"}, "m-100kB"),
        ({"max_size": 100_000}, "m-100kB"),
    ],
)
def test_the_default_name_says_the_size(
    size: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for stands in it, so that two sizes of one checkpoint lie beside each other."""
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file({"entities.weight": torch.randn(400, 128)}, "m.safetensors")
    assert embcompress.approximate("m.safetensors", **size, dry_run=True).output.path == f"{name}.safetensors"
