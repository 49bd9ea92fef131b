"""Write embcompress/readers/symbols.bin: the tables of symbols as the readers that stand alone take them.

docs/artifact.md tells its layout. Run again only after the tables of the format have changed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embcompress.coding.symbols import load_symbols

TARGET = Path(__file__).resolve().parents[1] / "embcompress" / "readers" / "symbols.bin"


def main() -> None:
    """Write the file."""
    symbols = load_symbols()
    is_entry = symbols.frequencies > 0
    whole = [
        symbols.counts,
        symbols.starts,
        symbols.prefix_bits,
        symbols.prefix_losses,
        symbols.frequencies[is_entry],
        symbols.prefix_lengths[is_entry],
    ]
    levels = symbols.levels[is_entry].astype("<f4")
    TARGET.write_bytes(np.concatenate(whole).astype("<i2").tobytes() + levels.tobytes())


if __name__ == "__main__":
    main()
