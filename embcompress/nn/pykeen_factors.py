"""The factors of a low-rank table under the names that PyKEEN gives them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from embcompress.nn.markers import is_mark
from embcompress.nn.table_weight import TableWeight

PYKEEN_WEIGHTS = "weight._embeddings.weight"  # the keys of PyKEEN's module since 1.11.1
PYKEEN_BASES = "base._embeddings.weight"
OLD_PYKEEN_WEIGHTS = "weight"  # up to 1.11.0; the bases had the key that ours have


def rename_factors(state_dict: dict[str, Any], prefix: str) -> None:
    """Put the factors of a state dict of PyKEEN's, of any release, under the names of ours, in place."""
    for theirs, ours in (
        (PYKEEN_WEIGHTS, "weights"),
        (OLD_PYKEEN_WEIGHTS, "weights"),
        (PYKEEN_BASES, "bases._embeddings.weight"),
    ):
        if prefix + theirs in state_dict and not is_mark(state_dict[prefix + theirs]):
            state_dict[prefix + ours] = state_dict.pop(prefix + theirs)


class LowRankWeight(TableWeight):
    """The rows of a low-rank table as a tensor; in PyKEEN the name `weight` stands for a module of its weights."""

    def __call__(self, indices: Tensor | None = None) -> Tensor:
        """Return the weights of rows, (*s, rank); ids as in `look_up`."""
        weights: Tensor = self.table.weights_of(indices)
        return weights
