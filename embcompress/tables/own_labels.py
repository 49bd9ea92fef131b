"""Labels that a checkpoint brings along: those of its format, and a tokenizer or vocabulary beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.hugging_face.file_names import SEPARATOR
from embcompress.checkpoints.row_labels import has_own_labels, read_own_labels
from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.labels import read_label_file
from embcompress.tables.padding import rows_of_labels
from embcompress.tables.recognition import recognise
from embcompress.tables.row_info import RowInfo
from embcompress.tables.table import Table
from embcompress.text import named

# The first that fits a table counts: a tokenizer holds the tokens added to its vocabulary, too.
LABEL_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
OTHER_KINDS = ("position embedding", "segment embedding")  # whose rows are no tokens, however many there are


def add_own_labels(facts: RowInfo, checkpoint: Checkpoint, tables: Sequence[Table]) -> RowInfo:
    """Label the rows of tables as the checkpoint itself does, and say which file beside it the labels come from.

    The labels of a file belong to the tables of its folder with as many rows, or a few more: its first label is that of
    row 0. A file that cannot be read is told of, and passed over.
    """
    own: dict[str, Callable[[], Sequence[str]]] = {}
    for table in tables:
        labelled = [name for name in (table.name, *table.tied_names) if has_own_labels(checkpoint, name)]
        if labelled:
            own[table.name] = partial(read_own_labels, checkpoint, labelled[0], rows=table.rows)
    warnings: list[str] = []
    notes: list[str] = []
    root = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    by_folder: dict[str, dict[str, Path]] = {}
    for path in checkpoint.listing.companions:
        if path.name in LABEL_FILES:
            folder = path.parent.relative_to(root).as_posix()
            by_folder.setdefault("" if folder == "." else folder + SEPARATOR, {})[path.name] = path
    for before, files in by_folder.items():
        sizes = {
            stored.shape[0]
            for stored in checkpoint.tensors
            if len(stored.shape) > 1 and _folder_of(stored.name, by_folder) == before
        }
        members = [
            table
            for table in tables
            if table.name not in own and _folder_of(table.name, by_folder) == before and _may_be_tokens(table)
        ]
        for name in LABEL_FILES if members else ():
            labels = _read(files[name], warnings) if name in files else []
            rows = rows_of_labels(len(labels), sizes) if labels else None
            fitting = [table.name for table in members if table.rows == rows]
            if rows is not None and fitting:
                own |= dict.fromkeys(fitting, partial(tuple, (*labels, *[""] * (rows - len(labels)))))
                remark = f"labels of {named(fitting)} are those of {before}{name} beside the model"
                notes.append(remark + _rows_behind(len(labels), rows))
                break
    return replace(facts, own_labels=own, warnings=(*facts.warnings, *warnings), notes=tuple(notes))


def _folder_of(name: str, folders: Mapping[str, object]) -> str:
    """Tell the folder, with its separator, that a tensor is named after; the root's is empty."""
    return next((before for before in folders if before and name.startswith(before)), "")


def _rows_behind(labels: int, rows: int) -> str:
    """Say which rows the labels leave without one."""
    if rows == labels:
        return ""
    return f"; row {labels} has none" if rows == labels + 1 else f"; rows {labels}..{rows - 1} have none"


def _may_be_tokens(table: Table) -> bool:
    verdict = recognise((table.name,), shape=table.stored.shape, dtype=table.dtype)
    return verdict.kind not in OTHER_KINDS


def _read(path: Path, warnings: list[str]) -> list[str]:
    """Read labels; empty where that cannot be done."""
    try:
        return read_label_file(path).labels
    except (CheckpointError, IdsError) as err:
        warnings.append(f"no labels were taken from the file beside the model: {err.message.rstrip('.')}")
        return []
