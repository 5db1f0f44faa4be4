"""One command from the command line to its exit code; what each does is imported when it is called."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable

from pycontainer import errors
from pycontainer.ocicli import arguments
from pycontainer.ocicli.arguments import Arguments
from pycontainer.ocicli.report import Log

__all__ = ["run"]

FAILED = 1
EXEC_FAILED = 255
"""What runc answers when exec could not run the program, so that no code of the program is meant."""

Answer = Callable[[Arguments, str, Log], int]


def run() -> None:
    """Do what the arguments of this process say, and end it."""
    log = Log(None, "text", False)
    asked = None
    try:
        asked = arguments.parse(sys.argv[1:])
        log = _log(asked)
        code = _answer(asked, log)
        sys.stdout.flush()
    except (errors.PycontainerError, OSError) as error:
        log.error(str(error))
        code = EXEC_FAILED if asked is not None and asked.command == "exec" else FAILED
    os._exit(code)


def _log(asked: Arguments) -> Log:
    form = str(asked.options.get("log-format", "text"))
    if form not in ("text", "json"):
        raise errors.InvalidOption(f"--log-format {form!r} is not known; give text or json")
    file = asked.options.get("log")
    return Log(str(file) if file else None, form, "debug" in asked.options)


def _answer(asked: Arguments, log: Log) -> int:
    if "version" in asked.options:
        _print_version()
        return 0
    if not asked.command or "help" in asked.options or "help" in asked.flags:
        print(arguments.usage(asked.command), end="")
        return 0 if "help" in asked.options or "help" in asked.flags else FAILED
    root = asked.options.get("root")
    if not root:
        from pycontainer.ocicli.states import default_root

        root = default_root()
    log.debug(f"{' '.join((asked.command, *asked.words))}, with its state in {root}")
    return _COMMANDS[asked.command](asked, str(root), log)


def _print_version() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("pycontainer-engine")
    except PackageNotFoundError:
        number = "unknown"
    print(f"pycontainer-runtime version {number}\nspec: 1.3.0")


def _create(asked: Arguments, root: str, log: Log) -> int:
    from pycontainer.ocicli import preparing

    preparing.become("creating", preparing.prepare(asked, root, log))


def _start(asked: Arguments, root: str, log: Log) -> int:
    from pycontainer.ocicli import lifecycle
    from pycontainer.ocicli.states import State

    lifecycle.start(State.find(root, asked.words[0]), log)
    return 0


def _state(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli.states import State

    print(json.dumps(State.find(root, asked.words[0]).described(), indent=2))
    return 0


def _kill(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import lifecycle
    from pycontainer.ocicli.states import State

    number = lifecycle.signal_number(asked.words[1] if len(asked.words) > 1 else "TERM")
    for name in _meant(asked, root, asked.words[:1]):
        lifecycle.kill(State.find(root, name), number, is_all="all" in asked.flags)
    return 0


def _delete(asked: Arguments, root: str, log: Log) -> int:
    from pycontainer.ocicli import lifecycle
    from pycontainer.ocicli.states import State

    is_forced = "force" in asked.flags
    for name in _meant(asked, root, asked.words):
        try:
            lifecycle.delete(State.find(root, name), log, is_forced=is_forced)
        except errors.NotFound:
            if not is_forced:
                raise
    return 0


def _meant(asked: Arguments, root: str, words: list[str]) -> list[str]:
    """The containers that are named, or in whose names an expression is found. Raises InvalidOption."""
    if "regex" not in asked.flags:
        return words
    from pycontainer.ocicli.states import ids

    try:
        patterns = [re.compile(word) for word in words]
    except re.error as error:
        raise errors.InvalidOption(f"--regex: {error}") from None
    return [name for name in ids(root) if any(pattern.search(name) for pattern in patterns)]


def _freeze(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import lifecycle
    from pycontainer.ocicli.states import State

    lifecycle.freeze(State.find(root, asked.words[0]), is_frozen=asked.command == "pause")
    return 0


def _exec(asked: Arguments, root: str, log: Log) -> int:
    from pycontainer.ocicli import further, preparing

    preparing.become("entering", further.prepare(asked, root, log))


def _list(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import inspecting

    return inspecting.list_containers(asked, root)


def _ps(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import inspecting

    return inspecting.ps(asked, root)


def _events(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import inspecting

    return inspecting.events(asked, root)


def _update(asked: Arguments, root: str, _log: Log) -> int:
    from pycontainer.ocicli import updating

    return updating.update(asked, root)


def _features(_asked: Arguments, _root: str, _log: Log) -> int:
    from pycontainer.ocicli import describing

    return describing.features()


def _spec(asked: Arguments, _root: str, _log: Log) -> int:
    from pycontainer.ocicli import describing

    return describing.spec(asked)


_COMMANDS: dict[str, Answer] = {
    "create": _create,
    "run": _create,
    "start": _start,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "pause": _freeze,
    "resume": _freeze,
    "exec": _exec,
    "list": _list,
    "ps": _ps,
    "events": _events,
    "update": _update,
    "features": _features,
    "spec": _spec,
}
