"""The root file system: assembled detached, attached in a private namespace, pivoted into."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pycontainer.kernel import mounts, namespaces, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher import idmaps
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import Context, Refused

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CLONE = 0x8001  # OPEN_TREE_CLONE | AT_RECURSIVE
Options = tuple[tuple[bytes, bytes | None], ...]
Maps = tuple[Sequence[Mapping[str, Any]], ...]

_NO_SUCH_API = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def isolate_mounts(context: Context) -> None:
    """Cut this mount namespace off from the host's: nothing mounted here shows there, nor the reverse."""
    syscalls.mount(None, b"/", None, mounts.MS_PRIVATE | mounts.MS_REC, None)


def assemble(
    layers: tuple[bytes, ...], upper: bytes, work: bytes, options: Options, maps: Maps, place: bytes
) -> int:
    """The overlay of these directories as a detached mount.

    The monitor does this, outside of any namespace of the container: a user namespace could not use the
    layers' trusted.* attributes, nor reach directories that are the host's root's alone.
    maps: of the user and group ids by which the owners of files show; on disk they stay as they are, whatever
    container the layers are in. Where the layers' file system cannot do that, they show as they are.
    place: a directory, on which it is mounted meanwhile, seen by nobody else, before Linux 6.5.
    """
    if maps:
        try:
            return _assemble_apart((*layers, upper, work), options, place, maps)
        except OSError as error:
            if error.errno not in _NO_SUCH_API:
                raise
    fds = [os.open(path, _DIRECTORY) for path in (*layers, upper, work)]
    try:
        return mounts.overlay(fds[:-2], fds[-2], fds[-1], options)
    except OSError as error:
        if error.errno not in _NO_SUCH_API or syscalls.kernel_version() >= (6, 5):
            raise
        return _assemble_apart((*layers, upper, work), options, place, ())
    finally:
        for fd in fds:
            os.close(fd)


def _assemble_apart(paths: Sequence[bytes], options: Options, place: bytes, maps: Maps) -> int:
    """The same without lowerdir+ (Linux 6.5), or of layers that other ids are shown of."""

    def assembled() -> int:
        _be_apart()
        if maps:
            _map_directories(paths, maps)
        # Opened in this namespace: overlay takes no mount of another (clone_private_mount, fs/namespace.c).
        # As descriptors their names are short enough for one page.
        fds = [os.open(path, _DIRECTORY) for path in paths]
        return _classic(fds[:-2], fds[-2], fds[-1], options, place)

    return _made_apart(assembled)


def overlay_mapped(
    layers: Sequence[int], upper: bytes, work: bytes, options: Options, maps: Maps, place: bytes
) -> int:
    """The overlay of these directories, top layer first, with owners shown by maps, as a detached mount.

    upper, work: in one directory; b"" for one that is not written to. place: see assemble.
    Raises OSError: EINVAL where the layers' file system maps no ids.
    """

    def assembled() -> int:
        space = idmaps.user_namespace(*maps)
        home = [os.open(os.path.dirname(upper), _DIRECTORY)] if upper else []
        trees = [mounts.clone(fd) for fd in (*layers, *home)]  # which only in their own namespace can be
        for tree in trees:
            syscalls.mount_setattr(tree, 0, set=idmaps.ATTR_IDMAP, userns_fd=space)
        _be_apart()
        syscalls.mount(b"tmpfs", place, b"tmpfs", 0, None)
        spots = []
        for number, tree in enumerate(trees):
            spot = place + b"/%d" % number
            os.mkdir(spot)
            mounts.attach(tree, os.open(spot, _DIRECTORY))
            spots.append(spot)
        _be_root_of(maps)
        lower = [os.open(spot, _DIRECTORY) for spot in spots[: len(layers)]]
        over = [spots[-1] + b"/" + os.path.basename(path) for path in (upper, work)] if upper else []
        upper_fd, work_fd = (os.open(path, _DIRECTORY) for path in over) if over else (-1, -1)
        return _classic(lower, upper_fd, work_fd, options, place)

    return _made_apart(assembled)


