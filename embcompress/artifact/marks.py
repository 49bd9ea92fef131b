"""Marks in artifacts: empty tensors under the names of the dense ones that compressed tables stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from embcompress.artifact.writer import Entry, find_repeated
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.safetensors_file import METADATA_KEY

MARK_DTYPE, MARK_SHAPE = "uint8", (0,)
# Beside a model, what makes loaders of Hugging Face take the folder for one.
MODEL_FILES = ("config.json", "modules.json")


def are_needed(path: Path) -> bool:
    """Tell whether loaders may take a file for a model: whether its folder, or the folder itself, is that of one."""
    folder = path if path.is_dir() else path.parent
    return any((folder / name).is_file() for name in MODEL_FILES)


def mark_entries(dense_names: Iterable[str], entries: Iterable[Entry]) -> list[Entry]:
    """Name the marks of an artifact: an empty tensor under every name of a dense one that a table stands for.

    Loaders of Hugging Face that take the file for a whole model find a tensor of another shape, and raise; without it
    they would pass over what the file lacks, and draw the rows at random.

    Args:
        dense_names: of the tables of the artifact.
        entries: of its other tensors; those that are marks already are left.
    """
    known = {entry for entry in entries if is_mark(entry)}
    marks = [Entry(name, MARK_DTYPE, MARK_SHAPE) for name in dense_names]
    return [mark for mark in dict.fromkeys(marks) if mark not in known]


def drop_marks(tensors: Mapping[str, StoredTensor], dense_names: Iterable[str]) -> dict[str, StoredTensor]:
    """Leave out the marks among the tensors of an artifact: those under names of dense ones."""
    names = set(dense_names)
    return {name: stored for name, stored in tensors.items() if name not in names or not is_mark(stored)}


def is_mark(tensor: Entry | StoredTensor) -> bool:
    """Return whether a tensor of an artifact has the form of a mark."""
    return (tensor.dtype, tensor.shape) == (MARK_DTYPE, MARK_SHAPE)


def find_clash(dense_names: Iterable[str], others: Iterable[str]) -> tuple[str, str]:
    """Find a name of a dense tensor that is taken: the name, and by what; both empty where none is.

    Args:
        dense_names: of the tables, each as often as it is given.
        others: names of the tensors that the artifact holds.
    """
    names = tuple(dense_names)
    twice = find_repeated(names)
    if twice is not None:
        return twice, "two dense tensors have it"
    taken = {*others, METADATA_KEY}
    clash = next((name for name in names if name in taken), None)
    return ("", "") if clash is None else (clash, "it is that of another tensor of the file")
