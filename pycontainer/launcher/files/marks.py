"""What overlayfs writes into an upper directory about what lies below it.

Source: kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories", "redirect_dir",
"Metadata only copy up".
"""

from __future__ import annotations

import os
import stat

from pycontainer.errors import Unsupported
from pycontainer.launcher.files.entering import named

__all__ = ["is_opaque", "is_whiteout", "refuse_incomplete"]

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_WHITEOUT = ("trusted.overlay.whiteout", "user.overlay.whiteout")
_INCOMPLETE = {
    "redirect_dir": ("trusted.overlay.redirect", "user.overlay.redirect"),
    "metacopy": ("trusted.overlay.metacopy", "user.overlay.metacopy"),
}


def is_whiteout(fd: int, found: os.stat_result) -> bool:
    """Whether what is pinned says that a name of the layers below is gone."""
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    return stat.S_ISREG(found.st_mode) and not found.st_size and _value(fd, _WHITEOUT) is not None


def is_opaque(fd: int) -> bool:
    """Whether the pinned directory hides what the layers below have in it."""
    return _value(fd, _OPAQUE) == b"y"


def refuse_incomplete(fd: int, path: bytes) -> None:
    """Refuse what is whole only together with another name below. Raises: Unsupported."""
    for feature, names in _INCOMPLETE.items():
        if _value(fd, names) is not None:
            raise Unsupported(
                f"{os.fsdecode(path)}: the kernel's {feature} left a part of it in the layer below",
                f"switch {feature} off in /sys/module/overlay/parameters, then write it again",
            )


def _value(fd: int, names: tuple[str, ...]) -> bytes | None:
    for name in names:
        try:
            return os.getxattr(named(fd), name)
        except OSError:
            continue
    return None
