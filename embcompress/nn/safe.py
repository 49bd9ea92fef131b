"""The classes and functions of which our modules are pickled, for torch's reader that runs nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from embcompress.nn import constrainers, initializers
from embcompress.nn.bilinear import LowRankBilinear, LowRankInterdependence
from embcompress.nn.coded import CodedRepresentation
from embcompress.nn.embedding import Embedding, OwnedTable
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.serving.heads import LowRankHead
from embcompress.nn.serving.in_place import SERVED_CLASSES
from embcompress.nn.window_coded import WindowCodedRepresentation


def safe_globals() -> list[type | Callable[..., Any]]:
    """List what a saved module of this package is made of, for `torch.serialization.add_safe_globals`.

    Modules with functions of the user's own, as normalizers or regularizers, need these besides.

    Example:
        >>> torch.serialization.add_safe_globals(safe_globals())  # doctest: +SKIP
        >>> table = torch.load("table.pt", weights_only=True)  # doctest: +SKIP
    """
    return [
        *(LowRankRepresentation, CodedRepresentation, WindowCodedRepresentation, GrownRepresentation),
        *(LowRankBilinear, LowRankInterdependence, LowRankHead, *SERVED_CLASSES.values()),
        *(Embedding, OwnedTable, nn.Dropout, functools.partial),
        *constrainers.CONSTRAINERS.values(),
        *(initializers.as_given, initializers.pretrained),
        set,
    ]
