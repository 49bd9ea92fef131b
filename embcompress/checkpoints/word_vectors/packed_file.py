"""Word vectors that are packed by gzip, bzip2 or xz."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from embcompress.checkpoints.files import HEAD_BYTES, Files, read_head
from embcompress.checkpoints.streams import find_packing, open_stream
from embcompress.checkpoints.tensors import Listing
from embcompress.checkpoints.word_vectors import binary_file, fasttext_file, text_file
from embcompress.exceptions import UnknownFormatError

NAME = "packed word vectors"
# Formats that are read from the start to the end: a file of another one would have to be unpacked whole to list it.
STREAMED: tuple[ModuleType, ...] = (text_file, binary_file, fasttext_file)


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell by the first bytes whether gzip, bzip2 or xz packed the file."""
    return find_packing(head) is not None


def read_listing(path: Path, files: Files) -> Listing:
    """List the vectors as those of the format that is packed.

    Raises:
        UnknownFormatError: anything but word vectors is packed.
        DamagedFileError: the file is cut short or damaged.
    """
    packing = find_packing(read_head(path, files))
    with open_stream(path, files) as stream:
        head = stream.read(HEAD_BYTES)
    for module in STREAMED:
        if module.is_recognised(path, head):
            listing: Listing = module.read_listing(path, files)
            return listing
    assert packing is not None
    raise UnknownFormatError(
        f"{path} is compressed with {packing.name}.",
        hint=f"Unpack it first: `{packing.command}`.",
    )
