"""The biases of heads that grow: known entries in their new places, new ones as transformers' resizing makes them."""

from __future__ import annotations

import torch

from embcompress.artifact.tensors import gather
from embcompress.growth.model_folders import HeadBias
from embcompress.growth.row_writer import read_stored
from embcompress.tables.rows import tensor_bytes


def grown_bias(bias: HeadBias) -> memoryview:
    """Make the bytes of a bias: known entries bit by bit, new ones zero or the mean of the known."""
    parts = [gather(read_stored(base, stored), stored) for base, stored in zip(bias.bases, bias.parts, strict=True)]
    ids = [torch.frombuffer(new_ids, dtype=torch.int64) for new_ids in bias.placement.new_ids]
    known = torch.cat([part.flatten()[own >= 0] for part, own in zip(parts, ids, strict=True)])
    entries = known.new_zeros(bias.placement.max_id)
    finite = known[known.isfinite()].to(torch.float64)  # a masked token may have -inf
    if len(finite) and not bias.is_zeroed:
        entries.fill_(float(finite.mean()))
    entries[torch.cat([own[own >= 0] for own in ids])] = known
    return tensor_bytes(entries.view(bias.entry.shape))
