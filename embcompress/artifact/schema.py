"""The schema of the compressed file: its tensors and its metadata. docs/artifact.md describes it byte by byte."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from embcompress.artifact.marks import find_clash, is_mark
from embcompress.artifact.writer import CHECKSUM_KEY, NO_CHECKSUM, Entry
from embcompress.checkpoints.safetensors_file import DTYPES
from embcompress.coding.constants import group_width, level_count
from embcompress.exceptions import OutputError
from embcompress.results import TableHead
from embcompress.tables.table import REAL_PARTS
from embcompress.text import brief

SCHEMA_WRITTEN = 2
SCHEMAS_READ = (1, SCHEMA_WRITTEN)
TABLE_KINDS = ("embedding", "bilinear")
PLAIN = "plain"
CODED = "coded"  # the coding's name in the metadata
SEEKABLE = "coded-seekable"  # its name where the index finds one row without being read whole
TUNED = "coded-tuned"  # its name where scales, centers and bases were trained after coding, and lie there as floats
CODINGS = (PLAIN, CODED, SEEKABLE, TUNED)
DOCUMENT_KEY = "embcompress"  # in the metadata: the artifact's own JSON
FORMAT_ENTRY = ("format", "pt")  # Hugging Face loaders refuse a file without it
BASES_SUFFIX = ".bases"
WEIGHTS_SUFFIX = ".weights"
LEFT_SUFFIX = ".left"
RIGHT_SUFFIX = ".right"
BASIS_SCALES_SUFFIX = ".basis_scales"
BITS_SUFFIX = ".bits"
SCALES_SUFFIX = ".scales"
LEVELS_SUFFIX = ".levels"
CENTERS_SUFFIX = ".centers"
GROUPS_SUFFIX = ".groups"
CODES_SUFFIX = ".codes"  # of schema 1 a dot and the group's number behind it
INDEX_SUFFIX = ".index"
CODEBOOK_SUFFIX = ".codebook"
BASES_DTYPES = ("int8", "float16", "float32")
TIED_NAMES_MAX = 1000  # of a table, each of which is written out: models tie a few, and share layers in dozens
WIDEST_ERROR = -1.2345678901234567e-300  # as many characters as a float can take in JSON

Windows = tuple[tuple[int, int], ...]  # (bits, window), ascending


@dataclass(frozen=True)
class Original:
    """What an artifact keeps of the checkpoint that it was made of, for `reconstruct`.

    Attributes:
        metadata: of the file.
        form: the key of DENSE_FORMS that writes it as it was; empty: safetensors.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    form: str = ""


