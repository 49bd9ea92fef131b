"""Files of torch.save: the same names and values as torch.load, and nothing else."""

from __future__ import annotations

import datetime
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX, ITEM_BYTES, Listing, StoredTensor
from embcompress.checkpoints.torch_files import torch_file
from embcompress.exceptions import DamagedFileError, EmbcompressError, UnknownFormatError


def list_file(path: Path) -> Listing:
    """List a file opened as open_checkpoint does it."""
    with Files(path) as files:
        return torch_file.read_listing(path, files)


def read_values(path: Path, tensor: StoredTensor) -> torch.Tensor:
    """Read a listed tensor's values from its place in the file."""
    dtype = getattr(torch, tensor.dtype)
    if not tensor.numel:
        return torch.empty(tensor.shape, dtype=dtype)
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    with open(path, "rb") as file:
        content = bytearray(read_exactly(file, tensor.start, reach * ITEM_BYTES[tensor.dtype]))
    return torch.frombuffer(content, dtype=dtype).as_strided(tensor.shape, tensor.strides)


def assert_listed(path: Path, expected: dict[str, torch.Tensor]) -> Listing:
    """Compare names, order, shapes, dtypes, strides and every bit with the tensors expected."""
    listing = list_file(path)
    assert [tensor.name for tensor in listing.tensors] == list(expected)
    for tensor in listing.tensors:
        values = expected[tensor.name].detach()
        assert (tensor.shape, tensor.dtype) == (tuple(values.shape), str(values.dtype).removeprefix("torch."))
        actual = read_values(path, tensor)
        assert (
            actual.contiguous().reshape(-1).view(torch.uint8).equal(values.contiguous().reshape(-1).view(torch.uint8))
        )
    return listing


def write_archive(path: Path, content: bytes, *, storages: dict[str, bytes], prefix: str = "model") -> Path:
    """Write by hand what torch.save would, with any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{prefix}/data.pkl", content)
        for key, values in storages.items():
            archive.writestr(f"{prefix}/data/{key}", values)
    return path


def tensor_pickle(*, numel: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Write the pickle of {"weight": tensor} with any declared sizes."""

    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(numel) + b"tQ"
    tensor = b"(" + storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89NtR"
    return b"\x80\x02}X\x06\0\0\0weightctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"s."


def make_state_dict() -> OrderedDict[str, torch.Tensor]:
    """Make a state dict with everything that a storage can be seen as."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(6, 8, generator=generator)
    state = OrderedDict(
        (f"{dtype}".removeprefix("torch."), base.mul(10).to(dtype))
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64)
    )
    state["bool"] = base > 0
    state["uint8"] = base.abs().to(torch.uint8)
    state["uint16"] = torch.arange(5).to(torch.uint16)
    state["float8"] = base.to(torch.float8_e4m3fn)
    state["slice"] = base[1:5:2, 3:]
    state["transposed"] = base.T
    state["base"] = base
    state["same"] = base
    state["parameter"] = torch.nn.Parameter(base[2])
    state["scalar"] = torch.tensor(2.5)
    state["scalar of a row"] = base[3, 4]
    state["empty"] = torch.empty(0, 4)
    state["empty slice"] = base[6:, 8:]
    state["repeated"] = base[:1].expand(5, 8)
    state["window"] = base.as_strided((3, 4), (1, 1), 2)
    return state


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_read_listing_finds_a_state_dict_bit_for_bit(tmp_path, protocol):
    """Every dtype, slice, transpose, broadcast, scalar and empty tensor has the bits that torch.load gives."""
    path = tmp_path / "model.pt"
    torch.save(make_state_dict(), path, pickle_protocol=protocol)
    listing = assert_listed(path, torch.load(path, weights_only=protocol == 2))
    assert listing.left_out == ()
    places = {tensor.name: tensor.memory_key for tensor in listing.tensors}
    assert places["base"] == places["same"] == places["float32"][:0] + places["same"]
    assert places["transposed"] != places["base"]
    assert places["transposed"][0] == places["base"][0]
    assert places["slice"][0] == places["base"][0] + 4 * (8 + 3)


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.safetensors", "a b/ü.ckpt"])
def test_read_listing_takes_any_file_name(tmp_path, name):
    """The folder within the archive is named after the file, and its name has no meaning."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save({"weight": torch.arange(3.0)}, path)
    assert_listed(path, {"weight": torch.arange(3.0)})


