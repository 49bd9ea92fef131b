"""Tables in forms that other programs serve: read back by the libraries that own the forms."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.choices import EXPORT_KINDS
from embcompress.exceptions import TableError, UsageError
from embcompress.exports.quantized import KINDS
from embcompress.report import render
from tests.fixtures import WORDS, draw, draw_falling, save

DOCS = Path(__file__).parents[2] / "docs" / "exports.md"
NAME = "emb.weight"
TABLE = draw_falling(90, 64, fall=0.97)
STATE = {NAME: TABLE, "norm.weight": draw(64, seed=1).half(), "steps": torch.arange(5), "mask": torch.ones(3).bool()}


def read_gguf(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Dequantize the table with gguf, and read the other tensors."""
    gguf = pytest.importorskip("gguf", reason="reads GGUF files")
    tensors = {one.name: one for one in gguf.GGUFReader(path).tensors}
    table = tensors.pop(NAME)
    assert table.shape.tolist() == [64, 90]  # columns first, as GGML counts
    values = torch.from_numpy(gguf.quants.dequantize(table.data, table.tensor_type))
    return values, {name: torch.from_numpy(np.array(one.data)) for name, one in tensors.items()}


def read_bags(path: Path, bag: Any) -> tuple[Tensor, dict[str, Any]]:
    """Look every row up with an embedding bag of torch, each as a bag of its own."""
    tensors = safetensors.torch.load_file(path)
    ids = torch.arange(90)
    return bag(tensors.pop(NAME), ids, ids, mode=0), tensors


def read_packed(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Take the codes apart as compressed-tensors does, which test_compressed_tensors.py asks itself."""
    section = json.loads((path / "config.json").read_text())["quantization_config"]
    (group,) = section["config_groups"].values()
    bits, columns = group["weights"]["num_bits"], group["weights"]["group_size"]
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    words, scales, shape = (tensors.pop(f"emb.weight_{leaf}") for leaf in ("packed", "scale", "shape"))
    assert group["targets"] == ["emb"]
    assert shape.tolist() == [90, 64]
    strings = np.unpackbits(words.numpy().view(np.uint8), axis=1, bitorder="little").reshape(90, 64, bits)
    codes = (strings.astype(np.int64) << np.arange(bits)).sum(axis=2) - (1 << (bits - 1))
    return torch.from_numpy(codes).to(scales.dtype) * scales.repeat_interleave(columns, dim=1), tensors


def read_onnx(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Ask onnxruntime for every row, in a batch of two lists of ids."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX models")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (rows,) = session.run(["rows"], {"ids": np.arange(90).reshape(2, 45)})
    return torch.from_numpy(rows).view(90, 64), {}


def read_npz(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Load the arrays of NumPy."""
    tensors = {name: torch.from_numpy(values) for name, values in np.load(path).items()}
    return tensors.pop(NAME), tensors


def read_words(path: Path, *, binary: bool) -> tuple[Tensor, dict[str, Any]]:
    """Load word vectors with gensim; without labels, words are ids."""
    models = pytest.importorskip("gensim.models", reason="reads word vectors")
    vectors = models.KeyedVectors.load_word2vec_format(str(path), binary=binary)
    assert vectors.index_to_key == [str(number) for number in range(90)]
    return torch.from_numpy(vectors.vectors), {}


READERS: dict[str, Callable[[Path], tuple[Tensor, dict[str, Any]]]] = {
    "gguf": read_gguf,
    "torch:int8": lambda path: read_bags(path, torch.ops.quantized.embedding_bag_byte_rowwise_offsets),
    "torch:int4": lambda path: read_bags(path, torch.ops.quantized.embedding_bag_4bit_rowwise_offsets),
    "compressed-tensors": read_packed,
    "onnx": read_onnx,
    "npy": lambda path: (torch.from_numpy(np.load(path)), {}),
    "npz": read_npz,
    "word2vec": lambda path: read_words(path, binary=True),
    "word2vec:text": lambda path: read_words(path, binary=False),
}
OF_OTHER_SOURCES = ("pykeen", "model2vec")  # from artifacts or folders with a tokenizer: tested in files of their own
LINES = {"torch:int4": "model-int4.safetensors", "gguf:q4_0": "model-q4_0.gguf", "onnx:int4": "model-4bit.onnx"}
SKIPPED = {
    "gguf": {"mask"},
    **dict.fromkeys(("onnx", "npy", "word2vec"), set(STATE) - {NAME}),
}  # by program: tensors that its form does not hold


def reader_of(kind: str) -> Callable[[Path], tuple[Tensor, dict[str, Any]]]:
    """Find the reader of a kind."""
    return READERS.get(kind) or READERS[kind.partition(":")[0]]


def test_kinds_are_those_of_the_command_line() -> None:
    """One list for the help, one for what writes: of the same names."""
    assert list(KINDS) == list(EXPORT_KINDS)


def test_default_names_are_each_of_one_kind() -> None:
    """No two kinds write outputs, or reports by their stems, of one name beside an input."""
    stems = {str(Path(f"model{kind.ending}").with_suffix("")) for kind in KINDS.values()}
    assert len(stems) == len(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(OF_OTHER_SOURCES)])
