"""A state dict in a file of torch.save."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from embcompress.artifact.atomic_file import AtomicFile, failure_of, keep_pending, remove_pending
from embcompress.artifact.writer import Entry
from embcompress.exports.dense_model import DenseModel


def write(model: DenseModel, file: AtomicFile) -> None:
    """Write every tensor by its name; tied names share their memory, as torch.save keeps it.

    Tensors lie in files, which take as much of the disk as the output while it is written, and are mapped into memory:
    models may be larger than it.
    """
    state: dict[str, Tensor] = {}
    try:
        with tempfile.TemporaryDirectory(dir=file.target.parent, prefix=f".{file.target.name[:50]}.") as folder:
            keep_pending(Path(folder))
            for index, entry in enumerate(model.entries):
                first = model.tied.get(entry.name)
                state[entry.name] = state[first] if first in state else _map(model, entry, Path(folder) / str(index))
            torch.save(state, file.path)
        remove_pending(Path(folder))
    except OSError as err:
        raise failure_of(file.target, err) from err


def _map(model: DenseModel, entry: Entry, path: Path) -> Tensor:
    """Write a tensor into a file and map it."""
    dtype = torch.uint8 if entry.opaque_bytes is not None else getattr(torch, entry.dtype)
    if not entry.nbytes:
        return torch.empty(entry.shape, dtype=dtype)
    with path.open("wb") as stream:
        for part in model.read(entry):
            stream.write(part)
    content = torch.from_file(str(path), shared=False, size=entry.nbytes, dtype=torch.uint8)
    return content if entry.opaque_bytes is not None else content.view(dtype).view(entry.shape)
