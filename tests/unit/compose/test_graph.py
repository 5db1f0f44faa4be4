"""The order of services."""

from __future__ import annotations

import threading

import pytest

from pycontainer.compose.graph import circle, each_of, in_order, needed, reversed_graph

GRAPH = {"web": ["api", "cache"], "api": ["db"], "cache": [], "db": ["gone"]}


def test_work_is_done_after_that_for_what_is_waited_for() -> None:
    done: list[str] = []
    in_order(GRAPH, done.append)
    assert sorted(done) == ["api", "cache", "db", "web"]
    assert done.index("db") < done.index("api") < done.index("web") > done.index("cache")


def test_what_waits_for_nothing_common_runs_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=30)
    in_order({"a": [], "b": []}, lambda name: together.wait())
    each_of(["a", "b"], lambda name: together.wait())


def test_after_an_error_nothing_more_is_begun_and_no_thread_is_left() -> None:
    done: list[str] = []

    def work(name: str) -> None:
        if name == "db":
            raise ValueError(name)
        done.append(name)

    before = threading.active_count()
    with pytest.raises(ValueError, match="db"):
        in_order(GRAPH, work)
    assert done in ([], ["cache"])
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (GRAPH, []),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"a": ["a"]}, ["a", "a"]),
    ],
)
def test_circles_are_found(graph: dict[str, list[str]], expected: list[str]) -> None:
    assert circle(graph) == expected


def test_what_is_needed_and_who_waits() -> None:
    assert needed(GRAPH, ["api"]) == {"api", "db"}
    assert reversed_graph(GRAPH) == {"web": [], "api": ["web"], "cache": ["web"], "db": ["api"]}
