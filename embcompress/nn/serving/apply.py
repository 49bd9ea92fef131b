"""Compressed tables put into a model: in place of its embeddings, of its bags, and of the heads tied to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import TableError
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.loading import load_table
from embcompress.nn.serving.fitting import fit_bilinear, fit_table
from embcompress.nn.serving.heads import FactoredTable, LowRankHead
from embcompress.nn.serving.in_place import TABLE_SUFFIX, serve_in_place
from embcompress.nn.serving.resizing import offer_resizing
from embcompress.nn.serving.rest import list_unset, load_rest, plan_rest, replace_tensor, set_buffers
from embcompress.nn.serving.sites import Manner, Site, find_sites
from embcompress.nn.serving.static_models import StaticRows, is_static_model, serve_static_model
from embcompress.nn.serving.ties import keep_ties, note_tables
from embcompress.text import named

if TYPE_CHECKING:
    from embcompress.nn.loading import LoadedTable

ModelT = TypeVar("ModelT")
Served: TypeAlias = FactoredTable | LowRankBilinear


@dataclass(frozen=True)
class Placement:
    """One table and the places that it serves.

    Attributes:
        name: of the table.
        module: the table, fitted; where its manner is Manner.DENSE, as it was loaded.
        sites: its places, of one artifact all different.
        manner: Manner.DENSE if the rows are put into the parameter.
    """

    name: str
    module: Served
    sites: list[Site]

    @property
    def is_dense(self) -> bool:
        """Whether reconstructed rows are put into the parameter."""
        return self.sites[0].manner is Manner.DENSE


def apply_to(
    model: Any, path: str | Path, *, rest: bool = False, allow_expansion: bool = False
) -> dict[str, Served | StaticRows]:
    """Put the tables of an artifact in place of a model's embeddings, and of the heads tied to them.

    A table takes the place of the parameter of its name; where the model has none, of the only one whose name ends in
    it, or in which it ends; what DataParallel and torch.compile put before names plays no part. Every other module that
    shares the parameter is served by the same factors: an embedding looks rows up, a bag pools them, an nn.Linear
    scores them. A representation of PyKEEN is replaced as a whole and keeps its shape, normalizer, regularizer and
    dropout; its constrainer acts in every lookup. A module of a class derived from torch's stays, and what it calls of
    torch's forward goes through the factors. A bare parameter becomes a TableWeight. A table that none of this can
    serve is reconstructed into the parameter, with a warning. Factors get the dtype, device and `requires_grad` of the
    parameter; of a coded table only the rows get the dtype, what decodes them stays in float32 at least. All checks
    come before the first change.

    Args:
        model: changed in place: a torch.nn.Module, or a StaticModel of model2vec.
        path: an artifact.
        rest: load the other tensors of the artifact as well: all that the model needs, so that one made on `meta` can
            be used.
        allow_expansion: as for `load`.

    Returns:
        The modules put in place, by the name of their table; none for a table that was reconstructed.

    Raises:
        CheckpointError, ArtifactError: not readable, or not an artifact.
        TableError: the model has no such parameter, or one of another shape; with `rest`, the artifact lacks a tensor.

    Warns:
        UserWarning: a table that stays dense, and why; a bare parameter, and what it costs; tensors without memory.

    Example:
        >>> apply_to(model, "model-16x.safetensors")  # doctest: +SKIP
        {'wte.weight': LowRankRepresentation(max_id=50257, shape=(768,), ...)}
    """
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = check_expansion(read_artifact(checkpoint), is_allowed=allow_expansion)
        if is_static_model(model):
            return serve_static_model(model, artifact)
        placements = plan_tables(model, [(table, partial(load_table, artifact, table)) for table in artifact.tables])
        sites = [site for placement in placements for site in placement.sites]
        planned = []
        if rest:
            planned = plan_rest(model, artifact, sites)
            set_buffers(model)
        served = put_tables(model, placements)
        load_rest(model, artifact, planned)
    warn_of(model, placements)
    return served


def load_model(model: ModelT, path: str | Path, *, allow_expansion: bool = False) -> ModelT:
    """Load a whole model from an artifact: its tables compressed, and every other tensor.

    Args:
        model: of the architecture that the artifact was made from, on any device; one made under
            `torch.device("meta")` costs no memory before. Changed in place.
        path: an artifact.
        allow_expansion: as for `load`.

    Returns:
        The model.

    Raises:
        CheckpointError, ArtifactError: as `apply_to`.
        TableError: as `apply_to`; the artifact lacks a tensor that the model needs.

    Example:
        >>> with torch.device("meta"):  # doctest: +SKIP
        ...     model = AutoModel.from_config(config)
        >>> model = load_model(model, "model-8bases.safetensors")  # doctest: +SKIP
    """
    apply_to(model, path, rest=True, allow_expansion=allow_expansion)
    return model


def plan_tables(
    model: nn.Module, tables: Sequence[tuple[CompressedTable, Callable[[], LoadedTable]]]
) -> list[Placement]:
    """Find the places of tables, and load each by its function.

    Raises:
        TableError: a table without its place, or two that belong to one.
    """
    placements = []
    owners: dict[tuple[str, str], str] = {}
    for table, load in tables:
        sites = find_sites(model, table)
        for site in sites:
            other = owners.setdefault((site.path, site.leaf), table.name)
            if other != table.name:
                raise TableError(f"tables {other!r} and {table.name!r} both belong to {site.path!r}.")
        loaded = load()
        if sites[0].manner is Manner.DENSE:
            placements.append(Placement(table.name, loaded, sites))
        elif isinstance(loaded, LowRankBilinear):
            placements.append(Placement(table.name, fit_bilinear(loaded, sites[0]), sites))
        else:
            placements.append(Placement(table.name, fit_table(loaded, sites, name=table.name), sites))
    return placements


def put_tables(model: nn.Module, placements: Sequence[Placement]) -> dict[str, Served | StaticRows]:
    """Change a model at the places of all tables; return the modules by table, but for those that stay dense."""
    for placement in placements:
        _put(model, placement)
    served = [placement for placement in placements if not placement.is_dense]
    _tell_language_models(model, served)
    return {placement.name: placement.module for placement in served}


def _put(model: nn.Module, placement: Placement) -> None:
    """Change a model at the places of one table."""
    if placement.is_dense:
        _fill(model, placement)
        return
    done: dict[int, nn.Module] = {}
    for site in placement.sites:
        module = placement.module
        if site.manner is not Manner.REPLACED and isinstance(module, FactoredTable):
            if site.leaf in site.module._parameters:  # a module under two paths is changed once
                serve_in_place(site.module, site.leaf, module)
            continue
        if id(site.module) not in done:
            is_head = site.is_head and isinstance(module, FactoredTable)
            done[id(site.module)] = _make_head(module, site) if is_head else module  # type: ignore[arg-type]
        above, _, name = site.path.rpartition(".")
        setattr(model.get_submodule(above), name, done[id(site.module)])


def _make_head(table: FactoredTable, site: Site) -> LowRankHead:
    """Make the layer that scores rows at a place."""
    return LowRankHead(table, site.module.bias).train(site.module.training)  # type: ignore[arg-type]


@torch.no_grad()
def _fill(model: nn.Module, placement: Placement) -> None:
    """Put the reconstructed rows of a table into its parameter, block by block."""
    table, parameter = placement.module, placement.sites[0].parameter
    target: Tensor = parameter
    if parameter.is_meta:
        names = [site.name for site in placement.sites]
        target = replace_tensor(model, names, parameter, torch.empty_like(parameter, device="cpu"))
    if isinstance(table, LowRankBilinear):
        target.copy_(table.to_dense().view(target.shape))
        return
    for part, ids in zip(
        torch.split(target, BLOCK_ROWS), torch.split(torch.arange(table.max_id), BLOCK_ROWS), strict=True
    ):
        part.copy_(table.at(ids))


def _tell_language_models(model: nn.Module, served: Sequence[Placement]) -> None:
    """Let models of transformers know what is tied now, and resize what is compressed."""
    tables = {}
    for placement in served:
        for site in placement.sites:
            path = f"{site.path}." if site.path else ""
            if site.manner is Manner.REPLACED:
                tables[site.name] = f"{path}table" if site.is_head else site.path
            else:
                tables[site.name] = f"{path}{site.leaf}{TABLE_SUFFIX}"
    keep_ties(model, tables)
    note_tables(model, tables)
    if served:
        offer_resizing(model)


def _is_parallel(module: nn.Module) -> bool:
    return isinstance(module, nn.parallel.DistributedDataParallel)


def warn_of(model: nn.Module, placements: Sequence[Placement]) -> None:
    """Warn the caller's caller of what it may not expect."""
    warn_of_places(placements)
    unset, is_parallel = list_unset(model), any(map(_is_parallel, model.modules()))
    if unset:
        warnings.warn(
            f"{len(unset)} tensors of the model have no memory yet (they are on 'meta'): {named(unset)}. Load them "
            "before you use it, or apply the artifact with rest=True.",
            stacklevel=3,
        )
    if is_parallel:
        warnings.warn(
            "the model was wrapped by DistributedDataParallel before its tables were replaced: wrap it again before it "
            "is trained, or the gradients of the tables stay on each worker.",
            stacklevel=3,
        )


def warn_of_places(placements: Sequence[Placement]) -> None:
    """Warn of tables that stay dense, and of bare parameters."""
    for placement in placements:
        for site in placement.sites:
            if site.manner is Manner.DENSE:
                warnings.warn(
                    f"table {placement.name!r} stays dense: the model's {site.name!r} {site.reason}. "
                    "Its rows were reconstructed into the parameter, and save no memory.",
                    stacklevel=4,
                )
            elif site.manner is Manner.BARE:
                warnings.warn(
                    f"table {placement.name!r} serves the bare parameter {site.name!r}: rows taken by id are looked "
                    "up, but every other use of it decodes the whole table first.",
                    stacklevel=4,
                )
