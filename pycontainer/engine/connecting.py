"""Connections into a container's network namespace: no port is published, nothing is forwarded.

A helper job makes a socket in the namespace and hands it over; the caller connects it, and it goes where the
socket was made. So it reaches what listens on the container's own loopback, and a container that has no
network at all. Only the network namespace is entered, by a pidfd that was checked against the start time.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from pycontainer.errors import DeadlineExceeded, InvalidOption, NotFound, Unsupported, WrongState
from pycontainer.kernel import pidfd
from pycontainer.options import given_seconds
from pycontainer.runtime import State

if TYPE_CHECKING:
    import ssl

    import httpx

    from pycontainer.engine.containers import Container

__all__ = ["Connectable", "connect"]

DEFAULT_TIMEOUT_S = 10.0
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

Protocol = Literal["tcp", "udp"]


class Connectable:
    """What can be done with the sockets of a container that runs."""

    __slots__ = ()

    def connect(
        self,
        port: int,
        host: str = "localhost",
        *,
        protocol: Protocol = "tcp",
        timeout: float | str | timedelta | None = DEFAULT_TIMEOUT_S,
    ) -> socket.socket:
        """A socket that is connected to a port in the container's network namespace, published or not.

        It works without any network, too, and reaches what listens on the container's loopback only.
        host: an address as the container sees it; "localhost" is 127.0.0.1, and ::1 if nothing listens
        there. timeout: until it is connected; the socket has it from then on (socket.settimeout).
        protocol: with "udp" nothing is sent yet.
        Raises: ConnectionRefusedError when nothing listens; DeadlineExceeded; WrongState when the container
        does not run; InvalidOption; OSError.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        return connect(cast("Container", self), port, host, protocol, limit_s)

    def http(
        self,
        port: int = 80,
        host: str = "localhost",
        *,
        tls: bool | ssl.SSLContext = False,
        **settings: Any,
    ) -> httpx.Client:
        """An httpx client all of whose connections go to this port of the container; see `connect`.

        Addresses may be paths: `c.http(8080).get("/health")`. tls: speak HTTPS; True takes any certificate,
        a context checks as it says. settings: those of httpx.Client, as headers and timeout.
        Close it, or use it in a with block.
        """
        from pycontainer.engine.innerhttp import client

        return client(cast("Container", self), port, host, tls, settings)


def connect(
    container: Container, port: int, host: str, protocol: Protocol, timeout_s: float | None
) -> socket.socket:
    """See Connectable.connect."""
    _check_port(port)
    if protocol not in ("tcp", "udp"):
        raise InvalidOption(f"connect: protocol={protocol!r}; give 'tcp' or 'udp'")
    addresses = _addresses(host)
    sockets = _sockets(container, list(addresses), protocol, timeout_s)
    places = [(made, (addresses[family], port)) for family, made in sockets.items()]
    connected, failure = _first_connected(places, timeout_s)
    if connected is not None:
        return connected
    if isinstance(failure, TimeoutError):
        raise DeadlineExceeded(
            f"no connection to port {port} of container {container.name} within the time",
            timeout_s=timeout_s or 0.0,
        ) from None
    if isinstance(failure, ConnectionRefusedError):
        failure.add_note(
            f"nothing listens on port {port} of {host} in container {container.name}; "
            f"container.wait_until(pycontainer.wait.port({port})) waits until something does"
        )
    if failure is not None:
        raise failure
    raise Unsupported(f"the host has no sockets for {host}", "give an address of the other family")


def _check_port(port: object) -> None:
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise InvalidOption(f"connect: port={port!r}; give a number from 1 to 65535")


def _first_connected(
    places: list[tuple[socket.socket, tuple[str, int]]], timeout_s: float | None
) -> tuple[socket.socket | None, OSError | None]:
    """The first one that is connected; closes the others. If there is none, why the first was refused."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    connected: socket.socket | None = None
    failure: OSError | None = None
    try:
        for made, place in places:
            made.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
            try:
                made.connect(place)
                made.settimeout(timeout_s)
                connected = made
                break
            except OSError as error:
                failure = failure or error
                if not isinstance(error, ConnectionRefusedError):
                    break
    finally:
        for made, _ in places:
            if made is not connected:
                made.close()
    return connected, failure


def _addresses(host: str) -> dict[str, str]:
    """The addresses to try, by family, in order."""
    if host == "localhost":
        return {"ipv4": "127.0.0.1", "ipv6": "::1"}
    for name, family in _FAMILIES.items():
        try:
            socket.inet_pton(family, host)
            return {name: host}
        except (OSError, ValueError):
            continue
    raise InvalidOption(f'connect: host={host!r}; give "localhost" or an address as the container sees it')


def _sockets(
    container: Container, families: list[str], protocol: Protocol, timeout_s: float | None
) -> dict[str, socket.socket]:
    """Unconnected sockets of the container's namespace, by family; the caller's to close."""
    observed = container._observed
    process = None
    if observed.state in (State.RUNNING, State.PAUSED) and observed.pid is not None:
        process = pidfd.open_checked(observed.pid, observed.pid_start)
    if process is None:
        raise _not_running(container, str(observed.state))
    try:
        params = {"families": families, "protocol": protocol}
        with closing(container._engine.helper.submit("open_sockets", params, [process])) as job:
            message = job.receive(timeout_s)
            if message is None:
                raise _not_running(container, "exited")
            fds = job.take_fds()
            return {
                family: socket.socket(fileno=fd) for family, fd in zip(message["families"], fds, strict=True)
            }
    except NotFound:
        raise _not_running(container, "exited") from None
    finally:
        os.close(process)


def _not_running(container: Container, state: str) -> WrongState:
    return WrongState(
        f"container {container.name} is {state}; start it first",
        verb="connect",
        state=state,
        allowed=("running", "paused"),
    )
