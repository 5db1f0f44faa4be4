"""Reading what a container answers: data only, whatever it sends.

The other half of `worker.encode`. Nothing here calls, imports or looks up what the bytes name: a value is
JSON with tagged objects, and of each tag the fields are checked. Nested no deeper than the worker nests, and
no value is shared, so that nothing grows beyond what came over the wire.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from pycontainer.engine.displays import printable
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.integrations.executor.worker import TAG

__all__ = ["decode", "parse", "plain", "shown"]

_HEX = re.compile(r"-?0x[0-9a-f]+")
_DTYPE = re.compile(r"[<>|](?:[biufc][0-9]{1,2}|[SU][0-9]{1,9}|[mM]8(?:\[[0-9]{0,4}[a-zA-Zμ]{1,2}\])?)")
_MAX_DIMENSIONS = 32


def parse(text: bytes) -> Any:
    """JSON. Raises: InvalidInput."""
    try:
        return json.loads(text.decode("ascii"))
    except RecursionError:
        raise InvalidInput("the answer is nested too deep") from None
    except ValueError as error:
        raise InvalidInput(f"the answer is not what a worker writes: {error}") from None


def decode(text: bytes, buffers: Sequence[bytes | bytearray]) -> Any:
    """The value of an answer. Raises: InvalidInput; Unsupported for an array where numpy is not installed."""
    try:
        return _Reader(buffers).value(parse(text))
    except RecursionError:
        raise InvalidInput("the answer is nested too deep") from None


def plain(tree: Any) -> Any:
    """A value that needs no buffers. Raises: InvalidInput."""
    return _Reader(()).value(tree)


def shown(text: object, limit: int = 4096) -> str:
    """The end of a text of a container's as it may stand in a message."""
    return printable(text[-limit:]) if isinstance(text, str) else ""


class _Reader:
    def __init__(self, buffers: Sequence[bytes | bytearray]) -> None:
        self._buffers = buffers
        self._is_taken = [False] * len(buffers)

    def value(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return [self.value(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        if TAG not in tree:
            return {key: self.value(item) for key, item in tree.items()}
        read = _KINDS.get(tree[TAG]) if isinstance(tree[TAG], str) else None
        if read is None:
            raise InvalidInput(f"the answer has a value of unknown kind {str(tree[TAG])[:80]!r}")
        try:
            return read(self, tree)
        except (KeyError, TypeError, ValueError, OverflowError, InvalidOperation) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"the answer has a {tree[TAG]} that is none: {error}") from None

    def items(self, tree: Mapping[str, Any]) -> list[Any]:
        if not isinstance(tree["v"], list):
            raise ValueError("a list is missing")
        return [self.value(item) for item in tree["v"]]

    def hashables(self, tree: Mapping[str, Any]) -> list[Hashable]:
        return [_hashable(item) for item in self.items(tree)]

    def buffer(self, tree: Mapping[str, Any]) -> bytes | bytearray:
        index = tree["b"]
        if not isinstance(index, int) or not 0 <= index < len(self._buffers) or self._is_taken[index]:
            raise ValueError("its bytes are missing")
        self._is_taken[index] = True  # once each, lest a few bytes become many
        return self._buffers[index]

    def pairs(self, tree: Mapping[str, Any]) -> dict[Any, Any]:
        made = {}
        for pair in tree["v"]:
            key, value = pair
            made[_hashable(self.value(key))] = self.value(value)
        return made

    def array(self, tree: Mapping[str, Any]) -> Any:
        try:
            import numpy
        except ImportError:
            raise Unsupported(
                "the task gives a numpy array, and numpy is not here", "install numpy"
            ) from None
        name, shape = _text(tree["d"]), tree["s"]
        if not _DTYPE.fullmatch(name):
            raise ValueError(f"dtype {name[:40]!r}")
        is_shape = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS
        if not is_shape or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("its shape is none")
        dtype = numpy.dtype(name)
        content = self.buffer(tree)
        if math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError("its size is not that of its shape")
        # bytearrays are writable, and nobody else has them: no copy.
        found = numpy.frombuffer(bytearray(content) if isinstance(content, bytes) else content, dtype)
        found = found.reshape(shape) if dtype.itemsize else numpy.empty(shape, dtype)
        return found if tree[TAG] == "ndarray" else found[()]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text is missing")
    return value


def _hashable(value: Any) -> Hashable:
    if not isinstance(value, Hashable):
        raise ValueError(f"a {type(value).__name__} is no key")
    return value


def _int(reader: _Reader, tree: Mapping[str, Any]) -> int:
    if not _HEX.fullmatch(_text(tree["v"])):
        raise ValueError("digits are missing")
    return int(tree["v"], 16)  # in hexadecimal: in time that grows with the digits, not their square


def _timedelta(reader: _Reader, tree: Mapping[str, Any]) -> timedelta:
    days, seconds, microseconds = tree["v"]
    if not all(type(count) is int for count in (days, seconds, microseconds)):
        raise ValueError("numbers are missing")
    return timedelta(days, seconds, microseconds)


def _complex(reader: _Reader, tree: Mapping[str, Any]) -> complex:
    real, imaginary = tree["v"]
    return complex(float(_text(real)), float(_text(imaginary)))


def _from_text(make: Callable[[str], Any]) -> Callable[[_Reader, Mapping[str, Any]], Any]:
    return lambda _, tree: make(_text(tree["v"]))


_KINDS: Mapping[str, Callable[[_Reader, Mapping[str, Any]], Any]] = {
    "Decimal": _from_text(Decimal),
    "UUID": _from_text(uuid.UUID),
    "bytearray": lambda reader, tree: bytearray(reader.buffer(tree)),
    "bytes": lambda reader, tree: bytes(reader.buffer(tree)),
    "complex": _complex,
    "date": _from_text(date.fromisoformat),
    "datetime": _from_text(datetime.fromisoformat),
    "dict": _Reader.pairs,
    "float": _from_text(float),
    "frozenset": lambda reader, tree: frozenset(reader.hashables(tree)),
    "int": _int,
    "ndarray": _Reader.array,
    "numpy": _Reader.array,
    "set": lambda reader, tree: set(reader.hashables(tree)),
    "time": _from_text(time.fromisoformat),
    "timedelta": _timedelta,
    "tuple": lambda reader, tree: tuple(reader.items(tree)),
}
