"""Constrainers of tables, as pickled knowledge-graph models of PyKEEN record them and --constrainer spells them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from embcompress.checkpoints.tensors import Listing, Named, Plain
from embcompress.choices import Choice

CONSTRAINER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "torch.nn.functional.normalize": "normalize",
        "pykeen.utils.complex_normalize": "complex_normalize",
        "torch.clamp": "clamp",
        "torch._C._VariableFunctionsClass.clamp": "clamp",  # as torch.clamp is pickled
        "pykeen.utils.clamp_norm": "clamp_norm",
    }
)  # a function that PyKEEN constrains rows with -> its name among CONSTRAINERS
ARGUMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"normalize": ("p", "eps"), "complex_normalize": (), "clamp": ("min", "max"), "clamp_norm": ("maxnorm", "p")}
)  # that mean the same in both


@dataclass(frozen=True)
class RecordedConstrainer:
    """The constrainer that a pickled model records for one of its tables.

    Attributes:
        function: its full name.
        choice: the same among CONSTRAINERS; None where none does the same to a row.
    """

    function: str
    choice: Choice | None


def find_constrainer(listing: Listing, name: str) -> RecordedConstrainer | None:
    """Find the constrainer of a table by the name of its tensor; None where the file tells of none.

    Example:
        >>> find_constrainer(checkpoint.listing, "entity_representations.0._embeddings.weight")
        RecordedConstrainer(function='torch.nn.functional.normalize', choice=Choice(name='normalize', arguments={}))
    """
    record = listing.graph_model.get(name.removesuffix("._embeddings.weight"))
    constrainer = record.names.get("constrainer") if record else None
    if record is None or constrainer is None:
        return None
    shape, is_complex = record.values.get("shape"), bool(record.values.get("is_complex"))
    axes = len(shape) if isinstance(shape, tuple) else 0
    return RecordedConstrainer(constrainer.name, _as_choice(constrainer, axes=axes, is_complex=is_complex))


def _as_choice(constrainer: Named, *, axes: int, is_complex: bool) -> Choice | None:
    """Spell a constrainer for rows of so many axes; None where it is not known to do to a row what ours does."""
    name = CONSTRAINER_NAMES.get(constrainer.name)
    if name is None or constrainer.keywords is None:
        return None
    keywords = dict(constrainer.keywords)
    # normalize without an axis goes over the first of a row, clamp_norm without one over the whole table.
    dim = keywords.pop("dim", 1 if name == "normalize" else None)
    if name in {"normalize", "clamp_norm"} and not _is_whole_row(dim, axes=axes):
        return None
    if keywords.get("p") == "fro":
        del keywords["p"]
    # Of rows stored as pairs of reals, only the norm of order 2 is that of the complex numbers.
    if is_complex and (name == "clamp" or keywords.get("p", 2) != 2):
        return None
    arguments = {}
    for key, value in keywords.items():
        if value is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or key not in ARGUMENTS[name]:
            return None
        arguments[key] = float(value)  # type: ignore[arg-type]
    if (name == "clamp" and not arguments) or (name == "clamp_norm" and "maxnorm" not in arguments):
        return None
    return Choice(name, MappingProxyType(arguments))


def _is_whole_row(dim: Plain, *, axes: int) -> bool:
    """Tell whether a norm over these axes of (rows, *row) is that of a row."""
    listed = dim if isinstance(dim, tuple) else (dim,)
    if not all(type(axis) is int for axis in listed):
        return False
    return sorted(axis % (axes + 1) for axis in listed if isinstance(axis, int)) == list(range(1, axes + 1))
