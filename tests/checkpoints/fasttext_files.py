"""Models of fastText, written by the layout that its source has: training one takes threads and chance."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

SKIPGRAM, SUPERVISED = 2, 3


def fasttext_model(
    inputs: np.ndarray,
    outputs: np.ndarray,
    *,
    words: Sequence[bytes] = (),
    labels: Sequence[bytes] = (),
    version: int = 12,
    is_quantised: bool = False,
) -> bytes:
    """Write a model.

    Args:
        inputs: (words + buckets, dim) float32.
        outputs: (labels or words, dim) float32.
        words: of the dictionary; by default one for each output.
        labels: of a classifier; without any it is a skip-gram model.
        version: of the layout.
        is_quantised: what the flag before the input matrix says.
    """
    words = words or [f"word{row}".encode() for row in range(len(outputs))]
    rows, dim = inputs.shape
    model = SUPERVISED if labels else SKIPGRAM
    minn, maxn = (3, 6) if rows > len(words) else (0, 0)
    options = (dim, 5, 5, 1, 5, 1, 1, model, rows - len(words), minn, maxn, 100)  # loss 1: hierarchical softmax
    content = b"\xba\x16\x4f\x2f" + struct.pack("<i12id", version, *options, 1e-4)
    content += struct.pack("<3i2q", len(words) + len(labels), len(words), len(labels), 1000, -1)
    for kind, texts in enumerate((words, labels)):
        for index, text in enumerate(texts):
            content += text + b"\0" + struct.pack("<qb", 1000 - index, kind)
    for matrix, flag in ((inputs, is_quantised), (outputs, False)):
        content += struct.pack("<?2q", flag, *matrix.shape) + matrix.astype("<f4").tobytes()
    return content
