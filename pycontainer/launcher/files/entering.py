"""A container's root as a descriptor, and a process that can reach nothing else."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from typing import Any

from pycontainer.errors import WrongState
from pycontainer.kernel import caps, mounts, namespaces, syscalls
from pycontainer.layers import confine_to, mount_overlay

__all__ = ["DIRECTORY", "Cell", "named"]

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Owners, modes, attributes and nodes, of everybody's files; nothing that reaches beyond files.
_KEPT = caps.mask(("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "MKNOD", "SETFCAP"))
_ALONE = 1 | syscalls.AT_EMPTY_PATH  # OPEN_TREE_CLONE, without what is mounted below
_OPTIONS: tuple[tuple[bytes, bytes | None], ...] = ((b"source", b"overlay"),)


class Cell:
    """What a job makes of its process: first it enters, then it locks itself in."""

    def __init__(self) -> None:
        # Found on the host's procfs, while there is a host.
        self._own = os.open("/proc/self/fd", DIRECTORY)
        self._users = -1
        """The process whose user namespace is to be joined; -1 for none."""

    def enter(
        self, params: dict[str, Any], fds: list[int], *, with_mounts: bool = True, with_its_ids: bool = True
    ) -> int:
        """A descriptor (O_PATH) of the container's root directory.

        params["root"]: None for a running container, of whose first process fds[0] is a pidfd, else the
        "lower" directories, top first, "upper" and "work" of a stopped one; {"is_directory": true} for a
        volume, whose directory fds[0] is. with_mounts: whether what is
        mounted below the root shows, too. with_its_ids: whether, once it is locked, the process goes by the
        ids of a running container's user namespace; the host's files are nobody's to it then.
        Raises: WrongState when the container has ended meanwhile; OSError.
        """
        stopped = params["root"]
        if stopped is not None:
            is_volume = stopped.get("is_directory")
            return os.open(".", DIRECTORY, dir_fd=fds[0]) if is_volume else _mounted(stopped)
        try:
            namespaces.enter(fds[0], namespaces.NEWNS)
        except ProcessLookupError:
            raise WrongState("the container has just ended", verb="use", state="ended") from None
        # Of the namespace, not of its first process: that one may have changed its own.
        root = os.open("/", DIRECTORY)
        if with_its_ids and os.fstat(root).st_uid != 0:
            self._users = fds[0]
        if with_mounts:
            return root
        alone = syscalls.open_tree(root, b"", _ALONE)
        os.close(root)
        return os.open(".", DIRECTORY, dir_fd=alone)

    def lock(
        self, writable: Sequence[int], readable: Sequence[int] = (), *, keep: tuple[str, ...] = ()
    ) -> None:
        """Give up, for good, all but the trees beneath these directories and what is open already.

        From now on "/N" is what descriptor N stands for, and no other absolute path exists.
        keep: capabilities to keep beyond those over files.
        """
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if self._users >= 0:  # first: who is confined looks at no other process
            self._join_users()
        confine_to(writable, readable)
        os.fchdir(self._own)
        os.chroot(".")
        os.chdir("/")
        os.close(self._own)
        _, permitted, _ = syscalls.capget()
        kept = (_KEPT | caps.mask(keep)) & permitted
        syscalls.capset(kept, kept, 0)

    def _join_users(self) -> None:
        """Be root of the container's user namespace: files are shown by its ids, and ours own none there."""
        try:
            namespaces.enter(self._users, namespaces.NEWUSER)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # it has none of its own: the image's root directory belongs to somebody
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _mounted(stopped: dict[str, Any]) -> int:
    paths = [os.fsencode(path) for path in (stopped["upper"], stopped["work"], *stopped["lower"])]
    upper, work, *lower = (os.open(path, DIRECTORY) for path in paths)
    return mount_overlay(upper, work, lower, _OPTIONS, mounts.ATTR_NODEV | mounts.ATTR_NOSUID)


def named(fd: int) -> bytes:
    """The path, in a locked cell, of what the descriptor stands for, be it open or only found."""
    return b"/%d" % fd
