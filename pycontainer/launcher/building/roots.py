"""The roots a build's job works in, and paths inside them resolved by hand."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher import identity
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.entering import DIRECTORY
from pycontainer.layers import mount_overlay

__all__ = ["account", "ensure_directory", "open_beneath", "open_layers", "open_target", "resolve"]

_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40  # as the kernel's MAXSYMLINKS
_OVERLAY: tuple[tuple[bytes, bytes | None], ...] = ((b"source", b"overlay"),)
# Whatever the host's defaults: what is written must be whole without the layers below.
_WRITTEN: tuple[tuple[bytes, bytes | None], ...] = (
    *_OVERLAY,
    (b"index", b"off"),
    (b"metacopy", b"off"),
    (b"redirect_dir", b"off"),
    (b"volatile", None),
)


def open_layers(paths: Sequence[str]) -> int:
    """The files of layers, top first, as a descriptor of their merged root, read-only."""
    fds = [os.open(os.fsencode(path), DIRECTORY) for path in paths]
    if len(fds) == 1:
        return fds[0]
    tree = mounts.overlay(fds, -1, -1, _OVERLAY, mounts.ATTR_RDONLY | mounts.ATTR_NODEV)
    for fd in fds:
        os.close(fd)
    return os.open(".", DIRECTORY, dir_fd=tree)


def open_target(params: Mapping[str, Any]) -> int:
    """The root to write to: "upper" alone, or over the "lower" directories, top first, with "work"."""
    upper = os.open(os.fsencode(params["upper"]), DIRECTORY)
    if not params["lower"]:
        return upper
    work = os.open(os.fsencode(params["work"]), DIRECTORY)
    lower = [os.open(os.fsencode(path), DIRECTORY) for path in params["lower"]]
    options = _WRITTEN if os.geteuid() == 0 and _is_host_root() else (*_WRITTEN, (b"userxattr", None))
    return mount_overlay(upper, work, lower, options, mounts.ATTR_NODEV | mounts.ATTR_NOSUID)


def _is_host_root() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]


def resolve(root: int, path: str) -> str:
    """Where a path leads inside the root when its links are followed: without links, "" the root itself.

    Raises: FileNotFoundError; NotADirectoryError; OSError(ELOOP).
    """
    todo = _parts(path)[::-1]
    done: list[str] = []
    hops = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        target = _link(root, done, part)
        if target is None:
            done.append(part)
            continue
        hops += 1
        if hops > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        todo += _parts(target)[::-1]
    return "/".join(done)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _link(root: int, above: list[str], name: str) -> str | None:
    parent = open_beneath(root, "/".join(above), os.O_PATH | os.O_DIRECTORY)
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open what a path without links means; whatever became a link meanwhile is refused. Raises: OSError."""
    if not path:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
    return syscalls.openat2(root, os.fsencode(path), flags | os.O_CLOEXEC, _BENEATH)


def ensure_directory(
    root: int, path: str, owner: tuple[int, int] | None, epoch: int | None, mode: int = 0o755
) -> int:
    """A descriptor (O_PATH) of a directory inside the root, links followed, missing ones made.

    owner: of the ones that are made; epoch: their time in seconds, None for now.
    Raises: NotADirectoryError; OSError.
    """
    todo = _parts(path)[::-1]
    done: list[str] = []
    made: list[str] = []
    hops = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        try:
            target = _link(root, done, part)
        except FileNotFoundError:
            parent = open_beneath(root, "/".join(done), os.O_PATH | os.O_DIRECTORY)
            try:
                _make(parent, part, owner, mode)
            finally:
                os.close(parent)
            target = None
            made.append("/".join((*done, part)))
        if target is None:
            done.append(part)
            continue
        hops += 1
        if hops > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        todo += _parts(target)[::-1]
    if epoch is not None:
        for directory in made:
            above, _, name = directory.rpartition("/")
            parent = open_beneath(root, above, os.O_PATH | os.O_DIRECTORY)
            os.utime(name, (epoch, epoch), dir_fd=parent, follow_symlinks=False)
            os.close(parent)
    return open_beneath(root, "/".join(done), os.O_PATH | os.O_DIRECTORY)


def _make(parent: int, name: str, owner: tuple[int, int] | None, mode: int) -> None:
    os.mkdir(name, mode, dir_fd=parent)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if owner is not None:
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def account(root: int, text: str, *, is_pair: bool) -> tuple[int, int]:
    """The ids that USER or --chown means by the root's own passwd and group files.

    is_pair: as --chown, where a name without a group takes the group of the same id or name.
    Raises: NotFound.
    """
    passwd, group = (_small_file(root, name) for name in (b"/etc/passwd", b"/etc/group"))
    try:
        found = identity.resolve(os.fsencode(text), (), passwd, group)
    except identity.UnknownIdentity as error:
        raise NotFound(f"{error}; it is looked up in the image's own /etc/passwd and /etc/group") from None
    name, _, of_group = text.partition(":")
    if is_pair and not of_group and name.isdigit():
        return found.uid, found.uid
    return found.uid, found.gid


def _small_file(root: int, path: bytes) -> bytes:
    try:
        fd = inside.open_file(root, path, os.O_RDONLY | os.O_NONBLOCK, 0)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise InvalidInput(f"{os.fsdecode(path)} of the image cannot be read: {error.strerror}") from error
    try:
        content = os.read(fd, identity.MAX_FILE_BYTES + 1)
        while piece := os.read(fd, identity.MAX_FILE_BYTES):
            content += piece
            if len(content) > identity.MAX_FILE_BYTES:
                break
    finally:
        os.close(fd)
    if len(content) > identity.MAX_FILE_BYTES:
        raise InvalidInput(f"{os.fsdecode(path)} of the image is larger than {identity.MAX_FILE_BYTES} bytes")
    return content
