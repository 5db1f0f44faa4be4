"""A watch on one directory, to wait for changes without polling. Source: inotify(7)."""

from __future__ import annotations

import os

from pycontainer.kernel import syscalls

__all__ = ["Watch"]

IN_MODIFY = 0x00000002
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800


class Watch:
    """Becomes readable when an entry of the directory is written, made, renamed or removed, and when the
    directory itself goes.

    Raises: OSError (ENOENT; EMFILE or ENOSPC at the limits of fs.inotify).
    """

    def __init__(self, directory: bytes) -> None:
        self._fd = syscalls.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            events = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
            events |= IN_DELETE_SELF | IN_MOVE_SELF
            syscalls.inotify_add_watch(self._fd, directory, events)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """The descriptor, for poll(2)."""
        return self._fd

    def drain(self) -> None:
        """Forget the events so far; that something happened is all they say here."""
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """End the watch; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
