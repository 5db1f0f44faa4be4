"""What happened in a store: an append-only log that many processes write and many follow.

Theory of operation. The log is a directory of files named by ascending numbers; the highest takes new
records. A record is one write(2) in append mode, so the kernel gives each a place of its own. It stands
between 0x1e and a line feed, which JSON never has raw inside (RFC 7464): what a killed writer or a full disk
left unfinished ends at the next 0x1e and is passed over.

No lock is needed to begin a new file: a record counts if it begins below max_bytes, and this both sides see
by themselves. A writer whose record began beyond that writes it again to the next number. The next file thus
appears only after the last record that counts was written, and a reader that sees it has all of this one
when it has read once more to the end. Who makes a file deletes those that are too old.

A process that slept through many files might make one again that was deleted long ago: readers take only
the unbroken run of numbers that ends with the highest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["DIRECTORY", "EventLog", "Reader", "Reporter", "append"]

DIRECTORY = "events"
"""Name of the log's directory below the store's root."""

MAX_BYTES = 4 << 20
MAX_FILES = 8  # the last of about 100,000 events

_DIGITS = 8
_BEGIN = b"\x1e"
_CHUNK = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":")).encode


def append(directory: str | int, event: Mapping[str, Any]) -> None:
    """Write one event to the log in a directory, given by path or descriptor. See EventLog.append."""
    log = EventLog(directory)
    try:
        log.append(event)
    finally:
        log.close()


class EventLog:
    """A writer. Neither its object nor its descriptor may be shared by threads or processes.

    directory: path, or a descriptor that outlives the writer. It opens nothing before the first record.
    """

    __slots__ = ("_directory", "_fd", "_max_bytes", "_max_files", "_number")

    def __init__(
        self, directory: str | int, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._fd = -1
        self._number = 0

    def open(self) -> None:
        """Open the newest file, which the first record else does. Raises OSError."""
        if self._fd < 0:
            self._open()

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event: type, action, id, attributes (texts by name), time_ns since the epoch.

        Others see it at once; after a power cut the last ones may be missing. Raises OSError (ENOENT for
        a directory that is gone, ENOSPC).
        """
        record = b"\x1e%b\n" % _encode(event).encode("ascii")
        self.open()
        while True:
            count = os.write(self._fd, record)
            # The offset after our own write, which is not the file's size: others have written since.
            begun = os.lseek(self._fd, 0, os.SEEK_CUR) - count
            if begun < self._max_bytes:
                if count < len(record):
                    raise OSError(28, "the event log is cut off: no space left on device")
                return
            self._open()

    def close(self) -> None:
        """Close the file; idempotent, and the next record opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """Open the newest file, or the one after it when that one was ours, and is full."""
        full = self._number if self._fd >= 0 else 0
        self.close()
        newest = max(_numbers(self._directory), default=0)
        self._number = max(newest, full + 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT
        if self._number == newest:
            self._fd = self._open_at(self._number, flags)
            return
        try:
            self._fd = self._open_at(self._number, flags | os.O_EXCL)
        except FileExistsError:
            self._fd = self._open_at(self._number, flags)
        else:
            self._delete_old()

    def _open_at(self, number: int, flags: int) -> int:
        if isinstance(self._directory, int):
            return os.open(_name(number), flags, 0o600, dir_fd=self._directory)
        return os.open(f"{self._directory}/{_name(number)}", flags, 0o600)

    def _delete_old(self) -> None:
        for number in _numbers(self._directory):
            if number <= self._number - self._max_files:
                try:
                    if isinstance(self._directory, int):
                        os.unlink(_name(number), dir_fd=self._directory)
                    else:
                        os.unlink(f"{self._directory}/{_name(number)}")
                except FileNotFoundError:
                    pass  # another one was quicker


class Reporter:
    """Tells the log what happens to one container; for its monitor.

    params: those of the launch request. events_dir: the log's directory; without it nothing is told.
    event_attributes: what every event of the container says of it (image, name, labels). uses: the networks
    and volumes that a run of it takes, each with type, id, and the action and attributes that are told at
    its "begin" and at its "end".
    """

    __slots__ = ("_id", "_log", "attributes", "uses")

    def __init__(self, params: Mapping[str, Any]) -> None:
        directory = params.get("events_dir")
        self._log = EventLog(directory) if directory else None
        self._id = str(params.get("id", ""))
        self.attributes: dict[str, str] = dict(params.get("event_attributes") or {})
        """May be changed: a container can get another name while it runs."""
        self.uses: list[Mapping[str, Any]] = list(params.get("uses") or ())
        """May be changed: networks are connected and disconnected while it runs."""

    def prepare(self) -> None:
        """Open the log now, when there is time, rather than with the first event."""
        if self._log is not None:
            try:
                self._log.open()
            except OSError:
                pass  # whatever it is, the first event meets it again

    def report(
        self, action: str, attributes: Mapping[str, str] | None = None, *, time_ns: int | None = None
    ) -> None:
        """Write that something happened, now or at time_ns, in Docker's words.

        Never raises: no container ends for its log.
        """
        self._write("container", action, self._id, {**self.attributes, **(attributes or {})}, time_ns)

    def report_uses(self, moment: str) -> None:
        """Write that a run takes what it uses ("begin"), or lets it go ("end"). Never raises."""
        for use in self.uses:
            told = use[moment]
            self._write(use["type"], told["action"], use["id"], told["attributes"], None)

    def _write(
        self, type: str, action: str, id: str, attributes: Mapping[str, str], time_ns: int | None
    ) -> None:
        if self._log is None:
            return
        try:
            self._log.append(
                {
                    "type": type,
                    "action": action,
                    "id": id,
                    "attributes": attributes,
                    "time_ns": time.time_ns() if time_ns is None else time_ns,
                }
            )
        except OSError:
            pass  # the store was removed, or the disk is full

    def close(self) -> None:
        """Close the log; idempotent."""
        if self._log is not None:
            self._log.close()


class Reader:
    """Goes through the log from the oldest record on, and remembers where it is.

    since_ns: files that were last written before this time are passed over; records in the others are not.
    at_end: begin after what is there now. To wait for more, watch the directory and ask again.
    Raises OSError (ENOENT).
    """

    def __init__(
        self,
        directory: str,
        *,
        since_ns: int = 0,
        at_end: bool = False,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._fd = -1
        self._number = 0
        self._offset = 0  # of the first byte in _rest
        self._rest = b""
        present = _present(directory)
        for number in present[-1:] if at_end else present:
            if self._open(number) and os.fstat(self._fd).st_mtime_ns >= since_ns:
                break
        if at_end and self._fd >= 0:
            self._offset = os.fstat(self._fd).st_size

    def available(self) -> Iterator[dict[str, Any]]:
        """Every record that is complete by now, each once."""
        while True:
            if self._fd < 0 and not self._open_next():
                return
            yield from self._complete()
            newer = [number for number in _present(self._directory) if number > self._number]
            if not newer:
                return
            # It appeared after the last write that counts to ours, which one more look thus finds.
            yield from self._complete()
            self._open_next()

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_next(self) -> bool:
        """Go to the next file that is there; so slow a reader has missed what was deleted."""
        return any(number > self._number and self._open(number) for number in _present(self._directory))

    def _open(self, number: int) -> bool:
        try:
            fd = os.open(f"{self._directory}/{_name(number)}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False  # deleted as too old, since we looked
        self.close()
        self._fd, self._number, self._offset, self._rest = fd, number, 0, b""
        return True

    def _complete(self) -> Iterator[dict[str, Any]]:
        while chunk := os.pread(self._fd, _CHUNK, self._offset + len(self._rest)):
            block = self._rest + chunk
            start = 0
            while start < len(block):
                # A record ends where it should, or, cut off, where the next one begins.
                following = block.find(_BEGIN, start + 1)
                end = block.find(b"\n", start, following if following >= 0 else len(block))
                if end < 0 and following < 0:
                    break
                if end >= 0 and self._offset + start < self._max_bytes:
                    record = _decode(block[start : end + 1])
                    if record is not None:
                        yield record
                start = end + 1 if following < 0 else following
            self._offset, self._rest = self._offset + start, block[start:]


def _decode(text: bytes) -> dict[str, Any] | None:
    """The record, or None for what is none."""
    if not text.startswith(_BEGIN):
        return None
    try:
        record = json.loads(text[1:])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _name(number: int) -> str:
    return f"{number:0{_DIGITS}d}"


def _numbers(directory: str | int) -> list[int]:
    return [int(name) for name in os.listdir(directory) if len(name) >= _DIGITS and name.isdigit()]


def _present(directory: str) -> list[int]:
    """The numbers of the unbroken run that ends with the highest, ascending."""
    numbers = sorted(_numbers(directory), reverse=True)
    run = [number for index, number in enumerate(numbers) if number == numbers[0] - index]
    return run[::-1]
