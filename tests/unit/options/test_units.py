"""Sizes, durations, CPU counts and signals as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pycontainer.options import parse_cpus, parse_duration, parse_seconds, parse_signal, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("512", 512),
        ("512b", 512),
        ("64k", 64 << 10),
        ("64K", 64 << 10),
        ("64kb", 64 << 10),
        ("64KiB", 64 << 10),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("2 GB", 2 << 30),
        ("1t", 1 << 40),
        ("-1", -1),
    ],
)
def test_a_size_is_read_in_powers_of_1024(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1.m", "1x", "-5", "1e3", "١", "9999999p", True, 1.5, None, b"1"])
def test_a_size_of_another_form_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"512m|between"):
        parse_size(text)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (3, 3),
        (0.25, 0.25),
        ("10", 10),
        ("1.5s", 1.5),
        ("1m30s", 90),
        ("250ms", 0.25),
        ("2h", 7200),
        ("-1", -1),
        (timedelta(minutes=2), 120),
    ],
)
def test_a_duration_is_read_in_seconds(given: object, seconds: float) -> None:
    assert parse_duration(given) == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "s", "1s2", "5 m", "nan", "inf", float("nan"), 1e300, True, None])
def test_a_duration_of_another_form_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="second"):
        parse_duration(given)


def test_waiting_for_ever_is_minus_one_where_that_is_allowed() -> None:
    assert parse_seconds(-1, minus_one=True) == -1
    with pytest.raises(ValueError, match="from 0"):
        parse_seconds(-1)
    with pytest.raises(ValueError, match="-1 to wait"):
        parse_seconds(-2, minus_one=True)


@pytest.mark.parametrize(("given", "cpus"), [(1, 1.0), (1.5, 1.5), ("0.25", 0.25)])
def test_cpus_are_read_as_a_number(given: object, cpus: float) -> None:
    assert parse_cpus(given) == cpus


@pytest.mark.parametrize("given", [0, -1, "x", float("nan"), float("inf"), True, None])
def test_cpus_of_another_form_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match="CPUs"):
        parse_cpus(given)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (15, 15),
        ("15", 15),
        ("TERM", 15),
        ("sigterm", 15),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("SIGKILL", 9),
    ],
)
def test_a_signal_is_read_by_name_or_number(given: object, number: int) -> None:
    assert parse_signal(given) == number


@pytest.mark.parametrize("given", [0, 65, "SIGNOPE", "", "RTMIN+99", "9" * 400, True, None, 1.5])
def test_a_signal_of_another_form_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="signal"):
        parse_signal(given)
