"""Which servers to ask for a repository, in which order, and over which scheme."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from pycontainer.errors import InvalidOption, RegistryError
from pycontainer.oci import DEFAULT_DOMAIN, Reference
from pycontainer.registry import certs
from pycontainer.registry.config import RegistryConfig
from pycontainer.registry.hosts import FILE_NAME, HostSettings, hosts_for
from pycontainer.registry.redact import redact_url
from pycontainer.registry.rules import rule_for

__all__ = [
    "Endpoint",
    "Scheme",
    "endpoints_for",
    "host_matches",
    "is_loopback",
    "located",
    "may_pull",
    "push_endpoint",
    "schemes_for",
    "split_host",
]


@attrs.frozen(kw_only=True)
class Endpoint:
    """One server that may have the content of a registry.

    host: host and port on the wire. domain: the registry it stands for. scheme: fixed, or None where
    trial decides. path: prefix of every request path. account: the domain whose credentials it gets.
    repository: the path of the repository as it is named, and as it is there. settings: what hosts.toml
    says of it.
    """

    host: str
    domain: str
    scheme: str | None = None
    path: str = ""
    is_mirror: bool = False
    resolves_tags: bool = True
    repository: tuple[str, str] = ("", "")
    settings: HostSettings | None = None

    @property
    def root(self) -> str:
        """The path below which all requests go."""
        return self.path if self.settings is not None and self.settings.is_root else f"{self.path}/v2"

    @property
    def account(self) -> str:
        """The name under which credentials are looked up: a mirror never gets its upstream's."""
        return self.host if self.is_mirror else self.domain


@attrs.frozen
class Scheme:
    """How to speak to a host: `http` or `https`, and whether the certificate is checked."""

    name: str
    is_verified: bool = True


def endpoints_for(reference: Reference, config: RegistryConfig) -> list[Endpoint]:
    """Mirrors of the reference's registry in their order, then the registry itself."""
    mirrors = [mirror for mirror in config.mirrors if mirror.registry == reference.domain]
    found = _mirrors_by_rule(reference, config)
    for mirror in mirrors:
        parts = urlsplit(mirror.url)
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise InvalidOption(f"mirror {redact_url(mirror.url)!r} must be scheme, host and path only")
        found.append(
            Endpoint(
                host=parts.netloc,
                domain=reference.domain,
                scheme=parts.scheme,
                path=parts.path.rstrip("/"),
                is_mirror=True,
                resolves_tags=mirror.resolves_tags,
            )
        )
    found += [server for server in _other_hosts(reference, config) if _allows(server, "pull")]
    return [*found, upstream(reference.domain, reference.registry_host)]


def push_endpoint(reference: Reference, config: RegistryConfig) -> Endpoint:
    """Where pushes go: to the first of hosts.toml that takes them, else the registry itself."""
    own = upstream(reference.domain, reference.registry_host)
    for server in (*_other_hosts(reference, config), own):
        if _allows(located(server, reference.path, config), "push"):
            return server
    raise RegistryError(f"cannot push to {reference.domain}: its hosts.toml gives no server that capability")


def may_pull(endpoint: Endpoint, reference: Reference, config: RegistryConfig) -> bool:
    """Whether a registry itself may be asked for content."""
    return _allows(located(endpoint, reference.path, config), "pull")


def _allows(endpoint: Endpoint, capability: str) -> bool:
    return endpoint.settings is None or capability in endpoint.settings.capabilities


def _other_hosts(reference: Reference, config: RegistryConfig) -> list[Endpoint]:
    hosts = hosts_for(reference.domain, config.certs_dirs)
    return [
        Endpoint(
            host=settings.host,
            domain=reference.domain,
            scheme=settings.scheme,
            path=settings.path,
            is_mirror=settings.host != reference.registry_host,
            resolves_tags="resolve" in settings.capabilities,
            settings=settings,
        )
        for settings in (hosts.others if hosts is not None else ())
    ]


def _mirrors_by_rule(reference: Reference, config: RegistryConfig) -> list[Endpoint]:
    rule = rule_for(config.rules, reference.domain, reference.path)
    found = []
    for mirror in rule.mirrors if rule is not None and not rule.blocked else ():
        host, path = rule.moved(mirror.location, reference.domain, reference.path) if rule else ("", "")
        found.append(
            Endpoint(
                host=host,
                domain=reference.domain,
                is_mirror=True,
                resolves_tags=not mirror.by_digest_only,
                repository=(reference.path, path),
            )
        )
    return found


