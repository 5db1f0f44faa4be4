"""Published ports: taken when a container starts, all or none, and who has one that cannot be taken."""

from __future__ import annotations

import base64
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from pycontainer.engine.driveroptions import binding_of, mode_of, trusted_of
from pycontainer.engine.state import Observed, observe
from pycontainer.errors import InUse, InvalidOption, KernelError, Unsupported
from pycontainer.kernel import sockdiag
from pycontainer.network import Firewall, Published
from pycontainer.options import LOOPBACK, PortMapping, RunOptions, split_port

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import ImageConfig
    from pycontainer.store import EndpointRecord, NetworkRecord

__all__ = [
    "Outlet",
    "PortBinding",
    "Taken",
    "bindings",
    "described",
    "moved",
    "outlet_of",
    "published",
    "take",
    "wanted",
]

_BACKLOG = 512
_BUFFER = 1 << 20


@attrs.frozen(kw_only=True)
class PortBinding:
    """Where a port of a container is found: on the host, or where its network is routed at its address."""

    host_address: str
    host_port: int

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        return f"{address}:{self.host_port}"


@attrs.frozen(kw_only=True)
class Outlet:
    """How a container's ports are published: of its first networks that lead out, by version of IP.

    addresses: the container's. routed: versions by which ports are not the host's, but reached at the
    container's own address; direct: by which they are reached there too. binding: the host's address of a
    port for which none was given.
    """

    addresses: Mapping[int, str]
    routed: frozenset[int] = frozenset()
    direct: frozenset[int] = frozenset()
    binding: str = LOOPBACK

    def address(self, version: int) -> str:
        """The container's address for a port that is the host's, of the same kind if it has one; or ""."""
        return self.addresses.get(version) or next(iter(self.addresses.values()), "")


def outlet_of(places: Sequence[tuple[EndpointRecord, NetworkRecord]]) -> Outlet:
    """How the ports of a container with these places are published, the one of its default route first."""
    outer = [each for each in places if each[1].bridge is not None and not each[1].options.get("internal")]
    found: dict[int, tuple[str, NetworkRecord]] = {}
    for endpoint, network in outer:
        for version, address in ((4, endpoint.ipv4), (6, endpoint.ipv6)):
            if address:
                found.setdefault(version, (address, network))
    binding = next((binding_of(network) for _, network in outer if binding_of(network)), LOOPBACK)
    routed = {version for version, (_, network) in found.items() if mode_of(network, version) == "routed"}
    direct = routed | {version for version, (_, network) in found.items() if trusted_of(network)}
    return Outlet(
        addresses={version: address for version, (address, _) in found.items()},
        routed=frozenset(routed),
        direct=frozenset(direct),
        binding=binding,
    )


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
                found += [split_port(f"0:{port}/{protocol or 'tcp'}")]
                named.add((int(port), protocol or "tcp"))
    return found


def take(
    engine: Engine, firewall: Firewall, ports: Sequence[PortMapping], outlet: Outlet, cleanup: ExitStack
) -> Taken:
    """Take these ports of the host for a container: all or none.

    cleanup: closes the descriptors. Raises InUse naming who has one, InvalidOption, Unsupported, KernelError.
    """
    fds: dict[str, int] = {}
    published: list[Published] = []
    for mapping in ports:
        place = mapping._replace(host_address=mapping.host_address or outlet.binding)
        address = outlet.address(_version(place.host_address))
        if not address:
            raise InvalidOption(f"option ports={place}: the container has no address to publish a port of")
        # One without an address is meant for both kinds, as far as it takes no port of the host.
        kinds = outlet.routed if not mapping.host_address else outlet.routed & {_version(address)}
        opened = [_routed(mapping, version, outlet) for version in sorted(kinds)]
        published += [each for each in opened if each not in published]
        if _version(address) in outlet.routed:
            continue
        if place.protocol == "sctp" and _version(address) != _version(place.host_address):
            raise Unsupported(
                f"option ports={place}: SCTP is not passed on from IPv6 to IPv4, nor back",
                "publish it at an address of the kind that the container has",
            )
        sock = _first_free(engine, place)
        cleanup.callback(sock.close)
        fds[f"port {len(published)}"] = sock.fileno()
        published.append(
            Published(
                protocol=_protocol(mapping),
                host_address=place.host_address,
                host_port=sock.getsockname()[1],
                address=address,
                port=place.port,
                is_direct=_version(address) in outlet.direct,
            )
        )
    return Taken(fds=fds, params=described(firewall, published), published=tuple(published))


def _routed(mapping: PortMapping, version: int, outlet: Outlet) -> Published:
    """A port that is reached at the container's own address, and takes none of the host."""
    return Published(
        protocol=_protocol(mapping),
        host_address="::" if version == 6 else "0.0.0.0",
        host_port=0,
        address=outlet.addresses[version],
        port=mapping.port,
        is_direct=True,
    )


def _protocol(mapping: PortMapping) -> Literal["tcp", "udp", "sctp"]:
    return cast(Literal["tcp", "udp", "sctp"], mapping.protocol)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def described(firewall: Firewall, ports: Sequence[Published]) -> dict[str, Any]:
    """What a monitor is told of its container's ports."""
    return {
        "bound": [attrs.asdict(each) for each in ports],
        "withdrawal": [base64.b64encode(each).decode() for each in firewall.withdrawal(ports)],
    }


def moved(
    ports: Sequence[Published], places: Sequence[tuple[EndpointRecord, NetworkRecord]]
) -> list[Published]:
    """The same ports when the container has other places: what led to one that it has still leads there."""
    own = {address for endpoint, _ in places for address in (endpoint.ipv4, endpoint.ipv6)}
    outlet = outlet_of(places)
    return [port if port.address in own else _moved(port, outlet) for port in ports]


def _moved(port: Published, outlet: Outlet) -> Published:
    version = _version(port.host_address)
    address = outlet.address(version)
    if port.host_port == 0:
        address = outlet.addresses[version] if version in outlet.routed else ""
    elif port.protocol == "sctp" and _version(address) != version:
        address = ""
    return attrs.evolve(port, address=address, is_direct=bool(address) and _version(address) in outlet.direct)


def _first_free(engine: Engine, mapping: PortMapping) -> socket.socket:
    """The port of the host, or the first of the range that is free. Raises as take."""
    last = mapping.last_host_port or mapping.host_port
    for host_port in range(mapping.host_port, last + 1):
        one = mapping._replace(host_port=host_port)
        with _explained(engine, one):
            try:
                return _bound(one)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or host_port == last:
                    raise
    raise AssertionError("unreachable")


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
            others = ", as are those before it of the range" if mapping.last_host_port else ""
            raise InUse(
                f"{named} is in use by {holder}{others}; choose another, or none for a free one"
            ) from None
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
        port, protocol = bound["port"], bound["protocol"]
        where = PortBinding(host_address=bound["host_address"], host_port=bound["host_port"])
        if bound["host_port"] == 0:  # of a network that is routed
            where = PortBinding(host_address=bound["address"], host_port=port)
        found.setdefault(port if protocol == "tcp" else f"{port}/{protocol}", where)
    return found


def published(observed: Observed) -> list[Published]:
    """The published ports of a container that runs, as the packet filter takes them."""
    return [Published(**bound) for bound in observed.ports]
