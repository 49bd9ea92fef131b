"""State dicts of models with compressed tables: made dense, and put into a model whose tables are dense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.artifact.schema import CompressedTable
from embcompress.exceptions import TableError
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.representation import Representation
from embcompress.nn.serving.apply import plan_tables, put_tables, warn_of_places
from embcompress.nn.serving.constraint import RowConstraint
from embcompress.nn.serving.heads import LowRankHead
from embcompress.nn.serving.in_place import TABLE_SUFFIX, Served
from embcompress.nn.serving.rest import replace_tensor, set_buffers
from embcompress.nn.serving.sites import match_any
from embcompress.nn.table_states import TableState, find_marks, find_table_states, make_table, table_state
from embcompress.text import named


@dataclass(frozen=True)
class ServedParameter:
    """A dense parameter that a compressed table took the place of.

    Attributes:
        name: of the parameter.
        table: what took its place.
        prefix: of the table's names in the state dict.
    """

    name: str
    table: Any
    prefix: str


def served_parameters(model: nn.Module) -> Iterator[ServedParameter]:
    """Yield the dense parameters that compressed tables took the place of, under all their names."""
    inside: set[str] = set()
    modules: Iterator[tuple[str, Any]] = model.named_modules(remove_duplicate=False)
    for path, module in modules:
        prefix = f"{path}." if path else ""
        if isinstance(module, LowRankHead):
            inside.add(f"{prefix}table")
            yield ServedParameter(f"{prefix}weight", module.table, f"{prefix}table.")
        elif isinstance(module, Served):
            for leaf in module.SERVED_LEAVES:
                inside.add(f"{prefix}{leaf}{TABLE_SUFFIX}")
                table = getattr(module, leaf + TABLE_SUFFIX)
                yield ServedParameter(f"{prefix}{leaf}", table, f"{prefix}{leaf}{TABLE_SUFFIX}.")
        elif isinstance(module, Representation | LowRankBilinear) and module.dense_key and path not in inside:
            yield ServedParameter(prefix + module.dense_key, module, prefix)


@torch.no_grad()
def dense_rows(parameter: ServedParameter) -> Tensor:
    """Multiply out the rows of a dense parameter, in the shape that it had."""
    table = parameter.table
    if isinstance(table, LowRankBilinear):
        return table.to_dense()
    rows: Tensor = table.look_up(None)
    if isinstance(table.normalizer, RowConstraint):
        rows = table.normalizer.constrainer(rows)
    if table.dense_key == "weight" or not parameter.name.endswith("_embeddings.weight"):
        return rows
    real = torch.view_as_real(rows) if rows.is_complex() else rows
    return real.reshape(len(real), -1)


def dense_state_dict(model: nn.Module) -> dict[str, Any]:
    """Make the state dict that a model would have with dense tables: it loads into a model that was never compressed.

    Tables that modules share stay shared. Holds the dense tables in memory.

    Example:
        >>> plain.load_state_dict(dense_state_dict(model))  # doctest: +SKIP
        <All keys matched successfully>
    """
    state: dict[str, Any] = dict(model.state_dict())
    shared: dict[int, Tensor] = {}
    parameters = list(served_parameters(model))
    for parameter in parameters:
        own = (*parameter.table.state_dict(), parameter.table.dense_key)
        for name in own:
            state.pop(parameter.prefix + name, None)
    for parameter in parameters:
        key = id(parameter.table)
        if key not in shared:
            shared[key] = dense_rows(parameter)
        state[parameter.name] = shared[key]
    return state


def apply_state_dict(model: nn.Module, state_dict: Mapping[str, Any]) -> nn.Module:
    """Load the state dict of a model with compressed tables into one whose tables are dense.

    The tables are made from the state dict alone, and take the places of the model's as `apply_to` puts them. What is
    tied in the model may have one of its names only. A model on `meta` gets its memory.

    Args:
        model: of the same architecture, changed in place; tables that are compressed already are loaded.
        state_dict: of a model after `apply_to`.

    Returns:
        The model.

    Raises:
        TableError: a table does not fit the model, or a tensor is missing.
        RuntimeError: of load_state_dict: a tensor of another shape, or one that the model does not have.
    """
    set_buffers(model)
    place_tables(model, state_dict)
    groups: dict[int, list[str]] = {}
    own = model.state_dict(keep_vars=True)
    for name, tensor in own.items():
        if isinstance(tensor, Tensor):
            groups.setdefault(id(tensor), []).append(name)
    state = dict(state_dict)
    for names in groups.values():
        tensor = own[names[0]]
        if tensor.is_meta:
            replace_tensor(model, names, tensor, torch.empty_like(tensor, device="cpu"))
        source = next((name for name in names if name in state), None)
        if source is not None:
            state |= {name: state[source] for name in names if name not in state}
    marks = set(find_marks(own))
    missing = [name for name in own if name not in state and name not in marks]
    if missing:
        raise TableError(f"the state dict lacks {len(missing)} tensors that the model needs: {named(missing)}.")
    model.load_state_dict(state, strict=True)
    for value in model.parameters():
        value._is_hf_initialized = True  # type: ignore[attr-defined]
    return model


def place_tables(model: nn.Module, state_dict: Mapping[str, Any], *, dense: bool = False) -> list[str]:
    """Put the tables of a state dict in place of a model's, and load them; those already compressed are left.

    Args:
        model: changed in place.
        state_dict: with all tensors of the tables; others are not read.
        dense: multiply the tables out into the model's parameters instead.

    Returns:
        The names of the model's parameters that were served.

    Raises:
        TableError: a table does not fit the model, or there is nothing where its parameter should be.
    """
    known = {parameter.name for parameter in served_parameters(model)}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    planned: list[tuple[TableState, CompressedTable, Any]] = []
    seen: dict[object, int] = {}  # the memory of a table, and the parameter that it serves -> its place in the list
    for state in find_table_states(state_dict):
        if state.mark in known:
            continue
        table, module = _describe(state, state_dict, parameters)
        keys = (id(parameters[table.name]), state_dict[state.prefix + state.names[0]].data_ptr() or id(state))
        place = next((seen[key] for key in keys if key in seen), len(planned))
        seen |= dict.fromkeys(keys, place)
        if place == len(planned):
            planned.append((state, table, module))
        else:
            first, head, same = planned[place]
            planned[place] = first, replace(head, tied_names=(*head.tied_names, table.name)), same
    if dense:
        for _, table, module in planned:
            for name in (table.name, *table.tied_names):
                _fill(parameters[name], module)
        return [table.name for _, table, _ in planned]
    placements = plan_tables(model, [(table, partial(_give, module)) for _, table, module in planned])
    put_tables(model, placements)
    for (state, _, _), placement in zip(planned, placements, strict=True):
        if not placement.is_dense:
            placement.module.load_state_dict(table_state(state_dict, state), strict=True)
    served = [parameter.name for parameter in served_parameters(model)]
    unserved = [mark for mark in find_marks(state_dict) if not match_any(mark, dict.fromkeys(served, None))]
    filled = {site.name for placement in placements if placement.is_dense for site in placement.sites}
    unserved = [mark for mark in unserved if not match_any(mark, dict.fromkeys(filled, None))]
    if unserved:
        raise TableError(
            f"{unserved[0]!r} is compressed in the state dict, which has no tensors of it, and the model does not tie "
            "it to another table."
        )
    warn_of_places(placements)
    return served


def _give(module: Any) -> Any:
    return module


def _describe(
    state: TableState, state_dict: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]
) -> tuple[CompressedTable, Any]:
    """Make the module of a table, and describe it as an artifact would.

    Raises:
        TableError: the model has no parameter of this name, or of other sizes.
    """
    name = match_any(state.mark, parameters)
    if not name:
        raise TableError(
            f"the model has no parameter {state.mark!r}, which is compressed in the state dict.",
            hint="Load it into a model of the same architecture.",
        )
    parameter = parameters[name]
    shape = tuple(parameter.shape[1:])
    module = make_table(table_state(state_dict, state), shape=shape, dtype=parameter.dtype)
    is_bilinear = isinstance(module, LowRankBilinear)
    rows = module.out_features if is_bilinear else module.max_id
    if rows != len(parameter):
        raise TableError(
            f"table {state.mark!r} has {rows} rows in the state dict, and {len(parameter)} in the model.",
            hint="Make the model with as many, or resize it.",
        )
    dtype = str(parameter.dtype).removeprefix("torch.")
    rank = module.rank if is_bilinear else getattr(module, "num_bases", 1)
    matrix = (module.in1_features, module.in2_features) if is_bilinear else None
    kind = "bilinear" if is_bilinear else "embedding"
    return CompressedTable(
        name=name, tied_names=(), rows=rows, shape=shape, dtype=dtype, rank=rank, error=None, kind=kind, matrix=matrix
    ), module


@torch.no_grad()
def _fill(parameter: nn.Parameter, module: Any) -> None:
    """Put the rows of a table into a dense parameter."""
    rows = module.to_dense() if isinstance(module, LowRankBilinear) else module.look_up(None)
    parameter.copy_(rows.view(parameter.shape))
