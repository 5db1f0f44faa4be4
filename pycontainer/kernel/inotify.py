"""A watch on directories, to wait for changes without polling. Source: inotify(7)."""

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
_EVENTS = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF


class Watch:
    """Becomes readable when an entry of a directory is written, made, renamed or removed, and when a
    directory itself goes.

    Raises: OSError (ENOENT; EMFILE or ENOSPC at the limits of fs.inotify).
    """

    def __init__(self, *directories: bytes) -> None:
        self._fd = syscalls.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for directory in directories:
                self.add(directory)
        except BaseException:
            os.close(self._fd)
            raise

    def add(self, directory: bytes) -> None:
        """Watch one more directory: the kernel lets a user have far more of those than of instances."""
        syscalls.inotify_add_watch(self._fd, directory, _EVENTS)

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
