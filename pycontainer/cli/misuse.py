"""What click raises, as it is told, and as an exit code."""

from __future__ import annotations

import click

from pycontainer.cli.command import OFF, Misuse
from pycontainer.cli.edge import INTERRUPTED, say

__all__ = ["code_of"]


def code_of(error: Exception) -> int | None:
    """The exit code of an error of click's, which is told; None for others."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        return INTERRUPTED
    return _misused(error) if isinstance(error, click.ClickException) else None


def _misused(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    # Before click 8.2 a group without a command prints its help itself.
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        say(error.format_message())
        return 0
    message, code = _told(error)
    if context is not None:
        usage = context.get_usage().removeprefix("Usage: ")
        message += f"\n\nUsage:  {usage}\n\nRun '{context.command_path} --help' for more information"
    say(f"pycontainer: {message}")
    return code


def _told(error: click.ClickException) -> tuple[str, int]:
    """What is said of a misuse, in Docker's words where it has some, and the exit code."""
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        kind = "flag" if error.option_name.startswith("--") else "shorthand flag"
        near = sorted(name for name in error.possibilities or () if not name.endswith(OFF))
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"unknown {kind}: {error.option_name}{hint}", 125
    is_missing = isinstance(error, click.MissingParameter) and isinstance(error.param, click.Argument)
    if is_missing or "unexpected extra argument" in message:
        context = error.ctx if isinstance(error, click.UsageError) else None
        assert context is not None  # click raises both while it reads a command's arguments
        return f"'{context.command_path}' {_wanted(context.command)}", 1
    if isinstance(error, Misuse):
        return message, 1
    return message, 125 if isinstance(error, click.UsageError) else 1


def _wanted(command: click.Command) -> str:
    """How many arguments a command takes."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    least = sum(max(each.nargs, 1) for each in arguments if each.required)
    if not arguments:
        return "accepts no arguments"
    if any(each.nargs < 0 for each in arguments):
        return f"requires at least {least} argument{'s' * (least != 1)}"
    if least == len(arguments):
        return f"requires {least} argument{'s' * (least != 1)}"
    return f"requires at least {least} and at most {len(arguments)} arguments"
