"""Artifacts that claim more than they hold: refused before anything is allocated, in few words, on every way in."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.artifact.limits import EXPANSION_FREE_BYTES, EXPANSION_MAX
from embcompress.exceptions import MESSAGE_MAX, ArtifactError, EmbcompressError, OutputError
from embcompress.text import brief
from tests.artifact.damage import edit_document, failed
from tests.command_line import run

NAME = "words.weight"


def plain_tensors(rows: int = 60, dim: int = 12, rank: int = 3) -> dict[str, Tensor]:
    """Make the factors of a plain table, and a tensor beside it."""
    generator = torch.Generator().manual_seed(7)
    return {
        f"{NAME}.bases": torch.randn(rank, dim, generator=generator),
        f"{NAME}.weights": torch.randn(rows, rank, generator=generator),
        "bias": torch.arange(4.0),
    }


def forge(path: Path, tensors: Mapping[str, Tensor], **claims: Any) -> Path:
    """Write an artifact of one plain table by hand, checksums made right, with claims of our own."""
    rank, dim = tensors[f"{NAME}.bases"].shape
    table = {
        "kind": "embedding", "coding": "plain", "shape": [len(tensors[f"{NAME}.weights"]), dim], "dtype": "float32",
        "tied_names": [], "rank": rank, "error": {"relative": 0.5}, **claims,
    }  # fmt: skip
    crc32 = {name: f"{zlib.crc32(value.contiguous().numpy().tobytes()):08x}" for name, value in tensors.items()}
    document = {"schema_version": 2, "tables": {NAME: table}, "crc32": crc32, "metadata": {}}
    metadata = {"format": "pt", "embcompress": json.dumps(document)}
    safetensors.torch.save_file(dict(tensors), path, metadata=metadata)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every command what it needs beside the artifact: an original, and the new ids of 60 rows."""
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file({NAME: torch.ones(60, 12), "bias": torch.arange(4.0)}, "original.safetensors")
    Path("ids").write_text("\n".join(map(str, range(60))))
    return tmp_path


COMMANDS: dict[str, Callable[..., object]] = {
    "load": embcompress.load,
    "reconstruct": lambda path, **options: embcompress.reconstruct(path, output="dense.safetensors", **options),
    "evaluate": lambda path, **options: embcompress.evaluate("original.safetensors", path, **options),
    "backfill": lambda path, **options: embcompress.backfill(
        path, max_id=70, base_ids="ids", output="grown.safetensors", **options
    ),
}
ARGUMENTS: dict[str, list[str]] = {
    "inspect": ["inspect", "a.safetensors"],
    "reconstruct": ["reconstruct", "a.safetensors"],
    "evaluate": ["evaluate", "original.safetensors", "a.safetensors"],
    "backfill": ["backfill", "a.safetensors", "--max-id", "70", "--base-ids", "ids"],
}


def assert_refused(path: Path, message: str, *, error: type[EmbcompressError] = ArtifactError) -> None:
    """Check that every way in but `inspect` refuses a file in words that fit on a screen, and leaves nothing."""
    before = set(path.parent.iterdir())
    for command, call in COMMANDS.items():
        with pytest.raises(error, match=message) as caught:
            call(path)
        assert len(caught.value.message) <= MESSAGE_MAX, command
        assert caught.value.hint, command
    assert set(path.parent.iterdir()) == before


def test_megabyte_that_claims_gigabytes_is_refused(folder: Path) -> None:
    """1 MB of factors of a table of 67 GB is refused unless it is asked for; its header can be listed."""
    path = forge(folder / "a.safetensors", plain_tensors(rows=130_000, dim=129_000, rank=1))
    assert path.stat().st_size < 1_050_000
    assert_refused(path, r"has 1\.04 MB and claims tables that take 67\.1 GB, 6\d{4} times as much; 1000 times is")
    assert embcompress.inspect(path).compressed_tables[0].bytes_before == 130_000 * 129_000 * 4
    for arguments in ARGUMENTS.values():
        outcome = run(*arguments)
        if arguments[0] != "inspect":
            assert (outcome.code, outcome.out) == (1, "")
            assert outcome.err.startswith("error: ")
            assert "hint: If you trust the file: --allow-expansion" in outcome.err
        else:
            assert outcome.code == 0
            assert NAME in outcome.out
    loaded = embcompress.load(path, allow_expansion=True)[NAME]
    assert tuple(loaded(torch.tensor([129_999])).shape) == (1, 129_000)


