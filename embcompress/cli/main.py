"""A run of the command line: parse, call one command, tell what failed, exit."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

import typer
from typer import rich_utils

from embcompress.artifact.atomic_file import discard_pending
from embcompress.cli.app import HELP_OPTIONS, app
from embcompress.cli.examples import SYNONYMS
from embcompress.cli.failure_reports import write_failure_reports
from embcompress.cli.github_step import tell_failure
from embcompress.cli.process import (
    EXIT_FAILED,
    EXIT_USAGE,
    STOP_SIGNALS,
    StdoutError,
    discard_stdout,
    install_signal_handlers,
    is_in_actions,
    open_streams,
    print_error,
    print_text,
    writing_stdout,
)
from embcompress.cli.retries import hint_with_commands
from embcompress.exceptions import EmbcompressError, UsageError
from embcompress.report.colors import render_text, wants_color
from embcompress.report.json import render_json_failure
from embcompress.report.terminal import render_failure
from embcompress.text import did_you_mean

UNKNOWN_COMMAND = re.compile(r"No such command '(.*?)'\.", re.DOTALL)  # how typer says it


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 wrong usage, 3 a gate failed, 130/143 stopped."""
    args = list(sys.argv[1:] if argv is None else argv)
    code = EXIT_FAILED
    try:
        install_signal_handlers()
        open_streams(is_json="--json" in args)
        # What torch says on its first use where NumPy, which nothing here needs, is not installed.
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
        # Threads of torch that wait shall soon sleep and not spin: beside other work on two cores, an SVD of 200 x 384
        # took 6 s instead of 0.02 s. To let them sleep at once (OMP_WAIT_POLICY=PASSIVE) costs a fifth on an idle
        # machine. OpenMP reads this once, when torch is imported.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        code = _run(args)
    except SystemExit:  # how typer ends where the reader of its help went away
        code = 0 if HELP_OPTIONS & set(args) else EXIT_FAILED
        discard_stdout()
    except StdoutError as err:
        print_error(f"error: standard output cannot be written: {err}.\n")
        discard_stdout()
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the work is done, and a late signal does not undo it
        discard_pending()
    sys.exit(code)


def _run(args: list[str]) -> int:
    parsed: dict[str, Any] = {}
    try:
        if not args or HELP_OPTIONS & set(args):
            _color_help()
        returned = _commands().main(args, prog_name="embcompress", standalone_mode=False, obj=parsed)
        with writing_stdout():
            pass  # what the help has left in the buffer
    except EmbcompressError as failure:
        return _fail(failure, args, parsed)
    except typer.BadParameter.__base__ as err:  # type: ignore[misc]  # every usage error, without importing click
        return _fail_usage(err, args)
    except MemoryError:
        return _fail(_out_of_memory(""), args, parsed)
    except OSError as err:  # such as a disk that cannot be read any more in the middle of a file
        where = f"{err.filename}: " if err.filename else ""
        return _fail(EmbcompressError(f"{where}{err.strerror or err}."), args, parsed)
    except RuntimeError as err:
        if "memory" not in str(err):  # how torch says it, on the CPU and on a GPU
            raise
        return _fail(_out_of_memory(f" ({str(err).splitlines()[0]})"), args, parsed)
    return returned if isinstance(returned, int) else 0


@cache
def _commands() -> Any:
    """Make the parser of all commands: half of the time of a run that only tells what is wrong."""
    return typer.main.get_command(app)


def _out_of_memory(detail: str) -> EmbcompressError:
    return EmbcompressError(f"out of memory{detail}.", hint="--dry-run estimates the memory that a run needs.")


def _color_help() -> None:
    """Hold typer's help to NO_COLOR and FORCE_COLOR, as the reports are."""
    wanted = wants_color(os.environ)
    rich_utils.COLOR_SYSTEM = None if wanted is False else "auto"
    rich_utils.FORCE_TERMINAL = wanted is True or sys.stdout.isatty()


def _fail(failure: EmbcompressError, args: Sequence[str], parsed: Mapping[str, Any]) -> int:
    known = {str(command.callback.__name__) for command in app.registered_commands if command.callback}
    command = " ".join(["embcompress", *(known & set(args[:1]))])
    failure.hint = hint_with_commands(failure, args)
    if parsed:
        write_failure_reports(failure, parsed, command=command)
    if is_in_actions():
        print_error(tell_failure(failure, os.environ, command=command), is_command=True)
    if "--json" in args:
        print_text(render_json_failure(failure))
    else:
        print_error(render_text(render_failure(failure), os.environ, like=sys.stderr, soft_wrap=True))
    return EXIT_USAGE if isinstance(failure, UsageError) else EXIT_FAILED


def _fail_usage(err: BaseException, args: Sequence[str]) -> int:
    context = getattr(err, "ctx", None)
    command = context.command_path if context is not None else "embcompress"
    format_message: Callable[[], str] = getattr(err, "format_message", lambda: str(err))
    message = format_message().rstrip()
    if "--json" not in args and type(err).__name__ == "NoArgsIsHelpError":
        print_text(f"{message}\n")  # the help text
        return EXIT_USAGE
    meant = ""
    if (mistyped := getattr(err, "option_name", None)) and (text := getattr(err, "message", "")):
        parameters = context.command.params if context is not None else ()
        known = [name for parameter in parameters for name in parameter.opts if name.startswith("-")]
        message, meant = f"{text.rstrip('.')}.", did_you_mean(mistyped, set(known) - {mistyped})
    listed = "options"
    if (unknown := UNKNOWN_COMMAND.match(message)) is not None:
        known = [str(one.callback.__name__) for one in app.registered_commands if one.callback]
        message, listed = f"there is no command {unknown[1]!r}.", "commands"
        name = SYNONYMS.get(unknown[1].lower())
        meant = f"Did you mean {name}?" if name else did_you_mean(unknown[1], known)
    hint = f"{meant} `{command} --help` lists the {listed}.".lstrip()
    return _fail(UsageError(message, hint=hint), args, {})
