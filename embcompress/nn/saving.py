"""Writing an artifact from modules: tables as they are now, trained or not, and the rest of their model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embcompress.artifact.atomic_file import check_output
from embcompress.artifact.marks import are_needed, mark_entries
from embcompress.artifact.schema import (
    BASES_SUFFIX,
    BITS_SUFFIX,
    CENTERS_SUFFIX,
    CODEBOOK_SUFFIX,
    CODED,
    CODES_SUFFIX,
    GROUPS_SUFFIX,
    INDEX_SUFFIX,
    LEVELS_SUFFIX,
    SCALES_SUFFIX,
    CompressedTable,
    Original,
    artifact_metadata,
    bilinear_entries,
    factor_entries,
    real_row_shape,
    tuned_entries,
    widest_metadata,
    window_entries,
)
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.coding.codebook import has_rotation, read_codebook
from embcompress.coding.constants import group_width
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.rotation import decode_rotation
from embcompress.coding.row_index import RowIndex
from embcompress.coding.window_codebook import pack_numbers
from embcompress.exceptions import OutputError, TableError
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.coded import CodedRepresentation
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.markers import is_mark
from embcompress.nn.module_rows import as_real_matrix
from embcompress.nn.serving.sites import plain_name
from embcompress.nn.serving.state_dicts import served_parameters
from embcompress.nn.window_coded import WindowCodedRepresentation
from embcompress.tables.rows import tensor_bytes


@dataclass(frozen=True)
class SavedArtifact:
    """An artifact that was written.

    Attributes:
        path: of the file.
        bytes: of the file.
        rounded_tables: the tables whose numbers the file holds in fewer digits than the modules.
    """

    path: Path
    bytes: int
    rounded_tables: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """One table, and its tensors by their entries in the file."""

    table: CompressedTable
    tensors: dict[Entry, Tensor]
    is_rounded: bool = False


def save(model: nn.Module | Mapping[str, Any], path: str | Path, *, force: bool = False) -> SavedArtifact:
    """Write an artifact from a model whose tables are compressed, or from tables by name.

    Factors are written as they are. Of a coded table the codes stay; scales, centers and bases that were trained since
    are written as floats, and those that were not as they were stored. `load`, `apply_to`, `load_model`, `reconstruct`,
    `evaluate` and `verify` read the file; the errors of its tables are not known, and labels are not kept.

    Args:
        model: after `apply_to`: its tables under the names of its parameters, and every other parameter and persistent
            buffer as it is; or a map from names to modules, as `load` returns it.
        path: of the file.
        force: replace a file that is there.

    Returns:
        What was written, and which tables were rounded: of one coded as in schema 1 the levels and scales, and parts
        of float64 tables.

    Raises:
        OutputError: the file is there or cannot be written.
        TableError: there is no compressed table, or one that no artifact can hold: one with rows added behind it.

    Example:
        >>> tables = embcompress.load("model-16x.safetensors")  # doctest: +SKIP
        >>> save(tables, "tuned.safetensors").rounded_tables  # doctest: +SKIP
        ()
    """
    target = check_output(Path(path), force=force)
    if isinstance(model, nn.Module):
        parts, rest = _parts_of_model(model)
    else:
        parts, rest = [_make_part(name, module, is_alone=True) for name, module in model.items()], {}
    if not parts:
        raise TableError(
            "there is no compressed table to save.", hint="Use embcompress.apply_to first, or save the model itself."
        )
    tables = [part.table for part in parts]
    contents = {entry: tensor for part in parts for entry, tensor in part.tensors.items()} | {
        Entry(name, _dtype_name(tensor.dtype), tuple(tensor.shape)): tensor for name, tensor in rest.items()
    }
    entries = list(contents)
    if are_needed(target) or _is_of_hugging_face(model):
        entries += mark_entries((name for table in tables for name in table.dense_names), entries)
    metadata = widest_metadata(tables, entries=entries, original=Original())
    with SafetensorsWriter(target, entries, metadata=metadata, force=force) as writer:
        for entry in writer.entries:
            if entry in contents:
                writer.write(entry, [tensor_bytes(contents[entry].detach())])
        writer.finish(artifact_metadata(tables, checksums=writer.checksums, original=Original()))
        writer.commit()
    rounded = tuple(part.table.name for part in parts if part.is_rounded)
    return SavedArtifact(Path(path), writer.nbytes, rounded)


def _is_of_hugging_face(model: nn.Module | Mapping[str, Any]) -> bool:
    """Tell whether a model has one of transformers in it, into whose folder its file may come."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return any(hasattr(getattr(one, "config", None), "to_diff_dict") for one in modules)