def test_expansion_that_is_asked_for_is_done(folder: Path) -> None:
    """A wide table over one basis beyond the limit is served where it is asked for, at the command line too."""
    tensors = plain_tensors(rows=3000, dim=24_000, rank=1)
    path = forge(folder / "a.safetensors", tensors)
    assert max(EXPANSION_FREE_BYTES, EXPANSION_MAX * path.stat().st_size) < 3000 * 24_000 * 4
    assert run("reconstruct", path, "-o", "dense.safetensors").code == 1
    assert run("reconstruct", path, "-o", "dense.safetensors", "--allow-expansion").code == 0
    dense = safetensors.torch.load_file("dense.safetensors")[NAME]
    torch.testing.assert_close(dense, tensors[f"{NAME}.weights"] @ tensors[f"{NAME}.bases"])
    model = nn.Sequential()
    model.add_module("words", nn.Embedding(3000, 24_000, device="meta"))
    with pytest.raises(ArtifactError, match="claims tables that take 288 MB"):
        embcompress.apply_to(model, path)
    embcompress.apply_to(model, path, allow_expansion=True)
    torch.testing.assert_close(model(torch.tensor([7])).detach(), dense[7:8])


@pytest.mark.parametrize("rows", [10**8, 10**12, 10**15, 10**18])
def test_rows_of_no_bytes_are_refused(folder: Path, rows: int) -> None:
    """A coded table of zeros, whose rows have no bytes, does not become as many rows as its header likes."""
    safetensors.torch.save_file({NAME: torch.zeros(600, 16)}, "zeros.safetensors")
    path = folder / "a.safetensors"
    result = embcompress.approximate("zeros.safetensors", ratio=10, output=path, report="r.json")
    assert result.tables[0].coding == "coded"
    edit_document(path, lambda document: document["tables"][NAME].update(shape=[rows, 16]))
    assert_refused(path, "claims tables that take|has the shape")


def test_coded_ranks_are_those_of_its_rows(folder: Path) -> None:
    """A coded table cannot claim more bases than its rows have columns."""
    safetensors.torch.save_file({NAME: torch.zeros(600, 16)}, "zeros.safetensors")
    path = folder / "a.safetensors"
    embcompress.approximate("zeros.safetensors", ratio=10, output=path, report="r.json")
    edit_document(path, lambda document: document["tables"][NAME].update(rank=10**9))
    assert_refused(path, "has the rank 1000000000")


LONG = "x" * 10**6
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "100,000 tied names": ({"tied_names": [f"t{index}" for index in range(100_000)]}, "has 100000 tied names"),
    "tied to its own bases": ({"tied_names": [f"{NAME}.bases"]}, "'words.weight.bases': it is that of another tensor"),
    "tied to its own weights": ({"tied_names": [f"{NAME}.weights"]}, "it is that of another tensor"),
    "tied to another tensor": ({"tied_names": ["bias"]}, "the name 'bias': it is that of another tensor"),
    "tied to itself": ({"tied_names": [NAME]}, "two dense tensors have it"),
    "tied twice": ({"tied_names": ["head", "head"]}, "the name 'head': two dense tensors have it"),
    "tied to the metadata": ({"tied_names": ["__metadata__"]}, "'__metadata__': it is that of another tensor"),
    "shards of one name": ({"shards": [["a", 30], ["a", 30]]}, "the name 'a': two dense tensors have it"),
    "a shard of its bases": ({"shards": [["a", 30], [f"{NAME}.bases", 30]]}, "it is that of another tensor"),
    "a shard of another tensor": ({"shards": [["bias", 60]]}, "it is that of another tensor"),
    "shards of too many rows": ({"shards": [["a", 10**18], ["b", 30]]}, "shards are"),
    "shards of fewer rows": ({"shards": [["a", 20], ["b", 30]]}, "have other rows"),
    "shards of texts": ({"shards": ["ab", "cd"]}, "shards are"),
    "shards nested": ({"shards": [[["a"], 60]]}, "shards are"),
    "a million axes": ({"shape": [60, *[1] * 10**6]}, r"has the shape \[60, 1, 1, ...\] of 1000001"),
    "64 huge axes": ({"shape": [2**62] * 64}, r"has the shape \(?\["),
    "a long dtype": ({"dtype": LONG}, "which this version does not read"),
    "a long name": ({"tied_names": [LONG, LONG]}, "the name 'xxx.* ... xxx.*': two dense tensors have it"),
    "a long number": ({"rank": 10**3000}, r"has the rank 1000.* ... 0000"),
}  # fmt: skip


@pytest.mark.parametrize(("claim", "message"), CLAIMS.values(), ids=CLAIMS)
def test_claims_that_cannot_be_are_refused(folder: Path, claim: dict[str, Any], message: str) -> None:
    """Names that are taken, sizes that no table has and texts without end: named, cut, and refused by `inspect` too."""
    path = forge(folder / "a.safetensors", plain_tensors(), **claim)
    assert_refused(path, message)
    for command, arguments in ARGUMENTS.items():
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (1, ""), command
        assert outcome.err.startswith("error: "), command
        assert "\nhint: " in outcome.err, command
        assert len(outcome.err) < 2 * MESSAGE_MAX, command


