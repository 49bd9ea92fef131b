"""Recognition of the embedding tables among the tensors of a checkpoint, by their names and shapes alone.

A name is read from its end: `weight`, `kernel` and the wrappers of other libraries are skipped, and the first component
left, the owner, decides. In `bert.embeddings.LayerNorm.weight` that is LayerNorm, in `wte.weight` wte. A name that says
nothing is not a table: to miss one costs an error that lists it, to take a dense layer for one costs accuracy unseen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from embcompress.tables.name_words import (
    CONTAINER,
    EMBEDDING_WORD,
    LITERALS,
    OUTER_MODULES,
    REFUSED,
    REFUSED_ANYWHERE,
    REFUSED_PAIRS,
    ROW_ROLES,
    SCALE_KIND,
    WRAPPERS,
    words_pattern,
)

TABLE_DTYPES = ("float64", "float32", "float16", "bfloat16", "complex64")


@dataclass(frozen=True)
class Verdict:
    """The answer whether a tensor is an embedding table.

    Attributes:
        is_table: the answer.
        reason: of it, that a person can check.
        kind: of a table by its name, such as "token embedding" or "embedding"; empty of anything else.
    """

    is_table: bool
    reason: str
    kind: str = ""

    @property
    def is_scale(self) -> bool:
        """Whether it is named like the scales of quantized integers."""
        return SCALE_KIND in self.reason


class TensorLike(Protocol):
    """The name, shape and dtype of a tensor, known before it is read."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=TensorLike)


@dataclass(frozen=True)
class _Name:
    """A tensor's name, taken apart."""

    raw: tuple[str, ...]  # the components down to the owner, as written
    parts: tuple[str, ...]  # the same in snake_case, without numbers at their ends
    every: tuple[str, ...]  # all components, for REFUSED_ANYWHERE
    indices: tuple[int, ...]  # numbers between the owner and the end, as in `emb_l.0.weight`
    leaf: str

    @property
    def owner(self) -> str:
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> str:
        """The nearest component above the owner that is not a number."""
        return next((part for part in reversed(self.parts[:-1]) if not part.isdigit()), "")


def _snake(component: str) -> str:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", component)
    snake = parted.lower().replace("-", "_").strip("_~")
    # `emb1` is an emb; `w1` and `fc2` are not a w and an fc
    return snake if snake.isdigit() else re.sub(r"(?<=[a-z]{3})\d+$|_\d+$", "", snake)


def _take_apart(name: str) -> _Name:
    components = re.split(r"[./:]", name)
    raw = [component for component in components if component.strip("_~") and component not in OUTER_MODULES]
    every = [_snake(component) for component in raw]
    end = len(raw)
    while end and (every[end - 1].isdigit() or WRAPPERS.fullmatch(every[end - 1])):
        end -= 1
    return _Name(
        raw=tuple(raw[:end]) or (name,),
        parts=tuple(every[:end]),
        every=tuple(every),
        indices=tuple(int(part) for part in every[end:] if part.isdigit()),
        leaf=every[-1] if every else "",
    )


def recognise(names: tuple[str, ...], *, shape: tuple[int, ...], dtype: str) -> Verdict:
    """Decide whether a tensor is an embedding table.

    Args:
        names: all names that the tensor is tied under; one that names a table is enough, as for a head tied to it.
        shape: (rows, *shape of a row).
        dtype: torch's name of it.
    """
    unfit = _why_unfit(shape, dtype=dtype)
    if unfit:
        return Verdict(is_table=False, reason=unfit)
    verdicts = [_judge(_take_apart(name), shape=shape) for name in names]
    return next((verdict for verdict in verdicts if verdict.is_table), verdicts[0])


def _why_unfit(shape: tuple[int, ...], *, dtype: str) -> str:
    """Say why no name could make this tensor a table; empty where one could."""
    if dtype not in TABLE_DTYPES:
        kinds = (("float8", "FP8"), ("int", "integers"), ("bool", "truth values"))
        kind = next((kind for part, kind in kinds if part in dtype), "a dtype that is copied as it is")
        return f"{kind} ({dtype})"
    if len(shape) < 2:
        return "1-D" if shape else "a single number"
    dim = math.prod(shape[1:])
    if shape[0] < 2:
        return f"{shape[0]} row{'s' * (shape[0] != 1)}"
    if dim < 2:  # such as the linear terms of a factorisation machine
        return f"{dim} column{'s' * (dim != 1)}: nothing to save"
    return ""


def _judge(name: _Name, *, shape: tuple[int, ...]) -> Verdict:
    if not name.owner:
        return Verdict(is_table=False, reason="no name to go by")
    refusal = _refusal(name, shape=shape)
    if refusal:
        return Verdict(is_table=False, reason=refusal)
    kind = _literal_kind(name, shape=shape)
    if kind or EMBEDDING_WORD.search(name.owner) or _is_contained(name):
        shown, kind = (name.raw[-1], kind) if kind else _embedding_kind(name)
        article = "an" if kind[0] in "aeio" else "a"
        return Verdict(is_table=True, reason=f"named like {article} {kind} ({shown})", kind=kind)
    return Verdict(is_table=False, reason=f"not named like an embedding table ({name.raw[-1]})")


