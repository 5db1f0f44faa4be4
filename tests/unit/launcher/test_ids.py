"""Ids of containers that a helper can tell the number of."""

from __future__ import annotations

import re

import pytest

from pycontainer.launcher.ids import container_id, number_of


@pytest.mark.parametrize("number", [0, 1, 64, 65, 10**6, 2**64 - 1])
def test_whoever_has_the_seed_reads_the_number_back(number: int) -> None:
    made = container_id("seed", number)
    assert re.fullmatch("[0-9a-f]{64}", made)
    assert number_of("seed", made) == number


@pytest.mark.parametrize(
    "foreign",
    [container_id("another", 3), "f" * 64, "0" * 64, "", "c1", "x" * 64, container_id("seed", 3)[:-1]],
)
def test_what_is_not_of_the_sequence_has_no_number(foreign: str) -> None:
    assert number_of("seed", foreign) is None


def test_ids_are_unlike_each_other_from_the_first_digit_to_the_last() -> None:
    made = [container_id("seed", number) for number in range(1000)]
    assert len({one[:12] for one in made}) == len({one[-12:] for one in made}) == 1000