def _parts_of_model(model: nn.Module) -> tuple[list[_Part], dict[str, Tensor]]:
    """Describe the tables of a model under the names of its parameters, and list what else its state dict holds."""
    state: dict[str, Any] = dict(model.state_dict())
    names: dict[int, list[str]] = {}
    modules: dict[int, Any] = {}
    for parameter in served_parameters(model):
        for name in parameter.table.state_dict():
            state.pop(parameter.prefix + name, None)
        key = id(parameter.table)
        modules[key] = parameter.table
        names.setdefault(key, []).append(plain_name(parameter.name))
    parts = [_make_part(own[0], modules[key], tied_names=tuple(dict.fromkeys(own[1:]))) for key, own in names.items()]
    rest = {
        plain_name(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and not is_mark(tensor)
    }
    return parts, rest


def _make_part(name: str, module: Any, *, tied_names: tuple[str, ...] = (), is_alone: bool = False) -> _Part:
    """Describe a table and its tensors; one in a model has its normalizer from the model, which makes it again.

    Raises:
        TableError: a module that no artifact can hold.
    """
    # PyKEEN keeps rows of any shape, and complex ones, as flat real ones.
    is_flat = name.endswith("_embeddings.weight")
    if is_alone and getattr(module, "normalizer", None) is not None:
        raise TableError(
            f"table {name!r} has a normalizer, which an artifact does not hold: its rows would be others.",
            hint="Save its state dict; or set its normalizer to None, save it, and set it again where it is loaded.",
        )
    if isinstance(module, LowRankRepresentation):
        part = _plain_part(name, module, is_flat=is_flat)
    elif isinstance(module, CodedRepresentation):
        part = _coded_part(_coded_head(name, module, is_flat=is_flat), module)
    elif isinstance(module, WindowCodedRepresentation):
        part = _windowed_part(_coded_head(name, module, is_flat=is_flat), module)
    elif isinstance(module, LowRankBilinear):
        part = _bilinear_part(name, module)
    else:
        added = isinstance(module, GrownRepresentation)
        raise TableError(
            f"{name!r} is {'a compressed table with dense rows added behind it' if added else type(module).__name__}, "
            "which an artifact does not hold.",
            hint="Save the state dict, or the model by save_pretrained; or save dense_state_dict(model), and "
            "`embcompress approximate` that.",
        )
    return replace(part, table=replace(part.table, tied_names=tied_names))


def _plain_part(name: str, module: LowRankRepresentation, *, is_flat: bool) -> _Part:
    bases, normalizer = module.bases.look_up(None).detach(), module.bases.normalizer
    stored = as_real_matrix(bases if normalizer is None else normalizer(bases))  # (rank, real entries of a row)
    weights = module.weights_of(None).detach()
    is_complex = module.is_complex and not is_flat
    shape = (stored.shape[1],) if is_flat else module.shape
    bases = stored.reshape(len(stored), *shape, *((2,) if is_complex else ()))
    dtype = stored.dtype.to_complex() if is_complex else stored.dtype
    if is_complex and dtype != torch.complex64:
        raise OutputError(f"table {name!r} has bases of {dtype}, and safetensors has complex64 only.")
    table = CompressedTable(
        name=name,
        tied_names=(),
        rows=module.max_id,
        shape=tuple(shape),
        dtype=_dtype_name(dtype),
        rank=len(stored),
        error=None,
    )
    entries = factor_entries(table, bases_dtype=table.dtype, weights_dtype=_dtype_name(weights.dtype))
    return _Part(
        table,
        dict(zip(entries, (torch.view_as_complex(bases) if is_complex else bases, weights), strict=True)),
    )


def _bilinear_part(name: str, module: LowRankBilinear) -> _Part:
    sides = (module.in1_features, module.in2_features)
    shape = module.table_shape or (module.out_features, *sides)
    table = CompressedTable(
        name=name,
        tied_names=(),
        rows=shape[0],
        shape=tuple(shape[1:]),
        dtype=_dtype_name(module.left.dtype),
        rank=module.rank,
        error=None,
        kind="bilinear",
        matrix=sides,
    )
    entries = bilinear_entries(table, dtype=table.dtype)
    factors = (module.left.detach(), module.right.detach())
    return _Part(table, {entry: factor.reshape(entry.shape) for entry, factor in zip(entries, factors, strict=True)})


def _coded_head(name: str, module: Any, *, is_flat: bool) -> CompressedTable:
    """Describe a coded table."""
    dtype = module.dtype.to_real() if is_flat else module.dtype
    shape = (math.prod(module.stored_shape),) if is_flat else module.shape
    return CompressedTable(
        name=name,
        tied_names=(),
        rows=module.max_id,
        shape=tuple(shape),
        dtype=_dtype_name(dtype),
        rank=module.num_bases,
        error=None,
        coding=CODED,
    )


def _coded_part(table: CompressedTable, module: CodedRepresentation) -> _Part:
    """Describe a coded table: codes as they are, the others as they were or as floats."""
    stored, dim = module.codebook_bytes.cpu().numpy(), math.prod(real_row_shape(table))
    book = read_codebook(stored, rank=table.rank, dim=dim if has_rotation(stored) else table.rank)
    kinds, lengths = (_unsigned(buffer) for buffer in (module.kinds, module.lengths))
    known = None if book.rotation is None else decode_rotation(book.rotation, table.rank).to(torch.float32)
    centers = None if book.centers is None else torch.from_numpy(book.centers)
    is_same = bool((module.scales == 1).all()) and _is_equal(module.bases, known) and _is_equal(module.centers, centers)
    floats: dict[Entry, Tensor] = {}
    if not is_same:
        table = replace(table, is_tuned=True)
        book = replace(book, rotation=None, center_numbers=None, center_step=0.0)
        own = {SCALES_SUFFIX: module.scales, CENTERS_SUFFIX: module.centers, BASES_SUFFIX: module.bases}
        profiles = None if module.centers is None else len(module.centers)
        entries = tuned_entries(table, profiles=profiles, has_bases=module.bases is not None)
        for suffix, entry in entries.items():
            values = own[suffix]
            assert values is not None
            floats[entry] = values.detach().to(torch.float32).reshape(entry.shape)
    parts: dict[str, Any] = {
        CODES_SUFFIX: module.codes[: len(module.codes) - PADDING],
        INDEX_SUFFIX: torch.from_numpy(RowIndex(kinds, lengths).to_bytes(book)),
        CODEBOOK_SUFFIX: torch.tensor(book.to_bytes()),
    }
    tensors = {Entry(table.name + suffix, "uint8", tuple(part.shape)): part for suffix, part in parts.items()}
    return _Part(table, tensors | floats, is_rounded=bool(floats) and module.scales.dtype == torch.float64)


def _is_equal(values: Tensor | None, known: Tensor | None) -> bool:
    """Return whether parameters are still those that were stored."""
    if values is None or known is None:
        return values is known
    return torch.equal(values.detach().cpu(), known.to(values.dtype).reshape(values.shape))


def _unsigned(buffer: Tensor) -> np.ndarray[Any, Any]:
    """Read the bits of signed integers as unsigned ones."""
    numbers = buffer.cpu().numpy()
    return numbers.view(f"uint{8 * numbers.itemsize}")


def _windowed_part(table: CompressedTable, module: WindowCodedRepresentation) -> _Part:
    """Describe a table coded as in schema 1: codes as they are, scales in bfloat16, levels in float16."""
    book = module.codebook
    table = replace(table, windows=tuple(book.windows.items()))
    bits = book.bits.cpu()
    padded = nn.functional.pad(bits, (0, table.rank % 2))
    scales, levels = book.scales[book.bits > 0], book.levels
    parts: dict[str, Tensor] = {
        BITS_SUFFIX: torch.stack([pack_numbers(row, 4) for row in padded]),
        SCALES_SUFFIX: scales.to(torch.bfloat16),
        LEVELS_SUFFIX: levels.to(torch.float16),
        **{f"{CODES_SUFFIX}.{group}": codes for group, codes in enumerate(module.codes)},
    }
    if module.bases is not None:
        parts[BASES_SUFFIX] = module.bases.detach().to(torch.float32).view(table.rank, *real_row_shape(table))
    if module.groups_of_rows is not None:
        parts[GROUPS_SUFFIX] = pack_numbers(module.groups_of_rows, group_width(book.groups))
    entries = window_entries(
        table,
        bases_dtype=None if module.bases is None else "float32",
        rows_in_groups=[len(codes) for codes in module.codes],
        row_bytes=[codes.shape[1] for codes in module.codes],
        scales=len(scales),
    )
    pairs: Iterable[tuple[Tensor, Tensor]] = (
        (scales, parts[SCALES_SUFFIX]),
        (levels, parts[LEVELS_SUFFIX]),
        *([] if module.bases is None else [(module.bases.detach().flatten(), parts[BASES_SUFFIX].flatten())]),
    )
    is_rounded = any(not torch.equal(values, stored.to(values.dtype)) for values, stored in pairs)
    return _Part(table, {entry: parts[suffix] for suffix, entry in entries.items()}, is_rounded=is_rounded)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
