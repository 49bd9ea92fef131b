"""The places of a model that use a table, and the manner in which each can be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from embcompress.artifact.schema import CompressedTable
from embcompress.exceptions import TableError
from embcompress.nn.constrainers import RowFunction
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.serving.constraint import lookup_constraint

REPRESENTATION_PACKAGES = ("embcompress", "pykeen")
OWNED_TABLE = "_embeddings"  # under this name the representations of PyKEEN, and ours, keep their torch.nn.Embedding
# What wrappers put before or into the names of a model's parameters: DataParallel and its kin, torch.compile, FSDP.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# A file of model2vec has one table; model2vec's and sentence-transformers' modules know it by these names.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({"embeddings": ("embeddings.weight", "embedding.weight")})


class Manner(Enum):
    """What happens at a place that uses a table."""

    REPLACED = "a module of torch or of a representation's package is replaced as a whole"
    IN_PLACE = "a module derived from one of torch stays, and looks up or scores through the factors"
    BARE = "a module stays, and reads its parameter as a TableWeight"
    DENSE = "the parameter stays, and gets the reconstructed rows"


@dataclass(frozen=True)
class Site:
    """One module that uses a table.

    Attributes:
        path: of the module.
        module: a torch.nn.Embedding, EmbeddingBag or Linear, the owner of a bare parameter, or the representation that
            owns the table.
        name: of the parameter.
        parameter: the table.
        manner: what happens here.
        reason: why it is not replaced, as the rest of a sentence about the parameter.
    """

    path: str
    module: nn.Module
    name: str
    parameter: nn.Parameter
    manner: Manner
    reason: str = ""

    @property
    def leaf(self) -> str:
        """The last part of the parameter's name."""
        return self.name.rpartition(".")[2]

    @property
    def dense_key(self) -> str:
        """The name of the parameter within the module of the path."""
        return self.name.removeprefix(f"{self.path}.") if self.path else self.name

    @property
    def is_head(self) -> bool:
        """Whether rows are scored here."""
        return isinstance(self.module, nn.Linear)

    @property
    def padding_idx(self) -> int | None:
        """The id whose row gets no gradient from lookups here."""
        return getattr(self.module, "padding_idx", None)

    @property
    def row_options(self) -> dict[str, Any]:
        """The module's treatment of rows, as arguments of a representation; defaults are left out."""
        if self.manner is not Manner.REPLACED or self.is_head:
            return _options(shape=tuple(self.parameter.shape[1:]), is_complex=self.parameter.is_complex())
        if isinstance(self.module, nn.Embedding):
            limit = self.module.max_norm
            return _options(
                shape=(self.module.embedding_dim,),
                is_complex=self.parameter.is_complex(),
                normalizer=None if limit is None else "clamp_norm",
                normalizer_kwargs=None if limit is None else {"maxnorm": limit, "p": self.module.norm_type},
            )
        dropout = getattr(self.module, "dropout", None)
        normalizer: RowFunction | None = lookup_constraint(self.module)
        return _options(
            shape=tuple(self.module.shape),  # type: ignore[arg-type]
            is_complex=getattr(self.module, "is_complex", False),
            normalizer=normalizer,
            regularizer=getattr(self.module, "regularizer", None),
            dropout=None if dropout is None else dropout.p,
        )


def _options(**row_options: Any) -> dict[str, Any]:
    return {name: value for name, value in row_options.items() if value is not None}


def find_sites(model: nn.Module, table: CompressedTable) -> list[Site]:
    """Find every module that uses a table's parameter, and how each can be served.

    Raises:
        TableError: there is none, one of another shape, or one whose gradients factors cannot give.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = [match for name in (table.name, *table.tied_names) if (match := match_any(name, parameters))]
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
            site = _site_of(model, name, parameter, kind=table.kind)
            _check_gradients(site)
            sites[site.path, site.leaf] = site
    return _agree(list(sites.values()))


def match_any(name: str, parameters: Mapping[str, Any]) -> str:
    """Find the parameter of a table by its name, by that without wrappers, or by another name of the same table."""
    for candidate in (name, f"{name}.weight", *OTHER_NAMES.get(name, ())):
        if matched := match(candidate, parameters):
            return matched
    plain = {plain_name(other): other for other in parameters}
    matched = match(plain_name(name), {short: parameters[other] for short, other in plain.items()})
    return plain[matched] if matched else ""


def plain_name(name: str) -> str:
    """Leave out the parts of a name that wrappers brought."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def match(name: str, parameters: Mapping[str, Any]) -> str:
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


