"""The hashes by which spaCy knows words: MurmurHash64A of their UTF-8 with the seed 1."""

from __future__ import annotations

import struct

SEED = 1
FACTOR = 0xC6A4A7935BD1E995
SHIFT = 47
MASK = 2**64 - 1
WORD_BYTES = 8


def hash_word(word: str) -> int:
    """Compute the hash of a word.

    Source: MurmurHash64A of Austin Appleby, https://github.com/aappleby/smhasher.

    Example:
        >>> hash_word("coffee")
        3197928453018144401
    """
    if not word:
        return 0
    content = word.encode("utf-8", "surrogatepass")
    value = SEED ^ (len(content) * FACTOR & MASK)
    whole = len(content) // WORD_BYTES * WORD_BYTES
    for (part,) in struct.iter_unpack("<Q", content[:whole]):
        mixed = part * FACTOR & MASK
        mixed ^= mixed >> SHIFT
        value = (value ^ (mixed * FACTOR & MASK)) * FACTOR & MASK
    if len(content) > whole:
        value = (value ^ int.from_bytes(content[whole:], "little")) * FACTOR & MASK
    value ^= value >> SHIFT
    value = value * FACTOR & MASK
    return value ^ value >> SHIFT
