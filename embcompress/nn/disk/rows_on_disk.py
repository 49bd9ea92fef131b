"""The common part of modules whose rows stay in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Read = TypeVar("Read")


class RowsOnDisk(nn.Module):
    """A module whose rows are not in its state dict, which holds instead what tells them from others.

    Attributes:
        rows_identity: buffer (3,) int64: crc32 of the tensor that the rows lie in (of several, of what these are
            told by), rows, and bytes.
    """

    rows_identity: Tensor

    def identify_rows(self, *, checksum: str, rows: int, nbytes: int) -> None:
        """Keep what tells the rows from others."""
        self.register_buffer("rows_identity", torch.tensor([int(checksum, 16), rows, nbytes]))

    def _read_outside(self, read: Callable[[Tensor], Read], ids: Tensor) -> Read:
        """Call what reads rows, given ids on the CPU, outside of what torch compiles.

        Raises:
            RuntimeError: while torch.jit traces, which would keep these rows for all ids; under vmap, which hides ids.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError("rows on disk cannot be traced: load the artifact with resident=True.")
        if torch._C._functorch.is_batchedtensor(ids):
            raise RuntimeError("rows on disk cannot be looked up under vmap: look up all ids before, in one call.")
        # As a decorator it would import torch's compiler, two seconds for everyone who never compiles.
        if torch.compiler.is_compiling():
            rows: Read = torch.compiler.disable(read)(ids.cpu())  # type: ignore[no-untyped-call]
            return rows
        return read(ids.cpu())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load parameters, and refuse those that go with other rows."""
        messages: list[str] = args[-1]
        theirs = state_dict.get(prefix + "rows_identity")
        own = self.rows_identity
        if isinstance(theirs, Tensor) and not theirs.is_meta and theirs.tolist() != own.tolist():
            messages.append(
                f"{prefix or 'the state dict'}: it belongs to rows of another file "
                f"(crc32, rows and bytes {theirs.tolist()}; these have {own.tolist()})."
            )
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
