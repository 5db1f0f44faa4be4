"""Patterns of paths, as pathlib has them, looked for inside a container's root."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator

from pycontainer.launcher.files import inside

__all__ = ["find"]

_MAGIC = re.compile(rb"[*?\[]")
# What cannot be looked into does not match: links of the container's /proc, and as with pathlib.
_NOT_THERE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE),
    *(errno.EACCES, errno.EPERM),
)


def find(root: int, top: bytes, parts: list[bytes]) -> Iterator[bytes]:
    """The paths below `top` that match the parts of a pattern, each once.

    "**" stands for any number of directories, and goes through no link; the other parts follow links, which
    end inside. Every directory is resolved from the root anew, so none of them can lead out of it.
    """
    seen: set[bytes] = set()
    for path in _matches(root, top.rstrip(b"/"), parts):
        if path not in seen:
            seen.add(path)
            yield path or b"/"


def _matches(root: int, path: bytes, parts: list[bytes]) -> Iterator[bytes]:
    if not parts:
        yield path
        return
    part, rest = parts[0], parts[1:]
    if part == b"**":
        for directory in _directories(root, path):
            yield from _matches(root, directory, rest)
    elif _MAGIC.search(part):
        matches = re.compile(fnmatch.translate(os.fsdecode(part))).match
        for name in _names(root, path):
            if matches(os.fsdecode(name)) and (not rest or _is_directory(root, path + b"/" + name)):
                yield from _matches(root, path + b"/" + name, rest)
    elif _exists(root, path + b"/" + part):
        yield from _matches(root, path + b"/" + part, rest)


def _directories(root: int, top: bytes) -> Iterator[bytes]:
    """The directory and all below it; links to directories, and /proc and its like, left alone."""
    todo = [top]
    while todo:
        path = todo.pop()
        fd = _opened(root, path)
        if fd is None:
            continue
        try:
            if path != top and inside.is_kernels_own(fd):
                continue
            with os.scandir(fd) as entries:
                below = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)
        yield path
        todo.extend(path + b"/" + name for name in sorted(below, reverse=True))


def _opened(root: int, path: bytes) -> int | None:
    try:
        fd = inside.locate(root, path, flags=os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return None
    try:
        return inside.reopen(fd, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return None  # its mount has been taken away this moment, which leaves it outside of our cell
    finally:
        os.close(fd)


def _names(root: int, path: bytes) -> list[bytes]:
    fd = _opened(root, path)
    if fd is None:
        return []
    try:
        return sorted(map(os.fsencode, os.listdir(fd)))
    finally:
        os.close(fd)


def _mode(root: int, path: bytes, *, follow: bool) -> int:
    try:
        fd = inside.locate(root, path, follow=follow)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return 0
    try:
        return os.fstat(fd).st_mode
    finally:
        os.close(fd)


def _exists(root: int, path: bytes) -> bool:
    return bool(_mode(root, path, follow=False))


def _is_directory(root: int, path: bytes) -> bool:
    return stat.S_ISDIR(_mode(root, path, follow=True))
