"""What runs inside a container for an executor: reads tasks, runs them, writes results.

Its source is sent to the interpreter of the image, so it is Python 3.8 and the standard library, and nothing
of this package. Theory of operation. Standard input brings frames of 8 bytes of length and a pickle, of the
caller, who is trusted here. Standard output takes answers, which are not trusted there: a header (kind,
length of the JSON text, number of buffers), the buffers' lengths, the JSON text, the buffers. Tasks that
print print to standard error: the two streams are put aside first.

The encoding of values is here, beside the other half in `values`: JSON for what JSON has, tagged objects for
the rest, and bytes in buffers of their own.
"""

from __future__ import annotations

import datetime
import decimal
import json
import os
import pickle
import struct
import sys
import traceback
import types
import uuid
from typing import Any

HEADER = struct.Struct(">cQI")
LENGTH = struct.Struct(">Q")
TAG = "$"
MAX_DEPTH = 100
EXACT_INT = 1 << 53  # what every reader of JSON gets right


class Unsendable(TypeError):
    """A value that is not data."""


def encode(value: Any) -> tuple[bytes, list[Any]]:
    """A value as JSON text and buffers. Raises: Unsendable naming the type."""
    buffers: list[Any] = []
    tree = _tree(value, buffers, 0)
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode("ascii"), buffers


def _tree(value: Any, buffers: list[Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unsendable(f"it is nested more than {MAX_DEPTH} deep, or in itself")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if abs(value) <= EXACT_INT else {TAG: "int", "v": hex(value)}
    if kind is float:
        return value if value - value == 0 else {TAG: "float", "v": repr(value)}
    if kind is list:
        return [_tree(item, buffers, depth + 1) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: _tree(item, buffers, depth + 1) for key, item in value.items()}
        pairs = [[_tree(key, buffers, depth + 1), _tree(value[key], buffers, depth + 1)] for key in value]
        return {TAG: "dict", "v": pairs}
    if kind in (tuple, set, frozenset):
        return {TAG: kind.__name__, "v": [_tree(item, buffers, depth + 1) for item in value]}
    if kind in (bytes, bytearray):
        buffers.append(value)
        return {TAG: kind.__name__, "b": len(buffers) - 1}
    text = _TEXTS.get(kind)
    if text is not None:
        return {TAG: kind.__name__, "v": text(value)}
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return _array(value, buffers)
    raise Unsendable(f"a {kind.__module__}.{kind.__qualname__} is not data")


def _array(value: Any, buffers: list[Any]) -> Any:
    """An array or a scalar of numpy, by what its array interface says."""
    if value.dtype.kind not in "biufcmMSU":
        raise Unsendable(f"an array of dtype {value.dtype} is not plain data")
    buffers.append(value.tobytes())
    is_array = type(value).__name__ == "ndarray"
    if is_array or type(value).__name__ == value.dtype.type.__name__:
        shape = list(value.shape)
        kind = "ndarray" if is_array else "numpy"
        return {TAG: kind, "d": value.dtype.str, "s": shape, "b": len(buffers) - 1}
    raise Unsendable(f"a numpy.{type(value).__name__} is not data")


def _timedelta(value: Any) -> Any:
    return [value.days, value.seconds, value.microseconds]


_TEXTS: dict[type, Any] = {
    complex: lambda value: [repr(value.real), repr(value.imag)],
    datetime.date: lambda value: value.isoformat(),
    datetime.datetime: lambda value: value.isoformat(),
    datetime.time: lambda value: value.isoformat(),
    datetime.timedelta: _timedelta,
    decimal.Decimal: str,
    uuid.UUID: str,
}


def function_from_source(
    source: str, filename: str, name: str, free: tuple[str, ...], base: dict[str, Any]
) -> types.FunctionType:
    """A function of another version of Python, whose code would mean something else here.

    source: of a module with a `__factory__` whose parameters are the function's free names, and which gives
    it.
    """
    import linecache

    # What tracebacks show as lines.
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    place: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), place)
    made = place["__factory__"](*[None] * len(free))
    base["__builtins__"] = __builtins__
    return types.FunctionType(made.__code__, base, name, None, made.__closure__)


