"""The edge of the command line: what an error becomes on the terminal, and as an exit code.

Docker's codes: 125 for a flag that is none, and whatever keeps `run` from running; 126 and 127 for a program
that cannot be executed or is not there; 1 for all else. 128 and the signal's number for who is interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

import click

from pycontainer.cli.command import OFF, Misuse
from pycontainer.cli.printable import printable
from pycontainer.errors import PycontainerError

__all__ = ["Failed", "each", "guarded", "tell"]

_INTERRUPTED = 130
_BROKEN_PIPE = 141


class Failed(Exception):
    """A command that ends with this message and exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def tell(message: object) -> None:
    """Say what went wrong, on standard error."""
    say("Error: " + str(message))


def say(text: str) -> None:
    """Say this on standard error; parts of it may be somebody else's words."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


def each(names: Iterable[str], act: Callable[[str], object], *, echoes: bool = True) -> int:
    """Do something with each of several; name those it was done with, tell the others' errors.

    Gives the exit code: 1 if any failed. echoes: print the names.
    """
    code = 0
    for name in names:
        try:
            act(name)
        except PycontainerError as error:
            tell(error)
            code = 1
        else:
            if echoes:
                click.echo(name)
    return code


def guarded(call: Callable[[], object]) -> int:
    """The exit code of a call, whose errors are told as they are meant; those of ours with a traceback."""
    try:
        outcome = call()
        sys.stdout.flush()
    except Failed as failed:
        if str(failed):
            say(str(failed))
        return failed.code
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except click.ClickException as error:
        return _misused(error)
    except BrokenPipeError:
        # Whoever read our output has gone. The interpreter's last flush must not find it missing again.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except PycontainerError as error:
        tell(error)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        tell(f"{error.filename}: {error.strerror}")
        return 1
    return outcome if isinstance(outcome, int) and not isinstance(outcome, bool) else 0


def _misused(error: click.ClickException) -> int:
    if isinstance(error, click.NoSuchOption):
        near = [name for name in error.possibilities or () if not name.endswith(OFF)]
        error = click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
    message = f"pycontainer: {error.format_message()}"
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        usage = context.get_usage().removeprefix("Usage: ")
        message += f"\n\nUsage:  {usage}\n\nRun '{context.command_path} --help' for more information"
    say(message)
    is_about_arguments = isinstance(error, Misuse) or (
        isinstance(error, click.MissingParameter) and isinstance(error.param, click.Argument)
    )
    if is_about_arguments or "unexpected extra argument" in error.format_message():
        return 1
    return 125 if isinstance(error, click.UsageError) else 1
