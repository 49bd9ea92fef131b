"""Write the tables of symbols into the readers that stand alone: their line that begins with SYMBOL_TABLES.

docs/artifact.md tells what it holds. Run again only after the tables of the format have changed.
"""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

import numpy as np

from embcompress.coding.symbols import CLASS_MIN, CLASS_TRAINED, SLOT_BITS, SLOTS, load_symbols

READERS = Path(__file__).resolve().parents[1] / "embcompress" / "readers"
# Tables of the classes that have no raw bits, two to a class.
WITHOUT_RAW_BITS = 2 * (CLASS_TRAINED - CLASS_MIN + 1)


def pack_tables() -> bytes:
    """Lay out the tables: as 32-bit integers the bits and losses of classes, then of all entries what they do."""
    symbols = load_symbols()
    table, number = np.nonzero(symbols.frequencies)
    frequencies, lengths, levels = (
        values[table, number] for values in (symbols.frequencies, symbols.prefix_lengths, symbols.levels)
    )
    by_code = np.lexsort((number, lengths, table))
    sides = 1 * (number == symbols.counts[table] - 1) - (number == 0)
    is_rare = (sides != 0) | (table >= WITHOUT_RAW_BITS)
    # Of each entry as the number system reads it, and then as the prefix code does.
    spans = np.concatenate([frequencies, SLOTS >> lengths[by_code]])
    factors = np.concatenate([frequencies, np.ones_like(frequencies)])
    shifts = np.concatenate([np.full_like(lengths, SLOT_BITS), lengths[by_code]])
    of_both = [
        np.concatenate([values, values[by_code]])
        for values in (symbols.starts[table] + number, sides, is_rare, levels.astype("<f4").view("<i4"))
    ]
    arrays = [symbols.prefix_bits, symbols.prefix_losses, spans, factors, shifts, *of_both]
    return np.concatenate([np.ravel(values).astype("<i4") for values in arrays]).tobytes()


def main() -> None:
    """Write them into both readers."""
    stored = base64.b64encode(zlib.compress(pack_tables(), 9)).decode()
    for name in ("numpy_reader.py", "reader.mjs"):
        text = (READERS / name).read_text()
        (READERS / name).write_text(re.sub(r'(SYMBOL_TABLES = )"[^"]*"', rf'\1"{stored}"', text))


if __name__ == "__main__":
    main()
