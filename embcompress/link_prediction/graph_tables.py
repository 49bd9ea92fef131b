"""The tables of a knowledge-graph model of PyKEEN: where they are, and what their rows are to an interaction."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.tensors import Named
from embcompress.exceptions import TableError
from embcompress.link_prediction.interactions import Interaction, solve_shapes
from embcompress.tables.recognition import TABLE_DTYPES
from embcompress.tables.table import REAL_PARTS
from embcompress.text import named

NORMALIZERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "torch.nn.functional.normalize": frozenset({"p", "dim", "eps"}),
        "pykeen.nn.quaternion.normalize": frozenset(),
    }
)  # what may be done to rows when they are looked up -> its keywords
NORMALIZED = (
    "PairRE",
    "QuatE",
)  # PyKEEN's models of these interactions normalize rows so, and a state dict tells of none


@dataclass(frozen=True)
class GraphTable:
    """A table of entities or relations.

    Attributes:
        stored: in the original.
        shape: of a row as the interaction takes it, a complex entry counted once.
        is_complex: whether rows are pairs of reals that stand for complex numbers.
        normalizer: what is done to rows when they are looked up.
    """

    stored: StoredTensor
    shape: tuple[int, ...]
    is_complex: bool
    normalizer: Named | None


def find_tables(original: Checkpoint, side: str) -> list[StoredTensor]:
    """Find the tables of entities or relations, in PyKEEN's order.

    Raises:
        TableError: there are none, or they are made of other things than plain tables.
    """
    part = f"{side}_representations"
    tables: dict[int, StoredTensor] = {}
    for tensor in original.tensors:
        if not tensor.name.startswith(f"{part}."):
            continue
        match = re.fullmatch(rf"{part}\.(\d{{1,4}})\._embeddings\.weight", tensor.name)
        if match and len(tensor.shape) == 2 and tensor.dtype in TABLE_DTYPES:
            tables[int(match[1])] = tensor
        elif ".regularizer." not in tensor.name:
            raise TableError(
                f"{original.path} holds {tensor.name!r}: not all {part} are plain tables, so it cannot be scored.",
                hint="Score such a model with PyKEEN itself.",
            )
    if not tables:
        names = [tensor.name for tensor in original.tensors]
        raise TableError(
            f"{original.path} has no table named '{part}.0._embeddings.weight', as a model of PyKEEN has; "
            f"it has {named(names)}.",
            hint="Link prediction is for models of PyKEEN; leave --triples out.",
        )
    if sorted(tables) != list(range(len(tables))):
        raise TableError(f"{original.path} has {part} {sorted(tables)}, and some are missing between them.")
    return [tables[index] for index in range(len(tables))]


def columns_of(stored: StoredTensor) -> int:
    """Count the real entries of a row."""
    return stored.shape[1] * (2 if stored.dtype in REAL_PARTS else 1)


def count_rows(original: Checkpoint, side: str, tables: Sequence[StoredTensor]) -> int:
    """Count the rows of tables that all have as many.

    Raises:
        TableError: they do not.
    """
    rows = {stored.shape[0] for stored in tables}
    if len(rows) > 1:
        raise TableError(f"{original.path} has {side}_representations of different numbers of rows: {sorted(rows)}.")
    return rows.pop()


def shape_tables(
    original: Checkpoint, interaction: Interaction, module: Any, *, tables_of_side: Mapping[str, Sequence[StoredTensor]]
) -> tuple[tuple[GraphTable, ...], tuple[GraphTable, ...]]:
    """Find the shapes of rows, and what a lookup does to them, and check that the interaction takes such rows.

    Args:
        original: of which the tables are.
        interaction: what is told of it.
        module: it, made.
        tables_of_side: the tables of "entity" and of "relation".

    Raises:
        TableError: the interaction takes other rows, or nothing tells their shapes or what a lookup does to them.
    """
    symbols = {"entity": list(module.entity_shape), "relation": list(module.relation_shape)}
    for side, tables in tables_of_side.items():
        if len(tables) != len(symbols[side]):
            raise TableError(
                f"the interaction {interaction.name} takes {len(symbols[side])} {side}_representations, "
                f"and {original.path} has {len(tables)}."
            )
    modules = original.listing.graph_model
    flat = [(side, index, stored) for side, tables in tables_of_side.items() for index, stored in enumerate(tables)]
    if modules:
        made = [_recorded_table(original, f"{side}_representations.{index}", stored) for side, index, stored in flat]
        sizes: dict[str, int] = {}
        for table, letters in zip(made, [*symbols["entity"], *symbols["relation"]], strict=True):
            is_alike = len(letters) == len(table.shape)
            if not is_alike or any(
                sizes.setdefault(axis, size) != size for axis, size in zip(letters, table.shape, strict=True)
            ):
                raise TableError(
                    f"the interaction {interaction.name} takes rows of shapes {symbols['entity']} and "
                    f"{symbols['relation']}, and those of {table.stored.name!r} in {original.path} are {table.shape}."
                )
    else:
        if interaction.name in NORMALIZED:
            raise TableError(
                f"PyKEEN's {interaction.name} normalizes rows when they are looked up, and the state dict "
                f"{original.path} does not tell how.",
                hint="Give the model that PyKEEN pickled, trained_model.pkl.",
            )
        is_complex = bool(module.is_complex)
        columns = [columns_of(stored) / (2 if is_complex else 1) for _, _, stored in flat]
        shapes = None
        if all(width.is_integer() for width in columns):
            shapes = solve_shapes([*symbols["entity"], *symbols["relation"]], [int(width) for width in columns])
        if shapes is None:
            found_columns = ", ".join(f"{stored.name} {columns_of(stored)}" for _, _, stored in flat)
            raise TableError(
                f"the interaction {interaction.name} takes rows of shapes {symbols['entity']} and "
                f"{symbols['relation']}, to which the columns of {original.path} do not fit, or not in one way: "
                f"{found_columns}.",
                hint="Check --interaction, or give the model that PyKEEN pickled.",
            )
        made = [GraphTable(stored, shape, is_complex, None) for (_, _, stored), shape in zip(flat, shapes, strict=True)]
    count = len(tables_of_side["entity"])
    return tuple(made[:count]), tuple(made[count:])


def _recorded_table(original: Checkpoint, path: str, stored: StoredTensor) -> GraphTable:
    """Take what the pickled model says of one table.

    Raises:
        TableError: it is no Embedding of PyKEEN's, or one whose normalizer is not known.
    """
    record = original.listing.graph_model.get(path)
    if record is None or not re.fullmatch(r"pykeen\.nn\.\w+\.Embedding", record.class_name):
        what = "nothing" if record is None else repr(record.class_name)
        raise TableError(f"{path} in {original.path} should be an Embedding of PyKEEN's, and is {what}.")
    shape, is_complex = record.values.get("shape"), bool(record.values.get("is_complex"))
    if not isinstance(shape, tuple) or math.prod(shape) * (2 if is_complex else 1) != columns_of(stored):  # type: ignore[arg-type]
        raise TableError(
            f"{path} in {original.path} says that its rows are {shape}, and has {columns_of(stored)} columns."
        )
    normalizer = record.names.get("normalizer")
    allowed = NORMALIZERS.get(normalizer.name) if normalizer else frozenset()
    if normalizer and (allowed is None or normalizer.keywords is None or not normalizer.keywords.keys() <= allowed):
        raise TableError(
            f"{path} in {original.path} normalizes its rows by {normalizer.name!r}, which is not known.",
            hint="Score such a model with PyKEEN itself.",
        )
    return GraphTable(stored, shape, is_complex, normalizer)  # type: ignore[arg-type]


def is_default_inverter(inverter: Named | None) -> bool:
    """Return whether the inverse of relation i is row 2 i + 1, and the relation itself row 2 i."""
    return inverter is not None and inverter.name == "pykeen.inverse.DefaultRelationInverter"
