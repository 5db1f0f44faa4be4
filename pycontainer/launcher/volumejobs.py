"""Filling a new volume with what an image has at its place; run in a job of its own.

The image is hostile: its layers are laid over each other in a mount that nobody else sees, its links end
inside, and what is copied is never followed.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps import copyup

__all__ = ["fill_volume"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Nothing, or no directory, or a link that leads nowhere or into the kernel's own.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)
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
