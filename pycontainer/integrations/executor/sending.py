"""Functions and arguments on their way into a container: cloudpickle, and source where versions differ.

Theory of operation. What an image has installed is pickled by name: the standard library, and what lies in
site-packages here. What is the caller's own program is pickled by value. A function's code is that of one
minor version of Python; for another one the function goes as source, taken from its file or notebook cell and
compiled there, with its defaults, globals and closure pickled as ever.
"""

from __future__ import annotations

import ast
import inspect
import io
import pickle
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module, resources
from typing import Any

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.integrations.executor import worker

__all__ = ["loaded", "modules_to_send", "pickled", "plainly_pickled"]

_FRONT = """\
def __getattr__(name):
    from cloudpickle import cloudpickle
    return getattr(cloudpickle, name)
"""
_INSTALLED = ("site-packages", "dist-packages")


def _cloudpickle() -> Any:
    try:
        return import_module("cloudpickle.cloudpickle")
    except ImportError:
        raise Unsupported(
            "functions are sent with cloudpickle, which is not installed",
            "pip install 'pycontainer-engine[executor]'",
        ) from None


@cache
def modules_to_send() -> dict[str, str]:
    """Source by name of what a worker needs beside its standard library. Raises: Unsupported."""
    _cloudpickle()
    files = resources.files("cloudpickle")
    inner = (files / "cloudpickle.py").read_text(encoding="utf-8")
    front = _FRONT
    return {"cloudpickle": front, "cloudpickle.cloudpickle": inner}


def pickled(task: Any, version: tuple[int, int]) -> bytes:
    """A task for a worker whose Python has this version.

    Raises: InvalidInput for a function whose source is needed and cannot be found; what pickling raises.
    """
    buffer = io.BytesIO()
    try:
        _pickler_class()(buffer, version).dump(task)
    except Exception as error:  # whatever the things that are sent raise
        error.add_note(
            "a task's function, what it uses and its arguments are sent to a container: make it there"
        )
        raise
    return buffer.getvalue()


def plainly_pickled(data: Any) -> bytes:
    """Data for a worker of any version."""
    return pickle.dumps(data, protocol=4)


def loaded(content: bytes | bytearray) -> Any:
    """What a trusted container pickled. Runs whatever the bytes ask for."""
    return _unpickler_class()(io.BytesIO(content)).load()


@cache
def _unpickler_class() -> Any:
    library = _cloudpickle()

    class Unpickler(pickle.Unpickler):
        """Leaves classes that are here already as they are: by value, they would be filled with copies."""

        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self._known: set[type] = set()

        def find_class(self, module: str, name: str) -> Any:
            found = super().find_class(module, name)
            if found is library._make_skeleton_class or found is library._make_skeleton_enum:
                return partial(self._skeleton, found)
            return self._fill if found is library._class_setstate else found

        def _skeleton(self, make: Callable[..., type], *arguments: Any) -> type:
            tracked = {id(each) for each in library._DYNAMIC_CLASS_TRACKER_BY_ID.values()}
            made = make(*arguments)
            if id(made) in tracked:
                self._known.add(made)
            return made

        def _fill(self, made: type, state: Any) -> type:
            return made if made in self._known else library._class_setstate(made, state)

    return Unpickler


@cache
def _pickler_class() -> Any:
    library = _cloudpickle()
    # Pickling a function by name looks it up first.
    sys.modules.setdefault(worker.NAME, worker)

    class Pickler(library.Pickler):  # type: ignore[misc, name-defined]
        """cloudpickle's, which takes along what the image does not have."""

        def __init__(self, file: io.BytesIO, version: tuple[int, int]) -> None:
            super().__init__(file, protocol=5)
            self._as_source = version != sys.version_info[:2]

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, types.FunctionType):
                if _is_callers(obj):
                    return self._dynamic_function_reduce(obj)
            elif isinstance(obj, type) and _is_callers(obj):
                return library._dynamic_class_reduce(obj)
            return super().reducer_override(obj)

        def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
            reduced = super()._dynamic_function_reduce(func)
            if not self._as_source:
                return reduced
            (_, base, *_), (attributes, slots) = reduced[1], reduced[2]
            free = func.__code__.co_freevars
            source = _source_of(func, free)
            cells = dict(zip(free, slots.pop("__closure__") or (), strict=True))
            slots.pop("_cloudpickle_submodules")
            slots["__annotations__"] = {}  # expressions, which an older Python may not have
            found = {}
            for name, cell in cells.items():
                try:
                    found[name] = cell.cell_contents
                except ValueError:  # nothing is in it yet
                    continue
            state = attributes, found, slots.pop("__globals__"), slots
            filename = f"<{func.__qualname__} of {func.__code__.co_filename}>"
            arguments = source, filename, func.__name__, free, base
            return (worker.function_from_source, arguments, state, None, None, worker.set_function_state)

    return Pickler


