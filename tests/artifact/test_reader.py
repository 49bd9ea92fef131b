"""The compressed file: every byte of it accounted for, and no word of a changed one believed."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import embcompress
from embcompress.artifact.reader import is_artifact, read_artifact
from embcompress.artifact.writer import Entry, SafetensorsWriter, file_bytes
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.safetensors_file import DTYPES
from embcompress.commands.approximate import approximate
from embcompress.commands.inspect import inspect
from embcompress.commands.reconstruct import reconstruct
from embcompress.exceptions import ArtifactError, OutputError
from embcompress.nn.loading import load

ROWS, DIM, RANK = 60, 12, 3
METADATA = {"format": "pt", "model": "ü \N{ROCKET}", "step": "7"}


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """Write a small model: a table, a vector of a narrower and one of a wider dtype, and metadata."""
    generator = torch.Generator().manual_seed(5)
    path = tmp_path / "model.safetensors"
    state = {
        "entities.weight": torch.randn(ROWS, DIM, generator=generator),
        "bias": torch.randn(7, generator=generator).to(torch.float16),
        "step": torch.tensor([3, 4]),
        "mask": torch.tensor([True, False, True]),
        "none": torch.empty(0, 4),
    }
    safetensors.torch.save_file(state, path, metadata=METADATA)
    return path


@pytest.fixture
def artifact(original: Path) -> Path:
    """Compress the small model."""
    path = original.with_name("small.safetensors")
    approximate(original, bases=RANK, output=path)
    return path


def parse(path: Path) -> tuple[dict[str, Any], bytes]:
    """Take a safetensors file apart by hand: its header, and its buffer."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def rebuild(path: Path, change: Callable[[dict[str, Any]], object], *, raw: str | None = None) -> None:
    """Write an artifact again with its own JSON changed in place, or replaced by a text."""
    header, buffer = parse(path)
    document = json.loads(header["__metadata__"]["embcompress"])
    change(document)
    header["__metadata__"]["embcompress"] = json.dumps(document) if raw is None else raw
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + buffer)


def test_artifact_header_is_canonical(artifact: Path) -> None:
    """The header is JSON padded to 8 bytes, with format pt, and its document is compact JSON with sorted keys."""
    raw = artifact.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    assert raw[8:9] == b"{"
    header, _ = parse(artifact)
    assert list(header["__metadata__"]) == ["crc32", "embcompress", "format"]
    assert header["__metadata__"]["format"] == "pt"
    text = header["__metadata__"]["embcompress"]
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert document["schema_version"] == 2
    assert document["metadata"] == METADATA
    error = document["tables"]["entities.weight"].pop("error")
    assert document["tables"] == {
        "entities.weight": {
            "kind": "embedding",
            "coding": "plain",
            "shape": [ROWS, DIM],
            "dtype": "float32",
            "tied_names": [],
            "rank": RANK,
        }
    }
    assert list(error) == ["relative"]
    assert 0 < error["relative"] < 1


def test_artifact_has_the_crc32_of_every_tensor(artifact: Path) -> None:
    """Each stored tensor's checksum is zlib's of its bytes in the file, eight hexadecimal digits."""
    header, buffer = parse(artifact)
    checksums = json.loads(header.pop("__metadata__")["embcompress"])["crc32"]
    assert checksums == {
        name: f"{zlib.crc32(buffer[slice(*entry['data_offsets'])]):08x}" for name, entry in header.items()
    }


def test_artifact_aligns_its_tensors(artifact: Path) -> None:
    """Tensors lie by descending size of their elements, without gaps, each at a multiple of that size."""
    header, buffer = parse(artifact)
    start = artifact.stat().st_size - len(buffer)
    del header["__metadata__"]
    item_bytes = {"I64": 8, "F32": 4, "F16": 2, "BOOL": 1, "U8": 1}
    factors = ["entities.weight.bases", "entities.weight.weights"]
    assert list(header) == ["step", *factors, "none", "bias", "mask"]
    end = 0
    for entry in header.values():
        assert entry["data_offsets"][0] == end
        assert (start + end) % item_bytes[entry["dtype"]] == 0
        end = entry["data_offsets"][1]
    assert end == len(buffer)


def test_artifact_names_no_place(artifact: Path, original: Path) -> None:
    """Neither the path nor the name of the input is in the file, so that it can be published."""
    raw = artifact.read_bytes()
    assert str(original.parent).encode() not in raw
    assert original.name.encode() not in raw
    assert b"small" not in raw


