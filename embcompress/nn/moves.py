"""Moves of a module between devices and dtypes: what keeps its numbers, and what would lose them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

# Small integers, which every float dtype holds.
PROBE_NUMBERS = 24
PROBE_MAX = 255


def check_kept(fn: Callable[[Tensor], Tensor], *, device: torch.device, what: str) -> None:
    """Refuse a function of tensors that keeps their shape and not their numbers, as that of `Module.to_empty`.

    Args:
        fn: what `Module._apply` calls with every parameter and buffer.
        device: where these are.
        what: the module, in the message.

    Raises:
        RuntimeError: the numbers of a probe are lost.
    """
    if torch.compiler.is_compiling():
        return
    # By numbers of its own for each call: memory that is used again may hold those of the last probe.
    numbers = random.SystemRandom().choices(range(1, PROBE_MAX), k=PROBE_NUMBERS)
    probe = torch.tensor(numbers, dtype=torch.float32, device=device)
    moved = fn(probe)
    if moved.is_meta or moved.shape != probe.shape:
        return
    if moved.to("cpu", torch.float32).tolist() != torch.tensor(numbers).to(moved.dtype).float().tolist():
        raise RuntimeError(
            f"to_empty would leave {what} without the rows that it holds; to(device) moves them along, and to('meta') "
            "gives their memory back."
        )


@torch.no_grad()
def mark_unset(module: nn.Module) -> None:
    """Fill parameters and buffers that just got memory, and no numbers yet, with NaN and zeros: nothing by chance."""
    for tensor in (*module.parameters(), *module.buffers()):
        if not tensor.is_meta:
            tensor.fill_(torch.nan if tensor.is_floating_point() or tensor.is_complex() else 0)


def in_own_dtype(device: torch.device) -> AbstractContextManager[object]:
    """Keep autocast from the product that makes rows: those of torch.nn.Embedding keep their dtype in it."""
    if not torch.amp.is_autocast_available(device.type) or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
