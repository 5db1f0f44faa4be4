"""A copy of the interpreter that no container can write to.

A program in a container that gets hold of /proc/PID/exe of the process that set it up could write to the
host's file behind it, once that process has ended (CVE-2019-5736): so what sets containers up runs from
sealed memory.
"""

from __future__ import annotations

import fcntl
import os

from pycontainer import errors

__all__ = ["sealed_copy"]


def sealed_copy(executable: str) -> tuple[int, dict[str, str]]:
    """A read-only copy of the interpreter in memory, and the environment it needs to find its library.

    Raises Unsupported when the file is no ELF program.
    """
    with open(executable, "rb") as file:
        content = file.read()
    if not content.startswith(b"\x7fELF"):
        raise errors.Unsupported(f"{executable} is not an interpreter binary", "use Engine(python=...)")
    fd = os.memfd_create("pycontainer-helper", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    duplicate = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    with open(duplicate, "wb", closefd=False) as copy:
        copy.write(content)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(duplicate, fcntl.F_ADD_SEALS, seals)
    # $ORIGIN means nothing in a memfd, so a library found through it has to be named (ld.so(8)).
    library = os.path.join(os.path.dirname(os.path.dirname(executable)), "lib")
    return duplicate, {"LD_LIBRARY_PATH": library} if b"$ORIGIN" in content else {}
