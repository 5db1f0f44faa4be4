"""Functions reach another version of Python as source, with all that belongs to them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.integrations.executor import sending, worker

OTHER = (3, 99)
FACTOR = 10


def arrive(task: Any) -> Any:
    """As a worker of another version has it: compiled from what was sent."""
    return pickle.loads(sending.pickled(task, OTHER))


def scaled(x: int, by: int = FACTOR, *, plus: int = FACTOR // 2) -> int:
    return x * by + plus + FACTOR


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


@decorated
def doubled(x: int) -> int:
    return 2 * x


class Account:
    def __init__(self, balance: int) -> None:
        self.balance = balance

    def paid(self, amount: int) -> Account:
        return type(self)(self.balance + amount)


class Savings(Account):
    def paid(self, amount: int) -> Account:
        return super().paid(amount + 1)


def counter(start: int) -> Callable[[], int]:
    def count() -> int:
        nonlocal start
        start += 1
        return start

    return count


def test_defaults_globals_and_keywords_come_along() -> None:
    assert arrive(scaled)(2) == 2 * 10 + 5 + 10


def test_the_code_is_compiled_anew_and_nothing_is_looked_up_here() -> None:
    found = arrive(scaled)
    assert found is not scaled
    assert "scaled" in found.__code__.co_filename
    assert found.__code__.co_filename.startswith("<")


def test_functions_that_call_themselves_or_are_decorated_or_hold_state_arrive() -> None:
    assert arrive(factorial)(5) == 120
    assert arrive(doubled)(4) == 8
    count = arrive(counter(5))
    assert (count(), count()) == (6, 7)


def test_one_lambda_of_a_line_is_told_from_the_others() -> None:
    plus, times = (lambda x: x + 1), (lambda x: x * 7)
    assert (arrive(plus)(5), arrive(times)(5)) == (6, 35)


def test_a_lambda_in_the_middle_of_a_call_arrives_with_its_closure() -> None:
    offset = 3
    found = sorted(
        [4, 1], key=arrive(lambda x: -x - offset)
    )  # fmt: skip
    assert found == [4, 1]


def test_classes_arrive_with_methods_and_super() -> None:
    assert arrive(Savings(5)).paid(1).balance == 7


def test_a_function_without_source_says_what_to_do() -> None:
    made: dict[str, Any] = {}
    exec("def hidden(): return 1", made)
    with pytest.raises(InvalidInput, match="hidden has no source"):
        sending.pickled(made["hidden"], OTHER)


def test_for_the_same_version_the_code_itself_is_sent() -> None:
    made: dict[str, Any] = {}
    exec("def hidden(): return 1", made)
    found = pickle.loads(sending.pickled(made["hidden"], sys.version_info[:2]))
    assert found() == 1


def test_what_is_installed_goes_by_name() -> None:
    import json

    assert arrive(json.dumps) is json.dumps
    assert arrive(worker.function_from_source) is worker.function_from_source
