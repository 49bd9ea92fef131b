"""Train the tables that embcompress ships: writes embcompress/coding/symbols.npz, a minute long.

For each class of columns the levels start at the whole steps, the frequencies at those of a normal variable. Normal
samples are encoded; each level moves to the mean of what fell on it, each frequency to what was counted, both made
symmetric, and so on. Tables that serve the classes with raw bits have the frequencies of a normal variable.

The tables are part of the format: files that were written with others cannot be read.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from embcompress.coding.search_kernels import search
from embcompress.coding.symbols import (
    CLASS_MIN,
    PER_OCTAVE,
    SLOPE,
    SLOTS,
    TABLES,
    TABLES_FILE,
    TRAINED,
    Symbols,
    make_symbols,
    trellis_of,
)

STATES = 8
ROWS, COLUMNS = 1500, 256  # of one round
ROUNDS = 50
AVERAGED = 25  # of the last rounds, whose counts are added up
MEASURED_ROWS = 8000  # of the rates and distortions
REACH = 4.3  # deviations that the entries of a table reach; escapes are beyond
SPARE_FROM = 0.75  # steps: narrower classes need no entries to spare
ENTRIES_MAX = 96
FEW = 60  # a level on which fewer samples fell stays where it is
STEP_ERROR = 0.25  # the squared error, in squared steps, that SLOPE belongs to


def to_frequencies(shares: np.ndarray) -> np.ndarray:
    """Round shares to whole numbers of slots, each at least 1, SLOTS in all."""
    counts = np.maximum(1, np.rint(shares / shares.sum() * SLOTS)).astype(np.int64)
    while (left := SLOTS - int(counts.sum())) != 0:
        largest = int(counts.argmax())
        counts[largest] += left if abs(left) < counts[largest] // 2 else -(counts[largest] // 4)
    return counts


def normal_shares(edges: np.ndarray) -> np.ndarray:
    """Compute the share of a normal variable between edges in deviations."""
    normal = NormalDist()
    return np.maximum(np.diff([normal.cdf(edge) for edge in edges]), 1e-9)


def start_tables() -> Symbols:
    """Make the tables that training starts from; those for raw bits are final."""
    starts, counts = np.zeros(2 * TABLES, np.int64), np.zeros(2 * TABLES, np.int64)
    frequencies = np.zeros((2 * TABLES, ENTRIES_MAX), np.int64)
    levels = np.zeros((2 * TABLES, ENTRIES_MAX), np.float32)
    for number in range(TABLES):
        deviation = 2.0 ** ((number + CLASS_MIN) / PER_OCTAVE)
        for which in range(2):
            table = 2 * number + which
            if number >= TRAINED:
                most = min(int(REACH * deviation / 4) + 2, ENTRIES_MAX // 2)
                symbols = np.arange(-most, most)
                edges = (4.0 * np.append(symbols, most) + which - 1) / deviation
            else:
                # Escapes cost a bit more, so that the last entries must be rare.
                spare = 2 if deviation > SPARE_FROM else 1
                most = min(max(int((REACH * deviation - which) / 2) + spare, 2), ENTRIES_MAX // 2 - 1)
                symbols = np.arange(-most, most + 1 - which)
                inner = 2.0 * symbols[1:] + which - 1
                edges = np.concatenate([[-1e3], inner, [1e3]]) / deviation
                levels[table, : len(symbols)] = 2 * symbols + which
            starts[table], counts[table] = symbols[0], len(symbols)
            frequencies[table, : len(symbols)] = to_frequencies(normal_shares(edges))
    model = np.zeros((TABLES, 8), np.float32)
    symbols = make_symbols(
        starts=starts,
        counts=counts,
        frequencies=frequencies,
        levels=levels,
        model=model,
        rates=np.zeros(TABLES),
        distortions=np.zeros(TABLES),
    )
    for number in range(TABLES):
        model[number] = fit_model(symbols, number)
    return symbols


def fit_model(symbols: Symbols, number: int) -> np.ndarray:
    """Fit what the encoder reckons with to the tables of a class.

    Bits of a level v of set a: own[a] + square v^2, of 0 in set 0 a number of its own, and no more than at the end of
    the table; levels drawn to 0 by a share of v, up to a bound.
    """
    deviation = 2.0 ** ((number + CLASS_MIN) / PER_OCTAVE)
    is_raw = number >= TRAINED
    rows, bits, shares, points, draws = [], [], [], [], []
    zero = None
    for which in range(2):
        table = 2 * number + which
        own = symbols.frequencies[table, : symbols.counts[table]]
        indices = symbols.starts[table] + np.arange(len(own))
        nominal = (4.0 * indices + which + 1) if is_raw else 2.0 * indices + which
        taken = math.log2(SLOTS) - np.log2(own) + is_raw
        for place in range(1, len(own) - 1):
            if nominal[place] == 0:
                zero = taken[place]
                continue
            rows.append([which == 0, which == 1, nominal[place] ** 2])
            bits.append(taken[place])
            shares.append(float(own[place]) if own[place] > 1 else 0.3)
            if not is_raw:
                points.append((own[place], abs(nominal[place])))
                draws.append(abs(nominal[place]) - abs(float(symbols.levels[table, place])))
    weights = np.sqrt(np.array(shares))
    even, odd, square = np.linalg.lstsq(np.array(rows, float) * weights[:, None], np.array(bits) * weights, rcond=None)[
        0
    ]
    if not any(row[0] for row in rows):
        even = odd + 8
    draw, draw_max = 0.0, 0.0
    if points:
        counted, sizes = np.array(points).T
        moved = np.array(draws)
        near = sizes <= max(2.0, 1.5 * deviation)
        draw = float((counted * moved * sizes)[near].sum() / (counted * sizes**2)[near].sum())
        far = sizes > 2 * deviation
        draw_max = max(draw, float((counted * moved)[far].sum() / counted[far].sum()) if far.any() else 0.4)
    shrink = STEP_ERROR / (deviation**2 + STEP_ERROR)
    reach = (REACH * deviation + 2) ** 2
    return np.array([even, odd, even if zero is None else zero, square, reach, shrink, draw, draw_max], np.float32)


def code_samples(symbols: Symbols, number: int, *, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode normal samples of a class: the samples, their symbols, and the set that each was taken from."""
    deviation = 2.0 ** ((number + CLASS_MIN) / PER_OCTAVE)
    draw = np.random.default_rng([seed, number])
    values = (deviation * draw.standard_normal((rows, COLUMNS))).astype(np.float32)
    trellis = trellis_of(STATES)
    order, columns = np.arange(rows), np.arange(COLUMNS)
    found = search(values, order, columns, np.full(COLUMNS, number), symbols=symbols, trellis=trellis, slopes=SLOPE)
    return values, (found >> 1).astype(np.int64), (found & 1).astype(np.int64)


