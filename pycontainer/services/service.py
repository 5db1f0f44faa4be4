"""`Service`: what to start of an image and how it is reached; `Running`: one that was started."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

import attrs

from pycontainer.errors import InUse, InvalidOption

if TYPE_CHECKING:
    from pycontainer._generated import RunKwargs
    from pycontainer.engine import Container, Engine, Image, waits

__all__ = ["Running", "Service"]

_LOOPBACK = "127.0.0.1"
_PORT_ATTEMPTS = 5


@attrs.frozen(kw_only=True)
class Service:
    """A program in an image that serves a port: data, which may be changed with `attrs.evolve` or `replace`.

    image: a reference, or an Image. port: what clients connect to. wait: when it is ready; by default when
    the port is listened on. ports: further ones, published as well. inner_port: what other containers
    connect to, where that is not the same. command: instead of the image's.

    url: text in which {host}, {port} and the names of `settings` are put, those quoted for URLs.
    settings: names and values that a client needs (user, password, database). env: variables. advertised:
    variables whose values are texts with {host}, {port} and {name}: for servers that tell their clients where
    they are found. options: further ones of run.

    Ports are published on 127.0.0.1, at a free port of the host.
    """

    image: str | Image
    port: int
    url: str
    wait: waits.Wait | None = None
    inner_port: int | None = None
    ports: Sequence[int] = ()
    command: Sequence[str] | str | None = None
    settings: Mapping[str, str] = attrs.Factory(dict)
    env: Mapping[str, str] = attrs.Factory(dict)
    advertised: Mapping[str, str] = attrs.Factory(dict)
    options: Mapping[str, Any] = attrs.Factory(dict)
    _entered: list[ExitStack] = attrs.field(factory=list, init=False, eq=False, repr=False)

    def replace(self, **changes: Any) -> Service:
        """The same with other fields."""
        return attrs.evolve(self, **changes)

    def with_options(self, **options: Unpack[RunKwargs]) -> Service:
        """The same with further options of run; env is added to its variables."""
        given: dict[str, Any] = {**options}
        env = {**self.env, **_mapping(given.pop("env", None))}
        return attrs.evolve(self, env=env, options={**self.options, **given})

    @property
    def ready(self) -> waits.Wait:
        """What is waited for."""
        from pycontainer.engine import waits

        return self.wait if self.wait is not None else waits.port(self.port)

    def create(
        self,
        *,
        engine: Engine | None = None,
        owned: bool = False,
        owner_pid: int | None = None,
        **options: Unpack[RunKwargs],
    ) -> Running:
        """Make its container without starting it; see Container.create, which takes and raises the same."""
        wanted: dict[str, Any] = {**self.with_options(**options).options}
        env = {**self.env, **_mapping(options.get("env"))}
        published: dict[int | str, Any] = dict.fromkeys((self.port, *self.ports))
        if self.advertised:
            wanted.setdefault("name", f"service-{secrets.token_hex(4)}")
            published[self.port] = _free_port()
            places = {"host": _LOOPBACK, "port": published[self.port], "name": wanted["name"]}
            env |= {name: text.format_map(places) for name, text in self.advertised.items()}
        if wanted.get("network") not in ("none", "host"):
            wanted["ports"] = {**published, **_ports(wanted.get("ports"))}
        wanted.setdefault("command", self.command)
        from pycontainer.engine import Container

        container = Container.create(
            self.image, engine=engine, owned=owned, owner_pid=owner_pid, env=env, **wanted
        )
        return Running(self, container)

    def start(
        self,
        *,
        engine: Engine | None = None,
        owned: bool = False,
        owner_pid: int | None = None,
        **options: Unpack[RunKwargs],
    ) -> Running:
        """Make and start it, and return when it is ready; nothing is left when that fails. See create.

        Raises also LaunchError; NotReady with the end of its log; ReadinessTimeout.
        """
        for attempt in range(_PORT_ATTEMPTS):
            made = self.create(engine=engine, owned=owned, owner_pid=owner_pid, **options)
            try:
                made.container.start(wait=self.ready)
                return made
            except BaseException as error:
                made.container.remove(force=True, volumes=True)
                # Somebody else may have taken the port that it was to tell its clients.
                if not (self.advertised and isinstance(error, InUse) and attempt < _PORT_ATTEMPTS - 1):
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def run(self, *, engine: Engine | None = None, **options: Unpack[RunKwargs]) -> Iterator[Running]:
        """Run it for the length of the block; it is gone afterwards, and when this process dies."""
        running = self.start(engine=engine, owned=True, **options)
        try:
            yield running
        finally:
            running.container.remove(force=True, volumes=True)

    def __enter__(self) -> Running:
        stack = ExitStack()
        running = stack.enter_context(self.run())
        self._entered.append(stack)
        return running

    def __exit__(self, *exception: Any) -> None:
        self._entered.pop().__exit__(*exception)


@attrs.frozen
class Running:
    """A service that was started.

    service: what it was started from. container: what runs it.
    """

    service: Service
    container: Container

    @property
    def host(self) -> str:
        """The address under which this host finds it."""
        return _LOOPBACK

    @property
    def port(self) -> int:
        """The host's port for the service's own."""
        return self.host_port(self.service.port)

    def host_port(self, port: int | str) -> int:
        """The host's port for one of the container's. Raises KeyError when it is not published."""
        return self.container.ports[port].host_port

    @property
    def url(self) -> str:
        """Where this host's programs find it."""
        return self._url(self.host, self.port)

    @property
    def inner_url(self) -> str:
        """Where containers in a network with it find it, by its name."""
        return self._url(self.container.name, self.service.inner_port or self.service.port)

    @property
    def settings(self) -> Mapping[str, str]:
        """User, password and the like."""
        return self.service.settings

    def _url(self, host: str, port: int) -> str:
        quoted = {name: quote(value, safe="") for name, value in self.settings.items()}
        return self.service.url.format_map({**quoted, "host": host, "port": port})


def _mapping(given: Any) -> dict[str, Any]:
    """Variables as a mapping, however they were given."""
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    pairs = [str(line).partition("=") for line in given]
    return {name: value if sign else None for name, sign, value in pairs}


def _ports(given: Any) -> dict[int | str, Any]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    raise InvalidOption(f"option ports={given!r}: give a mapping to a service, as {{80: 8080}}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_LOOPBACK, 0))
        return int(sock.getsockname()[1])
