"""Modules that people train and serve: dense tables, low-rank ones, and tables put together from others."""

from embcompress.nn.backfill import (
    REPRESENTATIONS,
    BackfillRepresentation,
    MultiBackfillRepresentation,
    Partition,
    PartitionRepresentation,
)
from embcompress.nn.bilinear import LowRankBilinear, LowRankInterdependence
from embcompress.nn.coded import CodedRepresentation
from embcompress.nn.constrainers import CONSTRAINERS, NORMALIZERS
from embcompress.nn.disk.coded import DiskCodedRepresentation
from embcompress.nn.disk.low_rank import DiskLowRankRepresentation
from embcompress.nn.disk.window_coded import DiskWindowCodedRepresentation
from embcompress.nn.embedding import Embedding
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.initializers import INITIALIZERS
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.pykeen import join_pykeen
from embcompress.nn.representation import Representation
from embcompress.nn.safe import safe_globals
from embcompress.nn.serving import LowRankHead
from embcompress.nn.window_coded import WindowCodedRepresentation

__all__ = [
    "CONSTRAINERS",
    "INITIALIZERS",
    "NORMALIZERS",
    "REPRESENTATIONS",
    "BackfillRepresentation",
    "CodedRepresentation",
    "DiskCodedRepresentation",
    "DiskLowRankRepresentation",
    "DiskWindowCodedRepresentation",
    "Embedding",
    "GrownRepresentation",
    "LowRankBilinear",
    "LowRankHead",
    "LowRankInterdependence",
    "LowRankRepresentation",
    "MultiBackfillRepresentation",
    "Partition",
    "PartitionRepresentation",
    "Representation",
    "WindowCodedRepresentation",
    "safe_globals",
]

join_pykeen(Representation, REPRESENTATIONS)
