"""Modules that stay what they are, and of which a parameter is served by a compressed table.

A module of a class of its own may do more than look rows up or score them. It is kept, with its hooks and attributes:
its class becomes one derived from it, in which the parameter is a property. Where the class calls the forward of
torch.nn.Embedding, EmbeddingBag or Linear, rows are looked up and scored through the factors; where it reads the
parameter, it gets a TableWeight.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from embcompress.nn.markers import drop_mark, put_mark, take_mark
from embcompress.nn.pooling import pool_rows
from embcompress.nn.serving.heads import FactoredTable
from embcompress.nn.table_weight import check_assigned_weight, look_up_rows, read_weight

TABLE_SUFFIX = "_table"  # behind the name of the parameter: where the module keeps its table


def _weight_property(leaf: str) -> property:
    def read(module: nn.Module) -> Tensor:
        return read_weight(module.get_submodule(leaf + TABLE_SUFFIX))

    def write(module: nn.Module, value: object) -> None:
        check_assigned_weight(value, module.get_submodule(leaf + TABLE_SUFFIX), owner=f"{type(module).__name__}.{leaf}")

    return property(read, write, doc="The rows of the table; decoded when an operation needs their numbers.")


class Served:
    """The part that all served modules have in common.

    Attributes:
        SERVED_BASE: the class that the module had.
        SERVED_LEAVES: the parameters that tables serve.
    """

    SERVED_BASE: type[nn.Module]
    SERVED_LEAVES: tuple[str, ...] = ("weight",)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter, but none under the name of what is decoded."""
        if name in self.SERVED_LEAVES:
            check_assigned_weight(
                param, getattr(self, name + TABLE_SUFFIX), owner=f"{self.SERVED_BASE.__name__}.{name}"
            )
        super().register_parameter(name, param)  # type: ignore[misc]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Give the tensors by name, with one mark for each parameter that was."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)  # type: ignore[misc]
        for leaf in self.SERVED_LEAVES:
            key = getattr(self, leaf + TABLE_SUFFIX).dense_key
            drop_mark(state, f"{kwargs.get('prefix', '')}{leaf}{TABLE_SUFFIX}.{key}")
        return state

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put a mark where each dense parameter was."""
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[misc]
        for leaf in self.SERVED_LEAVES:
            put_mark(destination, prefix + leaf)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, and refuse dense parameters where tables serve."""
        for leaf in self.SERVED_LEAVES:
            take_mark(state_dict, prefix + leaf, args[-1])
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Tell how to make the class again, which no module holds under its name."""
        if type(self) in SERVED_CLASSES.values():
            return super().__reduce_ex__(protocol)  # type: ignore[return-value]
        state = dict(self.__dict__)
        return _make_empty, (self.SERVED_BASE, self.SERVED_LEAVES), state


class ServedEmbedding(Served, nn.Embedding):  # type: ignore[misc]
    """A torch.nn.Embedding whose rows are those of a compressed table."""

    SERVED_BASE = nn.Embedding
    weight = _weight_property("weight")

    def reset_parameters(self) -> None:
        """Leave the rows as they are: all were given."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up, (*s) -> (*s, dim)."""
        return look_up_rows(
            self.weight_table, ids, padding_idx=self.padding_idx, max_norm=self.max_norm, norm_type=self.norm_type
        )


class ServedEmbeddingBag(Served, nn.EmbeddingBag):  # type: ignore[misc]
    """A torch.nn.EmbeddingBag whose rows are those of a compressed table; sums and means never build them."""

    SERVED_BASE = nn.EmbeddingBag
    weight = _weight_property("weight")

    def reset_parameters(self) -> None:
        """Leave the rows as they are: all were given."""

    def forward(
        self,
        input: Tensor,  # noqa: A002
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Pool rows, (bags, size) or (count,) with offsets (bags,) -> (bags, dim)."""
        return pool_rows(
            self.weight_table,
            input,
            offsets=offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
            max_norm=self.max_norm,
            norm_type=self.norm_type,
        )


class ServedLinear(Served, nn.Linear):  # type: ignore[misc]
    """A torch.nn.Linear whose matrix is a compressed table."""

    SERVED_BASE = nn.Linear
    weight = _weight_property("weight")

    def reset_parameters(self) -> None:
        """Leave the rows as they are: all were given."""

    def forward(self, query: Tensor) -> Tensor:
        """Score rows, (*q, dim) -> (*q, rows)."""
        scores: Tensor = self.weight_table.scores(query)  # type: ignore[operator, union-attr]
        return scores if self.bias is None else scores + self.bias


SERVED_CLASSES: Mapping[type[nn.Module], type[Any]] = MappingProxyType(
    {nn.Embedding: ServedEmbedding, nn.EmbeddingBag: ServedEmbeddingBag, nn.Linear: ServedLinear}
)  # by the class of torch's that each takes the place of


def serve_in_place(module: nn.Module, leaf: str, table: FactoredTable) -> None:
    """Let a table serve a parameter of a module, which stays the same object."""
    base: Any = type(module)
    leaves: tuple[str, ...] = ()
    if isinstance(module, Served):
        base, leaves = module.SERVED_BASE, module.SERVED_LEAVES
    cls = _served_class(base, (*leaves, leaf))
    del module._parameters[leaf]
    module.add_module(leaf + TABLE_SUFFIX, table)
    module.__class__ = cls


def stop_serving(module: Any, leaf: str, parameter: nn.Parameter) -> None:
    """Give a module its parameter back, and the class that it had if no other of its parameters is served."""
    leaves = tuple(other for other in module.SERVED_LEAVES if other != leaf)
    base = module.SERVED_BASE
    delattr(module, leaf + TABLE_SUFFIX)
    module.__class__ = _served_class(base, leaves) if leaves else base
    module.register_parameter(leaf, parameter)


@cache
def _served_class(base: Any, leaves: tuple[str, ...]) -> Any:
    """Derive a class whose parameters are properties, in front of the forward of torch's own that it calls."""
    of_torch = next((cls for cls in SERVED_CLASSES if issubclass(base, cls) and leaves == ("weight",)), None)
    kind = None if of_torch is None else SERVED_CLASSES[of_torch]
    if base is of_torch:
        return kind
    parts = (base, kind) if kind is not None else (Served, base)
    body = {"SERVED_BASE": base, "SERVED_LEAVES": leaves, "__module__": base.__module__, "__doc__": base.__doc__}
    properties = {leaf: _weight_property(leaf) for leaf in leaves}
    return type(base.__name__, parts, {**body, **properties})


def _make_empty(base: Any, leaves: tuple[str, ...]) -> nn.Module:
    """Make a served module without its state."""
    cls = _served_class(base, leaves)
    module: nn.Module = cls.__new__(cls)
    return module
