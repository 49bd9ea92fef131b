"""Warnings beside a good-looking number: rows that are lost, matrices that stay dense, files that hardly shrink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import embcompress
from embcompress.report import render
from embcompress.report.document import document_of
from embcompress.report.github import annotate
from embcompress.report.names import text_of
from embcompress.results import ApproximateResult, EvaluateResult
from embcompress.tables.unrecognised import BYTES_MIN
from tests.command_line import run

TEN_TO_THE_FIFTH = 1e5


def table(rows: int, dim: int, *, seed: int = 0, long_rows: int = 0) -> Tensor:
    """Draw a table of falling spectrum; some rows may be 10^5 times longer than the others."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rows, dim, generator=generator) * torch.linspace(2, 0.1, dim)
    drawn[:long_rows] *= TEN_TO_THE_FIFTH
    return drawn


def compress(folder: Path, tensors: dict[str, Tensor], **options: object) -> ApproximateResult:
    """Save a checkpoint and compress it."""
    save_file(tensors, folder / "in.safetensors")
    given = {"ratio": 8, "effort": "fast", "neighbours": 0, "output": folder / "a.safetensors", **options}
    chosen = {name: value for name, value in given.items() if value is not None}
    return embcompress.approximate(folder / "in.safetensors", **chosen)  # type: ignore[arg-type]


def warnings_of(result: ApproximateResult | EvaluateResult) -> list[str]:
    """List the warnings of a report."""
    return [text_of(warning) for warning in document_of(result).warnings]


