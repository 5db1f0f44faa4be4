"""The container's standard input, a pipe or the terminal: written to as the container takes it."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["Input"]

WAITING_BYTES = 64 << 10
"""What may wait for the container before no client is read any more."""


class Input:
    """An input that all who are attached share, until one of them ends it.

    watch: called with whether to be told, through `flush`, that the descriptor takes more. on_room: called
    when there is room again. end: called when all is written that comes before the end.
    """

    def __init__(
        self,
        fd: int,
        *,
        watch: Callable[[bool], None],
        on_room: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._fd = fd
        self._watch = watch
        self._on_room = on_room
        self._end = end
        self._waiting = bytearray()
        self._is_ending = False
        os.set_blocking(fd, False)

    @property
    def has_room(self) -> bool:
        """Whether it takes more now."""
        return len(self._waiting) < WAITING_BYTES

    def write(self, content: bytes) -> None:
        """Pass on to the container."""
        if not self._is_ending:
            self._waiting += content
            self.flush()

    def end(self) -> None:
        """Take no more, and let it end when what waits is written. Idempotent."""
        if not self._is_ending:
            self._is_ending = True
            self.flush()

    def flush(self) -> None:
        """Write what the container takes now."""
        had_room = self.has_room
        while self._waiting:
            try:
                del self._waiting[: os.write(self._fd, self._waiting)]
            except BlockingIOError:
                self._watch(True)
                break
            except OSError:
                # Nobody reads it any more, and nobody will (EPIPE), or the terminal was hung up (EIO).
                self._waiting.clear()
        else:
            self._watch(False)
            if self._is_ending:
                self._end()
        if self.has_room and not had_room:
            self._on_room()
