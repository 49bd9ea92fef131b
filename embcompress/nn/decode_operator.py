"""The operator of torch that decodes rows of coded tables: embcompress::decode_rows.

torch traces, compiles and exports a call of it as it stands. All that decodes the rows comes with the call, in tensors;
what follows from them is kept for as long as they live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.coding.codebook import read_codebook
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_decoder import RowDecoder
from embcompress.coding.row_index import RowIndex
from embcompress.exceptions import ArtifactError
from embcompress.nn.device_decoder import DeviceTable, decode_on_device, find_kernels
from embcompress.nn.memory_cache import MemoryCache
from embcompress.nn.operators import define_row_operator

# The buffers of a coded table, each of one axis, in the order of the operator's arguments.
BUFFERS = ("codes", "kinds", "lengths", "codebook_bytes")
# Fewer numbers are decoded by one thread: to start others takes longer.
THREADED_NUMBERS = 2**21

_INTEGERS = (torch.int16, torch.int32)
_DTYPES: Mapping[str, tuple[torch.dtype, ...]] = {
    "codes": (torch.uint8,),
    "kinds": _INTEGERS,
    "lengths": _INTEGERS,
    "codebook_bytes": (torch.uint8,),
}


@dataclass(frozen=True)
class HostTable:
    """The buffers of a table as the decoder takes them, on the CPU.

    Attributes:
        codes: (bytes,) uint8, with padding.
        decoder: of the rows.
    """

    codes: NDArray[np.uint8]
    decoder: RowDecoder


def read_buffers(buffers: Mapping[str, Tensor], *, rows: int, rank: int, profiles: int | None) -> HostTable:
    """Read buffers, and check that they fit together; the arguments and what is raised are those of `read_decoder`."""
    decoder = read_decoder(buffers, rows=rows, rank=rank, profiles=profiles)
    return HostTable(_on_host(buffers["codes"]), decoder)


def _on_host(buffer: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = buffer.detach().cpu().contiguous().numpy()
    return array


def read_decoder(buffers: Mapping[str, Tensor], *, rows: int, rank: int, profiles: int | None) -> RowDecoder:
    """Read all buffers but the strings, of which the size is enough, and check that they fit together.

    Args:
        buffers: by the names of BUFFERS.
        rows: of the table.
        rank: columns that are coded.
        profiles: of the centers, if there are any.

    Raises:
        ValueError: they do not fit together; says which.
    """
    for name, allowed in _DTYPES.items():
        buffer = buffers[name]
        if not isinstance(buffer, Tensor) or buffer.dtype not in allowed or buffer.ndim != 1:
            actual = f"{buffer.dtype} {tuple(buffer.shape)}" if isinstance(buffer, Tensor) else type(buffer).__name__
            raise ValueError(f"{name} must be {' or '.join(map(str, allowed))} of one axis; got {actual}.")
    kinds, lengths, stored = (_on_host(buffers[name]) for name in BUFFERS[1:])
    if len(kinds) != rows or len(lengths) != rows:
        raise ValueError(f"kinds and lengths are those of {rows} rows; got {len(kinds)} and {len(lengths)}.")
    try:
        # Bases and centers are parameters of the module; those in the bytes are what they were before training.
        codebook = read_codebook(stored, rank=rank, dim=rank)
    except ArtifactError as err:
        raise ValueError(f"the codebook is damaged, or not one of {rank} columns: {err}") from err
    index = RowIndex(kinds.view(f"uint{8 * kinds.itemsize}"), lengths.view(f"uint{8 * lengths.itemsize}"))
    if int(index.kinds.max()) >= codebook.kinds:
        raise ValueError(f"a row is of kind {int(index.kinds.max())}; the codebook has {codebook.kinds} kinds.")
    if profiles not in {None, len(codebook.classes)}:
        raise ValueError(f"there are centers of {profiles} profiles; the codebook has {len(codebook.classes)}.")
    code_bytes = len(buffers["codes"])
    if code_bytes != index.nbytes + PADDING:
        raise ValueError(
            f"the strings of all rows have {index.nbytes} bytes; "
            f"got codes of {max(code_bytes - PADDING, 0)} and {PADDING} behind them."
        )
    return RowDecoder(index, codebook)


_tables = MemoryCache[HostTable]()
_device_tables = MemoryCache[DeviceTable]()


def host_table(buffers: tuple[Tensor, Tensor, Tensor, Tensor], *, rank: int) -> HostTable:
    """Read buffers, in the order of BUFFERS, or return what was read of the same memory; raises as `read_buffers`."""
    named = dict(zip(BUFFERS, buffers, strict=True))
    return _tables.get(buffers, lambda: read_buffers(named, rows=len(named["kinds"]), rank=rank, profiles=None))


def decode_rows(
    ids: Tensor,
    buffers: tuple[Tensor, Tensor, Tensor, Tensor],
    *,
    rank: int,
    scales: Tensor | None = None,
    centers: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode rows of a coded table, of which nothing is differentiable.

    Args:
        ids: (count,) int64.
        buffers: of a CodedRepresentation, in the order of BUFFERS.
        rank: columns that are coded.
        scales: (rank,) float32, a factor of each column; None for ones.
        centers: (profiles, rank) float32, what is added in rows that are not zeros; None for zeros.

    Returns:
        The numbers, (count, rank) float32, times the step of each row; and the profile of each row, (count,) int64, -1
        for rows of zeros.

    Raises:
        IndexError: an id that is not that of a row; where the kernels of a GPU decode it stops CUDA instead, as in
            torch.nn.functional.embedding.
    """
    decoded: tuple[Tensor, Tensor] = torch.ops.embcompress.decode_rows(ids, *buffers, rank, scales, centers)
    return decoded