DOCUMENTS: dict[str, tuple[str, str]] = {
    "33 MB": (json.dumps({"schema_version": 2, "notes": "x" * 2**25}), "and at most 33554432 are read"),
    "brackets": ('{"schema_version":2,"notes":[' + "[]," * 1_000_000 + "[]]}", "it has 1000003 lists and objects"),
    "depth": ('{"a":' * 20 + "1" + "}" * 20, "nested more than 16 deep"),
    "no end of depth": ("[" * 100_000, "lists and objects|nested more than 16 deep"),
    "a key twice": ('{"schema_version":2,"schema_version":1}', "names 'schema_version' twice"),
    "a long version": (json.dumps({"schema_version": LONG}), "has schema version 'xxx"),
    "a quote": (r'{"schema_version":2,"a\\":"\"[[[[' + "[" * 30 + '"}', "KeyError: 'tables'"),
}


@pytest.mark.parametrize(("document", "message"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents_that_take_memory_are_refused(folder: Path, document: str, message: str) -> None:
    """A document is looked at before it is parsed: its length, its brackets outside of texts, their depth."""
    path = folder / "a.safetensors"
    safetensors.torch.save_file(plain_tensors(), path, metadata={"format": "pt", "embcompress": document})
    assert_refused(path, message)
    with pytest.raises(ArtifactError, match=message):
        embcompress.inspect(path)


def test_header_of_brackets_is_refused(folder: Path) -> None:
    """Metadata that are nested lists and no text are refused before they are parsed, wherever they stand."""
    header = b'{"__metadata__":{"embcompress":[' + b"[]," * 1_000_000 + b"[]]}}"
    path = folder / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert_refused(path, "it has 1000004 lists and objects in", error=EmbcompressError)


@pytest.mark.parametrize("suffix", ["bases", "weights"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(folder: Path, suffix: str, value: float) -> None:
    """NaN and infinity in what a table is made of are refused where they are read, by the name of the tensor."""
    tensors = plain_tensors()
    tensors[f"{NAME}.{suffix}"][1, 2] = value
    path = forge(folder / "a.safetensors", tensors)
    message = f"tensor '{NAME}.{suffix}' in .* holds NaN or infinity"
    for command in ("load", "reconstruct", "backfill"):
        with pytest.raises(ArtifactError, match=message):
            COMMANDS[command](path)
    outcome = run(*ARGUMENTS["evaluate"], "--json")
    assert outcome.code == 3
    assert ("checksums", NAME) in failed(json.loads(outcome.out))
    assert f"{NAME}.{suffix}' in" in outcome.out


@pytest.mark.parametrize("side", ["left", "right"])
def test_matrices_that_are_not_finite_are_named(folder: Path, side: str) -> None:
    """The factors of matrices are looked at, too."""
    safetensors.torch.save_file({NAME: torch.randn(9, 4, 6)}, "original.safetensors")
    path = folder / "a.safetensors"
    embcompress.approximate("original.safetensors", bases=1, bilinear=NAME, output=path, report="r.json")
    tensors = safetensors.torch.load_file(path)
    tensors[f"{NAME}.{side}"][3] = float("inf")
    header = path.read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    document = json.loads(metadata["embcompress"])
    document["crc32"] = {name: f"{zlib.crc32(value.numpy().tobytes()):08x}" for name, value in tensors.items()}
    safetensors.torch.save_file(tensors, path, metadata={**metadata, "embcompress": json.dumps(document)})
    for command in ("load", "reconstruct"):
        with pytest.raises(ArtifactError, match=rf"'{NAME}\.{side}' in .* holds NaN or infinity"):
            COMMANDS[command](path)


def test_tables_that_no_reader_takes_are_not_written(folder: Path) -> None:
    """A table named as a tensor of another one is refused by `approximate`, before anything is written."""
    safetensors.torch.save_file({"x.weights": torch.randn(50, 9), "x": torch.randn(50, 9)}, "two.safetensors")
    before = set(folder.iterdir())
    with pytest.raises(OutputError, match=r"'x\.weights'"):
        embcompress.approximate("two.safetensors", bases=2, table="*")
    assert set(folder.iterdir()) == before


def test_messages_fit_on_a_screen() -> None:
    """Whatever a file brings into a message, the message keeps its beginning and its end."""
    failure = ArtifactError(f"the name {LONG} is long.", hint=f"Rename {LONG}, please.")
    assert len(failure.message) <= MESSAGE_MAX
    assert len(failure.hint) <= MESSAGE_MAX
    assert failure.message.startswith("the name xxx")
    assert failure.message.endswith("xxx is long.")
    assert ArtifactError("y" * MESSAGE_MAX).message == "y" * MESSAGE_MAX
    assert brief(tuple(range(1000))) == "[0, 1, 2, ...] of 1000"
