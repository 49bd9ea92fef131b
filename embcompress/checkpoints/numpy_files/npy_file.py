"""Files of numpy.save: one array."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.id_maps import find_labels
from embcompress.checkpoints.numpy_files.arrays import check_names, place_array
from embcompress.checkpoints.numpy_files.header import HEAD_BYTES, MAGIC, parse_code, read_header, tell_unread
from embcompress.checkpoints.tensors import LeftOut, Listing
from embcompress.exceptions import DamagedFileError, UnknownFormatError

NAME = "npy"
TENSOR = "embedding.weight"  # an array alone has no name; this one is that of torch.nn.Embedding
OF_GRAPH = re.compile(r".+_(entity|relation)\.npy")  # as DGL-KE names the tables of a model


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell an array of NumPy by its first bytes."""
    return head.startswith(MAGIC)


def read_listing(path: Path, files: Files) -> Listing:
    """List the array of a file as one tensor, or as one for each field of floats of a structured one.

    A file that DGL-KE names as its own gives the name, and the ids beside it the labels.

    Raises:
        UnknownFormatError: of a dtype that is not read, such as objects or texts.
        DamagedFileError: cut short, or its header cannot be true.
    """
    of_graph = OF_GRAPH.fullmatch(path.name)
    listing = list_array(path, files, name=of_graph[1] if of_graph else TENSOR)
    labels = find_labels(listing.tensors, path.parent) if of_graph else {}
    return replace(listing, labels={**labels, **listing.labels})


def list_array(path: Path, files: Files, *, name: str) -> Listing:
    """List the array of a file, under a name; as `read_listing`."""
    file, base = files.open(path)
    size = os.fstat(file.fileno()).st_size
    header = read_header(read_exactly(file, 0, min(size, HEAD_BYTES)), name=str(path))
    if not isinstance(header.descr, list):
        code = parse_code(header.descr)
        if code is None or not code.dtype:
            what, hint = tell_unread(header.descr, name="array")
            raise UnknownFormatError(f"{path} holds {what}.", hint=hint or "Name the file of the vectors.")
    own = "" if isinstance(header.descr, list) else name
    placed = place_array(header, name=own, start=base + header.nbytes, files=files, path=str(path))
    if not placed.tensors:
        raise UnknownFormatError(
            f"{path} holds a structured array of which no field can be read in place.",
            hint=tell_unread(header.descr, name="array")[1],
        )
    check_names(placed.tensors, path=str(path))
    behind = size - header.nbytes - (placed.nbytes or 0)
    if behind < 0:
        raise DamagedFileError(
            f"{path} should be {size - behind} bytes by its header and is {size}: it is cut short.",
            hint="Copy or download it again.",
        )
    left_out = [*placed.left_out, *(LeftOut(text.name, "texts, which are not carried along") for text in placed.texts)]
    if behind:
        left_out.append(LeftOut("the end of the file", f"{behind} bytes behind the array"))
    labels = {
        tensor.name: placed.texts[0]
        for tensor in placed.tensors
        if len(placed.texts) == 1 and tensor.shape[:1] == (placed.texts[0].count,)
    }
    return Listing(tensors=placed.tensors, left_out=tuple(left_out), labels=labels, dense_form="npy")
