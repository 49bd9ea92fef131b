"""Names, sizes and commands in words: quoted, shortened, in units, and what a mistyped one was perhaps meant for."""

from __future__ import annotations

import difflib
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embcompress.exceptions import shorten

NAME_CUTOFF = 0.7  # likeness of a part of a tensor's name, 0 to 1: names are long, and parts of them alike
CHOICE_CUTOFF = 0.6  # of one of a few short words
BRIEF_MAX = 100  # characters of a value of a file in a message
SHARE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)", re.ASCII)
NAMED_MAX = 5  # how many ids or labels an exception names


def did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """Ask for the name that was perhaps meant; empty where none is like it.

    Example:
        >>> did_you_mean("kylov", ["gram", "krylov"])
        'Did you mean krylov?'
    """
    known = list(dict.fromkeys(names))
    by_lower = {name.lower(): name for name in reversed(known)}
    started = [name for name in known if wanted and name.lower().startswith(wanted.lower())]
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=CHOICE_CUTOFF)
    meant = started[0] if len(started) == 1 else by_lower[close[0]] if close else ""
    return f"Did you mean {meant}?" if meant else ""


def suggest_names(pattern: str, names: Sequence[str], *, count: int = 3) -> list[str]:
    """List the tensors that a pattern which fits none was perhaps meant for, likeliest first."""
    wanted = pattern.strip("*").lower()
    if not wanted:
        return []
    contains = [name for name in names if wanted in name.lower()]
    if contains:
        return contains[:count]
    by_lower: dict[str, str] = {}
    for name in names:
        # a user types the part that he remembers: compare with every run of its components
        parts = name.lower().split(".")
        for start in range(len(parts)):
            for end in range(start + 1, len(parts) + 1):
                by_lower.setdefault(".".join(parts[start:end]), name)
    near = difflib.get_close_matches(wanted, list(by_lower), n=3 * count, cutoff=NAME_CUTOFF)
    return list(dict.fromkeys(by_lower[part] for part in near))[:count]


def suggest_file(path: Path) -> str:
    """Ask for the file beside a missing one that was perhaps meant, or say what else to do."""
    try:
        siblings = sorted(path.parent / entry.name for entry in os.scandir(path.parent) if entry.is_file())
    except OSError:
        return f"The folder {path.parent} does not exist or cannot be listed."
    # By stem, since `.safetensors` alone makes most names look alike; of equal stems the one with the same ending.
    by_stem = {sibling.stem: sibling for sibling in sorted(siblings, key=lambda sibling: sibling.suffix == path.suffix)}
    close = difflib.get_close_matches(path.stem, by_stem, n=1)
    return f"Did you mean {by_stem[close[0]]}?" if close else "Check the path."


def quoted(value: Path | str) -> str:
    """Quote a path or a name for a shell."""
    return shlex.quote(str(value))


def parse_share(text: str) -> float:
    """Read a share, which may end in `%`; NaN for anything else.

    Example:
        >>> parse_share("12.5 %"), parse_share("0.125"), parse_share("much")
        (0.125, 0.125, nan)
    """
    match = SHARE.fullmatch(text.strip())
    return math.nan if match is None else float(match[1]) / (100 if match[2] else 1)


def human_bytes(count: float) -> str:
    """Write a number of bytes in the largest decimal unit that fits.

    Example:
        >>> human_bytes(1_234_567)
        '1.23 MB'
    """
    if count < 1000:
        return f"{count:.0f} B"
    exponent = min(int(math.log10(count)) // 3, 5)
    value = count / 1000**exponent
    if value >= 999.5 and exponent < 5:
        exponent, value = exponent + 1, value / 1000
    return f"{value:.3g} {'kMGTP'[exponent - 1]}B"


def report_path(output: Path, *, is_folder: bool) -> Path:
    """Name the report beside an output. A folder has no ending: the dot in `model-v1.5` is a part of its name.

    Example:
        >>> [report_path(Path("m-v1.5"), is_folder=is_folder).name for is_folder in (True, False)]
        ['m-v1.5.report.json', 'm-v1.report.json']
    """
    return output.with_name(f"{output.name if is_folder else output.stem}.report.json")


def find_fault(words: Sequence[str], *, ends: str) -> str:
    """Say how many words are blank or hold a character that ends a word, with the first; empty where none does.

    Example:
        >>> find_fault(["a", "New York", ""], ends=" ")
        "2 of 3 labels are no words, such as 'New York'"
    """
    wrong = [word for word in words if not word or any(character in word for character in ends)]
    return f"{len(wrong)} of {len(words)} labels are no words, such as {wrong[0][:40]!r}" if wrong else ""


def named(labels: Sequence[object]) -> str:
    """Name the first few."""
    more = f" and {len(labels) - NAMED_MAX} more" if len(labels) > NAMED_MAX else ""
    return ", ".join(map(repr, labels[:NAMED_MAX])) + more


def brief(value: object) -> str:
    """Write a value of a file, which may be of any length, as Python does, cut to BRIEF_MAX characters.

    Example:
        >>> brief((60, 12)), len(brief("a" * 10**6)), brief([1] * 10**6)
        ('(60, 12)', 99, '[1, 1, 1, ...] of 1000000')
    """
    if isinstance(value, (list, tuple)) and len(value) > BRIEF_MAX:
        first = ", ".join(shorten(repr(item), BRIEF_MAX // 4) for item in value[:3])
        return f"[{first}, ...] of {len(value)}"
    if isinstance(value, str) and len(value) > BRIEF_MAX:
        value = shorten(value, BRIEF_MAX - 2)
    return shorten(repr(value), BRIEF_MAX)


def spell_command(command: str, *, path: object, **options: Any) -> str:
    """Spell a call of a command of the library as the same command at a prompt.

    Example:
        >>> spell_command("approximate", path="a b.pt", ratio=8.0, energy=None, table=["x", "y"], plain=True)
        "embcompress approximate 'a b.pt' --ratio 8 --table x --table y --plain"
    """
    return shlex.join(["embcompress", command, str(path), *_spell_options(options)])


def _spell_options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            yield option
        elif isinstance(value, tuple) and all(isinstance(side, int) for side in value) and value:
            yield from (option, ",".join(map(str, value)))
        elif isinstance(value, Iterable) and not isinstance(value, str):
            for item in value:
                yield from (option, str(item))
        elif isinstance(value, float):
            yield from (option, str(int(value)) if value.is_integer() else repr(value))
        elif value is not None and value is not False:
            yield from (option, str(value))
