"""The transports of a session: one for each combination of TLS settings, proxy and allowed zone."""

from __future__ import annotations

import ssl
import threading
from typing import TypeAlias

import attrs
import httpx

from pycontainer.registry import certs
from pycontainer.registry.certs import Tls
from pycontainer.registry.config import RegistryConfig
from pycontainer.registry.endpoints import Endpoint, bypasses_proxy, schemes_for
from pycontainer.registry.guard import Zone
from pycontainer.registry.transport import PooledTransport

__all__ = ["Wires"]

# Host, where it has certificates of its own, and its other settings.
_TlsKey: TypeAlias = tuple[str, Tls]


class Wires:
    """Finds or makes the transport for a URL; thread-safe.

    `fixed` is a transport that takes every request instead (a program's own, or a test's).
    """

    def __init__(self, config: RegistryConfig, fixed: httpx.BaseTransport | None = None) -> None:
        self._config = config
        self._fixed = fixed
        self._lock = threading.Lock()
        self._transports: dict[tuple[_TlsKey | None, str | None, Zone], PooledTransport] = {}
        self._contexts: dict[_TlsKey, ssl.SSLContext] = {}

    def transport(self, url: httpx.URL, zone: Zone, tls: Tls | None = None) -> httpx.BaseTransport:
        """The transport whose connections to `url` stay within `zone`; tls: of its server alone."""
        if self._fixed is not None:
            return self._fixed
        host = url.netloc.decode("ascii")
        [scheme] = schemes_for(Endpoint(host=host, domain=host, scheme=url.scheme), self._config)
        tls_key: _TlsKey | None = None
        if scheme.name == "https":
            has_own_certificates = any(True for _ in certs.directories(host, self._config.certs_dirs))
            tls = tls or Tls()
            tls = attrs.evolve(tls, is_verified=tls.is_verified and scheme.is_verified)
            tls_key = (host if has_own_certificates else "", tls)
        key = (tls_key, self.proxy_for(url), zone)
        with self._lock:
            found = self._transports.get(key)
            if found is None:
                # Reading the authorities costs 20 ms, which plain HTTP need not pay.
                context = self._context(host, tls_key) if tls_key else None
                found = self._transports[key] = PooledTransport(context, zone=zone, proxy=key[1])
            return found

    def proxy_for(self, url: httpx.URL) -> str | None:
        """The proxy a URL is reached through, or None."""
        proxies = self._config.proxies
        proxy = proxies.https if url.scheme == "https" else proxies.http
        if proxy is None or bypasses_proxy(url.netloc.decode("ascii"), url.scheme, proxies.bypass):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        with self._lock:
            transports = list(self._transports.values())
            self._transports.clear()
        for transport in transports:
            transport.close()

    def _context(self, host: str, key: _TlsKey) -> ssl.SSLContext:
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = certs.client_context(
                host, self._config.certs_dirs, self._config.ca_files, key[1]
            )
        return found
