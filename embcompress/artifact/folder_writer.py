"""Writing the tensors of a model into a folder, whole or not at all: one safetensors file, or several and an index."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embcompress.artifact.atomic_file import failure_of, hash_file, keep_pending, remove_pending, sync_file, sync_folder
from embcompress.artifact.writer import Entry, SafetensorsWriter, TensorWriter, in_file_order
from embcompress.exceptions import OutputError

SHARD_METADATA = {"format": "pt"}  # of all files but the first, which has that of the whole
# The list of the files of a folder, as `sha256sum --check` reads it; it tells what may be replaced later.
SUMS_NAME = "SHA256SUMS"


@dataclass(frozen=True)
class FolderForm:
    """The form of a folder that is written.

    Attributes:
        stem: of the names of its safetensors files: "model" as Hugging Face's loaders look for, or one that they do not
            take for a dense model.
        max_shard_bytes: of the tensors of one file, unless one tensor alone is larger; None: all in one.
        companions: files that are copied, by the names that they get in the folder.
        has_modules: whether a tensor named `FOLDER/name`, of a folder that holds companions, goes as `name` into a file
            of that folder, as sentence-transformers has the modules of a model.
        contents: other files, with their bytes, by the names that they get in the folder; in place of a companion of
            the same name.
    """

    stem: str
    max_shard_bytes: int | None = None
    companions: Mapping[str, Path] | None = None
    has_modules: bool = False
    contents: Mapping[str, bytes] | None = None

    def module_of(self, entry: Entry) -> str:
        """Name the folder within the folder that a tensor goes into; empty: none."""
        folder = entry.name.rpartition("/")[0]
        is_module = any(name.startswith(f"{folder}/") for name in self.companions or {})
        return folder if self.has_modules and folder and is_module else ""


class FolderWriter(TensorWriter):
    """Writes tensors into the safetensors files of a folder, beside copies of the files that belong to the model.

    The folder is made under another name and renamed by `commit`; a folder that is replaced is moved aside first.

    Args:
        target: where the folder goes.
        entries: every tensor.
        metadata: as large as it can get; `finish` gives the final one. It is kept in the first file.
        form: names and sizes of the files.
        force: whether what is there by the time of `commit` is replaced.

    Raises:
        OutputError: as SafetensorsWriter.
    """

    def __init__(
        self,
        target: Path,
        entries: Sequence[Entry],
        *,
        metadata: Mapping[str, str],
        form: FolderForm,
        force: bool = True,
    ) -> None:
        self.entries = in_file_order(entries)
        self._target, self._form, self._force = target, form, force
        self._folder = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.tmp")
        self._writers: list[SafetensorsWriter] = []
        self._places: dict[Entry, tuple[SafetensorsWriter, Entry]] = {}
        modules = sorted({form.module_of(entry) for entry in self.entries}) or [""]
        for module in modules:
            members = [entry for entry in self.entries if form.module_of(entry) == module]
            shards = cut_into_shards(members, form.max_shard_bytes)
            for name, shard in zip(shard_names(form.stem, len(shards)), shards, strict=True):
                own = {entry: replace(entry, name=entry.name[len(module) + bool(module) :]) for entry in shard}
                writer = SafetensorsWriter(
                    self._folder / module / name,
                    list(own.values()),
                    metadata=SHARD_METADATA if self._writers else metadata,
                )
                self._writers.append(writer)
                self._places |= {entry: (writer, inner) for entry, inner in own.items()}
        self._stack = ExitStack()

    @property
    def nbytes(self) -> int:  # noqa: D102 - as in TensorWriter
        return sum(writer.nbytes for writer in self._writers)

    @property
    def path(self) -> Path:  # noqa: D102 - as in TensorWriter
        return self._folder

    @property
    def checksums(self) -> dict[str, str]:  # noqa: D102 - as in TensorWriter
        return {entry.name: writer.checksums[inner.name] for entry, (writer, inner) in self._places.items()}

    def __enter__(self) -> FolderWriter:
        try:
            keep_pending(self._folder)  # first, so that a signal between the two leaves nothing
            os.mkdir(self._folder)
            for writer in self._writers:
                writer.path.parent.mkdir(parents=True, exist_ok=True)
                self._stack.enter_context(writer)
        except OSError as err:
            self._discard()
            raise failure_of(self._target, err) from err
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)
        self._discard()

    def append(self, entry: Entry, part: bytes | memoryview) -> None:  # noqa: D102 - as in TensorWriter
        writer, inner = self._places[entry]
        writer.append(inner, part)

    def rewind(self, entry: Entry) -> None:  # noqa: D102 - as in TensorWriter
        writer, inner = self._places[entry]
        writer.rewind(inner)

    def finish(self, metadata: Mapping[str, str]) -> str:
        """Fill in the headers, write the index, the companions and the list of files, and return the list's sha256."""
        try:
            sums: dict[Path, str] = {}
            for index, writer in enumerate(self._writers):
                sums[writer.target] = writer.finish(SHARD_METADATA if index else metadata)
                writer.commit()
            for folder in {writer.target.parent for writer in self._writers}:
                self._write_index(folder)
            for name, source in (self._form.companions or {}).items():
                copy = self._folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
            for name, content in (self._form.contents or {}).items():
                (self._folder / name).write_bytes(content)
            listed = _list_sums(self._folder, sums)
            (self._folder / SUMS_NAME).write_bytes(listed)
            for path in _files_of(self._folder):
                if path not in sums:  # the others are synced by their own commit
                    sync_file(path)
            return hashlib.sha256(listed).hexdigest()
        except OSError as err:
            raise failure_of(self._target, err) from err

    def commit(self) -> None:
        """Put the folder in its place.

        Raises:
            OutputError: something is there and must not be replaced, or the file system refuses.
        """
        aside = self._folder.with_suffix(".old")
        try:
            if self._target.exists():
                if not self._force:
                    message = f"the output {self._target} was made by something else in the meantime."
                    raise OutputError(message, hint="Overwrite it with --force.")
                os.rename(self._target, aside)
            try:
                os.rename(self._folder, self._target)
            except OSError:
                with suppress(OSError):
                    os.rename(aside, self._target)
                raise
        except OSError as err:
            raise failure_of(self._target, err) from err
        remove_pending(self._folder)
        sync_folder(self._target.parent)
        shutil.rmtree(aside, ignore_errors=True)

    def _write_index(self, folder: Path) -> None:
        """Write the map from tensors to the files of a folder, where there are several, as Hugging Face reads it."""
        writers = [writer for writer in self._writers if writer.target.parent == folder]
        if len(writers) == 1:
            return
        weight_map = {entry.name: writer.target.name for writer in writers for entry in writer.entries}
        total = sum(entry.nbytes for writer in writers for entry in writer.entries)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        path = folder / f"{self._form.stem}.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        remove_pending(self._folder)


