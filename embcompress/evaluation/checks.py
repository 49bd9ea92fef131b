"""Checks of an artifact against its original, apart from the error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embcompress.artifact.reader import Artifact, is_artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.files import Files
from embcompress.exceptions import ArtifactError, UsageError
from embcompress.results import Check, TableErrorReport, TableReport
from embcompress.tables.rows import read_bytes
from embcompress.tables.table import Table
from embcompress.tables.ties import are_equal
from embcompress.text import NAMED_MAX, quoted

RECORDED_TOLERANCE = 1e-3  # relative: between an error as recorded and as measured again, on whatever machine
RECORDED_FLOOR = 1e-6  # absolute: errors near the rounding of float32 differ by the rounding of their measurement


@dataclass(frozen=True)
class TablePair:
    """A table of the original, and its entry in the artifact."""

    table: Table
    compressed: CompressedTable

    @property
    def matrices_of_row(self) -> int:
        """Count the matrices that a row of a bilinear table holds; 1 for other tables."""
        matrix = self.compressed.matrix
        return 1 if matrix is None else self.table.dim // math.prod(matrix)


def refuse_swapped(original: Checkpoint, artifact: Checkpoint) -> None:
    """Refuse an artifact in the place of the original.

    Raises:
        UsageError: it is one.
    """
    if not is_artifact(original):
        return
    swapped = f"embcompress evaluate {quoted(artifact.path)} {quoted(original.path)}"
    raise UsageError(
        f"{original.path} is compressed itself: name the checkpoint that it was made from.",
        hint="Name the original first and the artifact second."
        if is_artifact(artifact)
        else f"Are the two swapped? `{swapped}`",
    )


def match_tables(original: Checkpoint, artifact: Artifact) -> tuple[list[TablePair], list[Check]]:
    """Find the tables of an artifact in its original; those that do not fit are checks that failed.

    Raises:
        ArtifactError: the original has none of them.
    """
    stored = {tensor.name: tensor for tensor in original.tensors}
    pairs, failed = [], []
    for compressed in artifact.tables:
        dense = stored.get(compressed.name)
        wrong = _why_unlike(compressed, dense, stored, files=original.files)
        if wrong:
            failed.append(Check("tables", compressed.name, passed=False, detail=wrong))
        elif dense is not None:
            pairs.append(TablePair(Table(compressed.name, compressed.tied_names, dense), compressed))
    path, of = artifact.checkpoint.path, original.path
    if artifact.tables and not any(compressed.name in stored for compressed in artifact.tables):
        names = ", ".join(repr(compressed.name) for compressed in artifact.tables[:NAMED_MAX])
        raise ArtifactError(
            f"{path} was not made from {of}, which has none of its tables: {names}.",
            hint=f"`embcompress inspect {quoted(of)}` lists what it has.",
        )
    return pairs, failed


def _why_unlike(
    compressed: CompressedTable, dense: StoredTensor | None, stored: Mapping[str, StoredTensor], *, files: Files
) -> str:
    """Say how a table of the original differs from its entry in the artifact; empty where it does not."""
    if dense is None:
        return "the original has no tensor of this name"
    if dense.shape != compressed.dense_shape or dense.dtype != compressed.dtype:
        return (
            f"the original is {_size(dense.shape)} {dense.dtype}, and the artifact is made for "
            f"{_size(compressed.dense_shape)} {compressed.dtype}"
        )
    names = compressed.tied_names
    apart = [name for name in names if name not in stored or not are_equal(dense, stored[name], files=files)]
    return f"in the original {', '.join(map(repr, apart[:NAMED_MAX]))} is not tied to it" if apart else ""


def check_copies(original: Checkpoint, artifact: Artifact) -> list[Check]:
    """Compare all that is no compressed table with the original, bit for bit; returns what failed.

    Reads every such tensor of both files once.
    """
    taken = {name for table in artifact.tables for name in (table.name, *table.tied_names)}
    wanted = {tensor.name: tensor for tensor in original.stored_beside(taken)}
    copied = {tensor.name: tensor for tensor in artifact.copied}
    failed = []
    for name, tensor in copied.items():
        source = wanted.get(name)
        wrong = ""
        if source is None:
            wrong = "is not in the original"
        elif (source.shape, source.dtype) != (tensor.shape, tensor.dtype):
            wrong = f"is {_size(source.shape)} {source.dtype} there and {_size(tensor.shape)} {tensor.dtype} here"
        try:
            is_same = _is_same(original, source, artifact, tensor)
        except ArtifactError as err:
            failed.append(Check("checksums", name, passed=False, detail=err.message.rstrip(".")))
            is_same = True
        if wrong or not is_same:
            failed.append(
                Check("uncompressed_tensors", name, passed=False, detail=wrong or "has other bytes than the original")
            )
    failed += [
        Check("uncompressed_tensors", name, passed=False, detail="is missing in the artifact")
        for name in wanted
        if name not in copied
    ]
    if dict(original.listing.metadata) != dict(artifact.original.metadata):
        failed.append(
            Check("uncompressed_tensors", None, passed=False, detail="the metadata is not that of the original")
        )
    return failed


def _is_same(original: Checkpoint, source: StoredTensor | None, artifact: Artifact, tensor: StoredTensor) -> bool:
    """Compare the bytes of two tensors, to the end of the artifact's, so that its checksum is seen.

    Raises:
        ArtifactError: the checksum is not the one of the header.
    """
    mine = artifact.read(tensor)
    if source is None or source.nbytes != tensor.nbytes:
        for _ in mine:
            pass
        return True  # another fault, which is told already
    others = read_bytes(source, files=original.files)
    is_same, ahead = True, memoryview(b"")  # of the original, read and not yet compared
    for part in mine:
        done = 0
        while done < len(part):
            ahead = ahead or next(others)
            count = min(len(part) - done, len(ahead))
            # As bytes: memoryviews are compared item by item.
            is_same = is_same and bytes(part[done : done + count]) == bytes(ahead[:count])
            done, ahead = done + count, ahead[count:]
    return is_same


def check_unmatched(artifact: Artifact, pairs: Sequence[TablePair]) -> list[Check]:
    """Read what is stored of tables that the original does not have so, for the checksums; returns what failed."""
    matched = {pair.compressed.name for pair in pairs}
    failed = []
    for table in artifact.tables:
        for stored in () if table.name in matched else artifact.factors(table):
            try:
                for _ in artifact.read(stored):
                    pass
            except ArtifactError as err:
                failed.append(Check("checksums", stored.name, passed=False, detail=err.message.rstrip(".")))
    return failed


def check_recorded(pair: TablePair, measured: TableErrorReport | None) -> list[Check]:
    """Compare the recorded error of a table with the measured one; returns what failed."""
    recorded_error = pair.compressed.error
    if recorded_error is None or measured is None:
        return []
    if abs(recorded_error - measured.relative) <= RECORDED_TOLERANCE * measured.relative + RECORDED_FLOOR:
        return []
    detail = f"the artifact records an error of {recorded_error:.6g}; measured was {measured.relative:.6g}"
    return [Check("recorded_error", pair.compressed.name, passed=False, detail=detail)]


def all_checks(
    failed: list[Check], artifact: Artifact, *, tables: Sequence[TableReport], left_out: int, has_read: bool
) -> tuple[Check, ...]:
    """Put what failed after one line for each check that did not.

    Args:
        failed: what did.
        artifact: the one checked.
        tables: what was measured.
        left_out: entries of the original that no artifact can hold, of which nothing was compared.
        has_read: whether the content was looked at, and not only the headers.
    """
    measured = {table.name for table in tables if table.error is not None}
    recorded_tables = [table for table in artifact.tables if table.error is not None and table.name in measured]
    passed = {
        "schema": f"the header follows schema {artifact.schema}",
        "tables": f"{_count(len(artifact.tables), 'table')} with the shapes and dtypes of the original",
    }
    if has_read:
        passed["checksums"] = f"{_count(len(artifact.tensors), 'stored tensor')} with the crc32 of the header"
        passed["uncompressed_tensors"] = (
            f"{_count(len(artifact.copied), 'other tensor')} as in the original, bit for bit"
            + (
                f"; {left_out} {'entries' if left_out > 1 else 'entry'} of the original could not be compared"
                if left_out
                else ""
            )
        )
        if recorded_tables:
            passed["recorded_error"] = (
                f"the error of {_count(len(recorded_tables), 'table')} as recorded in the artifact"
            )
    wrong = {check.name for check in failed}
    sound_checks = [
        Check(name, None, passed=True, detail=detail) for name, detail in passed.items() if name not in wrong
    ]
    return (*sound_checks, *failed)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
