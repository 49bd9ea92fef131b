"""Arrays of uncompressed files of joblib: their bytes follow the object that describes them, between two opcodes.

Source: NumpyArrayWrapper of joblib/numpy_pickle.py.
"""

from __future__ import annotations

import math
import re
from typing import BinaryIO

from embcompress.checkpoints.pickled.rebuilds import MalformedError
from embcompress.checkpoints.pickled.records import Global, Inert, Span
from embcompress.checkpoints.tensors import is_sizes

WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
FROM_BUFFER = Global("numpy.core.numeric", "_frombuffer")  # which arrays of protocol 5 are made by
SIZED = re.compile(r"[a-zA-Z](\d{1,9})")  # kind and bytes of an element; of a text characters of four


class ObjectArrayError(ValueError):
    """An array of Python objects, behind which another pickle stands."""


def skip_array(wrapper: Inert, stream: BinaryIO, *, end: int) -> Inert:
    """Move a pickle past the bytes of an array, and make what protocol 5 would hold of it.

    Raises:
        MalformedError: there are no such bytes.
        ObjectArrayError: it has none.
    """
    state = wrapper.state or {}
    shape, dtype, order = (state.get(part) for part in ("shape", "dtype", "order"))
    code = dtype.args[0] if isinstance(dtype, Inert) and dtype.args else None
    if not isinstance(code, str) or not isinstance(shape, tuple) or not is_sizes(shape):
        raise MalformedError("has an array without a dtype and a shape")
    if code.startswith("O"):
        raise ObjectArrayError
    size = SIZED.fullmatch(code)
    if size is None:
        raise MalformedError(f"has an array of dtype {code[:20]!r}, whose length is not known")
    if state.get("numpy_array_alignment_bytes") is not None:
        padding = stream.read(1)
        stream.seek(stream.tell() + (padding[0] if padding else 0))
    start = stream.tell()
    nbytes = math.prod(shape) * int(size[1]) * (4 if code[0] == "U" else 1)
    if nbytes > end - start:
        raise MalformedError(f"has an array of {nbytes} bytes, where {max(0, end - start)} remain")
    stream.seek(start + nbytes)
    return Inert(FROM_BUFFER, (Span(start, nbytes), dtype, shape, order))
