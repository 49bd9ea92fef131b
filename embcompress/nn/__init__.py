"""Modules that train and serve compressed tables."""

from embcompress.nn.low_rank import LowRankRepresentation

__all__ = ["LowRankRepresentation"]
