"""Names of containers: the small files that tell a container of them, and what its name server is told.

Theory of operation. A container on a network of its own making has a name server at 127.0.0.11, served by
its monitor (launcher.dns); its resolv.conf names that one, and what the server knows of other containers
comes from files that their monitors write. On the default network there are no names, as with Docker: such
a container has the host's servers, as far as it can reach them. Whatever network, /etc/hosts has the
container's own addresses and those that were asked for.

Both files are written again when the container is connected to another network while it runs, unless
somebody in it has changed them: what is there must be what was written, to the byte.

Source: moby, daemon/libnetwork/sandbox_dns_unix.go; internal/resolvconf; hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontainer.errors import InvalidOption, NotFound, PycontainerError, WrongState
from pycontainer.kernel import pidfd
from pycontainer.launcher import ask, dns
from pycontainer.options import HOST_GATEWAY, split_link

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = [
    "SERVER_SOCKETS",
    "Membership",
    "change",
    "described",
    "forget_network",
    "linked",
    "names_directory",
    "names_of",
    "network_files",
    "open_server",
]

SERVER_SOCKETS = ("dns datagrams", "dns listener")
"""What a launch calls the sockets of a name server."""

_SERVER_S = 30.0
_MOST_HOSTS = 256 << 10
_BEHIND_STUB = "/run/systemd/resolve/resolv.conf"
_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


class Membership(NamedTuple):
    """A container's place on one network, as far as names go.

    gateways: the host's addresses on it, where the host has any there. is_default: the network without names.
    links: "container:alias" each, that were asked for when it was connected.
    """

    network_id: str
    network: str
    subnets: Sequence[str] = ()
    gateways: Sequence[str] = ()
    is_internal: bool = False
    is_default: bool = False
    ipv4: str | None = None
    ipv6: str | None = None
    aliases: Sequence[str] = ()
    links: Sequence[str] = ()

    @property
    def addresses(self) -> list[str]:
        """The container's own addresses there."""
        return [address for address in (self.ipv4, self.ipv6) if address]


def names_directory(root: Path, network_id: str) -> Path:
    """Where the files are that name the containers of a network."""
    return root / "networks" / network_id / "names"


def forget_network(root: Path, network_id: str) -> None:
    """Delete what was kept of the names on a network that is removed; idempotent."""
    import shutil  # with compressors: only where a network goes

    shutil.rmtree(root / "networks" / network_id, ignore_errors=True)


# -- the files -----------------------------------------------------------------------------------