def test_export_is_read_by_the_program_it_is_for(kind: str, tmp_path: Path) -> None:
    """The values that its library reads have the error of the report, and other tensors are copied."""
    result = embcompress.export(save(tmp_path / "model.safetensors", STATE), kind, neighbours=20)
    values, others = reader_of(kind)(Path(result.output.path))
    (table,) = result.tables
    assert table.error is not None
    relative = float((values.double() - TABLE).norm() / TABLE.double().norm())
    assert math.isclose(table.error.relative, relative, rel_tol=1e-5)
    assert relative < {"8": 0.01, "4": 0.13, "w": 0.13}.get(next(iter(re.findall(r"[84]|w", kind)), ""), 1e-12)
    assert table.neighbours is not None
    assert table.neighbours.cosine.overlap > 0.7
    skipped = SKIPPED.get(kind.partition(":")[0], set())
    assert {one.name for one in result.skipped} == skipped
    for name in STATE.keys() - skipped - {NAME}:
        assert others[name].equal(STATE[name])
    assert json.loads(render(result, ".json"))["tables"][0]["coding"] == kind


def export_of(tmp_path: Path, state: dict[str, Tensor], kind: str, **options: Any) -> Any:
    """Export a checkpoint of these tensors."""
    return embcompress.export(save(tmp_path / "model.safetensors", state), kind, **{"neighbours": 0, **options})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gguf:iq4_nl", "gguf:q8_0", "torch:int4", "compressed-tensors:w8"])
