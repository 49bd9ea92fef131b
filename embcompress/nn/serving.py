"""Compressed tables in a model: in place of its embeddings, and of the heads that are tied to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import TableError
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.coded_base import CodedRows
from embcompress.nn.constrainers import RowFunction
from embcompress.nn.loading import load_table
from embcompress.nn.low_rank import LowRankRepresentation

TAKEN_CLASSES: Mapping[str, tuple[type[nn.Module], ...]] = MappingProxyType(
    {"embedding": (nn.Embedding, nn.Linear), "bilinear": (nn.Bilinear,)}
)  # by the kind of a table; a class derived from these may do more
BY_HAND = "Take the table from embcompress.load(path) and put it in place by hand."
REPRESENTATION_PACKAGES = ("embcompress", "pykeen")
FactoredTable = LowRankRepresentation | CodedRows
OWNED_TABLE = "_embeddings"  # under this name the representations of PyKEEN, and ours, keep their torch.nn.Embedding


class LowRankHead(nn.Module):
    """An output layer whose matrix is a low-rank or coded table: scores of all rows, through the factors.

    Args:
        table: rows (max_id, dim).
        bias: (max_id,), or None.
    """

    def __init__(self, table: FactoredTable, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.table = table
        self.bias = bias

    def forward(self, query: Tensor) -> Tensor:
        """Score rows: (*q, dim) -> (*q, max_id)."""
        scores = self.table.scores(query)
        return scores if self.bias is None else scores + self.bias


def apply_to(
    model: nn.Module, path: str | Path, *, allow_expansion: bool = False
) -> dict[str, FactoredTable | LowRankBilinear]:
    """Put the tables of an artifact in place of a model's embeddings, and of the heads tied to them.

    A table takes the place of the parameter of its name; where the model has none, of the only one whose name ends in
    it, or in which it ends. Every other module that shares the parameter is served by the same factors: an embedding
    looks rows up, an nn.Linear scores them. A representation of PyKEEN is replaced as a whole and keeps its shape,
    normalizer, regularizer and dropout; its constrainer acts in every lookup. Factors get the dtype, device
    and `requires_grad` of the parameter; of a coded table only the rows get the dtype, what decodes them stays in
    float32 at least. All checks come before the first change. The other tensors of the artifact are not loaded.

    Args:
        model: changed in place.
        path: an artifact.
        allow_expansion: as for `load`.

    Returns:
        The modules put in place, by the name of their table.

    Raises:
        CheckpointError, ArtifactError: not readable, or not an artifact.
        TableError: the model has no such parameter, one of another shape, or one in a module that cannot be replaced.

    Example:
        >>> apply_to(model, "model-compressed.safetensors")  # doctest: +SKIP
        {'wte.weight': LowRankRepresentation(max_id=50257, shape=(768,), ...)}
    """
    placed: dict[str, FactoredTable | LowRankBilinear] = {}
    changes: dict[str, nn.Module] = {}
    owners: dict[str, str] = {}
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = check_expansion(read_artifact(checkpoint), is_allowed=allow_expansion)
        for table in artifact.tables:
            sites = _find_sites(model, table)
            loaded = load_table(artifact, table)
            module = _fit_bilinear(loaded, sites) if isinstance(loaded, LowRankBilinear) else _fit(loaded, sites)
            for site in sites:
                if site.path in owners:
                    raise TableError(f"tables {owners[site.path]!r} and {table.name!r} both belong to {site.path!r}.")
                owners[site.path] = table.name
                is_head = isinstance(site.module, nn.Linear) and isinstance(module, FactoredTable)
                changes[site.path] = site.head(module) if is_head else module  # type: ignore[arg-type]
            placed[table.name] = module
    for path_of_module, replacement in changes.items():
        above, _, name = path_of_module.rpartition(".")
        setattr(model.get_submodule(above), name, replacement)
    return placed


@dataclass(frozen=True)
class _Site:
    """One module that uses a table.

    Attributes:
        path: of the module to replace.
        module: that module: a torch.nn.Embedding, a torch.nn.Linear, or the representation that owns the table.
        parameter: the table.
    """

    path: str
    module: nn.Module
    parameter: nn.Parameter

    @property
    def row_options(self) -> dict[str, Any]:
        """The module's treatment of rows, as arguments of a representation; defaults are left out."""
        if isinstance(self.module, nn.Linear):
            return _options(shape=(self.module.in_features,), is_complex=False)
        if isinstance(self.module, nn.Embedding):
            limit = self.module.max_norm
            return _options(
                shape=(self.module.embedding_dim,),
                is_complex=self.parameter.is_complex(),
                normalizer=None if limit is None else "clamp_norm",
                normalizer_kwargs=None if limit is None else {"maxnorm": limit, "p": self.module.norm_type},
            )
        dropout = getattr(self.module, "dropout", None)
        return _options(
            shape=tuple(self.module.shape),  # type: ignore[arg-type]
            is_complex=getattr(self.module, "is_complex", False),
            normalizer=_lookup_constraint(self.module),
            regularizer=getattr(self.module, "regularizer", None),
            dropout=None if dropout is None else dropout.p,
        )

    def head(self, table: FactoredTable) -> LowRankHead:
        """Make the layer that scores rows here."""
        return LowRankHead(table, self.module.bias).train(self.module.training)  # type: ignore[arg-type]


