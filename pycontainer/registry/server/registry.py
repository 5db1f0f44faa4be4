"""The embedded registry: an OCI distribution server inside this process, on loopback by default."""

from __future__ import annotations

import socket
import ssl
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import attrs

from pycontainer.errors import InvalidInput, InvalidOption, NotFound
from pycontainer.registry.server.auth import Gate
from pycontainer.registry.server.connection import Connection
from pycontainer.registry.server.faults import Fault
from pycontainer.registry.server.handlers import Handlers
from pycontainer.registry.server.limits import ServerLimits
from pycontainer.registry.server.running import Running
from pycontainer.registry.server.service import RequestRecord, Service
from pycontainer.registry.server.storage import Storage
from pycontainer.registry.server.uploads import Uploads

if TYPE_CHECKING:
    from pycontainer.registry.config import RegistryConfig
    from pycontainer.registry.server.upstream import Upstream

_BACKLOG: Final = 512


@attrs.frozen
class TlsFiles:
    """PEM files for serving TLS. client_ca, when given, demands client certificates signed by it."""

    certificate: Path = attrs.field(converter=Path)
    key: Path = attrs.field(converter=Path)
    client_ca: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))

    def context(self) -> ssl.SSLContext:
        """A server context, TLS 1.2 and later. Raises: InvalidInput naming the files."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            raise InvalidInput(f"cannot load {self.certificate} and {self.key}: {error}") from error
        return context


class Registry:
    """An OCI registry in this process. Usable as soon as it is constructed, until close().

        with pc.Registry() as registry:
            image.push(f"{registry.address}/app:1")

    root: where content is kept across restarts; None keeps it in a temporary directory until close().
    auth: user names and passwords; None lets everybody in. token_auth: demand bearer tokens, which the
    server's own /token hands out. tls: serve https. port 0 picks a free one. faults: see inject().
    upstream: another registry ("docker.io"), from which comes what is not here; it is kept. Its word on a
    tag goes before what was pushed here. upstream_config: how to reach it, with which credentials.

    Listening on another host than loopback shows the content to that network; give auth and tls then.
    Raises: InUse when another server holds root; OSError when the address cannot be bound; InvalidOption for
    a value of the wrong type.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        auth: Mapping[str, str] | None = None,
        token_auth: bool = False,
        tls: TlsFiles | None = None,
        upstream: str | None = None,
        upstream_config: RegistryConfig | None = None,
        faults: Sequence[Fault] = (),
        limits: ServerLimits | None = None,
    ) -> None:
        _check_types(auth, tls)
        limits = limits or ServerLimits()
        context = tls.context() if tls is not None else None
        sock = _bound(host, port)
        self._scheme = "http" if context is None else "https"
        self._address = _address(sock)
        self._running = running = Running(
            sock, root, limits, lambda *kept: _upstream(upstream, upstream_config, limits, *kept)
        )
        gate = Gate(auth, with_tokens=token_auth, scheme=self._scheme, address=self._address)
        handlers = Handlers(running.storage, running.uploads, gate, limits, running.upstream)
        self._service = Service(handlers, gate, running.closing)
        for fault in faults:
            self._service.faults.plant(fault)
        running.listen(lambda accepted: Connection(accepted, limits, context), self._service.serve)
        # Also runs when the program ends or the object is forgotten.
        self._finalizer = weakref.finalize(self, running.close)

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Registry {self.url} at {self.root}>"

    def close(self) -> None:
        """Stop serving; end all connections and threads; remove a temporary root. Idempotent.

        Takes at most five seconds, whatever clients do.
        """
        self._running.close()
        self._finalizer.detach()

    @property
    def address(self) -> str:
        """ "HOST:PORT", the form image references begin with."""
        return self._address

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{self._scheme}://{self._address}"

    @property
    def root(self) -> Path:
        """The directory the content is in."""
        return self._running.storage.root

    def repositories(self) -> list[str]:
        """Names of the repositories, sorted."""
        return self._running.storage.repositories()

    def tags(self, repository: str) -> list[str]:
        """Tags of a repository, sorted as the specification says. Raises: NotFound."""
        tags = self._running.storage.tags(repository)
        if tags is None:
            raise NotFound(f"no repository {repository!r} in {self.url}; there are {self.repositories()}")
        return tags

    def inject(self, fault: Fault) -> None:
        """Plant a fault; it applies to the next requests it fits."""
        self._service.faults.plant(fault)

    def clear_faults(self) -> None:
        """Remove all planted faults."""
        self._service.faults.clear()

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """What clients asked so far, oldest first; the last ten thousand."""
        return tuple(self._service.log.copy())


def _check_types(auth: object, tls: object) -> None:
    if auth is not None and not isinstance(auth, Mapping):
        raise InvalidOption(f'option auth: {type(auth).__name__} will not do; give {{"user": "password"}}')
    if tls is not None and not isinstance(tls, TlsFiles):
        raise InvalidOption(
            f"option tls: {type(tls).__name__} will not do; give "
            'pc.TlsFiles(certificate="server.crt", key="server.key")'
        )


def _upstream(
    domain: str | None,
    config: RegistryConfig | None,
    limits: ServerLimits,
    storage: Storage,
    uploads: Uploads,
) -> Upstream | None:
    if domain is None:
        return None
    # Here and not above: only a pull-through server needs the client and httpx.
    from pycontainer.registry.config import RegistryConfig
    from pycontainer.registry.server.upstream import Upstream

    if config is not None and not isinstance(config, RegistryConfig):
        raise InvalidOption(
            f"option upstream_config: {type(config).__name__} will not do; give pc.RegistryConfig(...)"
        )
    return Upstream(domain, config or RegistryConfig(), storage, uploads, limits.workers)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        # A restart on the same port must not wait for old connections in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
