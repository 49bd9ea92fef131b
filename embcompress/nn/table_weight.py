"""The matrix of a table under the name `weight`, for code that reads it past the module's forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from embcompress.nn.constrainers import clamp_norm
from embcompress.nn.pooling import pool_rows

# What is answered without decoding. Reading the dtype of a head's weight is all that some models do with it.
DESCRIPTIONS = frozenset(
    {
        *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "layout", "ndim", "requires_grad")),
        *(getattr(Tensor, name).__get__ for name in ("is_leaf", "is_meta", "is_cuda", "is_sparse", "is_quantized")),
        *(getattr(Tensor, name).__get__ for name in ("grad", "grad_fn", "itemsize", "nbytes")),
        *(getattr(Tensor, name) for name in ("size", "dim", "ndimension", "numel", "nelement", "stride", "__len__")),
        *(getattr(Tensor, name) for name in ("is_floating_point", "is_complex", "is_contiguous", "element_size")),
        *(getattr(Tensor, name) for name in ("get_device", "__hash__")),
        *(torch.is_floating_point, torch.is_complex, torch.numel),
    }
)


class TableWeight(Tensor):
    """The rows of a table, (rows, *shape), as a tensor whose numbers are decoded by the operations that need them.

    Its shape, dtype and device cost nothing. Rows by id (an index, `index_select`, `F.embedding`, `F.embedding_bag`)
    cost a lookup of these rows, `F.linear` the scores of all rows. Every other operation decodes the whole table first,
    and again each time; gradients reach what the table is made of. It cannot be written to.

    Attributes:
        table: the representation whose rows they are.
    """

    table: Any
    _is_hf_initialized = True  # by this name transformers asks whether a weight is to be drawn

    @staticmethod
    def __new__(cls, table: Any) -> TableWeight:
        """Make a tensor without memory of its own."""
        weight: TableWeight = Tensor._make_wrapper_subclass(
            cls,
            (table.max_id, *table.shape),
            dtype=table.dtype,
            device=table.device,
            requires_grad=any(parameter.requires_grad for parameter in table.parameters()),
        )
        weight.table = table
        return weight

    def decode(self) -> Tensor:
        """Return all rows as an ordinary tensor, (rows, *shape), as they are stored: without normalizer and dropout."""
        rows: Tensor = self.table.look_up(None)
        return rows

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer a question, look rows up, score rows, or decode all and go on.

        Raises:
            TypeError: an operation that writes to the weight.
        """
        kwargs = dict(kwargs or {})
        if func in DESCRIPTIONS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func in {Tensor.requires_grad_, Tensor.requires_grad.__set__}:  # type: ignore[attr-defined]
            args[0].table.requires_grad_(*args[1:], **kwargs)
            return args[0]
        if (_writes(func) and isinstance(args[0], cls)) or isinstance(kwargs.get("out"), cls):
            raise TypeError(
                f"{getattr(func, '__name__', func)} would write to the weight of a compressed table, which is decoded "
                "when it is read; train the table's own parameters, or add rows with `embcompress backfill`."
            )
        if func in BY_ROWS:
            answer = BY_ROWS[func](*args, **kwargs)
            if answer is not NotImplemented:
                return answer
        args, kwargs = tree_map_only(cls, TableWeight.decode, (args, kwargs))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Decode for an operation that came past `__torch_function__`."""
        args, kwargs = tree_map_only(cls, lambda weight: weight.decode().detach(), (args, dict(kwargs or {})))
        return func(*args, **kwargs)


def _writes(func: Callable[..., Any]) -> bool:
    """Return whether an operation changes its first argument, by its name."""
    name: str = getattr(func, "__name__", "")
    is_in_place = name.endswith("_") and not name.endswith("__")
    return is_in_place or name in {"__setitem__", "__set__"} or name in _IN_PLACE_OPERATORS


_IN_PLACE_OPERATORS = frozenset(
    f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "matmul")
)


def look_up_rows(
    table: Any,
    ids: Tensor,  # (*s)
    *,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
) -> Tensor:
    """Look rows up as torch.nn.Embedding does, (*s, *shape): as they are stored, no gradient for the padding."""
    rows: Tensor = table.at(ids.long())
    if max_norm is not None:
        rows = clamp_norm(rows, maxnorm=max_norm, p=norm_type, dim=(-1,))
    return rows if padding_idx is None else without_gradient(rows, ids == padding_idx)


def without_gradient(rows: Tensor, is_padding: Tensor) -> Tensor:
    """Keep gradients from some rows, which (*s) marks in (*s, *shape)."""
    if not rows.requires_grad:
        return rows
    return torch.where(is_padding.view(*is_padding.shape, *[1] * (rows.ndim - is_padding.ndim)), rows.detach(), rows)


def _index(weight: Any, index: Any) -> Any:
    """Take rows by an index that names rows and nothing else."""
    if not isinstance(weight, TableWeight):
        return NotImplemented
    if isinstance(index, int) and not isinstance(index, bool):
        index = torch.tensor(index, device=weight.device)
    if not isinstance(index, Tensor) or index.is_floating_point() or index.dtype in {torch.bool, torch.uint8}:
        return NotImplemented
    ids = index.long()
    return weight.table.at(torch.where(ids < 0, ids + weight.table.max_id, ids))


def _index_select(weight: Any, dim: int, index: Tensor) -> Any:
    return _index(weight, index) if dim == 0 and index.ndim == 1 else NotImplemented


def _embedding(
    input: Tensor,  # noqa: A002
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if not isinstance(weight, TableWeight) or scale_grad_by_freq or sparse or len(weight.table.shape) != 1:
        return NotImplemented
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.table.max_id
    return look_up_rows(weight.table, input, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type)


def _embedding_bag(
    input: Tensor,  # noqa: A002
    weight: Any,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    if not isinstance(weight, TableWeight) or scale_grad_by_freq or sparse or len(weight.table.shape) != 1:
        return NotImplemented
    return pool_rows(
        weight.table,
        input,
        offsets=offsets,
        mode=mode,
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
        max_norm=max_norm,
        norm_type=norm_type,
    )


def _linear(input: Any, weight: Any, bias: Tensor | None = None) -> Any:  # noqa: A002
    if isinstance(input, TableWeight) or not isinstance(weight, TableWeight) or weight.table.normalizer is not None:
        return NotImplemented
    if not hasattr(weight.table, "scores") or len(weight.table.shape) != 1:
        return NotImplemented
    scores = weight.table.scores(input)
    return scores if bias is None else scores + bias


BY_ROWS: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        Tensor.__getitem__: _index,
        Tensor.index_select: _index_select,
        torch.index_select: _index_select,
        nn.functional.embedding: _embedding,
        nn.functional.embedding_bag: _embedding_bag,
        nn.functional.linear: _linear,
    }
)


def read_weight(table: Any, *, cls: type[TableWeight] = TableWeight) -> Tensor:
    """Give the weight of a table: decoded where a compiler or a tracer looks on, else when an operation needs it."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        rows: Tensor = table.look_up(None)
        return rows
    return cls(table)


def check_assigned_weight(value: object, table: Any, *, owner: str) -> None:
    """Let a weight be assigned to itself, as tying does, and nothing else.

    Raises:
        AttributeError: another tensor.
    """
    if not (isinstance(value, TableWeight) and value.table is table):
        raise AttributeError(
            f"the weight of {owner} is decoded from a compressed table and cannot be assigned: train the parameters of "
            "the table, load a state dict, or put a dense module in its place."
        )
