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
        *(getattr(Tensor, name).__get__ for name in ("grad_fn", "itemsize", "nbytes")),
        *(getattr(Tensor, name) for name in ("size", "dim", "ndimension", "numel", "nelement", "stride", "__len__")),
        *(getattr(Tensor, name) for name in ("is_floating_point", "is_complex", "is_contiguous", "element_size")),
        *(getattr(Tensor, name) for name in ("get_device", "__hash__")),
        *(torch.is_floating_point, torch.is_complex, torch.numel),
    }
)

# What would act in silence on the copy alone that is decoded for the call.
OF_ONE_COPY = frozenset({Tensor.register_hook, Tensor.register_post_accumulate_grad_hook, Tensor.retain_grad})
REQUIRES_GRAD = frozenset({Tensor.requires_grad_, Tensor.requires_grad.__set__})  # type: ignore[attr-defined]


class TableWeight(Tensor):
    """The rows of a table, (rows, *shape), as a tensor whose numbers are decoded by the operations that need them.

    Its shape, dtype and device cost nothing. Rows by id (an index, `index_select`, `F.embedding`, `F.embedding_bag`)
    cost a lookup of these rows, `F.linear` the scores of all rows. Every other operation decodes the whole table first,
    and again each time; gradients reach what the table is made of. It is no leaf, so optimizers refuse it. Neither it
    nor its `data` can be written to; what is written to rows taken from them, or to `detach()`, is lost.

    Attributes:
        table: the representation whose rows they are.
        is_detached: whether gradients stop here, as at the `data` of a weight.
    """

    table: Any
    is_detached: bool
    _is_hf_initialized = True  # by this name transformers asks whether a weight is to be drawn

    @staticmethod
    def __new__(cls, table: Any, *, is_detached: bool = False) -> TableWeight:
        """Make a tensor without memory of its own."""
        parameters = [parameter for parameter in table.parameters() if parameter.requires_grad]
        if is_detached or not parameters:
            return _without_memory(cls, table, is_detached=is_detached)
        # With a graph under no_grad too: a parameter requires gradients there.
        with torch.enable_grad():
            weight: TableWeight = _AllRows.apply(cls, table, *parameters)  # type: ignore[no-untyped-call]
        return weight

    def decode(self) -> Tensor:
        """Return all rows as an ordinary tensor, (rows, *shape), as they are stored: without normalizer and dropout."""
        rows: Tensor = self.table.look_up(None)
        return rows.detach() if self.is_detached else rows

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer a question, look rows up, score rows, or decode all and go on.

        Raises:
            TypeError: an operation that writes to the weight, a hook on it, or its address.
        """
        kwargs = dict(kwargs or {})
        if func in DESCRIPTIONS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func == Tensor.grad.__get__:  # type: ignore[union-attr]
            return None
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]
            return cls(args[0].table, is_detached=True)
        if func in REQUIRES_GRAD and not args[0].is_detached:
            args[0].table.requires_grad_(*args[1:], **kwargs)
            return args[0]
        _refuse(cls, func, args, kwargs)
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
        """Decode for an operation that came past `__torch_function__`, to which autograd has attended already."""
        args, kwargs = tree_map_only(cls, lambda weight: weight.decode().detach(), (args, dict(kwargs or {})))
        return func(*args, **kwargs)


class _AllRows(torch.autograd.Function):
    """The weight as a function of what the table is made of.

    Operations that torch's Python code sees decode the table with its own graph. This one is for those that come past
    it, such as functions with a backward of their own: their gradient arrives at the weight itself.
    """

    @staticmethod
    def forward(ctx: Any, cls: type[TableWeight], table: Any, *parameters: Tensor) -> TableWeight:
        """Make the weight."""
        ctx.table = table
        ctx.save_for_backward(*parameters)
        return _without_memory(cls, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of the parameters, of that of all rows (rows, *shape).

        Raises:
            RuntimeError: the table has other parameters by now than those that the weight was read from.
        """
        parameters = ctx.saved_tensors
        is_graph_kept = torch.is_grad_enabled()
        with torch.enable_grad():
            rows = ctx.table.look_up(None)
        gradients = torch.autograd.grad(rows, parameters, gradient, create_graph=is_graph_kept, allow_unused=True)
        if all(one is None for one in gradients):
            raise RuntimeError("a gradient reached the weight of a table whose parameters are no longer those it had.")
        return None, None, *gradients


def _without_memory(cls: type[TableWeight], table: Any, *, is_detached: bool = False) -> TableWeight:
    """Make a tensor that has the shape, dtype and device of a table."""
    weight: TableWeight = Tensor._make_wrapper_subclass(
        cls, (table.max_id, *table.shape), dtype=table.dtype, device=table.device
    )
    weight.table = table
    weight.is_detached = is_detached
    return weight


def _refuse(cls: type[TableWeight], func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse what would act on a decoded copy alone.

    Raises:
        TypeError: an operation that writes to the weight, a hook on it, or its address.
    """
    name = getattr(func, "__name__", str(func))
    if func in OF_ONE_COPY:
        raise TypeError(
            f"{name} would act on one decoded copy of a compressed table's weight; register hooks on the parameters of "
            "the table, or on its module."
        )
    if func is Tensor.data_ptr:
        raise TypeError(
            f"{name}: the weight of a compressed table has no memory of its own; decode it first: weight.clone()."
        )
    first = args[0] if args else next(iter(kwargs.values()), None)  # of torch.nn.init come by name
    written = first if isinstance(first, list | tuple) else (first,)
    is_written = _writes(func) and any(isinstance(one, cls) for one in written)
    if is_written or isinstance(kwargs.get("out"), cls):
        raise TypeError(
            f"{name} would write to the weight of a compressed table, which is decoded when it is read; train the "
            "table's own parameters, or add rows with `embcompress backfill`."
        )


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
    rows = weight.table.at(torch.where(ids < 0, ids + weight.table.max_id, ids))
    return rows.detach() if weight.is_detached else rows


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
    rows = look_up_rows(weight.table, input, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type)
    return rows.detach() if weight.is_detached else rows


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
    if weight.is_detached:
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
    if not hasattr(weight.table, "scores") or len(weight.table.shape) != 1 or weight.is_detached:
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
    """Give the weight of a table: decoded where a compiler, a tracer or functorch looks on, else when it is needed."""
    is_tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if torch.compiler.is_compiling() or is_tracing or torch._C._are_functorch_transforms_active():
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
