"""Pickles outside of torch's files: dicts, lists and modules of torch tensors and NumPy arrays, by pickle or joblib.

A storage that is pickled by itself is a file of torch's older form within the pickle. Nothing in either is run.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pickled.arrays import UnreadArrayError, unwrap_bytes
from embcompress.checkpoints.pickled.latin_text import LatinTexts
from embcompress.checkpoints.pickled.legacy_stream import MAGIC, LegacyStream
from embcompress.checkpoints.pickled.named_tensors import NamedTensors
from embcompress.checkpoints.pickled.placed_tensors import Source, list_tensors
from embcompress.checkpoints.pickled.reader import PickleStream
from embcompress.checkpoints.pickled.rebuilds import MalformedError
from embcompress.checkpoints.pickled.records import Span, StorageReference
from embcompress.checkpoints.regions import FileRegion
from embcompress.checkpoints.tensors import Listing

NAME = "pickle"

START = re.compile(rb"\x80[\x02-\x05]")
GENSIM = b"gensim.models"  # in the names of classes whose pickles have a reader of their own
INDEX_NAMES = (".metadata",)  # of a distributed checkpoint, whose folder is read
HEAD_BYTES = 2**16  # of a storage that is written as text: its own pickles lie in them


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell by the version of the protocol, which is the first opcode since protocol 2."""
    is_pickle = START.match(head) is not None and GENSIM not in head
    return is_pickle and path.name not in INDEX_NAMES and MAGIC.match(head) is None


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors and arrays by the names that lead to them.

    Raises:
        UnknownFormatError: nothing in it is a tensor or an array.
        DamagedFileError: cut short, no pickle, or what it says of its arrays cannot be true.
    """
    file, base = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    storages = _Storages(file, path, base, files)
    stream = PickleStream(FileRegion(file, 0, nbytes), name=str(path), nbytes=nbytes)
    tree = stream.read(storages.load).value
    named = NamedTensors(tree, str(path), pickle_bytes=nbytes, loading=f"pickle.load(open({str(path)!r}, 'rb'))")
    return list_tensors(named, Source(str(path), files, base, storages.locate))


class _Storages:
    """The storages that lie in a pickle, each as a file of torch's older form."""

    def __init__(self, file: BinaryIO, path: Path, base: int, files: Files) -> None:
        self._file, self._path, self._base = file, path, base
        self._texts = LatinTexts(str(path), files, base, kind="storages")
        self._places: list[tuple[Span | str, int, int]] = []  # what holds each, where in that, and how many bytes

    def load(self, content: object) -> StorageReference:
        """Read what the bytes of a storage say of it.

        Raises:
            MalformedError: they are no storage.
        """
        try:
            raw = unwrap_bytes(content)
        except UnreadArrayError as err:
            raise MalformedError("has a storage whose bytes are elsewhere") from err
        if isinstance(raw, Span) and not raw.is_text:
            region: FileRegion | io.BytesIO = FileRegion(self._file, raw.start, raw.nbytes)
            nbytes = raw.nbytes
        else:
            region = io.BytesIO(self._texts.head(raw, HEAD_BYTES))
            nbytes = raw.nbytes if isinstance(raw, Span) else len(raw)
        saved = LegacyStream(region, f"a storage in {self._path}", nbytes=nbytes)
        storage = saved.tree
        if not isinstance(storage, StorageReference):
            raise MalformedError("has a storage that is none")
        start, held_bytes = saved.locate(storage)
        if not isinstance(raw, Span) or raw.is_text:
            self._texts.add(raw, held_bytes, skipped=start)
        self._places.append((raw, start, held_bytes))
        key = str(len(self._places) - 1)
        return StorageReference(key, storage.dtype, storage.numel, storage.location)

    def locate(self, storage: StorageReference) -> tuple[int, int]:
        """Find the address of a storage, and how many bytes it has."""
        raw, start, nbytes = self._places[int(storage.key)]
        if isinstance(raw, Span) and not raw.is_text:
            return self._base + raw.start + start, nbytes
        return self._texts.locate(raw), nbytes
