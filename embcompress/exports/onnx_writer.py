"""Writing an ONNX model tensor by tensor.

A model is a message of protocol buffers, in which the bytes of tensors lie as they are: what is around them is encoded
here, and they are written where they belong. What would make the message longer than readers take goes into a file
beside it.

Source: onnx/onnx.proto and docs/ExternalData.md of https://github.com/onnx/onnx;
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embcompress.artifact.atomic_file import AtomicFile, hash_file
from embcompress.artifact.writer import Entry

IR_VERSION, OPERATORS = 10, 21  # of ONNX 1.16: the first whose DequantizeLinear has blocks
MESSAGE_BYTES_MAX = 2**31 - 1  # of protocol buffers
DATA_ENDING = ".data"
DATA_ALIGNMENT = 4096  # bytes; of memory maps
NO_DIGEST = "0" * 64
FLOAT32, UINT8, INT8, INT64, FLOAT16 = 1, 2, 3, 7, 10  # the format's numbers of dtypes
NUMBERS: Mapping[str, int] = {"float32": FLOAT32, "uint8": UINT8, "int8": INT8, "int64": INT64, "float16": FLOAT16}
INTEGER = 2  # the format's number of an attribute that is one
VARINT, LENGTH = 0, 2  # wire types


@dataclass(frozen=True)
class Node:
    """An operator with the names of what it takes and gives."""

    operator: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, int] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True)
class Port:
    """An input or an output of a model: its name, the number of its dtype, its axes by name or size."""

    name: str
    dtype: int
    axes: Sequence[int | str]


@dataclass(frozen=True)
class Graph:
    """All of a model but its large tensors.

    Attributes:
        nodes: in the order in which they run.
        inputs: of the model.
        outputs: of the model.
        domains: versions of the operators that are not ONNX's own, by domain.
        optional: whether inputs may be left out, and are empty then.
    """

    nodes: Sequence[Node]
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    domains: Mapping[str, int]
    optional: bool = False


class OnnxWriter:
    """Writes the tensors of an ONNX model in any order.

    The same tensors give the same bytes. A context manager; without `commit` nothing is left.

    Args:
        target: where the model goes; tensors that do not fit into it lie in `<target>.data`.
        graph: what is computed of them.
        entries: the tensors, by whose names the graph knows them.
        force: whether files that are there by the time of `commit` are replaced.
        bytes_max: of the model; what is larger gets the file beside it.
    """

    def __init__(
        self,
        target: Path,
        graph: Graph,
        entries: Sequence[Entry],
        *,
        force: bool = True,
        bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._graph, self._entries = graph, entries
        self._model = self._tensors = AtomicFile(target, force=force)
        self._written = dict.fromkeys(entries, 0)
        self.is_split = is_split(entries, bytes_max)
        if self.is_split:
            data = data_path(target)
            self._tensors = AtomicFile(data, force=force)
            self._starts, data_bytes = _places(entries)
            self.nbytes = data_bytes + len(self._split_message(NO_DIGEST))
        else:
            self._pieces, self._starts, self.nbytes = _whole_message(graph, entries)
        self._stack = ExitStack()

    def __enter__(self) -> OnnxWriter:
        with ExitStack() as stack:
            stack.enter_context(self._model)
            if self.is_split:
                stack.enter_context(self._tensors)
            else:
                self._model.truncate(self.nbytes)
                for position, piece in self._pieces.items():
                    self._model.write(piece, at=position)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next bytes of a tensor."""
        self._tensors.write(part, at=self._starts[entry] + self._written[entry])
        self._written[entry] += len(part)

    def finish(self) -> str:
        """Return the sha256 of the model, which is still a temporary file, and holds that of the file beside it."""
        for entry, written in self._written.items():
            assert written == entry.nbytes, f"{entry.name}: {written} bytes for {entry.nbytes}"
        if self.is_split:
            self._model.write(self._split_message(hash_file(self._tensors.path)))
        return hash_file(self._model.path)

    def commit(self) -> None:
        """Put the files in their places."""
        if self.is_split:
            self._tensors.commit()
        self._model.commit()

    def _split_message(self, digest: str) -> bytes:
        """Encode a model whose tensors are told to lie beside it."""
        name = self._tensors.target.name
        parts = [_graph(self._graph)]
        for entry in self._entries:
            pairs = {"location": name, "offset": str(self._starts[entry]), "length": str(entry.nbytes)}
            listed = b"".join(_field(13, _pair(key, text)) for key, text in pairs.items())
            parts.append(_field(5, _tensor(entry) + listed + _number(14, 1)))
        return _head(self._graph) + _field(14, _pair("data_sha256", digest)) + _field(7, b"".join(parts))


