"""Files whose tables are in a form that is not read: what is said of each, and whether the line given converts it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress.checkpoints import open_checkpoint
from embcompress.commands.inspect import inspect
from embcompress.exceptions import EmbcompressError
from embcompress.tables.selection import choose_tables
from embcompress.tables.unread_tables import find_unread_tables

ROWS, DIM = 300, 64
NAME = "model.embed_tokens.weight"
FP8 = torch.float8_e4m3fn


def draw(*shape: int) -> Tensor:
    """Draw values of which FP8 and int8 keep something."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)) * 20


def refuse(path: Path, *, table: list[str] | None = None) -> EmbcompressError:
    """Choose tables of a file that has none, and return what is said."""
    with pytest.raises(EmbcompressError) as caught, open_checkpoint(path) as checkpoint:
        choose_tables(checkpoint, table=table or [], exclude=[])
    return caught.value


def convert(hint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Run the line that a hint gives, and load what it saved."""
    monkeypatch.chdir(folder)
    exec(hint[hint.index("t = ") :], {"torch": torch, "safetensors": safetensors})
    converted: dict[str, Tensor] = torch.load("converted.pt", weights_only=True)
    return converted


WEIGHT = draw(ROWS, DIM)
ROW_SCALES = draw(ROWS).abs() + 1
CODES = WEIGHT.clamp(-127, 127).to(torch.int8)


UNHELD: dict[str, tuple[Any, str, Callable[[], Tensor]]] = {
    "complex128": (WEIGHT.to(torch.complex128), "of dtype complex128", lambda: WEIGHT.to(torch.complex64)),
    "FP8 of other hardware": (
        WEIGHT.to(torch.float8_e4m3fnuz),
        "FP8, of dtype float8_e4m3fnuz",
        lambda: WEIGHT.to(torch.float8_e4m3fnuz).float(),
    ),
    "sparse": (WEIGHT.to_sparse(), "a sparse tensor", lambda: WEIGHT),
}


@pytest.mark.parametrize("kind", UNHELD)
def test_tensors_left_out_are_named_with_the_line_that_converts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A file with nothing but such a table is not said to hold no tensors, and --table and inspect say the same."""
    value, words, make_expected = UNHELD[kind]
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {NAME: value}, "epoch": 3}, path)
    message = refuse(path)
    assert f"{NAME!r} is {words}" in message.message
    assert convert(message.hint, tmp_path, monkeypatch)[NAME].equal(make_expected())
    by_name = refuse(path, table=["*embed_tokens*"])
    assert (f"{NAME!r} in {path} is {words}" in by_name.message, by_name.hint) == (True, message.hint)
    assert inspect(path).skipped[0].reason.endswith(message.hint)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_quantized_tensors_of_32_bits_are_dequantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line calls dequantize(), which gives the values that torch reads."""
    path = tmp_path / "model.pt"
    value = torch.quantize_per_tensor(WEIGHT, 0.5, 0, torch.qint32)
    torch.save({NAME: value}, path)
    message = refuse(path)
    assert f"{NAME!r} is a quantized tensor" in message.message
    assert convert(message.hint, tmp_path, monkeypatch)[NAME].equal(value.dequantize())


@pytest.mark.parametrize(
    ("module", "kind", "words", "hint"),
    [
        (
            "torch.distributed.tensor",
            "DTensor",
            "a DTensor, of which the file holds one worker's part",
            "full_state_dict",
        ),
        (
            "torch.distributed._shard.sharded_tensor.api",
            "ShardedTensor",
            "a ShardedTensor, of which the file holds one worker's part",
            "full_state_dict",
        ),
        ("torchao.dtypes", "AffineQuantizedTensor", "a quantized tensor of torchao", "dequantize()"),
    ],
)
def test_tensors_of_subclasses_are_named(tmp_path: Path, module: str, kind: str, words: str, hint: str) -> None:
    """The class that a pickle names tells what the tensor is; as torch writes it now, the class is an argument."""
    path = tmp_path / "model.pt"
    made = f"ctorch._utils\n_rebuild_wrapper_subclass\n(c{module}\n{kind}\ntR"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}X\x0a\0\0\0emb.weight" + made.encode() + b"s.")
    message = refuse(path)
    assert f"'emb.weight' is {words}" in message.message
    assert hint in message.hint


def test_a_sharded_tensor_made_by_its_class_is_named(tmp_path: Path) -> None:
    """Older versions of torch call the class itself."""
    path = tmp_path / "model.pt"
    made = b"ctorch.distributed._shard.sharded_tensor.api\nShardedTensor\n)\x81"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}X\x0a\0\0\0emb.weight" + made + b"s.")
    assert "'emb.weight' is a ShardedTensor" in refuse(path).message


def test_empty_parameters_are_those_of_zero_3(tmp_path: Path) -> None:
    """Parameters of shape (0,) lead to DeepSpeed's own script, in inspect too."""
    path = tmp_path / "model.pt"
    torch.save({name: torch.empty(0) for name in (NAME, "lm_head.weight", "norm.weight")}, path)
    message = refuse(path)
    assert message.message == (
        f"{path} holds 3 parameters of shape (0,), {NAME!r} among them: DeepSpeed's ZeRO-3 keeps their values in other "
        "files."
    )
    assert "zero_to_fp32.py" in message.hint
    assert [skipped.reason for skipped in inspect(path).skipped] == [message.hint]
    assert refuse(path, table=[NAME]).hint == message.hint


