"""An httpx client whose connections are made in a container's network namespace."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from pycontainer.engine.connecting import connect
from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container

__all__ = ["HTTP_POOL", "client", "http_settings"]

HTTP_POOL: dict[str, Any] = {"max_connections": 32, "keepalive_expiry": 5.0}
"""What a pool of connections into a container holds; seconds."""


def http_settings(
    port: int, host: str, tls: bool | ssl.SSLContext, settings: dict[str, Any]
) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """The TLS context of a client, and its settings with what is always so here."""
    context = tls if isinstance(tls, ssl.SSLContext) else _trusting()
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if tls else 'http'}://{shown}:{port}"
    return context, {"base_url": address, "trust_env": False, **settings}


def client(
    container: Container, port: int, host: str, tls: bool | ssl.SSLContext, settings: dict[str, Any]
) -> httpx.Client:
    """See Connectable.http."""
    context, settings = http_settings(port, host, tls, settings)
    return httpx.Client(transport=_Transport(_Backend(container, port, host), context), **settings)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The server is in our own container, and its certificate most often made for the occasion.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Transport(httpx.HTTPTransport):
    """httpx's own, with other connections: it has no setting for that."""

    def __init__(self, backend: httpcore.NetworkBackend, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=backend, **HTTP_POOL)


class _Backend(httpcore.NetworkBackend):
    """Connects to the one port, whatever host is asked for."""

    def __init__(self, container: Container, port: int, host: str) -> None:
        self._container = container
        self._port = port
        self._host = host

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            made = connect(self._container, self._port, self._host, "tcp", timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, PycontainerError) as error:
            raise httpcore.ConnectError(str(error)) from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(made)


class _Stream(httpcore.NetworkStream):
    """A socket as httpcore wants it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._socket.settimeout(timeout)
        try:
            return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return {"socket": self._socket}.get(info)
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(0))