def test_tables_of_every_dtype_are_rounded(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """The reported error is that of what is read, against the values as they are stored."""
    result = export_of(tmp_path, {NAME: TABLE.to(dtype)}, kind)
    values, _ = reader_of(kind)(Path(result.output.path))
    exact = TABLE.to(dtype).double()
    relative = float((values.double() - exact).norm() / exact.norm())
    assert result.tables[0].error is not None
    assert math.isclose(result.tables[0].error.relative, relative, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape", "dtype", "reason"),
    [
        ("gguf:q4_0", (40, 48), torch.float32, "has 48 columns, and GGUF cuts rows into blocks of 32"),
        ("torch:int4", (40, 33), torch.float32, "has an odd number of columns"),
        ("torch:int8", (40, 4, 8), torch.float32, r"has rows of shape \(4, 8\)"),
        ("compressed-tensors:w4", (40, 32), torch.complex64, "holds complex64"),
    ],
)
def test_table_that_does_not_fit_is_refused(
    kind: str, shape: tuple[int, ...], dtype: torch.dtype, reason: str, tmp_path: Path
) -> None:
    """The reason is told, with the kinds that hold the table; beside another table it is left as it is."""
    odd = draw(*shape, seed=1, dtype=dtype)
    with pytest.raises(TableError, match=reason) as caught:
        export_of(tmp_path, {"odd_emb.weight": odd}, kind)
    assert ("Kinds that hold it: " in caught.value.hint) == (dtype == torch.float32)
    both = {NAME: TABLE, "odd_emb.weight": odd}
    with pytest.raises(TableError, match=reason):
        export_of(tmp_path, both, kind, table=["odd_emb.weight", NAME])
    result = export_of(tmp_path, both, kind)
    assert [table.name for table in result.tables] == [NAME]
    assert re.match(f"{reason}.*: left as it is", result.skipped[0].reason)
    _, others = reader_of(kind)(Path(result.output.path))
    assert others["odd_emb.weight"].view(shape).equal(odd)


def test_names_that_a_form_cannot_hold_are_refused(tmp_path: Path) -> None:
    """GGML's names end after 63 bytes, and compressed-tensors knows weights of modules."""
    with pytest.raises(TableError, match=r"has a name of 74 bytes, and llama\.cpp reads 63"):
        export_of(tmp_path, {f"{'x' * 63}_emb.weight": TABLE}, "gguf:q8_0")
    with pytest.raises(TableError, match=r"does not end in \.weight"):
        export_of(tmp_path, {"embedding": TABLE}, "compressed-tensors:w8")


def test_numbers_that_a_form_cannot_hold_are_refused(tmp_path: Path) -> None:
    """Those whose scale leaves float16, whose product leaves the reader's dtype, NaN and infinity, by their row."""
    for number, kind, dtype in (
        (1e6, "gguf:q4_0", torch.float32),
        (1e5, "torch:int4", torch.float32),
        (math.nan, "torch:int8", torch.float32),
        (math.inf, "gguf:q8_0", torch.float32),
        (-65504, "compressed-tensors:w8", torch.float16),
        (3e38, "torch:int8", torch.float32),
        (-3e38, "compressed-tensors:w4", torch.bfloat16),
    ):
        values = TABLE.to(dtype, copy=True)
        values[37, 5], values[37, 6] = number, -number
        with pytest.raises(TableError, match="in row 37, and the form holds numbers up to"):
            export_of(tmp_path, {NAME: values}, kind, neighbours=10)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("kind", "dtype", "number"),
    [
        ("compressed-tensors:w8", torch.float16, 32752),
        ("compressed-tensors:w4", torch.bfloat16, 8e37),
        ("torch:int8", torch.float32, 8e37),
        ("torch:int4", torch.float32, 65504),
    ],
)
def test_numbers_near_the_end_of_a_form_are_measured(
    kind: str, dtype: torch.dtype, number: float, tmp_path: Path
) -> None:
    """What is read of rows that reach from one end to the other is finite, and has the error of the report."""
    values = TABLE.double() / TABLE.abs().max() * number
    values[:, 0], values[:, 1] = -number, number
    values = values.to(dtype)
    result = export_of(tmp_path, {NAME: values}, kind)
    made = reader_of(kind)(Path(result.output.path))[0].double()
    relative = float((made - values.double()).norm() / values.double().norm())
    assert result.tables[0].error is not None
    assert math.isclose(result.tables[0].error.relative, relative, rel_tol=1e-4)
    assert relative < 0.2


def test_export_of_an_artifact_rounds_what_it_decodes_to(tmp_path: Path) -> None:
    """The error is that against the decoded rows, with --original against those; other tensors come along."""
    source = save(tmp_path / "model.safetensors", STATE)
    artifact = Path(embcompress.approximate(source, ratio=6, neighbours=0).output.path)
    dense = Path(embcompress.reconstruct(artifact).output.path)
    decoded = safetensors.torch.load_file(dense)[NAME]
    for original, expected in ((None, decoded), (source, TABLE)):
        result = embcompress.export(artifact, "torch:int8", original=original, force=True, neighbours=5)
        values, others = reader_of("torch:int8")(Path(result.output.path))
        relative = float((values - expected).double().norm() / expected.double().norm())
        assert result.tables[0].error is not None
        assert math.isclose(result.tables[0].error.relative, relative, rel_tol=1e-3)
        assert (relative < 0.01) == (original is None)
        assert others["mask"].equal(STATE["mask"])
        said = f"errors are those against the rows that {artifact} decodes to, without its own error"
        assert [note.partition(":")[0] for note in result.notes] == ([said] if original is None else [])
    assert result.original is not None
    assert result.tables[0].bytes_before == TABLE.numel() * 4