@dataclass(frozen=True)
class RowConstraint:
    """A constraint that a table kept after every step, kept in every lookup instead, before any normalizer.

    Attributes:
        constrainer: a function of rows (count, *shape), PyKEEN's or ours.
        normalizer: a function of rows (*s, *shape), or None.
        axes: how many axes a row has.
    """

    constrainer: RowFunction
    normalizer: RowFunction | None
    axes: int

    def __call__(self, rows: Tensor) -> Tensor:
        """Constrain rows, (*s, *shape) -> (*s, *shape)."""
        lead = rows.shape[: rows.ndim - self.axes]
        constrained = self.constrainer(rows.reshape(-1, *rows.shape[len(lead) :])).view(rows.shape)
        return constrained if self.normalizer is None else self.normalizer(constrained)


def _lookup_constraint(module: nn.Module) -> RowFunction | None:
    """Find what a representation does to its rows: a constrainer acts on a table, and sums of bases have none."""
    normalizer: Any = getattr(module, "normalizer", None)
    constrainer: Any = getattr(module, "constrainer", None)
    if constrainer is None:
        return normalizer  # type: ignore[no-any-return]
    return RowConstraint(constrainer, normalizer, len(module.shape))  # type: ignore[arg-type]


def _options(**row_options: Any) -> dict[str, Any]:
    return {name: value for name, value in row_options.items() if value is not None}


