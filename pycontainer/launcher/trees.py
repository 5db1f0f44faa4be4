"""Deleting trees fast and only inside themselves, and flushing a file system: jobs of the helper."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from pycontainer.kernel import syscalls

__all__ = ["remove", "remove_tree", "syncfs"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MAX_DEPTH = 64  # one descriptor and one frame a level


def remove_tree(
    params: dict[str, Any], fds: list[int], report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Job: delete params["name"] in the directory fds[0]. Result: {"entries": how many were deleted}."""
    return {"entries": remove(fds[0], params["name"])}


def syncfs(
    params: dict[str, Any], fds: list[int], report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Job: write back the file system that fds[0] lies on."""
    syscalls.syncfs(fds[0])
    return {}


def remove(parent: int, name: str) -> int:
    """Delete the entry and all below it; missing is done. Returns how many entries went.

    Links are deleted, never followed; a directory without permissions is given them first; another
    process deleting the same tree is no error.
    Raises OSError for what cannot be deleted (immutable files, a mount).
    """
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} is not the name of a directory entry")
    try:
        top = _open(parent, name)
    except NotADirectoryError:
        return _unlink(parent, name)
    except FileNotFoundError:
        return 0
    try:
        count = 0
        while True:
            count += _empty(top, top, 1)
            try:
                os.rmdir(name, dir_fd=parent)
                return count + 1
            except FileNotFoundError:
                return count
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
    finally:
        os.close(top)


def _open(parent: int, name: str) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _OPEN, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:  # O_NOFOLLOW met a link
            raise NotADirectoryError(error.errno, error.strerror, name) from None
        raise


def _unlink(parent: int, name: str) -> int:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return 0
    except PermissionError:
        os.chmod(parent, 0o700)
        os.unlink(name, dir_fd=parent)
    return 1


def _empty(fd: int, top: int, depth: int) -> int:
    """Delete what is in the directory. Levels too deep are first moved up to the top of the tree."""
    count = 0
    with os.scandir(fd) as entries:
        inner = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in inner:
        if not is_directory:
            count += _unlink(fd, name)
        elif depth >= _MAX_DEPTH:
            os.rename(name, f".deep-{fd}-{os.getpid()}-{time.monotonic_ns()}", src_dir_fd=fd, dst_dir_fd=top)
        else:
            count += _empty_and_remove(fd, name, top, depth)
    return count


def _empty_and_remove(parent: int, name: str, top: int, depth: int) -> int:
    try:
        # Most directories of a tree of layers are empty by then, or hold files only.
        os.rmdir(name, dir_fd=parent)
        return 1
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EACCES):
            raise
    try:
        fd = _open(parent, name)
    except FileNotFoundError:
        return 0
    try:
        count = _empty(fd, top, depth + 1)
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return count
        except PermissionError:
            os.chmod(parent, 0o700)
            os.rmdir(name, dir_fd=parent)
        return count + 1
    finally:
        os.close(fd)
