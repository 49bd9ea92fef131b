"""The log and the files of a step as the runner of GitHub Actions reads them, and names that try to be commands."""

from __future__ import annotations

import re

HOSTILE = {
    "output": "x_embedding\n::set-output name=output::evil",
    "mask": "::add-mask::x_embedding",
    "blanks before": " \t::add-mask::x_embedding",
    "old form": "a ##[add-path]/evil_embedding",
    "ends an annotation": "x_embedding,title=a::b%0A%0D\r\n::error::forged",
    "markup": "[red]x[/red]_embedding <script>alert(1)</script>",
    "escapes": "\x1b[2J\x1b]0;t\x07\x9b31m\u202ex_embedding",
    "delimiter": "x_embedding\nEOF\nok<<EOF\ntrue\nEOF",
}


def commands_in(text: str) -> list[tuple[str, dict[str, str], str]]:
    """List the workflow commands of a log: name, properties and message, as the runner of GitHub parses them.

    Source: actions/runner, src/Runner.Common/ActionCommand.cs, TryParseV2 and TryParse.
    """
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        parsed = re.fullmatch(r"::([\w-]+)(?: (.*?))?::(.*)", line.lstrip())
        if parsed:
            pairs = [pair.partition("=") for pair in (parsed[2] or "").split(",") if pair]
            found.append((parsed[1], {key: unescape(value) for key, _, value in pairs}, unescape(parsed[3])))
        elif "##[" in line:
            found.append(("old", {}, line))
    return found


def unescape(text: str) -> str:
    """Undo what GitHub escapes."""
    for escaped, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escaped, char)
    return text


def read_outputs(text: str) -> dict[str, str]:
    """Read a file of outputs as the runner does; whatever it does not allow is an assertion."""
    found, lines = {}, text.split("\n")
    assert lines.pop() == ""
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        name, mark, delimiter = line.partition("<<")
        assert (mark, bool(delimiter)) == ("<<", True)
        value = []
        while lines[0] != delimiter:
            value.append(lines.pop(0))
        lines.pop(0)
        found[name] = "\n".join(value)
    return found
