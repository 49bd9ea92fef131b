"""The compressed file: its schema, and reading it. docs/artifact.md describes it byte by byte."""

from __future__ import annotations

import json
import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from embcompress.checkpoints import Checkpoint, StoredTensor, open_checkpoint
from embcompress.checkpoints.safetensors_file import DTYPES
from embcompress.coded_factors import (
    BASES_SUFFIX,
    CODEBOOK_SUFFIX,
    CODED,
    CODES_SUFFIX,
    CodedFactors,
    WindowFactors,
    Windows,
    find_coded,
    read_factors,
    read_window_factors,
    read_windows,
    real_row_shape,
)
from embcompress.exceptions import ArtifactError, OutputError
from embcompress.recognition import TABLE_DTYPES
from embcompress.results import TableHead
from embcompress.safetensors_writer import Entry
from embcompress.table import REAL_PARTS, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from embcompress.nn import (
        CodedRepresentation,
        LowRankBilinear,
        LowRankRepresentation,
        WindowCodedRepresentation,
    )

    LoadedTable: TypeAlias = LowRankRepresentation | CodedRepresentation | WindowCodedRepresentation | LowRankBilinear

SCHEMA_WRITTEN = 2
SCHEMAS_READ = (1, SCHEMA_WRITTEN)
TABLE_KINDS = ("embedding", "bilinear")
PLAIN = "plain"
CODINGS = (PLAIN, CODED)
DOCUMENT_KEY = "embcompress"  # in the metadata: the artifact's own JSON
FORMAT_ENTRY = ("format", "pt")  # Hugging Face loaders refuse a file without it
WEIGHTS_SUFFIX = ".weights"
LEFT_SUFFIX = ".left"
RIGHT_SUFFIX = ".right"
WIDEST_ERROR = -1.2345678901234567e-300  # as many characters as a float can take in JSON


@dataclass(frozen=True)
class CompressedTable(TableHead):
    """What the artifact says of one table.

    Attributes:
        name: of the table, which the names of its tensors start with.
        tied_names: other names that the original had the same memory under.
        rank: the number of bases.
        error: the relative Frobenius error, as stored; None where it is not known.
        kind: "embedding": bases and weights; "bilinear": a left and a right factor of each matrix.
        coding: "plain": weights as floats; "coded": in few bits.
        matrix: (in1, in2) of a bilinear table, whose rows hold one matrix or several, row-major.
        windows: of a table that is coded as in schema 1: bits of a column and of the window that its level depends on,
            ascending.
    """

    rank: int
    error: float | None
    kind: str = "embedding"
    coding: str = PLAIN
    matrix: tuple[int, int] | None = None
    windows: Windows = ()

    @property
    def is_coded(self) -> bool:
        """Whether its weights are stored as codes."""
        return self.coding == CODED

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
    tables: Sequence[CompressedTable], *, checksums: Mapping[str, str], original: Mapping[str, str]
) -> dict[str, str]:
    """Make the metadata of an artifact: the format, and one canonical JSON of what is in it.

    Args:
        tables: with their errors.
        checksums: name -> crc32 of every stored tensor, eight hexadecimal digits.
        original: the metadata of the checkpoint, which `reconstruct` puts back.
    """
    document = {
        "schema_version": SCHEMA_WRITTEN,
        "tables": {
            table.name: {
                "kind": table.kind,
                "coding": table.coding,
                "shape": list(table.dense_shape),
                "dtype": table.dtype,
                "tied_names": list(table.tied_names),
                "rank": table.rank,
                "error": {"relative": table.error},
                **({} if table.matrix is None else {"matrix": list(table.matrix)}),
                **({"levels": [list(pair) for pair in table.windows]} if table.windows else {}),
            }
            for table in tables
        },
        "crc32": dict(checksums),
        "metadata": dict(original),
    }
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return dict([FORMAT_ENTRY, (DOCUMENT_KEY, text)])


