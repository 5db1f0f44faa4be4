"""A copy of the interpreter that no container can write to.

A program in a container that gets hold of /proc/PID/exe of the process that set it up could write to the
host's file behind it, once that process has ended (CVE-2019-5736): so what sets containers up runs from
sealed memory.
"""

from __future__ import annotations

import fcntl
import os
import struct

from pycontainer import errors

__all__ = ["sealed_copy"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_LOAD, _DYNAMIC = 1, 2  # PT_LOAD, PT_DYNAMIC
_STRINGS, _STRINGS_SIZE = 5, 10  # DT_STRTAB, DT_STRSZ


def sealed_copy(executable: str) -> tuple[int, dict[str, str]]:
    """A read-only copy of the interpreter in memory, and the environment it needs to find its library.

    Raises Unsupported when the file is no ELF program.
    """
    source = os.open(executable, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.pread(source, 4, 0) != b"\x7fELF":
            raise errors.Unsupported(f"{executable} is not an interpreter binary", "use Engine(python=...)")
        # $ORIGIN means nothing in a memfd, so a library found through it has to be named (ld.so(8)).
        library = os.path.join(os.path.dirname(os.path.dirname(executable)), "lib")
        environment = {"LD_LIBRARY_PATH": library} if b"$ORIGIN" in _linker_strings(source) else {}
        return _copied(source), environment
    except struct.error:
        raise errors.Unsupported(
            f"{executable} is a damaged ELF file: its headers are cut off", "use Engine(python=...)"
        ) from None
    finally:
        os.close(source)


def _copied(source: int) -> int:
    fd = os.memfd_create("pycontainer-helper", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    try:
        # In the kernel: to read so much into this process's own memory first would take as long again.
        offset = 0
        while sent := os.sendfile(copy, source, offset, 1 << 30):
            offset += sent
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy


def _linker_strings(program: int) -> bytes:
    """The strings that the dynamic linker reads, its search path among them; b"" of a static program.

    The whole file is not looked through: that takes as long as to copy it.
    Source: elf(5), "Program header (Phdr)" and "Dynamic tags (Dyn)".
    """
    is_wide = os.pread(program, 1, 4) == b"\2"
    table, header, entry = ("=32xQ14xHH", "=I4xQQ8xQ", "=qQ") if is_wide else ("=28xI10xHH", "=III4xI", "=iI")
    offset, size, count = struct.unpack(table, os.pread(program, struct.calcsize(table), 0))
    headers = os.pread(program, size * count, offset)
    loaded, tags = [], {}
    for at in range(0, len(headers), size):
        kind, start, address, length = struct.unpack_from(header, headers, at)
        if kind == _LOAD:
            loaded.append((start, address, length))
        elif kind == _DYNAMIC:
            tags = dict(struct.iter_unpack(entry, os.pread(program, length, start)))
    wanted = tags.get(_STRINGS, 0)
    for start, address, length in loaded:
        if address <= wanted < address + length:
            return os.pread(program, tags[_STRINGS_SIZE], start + wanted - address)
    return b""
