"""What a process that parses a stranger's bytes may still do: write below one directory, and nothing else.

Descriptors that are already open keep working, so the blob, the pipes and the channel to the caller need
no rule; everything that will be imported must be imported before.
Source: landlock(7), kernel Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import os

from pycontainer.kernel import syscalls

__all__ = ["confine"]

# Rights by the ABI version that brought them: files and directories (1), rename and link between
# directories (2), truncate (3), ioctl on devices (5).
_FS_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_NET_RIGHTS = (4, 0b11)  # bind and connect of TCP
_SCOPES = (6, 0b11)  # abstract unix sockets and signals, for the one that has no child to end
_EXECUTE = 1
_READ = 0b1100  # files and directories
_ATTR_SIZES = ((6, 24), (4, 16), (1, 8))
_FIRST_USEFUL_ABI = 2  # version 1 forbids every hard link between directories


def confine(directory: int | None, *, is_writable: bool = True) -> bool:
    """Give up new privileges, and all of the file system but the tree beneath `directory`, for good.

    Returns whether the kernel has Landlock, of version 2 or later; without it only the first is done, and
    the directory descriptor alone keeps writes inside.
    """
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    abi = syscalls.landlock_abi()
    if abi < _FIRST_USEFUL_ABI:
        return False
    rights = sum(bits for since, bits in _FS_RIGHTS if abi >= since)
    ruleset = syscalls.landlock_create_ruleset(
        rights,
        _NET_RIGHTS[1] if abi >= _NET_RIGHTS[0] else 0,
        _SCOPES[1] if abi >= _SCOPES[0] and directory is None else 0,
        next(size for since, size in _ATTR_SIZES if abi >= since),
    )
    try:
        if directory is not None:
            syscalls.landlock_allow_beneath(ruleset, directory, rights & ~_EXECUTE if is_writable else _READ)
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return True
