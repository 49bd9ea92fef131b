"""`embcompress backfill` at the prompt: one JSON document, a report that fits, refusals by name, no half files."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor

import embcompress
from embcompress.choices import CONSTRAINERS, METHODS
from embcompress.report.terminal import render_terminal
from tests.command_line import Outcome, run, snapshot
from tests.fixtures import draw, save

FAILURE_KEYS = ["schema_version", "ok", "error"]
REPORT_KEYS = [
    "schema_version", "command", "ok", "input", "further_inputs", "output", "vocabulary", "tables", "skipped", "totals",
    "warnings", "notes",
]  # fmt: skip
TABLE_KEYS = [
    "name", "tied_names", "rows", "shape", "dtype", "stored_as", "kind", "coding", "rank", "rows_kept", "rows_added",
    "rows_dropped",
    "rows_filled", "method", "constrainer", "kept_energy", "base_rows", "new_rows", "bytes_before", "bytes_after",
    "seconds",
]  # fmt: skip


def write(name: str, *items: object) -> str:
    """Write one item a line."""
    Path(name).write_text("".join(f"{item}\n" for item in items))
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with two models, their ids and labels, and an old output."""
    monkeypatch.chdir(tmp_path)
    save("model.safetensors", {"entities.weight": draw(20, 6), "relations.weight": draw(5, 6), "bias": torch.ones(20)})
    save("second.safetensors", {"entities.weight": draw(8, 6, seed=1)})
    write("ids", *range(29, 9, -1))
    write("ids2", *range(8))
    write("old.txt", *(f"w{number}" for number in range(20)))
    write("old2.txt", *(f"v{number}" for number in range(8)))
    write("new.txt", *(f"w{number}" for number in range(4, 28)), "v2", "v1")
    (tmp_path / "old.safetensors").write_bytes(b"old")
    return tmp_path


BY_ID = ["backfill", "model.safetensors", "--max-id", "30", "--base-ids", "ids"]
BY_LABEL = ["backfill", "model.safetensors", "--base-labels", "old.txt", "--labels", "new.txt"]
OVER_OLD = ["-o", "old.safetensors", "--force"]


def assert_refused(args: list[str], *, code: int, message: str, folder: Path, hint: str = "") -> None:
    """Check a refusal in both forms: words on stderr, one JSON document on stdout; the folder is as it was."""
    before = snapshot(folder)
    plain = run(*args)
    assert (plain.code, plain.out) == (code, "")
    assert plain.err.startswith("error: ")
    assert message in plain.err
    assert hint in plain.err.partition("\nhint: ")[2]
    json_outcome = run(*args, "--json")
    assert (json_outcome.code, json_outcome.err) == (code, "")
    document = json.loads(json_outcome.out)
    assert list(document) == FAILURE_KEYS
    assert (document["schema_version"], document["ok"]) == (2, False)
    assert document["error"]["id"]
    assert message in document["error"]["message"]
    assert snapshot(folder) == before


