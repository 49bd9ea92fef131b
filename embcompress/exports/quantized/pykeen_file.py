"""A state dict in which PyKEEN's LowRankRepresentation takes the place of an embedding, of the artifact's own factors.

The representation has the representations `base`, (rank, numbers of a row), and `weight`, (rows, rank), each an
Embedding; rows are weight times base. Other tensors keep their names, so that a whole model finds its own.

Source: PyKEEN 1.11.1, pykeen.nn.representation.LowRankRepresentation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompress.artifact.schema import BASES_SUFFIX, WEIGHTS_SUFFIX, CompressedTable
from embcompress.artifact.writer import Entry, find_repeated
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, OFFSETS_SUFFIX
from embcompress.exceptions import UsageError
from embcompress.exports.quantized.kind import ExportPlan, Kind, RoundedPart, TableEncoding
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.torch_file import StateWriter

ENDINGS = ("_embeddings.weight", "weight")  # of the tensor of a representation, behind the name of its module


class PykeenFile(Kind):
    """A file of torch.save of low-rank tables."""

    ending = "-pykeen.pt"

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        make = "`embcompress approximate --bases K` makes an artifact that has these"
        if source.compressed is None:
            return f"is stored dense, and LowRankRepresentation has bases and weights: {make}"
        if source.compressed.is_coded:
            return f"is stored as codes, and LowRankRepresentation has bases and weights as floats: {make}"
        if source.table.dtype.startswith("complex"):
            return f"holds {source.table.dtype}, and the form has real bases only"
        return ""

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        assert source.compressed is not None
        return _Factors(source, source.compressed)

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: D102 - as in Kind
        if stored.name.endswith((LABELS_SUFFIX, OFFSETS_SUFFIX)):
            return "PyKEEN keeps labels apart from tensors"
        return "" if stored.opaque_bytes is None else f"torch has no dtype for {stored.dtype}"

    def check(self, plan: ExportPlan) -> None:
        """Refuse two tensors of one name.

        Raises:
            UsageError: there are such.
        """
        twice = find_repeated(entry.name for entry in plan.entries)
        if twice is not None:
            raise UsageError(
                f"two tensors of the output would be named {twice!r}.", hint="Leave a table out with --exclude."
            )

    def open_writer(self, plan: ExportPlan) -> StateWriter:  # noqa: D102 - as in Kind
        return StateWriter(plan.target, plan.entries, force=plan.force)


def _module_of(name: str) -> str:
    """Name the module that a tensor is the embedding of, with a dot behind it; empty: there is none.

    Example:
        >>> _module_of("entity_representations.0._embeddings.weight"), _module_of("weight"), _module_of("words")
        ('entity_representations.0.', '', 'words.')
    """
    for ending in ENDINGS:
        if name == ending or name.endswith(f".{ending}"):
            return name.removesuffix(ending)
    return f"{name}."


class _Factors(TableEncoding):
    """A table as bases and weights."""

    def __init__(self, source: SourceTable, compressed: CompressedTable) -> None:
        assert source.read is not None
        module, name = _module_of(compressed.name), compressed.name
        bases, weights = source.factors[name + BASES_SUFFIX], source.factors[name + WEIGHTS_SUFFIX]
        shape = (compressed.rank, math.prod(compressed.shape))
        self.entries = ()
        self.fixed = {
            Entry(f"{module}base._embeddings.weight", bases.dtype, shape): source.read(bases),
            Entry(f"{module}weight._embeddings.weight", weights.dtype, weights.shape): source.read(weights),
        }
        self.largest = torch.finfo(torch.float64).max
        self.rank = compressed.rank

    def round(self, values: Tensor) -> RoundedPart:
        # Rows of an artifact are the products of what is written.
        return RoundedPart((), values)