def test_writer_is_read_by_safetensors(tmp_path: Path) -> None:
    """All 16 dtypes, scalars and empty tensors come back from safetensors' own reader as they were written."""
    entries = [Entry(name, name, (2, 3)) for name in DTYPES.values()]
    entries += [Entry("scalar", "float64", ()), Entry("nothing", "int32", (0, 5))]
    written = {entry.name: bytes(value % 2 for value in range(entry.nbytes)) for entry in entries}
    path = tmp_path / "all.safetensors"
    with SafetensorsWriter(path, entries, metadata={"b": "2", "a": "1" * 50}) as writer:
        for entry in writer.entries:
            middle = entry.nbytes // 2
            writer.write(entry, [written[entry.name][:middle], written[entry.name][middle:]])
        writer.finish({"b": "2", "a": "1"})
        writer.commit()
    assert path.stat().st_size == writer.nbytes
    tensors = safetensors.torch.load_file(path)
    assert {name: (str(value.dtype), tuple(value.shape)) for name, value in tensors.items()} == {
        entry.name: (f"torch.{entry.dtype}", entry.shape) for entry in entries
    }
    for name, value in tensors.items():
        assert value.reshape(-1).view(torch.uint8).numpy().tobytes() == written[name]


def test_writer_places_tensors_that_grow(tmp_path: Path) -> None:
    """Tensors of a length that is known last follow each other, also where nothing comes first, or one is rewound."""
    path = tmp_path / "grown"
    first, second, third = (Entry(name, "uint8", (4,), is_growing=True) for name in "abc")
    with SafetensorsWriter(path, [first, second, third, Entry("d", "uint8", (2,))], metadata={}) as writer:
        writer.append(writer.entries[0], b"DD")
        writer.append(first, b"AAAA")
        for part in (b"", b"XX", b"", b"XXXXXX"):
            writer.append(second, part)
        writer.rewind(second)
        for part in (b"", b"BB", b"", b"BBB"):
            writer.append(second, part)
        writer.append(third, b"")
        writer.append(third, b"C")
        writer.finish({})
        writer.commit()
    tensors = safetensors.torch.load_file(path)
    assert {name: bytes(values.tolist()) for name, values in tensors.items()} == {
        "a": b"AAAA", "b": b"BBBBB", "c": b"C", "d": b"DD",
    }  # fmt: skip
    assert path.stat().st_size == 8 + writer.header_bytes + 12


def test_file_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    """Sizes are counted without a writer as the file has them, in whatever order its tensors are named."""
    entries = [Entry("a", "uint8", (3,)), Entry("b" * 90, "float64", (11,)), Entry("c", "float16", (2, 5))]
    path, metadata = tmp_path / "a", {"k": "v" * 13}
    with SafetensorsWriter(path, entries, metadata=metadata) as writer:
        for entry in entries:
            writer.write(entry, [bytes(entry.nbytes)])
        writer.finish(metadata)
        writer.commit()
    assert file_bytes(entries, metadata) == file_bytes(entries[::-1], metadata) == path.stat().st_size
    grown = [*entries, Entry("d", "uint8", (99,), is_growing=True)]
    assert file_bytes(grown, metadata) == SafetensorsWriter(path, grown, metadata=metadata).nbytes


def test_writer_leaves_nothing_without_commit(tmp_path: Path) -> None:
    """A file that was finished but not committed is gone."""
    with SafetensorsWriter(tmp_path / "a", [Entry("x", "uint8", (3,))], metadata={}) as writer:
        writer.write(writer.entries[0], [b"abc"])
        writer.finish({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["a", "b", "a"], ["a", "__metadata__"]])
def test_writer_refuses_a_name_taken(tmp_path: Path, names: list[str]) -> None:
    """Two tensors of one name, or one named as the metadata, are refused before a file is made."""
    with pytest.raises(OutputError, match=f"would be named '{names[-1]}'"):
        SafetensorsWriter(tmp_path / "a", [Entry(name, "uint8", (1,)) for name in names], metadata={})
    assert list(tmp_path.iterdir()) == []


def test_writer_refuses_a_header_no_reader_takes(tmp_path: Path) -> None:
    """Metadata beyond the format's 100 MB are refused before a file is made."""
    with pytest.raises(OutputError, match="at most 100000000"):
        SafetensorsWriter(tmp_path / "a", [], metadata={"a": "x" * 10**8})