def located(endpoint: Endpoint, path: str, config: RegistryConfig) -> Endpoint:
    """Where the repository of that path really is. Raises: RegistryError for one that is blocked."""
    if endpoint.is_mirror or endpoint.settings is not None:
        return endpoint
    return _at_server(_by_rule(endpoint, path, config), config)


def _by_rule(endpoint: Endpoint, path: str, config: RegistryConfig) -> Endpoint:
    rule = rule_for(config.rules, endpoint.domain, path)
    if rule is None:
        return endpoint
    if rule.blocked:
        raise RegistryError(f"{endpoint.domain}/{path} is blocked by registries.conf ({rule.prefix})")
    if not rule.location:
        return endpoint
    host, there = rule.moved(rule.location, endpoint.domain, path)
    return attrs.evolve(upstream(host), repository=(path, there))


def _at_server(endpoint: Endpoint, config: RegistryConfig) -> Endpoint:
    hosts = hosts_for(endpoint.domain, config.certs_dirs)
    if hosts is None:
        return endpoint
    server = hosts.server
    if not server.host:
        return attrs.evolve(endpoint, settings=server)
    return attrs.evolve(
        endpoint,
        host=server.host,
        scheme=server.scheme,
        path=server.path,
        is_mirror=server.host != endpoint.host,
        settings=server,
    )


def upstream(domain: str, host: str | None = None) -> Endpoint:
    """The registry itself, without mirrors."""
    if host is None:
        host = "registry-1.docker.io" if domain == DEFAULT_DOMAIN else domain
    return Endpoint(host=host, domain=domain)


def schemes_for(endpoint: Endpoint, config: RegistryConfig) -> list[Scheme]:
    """Schemes to try, in order. Only a host configured as insecure is ever tried with a second one."""
    is_insecure = any(host_matches(endpoint.host, entry) for entry in config.insecure)
    if endpoint.scheme is not None:
        return [Scheme(endpoint.scheme, is_verified=not is_insecure)]
    if is_insecure:
        return [Scheme("https", is_verified=False), Scheme("http")]
    if is_loopback(endpoint.host) and not _speaks_tls(endpoint.host, config):
        return [Scheme("http")]
    return [Scheme("https")]


def _speaks_tls(host: str, config: RegistryConfig) -> bool:
    if any(host_matches(host, entry) for entry in config.secure):
        return True
    return any(_is_of_tls(folder) for folder in certs.directories(host, config.certs_dirs))


def _is_of_tls(folder: Path) -> bool:
    """A file that only says where else to ask makes no TLS of a loopback registry."""
    try:
        return [each.name for each in folder.iterdir()] != [FILE_NAME]
    except OSError:
        return True  # there, and not for us to read


def split_host(host: str) -> tuple[str, int | None]:
    """Name or address without brackets, and the port if one is given."""
    parts = urlsplit(f"//{host}")
    return (parts.hostname or "").rstrip("."), parts.port


def is_loopback(host: str) -> bool:
    """Whether the host, with or without port, names this machine by its loopback."""
    name, _ = split_host(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def host_matches(host: str, pattern: str) -> bool:
    """Whether a host is the one configured: exactly, without its port, or inside a network."""
    name, port = split_host(host)
    if "/" in pattern:
        address = _address(name)
        try:
            return address is not None and address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            raise InvalidOption(f"{pattern!r} is neither a host nor a network such as 10.0.0.0/8") from None
    wanted, wanted_port = split_host(pattern.lower())
    return name == wanted and wanted_port in (None, port)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def bypasses_proxy(host: str, scheme: str, bypass: Iterable[str]) -> bool:
    """Whether a host is reached directly: loopback always is, and what NO_PROXY lists."""
    if is_loopback(host):
        return True
    name, port = split_host(host)
    port = port or (443 if scheme == "https" else 80)
    return any(_bypass_matches(name, port, entry) for entry in bypass)


def _bypass_matches(name: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return host_matches(name if ":" not in name else f"[{name}]", entry)
    if entry.count(":") > 1 and not entry.startswith("["):
        return name == entry.lower()  # an IPv6 address as it is
    wanted, wanted_port = split_host(entry.lower().removeprefix("*").lstrip("."))
    if wanted_port not in (None, port):
        return False
    return name == wanted or name.endswith(f".{wanted}")
