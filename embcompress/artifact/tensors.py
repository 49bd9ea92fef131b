"""Whole tensors in memory, from the bytes of a file."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from embcompress.artifact.reader import Artifact
from embcompress.checkpoints import StoredTensor


def read_tensor(artifact: Artifact, stored: StoredTensor) -> Tensor:
    """Read a whole tensor of an artifact into memory, with its checksum.

    Raises:
        ArtifactError: the checksum is not the one of the header.
    """
    return gather(artifact.read(stored), stored)


def gather(parts: Iterable[memoryview], stored: StoredTensor) -> Tensor:
    """Put bytes together to a tensor of the shape and dtype of a stored one; those of an opaque one stay bytes."""
    buffer = bytearray(stored.nbytes)
    position = 0
    for part in parts:
        buffer[position : position + len(part)] = part
        position += len(part)
    if stored.opaque_bytes is not None:
        return torch.frombuffer(buffer, dtype=torch.uint8) if buffer else torch.empty(0, dtype=torch.uint8)
    dtype = getattr(torch, stored.dtype)
    if not buffer:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).view(stored.shape)
