"""Device nodes, made inside a /dev that was opened once and is never reached by an image's link."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import Context, Refused


class Node(NamedTuple):
    """A device as the container shall see it; mode holds the type bits."""

    path: bytes
    mode: int
    device: int
    uid: int
    gid: int


def make_nodes(context: Context, nodes: tuple[Node, ...], by_bind: bool) -> None:
    """Make the nodes; by_bind mounts the host's own where mknod(2) is forbidden (user namespaces)."""
    for node in nodes:
        try:
            _make_node(context, node, by_bind)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(node.path)) from None


def _make_node(context: Context, node: Node, by_bind: bool) -> None:
    parent, name = _place(context, node.path)
    try:
        if by_bind:
            _bind_node(parent, name, node)
            return
        try:
            os.mknod(name, node.mode, node.device, dir_fd=parent)
        except FileExistsError:
            _check_node(parent, name, node)
            return
        if node.uid or node.gid:
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _place(context: Context, path: bytes) -> tuple[int, bytes]:
    """The directory that is to hold the node, and the node's name in it."""
    if path.startswith(b"/dev/"):
        return inroot.parent_of(_dev(context), path[5:])
    return inroot.parent_of(context.root, path)


def _dev(context: Context) -> int:
    """Our own /dev, or the image's if it is a directory and no link (CVE-2026-41579)."""
    if context.dev < 0:
        context.dev = inroot.target(context.root, b"/dev", is_directory=True, strict=True)
    return context.dev


def _check_node(parent: int, name: bytes, node: Node) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if found.st_rdev != node.device or stat.S_IFMT(found.st_mode) != stat.S_IFMT(node.mode):
        raise Refused(f"{os.fsdecode(node.path)} exists in the image and is not that device")


def _bind_node(parent: int, name: bytes, node: Node) -> None:
    source = os.open(node.path, os.O_PATH | os.O_NOFOLLOW)
    found = os.fstat(source)
    if found.st_rdev != node.device or stat.S_IFMT(found.st_mode) != stat.S_IFMT(node.mode):
        raise Refused(f"{os.fsdecode(node.path)} of this host is not that device")
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644, dir_fd=parent))
    spot = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
    tree = mounts.clone(source)
    mounts.attach(tree, spot)
    for fd in (source, spot, tree):
        os.close(fd)


def make_links(context: Context, links: tuple[tuple[bytes, bytes], ...]) -> None:
    """Make the symbolic links of /dev, (name, target) each; what exists stays."""
    for name, target in links:
        try:
            os.symlink(target, name, dir_fd=_dev(context))
        except FileExistsError:
            pass


def use_null(context: Context) -> None:
    """Take stdin from the container's own /dev/null, so that no mount of the host stays open."""
    fd = open_null(context)
    if fd >= 0:
        os.dup2(fd, 0)
        os.close(fd)


def open_null(context: Context) -> int:
    """The container's own /dev/null, -1 if it has none. Raises Refused for what only bears its name."""
    try:
        fd = syscalls.openat2(
            _dev(context),
            b"null",
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS,
        )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return -1
        raise
    if os.fstat(fd).st_rdev != os.makedev(1, 3):
        raise Refused("/dev/null of the container is not the null device")
    os.set_blocking(fd, True)
    return fd
