"""The device that a run computes on."""

from __future__ import annotations

import torch

from embcompress.exceptions import DeviceError


def find_device(device: str) -> str:
    """Turn "auto" into the GPU if there is one, and check that the GPU "cuda" or "cuda:N" is there.

    Raises:
        DeviceError: it is not.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if int(device.partition(":")[2] or 0) >= count:
        raise DeviceError(f"--device {device}: torch sees {count} GPUs here.", hint="Use --device auto or cpu.")
    return device
