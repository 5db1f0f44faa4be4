"""The bottom of the HTTP stack: httpx requests over httpcore connections that can be watched.

httpx.Client is left out on purpose: it keeps cookies, follows environment variables and .netrc, and
decodes bodies. What is used of httpx are its models and, in tests, its MockTransport, which fits here.
Two things are added to httpcore: connections only to addresses of an allowed zone, judged after name
resolution (so a name that changes its address between check and use gains nothing), and every wait can
be ended by the Cancellation of the thread's transfer.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from pycontainer.errors import Unsupported
from pycontainer.registry.cancel import current
from pycontainer.registry.guard import Zone, too_near, zone_of_address
from pycontainer.registry.redact import redact_url

__all__ = ["PooledTransport"]

MAX_CONNECTIONS = 32
KEEPALIVE_S = 30.0


class PooledTransport(httpx.BaseTransport):
    """Connections to any host with one set of TLS settings, one proxy and one allowed zone."""

    def __init__(
        self, context: ssl.SSLContext | None, *, zone: Zone = Zone.ANY, proxy: str | None = None
    ) -> None:
        backend = _Backend(Zone.ANY if proxy else zone)
        settings: dict[str, Any] = {
            "ssl_context": context,
            "max_connections": MAX_CONNECTIONS,
            "keepalive_expiry": KEEPALIVE_S,
            "network_backend": backend,
        }
        if proxy:
            self._pool: httpcore.ConnectionPool = _proxy_pool(proxy, settings)
        else:
            self._pool = httpcore.ConnectionPool(**settings)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response's body is not read yet."""
        url = request.url
        assert isinstance(request.stream, httpx.SyncByteStream)
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx_errors():
            response = self._pool.handle_request(inner)
        assert isinstance(response.stream, Iterable)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _proxy_pool(proxy: str, settings: dict[str, Any]) -> httpcore.ConnectionPool:
    url = httpx.URL(proxy)
    auth = (url.username, url.password) if url.username else None
    bare = url.copy_with(userinfo=b"")
    target = httpcore.URL(scheme=bare.raw_scheme, host=bare.raw_host, port=bare.port, target=b"/")
    if url.scheme in ("socks5", "socks5h"):
        try:
            return httpcore.SOCKSProxy(proxy_url=target, proxy_auth=auth, **settings)
        except RuntimeError as error:  # what stands in for it without the package socksio
            raise Unsupported(
                f"the proxy {redact_url(proxy)} (Proxies, or https_proxy and http_proxy of the environment) "
                "speaks SOCKS",
                "pip install 'httpx[socks]', or give an http:// or https:// proxy",
            ) from error
    return httpcore.HTTPProxy(proxy_url=target, proxy_auth=auth, **settings)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._stream

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


@contextmanager
def _as_httpx_errors() -> Iterator[None]:
    """httpcore's errors under the names MockTransport and callers know: httpx has the same ones."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
    ) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error) or type(error).__name__) from error


class _Backend(httpcore.NetworkBackend):
    """Opens sockets to addresses within a zone."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        current().check()
        if self._zone is Zone.ANY:
            stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
            return _Stream(stream)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._allowed_addresses(host, port):
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _allowed_addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if (zone := zone_of_address(address)) > self._zone:
                raise too_near(host, zone)
        return addresses


class _Stream(httpcore.NetworkStream):
    """A connection whose waits end when the current transfer is cancelled."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        try:
            self._server_address = inner.get_extra_info("server_addr")
        except OSError:
            self._server_address = None  # reset by the server already; the first read says so

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with current().watching(self._socket()):
            return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with current().watching(self._socket()):
            self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with current().watching(self._socket()):
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        # Kept: the kernel forgets the peer of a connection that was reset.
        return self._server_address if info == "server_addr" else self._inner.get_extra_info(info)

    def _socket(self) -> socket.socket | None:
        found = self._inner.get_extra_info("socket")
        return found if isinstance(found, socket.socket) else None