def network_files(
    hostname: str,
    options: RunOptions,
    memberships: Sequence[Membership] = (),
    links: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Contents of hostname, hosts and resolv.conf, by path, as far as they are wanted. Raises InvalidOption.

    memberships: the container's networks, the one of its default route first; none for the host's network
    and for no network at all. links: addresses by names, for a container on the default network.
    """
    found = {} if options.no_hostname else {"/etc/hostname": f"{hostname}\n"}
    if not options.no_hosts:
        found["/etc/hosts"] = _hosts(hostname, options, memberships, links or {})
    return {**found, "/etc/resolv.conf": _resolver(options, memberships)}


def linked(
    engine: Engine, options: RunOptions, memberships: Sequence[Membership], *, is_running: bool = False
) -> dict[str, Sequence[str]]:
    """Addresses of the containers that one on the default network is linked to, by the names it calls them.

    On other networks its name server knows them. is_running: those that are no more there are left out.
    Raises NotFound, InvalidOption.
    """
    default = next((membership for membership in memberships if membership.is_default), None)
    links = [*(options.links or ()), *(default.links if default is not None else ())]
    if default is None or not links:
        return {}
    endpoints = engine.store.state.endpoints.of_network(default.network_id)
    places = {endpoint.container_id: endpoint for endpoint in endpoints}
    found: dict[str, Sequence[str]] = {}
    for link in links:
        name, alias = split_link(link)
        try:
            other = engine.store.state.containers.find(name)
            endpoint = places.get(other.id)
            if endpoint is None:
                raise InvalidOption(
                    f"option links={link!r}: container {name} is not on network {default.network}; connect it"
                )
        except (NotFound, InvalidOption):
            if not is_running:
                raise
            continue
        # As Docker: its host name and its own name as well.
        names = dict.fromkeys((alias, str(other.options.get("hostname") or other.id[:12]), other.name))
        found[" ".join(names)] = [address for address in (endpoint.ipv4, endpoint.ipv6) if address]
    return found


def _hosts(
    hostname: str,
    options: RunOptions,
    memberships: Sequence[Membership],
    links: Mapping[str, Sequence[str]],
) -> str:
    if options.hosts_file and options.hosts_file != "none":
        lines = [_hosts_of(options.hosts_file)]
    elif options.network == "host" and options.hosts_file is None:
        lines = [_read("/etc/hosts")]
    else:
        lines = [_LOCAL]
    if lines[0] and not lines[0].endswith("\n"):
        lines.append("\n")
    for entry in options.extra_hosts or ():
        name, _, address = entry.partition(":")
        found = _host_addresses(options, memberships, entry) if address == HOST_GATEWAY else [address]
        lines += [f"{one}\t{name}\n" for one in found]
    for name, addresses in links.items():
        lines += [f"{address}\t{name}\n" for address in addresses]
    own = f"{hostname}.{options.domainname} {hostname}" if options.domainname else hostname
    if options.network != "host":
        placed = [address for membership in memberships for address in membership.addresses]
        lines += [f"{address}\t{own}\n" for address in placed or ["127.0.1.1"]]
    return "".join(lines)


def _hosts_of(path: str) -> str:
    """A file of the host that was named. Raises InvalidOption."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidOption(f"option hosts_file={path!r}: it is no regular file")
            content = file.read(_MOST_HOSTS + 1)
    except OSError as problem:
        raise InvalidOption(
            f"option hosts_file={path!r}: {problem.strerror}; name another, or none"
        ) from None
    if len(content) > _MOST_HOSTS:
        raise InvalidOption(f"option hosts_file={path!r}: it has more than {_MOST_HOSTS} bytes")
    return content.decode("utf-8", "surrogateescape")


def _host_addresses(options: RunOptions, memberships: Sequence[Membership], entry: str) -> Sequence[str]:
    """Under which addresses a container reaches the host, by "host-gateway". Raises InvalidOption."""
    if options.network == "host":
        return ["127.0.0.1"]
    ways = [membership.gateways for membership in memberships if membership.gateways]
    if not ways:
        raise InvalidOption(
            f"option extra_hosts={entry!r}: the container has no network on which the host has an address; "
            "give an address, or a network that is a bridge"
        )
    return ways[0]


def _resolver(options: RunOptions, memberships: Sequence[Membership]) -> str:
    if not memberships and options.network == "host" and not _is_resolver_given(options):
        return _read(dns.HOST_FILE)
    if not memberships and options.network != "host":
        base = dns.Configuration()  # nobody can be asked
    else:
        base = dns.parse(_read(dns.HOST_FILE))
    search = base.search if options.dns_search is None else tuple(options.dns_search)
    if "." in search:
        search = ()
    flags = base.options if options.dns_option is None else tuple(options.dns_option)
    if _has_names(memberships):
        if not any(flag.startswith("ndots:") for flag in flags):
            flags = (*flags, "ndots:0")
        servers: Sequence[str] = (dns.ADDRESS,)
    elif options.dns:
        servers = options.dns
    elif memberships:
        servers = _within_reach(base.servers, memberships)
    else:
        servers = base.servers
    return dns.text(dns.Configuration(tuple(servers), search, flags))


def _is_resolver_given(options: RunOptions) -> bool:
    return not (options.dns is None and options.dns_search is None and options.dns_option is None)


def _has_names(memberships: Sequence[Membership]) -> bool:
    return any(not membership.is_default for membership in memberships)


def _within_reach(servers: Sequence[str], memberships: Sequence[Membership]) -> Sequence[str]:
    """The host's servers that a container can ask itself: none of the host's loopback, none by link."""
    if all(_is_loopback(server) for server in servers):
        servers = dns.parse(_read(_BEHIND_STUB)).servers  # those that the host's own server asks
    has_ipv6 = any(membership.ipv6 for membership in memberships)
    usable = [server for server in servers if not _is_loopback(server) and "%" not in server]
    return dns.reachable(server for server in usable if has_ipv6 or ":" not in server)


def _is_loopback(server: str) -> bool:
    import ipaddress  # 3 ms that a container without networks does not need

    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


# -- the server ------------------------------------------------------------------------------------


def open_server(engine: Engine, namespace: int) -> dict[str, int]:
    """The sockets of a name server in a network namespace, by the names that a launch knows them by.

    namespace: its descriptor; its loopback link is up. They are the caller's to close.
    Raises Unsupported, KernelError, DeadlineExceeded.
    """
    with engine.helper.submit("open_names", {}, [namespace]) as job:
        if job.receive(_SERVER_S) is None:
            raise NotFound("the job that opens the name server's sockets was killed")
        datagrams, listener = job.take_fds()
    return dict(zip(SERVER_SOCKETS, (datagrams, listener), strict=True))


def described(
    engine: Engine,
    record: ContainerRecord,
    options: RunOptions,
    memberships: Sequence[Membership],
) -> dict[str, Any] | None:
    """What a container's name server is to know, as JSON; None for a container without names."""
    named = [membership for membership in memberships if not membership.is_default]
    if not named:
        return None
    addresses = [address for membership in memberships for address in membership.addresses]
    return {
        "id": record.id,
        "containers": str(engine.store.container_dir(record.id).parent),
        "networks": [_network(engine, record, options, membership) for membership in named],
        "servers": None if options.dns is None else list(options.dns),
        "links": {alias: name for name, alias in map(split_link, _links(options, named))},
        **_limits(engine, options, addresses),
    }


def _links(options: RunOptions, memberships: Sequence[Membership]) -> list[str]:
    return [*(options.links or ()), *(link for membership in memberships for link in membership.links)]


def names_of(record: ContainerRecord, options: RunOptions, aliases: Sequence[str]) -> list[str]:
    """What a container is found by on a network, as Docker has it: its addresses are called by the first."""
    names = (record.name, *aliases, record.id[:12], options.hostname or record.id[:12])
    return list(dict.fromkeys(names))


def _limits(engine: Engine, options: RunOptions, addresses: Sequence[str]) -> dict[str, Any]:
    """Which names may be asked for elsewhere, and where their addresses are let to."""
    from pycontainer.engine import egress  # whose rules need networks, which need names

    if not egress.is_limited(options):
        return {"forwards": True, "permits": None}
    from pycontainer.network import table_name

    names = egress.names_of(options)
    permits = {"table": table_name(engine.store_tag), "addresses": list(addresses)}
    return {"forwards": list(names), "permits": permits if names else None}


def _network(
    engine: Engine, record: ContainerRecord, options: RunOptions, membership: Membership
) -> dict[str, Any]:
    import ipaddress  # see above

    subnets = [ipaddress.ip_network(subnet) for subnet in membership.subnets]
    return {
        "name": membership.network,
        "names": str(names_directory(engine.store.root, membership.network_id)),
        "subnets": [[subnet.network_address.packed.hex(), subnet.prefixlen] for subnet in subnets],
        "is_internal": membership.is_internal,
        "own": {
            "names": names_of(record, options, membership.aliases),
            "ipv4": membership.ipv4,
            "ipv6": membership.ipv6,
        },
    }


# -- while it runs -----------------------------------------------------------------------------------


def change(container: Container, description: Mapping[str, Any] | None, files: Mapping[str, str]) -> None:
    """Have a container that runs know, and be known by, other networks than so far.

    description, files: as `described` and `network_files` give them for the networks that it has now. Its
    files are written again where nobody in the container has changed them; a read-only one keeps what it has
    until its next start.
    Raises WrongState when it does not run, DeadlineExceeded, KernelError.
    """
    request = {"op": "names", "dns": description, "files": dict(files)}
    answer = ask(str(container._directory), request)
    if "needs_sockets" in answer:
        sockets = _open_server_in(container)
        try:
            answer = ask(str(container._directory), request, list(sockets.values()))
        finally:
            for fd in sockets.values():
                os.close(fd)
    for path, content in files.items():
        if answer["files"].get(path) != content:
            _rewrite(container, path, answer["files"].get(path), content)


def _open_server_in(container: Container) -> dict[str, int]:
    observed = container._observed
    process = None if observed.pid is None else pidfd.open_checked(observed.pid, observed.pid_start)
    if process is None:
        raise WrongState(f"container {container.name} has ended", verb="connect", state=str(observed.state))
    try:
        return open_server(container._engine, process)
    finally:
        os.close(process)


def _rewrite(container: Container, path: str, before: str | None, content: str) -> None:
    """Replace a file's content if it still is what we wrote; the container may be hostile, or end."""
    if before is None:
        return
    written, wanted = (each.encode("utf-8", "surrogateescape") for each in (before, content))
    with suppress(OSError, PycontainerError):
        (container.path / path)._exchange(written, wanted)
