"""Device access programs of cgroup version 2: load one, and attach it to a cgroup.

Source: bpf(2); include/uapi/linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

import ctypes
import os
import struct

from pycontainer.kernel import syscalls

__all__ = ["attach_device_program", "attach_to", "load_device_program"]

_SYS_BPF = 321 if syscalls.IS_X86_64 else 280
_PROG_LOAD = 5
_PROG_ATTACH = 8
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_REPLACE = 4
_LICENSE = b"Apache-2.0\0"  # the program calls no helper that asks for another


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscalls.raw(_SYS_BPF, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))


def load_device_program(program: bytes) -> int:
    """Load instructions of BPF_PROG_TYPE_CGROUP_DEVICE; returns a descriptor (close-on-exec).

    Raises: OSError, EPERM without CAP_BPF (or CAP_SYS_ADMIN), EINVAL when the verifier refuses.
    """
    code = ctypes.create_string_buffer(program, len(program))
    license_ = ctypes.create_string_buffer(_LICENSE, len(_LICENSE))
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_),
        0,
        0,
        0,
        0,
        0,
        b"pycontainer",
    )
    return _bpf(_PROG_LOAD, attributes)


def attach_device_program(cgroup_fd: int, program_fd: int, *, replaces: int = -1) -> None:
    """Let a program decide the cgroup's device accesses, beside those of the cgroups above it.

    The cgroup holds the program from then on: the descriptor may be closed. With `replaces`, a descriptor
    of a program attached before, the exchange is atomic. Needs CAP_NET_ADMIN or CAP_SYS_ADMIN.
    """
    flags = _ALLOW_MULTI | (_REPLACE if replaces >= 0 else 0)
    attributes = struct.pack("=IIIII", cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, flags, max(replaces, 0))
    _bpf(_PROG_ATTACH, attributes)


def attach_to(directory: str, program: bytes) -> None:
    """Load a device program and attach it to the cgroup at directory."""
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        loaded = load_device_program(program)
        try:
            attach_device_program(cgroup, loaded)
        finally:
            os.close(loaded)
    finally:
        os.close(cgroup)
