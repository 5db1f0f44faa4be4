"""Going to other namespaces and coming back, for a process of one thread."""

from __future__ import annotations

import os

from pycontainer.kernel import namespaces

__all__ = ["Away"]

_NAMES = {
    namespaces.NEWNS: "mnt",
    namespaces.NEWNET: "net",
    namespaces.NEWIPC: "ipc",
    namespaces.NEWUTS: "uts",
}


class Away:
    """Where this process has gone, and the way back to where it was when this was made."""

    def __init__(self) -> None:
        self._home: dict[int, int] = {}
        self._root = -1
        self.kinds: int = 0
        """Of the namespaces that it is not at home in."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the way back."""
        return (*self._home.values(), self._root) if self._home else ()

    def leave(self, kinds: int) -> None:
        """Move to new namespaces of these kinds."""
        self._remember()
        namespaces.leave(kinds)
        self.kinds |= kinds

    def join(self, fd: int, kind: int) -> None:
        """Move to an existing namespace."""
        self._remember()
        namespaces.enter(fd, kind)
        self.kinds |= kind

    def _remember(self) -> None:
        if not self._home:
            # Whoever returns to a mount namespace is at its root, which need not be this process's.
            self._root = os.open("/", os.O_PATH | os.O_DIRECTORY)
            self._home = {
                kind: os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for kind, name in _NAMES.items()
            }

    def come_back(self) -> None:
        """Be home again; idempotent."""
        for kind, fd in self._home.items():
            if self.kinds & kind:
                namespaces.enter(fd, kind)
        if self.kinds & namespaces.NEWNS:
            os.fchdir(self._root)
            os.chroot(".")
        self.kinds = 0
