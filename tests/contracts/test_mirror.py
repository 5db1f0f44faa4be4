"""The asynchronous API is the blocking one: every class, every member, with the same parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

import pycontainer
from pycontainer import aio
from pycontainer.aio import _generated, derive
from tests.support.source import ROOT

RENAMED = {
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}
BLOCKING = {"ContainerExecutor", "RemoteFunction", "TaskFuture"}
"""What gives futures, which event loops take."""


def members() -> Iterator[tuple[str, str, object]]:
    for name in pycontainer.__all__:
        cls = getattr(pycontainer, name)
        if inspect.isclass(cls) and getattr(aio, name) is not cls:
            for member, value in derive.public_members(cls).items():
                yield name, member, value


def parameters(function: object) -> list[tuple[str, object, object]]:
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [(each.name, each.kind, each.default) for each in found]


def test_the_generated_mirror_is_current() -> None:
    command = [sys.executable, "-m", "pycontainer.aio.derive", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_name_is_there_mirrored_or_the_same() -> None:
    for name in set(pycontainer.__all__) - {"aio"}:
        assert hasattr(aio, name), name
    with pytest.raises(AttributeError):
        aio.nothing  # noqa: B018


def test_what_blocks_is_mirrored_and_the_rest_is_data() -> None:
    """A class with methods that do something beyond itself is no data: attrs classes without are the same."""
    same = {
        name
        for name in pycontainer.__all__
        if inspect.isclass(getattr(pycontainer, name)) and getattr(aio, name) is getattr(pycontainer, name)
    }
    doing = {
        name
        for name in same
        if "engine" in str(inspect.signature(getattr(pycontainer, name).__init__))
        and not hasattr(getattr(pycontainer, name), "__attrs_attrs__")
    }
    assert doing <= BLOCKING


def test_every_member_of_a_mirrored_class_is_there_with_the_same_parameters() -> None:
    wrong = []
    for name, member, value in members():
        mirror = inspect.getattr_static(getattr(aio, name), RENAMED.get(member, member), None)
        if mirror is None:
            wrong.append(f"{name}.{member} is missing")
            continue
        functions = [getattr(each, "__func__", each) for each in (value, mirror)]
        if all(inspect.isfunction(each) for each in functions) and not member.startswith("__"):
            if parameters(functions[0]) != parameters(functions[1]):
                wrong.append(f"{name}.{member}{inspect.signature(functions[1])}")
    assert wrong == []


@pytest.mark.parametrize(
    "name", [name for name in _generated.__all__ if inspect.isfunction(getattr(_generated, name))]
)
def test_functions_have_the_same_parameters(name: str) -> None:
    assert parameters(getattr(aio, name)) == parameters(getattr(pycontainer, name))
