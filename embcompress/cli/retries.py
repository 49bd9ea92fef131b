"""The commands that lead on from a failure: the one that was given, with other arguments."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from embcompress.exceptions import EmbcompressError, Retry

# Options that say how a run is printed: whoever pastes a command wants to see what it does.
PRINTING = frozenset({"--json", "--quiet", "-q"})


def hint_with_commands(failure: EmbcompressError, args: Sequence[str]) -> str:
    """Spell each alternative of a failure as a whole command, a line each, behind its hint.

    Args:
        failure: of the command.
        args: its arguments, as they were given.
    """
    if not failure.retries:
        return failure.hint
    commands = [repeat_command(args, retry) for retry in failure.retries]
    width = max(map(len, commands))
    lines = [
        f"  {command:{width}}  # {retry.note}" if retry.note else f"  {command}"
        for command, retry in zip(commands, failure.retries, strict=True)
    ]
    return "\n".join([failure.hint or "Run this:", *lines])


def repeat_command(args: Sequence[str], retry: Retry) -> str:
    """Spell a command again with other arguments.

    Example:
        >>> repeat_command(["approximate", "a.pt", "--bases", "512", "-f"], Retry(("--bases", "62")))
        'embcompress approximate a.pt -f --bases 62'
    """
    replaced = {argument for argument in retry.arguments if argument.startswith("--")}
    arguments: list[str] = []
    is_value = False
    for argument in args:
        if is_value:
            is_value = False
        elif argument in replaced:
            is_value = _takes_value(argument, retry)
        elif argument.partition("=")[0] not in replaced and argument not in PRINTING:
            arguments.append(argument)
    # Behind `--` everything is an argument.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return shlex.join(["embcompress", *arguments[:end], *retry.arguments, *arguments[end:]])


def _takes_value(option: str, retry: Retry) -> bool:
    """Return whether a value follows an option, as it does among the new arguments."""
    behind = retry.arguments.index(option) + 1
    return behind < len(retry.arguments) and not retry.arguments[behind].startswith("--")