def _be_apart() -> None:
    """Have mounts of one's own, which nobody else sees."""
    syscalls.unshare(namespaces.NEWNS)
    syscalls.mount(None, b"/", None, mounts.MS_PRIVATE | mounts.MS_REC, None)


def _classic(lower: Sequence[int], upper: int, work: int, options: Options, place: bytes) -> int:
    classic = [key if value is None else key + b"=" + value for key, value in options if key != b"source"]
    mounts.overlay_classic(lower, upper, work, classic, place)
    return mounts.clone(syscalls.AT_FDCWD, path=place)


def _made_apart(make: Callable[[], int]) -> int:
    """The detached mount that a child makes, whose mount namespace it outlives. Raises OSError."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            try:
                socket.send_fds(theirs, [struct.pack("i", 0)], [make()])
            except OSError as error:
                theirs.send(struct.pack("i", error.errno or errno.EIO))
            finally:
                os._exit(0)
        theirs.close()
        said, given, _, _ = socket.recv_fds(ours, 4, 1)
        os.waitpid(pid, 0)
    if given:
        return given[0]
    code = struct.unpack("i", said)[0] if said else errno.EIO
    raise OSError(code, os.strerror(code))


def _map_directories(paths: Sequence[bytes], maps: Maps) -> None:
    """Cover the layers, and what holds both upper and work, by themselves with other owners."""
    *lower, upper, _work = paths
    space = idmaps.user_namespace(*maps)
    for path in (*lower, os.path.dirname(upper)):
        tree = syscalls.open_tree(syscalls.AT_FDCWD, path, _CLONE & 1)
        syscalls.mount_setattr(tree, 0, set=idmaps.ATTR_IDMAP, userns_fd=space)
        spot = os.open(path, _DIRECTORY)
        mounts.attach(tree, spot)
    _be_root_of(maps)


def _be_root_of(maps: Maps) -> None:
    """Overlay makes files as whoever mounts it, and with an owner that the maps do not know it makes none."""
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, syscalls.SECBIT_NO_SETUID_FIXUP)
    uid, gid = (entries[0]["hostID"] for entries in maps)
    os.setresgid(-1, gid, -1)
    os.setresuid(-1, uid, -1)


def copy_directory(source: bytes, *, is_slave: bool = False) -> int:
    """A directory of the host, with what is mounted below it, as a detached mount to be the root.

    is_slave: what the host mounts there later shows in it, too, where the host's mount is a shared one.
    """
    root = syscalls.open_tree(syscalls.AT_FDCWD, source, _CLONE)
    mounts.set_propagation(root, mounts.MS_SLAVE if is_slave else mounts.MS_PRIVATE, recursive=True)
    return root


def attach_root(context: Context, place: bytes, is_looked_for: bool = False) -> None:
    """Hang the root into this namespace, where the pivot needs it; on place nobody else sees it.

    is_looked_for: hooks will look for it on place, and nowhere else.
    """
    context.root = context.fds["root"]
    spot = os.open(place if is_looked_for else b"/", _DIRECTORY)
    try:
        mounts.attach(context.root, spot)
    finally:
        os.close(spot)


def pivot(context: Context) -> None:
    """Make it the root, and let go of the host's (pivot_root(2), "pivot_root(".", ".")")."""
    pivoting(context).perform()


def pivoting(context: Context) -> Script:
    """The calls of `pivot`."""
    return _pivoting(context.root)


@lru_cache(maxsize=16)
def _pivoting(root: int) -> Script:
    script = Script()
    script.fchdir(root)
    script.pivot_root()
    return script


def make_directory(context: Context, path: bytes) -> None:
    """Make a directory of the container if it is missing; why it cannot be, whoever enters it will say."""
    try:
        os.close(inroot.directory(context.root, path))
    except (OSError, Refused):
        pass


def make_readonly(context: Context) -> None:
    """Forbid writing to the root mount; volumes, /dev and the like are mounts of their own."""
    mounts.set_attributes(context.root, mounts.ATTR_RDONLY)
