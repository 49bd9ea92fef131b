"""What follows from tensors, kept for as long as their memory lives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

Made = TypeVar("Made")


class MemoryCache(Generic[Made]):
    """Results by the memory of the tensors they were made of: compiled code passes other tensors over the same."""

    def __init__(self) -> None:
        self._results: dict[tuple[int, ...], tuple[tuple[int, ...], list[StorageWeakRef], Made]] = {}

    def __len__(self) -> int:
        return len(self._results)

    def get(self, tensors: Sequence[Tensor], make: Callable[[], Made]) -> Made:
        """Return what was made of tensors; make it anew for those of other memory, or that were written to since."""
        storages = [tensor.untyped_storage() for tensor in tensors]
        key = tuple(storage._cdata for storage in storages)
        state = tuple(
            int(number)
            for tensor in tensors
            for number in (tensor.numel(), tensor.storage_offset(), 0 if tensor.is_inference() else tensor._version)
        )
        if key in self._results and self._results[key][0] == state:
            return self._results[key][2]
        for other, (_, references, _) in list(self._results.items()):
            if any(reference.expired() for reference in references):  # type: ignore[no-untyped-call]
                self._results.pop(other, None)
        made = make()
        # A weak reference keeps the address from being used again.
        references = [StorageWeakRef(storage) for storage in storages]  # type: ignore[no-untyped-call]
        self._results[key] = (state, references, made)
        return made
