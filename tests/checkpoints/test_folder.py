"""Hugging Face folders: which files are read, under which names, and none outside of the folder."""

from __future__ import annotations

import json
import os
import random
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.checkpoints.hugging_face.file_names import choose_weights, is_companion, missing_number
from embcompress.exceptions import CheckpointError
from embcompress.tables.rows import read_bytes

INDEX = "model.safetensors.index.json"
SPARE_DESCRIPTORS = 110  # of a process: a checkpoint keeps fewer files open


def ramp(*shape: int, start: int = 0) -> Tensor:
    """Count in float32, no two values alike."""
    count = torch.Size(shape).numel()
    return torch.arange(start, start + count, dtype=torch.float32).view(shape)


def save_shards(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], *, index: str = INDEX) -> Path:
    """Write files of tensors and the index that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in shards.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if name.endswith(".safetensors"):
            save_file(dict(tensors), folder / name, metadata={"format": "pt", "first": name})
        else:
            torch.save(dict(tensors), folder / name)
    write_index(folder, {tensor: name for name, tensors in shards.items() for tensor in tensors}, index=index)
    return folder


def write_index(folder: Path, weight_map: Mapping[str, object], *, index: str = INDEX) -> None:
    """Write an index as transformers does."""
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


def values_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Read all tensors."""
    return {
        stored.name: b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))) for stored in checkpoint.tensors
    }


def read(path: Path) -> dict[str, bytes]:
    """Open a checkpoint and read all of it."""
    with open_checkpoint(path) as checkpoint:
        return values_of(checkpoint)