def _find_sites(model: nn.Module, table: CompressedTable) -> list[_Site]:
    """Find every module that uses a table's parameter.

    Raises:
        TableError: there is none, or one that cannot be replaced.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = [match for name in (table.name, *table.tied_names) if (match := _match(name, parameters))]
    if not names:
        raise TableError(
            f"the model has no parameter {table.name!r}, nor one whose name ends so.",
            hint="Apply the artifact to a model of the architecture it was compressed from.",
        )
    same = {id(parameters[name]) for name in names}
    sites = {}
    for name, parameter in parameters.items():
        if id(parameter) in same:
            is_complex = getattr(torch, table.dtype).is_complex
            if tuple(parameter.shape) != table.dense_shape or parameter.is_complex() != is_complex:
                raise TableError(
                    f"table {table.name!r} is {table.dtype} of shape {table.dense_shape}; the model's {name!r} is "
                    f"{str(parameter.dtype).removeprefix('torch.')} of shape {tuple(parameter.shape)}."
                )
            site = _site_of(model, name, parameter, classes=TAKEN_CLASSES[table.kind])
            sites[site.path] = site
    return list(sites.values())


def _match(name: str, parameters: Mapping[str, nn.Parameter]) -> str:
    """Find the parameter of a name, or the only one that has it under a further prefix, or without its own.

    Raises:
        TableError: several parameters have it.
    """
    if name in parameters:
        return name
    alike = [other for other in parameters if other.endswith(f".{name}") or name.endswith(f".{other}")]
    if len({id(parameters[other]) for other in alike}) > 1:
        raise TableError(f"the name {name!r} fits several parameters of the model: {', '.join(map(repr, alike))}.")
    return alike[0] if alike else ""


def _site_of(model: nn.Module, name: str, parameter: nn.Parameter, *, classes: tuple[type[nn.Module], ...]) -> _Site:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    above, _, last = path.rpartition(".")
    if (
        nn.Embedding in classes
        and last == OWNED_TABLE
        and isinstance(owner, nn.Embedding)
        and hasattr(parent := model.get_submodule(above), "max_id")
    ):
        path, owner = above, parent
        kind = type(owner)  # ours or PyKEEN's: one of its subclasses may do more
        is_known = kind.__name__ == "Embedding" and kind.__module__.partition(".")[0] in REPRESENTATION_PACKAGES
        holder = model.get_submodule(above.rpartition(".")[0])
        is_known = is_known and not isinstance(holder, LowRankRepresentation)  # it needs its bases as they are
    else:
        is_known = type(owner) in classes and not _may_read_weights(model.get_submodule(above), owner)
    why = "does more than look rows up, or may" if nn.Embedding in classes else "is no torch.nn.Bilinear"
    if leaf != "weight" or not is_known or owner._forward_hooks or owner._forward_pre_hooks:
        raise TableError(
            f"parameter {name!r} belongs to {type(owner).__name__!r}, which {why}.",
            hint=BY_HAND,
        )
    if not path:
        raise TableError(
            "the model is itself the embedding, and cannot be replaced from inside.", hint="Use embcompress.load(path)."
        )
    return _Site(path, owner, parameter)


def _may_read_weights(holder: nn.Module, owner: nn.Module) -> bool:
    """Return whether a layer lies in one of torch's own modules that multiplies by its `.weight` past its forward."""
    is_container = isinstance(holder, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    return isinstance(owner, nn.Linear) and type(holder).__module__.startswith("torch.nn.") and not is_container


def _fit_bilinear(form: LowRankBilinear, sites: list[_Site]) -> LowRankBilinear:
    """Give forms the dtype, device and bias of the torch.nn.Bilinear whose place they take.

    Raises:
        TableError: several of them share the forms, and may add a bias of their own.
    """
    site = sites[0]
    if len(sites) > 1:
        raise TableError(f"{site.path!r} and {sites[1].path!r} share their forms.", hint=BY_HAND)
    device = torch.device("cpu") if site.parameter.is_meta else site.parameter.device
    fitted = LowRankBilinear.from_factors(
        left=form.left.detach().to(device, site.parameter.dtype),
        right=form.right.detach().to(device, site.parameter.dtype),
    )
    fitted.requires_grad_(site.parameter.requires_grad)
    fitted.bias = site.module.bias  # type: ignore[assignment]
    return fitted.train(site.module.training)


def _fit(table: FactoredTable, sites: list[_Site]) -> FactoredTable:
    """Give a table the shape, dtype, device and row_options of the modules whose place it takes.

    Raises:
        TableError: modules that treat the same rows in different ways.
    """
    first = sites[0]
    for site in sites[1:]:
        if site.row_options != first.row_options:
            raise TableError(
                f"{first.path!r} and {site.path!r} share a table and treat its rows differently.",
                hint=BY_HAND,
            )
    row_options = dict(first.row_options)
    shape, is_complex = row_options.pop("shape"), row_options.pop("is_complex")
    parameter = first.parameter
    stored = (*shape, 2) if is_complex else shape
    row_options |= {"is_complex": is_complex, "dtype": parameter.dtype.to_real(), "trainable": parameter.requires_grad}
    if isinstance(table, CodedRows):
        fitted: FactoredTable = _fit_codes(table, stored_shape=stored, **row_options)
    else:
        fitted = _fit_factors(table, stored_shape=stored, **row_options)
    device = torch.device("cpu") if parameter.is_meta else parameter.device
    return fitted.to(device).train(first.module.training)


def _fit_codes(
    table: CodedRows, *, stored_shape: tuple[int, ...], is_complex: bool, dtype: torch.dtype, **row_options: Any
) -> CodedRows:
    """Give a coded table the shape of a row and a real dtype; codes, and what decodes them, stay as they are."""
    return table.reshape(
        shape=stored_shape[:-1] if is_complex else stored_shape,
        dtype=dtype.to_complex() if is_complex else dtype,
        **row_options,
    )


def _fit_factors(
    table: LowRankRepresentation,
    *,
    stored_shape: tuple[int, ...],
    is_complex: bool,
    dtype: torch.dtype,
    **row_options: Any,
) -> LowRankRepresentation:
    """Give a table of factors the shape of a row and a real dtype."""
    # Weights may be stored wider than the model's dtype, where they overflow it. A power of two moves between the
    # factors without rounding.
    largest, limit = float(table.weights.detach().abs().max()), torch.finfo(dtype).max
    scale = 2.0 ** math.ceil(math.log2(largest / limit)) if largest > limit else 1.0
    bases = (table.bases.stored.detach() * scale).to(dtype).view(table.num_bases, *stored_shape)
    return LowRankRepresentation.from_factors(
        bases=torch.view_as_complex(bases) if is_complex else bases,
        weights=(table.weights.detach() / scale).to(dtype),
        **row_options,
    )
