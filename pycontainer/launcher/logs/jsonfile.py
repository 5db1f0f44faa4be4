"""The container's output as lines of JSON, as Docker's json-file driver writes them.

One object a line: log (with its line feed), stream, attrs where asked for, and time. A line of more than
16 KiB becomes several objects, of which only the last ends with a line feed; what follows the last line
feed is held back until it is whole, or the stream ends. Bytes that are not UTF-8 become U+FFFD, which is
Docker's format's loss; the local driver keeps them.

A whole read is turned into JSON at once with the few replacements that the format needs: per line there
is no work in Python. Source: moby, daemon/logger/copier.go and daemon/logger/jsonfilelog/jsonlog.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import time

from pycontainer.launcher.logs.files import RotatingFile
from pycontainer.launcher.logs.local import STDERR, STDOUT

__all__ = ["LINE_BYTES", "JsonFile", "encode_time"]

LINE_BYTES = 16384
"""Content of one object at most."""

_STREAMS = {STDOUT: "stdout", STDERR: "stderr"}
_ESCAPED = (
    (b"\\", b"\\\\"),
    (b'"', b'\\"'),
    (b"\r", b"\\r"),
    (b"\t", b"\\t"),
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
_LONGEST = 1 << 20  # bytes of an object: six for each of its content, and its attributes
_CONTROLS = bytes(code for code in range(32) if code not in b"\n\r\t")
_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + b"]")


def encode_time(at_ns: int) -> str:
    """The time in UTC as Go's RFC3339Nano has it: without the zeros at its end."""
    seconds, nanoseconds = divmod(at_ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{nanoseconds:09d}".rstrip("0").rstrip(".") + "Z"


def _escape(content: bytes) -> bytes:
    try:
        codecs.utf_8_decode(content, "strict", True)
    except UnicodeDecodeError:
        content = content.decode("utf-8", "replace").encode()
    for plain, escaped in _ESCAPED:
        content = content.replace(plain, escaped)
    if len(content.translate(None, _CONTROLS)) != len(content):
        content = _CONTROL.sub(lambda found: b"\\u%04x" % found[0][0], content)
    return content


def _cut(content: bytes) -> int:
    """Where to end a piece of a long line: at a character's border, LINE_BYTES on at most."""
    end = LINE_BYTES
    while end > LINE_BYTES - 4 and content[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _whole_end(fd: int, size: int) -> int:
    """Where the last whole object of a file ends."""
    start = max(0, size - _LONGEST)
    return start + os.pread(fd, size - start, start).rfind(b"\n") + 1


class JsonFile:
    """Appends the output of one container to its log; keeps going when the disk is full.

    max_size: bytes that no file exceeds but by one object; max_files, is_compressed: as of RotatingFile.
    attrs: what every object carries besides. was_cut_off: whether the last monitor was killed.
    lost_bytes: output that could not be stored.
    """

    def __init__(
        self,
        directory_fd: int,
        name: str,
        *,
        max_size: int | None = None,
        max_files: int = 1,
        is_compressed: bool = False,
        attrs: dict[str, str] | None = None,
        was_cut_off: bool = False,
    ) -> None:
        self._file = RotatingFile(
            directory_fd,
            name,
            max_size=max_size,
            max_files=max_files,
            is_compressed=is_compressed,
            whole=_whole_end if was_cut_off else None,
        )
        described = json.dumps(attrs, ensure_ascii=False, separators=(",", ":")) if attrs else ""
        self._attrs = f',"attrs":{described}'.encode() if described else b""
        self._held = {STDOUT: b"", STDERR: b""}
        self.lost_bytes: int = 0

    is_full = False
    """Whether the container has to wait: never for a disk."""

    problem = ""
    """Why output was lost, where that is not the disk's want of room."""

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        """Store the lines that are whole by now. Never raises for want of space."""
        content = self._held[stream] + payload
        end = content.rfind(b"\n") + 1
        if len(content) - end >= LINE_BYTES or not _has_short_lines(content, end):
            self._held[stream] = self._append_long(stream, content, at_ns)
            return
        self._held[stream] = content[end:]
        if end:
            self._store(self._encode(stream, content[:end], at_ns))

    def position(self) -> tuple[int, int] | None:
        """Where the log ends now: inode and size of its newest file."""
        return self._file.position()

    def held(self) -> dict[int, bytes]:
        """What is not in the log yet, by stream: the beginnings of lines."""
        return {stream: content for stream, content in self._held.items() if content}

    def finish(self, timeout_s: float) -> None:
        """Store what was held back for the end of its line, now that the streams have ended."""
        for stream, content in self._held.items():
            if content:
                self._held[stream] = b""
                self._store(self._encode_partial(stream, content, time.time_ns()))

    def close(self) -> None:
        """Close the current file; idempotent."""
        self._file.close()

    def _append_long(self, stream: int, content: bytes, at_ns: int) -> bytes:
        """Store line by line where some are too long; what is left of the last one."""
        start, records = 0, []
        while start < len(content):
            end = content.find(b"\n", start, start + LINE_BYTES)
            if end >= 0:
                records.append(self._encode(stream, content[start : end + 1], at_ns))
                start = end + 1
            elif len(content) - start > LINE_BYTES:
                piece = content[start : start + LINE_BYTES + 1]
                count = _cut(piece)
                records.append(self._encode_partial(stream, piece[:count], at_ns))
                start += count
            else:
                break
        if records:
            self._store(b"".join(records))
        return content[start:]

    def _tail(self, stream: int, at_ns: int) -> bytes:
        about = f'","stream":"{_STREAMS[stream]}"'.encode()
        return about + self._attrs + f',"time":"{encode_time(at_ns)}"}}\n'.encode()

    def _encode(self, stream: int, lines: bytes, at_ns: int) -> bytes:
        """Objects of whole lines."""
        between = b"\\n" + self._tail(stream, at_ns) + b'{"log":"'
        joined = b'{"log":"' + _escape(lines).replace(b"\n", between)
        return joined[: -len(b'{"log":"')]

    def _encode_partial(self, stream: int, content: bytes, at_ns: int) -> bytes:
        return b'{"log":"' + _escape(content) + self._tail(stream, at_ns)

    def _store(self, records: bytes) -> None:
        """Write objects, as many to a file as fit it."""
        left = memoryview(records)
        while left:
            try:
                self._file.open()
                count = self._fitting(records, len(records) - len(left))
                if not count:
                    if self._file.size:
                        self._file.rotate()
                        continue
                    count = records.index(b"\n", len(records) - len(left)) + 1 - (len(records) - len(left))
                self._file.write(left[:count])
            except OSError:
                self.lost_bytes += sum(
                    len(json.loads(line)["log"].encode()) for line in bytes(left).splitlines()
                )
                return
            left = left[count:]

    def _fitting(self, records: bytes, start: int) -> int:
        """Bytes from start on, to the end of an object, that fit the file."""
        room, left = self._file.room(), len(records) - start
        if room is None or left <= room:
            return left
        return max(0, records.rfind(b"\n", start, start + room) + 1 - start)


def _has_short_lines(content: bytes, end: int) -> bool:
    """Whether no line up to end is longer than an object may be."""
    start = 0
    while end - start > LINE_BYTES:
        found = content.rfind(b"\n", start, start + LINE_BYTES) + 1
        if not found:
            return False
        start = found
    return True
