"""Published ports: taken when a container starts, all or none, and who has one that cannot be taken."""

from __future__ import annotations

import base64
import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from pycontainer.engine.state import Observed, observe
from pycontainer.errors import InUse, InvalidOption, KernelError, Unsupported
from pycontainer.kernel import sockdiag
from pycontainer.network import Firewall, Published
from pycontainer.options import PortMapping, RunOptions, split_port

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.engine.naming import Membership
    from pycontainer.oci import ImageConfig

__all__ = [
    "PortBinding",
    "Taken",
    "bindings",
    "described",
    "moved",
    "outer_addresses",
    "published",
    "take",
    "wanted",
]

_BACKLOG = 512
_BUFFER = 1 << 20


@attrs.frozen(kw_only=True)
class PortBinding:
    """Where a port of a container is found on the host."""

    host_address: str
    host_port: int

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        return f"{address}:{self.host_port}"


@attrs.frozen(kw_only=True)
class Taken:
    """Ports of the host that are a container's from now on.

    fds, params: for the launch, whose monitor holds them; fds are the caller's to close. published: for the
    packet filter.
    """

    fds: dict[str, int]
    params: dict[str, Any]
    published: tuple[Published, ...]


def wanted(options: RunOptions, config: ImageConfig) -> list[PortMapping]:
    """What is to be published, those of publish_all too."""
    found = [split_port(line) for line in options.ports or ()]
    if options.publish_all:
        named = {(each.port, each.protocol) for each in found}
        for line in (*config.config.exposed_ports, *(options.expose or ())):
            port, _, protocol = line.partition("/")
            if (int(port), protocol or "tcp") not in named:
                found += [split_port(f"127.0.0.1:0:{port}/{protocol or 'tcp'}")]
                named.add((int(port), protocol or "tcp"))
    return found


def take(
    engine: Engine,
    firewall: Firewall,
    ports: Sequence[PortMapping],
    ipv4: str | None,
    ipv6: str | None,
    cleanup: ExitStack,
) -> Taken:
    """Take these ports of the host for a container with these addresses: all or none.

    cleanup: closes the descriptors. Raises InUse naming who has one, InvalidOption, Unsupported, KernelError.
    """
    fds: dict[str, int] = {}
    published: list[Published] = []
    for number, mapping in enumerate(ports):
        address = _target(mapping, ipv4, ipv6)
        if mapping.protocol == "sctp" and (":" in address) != (":" in mapping.host_address):
            raise Unsupported(
                f"option ports={mapping}: SCTP is not passed on from IPv6 to IPv4, nor back",
                "publish it at an address of the kind that the container has",
            )
        with _explained(engine, mapping):
            sock = _bound(mapping)
        cleanup.callback(sock.close)
        fds[f"port {number}"] = sock.fileno()
        published.append(
            Published(
                protocol=cast(Literal["tcp", "udp", "sctp"], mapping.protocol),
                host_address=mapping.host_address,
                host_port=sock.getsockname()[1],
                address=address,
                port=mapping.port,
            )
        )
    return Taken(fds=fds, params=described(firewall, published), published=tuple(published))


def described(firewall: Firewall, ports: Sequence[Published]) -> dict[str, Any]:
    """What a monitor is told of its container's ports."""
    return {
        "bound": [attrs.asdict(each) for each in ports],
        "withdrawal": [base64.b64encode(each).decode() for each in firewall.withdrawal(ports)],
    }


def outer_addresses(placed: Sequence[Membership]) -> tuple[str | None, str | None]:
    """The addresses that a container's ports are published of: those of its first networks that lead out."""
    outer = [each for each in placed if each.gateways and not each.is_internal]
    ipv4 = next((each.ipv4 for each in outer if each.ipv4), None)
    return ipv4, next((each.ipv6 for each in outer if each.ipv6), None)


def moved(ports: Sequence[Published], placed: Sequence[Membership]) -> list[Published]:
    """The same ports when the container has other places: what led to one that it has still leads there."""
    own = {address for each in placed for address in each.addresses}
    ipv4, ipv6 = outer_addresses(placed)
    found = []
    for port in ports:
        chosen = (ipv6 or ipv4) if ":" in port.host_address else (ipv4 or ipv6)
        if port.protocol == "sctp" and chosen and (":" in chosen) != (":" in port.host_address):
            chosen = None
        found.append(port if port.address in own else attrs.evolve(port, address=chosen or ""))
    return found


def _target(mapping: PortMapping, ipv4: str | None, ipv6: str | None) -> str:
    """The container's address for a port, of the kind of the host's if it has one."""
    chosen = (ipv6 or ipv4) if ":" in mapping.host_address else (ipv4 or ipv6)
    if chosen is None:
        raise InvalidOption(f"option ports={mapping}: the container has no address to publish a port of")
    return chosen


def _bound(mapping: PortMapping) -> socket.socket:
    family = socket.AF_INET6 if ":" in mapping.host_address else socket.AF_INET
    if mapping.protocol == "sctp":
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 132)
    else:
        kind = socket.SOCK_STREAM if mapping.protocol == "tcp" else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if mapping.protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((mapping.host_address, mapping.host_port))
        if mapping.protocol == "tcp":  # of SCTP it only holds the port: nobody serves it but by the rules
            sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _explained(engine: Engine, mapping: PortMapping) -> Iterator[None]:
    """Say why a port cannot be taken, and what to do."""
    named = f"port {mapping.host_port}/{mapping.protocol} of {mapping.host_address}"
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = _holder(engine, mapping)
            raise InUse(f"{named} is in use by {holder}; choose another, or none for a free one") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidOption(
                f"option ports={mapping}: {mapping.host_address} is no address of this host"
            ) from None
        if error.errno == errno.EACCES:
            remedy = "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
            raise KernelError(error.errno, "bind", named, remedy) from None
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT):
            remedy = "modprobe sctp, or a kernel with CONFIG_IP_SCTP" if "sctp" in named else "enable IPv6"
            raise Unsupported(f"{named}: the kernel has no such protocol", remedy) from None
        raise KernelError(error.errno or 0, "bind", named) from None


def _holder(engine: Engine, mapping: PortMapping) -> str:
    """Who has a port: one of our containers, else a process of the host."""
    for record in engine.store.state.containers.list():
        for bound in observe(engine.store.container_dir(record.id)).ports:
            if (bound["protocol"], bound["host_port"]) == (mapping.protocol, mapping.host_port):
                return f"container {record.name}"
    for pid in sockdiag.holders(mapping.protocol, mapping.host_port):
        with suppress(OSError):
            return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    return "a process that cannot be seen from here"


def bindings(observed: Observed) -> dict[int | str, PortBinding]:
    """The published ports of a container that runs, by port; see Container.ports."""
    found: dict[int | str, PortBinding] = {}
    for bound in observed.ports:
        where = PortBinding(host_address=bound["host_address"], host_port=bound["host_port"])
        port, protocol = bound["port"], bound["protocol"]
        found.setdefault(port if protocol == "tcp" else f"{port}/{protocol}", where)
    return found


def published(observed: Observed) -> list[Published]:
    """The published ports of a container that runs, as the packet filter takes them."""
    return [Published(**bound) for bound in observed.ports]
