"""Names and links that belong to the container's UTS and network namespaces."""

from __future__ import annotations

import fcntl
import socket
import struct

from pycontainer.kernel import namespaces, syscalls
from pycontainer.launcher.steps.context import Context

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def join(context: Context, joined: tuple[tuple[str, int], ...]) -> None:
    """Enter existing namespaces, (descriptor's name, kind) each."""
    for name, kind in joined:
        namespaces.enter(context.fds[name], kind)


def enter_cgroup_namespace(context: Context) -> None:
    """Make the cgroup this process is in by now the root of what it sees."""
    context.enter_cgroups()
    namespaces.leave(namespaces.NEWCGROUP)


def enter_cgroups(context: Context) -> None:
    """Move into the container's cgroups, unless that is done."""
    context.enter_cgroups()


def set_names(context: Context, hostname: bytes, domainname: bytes) -> None:
    """Set the host and domain name; empty ones stay as they are."""
    if hostname:
        syscalls.sethostname(hostname)
    if domainname:
        syscalls.setdomainname(domainname)


def raise_loopback(context: Context) -> None:
    """Bring up lo of a new network namespace, unless it is; its addresses are the kernel's."""
    bring_up_loopback()


def bring_up_loopback() -> None:
    """Bring up lo of this network namespace, unless it is (netdevice(7), SIOCSIFFLAGS)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))
