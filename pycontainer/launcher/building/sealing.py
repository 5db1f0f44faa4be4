"""The end of a step: what it wrote is put in order and read as a layer's tar."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from pycontainer import checkpoints
from pycontainer.errors import KernelError
from pycontainer.kernel import syscalls
from pycontainer.layers import Differ, HashedOutput, Limits, TarWriter, confine_to

__all__ = ["seal"]

_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def seal(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: put a step's upper directory in order and write it as a tar; fds: the directory, where the tar
    goes.

    params: stubs (paths without links that a mount may have made: removed if they are empty still), epoch (no
    time stays later than that, in seconds; None to leave times alone). Sockets go.
    Returns: diff_id, tar_size, entries, content_size. Raises: InvalidInput, KernelError naming the path.
    """
    root, output = fds
    confine_to([root], [])
    _remove_stubs(root, params["stubs"])
    order = _Order(root, params["epoch"])
    try:
        order.run()
    except OSError as error:
        raise KernelError(error.errno or 0, "seal", order.path) from error
    out = HashedOutput(output)
    writer = TarWriter(out)
    Differ(root, writer, Limits()).run()
    writer.close()
    out.flush()
    checkpoints.reached("build.layer.read")
    return {
        "diff_id": out.digest,
        "tar_size": writer.size,
        "entries": order.entries,
        "content_size": order.size,
    }


def _remove_stubs(root: int, paths: list[str]) -> None:
    """Remove the places of mounts, deepest first: empty directories and files, never through a link."""
    for path in reversed(paths):
        above, _, base = path.rpartition("/")
        try:
            parent = syscalls.openat2(
                root, os.fsencode(above or "."), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _BENEATH
            )
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                continue  # the step made something else of it
            raise
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(base, dir_fd=parent)
            elif stat.S_ISREG(found.st_mode) and not found.st_size:
                os.unlink(base, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise
        finally:
            os.close(parent)


class _Order:
    """One pass over an upper directory: sockets away, times bounded, all counted."""

    def __init__(self, root: int, epoch: int | None) -> None:
        self._root = root
        self._limit = None if epoch is None else epoch * 10**9
        self.path = "."
        self.entries = 0
        self.size = 0

    def run(self) -> None:
        """Do it. Raises: OSError; then `path` says where."""
        self._directory(os.open(".", _DIRECTORY, dir_fd=self._root), "")

    def _directory(self, fd: int, above: str) -> None:
        # An own stack: a program may make a tree deeper than Python's recursion.
        stack = [(fd, above, self._names(fd))]
        try:
            while stack:
                fd, above, names = stack[-1]
                if not names:
                    self._bound_directory(fd)
                    os.close(stack.pop()[0])
                    continue
                name = names.pop()
                self.path = f"{above}/{name}" if above else name
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISSOCK(found.st_mode):
                    os.unlink(name, dir_fd=fd)
                    continue
                self.entries += 1
                if stat.S_ISDIR(found.st_mode):
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                    stack.append((below, self.path, self._names(below)))
                    continue
                self.size += found.st_size if stat.S_ISREG(found.st_mode) else 0
                if self._limit is not None and found.st_mtime_ns > self._limit:
                    os.utime(name, ns=(self._limit, self._limit), dir_fd=fd, follow_symlinks=False)
        finally:
            for fd, _, _ in stack:
                os.close(fd)

    def _names(self, fd: int) -> list[str]:
        return os.listdir(fd)

    def _bound_directory(self, fd: int) -> None:
        # Last, for removing a socket changes it.
        if self._limit is not None and os.fstat(fd).st_mtime_ns > self._limit:
            os.utime(fd, ns=(self._limit, self._limit))
