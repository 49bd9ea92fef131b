"""A table whose weights are stored as in files of schema 1, and decoded where they are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.coding.constants import BITS_MAX, GROUPS_MAX, HALF_BIT, WINDOW_MAX, group_width, level_count
from embcompress.coding.window_codebook import GroupLayout, WindowCodebook, decode, indices_in_groups
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.coded_base import CodedRows, check_bases, is_traced, stored_row_shape
from embcompress.nn.representation import Shape
from embcompress.nn.window_operator import find_levels


class WindowCodedRepresentation(CodedRows):
    """Rows whose weights over shared bases are coded, and decoded by each lookup.

    `row[i] = sum_k scales[g, k] * levels[what the code of row i says for k] * bases[k]`, with g the group of row i.
    Without bases the weights are the entries of the row. Made by `from_codes`.

    A lookup decodes a row's columns that have bits, some eight operations each, multiplies them by their bases, and
    never builds the table. Bases, levels and scales train, codes do not. These parameters are kept in float32 at least:
    `half()` and `to(dtype)` change the dtype of the rows, not how they are decoded. A state dict holds all that decodes
    the rows, and loads into a module of the same sizes. How many rows of each group are asked for is known only from
    the ids: on a GPU a lookup waits for that. torch.compile takes a lookup as one operator, embcompress::window_levels.

    Attributes:
        bases: parameter (columns, real entries of a row), complex entries as pairs; None where the table's own columns
            are coded.
        levels: parameter (all levels,).
        scales: parameter (groups, columns); that of a column without bits plays no part.
        groups_of_rows: buffer (max_id,) uint8; None where there is one group.
        bits: buffer (groups, columns) uint8, as in WindowCodebook.
        windows: buffer (HALF_BIT + 1,) uint8: bits of a column -> bits of its window, 0 where there are no levels.

    Source: docs/artifact.md, tables whose coding is "coded".

    Example:
        >>> ones = torch.ones(1, 2, dtype=torch.uint8)
        >>> table = WindowCodedRepresentation.from_codes(  # one bit for each of two columns, the last one first
        ...     codes=[torch.tensor([[0b10_000000], [0b11_000000]], dtype=torch.uint8)],
        ...     groups_of_rows=None,
        ...     codebook=WindowCodebook(ones, torch.tensor([[2.0, 4.0]]), {1: 1}, torch.tensor([-0.5, 0.5])),
        ...     bases=None,
        ...     shape=2,
        ...     dtype=torch.float32,
        ... )
        >>> table(torch.tensor([1, 0])).tolist()
        [[1.0, 2.0], [-1.0, 2.0]]
    """

    groups_of_rows: Tensor | None
    bits: Tensor
    windows: Tensor
    levels: nn.Parameter
    _plan: _Plan | None

    def __init__(
        self,
        *,
        codes: Sequence[Tensor],
        groups_of_rows: Tensor | None,
        codebook: WindowCodebook,
        bases: Tensor | None,
        shape: Shape,
        dtype: torch.dtype,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(sum(map(len, codes)), shape, dtype=dtype, bases=bases, trainable=trainable, **kwargs)
        self.levels = self._parameter(codebook.levels, trainable)
        self.scales = self._parameter(codebook.scales, trainable)
        for group, part in enumerate(codes):
            self.register_buffer(f"codes_{group}", part)
        self.register_buffer("groups_of_rows", groups_of_rows if codebook.groups > 1 else None)
        self.register_buffer("bits", codebook.bits.to(torch.uint8))
        windows = torch.tensor([codebook.windows.get(count, 0) for count in range(HALF_BIT + 1)], dtype=torch.uint8)
        self.register_buffer("windows", windows.to(self.levels.device))

    @classmethod
    def from_codes(
        cls,
        *,
        codes: Sequence[Tensor],
        groups_of_rows: Tensor | None,
        codebook: WindowCodebook,
        bases: Tensor | None,
        shape: Shape,
        dtype: torch.dtype,
        trainable: bool = True,
        **kwargs: Any,
    ) -> WindowCodedRepresentation:
        """Take given codes, without copying them; `reset_parameters` leaves everything as it is.

        Args:
            codes: of each group (rows of the group, row_bytes) uint8, in the order of the rows.
            groups_of_rows: (rows,) uint8; may be None where there is one group.
            codebook: what decodes them.
            bases: (columns, *shape) of a float dtype, with a last axis of 2 for a complex table; None where the table's
                own columns are coded: then they are the real entries of a row, complex ones as pairs.
            shape: of one row.
            dtype: of the rows that lookups return, real or complex.
            trainable: whether gradients reach bases, levels and scales.
            kwargs: normalizer, normalizer_kwargs, regularizer and dropout, as in Representation.

        Raises:
            ValueError: parts of sizes or dtypes that do not fit together; says which.
        """
        stored_shape = stored_row_shape(shape, dtype)
        _check_codebook(codebook)
        _check_codes(codes, groups_of_rows, codebook)
        check_bases(bases, columns=codebook.columns, stored_shape=stored_shape)
        return cls(
            codes=codes,
            groups_of_rows=groups_of_rows,
            codebook=codebook,
            bases=bases,
            shape=shape,
            dtype=dtype,
            trainable=trainable,
            **kwargs,
        )

    @property
    def codes(self) -> tuple[Tensor, ...]:
        """The codes of each group, (rows of the group, row_bytes) uint8."""
        # By their names: their number would be one of the example's where a lookup is traced.
        return tuple(buffer for name, buffer in self.named_buffers(recurse=False) if name.startswith("codes_"))

    @property
    def codebook(self) -> WindowCodebook:
        """The codebook as trained so far; it shares the memory of the parameters."""
        windows = {count: window for count, window in enumerate(self.windows.tolist()) if window}
        return WindowCodebook(self.bits, self.scales.detach(), windows, self.levels.detach())

    @property
    def code_bits(self) -> int:
        """Count the bits of all codes, and of the groups of rows as they are stored."""
        return 8 * sum(part.numel() for part in self.codes) + self.max_id * group_width(len(self.scales))

    def reshape(self, *, shape: Shape, dtype: torch.dtype, trainable: bool, **kwargs: Any) -> Self:  # noqa: D102
        return type(self)(
            codes=self.codes,
            groups_of_rows=self.groups_of_rows,
            codebook=self.codebook,
            bases=self._reshape_bases(stored_row_shape(shape, dtype)),
            shape=shape,
            dtype=dtype,
            trainable=trainable,
            **kwargs,
        )

    def _score(self, projected: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Score group by group, (*q, columns) -> (*q, max_id) of a dtype."""
        if is_traced(projected):
            return super()._score(projected, dtype=dtype)
        plan = self._current_plan()
        scores_of_groups = []
        for group, layout in enumerate(plan.layouts):
            own = projected.index_select(-1, layout.columns)  # (*q, coded)
            for block in torch.split(self.codes[group], BLOCK_ROWS):
                scores_of_groups.append((own @ self._decode(group, block).to(own.dtype).T).to(dtype))
        scores = torch.cat(scores_of_groups, dim=-1)  # (*q, max_id), group after group
        if plan.places is None or self.groups_of_rows is None:
            return scores
        return scores.index_select(-1, plan.starts.index_select(0, self.groups_of_rows.int()) + plan.places)

    def _rows(self, ids: Tensor) -> Tensor:
        """Make rows, (count,) -> (count, real entries of a row)."""
        if self.bases is None or is_traced(ids):
            return super()._rows(ids)
        split, layouts = self._split(ids), self._current_plan().layouts
        rows_of_groups = [
            self._decode(group, self._take(group, places)) @ self.bases.index_select(0, layouts[group].columns)
            for group, places in split.places.items()
        ]
        return split.put_together(rows_of_groups)

    def _weights(self, ids: Tensor) -> Tensor:
        """Decode weights, (count,) -> (count, columns)."""
        if is_traced(ids):
            return self._weights_of_levels(ids)
        split, layouts = self._split(ids), self._current_plan().layouts
        weights_of_groups = []
        for group, places in split.places.items():
            coded = self._decode(group, self._take(group, places))
            # Column by column in memory, as they are decoded: copying whole columns is faster.
            weights = coded.new_zeros(self.num_bases, len(coded)).index_copy(0, layouts[group].columns, coded.T)
            weights_of_groups.append(weights.T)
        return split.put_together(weights_of_groups)

    def _weights_of_levels(self, ids: Tensor) -> Tensor:
        """Decode weights in operations of which none waits for what the ids are, (count,) -> (count, columns)."""
        numbers, groups = find_levels(ids, self.codes, self.groups_of_rows, bits=self.bits, windows=self.windows)
        levels = self.levels.index_select(0, numbers.clamp(min=0).flatten()).view(numbers.shape)
        weights = levels * self.scales.index_select(0, groups)
        return torch.where(numbers >= 0, weights, torch.zeros((), dtype=weights.dtype, device=weights.device))

    def _take(self, group: int, places: Tensor) -> Tensor:
        return self.get_buffer(f"codes_{group}").index_select(0, places)

    def _decode(self, group: int, codes: Tensor) -> Tensor:
        """Decode rows of a group to the weights of its coded columns, (count, row_bytes) -> (count, coded)."""
        layout = self._current_plan().layouts[group]
        return decode(codes, layout, levels=self.levels, scales=self.scales[group].index_select(0, layout.columns))

    def _split(self, ids: Tensor) -> _Split:
        """Sort ids, (count,), by the groups of their rows.

        Raises:
            IndexError: an id outside 0..max_id - 1, on the CPU.
        """
        places = self._current_plan().places
        if places is None or self.groups_of_rows is None:
            # index_select looks at no id where rows have no bytes.
            if ids.device.type == "cpu":
                self._refuse_ids_outside(ids)
            return _Split({0: ids}, None)
        groups = self.groups_of_rows.index_select(0, ids)
        order = groups.sort(stable=True).indices
        counts = torch.bincount(groups, minlength=len(self.scales)).tolist()
        parts = torch.split(places.index_select(0, ids.index_select(0, order)), counts)
        asked = {group: part for group, part in enumerate(parts) if len(part)}
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        return _Split(asked or {0: parts[0]}, inverse)

    def _current_plan(self) -> _Plan:
        """Give what follows from bits and groups, made anew after they moved or were loaded."""
        if self._plan is None or self._plan.device != self.device:
            with torch.inference_mode(False):  # what inference mode makes could not be used to train later
                self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> _Plan:
        layouts = tuple(layout.to(self.device) for layout in self.codebook.layouts)
        sizes = torch.tensor([len(part) for part in self.codes], device=self.device)
        places = self.groups_of_rows
        if places is not None:
            places = indices_in_groups(places, groups=len(layouts))
        return _Plan(layouts, places, sizes.cumsum(0) - sizes, self.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, and refuse codes that what decodes them does not fit."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._plan = None
        messages: list[str] = args[-1]
        if messages or self.bits.is_meta:
            return
        try:
            _check_codebook(self.codebook)
            _check_codes(self.codes, self.groups_of_rows, self.codebook)
        except ValueError as err:
            messages.append(f"{prefix or 'the state dict'}: {err}")


@dataclass(frozen=True)
class _Plan:
    """Layouts and positions that follow from the bits and the groups of rows.

    Attributes:
        layouts: of each group.
        places: (max_id,) int32 where that is wide enough: which row of its group's codes each row is; None for one
            group.
        starts: (groups,) int64, rows of the groups before each.
        device: where they are.
    """

    layouts: tuple[GroupLayout, ...]
    places: Tensor | None
    starts: Tensor
    device: torch.device


@dataclass(frozen=True)
class _Split:
    """Ids by the groups of their rows.

    Attributes:
        places: group -> (count of the group,) places in its codes.
        inverse: (count,) where in the order of the groups each id is; None where that is the order asked for.
    """

    places: dict[int, Tensor]
    inverse: Tensor | None

    def put_together(self, of_groups: list[Tensor]) -> Tensor:
        """Bring what was found for each group, (count of the group, dim), into the order asked for, (count, dim)."""
        return of_groups[0].contiguous() if self.inverse is None else torch.cat(of_groups).index_select(0, self.inverse)


def _check_codebook(codebook: WindowCodebook) -> None:
    """Refuse a codebook whose parts do not fit together."""
    bits, scales, levels = codebook.bits, codebook.scales, codebook.levels
    if bits.ndim != 2 or not bits.numel() or bits.shape != scales.shape:
        raise ValueError(
            f"bits and scales of a codebook are (groups, columns); got {tuple(bits.shape)} and {tuple(scales.shape)}."
        )
    if len(bits) > GROUPS_MAX:
        raise ValueError(f"rows fall into at most {GROUPS_MAX} groups; the codebook has {len(bits)}.")
    if int(bits.min()) < 0 or int(bits.max()) > HALF_BIT:
        raise ValueError(
            f"a column has 0 to {BITS_MAX} bits, or {HALF_BIT} for half a bit; "
            f"got {int(bits.min())} to {int(bits.max())}."
        )
    if missing := sorted(set(bits.flatten().tolist()) - {0} - set(codebook.windows)):
        raise ValueError(f"the codebook has columns of {missing} bits and windows for {list(codebook.windows)} only.")
    pairs = list(codebook.windows.items())
    own = {count: 1 if count == HALF_BIT else count for count in range(1, HALF_BIT + 1)}
    is_fit = all(count in own and own[count] <= window <= WINDOW_MAX for count, window in pairs)
    if pairs != sorted(pairs) or not is_fit:
        raise ValueError(
            f"windows must be ascending in the bits, each of 1 to {WINDOW_MAX} bits and its column's at least; "
            f"got {dict(pairs)}."
        )
    expected = sum(level_count(count, window) for count, window in pairs)
    if levels.shape != (expected,):
        raise ValueError(f"windows {dict(pairs)} need {expected} levels in one list; got {tuple(levels.shape)}.")


def _check_codes(codes: Sequence[Tensor], groups_of_rows: Tensor | None, codebook: WindowCodebook) -> None:
    """Refuse codes and groups that are not those of a codebook, which is checked."""
    if len(codes) != codebook.groups:
        raise ValueError(f"the codebook has {codebook.groups} groups; got codes of {len(codes)}.")
    for group, (part, layout) in enumerate(zip(codes, codebook.layouts, strict=True)):
        if part.dtype != torch.uint8 or part.ndim != 2 or part.shape[1] != layout.row_bytes:
            raise ValueError(
                f"codes of group {group} must be torch.uint8 (rows, {layout.row_bytes}) by its bits; "
                f"got {part.dtype} {tuple(part.shape)}."
            )
    sizes = [len(part) for part in codes]
    if groups_of_rows is None:
        if len(codes) > 1:
            raise ValueError(f"groups_of_rows is missing: there are {len(codes)} groups.")
        return
    if groups_of_rows.dtype != torch.uint8 or groups_of_rows.shape != (sum(sizes),):
        raise ValueError(
            f"groups_of_rows must be torch.uint8 ({sum(sizes)},), one for each row of codes; "
            f"got {groups_of_rows.dtype} {tuple(groups_of_rows.shape)}."
        )
    counts = torch.bincount(groups_of_rows, minlength=len(sizes)).tolist()
    if counts != sizes:
        raise ValueError(f"groups_of_rows puts {counts} rows into the groups, and their codes have {sizes}.")
