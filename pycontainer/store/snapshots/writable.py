"""The writable layer of a container: where overlayfs puts what its processes change."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["make_writable_layer"]


def make_writable_layer(directory: Path, image_root: Path | None) -> None:
    """Make the container's directory with `upper` and `work` in it.

    image_root: the topmost layer's directory; the container's "/" gets its mode and owner, since that
    is what overlayfs shows of the writable layer's own directory.
    """
    place = os.fspath(directory)
    upper = f"{place}/upper"
    os.mkdir(place, 0o700)
    os.mkdir(f"{place}/work", 0o700)
    os.mkdir(upper)
    mode = 0o755
    if image_root is not None:
        found = os.stat(image_root)
        mode = found.st_mode & 0o7777
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(upper, found.st_uid, found.st_gid)
    os.chmod(upper, mode)
