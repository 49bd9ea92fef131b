"""The datasets of an HDF5 file as tensors. Nothing outside of the file is followed: no link, no storage, no view.

Contiguous datasets are read in place; chunked, compressed and small ones are unpacked by h5py when they are read.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.libraries import check_expansion, import_library
from embcompress.checkpoints.regions import FilesRegion
from embcompress.checkpoints.tensors import ITEM_BYTES, LeftOut, StoredTensor, contiguous_strides
from embcompress.exceptions import CheckpointError, DamagedFileError

SLAB_BYTES = 16 * 2**20  # of values that are unpacked at once, where chunks are not larger
SLAB_BYTES_MAX = 256 * 2**20  # of rows of whole chunks; beyond, chunks are unpacked several times
CHUNK_CACHE_BYTES = 64 * 2**20
# Filters that come with HDF5 and h5py: deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf. Others would load a
# library.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
# Bytes, sign, exponent and its bits, significand and its bits, bias of a float -> torch's name.
FLOATS: Mapping[tuple[int, ...], str] = MappingProxyType(
    {
        (2, 15, 10, 5, 0, 10, 15): "float16",
        (2, 15, 7, 8, 0, 7, 127): "bfloat16",
        (4, 31, 23, 8, 0, 23, 127): "float32",
        (8, 63, 52, 11, 0, 52, 1023): "float64",
    }
)
COPY_HINT = "Copy its datasets into one file where you trust it: `h5repack IN.h5 OUT.h5`, or h5py."


@dataclass(frozen=True)
class Hdf5Source:
    """A place in a checkpoint's files that holds a whole HDF5 file.

    Attributes:
        name: of the file, as messages give it.
        start: address of its first byte.
        nbytes: its length.
    """

    files: Files
    name: str
    start: int
    nbytes: int

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """Open it as h5py's file, and say of what h5py cannot read that the file is damaged."""
        h5py = import_library("h5py", extra="hdf5", kind="HDF5", path=self.name)
        try:
            window = FilesRegion(self.files, self.start, self.nbytes)
            with h5py.File(window, "r", rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
                yield file
        # What h5py makes of the library's errors.
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, NotImplementedError) as err:
            reason = str(err).splitlines()[0] if str(err) else type(err).__name__
            raise DamagedFileError(
                f"{self.name} cannot be read as HDF5: {reason.strip(chr(39))}.", hint="Copy or download it again."
            ) from err


def list_datasets(source: Hdf5Source) -> tuple[StoredTensor | LeftOut, ...]:
    """List the datasets of a file by their paths. Another link to one is another name of the same tensor.

    Raises:
        CheckpointError: h5py is not installed; something in the file lies in another one.
        DamagedFileError: cut short, or what it says of its datasets cannot be true.
    """
    placed: dict[str, StoredTensor | LeftOut] = {}
    aliases: dict[str, str] = {}
    with source.open() as file:
        for name, dataset in _walk(file, source, aliases):
            placed[name] = _place_dataset(dataset, name, source)
    for name, target in aliases.items():
        if target not in placed:
            raise CheckpointError(
                f"{name!r} in {source.name} is a soft link to {target[:100]!r}, where no dataset is.", hint=COPY_HINT
            )
        placed[name] = replace(placed[target], name=name)
    return tuple(placed.values())


