"""`resize_token_embeddings` of transformers for a model whose token embeddings are compressed.

The model resizes dense stand-ins as it resizes any embedding, its heads and biases with them; then the compressed table
comes back, and what it got behind its rows is added to it. Nothing of transformers is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from embcompress.exceptions import TableError
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.representation import Representation
from embcompress.nn.serving.heads import LowRankHead
from embcompress.nn.serving.in_place import TABLE_SUFFIX, Served, serve_in_place, stop_serving
from embcompress.nn.serving.ties import TIES, keep_ties

RESIZE = "resize_token_embeddings"


def offer_resizing(model: nn.Module) -> None:
    """Let every part of a model that has `resize_token_embeddings` do it over compressed tables."""
    for module in model.modules():
        if callable(getattr(type(module), RESIZE, None)) and RESIZE not in module.__dict__:
            setattr(module, RESIZE, functools.partial(resize_token_embeddings, module))


@dataclass(frozen=True)
class Place:
    """A module that a compressed table serves.

    Attributes:
        path: of the module.
        module: a representation, a LowRankHead, or a module that is served in place.
        table: what serves it.
        is_in_place: whether the module keeps its class.
    """

    path: str
    module: nn.Module
    table: Any
    is_in_place: bool = False


def resize_token_embeddings(
    model: Any, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
) -> Any:
    """Give the token embeddings of a model another number of rows: by its own class, over dense stand-ins.

    Holds the table once densely while the model resizes it. The rows that come are drawn as the model draws them; they
    are dense, and train by themselves.

    Raises:
        TableError: fewer rows than the compressed table has, or one that normalises its rows.
    """
    resize: Callable[..., Any] = functools.partial(getattr(type(model), RESIZE), model)
    embeddings = model.get_input_embeddings()
    heads = (model.get_output_embeddings(),) if hasattr(model, "get_output_embeddings") else ()
    chosen = {id(table) for module in (embeddings, *heads) for table in _tables_of(module)}
    places = [place for place in _find_places(model) if id(place.table) in chosen]
    if not places or (new_num_tokens is None and pad_to_multiple_of is None):
        return resize(new_num_tokens, pad_to_multiple_of, mean_resizing) if not places else embeddings
    rows: int = embeddings.num_embeddings
    wanted = rows if new_num_tokens is None else new_num_tokens
    if pad_to_multiple_of is not None:
        wanted = -(-wanted // pad_to_multiple_of) * pad_to_multiple_of
    if wanted < rows:
        raise TableError(
            f"the token embeddings are the compressed table {places[0].table.table_name!r} of {rows} rows, which "
            f"cannot be cut to {wanted}.",
            hint="Resize the dense model before it is compressed.",
        )
    if wanted > rows and any(place.table.normalizer is not None for place in places):
        raise TableError(
            f"the token embeddings are the compressed table {places[0].table.table_name!r}, whose rows are normalised "
            "in every lookup (max_norm); rows that are added would not be.",
            hint="Resize the dense model before it is compressed.",
        )
    if wanted > rows:
        _resize_stand_ins(model, places, lambda: resize(new_num_tokens, pad_to_multiple_of, mean_resizing))
    return model.get_input_embeddings()


def _tables_of(module: Any) -> Iterator[Any]:
    """Yield the tables that serve a module."""
    if isinstance(module, LowRankHead):
        yield module.table
    elif isinstance(module, Representation):
        yield module
    elif isinstance(module, Served):
        yield from (getattr(module, leaf + TABLE_SUFFIX) for leaf in module.SERVED_LEAVES)


def _find_places(model: nn.Module) -> Iterator[Place]:
    """Yield what compressed tables serve in a model, under every path."""
    inside: set[int] = set()
    modules: Iterable[tuple[str, Any]] = model.named_modules(remove_duplicate=False)
    for path, module in modules:
        if isinstance(module, LowRankHead):
            inside.add(id(module))
            yield Place(path, module, module.table)
        elif isinstance(module, Served) and module.SERVED_LEAVES == ("weight",):
            inside.add(id(module))
            served: Any = module
            yield Place(path, served, served.weight_table, is_in_place=True)
        elif isinstance(module, Representation) and module.table_name:
            holder = model.get_submodule(path.rpartition(".")[0])
            if id(holder) not in inside and not isinstance(holder, Representation):
                yield Place(path, module, module)


def _resize_stand_ins(model: nn.Module, places: list[Place], resize: Callable[[], Any]) -> None:
    """Put dense modules in place of compressed ones, resize, and put the compressed ones back with what was added."""
    tables = {id(place.table): place.table for place in places}
    dense = {key: _dense_parameter(table) for key, table in tables.items()}
    known_ties = {
        name: {key: module.__dict__.pop(key) for key in TIES if key in module.__dict__}
        for name, module in model.named_modules()
    }
    made: dict[int, nn.Module] = {}
    for place in places:
        if id(place.module) not in made:
            made[id(place.module)] = _stand_in(place, dense[id(place.table)])
        _place(model, place.path, made[id(place.module)])
    grown = tables
    try:
        for name, ties in known_ties.items():
            if "all_tied_weights_keys" in ties:
                module: Any = model.get_submodule(name)
                module.all_tied_weights_keys = module.get_expanded_tied_weights_keys(all_submodels=True)
        resize()
        grown = {
            id(place.table): _grow(place.table, model.get_submodule(place.path).weight.detach())  # type: ignore[operator]
            for place in places
        }
    finally:
        _put_back(model, places, grown)


def _dense_parameter(table: Any) -> nn.Parameter:
    trains = any(parameter.requires_grad for parameter in table.parameters())
    return nn.Parameter(table.look_up(None).detach(), requires_grad=trains)


def _stand_in(place: Place, weight: nn.Parameter) -> nn.Module:
    """Make the dense module of a place; one that is served in place becomes what it was."""
    if place.is_in_place:
        stop_serving(place.module, "weight", weight)
        return place.module
    rows, dim = weight.shape
    if isinstance(place.module, LowRankHead):
        linear = nn.Linear(dim, rows, bias=False, device="meta")
        linear.weight, linear.bias = weight, place.module.bias  # type: ignore[assignment]
        return linear.train(place.module.training)
    embedding = nn.Embedding(rows, dim, padding_idx=place.table.padding_idx, device="meta")
    embedding.weight = weight
    return embedding.train(place.module.training)


def _grow(table: Any, weight: Tensor) -> Any:
    """Add the rows of a weight that a table has not, (rows, dim)."""
    if len(weight) == table.max_id:
        return table
    grown = GrownRepresentation(table, weight[table.max_id :].to(table.dtype).clone())
    grown.added.requires_grad_(any(parameter.requires_grad for parameter in table.parameters()))
    return grown.train(table.training)


def _put_back(model: nn.Module, places: list[Place], grown: dict[int, Any]) -> None:
    """Let tables serve their places again."""
    tables: dict[str, str] = {}
    made: dict[int, nn.Module] = {}
    for place in places:
        table = grown[id(place.table)]
        prefix = f"{place.path}." if place.path else ""
        resized: Any = model.get_submodule(place.path)
        if place.is_in_place:
            if "weight" in resized._parameters:  # it may lie under another path too, and be served already
                serve_in_place(resized, "weight", table)
            tables[f"{prefix}weight"] = f"{prefix}weight{TABLE_SUFFIX}"
            continue
        if id(place.module) not in made:
            is_head = isinstance(place.module, LowRankHead)
            head = LowRankHead(table, resized.bias).train(place.module.training) if is_head else table
            made[id(place.module)] = head
        tables[f"{prefix}weight"] = f"{prefix}table" if isinstance(place.module, LowRankHead) else place.path
        _place(model, place.path, made[id(place.module)])
    keep_ties(model, tables)


def _place(model: nn.Module, path: str, module: nn.Module) -> None:
    if path:
        above, _, name = path.rpartition(".")
        setattr(model.get_submodule(above), name, module)
