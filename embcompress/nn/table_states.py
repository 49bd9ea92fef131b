"""Compressed tables in a state dict: found by their marks, and made into modules again from their tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embcompress.coding.constants import HALF_BIT
from embcompress.coding.window_codebook import WindowCodebook
from embcompress.exceptions import TableError
from embcompress.linalg.blocks import product_dtype
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.coded import CodedRepresentation
from embcompress.nn.decode_operator import BUFFERS
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.markers import is_mark
from embcompress.nn.window_coded import WindowCodedRepresentation

BASES, FACTORS = "bases._embeddings.weight", "weights"
BASE, ADDED = "base.", "added._embeddings.weight"


@dataclass(frozen=True)
class TableState:
    """The tensors of one table in a state dict.

    Attributes:
        mark: the name of the dense parameter that it stands for.
        prefix: of its tensors.
        names: of its tensors, behind the prefix.
    """

    mark: str
    prefix: str
    names: tuple[str, ...]


def find_marks(state_dict: Mapping[str, Any]) -> list[str]:
    """List the names of dense parameters that a state dict has in compressed form."""
    return [name for name, tensor in state_dict.items() if is_mark(tensor)]


def find_table_states(state_dict: Mapping[str, Any]) -> list[TableState]:
    """Find the tensors of every table; of a table under several names those under the first that has them.

    Raises:
        TableError: the tensors of a table are missing.
    """
    states: list[TableState] = []
    for mark in find_marks(state_dict):
        above = mark.rpartition(".")[0]
        path = f"{above}." if above else ""
        # In place of a module, of the table that a representation owns, of a head, or beside a module that stays.
        candidates = (f"{mark}_table.", f"{path}table.", path, path.removesuffix("_embeddings."))
        for prefix in candidates:
            names = tuple(name for name in _NAMES if prefix + name in state_dict)
            names += tuple(
                name
                for key in state_dict
                if key.startswith(prefix) and (name := key.removeprefix(prefix)) not in names and _is_numbered(name)
            )
            if _is_whole(names):
                states.append(TableState(mark, prefix, names))
                break
    if not states and find_marks(state_dict):
        raise TableError(f"the state dict has {find_marks(state_dict)[0]!r} in compressed form, and no tensors of it.")
    return states


# Of all kinds of tables, and of those that grew.
_PLAIN_NAMES = (BASES, FACTORS, "left", "right", "bases", "scales", "centers", "levels", "bits", "windows")
_OWN_NAMES = (*_PLAIN_NAMES, "groups_of_rows", *BUFFERS)
_NAMES = (*_OWN_NAMES, *(BASE + name for name in _OWN_NAMES), ADDED)


def _is_numbered(name: str) -> bool:
    """Return whether a name is that of the codes of a group."""
    first, _, number = name.removeprefix(BASE).partition("_")
    return first == "codes" and number.isdigit()


def _is_whole(names: tuple[str, ...]) -> bool:
    own = {name.removeprefix(BASE) for name in names}
    kinds: tuple[set[str], ...] = ({BASES, FACTORS}, {"left", "right"}, {"scales", *BUFFERS}, {"scales", "levels"})
    return any(kind <= own for kind in kinds)


def table_state(state_dict: Mapping[str, Any], state: TableState) -> dict[str, Tensor]:
    """Take the tensors of a table, by their names within it."""
    return {name: state_dict[state.prefix + name] for name in state.names}


def make_table(tensors: Mapping[str, Tensor], *, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """Make a module of the tensors of its state dict.

    Args:
        tensors: by their names within the module.
        shape: of a row of the dense table.
        dtype: of the dense table.

    Raises:
        TableError: they do not fit together, or to such rows.
    """
    try:
        return _make(tensors, shape=shape, dtype=dtype)
    except (ValueError, KeyError, RuntimeError) as err:
        raise TableError(f"the tensors of a compressed table do not fit together: {err}") from err


@torch.no_grad()
def multiply_out(tensors: Mapping[str, Tensor]) -> Tensor:
    """Multiply the rows of a table out of the tensors of its state dict, (rows, real entries of a row).

    Raises:
        TableError: as `make_table`.
    """
    own = {name.removeprefix(BASE): tensor for name, tensor in tensors.items()}
    of_columns = next((own[name] for name in (BASES, "bases", "scales") if name in own), None)
    if of_columns is None:
        raise TableError("a table of matrices is no table of tokens.")
    module = make_table(tensors, shape=(of_columns.shape[-1],), dtype=of_columns.dtype)
    rows: Tensor = module.look_up(None)
    return rows


def _make(tensors: Mapping[str, Tensor], *, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    if ADDED in tensors:
        own = {name.removeprefix(BASE): tensor for name, tensor in tensors.items() if name.startswith(BASE)}
        base = _make(own, shape=shape, dtype=dtype)
        return GrownRepresentation(base, _shaped(tensors[ADDED], shape, dtype))
    if "left" in tensors:
        return LowRankBilinear.from_factors(left=tensors["left"], right=tensors["right"])
    if FACTORS in tensors:
        bases = _shaped(tensors[BASES], shape, dtype)
        return LowRankRepresentation.from_factors(bases=bases, weights=tensors[FACTORS])
    stored_shape = (*shape, 2) if dtype.is_complex else shape
    flat = tensors.get("bases")
    if "levels" in tensors:
        bits, count = tensors["bits"], len(tensors["scales"])
        windows = {size: window for size, window in enumerate(tensors["windows"].tolist()) if window}
        assert len(tensors["windows"]) == HALF_BIT + 1
        return WindowCodedRepresentation.from_codes(
            codes=[tensors[f"codes_{group}"] for group in range(count)],
            groups_of_rows=tensors.get("groups_of_rows"),
            codebook=WindowCodebook(bits, tensors["scales"], windows, tensors["levels"]),
            bases=None if flat is None else flat.view(len(flat), *stored_shape),
            shape=shape,
            dtype=dtype,
        )
    return CodedRepresentation(
        buffers={name: tensors[name] for name in BUFFERS},
        bases=None if flat is None else flat.view(len(flat), *stored_shape),
        scales=tensors["scales"],
        centers=tensors.get("centers"),
        shape=shape,
        dtype=dtype,
    )


def _shaped(rows: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Give flat real rows the shape of the dense table's, (count, real entries) -> (count, *shape)."""
    if not dtype.is_complex:
        return rows.reshape(len(rows), *shape)
    return torch.view_as_complex(rows.to(product_dtype(dtype.to_real())).reshape(len(rows), *shape, 2))