def test_every_form_begins_with_the_rows_that_a_headline_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of 2000 are 10^5 times longer: the error of the table is theirs, and half of the rows lost a quarter."""
    monkeypatch.chdir(tmp_path)
    save_file({"entities.weight": table(2000, 32, long_rows=2)}, "in.safetensors")
    outcome = run("approximate", "in.safetensors", "--ratio", "8", "--effort", "fast", "--report", "r.md", "--report",
                  "r.html", "--report", "r.json", "--report", "r.xml")  # fmt: skip
    error = json.loads(Path("r.json").read_text())["tables"][0]["error"]
    lost = f"{100 * error['row_relative']['p50']:.1f} %"
    assert error["relative"] < 1e-3
    assert error["row_relative"]["p50"] > 0.1
    sentence = f"long rows hide the error of the others: half of the rows have an error above {lost}"
    assert outcome.out.startswith(f"warning: {sentence}")
    assert sentence in Path("r.md").read_text().splitlines()[0]
    page = Path("r.html").read_text()
    assert page.index("<header>") < page.index(sentence) < page.index("<h1>")
    assert sentence in Path("r.xml").read_text()
    again = run("approximate", "in.safetensors", "--ratio", "8", "--effort", "fast", "--force", "--fail-if",
                "error.row_relative.p50 > 0.1")  # fmt: skip
    assert again.code == 3


def test_a_warning_is_an_annotation_of_github(tmp_path: Path) -> None:
    """A step shows each warning beside the run, unless it is quiet; its summary begins with it."""
    result = compress(tmp_path, {"entities.weight": table(2000, 32, long_rows=2)})
    (warning,) = warnings_of(result)
    assert annotate(result) == f"::warning title=embcompress approximate::{warning.replace('%', '%25')}\n"
    assert annotate(result, quiet=True) == ""
    assert "long rows hide" in render(result, ".md").splitlines()[0]
    measured = embcompress.evaluate(tmp_path / "in.safetensors", tmp_path / "a.safetensors", neighbours=0)
    assert warnings_of(measured)[0].startswith("long rows hide the error of the others")


@pytest.mark.parametrize("options", [{"ratio": 8}, {"max_error": 0.2}, {"bases": 8, "effort": None}])
def test_no_warning_of_rows_that_are_as_good_as_their_table(options: dict[str, object], tmp_path: Path) -> None:
    """Norms that differ two- or threefold, as those of words do, hide nothing."""
    rows = table(2000, 32) * torch.linspace(0.5, 1.5, 2000)[:, None]
    given = {"ratio": None, **options}
    assert warnings_of(compress(tmp_path, {"entities.weight": rows}, **given)) == []


def test_the_table_of_hidden_rows_is_named_among_several(tmp_path: Path) -> None:
    """The warning says which table it is, and how many others fare so."""
    names = {"entities.weight": 2, "items.weight": 2, "users.weight": 0}
    tensors = {
        f"{name}": table(2000, 32, seed=seed, long_rows=count) for seed, (name, count) in enumerate(names.items())
    }
    result = compress(tmp_path, tensors, bases=8, ratio=None, effort=None)
    (warning,) = warnings_of(result)
    assert warning.startswith(("in entities.weight, long rows", "in items.weight, long rows"))
    assert "and so in 1 other table." in warning


def test_a_file_that_hardly_shrinks_says_what_it_consists_of(tmp_path: Path) -> None:
    """Tables 8 times smaller in a file that is mostly a layer: its share of the file is told."""
    tensors = {"entities.weight": table(2000, 32), "layers.0.proj.weight": table(600, 600)}
    result = compress(tmp_path, tensors)
    others = 600 * 600 * 4
    ratio = (tmp_path / "in.safetensors").stat().st_size / (tmp_path / "a.safetensors").stat().st_size
    assert result.totals.file_ratio == ratio < 1.5
    (warning,) = warnings_of(result)
    assert warning.startswith(f"the file is only {ratio:.2f}x smaller: ")
    share = 100 * others / (tmp_path / "in.safetensors").stat().st_size
    assert abs(float(warning.split(": ")[1].split(" %")[0]) - share) < 0.2  # the header counts, too
    measured = embcompress.evaluate(tmp_path / "in.safetensors", tmp_path / "a.safetensors", neighbours=0)
    assert (measured.totals.file_ratio, warnings_of(measured)) == (ratio, [warning])


@pytest.mark.parametrize("tensors", [{}, {"layers.0.proj.weight": table(60, 60)}])
def test_a_file_that_shrinks_says_nothing(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """Where the tables are the file, there is nothing to say."""
    assert warnings_of(compress(tmp_path, {"entities.weight": table(2000, 32), **tensors})) == []


def test_large_matrices_that_stay_dense_are_named(tmp_path: Path) -> None:
    """Those that no name tells to be a table or a layer are listed, and heads of a table's shape, the largest first."""
    tensors = {
        "entities.weight": table(2000, 32),
        "riddle": table(1500, 20),
        "mystery": table(4000, 24),
        "small": table(BYTES_MIN // 4 // 8 - 1, 8),
        "wide": table(200, 400),
        "fc.weight": table(3000, 24),
        "generator.proj.weight": table(2000, 32, seed=4),
        "optimizer.exp_avg.entities.weight": table(2000, 32, seed=5),
        "blocks.0.inner": table(3000, 24, seed=1),
        "blocks.1.inner": table(3000, 24, seed=2),
        "left.alone": table(3000, 24, seed=3),
    }
    result = compress(tmp_path, tensors, exclude="left.*")
    assert [(one.name, one.shape, one.bytes) for one in result.unrecognised_matrices] == [
        ("mystery", (4000, 24), 384_000),
        ("generator.proj.weight", (2000, 32), 256_000),
        ("riddle", (1500, 20), 120_000),
    ]
    shown = render(result, ".md")
    assert result.unrecognised_command is not None
    assert f"`{result.unrecognised_command}`" in shown
    assert result.unrecognised_command.endswith(
        "--table entities.weight --table mystery --table generator.proj.weight --table riddle --force"
    )


@pytest.mark.parametrize("options", [{"table": "entities.weight"}, {"exclude": "mystery"}])
def test_matrices_that_were_left_out_on_purpose_are_not_named(options: dict[str, object], tmp_path: Path) -> None:
    """Whoever names tables, or excludes some, knows what stays dense."""
    result = compress(tmp_path, {"entities.weight": table(2000, 32), "mystery": table(4000, 24)}, **options)
    assert (result.unrecognised_matrices, result.unrecognised_command) == ((), None)


def test_evaluate_says_what_it_did_not_compare(tmp_path: Path) -> None:
    """Entries that no artifact can hold are listed, once for each reason, and never called detail."""
    state = {"entities.weight": table(2000, 32), "sizes": torch.arange(3), "steps": 3, "seed": 5}
    torch.save({"state_dict": state, "epoch": 4, "args": "x"}, tmp_path / "in.pt")
    options: dict[str, object] = {"ratio": 8, "effort": "fast", "output": tmp_path / "a.safetensors"}
    embcompress.approximate(tmp_path / "in.pt", **options)  # type: ignore[arg-type]
    result = embcompress.evaluate(tmp_path / "in.pt", tmp_path / "a.safetensors", neighbours=0)
    assert [item.name for item in result.skipped] == ["steps", "seed", "epoch, args"]
    (detail,) = (check.detail for check in result.checks if check.name == "uncompressed_tensors")
    assert detail == ("1 other tensor as in the original, bit for bit; 3 entries of the original could not be compared")
    (section,) = (section for section in document_of(result).sections if section.title == "Not compared")
    assert [text_of(row[0]) for row in section.grids[0].rows] == ["steps, seed", "epoch, args"]
    assert json.loads(render(result, ".json"))["skipped"][0] == {"name": "steps", "reason": "not a tensor"}


def test_evaluate_of_a_whole_file_leaves_nothing_uncompared(tmp_path: Path) -> None:
    """Where every entry was compared, nothing is said of others."""
    compress(tmp_path, {"entities.weight": table(2000, 32), "b": torch.ones(3)})
    result = embcompress.evaluate(tmp_path / "in.safetensors", tmp_path / "a.safetensors", neighbours=0)
    assert result.skipped == ()
    assert "skipped" not in json.loads(render(result, ".json"))