@cache
def _standard_places() -> tuple[str, ...]:
    return tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


def _is_callers(obj: types.FunctionType | type) -> bool:
    """Whether it is of a module of the caller's own program, which no image has."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or not file or module.__name__.partition(".")[0] in ("cloudpickle", "pycontainer"):
        return False
    return not file.startswith(_standard_places()) and not any(name in file for name in _INSTALLED)


def _source_of(func: types.FunctionType, free: tuple[str, ...]) -> str:
    """A module's source with a `__factory__` of the free names that gives the function."""
    try:
        text = textwrap.dedent(inspect.getsource(func.__code__))
    except (OSError, TypeError):
        text = ""
    node = _find(text, func) if text else None
    if node is None:
        here = ".".join(map(str, sys.version_info[:2]))
        raise InvalidInput(
            f"the image has another Python than {here} here, and {func.__qualname__} has no source that "
            "could be compiled there; define it with def in a file or a notebook cell, or use an image with "
            f"Python {here}"
        )
    if isinstance(node, ast.Lambda):
        made: ast.stmt = ast.Return(value=node)
        body = [made]
    else:
        node.decorator_list, node.returns = [], None
        body = [node, ast.Return(value=ast.Name(node.name, ast.Load()))]
    arguments = node.args
    for argument in (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ):
        if argument is not None:
            argument.annotation = None
    # The values are sent; what they were written as may mean nothing there.
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [None if each is None else ast.Constant(None) for each in arguments.kw_defaults]
    parameters = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    factory = ast.FunctionDef(name="__factory__", args=parameters, body=body, decorator_list=[])
    return ast.unparse(ast.fix_missing_locations(ast.Module(body=[factory], type_ignores=[])))


def _find(text: str, func: types.FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """The function in the lines that inspect found, which may hold others beside it."""
    tree = _parsed(text)
    if tree is None:
        return None
    if func.__name__ != "<lambda>":
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name == func.__code__.co_name
            ):
                return node
        return None
    wanted = func.__code__.co_argcount, func.__code__.co_code, func.__code__.co_names
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda) and _signature(node, func.__code__.co_freevars) == wanted
    ]
    alike = {ast.dump(node) for node in found}
    return found[0] if len(alike) == 1 else None


def _parsed(text: str) -> ast.Module | None:
    """The lines as a module; a lambda's may be the middle of a statement, which is cut at its ends."""
    starts = [0, *(index for index in range(len(text)) if text.startswith("lambda", index))]
    for start in starts:
        for end in range(len(text), start, -1):
            try:
                return ast.parse(text[start:end].strip())
            except SyntaxError:
                if start == 0 and end < len(text) - 2:
                    break
                continue
    return None


def _signature(node: ast.Lambda, free: tuple[str, ...]) -> tuple[int, bytes, tuple[str, ...]] | None:
    """What tells one lambda of a line from another, compiled as it is here."""
    parameters = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    outer = ast.Expression(ast.Lambda(args=parameters, body=node))
    code = compile(ast.fix_missing_locations(outer), "<lambda>", "eval")
    codes = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    inner = [each for each in codes[0].co_consts if isinstance(each, types.CodeType)] if codes else []
    return (inner[0].co_argcount, inner[0].co_code, inner[0].co_names) if inner else None