def test_export_of_an_artifact_takes_labels_and_weights(tmp_path: Path) -> None:
    """Labels name the worst rows, and weights by label count, the least for a row without one."""
    source = save(tmp_path / "model.safetensors", {NAME: TABLE})
    artifact = embcompress.approximate(source, bases=30, neighbours=0).output.path
    labels, weights = tmp_path / "labels.txt", tmp_path / "weights.tsv"
    labels.write_text("".join(f"row{number}\n" for number in range(89)))
    weights.write_text("".join(f"row{number}\t{number + 2}\n" for number in range(89)))
    result = embcompress.export(artifact, "torch:int4", labels=labels, row_weights=weights, neighbours=0)
    error = result.tables[0].error
    assert error is not None
    assert error.unweighted_rows == 1
    assert error.weighted_relative != error.relative
    assert {row.label for row in error.worst_rows} <= {None, *(f"row{row.id}" for row in error.worst_rows)}
    assert any(row.label for row in error.worst_rows)


def test_export_of_an_artifact_refuses_what_is_not_its_original(tmp_path: Path) -> None:
    """Another checkpoint, the artifact itself, and an original beside a checkpoint are told apart."""
    source = save(tmp_path / "model.safetensors", STATE)
    other = save(tmp_path / "other.safetensors", {NAME: TABLE[:50]})
    artifact = embcompress.approximate(source, bases=4, neighbours=0).output.path
    with pytest.raises(TableError, match=r"should hold 'emb.weight' as float32 of shape \(90, 64\)"):
        embcompress.export(artifact, "torch:int8", original=other)
    with pytest.raises(UsageError, match="is an artifact itself"):
        embcompress.export(artifact, "torch:int8", original=artifact)
    with pytest.raises(UsageError, match="--original goes with an artifact"):
        embcompress.export(source, "torch:int8", original=other)


def test_matrices_of_an_artifact_are_left_out(tmp_path: Path) -> None:
    """A bilinear table has no rows to round; alone it is refused."""
    state = {NAME: TABLE, "relation.weight": draw(8, 6, 6, seed=2)}
    source = save(tmp_path / "model.safetensors", state)
    options = {"bases": 2, "bilinear": "relation.weight", "neighbours": 0}
    artifact = embcompress.approximate(source, **options).output.path  # type: ignore[arg-type]
    result = embcompress.export(artifact, "torch:int8", neighbours=0)
    assert [(one.name, one.reason) for one in result.skipped] == [
        ("relation.weight", "holds matrices, each factored by itself: left out")
    ]
    with pytest.raises(TableError, match="holds matrices"):
        embcompress.export(artifact, "torch:int8", table="relation.weight", force=True)


def test_model_folder_keeps_its_files(tmp_path: Path) -> None:
    """A folder gets the quantization into its own configuration, beside its tokenizer; a quantized one is refused."""
    source = tmp_path / "bert"
    source.mkdir()
    save(source / "model.safetensors", {"emb.weight": TABLE, "wide_emb.weight": draw(50, 256, seed=3)})
    (source / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 64}))
    (source / "tokenizer.json").write_text("{}")
    result = embcompress.export(source, "compressed-tensors:w4", neighbours=0)
    folder = Path(result.output.path)
    assert folder == tmp_path / "bert-w4"
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    configuration = json.loads((folder / "config.json").read_text())
    groups = configuration["quantization_config"]["config_groups"].values()
    assert configuration["model_type"] == "bert"
    assert {group["targets"][0]: group["weights"]["group_size"] for group in groups} == {"emb": 64, "wide_emb": 128}
    embcompress.export(source, "compressed-tensors:w4", neighbours=0, force=True)
    with pytest.raises(UsageError, match="is quantized already"):
        embcompress.export(folder, "compressed-tensors:w8", table="emb.weight")


