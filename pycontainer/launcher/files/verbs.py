"""What can be done with a path of a container: one job, one verb."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pycontainer.checkpoints import reached
from pycontainer.errors import WrongState
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import move_all, read_view
from pycontainer.launcher.files.entering import Cell, named
from pycontainer.launcher.files.filling import overwrite
from pycontainer.launcher.files.globbing import find
from pycontainer.launcher.files.protocol import Report
from pycontainer.launcher.files.walking import attributes

__all__ = ["KILL_POINTS", "access"]

KILL_POINTS = ("copy.content.written",)  # all of it is there, under another name

_MASK = 0o022  # of what is made without being told a mode
_BATCH = 2000
_TEMPORARY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Params = dict[str, Any]


def access(params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    """Do params["verb"] with params["path"] in the container of params["root"] (see Cell.enter).

    The kernel's refusal is an answer, too: {"errno", "why"}, for the caller to raise as an OSError.
    Raises: WrongState when the container has ended meanwhile.
    """
    cell = Cell()
    root = cell.enter(params, fds)
    cell.lock([root])
    try:
        return _VERBS[params["verb"]](root, os.fsencode(params["path"]), params, fds, report)
    except WrongState:
        raise
    except OSError as error:
        return {"errno": error.errno or errno.EIO, "why": error.strerror or ""}


def _stat(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    fd = inside.locate(root, path, follow=params["follow"])
    found = os.fstat(fd)
    extra = {
        name: getattr(found, name)
        for name in dir(found)
        if name.startswith("st_") and (name.endswith("_ns") or name in ("st_blksize", "st_blocks", "st_rdev"))
    }
    extra |= {name: getattr(found, name) for name in ("st_atime", "st_mtime", "st_ctime")}
    return {"stat": list(found)[:10], "extra": extra}


def _list(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    names = inside.listing(inside.locate(root, path, flags=os.O_DIRECTORY))
    for start in range(0, len(names), _BATCH):
        report({"names": [os.fsdecode(name) for name in names[start : start + _BATCH]]})
    return {}


def _glob(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    batch: list[str] = []
    for found in find(root, path, [os.fsencode(part) for part in params["parts"]]):
        batch.append(os.fsdecode(found))
        if len(batch) >= _BATCH:
            report({"names": batch})
            batch = []
    if batch:
        report({"names": batch})
    return {}


def _open(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    fd = inside.open_file(root, path, params["flags"] | os.O_NOCTTY, params["mode"] & ~_MASK)
    if inside.is_kernels_own(fd):
        # Reading these may block and have effects, so the caller gets what they say and not them.
        os.set_blocking(fd, False)
        view = os.memfd_create("pycontainer-view", os.MFD_CLOEXEC)
        os.write(view, read_view(fd))
        os.lseek(view, 0, os.SEEK_SET)
        fd = view
    report({"opened": True}, [fd])
    return {}


def _write(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    """Replace a file's whole content by that of fds[-1], or leave it as it is."""
    source = fds[-1]
    parent, base = inside.place(root, path, follow=True)
    found = _regular_at(parent, base)
    if found is not None and found.st_nlink > 1:
        overwrite(parent, base, source)  # a new file would be no longer its other names'
        return {}
    name = inside.temporary_name()
    fd = os.open(name, _TEMPORARY, 0o666 & ~_MASK, dir_fd=parent)
    try:
        move_all(source, fd, os.fstat(source).st_size, None)
        if found is not None:
            _take_over(parent, base, fd, found)
        reached("copy.content.written")
        try:
            os.rename(name, base, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            overwrite(parent, base, source)  # a mount of its own, as /etc/hosts is
            os.unlink(name, dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=parent)
        raise
    return {}


def _exchange(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    """As write, if the content is params["expected"], in hexadecimal; else leave the file as it is."""
    expected = bytes.fromhex(params["expected"])
    fd = inside.open_file(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, 0)
    try:
        if os.pread(fd, len(expected) + 1, 0) != expected:
            return {}
    finally:
        os.close(fd)
    return _write(root, path, params, fds, report)


def _regular_at(parent: int, base: bytes) -> os.stat_result | None:
    """The file to be replaced, None when there is none. Raises: OSError for anything but a file."""
    try:
        fd = inside.pinned(parent, base)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise inside.refused(errno.ENXIO, inside.NOT_A_FILE)
        if inside.is_kernels_own(fd):
            raise inside.refused(errno.EROFS, inside.NOT_DATA)
        return found
    finally:
        os.close(fd)


def _take_over(parent: int, base: bytes, fd: int, found: os.stat_result) -> None:
    """Give a file the owner, mode and attributes of the one whose place it is to take."""
    os.fchown(fd, found.st_uid, found.st_gid)
    with suppress(FileNotFoundError):
        replaced = inside.pinned(parent, base)
        try:
            for name, value in attributes(named(replaced)).items():
                if name != b"security.capability":  # writing to a file takes these away
                    os.setxattr(fd, name, value)
        finally:
            os.close(replaced)
    os.fchmod(fd, stat.S_IMODE(found.st_mode) & ~0o6000)


def _mkdir(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    os.mkdir(base, params["mode"] & ~_MASK, dir_fd=parent)
    return {}


def _unlink(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    os.unlink(base, dir_fd=parent)
    return {}


def _rmdir(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    os.rmdir(base, dir_fd=parent)
    return {}


def _rename(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    above, name = inside.place(root, os.fsencode(params["target"]))
    os.rename(base, name, src_dir_fd=parent, dst_dir_fd=above)
    return {}


def _symlink(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    os.symlink(os.fsencode(params["target"]), base, dir_fd=parent)
    return {}


def _hardlink(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    parent, base = inside.place(root, path)
    above, name = inside.place(root, os.fsencode(params["target"]))
    os.link(name, base, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
    return {}


def _readlink(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    fd = inside.locate(root, path, follow=False)
    if not stat.S_ISLNK(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return {"target": os.fsdecode(os.readlink(b"", dir_fd=fd))}


def _chmod(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    os.chmod(named(_settable(root, path, params)), params["mode"])
    return {}


def _chown(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    os.chown(named(_settable(root, path, params)), params["uid"], params["gid"])
    return {}


def _settable(root: int, path: bytes, params: Params) -> int:
    fd = inside.locate(root, path, follow=params["follow"])
    if inside.is_kernels_own(fd):
        raise inside.refused(errno.EROFS, inside.NOT_DATA)
    return fd


def _touch(root: int, path: bytes, params: Params, fds: list[int], report: Report) -> dict[str, Any]:
    if params["exist_ok"]:
        with suppress(FileNotFoundError):
            os.utime(named(inside.locate(root, path)))
            return {}
    flags = os.O_WRONLY | os.O_CREAT | (0 if params["exist_ok"] else os.O_EXCL)
    inside.open_file(root, path, flags, params["mode"] & ~_MASK)
    return {}


_VERBS: dict[str, Callable[[int, bytes, Params, list[int], Report], dict[str, Any]]] = {
    "stat": _stat,
    "list": _list,
    "glob": _glob,
    "open": _open,
    "write": _write,
    "exchange": _exchange,
    "mkdir": _mkdir,
    "unlink": _unlink,
    "rmdir": _rmdir,
    "rename": _rename,
    "symlink": _symlink,
    "hardlink": _hardlink,
    "readlink": _readlink,
    "chmod": _chmod,
    "chown": _chown,
    "touch": _touch,
}