@pytest.mark.parametrize("suffix", ["bases", "weights"])
def test_approximate_refuses_a_name_that_is_taken(tmp_path: Path, suffix: str) -> None:
    """A checkpoint that has a T.bases of its own is refused, in a dry run too, and nothing is written."""
    path = tmp_path / "model.safetensors"
    taken = f"entities.weight.{suffix}"
    safetensors.torch.save_file({"entities.weight": torch.ones(20, 5), taken: torch.ones(3)}, path)
    for dry_run in (True, False):
        with pytest.raises(OutputError, match=f"would be named '{taken}'"):
            approximate(path, bases=1, dry_run=dry_run)
    assert list(tmp_path.iterdir()) == [path]


def test_reconstruct_restores_the_metadata(artifact: Path, original: Path) -> None:
    """The dense file has the original's metadata and no more."""
    dense = Path(reconstruct(artifact).output.path)
    assert parse(dense)[0]["__metadata__"] == parse(original)[0]["__metadata__"] == METADATA


def assert_refused(path: Path, message: str) -> None:
    """Check that load and reconstruct both refuse an artifact and leave nothing behind."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(ArtifactError, match=message):
        load(path)
    with pytest.raises(ArtifactError, match=message):
        reconstruct(path)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["entities.weight.weights", "entities.weight.bases", "step", "bias", "mask"])
@pytest.mark.parametrize("bit", [0, 7])
def test_artifact_with_a_flipped_bit_is_refused(artifact: Path, name: str, bit: int) -> None:
    """One flipped bit in any tensor is named with both checksums by reconstruct, and by load if it is a factor's."""
    header, _ = parse(artifact)
    raw = bytearray(artifact.read_bytes())
    end = len(raw) - max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    raw[end + header[name]["data_offsets"][1] - 1] ^= 1 << bit
    artifact.write_bytes(raw)
    message = f"tensor '{name}' in .* has the crc32 .* the file was changed or damaged"
    if name.startswith("entities"):
        assert_refused(artifact, message)
    before = sorted(artifact.parent.iterdir())
    with pytest.raises(ArtifactError, match=message):
        reconstruct(artifact)
    assert sorted(artifact.parent.iterdir()) == before


def test_artifact_of_a_newer_schema_is_refused(artifact: Path) -> None:
    """A schema this version does not know is named, with the advice to update."""
    rebuild(artifact, lambda document: document.update(schema_version=3))
    assert_refused(artifact, r"has schema version 3; this version reads 1 and 2\. Update embcompress")


def table_of(document: dict[str, Any]) -> dict[str, Any]:
    """Find what a document says of its one table."""
    fields: dict[str, Any] = document["tables"]["entities.weight"]
    return fields


TABLE_LIES: dict[str, dict[str, Any]] = {
    "huge rank": {"rank": 10**30},
    "rank not stored": {"rank": RANK + 1},
    "rank 0": {"rank": 0},
    "rank true": {"rank": True},
    "rank text": {"rank": "3"},
    "rank float": {"rank": 3.0},
    "shape text": {"shape": "60"},
    "shape number": {"shape": 60},
    "shape 1-D": {"shape": [ROWS]},
    "shape of bools": {"shape": [True, True]},
    "shape negative": {"shape": [-ROWS, -DIM]},
    "shape of others": {"shape": [ROWS, DIM + 1]},
    "shape nested": {"shape": [[ROWS], DIM]},
    "dtype unknown": {"dtype": "float31"},
    "dtype of integers": {"dtype": "int32"},
    "dtype not stored": {"dtype": "complex128"},
    "dtype complex, bases real": {"dtype": "complex64"},
    "dtype list": {"dtype": []},
    "dtype of another module": {"dtype": "nn"},
    "tied names text": {"tied_names": "head"},
    "tied names of numbers": {"tied_names": [1]},
    "tied name is its own": {"tied_names": ["entities.weight"]},
    "tied name of a copy": {"tied_names": ["bias"]},
    "tied names twice": {"tied_names": ["head", "head"]},
    "tied name no text": {"tied_names": ["\ud800"]},
    "error text": {"error": {"relative": "0.5"}},
    "error NaN": {"error": {"relative": math.nan}},
    "error infinite": {"error": {"relative": math.inf}},
    "error huge": {"error": {"relative": 10**400}},
    "error negative": {"error": {"relative": -0.5}},
    "error of nothing": {"error": 0.5},
    "kind of a later version": {"kind": "bilinear"},
    "coding of a later version": {"coding": "codes"},
}


