"""`verify`: an artifact checked by itself, and every flipped bit of it found."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import embcompress
from embcompress.exceptions import EmbcompressError
from tests.artifact.damage import edit_document, failed, flip
from tests.command_line import run

NAME = "words.weight"
OPTIONS: Mapping[str, dict[str, Any]] = {
    "plain": {"bases": 3},
    "coded": {"ratio": 8, "effort": "fast"},
    "bilinear": {"bases": 1, "bilinear": NAME},
}


@pytest.fixture
def artifact(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compress a small table beside other tensors, tied and with metadata."""
    monkeypatch.chdir(tmp_path)
    options = OPTIONS[getattr(request, "param", "plain")]
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(200, *((4, 4) if "bilinear" in options else (16,)), generator=generator)
    state = {NAME: table, "bias": torch.arange(5.0).half(), "step": torch.tensor(7)}
    safetensors.torch.save_file(state, "model.safetensors", metadata={"format": "pt", "epoch": "3"})
    embcompress.approximate("model.safetensors", output="a.safetensors", neighbours=0, **options)
    return tmp_path / "a.safetensors"


def is_found(path: Path) -> bool:
    """Verify a file; return whether it was refused, or a check failed."""
    try:
        return not all(check.passed for check in embcompress.verify(path).checks)
    except EmbcompressError:
        return True


@pytest.mark.parametrize("artifact", OPTIONS, indirect=True)
def test_verify_of_a_whole_artifact(artifact: Path) -> None:
    """Every check holds of a file as it was written, its report names its hash, and the exit code is 0."""
    outcome = run("verify", artifact, "--json", "--report", "v.md", "--report", "v.xml")
    document = json.loads(outcome.out)
    assert (outcome.code, document["ok"], failed(document)) == (0, True, [])
    assert [check["name"] for check in document["checks"]] == [
        "schema", "header", "sizes", "checksums", "rows", "finite_numbers", "report",
    ]  # fmt: skip
    made = json.loads(Path("a.report.json").read_text())
    assert (document["sha256"], document["report"]) == (
        made["output"]["sha256"],
        str(artifact.parent / "a.report.json"),
    )
    assert (document["schema"], document["tables"]) == (2, [NAME])
    assert "All 7 checks hold." in Path("v.md").read_text()
    assert 'tests="7" failures="0"' in Path("v.xml").read_text()


@pytest.mark.parametrize("artifact", OPTIONS, indirect=True)
def test_verify_finds_every_flipped_bit(artifact: Path) -> None:
    """One bit at 300 random places of each kind of file is found without its report, 100 of them in the header."""
    Path("a.report.json").unlink()
    assert not is_found(artifact)
    whole = artifact.read_bytes()
    generator = torch.Generator().manual_seed(11)
    header_bytes = 8 + int.from_bytes(whole[:8], "little")
    anywhere = torch.randint(len(whole), (200,), generator=generator).tolist()
    in_header = torch.randint(header_bytes, (100,), generator=generator).tolist()
    bits = torch.randint(8, (300,), generator=generator).tolist()
    missed = []
    for place, bit in zip([*anywhere, *in_header], bits, strict=True):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        artifact.write_bytes(damaged)
        if not is_found(artifact):
            missed.append((place, bit, bytes(whole[max(place - 20, 0) : place + 20])))
    assert missed == []


def test_verify_names_the_damaged_tensor(artifact: Path) -> None:
    """A flipped bit of the weights fails the checksum of that tensor and the report's hash, with exit code 3."""
    flip(artifact, f"{NAME}.weights", bit=3, share=0.5)
    outcome = run("verify", artifact, "--json")
    assert outcome.code == 3
    assert failed(json.loads(outcome.out)) == [("checksums", f"{NAME}.weights"), ("report", None)]
    shown = run("verify", artifact)
    assert shown.code == 3
    assert "checksums of words.weight.weights" in shown.out
    assert "a.report.json is of another file" in shown.out


def test_verify_finds_a_changed_header(artifact: Path) -> None:
    """Another word in the document, with the file well-formed, does not have the header's checksum."""
    edit_document(artifact, lambda document: document["metadata"].update(epoch="4"))
    Path("a.report.json").unlink()
    assert failed(json.loads(run("verify", artifact, "--json").out)) == [("header", None)]


