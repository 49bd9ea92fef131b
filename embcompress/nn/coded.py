"""A table whose weights are stored as strings of bits, and decoded where they are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.coding.codebook import Codebook
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_index import RowIndex
from embcompress.nn.coded_base import check_bases, stored_row_shape
from embcompress.nn.coded_strings import CodedStrings
from embcompress.nn.decode_operator import BUFFERS, decode_rows, read_buffers
from embcompress.nn.representation import Shape


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
