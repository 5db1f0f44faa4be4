"""The edge of the command line: what an error becomes on the terminal, and as an exit code.

Docker's codes: 125 for a flag that is none, and whatever keeps `run` from running; 126 and 127 for a program
that cannot be executed or is not there; 1 for all else. 128 and the signal's number for who is interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from pycontainer.cli.printable import printable
from pycontainer.errors import PycontainerError

__all__ = ["INTERRUPTED", "Failed", "each", "guarded", "say", "tell"]

INTERRUPTED = 130
_BROKEN_PIPE = 141
_AS_DOCKER = ("no such container", "no such image", "no such object")


class Failed(Exception):
    """A command that ends with this message and exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def tell(message: object) -> None:
    """Say what went wrong, on standard error."""
    text = str(message)
    if text.startswith(_AS_DOCKER):
        text = text[0].upper() + text[1:]  # what scripts look for
    say(f"Error: {text}")


def say(text: str) -> None:
    """Say this on standard error; parts of it may be somebody else's words."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


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
                print(name)
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
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone
        _give_up_output()
        return _BROKEN_PIPE
    except PycontainerError as error:
        tell(error)
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        tell(reason if error.filename is None else f"{error.filename}: {reason}")
        try:
            sys.stdout.flush()
        except OSError:
            _give_up_output()
        return 1
    except Exception as error:
        code = _code_of_clicks(error)
        if code is None:
            raise
        return code
    return outcome if isinstance(outcome, int) and not isinstance(outcome, bool) else 0


def _give_up_output() -> None:
    """Have the interpreter's last flush not fail once more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code_of_clicks(error: Exception) -> int | None:
    if "click" not in sys.modules:
        return None
    from pycontainer.cli.misuse import code_of

    return code_of(error)