def test_read_listing_reads_files_without_checksums(tmp_path):
    """torch.serialization.set_crc32_options(False) writes zeros, which are not taken for damage."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(3.0)}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_listed(tmp_path / "model.pt", {"weight": torch.arange(3.0)})


def test_read_listing_names_bare_tensors_and_lists(tmp_path):
    """A tensor alone is called "tensor"; those of a list or tuple go by their index."""
    path = tmp_path / "model.pt"
    torch.save(torch.arange(4), path)
    assert_listed(path, {"tensor": torch.arange(4)})
    torch.save([torch.arange(4), torch.ones(2)], path)
    assert_listed(path, {"0": torch.arange(4), "1": torch.ones(2)})
    torch.save((torch.ones(2), 3), path)
    assert [entry.name for entry in assert_listed(path, {"0": torch.ones(2)}).left_out] == ["1"]


def test_read_listing_takes_the_model_out_of_a_lightning_checkpoint(tmp_path):
    """The state_dict is listed; optimizer, callbacks and counters are not, and are named."""
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 2))
    # As Adam writes it: to make one and take a step imports torch's compiler, which takes two seconds.
    averages = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(one), "exp_avg_sq": torch.zeros_like(one)}
        for number, one in enumerate(model.parameters())
    }
    optimizer = {"state": averages, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1, 2]}]}
    path = tmp_path / "epoch=1.ckpt"
    torch.save(
        {
            "epoch": 1,
            "global_step": torch.tensor(7),
            "pytorch-lightning_version": "2.4.0",
            "state_dict": model.state_dict(),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [optimizer],
            "lr_schedulers": [],
            "hyper_parameters": {"dim": 4, "path": Path("x")},
        },
        path,
    )
    assert [(left.name, left.reason) for left in assert_listed(path, model.state_dict()).left_out] == [
        (
            "epoch, global_step, pytorch-lightning_version, loops, callbacks, optimizer_states, lr_schedulers, "
            "hyper_parameters",
            "beside the model, and not carried along",
        )
    ]


def test_read_listing_keeps_a_matrix_beside_a_wrapper(tmp_path):
    """A table beside `model` is a parameter too: all are listed under the file's own names."""
    tensors = {"fc.weight": torch.randn(2, 3), "item_emb.weight": torch.randn(4, 3)}
    path = tmp_path / "a.pt"
    torch.save({"model": tensors, "user_embedding": torch.ones(5, 3), "epoch": 3}, path)
    listing = list_file(path)
    assert [tensor.name for tensor in listing.tensors] == ["model.fc.weight", "model.item_emb.weight", "user_embedding"]
    assert [left.name for left in listing.left_out] == ["epoch"]


def test_read_listing_tells_of_floats_beside_a_wrapper(tmp_path):
    """A vector of floats beside `state_dict` is kept under its name; a generator's state is not, and is named."""
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {"a": torch.ones(2, 2)}, "mean": torch.ones(3), "rng": torch.get_rng_state()}, path)
    listing = list_file(path)
    assert [tensor.name for tensor in listing.tensors] == ["a", "mean"]
    assert [left.name for left in listing.left_out] == ["rng"]


def test_read_listing_takes_the_model_out_of_a_pykeen_checkpoint(tmp_path):
    """A training checkpoint in the shape of PyKEEN's, of pickle protocol 5."""
    state = {"entity_representations.0._embeddings.weight": torch.randn(5, 4)}
    path = tmp_path / "checkpoint.pt"
    torch.save(
        {
            "epoch": 1,
            "loss": [0.5],
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(5, 4)}}, "param_groups": [{"params": [0]}]},
            "random_state": (3, (1, 2, 3), None),
            "torch_random_state": torch.get_rng_state(),
            "entity_to_id_dict": {"a": 0},
        },
        path,
        pickle_protocol=5,
    )
    assert [left.name for left in assert_listed(path, state).left_out] == [
        "epoch, loss, optimizer_state_dict, random_state, torch_random_state, entity_to_id_dict"
    ]


def test_read_listing_keeps_a_second_model(tmp_path):
    """Of two models beside each other the second keeps its key in its names, as OpenNMT's generator must."""
    path = tmp_path / "model.pt"
    torch.save({"generator": {"0.bias": torch.zeros(2)}, "model": {"w": torch.ones(2)}, "opt": {"layers": 2}}, path)
    listing = assert_listed(path, {"w": torch.ones(2), "generator.0.bias": torch.zeros(2)})
    assert [entry.name for entry in listing.left_out] == ["opt"]


