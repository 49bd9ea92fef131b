"""An artifact that is open: its header, checked, and its tensors by name."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embcompress.artifact.factor_checks import check_plain, find_coded
from embcompress.artifact.limits import check_shape, check_tied_names, parse_document
from embcompress.artifact.marks import drop_marks, find_clash
from embcompress.artifact.schema import (
    BASES_SUFFIX,
    CODED,
    CODES_SUFFIX,
    CODINGS,
    DOCUMENT_KEY,
    PLAIN,
    SCHEMAS_READ,
    SEEKABLE,
    TABLE_KINDS,
    TUNED,
    WEIGHTS_SUFFIX,
    CompressedTable,
    Original,
    Windows,
)
from embcompress.checkpoints import Checkpoint, StoredTensor, safetensors_file
from embcompress.checkpoints.hugging_face import folder
from embcompress.checkpoints.tensors import contiguous_bytes
from embcompress.coding.constants import HALF_BIT, WINDOW_MAX
from embcompress.exceptions import MESSAGE_MAX, ArtifactError, shorten
from embcompress.tables.recognition import TABLE_DTYPES
from embcompress.tables.table import REAL_PARTS
from embcompress.text import brief

# One file, or several that an index names: the document is in the metadata of the first. No other format is written.
FORMATS = (safetensors_file.NAME, folder.NAME)


@dataclass(frozen=True)
class Artifact:
    """An open artifact: the schema of its header, its tables, and its tensors by name."""

    checkpoint: Checkpoint
    schema: int
    tables: tuple[CompressedTable, ...]
    tensors: Mapping[str, StoredTensor]
    checksums: Mapping[str, str]
    original: Original

    def bases(self, table: CompressedTable) -> StoredTensor:
        """Find the bases of a table, (rank, *shape)."""
        return self.tensors[table.name + BASES_SUFFIX]

    def weights(self, table: CompressedTable) -> StoredTensor:
        """Find the weights of a table, (rows, rank)."""
        return self.tensors[table.name + WEIGHTS_SUFFIX]

    def coded_factors(self, table: CompressedTable) -> dict[str, StoredTensor]:
        """Find the tensors of a coded table, by what their names end in."""
        return find_coded(table, self.tensors)

    def codes(self, table: CompressedTable) -> tuple[StoredTensor, ...]:
        """Find the codes of a coded table; of one of schema 1 group by group."""
        tensors = self.coded_factors(table)
        return tuple(stored for suffix, stored in tensors.items() if suffix.startswith(CODES_SUFFIX))

    def factors(self, table: CompressedTable) -> tuple[StoredTensor, ...]:
        """Find the tensors of a table: bases and weights, left and right, or codes and what decodes them."""
        if table.is_coded:
            return tuple(self.coded_factors(table).values())
        return tuple(self.tensors[table.name + suffix] for suffix in table.factor_shapes)

    @property
    def copied(self) -> tuple[StoredTensor, ...]:
        """The tensors that are no part of a compressed table."""
        factors = {factor.name for table in self.tables for factor in self.factors(table)}
        return tuple(tensor for tensor in self.tensors.values() if tensor.name not in factors)

    def read(self, stored: StoredTensor) -> Iterator[memoryview]:
        """Yield the bytes of a tensor and check them.

        Raises:
            ArtifactError: after the last byte, if the checksum is not the one of the header.
        """
        checksum = 0
        for part in contiguous_bytes(stored, files=self.checkpoint.files):
            checksum = zlib.crc32(part, checksum)
            yield part
        self.check(stored, checksum)

    def check(self, stored: StoredTensor, checksum: int) -> None:
        """Compare a crc32 of a tensor's bytes with the header's.

        Raises:
            ArtifactError: they differ.
        """
        expected = self.checksums.get(stored.name)
        if expected != f"{checksum:08x}":
            raise ArtifactError(
                f"tensor {brief(stored.name)} in {self.checkpoint.path} has the crc32 {checksum:08x}, "
                f"where its header says {str(expected)[:20]}: the file was changed or damaged.",
                hint="Copy it again, or compress the original again.",
            )


def is_artifact(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint is an artifact of this tool."""
    return DOCUMENT_KEY in checkpoint.listing.metadata and checkpoint.format in FORMATS


def read_artifact(checkpoint: Checkpoint) -> Artifact:
    """Read the header of an artifact, and check that its tensors are as it says.

    Raises:
        ArtifactError: not an artifact, of a newer schema, or one whose tensors are not those of its header.
    """
    path = checkpoint.path
    if not is_artifact(checkpoint):
        raise ArtifactError(
            f"{path} is not a compressed file: its metadata has no {DOCUMENT_KEY!r} entry.",
            hint="Make one with `embcompress approximate CKPT --bases K`.",
        )
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    try:
        document = parse_document(checkpoint.listing.metadata[DOCUMENT_KEY])
        version = document["schema_version"]
        if version not in SCHEMAS_READ:
            raise ArtifactError(
                f"{path} has schema version {brief(version)}; "
                f"this version reads {' and '.join(map(str, SCHEMAS_READ))}.",
                hint="Update embcompress.",
            )
        tables = tuple(_read_table(name, fields) for name, fields in document["tables"].items())
        checksums = _texts(document["crc32"])
        form = _texts({"form": document.get("form", "")})["form"]
        original = Original(_texts(document.get("metadata", {})), form)
    # ValueError: no JSON, numbers of too many digits, and what the functions below find wrong.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ArtifactError(
            f"the header of {path} does not follow the schema of artifacts "
            f"({type(err).__name__}: {shorten(str(err), MESSAGE_MAX // 2)}).",
            hint="Compress the original again.",
        ) from err
    for table in tables:
        if table.is_coded:
            try:
                find_coded(table, tensors)
            except ValueError as err:
                raise ArtifactError(
                    f"{path} does not fit together: {err}.", hint="Compress the original again."
                ) from err
        else:
            check_plain(table, tensors, path)
    dense_names = [name for table in tables for name in table.dense_names]
    tensors = drop_marks(tensors, dense_names)
    artifact = Artifact(checkpoint, version, tables, tensors, checksums, original)
    clash, why = find_clash(dense_names, tensors)
    if why:
        raise ArtifactError(
            f"the header of {path} gives a dense tensor the name {brief(clash)}: {why}.",
            hint="Compress the original again.",
        )
    return artifact


