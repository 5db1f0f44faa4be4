"""The output of several containers at a time: in the order of time, or as it comes."""

from __future__ import annotations

import heapq
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve, frozen

from pycontainer.errors import NotFound, PycontainerError

if TYPE_CHECKING:
    from pycontainer.compose.labels import Member
    from pycontainer.engine import LogLine

__all__ = ["ComposeLogLine", "read_logs"]

_QUEUED = 1000


@frozen
class _End:
    """What a thread says last."""

    member: Member


@frozen(kw_only=True)
class ComposeLogLine:
    """A line of a container of the application. source: as "web-1"; for the rest see LogLine."""

    source: str
    service: str
    stream: Literal["stdout", "stderr"]
    at: datetime
    content: bytes

    @property
    def text(self) -> str:
        """The content as text without its line end; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode(errors="replace").rstrip("\n")


def read_logs(
    members: Sequence[Member],
    *,
    follow: bool,
    on_end: Callable[[Member], object] = lambda member: None,
    **selection: Any,
) -> Iterator[ComposeLogLine]:
    """The output of these containers. selection: as for Container.logs. on_end: see Compose.logs.

    follow: go on until all have ended; lines come as they are written, and an iteration that is left early
    leaves nothing behind. Raises as Container.logs.
    """
    if follow:
        return _followed(members, selection, on_end)
    each = [_lines(member, selection) for member in members]
    return heapq.merge(*each, key=lambda line: line.at)


def _lines(member: Member, selection: dict[str, Any], stop_fd: int | None = None) -> Iterator[ComposeLogLine]:
    try:
        logs = evolve(member.container.logs(**selection), stop_fd=stop_fd)
        yield from (_tagged(member, line) for line in logs)
    except FileNotFoundError:
        return  # it was removed


def _tagged(member: Member, line: LogLine) -> ComposeLogLine:
    return ComposeLogLine(
        source=f"{member.service}-{member.number}" if not member.is_oneoff else member.container.name,
        service=member.service,
        stream=line.stream,
        at=line.at,
        content=line.content,
    )


def _followed(
    members: Sequence[Member], selection: dict[str, Any], on_end: Callable[[Member], object]
) -> Iterator[ComposeLogLine]:
    """One thread for each container; all end with the iteration."""
    lines: queue.Queue[object] = queue.Queue(_QUEUED)
    stop = os.eventfd(0, os.EFD_CLOEXEC)

    def read(member: Member) -> None:
        try:
            for line in _lines(member, {**selection, "follow": True}, stop):
                lines.put(line)
        except NotFound:
            pass  # removed, or its driver keeps nothing here
        except PycontainerError as error:
            lines.put(error)
        finally:
            lines.put(_End(member))

    threads = [
        threading.Thread(target=read, args=(member,), name="pycontainer-logs", daemon=True)
        for member in members
    ]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            item = lines.get()
            if isinstance(item, _End):
                left -= 1
                on_end(item.member)
            elif isinstance(item, PycontainerError):
                raise item
            elif isinstance(item, ComposeLogLine):
                yield item
    finally:
        os.eventfd_write(stop, 1)
        while left:
            left -= isinstance(lines.get(), _End)
        for thread in threads:
            thread.join()
        os.close(stop)