def test_read_listing_leaves_out_a_second_model_of_a_taken_name(tmp_path):
    """What lies beside the model under a name that the model uses is left out, and said so."""
    path = tmp_path / "model.pt"
    torch.save({"model": {"ema": {"w": torch.ones(2)}}, "ema": {"w": torch.zeros(2)}}, path)
    listing = assert_listed(path, {"ema.w": torch.ones(2)})
    assert [(entry.name, entry.reason) for entry in listing.left_out] == [("ema", "the model has tensors of that name")]


def test_read_listing_joins_nested_names(tmp_path):
    """Dicts of dicts that no known key leads into are joined by dots; a tensor called like a wrapper is a tensor."""
    path = tmp_path / "model.pt"
    nested = {"encoder": {"weight": torch.ones(2), "sizes": [2]}, 3: [torch.zeros(1)], "optimizer": [torch.zeros(9)]}
    torch.save(nested, path)
    listing = assert_listed(path, {"encoder.weight": torch.ones(2), "3.0": torch.zeros(1)})
    assert [entry.name for entry in listing.left_out] == ["encoder.sizes", "optimizer"]
    torch.save({"params": torch.ones(2), "model": torch.zeros(3)}, path)
    assert_listed(path, {"params": torch.ones(2), "model": torch.zeros(3)})


class Tower(torch.nn.Module):
    """A module with all that state_dict treats differently."""

    def __init__(self):
        super().__init__()
        self.entities = torch.nn.Embedding(7, 4)
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.entities.weight
        self.nothing = torch.nn.Dropout(0.1)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("passing", torch.arange(4), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("unused", None)
        self.scale = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.BatchNorm1d(4)), self.head])
        self.table = torch.nn.ParameterDict({"a": torch.nn.Parameter(torch.ones(2, 2))})
        self.not_registered = [torch.zeros(2)]
        self.made = datetime.date(2024, 1, 1)


@pytest.mark.parametrize("protocol", [2, 5])
def test_read_listing_names_a_whole_module_as_its_state_dict(tmp_path, protocol):
    """Parameters, persistent buffers and children come in the order and by the names of state_dict()."""
    module = Tower()
    path = tmp_path / "trained_model.pkl"
    torch.save(module, path, pickle_protocol=protocol)
    listing = assert_listed(path, module.state_dict())
    assert listing.left_out == ()
    places = {tensor.name: tensor.memory_key for tensor in listing.tensors}
    assert places["entities.weight"] == places["head.weight"] == places["blocks.1.weight"]
    torch.save({"epoch": 3, "model": module, "optimizer": None}, path, pickle_protocol=protocol)
    assert_listed(path, module.state_dict())


def test_read_listing_leaves_out_what_safetensors_cannot_hold(tmp_path):
    """Each such entry is listed with its reason."""
    path = tmp_path / "model.pt"
    torch.save(
        {
            "good": torch.ones(1),
            "sparse": torch.eye(3).to_sparse(),
            "meta": torch.empty(3, device="meta"),
            "wide": torch.ones(2, dtype=torch.complex128),
            "lazy": torch.ones(2, dtype=torch.complex64).conj(),
            "steps": 3,
            "config": {"dim": 4},
            "set": {1},
            "": torch.ones(2),
            "a\0b": torch.ones(3),
            "__metadata__": torch.ones(4),
            "\ud800": torch.ones(5),
            (1, 2): torch.ones(6),
            None: 4,
        },
        path,
    )
    listing = assert_listed(path, {"good": torch.ones(1)})
    assert {entry.name: entry.reason.split(",")[0] for entry in listing.left_out} == {
        "sparse": "a sparse tensor",
        "meta": "a tensor on the meta device",
        "wide": "of dtype complex128",
        "lazy": "a lazy view of other values; call resolve_conj() on it before saving",
        "steps": "not a tensor",
        "config": "not a tensor",
        "set": "not a tensor",
        "": "its name is empty or contains a NUL",
        "a\\x00b": "its name is empty or contains a NUL",
        "__metadata__": "safetensors keeps its name for the metadata",
        "\\ud800": "its name is not valid text",
        "<a key that is not text>": "its name is not text",  # or too long
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"epoch": 3, "lr": 0.1}, "a dict of 2 entries ('epoch', 'lr')"),
        ({}, "a dict of 0 entries"),
        (7, "it holds a value of type int"),
        (datetime.date(2024, 1, 1), "datetime.date"),
        ({"state": {0: {"step": torch.tensor(1)}}, "param_groups": []}, "('state', 'param_groups')"),
        (torch.nn.ReLU(), "torch.nn.modules.activation.ReLU"),
    ],
)
def test_read_listing_says_what_holds_no_tensor(tmp_path, value, words):
    """A file without any tensor is refused by what it holds instead."""
    path = tmp_path / "model.pt"
    torch.save(value, path)
    with pytest.raises(UnknownFormatError) as caught:
        list_file(path)
    assert f"no tensor was found in {path}" in caught.value.message
    assert words in caught.value.message