def test_verify_finds_bytes_behind_the_last_tensor(artifact: Path) -> None:
    """What was appended belongs to nothing."""
    Path("a.report.json").unlink()
    artifact.write_bytes(artifact.read_bytes() + b"more")
    outcome = run("verify", artifact, "--json")
    assert (outcome.code, failed(json.loads(outcome.out))) == (3, [("sizes", None)])
    assert "4 bytes behind the last tensor" in outcome.out


def test_verify_finds_numbers_that_are_not_finite(artifact: Path) -> None:
    """NaN under a right checksum fails the check of the numbers, which names the tensor."""
    raw = artifact.read_bytes()
    metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    tensors = safetensors.torch.load_file(artifact)
    tensors[f"{NAME}.bases"][0, 0] = float("nan")
    document = json.loads(metadata["embcompress"])
    document["crc32"][f"{NAME}.bases"] = f"{zlib.crc32(tensors[f'{NAME}.bases'].numpy().tobytes()):08x}"
    metadata = {"format": "pt", "embcompress": json.dumps(document)}
    safetensors.torch.save_file(tensors, artifact, metadata=metadata)
    Path("a.report.json").unlink()
    outcome = run("verify", artifact, "--json")
    assert (outcome.code, failed(json.loads(outcome.out))) == (3, [("finite_numbers", NAME)])


def test_verify_refuses_what_is_no_artifact(artifact: Path) -> None:
    """A dense checkpoint and a file that is cut short cannot be read: exit code 1, an error and a hint."""
    outcome = run("verify", "model.safetensors")
    assert (outcome.code, outcome.out) == (1, "")
    assert "is not a compressed file" in outcome.err
    artifact.write_bytes(artifact.read_bytes()[:-1])
    outcome = run("verify", artifact)
    assert (outcome.code, outcome.out) == (1, "")
    assert "cut short" in outcome.err
    assert "\nhint: " in outcome.err


@pytest.mark.parametrize("name", ["plain-v2", "coded-v2", "coded-v1", "bilinear-v2", "grown-coded-v2"])
def test_verify_of_files_without_a_header_checksum(name: str) -> None:
    """Files of earlier versions hold in all that they can be checked for."""
    result = embcompress.verify(Path(__file__).parents[1] / "data" / f"{name}.safetensors")
    assert [check.name for check in result.checks if not check.passed] == []
    assert "header" not in [check.name for check in result.checks]


def test_verify_of_a_folder(artifact: Path) -> None:
    """A folder of several files is whole where its report names the hash of its list, and not where a file changed."""
    embcompress.approximate("model.safetensors", bases=3, output="folder", max_shard_size=600, neighbours=0)
    result = embcompress.verify("folder")
    assert [check.name for check in result.checks if not check.passed] == []
    assert result.report == "folder.report.json"
    first = min(Path("folder").glob("*.safetensors"))
    raw = bytearray(first.read_bytes())
    raw[-1] ^= 1
    first.write_bytes(raw)
    wrong = {check.name for check in embcompress.verify(Path("folder")).checks if not check.passed}
    assert wrong == {"checksums", "report"}
    assert artifact.is_file()


def test_verify_finds_the_report_beside_a_folder(tmp_path: Path) -> None:
    """The dot in a folder's name begins no ending: its report is found, and fails when it is another's."""
    model = tmp_path / "m-v1.5"
    model.mkdir()
    state = {NAME: torch.randn(200, 16, generator=torch.Generator().manual_seed(4))}
    safetensors.torch.save_file(state, model / "model.safetensors")
    made = embcompress.approximate(model, bases=3, neighbours=0)
    checks = {check.name: check.passed for check in embcompress.verify(made.output.path).checks}
    assert checks["report"]
    assert embcompress.verify(made.output.path).sha256 == made.output.sha256
    report = tmp_path / "m-v1.5-3bases.report.json"
    report.write_text(report.read_text().replace(str(made.output.sha256), "0" * 64))
    checks = {check.name: check.passed for check in embcompress.verify(made.output.path).checks}
    assert not checks["report"]