def test_modules_of_a_folder_are_quantized_by_their_own_configurations(tmp_path: Path) -> None:
    """sentence-transformers loads a module from its folder: there the tables are named, as the module has them."""
    source = tmp_path / "sentences"
    (source / "0_Transformer").mkdir(parents=True)
    (source / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "0_Transformer"}]))
    # A null where the section would be: not quantized.
    (source / "0_Transformer" / "config.json").write_text('{"model_type": "bert", "quantization_config": null}')
    save(source / "0_Transformer" / "model.safetensors", {NAME: TABLE})
    folder = Path(embcompress.export(source, "compressed-tensors:w8", neighbours=0).output.path)
    configuration = json.loads((folder / "0_Transformer" / "config.json").read_text())
    assert configuration["model_type"] == "bert"
    assert configuration["quantization_config"]["config_groups"]["group_0"]["targets"] == ["emb"]
    assert not (folder / "config.json").exists()
    values, _ = read_packed(folder / "0_Transformer")
    assert float((values - TABLE).norm() / TABLE.norm()) < 0.01
    with pytest.raises(UsageError, match=r"has a 0_Transformer/config\.json with a 'quantization_config'"):
        embcompress.export(folder, "compressed-tensors:w8", table=f"0_Transformer/{NAME}")


def test_gguf_of_a_model_of_llama_cpp_warns_of_what_it_lacks(tmp_path: Path) -> None:
    """Its tokenizer and architecture are not copied, nor one half of its labels; quantized tensors become floats."""
    gguf = pytest.importorskip("gguf", reason="reads GGUF files")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list([f"token{number}" for number in range(90)])
    writer.add_tensor("token_embd.weight", TABLE.numpy())
    kind = gguf.GGMLQuantizationType.Q8_0
    codes = gguf.quants.quantize(TABLE.numpy(), kind)
    writer.add_tensor("blk.0.attn_q.weight", codes, raw_dtype=kind)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    result = embcompress.export(tmp_path / "model.gguf", "gguf:q4_0", neighbours=0)
    (warning,) = result.warnings
    assert "llama.cpp runs no model from it" in warning
    assert "quantized tensors beside the tables become float32" in warning
    names = {one.name: np.array(one.data) for one in gguf.GGUFReader(result.output.path).tensors}
    assert list(names) == ["token_embd.weight", "blk.0.attn_q.weight"]
    assert (names["blk.0.attn_q.weight"] == gguf.quants.dequantize(codes, kind)).all()
    assert [one.name for one in result.skipped] == ["token_embd.weight.labels", "token_embd.weight.label_offsets"]


def test_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs write one hash, and a dry run tells the bytes of the file before it is there."""
    for kind in ("gguf:iq4_nl", "torch:int4"):
        planned = export_of(tmp_path, STATE, kind, dry_run=True)
        assert not Path(planned.output.path).exists()
        hashes = {export_of(tmp_path, STATE, kind, force=True).output.sha256 for _ in range(2)}
        assert len(hashes) == 1
        assert planned.output.bytes == Path(planned.output.path).stat().st_size


def test_row_weights_are_measured(tmp_path: Path) -> None:
    """The weighted error is the oracle's, and rows are rounded as without weights."""
    weights = torch.arange(1.0, 91)
    path = tmp_path / "weights.txt"
    path.write_text("".join(f"{weight}\n" for weight in weights.tolist()))
    plain = export_of(tmp_path, STATE, "torch:int4")
    result = export_of(tmp_path, STATE, "torch:int4", row_weights=path, force=True)
    assert result.output.sha256 == plain.output.sha256
    values, _ = reader_of("torch:int4")(Path(result.output.path))
    errors, norms = ((one.double().square().sum(dim=1) * weights).sum() for one in (values - TABLE, TABLE))
    error = result.tables[0].error
    assert error is not None
    assert error.weighted_relative is not None
    assert math.isclose(error.weighted_relative, float((errors / norms).sqrt()), rel_tol=1e-5)


def test_lines_of_the_docs_serve_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines for torch, gguf and onnxruntime run as written, on exports with the names that they use."""
    for library in ("gguf", "onnxruntime"):
        pytest.importorskip(library, reason="serves a form")
    monkeypatch.chdir(tmp_path)
    rows = torch.load(WORDS, weights_only=True)["embedding.weight"]
    for kind, name in LINES.items():
        embcompress.export(WORDS, kind, output=name, neighbours=0)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        if not any(f'"{name}"' in block for name in LINES.values()):
            continue
        exec(block, names)
        expected = rows[[0, 5, 7]]
        if "bags" in block:
            expected, names["rows"] = torch.stack([rows[0], rows[5] + rows[7]]), names["bags"].numpy()
        made = torch.from_numpy(names.pop("rows")).view(expected.shape)
        assert float((made - expected).norm() / expected.norm()) < 0.12
