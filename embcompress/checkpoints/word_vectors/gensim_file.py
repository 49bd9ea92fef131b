"""Models of gensim: a pickle, and beside it an array for each large table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.label_columns import writable
from embcompress.checkpoints.links import check_inside
from embcompress.checkpoints.numpy_files.npy_file import list_array
from embcompress.checkpoints.pickled.pickle_file import GENSIM, START
from embcompress.checkpoints.pickled.reader import read_pickle
from embcompress.checkpoints.pickled.records import Inert
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.unread import GENSIM_LINE
from embcompress.exceptions import CheckpointError, DamagedFileError, IdsError, UnknownFormatError

NAME = "gensim"
STOP = b"."  # the last byte of a pickle
PICKLE_BYTES_MAX = 2**30  # of a pickle that is read for its words
# Where the words lie, as attributes: of KeyedVectors, of a model that holds some, and of both before gensim 4.
WORDS = (("index_to_key",), ("wv", "index_to_key"), ("index2word",), ("wv", "index2word"))
# Tables with a row for each word; others have one for each bucket of n-grams, or for each node of a tree.
WITH_WORDS = ("vectors", "wv.vectors", "vectors_vocab", "wv.vectors_vocab", "syn1neg")


@dataclass(frozen=True)
class Words:
    """The words of a pickled model. Calling it reads them; nothing in the pickle is run.

    Attributes:
        rows: of the table.
    """

    path: Path
    files: Files
    rows: int

    def __call__(self) -> Sequence[str]:
        """Read the words, in the order of the rows.

        Raises:
            IdsError: more or fewer words than rows, or none that can be read.
            CheckpointError: the pickle is damaged or too long.
        """
        file, _ = self.files.open(self.path)
        size = os.fstat(file.fileno()).st_size
        if size > PICKLE_BYTES_MAX:
            raise CheckpointError(f"{self.path} has {size} bytes, too many to read its words.", hint=GENSIM_LINE)
        model = read_pickle(read_exactly(file, 0, size), name=str(self.path))
        words = next((words for names in WORDS if isinstance(words := _follow(model, names), list)), [])
        if len(words) != self.rows or not all(isinstance(word, (str, int)) for word in words):
            raise IdsError(
                f"{self.path} has {len(words)} words for a table of {self.rows} rows.",
                hint="Save the model anew with gensim.",
            )
        return [writable(str(word)) for word in words]


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell a model of gensim by the start of its pickle, which names its class."""
    return START.match(head) is not None and GENSIM in head


def read_listing(path: Path, files: Files) -> Listing:
    """List the arrays that gensim saved beside a model, by the attributes that they are.

    Raises:
        UnknownFormatError: there are none: gensim keeps small ones inside the pickle.
        CheckpointError: an array leads out of the folder.
        DamagedFileError: the pickle is cut short.
    """
    file, _ = files.open(path)
    if read_exactly(file, os.fstat(file.fileno()).st_size - 1, 1) != STOP:
        raise DamagedFileError(f"{path} is a pickle without its end: it is cut short.", hint="Copy it again.")
    tensors: list[StoredTensor] = []
    left_out: list[LeftOut] = []
    for array in sorted(path.parent.iterdir()):
        if not (array.name.startswith(f"{path.name}.") and array.name.endswith(".npy")):
            continue
        check_inside(array, path.parent)
        name = array.name.removeprefix(f"{path.name}.").removesuffix(".npy")
        listing = list_array(array, files, name=name)
        tensors += listing.tensors
        left_out += listing.left_out
    if not tensors:
        raise UnknownFormatError(
            f"{path} is a model that gensim has pickled, without an array beside it.", hint=GENSIM_LINE
        )
    labels = {
        tensor.name: Words(path, files, tensor.shape[0])
        for tensor in tensors
        if tensor.name in WITH_WORDS and len(tensor.shape) > 1
    }
    return Listing(tensors=tuple(tensors), left_out=tuple(left_out), labels=labels)


def _follow(model: object, names: Sequence[str]) -> object:
    """Find an attribute of attributes of a pickled object; None where there is none."""
    for name in names:
        if not isinstance(model, Inert) or model.state is None:
            return None
        model = model.state.get(name)
    return model