def test_read_listing_refuses_equal_names(tmp_path):
    """Two tensors whose names become one are damage, not a choice."""
    path = tmp_path / "model.pt"
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}, path)
    with pytest.raises(DamagedFileError, match=r"two tensors named 'a\.b'"):
        list_file(path)


def test_read_listing_refuses_modules_within_themselves(tmp_path):
    """A circle of modules, which has no state dict, is named."""
    path = tmp_path / "model.pt"
    first, second = torch.nn.Linear(1, 1), torch.nn.Module()
    first.child, second.child = second, first
    torch.save(first, path)
    with pytest.raises(DamagedFileError, match=r"contains itself under 'child\.child\.'"):
        list_file(path)


def test_read_listing_refuses_exponential_names(tmp_path):
    """Forty dicts that each hold the next one twice, in 2 kB, spell 2^40 names; the listing stops long before.

    In time of this thread, with a margin: 0.1 s was measured, and 2^40 names would take a month.
    """
    path = tmp_path / "model.pt"
    tree = {"weight": torch.ones(1)}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    torch.save(tree, path)
    begin = time.thread_time()
    with pytest.raises(DamagedFileError, match="more ways than can be listed"):
        list_file(path)
    assert time.thread_time() - begin < 5
    for _ in range(100):
        tree = {"a": tree}
    torch.save(tree, path)
    with pytest.raises(DamagedFileError, match="nested more than 64 deep"):
        list_file(path)


def test_read_listing_names_shared_parts_by_every_way(tmp_path):
    """Six dicts that each hold the next one four times are no fault: 4096 names of one tensor are listed."""
    path = tmp_path / "model.pt"
    tree = {"weight": torch.ones(1)}
    for _ in range(6):
        tree = dict.fromkeys(("first", "second", "third", "fourth"), tree)
    torch.save(tree, path)
    assert path.stat().st_size < 3000
    assert len(list_file(path).tensors) == 4**6


def test_read_listing_passes_over_long_lists(tmp_path):
    """200,000 losses beside the model cost one look, not a name each."""
    path = tmp_path / "model.pt"
    torch.save({"encoder": {"weight": torch.ones(1)}, "losses": [0.5] * 200_000, "pairs": [(1, 2)] * 1000}, path)
    listing = assert_listed(path, {"encoder.weight": torch.ones(1)})
    assert [entry.name for entry in listing.left_out] == ["losses", "pairs"]


