"""Where an output goes: one safetensors file, or a folder of them with the files that belong to the model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.artifact.atomic_file import check_output
from embcompress.artifact.folder_writer import FolderForm, FolderWriter, foreign_files
from embcompress.artifact.writer import Entry, SafetensorsWriter, TensorWriter
from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.hugging_face import folder
from embcompress.checkpoints.hugging_face.file_names import family_of_index
from embcompress.checkpoints.hugging_face.hub import parse_address
from embcompress.exceptions import OutputError, UsageError
from embcompress.text import named

FILE_SUFFIX = ".safetensors"
# Of the tensor files of a folder: Hugging Face's loaders look for the second, and would take the first for a model that
# lacks its embeddings if it had that name.
ARTIFACT_STEM, DENSE_STEM = "embcompress", "model"


@dataclass(frozen=True)
class Output:
    """An output to be.

    Attributes:
        target: as it is named to the user.
        resolved: where it goes, links followed.
        force: whether what is there by then is replaced.
        form: of a folder; None: one file.
    """

    target: Path
    resolved: Path
    force: bool
    form: FolderForm | None = None

    def writer(self, entries: Sequence[Entry], metadata: Mapping[str, str]) -> TensorWriter:
        """Make the writer of these tensors; `metadata` is as large as it can get."""
        if self.form is None:
            return SafetensorsWriter(self.resolved, entries, metadata=metadata, force=self.force)
        return FolderWriter(self.resolved, entries, metadata=metadata, form=self.form, force=self.force)

    def with_contents(self, contents: Mapping[str, bytes]) -> Output:
        """Put other files into a folder that is written, in place of those of the same name."""
        return self if self.form is None else replace(self, form=replace(self.form, contents=contents))


def plan_output(
    output: str | Path | None,
    *,
    source: Checkpoint,
    ending: str,
    stem: str,
    max_shard_bytes: int | None,
    force: bool,
    inputs: Iterable[Path],
) -> Output:
    """Choose where an output goes and check that it can be written, before any work is done.

    A folder gives a folder, unless a name that ends in .safetensors asks for one file; so does a limit of its files.

    Args:
        output: as asked for; None: named after the input, beside it.
        source: the input that it is named after.
        ending: of the default name.
        stem: of the names of files in a folder.
        max_shard_bytes: of the tensors of one file; None: no limit.
        force: whether what is there is replaced.
        inputs: what the run reads, which must not be replaced.

    Raises:
        UsageError: a limit of the files of one file.
        OutputError: as `check_output`; a folder that holds other things than an earlier output.
    """
    is_file = output is not None and str(output).endswith(FILE_SUFFIX)
    if is_file and max_shard_bytes is not None:
        raise UsageError(
            f"--max-shard-size cuts the tensors of a folder, and --output {output} is one file.",
            hint="Name a folder: --output without .safetensors.",
        )
    is_folder = not is_file and (source.path.is_dir() or source.format == folder.NAME or max_shard_bytes is not None)
    target = Path(output) if output else beside(source.name, ending + ("" if is_folder else FILE_SUFFIX))
    if not is_folder:
        return Output(target, check_output(target, force=force, inputs=inputs), force)
    resolved = _check_folder(target, force=force, inputs=inputs)
    form = FolderForm(stem, max_shard_bytes, companions_of(source), has_modules=stem == DENSE_STEM)
    return Output(target, resolved, force, form)


def plan_folder(
    output: str | Path | None, *, source: Checkpoint, ending: str, force: bool, inputs: Iterable[Path]
) -> Output:
    """Choose where a folder goes, whatever the input is, and check that it can be written.

    Args:
        output: as asked for; None: named after the input, beside it.
        source: the input that it is named after.
        ending: of the default name.
        force: whether what is there is replaced.
        inputs: what the run reads, which must not be replaced.

    Raises:
        OutputError: as `check_output`; a folder that holds other things than an earlier output.
    """
    target = Path(output) if output else beside(source.name, ending)
    return Output(target, _check_folder(target, force=force, inputs=inputs), force)


def beside(source: str | Path, ending: str) -> Path:
    """Name an output beside a file or a folder, in `.` itself; of a model on the hub in the current folder.

    Example:
        >>> [str(beside(path, "-8x.safetensors")) for path in ("m/a.pt", "m/model.safetensors.index.json", "hf://o/n")]
        ['m/a-8x.safetensors', 'm/model-8x.safetensors', 'n-8x.safetensors']
    """
    address = parse_address(source)
    if address is not None:
        return Path(f"{address.name}{ending}")
    path = Path(source)
    if path.is_dir():
        # As they are written, `.` and `..` have no name.
        if path.name in {"", ".."}:
            return path / f"{Path(os.path.realpath(path)).name or 'checkpoint'}{ending}"
        return path.with_name(path.name + ending)
    stem = path.name.partition(".")[0] if family_of_index(path.name) else path.stem
    return path.with_name(stem + ending)


def companions_of(source: Checkpoint) -> dict[str, Path]:
    """Name the files that belong to the model of a folder, as they lie in it."""
    root = source.path if source.path.is_dir() else source.path.parent
    return {os.path.relpath(path, root): path for path in source.listing.companions}


def _check_folder(target: Path, *, force: bool, inputs: Iterable[Path]) -> Path:
    """Check that a folder can be written: that it is not there, or that an earlier output is, which may be replaced."""
    resolved = Path(os.path.realpath(target))
    for path in inputs:
        real = Path(os.path.realpath(path))
        if real == resolved:
            raise OutputError(f"the output {target} is the input itself.", hint="Name another folder with --output.")
        if resolved in real.parents:
            raise OutputError(f"the output {target} holds the input {path}.", hint="Name another folder with --output.")
    if not resolved.exists():
        # What is true of a file there is true of a folder: where it lies can be written.
        return check_output(target, force=force)
    if not resolved.is_dir():
        raise OutputError(f"the output {target} is a file, and a folder gives a folder.", hint="Name another --output.")
    if any(resolved.iterdir()) and not force:
        raise OutputError(f"the output {target} exists already.", hint="Overwrite it with --force.")
    if foreign := foreign_files(resolved):
        raise OutputError(
            f"the folder {target} holds files that no earlier run wrote there: {named(foreign)}.",
            hint="Name another folder with --output, or remove these first.",
        )
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {resolved.parent} of the output cannot be written by this user.")
    return resolved
