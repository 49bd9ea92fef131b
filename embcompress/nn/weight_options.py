"""Arguments of the weights of a low-rank table, in the spelling of PyKEEN 1.11.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from embcompress.nn.constrainers import NORMALIZERS, RowFunction, plain_name, row_function
from embcompress.nn.initializers import Initializer, make_initializer

SIZES = {"max_id": "rows", "num_embeddings": "rows", "shape": "rank", "embedding_dim": "rank"}  # told by the table
TAKEN = (
    "initializer",
    "initializer_kwargs",
    "normalizer",
    "normalizer_kwargs",
    "constrainer",
    "constrainer_kwargs",
    "trainable",
    "dtype",
)


@dataclass(frozen=True)
class WeightOptions:
    """The start of weights (rows, rank), and what acts on them.

    Attributes:
        initializer: a function of the weights.
        initializer_kwargs: passed on to it.
        normalizer: of the weights of a lookup, (*s, rank), or None.
        constrainer: of all weights, after a step of the optimizer, or None.
        trainable: whether gradients reach them.
        dtype: real; None for that of the bases.
    """

    initializer: Initializer
    initializer_kwargs: dict[str, Any]
    normalizer: RowFunction | None
    constrainer: RowFunction | None
    trainable: bool
    dtype: torch.dtype | None


def read_weight_options(
    given: Mapping[str, Any] | None,
    *,
    rows: int,
    rank: int,
    initializer: str | Initializer | type,
    initializer_kwargs: Mapping[str, Any] | None,
    trainable: bool,
) -> WeightOptions:
    """Check the arguments given for weights.

    Args:
        given: `weight_kwargs`.
        rows: of the table.
        rank: of the table.
        initializer: where `given` has none.
        initializer_kwargs: of that initializer.
        trainable: where `given` does not say.

    Raises:
        TypeError: arguments that weights do not take, or a dtype that is not real.
        ValueError: sizes other than the table's.
    """
    options = dict(given or {})
    for name, kind in SIZES.items():
        size, expected = options.pop(name, None), rows if kind == "rows" else rank
        if (
            size is not None
            and size != expected
            and tuple(size if isinstance(size, tuple | list) else ()) != (expected,)
        ):
            raise ValueError(f"weights have {rows} rows of {rank} numbers; weight_kwargs say {name}={size!r}.")
    if unknown := sorted(options.keys() - set(TAKEN)):
        raise TypeError(f"weight_kwargs take {', '.join(TAKEN)}; got {', '.join(unknown)}.")
    dtype = options.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(f"weights are real; got {dtype}.")
    if options.get("initializer") is not None:
        initializer, initializer_kwargs = options["initializer"], options.get("initializer_kwargs")
    elif options.get("initializer_kwargs"):
        initializer_kwargs = options["initializer_kwargs"]
    function, kwargs = make_initializer(initializer, initializer_kwargs)
    return WeightOptions(
        initializer=function,
        initializer_kwargs=kwargs,
        normalizer=row_function(
            options.get("normalizer"), options.get("normalizer_kwargs"), axes=1, functions=NORMALIZERS
        ),
        constrainer=row_function(options.get("constrainer"), options.get("constrainer_kwargs"), axes=1),
        trainable=options.get("trainable", trainable),
        dtype=dtype,
    )


def check_dense(**hints: Any) -> None:
    """Check that what is asked for as bases or weights is a table of independent rows, to be made.

    Args:
        hints: by the name of the argument: None, a class, or a name.

    Raises:
        TypeError: something else.
    """
    for name, hint in hints.items():
        label = hint if isinstance(hint, str) else getattr(hint, "__name__", type(hint).__name__)
        is_made = not (hint is None or isinstance(hint, str | type))
        if is_made or (hint is not None and plain_name(label).removesuffix("representation") != "embedding"):
            raise TypeError(
                f"{name} must be an Embedding, by name or class; got {label}. Its arguments go into {name}_kwargs; "
                "factors that are there already, into from_factors."
            )