def test_flat_parameters_are_those_of_fsdp(tmp_path: Path) -> None:
    """One flat parameter for each wrapped module is FSDP's."""
    path = tmp_path / "model.pt"
    torch.save({"_fsdp_wrapped_module._flat_param": draw(99)}, path)
    message = refuse(path)
    assert "the flat parameters of FSDP" in message.message
    assert "full_state_dict=True" in message.hint


@pytest.mark.parametrize("keys", [[f"{key}" for key in range(20)], [f"Mr. {key}" for key in range(20)]])
def test_vectors_by_id_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[str]) -> None:
    """Where a file knows no dict but its own, the line puts ids into their order, and labels into that of the file."""
    path = tmp_path / "vectors.safetensors"
    rows = draw(20, 5)
    safetensors.torch.save_file({key: row.clone() for key, row in zip(keys, rows, strict=True)}, path)
    message = refuse(path)
    assert "holds 20 vectors of 5 numbers" in message.message
    assert "one tensor for each row" in message.message
    order = sorted(range(20), key=lambda index: keys[index]) if keys[0] != "0" else range(20)
    assert convert(message.hint, tmp_path, monkeypatch)["embedding.weight"].equal(rows[list(order)])


def test_norms_and_biases_are_not_taken_for_vectors_by_id(tmp_path: Path) -> None:
    """Forty weights and biases of one length are no table."""
    path = tmp_path / "model.pt"
    torch.save({f"norm.{index}.{leaf}": draw(8) for index in range(20) for leaf in ("weight", "bias")}, path)
    assert "no matrix of floats at all" in refuse(path).message


@pytest.mark.parametrize(
    ("codes", "scales"),
    [
        (CODES.to(torch.uint8), ROW_SCALES[:, None]),  # without the zero points that it must have
        (CODES, draw(7, 3)),  # blocks of no even size
        (CODES, torch.full((ROWS, 2), 127, dtype=torch.uint8)),  # exponents beside integers
        (WEIGHT.to(FP8), draw(7, 3)),
    ],
)
def test_scales_that_do_not_tell_how_are_named(tmp_path: Path, codes: Tensor, scales: Tensor) -> None:
    """Where the meaning of the scales is not plain, nothing is read, and the library that wrote them is named."""
    path = tmp_path / "model.pt"
    torch.save({NAME: codes, f"{NAME}_scale": scales}, path)
    message = refuse(path)
    assert f"and its scales '{NAME}_scale' do not tell how to read it" in message.message
    assert message.hint.startswith("Dequantize it with the library that quantized it")
    assert not any(table.chosen for table in inspect(path).tables)


def test_packed_codes_are_left_to_their_library(tmp_path: Path) -> None:
    """Several codes in one integer have an order that nothing in the file tells."""
    path = tmp_path / "model.pt"
    packed = torch.ones(ROWS, 8, dtype=torch.int32)
    torch.save({"emb.qweight": packed, "emb.scales": ROW_SCALES}, path)
    message = refuse(path)
    assert "'emb.qweight' is quantized (int32), and its scales 'emb.scales' do not tell how" in message.message
    assert "model.dequantize()" in message.hint


def test_a_quantized_table_beside_dense_ones_is_told(tmp_path: Path) -> None:
    """A table that is not read is not passed over in silence where another is chosen; ids are not taken for tables."""
    path = tmp_path / "model.pt"
    tensors = {NAME: CODES, "position_embeddings.weight": WEIGHT}
    torch.save({**tensors, "embeddings.position_ids": torch.arange(80).reshape(2, 40)}, path)
    with open_checkpoint(path) as checkpoint:
        assert [table.name for table in choose_tables(checkpoint, table=[], exclude=[])] == [
            "position_embeddings.weight"
        ]
        unread = find_unread_tables(checkpoint)
    assert [(one.name, one.is_named, one.is_sure) for one in unread] == [(NAME, True, False)]