def _read_table(name: str, fields: Mapping[str, Any]) -> CompressedTable:
    shape, rank, tied_names, error = fields["shape"], fields["rank"], fields["tied_names"], fields["error"]["relative"]
    check_shape(name, shape, rank=rank)
    check_tied_names(name, tied_names)
    if error is not None and (type(error) not in {int, float} or not 0 <= error <= sys.float_info.max):
        raise ValueError(f"table {brief(name)} has the error {brief(error)}")
    if fields["kind"] not in TABLE_KINDS or fields["coding"] not in CODINGS or fields["dtype"] not in TABLE_DTYPES:
        raise ArtifactError(
            f"table {brief(name)} is a {brief(fields['kind'])} of {brief(fields['dtype'])} in "
            f"{brief(fields['coding'])} coding, "
            "which this version does not read.",
            hint="Update embcompress.",
        )
    is_coded = fields["coding"] != PLAIN
    if is_coded and rank > math.prod(shape[1:]) * (2 if fields["dtype"] in REAL_PARTS else 1):
        raise ValueError(f"table {brief(name)} of shape {brief(shape)} has the rank {rank}")
    matrix = fields["matrix"] if fields["kind"] == "bilinear" else None
    if fields["coding"] in {SEEKABLE, TUNED} and "levels" in fields:
        raise ValueError(f"table {brief(name)} has levels and is {brief(fields['coding'])}")
    if matrix is not None and is_coded:
        raise ValueError(f"table {brief(name)} is a coded bilinear one")
    if matrix is not None:
        if (
            not isinstance(matrix, list)
            or len(matrix) != 2
            or not all(type(side) is int and side > 0 for side in matrix)
        ):
            raise ValueError(f"table {brief(name)} has the matrices {brief(matrix)}")
        if math.prod(shape[1:]) % math.prod(matrix) or fields["dtype"] in REAL_PARTS or rank > min(matrix):
            raise ValueError(f"table {brief(name)} of {fields['dtype']} {brief(shape)} has the matrices {matrix!r}")
    return CompressedTable(
        name=name,
        tied_names=tuple(tied_names),
        rows=shape[0],
        shape=tuple(shape[1:]),
        dtype=fields["dtype"],
        rank=rank,
        error=None if error is None else float(error),
        kind=fields["kind"],
        coding=CODED if is_coded else PLAIN,
        matrix=None if matrix is None else (matrix[0], matrix[1]),
        windows=read_windows(fields["levels"]) if is_coded and "levels" in fields else (),
        shards=_read_shards(fields.get("shards", []), rows=shape[0]),
        is_seekable=fields["coding"] == SEEKABLE,
        is_tuned=fields["coding"] == TUNED,
    )


def _read_shards(pairs: Any, *, rows: int) -> tuple[tuple[str, int], ...]:
    """Read the names and rows of `shards` in the metadata.

    Raises:
        ValueError: not pairs of a name and a number of rows, or not as many rows as the table has.
    """
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"shards are {brief(pairs)}")
    shards = tuple((name, count) for name, count in pairs)
    if not all(isinstance(name, str) and type(count) is int and 0 <= count <= rows for name, count in shards):
        raise ValueError(f"shards are {brief(pairs)}")
    "".join(name for name, _ in shards).encode()
    if shards and sum(count for _, count in shards) != rows:
        raise ValueError(f"the shards of a table of {rows} rows have other rows")
    return shards


def _texts(metadata: object) -> dict[str, str]:
    """Check that a part of the document maps texts to texts that a file can hold."""
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("a map from texts to texts is something else")
    "".join((*metadata, *metadata.values())).encode()
    return metadata


def read_windows(levels: Any) -> Windows:
    """Read the pairs of `levels` in the metadata.

    Raises:
        ValueError: not pairs of bits and window, ascending.
    """
    pairs = tuple((bits, window) for bits, window in levels)
    is_right = all(
        type(bits) is int
        and type(window) is int
        and 1 <= bits <= HALF_BIT
        and max(bits % HALF_BIT, 1) <= window <= WINDOW_MAX
        for bits, window in pairs
    )
    if not pairs or not is_right or list(pairs) != sorted(dict(pairs).items()):
        raise ValueError(f"levels are {brief(levels)}")
    return pairs
