"""New rows for new ids: drawn by an initializer or from a fit to known rows, and constrained."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from embcompress.choices import FITTED, Choice
from embcompress.exceptions import UsageError
from embcompress.linalg.blocks import full_float32, product_dtype
from embcompress.nn.constrainers import CONSTRAINERS
from embcompress.nn.initializers import INITIALIZERS

DRAWN_IDS = 1024  # drawn together from one seed, whatever the blocks: part of what a seed means, so it stays


@dataclass(frozen=True)
class Fitted:
    """Statistics of the known rows, in float64.

    Attributes:
        mean: (dim,).
        factor: (k, dim), F with F^T F the covariance; only for "gaussian".
    """

    mean: Tensor
    factor: Tensor | None = None


class RowDraw:
    """Rows for ids, the same for an id whatever else is drawn: by seed, table and id alone.

    Args:
        method: of METHODS.
        shape: of one row, as it is stored: complex ones with their pairs in a last axis.
        dtype: real, of the rows.
        seed: of all draws.
        name: of the table, so that two tables of one seed differ.
        fitted: what was measured of the known rows, for the methods of FITTED.

    Raises:
        UsageError: arguments that the method does not take.

    Example:
        >>> draw = RowDraw(Choice("uniform"), shape=(2,), dtype=torch.float32, seed=0, name="t")
        >>> bool((draw(torch.tensor([7, 3]))[1] == draw(torch.tensor([3]))[0]).all())
        True
    """

    def __init__(
        self,
        method: Choice,
        *,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        seed: int,
        name: str,
        fitted: Fitted | None = None,
    ) -> None:
        self.method = method
        self.shape = shape
        self.dtype = dtype
        self.seed = seed
        self.name = name
        self.fitted = fitted
        self._group, self._drawn = -1, torch.empty(0)  # the latest: the next ids are often of the same
        takes = () if method.name in FITTED else inspect.signature(INITIALIZERS[method.name]).parameters
        check_arguments(method, takes, option="--method")

    def __call__(self, ids: Tensor) -> Tensor:
        """Draw the rows of ids, (count,) -> (count, *shape)."""
        rows = torch.empty(len(ids), *self.shape, dtype=self.dtype)
        groups = ids // DRAWN_IDS
        for group in sorted(set(groups.tolist())):
            positions = (groups == group).nonzero().squeeze(1)
            if group != self._group:
                self._group, self._drawn = group, self._draw_group(group)
            rows[positions] = self._drawn[ids[positions] - group * DRAWN_IDS].to(self.dtype)
        return rows

    def _draw_group(self, group: int) -> Tensor:
        """Draw the rows of all ids of a group, (DRAWN_IDS, *shape), in at least float32."""
        dtype = product_dtype(self.dtype)
        rows = torch.empty(DRAWN_IDS, *self.shape, dtype=dtype)
        if self.method.name == "zeros":
            return rows.zero_()
        generator = Generator().manual_seed(_seed_of(self.seed, self.name, group))
        if self.method.name not in FITTED:
            return INITIALIZERS[self.method.name](rows, generator=generator, **self.method.arguments)
        assert self.fitted is not None, f"{self.method.name} is fitted to rows"
        flat = self.fitted.mean.to(dtype).expand(DRAWN_IDS, -1)
        if self.method.name == "gaussian":
            assert self.fitted.factor is not None
            noise = torch.randn(DRAWN_IDS, len(self.fitted.factor), dtype=dtype, generator=generator)
            with full_float32():
                flat = flat + noise @ self.fitted.factor.to(dtype)
        return flat.reshape(rows.shape)


def check_request(method: Choice, constrainer: Choice | None, *, shape: tuple[int, ...], dtype: str) -> None:
    """Try a method and a constrainer on rows of ones, before any work is done.

    Args:
        method: of METHODS.
        constrainer: of CONSTRAINERS, or None.
        shape: of one row.
        dtype: torch's name of the table's.

    Raises:
        UsageError: they do not take their arguments, or such rows.
    """
    kind: torch.dtype = getattr(torch, dtype)
    stored = (*shape, 2) if kind.is_complex else shape
    rows = torch.ones(1, *stored, dtype=torch.float32)
    if method.name not in FITTED:
        function = INITIALIZERS[method.name]
        check_arguments(method, inspect.signature(function).parameters, option="--method")
        try:
            drawn = function(rows.clone(), generator=Generator().manual_seed(0), **method.arguments)
        except (TypeError, ValueError, RuntimeError) as err:
            raise UsageError(f"--method {method}: {str(err).splitlines()[0]}") from err
        if not bool(torch.isfinite(drawn).all()):
            raise UsageError(f"--method {method} draws rows that are not finite.")
    if constrainer is not None:
        bound = bind_constrainer(constrainer)
        try:
            bound(torch.view_as_complex(rows) if kind.is_complex else rows)
        except (TypeError, ValueError, RuntimeError) as err:
            raise UsageError(f"--constrainer {constrainer}: {str(err).splitlines()[0]}") from err


def bind_constrainer(choice: Choice | None) -> Callable[[Tensor], Tensor]:
    """Make a function of rows (count, *shape) from a choice of CONSTRAINERS; None leaves rows as they are.

    Raises:
        UsageError: arguments that the constrainer does not take, or lacks.
    """
    if choice is None:
        return lambda rows: rows
    function = CONSTRAINERS[choice.name]
    parameters = inspect.signature(function).parameters
    check_arguments(choice, parameters, option="--constrainer")
    try:
        function(torch.ones(1, 2), **choice.arguments)
    except (TypeError, ValueError) as err:
        raise UsageError(
            f"--constrainer {choice}: {err}", hint="Give arguments as in --constrainer clamp_norm:maxnorm=1."
        ) from err
    return partial(function, **choice.arguments)


def check_arguments(choice: Choice, takes: Collection[str], *, option: str) -> None:
    """Refuse arguments that a choice does not take.

    Raises:
        UsageError: there are some; names those that it takes.
    """
    known = [name for name in takes if name not in {"x", "generator", "dim"}]
    for name in choice.arguments:
        if name not in known:
            raise UsageError(f"{option} {choice.name} takes {', '.join(known) or 'no arguments'}; got {name!r}.")


def _seed_of(seed: int, name: str, group: int) -> int:
    """Mix a seed of torch's generators from what a draw depends on."""
    digest = hashlib.blake2b(f"{seed}/{group}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