def widest_metadata(
    tables: Sequence[CompressedTable], *, entries: Sequence[Entry], original: Mapping[str, str]
) -> dict[str, str]:
    """Make metadata as long as it can get, to keep room for."""
    return artifact_metadata(
        [replace(table, error=WIDEST_ERROR) for table in tables],
        checksums={entry.name: "0" * 8 for entry in entries},
        original=original,
    )


@dataclass(frozen=True)
class Artifact:
    """An open artifact: the schema of its header, its tables, and its tensors by name."""

    checkpoint: Checkpoint
    schema: int
    tables: tuple[CompressedTable, ...]
    tensors: Mapping[str, StoredTensor]
    checksums: Mapping[str, str]
    original_metadata: Mapping[str, str]

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
        found = self.coded_factors(table)
        return tuple(stored for suffix, stored in found.items() if suffix.startswith(CODES_SUFFIX))

    def factors(self, table: CompressedTable) -> tuple[StoredTensor, ...]:
        """Find the tensors of a table: bases and weights, left and right, or codes and what decodes them."""
        if table.is_coded:
            return tuple(self.coded_factors(table).values())
        return tuple(self.tensors[table.name + suffix] for suffix in table.factor_shapes)

    @property
    def copied(self) -> tuple[StoredTensor, ...]:
        """The tensors that are no part of a compressed table."""
        factors = {factor.name for table in self.tables for factor in self.factors(table)}
        return tuple(tensor for tensor in self.checkpoint.tensors if tensor.name not in factors)

    def read(self, stored: StoredTensor) -> Iterator[memoryview]:
        """Yield the bytes of a tensor and check them.

        Raises:
            ArtifactError: after the last byte, if the checksum is not the one of the header.
        """
        checksum = 0
        for part in read_bytes(stored, file=self.checkpoint.file):
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
                f"tensor {stored.name!r} in {self.checkpoint.path} has the crc32 {checksum:08x}, "
                f"where its header says {expected}: the file was changed or damaged.",
                hint="Copy it again, or compress the original again.",
            )


