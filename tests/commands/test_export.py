"""The command `export`: its document, its exit codes, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run, snapshot
from tests.fixtures import draw, save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a small model."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model.safetensors", {"entities.weight": draw(60, 32), "fc.bias": draw(12)})
    return tmp_path


def test_export_prints_one_json_document(folder: Path) -> None:
    """--json prints the report that lies beside the output, and sizes are those of the form."""
    outcome = run("export", "model.safetensors", "--to", "gguf:q8_0", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document)[:5] == ["schema_version", "command", "ok", "input", "output"]
    assert (document["command"], document["kind"], document["original"]) == ("export", "gguf:q8_0", None)
    assert document["output"]["path"] == "model-q8_0.gguf"
    (table,) = document["tables"]
    assert (table["coding"], table["bytes_before"], table["bytes_after"]) == ("gguf:q8_0", 60 * 32 * 4, 60 * 34)
    assert outcome.out == (folder / "model-q8_0.report.json").read_text()


def test_export_shows_what_was_written(folder: Path) -> None:
    """People read the error, the bits of a number and the file, and no bases."""
    outcome = run("export", "model.safetensors", "--to", "torch:int4", "--neighbours", 0, "-v")
    assert outcome.code == 0
    assert "torch:int4, 5.00 bits" in outcome.out
    assert "wrote model-int4.safetensors" in outcome.out
    assert "bases" not in outcome.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "model-int4.report.json",
        "model-int4.safetensors",
        "model.safetensors",
    ]


def test_export_of_factors_shows_their_number(folder: Path) -> None:
    """Of PyKEEN's representation people read the bases, and nothing of rounding."""
    assert run("approximate", "model.safetensors", "--bases", 4, "-o", "factors.safetensors", "-q").code == 0
    outcome = run("export", "factors.safetensors", "--to", "pykeen", "--neighbours", 0, "--verbose")
    assert outcome.code == 0
    assert "(4 bases)" in outcome.out
    assert (folder / "factors-pykeen.pt").stat().st_size > 4 * (60 + 32) * 4


def test_a_failed_gate_withholds_the_export(folder: Path) -> None:
    """Exit code 3; the report is written and the file is not, nor in a folder."""
    for kind, name in (("gguf:q4_0", "model-q4_0"), ("compressed-tensors:w4", "model-w4")):
        outcome = run("export", "model.safetensors", "--to", kind, "--fail-if", "error.relative > 0.01")
        assert outcome.code == 3
        assert "not written" in outcome.out
        assert json.loads((folder / f"{name}.report.json").read_text())["withheld"] is True
    assert not [path for path in folder.iterdir() if path.name.startswith(("model-q4_0.g", ".")) or path.is_dir()]


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        (("--to", "gguf:q8"), 2, "--to must be one of gguf:q8_0, ", "Did you mean gguf:q8_0?"),
        ((), 2, "Missing option '--to'", "--help"),
        (("--to", "torch:int8", "-o", "model.safetensors", "-f"), 1, "is the input itself", "--output"),
        (("--to", "torch:int8", "--table", "entity*"), 1, "matches none of the 2 tensors", "entities.weight"),
        (("--to", "torch:int8", "--original", "model.safetensors"), 2, "--original goes with an artifact", "Leave"),
    ],
)
def test_export_refuses_in_words(args: tuple[str, ...], code: int, message: str, hint: str, folder: Path) -> None:
    """What is wrong stands after error:, what to do after hint:, and nothing is written."""
    before = snapshot(folder)
    outcome = run("export", "model.safetensors", *args)
    assert (outcome.code, outcome.out) == (code, "")
    error, _, told = outcome.err.partition("\nhint: ")
    assert error.startswith("error: ")
    assert message in error
    assert hint in told
    assert snapshot(folder) == before


def test_an_older_export_stays_without_force(folder: Path) -> None:
    """A second run is refused, and with --force replaces file and folder."""
    for kind in ("torch:int8", "compressed-tensors:w8"):
        assert run("export", "model.safetensors", "--to", kind, "-q").code == 0
        refused = run("export", "model.safetensors", "--to", kind, "-q")
        assert refused.code == 1
        assert "exists already" in refused.err
        assert run("export", "model.safetensors", "--to", kind, "-q", "--force").code == 0
    assert (folder / "model-w8" / "config.json").exists()