def _walk(file: Any, source: Hdf5Source, aliases: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the dataset of each hard link, and note the soft links."""
    h5py = import_library("h5py", extra="hdf5", kind="HDF5", path=source.name)
    visited = {h5py.h5o.get_info(file.id).addr}
    groups: list[tuple[str, Any]] = [("", file)]
    while groups:
        path, group = groups.pop()
        inner = []
        for key in group:
            name = f"{path}{key}"
            _check_name(name, source)
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.SoftLink):
                aliases[name] = posixpath.normpath(posixpath.join("/", path, link.path)).lstrip("/")
                continue
            if not isinstance(link, h5py.HardLink):
                raise CheckpointError(
                    f"{name!r} in {source.name} is a link to another file, which is not followed.", hint=COPY_HINT
                )
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address in visited:
                    raise CheckpointError(
                        f"{name!r} in {source.name} is a group under another name, which is not read.", hint=COPY_HINT
                    )
                visited.add(address)
                inner.append((f"{name}/", item))
        groups += reversed(inner)


def _check_name(name: str, source: Hdf5Source) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as err:
        raise DamagedFileError(
            f"{source.name} has the name {name[:100]!r}, which is not UTF-8.", hint=COPY_HINT
        ) from err


def _place_dataset(dataset: Any, name: str, source: Hdf5Source) -> StoredTensor | LeftOut:
    """Turn a dataset into a place that is known to exist."""
    h5py = import_library("h5py", extra="hdf5", kind="HDF5", path=source.name)
    plan = dataset.id.get_create_plist()
    # Before its shape is asked for: a view opens its sources to tell it.
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise CheckpointError(
            f"{name!r} in {source.name} keeps its values in other files, which are not read.", hint=COPY_HINT
        )
    dtype = _dtype_of(dataset, h5py)
    if dtype is None or dataset.shape is None:
        what = "without a size" if dataset.shape is None else f"of HDF5's type {str(dataset.dtype)[:60]}, no tensor"
        return LeftOut(name, what)
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    unknown = next((number for number in filters if number not in FILTERS), None)
    if unknown is not None:
        hint = "Copy it without: `h5repack -f NONE IN.h5 OUT.h5`."
        return LeftOut(name, f"packed by filter {unknown}, which is not one of HDF5's own", hint)
    shape = tuple(map(int, dataset.shape))
    stored = StoredTensor(name, dtype, shape, contiguous_strides(shape), source.start)
    stored = replace(stored, is_big_endian=_is_big_endian(dataset, h5py))
    if not stored.numel:
        return stored
    offset = dataset.id.get_offset()
    packed = dataset.id.get_storage_size()
    if offset is not None and plan.get_layout() == h5py.h5d.CONTIGUOUS and not dataset.file.userblock_size:
        if packed != stored.nbytes or offset + packed > source.nbytes:
            raise _damaged(source, f"gives {name!r} {packed} bytes at {offset}, which are not {stored.nbytes} of it")
        return replace(stored, start=source.start + offset)
    if packed > source.nbytes:
        raise _damaged(source, f"gives {name!r} {packed} bytes, and has {source.nbytes} in all")
    what = f"{name!r} in {source.name}"
    chunk = plan.get_chunk() if plan.get_layout() == h5py.h5d.CHUNKED else ()
    check_expansion(max(stored.nbytes, math.prod(chunk) * ITEM_BYTES[dtype]), packed=packed, name=what)
    # A second hard link to a dataset leads to the same values.
    address = h5py.h5o.get_info(dataset.id).addr
    unpacker = _Unpacker(source, name, rows_of_chunk=chunk[0] if chunk else 1)
    made = source.files.add(f"the dataset at {address} of {source.name}", stored.nbytes, unpacker.write_values)
    return replace(stored, start=made)


def _dtype_of(dataset: Any, h5py: Any) -> str | None:
    """Tell torch's name of a dataset's type; None where it has none."""
    kind, h5t = dataset.id.get_type(), h5py.h5t
    size = kind.get_size()
    if kind.get_class() == h5t.FLOAT:
        fields = (size, *kind.get_fields(), kind.get_ebias())
        is_whole = kind.get_precision() == 8 * size and kind.get_norm() == h5t.NORM_IMPLIED
        return FLOATS.get(fields) if is_whole else None
    if kind.get_class() == h5t.INTEGER and kind.get_precision() == 8 * size:
        dtype = f"{'u' if kind.get_sign() == h5t.SGN_NONE else ''}int{8 * size}"
        return dtype if dtype in ITEM_BYTES else None
    if kind.get_class() == h5t.ENUM and size == 1 and dataset.dtype == bool:
        return "bool"
    # Keras 3 keeps bfloat16 as bytes, and says so.
    is_bfloat16 = kind.get_class() == h5t.OPAQUE and size == 2 and dataset.attrs.get("dtype") == "bfloat16"
    return "bfloat16" if is_bfloat16 else None


def _is_big_endian(dataset: Any, h5py: Any) -> bool:
    kind = dataset.id.get_type()
    has_order = kind.get_class() in (h5py.h5t.FLOAT, h5py.h5t.INTEGER)
    return bool(has_order and kind.get_order() == h5py.h5t.ORDER_BE)


def _damaged(source: Hdf5Source, what: str) -> DamagedFileError:
    return DamagedFileError(f"{source.name} {what}.", hint="Copy or download it again.")


@dataclass(frozen=True)
class _Unpacker:
    """The values of a dataset that do not lie in the file as they are.

    Attributes:
        name: the path of the dataset.
        rows_of_chunk: rows that are packed together.
    """

    source: Hdf5Source
    name: str
    rows_of_chunk: int

    def write_values(self, file: BinaryIO) -> None:
        """Write them in the file's own type, whole chunks of rows at a time."""
        for values in self._slabs():
            file.write(values)

    def _slabs(self) -> Iterator[memoryview]:
        h5py = import_library("h5py", extra="hdf5", kind="HDF5", path=self.source.name)
        numpy = import_library("numpy", extra="hdf5", kind="HDF5", path=self.source.name)
        with self.source.open() as opened:
            dataset = opened[self.name]
            kind = dataset.id.get_type()
            shape = dataset.shape or (1,)
            row_bytes = max(1, kind.get_size() * math.prod(shape[1:]))
            chunks = max(1, SLAB_BYTES // (row_bytes * self.rows_of_chunk))
            step = max(1, min(chunks * self.rows_of_chunk, SLAB_BYTES_MAX // row_bytes))
            for first in range(0, shape[0], step):
                count = min(step, shape[0] - first)
                # In the file's own type, so that no bit is converted.
                values = numpy.empty((count, *shape[1:]), f"V{kind.get_size()}")
                space = dataset.id.get_space()
                if dataset.shape:
                    space.select_hyperslab((first, *(0 for _ in shape[1:])), values.shape)
                dataset.id.read(h5py.h5s.create_simple(values.shape), space, values, kind)
                yield values.reshape(-1).view(numpy.uint8).data