def is_artifact(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint is an artifact of this tool."""
    return DOCUMENT_KEY in checkpoint.listing.metadata and checkpoint.format == "safetensors"


def read_artifact(checkpoint: Checkpoint) -> Artifact:
    """Read what an artifact says of itself, and check that it holds what it says.

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
        document = json.loads(checkpoint.listing.metadata[DOCUMENT_KEY])
        version = document["schema_version"]
        if version not in SCHEMAS_READ:
            raise ArtifactError(
                f"{path} has schema version {version}; this version reads {' and '.join(map(str, SCHEMAS_READ))}.",
                hint="Update embcompress.",
            )
        tables = tuple(_read_table(name, said) for name, said in document["tables"].items())
        checksums = _texts(document["crc32"])
        original = _texts(document.get("metadata", {}))
    # ValueError: no JSON, numbers of too many digits, and what the functions below find wrong.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ArtifactError(
            f"the header of {path} does not follow the schema of artifacts ({type(err).__name__}: {err}).",
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
            continue
        for suffix, shape in table.factor_shapes.items():
            is_complex = suffix == BASES_SUFFIX and table.dtype in REAL_PARTS
            found = tensors.get(table.name + suffix)
            if found is None or found.shape != shape:
                raise ArtifactError(
                    f"{path} should hold {table.name + suffix!r} of shape {shape}, "
                    f"and holds {'none' if found is None else found.shape}.",
                    hint="Compress the original again.",
                )
            if found.dtype not in TABLE_DTYPES or (found.dtype in REAL_PARTS) != is_complex:
                raise ArtifactError(
                    f"{path} holds {found.name!r} as {found.dtype}, which cannot be a factor of a {table.dtype} table.",
                    hint="Compress the original again.",
                )
        sides = {tensors[table.name + suffix].dtype for suffix in table.factor_shapes}
        if table.matrix is not None and len(sides) > 1:
            raise ArtifactError(
                f"{path} holds the factors of {table.name!r} in two dtypes.", hint="Compress the original again."
            )
    artifact = Artifact(checkpoint, version, tables, tensors, checksums, original)
    names = [name for table in tables for name in (table.name, *table.tied_names)]
    names += [tensor.name for tensor in artifact.copied]
    if len(set(names)) < len(names):
        raise ArtifactError(
            f"the header of {path} gives two dense tensors one name.", hint="Compress the original again."
        )
    return artifact


def load(path: str | Path, *, device: str = "cpu") -> dict[str, LoadedTable]:
    """Load the tables of an artifact as trainable modules, by table name.

    A coded table keeps its codes, and decodes the rows that are looked up. A bilinear table becomes a LowRankBilinear
    whose outputs are its matrices, in the order of its rows.

    Args:
        path: an artifact.
        device: where the modules go.

    Raises:
        CheckpointError: not readable.
        ArtifactError: not an artifact, or one whose tensors do not have the checksums of its header.

    Example:
        >>> tables = load("model-compressed.safetensors")  # doctest: +SKIP
        >>> tables["wte.weight"](torch.tensor([[3, 5]])).shape  # doctest: +SKIP
        torch.Size([1, 2, 768])
    """
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = read_artifact(checkpoint)
        return {table.name: load_table(artifact, table).to(device) for table in artifact.tables}


def load_table(artifact: Artifact, table: CompressedTable) -> LoadedTable:
    """Load one table of an open artifact as a trainable module on the CPU.

    Raises:
        ArtifactError: a factor does not have the checksum of the header.
    """
    import torch

    from embcompress.nn import (
        CodedRepresentation,
        LowRankBilinear,
        LowRankRepresentation,
        WindowCodedRepresentation,
    )

    if table.is_windowed:
        window_factors = read_windowed(artifact, table)
        return WindowCodedRepresentation.from_codes(
            codes=[read_tensor(artifact, stored) for stored in artifact.codes(table)],
            groups_of_rows=window_factors.groups_of_rows,
            codebook=window_factors.codebook,
            bases=_shaped(window_factors.bases, table),
            shape=table.shape,
            dtype=getattr(torch, table.dtype),
        )
    if table.is_coded:
        factors = read_coded(artifact, table)
        (codes,) = artifact.codes(table)
        return CodedRepresentation.from_codes(
            codes=read_tensor(artifact, codes),
            index=factors.index,
            codebook=factors.codebook,
            bases=_shaped(factors.bases, table),
            shape=table.shape,
            dtype=getattr(torch, table.dtype),
        )
    first, second = (read_tensor(artifact, factor) for factor in artifact.factors(table))
    if table.matrix is None:
        return LowRankRepresentation.from_factors(bases=first, weights=second)
    return LowRankBilinear.from_factors(left=first.flatten(0, -3), right=second.flatten(0, -3))


def read_coded(artifact: Artifact, table: CompressedTable) -> CodedFactors:
    """Read all of a coded table but its codes.

    Raises:
        ArtifactError: a tensor does not have the checksum of the header, or does not fit to the others.
    """
    return read_factors(table, artifact.coded_factors(table), lambda stored: read_tensor(artifact, stored))


def read_windowed(artifact: Artifact, table: CompressedTable) -> WindowFactors:
    """Read all of a table coded as in schema 1 but its codes; raises as `read_coded` does."""
    return read_window_factors(table, artifact.coded_factors(table), lambda stored: read_tensor(artifact, stored))


def describe_codes(artifact: Artifact, table: CompressedTable) -> tuple[int, bool, int | None]:
    """Tell of a coded table how many kinds of rows it has, whether it has bases, and the states of the trellis.

    Raises:
        ArtifactError: the codebook does not have the checksum of the header, or is damaged.
    """
    from embcompress.coding.codebook import read_codebook

    found = artifact.coded_factors(table)
    if table.is_windowed:
        return len(artifact.codes(table)), BASES_SUFFIX in found, None
    stored = read_tensor(artifact, found[CODEBOOK_SUFFIX]).numpy()
    book = read_codebook(stored, rank=table.rank, dim=math.prod(real_row_shape(table)))
    return book.kinds - 1, book.rotation is not None, book.states


def _shaped(bases: Tensor | None, table: CompressedTable) -> Tensor | None:
    """Give bases the shape of a row."""
    return None if bases is None else bases.view(table.rank, *real_row_shape(table))


def read_tensor(artifact: Artifact, stored: StoredTensor) -> Any:
    """Read a whole tensor of an artifact into memory, with its checksum.

    Raises:
        ArtifactError: the checksum is not the one of the header.
    """
    import torch

    buffer = bytearray(stored.nbytes)
    position = 0
    for part in artifact.read(stored):
        buffer[position : position + len(part)] = part
        position += len(part)
    dtype = getattr(torch, stored.dtype)
    if not buffer:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).view(stored.shape)


