"""Values of options: numbers, shares and shapes, with a message of our own for what is none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from embcompress.exceptions import UsageError
from embcompress.text import parse_share

WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
RATIO = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[xX]?", re.ASCII)


class Sides(NamedTuple):
    """The shape of a matrix."""

    in1: int
    in2: int


def parse_sides(text: str) -> Sides:
    """Read the shape of a matrix, as in `64,64`.

    Raises:
        UsageError: it is not two whole numbers above 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UsageError(f"--bilinear-shape takes two sides, as in 64,64; got {text!r}.")
    return Sides(int(parts[0]), int(parts[1]))


def read_whole(option: str, example: str) -> Callable[[str | int], int]:
    """Make the parser of a whole number; its range is for the library to check.

    Example:
        >>> read_whole("--bases", "8")("many")
        Traceback (most recent call last):
        embcompress.exceptions.UsageError: --bases takes a whole number, as in 8; got 'many'.
    """

    def parse(text: str | int) -> int:
        if not WHOLE.fullmatch(str(text).strip()):
            raise UsageError(f"{option} takes a whole number, as in {example}; got {text!r}.")
        return int(text)

    return parse


def read_share(option: str, example: str) -> Callable[[str | float], float]:
    """Make the parser of a share, which may be in per cent."""

    def parse(text: str | float) -> float:
        share = parse_share(str(text))
        if math.isnan(share):
            percent = f"{100 * float(example):g}%"
            raise UsageError(f"{option} takes a share, as in {example} or {percent}; got {text!r}.")
        return share

    return parse


def parse_ratio(text: str | float) -> float:
    """Read a ratio, as in `16` or `16x`.

    Raises:
        UsageError: no number.
    """
    match = RATIO.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"--ratio takes a number, as in 16 or 16x; got {text!r}.")
    return float(match[1])


parse_seed = read_whole("--seed", "7")
