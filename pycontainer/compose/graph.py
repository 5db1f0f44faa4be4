"""Services in the order in which they wait for each other, as many at a time as can."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["WORKERS", "circle", "each_of", "in_order", "needed", "reversed_graph", "sequence"]

WORKERS = 8
_Item = TypeVar("_Item")


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that wait for each other, the first once more at the end; none if nobody does.

    graph: by name those that it waits for; names that are no keys wait for nobody.
    """
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in graph.get(name, ()):
            found = visit(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, []))), [])


def needed(graph: Mapping[str, Iterable[str]], names: Iterable[str]) -> set[str]:
    """These names, and all that they wait for."""
    found: set[str] = set()
    left = [name for name in names if name in graph]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [other for other in graph[name] if other in graph]
    return found


def sequence(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The names, each after those that it waits for; the graph has no circle."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in graph[name]:
            if other in graph and other not in found:
                visit(other)
        found.setdefault(name)

    for name in graph:
        visit(name)
    return list(found)


def reversed_graph(graph: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """By name those that wait for it."""
    found: dict[str, list[str]] = {name: [] for name in graph}
    for name, others in graph.items():
        for other in others:
            if other in found:
                found[other].append(name)
    return found


def in_order(
    graph: Mapping[str, Iterable[str]], work: Callable[[str], object], *, workers: int = WORKERS
) -> None:
    """Do the work for each name once it is done for all that it waits for. workers: how many at a time.

    After an error nothing more is begun; what runs is waited for, and the first error is raised.
    """
    waiting = {name: {other for other in others if other in graph} for name, others in graph.items()}
    if not waiting:
        return
    running: dict[Future[object], str] = {}
    with ThreadPoolExecutor(min(workers, len(waiting)), thread_name_prefix="pycontainer-compose") as pool:
        try:
            while waiting or running:
                for name in [name for name, others in waiting.items() if not others]:
                    del waiting[name]
                    running[pool.submit(work, name)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    future.result()
                    for others in waiting.values():
                        others.discard(name)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def each_of(items: Iterable[_Item], work: Callable[[_Item], object]) -> None:
    """Do the work for all items, several at a time; the first error is raised at the end."""
    numbered = dict(enumerate(items))
    if len(numbered) == 1:
        work(numbered[0])
        return
    in_order(dict.fromkeys(map(str, numbered), ()), lambda number: work(numbered[int(number)]))
