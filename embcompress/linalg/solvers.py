"""The choice of a solver for a table, with its reason; made without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class SolverLoad:
    """The sizes that the memory of a solver depends on.

    Attributes:
        rows: of the table.
        dim: entries of a row; a complex one counts real and imaginary parts.
        rank: the number of bases.
        block_numbers: entries of a block.
    """

    rows: int
    dim: int
    rank: int
    block_numbers: int

    @property
    def side(self) -> int:
        """Rows or columns, whichever are fewer."""
        return min(self.rows, self.dim)


@dataclass(frozen=True)
class Solver:
    """One way to a truncated SVD, whose function is in FUNCTIONS of linalg.svd.

    Attributes:
        numbers: in float64 that it holds at once, of a table beside its blocks.
    """

    numbers: Callable[[SolverLoad], int]


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {
        "dense": Solver(lambda load: 3 * load.rows * load.dim),
        "gram": Solver(lambda load: 6 * load.side**2),
        "qr": Solver(lambda load: 4 * load.side**2 + 2 * load.block_numbers),
        "krylov": Solver(lambda load: 8 * load.dim * (load.rank + max(32, load.rank // 2))),
    }
)

DENSE_ENTRIES_MAX = 2**18  # 2 MB in float64: below this a dense SVD takes milliseconds, whatever its shape
KRYLOV_SIDE_MIN: Mapping[str, int] = MappingProxyType({"cpu": 1024, "cuda": 4096})
# Below this side the Gram matrix and its eigenvectors cost less than the passes of a Krylov space; on a GPU its
# product is nearly free beside the copying of the blocks, which every further pass repeats.
FLOAT64_SIDE_FACTOR = (
    4  # who keeps float64 wants the optimum: a float64 table goes on to Krylov at this many times the side
)
KRYLOV_RANK_SHARE = 1 / 8  # above this share of the smaller side the Krylov space is as wide as the table

MATRICES_BYTES = 64 * 2**20  # of the matrices of a bilinear table that are decomposed at once, in float64
SCORED_ROWS = 2048  # of a table, scored at once: so many scores of 100 queries stay in the cache of a core
# Scores made at once, for however many queries: 20000 of them took 2.9 GB without this, and four times as long.
SCORES_MAX = 2**21


@dataclass(frozen=True)
class SolverChoice:
    """A solver's name and the reason it was chosen, fit for the report."""

    name: str
    reason: str


def select_solver(*, rows: int, dim: int, rank: int, dtype: str, device: str = "cpu") -> SolverChoice:
    """Choose the solver for a table from what is known before reading it.

    Args:
        rows: of the table.
        dim: entries of a row; a complex one counts real and imaginary parts.
        rank: the number of bases.
        dtype: torch's name of the table's dtype.
        device: "cpu" or "cuda".

    Example:
        >>> select_solver(rows=1_000_000, dim=128, rank=8, dtype="float32").name
        'gram'
        >>> select_solver(rows=32_000, dim=2048, rank=64, dtype="float32").name
        'krylov'
    """
    side = min(rows, dim)
    if rows * dim <= DENSE_ENTRIES_MAX:
        return SolverChoice("dense", f"{rows} x {dim} is small enough for an exact SVD in memory")
    side_min = KRYLOV_SIDE_MIN[device] * (FLOAT64_SIDE_FACTOR if dtype == "float64" else 1)
    if side >= side_min and rank <= side * KRYLOV_RANK_SHARE:
        return SolverChoice(
            "krylov", f"both sides are large ({rows} x {dim}) for {rank} bases: a Gram matrix would cost more"
        )
    where = f"the {side} x {side} Gram matrix is small"
    if side >= side_min:
        where = f"{rank} bases are many for a side of {side}"
    return SolverChoice("gram", f"{where}, and one pass over the rows gives the optimum")