def set_function_state(function: types.FunctionType, state: Any) -> None:
    """Fill what `function_from_source` made: its globals, cells by name, defaults and attributes."""
    attributes, named_cells, global_names, slots = state
    function.__dict__.update(attributes)
    function.__globals__.update(global_names)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        if name in named_cells:
            cell.cell_contents = named_cells[name]
    for name, value in slots.items():
        setattr(function, name, value)


class _Worker:
    def __init__(self, source: Any, sink: Any) -> None:
        self._source = source
        self._sink = sink
        self._is_trusted = False
        self._dumps: Any = pickle.dumps

    def serve(self) -> None:
        setup = pickle.loads(self._read())
        self._is_trusted = setup["trusted"]
        for name, text in setup["modules"].items():
            _add_module(name, text)
        self._dumps = sys.modules["cloudpickle.cloudpickle"].dumps
        self._answer(b"h", {"version": list(sys.version_info[:3]), "prefix": sys.prefix})
        while True:
            frame = self._read()
            if not frame:
                return
            self._run(frame)

    def _read(self) -> bytes:
        head = self._source.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return b""
        (length,) = LENGTH.unpack(head)
        return bytes(self._source.read(length))

    def _run(self, frame: bytes) -> None:
        try:
            function, args, kwargs = pickle.loads(frame)
            del frame
            value = function(*args, **kwargs)
            answer = (b"null", [self._dumps(value)]) if self._is_trusted else encode(value)
        except Unsendable as error:
            self._answer(b"u", {"problem": str(error)})
        except BaseException as error:
            self._fail(error)
        else:
            self._send(b"p" if self._is_trusted else b"r", *answer)

    def _fail(self, error: BaseException) -> None:
        # The frames of this file say nothing to whoever wrote the task.
        trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
        text = "".join(traceback.format_exception(type(error), error, trace))
        kind = type(error)
        described: dict[str, Any] = {
            "module": kind.__module__,
            "name": kind.__qualname__,
            "text": text[-200000:],
        }
        try:
            described["message"] = str(error)
        except Exception:
            described["message"] = ""
        buffers: list[Any] = []
        if self._is_trusted:
            try:
                error.__traceback__ = None
                buffers = [self._dumps(error)]
            except Exception:
                buffers = []
        try:
            described["args"] = _tree(list(error.args), [], 0)
        except Exception:
            described["args"] = None
        self._send(b"e", json.dumps(described).encode("ascii"), buffers)

    def _answer(self, kind: bytes, tree: Any) -> None:
        self._send(kind, json.dumps(tree).encode("ascii"), [])

    def _send(self, kind: bytes, text: bytes, buffers: list[Any]) -> None:
        lengths = b"".join(LENGTH.pack(len(buffer)) for buffer in buffers)
        self._sink.write(HEADER.pack(kind, len(text), len(buffers)) + lengths + text)
        for buffer in buffers:
            self._sink.write(buffer)
        self._sink.flush()


def _add_module(name: str, text: str) -> None:
    module = types.ModuleType(name)
    module.__file__ = f"<sent: {name}>"
    if not name.count("."):
        module.__path__ = []
        module.__package__ = name
    else:
        module.__package__ = name.rpartition(".")[0]
    sys.modules[name] = module
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    parent, _, last = name.rpartition(".")
    if parent and parent in sys.modules:
        setattr(sys.modules[parent], last, module)


# The name that pickles know this module by, here and there.
NAME = "pycontainer_worker"
for _sent in (function_from_source, set_function_state):
    _sent.__module__ = NAME


def main(source: Any) -> None:
    """Serve until the input ends."""
    # Whatever a task starts has neither of the two: what is duplicated is not inherited (PEP 446).
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    _Worker(source, sink).serve()
