"""The checks of probe.py that mount and unshare; run by a child interpreter, never by the caller's process.

Every check runs in a fork with namespaces of its own, so that nothing is left and none sees another's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable

from pycontainer.kernel import syscalls

__all__ = ["report"]


def report(store: str) -> None:
    """Print the results of all mounting checks as JSON; only for the child interpreter of this module."""
    syscalls.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: never outlive the caller
    answers = {
        "userns": _in_fork(_try_userns),
        "overlay_userns": _in_fork(_try_overlay_userns),
        "overlay": _in_fork(_try_overlay),
        "mount_api": _in_fork(_try_mount_api),
    }
    if os.geteuid() == 0 and os.access(store, os.W_OK):
        answers["overlay_on_store"] = _in_fork(lambda: _try_overlay_on(store))
    print(json.dumps(answers))


def _in_fork(function: Callable[[], str]) -> tuple[bool, str]:
    """Run one check in a fork, whose namespaces die with it; its OSError becomes the detail."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = "y" + function()
        except OSError as error:
            text = f"n{error.strerror or error}"
        os.write(writer, text.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(pid, 0)
    return text[:1] == "y", text[1:] or "the probe died"


_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_REC_PRIVATE = 0x4000 | 0x40000


def _private_tmpfs(flags: int = 0) -> None:
    """Enter a mount namespace of our own, with an empty tmpfs on /tmp."""
    uid, gid = os.geteuid(), os.getegid()  # overflow ids once inside a user namespace
    syscalls.unshare(_CLONE_NEWNS | flags)
    if flags & _CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    syscalls.mount(None, b"/", None, _MS_REC_PRIVATE, None)
    syscalls.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, b"size=1m")


def _mount_overlay(base: str, extra: str = "") -> None:
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{base}/{name}")
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work{extra}"
    syscalls.mount(b"overlay", f"{base}/merged".encode(), b"overlay", 0, options.encode())
    with open(f"{base}/merged/file", "xb"):
        pass
    if not stat.S_ISREG(os.stat(f"{base}/upper/file").st_mode):
        raise OSError(errno.EIO, "a file written to the overlay is not in its upper directory")


def _try_overlay() -> str:
    _private_tmpfs()
    _mount_overlay("/tmp")
    return "mounts, as this user"


def _try_overlay_on(store: str) -> str:
    syscalls.unshare(_CLONE_NEWNS)
    syscalls.mount(None, b"/", None, _MS_REC_PRIVATE, None)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=store) as base:
        try:
            _mount_overlay(base)
        except OSError as error:
            raise OSError(error.errno, f"no overlay on this file system ({error.strerror})") from error
        finally:
            with contextlib.suppress(OSError):
                syscalls.umount2(f"{base}/merged".encode(), 0)
    return "mounts on the store's file system"


def _try_userns() -> str:
    _private_tmpfs(_CLONE_NEWUSER)
    return "a new one can be made and mapped"


def _try_overlay_userns() -> str:
    _private_tmpfs(_CLONE_NEWUSER)
    _mount_overlay("/tmp", ",userxattr")
    return "mounts inside a user namespace"


def _try_mount_api() -> str:
    _private_tmpfs()
    fs_fd = syscalls.fsopen(b"tmpfs")
    syscalls.fsconfig(fs_fd, 6, None, None)  # FSCONFIG_CMD_CREATE
    mount_fd = syscalls.fsmount(fs_fd, 0)
    syscalls.mount_setattr(mount_fd, 0, set=1)  # MOUNT_ATTR_RDONLY
    target = os.open("/tmp", os.O_PATH)
    syscalls.move_mount(mount_fd, target)
    return "fsopen, fsmount, mount_setattr, move_mount"
