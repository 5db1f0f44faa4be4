"""The container's output: from its pipes to the log, and whole to the caller as long as it is short."""

from __future__ import annotations

import binascii
import functools
import os
import time
from typing import Any

from pycontainer.launcher import logs
from pycontainer.launcher.monitor.loop import Loop

__all__ = ["Streams"]


class _Output:
    """One of the container's output streams."""

    __slots__ = ("fd", "kept", "number")

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self.kept: bytearray | None = bytearray()
        """The whole output so far, None once it is too long to hand over."""


class Streams:
    """Output pipes of one container, pumped into its log by the loop.

    directory: descriptor of the container's directory. settings: the launch request's "log".
    inline_left: how many bytes of output are kept for the message that tells the exit.
    """

    def __init__(self, loop: Loop, directory: int, settings: dict[str, Any], inline_left: int) -> None:
        self._loop = loop
        self._log = logs.LogWriter(
            directory, max_size=settings.get("max_size"), max_files=settings.get("max_files") or 1
        )
        self._inline_left = inline_left
        self._buffer = bytearray()
        self._outputs: list[_Output] = []

    @property
    def lost_bytes(self) -> int:
        """Output that could not be stored."""
        return self._log.lost_bytes

    def open(self) -> dict[str, int]:
        """Make the pipes; the container's ends, by name, which the caller closes."""
        given = {}
        for name, number in (("stdout", logs.STDOUT), ("stderr", logs.STDERR)):
            reader, given[name] = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            self._outputs.append(_Output(reader, number))
        return given

    def watch(self) -> None:
        """Pump from now on."""
        for output in self._outputs:
            self._loop.add(output.fd, functools.partial(self._serve, output))

    def drain(self) -> None:
        """Take what is still in the pipes; every writer is dead by now."""
        for output in self._outputs:
            while output.fd >= 0 and self._pump(output):
                pass

    def close_log(self) -> None:
        """Close the log's file."""
        self._log.close()

    def tell(self, message: dict[str, Any]) -> bool:
        """Put the whole output into the message of the exit; False when it was too long for that."""
        is_whole = False
        for output in self._outputs:
            if output.kept is not None:
                name = "stdout_b64" if output.number == logs.STDOUT else "stderr_b64"
                message[name] = binascii.b2a_base64(output.kept, newline=False).decode("ascii")
                is_whole = True
        return is_whole

    def _serve(self, output: _Output, _: int) -> None:
        self._pump(output)

    def _pump(self, output: _Output) -> bool:
        """Move what one read gives; False when nothing was there."""
        if not self._buffer:
            self._buffer = bytearray(logs.CHUNK)  # most containers are silent for long
        try:
            count = os.readv(output.fd, (self._buffer,))
        except BlockingIOError:
            return False
        if count == 0:
            self._close(output)
            return False
        content = memoryview(self._buffer)[:count]
        self._log.append(output.number, content, time.time_ns())
        self._keep(output, content)
        return True

    def _keep(self, output: _Output, content: memoryview) -> None:
        if len(content) > self._inline_left:
            self._inline_left = 0
            for each in (output, *self._outputs):
                each.kept = None
        elif output.kept is not None:
            self._inline_left -= len(content)
            output.kept += content

    def _close(self, output: _Output) -> None:
        self._loop.remove(output.fd)
        os.close(output.fd)
        output.fd = -1