def train(symbols: Symbols, number: int) -> None:
    """Train the two tables of a class in place."""
    kept: list[list[np.ndarray]] = [[], []]
    for turn in range(ROUNDS):
        values, found, sets = code_samples(symbols, number, rows=ROWS, seed=turn)
        for which in range(2):
            table = 2 * number + which
            size, start = int(symbols.counts[table]), int(symbols.starts[table])
            index = (found - start)[sets == which]
            chosen = values[sets == which][(index >= 0) & (index < size)]
            index = index[(index >= 0) & (index < size)]
            counts = np.bincount(index, minlength=size).astype(float)
            sums = np.bincount(index, chosen, minlength=size)
            kept[which].append(np.stack([counts + counts[::-1], sums - sums[::-1]]))
            counts, sums = np.sum(kept[which][-AVERAGED if turn >= AVERAGED else -1 :], axis=0)
            symbols.frequencies[table, :size] = to_frequencies(counts + 0.05)
            settled = counts > FEW
            symbols.levels[table, :size][settled] = (sums / np.maximum(counts, 1))[settled]
        symbols.model[number] = fit_model(symbols, number)


def measure(symbols: Symbols, number: int) -> tuple[float, float]:
    """Measure the bits a number of a class, strings' ends not counted, and the squared error in squared steps."""
    values, found, sets = code_samples(symbols, number, rows=MEASURED_ROWS, seed=10_000)
    raw = int(number >= TRAINED)
    table = 2 * number + sets
    index = (found >> raw) - symbols.starts[table]
    last = symbols.counts[table] - 1
    beyond = np.where(index <= 0, -index, index - last)
    inside = np.clip(index, 0, last)
    taken = math.log2(SLOTS) - np.log2(symbols.frequencies[table, inside]) + raw
    taken += np.where(beyond >= 0, 1 + 2 * np.floor(np.log2(np.maximum(beyond, 0) + 1)), 0)
    levels = np.where((raw == 0) & (beyond <= 0), symbols.levels[table, inside], 2 * found + sets)
    return float(taken.mean()), float(((values - levels) ** 2).mean())


def main() -> None:
    """Train all classes and write the file."""
    symbols = start_tables()
    for number in range(TABLES):
        if number < TRAINED:
            train(symbols, number)
        symbols.rates[number], symbols.distortions[number] = measure(symbols, number)
        deviation = 2.0 ** ((number + CLASS_MIN) / PER_OCTAVE)
        over = math.sqrt(symbols.distortions[number] / deviation**2 * 4 ** symbols.rates[number])
        print(
            f"class {number + CLASS_MIN}: {symbols.rates[number]:.4f} bits, squared error "
            f"{symbols.distortions[number]:.4f} steps^2, error {over:.4f} of the bound"
        )
    np.savez_compressed(
        TABLES_FILE,
        starts=symbols.starts.astype(np.int16),
        counts=symbols.counts.astype(np.int16),
        frequencies=symbols.frequencies.astype(np.int16),
        levels=symbols.levels,
        model=symbols.model,
        rates=symbols.rates,
        distortions=symbols.distortions,
    )


if __name__ == "__main__":
    main()