def cut_into_shards(entries: Sequence[Entry], max_bytes: int | None) -> list[list[Entry]]:
    """Cut tensors, in their order, into parts of at most `max_bytes`; a larger tensor is a part of its own.

    Example:
        >>> a, b, c = (Entry(name, "uint8", (3,)) for name in "abc")
        >>> [[entry.name for entry in shard] for shard in cut_into_shards([a, b, c], 6)]
        [['a', 'b'], ['c']]
    """
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if max_bytes is not None and shards[-1] and size + entry.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.nbytes
    return shards


def shard_names(stem: str, count: int) -> list[str]:
    """Name the files of a folder, as Hugging Face does."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def foreign_files(folder: Path) -> list[str]:
    """Name the files of a folder that no run of ours wrote into it: those that its list of files lacks."""
    try:
        lines = (folder / SUMS_NAME).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    own = {SUMS_NAME, *(name for _, _, name in (line.partition("  ") for line in lines))}
    names = [path.relative_to(folder).as_posix() for path in _files_of(folder)]
    return [name for name in names if name not in own]


def hash_folder(folder: Path) -> str:
    """Return the sha256 of the list of files of a folder, as `FolderWriter.finish` returns it."""
    return hashlib.sha256(_list_sums(folder, {})).hexdigest()


def _list_sums(folder: Path, known: Mapping[Path, str]) -> bytes:
    """List the files of a folder by name, a line `<sha256>  <name>` each; reads those whose sha256 is not known."""
    paths = [path for path in _files_of(folder) if path != folder / SUMS_NAME]
    lines = [f"{known.get(path) or hash_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    return "".join(lines).encode()


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