def _site_of(model: nn.Module, name: str, parameter: nn.Parameter, *, kind: str) -> Site:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    above, _, last = path.rpartition(".")
    site = Site(path, owner, name, parameter, Manner.DENSE)
    if kind == "bilinear":
        is_plain = type(owner) is nn.Bilinear and leaf == "weight" and path and not _has_hooks(owner)
        reason = f"belongs to {type(owner).__name__!r}, which is no torch.nn.Bilinear inside a model, or has hooks"
        return replace(site, manner=Manner.REPLACED) if is_plain else replace(site, reason=reason)
    holder = model.get_submodule(above)
    if last == OWNED_TABLE and isinstance(owner, nn.Embedding) and hasattr(holder, "max_id"):
        return _site_of_representation(model, replace(site, path=above, module=holder))
    return _site_of_layer(site, holder)


def _site_of_layer(site: Site, holder: nn.Module) -> Site:
    """Find the manner in which a layer of torch's or of the user's, or a bare parameter, is served."""
    owner, path = site.module, site.path
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag | nn.Linear) and site.leaf == "weight":
        is_container = isinstance(holder, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if path and isinstance(owner, nn.Linear) and _is_of_torch(holder) and not is_container:
            return replace(site, reason=f"is read by {type(holder).__name__!r} past its forward")
        if type(owner) in {nn.Embedding, nn.Linear} and path and not _has_hooks(owner):
            return replace(site, manner=Manner.REPLACED)
        if not _is_of_torch(owner) or type(owner) in {nn.Embedding, nn.EmbeddingBag, nn.Linear}:
            return replace(site, manner=Manner.IN_PLACE)
    is_of_torch = _is_of_torch(owner) and not isinstance(owner, nn.ParameterList | nn.ParameterDict)
    if is_of_torch or type(owner).__module__.partition(".")[0] in REPRESENTATION_PACKAGES:
        return replace(site, reason=f"belongs to {type(owner).__name__!r}, which needs it as it is")
    return replace(site, manner=Manner.BARE)


def _site_of_representation(model: nn.Module, site: Site) -> Site:
    """Replace a representation of PyKEEN's or ours as a whole, if it is known."""
    kind = type(site.module)  # one of its subclasses may do more
    is_known = kind.__name__ == "Embedding" and kind.__module__.partition(".")[0] in REPRESENTATION_PACKAGES
    holder = model.get_submodule(site.path.rpartition(".")[0])
    is_known = is_known and not isinstance(holder, LowRankRepresentation)  # it needs its bases as they are
    if not is_known or _has_hooks(site.module):
        return replace(site, reason=f"belongs to {kind.__name__!r}, which may do more than look rows up")
    if not site.path:
        raise TableError(
            "the model is itself the embedding, and cannot be replaced from inside.", hint="Use embcompress.load(path)."
        )
    return replace(site, manner=Manner.REPLACED)


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")


def _has_hooks(module: nn.Module) -> bool:
    """Return whether more happens at a call than the forward of its class: hooks, or a forward of its own."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def _check_gradients(site: Site) -> None:
    """Refuse options of torch's embeddings that ask for gradients of the table's own rows.

    Raises:
        TableError: sparse gradients, or ones divided by how often an id was looked up.
    """
    if not site.parameter.requires_grad or site.manner is Manner.DENSE:
        return
    for option, what in (("sparse", "sparse gradients"), ("scale_grad_by_freq", "gradients scaled by frequency")):
        if getattr(site.module, option, False) is True:
            raise TableError(
                f"{site.path!r} asks for {what} ({option}=True), which are gradients of single rows; "
                "those of shared bases are dense.",
                hint=f"Set its {option} to False, and train with an optimizer for dense gradients; or freeze it.",
            )


def _agree(sites: list[Site]) -> list[Site]:
    """Find one manner of serving a table that modules share.

    A table has one padding and one normalizer: an embedding that differs in its padding keeps its own, in place.
    """
    if isinstance(sites[0].module, nn.Bilinear) and len(sites) > 1:
        reason = f"is shared by {sites[0].path!r} and {sites[1].path!r}, whose forms may have a bias each"
        return [replace(site, manner=Manner.DENSE, reason=reason) for site in sites]
    replaced = [site for site in sites if site.manner is Manner.REPLACED]
    for site in replaced[1:]:
        if site.row_options != replaced[0].row_options:
            reason = f"is shared by {replaced[0].path!r} and {site.path!r}, which treat its rows differently"
            return [replace(site, manner=Manner.DENSE, reason=reason) for site in sites]
    limited = [site for site in sites if getattr(site.module, "max_norm", None) is not None]
    if limited and len(sites) > len(replaced):
        reason = f"is shared, and {limited[0].path!r} scales its rows down in the table itself (max_norm)"
        if len(sites) > 1:
            return [replace(site, manner=Manner.DENSE, reason=reason) for site in sites]
    if kept := [site for site in sites if site.manner is Manner.DENSE]:
        return [replace(site, manner=Manner.DENSE, reason=site.reason or kept[0].reason) for site in sites]
    looked_up = [site for site in replaced if not site.is_head]
    others = {id(site) for site in looked_up[1:] if site.padding_idx != looked_up[0].padding_idx}
    return [replace(site, manner=Manner.IN_PLACE) if id(site) in others else site for site in sites]