def _is_contained(name: _Name) -> bool:
    """Tell whether the owner is a key of a dictionary of embeddings, or what an embedding is of: `embedding.token`."""
    if CONTAINER.search(name.parent):
        return True
    return bool(EMBEDDING_WORD.search(name.parent)) and any(name.owner in words for _, words in ROW_ROLES)


def _literal_kind(name: _Name, *, shape: tuple[int, ...]) -> str:
    rows, dim = shape[0], math.prod(shape[1:])
    for literal in LITERALS:
        if re.fullmatch(literal.names, name.owner) or re.fullmatch(literal.names, f"{name.parent}.{name.owner}"):
            # a `shared.0` or `encoder.0` is a layer of a sequence
            vague = literal.rows_min > 2
            fits = rows >= literal.rows_min and rows >= literal.aspect_min * dim and not (vague and name.indices)
            return literal.kind if fits else ""
    return ""


def _embedding_kind(name: _Name) -> tuple[str, str]:
    """Return the components that tell the kind of an embedding, as written, and the kind."""
    for depth in range(1, min(len(name.parts), 4) + 1):
        words = set(name.parts[-depth].split("_"))
        kind = next((kind for kind, known in ROW_ROLES if known & words), "")
        if kind:
            return ".".join(name.raw[-depth:]), f"{kind} embedding"
    return name.raw[-1], "embedding"


def _refusal(name: _Name, *, shape: tuple[int, ...]) -> str:
    """Say what the name or the shape shows this tensor to be other than a table; empty where nothing."""
    for pattern, kind in REFUSED_ANYWHERE:
        word = next((part for part in name.every if re.fullmatch(pattern, part)), "")
        if word:
            return f"named like {kind} ({word})"
    if _literal_kind(name, shape=shape):
        return ""
    for pattern, kind in REFUSED:
        if re.search(pattern, name.owner) and f"{name.parent}.{name.owner}" != "word_emb.emb_layers":
            return f"named like {kind} ({name.raw[-1]})"
    if REFUSED_PAIRS.fullmatch(f"{name.parent}.{name.owner}"):
        return f"named like a linear layer ({'.'.join(name.raw[-2:])})"
    return _shape_refusal(name, shape=shape)


def _shape_refusal(name: _Name, *, shape: tuple[int, ...]) -> str:
    shown = name.raw[-1]
    in_sequence = len(name.indices) > 1 and not (CONTAINER.search(name.owner) and name.indices[-1] == 0)
    is_time = re.search(words_pattern("time|timestep|t|temb"), name.owner) and name.indices
    if (
        in_sequence or is_time
    ):  # the (Linear, SiLU, Linear) of diffusion models; fairseq's embeddings.1.1 is a Linear too
        return f"a layer inside a sequence ({'.'.join([shown, *map(str, name.indices)])})"
    has_kind = _embedding_kind(name)[1] != "embedding"
    if not has_kind and name.leaf == "kernel":  # Flax and Keras call the array of an Embed embedding
        return f"the kernel of a dense or convolution layer ({shown})"
    is_convolution = len(shape) > 3 or (len(shape) == 3 and shape[2] % 2 == 1 and shape[0] < 8 * shape[1])
    if not has_kind and name.leaf == "weight" and is_convolution:  # nn.Embedding has two axes; Vocos embeds by Conv1d
        return f"a convolution, by its shape ({shown})"
    # PyKEEN's CombinedRepresentation: base.0 is the table, the last the numeric literals of the entities, as they are
    # given. One between them would be trained; no model of PyKEEN's has one.
    if name.owner == "embeddings" and re.fullmatch(r"base\.[1-9]\d*", ".".join(name.parts[-3:-1])):
        return f"the literals of a model of PyKEEN, which are not trained ({'.'.join(name.raw[-3:])})"
    if name.parts[-2:-1] in {("base",), ("bases",)} and shape[0] < math.prod(shape[1:]):
        return f"the bases of a low-rank table ({'.'.join(name.raw[-2:])})"  # PyKEEN's LowRank; bases.0 are partitions
    return ""


def is_refused(names: Iterable[str], *, shape: tuple[int, ...], but_for: Sequence[str] = ()) -> bool:
    """Tell whether the name or the shape of a tensor shows it to be other than a table, under any of its names.

    Args:
        names: of one tensor.
        shape: (rows, *shape of a row).
        but_for: kinds of REFUSED that are passed over, such as those of output heads.
    """
    passed_over = tuple(f"named like {kind} (" for kind in but_for)
    refusals = (_refusal(_take_apart(name), shape=shape) for name in names)
    return any(refusal and not refusal.startswith(passed_over) for refusal in refusals)


def rank_candidates(tensors: Iterable[T], *, count: int = 5) -> list[T]:
    """List the tensors most like an embedding table, for the error that says none was recognised.

    First those that no name speaks against, of them the longer than wide, of them the largest.
    """

    def key(tensor: T) -> tuple[bool, bool, int, str]:
        refused = bool(_refusal(_take_apart(tensor.name), shape=tensor.shape))
        dim = math.prod(tensor.shape[1:])
        return refused, tensor.shape[0] < dim, -tensor.shape[0] * dim, tensor.name

    return sorted((t for t in tensors if not _why_unfit(t.shape, dtype=t.dtype)), key=key)[:count]


def matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Tell whether a shell pattern fits one of the names whole; `*` crosses dots, and every name fits itself."""
    known = tuple(names)
    return any(pattern == name or fnmatchcase(name, pattern) for pattern in patterns for name in known)