def factor_dtypes(dtype: str, stored_dtype: str) -> tuple[str, str]:
    """Tell the dtypes of bases and weights of a table of `dtype` whose real parts are stored as `stored_dtype`.

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


def _read_table(name: str, said: Mapping[str, Any]) -> CompressedTable:
    shape, rank, tied_names, error = said["shape"], said["rank"], said["tied_names"], said["error"]["relative"]
    if not isinstance(shape, list) or len(shape) < 2 or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(f"table {name!r} has the shape {shape!r}")
    if type(rank) is not int or rank < 1:
        raise ValueError(f"table {name!r} has the rank {rank!r}")
    if not isinstance(tied_names, list) or not all(isinstance(tied, str) for tied in tied_names):
        raise ValueError(f"table {name!r} has the tied names {tied_names!r}")
    if error is not None and (type(error) not in {int, float} or not 0 <= error <= sys.float_info.max):
        raise ValueError(f"table {name!r} has the error {error!r}")
    "".join(tied_names).encode()  # lone surrogates, which no file can hold: UnicodeEncodeError is a ValueError
    if said["kind"] not in TABLE_KINDS or said["coding"] not in CODINGS or said["dtype"] not in TABLE_DTYPES:
        raise ArtifactError(
            f"table {name!r} is a {said['kind']} of {said['dtype']} in {said['coding']} coding, "
            "which this version does not read.",
            hint="Update embcompress.",
        )
    is_coded = said["coding"] == CODED
    matrix = said["matrix"] if said["kind"] == "bilinear" else None
    if matrix is not None and is_coded:
        raise ValueError(f"table {name!r} is a coded bilinear one")
    if matrix is not None:
        if (
            not isinstance(matrix, list)
            or len(matrix) != 2
            or not all(type(side) is int and side > 0 for side in matrix)
        ):
            raise ValueError(f"table {name!r} has the matrices {matrix!r}")
        if math.prod(shape[1:]) % math.prod(matrix) or said["dtype"] in REAL_PARTS or rank > min(matrix):
            raise ValueError(f"table {name!r} of {said['dtype']} {shape!r} has the matrices {matrix!r}")
    return CompressedTable(
        name=name,
        tied_names=tuple(tied_names),
        rows=shape[0],
        shape=tuple(shape[1:]),
        dtype=said["dtype"],
        rank=rank,
        error=None if error is None else float(error),
        kind=said["kind"],
        coding=said["coding"],
        matrix=None if matrix is None else (matrix[0], matrix[1]),
        windows=read_windows(said["levels"]) if is_coded and "levels" in said else (),
    )


def _texts(said: object) -> dict[str, str]:
    """Check that a part of the document maps texts to texts that a file can hold."""
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ValueError("a map from texts to texts is something else")
    "".join((*said, *said.values())).encode()
    return said