@dataclass(frozen=True)
class CompressedTable(TableHead):
    """One table's entry in the header of an artifact.

    Attributes:
        name: of the table, which the names of its tensors start with.
        tied_names: other names that the original had the same memory under.
        rank: the number of bases.
        error: the relative Frobenius error, as stored; None where it is not known.
        kind: "embedding": bases and weights; "bilinear": a left and a right factor of each matrix.
        coding: "plain": weights as floats; "coded": quantized.
        matrix: (in1, in2) of a bilinear table, whose rows hold one matrix or several, row-major.
        windows: of a table that is coded as in schema 1: bits of a column and of the window that its level depends on,
            ascending.
        shards: names and rows of the tensors that the original has in its place, in order; empty where it is one.
        is_seekable: of a coded table: whether its index finds one row without being read whole.
        is_tuned: of a coded table: whether its columns' scales, the centers and the bases lie beside the codebook.
    """

    rank: int
    error: float | None
    kind: str = "embedding"
    coding: str = PLAIN
    matrix: tuple[int, int] | None = None
    windows: Windows = ()
    shards: tuple[tuple[str, int], ...] = ()
    is_seekable: bool = False
    is_tuned: bool = False

    @property
    def is_coded(self) -> bool:
        """Whether its weights are stored as codes."""
        return self.coding == CODED

    @property
    def dense_names(self) -> tuple[str, ...]:
        """The names of the dense tensors that it stands for: those of its shards, and those that it is tied under."""
        return (*([name for name, _ in self.shards] or [self.name]), *self.tied_names)

    @property
    def is_windowed(self) -> bool:
        """Whether its codes are those of schema 1, which are read and no longer written."""
        return bool(self.windows)

    @property
    def factor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its tensors, by what their names end in; of a plain table."""
        if self.matrix is None:
            return {BASES_SUFFIX: (self.rank, *self.shape), WEIGHTS_SUFFIX: (self.rows, self.rank)}
        in1, in2 = self.matrix
        count = math.prod(self.shape) // (in1 * in2)  # matrices of a row
        lead = (self.rows,) if count == 1 else (self.rows, count)
        return {LEFT_SUFFIX: (*lead, in1, self.rank), RIGHT_SUFFIX: (*lead, in2, self.rank)}


def bilinear_entries(table: CompressedTable, *, dtype: str) -> tuple[Entry, Entry]:
    """Name the two tensors of a bilinear table: left (..., in1, rank) and right (..., in2, rank)."""
    left, right = (Entry(table.name + suffix, dtype, shape) for suffix, shape in table.factor_shapes.items())
    return left, right


def factor_entries(table: CompressedTable, *, bases_dtype: str, weights_dtype: str) -> tuple[Entry, Entry]:
    """Name the two tensors of a table: bases (rank, *shape) and weights (rows, rank)."""
    return (
        Entry(table.name + BASES_SUFFIX, bases_dtype, (table.rank, *table.shape)),
        Entry(table.name + WEIGHTS_SUFFIX, weights_dtype, (table.rows, table.rank)),
    )


def artifact_metadata(
    tables: Sequence[CompressedTable],
    *,
    checksums: Mapping[str, str],
    original: Original,
) -> dict[str, str]:
    """Make the metadata of an artifact: the format, one canonical JSON of what is in it, and a place for its checksum.

    Args:
        tables: with their errors.
        checksums: name -> crc32 of every stored tensor, eight hexadecimal digits; those of marks are left out.
        original: what is kept of the checkpoint.
    """
    marks = {name for table in tables for name in table.dense_names}
    document = {
        "schema_version": SCHEMA_WRITTEN,
        "tables": {
            table.name: {
                "kind": table.kind,
                "coding": SEEKABLE if table.is_seekable else TUNED if table.is_tuned else table.coding,
                "shape": list(table.dense_shape),
                "dtype": table.dtype,
                "tied_names": list(table.tied_names),
                "rank": table.rank,
                "error": {"relative": table.error},
                **({} if table.matrix is None else {"matrix": list(table.matrix)}),
                **({"shards": [list(shard) for shard in table.shards]} if table.shards else {}),
                **({"levels": [list(pair) for pair in table.windows]} if table.windows else {}),
            }
            for table in tables
        },
        "crc32": {name: checksum for name, checksum in checksums.items() if name not in marks},
        "metadata": dict(original.metadata),
        **({"form": original.form} if original.form else {}),
    }
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return dict([FORMAT_ENTRY, (DOCUMENT_KEY, text), (CHECKSUM_KEY, NO_CHECKSUM)])


def widest_metadata(
    tables: Sequence[CompressedTable],
    *,
    entries: Sequence[Entry],
    original: Original,
) -> dict[str, str]:
    """Make metadata as long as it can get, to keep room for.

    Raises:
        OutputError: what no reader would take: a table of too many names, or one of the name of a stored tensor.
    """
    many = next((table for table in tables if len(table.tied_names) > TIED_NAMES_MAX), None)
    if many is not None:
        raise OutputError(
            f"table {brief(many.name)} is tied under {len(many.tied_names)} other names; at most {TIED_NAMES_MAX} can "
            "be written.",
            hint="Leave the table out with --exclude.",
        )
    clash, why = find_clash(
        (name for table in tables for name in table.dense_names), (one.name for one in entries if not is_mark(one))
    )
    if why:
        raise OutputError(
            f"a table of the output would be named {brief(clash)}: {why}.",
            hint="Rename the tensor in the checkpoint, or leave its table out with --exclude.",
        )
    return artifact_metadata(
        [replace(table, error=WIDEST_ERROR) for table in tables],
        checksums={entry.name: "0" * 8 for entry in entries},
        original=original,
    )


def factor_dtypes(dtype: str, stored_dtype: str) -> tuple[str, str]:
    """Return the dtypes of bases and weights of a table of `dtype` whose real parts are stored as `stored_dtype`.

    A complex table keeps complex bases, where safetensors has the dtype, so that its bases have the table's shape.

    Raises:
        OutputError: a complex table whose bases would need a complex dtype that safetensors does not have.
    """
    if dtype not in REAL_PARTS:
        return stored_dtype, stored_dtype
    complex_dtype = next((name for name, part in REAL_PARTS.items() if part == stored_dtype), None)
    if complex_dtype is None or complex_dtype not in DTYPES.values():
        raise OutputError(
            f"complex bases cannot be stored in {stored_dtype}: safetensors has complex64 only.",
            hint="Use --dtype same or float32, or save the table as pairs of reals.",
        )
    return complex_dtype, stored_dtype


def coded_entries(name: str, *, codes: int, index: int, codebook: int) -> dict[str, Entry]:
    """Name the tensors of a coded table, by what their names end in, with the bytes that they are expected to take."""
    sizes = {CODES_SUFFIX: codes, INDEX_SUFFIX: index, CODEBOOK_SUFFIX: codebook}
    return {suffix: Entry(name + suffix, "uint8", (nbytes,), is_growing=True) for suffix, nbytes in sizes.items()}


def tuned_entries(table: CompressedTable, *, profiles: int | None, has_bases: bool) -> dict[str, Entry]:
    """Name what a tuned table has beside codes, index and codebook, by what the names end in.

    Args:
        table: that they belong to.
        profiles: of its centers; None where there are none.
        has_bases: whether its columns are not those of the table.
    """
    shapes: dict[str, tuple[int, ...]] = {SCALES_SUFFIX: (table.rank,)}
    if profiles is not None:
        shapes[CENTERS_SUFFIX] = (profiles, table.rank)
    if has_bases:
        shapes[BASES_SUFFIX] = (table.rank, *real_row_shape(table))
    return {suffix: Entry(table.name + suffix, "float32", shape) for suffix, shape in shapes.items()}


def staged_bytes(tables: Iterable[CompressedTable], entries: Iterable[Entry]) -> int:
    """Count the bytes that lie beside the output while it is written: the largest codes of a seekable table.

    Args:
        tables: those that are written anew, one after the other.
        entries: of all tensors.
    """
    staged = {table.name + CODES_SUFFIX for table in tables if table.is_seekable}
    return max((entry.nbytes for entry in entries if entry.name in staged), default=0)


def window_entries(
    table: CompressedTable,
    *,
    bases_dtype: str | None,
    rows_in_groups: Sequence[int],
    row_bytes: Sequence[int],
    scales: int,
) -> dict[str, Entry]:
    """Name the tensors of a table coded as in schema 1, by what their names end in.

    Args:
        table: that they belong to.
        bases_dtype: one of BASES_DTYPES; None where the table's own columns are coded.
        rows_in_groups: how many rows each group has.
        row_bytes: of a row's string in each group.
        scales: how many columns of groups have bits.
    """
    groups = len(rows_in_groups)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        BITS_SUFFIX: ("uint8", (groups, -(-table.rank // 2))),
        SCALES_SUFFIX: ("bfloat16", (scales,)),
        LEVELS_SUFFIX: ("float16", (count_levels(table.windows),)),
    }
    if bases_dtype is not None:
        shapes[BASES_SUFFIX] = (bases_dtype, (table.rank, *real_row_shape(table)))
    if bases_dtype == "int8":
        shapes[BASIS_SCALES_SUFFIX] = ("float32", (table.rank,))
    if groups > 1:
        shapes[GROUPS_SUFFIX] = ("uint8", (-(-table.rows * group_width(groups) // 8),))
    for group, (rows, width) in enumerate(zip(rows_in_groups, row_bytes, strict=True)):
        shapes[f"{CODES_SUFFIX}.{group}"] = ("uint8", (rows, width))
    return {suffix: Entry(table.name + suffix, dtype, shape) for suffix, (dtype, shape) in shapes.items()}


def count_levels(windows: Windows) -> int:
    """Count the levels of all tables."""
    return sum(level_count(bits, window) for bits, window in windows)


def real_row_shape(table: CompressedTable) -> tuple[int, ...]:
    """Return the shape of a row as reals: complex ones have a last axis of 2."""
    return (*table.shape, 2) if table.dtype in REAL_PARTS else table.shape
