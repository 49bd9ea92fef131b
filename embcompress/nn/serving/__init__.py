"""Compressed tables in a model: in place of its embeddings, and of the heads that are tied to them."""

from embcompress.nn.serving.apply import apply_to, load_model
from embcompress.nn.serving.heads import LowRankHead
from embcompress.nn.serving.pretrained import from_pretrained
from embcompress.nn.serving.state_dicts import apply_state_dict, dense_state_dict

__all__ = ["LowRankHead", "apply_state_dict", "apply_to", "dense_state_dict", "from_pretrained", "load_model"]
