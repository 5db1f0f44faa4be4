"""Where a container's output goes: files of framed records or of JSON, systemd's journal, syslog, nowhere.

The launch request's "log" says which: driver ("local" without one), and what that one needs. A service
gets the output besides a local log, the cache, from which it is read here; without one it cannot be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from pycontainer import errors
from pycontainer.launcher import status
from pycontainer.launcher.logs import journald, syslog
from pycontainer.launcher.logs.files import RotatingFile
from pycontainer.launcher.logs.jsonfile import JsonFile
from pycontainer.launcher.logs.local import (
    CHUNK,
    HEADER,
    LEAST_SIZE,
    NAME,
    PARTIAL,
    STDERR,
    STDOUT,
    LogWriter,
    encode_header,
)
from pycontainer.launcher.logs.remote import Clock, Connection, Remote

__all__ = [
    "CHUNK",
    "HEADER",
    "LEAST_SIZE",
    "NAME",
    "PARTIAL",
    "STDERR",
    "STDOUT",
    "Driver",
    "JsonFile",
    "LogWriter",
    "RotatingFile",
    "encode_header",
    "is_cut_off",
    "open_driver",
]


class Driver(Protocol):
    """Takes the output of one container."""

    @property
    def lost_bytes(self) -> int:
        """Output that was lost."""

    @property
    def problem(self) -> str:
        """Why, where there is more to say than that a disk was full."""

    @property
    def is_full(self) -> bool:
        """Whether the container has to wait; `on_room` of open_driver tells when no longer."""

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        """Take what one read of a stream gave. Never raises for want of space, or of a service."""

    def position(self) -> tuple[int, int] | None:
        """Where the log that can be read here ends now: inode and size of its newest file."""

    def held(self) -> dict[int, bytes]:
        """What is not in that log yet, by stream."""

    def finish(self, timeout_s: float) -> None:
        """Store or send what waits still, now that the streams have ended; at most for the time."""

    def close(self) -> None:
        """Let go of files and sockets; idempotent."""


class _Both:
    """A service, and the local log from which what it got can be read here."""

    def __init__(self, service: Remote, cache: LogWriter) -> None:
        self._service = service
        self._cache = cache

    @property
    def lost_bytes(self) -> int:
        return self._service.lost_bytes

    @property
    def problem(self) -> str:
        return self._service.problem

    @property
    def is_full(self) -> bool:
        return self._service.is_full

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        self._cache.append(stream, payload, at_ns)
        self._service.append(stream, payload, at_ns)

    def position(self) -> tuple[int, int] | None:
        return self._cache.position()

    def held(self) -> dict[int, bytes]:
        return {}

    def finish(self, timeout_s: float) -> None:
        self._service.finish(timeout_s)

    def close(self) -> None:
        self._cache.close()
        self._service.close()


class _Nowhere:
    """No log at all."""

    lost_bytes = 0
    problem = ""
    is_full = False

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        pass

    def position(self) -> tuple[int, int] | None:
        return None

    def held(self) -> dict[int, bytes]:
        return {}

    def finish(self, timeout_s: float) -> None:
        pass

    def close(self) -> None:
        pass


def open_driver(
    settings: dict[str, Any],
    directory_fd: int,
    loop: Clock,
    on_room: Callable[[], None],
    *,
    is_cut_off: bool = False,
) -> Driver:
    """The driver that the launch request's "log" asks for. Raises LaunchError for a dead service.

    is_cut_off: what `is_cut_off` said before the start.
    """
    kind = settings.get("driver") or "local"
    if kind == "local":
        return _local(settings, directory_fd, is_cut_off)
    if kind == "json-file":
        return JsonFile(
            directory_fd,
            settings["name"],
            max_size=settings.get("max_size"),
            max_files=settings.get("max_files") or 1,
            is_compressed=bool(settings.get("compress")),
            attrs=settings.get("attrs"),
            was_cut_off=is_cut_off,
        )
    if kind == "none":
        return _Nowhere()
    service = _service(kind, settings, loop, on_room)
    try:
        service.open()
    except OSError as error:
        raise errors.LaunchError(
            f"the log driver {kind} cannot reach {settings['address_text']}: {error.strerror or error}; "
            "start the service, or choose another log_driver",
            step="log",
            reason=str(error),
        ) from error
    cache = settings.get("cache")
    return service if cache is None else _Both(service, _local(cache, directory_fd, is_cut_off))


def _local(settings: dict[str, Any], directory_fd: int, is_cut_off: bool) -> LogWriter:
    return LogWriter(
        directory_fd,
        max_size=settings.get("max_size"),
        max_files=settings.get("max_files") or 1,
        is_compressed=bool(settings.get("compress")),
        was_cut_off=is_cut_off,
    )


def is_cut_off(settings: dict[str, Any], directory_fd: int) -> bool:
    """Whether there is a log already, of a monitor that was killed: its record still says it runs."""
    if not os.access(settings.get("name", NAME), os.F_OK, dir_fd=directory_fd):
        return False
    fields = status.read(directory_fd)
    return fields is not None and fields["state"] not in ("exited", "restarting")


def _service(kind: str, settings: dict[str, Any], loop: Clock, on_room: Callable[[], None]) -> Remote:
    connect: Callable[[float], Connection]
    if kind == "journald":
        connect, is_lossy = journald.connect(settings["address"]), False
        encode = journald.encoder(settings["fields"])
    else:
        connect = syslog.connect(
            settings["kind"], settings["address"], settings.get("port", 0), settings.get("encryption")
        )
        is_counted = settings.get("encryption") is not None and settings["format"].startswith("rfc5424")
        encode = syslog.encoder(
            settings["format"], settings["facility"], settings["tag"], is_counted=is_counted
        )
        is_lossy = settings["kind"] == "udp"
    return Remote(
        loop,
        connect=connect,
        encode=encode,
        is_lossy=is_lossy,
        on_room=on_room,
        buffer_bytes=settings.get("buffer_bytes"),
    )
