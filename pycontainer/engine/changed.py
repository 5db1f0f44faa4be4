"""What a container changed of its image's files, as `docker diff` tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pycontainer.engine.files import layers_of, left, until
from pycontainer.engine.mounting import written_over
from pycontainer.errors import HelperDied, NotFound
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container

__all__ = ["Change", "diff"]

ChangeKind = Literal["added", "changed", "deleted"]
_KINDS: dict[str, ChangeKind] = {"A": "added", "C": "changed", "D": "deleted"}


@attrs.frozen
class Change:
    """A path that the container added, changed or deleted. As text, what `docker diff` prints."""

    path: str
    kind: ChangeKind

    def __str__(self) -> str:
        return f"{self.kind[0].upper()} {self.path}"


def diff(container: Container, mount: str | None, timeout: float | str | timedelta | None) -> list[Change]:
    """See Container.diff."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    if not container._directory.is_dir():
        raise NotFound(f"container {container.name} was removed")
    if mount is not None:
        with written_over(container._engine, container._current, mount) as (upper, source):
            if not os.path.lexists(upper):
                return []
            return _compared(container, {"upper": upper, "lower": []}, [source], deadline)
    params = {"upper": str(container._directory / "upper"), "lower": layers_of(container)}
    return _compared(container, params, (), deadline)


def _compared(
    container: Container, params: dict[str, Any], fds: Sequence[int], deadline: float | None
) -> list[Change]:
    found: list[Change] = []
    with container._engine.helper.submit("compare", params, fds) as running:
        while True:
            message: dict[str, Any] | None = running.receive(left(deadline))
            if message is None:
                raise HelperDied("the compare job was killed before it answered", job="compare")
            if "result" in message:
                return sorted(found, key=lambda change: change.path)
            found += [Change(path, _KINDS[kind]) for kind, path in message["changes"]]
