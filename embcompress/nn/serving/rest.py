"""The tensors of an artifact beside its tables, put into a model; and what a model without memory still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from embcompress.artifact.reader import Artifact
from embcompress.artifact.tensors import read_tensor
from embcompress.checkpoints import StoredTensor
from embcompress.exceptions import TableError
from embcompress.nn.serving.sites import Site, plain_name
from embcompress.text import named

# A buffer that keeps the one and, tried again, the other was not set: a mask of booleans holds no third number.
UNSET_FILLS = (0, 1)


@dataclass(frozen=True)
class RestTensor:
    """One tensor that a model needs beside its tables.

    Attributes:
        names: in the model, under all of which it is the same tensor.
        tensor: a parameter or a buffer.
        stored: in the artifact.
    """

    names: tuple[str, ...]
    tensor: Tensor
    stored: StoredTensor


def plan_rest(model: nn.Module, artifact: Artifact, sites: Sequence[Site]) -> list[RestTensor]:
    """Find every other parameter and persistent buffer of a model in the artifact, and read each once as a check.

    Raises:
        TableError: the artifact lacks one, or has it in another shape.
        ArtifactError: a tensor does not have the checksum of the header.
    """
    tables = {id(site.parameter) for site in sites}
    groups: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and id(tensor) not in tables:
            groups.setdefault(id(tensor), []).append((name, tensor))
    stored = {tensor.name: tensor for tensor in artifact.copied}
    prefixes = _prefixes(artifact, sites)
    planned, missing = [], []
    for group in groups.values():
        names = tuple(name for name, _ in group)
        own = next((stored[key] for name in names for key in _keys(name, prefixes) if key in stored), None)
        if own is None:
            missing.append(names[0])
        elif own.shape != tuple(group[0][1].shape):
            raise TableError(
                f"the artifact holds {own.name!r} of shape {own.shape}; the model's {names[0]!r} is of shape "
                f"{tuple(group[0][1].shape)}."
            )
        else:
            planned.append(RestTensor(names, group[0][1], own))
    if missing:
        raise TableError(
            f"the artifact lacks {len(missing)} of the tensors that the model needs: {named(missing)}.",
            hint="Apply it to a model of the architecture it was compressed from, or load these first, without rest.",
        )
    for one in planned:
        for _ in artifact.read(one.stored):
            pass
    return planned


def _prefixes(artifact: Artifact, sites: Iterable[Site]) -> tuple[str, str]:
    """Tell by the names of tables what the names of a model, and those of the artifact, begin with beyond the other."""
    known = [name for table in artifact.tables for name in (table.name, *table.tied_names)]
    for site in sites:
        plain = plain_name(site.name)
        for name in known:
            short = plain_name(name)
            if plain.endswith(short):
                return plain[: len(plain) - len(short)], name[: len(name) - len(short)]
            if short.endswith(plain):
                return "", name[: len(name) - len(plain)]
    return "", ""


def _keys(name: str, prefixes: tuple[str, str]) -> tuple[str, ...]:
    """List the names under which an artifact may hold a tensor of the model."""
    of_model, of_artifact = prefixes
    plain = plain_name(name)
    core = plain.removeprefix(of_model)
    return (name, plain, of_artifact + core, core)


@torch.no_grad()
def load_rest(model: nn.Module, artifact: Artifact, planned: Sequence[RestTensor]) -> None:
    """Load tensors that were planned; those without memory get theirs on the CPU, and ties stay."""
    for one in planned:
        values = read_tensor(artifact, one.stored)
        if one.tensor.is_meta:
            replace_tensor(model, one.names, one.tensor, values.to(one.tensor.dtype))
        else:
            one.tensor.copy_(values)
        # By this name transformers asks whether a parameter is to be drawn.
        for name in one.names:
            path, _, leaf = name.rpartition(".")
            getattr(model.get_submodule(path), leaf)._is_hf_initialized = True


def replace_tensor(model: nn.Module, names: Iterable[str], old: Tensor, values: Tensor) -> Tensor:
    """Put a new tensor in place of one without memory, under all its names."""
    made = nn.Parameter(values, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else values
    for name in names:
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        if isinstance(made, nn.Parameter):
            owner._parameters[leaf] = made
        else:
            owner._buffers[leaf] = made
    return made


def list_unset(model: nn.Module) -> list[str]:
    """List the parameters and buffers of a model that have no memory."""
    tensors: Mapping[str, Tensor] = dict((*model.named_parameters(), *model.named_buffers()))
    return [name for name, tensor in tensors.items() if tensor.is_meta]


@torch.no_grad()
def set_buffers(model: nn.Module) -> None:
    """Set buffers that no file holds, such as positions and frequencies, as the model itself sets them.

    Models of transformers have `_init_weights(module)`, which computes the buffers of a module that lost them.

    Raises:
        TableError: it leaves one as it was, or the model has none; then no buffer is changed.
    """
    before: list[tuple[nn.Module, str, Tensor]] = []
    for path, module in model.named_modules():
        own = [leaf for leaf in module._non_persistent_buffers_set if getattr(module._buffers[leaf], "is_meta", False)]
        if not own:
            continue
        before += [(module, leaf, module._buffers[leaf]) for leaf in own]
        setter = next((one for one in _ancestors(model, path) if hasattr(one, "_init_weights")), None)
        kept = []
        for fill in UNSET_FILLS:
            for leaf in own:
                module._buffers[leaf] = torch.full_like(module._buffers[leaf], fill, device="cpu")
            if setter is not None:
                setter._init_weights(module)  # type: ignore[operator]
            kept.append({leaf: module._buffers[leaf] == fill for leaf in own})
        unset = [leaf for leaf in own if bool((kept[0][leaf] & kept[1][leaf]).any())]
        if unset:
            for owner, name, old in before:
                owner._buffers[name] = old
            raise TableError(
                "the model was made without memory, and no file holds its buffer "
                f"{f'{path}.{unset[0]}'.lstrip('.')!r}.",
                hint="Make the model on the CPU, and apply the artifact with rest=True.",
            )


def _ancestors(model: nn.Module, path: str) -> Iterable[nn.Module]:
    """Yield a module and those that it lies in, from the inside out."""
    while path:
        yield model.get_submodule(path)
        path = path.rpartition(".")[0]
    yield model
