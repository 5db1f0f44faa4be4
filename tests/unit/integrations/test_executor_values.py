"""What a task gives comes back as data, and what a container forges is refused."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from decimal import Decimal

import numpy
import pytest

from pycontainer.errors import InvalidInput, TaskFailed
from pycontainer.integrations.executor import values, worker
from pycontainer.integrations.executor.remote import exception_of

DEEP: list[object] = []
for _ in range(90):
    DEEP = [DEEP]


def again(value: object) -> object:
    text, buffers = worker.encode(value)
    return values.decode(text, [bytes(buffer) for buffer in buffers])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**53) - 1, 2**4000, 1.5, math.inf, 2 - 3j,
        "\u00e9\ud800\U0001f600", b"\0\xff", bytearray(b"x"),
        [1, [2]], (1, (2,)), {"a": {"b": 1}}, {"$": "tuple"}, {1: "a", (1, 2): b"b"}, {1, 2},
        frozenset({"x"}),
        dt.date(2024, 2, 29), dt.datetime(2024, 1, 1, 12, 30, 1, 5, dt.UTC), dt.time(1, 2),
        dt.timedelta(-1, 3, 7),
        Decimal("1.10"), uuid.UUID(int=7), DEEP,
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_data_comes_back_as_it_was(value: object) -> None:
    found = again(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6, dtype="<i4").reshape(2, 3), numpy.array(2.5), numpy.zeros((0, 3)),
        numpy.array(["ab", "c"]),
        numpy.array(["2024-01-01"], "datetime64[D]"), numpy.arange(9).reshape(3, 3).T,
        numpy.float32(1.5), numpy.bool_(True),
    ],
    ids=repr,
)  # fmt: skip
def test_arrays_come_back_with_type_and_shape(array: object) -> None:
    found = again(array)
    assert type(found) is type(array)
    numpy.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype  # type: ignore[attr-defined]


class Point:
    pass


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


class Sneaky(dict[str, int]):
    pass


@pytest.mark.parametrize(
    "value",
    [Point(), [Point()], CIRCLE, Sneaky(), len, numpy.array([Point()])],
    ids=["object", "inner", "circle", "subclass", "function", "objects"],
)
def test_what_is_no_data_is_refused_by_name(value: object) -> None:
    with pytest.raises(worker.Unsendable, match=r"is not|nested"):
        worker.encode(value)


ARRAY = {"$": "ndarray", "d": "<i8", "s": [1], "b": 0}


@pytest.mark.parametrize(
    "tree",
    [
        {"$": "eval", "v": "1"},
        {"$": ["int"], "v": "0x1"},
        {"$": "int", "v": "9" * 5000},
        {"$": "int", "v": 7},
        {"$": "bytes", "b": 1},
        {"$": "bytes", "b": -1},
        {"$": "bytes", "b": True},
        [{"$": "bytes", "b": 0}, {"$": "bytes", "b": 0}],
        {"$": "set", "v": [[1]]},
        {"$": "dict", "v": [[1]]},
        {"$": "dict", "v": [[{}, 1]]},
        {"$": "tuple"},
        {"$": "tuple", "v": "abc"},
        {"$": "timedelta", "v": [10**30, 0, 0]},
        {"$": "timedelta", "v": ["1", 0, 0]},
        {"$": "Decimal", "v": "x"},
        {"$": "datetime", "v": "yesterday"},
        {"$": "float", "v": "__import__('os')"},
        {**ARRAY, "d": "O"},
        {**ARRAY, "d": "<i8,<i8"},
        {**ARRAY, "d": [["a", "O"]]},
        {**ARRAY, "s": [2]},
        {**ARRAY, "s": [-1]},
        {**ARRAY, "s": [1] * 65},
        {**ARRAY, "s": [2**70, 0]},
    ],
    ids=lambda tree: json.dumps(tree)[:50],
)
def test_forged_values_are_refused(tree: object) -> None:
    with pytest.raises(InvalidInput):
        values.decode(json.dumps(tree).encode(), [b"\0" * 8])


@pytest.mark.parametrize(
    "text",
    [b"[" * 10**6, b'{"a":' * 10**5, b"\xff", b"", b"1" * 5000, b'{"$":"tuple","v":[' * 500, b'"\\' * 10**5],
)
def test_text_that_would_exhaust_the_parser_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        values.decode(text, [])


def described(**changes: object) -> dict[str, object]:
    return {
        "module": "builtins",
        "name": "ValueError",
        "message": "no",
        "text": "Traceback",
        "args": ["no"],
        **changes,
    }


def test_a_builtin_exception_comes_back_as_itself_with_the_text_as_cause() -> None:
    error = exception_of(described())
    assert (type(error), error.args) == (ValueError, ("no",))
    assert "Traceback" in str(error.__cause__)


@pytest.mark.parametrize(
    "changes",
    [
        {"module": "os", "name": "system", "args": ["touch /tmp/x"]},
        {"name": "eval", "args": ["1/0"]},
        {"name": "SystemExit", "args": [1]},
        {"name": "KeyboardInterrupt"},
        {"name": "StopIteration"},
        {"name": "UnicodeDecodeError", "args": []},
        {"name": "ExceptionGroup", "args": ["none", []]},
        {"args": [json.loads("[" * 900 + "]" * 900)]},
        {"name": "__import__", "args": ["os"]},
        {"name": 5},
        {"args": None},
        {"args": [{"$": "eval"}]},
        {"module": "app", "name": "Odd"},
    ],
    ids=repr,
)
def test_any_other_exception_is_told_and_not_made(changes: dict[str, object]) -> None:
    error = exception_of(described(**changes))
    assert type(error) is TaskFailed
    assert error.traceback == "Traceback"


def test_nothing_of_an_exception_can_act_on_a_terminal() -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b2J"
    error = exception_of(described(text=hostile, args=[hostile], message=hostile))
    shown = f"{error}{error.__cause__}"
    assert not set(shown) & set("\x1b\x07\x9b\u202e")


def test_what_describes_no_exception_is_refused() -> None:
    with pytest.raises(InvalidInput):
        exception_of(["ValueError"])
