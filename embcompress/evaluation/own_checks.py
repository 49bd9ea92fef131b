"""Checks of an artifact by itself, without its original."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch

from embcompress.artifact.atomic_file import hash_file
from embcompress.artifact.decoded_rows import open_decoded_rows
from embcompress.artifact.folder_writer import hash_folder
from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import DOCUMENT_KEY, FORMAT_ENTRY, CompressedTable, real_row_shape
from embcompress.artifact.writer import CHECKSUM_KEY, is_header_intact
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, read_own_labels
from embcompress.choices import DENSE_FORMS
from embcompress.exceptions import ArtifactError, DamagedFileError
from embcompress.results import Check
from embcompress.tables.progress import Progress
from embcompress.tables.table import block_rows_for
from embcompress.text import brief

REPORT_BYTES_MAX = 2**28  # of a report that is read


def check_artifact(artifact: Artifact, *, allow_expansion: bool, progress: Progress | None) -> Iterator[Check]:
    """Check the header, the sizes, every byte and every row of an artifact; yields what holds and what failed.

    Reads every tensor once, and the rows of the tables once more.
    """
    yield Check("schema", None, passed=True, detail=f"the header follows schema {artifact.schema}")
    yield from _check_header(artifact)
    try:
        check_expansion(artifact, is_allowed=allow_expansion)
        is_small = True
        wrong = "; ".join(f"{left.name}: {left.reason}" for left in artifact.checkpoint.listing.left_out)
    except ArtifactError as err:
        is_small, wrong = False, err.message.rstrip(".")
    detail = f"{artifact.checkpoint.nbytes} bytes, as the header says"
    yield Check("sizes", None, passed=not wrong, detail=wrong or detail)
    damaged = dict(_damaged_tensors(artifact))
    for name, why in damaged.items():
        yield Check("checksums", name, passed=False, detail=why)
    if not damaged:
        yield Check("checksums", None, passed=True, detail=f"{len(artifact.tensors)} tensors with their crc32")
    extra = set(artifact.checksums) - {stored.name for stored in artifact.checkpoint.tensors}
    if extra:
        yield Check("checksums", min(extra), passed=False, detail="the file has no such tensor")
    failed = 0
    for table in artifact.tables if is_small else ():
        if any(stored.name in damaged for stored in artifact.factors(table)):
            continue
        why = _why_not_decoded(artifact, table, progress=progress)
        failed += bool(why)
        if why:
            name = "finite_numbers" if "NaN or infinity" in why else "rows"
            yield Check(name, table.name, passed=False, detail=why)
    if is_small and not damaged and not failed:
        rows = sum(table.rows for table in artifact.tables)
        yield Check("rows", None, passed=True, detail=f"{rows} rows of {len(artifact.tables)} tables decode")
        yield Check("finite_numbers", None, passed=True, detail="all numbers that rows are made of are finite")


def _check_header(artifact: Artifact) -> Iterator[Check]:
    """Compare the header with its own checksum, which files of earlier versions do not have."""
    checksum = artifact.checkpoint.listing.metadata.get(CHECKSUM_KEY)
    form = artifact.original.form
    if form and form not in DENSE_FORMS:
        yield Check("header", None, passed=False, detail=f"the form of the original is {brief(form)}")
    unknown = sorted(set(artifact.checkpoint.listing.metadata) - {FORMAT_ENTRY[0], DOCUMENT_KEY, CHECKSUM_KEY})
    if unknown:
        yield Check("header", None, passed=False, detail=f"its metadata has the unknown entry {brief(unknown[0])}")
        return
    if checksum is None:
        return
    path = next((path for path in artifact.checkpoint.files.paths if _has_checksum(path)), artifact.checkpoint.path)
    is_intact = is_header_intact(_read_header(path), checksum)
    detail = f"its bytes have the crc32 {checksum}" if is_intact else "its bytes do not have the crc32 that it holds"
    yield Check("header", None, passed=is_intact, detail=detail)


def _has_checksum(path: Path) -> bool:
    return path.suffix == ".safetensors" and f'"{CHECKSUM_KEY}"'.encode() in _read_header(path)


def _read_header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little")).rstrip(b" ")


def _damaged_tensors(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Read every tensor, and tell of those whose checksum or labels are wrong."""
    labelled = {table.name + LABELS_SUFFIX: table for table in artifact.tables}
    for stored in artifact.tensors.values():
        try:
            for _ in artifact.read(stored):
                pass
            table = labelled.get(stored.name)
            if table is not None:
                read_own_labels(artifact.checkpoint, table.name, rows=table.rows)
        except (ArtifactError, DamagedFileError) as err:
            yield stored.name, err.message.rstrip(".")


def _why_not_decoded(artifact: Artifact, table: CompressedTable, *, progress: Progress | None) -> str:
    """Decode every row of a table; say what is wrong, or nothing."""
    dim = math.prod(real_row_shape(table))
    step = block_rows_for(rows=table.rows, dim=dim, item_bytes=8)
    try:
        rows = open_decoded_rows(artifact, table, dtype=torch.float64, device="cpu")
        for first in range(0, table.rows, step):
            values = rows.read_next(min(step, table.rows - first))  # (block_rows, dim)
            if not bool(torch.isfinite(values).all()):
                return f"rows {first} to {first + len(values) - 1} decode to NaN or infinity"
            if progress is not None:
                progress(f"{table.name}: rows", first + len(values), table.rows, dim * 8)
    except ArtifactError as err:
        return err.message.rstrip(".")
    return ""


def hash_artifact(path: Path) -> str | None:
    """Return the sha256 of a file, or that of the list of files of a folder; None of what is neither."""
    if path.is_dir():
        return hash_folder(path)
    return hash_file(path) if path.is_file() else None


def check_report(path: Path, sha256: str) -> Check | None:
    """Compare the hash of an artifact with the one in the report beside it; None where no report names one."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > REPORT_BYTES_MAX:
            raise ValueError("it is too large")
        document = json.loads(path.read_bytes())
        output = document.get("output")
        expected = output.get("sha256") if isinstance(output, dict) else None
    except (OSError, ValueError, RecursionError, AttributeError) as err:
        return Check("report", None, passed=False, detail=f"{path} is no report ({brief(str(err))})")
    if expected is None:
        return None
    detail = f"{path.name} names the sha256 of this file"
    if expected != sha256:
        detail = f"{path.name} is of another file: its output has the sha256 {brief(expected)}, and this file {sha256}"
    return Check("report", None, passed=expected == sha256, detail=detail)
