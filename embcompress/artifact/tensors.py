"""Whole tensors in memory, from the bytes of a file."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from embcompress.artifact.reader import Artifact
from embcompress.checkpoints import StoredTensor
from embcompress.exceptions import ArtifactError
from embcompress.text import brief


def read_tensor(artifact: Artifact, stored: StoredTensor) -> Tensor:
    """Read a whole tensor of an artifact into memory, with its checksum.

    Raises:
        ArtifactError: the checksum is not the one of the header.
    """
    return gather(artifact.read(stored), stored)


def read_factor(artifact: Artifact, stored: StoredTensor) -> Tensor:
    """Read a whole tensor of floats that a table is made of.

    Raises:
        ArtifactError: the checksum is not the one of the header, or it holds NaN or infinity.
    """
    factor = read_tensor(artifact, stored)
    check_finite(factor, stored, artifact=artifact)
    return factor


def check_finite(values: Tensor, stored: StoredTensor, *, artifact: Artifact) -> None:
    """Refuse numbers of a stored tensor that make rows of NaN.

    Raises:
        ArtifactError: they are not all finite.
    """
    if not bool(torch.isfinite(values).all()):
        raise ArtifactError(
            f"tensor {brief(stored.name)} in {artifact.checkpoint.path} holds NaN or infinity.",
            hint="Copy it again, or compress the original again.",
        )


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
