"""Reading the log of what happened in a store, by any process, and following it."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, final

import attrs

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.engine.moments import Moment, from_nanoseconds, to_nanoseconds
from pycontainer.kernel import inotify, interrupts
from pycontainer.launcher import eventlog
from pycontainer.options import given_seconds

__all__ = ["Event", "Events", "read_events"]

_FILTERS = ("container", "event", "image", "label", "network", "scope", "type", "volume")
_LOOSE = ("health_status", "exec_create", "exec_start")  # these say more after a colon
_SLACK_NS = 2 * 10**9  # between an event's time and its writing, for skipping whole files


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened, in Docker's words.

    type: "container", "image", "network", "volume", "builder" or "daemon". action: "start", "die",
    "health_status: healthy", … id: of what it happened to; of an image that was pulled or pushed, the
    reference. attributes: image, name, every label, and what the action has: exitCode, signal, oldName,
    execID, … time_ns: nanoseconds since the epoch.
    """

    type: str
    action: str
    id: str
    attributes: Mapping[str, str] = MappingProxyType({})
    time_ns: int = 0

    @property
    def time(self) -> datetime:
        """When it happened, UTC, to the microsecond."""
        return from_nanoseconds(self.time_ns)

    @property
    def name(self) -> str:
        """Name of what it happened to."""
        return self.attributes.get("name", "")

    @property
    def image(self) -> str:
        """The image it happened to, or the one that the container was made from."""
        return self.attributes.get("name" if self.type == "image" else "image", "")

    def to_dict(self) -> dict[str, Any]:
        """What `docker events --format json` shows."""
        found: dict[str, Any] = {}
        if self.type in ("container", "image"):
            found = {"status": self.action, "id": self.id}
        if self.type == "container":
            found["from"] = self.image
        return {
            **found,
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": dict(self.attributes)},
            "scope": "local",
            "time": self.time_ns // 10**9,
            "timeNano": self.time_ns,
        }


def read_events(
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    filters: FilterValues | None = None,
    follow: bool = False,
    timeout: float | str | timedelta | None = None,
    engine: Engine | None = None,
) -> Events:
    """What happened in the store, by whatever process, in the order it was written down.

    since, until: a datetime, seconds since the epoch, or how long ago: a timedelta, "10m". filters:
    container (name, id or beginning of an id), event, image, label, network, scope, type, volume; of
    each a value or a list of them.
    follow: go on with what happens after the call, until `until`, the timeout or close(); without since,
    only with that. timeout: seconds from the call on after which following ends.

    The log is bounded: it holds about the last 100,000 events. Raises: InvalidInput, InvalidOption.
    """
    return Events(
        engine or current_engine(),
        Filters(filters, _FILTERS, "events"),
        since_ns=None if since is None else to_nanoseconds(since, "since"),
        until_ns=None if until is None else to_nanoseconds(until, "until"),
        follow=follow,
        timeout_s=None if timeout is None else given_seconds(timeout),
    )


@final
class Events:
    """An iterator of events, which holds descriptors until it has ended or is closed.

    Use it in a with block, or close it; any thread may close it, which ends an iteration that waits.
    """

    def __init__(
        self,
        engine: Engine,
        filters: Filters,
        *,
        since_ns: int | None,
        until_ns: int | None,
        follow: bool,
        timeout_s: float | None,
    ) -> None:
        self._filters = filters
        self._since_ns = since_ns
        self._until_ns = until_ns
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._iterating = threading.Lock()
        self._closed = False
        self._wake = -1
        self._watch: inotify.Watch | None = None
        self._reader: eventlog.Reader | None = None
        directory = str(engine.store.events_dir)
        if follow:
            # The watch first: what is written between the two would otherwise wait for the next event.
            self._watch = inotify.Watch(os.fsencode(directory))
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._reader = eventlog.Reader(
            directory,
            since_ns=max(0, (since_ns or 0) - _SLACK_NS),
            at_end=follow and since_ns is None,
        )
        self._found = self._all(self._reader)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        with self._iterating:
            if not self._closed:
                for event in self._found:
                    return event
            self._release()
            raise StopIteration

    def close(self) -> None:
        """End it; idempotent, and from any thread."""
        self._closed = True
        if self._iterating.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._iterating.release()
        elif self._wake >= 0:
            os.eventfd_write(self._wake, 1)  # the iterating thread sees it, and lets go of everything

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        if self._watch is not None:
            self._watch.close()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)

    def _all(self, reader: eventlog.Reader) -> Iterator[Event]:
        while True:
            # Looked at before reading: what was written before the end is then read for sure.
            is_over = self._watch is None or self._is_over()
            for record in reader.available():
                event = _event(record)
                if event is not None and self._fits(event):
                    yield event
                if self._closed:
                    return
            if is_over or not self._wait():
                return

    def _fits(self, event: Event) -> bool:
        if self._since_ns is not None and event.time_ns < self._since_ns:
            return False
        if self._until_ns is not None and event.time_ns > self._until_ns:
            return False
        return _fits(event, self._filters)

    def _left_s(self) -> float | None:
        bounds = []
        if self._deadline is not None:
            bounds.append(self._deadline - time.monotonic())
        if self._until_ns is not None:
            bounds.append((self._until_ns - time.time_ns()) / 1e9)
        return min(bounds, default=None)

    def _is_over(self) -> bool:
        left_s = self._left_s()
        return left_s is not None and left_s <= 0

    def _wait(self) -> bool:
        """Wait for something new or the end of the time; False when closed meanwhile."""
        assert self._watch is not None
        poller = interrupts.poll()
        poller.register(self._watch, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        left_s = self._left_s()
        poller.poll(None if left_s is None else max(0.0, left_s) * 1000 + 1)
        self._watch.drain()
        return not self._closed


def _event(record: Mapping[str, Any]) -> Event | None:
    """The record as an event; None for one of a shape that nobody writes."""
    attributes = record.get("attributes")
    try:
        return Event(
            type=str(record["type"]),
            action=str(record["action"]),
            id=str(record["id"]),
            attributes=MappingProxyType({key: str(value) for key, value in dict(attributes or {}).items()}),
            time_ns=int(record["time_ns"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _fits(event: Event, filters: Filters) -> bool:
    """Docker's rules (moby daemon/events/filter.go), but a container's name has to be the whole name."""
    return (
        filters.has_any("type", event.type)
        and filters.has_any("scope", "local")
        and _fits_action(event, filters)
        and _fits_object(event, filters, "container")
        and _fits_object(event, filters, "network")
        and _fits_object(event, filters, "volume")
        and filters.has_any("image", *_image_names(event))
        and filters.has_labels(event.attributes)
    )


def _fits_action(event: Event, filters: Filters) -> bool:
    loose = event.action.partition(":")[0]
    return filters.has_any("event", event.action, *([loose] if loose in _LOOSE else []))


def _fits_object(event: Event, filters: Filters, kind: str) -> bool:
    if kind not in filters:
        return True
    if event.type != kind:
        return False
    return filters.has_prefix_of(kind, event.id) or filters.has_any(kind, event.name)


def _image_names(event: Event) -> list[str]:
    if event.type not in ("container", "image"):
        return []
    names = [event.image, *([event.id] if event.type == "image" else [])]
    return [*names, *(_without_tag(name) for name in names)]


def _without_tag(name: str) -> str:
    head, separator, tag = name.rpartition(":")
    return head if separator and "/" not in tag else name
