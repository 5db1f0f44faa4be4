"""An asynchronous httpx client whose connections are made in a container's network namespace."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from pycontainer.aio.running import call
from pycontainer.engine import HTTP_POOL, http_settings
from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine import Container

__all__ = ["client"]


def client(
    container: Container,
    port: int = 80,
    host: str = "localhost",
    *,
    tls: bool | ssl.SSLContext = False,
    **settings: Any,
) -> httpx.AsyncClient:
    """See Container.http, of which it is the mirror."""
    context, settings = http_settings(port, host, tls, settings)
    return httpx.AsyncClient(transport=_Transport(_Backend(container, port, host), context), **settings)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's own, with other connections: it has no setting for that."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        # The pool that this replaces has no connection yet, and needs no closing.
        self._pool = httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend, **HTTP_POOL)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to the one port, whatever host is asked for."""

    def __init__(self, container: Container, port: int, host: str) -> None:
        self._container = container
        self._port = port
        self._host = host

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            made = await call(
                partial(self._container.connect, self._port, self._host, timeout=timeout),
                undo=socket.socket.close,
            )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, PycontainerError) as error:
            raise httpcore.ConnectError(str(error)) from error
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(*await asyncio.open_connection(sock=made))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection as httpcore wants it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # the other side was faster

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        sock = self._writer.get_extra_info("socket")
        if info != "is_readable":
            return {"socket": sock}.get(info)
        # What httpcore asks of an idle connection: whether the server has closed it. The loop may know, or
        # may not have come to it yet.
        if self._reader.at_eof() or self._writer.is_closing() or sock.fileno() < 0:
            return True
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return bool(poller.poll(0))
