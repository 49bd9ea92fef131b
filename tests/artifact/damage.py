"""Artifacts and originals changed bit by bit or word by word, and what `evaluate` tells of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from tests.fixtures import Pair


def header_of(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, and where its tensors start."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:start]), start


def flip(path: Path, tensor: str, *, bit: int, share: float) -> None:
    """Flip a bit of a byte of a stored tensor, at a share of its length."""
    header, start = header_of(path)
    begin, end = header[tensor]["data_offsets"]
    assert end > begin
    raw = bytearray(path.read_bytes())
    raw[start + begin + min(int(share * (end - begin)), end - begin - 1)] ^= 1 << bit
    path.write_bytes(raw)


def edit_document(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what an artifact says of itself, and keep the file well-formed."""
    header, start = header_of(path)
    document = json.loads(header["__metadata__"]["embcompress"])
    change(document)
    header["__metadata__"]["embcompress"] = json.dumps(document)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + path.read_bytes()[start:])


def edit_original(pair: Pair, change: Callable[[dict[str, Tensor]], object], **metadata: str) -> None:
    """Write the original again with something changed."""
    tensors = safetensors.torch.load_file(pair.original)
    change(tensors)
    safetensors.torch.save_file(tensors, pair.original, metadata={"format": "pt", "epoch": "3", **metadata})


def failed(report: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """List the checks that failed: their name, and the table or tensor."""
    found = [(check["name"], check["table"]) for check in report["checks"] if not check["passed"]]
    passed = {check["name"] for check in report["checks"] if check["passed"]}
    assert passed.isdisjoint(name for name, _ in found)
    return found
