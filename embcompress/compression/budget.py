"""Budgets: the size or the error that tables must not exceed; known without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from embcompress.exceptions import Retry, UsageError
from embcompress.text import did_you_mean, human_bytes

# The first is the default.
EFFORTS = ("default", "fast", "best")
# Proposals to someone who asks for no size.
START = (Retry(("--ratio", "16"), "a sixteenth of the bytes"), Retry(("--bases", "8"), "8 bases, weights as floats"))
# The relative error that a sweep recommends to stay within.
DEFAULT_MAX_ERROR = 0.1
OPTIONS = {
    "bases": "--bases",
    "energy": "--energy",
    "max_error": "--max-error",
    "ratio": "--ratio",
    "max_size": "--max-size",
}
# Of the default name of an output.
ENDINGS = {"bases": "-{}bases", "energy": "-energy{}", "max_error": "-error{}", "ratio": "-{}x"}
# Those that choose a coding, too.
CODING_OPTIONS = ("max_error", "ratio", "max_size")
UNITS = {"": 1, "b": 1, **{f"{unit}b": 1000 ** (step + 1) for step, unit in enumerate("kmgt")}}
UNITS |= {f"{unit}ib": 1024 ** (step + 1) for step, unit in enumerate("kmgt")}
UNITS |= {unit: 1000 ** (step + 1) for step, unit in enumerate("kmgt")}


@dataclass(frozen=True)
class Budget:
    """The size or the error that was asked for.

    Attributes:
        kind: a key of OPTIONS.
        amount: bases, share of the squared norm, relative error, ratio, or bytes.
        is_plain: whether weights stay floats.
        effort: one of EFFORTS.
        text: the amount as it was given, where it was no number.
    """

    kind: str
    amount: float
    is_plain: bool = True
    effort: str = EFFORTS[0]
    text: str = ""

    @property
    def ending(self) -> str:
        """The end of the default name of what is made: the size that was asked for.

        Example:
            >>> [Budget(*one).ending for one in (("ratio", 16.0), ("bases", 8), ("max_error", 0.1), ("max_size", 2e7))]
            ['-16x', '-8bases', '-error0.1', '-20MB']
        """
        if self.kind == "max_size":
            size = self.text.strip() if any(map(str.isalpha, self.text)) else human_bytes(self.amount)
            return f"-{''.join(size.split())}"
        return ENDINGS[self.kind].format(f"{self.amount:.15g}")

    @property
    def option(self) -> str:
        """The option as it was given."""
        return f"{OPTIONS[self.kind]} {self.amount:.15g}"


def choose_budget(
    *,
    bases: int | None,
    energy: float | None,
    max_error: float | None,
    ratio: float | None,
    max_size: int | str | None,
    plain: bool,
    effort: str,
) -> Budget:
    """Check that exactly one size is asked for, within its range, and that the other options go with it.

    Raises:
        UsageError: none or several, a number outside its range, --plain or --effort beside what is plain anyway.
    """
    size = parse_size(max_size) if isinstance(max_size, str) else max_size
    given = {
        kind: amount
        for kind, amount in (
            ("bases", bases),
            ("energy", energy),
            ("max_error", max_error),
            ("ratio", ratio),
            ("max_size", size),
        )
        if amount is not None
    }
    if len(given) != 1:
        what = "none" if not given else " and ".join(OPTIONS[kind] for kind in given)
        raise UsageError(
            f"give exactly one of {', '.join(OPTIONS.values())}, which sets the size of the result; got {what}.",
            hint="Start with one of these:" if not given else "",
            retries=() if given else START[:1] if plain or effort != EFFORTS[0] else START,
        )
    ((kind, amount),) = given.items()
    ranges = {
        "bases": (amount >= 1, "at least 1"),
        "energy": (0 < amount <= 1, "above 0 and at most 1"),
        "max_error": (0 < amount < 1, "between 0 and 1"),
        "ratio": (1 < amount < float("inf"), "above 1"),
        "max_size": (amount >= 1, "at least 1 byte"),
    }
    is_inside, wanted = ranges[kind]
    if not is_inside:
        raise UsageError(f"{OPTIONS[kind]} must be {wanted}; got {amount:.15g}.")
    if effort not in EFFORTS:
        raise UsageError(
            f"--effort must be {' or '.join(EFFORTS)}; got {effort!r}.", hint=did_you_mean(effort, EFFORTS)
        )
    is_plain = plain or kind not in CODING_OPTIONS
    if plain and kind not in CODING_OPTIONS:
        raise UsageError(
            f"{OPTIONS[kind]} stores weights as floats anyway.",
            hint="--plain goes with --max-error, --ratio and --max-size.",
        )
    if is_plain and effort != EFFORTS[0]:
        raise UsageError(f"--effort {effort} is for coded weights, which this run does not store.")
    text = max_size if isinstance(max_size, str) else ""
    return Budget(kind, amount, is_plain, effort, text)


def parse_size(text: str, *, option: str = "--max-size") -> int:
    """Read a number of bytes, as in 1500000, 1.5MB or 2GiB.

    Raises:
        UsageError: not a number of bytes.

    Example:
        >>> parse_size("1.5 MB"), parse_size("2KiB")
        (1500000, 2048)
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in UNITS:
        raise UsageError(f"{option} takes bytes, as in 1500000, 1.5MB or 2GiB; got {text!r}.")
    return int(float(match[1]) * UNITS[match[2].lower()])
