"""Objects as torch.save wrote them before torch 1.6, in a file or within another pickle.

Five pickles follow each other: a magic number, the version of the protocol, facts about the machine, the object, and
the keys of its storages; then each storage in the order of the keys, its number of elements in front of it.

Source: `_legacy_save` and `_legacy_load` of torch/serialization.py.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

from embcompress.checkpoints.pickled.reader import PickleStream
from embcompress.checkpoints.pickled.rebuilds import CODE_DTYPES
from embcompress.checkpoints.pickled.records import StorageReference
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import DamagedFileError, UnknownFormatError

RawFile = io.RawIOBase | io.BytesIO

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
# The magic number as the first pickle: of protocol 2 and 3, and in a frame since protocol 4.
MAGIC = re.compile(rb"\x80(?:[\x02\x03]|[\x04\x05]\x95.{8})\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", re.DOTALL)
PROTOCOL_VERSION = 1001
COUNT_BYTES = 8  # of the number of elements in front of a storage


class LegacyStream:
    """A file of torch.save of the older form, or such bytes within another file.

    Args:
        file: that holds it from its first byte on, at least up to the last number of elements.
        path: what messages call it.
        nbytes: up to where it may reach.

    Attributes:
        tree: what was saved.
        pickle_bytes: the length of all pickles.

    Raises:
        DamagedFileError: cut short, or untrue to itself.
    """

    def __init__(self, file: RawFile, path: str, *, nbytes: int) -> None:
        self.path = path
        stream = PickleStream(file, name=path, nbytes=nbytes)
        if stream.read().value != MAGIC_NUMBER:
            raise self._damaged("does not begin with the number of torch.save")
        version = stream.read().value
        if version != PROTOCOL_VERSION:
            raise UnknownFormatError(
                f"{path} was written by version {str(version)[:20]} of torch's older protocol, and {PROTOCOL_VERSION} "
                "is read.",
                hint="Load it with torch and save it anew.",
            )
        stream.read()
        saved = stream.read()
        keys = stream.read().value
        self.tree, self.pickle_bytes = saved.value, stream.position
        self._places = self._locate_all(file, saved.storages, keys, first=stream.position, end=nbytes)

    def locate(self, storage: StorageReference) -> tuple[int, int]:
        """Find where a storage begins in the file, and how many bytes it has."""
        return self._places[storage.key]

    def _locate_all(
        self,
        file: RawFile,
        storages: Mapping[str, StorageReference],
        keys: object,
        *,
        first: int,
        end: int,
    ) -> dict[str, tuple[int, int]]:
        if not isinstance(keys, list) or len(keys) != len(storages):
            raise self._damaged(f"lists other storages than the {len(storages)} that its pickle refers to")
        places: dict[str, tuple[int, int]] = {}
        position = first
        for key in keys:
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None or key in places:
                raise self._damaged(f"lists a storage {str(key)[:40]!r} that its pickle does not refer to, or twice")
            if position + COUNT_BYTES > end:
                raise self._damaged(f"ends at byte {end}, where {len(keys) - len(places)} storages were expected")
            file.seek(position)
            count = int.from_bytes(file.read(COUNT_BYTES) or b"", "little", signed=True)
            if count != storage.numel:
                raise self._damaged(f"declares a storage of {storage.numel} elements and stores {count}")
            # Of another dtype, whose tensors are left out, the bytes of an element are not known: no other can follow.
            nbytes = count * self._item_bytes(storage, is_last=len(places) == len(keys) - 1)
            position += COUNT_BYTES
            if position + nbytes > end:
                raise self._damaged(f"has {end - position} bytes for a storage of {nbytes}")
            places[key] = position, nbytes
            position += nbytes
        return places

    def _item_bytes(self, storage: StorageReference, *, is_last: bool) -> int:
        dtype = CODE_DTYPES.get(storage.dtype or "", storage.dtype or "uint8")
        if dtype not in ITEM_BYTES and not is_last:
            raise UnknownFormatError(
                f"{self.path} holds a storage of {dtype[:100]}, whose length is not known.",
                hint="Load it with torch and save it anew.",
            )
        return ITEM_BYTES.get(dtype, 0)

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self.path} {what}: it is cut short or damaged.", hint="Copy or download it again.")
