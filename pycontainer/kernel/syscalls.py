"""Every system call that Python's os module does not offer: one typed function each, errno checked.

Numbers are those of x86-64 and the generic table (arm64, riscv64); calls above 423 share one number
on every architecture. Struct layouts are tested against the kernel's headers.
Source: the man pages of section 2; include/uapi/linux of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

IS_X86_64 = platform.machine() == "x86_64"

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100

# openat2(2)
SYS_OPENAT2 = 437
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def raw(number: int, *args: object) -> int:
    """Call by number; return the result or raise OSError. EINTR is retried."""
    while True:
        result = int(_syscall(ctypes.c_long(number), *args))
        if result != -1:
            return result
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open path beneath dir_fd under the given RESOLVE_* rules; the descriptor is close-on-exec.

    EAGAIN (a rename raced with a ".." step) is retried a bounded number of times.
    Source: openat2(2).
    """
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(128):
        try:
            return raw(SYS_OPENAT2, ctypes.c_int(dir_fd), ctypes.c_char_p(path), ctypes.byref(how), ctypes.c_size_t(24))
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == 127:
                raise
    raise AssertionError("unreachable")


# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Operate on the calling thread or process. Source: prctl(2)."""
    result = int(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(arg) for arg in (arg2, arg3, arg4, arg5))))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