def is_split(entries: Sequence[Entry], bytes_max: int = MESSAGE_BYTES_MAX) -> bool:
    """Tell whether tensors are too large to lie in the model itself; a byte in a hundred is left for all else."""
    return sum(entry.nbytes for entry in entries) > bytes_max - bytes_max // 100


def data_path(target: Path) -> Path:
    """Name the file beside a model that has its tensors."""
    return target.with_name(target.name + DATA_ENDING)


def _places(entries: Sequence[Entry]) -> tuple[dict[Entry, int], int]:
    """Lay tensors out in a file of their own: where each starts, and the bytes of all."""
    starts: dict[Entry, int] = {}
    end = 0
    for entry in entries:
        starts[entry] = -(-end // DATA_ALIGNMENT) * DATA_ALIGNMENT
        end = starts[entry] + entry.nbytes
    return starts, end


def _whole_message(graph: Graph, entries: Sequence[Entry]) -> tuple[dict[int, bytes], dict[Entry, int], int]:
    """Lay a model out that holds its tensors: what lies between them by position, where each starts, and all bytes."""
    parts = _graph(graph)
    heads = []
    for entry in entries:
        head = _tensor(entry) + _tag(9, LENGTH) + _varint(entry.nbytes)
        heads.append(_tag(5, LENGTH) + _varint(len(head) + entry.nbytes) + head)
    nbytes = len(parts) + sum(len(head) + entry.nbytes for head, entry in zip(heads, entries, strict=True))
    pieces = {0: _head(graph) + _tag(7, LENGTH) + _varint(nbytes) + parts}
    starts: dict[Entry, int] = {}
    position = len(pieces[0])
    for head, entry in zip(heads, entries, strict=True):
        pieces[position] = head
        starts[entry] = position + len(head)
        position = starts[entry] + entry.nbytes
    return pieces, starts, position


def _head(graph: Graph) -> bytes:
    versions = b"".join(
        _field(8, _field(1, domain.encode()) + _number(2, version))
        for domain, version in {"": OPERATORS, **graph.domains}.items()
    )
    return _number(1, IR_VERSION) + _field(2, b"embcompress") + versions


def _graph(graph: Graph) -> bytes:
    """Encode a graph but for its large tensors."""
    parts = [_field(1, _node(node)) for node in graph.nodes] + [_field(2, b"tables")]
    parts += [_field(11, _port(port)) for port in graph.inputs] + [_field(12, _port(port)) for port in graph.outputs]
    if graph.optional:
        empty = _number(1, 0)
        parts += [
            _field(5, empty * len(port.axes) + _number(2, port.dtype) + _name(port.name)) for port in graph.inputs
        ]
    return b"".join(parts)


def _node(node: Node) -> bytes:
    attributes = b"".join(
        _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, INTEGER))
        for name, value in node.attributes.items()
    )
    inputs = b"".join(_field(1, name.encode()) for name in node.inputs)
    domain = _field(7, node.domain.encode()) if node.domain else b""
    return inputs + _field(2, node.output.encode()) + _field(4, node.operator.encode()) + attributes + domain


def _port(port: Port) -> bytes:
    axes = b"".join(
        _field(1, _number(1, axis) if isinstance(axis, int) else _field(2, axis.encode())) for axis in port.axes
    )
    return _field(1, port.name.encode()) + _field(2, _field(1, _number(1, port.dtype) + _field(2, axes)))


def _tensor(entry: Entry) -> bytes:
    """Encode a tensor but for its numbers."""
    return b"".join(_number(1, size) for size in entry.shape) + _number(2, NUMBERS[entry.dtype]) + _name(entry.name)


def _name(name: str) -> bytes:
    return _field(8, name.encode())


def _pair(key: str, text: str) -> bytes:
    return _field(1, key.encode()) + _field(2, text.encode())


def _field(number: int, content: bytes) -> bytes:
    """Encode a field of bytes, of text or of a message."""
    return _tag(number, LENGTH) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """Encode a field of an integer; negative ones as 64 bits of two's complement."""
    return _tag(number, VARINT) + _varint(value & (2**64 - 1))


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    """Encode an integer in 7 bits a byte, the lowest first.

    Example:
        >>> list(_varint(300))
        [172, 2]
    """
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)
