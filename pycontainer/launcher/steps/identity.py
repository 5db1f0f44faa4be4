"""Becoming the user: ids from the container's files, then groups, gid, uid and capabilities."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from functools import lru_cache

from pycontainer.kernel import caps
from pycontainer.kernel.script import Script
from pycontainer.launcher import identity
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import CONSOLE, Context, Refused

_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28


def resolve(context: Context, user: bytes, extra_groups: tuple[bytes, ...]) -> None:
    """Work out Docker's user string from /etc/passwd and /etc/group of the root we are in."""
    try:
        files = _read(context, b"/etc/passwd"), _read(context, b"/etc/group")
        found = identity.resolve(user, extra_groups, *files)
    except identity.UnknownIdentity as error:
        raise Refused(str(error)) from None
    context.uid, context.gid, context.groups, context.home = found


def use_ids(context: Context, uid: int, gid: int, additional: tuple[int, ...]) -> None:
    """Use ids as given; only the home directory is looked up."""
    context.uid, context.gid = uid, gid
    context.groups = tuple(dict.fromkeys((gid, *additional)))
    if not context.env.get(b"HOME"):
        context.home = identity.home_of(uid, _read(context, b"/etc/passwd"))


def _read(context: Context, path: bytes) -> bytes:
    """A regular file of the image, also behind links that stay in it, read with bounds; b"" if there is none
    (CVE-2024-9676).
    """
    try:
        fd = _open(context, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return b""
        raise Refused(f"{os.fsdecode(path)} of the image cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{os.fsdecode(path)} of the image is not a regular file")
        if found.st_size > identity.MAX_FILE_BYTES:
            raise Refused(f"{os.fsdecode(path)} of the image is larger than {identity.MAX_FILE_BYTES} bytes")
        if not found.st_size:
            return b""  # or a file of the kernel's, of which some keep a reader waiting (/proc/kmsg)
        return _read_all(fd)
    finally:
        os.close(fd)


def _open(context: Context, path: bytes, flags: int) -> int:
    if context.proc < 0:
        return inroot.locate(context.root, path, flags)  # as one of the container, by its rules for devices
    # Looked at before it is opened: to open a device is to have its driver do something.
    spot = inroot.locate(context.root, path)
    try:
        if not stat.S_ISREG(os.fstat(spot).st_mode):
            return os.dup(spot)
        return os.open(b"self/fd/%d" % spot, flags, dir_fd=context.proc)
    finally:
        os.close(spot)


def _read_all(fd: int) -> bytes:
    chunks = []
    left = identity.MAX_FILE_BYTES
    while left > 0 and (chunk := os.read(fd, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def give_pipes(fds: Iterable[int], owner: tuple[int, int] | None) -> None:
    """Give those of the descriptors that are pipes to the root of a user namespace, its ids on the host.

    Only what belongs to ids of the namespace can be handed on to a user of it, from inside.
    """
    for fd in fds:
        if owner is not None and _is_pipe(fd):
            os.fchown(fd, *owner)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False  # nothing there yet


def own_output(context: Context) -> None:
    """Give the output pipes, or the terminal, to the user, who may open /dev/stdout again."""
    if context.uid and CONSOLE in context.fds:
        os.fchown(0, context.uid, -1)
    else:
        give_output(context, (1, 2))


def give_output(context: Context, fds: Iterable[int]) -> None:
    """Give those of the descriptors that are pipes to the user."""
    for fd in fds if context.uid else ():
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, context.uid, -1)


def become(
    context: Context, bounding: int, effective: int, permitted: int, inheritable: int, ambient: int
) -> None:
    """Take on groups, gid, uid and exactly these capability sets."""
    becoming(context, bounding, effective, permitted, inheritable, ambient).perform()


def becoming(
    context: Context, bounding: int, effective: int, permitted: int, inheritable: int, ambient: int
) -> Script:
    """The calls of `become`, for the ids that are known by now."""
    sets = bounding, effective, permitted, inheritable, ambient
    return _becoming(context.uid, context.gid, tuple(context.groups), sets)


@lru_cache(maxsize=16)
def _becoming(uid: int, gid: int, groups: tuple[int, ...], sets: tuple[int, int, int, int, int]) -> Script:
    bounding, effective, permitted, inheritable, ambient = sets
    script = Script()
    caps.restrict_bounding(script, bounding)
    if uid:
        script.prctl(_PR_SET_KEEPCAPS, 1)
    script.setgroups(groups)
    script.setresgid(gid)
    script.setresuid(uid)
    script.capset(effective, permitted, inheritable)
    if ambient:
        caps.raise_ambient(script, ambient)
    if uid:
        script.prctl(_PR_SET_KEEPCAPS, 0)
    return script
