"""The decoder of rows of coded tables in the memory of a GPU: its tables, and the call of its kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.read_kernels import decoder_tables
from embcompress.coding.symbols import load_symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embcompress.coding.codebook import Codebook
    from embcompress.coding.row_decoder import RowDecoder


@dataclass(frozen=True)
class DeviceTable:
    """What decodes the rows of a table beside its strings and their lengths, on one device.

    Attributes:
        before: int64, the bytes before each of SPACING rows.
        kind_layouts: (kinds,) int64.
        kind_profiles: (kinds,) int64, -1 for rows of zeros.
        kind_steps: (kinds,) float32.
        step_codes: (layouts * columns,) int32, as `lanes` reads them.
        columns: (layouts * columns,) int32, the column of each step.
        sizes: (layouts,) int64, steps that decode a number.
        taps: `Trellis.taps`.
        rank: columns.
    """

    before: Tensor
    kind_layouts: Tensor
    kind_profiles: Tensor
    kind_steps: Tensor
    step_codes: Tensor
    columns: Tensor
    sizes: Tensor
    taps: tuple[int, int]
    rank: int

    @classmethod
    def of(cls, decoder: RowDecoder, *, device: torch.device) -> DeviceTable:
        """Copy what follows from an index and a codebook to a device."""
        codebook: Codebook = decoder.codebook
        steps = codebook.steps_of_layouts

        def to(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            before=to(decoder.index.before),
            kind_layouts=to(codebook.kind_layouts),
            kind_profiles=to(codebook.center_profiles),
            kind_steps=to(codebook.kind_steps),
            step_codes=to(steps.codes.view(np.int32).ravel()),
            columns=to(steps.columns.ravel()),
            sizes=to(steps.sizes),
            taps=codebook.trellis.taps,
            rank=codebook.rank,
        )


@cache
def _symbol_tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Copy the tables of all symbols to a device: slots uint8, entries below levels int64, first symbols int32."""
    tables, symbols = decoder_tables(), load_symbols()
    # Both codes have the same levels, also where there are raw bits; what is left stands for steps without a number.
    levels = np.tile((symbols.entries >> np.uint64(32)).ravel(), 2) << np.uint64(32)
    entries = tables.entries & np.uint64(2**32 - 1)
    entries[: len(levels)] |= levels
    arrays = (tables.slots, entries.view(np.int64), tables.starts.astype(np.int32))
    slots, both, starts = (torch.from_numpy(array).to(device) for array in arrays)
    return slots, both, starts


@cache
def find_kernels() -> Any:
    """Import the kernels; None without Triton, which takes two seconds to import and does not come with every torch."""
    try:
        from embcompress.coding import triton_kernels
    except ImportError:
        return None
    return triton_kernels


# Kernels, and devices that they do not run on.
_refused: set[tuple[Any, torch.device]] = set()


def decode_on_device(
    ids: Tensor,
    buffers: Mapping[str, Tensor],
    make_table: Callable[[], DeviceTable],
    *,
    scales: Tensor | None,
    centers: Tensor | None,
    kernels: Any,
) -> tuple[Tensor, Tensor] | None:
    """Decode rows where their strings are; but for the first time nothing waits for the device.

    Args:
        ids: (count,) integers.
        buffers: of a CodedRepresentation, by name.
        make_table: gives what follows from them.
        scales: (rank,) float32, a factor of each column; None for ones.
        centers: (profiles, rank) float32, what is added in rows that are not zeros; None for zeros.
        kernels: as find_kernels gives them.

    Returns:
        The numbers, (count, rank) float32, and the profile of each row, (count,) int64, as `decode_rows` does; None
        where the kernels do not run, of which a warning tells once. An id that is not that of a row stops CUDA, as in
        torch.nn.functional.embedding.
    """
    codes, kinds, lengths = (buffers[name].contiguous() for name in ("codes", "kinds", "lengths"))
    device = codes.device
    if kernels is None or (kernels, device) in _refused:
        return None
    table, rows = make_table(), ids.to(device, torch.int64).contiguous()
    # Refuses ids outside.
    own_kinds = kinds.index_select(0, rows)
    numbers = torch.empty(len(rows), table.rank, device=device)
    profiles = torch.empty(len(rows), dtype=torch.int64, device=device)
    if not len(rows):
        return numbers, profiles
    own_scales, own_centers = (None if part is None else part.detach().contiguous() for part in (scales, centers))
    slots, entries, starts = _symbol_tables(device)
    try:
        # Triton starts kernels on the current device.
        with torch.cuda.device_of(codes):  # type: ignore[no-untyped-call]
            kernels.decode(
                rows, own_kinds, codes, lengths, table.before, table.kind_layouts, table.kind_profiles,
                table.kind_steps, table.step_codes, table.columns, table.sizes, slots, entries, starts,
                numbers if own_scales is None else own_scales, numbers if own_centers is None else own_centers,
                numbers, profiles, count=len(rows), rows=len(kinds), width=table.rank, odd_taps=table.taps[0],
                set_taps=table.taps[1], kind_mask=_mask(kinds), length_mask=_mask(lengths),
                has_scales=own_scales is not None, has_centers=own_centers is not None,
            )  # fmt: skip
    except kernels.REFUSALS as err:
        _refused.add((kernels, device))
        warnings.warn(
            f"coded rows on {device} are decoded by the CPU, which is slower: Triton does not run there ({err}).",
            stacklevel=2,
        )
        return None
    return numbers, profiles


def _mask(numbers: Tensor) -> int:
    """Return the bits of an unsigned integer that is held by a signed one."""
    return (1 << 8 * numbers.element_size()) - 1
