"""Hugging Face folders: weights in one file, in several, or in several that an index names, and in subfolders.

The tensors of a subfolder, as sentence-transformers writes them for its modules, are named after it:
`1_Dense/linear.weight`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import ModuleType

from embcompress.checkpoints import safetensors_file
from embcompress.checkpoints.files import Files, read_head
from embcompress.checkpoints.hugging_face.file_names import (
    MODULES,
    NUMBERED,
    SEPARATOR,
    Weights,
    choose_weights,
    family_of_index,
    is_companion,
    is_module_folder,
    missing_number,
    weights_among,
)
from embcompress.checkpoints.hugging_face.folder_files import AGAIN, WEIGHT_MAP, Folder, read_index, read_json
from embcompress.checkpoints.links import is_plain
from embcompress.checkpoints.pieces import ARTIFACT_KEY
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor, contiguous_bytes, is_contiguous
from embcompress.checkpoints.torch_files import distributed_folder, legacy_file, shards_folder, torch_file
from embcompress.checkpoints.unread import tell_unread
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError

NAME = "Hugging Face folder"
# Of the formats that weights in a folder may have.
READERS: tuple[ModuleType, ...] = (safetensors_file, torch_file, legacy_file)


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell a folder by the names of its files, an index by what it maps."""
    if not path.is_dir():
        return head.lstrip()[:1] == b"{" and (f'"{WEIGHT_MAP}"'.encode() in head or bool(family_of_index(path.name)))
    folder = Folder(path)
    has_chunks = any(name.endswith(distributed_folder.ENDING) for name in folder.names())
    if has_chunks or shards_folder.is_recognised(path, head):
        return False
    subfolders = [name for name in folder.subfolders() if is_module_folder(name, has_list=False)]
    return (path / MODULES).is_file() or any(choose_weights(folder.names(name)) for name in ("", *subfolders))


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors of a folder, or of an index.

    Where weights are there in several forms, safetensors are preferred; what is not read is listed as left out. A
    tensor that several files hold is compared, and read once.

    Raises:
        CheckpointError: no weights; several compressed models; a link out of the folder.
        DamagedFileError: a file is missing, damaged, or not what the index says; a tensor has two values.
    """
    is_index = not path.is_dir()
    folder = Folder(path.parent if is_index else path)
    subfolders = () if is_index else _find_modules(folder, files)
    parts = {name: Weights(path.name) if is_index else choose_weights(folder.names(name)) for name in ("", *subfolders)}
    listings: dict[str, Listing] = {}
    left_out: list[LeftOut] = []
    for subfolder, weights in parts.items():
        if weights is None:
            continue
        if ARTIFACT_KEY in listings.get("", Listing(())).metadata:
            reason = "weights beside a compressed model, of which they are no part"
            left_out.append(LeftOut(f"{subfolder}{SEPARATOR}{weights.index or weights.names[0]}", reason))
            continue
        listings[subfolder] = _read_weights(folder, subfolder, weights, files)
        if subfolder and ARTIFACT_KEY in listings[subfolder].metadata:
            raise CheckpointError(
                f"{folder.path / subfolder} is compressed already, and {folder.path} is one model with it.",
                hint=f"Name it alone: {folder.path / subfolder}.",
            )
    if not listings:
        raise CheckpointError(
            f"{path} holds no weights: no .safetensors file, no pytorch_model.bin, no index of such files.",
            hint="Name the file that holds the tensors.",
        )
    joined = _unite(_prefixed(listing, subfolder) for subfolder, listing in listings.items())
    companions, outside = _find_companions(folder, ("", *subfolders))
    return replace(joined, left_out=(*joined.left_out, *left_out, *outside), companions=companions)


def _find_modules(folder: Folder, files: Files) -> tuple[str, ...]:
    """Find the subfolders of sentence-transformers' modules, by their list or by their names.

    Raises:
        DamagedFileError: the list names a folder outside of this one.
    """
    has_list = MODULES in folder.names()
    subfolders = [name for name in folder.subfolders() if is_module_folder(name, has_list=has_list)]
    if has_list:
        content = read_json(folder.file(MODULES), files)
        modules = content if isinstance(content, list) else []
        # The folder itself is "" in the list of sentence-transformers and "." in that of model2vec.
        paths = [module["path"] for module in modules if isinstance(module, dict) and module.get("path")]
        named = [str(PurePosixPath(path)) if isinstance(path, str) else path for path in paths]
        named = [name for name in named if name != "."]
        for name in named:
            if not (is_plain(name) and folder.holds(name)):
                raise DamagedFileError(
                    f"{folder.path / MODULES} names the module {str(name)[:100]!r}, which is no folder in its own.",
                    hint=AGAIN,
                )
        subfolders += [name for name in named if name and (folder.path / name).is_dir()]
    return tuple(sorted(set(subfolders)))


def _find_companions(folder: Folder, subfolders: Iterable[str]) -> tuple[tuple[Path, ...], list[LeftOut]]:
    names = [os.path.join(sub, name) for sub in subfolders for name in folder.names(sub) if is_companion(name)]
    outside = [
        LeftOut(name, "a link out of the folder, which is not followed") for name in names if not folder.holds(name)
    ]
    return tuple(folder.path / name for name in names if folder.holds(name)), outside


@dataclass(frozen=True)
class _Shard:
    """One file of weights: its name, from its folder on, and what it holds."""

    name: str
    listing: Listing


def _read_weights(folder: Folder, subfolder: str, weights: Weights, files: Files) -> Listing:
    """List the tensors of one folder, without its subfolders, by their own names."""
    path = folder.path / subfolder
    present = folder.names(subfolder)
    weight_map: Mapping[str, str] = {}
    if weights.index:
        # What a user names may be a link to anywhere.
        is_named = files.path == path / weights.index
        index = files.path if is_named else folder.file(os.path.join(subfolder, weights.index))
        weight_map = read_index(index, files)
        for tensor, name in weight_map.items():
            if not (path / name).is_file():
                raise DamagedFileError(
                    f"{path} has no file {name!r}, into which {weights.index} puts {tensor!r}.", hint=AGAIN
                )
    elif missing := missing_number(weights.names):
        raise DamagedFileError(f"{path} has no file {missing!r}, and others of its set.", hint=AGAIN)
    names = sorted(set(weight_map.values())) or list(weights.names)
    shards = [_Shard(name, _read_file(folder.file(os.path.join(subfolder, name)), files)) for name in names]
    shards, compressed = _without_compressed(shards, path, is_indexed=bool(weights.index))
    tensors = _collect(shards, weight_map, path, files)
    if weight_map:
        _check_index(shards, weight_map, path / weights.index)
    united = _unite(shard.listing for shard in shards)
    return replace(
        united, tensors=tensors, left_out=(*united.left_out, *compressed, *_passed_over(present, names, weights))
    )


def _read_file(path: Path, files: Files) -> Listing:
    """List the tensors of one file.

    Raises:
        UnknownFormatError: of none of the formats that weights in a folder have.
    """
    head = read_head(path, files)
    for reader in READERS:
        if reader.is_recognised(path, head):
            listing: Listing = reader.read_listing(path, files)
            return listing
    unread = tell_unread(path, head) if head else ("is empty", "Copy or download it again.")
    what, hint = unread or ("holds no weights of a known form", "Copy or download it again.")
    raise UnknownFormatError(f"{path} {what}.", hint=hint)


def _without_compressed(shards: list[_Shard], path: Path, *, is_indexed: bool) -> tuple[list[_Shard], list[LeftOut]]:
    """Leave out the compressed model that lies beside the files of its original.

    Raises:
        CheckpointError: there is nothing but several of them.
    """
    whole = [shard for shard in shards if ARTIFACT_KEY in shard.listing.metadata and not NUMBERED.fullmatch(shard.name)]
    if is_indexed or len(shards) == 1 or not whole:
        return shards, []
    if len(whole) == len(shards):
        raise CheckpointError(
            f"{path} holds {len(whole)} compressed files.", hint=f"Name one of them: {path / whole[0].name}."
        )
    reason = "compressed already; name the file itself to read it"
    originals = [shard for shard in shards if shard not in whole]
    return originals, [LeftOut(shard.name, reason) for shard in whole]


def _collect(
    shards: Sequence[_Shard], weight_map: Mapping[str, str], path: Path, files: Files
) -> tuple[StoredTensor, ...]:
    """Put the tensors of all files together: one that several hold is that of the file that the index names.

    Raises:
        DamagedFileError: two files hold a tensor of one name and other values.
    """
    tensors: dict[str, StoredTensor] = {}
    homes: dict[str, str] = {}
    for shard in shards:
        for stored in shard.listing.tensors:
            other = tensors.setdefault(stored.name, stored)
            home = homes.setdefault(stored.name, shard.name)
            if other is not stored and not _are_same(other, stored, files):
                raise DamagedFileError(
                    f"{stored.name!r} is in {home} and in {shard.name} of {path}, and they differ.",
                    hint="Files of ranks hold parts of one tensor under one name: merge them first. Else remove the "
                    "file that is no part of the model.",
                )
            if weight_map.get(stored.name) == shard.name:
                tensors[stored.name] = stored
    return tuple(tensors.values())


def _are_same(one: StoredTensor, other: StoredTensor, files: Files) -> bool:
    if (one.dtype, one.shape, one.nbytes) != (other.dtype, other.shape, other.nbytes):
        return False
    if not (is_contiguous(one) and is_contiguous(other)):
        return False
    pairs = zip(contiguous_bytes(one, files=files), contiguous_bytes(other, files=files), strict=True)
    return all(bytes(part) == bytes(other_part) for part, other_part in pairs)


def _check_index(shards: Sequence[_Shard], weight_map: Mapping[str, str], index: Path) -> None:
    """Check that files hold what the index says, and nothing else.

    Raises:
        DamagedFileError: a tensor is missing in its file, or in the index; names it.
    """
    for shard in shards:
        names = {stored.name for stored in shard.listing.tensors}
        known_names = names | {left.name for left in shard.listing.left_out}
        missing = next(
            (name for name, home in weight_map.items() if home == shard.name and name not in known_names), None
        )
        if missing is not None:
            raise DamagedFileError(f"{index} puts {missing!r} into {shard.name}, which does not hold it.", hint=AGAIN)
        unnamed = sorted(names - weight_map.keys())
        if unnamed:
            raise DamagedFileError(f"{shard.name} holds {unnamed[0]!r}, which {index} does not name.", hint=AGAIN)


def _passed_over(present: Sequence[str], names: Sequence[str], weights: Weights) -> Iterator[LeftOut]:
    """Tell of the weights that are there in another form, or a second time."""
    others = [name for name in weights_among(present) if name not in names]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        yield LeftOut(others[0] + more, f"weights beside {weights.index or names[0]}, which is read instead")


def _prefixed(listing: Listing, subfolder: str) -> Listing:
    """Name what a subfolder holds after it."""
    if not subfolder:
        return listing
    before = subfolder + SEPARATOR
    return replace(
        listing,
        tensors=tuple(replace(stored, name=before + stored.name) for stored in listing.tensors),
        left_out=tuple(replace(left, name=before + left.name) for left in listing.left_out),
        row_shapes={before + name: shape for name, shape in listing.row_shapes.items()},
        labels={before + name: labels for name, labels in listing.labels.items()},
        loading=f"{{{before!r} + name: t for name, t in {listing.loading}.items()}}",
    )


def _unite(listings: Iterable[Listing]) -> Listing:
    """Put the listings of several files together; of metadata that several have, the first file's counts."""
    several = tuple(listings)
    if len(several) == 1:
        return several[0]
    metadata: dict[str, str] = {}
    row_shapes: dict[str, tuple[int, ...]] = {}
    labels: dict[str, Callable[[], Sequence[str]]] = {}
    for listing in several:
        metadata = {**listing.metadata, **metadata}
        row_shapes |= listing.row_shapes
        labels |= listing.labels
    return Listing(
        tensors=tuple(stored for listing in several for stored in listing.tensors),
        left_out=tuple(left for listing in several for left in listing.left_out),
        metadata=metadata,
        row_shapes=row_shapes,
        labels=labels,
        loading=f"{{{', '.join(f'**{listing.loading}' for listing in several)}}}",
        is_flat=all(listing.is_flat for listing in several),
    )