def test_backfill_prints_one_json_document(folder: Path) -> None:
    """--json prints the report and nothing else, the same that the file beside the output holds."""
    outcome = run(*BY_LABEL, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == REPORT_KEYS
    assert (document["schema_version"], document["command"], document["ok"]) == (2, "backfill", True)
    assert [list(fields) for fields in document["tables"]] == [TABLE_KEYS]
    assert document["output"]["path"] == "model-backfilled.safetensors"
    assert document["vocabulary"] == {
        "kept_ids": 16,
        "new_ids": 10,
        "dropped_rows": 4,
        "padding_rows": 0,
        "new_labels": ["w20", "w21", "w22", "w23", "w24"],
        "dropped_labels": ["w0", "w1", "w2", "w3"],
    }
    (fields,) = document["tables"]
    assert (fields["name"], fields["rows"], fields["shape"], fields["dtype"]) == ("entities.weight", 26, [6], "float32")
    assert (fields["rows_kept"], fields["rows_added"], fields["rows_dropped"], fields["rows_filled"]) == (16, 10, 4, 0)
    assert (fields["method"], fields["constrainer"], fields["rank"], fields["kept_energy"]) == (
        "gaussian",
        None,
        None,
        None,
    )
    assert list(fields["base_rows"]["norm"]) == ["mean", "p50", "p99", "max"]
    assert list(fields["new_rows"]["cosine"]) == ["mean", "p50", "p01", "min"]
    assert fields["base_rows"]["norm"]["mean"] == pytest.approx(float(draw(20, 6)[4:].norm(dim=1).mean()), rel=1e-6)
    assert document["warnings"] == [
        "4 rows were dropped with their labels: 'w0', 'w1', 'w2', 'w3'",
        "not grown, although they also have 20 entries like the rows of 'entities.weight': 'bias'",
    ]
    assert outcome.out == (folder / "model-backfilled.report.json").read_text()


def test_backfill_keeps_the_rows_of_the_prompt(folder: Path) -> None:
    """Ids, labels, two bases, options behind or before the files: rows lie where the files say."""
    rows, more = draw(20, 6), draw(8, 6, seed=1)
    assert run(*BY_ID, "--method", "zeros", "-o", "a.safetensors", "-q") == Outcome(0, "", "")
    grown_rows = safetensors.torch.load_file("a.safetensors")["entities.weight"]
    assert torch.equal(grown_rows, torch.cat([torch.zeros(10, 6), rows.flip(0)]))
    args = ["--base-ids", "ids", "--base-ids", "ids2", "--max-id", 31, "--method", "mean", "--seed", 3, "-q"]
    assert run("backfill", *args, "model.safetensors", "second.safetensors", "-o", "b.safetensors").code == 0
    grown_rows = safetensors.torch.load_file("b.safetensors")["entities.weight"]
    assert torch.equal(grown_rows[:8], more)
    assert torch.equal(grown_rows[10:30], rows.flip(0))
    mean = torch.cat([rows, more]).double().mean(dim=0)
    torch.testing.assert_close(grown_rows[[8, 9, 30]].double(), mean.expand(3, -1), rtol=0, atol=1e-6)
    args = ["--base-labels", "old.txt", "--base-labels", "old2.txt", "--labels", "new.txt", "-o", "c.safetensors", "-q"]
    assert run("backfill", "model.safetensors", "second.safetensors", *args).code == 0
    grown_rows = safetensors.torch.load_file(folder / "c.safetensors")["entities.weight"]
    assert torch.equal(grown_rows[:16], rows[4:])
    assert torch.equal(grown_rows[[24, 25]], more[[2, 1]])


def test_a_dry_run_prints_what_would_be(folder: Path) -> None:
    """-n writes nothing and tells the size that the run then has, dense and compressed, in words and as JSON."""
    run("approximate", "model.safetensors", "--bases", 2)
    for base in ("model.safetensors", "model-2bases.safetensors"):
        args = ["backfill", base, *BY_LABEL[2:]]
        before = snapshot(folder)
        document = json.loads(run(*args, "-n", "--json").out)
        assert (document["dry_run"], document["output"]["sha256"]) == (True, None)
        assert (document["tables"][0]["base_rows"], document["tables"][0]["new_rows"]) == (None, None)
        shown = run(*args, "-n")
        assert (shown.code, f"would write {base.partition('.')[0]}-backfilled.safetensors" in shown.out) == (0, True)
        assert snapshot(folder) == before
        assert run(*args, "-q").code == 0
        assert Path(document["output"]["path"]).stat().st_size == document["output"]["bytes"]


def shown(width: int) -> str:
    """Run a backfill and render its report for a console of a width."""
    result = embcompress.backfill(
        "model.safetensors", base_labels="old.txt", labels="new.txt", constrainer="normalize", force=True
    )
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(render_terminal(result, verbose=True))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("width", [200, 90, 40])
def test_report_fits_the_console(width: int) -> None:
    """Wide consoles get a grid, narrow ones lines; both have every count, the method and the figures, and fit."""
    text = shown(width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    flat = " ".join(text.split())
    shown_rows = draw(20, 6)[4:]
    norm = f"{float(shown_rows.norm(dim=1).mean()):.4g} / 1"
    for part in (
        "entities.weight",
        "26 x 6 float32",
        "gaussian, normalize",
        norm,
        "4 rows were dropped",
        "wrote model-",
    ):
        assert part in flat
    if width == 200:
        heads = "table shape kept added dropped new rows by norm kept / new cosine kept / new kept energy"
        assert " ".join(lines[0].split()) == heads
        assert lines[1].split()[5:8] == ["16", "10", "4"]
    else:
        assert "kept 16, added 10, dropped 4" in flat


HOSTILE_NAMES = (
    "[red]x[/red]_embedding.weight",
    "[/red]_embedding.weight",
    "\x1b[2J\x1b]0;title\x07_embedding",
    "a\nerror: b_embedding",
    "\u202egnp_embedding",
    "\x9b31m_embedding",
    "x" * 300 + "_embedding",
)


def test_hostile_names_are_harmless(folder: Path) -> None:
    """Names of tensors and labels with markup, escapes and newlines are shown as text; the JSON has them whole."""
    state = {name: draw(20, 6, seed=number) for number, name in enumerate(HOSTILE_NAMES)}
    path = save("hostile.pt", {**state, "\x1b[2Jbias[/red]": torch.ones(20)})
    labels = ["\x1b[2Jl[/red]", "\u202eb", *(f"w{number}" for number in range(18))]
    Path("hostile.json").write_text(json.dumps(labels))
    Path("grown.json").write_text(json.dumps([*labels[1:], "\x1b]0;new\x07"]))
    args = ["backfill", path, "--base-labels", "hostile.json", "--labels", "grown.json", "--table", "*embedding*"]
    runs = [
        run(*args, "-n"),
        run(*args),
        run(*args),  # refused: the output exists
        run(*args[:2], "--max-id", 30, "--base-ids", "ids2"),
        run(*args, "--fill", path, "--fill-labels", "hostile.json"),
        run("backfill", path, "--max-id", 30, "--base-ids", "\x1b[2J[/red]"),
        run(*BY_ID, "--method", "\x1b[2J[/red]"),
        run(*BY_ID, "--constrainer", "\x1b[2J[/red]"),
    ]
    assert [outcome.code for outcome in runs] == [0, 0, 1, 1, 1, 1, 2, 2]
    for outcome in runs:
        printed = outcome.out + outcome.err
        assert not set("\x1b\x9b\x07\u202e") & set(printed)
        assert not any(line.startswith("error: b") for line in printed.splitlines())
    assert "[red]x[/red]_embedding.weight" in runs[0].out
    assert r"\x1b[2Jl[/red]" in runs[1].out
    document = json.loads(run(*args, "--json", "--force").out)
    assert {listed_table["name"] for listed_table in document["tables"]} == set(HOSTILE_NAMES)
    assert document["vocabulary"]["new_labels"] == ["\x1b]0;new\x07"]
    assert document["vocabulary"]["dropped_labels"] == [labels[0]]
    assert set(safetensors.torch.load_file(folder / "hostile-backfilled.safetensors")) > set(HOSTILE_NAMES)


# What a file of ids holds, and what the message says.
WRONG_IDS: dict[str, tuple[list[object], str]] = {
    "duplicate": ([*range(18), 3, 5], "ids must not repeat; these do: 3, 5."),
    "negative": ([*range(18), -2, -1], "ids must not be negative; got -2, -1."),
    "fractional": ([*range(18), 18.5, 19], "line 19: ids are integers, one a line; got '18.5'"),
    "over --max-id": ([*range(18), 30, 31], "ids must be below --max-id 30; got 30, 31."),
    "too few": ([*range(17)], "'entities.weight' has 20, 'relations.weight' has 5"),
    "too many": ([*range(23)], "no table in model.safetensors has 23 rows, as many as ids were given"),
    "missing": ([*range(10), "", *range(11, 20)], "line 11: ids are integers, one a line; got ''"),
    "none": ([], "wrong holds no ids"),
    "far too large": ([*range(19), 2**70], "ids are integers, one a line; got"),
}


@pytest.mark.parametrize(("ids", "message"), WRONG_IDS.values(), ids=WRONG_IDS)
def test_wrong_ids_are_refused(folder: Path, ids: list[object], message: str) -> None:
    """Ids that say not which row is whose are refused by number, before an old output is touched, in dry runs too."""
    args = ["backfill", "model.safetensors", "--max-id", "30", "--base-ids", write("wrong", *ids), *OVER_OLD]
    assert_refused(args, code=1, message=message, folder=folder)
    assert_refused([*args, "-n"], code=1, message=message, folder=folder)


@pytest.mark.parametrize(
    ("count", "message"),
    [(19, "has 20 rows, and 19 ids were given: row 19 has none"),
     (17, "has 20 rows, and 17 ids were given: rows 17..19 have none"),
     (23, "has 20 rows, and 23 ids were given: the last 3 have no row")],
)  # fmt: skip
def test_too_few_and_too_many_ids_are_refused_by_row(folder: Path, count: int, message: str) -> None:
    """For a table that is named the rows without an id, or the ids without a row, are counted and named."""
    ids = write("wrong", *range(count))
    args = ["backfill", "model.safetensors", "--max-id", "30", "--base-ids", ids, "--table", "entities*", *OVER_OLD]
    assert_refused(args, code=1, message=message, folder=folder)


def by_file(name: str, content: bytes) -> list[str]:
    """Write a file of labels and name it as that of the base."""
    Path(name).write_bytes(content)
    return ["backfill", "model.safetensors", "--base-labels", name, "--labels", "new.txt", *OVER_OLD]


TSV = "".join(f"{number}\tw{number}\n" for number in range(20))
VOCABULARY = {f"w{number}": number for number in range(20)}
WRONG_LABELS: dict[str, tuple[str, bytes, str]] = {
    "gz that is no gzip": ("l.tsv.gz", TSV.encode(), "l.tsv.gz is named .gz and is not packed by gzip"),
    "gzip cut short": ("l.tsv.gz", gzip.compress(TSV.encode())[:-9], "l.tsv.gz is a damaged gzip file"),
    "JSON that is none": ("l.json", TSV.encode(), "l.json is no JSON"),
    "binary": ("l.txt", b"w0\n\xfe\xff\0\n", "l.txt is no text in UTF-8: byte 3 is 0xfe"),
    "a checkpoint": ("l", b"\xf8\x01" + bytes(6) + b'{"a"', "l is no text in UTF-8"),
    "tsv without a tab": ("l.tsv", TSV.replace("\t", " ").encode(), "row 1: expected id<TAB>label; got '0 w0'"),
    "tsv with a gap": ("l.tsv", TSV.replace("7\tw7\n", "").encode(), "has a blank label for 1 row"),
    "tsv with an id twice": ("l.tsv", TSV.replace("8\tw8", "7\tw8").encode(), "gives id 7 twice, also to 'w8'"),
    "tsv with a negative id": ("l.tsv", TSV.replace("8\tw8", "-8\tw8").encode(), "'w8' has -8"),
    "tsv with a fraction": ("l.tsv", TSV.replace("8\tw8", "8.5\tw8").encode(), "row 9: ids are integers; got '8.5'"),
    "tsv with a label twice": ("l.tsv", TSV.replace("8\tw8", "8\tw7").encode(), "a label to several rows: 'w7'"),
    "JSON with a key twice": ("l.json", b'{"w0": 0, "w1": 1, "w0": 2}', "several ids are given to 'w0'"),
    "JSON with a fraction": ("l.json", json.dumps({**VOCABULARY, "w3": 3.5}).encode(), "the id of 'w3' is 3.5"),
    "nothing shared": ("l.txt", "".join(f"W{n}\n" for n in range(20)).encode(), "the base has 'W0', 'W1', 'W2'"),
    "too many": ("l.txt", "".join(f"w{n}\n" for n in range(23)).encode(), "has 23 rows, as many as ids were given"),
    "empty": ("l.txt", b"", "l.txt holds no labels"),
}


@pytest.mark.parametrize(("name", "content", "message"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_wrong_labels_are_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    """A file that is not what its name says, or that leaves a row's label open, is refused by row, id or label."""
    assert_refused(by_file(name, content), code=1, message=message, folder=folder)


def test_too_few_labels_of_a_long_table_are_refused(folder: Path) -> None:
    """A table with 400 more rows than labels was hardly padded: the rows without a label are named."""
    save("long.safetensors", {"entities.weight": draw(420, 6)})
    args = ["backfill", "long.safetensors", "--base-labels", "old.txt", "--labels", "new.txt", *OVER_OLD]
    message = "'entities.weight' in long.safetensors has 420 rows, and 20 ids were given: rows 20..419 have none"
    assert_refused(args, code=1, message=message, folder=folder)


def test_bases_that_overlap_are_refused(folder: Path) -> None:
    """An id, and a new label, of two bases is refused by name."""
    write("ids2", 3, 11, 4, 29, 5, 6, 7, 8)
    args = ["backfill", "model.safetensors", "second.safetensors", "--max-id", "30", "--base-ids", "ids"]
    assert_refused([*args, "--base-ids", "ids2", *OVER_OLD], code=1, folder=folder,
                   message="ids2: ids must not belong to another base too; got 11, 29.")  # fmt: skip
    write("old2.txt", *(f"w{number}" for number in range(17, 25)))
    args = [*args[:3], "--base-labels", "old.txt", "--base-labels", "old2.txt", "--labels", "new.txt", *OVER_OLD]
    assert_refused(args, code=1, message="these are in several: 'w17', 'w18', 'w19'.", folder=folder)


WRONG_SECOND: dict[str, tuple[dict[str, Tensor], str]] = {
    "shape": ({"entities.weight": draw(8, 7)}, "has shape (6,) in model.safetensors and (7,) in second.safetensors"),
    "axes": ({"entities.weight": draw(8, 6).view(8, 2, 3)}, "has shape (6,) in model.safetensors and (2, 3) in second"),
    "dtype": (
        {"entities.weight": draw(8, 6, dtype=torch.float16)},
        "has dtype float32 in model.safetensors and float16 in second.safetensors",
    ),
    "name": (
        {"others.weight": draw(8, 6)},
        "second.safetensors has no table 'entities.weight', which model.safetensors",
    ),
    "rows": (
        {"entities.weight": draw(9, 6)},
        "in second.safetensors has 9 rows, and 8 ids were given: row 8 has none",
    ),
}


@pytest.mark.parametrize(("state", "message"), WRONG_SECOND.values(), ids=WRONG_SECOND)
def test_bases_that_differ_are_refused(folder: Path, state: dict[str, Tensor], message: str) -> None:
    """Bases whose tables have other shapes, dtypes, names or numbers of rows are refused with both."""
    save("second.safetensors", state)
    args = ["backfill", "model.safetensors", "second.safetensors", "--max-id", "30"]
    args += ["--base-ids", "ids", "--base-ids", "ids2", *OVER_OLD]
    assert_refused(args, code=1, message=message, folder=folder)


def test_dense_and_compressed_bases_are_not_mixed(folder: Path) -> None:
    """A dense base beside a compressed one is refused either way round, and so are artifacts of other dtypes."""
    for name, dtype in (("single", "same"), ("half", "float16")):
        run("approximate", "second.safetensors", "--bases", 2, "--dtype", dtype, "-o", f"{name}.safetensors")
    ids = {"model": "ids", "single": "ids2", "half": write("ids3", 8, 9, 30, 31, 32, 33, 34, 35)}
    for one, other, message in (
        ("model", "single", "has coding dense in model.safetensors and plain in single.safetensors"),
        ("single", "model", "has coding plain in single.safetensors and dense in model.safetensors"),
        ("single", "half", "has dtype of weights float32 in single.safetensors and float16 in half.safetensors"),
    ):
        args = ["backfill", f"{one}.safetensors", f"{other}.safetensors", "--max-id", "40"]
        args += ["--base-ids", ids[one], "--base-ids", ids[other], *OVER_OLD]
        assert_refused(args, code=1, message=message, hint="Bring the bases into one form", folder=folder)


WRONG_FILLS: dict[str, tuple[dict[str, Tensor], list[str] | None, list[str], str, str]] = {
    "too few rows": (
        {"x": draw(9, 6)},
        None,
        [],
        "--fill has 9 rows for table 'entities.weight', and 10 ids are new",
        "",
    ),
    "too many rows": ({"x": draw(11, 6)}, None, [], "--fill has 11 rows", ""),
    "other columns": (
        {"x": draw(10, 7)},
        None,
        [],
        "no tensor with real rows of shape (6,) for table 'entities.weight'",
        "",
    ),
    "other axes": ({"x": draw(10, 6).view(10, 2, 3)}, None, [], "has no tensor with real rows of shape (6,)", ""),
    "integers": ({"x": draw(10, 6).long()}, None, [], "has no tensor with real rows of shape (6,)", ""),
    "two of a shape": (
        {"x": draw(10, 6), "y": draw(9, 6)},
        None,
        [],
        "has several tensors with real rows of shape (6,)",
        "",
    ),
    "unknown labels": (
        {"x": draw(3, 6)},
        ["w20", "w5", "nobody"],
        ["--method", "zeros"],
        "only new labels can be filled; these are not new: 'w5', 'nobody'.",
        "",
    ),
    "label twice": (
        {"x": draw(3, 6)},
        ["w20", "w21", "w20"],
        [],
        "labels must not repeat, here or in --labels; these do: 'w20'",
        "",
    ),
    "fewer rows than labels": (
        {"x": draw(2, 6)},
        ["w20", "w21", "w22"],
        ["--method", "zeros"],
        "--fill has 2 rows for table 'entities.weight', and 3 labels were given for them",
        "",
    ),
    "labels left without a row": (
        {"x": draw(3, 6)},
        ["w20", "w21", "v2"],
        [],
        "--fill has no rows for 7 new ids, such as 18, 19, 20, 21, 22 and 2 more",
        "--method",
    ),
}


@pytest.mark.parametrize(("state", "labels", "extra", "message", "hint"), WRONG_FILLS.values(), ids=WRONG_FILLS)
def test_wrong_fill_is_refused(
    folder: Path, state: dict[str, Tensor], labels: list[str] | None, extra: list[str], message: str, hint: str
) -> None:
    """Rows of another number, shape or label than the new ids are refused, in a dry run too; an old output stays."""
    args = [*BY_LABEL, "--fill", save("fill.safetensors", state), *extra, *OVER_OLD]
    if labels is not None:
        args += ["--fill-labels", write("fill.txt", *labels)]
    assert_refused(args, code=1, message=message, hint=hint, folder=folder)
    assert_refused([*args, "-n"], code=1, message=message, hint=hint, folder=folder)


def test_fill_that_is_no_dense_checkpoint_is_refused(folder: Path) -> None:
    """A fill that is compressed, missing or no checkpoint, or NaN, is refused."""
    run("approximate", "second.safetensors", "--bases", 2, "-o", "c.safetensors")
    assert_refused([*BY_ID, "--fill", "c.safetensors", *OVER_OLD], code=1, folder=folder,
                   message="--fill c.safetensors is compressed", hint="reconstruct c.safetensors")  # fmt: skip
    assert_refused([*BY_ID, "--fill", "no.pt", *OVER_OLD], code=1, message="no.pt does not exist", folder=folder)
    assert_refused([*BY_ID, "--fill", "ids", *OVER_OLD], code=1, message="ids", folder=folder)
    save("nan.pt", {"x": draw(10, 6).index_fill_(0, torch.tensor(4), float("nan"))})
    assert_refused([*BY_ID, "--fill", "nan.pt", *OVER_OLD], code=1, folder=folder, hint="Check --fill",
                   message="the new row of id 4 in table 'entities.weight' holds NaN")  # fmt: skip


def test_ambiguous_tables_are_refused(folder: Path) -> None:
    """Entities and relations of one number are refused until --table says whose ids these are."""
    save("model.safetensors", {"entities.weight": draw(20, 6), "relations.weight": draw(20, 6, seed=1)})
    message = "several tables in model.safetensors have 20 rows: 'entities.weight', 'relations.weight'"
    assert_refused([*BY_ID, *OVER_OLD], code=1, message=message, hint="Say with --table", folder=folder)
    outcome = run(*BY_ID, "--table", "rel*", "--json")
    assert [listed_table["name"] for listed_table in json.loads(outcome.out)["tables"]] == ["relations.weight"]


BAD_TABLES: dict[str, tuple[list[str], str, str]] = {
    "misspelt": (
        ["--table", "entites.weight"],
        "--table entites.weight matches none",
        "--table entities.weight",
    ),
    "of other rows": (["--table", "rel*"], "'relations.weight' in model.safetensors has 5 rows, and 20 ids", ""),
    "one of two of other rows": (["--table", "*.weight"], "'relations.weight' in model.safetensors has 5 rows", ""),
}


@pytest.mark.parametrize(("options", "message", "hint"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_table_is_refused(folder: Path, options: list[str], message: str, hint: str) -> None:
    """A pattern that matches nothing, or a table of another number of rows, is refused."""
    assert_refused([*BY_ID, *options, *OVER_OLD], code=1, message=message, hint=hint, folder=folder)


def test_no_table_of_the_count_is_refused(folder: Path) -> None:
    """Where no table has as many rows as ids, the message lists those that there are, or that there is none."""
    args = ["backfill", "model.safetensors", "--max-id", "30", "--base-ids", write("some", *range(12)), *OVER_OLD]
    assert_refused(
        args, code=1, message="'entities.weight' has 20, 'relations.weight' has 5", hint="--table", folder=folder
    )
    save("plain.safetensors", {"fc.weight": draw(20, 6)})
    assert_refused(["backfill", "plain.safetensors", *BY_ID[2:], *OVER_OLD], code=1, message="no table is recognised",
                   hint="embcompress inspect plain.safetensors", folder=folder)  # fmt: skip


def test_missing_base_suggests_a_file(folder: Path) -> None:
    """A misspelt base is met with the name of the one that is there; a missing file of ids is named."""
    assert_refused(["backfill", "modle.safetensors", *BY_ID[2:]], code=1, message="modle.safetensors does not exist",
                   hint="Did you mean model.safetensors?", folder=folder)  # fmt: skip
    assert_refused([*BY_ID[:4], "--base-ids", "nowhere"], code=1, message="nowhere does not exist",
                   hint="Check the path.", folder=folder)  # fmt: skip


WRONG_USAGE: dict[str, tuple[list[str], str, str]] = {
    "no base": (["backfill", "--max-id", "30", "--base-ids", "ids"], "BASE", ""),
    "nothing said": (["backfill", "model.safetensors"], "give either --base-ids with --max-id, or --base-labels", ""),
    "max-id alone": (["backfill", "model.safetensors", "--max-id", "30"], "give either --base-ids with --max-id", ""),
    "ids and labels": ([*BY_ID, "--base-labels", "old.txt", "--labels", "new.txt"], "give either --base-ids", ""),
    "ids with new labels": ([*BY_ID, "--labels", "new.txt"], "--base-ids goes with --max-id", ""),
    "no max-id": (["backfill", "model.safetensors", "--base-ids", "ids"], "--base-ids goes with --max-id", ""),
    "no labels": (
        ["backfill", "model.safetensors", "--base-labels", "old.txt"],
        "--base-labels goes with --labels",
        "",
    ),
    "max-id 0": ([*BY_ID[:3], "0", *BY_ID[4:]], "--max-id must be at least 1; got 0", ""),
    "max-id negative": ([*BY_ID[:3], "-1", *BY_ID[4:]], "--max-id must be at least 1; got -1", ""),
    "max-id text": ([*BY_ID[:3], "many", *BY_ID[4:]], "--max-id", ""),
    "max-id fraction": ([*BY_ID[:3], "30.5", *BY_ID[4:]], "--max-id", ""),
    "two bases, one file": (
        ["backfill", "second.safetensors", *BY_ID[1:]],
        "each BASE needs a --base-ids of its own: 2 in all; got 1",
        "",
    ),
    "one base, two files": (
        [*BY_ID, "--base-ids", "ids2"],
        "each BASE needs a --base-ids of its own: 1 in all; got 2",
        "",
    ),
    "two label files": (
        [*BY_LABEL, "--base-labels", "old2.txt"],
        "each BASE needs a --base-labels of its own: 1 in all; got 2",
        "",
    ),
    "method": ([*BY_ID, "--method", "gausian"], "--method must be one of xavier_uniform", "Did you mean gaussian?"),
    "method, not alike": ([*BY_ID, "--method", "xyz"], "--method must be one of", ""),
    "method's argument": ([*BY_ID, "--method", "uniform:c=1"], "--method uniform takes a, b; got 'c'", ""),
    "method's number": ([*BY_ID, "--method", "uniform:a=x"], "arguments are key=number", ""),
    "constrainer": ([*BY_ID, "--constrainer", "normalise"], "--constrainer must be one of", "Did you mean normalize?"),
    "constrainer's argument": ([*BY_ID, "--constrainer", "clamp_norm"], "maxnorm", "clamp_norm:maxnorm=1"),
    "constrainer's bounds": ([*BY_ID, "--constrainer", "clamp:min=1,max=0"], "is above", ""),
    "seed": ([*BY_ID, "--seed", "-1"], "--seed must be 0..", ""),
    "device": ([*BY_ID, "--device", "tpu"], "--device must be auto, cpu, cuda or cuda:N", ""),
    "report": ([*BY_ID, "--report", "r.yaml"], "no report ends in '.yaml'", ""),
    "report is the output": ([*BY_ID, "-o", "a.json", "--report", "./a.json"], "another output of this run", ""),
    "offset below 0": ([*BY_LABEL, "--row-offset", "-1"], "--row-offset must be 0 or more; got -1", ""),
    "offset that is no number": ([*BY_LABEL, "--row-offset", "x"], "--row-offset", ""),
    "keep and drop": (
        [*BY_LABEL, "--keep-padding", "--drop-padding"],
        "--keep-padding and --drop-padding contradict each other",
        "",
    ),
    "offset with ids": ([*BY_ID, "--row-offset", "1"], "--row-offset goes with --base-labels", ""),
    "padding with ids": ([*BY_ID, "--drop-padding"], "--drop-padding goes with --base-labels", ""),
    "fill labels without a fill": ([*BY_LABEL, "--fill-labels", "new.txt"], "--fill-labels goes with --fill", ""),
    "fill labels without labels": (
        [*BY_ID, "--fill", "second.safetensors", "--fill-labels", "old2.txt"],
        "--fill-labels goes with --fill and --labels",
        "",
    ),
    "option": ([*BY_ID, "--frob"], "--frob", ""),
}


@pytest.mark.parametrize(("args", "message", "hint"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_ends_with_2(folder: Path, args: list[str], message: str, hint: str) -> None:
    """Arguments that cannot be are refused with exit code 2 in both forms, and nothing is written."""
    assert_refused(args, code=2, message=message, hint=hint, folder=folder)


def test_more_labels_than_max_id_are_refused(folder: Path) -> None:
    """26 labels do not go into 25 ids; into 26 and 27 they do, the last id padded."""
    assert_refused(
        [*BY_LABEL, "--max-id", "25"], code=1, message="--max-id 25 is too small for 26 labels", folder=folder
    )
    for count in (26, 27):
        document = json.loads(run(*BY_LABEL, "--max-id", count, "-f", "--json").out)
        assert (document["tables"][0]["rows"], document["vocabulary"]["new_ids"]) == (count, count - 16)


def test_offset_beyond_the_rows_is_refused(folder: Path) -> None:
    """20 labels from row 1 on need 21 rows; a --max-id that leaves no place for the rows before them is too small."""
    assert_refused([*BY_LABEL, "--row-offset", "1"], code=1, folder=folder, hint="--table",
                   message="has 21 rows, for 20 labels from row 1 on: 'entities.weight' has 20")  # fmt: skip
    named = [*BY_LABEL, "--row-offset", "1", "--table", "entities.weight"]
    assert_refused(named, code=1, folder=folder, hint="At most 0 rows can stand before",
                   message="'entities.weight' in model.safetensors has 20 rows, too few for 20 labels")  # fmt: skip
    save("padded.safetensors", {"entities.weight": draw(22, 6)})
    args = ["backfill", "padded.safetensors", *BY_LABEL[2:], *OVER_OLD, "--max-id", "27"]
    assert_refused([*args, "--row-offset", "2"], code=1, folder=folder,
                   message="--max-id 27 is too small for 26 labels and 2 rows that have none")  # fmt: skip
    assert_refused([*args, "--keep-padding"], code=1, folder=folder,
                   message="--max-id 27 is too small for 26 labels and 2 rows that have none")  # fmt: skip


def test_nearly_all_labels_gone_is_refused(folder: Path) -> None:
    """19 of 20 labels that are not among the new ones are two vocabularies, or two forms; 18 are dropped and told."""
    write("few.txt", "w3", *(f"x{number}" for number in range(30)))
    args = ["backfill", "model.safetensors", "--base-labels", "old.txt", "--labels", "few.txt", *OVER_OLD]
    assert_refused(args, code=1, folder=folder, hint="Check that --base-labels and --labels name the right files",
                   message="19 of 20 labels of the base are not among the 31 new ones: 'w0', 'w1'")  # fmt: skip
    write("few.txt", "w3", "w5", *(f"x{number}" for number in range(30)))
    assert json.loads(run(*args, "--json").out)["vocabulary"]["dropped_rows"] == 18


def test_existing_output_is_refused_without_force(folder: Path) -> None:
    """Neither the output nor its report is overwritten without --force, and both are with it."""
    assert_refused(
        [*BY_ID, "-o", "old.safetensors"], code=1, message="old.safetensors exists", hint="--force", folder=folder
    )
    (folder / "b.report.json").write_text("old")
    assert_refused(
        [*BY_ID, "-o", "b.safetensors"], code=1, message="b.report.json exists", hint="--force", folder=folder
    )
    assert run(*BY_ID, *OVER_OLD, "-q").code == 0
    assert len(safetensors.torch.load_file("old.safetensors")["entities.weight"]) == 30


def test_output_that_is_a_base_or_the_fill_is_refused(folder: Path) -> None:
    """Neither of the bases nor the fill is ever overwritten, under another name of it or with --force."""
    (folder / "link.safetensors").symlink_to("second.safetensors")
    save("fill.safetensors", {"x": draw(2, 6)})
    args = ["backfill", "model.safetensors", "second.safetensors", "--max-id", "30", "--base-ids", "ids"]
    args += ["--base-ids", "ids2", "--fill", "fill.safetensors", "--force", "-o"]
    for output in (
        "model.safetensors",
        "second.safetensors",
        "./second.safetensors",
        "link.safetensors",
        "fill.safetensors",
    ):
        assert_refused([*args, output], code=1, message="is the input itself", folder=folder)
    assert_refused([*args, "nowhere/o.safetensors"], code=1, message="does not exist", folder=folder)


def test_what_no_disk_holds_is_refused(folder: Path) -> None:
    """A --max-id of 10^14 is refused with both sizes before any work."""
    args = [*BY_ID[:3], str(10**14), *BY_ID[4:]]
    assert_refused(args, code=1, message="needs 2.4 PB, and its disk has", hint="Free some space", folder=folder)


@pytest.mark.parametrize("base", ["model.safetensors", "model-2bases.safetensors"])
def test_full_disk_leaves_nothing(folder: Path, base: str) -> None:
    """A disk that fills while rows are being written ends in words, and the old output stays."""
    run("approximate", "model.safetensors", "--bases", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = snapshot(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        outcome = run("backfill", base, *BY_ID[2:], *OVER_OLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (outcome.code, outcome.out) == (1, "")
    assert "old.safetensors cannot be written: File too large" in outcome.err
    assert snapshot(folder) == before


def test_quiet_prints_nothing_and_progress_no_lines(folder: Path) -> None:
    """-q leaves both streams empty, and a short run without it says nothing on stderr."""
    assert run(*BY_ID, "-q") == Outcome(0, "", "")
    outcome = run(*BY_ID, "-f")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 4
    assert (folder / "model-backfilled.report.json").is_file()


def test_reports_go_where_they_are_asked(folder: Path) -> None:
    """Each --report is written whole and alike, in place of the one beside the output."""
    outcome = run(*BY_ID, "--report", "a.json", "--report", "b.JSON", "--json")
    assert outcome.code == 0
    assert (folder / "a.json").read_text() == (folder / "b.JSON").read_text() == outcome.out
    assert not (folder / "model-backfilled.report.json").exists()


def test_help_names_every_choice() -> None:
    """--help names each method, constrainer and option with what it takes."""
    outcome = run("backfill", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    for option in (
        "--max-id",
        "--base-ids",
        "--base-labels",
        "--labels",
        "--method",
        "--constrainer",
        "--fill",
        "--seed",
    ):
        assert option in outcome.out
    words = outcome.out.replace(",", " ").replace(";", " ").replace(".", " ").split()
    assert set(METHODS) | set(CONSTRAINERS) <= set(words)
    assert "backfill" in run("--help").out


NO_TORCH = """
import contextlib, io, sys
from embcompress.cli import main as cli
for args in map(str.split, sys.argv[1:]):
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli._run(args)
    print(code, "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_help_and_dry_runs_import_no_torch(folder: Path) -> None:
    """Help and dry runs of every kind of base, with a fill, constrainers and labels, do without torch.

    Only arguments of methods and constrainers have to be tried, with torch.
    """
    run("approximate", "model.safetensors", "--bases", 2)
    save("fill.pt", {"x": draw(10, 6)})
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    commands = [
        "backfill --help",
        " ".join([*BY_ID, "-n"]),
        " ".join([*BY_ID, "-n", "--json", "--method", "uniform", "--constrainer", "normalize"]),
        " ".join([*BY_LABEL, "-n", "--fill", "fill.pt", "--device", "cpu"]),
        "backfill model.safetensors -n --base-labels vocab.json --labels new.txt",
        "backfill model-2bases.safetensors -n --base-labels old.txt --labels new.txt",
        "backfill model.safetensors second.safetensors -n --max-id 30 --base-ids ids --base-ids ids2",
    ]
    child = subprocess.run([sys.executable, "-c", NO_TORCH, *commands], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == ["0 False False"] * len(commands)


def test_names_that_are_no_text_work(folder: Path) -> None:
    """Files whose names are not UTF-8 are read, grown and reported."""
    name, ids = os.fsdecode(b"m\xff.safetensors"), os.fsdecode(b"i\xff")
    (folder / "model.safetensors").rename(folder / name)
    (folder / "ids").rename(folder / ids)
    outcome = run("backfill", name, "--max-id", 30, "--base-ids", ids, "--json")
    assert outcome.code == 0
    assert os.fsencode(json.loads(outcome.out)["output"]["path"]) == b"m\xff-backfilled.safetensors"
    assert r"m\udcff-backfilled.safetensors" in run("backfill", name, "--max-id", 30, "--base-ids", ids, "-f").out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--method", "uniform:a=1,b=0"], "--method uniform:a=1,b=0"),
        (["--method", "uniform:a=nan"], "got 'a=nan'"),
        (["--method", "uniform:a=1e300"], "--method uniform"),
        (["--method", "normal:std=-1"], "--method normal:std=-1"),
        (["--method", "uniform:a=1,a=2"], "each once"),
        (["--method", "uniform:zzz=1"], "got 'zzz'"),
        (["--constrainer", "clamp_norm"], "maxnorm"),
        (["--constrainer", "clamp:min=2,max=1"], "min=2.0 is above max=1.0"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dry", [[], ["-n"]])
def test_arguments_that_cannot_be_are_wrong_usage(
    folder: Path, option: list[str], message: str, dry: list[str]
) -> None:
    """Numbers that a method or a constrainer cannot take are exit code 2 before any work, in a dry run too."""
    outcome = run(*BY_ID, *option, *dry)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (folder / "model-backfilled.safetensors").exists()
