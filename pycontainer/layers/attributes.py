"""Owner, mode, times and extended attributes of what was just unpacked."""

from __future__ import annotations

import errno
import os

from pycontainer.errors import InvalidImage
from pycontainer.layers.entry import Entry

__all__ = ["clamp_time", "is_kept", "set_xattr", "set_xattrs"]

_FIRST_SECOND = -(1 << 31)  # ext4 keeps 1901..2446, xfs and btrfs more
_LAST_SECOND = (1 << 34) - 1
_SECOND = 1_000_000_000
_MAX_VALUE = 65536  # XATTR_SIZE_MAX of linux/limits.h
_FILE_CAPABILITIES = b"security.capability"


def clamp_time(mtime_ns: int) -> int:
    """The nearest time that every file system of Linux can keep."""
    return max(_FIRST_SECOND * _SECOND, min(mtime_ns, _LAST_SECOND * _SECOND))


def is_kept(name: bytes) -> bool:
    """Whether an extended attribute belongs in a layer: neither overlayfs's nor a security module's label."""
    if name.startswith((b"trusted.overlay.", b"user.overlay.")):
        return False
    return not name.startswith(b"security.") or name == _FILE_CAPABILITIES


def set_xattrs(target: int | bytes, entry: Entry) -> None:
    """Set the entry's extended attributes on a descriptor or, not following a link, on a path.

    Left out are overlayfs's own (they would steer the mount above), labels of the host's security
    modules (security.* but file capabilities), and what the file system or the user namespace refuses.
    Raises: InvalidImage for a value beyond the kernel's 64 KiB; OSError.
    """
    for name, value in entry.xattrs.items():
        if not is_kept(name):
            continue
        if len(value) > _MAX_VALUE:
            raise InvalidImage(
                f"the extended attribute {name!r} has {len(value)} bytes; the kernel allows {_MAX_VALUE}"
            )
        set_xattr(target, name, value)


def set_xattr(target: int | bytes, name: bytes, value: bytes) -> bool:
    """Set one attribute; False if the file system or this user cannot have it."""
    try:
        if isinstance(target, int):
            os.setxattr(target, name, value)
        else:
            os.setxattr(target, name, value, follow_symlinks=False)
    except OSError as error:
        # ENOTSUP: no such namespace here; EPERM: trusted.* in a user namespace, user.* on a link;
        # EINVAL: capabilities or an access list with ids that this namespace has not.
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise
        return False
    return True
