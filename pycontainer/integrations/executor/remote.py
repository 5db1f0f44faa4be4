"""Exceptions of tasks, made again here: of what stands in an answer, nothing is called or looked up but by
name
among the builtin ones."""

from __future__ import annotations

import builtins
from typing import Any

from pycontainer.errors import InvalidInput, TaskFailed
from pycontainer.integrations.executor import values

__all__ = ["RemoteTraceback", "exception_of"]

_TEXT_LIMIT = 200_000
# They end iterations and frames where nobody expects it.
_STEERING = frozenset({"StopIteration", "StopAsyncIteration"})


class RemoteTraceback(Exception):
    """The cause of a task's exception: the traceback as text, as it was printed in the container."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def exception_of(description: Any) -> Exception:
    """The exception that a task raised, with the text of its traceback as cause. Raises: InvalidInput.

    A builtin exception comes back as itself if its arguments are data; any other as TaskFailed.
    """
    if not isinstance(description, dict):
        raise InvalidInput("the answer describes no exception")
    module, name = _text(description, "module"), _text(description, "name")
    message, text = _text(description, "message"), _text(description, "text")
    arguments = description.get("args")
    kind = getattr(builtins, name, None) if module == "builtins" and name not in _STEERING else None
    made: Exception | None = None
    if isinstance(kind, type) and issubclass(kind, Exception) and isinstance(arguments, list):
        try:
            made = kind(*map(_argument, arguments))
        except (TypeError, ValueError, RecursionError):
            made = None
    if made is None:
        shown = name if module == "builtins" else f"{module}.{name}"
        made = TaskFailed(f"{shown}: {message}" if message else shown, kind=shown, traceback=text)
    made.__cause__ = RemoteTraceback(text)
    return made


def _argument(tree: Any) -> Any:
    value = values.plain(tree)
    return values.shown(value, _TEXT_LIMIT) if isinstance(value, str) else value


def _text(description: dict[str, Any], key: str) -> str:
    return values.shown(description.get(key), _TEXT_LIMIT)
