"""The compile of the coder's loops, which the first run on a machine waits for."""

from __future__ import annotations

from pathlib import Path

from embcompress.coding import search_kernels

COMPILING = "the coder is compiled first, once on this machine"


def is_compiled() -> bool:
    """Return whether machine code of the coder's loops is kept on disk, by this or an earlier run."""
    kept = (getattr(kernel, "stats", None) for kernel in vars(search_kernels).values())
    folders = {Path(stats.cache_path) for stats in kept if stats is not None and stats.cache_path}
    return any(any(folder.glob("search_kernels.*.nbi")) for folder in folders)


def with_compile_note(doing: str) -> str:
    """Say in what is being done that the coder is compiled meanwhile, where it is."""
    return doing if is_compiled() else f"{doing} ({COMPILING})"
