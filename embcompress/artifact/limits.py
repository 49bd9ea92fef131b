"""Limits of what an artifact may say of itself, held before anything is allocated by it."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from embcompress.artifact.schema import TIED_NAMES_MAX, CompressedTable
from embcompress.checkpoints.json_limits import check_json
from embcompress.checkpoints.tensors import DIMS_MAX, ITEM_BYTES
from embcompress.exceptions import ArtifactError
from embcompress.tables.table import REAL_PARTS
from embcompress.text import brief, human_bytes

if TYPE_CHECKING:
    from embcompress.artifact.reader import Artifact

# Characters of the document. Of each tensor it has some 80, so models of 400,000 tensors fit.
DOCUMENT_MAX = 32 * 2**20
ELEMENTS_MAX = 2**56  # of a table: its bytes fit in 64 bits, in any dtype
# Times the bytes of the file. Coded tables leave nothing recognisable beyond 64 to 300 times, twice that where a head
# is tied; a table of c columns over one basis is c times smaller, which 1,000 columns are enough for. A table of
# zeros has no end, and a file that claims to be one is not told from a hostile one.
EXPANSION_MAX = 1000
EXPANSION_FREE_BYTES = 256 * 10**6  # what any file may become: the bases of a few RESCAL relations take 135 MB
CODED_ROW_BYTES = 64  # of memory that the index of a coded table takes for a row while it is read
BASIS_ITEM_BYTES = 8  # of an entry of coded bases while they are decoded


def parse_document(text: str) -> Any:
    """Parse the document of an artifact, refusing one that takes much memory.

    Raises:
        ValueError: no JSON, or JSON that is too long, nested too deeply, or names one thing twice.
    """
    if len(text) > DOCUMENT_MAX:
        raise ValueError(f"it has {len(text)} characters, and at most {DOCUMENT_MAX} are read")
    check_json(text)
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it names {brief(twice)} twice")
    return fields


def check_shape(name: str, shape: Any, *, rank: Any) -> None:
    """Check the sizes of a table.

    Raises:
        ValueError: no sizes, too many axes, or more elements or bases than a table can have.
    """
    is_shape = (
        isinstance(shape, list) and len(shape) >= 2 and all(type(size) is int and 0 < size < 2**63 for size in shape)
    )
    if not is_shape or len(shape) > DIMS_MAX or math.prod(shape) > ELEMENTS_MAX:
        raise ValueError(f"table {brief(name)} has the shape {brief(shape)}")
    if type(rank) is not int or not 1 <= rank < 2**31:
        raise ValueError(f"table {brief(name)} has the rank {brief(rank)}")


def check_tied_names(name: str, tied_names: Any) -> None:
    """Check the names that a table is tied under, each of which is written out.

    Raises:
        ValueError: no names, more than a model has, or such as no file can hold.
    """
    if not isinstance(tied_names, list) or not all(isinstance(tied, str) for tied in tied_names):
        raise ValueError(f"table {brief(name)} has the tied names {brief(tied_names)}")
    if len(tied_names) > TIED_NAMES_MAX:
        raise ValueError(f"table {brief(name)} has {len(tied_names)} tied names, and at most {TIED_NAMES_MAX} are read")
    "".join(tied_names).encode()  # lone surrogates, which no file can hold: UnicodeEncodeError is a ValueError


def expanded_bytes(table: CompressedTable) -> int:
    """Count the bytes that a table becomes: dense under each of its names, and what decodes it while it is read.

    Example:
        >>> table = CompressedTable("t", ("head",), 1000, (32,), "float32", rank=4, error=None)
        >>> expanded_bytes(table)
        256000
    """
    row_bytes = math.prod(table.shape) * ITEM_BYTES[table.dtype]
    dense = table.rows * row_bytes * (1 + len(table.tied_names))
    if not table.is_coded:
        return dense
    dim = math.prod(table.shape) * (2 if table.dtype in REAL_PARTS else 1)
    return max(dense, table.rows * CODED_ROW_BYTES) + table.rank * dim * BASIS_ITEM_BYTES


def expansion_of(artifact: Artifact) -> tuple[int, int]:
    """Return the bytes that the tables of an artifact become, and how many are taken for granted."""
    expanded = sum(expanded_bytes(table) for table in artifact.tables)
    return expanded, max(EXPANSION_FREE_BYTES, EXPANSION_MAX * artifact.checkpoint.nbytes)


def check_expansion(artifact: Artifact, *, is_allowed: bool) -> Artifact:
    """Give an artifact back, and refuse one whose tables are far larger than its bytes make likely.

    Raises:
        ArtifactError: they become more than EXPANSION_MAX times the file and EXPANSION_FREE_BYTES.
    """
    expanded, limit = expansion_of(artifact)
    if is_allowed or expanded <= limit:
        return artifact
    nbytes = artifact.checkpoint.nbytes
    raise ArtifactError(
        f"{artifact.checkpoint.path} has {human_bytes(nbytes)} and claims tables that take "
        f"{large_bytes(expanded)}, {expanded // max(nbytes, 1)} times as much; {EXPANSION_MAX} times is the most "
        "that is read without being asked to.",
        hint="If you trust the file: --allow-expansion, or allow_expansion=True in Python.",
    )


def large_bytes(count: int) -> str:
    """Write a number of bytes of any size."""
    return human_bytes(min(count, 10**21)) if count < 10**21 else "more than 10^21 B"
