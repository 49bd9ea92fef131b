"""Which levels a table's numbers get, and what squared error they leave at each number of bits."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from embcompress.coding.codebook import Codebook, GroupLayout, read_levels
from embcompress.coding.constants import BITS_MAX, HALF_BIT, KINDS, WINDOW_MAX
from embcompress.coding.scalar import Histogram
from embcompress.coding.trained_levels import LEVELS_IN_BASE_85
from embcompress.coding.trellis import STATES, borders_between, encode, encode_scalar, spread_levels

MEASURED_NUMBERS = 2**15  # on which a trellis is measured, for each number of bits
MEASURED_COLUMNS = 256


RATES = (0.0, 0.5, *map(float, range(1, BITS_MAX + 1)))  # bits that a column may have: the rungs of a ladder
CODES = (0, HALF_BIT, *range(1, BITS_MAX + 1))  # what a codebook calls each


@dataclass(frozen=True)
class LevelTables:
    """Levels for each number of bits, in units of the columns' scales.

    Attributes:
        tables: code of a rung -> (2^window,) float32, representable in float16, ascending where the window is the own
            bits; for half a bit (2 * 2^window,), of the first and of the second of a pair.
        distortions: (rungs,) float64, the squared error of numbers of unit variance; 1 for no bits, infinite where
            there are no levels.
    """

    tables: Mapping[int, Tensor]
    distortions: Tensor

    @classmethod
    def of_codebook(cls, book: Codebook) -> LevelTables:
        """Take the levels of a codebook, to encode further rows with; what they leave was not measured: NaN."""
        sizes = [(1 << window) * (2 if code == HALF_BIT else 1) for code, window in book.windows.items()]
        tables = dict(zip(book.windows, torch.split(book.levels, sizes), strict=True))
        return cls(tables, torch.full((len(RATES),), math.nan, dtype=torch.float64))

    @cached_property
    def windows(self) -> dict[int, int]:
        """Code of a rung -> bits of its window."""
        return {
            code: (len(table) // (2 if code == HALF_BIT else 1)).bit_length() - 1 for code, table in self.tables.items()
        }

    @cached_property
    def spread(self) -> Tensor:
        """The level of each kind and state, (KINDS, STATES)."""
        result = torch.zeros(KINDS, STATES)
        for code, table in self.tables.items():
            if code == HALF_BIT:
                result[HALF_BIT:] = torch.stack([spread_levels(part) for part in table.chunk(2)])
            else:
                result[code] = spread_levels(table)
        return result

    @cached_property
    def borders(self) -> Tensor:
        """What lies between the levels of scalar tables, (BITS_MAX + 1, 2^BITS_MAX - 1)."""
        result = torch.full((BITS_MAX + 1, (1 << BITS_MAX) - 1), torch.inf)
        for code, table in self.tables.items():
            if self.windows[code] == code:
                result[code, : len(table) - 1] = borders_between(table)
        return result

    @cached_property
    def flat(self) -> Tensor:
        """All tables one after the other, as a codebook has them."""
        return torch.cat(list(self.tables.values()))

    def only(self, codes: Iterable[int]) -> LevelTables:
        """Keep the tables of some rungs, in the order given."""
        return LevelTables({code: self.tables[code] for code in codes}, self.distortions)

    def without_halves(self) -> LevelTables:
        """Leave half bits out, whose levels take twice the bytes of others."""
        tables = {code: table for code, table in self.tables.items() if code != HALF_BIT}
        return LevelTables(tables, torch.where(torch.tensor(CODES) == HALF_BIT, torch.inf, self.distortions))

    def encode(self, values: Tensor, layout: GroupLayout, *, weights: Tensor) -> Tensor:
        """Encode rows (rows, coded) in the order of the string: by the trellis, or number by number where that is all.

        Args:
            values: in units of the columns' scales.
            layout: of the group.
            weights: (coded,) what a squared error costs in each column, 1 at most.
        """
        if all(self.windows.get(kind) == kind for kind in torch.unique(layout.kinds).tolist()):
            return encode_scalar(values, layout.own_bits, borders=self.borders.to(values.device))
        levels = self.spread.to(values.device)
        return encode(values, layout.own_bits, weights=weights, levels=levels, kinds=layout.kinds)


def fit_levels(numbers: Tensor, *, row_weights: Tensor, has_trellis: bool) -> tuple[LevelTables, ...]:
    """Fit levels to numbers of unit mean square, and measure what they leave.

    Args:
        numbers: (rows, columns) float32; columns without variance hold zeros, and are left out.
        row_weights: (rows,) float32, how much the squared error of each row counts.
        has_trellis: whether levels of the trellis compete, too.

    Returns:
        What competes: Lloyd-Max levels of these numbers, and those of the trellis where they are better.
    """
    used = numbers[:, numbers.any(dim=0)]
    if not used.numel():
        used = torch.zeros(1, 1)
        row_weights = torch.ones(1)
    if not bool(row_weights.any()):
        row_weights = torch.ones(len(used))
    seen = Histogram()
    seen.add(used, row_weights=row_weights)
    tables = {bits: seen.fit(1 << bits).half().float() for bits in range(1, BITS_MAX + 1)}
    errors = {bits: _scalar_error(used, table, row_weights) for bits, table in tables.items()}
    fitted = [_level_tables(tables, errors)]
    if has_trellis:
        better = {
            code: (table, error)
            for code, table in trained_levels().items()
            if (error := _trellis_error(used, code, table, row_weights)) < errors.get(code, 1.0)
        }
        if better:
            tables |= {code: table for code, (table, _) in better.items()}
            errors |= {code: error for code, (_, error) in better.items()}
            fitted.append(_level_tables(tables, errors))
    return tuple(fitted)


def _level_tables(tables: Mapping[int, Tensor], errors: Mapping[int, float]) -> LevelTables:
    left = [1.0, *(errors.get(code, torch.inf) for code in CODES[1:])]
    return LevelTables(dict(tables), torch.tensor(left, dtype=torch.float64))


@cache
def trained_levels() -> dict[int, Tensor]:
    """Give the levels of the trellis for numbers of a normal distribution: code of a rung -> its table, float32."""
    return {
        code: torch.frombuffer(bytearray(base64.b85decode(text)), dtype=torch.float16).float()
        for code, text in LEVELS_IN_BASE_85.items()
    }


def _scalar_error(numbers: Tensor, levels: Tensor, row_weights: Tensor) -> float:
    nearest = levels[torch.bucketize(numbers, borders_between(levels))]
    return _weighted_mean((nearest - numbers).square(), row_weights)


def _trellis_error(numbers: Tensor, code: int, levels: Tensor, row_weights: Tensor) -> float:
    """Measure the mean squared error of some of the numbers, all columns of one rung."""
    columns = min(MEASURED_COLUMNS, numbers.shape[1])
    if code == HALF_BIT:
        if columns < 2:
            return math.inf
        columns -= columns % 2
    step = numbers.shape[1] // columns
    part = numbers[:, : columns * step : step]
    # Rows are taken as often as they count, so that few tell as much as many would.
    wanted = max(1, MEASURED_NUMBERS // columns)
    if wanted < len(part):
        shares = row_weights.to(torch.float64).cumsum(0) / float(row_weights.sum(dtype=torch.float64))
        places = (torch.arange(wanted, dtype=torch.float64) + 0.5) / wanted
        part, row_weights = part[torch.searchsorted(shares, places).clamp_max(len(part) - 1)], torch.ones(wanted)
    return _weighted_mean(code_alike(part, code, levels).errors.square(), row_weights)


def _weighted_mean(squares: Tensor, row_weights: Tensor) -> float:
    """Average squares (rows, columns), rows counted by their weights (rows,)."""
    means = squares.mean(dim=1, dtype=torch.float64)
    weights = row_weights.to(torch.float64)
    return float(means.dot(weights) / weights.sum())


@dataclass(frozen=True)
class CodedAlike:
    """Numbers that were coded with levels of one rung.

    Attributes:
        numbers: (rows, columns) int32, which of the levels each has got.
        errors: (rows, columns), what it is off by.
    """

    numbers: Tensor
    errors: Tensor


def code_alike(numbers: Tensor, code: int, levels: Tensor) -> CodedAlike:
    """Encode and decode numbers (rows, columns) with the levels of one rung of the trellis in every column."""
    columns = numbers.shape[1]
    book = Codebook(
        bits=torch.full((1, columns), code, dtype=torch.uint8),
        scales=torch.ones(1, columns),
        windows={code: WINDOW_MAX},
        levels=levels,
    )
    (layout,) = book.layouts
    tables = LevelTables({code: levels}, torch.empty(0))
    codes = tables.encode(numbers, layout, weights=torch.ones(columns))
    found = read_levels(codes, layout)
    return CodedAlike(found, levels[found] - numbers)
