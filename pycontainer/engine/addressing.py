"""Which address of a network was given last: the next one comes after it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.store import NetworkRecord

__all__ = ["last_given", "note_given"]

_LONGEST_ADDRESS = 46  # INET6_ADDRSTRLEN


def last_given(engine: Engine, network: NetworkRecord, version: int) -> str:
    """The address chosen last, "" at first: others may still take it for the container that had it."""
    try:
        fd = os.open(_last_path(engine, network, version), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.read(fd, _LONGEST_ADDRESS).decode().strip()
        finally:
            os.close(fd)
        socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, found)
    except (OSError, ValueError):
        return ""
    return found


def note_given(engine: Engine, network: NetworkRecord, version: int, address: str) -> None:
    """Write down that it was given."""
    path = _last_path(engine, network, version)
    # Lost or torn it costs nothing: an address that is in use is passed over anyway.
    with suppress(OSError):
        try:
            _overwrite(path, address)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            _overwrite(path, address)


def _last_path(engine: Engine, network: NetworkRecord, version: int) -> str:
    return f"{engine.root}/networks/{network.id}/last{version}"


def _overwrite(path: str, address: str) -> None:
    """Replace a text in its place: what is made empty first, ext4 has written out before close(2) returns."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(fd, address.ljust(_LONGEST_ADDRESS).encode(), 0)
    finally:
        os.close(fd)
