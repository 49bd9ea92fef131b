"""GGUF files, as llama.cpp reads them: floats in place, quantized tensors as the floats that gguf makes of them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.gguf_files.header import MAGIC, Cursor, Header, TensorInfo, TextArray, read_header
from embcompress.checkpoints.libraries import import_library
from embcompress.checkpoints.links import check_inside
from embcompress.checkpoints.tensors import ITEM_BYTES, LeftOut, Listing, StoredTensor, contiguous_strides
from embcompress.exceptions import CheckpointError, DamagedFileError

NAME = "GGUF"

PLAIN: Mapping[int, str] = MappingProxyType(
    {
        0: "float32",
        1: "float16",
        24: "int8",
        25: "int16",
        26: "int32",
        27: "int64",
        28: "float64",
        30: "bfloat16",
    }
)  # GGML's number of a type -> torch's name


@dataclass(frozen=True)
class CodeType:
    """A type of quantized tensors: blocks of `block` values in `nbytes` bytes each."""

    name: str
    block: int
    nbytes: int


CODED: Mapping[int, CodeType] = MappingProxyType(
    {
        2: CodeType("Q4_0", 32, 18),
        3: CodeType("Q4_1", 32, 20),
        6: CodeType("Q5_0", 32, 22),
        7: CodeType("Q5_1", 32, 24),
        8: CodeType("Q8_0", 32, 34),
        10: CodeType("Q2_K", 256, 84),
        11: CodeType("Q3_K", 256, 110),
        12: CodeType("Q4_K", 256, 144),
        13: CodeType("Q5_K", 256, 176),
        14: CodeType("Q6_K", 256, 210),
        16: CodeType("IQ2_XXS", 256, 66),
        17: CodeType("IQ2_XS", 256, 74),
        18: CodeType("IQ3_XXS", 256, 98),
        19: CodeType("IQ1_S", 256, 50),
        20: CodeType("IQ4_NL", 32, 18),
        21: CodeType("IQ3_S", 256, 110),
        22: CodeType("IQ2_S", 256, 82),
        23: CodeType("IQ4_XS", 256, 136),
        29: CodeType("IQ1_M", 256, 56),
        34: CodeType("TQ1_0", 256, 54),
        35: CodeType("TQ2_0", 256, 66),
        39: CodeType("MXFP4", 32, 17),
    }
)  # GGML's number of a type that gguf makes floats of -> what it is
# NVFP4: the values take a second scale, which is a tensor of its own.
OTHER_NAMES: Mapping[int, str] = MappingProxyType({9: "Q8_1", 15: "Q8_K", 40: "NVFP4", 41: "Q1_0"})
REQUANTIZE = "Convert it with llama.cpp: `llama-quantize --allow-requantize IN.gguf OUT.gguf F16`."
CHUNK_BYTES = 4 * 2**20  # of values that are made at once
# Tables whose rows are the tokens of the model.
TOKEN_TABLES = ("token_embd.weight", "per_layer_token_embd.weight", "output.weight")
SPLIT = re.compile(r"(?P<stem>.*-)(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)")


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell a GGUF file by its first bytes."""
    return head.startswith(MAGIC)


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors by llama.cpp's names, those of a model that is split over several files together.

    Reads headers alone. Tensors of a type that gguf does not make floats of are left out.

    Raises:
        DamagedFileError: cut short, or what it says of its tensors cannot be true.
        UnknownFormatError: of a version that is not read.
        CheckpointError: a part of a split model is missing.
    """
    headers = {path: read_header(files.open(path)[0])}
    count = headers[path].numbers.get("split.count", 1)
    if count > 1:
        headers = _read_parts(path, headers[path], count=count, files=files)
    placed: dict[str, StoredTensor | LeftOut] = {}
    for part, header in headers.items():
        for info in header.tensors:
            if info.name in placed:
                raise DamagedFileError(f"{part} holds the tensor {info.name!r}, which another part holds, too.")
            placed[info.name] = _place_tensor(info, part, files, is_big_endian=header.is_big_endian)
    tensors = tuple(item for item in placed.values() if isinstance(item, StoredTensor))
    return Listing(
        tensors=tensors,
        left_out=tuple(item for item in placed.values() if isinstance(item, LeftOut)),
        labels=_find_labels(headers, tensors, files),
    )


def _read_parts(path: Path, header: Header, *, count: int, files: Files) -> dict[Path, Header]:
    """Read the headers of all parts of a model, whose names differ in their number alone."""
    match = SPLIT.fullmatch(path.name)
    number = header.numbers.get("split.no", 0) + 1
    if match is None or (int(match["number"]), int(match["count"])) != (number, count):
        raise CheckpointError(
            f"{path} is part {number} of {count} of a GGUF model, and its name does not say so.",
            hint=f"Call it NAME-{number:05}-of-{count:05}.gguf, and keep the other parts beside it.",
        )
    headers = {}
    for index in range(1, count + 1):
        part = path.with_name(f"{match['stem']}{index:05}-of-{count:05}{match['ending']}")
        if not part.exists():
            raise CheckpointError(f"{path} is one of {count} parts, and {part} is missing.", hint="Download it, too.")
        check_inside(part, path.parent)
        file, _ = files.open(part)
        if os.pread(file.fileno(), len(MAGIC), 0) != MAGIC:
            raise DamagedFileError(f"{part} is no GGUF file.", hint="Copy or download it again.")
        headers[part] = read_header(file)
        numbers = headers[part].numbers
        if (numbers.get("split.no"), numbers.get("split.count")) != (index - 1, count):
            raise DamagedFileError(
                f"{part} says that it is part {numbers.get('split.no', 0) + 1} of {numbers.get('split.count', 1)}.",
                hint="Copy or download it again.",
            )
    return headers


def _place_tensor(info: TensorInfo, path: Path, files: Files, *, is_big_endian: bool) -> StoredTensor | LeftOut:
    """Turn what a header tells of a tensor into a place in the file that is known to exist."""
    numel = math.prod(info.shape)
    coded = CODED.get(info.kind)
    if info.kind not in PLAIN and (coded is None or is_big_endian):
        kind = coded.name if coded else OTHER_NAMES.get(info.kind, str(info.kind))
        what = "in a big-endian file, of which" if coded else "of which"
        return LeftOut(info.name, f"of GGUF's type {kind}, {what} no floats are made", REQUANTIZE)
    if coded is not None and (not info.shape or info.shape[-1] % coded.block):
        raise DamagedFileError(
            f"tensor {info.name!r} in {path} is {coded.name} of shape {info.shape}: its rows are no multiple of "
            f"{coded.block}.",
            hint="Copy or download it again.",
        )
    nbytes = numel // coded.block * coded.nbytes if coded else numel * ITEM_BYTES[PLAIN[info.kind]]
    file, base = files.open(path)
    size = os.fstat(file.fileno()).st_size
    if numel and info.start + nbytes > size:
        raise DamagedFileError(
            f"tensor {info.name!r} in {path} reaches to byte {info.start + nbytes} of {size}: the file is cut short.",
            hint="Copy or download it again.",
        )
    strides = contiguous_strides(info.shape)
    start = base + info.start if numel else base
    if coded is None:
        return StoredTensor(info.name, PLAIN[info.kind], info.shape, strides, start, is_big_endian=is_big_endian)
    codes = _Codes(info.name, str(path), info.kind, coded, columns=info.shape[-1], start=start, nbytes=nbytes)
    made = files.add(
        f"{info.name!r} in {path}", numel * ITEM_BYTES["float32"], lambda file: codes.write_values(file, files)
    )
    return StoredTensor(info.name, "float32", info.shape, strides, made, code_bytes=nbytes)


@dataclass(frozen=True)
class _Codes:
    """The codes of a quantized tensor.

    Attributes:
        path: of the file, as messages name it.
        kind: GGML's number of their type.
        columns: values of a row.
        start: address of the first.
    """

    name: str
    path: str
    kind: int
    type: CodeType
    columns: int
    start: int
    nbytes: int

    def write_values(self, file: BinaryIO, files: Files) -> None:
        """Write the values, float32, a few rows at a time.

        Raises:
            CheckpointError: gguf is not installed, or is older than the type.
        """
        quants = import_library("gguf.quants", extra="gguf", kind=f"a tensor of type {self.type.name}", path=self.path)
        numpy: Any = import_library("numpy", extra="gguf", kind="GGUF", path=self.path)
        row_bytes = self.columns // self.type.block * self.type.nbytes
        step = max(1, CHUNK_BYTES // (self.columns * ITEM_BYTES["float32"])) * row_bytes
        buffer = memoryview(bytearray(min(step, self.nbytes)))
        for position in range(0, self.nbytes, step):
            part = buffer[: min(step, self.nbytes - position)]
            files.read_into(self.start + position, part)
            codes = numpy.frombuffer(part, numpy.uint8).reshape(-1, row_bytes)
            try:
                # Any bytes may be scales: of such as are not finite, no warning.
                with numpy.errstate(all="ignore"):
                    values = quants.dequantize(codes, quants.GGMLQuantizationType(self.kind))
            except (NotImplementedError, ValueError) as err:
                raise CheckpointError(
                    f"tensor {self.name!r} in {self.path} is of GGUF's type {self.type.name}, of which the installed "
                    "gguf makes no floats.",
                    hint="pip install --upgrade gguf",
                ) from err
            file.write(values.astype("<f4", copy=False).data)


def _find_labels(
    headers: Mapping[Path, Header], tensors: Sequence[StoredTensor], files: Files
) -> dict[str, Callable[[], Sequence[str]]]:
    """Find the tokens of the model, for the tables that have a row for each, or a few rows more."""
    path, header = next(((path, header) for path, header in headers.items() if header.tokens), (None, None))
    if path is None or header is None or header.tokens is None:
        return {}
    return {
        stored.name: _Tokens(path, header.tokens, header.is_big_endian, rows=stored.shape[0], files=files)
        for stored in tensors
        if stored.name in TOKEN_TABLES and len(stored.shape) == 2 and stored.shape[0] >= header.tokens.count
    }


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a model, read when they are asked for: the labels of the first rows, blank for those behind them.

    Attributes:
        path: of the file that holds them.
        rows: of the table.
    """

    path: Path
    texts: TextArray
    is_big_endian: bool
    rows: int
    files: Files

    def __call__(self) -> list[str]:
        """Read them."""
        file, _ = self.files.open(self.path)
        cursor = Cursor(file, position=self.texts.start, is_big_endian=self.is_big_endian)
        return [*(cursor.text() for _ in range(self.texts.count)), *[""] * (self.rows - self.texts.count)]
