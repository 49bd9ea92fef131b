"""Whole tensors of an artifact in memory."""

from __future__ import annotations

from typing import Any

import torch

from embcompress.artifact.reader import Artifact
from embcompress.checkpoints import StoredTensor


def read_tensor(artifact: Artifact, stored: StoredTensor) -> Any:
    """Read a whole tensor of an artifact into memory, with its checksum.

    Raises:
        ArtifactError: the checksum is not the one of the header.
    """
    buffer = bytearray(stored.nbytes)
    position = 0
    for part in artifact.read(stored):
        buffer[position : position + len(part)] = part
        position += len(part)
    dtype = getattr(torch, stored.dtype)
    if not buffer:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).view(stored.shape)