def _decode_on_host(
    ids: Tensor,
    codes: Tensor,
    kinds: Tensor,
    lengths: Tensor,
    codebook: Tensor,
    rank: int,
    scales: Tensor | None,
    centers: Tensor | None,
) -> tuple[Tensor, Tensor]:
    # Of codes in memory of the device a copy is kept on the CPU; on the CPU they may be written to.
    table = host_table((codes, kinds, lengths, codebook), rank=rank)
    rows = ids.to("cpu", torch.int64).contiguous()
    numbers = torch.empty(len(rows), rank)
    own_scales, own_centers = (None if part is None else part.detach().cpu().numpy() for part in (scales, centers))
    profiles = table.decoder.decode(
        table.codes,
        rows.numpy(),
        numbers=numbers.numpy(),
        threads=torch.get_num_threads() if numbers.numel() >= THREADED_NUMBERS else 1,
        scales=own_scales,
        centers=own_centers,
    )
    return numbers.to(codes.device), torch.from_numpy(profiles).to(codes.device)


def _decode_on_cuda(
    ids: Tensor,
    codes: Tensor,
    kinds: Tensor,
    lengths: Tensor,
    codebook: Tensor,
    rank: int,
    scales: Tensor | None,
    centers: Tensor | None,
) -> tuple[Tensor, Tensor]:
    tensors = (codes, kinds, lengths, codebook)
    buffers = dict(zip(BUFFERS, tensors, strict=True))

    def make() -> DeviceTable:
        decoder = read_decoder(buffers, rows=len(kinds), rank=rank, profiles=None)
        return DeviceTable.of(decoder, device=codes.device)

    decoded = decode_on_device(
        ids,
        buffers,
        lambda: _device_tables.get(tensors, make),
        scales=scales,
        centers=centers,
        kernels=find_kernels(),
    )
    return _decode_on_host(ids, *tensors, rank, scales, centers) if decoded is None else decoded


def _shapes(ids: Tensor, codes: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    count, rank = ids.shape[0], rest[3]
    return codes.new_empty((count, rank), dtype=torch.float32), codes.new_empty((count,), dtype=torch.int64)


define_row_operator(
    "decode_rows(Tensor ids, Tensor codes, Tensor kinds, Tensor lengths, Tensor codebook, int rank, "
    "Tensor? scales, Tensor? centers) -> (Tensor, Tensor)",
    {"CPU": _decode_on_host, "CUDA": _decode_on_cuda},
    shapes=_shapes,
)
