"""The command line: a thin layer over the library, whose commands are imported when they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["invoke", "main"]


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command that these arguments name (default: the process's own) and give its exit code."""
    from pycontainer.cli.app import app
    from pycontainer.cli.edge import guarded
    from pycontainer.cli.session import Session

    session = Session()
    words = None if arguments is None else list(arguments)

    def call() -> object:
        try:
            return app.main(words, prog_name="pycontainer", standalone_mode=False, obj=session)
        finally:
            session.close()

    return guarded(call)


def main() -> NoReturn:
    """Run the command the process's arguments name; ends the process with its exit code."""
    import sys

    sys.exit(invoke())
