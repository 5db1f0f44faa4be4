"""What the steps share, and how they refuse."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from pycontainer.kernel import mounts
from pycontainer.kernel.script import Script

FileSystem = tuple[bytes, tuple[tuple[bytes, bytes | None], ...], int]
"""What one is made of: type, options, ATTR_* of its mount."""

CONSOLE = "console"
"""Name of the descriptor of the socket that a terminal's master goes to, where there is a terminal."""


class Refused(Exception):
    """A step will not go on: the message says what it met and what to do.

    exit_code is Docker's: 125 the set-up failed, 126 not executable, 127 no such program.
    """

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Context:
    """Descriptors and facts handed from step to step, within one process."""

    __slots__ = (
        "cgroups",
        "dev",
        "env",
        "error",
        "fds",
        "gid",
        "go",
        "groups",
        "has_own_mounts",
        "home",
        "made",
        "masks",
        "monitor",
        "needed",
        "proc",
        "root",
        "sys",
        "trees",
        "uid",
    )

    def __init__(
        self,
        *,
        monitor: int,
        go: int,
        error: int,
        fds: dict[str, int],
        trees: Sequence[int] = (),
        cgroups: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.monitor: int = monitor
        """pidfd of the monitor."""
        self.go: int = go
        """Pipe on which the monitor writes one byte when the ids are mapped."""
        self.error: int = error
        """Close-on-exec pipe for the one report of a failure."""
        self.fds: dict[str, int] = fds
        """stdin, stdout, stderr, root (a detached mount), and namespaces to join."""
        self.trees: list[int] = list(trees)
        """Detached copies of the trees to bind, in plan order; -1 for those that are bound."""
        self.cgroups: Sequence[tuple[str, int]] = cgroups
        """Cgroups to enter: directory, and its "tasks" open."""
        self.root: int = -1
        self.has_own_mounts: bool = True
        """Whether nobody but the container sees what is mounted here."""
        self.dev: int = -1
        self.proc: int = -1
        self.sys: int = -1
        self.masks: int = -1
        self.uid: int = 0
        self.gid: int = 0
        self.groups: tuple[int, ...] = (0,)
        self.home: bytes = b"/"
        self.env: dict[bytes, bytes] = {}
        self.made: dict[FileSystem, list[int]] = {}
        """Detached mounts of new file systems that were made ahead."""
        self.needed: list[FileSystem] = []
        """Those that were made or taken from there."""

    def procfs(self) -> int:
        """A procfs of this container's own; detached unless the plan mounts one."""
        if self.proc < 0:
            self.proc = mounts.create(b"proc")
        return self.proc

    def create(self, fstype: bytes, options: tuple[tuple[bytes, bytes | None], ...], attributes: int) -> int:
        """A detached mount of a new file system. Raises OSError naming the option."""
        wanted = fstype, options, attributes
        self.needed.append(wanted)
        ahead = self.made.get(wanted)
        return ahead.pop() if ahead else mounts.create(*wanted)

    def enter_cgroups(self) -> None:
        """Move into the cgroups this process was not born in; the first time only."""
        self.entering_cgroups().perform()
        for _, tasks in self.cgroups:
            os.close(tasks)
        self.cgroups = ()

    def entering_cgroups(self) -> Script:
        """The calls of `enter_cgroups`."""
        script = Script()
        for directory, tasks in self.cgroups:
            script.write(tasks, b"0", explain=partial(_not_moved, directory))
        return script

    def wait_go(self) -> None:
        """Block until the monitor has mapped the ids; end at once when it died."""
        if self.go < 0:
            return
        if os.read(self.go, 1) != b"g":
            os._exit(1)
        os.close(self.go)
        self.go = -1


def _not_moved(directory: str, error: OSError) -> Refused:
    return Refused(f"the process cannot be moved into {directory}: {error.strerror}")
