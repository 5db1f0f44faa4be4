"""The command line: a thin layer over the library, whose commands are imported when they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pycontainer.cli.session import Session
    from pycontainer.launcher import Helper

__all__ = ["invoke", "main"]

_LAUNCHING = frozenset({"exec", "restart", "run", "start"})
_VALUED = frozenset({"--root", "-H", "--host", "-c", "--context", "--config", "-l", "--log-level"})
"""Options before a command whose value is the next word."""
_ASKED_ELSEWHERE = frozenset({"DOCKER_HOST", "DOCKER_CONTEXT", "_PYCONTAINER_COMPLETE"})
"""Variables that the command as a whole has something to say about."""


_COLLECTED_AFTER = 100_000
"""Objects made: those of imports alone are half as many, and all stay; looking through them takes long."""


def invoke(arguments: Sequence[str] | None = None, *, process_ends: bool = False) -> int:
    """Run the command that these arguments name (default: the process's own) and give its exit code.

    process_ends: the caller does nothing else afterwards.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    # Before all else: it gets ready while this process imports what follows.
    helper = _begun() if _names_launch(words) else None
    from pycontainer.cli.edge import guarded
    from pycontainer.cli.session import Session

    session = Session(helper, process_ends=process_ends)

    def call() -> object:
        try:
            return _act(session, words)
        finally:
            session.close()

    return guarded(call)


def _act(session: Session, words: list[str]) -> object:
    if words[:1] == ["run"] and not _ASKED_ELSEWHERE & session.environ.keys():
        from pycontainer.cli import launching, quick
        from pycontainer.cli.switches import BadFlag

        params = quick.read_run(words[1:])
        if params is not None:
            try:
                return launching.run(session, params, "pycontainer run")
            except BadFlag:
                pass  # nothing has been done; the other way knows how to tell of it
    from pycontainer.cli.app import app

    return app.main(words, prog_name="pycontainer", standalone_mode=False, obj=session)


def _names_launch(words: Sequence[str]) -> bool:
    left = iter(words)
    for word in left:
        if word in _VALUED:
            next(left, None)
        elif word != "container" and not word.startswith("-"):
            return word in _LAUNCHING
    return False


def _begun() -> Helper | None:
    from pycontainer.errors import Unsupported
    from pycontainer.launcher import Helper

    helper = Helper(makes_ahead=False)
    try:
        helper.begin()
    except Unsupported:
        return None  # whoever needs it is told
    return helper


def main() -> NoReturn:
    """Run the command the process's arguments name; ends the process with its exit code."""
    import atexit
    import gc
    import os

    gc.set_threshold(_COLLECTED_AFTER)
    code = invoke(process_ends=True)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    # To take the interpreter apart would take longer than many commands.
    os._exit(code)