def as_bytes(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Give the bytes of each tensor."""
    return {name: tensor.contiguous().view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


@pytest.mark.parametrize("index", [INDEX, "pytorch_model.bin.index.json", "other.index.json"])
def test_folder_reads_a_table_in_shards_over_several_files(tmp_path: Path, index: str) -> None:
    """128 shards of an n-gram table in 10 files are one table, from the folder and from its index."""
    ending = "bin" if ".bin." in index else "safetensors"
    parts = [ramp(3, 4, start=12 * number) for number in range(128)]
    files = {
        f"model-{number + 1:05}-of-00010.{ending}": {
            f"ngram_embedding.shard_{shard}.weight": parts[shard] for shard in range(number, 128, 10)
        }
        for number in range(10)
    }
    save_shards(tmp_path / "model", files, index=index)
    expected = as_bytes({"ngram_embedding.weight": torch.cat(parts)})
    assert read(tmp_path / "model" / index) == expected
    with open_checkpoint(tmp_path / "model") as checkpoint:
        assert values_of(checkpoint) == expected
        assert checkpoint.listing.left_out == ()
        assert checkpoint.tensors[0].shape == (384, 4)
        metadata = {"format": "pt", "first": "model-00001-of-00010.safetensors"}
        assert checkpoint.listing.metadata == ({} if ending == "bin" else metadata)
        assert checkpoint.nbytes == sum(file.stat().st_size for file in (tmp_path / "model").iterdir())


def test_folder_prefers_safetensors_and_says_so(tmp_path: Path) -> None:
    """Of one model in two forms and a compressed copy, the first of STEMS is read, and the others are named."""
    save_file({"a": ramp(4, 2)}, tmp_path / "model.safetensors")
    torch.save({"a": ramp(4, 2)}, tmp_path / "pytorch_model.bin")
    save_file({"a.bases": ramp(1, 2)}, tmp_path / "model-8x.safetensors", metadata={"embcompress": "{}"})
    (tmp_path / "optimizer.safetensors").write_bytes(b"")
    (tmp_path / "tf_model.h5").write_bytes(b"")
    with open_checkpoint(tmp_path) as checkpoint:
        assert values_of(checkpoint) == as_bytes({"a": ramp(4, 2)})
        (left,) = checkpoint.listing.left_out
        assert left.name == "model-8x.safetensors and 1 more"
        assert left.reason == "weights beside model.safetensors, which is read instead"


def test_folder_unites_files_without_an_index(tmp_path: Path) -> None:
    """Safetensors files under any names are one model; a compressed one among them is left out."""
    save_file({"b": ramp(2, 2)}, tmp_path / "rank1.safetensors")
    save_file({"a": ramp(4, 2)}, tmp_path / "rank0.safetensors")
    save_file({"a.bases": ramp(1, 2)}, tmp_path / "rank-8x.safetensors", metadata={"embcompress": "{}"})
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(values_of(checkpoint).items()) == list(as_bytes({"a": ramp(4, 2), "b": ramp(2, 2)}).items())
        assert [left.name for left in checkpoint.listing.left_out] == ["rank-8x.safetensors"]
        assert "embcompress" not in checkpoint.listing.metadata


@pytest.mark.parametrize("root", ["", ".", None], ids=["sentence-transformers", "model2vec", "no list"])
def test_folder_names_tensors_after_subfolders(tmp_path: Path, root: str | None) -> None:
    """Modules of sentence-transformers are read with the folder before the name, those at the root under their own."""
    for name in ("1_Pooling", "2_Dense", "2024_Dense", "onnx"):
        (tmp_path / name).mkdir()
    save_file({"embeddings.word_embeddings.weight": ramp(5, 2)}, tmp_path / "model.safetensors")
    torch.save({"linear.weight": ramp(2, 2), "linear.bias": ramp(2)}, tmp_path / "2_Dense" / "pytorch_model.bin")
    save_file({"x": ramp(2)}, tmp_path / "onnx" / "model.safetensors")
    save_file({"x": ramp(2)}, tmp_path / "2024_Dense" / "model.safetensors")
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    if root is not None:
        paths = [root, "1_Pooling", "./2_Dense/", "3_Normalize"]
        (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "path": path} for path in paths]))
    with open_checkpoint(tmp_path) as checkpoint:
        assert values_of(checkpoint) == as_bytes(
            {
                "embeddings.word_embeddings.weight": ramp(5, 2),
                "2_Dense/linear.weight": ramp(2, 2),
                "2_Dense/linear.bias": ramp(2),
            }
        )
        names = [path.relative_to(tmp_path).as_posix() for path in checkpoint.listing.companions]
        assert names == [*([] if root is None else ["modules.json"]), "1_Pooling/config.json"]


def test_folder_reads_modules_of_a_router(tmp_path: Path) -> None:
    """Beside a list of modules, subfolders may have a route before their number, or any name that the list has."""
    for name in ("query_0_StaticEmbedding", "words"):
        (tmp_path / name).mkdir()
        save_file({"embedding.weight": ramp(3, 2)}, tmp_path / name / "model.safetensors")
    (tmp_path / "modules.json").write_text('[{"path": "words"}]')
    assert sorted(read(tmp_path)) == ["query_0_StaticEmbedding/embedding.weight", "words/embedding.weight"]


def test_companions_are_what_belongs_to_the_model() -> None:
    """Configuration, tokenizer, vocabulary, licence; neither weights of any framework nor what training leaves."""
    own = """config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json vocab.txt
        vocab.json merges.txt modules.json tokenizer.model spiece.model README.md LICENSE LICENSE.txt added_tokens.json
        config_sentence_transformers.json sentence_bert_config.json preprocessor_config.json chat_template.jinja"""
    others = """model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack model.onnx model.gguf optimizer.pt
        model.safetensors.index.json trainer_state.json training_args.bin notes.txt vocab.onnx modeling_x.py"""
    assert [name for name in own.split() if not is_companion(name)] == []
    assert [name for name in others.split() if is_companion(name)] == []


@pytest.mark.parametrize(
    ("names", "read"),
    [
        ("model.safetensors model.safetensors.index.json pytorch_model.bin", "model.safetensors"),
        ("model.safetensors.index.fp16.json model.safetensors.index.json consolidated.safetensors", INDEX),
        ("pytorch_model.bin.index.json consolidated.safetensors", "consolidated.safetensors"),
        ("pytorch_model.bin.index.json tf_model.h5.index.json", "pytorch_model.bin.index.json"),
        ("adapter_model.safetensors diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors"),
        ("consolidated.01.pth consolidated.00.pth", "consolidated.00.pth consolidated.01.pth"),
        ("tf_model.h5 flax_model.msgpack optimizer.bin training_args.bin trained_model.pkl tf_model.h5.index.json", ""),
    ],
)
def test_choose_weights_prefers_the_file_that_transformers_reads(names: str, read: str) -> None:
    """One file before an index, safetensors before torch.save, nothing of another framework."""
    chosen = choose_weights(names.split())
    assert " ".join([chosen.index, *chosen.names] if chosen else []).strip() == read


def test_missing_number_names_the_first() -> None:
    """Of the largest possible count, too, which is not gone through."""
    names = [f"a-{number:05}-of-00003.bin" for number in (1, 2, 3)]
    assert missing_number(names) == ""
    assert missing_number(names[1:]) == names[0]
    assert missing_number(["a-000001-of-999999.bin"]) == "a-000002-of-999999.bin"


BAD_NAMES = ("/etc/passwd", "../secret.safetensors", "a/../../secret.safetensors", "C:secret.safetensors", "C:/secret")
BAD_NAMES += (r"..\secret.safetensors", "a//b", ".", "", "a\0b")


@pytest.mark.parametrize("name", [*BAD_NAMES, 7, None, ["a"]])
def test_index_names_files_of_its_folder_alone(tmp_path: Path, name: object) -> None:
    """A name that leads elsewhere on any system is refused before a file is opened; the message has it."""
    save_file({"a": ramp(2, 2)}, tmp_path / "secret.safetensors")
    (tmp_path / "model").mkdir()
    write_index(tmp_path / "model", {"a": name})
    with pytest.raises(CheckpointError, match="puts 'a' into") as caught:
        open_checkpoint(tmp_path / "model")
    assert repr(str(name)) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("linked", ["shard", "folder of the shard", "single file", "index", "module"])
def test_links_out_of_a_folder_are_refused(tmp_path: Path, linked: str) -> None:
    """A file, a folder or an index that is a link to another place is not read; a link within the folder is."""
    outside = save_shards(tmp_path / "outside", {"a.safetensors": {"a": ramp(2, 2)}})
    model = tmp_path / "model"
    model.mkdir()
    if linked == "shard":
        write_index(model, {"a": "a.safetensors"})
        (model / "a.safetensors").symlink_to(outside / "a.safetensors")
    elif linked == "folder of the shard":
        write_index(model, {"a": "b/a.safetensors"})
        (model / "b").symlink_to(outside)
    elif linked == "single file":
        (model / "model.safetensors").symlink_to(outside / "a.safetensors")
    elif linked == "index":
        (model / INDEX).symlink_to(outside / INDEX)
    else:
        (model / "modules.json").write_text('[{"path": "words"}]')
        (model / "words").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"outside of its folder|is no folder in its own"):
        open_checkpoint(model)
    for entry in model.iterdir():
        entry.unlink()
    save_file({"a": ramp(2, 2)}, model / "own.safetensors")
    (model / "model.safetensors").symlink_to("own.safetensors")
    assert read(model) == as_bytes({"a": ramp(2, 2)})


def test_companions_outside_are_left_out(tmp_path: Path) -> None:
    """A tokenizer that is a link to another place belongs to no folder."""
    (tmp_path / "secret").write_text("{}")
    model = save_shards(tmp_path / "model", {"a.safetensors": {"a": ramp(2, 2)}})
    (model / "tokenizer.json").symlink_to(tmp_path / "secret")
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.listing.companions == ()
        assert [left.name for left in checkpoint.listing.left_out] == ["tokenizer.json"]


@pytest.mark.parametrize("is_shared", [False, True])
def test_snapshot_of_the_hub_may_link_to_its_blobs(tmp_path: Path, is_shared: bool) -> None:
    """Links of a snapshot lead to the blobs of its model, and those to the store of all models; to no other file."""
    model = tmp_path / "models--org--name"
    snapshot = model / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    blob, store = model / "blobs" / ("1" * 40), tmp_path / "blobs" / "ab" / ("ab" + "2" * 62)
    if is_shared:
        store.parent.mkdir(parents=True)
        (tmp_path / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
        blob.symlink_to(os.path.relpath(store, blob.parent))
    save_file({"a": ramp(2, 2)}, store if is_shared else blob)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
    assert read(snapshot) == as_bytes({"a": ramp(2, 2)})
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    save_file({"a": ramp(2, 2)}, other / "1")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(other / "1")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(snapshot)


def remove_a_shard(folder: Path) -> None:
    """Remove the second file."""
    (folder / "model-00002-of-00002.safetensors").unlink()


def remove_shard_and_index(folder: Path) -> None:
    """Remove the second file and the index."""
    remove_a_shard(folder)
    (folder / INDEX).unlink()


def repeat_a_tensor(folder: Path) -> None:
    """Put a tensor of the first file into the second, with one other value."""
    save_file({"b": ramp(2, 2), "a": ramp(2, 2) + torch.eye(2)}, folder / "model-00002-of-00002.safetensors")


def take_a_tensor(folder: Path) -> None:
    """Leave a tensor out of the file that the index puts it into."""
    save_file({"c": ramp(2, 2)}, folder / "model-00002-of-00002.safetensors")


def add_a_tensor(folder: Path) -> None:
    """Put a tensor into a file that the index does not name."""
    save_file({"b": ramp(2, 2), "c": ramp(2, 2)}, folder / "model-00002-of-00002.safetensors")


def cut_a_shard(folder: Path) -> None:
    """Cut the second file short."""
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def point_to_lfs(folder: Path) -> None:
    """Put a pointer of git-lfs into the place of the second file."""
    (folder / "model-00002-of-00002.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def write_into_index(text: str) -> Callable[[Path], object]:
    """Replace the index by a text."""
    return lambda folder: (folder / INDEX).write_text(text)


DAMAGES: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (remove_a_shard, r"no file 'model-00002-of-00002.safetensors', into which .* puts 'b'"),
    "missing shard, no index": (remove_shard_and_index, r"no file 'model-00002-of-00002.safetensors', and others"),
    "two values": (repeat_a_tensor, r"'a' is in model-00001-of-00002.safetensors and in model-00002-.*they differ"),
    "missing tensor": (take_a_tensor, r"puts 'b' into model-00002-of-00002.safetensors, which does not hold it"),
    "tensor without a file": (add_a_tensor, r"model-00002-of-00002.safetensors holds 'c', which .* does not name"),
    "cut": (cut_a_shard, r"model-00002-of-00002.safetensors should be \d+ bytes"),
    "git-lfs": (point_to_lfs, r"model-00002-of-00002.safetensors is a git-lfs pointer"),
    "empty file": (lambda folder: (folder / "model-00001-of-00002.safetensors").write_bytes(b""), r"is empty"),
    "index: a list": (write_into_index('{"weight_map": []}'), "has no 'weight_map'"),
    "index: no object": (write_into_index("[1]"), "has no 'weight_map'"),
    "index: a name twice": (write_into_index('{"weight_map": {"a": "b", "a": "c"}}'), "has a name twice"),
    "index: cut": (write_into_index('{"weight_map": {"a": '), "is no JSON"),
    "index: deep": (write_into_index("[" * 100_000), "is no JSON"),
    "index: lone surrogate": (write_into_index(r'{"weight_map": {"\ud800": "b"}}'), "is no JSON"),
    "modules: elsewhere": (lambda folder: (folder / "modules.json").write_text('[{"path": "../x"}]'), r"'../x', which"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    """The message names the file or the tensor, the hint says what to do; no file is left open."""
    shards = {f"model-0000{number}-of-00002.safetensors": {name: ramp(2, 2)} for number, name in ((1, "a"), (2, "b"))}
    folder = save_shards(tmp_path / "model", shards)
    make, message = DAMAGES[damage]
    make(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(folder)
    assert caught.value.hint


def test_index_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    """An index that takes more than the header of a safetensors file may is refused by its size alone."""
    with (tmp_path / INDEX).open("wb") as file:
        file.write(b'{"weight_map": {')
        file.truncate(10**12)
    with pytest.raises(CheckpointError, match="has 1000000000000 bytes, and at most 100000000 are read"):
        open_checkpoint(tmp_path)


def test_equal_tensors_of_two_files_are_one(tmp_path: Path) -> None:
    """A tensor that two files hold with the same bits is listed once, from the file that the index names."""
    folder = save_shards(tmp_path, {"a.safetensors": {"x": ramp(2, 2)}, "b.safetensors": {"x": ramp(2, 2)}})
    with open_checkpoint(folder) as checkpoint:
        assert values_of(checkpoint) == as_bytes({"x": ramp(2, 2)})
        assert checkpoint.files.locate(checkpoint.tensors[0].start)[0].name == str(folder / "b.safetensors")


def test_compressed_module_is_refused(tmp_path: Path) -> None:
    """Of a compressed model in a subfolder the names are not those that its document has."""
    (tmp_path / "0_StaticEmbedding").mkdir()
    path = tmp_path / "0_StaticEmbedding" / "model.safetensors"
    save_file({"a": ramp(2, 2)}, path, metadata={"embcompress": "{}"})
    with pytest.raises(CheckpointError, match="is compressed already") as caught:
        open_checkpoint(tmp_path)
    assert str(path.parent) in caught.value.hint


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    """A folder that is a model and holds weights of other frameworks alone."""
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "tf_model.h5").write_bytes(b"\x89HDF")
    with pytest.raises(CheckpointError, match="holds no weights"):
        open_checkpoint(tmp_path)


def test_three_hundred_files_take_few_descriptors(tmp_path: Path) -> None:
    """A table over 300 files is read where a process may open 110 more; its rows are read in order, then backwards."""
    parts = {
        f"s/{number}.safetensors": {f"emb.shard_{number}.weight": ramp(2, 3, start=number)} for number in range(300)
    }
    folder = save_shards(tmp_path / "model", parts)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + SPARE_DESCRIPTORS, hard))
    try:
        with open_checkpoint(folder) as checkpoint:
            table = torch.cat([tensor for part in parts.values() for tensor in part.values()])
            assert values_of(checkpoint) == as_bytes({"emb.weight": table})
            for number in reversed(range(300)):
                buffer = bytearray(24)
                checkpoint.files.read_into(checkpoint.tensors[0].pieces[number].tensor.start, memoryview(buffer))
                assert bytes(buffer) == as_bytes({"": ramp(2, 3, start=number)})[""]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("seed", range(20))
def test_folder_reads_what_huggingface_hub_writes(tmp_path: Path, seed: int) -> None:
    """Random state dicts, in shards of random size, come back bit for bit."""
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub writes the shards")
    draw = random.Random(seed)
    dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8)
    state = {
        f"layer.{number}.weight": torch.randint(0, 256, (draw.randrange(1, 40), draw.randrange(1, 9))).to(
            draw.choice(dtypes)
        )
        for number in range(draw.randrange(1, 30))
    }
    hub.save_torch_state_dict(
        state, tmp_path, max_shard_size=draw.randrange(50, 3000), safe_serialization=draw.random() < 0.7
    )
    assert read(tmp_path) == as_bytes(state)
