"""User and group ids that no other container of the store has: `userns="auto"`.

Source: podman-run(1), "--userns", auto; subuid(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.options import parse_run_options

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.options import RunOptions

__all__ = ["AUTO", "with_own_ids"]

AUTO = "auto"
SIZE = 1 << 16
_USER = "containers"
_DEFAULT = (1 << 31, (1 << 31) - 2)
"""The upper half of what ids can be, where nothing on a host has some of its own."""


def with_own_ids(engine: Engine, options: RunOptions) -> RunOptions:
    """The options with maps to ids that no container has. To be called with the store's lock for them held.

    They are of those that /etc/subuid and /etc/subgid leave to the user "containers", else from 2^31 on.
    Raises: InvalidOption with maps; Unsupported when all are taken.
    """
    if options.uid_map or options.gid_map:
        raise InvalidOption('option userns="auto" chooses the maps; leave out uid_map and gid_map')
    taken = [
        range(start, start + count)
        for record in engine.store.state.containers.list()
        for line in _maps(parse_run_options(**record.options))
        for start, count in [_on_host(line)]
    ]
    uids, gids = ((f"0:{_free(_ranges(path), taken)}:{SIZE}",) for path in ("/etc/subuid", "/etc/subgid"))
    return attrs.evolve(options, userns="private", uid_map=uids, gid_map=gids)


def _maps(options: RunOptions) -> tuple[str, ...]:
    return (*(options.uid_map or ()), *(options.gid_map or ()))


def _on_host(line: str) -> tuple[int, int]:
    _, start, count = line.split(":")
    return int(start), int(count)


def _ranges(path: str) -> Iterator[range]:
    found = False
    try:
        with open(path) as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        lines = []
    for words in lines:
        if len(words) == 3 and words[0] == _USER and words[1].isdigit() and words[2].isdigit():
            found = True
            yield range(int(words[1]), int(words[1]) + int(words[2]))
    if not found:
        yield range(_DEFAULT[0], sum(_DEFAULT))


def _free(ranges: Iterator[range], taken: list[range]) -> int:
    for whole in ranges:
        start = whole.start
        while start + SIZE <= whole.stop:
            other = next((each for each in taken if each.start < start + SIZE and start < each.stop), None)
            if other is None:
                return start
            start = other.stop
    raise Unsupported(
        f"no {SIZE} ids are left that no container has",
        'remove containers, or give /etc/subuid and /etc/subgid a longer line for "containers"',
    )
