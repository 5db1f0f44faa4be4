"""The host's links: the notes on them, which say whose they are, and kernel settings of the network."""

from __future__ import annotations

import os

__all__ = ["note_of", "set_to", "setting"]

_LONGEST = 256  # IFALIASZ
_PAGE = 4096


def note_of(link: str) -> str:
    """The alias of a link, "" for none, and for a link that is not there."""
    return _read(f"/sys/class/net/{link}/ifalias", _LONGEST)


def setting(path: str) -> str:
    """A setting by its path below /proc/sys/net, "" for one that the kernel does not have."""
    return _read(f"/proc/sys/net/{path}", _PAGE)


def set_to(path: str, content: str) -> None:
    """Write a setting that is another one, if the kernel has it. Raises OSError."""
    if setting(path) not in ("", content):
        with open(f"/proc/sys/net/{path}", "w") as file:
            file.write(content)


def _read(path: str, size: int) -> str:
    # Without a file object: each start on a bridge asks for a note.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, size).decode(errors="replace").strip()
    except OSError:
        return ""  # it has gone meanwhile
    finally:
        os.close(fd)
