"""Restart policies and health verdicts as values: what follows from ends of runs and results of checks."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pycontainer.launcher.monitor.health import Verdicts
from pycontainer.launcher.monitor.loop import Loop
from pycontainer.launcher.monitor.restarting import Policy


def policy(name: str, max_retries: int = 0) -> Policy:
    return Policy({"name": name, "max_retries": max_retries})


def test_waits_double_up_to_a_minute() -> None:
    always = policy("always")
    waits = []
    for _ in range(12):
        assert always.again(1, 0.5)
        waits.append(always.delay_s)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert always.count == 12


def test_a_run_of_ten_seconds_begins_the_waits_anew() -> None:
    always = policy("always")
    for _ in range(5):
        always.again(1, 9.99)
    assert always.delay_s == 1.6
    always.again(1, 10.0)
    assert always.delay_s == 0.1
    assert always.count == 6


@pytest.mark.parametrize(
    ("name", "max_retries", "codes", "expected"),
    [
        ("no", 0, [0, 1], [False, False]),
        ("always", 0, [0, 1], [True, True]),
        ("unless-stopped", 0, [0, 1], [True, True]),
        ("on-failure", 0, [1, 137, 0], [True, True, False]),
        ("on-failure", 2, [1, 1, 1], [True, True, False]),
    ],
)
def test_a_policy_decides_by_the_exit_code(
    name: str, max_retries: int, codes: list[int], expected: list[bool]
) -> None:
    asked = policy(name, max_retries)
    assert [asked.again(code, 0.0) for code in codes] == expected


def test_another_policy_goes_on_counting() -> None:
    asked = policy("always")
    asked.again(1, 0.0)
    asked.again(1, 0.0)
    asked.set({"name": "on-failure", "max_retries": 2})
    assert not asked.again(1, 0.0)
    assert asked.count == 2


DESCRIBED: dict[str, Any] = {
    "interval_s": 30.0,
    "start_interval_s": 5.0,
    "start_period_s": 10.0,
    "retries": 3,
}


def results(*given: tuple[int, float], **changes: Any) -> list[tuple[str, int]]:
    """Status and streak after each result, given as (exit code, seconds since the start)."""
    verdicts = Verdicts({**DESCRIBED, **changes})
    found = []
    for code, at_s in given:
        verdicts.take({"exit_code": code}, at_s)
        found.append((verdicts.status, verdicts.failing_streak))
    return found


def test_failures_in_a_row_make_unhealthy_and_one_success_healthy() -> None:
    assert results((0, 20), (1, 50), (1, 80), (-1, 110), (1, 140), (0, 170)) == [
        ("healthy", 0),
        ("healthy", 1),
        ("healthy", 2),
        ("unhealthy", 3),
        ("unhealthy", 4),
        ("healthy", 0),
    ]


def test_failures_of_the_start_period_count_only_after_a_success() -> None:
    assert results((1, 1), (1, 5), (1, 9.9), (1, 10)) == [("starting", 0)] * 3 + [("starting", 1)]
    assert results((0, 1), (1, 2), retries=1) == [("healthy", 0), ("unhealthy", 1)]


def test_only_a_change_of_the_status_is_one() -> None:
    verdicts = Verdicts({**DESCRIBED, "retries": 1})
    assert [verdicts.take({"exit_code": code}, 20) for code in (0, 0, 1, 1, 0)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_the_last_five_results_are_kept() -> None:
    verdicts = Verdicts(DESCRIBED)
    for number in range(8):
        verdicts.take({"exit_code": 0, "number": number}, 20)
    assert [result["number"] for result in verdicts.log] == [3, 4, 5, 6, 7]


def test_the_interval_of_the_start_lasts_until_a_success_or_its_end() -> None:
    verdicts = Verdicts(DESCRIBED)
    assert verdicts.pause_s(0) == 5.0
    assert verdicts.pause_s(10) == 30.0
    verdicts.take({"exit_code": 0}, 1)
    assert verdicts.pause_s(2) == 30.0


def test_timers_are_called_in_order_and_a_cancelled_one_is_not() -> None:
    loop = Loop()
    called: list[str] = []
    loop.at(2.0, lambda: called.append("second"))
    loop.at(1.0, lambda: called.append("first"))
    loop.cancel(loop.at(1.5, lambda: called.append("never")))
    loop.run_until(lambda: len(called) == 2)
    assert called == ["first", "second"]


def test_a_handler_that_removes_another_keeps_it_from_being_called() -> None:
    loop = Loop()
    pipes = [os.pipe(), os.pipe()]
    called: list[int] = []

    def handle(number: int) -> None:
        called.append(number)
        for reader, _ in pipes:
            loop.remove(reader)

    for number, (reader, writer) in enumerate(pipes):
        os.write(writer, b"x")
        loop.add(reader, lambda _, number=number: handle(number))  # type: ignore[misc]
    loop.run_until(lambda: bool(called))
    for pair in pipes:
        for fd in pair:
            os.close(fd)
    assert len(called) == 1
