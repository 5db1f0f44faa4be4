"""Filling a new volume with what an image has at its place, and giving one to a user; each a job of its own.

The image is hostile: its layers are laid over each other in a mount that nobody else sees, its links end
inside, and what is copied or given away is never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from pycontainer.errors import InvalidInput, LaunchError
from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps import copyup

__all__ = ["fill_volume", "own_tree"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Nothing, or no directory, or a link that leads nowhere or into the kernel's own.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)
_CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # by who has the volume, too, since it was looked at
_MAX_DEPTH = 400  # a descriptor and a frame a level
_INNER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS


def fill_volume(params: dict[str, Any], fds: list[int], _report: object) -> dict[str, Any]:
    """Copy params["target"] of the layers params["lower"], top first, into the directory fds[0].

    The directory gets owner and mode of the one in the image. Whether there was one: {"is_filled"}.
    """
    layers = [os.open(os.fsencode(path), _DIRECTORY) for path in params["lower"]]
    if len(layers) == 1:
        root = mounts.clone(layers[0])
    else:
        root = mounts.overlay(layers, -1, -1, ((b"source", b"overlay"),), mounts.ATTR_RDONLY)
    target = os.fsencode(params["target"])
    try:
        source = syscalls.openat2(root, target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _INSIDE)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return {"is_filled": False}  # the volume stays empty
    copyup.copy_directory(source, fds[0])
    copyup.copy_status(source, fds[0])
    return {"is_filled": True}


def own_tree(params: dict[str, Any], fds: list[int], _report: object) -> dict[str, Any]:
    """Give fds[0], or what lies at params["subpath"] beneath it, and all below on the same file system to the
    user params["user"], whom the image of the layers params["lower"], top first, knows.

    uids, gids: the maps of its user namespace, "INSIDE:OUTSIDE:SIZE" each; none for the host's ids. What has
    this owner already is not touched.
    Raises: NotFound, LaunchError, InvalidInput for a tree too deep, OSError.
    """
    from pycontainer.launcher.building.roots import account, open_layers  # with what builds need
    from pycontainer.launcher.files.entering import Cell, named

    cell = Cell()
    image, top = open_layers(params["lower"]), fds[0]
    found = os.stat(top)
    cell.lock([top] if stat.S_ISDIR(found.st_mode) else [], [image])
    uid, gid = account(image, params["user"], is_pair=False)
    owner = _outside(uid, params["uids"]), _outside(gid, params["gids"])
    if params["subpath"]:
        top = syscalls.openat2(top, os.fsencode(params["subpath"]), os.O_PATH | os.O_CLOEXEC, _BENEATH)
        found = os.stat(top)
    if stat.S_ISDIR(found.st_mode):
        directory = os.open(named(top), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _own_below(directory, owner, found.st_dev, 1)
        os.close(directory)
    if (found.st_uid, found.st_gid) != owner:
        os.chown(named(top), *owner)
    return {}


def _own_below(directory: int, owner: tuple[int, int], device: int, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidInput(f"directories lie more than {_MAX_DEPTH} deep; give it to the user by hand")
    for name in os.listdir(directory):
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if found.st_dev != device:
                continue
            if stat.S_ISDIR(found.st_mode):
                below = os.open(name, _INNER, dir_fd=directory)
                _own_below(below, owner, device, depth + 1)
                os.close(below)
            if (found.st_uid, found.st_gid) != owner:
                os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CHANGED:
                raise


def _outside(number: int, maps: Sequence[str]) -> int:
    """The host's id for one of a container. Raises LaunchError where it has none."""
    for line in maps:
        inside, outside, size = map(int, line.split(":"))
        if inside <= number < inside + size:
            return outside + number - inside
    if maps:
        reason = f"the user's id {number} is not mapped; map it, or leave U out"
        raise LaunchError(reason, step="own_tree", reason=reason)
    return number
