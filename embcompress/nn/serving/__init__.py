"""Compressed tables in a model: in place of its embeddings, and of the heads that are tied to them."""

from embcompress.nn.serving.apply import apply_to
from embcompress.nn.serving.heads import LowRankHead

__all__ = ["LowRankHead", "apply_to"]
