"""The command line: exit codes, one JSON document, errors with hints, and nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import resource
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import embcompress
from embcompress.checkpoints import open_checkpoint
from tests.command_line import Outcome, run, run_at_terminal, snapshot
from tests.fixtures import SAMPLE_FILES, SAMPLES, draw, save

TOOL = [sys.executable, "-m", "embcompress"]
REPORT_KEYS = [
    "schema_version", "command", "ok", "input", "output", "tables", "skipped", "totals", "gates", "warnings",
    "notes",
    "thresholds",
]  # fmt: skip
INSPECT_KEYS = ["schema_version", "command", "ok", "input", "tables", "others"]
FAILURE_KEYS = ["schema_version", "ok", "error"]


MODEL: Mapping[str, Tensor] = {
    "entities.weight": draw(60, 12),
    "fc.weight": draw(12, 12),
    "fc.bias": torch.ones(12),
    "steps": torch.arange(20).view(4, 5),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a small model and an old output."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model.safetensors", MODEL)
    (tmp_path / "old.safetensors").write_bytes(b"old")
    return tmp_path


def assert_refused(args: list[str], *, code: int, message: str, folder: Path, hint: str = "") -> None:
    """Check a refusal in both forms: words on stderr, one JSON document on stdout; the folder is as it was."""
    before = snapshot(folder)
    plain = run(*args)
    assert (plain.code, plain.out) == (code, "")
    assert plain.err.startswith("error: ")
    assert message in plain.err
    assert "Traceback" not in plain.err
    if hint:
        assert "\nhint: " in plain.err
        assert hint in plain.err.partition("\nhint: ")[2]
    quiet = run(*args, "--quiet")
    assert quiet == plain
    json_outcome = run(*args, "--json")
    assert (json_outcome.code, json_outcome.err) == (code, "")
    document = json.loads(json_outcome.out)
    assert list(document) == FAILURE_KEYS
    assert (document["schema_version"], document["ok"]) == (2, False)
    assert list(document["error"]) == ["id", "message", "hint"]
    assert document["error"]["id"]
    assert message in document["error"]["message"]
    assert snapshot(folder) == before


def test_approximate_prints_one_json_document(folder: Path) -> None:
    """--json prints the report and nothing else, the same that the file beside the output holds."""
    outcome = run("approximate", "model.safetensors", "--bases", 3, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == REPORT_KEYS
    assert (document["schema_version"], document["command"], document["ok"]) == (2, "approximate", True)
    assert document["input"] == {"path": "model.safetensors", "bytes": (folder / "model.safetensors").stat().st_size}
    assert document["output"]["path"] == "model-3bases.safetensors"
    assert [(table["name"], table["rank"], table["bytes_after"]) for table in document["tables"]] == [
        ("entities.weight", 3, 3 * 72 * 4)
    ]
    assert outcome.out == (folder / "model-3bases.report.json").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "model-3bases.report.json",
        "model-3bases.safetensors",
        "model.safetensors",
        "old.safetensors",
    ]


def test_inspect_prints_one_json_document(folder: Path) -> None:
    """--json lists matrices and other tensors with the keys of the schema, and writes nothing."""
    before = snapshot(folder)
    outcome = run("inspect", "model.safetensors", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == INSPECT_KEYS
    assert [list(entry) for entry in document["tables"]] == [
        ["name", "tied_names", "rows", "shape", "dtype", "stored_as", "bytes", "chosen", "reason"]
    ] * 2
    assert [list(entry) for entry in document["others"]] == [["name", "shape", "dtype", "bytes"]] * 2
    assert [(entry["name"], entry["chosen"]) for entry in document["tables"]] == [
        ("entities.weight", True),
        ("fc.weight", False),
    ]
    assert snapshot(folder) == before


def test_reconstruct_prints_one_json_document(folder: Path) -> None:
    """--json prints the report of the dense file."""
    run("approximate", "model.safetensors", "--bases", 3)
    outcome = run("reconstruct", "model-3bases.safetensors", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == [
        "schema_version",
        "command",
        "ok",
        "input",
        "output",
        "tables",
        "tensors",
        "skipped",
        "warnings",
    ]
    assert (document["tables"], document["tensors"]) == (["entities.weight"], 4)
    assert outcome.out == (folder / "model-3bases-dense.report.json").read_text()


def test_a_dry_run_prints_what_would_be(folder: Path) -> None:
    """-n writes nothing, and its document says that it is a dry run and what memory is needed."""
    before = snapshot(folder)
    document = json.loads(run("approximate", "model.safetensors", "--bases", 3, "-n", "--json").out)
    assert (document["dry_run"], document["output"]["sha256"]) == (True, None)
    assert 10**8 < document["memory_bytes"] < 10**9
    assert document["tables"][0]["error"] is None
    shown = run("approximate", "model.safetensors", "--bases", 3, "-n")
    assert shown.code == 0
    assert "would write model-3bases.safetensors" in shown.out
    assert snapshot(folder) == before


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_prints_nothing(folder: Path, quiet: str) -> None:
    """-q leaves both streams empty when all goes well, and still writes."""
    assert run("inspect", "model.safetensors", quiet) == Outcome(0, "", "")
    assert run("approximate", "model.safetensors", "--bases", 3, quiet) == Outcome(0, "", "")
    assert run("reconstruct", "model-3bases.safetensors", quiet) == Outcome(0, "", "")
    assert (folder / "model-3bases-dense.safetensors").stat().st_size > 60 * 12 * 4


def test_reports_go_where_they_are_asked(folder: Path) -> None:
    """Each --report is written whole and alike, in place of the one beside the output."""
    outcome = run(
        "approximate", "model.safetensors", "--bases", 3, "--report", "a.json", "--report", "b.JSON", "--json"
    )
    assert outcome.code == 0
    assert (folder / "a.json").read_text() == (folder / "b.JSON").read_text() == outcome.out
    assert not (folder / "model-3bases.report.json").exists()
    outcome = run("inspect", "model.safetensors", "--report", "i.json", "--json")
    assert (folder / "i.json").read_text() == outcome.out


def test_outputs_that_exist_are_refused_without_force(folder: Path) -> None:
    """Neither the artifact nor a report is overwritten without --force, and both are with it."""
    args = ["approximate", "model.safetensors", "--bases", "3"]
    assert_refused(
        [*args, "-o", "old.safetensors"], code=1, message="old.safetensors exists", hint="--force", folder=folder
    )
    (folder / "old.report.json").write_text("old")
    assert_refused([*args, "-o", "old2.safetensors", "--report", "old.report.json"], code=1,
                   message="old.report.json exists already", hint="--force", folder=folder)  # fmt: skip
    assert run(*args, "-o", "old.safetensors", "-f").code == 0
    assert (folder / "old.safetensors").read_bytes() != b"old"
    assert json.loads((folder / "old.report.json").read_text())["ok"] is True


Maker = Callable[[Path], object]
PICKLED = pickle.dumps({"entities.weight": [1.0]}, protocol=2)
BAD_FILES: dict[str, tuple[Maker, str, str]] = {
    "missing": (lambda _: None, "does not exist", "Check the path."),
    "empty": (lambda path: path.write_bytes(b""), "is empty", "download it again"),
    "HTML": (lambda path: path.write_bytes(b"\n<!doctype HTML><p>404"), "is an HTML page", "Download the file again"),
    "XML": (
        lambda path: path.write_bytes(b"<?xml version='1.0'?><Error>"),
        "is an XML page",
        "Download the file again",
    ),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 99)), "is compressed with gzip", "Unpack it first"),
    "text": (lambda path: path.write_bytes(b"the quick brown fox\n" * 9), "no format recognised the content", "Save"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "cannot be read as HDF5", "Copy or"),
    "NumPy": (lambda path: path.write_bytes(b"\x93NUMPY\1\0" + bytes(99)), "is a damaged file of NumPy", "download"),
    "JSON": (lambda path: path.write_bytes(b'{"hidden_size": 4}'), "is JSON, not tensors", "Name the file"),
    "empty index": (lambda path: path.write_bytes(b'{"weight_map": {}}'), "has no 'weight_map'", "download all files"),
    "pickle": (lambda path: path.write_bytes(PICKLED), "no tensor was found", "Name the file"),
    "git-lfs": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        "is a git-lfs pointer",
        "git lfs pull",
    ),
    "zeros": (lambda path: path.write_bytes(bytes(100)), "no format recognised the content", "Save"),
    "folder": (lambda path: path.mkdir(), "is a folder", "Name a checkpoint file"),
    "FIFO": (os.mkfifo, "is not a regular file", "Copy its content"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file", "Copy its content"),
    "loop of links": (lambda path: path.symlink_to(path), "cannot be opened", ""),
    "no tensors": (lambda path: save(path.with_suffix(".pt"), {}).rename(path), "no tensor was found", ""),
    "integers only": (
        lambda path: save(path, {"entities.weight": torch.ones(9, 9).long()}),
        "no matrix of floats",
        "lists",
    ),
    "1-D only": (lambda path: save(path, {"entities.weight": torch.ones(99)}), "no matrix of floats", "lists"),
    "NaN": (
        lambda path: save(path, {"entities.weight": torch.ones(60, 12).index_fill_(0, torch.tensor(41), float("nan"))}),
        "table 'entities.weight' holds NaN in row 41",
        "--exclude",
    ),
    "infinity": (
        lambda path: save(path, {"entities.weight": torch.ones(60, 12).index_fill_(0, torch.tensor(7), -float("inf"))}),
        "table 'entities.weight' holds infinity in row 7",
        "--exclude",
    ),
}


@pytest.mark.parametrize(("make", "message", "hint"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_input_is_refused(folder: Path, make: Maker, message: str, hint: str) -> None:
    """Whatever the input is, the run ends with what is wrong and what to do, and the old output stays to the byte."""
    path = folder / "bad.safetensors"
    make(path)
    args = ["approximate", str(path), "--bases", "2", "-o", "old.safetensors", "--force"]
    assert_refused(args, code=1, message=message, hint=hint, folder=folder)
    if message not in {"no matrix of floats"} and "holds" not in message:
        assert_refused(["inspect", str(path)], code=1, message=message, hint=hint, folder=folder)
        assert_refused(
            ["reconstruct", str(path), "-o", "old.safetensors", "-f"], code=1, message=message, folder=folder
        )


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_cut_input_is_refused(folder: Path, name: str) -> None:
    """A checkpoint cut at any of 12 places is refused by every command, and the old output stays."""
    raw = save(folder / name, MODEL).read_bytes()
    cut = folder / f"cut-{name}"
    for step in range(12):
        cut.write_bytes(raw[: len(raw) * step // 12])
        before = snapshot(folder)
        for args in (["inspect"], ["approximate", "--bases", 2, "-o", "old.safetensors", "-f"]):
            outcome = run(*args, cut)
            assert (outcome.code, outcome.out) == (1, "")
            assert outcome.err.startswith(f"error: {cut}") or f"content of {cut}" in outcome.err
            assert "\nhint: " in outcome.err
        assert snapshot(folder) == before


def test_missing_input_suggests_a_file(folder: Path) -> None:
    """A misspelt file, or one of another ending, is met with the name of the one that is there."""
    assert_refused(["inspect", "modle.safetensors"], code=1, message="modle.safetensors does not exist",
                   hint="Did you mean model.safetensors?", folder=folder)  # fmt: skip
    assert_refused(["inspect", "model.pt"], code=1, message="model.pt does not exist",
                   hint="Did you mean model.safetensors?", folder=folder)  # fmt: skip
    assert_refused(
        ["inspect", "nowhere/model.pt"], code=1, message="does not exist", hint="The folder nowhere", folder=folder
    )


BAD_TABLES: dict[str, tuple[list[str], str, str]] = {
    "misspelt": (
        ["--table", "entites.weight"],
        "--table entites.weight matches none of the 4",
        "--table entities.weight",
    ),
    "nothing like it": (
        ["--table", "xyz"],
        "--table xyz matches none of the 4",
        "embcompress inspect model.safetensors",
    ),
    "1-D": (["--table", "fc.bias"], "'fc.bias' in model.safetensors is float32 of shape (12,)", "lists the tables"),
    "integers": (["--table", "steps"], "'steps' in model.safetensors is int64 of shape (4, 5)", "lists the tables"),
    "all excluded": (["--exclude", "*"], "--exclude leaves no matrix", "Exclude fewer."),
    "excluded misspelt": (["--exclude", "entity"], "--exclude entity matches none", ""),
}


@pytest.mark.parametrize(("options", "message", "hint"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_table_is_refused(folder: Path, options: list[str], message: str, hint: str) -> None:
    """A pattern that gives no table is refused with what was meant, in a dry run too."""
    args = ["approximate", "model.safetensors", "--bases", "2", *options]
    assert_refused(args, code=1, message=message, hint=hint, folder=folder)
    assert_refused([*args, "-n"], code=1, message=message, hint=hint, folder=folder)


def test_candidates_can_be_pasted(folder: Path) -> None:
    """Where no table is recognised, each command of the hint works as it is printed, whatever the names."""
    names = ["fc1.weight", "it's a matrix", "[x]", "-y", "$HOME"]
    path = save(folder / "my model.pt", {name: draw(80 + 20 * i, 16) for i, name in enumerate(names)})
    assert_refused(["approximate", str(path), "--bases", "2"], code=1, folder=folder,
                   message="no tensor is named like an embedding table", hint="The largest candidates:")  # fmt: skip
    lines = run("approximate", path, "--bases", 2).err.partition("candidates:\n")[2].splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    assert sorted(line[-1] for line in words) == sorted(names)
    for line in words:
        assert line[:2] == ["embcompress", "approximate"]
        outcome = run(*line[1:], "--force", "--json")
        assert [listed_table["name"] for listed_table in json.loads(outcome.out)["tables"]] == [line[-1]]


def test_too_many_bases_are_refused_with_the_number_that_pays(folder: Path) -> None:
    """The error names the largest K that pays; that K works and makes the table smaller, and one more does not."""
    args = ["approximate", "model.safetensors", "--force", "--bases"]
    for bases in ("13", "11"):
        assert_refused([*args, bases], code=1, message="nothing in model.safetensors gets smaller",
                       hint="Up to 9 bases make it smaller:", folder=folder)  # fmt: skip
    done = json.loads(run(*args, "9", "--json").out)
    totals = done["totals"]
    needed = 9 * 72 * 4 + totals["header_bytes"]
    assert totals == {
        "bytes_before": 2880,
        "bytes_after": needed,
        "ratio": 2880 / needed,
        "file_ratio": done["input"]["bytes"] / done["output"]["bytes"],
        "header_bytes": totals["header_bytes"],
    }
    assert 0 < totals["header_bytes"] < 1000
    assert run(*args, "10").code == 1


@pytest.mark.parametrize("size", [["--bases", 4], ["--ratio", 3]])
def test_totals_are_the_whole_file_where_it_holds_tables_alone(folder: Path, size: list[object]) -> None:
    """Tensors and the header that they need are all bytes of an artifact of one table, which has nothing else."""
    path = save(folder / "alone.safetensors", {"entities.weight": draw(300, 16)})
    report = json.loads(run("approximate", path, *size, "--neighbours", 0, "-o", "small.safetensors", "--json").out)
    nbytes = (folder / "small.safetensors").stat().st_size
    assert report["totals"]["bytes_after"] == report["output"]["bytes"] == nbytes
    assert report["totals"]["bytes_after"] - report["totals"]["header_bytes"] == report["tables"][0]["bytes_after"]


WRONG_USAGE: dict[str, tuple[list[str], str]] = {
    "no bases": (
        ["approximate", "model.safetensors"],
        "exactly one of --bases, --energy, --max-error, --ratio, --max-size",
    ),
    "bases 0": (["approximate", "model.safetensors", "--bases", "0"], "--bases"),
    "bases negative": (["approximate", "model.safetensors", "--bases", "-3"], "--bases"),
    "bases text": (["approximate", "model.safetensors", "--bases", "many"], "--bases"),
    "bases float": (["approximate", "model.safetensors", "--bases", "2.5"], "--bases"),
    "no checkpoint": (["approximate", "--bases", "2"], "CKPT"),
    "two checkpoints": (["inspect", "model.safetensors", "other"], "other"),
    "dtype": (["approximate", "model.safetensors", "--bases", "2", "--dtype", "int8"], "--dtype must be one of same"),
    "solver": (
        ["approximate", "model.safetensors", "--bases", "2", "--solver", "x"],
        "--solver must be auto or one of",
    ),
    "device": (["approximate", "model.safetensors", "--bases", "2", "--device", "tpu"], "--device must be auto, cpu"),
    "seed": (["approximate", "model.safetensors", "--bases", "2", "--seed", "-1"], "--seed must be 0.."),
    "ending": (["approximate", "model.safetensors", "--bases", "2", "--report", "r.yaml"], "no report ends in '.yaml'"),
    "no ending": (["inspect", "model.safetensors", "--report", "report"], "no report ends in 'nothing'"),
    "report is the output": (
        ["approximate", "model.safetensors", "--bases", "2", "-o", "a.json", "--report", "./a.json"],
        "another output of this run",
    ),
    "option": (["inspect", "model.safetensors", "--frob"], "--frob"),
    "command": (["frobnicate"], "frobnicate"),
}


@pytest.mark.parametrize(("args", "message"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_ends_with_2(folder: Path, args: list[str], message: str) -> None:
    """Arguments that cannot be are refused with exit code 2 in both forms, and nothing is written."""
    assert_refused(args, code=2, message=message, folder=folder)


@pytest.mark.usefixtures("folder")
def test_hostile_option_is_harmless() -> None:
    """What was typed is shown as text in the message that refuses it."""
    outcome = run("inspect", "model.safetensors", "--\x1b[2J[red]")
    assert (outcome.code, outcome.out) == (2, "")
    assert r"--\x1b[2J[red]" in outcome.err
    assert "\x1b" not in outcome.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_gpu_is_refused(folder: Path) -> None:
    """A GPU asked for where there is none ends with 1 and the advice to take the CPU."""
    args = ["approximate", "model.safetensors", "--bases", "2", "--device", "cuda"]
    assert_refused(args, code=1, message="torch sees 0 GPUs here", hint="--device auto or cpu", folder=folder)


def bad_outputs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield outputs that must not be written, and what the message says; makes what they need."""
    source = folder / "model.safetensors"
    (folder / "symlink").symlink_to(source)
    (folder / "hardlink").hardlink_to(source)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    yield from (
        ("model.safetensors", "is the input itself"),
        ("folder/../model.safetensors", "is the input itself"),
        ("symlink", "is the input itself"),
        ("hardlink", "is the input itself"),
        ("/dev/null", "is not a regular file"),
        ("/dev/full", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("folder", "is a folder"),
        ("missing/out.safetensors", "missing of the output does not exist"),
    )


def test_bad_output_is_refused(folder: Path) -> None:
    """An output that is the input, a device, a pipe, a folder or nowhere is refused, with --force and in a dry run."""
    for output, message in bad_outputs(folder):
        args = ["approximate", "model.safetensors", "--bases", "2", "--force", "-o", output]
        before = snapshot(folder)
        for extra in ([], ["-n"]):
            outcome = run(*args, *extra)
            assert (outcome.code, outcome.out) == (1, ""), output
            assert outcome.err.startswith("error: ")
            assert message in outcome.err
        assert snapshot(folder) == before
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
def test_read_only_folder_is_refused(folder: Path) -> None:
    """A folder without permission to write is refused."""
    (folder / "locked").mkdir(mode=0o555)
    args = ["approximate", "model.safetensors", "--bases", "2", "-o", "locked/out.safetensors"]
    assert_refused(args, code=1, message="cannot be written by this user", folder=folder)


@pytest.mark.parametrize("limit", [100, 2000, 20_000])
def test_full_disk_leaves_nothing(folder: Path, limit: int) -> None:
    """A disk that fills while the artifact or its report is being written ends in words, and the old output stays."""
    (folder / "old.report.json").write_bytes(b"old report")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = snapshot(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        outcome = run(
            "approximate", "model.safetensors", "--bases", 5, "--table", "*.weight", "-o", "old.safetensors", "-f"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if limit == 20_000:  # enough for this artifact and its report
        assert (outcome.code, (folder / "old.safetensors").stat().st_size < limit) == (0, True)
        return
    assert (outcome.code, outcome.out) == (1, "")
    assert "old.safetensors cannot be written: File too large" in outcome.err
    assert "hint: Free some space" in outcome.err
    assert snapshot(folder) == before


def test_full_disk_of_the_report_leaves_nothing(folder: Path) -> None:
    """A report that the disk cannot hold keeps the artifact from its place too."""
    state = {f"{name}.weight": draw(4, 3) for name in ("entity", "relation", "user", "item", "token", "word")}
    path = save(folder / "many.safetensors", state)
    before = snapshot(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        outcome = run("approximate", path, "--bases", 1, "--table", "*", "-o", "b.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 1
    assert "b.report.json cannot be written" in outcome.err
    assert snapshot(folder) == before


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 8 kB, where that is permitted."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8k", "embcompress-test", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_small_disk_is_refused_before_work(folder: Path, small_disk: Path) -> None:
    """What the disk cannot hold is refused with both sizes, in a dry run too."""
    path = save(folder / "large.safetensors", {"entities.weight": draw(1000, 12)})
    for extra in ([], ["-n"]):
        outcome = run("approximate", path, "--bases", 3, "-o", small_disk / "out.safetensors", *extra)
        assert outcome.code == 1
        assert "needs 12." in outcome.err
        assert re.search(r"its disk has [48]\.\d+ kB left", outcome.err)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_outputs_follow_the_umask(folder: Path, umask: int) -> None:
    """Artifact, report and dense file have the mode that the umask leaves, new or in place of an old one."""
    before = os.umask(umask)
    try:
        assert run("approximate", "model.safetensors", "--bases", 3, "-o", "old.safetensors", "-f").code == 0
        assert run("reconstruct", "old.safetensors", "-o", "dense.safetensors").code == 0
    finally:
        os.umask(before)
    for name in ("old.safetensors", "old.report.json", "dense.safetensors", "dense.report.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o666 & ~umask


def test_output_link_is_followed(folder: Path) -> None:
    """An output that is a link to another folder is written there, and the link stays."""
    (folder / "store").mkdir()
    (folder / "link.safetensors").symlink_to(folder / "store" / "out.safetensors")
    assert run("approximate", "model.safetensors", "--bases", 3, "-o", "link.safetensors").code == 0
    assert (folder / "link.safetensors").is_symlink()
    assert embcompress.load(folder / "store" / "out.safetensors").keys() == {"entities.weight"}
    assert (folder / "link.report.json").is_file()


def test_damaged_artifact_is_refused(folder: Path) -> None:
    """A flipped byte in the weights ends reconstruct with 1, the old output whole."""
    run("approximate", "model.safetensors", "--bases", 3)
    path = folder / "model-3bases.safetensors"
    raw = bytearray(path.read_bytes())
    with open_checkpoint(path) as checkpoint:
        (start,) = (tensor.start for tensor in checkpoint.tensors if tensor.name.endswith(".weights"))
    raw[start + 11] ^= 1
    path.write_bytes(raw)
    args = ["reconstruct", path.name, "-o", "old.safetensors", "--force"]
    assert_refused(args, code=1, message="'entities.weight.weights' in model-3bases.safetensors has the crc32",
                   hint="Copy it again", folder=folder)  # fmt: skip


HOSTILE_NAMES = (
    "[red]x[/red]_embedding.weight",
    "[/red]_embedding.weight",
    "[link=file:///etc/passwd]_embedding",
    "\x1b[2J\x1b]0;title\x07_embedding",
    "a\nerror: b_embedding",
    "\u202egnp_embedding",
    "\x9b31m_embedding",
    "__metadata__embedding",
    "x" * 3000 + "_embedding",
)


def test_hostile_names_are_harmless(folder: Path) -> None:
    """Names with markup, escapes, newlines and bidi marks are shown as text by every command and in every error."""
    path = save(folder / "hostile.pt", {name: draw(60, 12, seed=i) for i, name in enumerate(HOSTILE_NAMES)})
    runs = [
        run("inspect", path),
        run("approximate", path, "--bases", 2, "-n", "--table", "*"),
        run("approximate", path, "--bases", 2, "--table", "*"),
        run("reconstruct", folder / "hostile-2bases.safetensors"),
        run("approximate", path, "--bases", 99, "--table", "*"),
        run("approximate", path, "--bases", 2, "--table", "\x1b[2J[/red]"),
        run("inspect", folder / "\x1b[2J[/red]"),
    ]
    assert [outcome.code for outcome in runs] == [0, 0, 0, 0, 1, 1, 1]
    for outcome in runs:
        printed = outcome.out + outcome.err
        assert not set("\x1b\x9b\x07\u202e") & set(printed)
        assert not any(line.startswith("error: b") for line in printed.splitlines())
    assert "[red]x[/red]_embedding.weight" in runs[0].out
    for name in HOSTILE_NAMES:
        assert name in {
            listed_table["name"] for listed_table in json.loads(run("inspect", path, "--json").out)["tables"]
        }


def test_terminal_gets_no_foreign_escapes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a real terminal, with colours and a progress bar, none of the escapes in names come through."""
    path = save(folder / "hostile.pt", {name: draw(60, 12, seed=i) for i, name in enumerate(HOSTILE_NAMES)})
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    code, printed = run_at_terminal("approximate", path.name, "--bases", 2, "--table", "*")
    assert code == 0
    assert "\x1b[" in printed
    assert "wrote hostile-2bases.safetensors" in printed.replace("\n", "")
    for escape in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
        assert escape not in printed


COLOR_COMMANDS = {
    "report": (["inspect", "model.safetensors"], 0),
    "failure": (["inspect", "missing"], 1),
    "help": (["--help"], 0),
    "help of a command": (["sweep", "-h"], 0),
}
ENVIRONMENTS: Mapping[str, tuple[dict[str, str], bool, bool]] = {
    # what is set, then whether there are colours at a terminal and in a pipe
    "neither": ({}, True, False),
    "NO_COLOR": ({"NO_COLOR": "1"}, False, False),
    "FORCE_COLOR": ({"FORCE_COLOR": "1"}, True, True),
    "both": ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    "both empty": ({"NO_COLOR": "", "FORCE_COLOR": ""}, True, False),
    "dumb": ({"TERM": "dumb"}, False, False),
    "Actions": ({"GITHUB_ACTIONS": "true"}, True, False),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("report", name) for name in ENVIRONMENTS),
        *((command, name) for command in ("failure", "help") for name in ("neither", "NO_COLOR", "FORCE_COLOR")),
        *(("help of a command", name) for name in ("both", "FORCE_COLOR")),
    ],
)
def test_colors_are_where_the_user_wants_them(command: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves no escape code, FORCE_COLOR colours a pipe too, the former wins, and an empty one is not set."""
    (args, code), (environment, at_terminal, in_pipe) = COLOR_COMMANDS[command], ENVIRONMENTS[name]
    for variable in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(variable, value)
    ended, shown = run_at_terminal(*args)
    assert (ended, "\x1b[" in shown) == (code, at_terminal)
    piped = run(*args)
    assert (piped.code, "\x1b[" in piped.out + piped.err) == (code, in_pipe)


NO_TORCH = """
import contextlib, io, sys
from embcompress.cli import main as cli
from embcompress.checkpoints import open_checkpoint
for args in map(str.split, sys.argv[1:]):
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli._run(args)
    print(code, "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_listing_and_planning_import_no_torch(folder: Path) -> None:
    """Help, version, inspect of samples and artifacts, dry runs of writing commands, and refusals need no torch."""
    run("approximate", "model.safetensors", "--bases", 3)
    samples = [SAMPLES / name for name in SAMPLE_FILES]
    commands = ["--help", "--version", "approximate --help", "reconstruct model-3bases.safetensors -n"]
    coded = sorted((Path(__file__).parents[1] / "data").glob("coded-*.safetensors"))
    commands += [f"inspect {path}" for path in (*samples, "model-3bases.safetensors", *coded)]
    commands += [f"approximate {path} --bases 4 -n -o {folder / 'x.safetensors'}" for path in samples]
    commands += ["approximate model.safetensors --bases 4 -n --device cpu --json -o x.safetensors"]
    child = subprocess.run([sys.executable, "-c", NO_TORCH, *commands], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == ["0 False False"] * len(commands)
    lazy = "import sys, embcompress; embcompress.inspect; dir(embcompress); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", lazy], capture_output=True, text=True, check=True).stdout == "False\n"


def test_version_and_help() -> None:
    """--version prints one line; --help of every command names each option with its default."""
    assert run("--version") == Outcome(0, f"embcompress {embcompress.__version__}\n", "")
    for command in ("approximate", "inspect", "reconstruct", "sweep"):
        outcome = run(command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        for option in ("--report", "--force", "--json", "--quiet"):
            assert option in outcome.out
        assert command in run("--help").out
    assert "[default: same]" in run("approximate", "--help").out
    bare = run()
    assert (bare.code, "Usage: embcompress" in bare.out) == (2, True)


STREAMS = {
    "full": ("inspect model.safetensors >/dev/full", 1, "error: standard output cannot be written: No space left"),
    "full, JSON": ("inspect model.safetensors --json >/dev/full", 1, "error: standard output cannot be written"),
    "full, help": ("--help >/dev/full", 1, "No space left on device"),
    "closed": ("inspect model.safetensors >&-", 0, ""),
    "both closed": ("inspect model.safetensors >&- 2>&-", 0, ""),
    "closed, failure": ("inspect missing >&-", 1, "error: missing does not exist."),
    "reader gone": ("inspect model.safetensors | true", 0, ""),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("command", "code", "message"), STREAMS.values(), ids=STREAMS)
def test_streams_that_cannot_be_written(command: str, code: int, message: str) -> None:
    """A full, closed or abandoned standard output ends in words or in silence, never in a traceback."""
    line = f"{shlex.join(TOOL)} {command}"
    child = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert child.returncode == code
    assert message in child.stderr
    assert "Traceback" not in child.stderr
    assert "Exception" not in child.stderr
    assert bool(child.stderr) == bool(message)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["approximate", "model.safetensors", "--bases", "3", "--dry-run", "--json"], 0),
        (["approximate", "model.safetensors", "--bases", "3", "--dry-run", "--fail-if", "totals.ratio < 1000"], 3),
        (["inspect", "missing", "--json"], 1),
        (["inspect", "--help"], 0),
    ],
)
def test_reader_that_went_away_changes_no_exit_code(args: list[str], code: int) -> None:
    """What a run found decides how it ends, also where the other end of its pipe is closed; nothing is said of it."""
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run([*TOOL, *args], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (child.returncode, child.stderr) == (code, b"")


def test_names_outside_the_encoding_are_spelled_out(folder: Path) -> None:
    """A stdout of ASCII gets escapes where a name is not, and JSON stays UTF-8 that parses."""
    path = save(folder / "modèle.pt", {"entité_embedding.weight": draw(60, 12)})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown = subprocess.run([*TOOL, "inspect", path.name], capture_output=True, check=True, env=environment)
    assert rb"entit\xe9_embedding.weight" in shown.stdout
    process = subprocess.run([*TOOL, "inspect", path.name, "--json"], capture_output=True, check=True, env=environment)
    assert json.loads(process.stdout.decode())["tables"][0]["name"] == "entité_embedding.weight"


def test_names_that_are_no_text_work(folder: Path) -> None:
    """A file whose name is not UTF-8 is read and reported; its bytes come back from the report."""
    name = os.fsdecode(b"m\xff.safetensors")
    save(folder / "plain.safetensors", MODEL).rename(folder / name)
    outcome = run("approximate", name, "--bases", 2, "--json")
    assert outcome.code == 0
    document: Any = json.loads(outcome.out)
    assert os.fsencode(document["input"]["path"]) == b"m\xff.safetensors"
    assert (folder / os.fsdecode(b"m\xff-2bases.safetensors")).is_file()
    assert r"m\udcff.safetensors" in run("inspect", name).out


@pytest.mark.parametrize("path", [".", "", "/", ".."])
@pytest.mark.parametrize("command", ["approximate", "reconstruct", "inspect", "sweep", "evaluate", "backfill"])
def test_folders_without_weights_are_refused_by_every_command(
    folder: Path, command: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a folder, named in whatever way, is refused in words and as one JSON document."""
    folder = folder / "outer" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    rest = {"approximate": ["--ratio", "4"], "evaluate": [path], "backfill": ["--max-id", "9", "--base-ids", "ids"]}
    (folder / "ids").write_text("0\n")
    assert_refused([command, path, *rest.get(command, [])], code=1, message="is a folder", folder=folder)