@pytest.mark.parametrize("lie", TABLE_LIES.values(), ids=TABLE_LIES)
def test_artifact_that_lies_of_its_table_is_refused(artifact: Path, lie: dict[str, Any]) -> None:
    """Wrong types, sizes that are not those of the tensors, names that collide: an ArtifactError, on every way in."""
    rebuild(artifact, lambda document: table_of(document).update(lie))
    assert_refused(artifact, "small.safetensors|table 'entities.weight'")
    with pytest.raises(ArtifactError):
        inspect(artifact)


@pytest.mark.parametrize("key", ["shape", "dtype", "rank", "tied_names", "error", "kind", "coding"])
def test_artifact_that_misses_a_key_of_its_table_is_refused(artifact: Path, key: str) -> None:
    """Every key of a table is needed, and the message names the one that is missing."""
    rebuild(artifact, lambda document: table_of(document).pop(key))
    assert_refused(artifact, f"does not follow the schema of artifacts .*{key}")


@pytest.mark.parametrize("key", ["schema_version", "tables", "crc32"])
@pytest.mark.parametrize("value", [..., None, 7, "text", [1], {"a": 1}])
def test_artifact_that_misses_a_part_is_refused(artifact: Path, key: str, value: object) -> None:
    """Each part of the document is needed and of one type."""

    def change(document: dict[str, Any]) -> None:
        document.pop(key)
        if value is not ...:
            document[key] = value

    rebuild(artifact, change)
    assert_refused(artifact, "small.safetensors")


@pytest.mark.parametrize("value", [{"a": 1}, {"\ud800": "a"}, {"a": "\ud800"}, "text", [1]])
def test_artifact_with_false_metadata_is_refused(artifact: Path, value: object) -> None:
    """What the original's metadata were has to be a map of texts that a file can hold."""
    rebuild(artifact, lambda document: document.update(metadata=value))
    assert_refused(artifact, "does not follow the schema of artifacts")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 10**5, "9" * 10**5, '{"schema_version":1}'])
def test_artifact_with_another_text_for_a_document_is_refused(artifact: Path, text: str) -> None:
    """No JSON, JSON of another kind, deep nesting and endless numbers are refused in words."""
    rebuild(artifact, lambda _: None, raw=text)
    assert_refused(artifact, "does not follow the schema of artifacts")


def test_artifact_whose_checksums_are_gone_is_refused(artifact: Path) -> None:
    """A tensor without a checksum is not trusted."""
    rebuild(artifact, lambda document: document.update(crc32={}))
    assert_refused(artifact, "where its header says None")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64], ids=str)
def test_artifact_whose_factors_are_no_reals_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    """Factors of a dtype that a table of reals cannot have are refused before they are multiplied."""
    path = tmp_path / "small.safetensors"
    document = {
        "schema_version": 1,
        "tables": {
            "t": {
                "kind": "embedding", "coding": "plain", "shape": [4, 3], "dtype": "float32", "tied_names": [],
                "rank": 1, "error": {"relative": 0.5},
            }
        },
        "crc32": {},
        "metadata": {},
    }  # fmt: skip
    for name in ("t.bases", "t.weights"):
        state = {"t.bases": torch.ones(1, 3), "t.weights": torch.ones(4, 1)}
        state[name] = state[name].to(dtype)
        safetensors.torch.save_file(state, path, metadata={"format": "pt", "embcompress": json.dumps(document)})
        assert_refused(path, f"holds '{name}' as {str(dtype).removeprefix('torch.')}, which cannot be a factor")


def test_a_dense_checkpoint_is_no_artifact(original: Path) -> None:
    """A checkpoint that was never compressed is refused, with the command that compresses."""
    with open_checkpoint(original) as checkpoint:
        assert not is_artifact(checkpoint)
        with pytest.raises(ArtifactError, match=r"is not a compressed file.*embcompress approximate"):
            read_artifact(checkpoint)


def test_load_is_public_and_checks(artifact: Path) -> None:
    """`embcompress.load` gives the table by name, with the stored factors to the bit, on the device asked for."""
    (name, module), *others = embcompress.load(artifact, device="cpu").items()
    stored = safetensors.torch.load_file(artifact)
    assert (name, others) == ("entities.weight", [])
    assert torch.equal(module.bases(), stored["entities.weight.bases"])
    assert torch.equal(module.weights, stored["entities.weight.weights"])
    assert all(parameter.requires_grad for parameter in module.parameters())