@pytest.mark.parametrize(
    ("numel", "offset", "shape", "strides", "words"),
    [
        (10**12, 0, (10**6, 10**6), (10**6, 1), "declared as 4000000000000 bytes, and 24 are there"),
        (7, 0, (7,), (1,), "declared as 28 bytes, and 24 are there"),
        (6, 0, (7,), (1,), "reaches to byte 28 of a storage of 24 bytes"),
        (6, 1, (2, 3), (3, 1), "reaches to byte 28 of a storage of 24 bytes"),
        (5, 0, (2, 3), (3, 1), "reaches to byte 24 of a storage of 20 bytes"),
        (6, 2**62, (1,), (1,), "of a storage of 24 bytes"),
        (6, 0, (2,), (2**62,), "of a storage of 24 bytes"),
        (6, 0, (10**12,), (0,), "repeats 1 stored elements to 1000000000000"),
        (6, 0, (10**6, 10**6), (0, 0), "repeats 1 stored elements to 1000000000000"),
        (6, 0, (EXPANDED_BYTES_MAX // 8 + 1, 2), (0, 1), "repeats 2 stored elements"),
        (6, 0, (2**62,) * 60, (0,) * 60, "repeats 1 stored elements"),
    ],
)
def test_read_listing_checks_places_against_the_file(tmp_path, *, numel, offset, shape, strides, words):
    """A tensor that claims more than the file has, or makes terabytes by repetition, is refused by its name."""
    path = write_archive(
        tmp_path / "model.pt",
        tensor_pickle(numel=numel, offset=offset, shape=shape, strides=strides),
        storages={"0": bytes(24)},
    )
    with pytest.raises(DamagedFileError) as caught:
        list_file(path)
    assert "tensor 'weight' in " in caught.value.message
    assert words in caught.value.message


def test_read_listing_allows_small_repetition(tmp_path):
    """A broadcast buffer below the limit is read, and an empty tensor wherever its offset is."""
    content = tensor_pickle(numel=6, offset=0, shape=(EXPANDED_BYTES_MAX // 8, 2), strides=(0, 1))
    (tensor,) = list_file(write_archive(tmp_path / "a.pt", content, storages={"0": bytes(24)})).tensors
    assert (tensor.nbytes, tensor.strides) == (EXPANDED_BYTES_MAX, (0, 1))
    content = tensor_pickle(numel=6, offset=2**40, shape=(0, 2), strides=(2, 1))
    (tensor,) = list_file(write_archive(tmp_path / "b.pt", content, storages={"0": bytes(24)})).tensors
    assert tensor.start < (tmp_path / "b.pt").stat().st_size


def test_read_listing_refuses_a_bomb_of_torch_save(tmp_path):
    """torch.save writes 10^12 elements into a file of under 2 kB; it is refused at once."""
    path = tmp_path / "model.pt"
    torch.save({"bomb": torch.zeros(1).expand(10**6, 10**6)}, path)
    assert path.stat().st_size < 2000
    with pytest.raises(DamagedFileError, match="'bomb'"):
        list_file(path)


PLAIN = tensor_pickle(numel=6, offset=0, shape=(6,), strides=(1,))


def write_plain(path: Path) -> bytearray:
    """Write a good archive and return its bytes."""
    return bytearray(write_archive(path, PLAIN, storages={"0": bytes(24)}).read_bytes())


def test_read_listing_refuses_other_zip_archives(tmp_path):
    """Archives without data.pkl and TorchScript are told apart."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight.bin", b"x")
    with pytest.raises(UnknownFormatError, match=r"without data\.pkl"):
        list_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", PLAIN)
        archive.writestr("model/constants.pkl", b"N.")
        archive.writestr("model/code/__torch__.py", b"")
    with pytest.raises(UnknownFormatError, match="TorchScript"):
        list_file(path)


def test_read_listing_refuses_compressed_members(tmp_path):
    """A file that was zipped again with compression has no places to read from."""
    path = tmp_path / "model.pt"
    for member in ("model/data.pkl", "model/data/0"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("model/data.pkl", PLAIN), ("model/data/0", bytes(24))):
                archive.writestr(name, content, zipfile.ZIP_DEFLATED if name == member else zipfile.ZIP_STORED)
        with pytest.raises(UnknownFormatError, match=r"compressed.*torch\.save"):
            list_file(path)


def test_read_listing_refuses_missing_storages_and_big_endian_files(tmp_path):
    """A storage that is not there is named; so is a byte order that is not read."""
    path = write_archive(tmp_path / "model.pt", PLAIN, storages={})
    with pytest.raises(DamagedFileError, match="no member 'data/0'"):
        list_file(path)
    write_archive(path, PLAIN, storages={"0": bytes(24), "../byteorder": b"big"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/byteorder", b"big")
    with pytest.raises(UnknownFormatError, match="big-endian"):
        list_file(path)


def test_read_listing_refuses_equal_members(tmp_path):
    """Two members of one name, of which readers choose differently, are damage."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", PLAIN)
        archive.writestr("model/data/0", bytes(24))
        archive.writestr("model/data/1", bytes(24))
    content = path.read_bytes().replace(b"model/data/1", b"model/data/0")
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="two members of the same name"):
        list_file(path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (8, struct.pack("<H", 1), "encrypted"),
        (20, struct.pack("<II", 24 * 1000, 24 * 1000), "declares 24000 bytes"),
        (24, struct.pack("<I", 24 * 1000), "declares 24000 bytes"),
        (42, struct.pack("<I", 3), "another member where its directory promises 'model/data/0'"),
        (42, struct.pack("<I", 0), "another member where its directory promises 'model/data/0'"),
        (42, struct.pack("<I", 10**6), "outside of itself"),
    ],
)
def test_read_listing_refuses_a_lying_directory(tmp_path, field, value, words):
    """Encryption, sizes beyond the file and offsets to elsewhere are found in the archive's directory."""
    path = tmp_path / "model.pt"
    content = write_plain(path)
    entry = content.rindex(b"PK\x01\x02")  # of the last member, the storage
    content[entry + field : entry + field + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(DamagedFileError) as caught:
        list_file(path)
    assert words in caught.value.message


@pytest.mark.parametrize("offset", [2**40, 2**63 + 5, 2**64 - 1])
def test_read_listing_refuses_members_beyond_64_bits(tmp_path, offset):
    """Offsets that no file has, in the directory's 64-bit fields, are found as well."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", PLAIN)
        archive.writestr("model/data/0", bytes(24))
        archive.getinfo("model/data/0").header_offset = offset
    with pytest.raises(DamagedFileError, match="outside of itself"):
        list_file(path)


def test_read_listing_refuses_a_pickle_with_a_wrong_checksum(tmp_path):
    """A flipped bit in a size, which stays a good pickle, is found by the archive's checksum."""
    path = tmp_path / "model.pt"
    content = write_plain(path)
    content[content.index(b"weight")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum"):
        list_file(path)


def test_read_listing_holds_no_array(tmp_path):
    """Of 48 MB of arrays in the pickle, as bytes or as the text of protocol 2, less than 5 MB are held at once."""
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pt"
        values = numpy.random.default_rng(0).standard_normal((12_000, 500))
        torch.save({"a": values}, path, pickle_protocol=protocol)
        tracemalloc.start()
        (tensor,) = list_file(path).tensors
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tensor.nbytes == values.nbytes
        assert peak < 5 * 2**20


def test_read_listing_refuses_every_cut(tmp_path):
    """A file cut at any length is named as cut short."""
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.arange(9.0)}, path)
    content = path.read_bytes()
    for length in range(4, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match="cut short"):
            list_file(path)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> tuple[Path, list[bytes]]:
    """Real files of torch.save, and a path to write damaged ones to."""
    folder = tmp_path_factory.mktemp("originals")
    contents = []
    for number, value in enumerate(
        [make_state_dict(), Tower(), {"epoch": 1, "state_dict": {"w": torch.ones(3), "v": torch.eye(2).to_sparse()}}]
    ):
        for protocol in (2, 5):
            path = folder / f"{number}.pt"
            torch.save(value, path, pickle_protocol=protocol)
            contents.append(path.read_bytes())
    return folder / "damaged.pt", contents


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_read_listing_of_damaged_files_is_safe(originals, data):
    """Whatever bytes are changed, only our exceptions come out, soon, and what is listed lies inside the file."""
    path, contents = originals
    content = bytearray(data.draw(st.sampled_from(contents)))
    directory = content.rindex(b"PK\x05\x06")
    pickled = content.index(b"\x80", 40)
    where = st.one_of(
        st.integers(pickled, min(pickled + 3000, len(content) - 1)),  # the pickle
        st.integers(directory - 1000, len(content) - 1),  # the directory
        st.integers(0, len(content) - 1),
    )
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(where)
        piece = data.draw(st.binary(min_size=1, max_size=4))
        content[position : position + data.draw(st.sampled_from([0, 1, len(piece)]))] = piece
    if data.draw(st.booleans()):  # switch the pickle's checksum off, so that what lies behind that is tested
        entry = content.find(b"PK\x01\x02")
        content[entry + 16 : entry + 20] = bytes(4)
    del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]
    path.write_bytes(content)
    begin = time.thread_time()
    try:
        listing = list_file(path)
    except EmbcompressError:
        return
    finally:
        assert time.thread_time() - begin < 5  # computed by this thread; measured: 0.002
    for tensor in listing.tensors:
        reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
        assert 0 <= tensor.start <= len(content)
        assert not tensor.numel or tensor.start + reach * ITEM_BYTES[tensor.dtype] <= len(content)
        assert tensor.nbytes <= max(EXPANDED_BYTES_MAX, len(content))
