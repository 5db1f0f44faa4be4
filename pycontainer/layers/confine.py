"""What a process that parses a stranger's bytes may still do: write below one directory, and nothing else.

Descriptors that are already open keep working, so the blob, the pipes and the channel to the caller need
no rule; everything that will be imported must be imported before.
Source: landlock(7), kernel Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from pycontainer.kernel import syscalls

__all__ = ["confine", "confine_to"]

# Rights by the ABI version that brought them: files and directories (1), rename and link between
# directories (2), truncate (3), ioctl on devices (5).
_FS_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_NET_RIGHTS = (4, 0b11)  # bind and connect of TCP
_SCOPES = (6, 0b11)  # abstract unix sockets and signals, for the one that has no child to end
_EXECUTE = 1
_READ = 0b1100  # files and directories
_READ_FILE = 0b100
_ATTR_SIZES = ((6, 24), (4, 16), (1, 8))
_FIRST_USEFUL_ABI = 2  # version 1 forbids every hard link between directories


def confine(directory: int | None, *, is_writable: bool = True) -> bool:
    """Give up new privileges, and all of the file system but the tree beneath `directory`, for good.

    Returns whether the kernel has Landlock, of version 2 or later; without it only the first is done, and
    the directory descriptor alone keeps writes inside.
    """
    if directory is None:
        return _restrict((), (), has_scopes=True)
    return _restrict((directory,), (), has_scopes=False) if is_writable else confine_to((), (directory,))


def confine_to(writable: Sequence[int], readable: Sequence[int]) -> bool:
    """The same with several directories, and files to be read, given by descriptors."""
    return _restrict(writable, readable, has_scopes=False)


def _restrict(writable: Sequence[int], readable: Sequence[int], *, has_scopes: bool) -> bool:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    abi = syscalls.landlock_abi()
    if abi < _FIRST_USEFUL_ABI:
        return False
    rights = sum(bits for since, bits in _FS_RIGHTS if abi >= since)
    ruleset = syscalls.landlock_create_ruleset(
        rights,
        _NET_RIGHTS[1] if abi >= _NET_RIGHTS[0] else 0,
        _SCOPES[1] if abi >= _SCOPES[0] and has_scopes else 0,
        next(size for since, size in _ATTR_SIZES if abi >= since),
    )
    try:
        for directory in writable:
            syscalls.landlock_allow_beneath(ruleset, directory, rights & ~_EXECUTE)
        for tree in readable:
            is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            syscalls.landlock_allow_beneath(ruleset, tree, _READ if is_directory else _READ_FILE)
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return True
