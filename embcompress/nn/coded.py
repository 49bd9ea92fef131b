"""A table whose weights are stored as strings of bits, and decoded where they are looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.coding.codebook import Codebook
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_index import RowIndex
from embcompress.nn.coded_base import check_bases, stored_row_shape
from embcompress.nn.coded_strings import CodedStrings
from embcompress.nn.decode_operator import BUFFERS, HostTable, decode_rows, host_table, read_buffers
from embcompress.nn.direct_rows import DirectTable
from embcompress.nn.representation import Shape


class _Plan(NamedTuple):
    """What was made of buffers, their state then, and the buffers: so that no other has the address of one."""

    state: list[int]
    buffers: tuple[Tensor, ...]
    host: HostTable


class CodedRepresentation(CodedStrings):
    """Rows whose weights over shared bases are coded (quantized), and decoded by each lookup.

    `row[i] = sum_k (scales[k] * steps[i] * numbers[i, k] + centers[p, k]) * bases[k]`, where the string of row i holds
    the numbers, its kind tells its step and its profile p, and rows of zeros have no center. Without bases the weights
    are the entries of the row. Made by `from_codes`.

    A lookup decodes the strings of its rows and never builds the table. Strings on a GPU are decoded there where Triton
    runs, else on the CPU. Bases, scales and centers train, codes do not. These parameters are kept in float32 at least:
    `half()` and `to(dtype)` change the dtype of the rows, not how they are decoded. A state dict holds all that decodes
    the rows, and loads into a module of as many rows, columns and profiles. torch compiles, exports and traces a lookup
    as one operator, embcompress::decode_rows.

    Attributes:
        bases: parameter (columns, real entries of a row), complex entries as pairs; None where the table's own columns
            are coded.
        scales: parameter (columns,), the gain of each: ones in a new table.
        centers: parameter (profiles, columns); None where all are zeros.
        codes: buffer (bytes,) uint8, one string behind the other, with read_kernels.PADDING bytes behind the last.
        kinds: buffer (max_id,) int16 or int32, which hold the bits of the unsigned integers.
        lengths: buffer (max_id,), bytes of each string: int16 or int32, which hold the bits of the unsigned integers.
        codebook_bytes: buffer (bytes,) uint8, Codebook.to_bytes(); bases and centers in it are those before training.

    Source: docs/artifact.md, tables whose coding is "coded".

    Example:
        >>> import numpy as np
        >>> from embcompress.coding.codebook import Codebook
        >>> from embcompress.coding.row_index import make_row_index
        >>> from embcompress.coding.coder import encode_block
        >>> values = torch.tensor([[3.1, -5.2], [0.0, 0.0]])
        >>> none, kinds = np.zeros(2, np.int64), np.array([1, 0])
        >>> codebook = Codebook(8, 2, (0.25,), none, none, none, none, np.array([[16, 16]]))
        >>> block = encode_block(values, kinds, codebook=codebook, threads=1)
        >>> table = CodedRepresentation.from_codes(
        ...     codes=torch.from_numpy(block.strings),
        ...     index=make_row_index(kinds, block.lengths),
        ...     codebook=codebook,
        ...     bases=None,
        ...     shape=2,
        ...     dtype=torch.float32,
        ... )
        >>> table(torch.tensor([0, 1])).round().tolist()
        [[3.0, -5.0], [0.0, 0.0]]
    """

    centers: nn.Parameter | None
    codes: Tensor
    kinds: Tensor
    lengths: Tensor
    codebook_bytes: Tensor

    def __init__(
        self,
        *,
        buffers: Mapping[str, Tensor],
        bases: Tensor | None,
        scales: Tensor,
        centers: Tensor | None,
        shape: Shape,
        dtype: torch.dtype,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(len(buffers["kinds"]), shape, dtype=dtype, bases=bases, trainable=trainable, **kwargs)
        self.scales = self._parameter(scales, trainable)
        self.centers = None if centers is None else self._parameter(centers, trainable)
        for name in BUFFERS:
            self.register_buffer(name, buffers[name])

    @classmethod
    def from_codes(
        cls,
        *,
        codes: Tensor,
        index: RowIndex,
        codebook: Codebook,
        bases: Tensor | None,
        shape: Shape,
        dtype: torch.dtype,
        trainable: bool = True,
        **kwargs: Any,
    ) -> CodedRepresentation:
        """Take given codes; `reset_parameters` leaves everything as it is.

        Args:
            codes: (bytes,) uint8, the strings of the rows, one behind the other. They are copied, but where
                read_kernels.PADDING bytes of any value follow the last.
            index: the kinds of the rows and the bytes of their strings.
            codebook: what decodes them; its rotation is kept beside `bases`, for those who write it again.
            bases: (columns, *shape) of a float dtype, with a last axis of 2 for a complex table; None where the table's
                own columns are coded: then they are the real entries of a row, complex ones as pairs.
            shape: of one row.
            dtype: of the rows that lookups return, real or complex.
            trainable: whether gradients reach bases, scales and centers.
            kwargs: normalizer, normalizer_kwargs, regularizer and dropout, as in Representation.

        Raises:
            ValueError: parts of sizes or dtypes that do not fit together; says which.
        """
        check_bases(bases, columns=codebook.rank, stored_shape=stored_row_shape(shape, dtype))
        if codes.dtype == torch.uint8 and codes.shape == (index.nbytes,):
            codes = torch.cat([codes, codes.new_zeros(PADDING)])
        buffers = {
            "codes": codes,
            "kinds": _keep_bits(index.kinds),
            "lengths": _keep_bits(index.lengths),
            "codebook_bytes": torch.tensor(codebook.to_bytes()),
        }
        read_buffers(buffers, rows=len(index.kinds), rank=codebook.rank, profiles=None)
        scales = codebook.column_scales
        centers = codebook.centers
        return cls(
            buffers=buffers,
            bases=bases,
            scales=torch.ones(codebook.rank) if scales is None else torch.tensor(scales),
            centers=None if centers is None else torch.tensor(centers),
            shape=shape,
            dtype=dtype,
            trainable=trainable,
            **kwargs,
        )

    def reshape(self, *, shape: Shape, dtype: torch.dtype, trainable: bool, **kwargs: Any) -> Self:  # noqa: D102
        centers = self.centers
        return type(self)(
            buffers=self._own_buffers(),
            bases=self._reshape_bases(stored_row_shape(shape, dtype)),
            scales=self.scales.detach(),
            centers=None if centers is None else centers.detach(),
            shape=shape,
            dtype=dtype,
            trainable=trainable,
            **kwargs,
        )

    @property
    def code_bits(self) -> int:
        """Count the bits of all strings; what tells their kinds and lengths is not counted."""
        return 8 * (self.codes.numel() - PADDING)

    def _decode(self, ids: Tensor, **factors: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decode strings: the arguments and results of `decode_rows`."""
        buffers = (self.codes, self.kinds, self.lengths, self.codebook_bytes)
        return decode_rows(ids, buffers, rank=self.num_bases, **factors)

    def look_up(self, indices: Tensor | None) -> Tensor:  # noqa: D102 - as in CodedRows
        ids = self._all_ids() if indices is None else indices
        # A mode, such as one that traces, is to see the operator.
        if not self._is_direct(ids) or torch._C._len_torch_dispatch_stack():
            return super().look_up(indices)
        rows = self._direct().rows(ids if ids.ndim == 1 else ids.flatten(), dtype=self._real_dtype)
        if rows.shape != (*ids.shape, *self.stored_shape):
            rows = rows.view(*ids.shape, *self.stored_shape)
        return torch.view_as_complex(rows) if self.is_complex else rows

    def _weights(self, ids: Tensor) -> Tensor:
        if not self._is_direct(ids) or torch._C._len_torch_dispatch_stack():
            return super()._weights(ids)
        return self._direct().weights(ids)

    def _weight_scorer(self, projected: Tensor, *, dtype: torch.dtype) -> Callable[[int, int], Tensor]:
        if not self._is_scored_directly(projected):
            return super()._weight_scorer(projected, dtype=dtype)
        score = self._direct().scorer(projected)
        return lambda first, last: score(first, last).to(dtype)

    def _score_threads(self, projected: Tensor) -> int:
        # A mode is one of its own thread, and would see nothing of others.
        is_apart = self._is_scored_directly(projected) and not torch._C._len_torch_dispatch_stack()
        return torch.get_num_threads() if is_apart else 1

    def _is_scored_directly(self, projected: Tensor) -> bool:
        return projected.dtype == torch.float32 and self._is_direct(projected)

    def _is_direct(self, tensor: Tensor) -> bool:
        """Tell whether rows are decoded here and now for a tensor of ids or queries: no graph is to know of it."""
        if torch.compiler.is_compiling():
            return False
        scales = self.scales
        if torch.is_grad_enabled() and any(
            part is not None and part.requires_grad for part in (tensor, scales, self.bases, self.centers)
        ):
            return False
        return (
            type(tensor) is Tensor
            and tensor.is_cpu
            and scales.is_cpu
            and scales.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch._C._get_tracing_state() is None
            # No transform of torch.func goes on.
            and torch._C._functorch.peek_interpreter_stack() is None
        )

    def _direct(self) -> DirectTable:
        """Make what decodes rows, or take what was made, if the buffers are the same and were not written to."""
        own = self._buffers
        buffers = (own["codes"], own["kinds"], own["lengths"], own["codebook_bytes"])
        state = []
        for buffer in buffers:
            assert buffer is not None
            state += [id(buffer), buffer.data_ptr(), 0 if buffer.is_inference() else buffer._version]
        plan = self._plan
        if not isinstance(plan, _Plan) or plan.state != state:
            held = (self.codes, self.kinds, self.lengths, self.codebook_bytes)
            self._plan = plan = _Plan(state, held, host_table(held, rank=self.num_bases))
        scales, bases, centers = self.scales, self.bases, self.centers
        return DirectTable(
            plan.host,
            None if bases is None else bases.detach(),
            scales.detach(),
            None if centers is None else centers.detach(),
        )

    def _own_buffers(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(name) for name in BUFFERS}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load codes of any length, and refuse those that what decodes them does not fit.

        They are refused before anything is loaded: the decoder trusts the lengths of strings.
        """
        messages: list[str] = args[-1]
        own = self._own_buffers()
        buffers = {name: state_dict.get(prefix + name, buffer) for name, buffer in own.items()}
        try:
            if not any(isinstance(buffer, Tensor) and buffer.is_meta for buffer in buffers.values()):
                profiles = None if self.centers is None else len(self.centers)
                read_buffers(buffers, rows=self.max_id, rank=self.num_bases, profiles=profiles)
        except ValueError as err:
            messages.append(f"{prefix or 'the state dict'}: {err}")
            return
        for name, buffer in own.items():
            if prefix + name in state_dict:
                self.register_buffer(name, torch.empty_like(buffers[name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _keep_bits(numbers: NDArray[Any]) -> Tensor:
    """Copy unsigned integers into a tensor of signed ones with the same bits: torch knows little of unsigned ones."""
    narrow = numbers if numbers.dtype.kind == "u" and numbers.itemsize in {2, 4} else numbers.astype("uint32")
    return torch.tensor(narrow.view(f"int{8 * narrow.itemsize}"))
