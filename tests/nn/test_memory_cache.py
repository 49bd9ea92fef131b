"""MemoryCache: made once for the same memory, anew after a write, and forgotten with the memory."""

from __future__ import annotations

import torch

from embcompress.nn.memory_cache import MemoryCache


def test_cache_keeps_what_was_made_while_the_memory_lives() -> None:
    """Another view of the same memory finds the result; a write and other memory do not, and freed memory is left."""
    cache, made = MemoryCache[int](), iter(range(9))
    tensor = torch.zeros(4)
    assert cache.get([tensor], lambda: next(made)) == 0
    assert cache.get([tensor.detach()], lambda: next(made)) == 0
    tensor.add_(1)
    assert cache.get([tensor], lambda: next(made)) == 1
    assert cache.get([tensor[1:]], lambda: next(made)) == 2
    assert len(cache) == 1
    del tensor
    with torch.inference_mode():
        other = torch.zeros(4)
        assert cache.get([other], lambda: next(made)) == 3
        assert cache.get([other], lambda: next(made)) == 3
    assert len(cache) == 1
