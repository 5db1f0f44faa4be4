"""Measuring trees of files inside the helper, where every directory can be read and none is trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["measure", "tree_size"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 500  # descriptors held at once; what lies deeper is a hostile program's, and not counted


def measure(
    params: dict[str, Any], fds: list[int], report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Job: the sizes of the directories params["names"], below the directory fds[0].

    Result: {"sizes": [bytes, in the order of the names]}.
    """
    return {"sizes": [tree_size(fds[0], name) for name in params["names"]]}


def tree_size(parent: int, path: str) -> int:
    """Bytes of all files below a directory, as `docker ps --size` counts: their lengths, a file with several
    links once. What is missing, or goes meanwhile, counts nothing; links are not followed.
    """
    total = 0
    counted: set[int] = set()
    levels: list[tuple[int, list[str]]] = []

    def enter(directory: int, name: str) -> int:
        try:
            fd = os.open(name, _OPEN, dir_fd=directory)
        except OSError:
            return 0
        inner: list[str] = []
        levels.append((fd, inner))
        size = 0
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1:
                    if status.st_ino in counted:
                        continue
                    counted.add(status.st_ino)
                size += status.st_size
        return size

    try:
        total += enter(parent, path)
        while levels:
            fd, inner = levels[-1]
            if inner and len(levels) < _MAX_DEPTH:
                total += enter(fd, inner.pop())
            else:
                levels.pop()
                os.close(fd)
    finally:
        for fd, _ in levels:
            os.close(fd)
    return total
