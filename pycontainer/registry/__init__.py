"""The registry client and the embedded registry.

Names load on first use: the client brings httpx along, and nothing but a real transfer needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.registry.cancel import Cancellation
    from pycontainer.registry.client import RegistryClient
    from pycontainer.registry.config import (
        Credentials,
        Limits,
        Mirror,
        Proxies,
        RegistryConfig,
        Retries,
        Timeouts,
    )
    from pycontainer.registry.errors import NotInRegistry
    from pycontainer.registry.resolve import Resolved
    from pycontainer.registry.server import (
        Answer,
        Corrupt,
        Drop,
        DropUpload,
        Endless,
        Fault,
        Hang,
        Headers,
        IgnoreRange,
        Redirect,
        Registry,
        RequestRecord,
        Silence,
        Slow,
        Status,
        TlsFiles,
        Truncate,
    )

__all__ = [
    "Answer",
    "Cancellation",
    "Corrupt",
    "Credentials",
    "Drop",
    "DropUpload",
    "Endless",
    "Fault",
    "Hang",
    "Headers",
    "IgnoreRange",
    "Limits",
    "Mirror",
    "NotInRegistry",
    "Proxies",
    "Redirect",
    "Registry",
    "RegistryClient",
    "RegistryConfig",
    "RequestRecord",
    "Resolved",
    "Retries",
    "Silence",
    "Slow",
    "Status",
    "Timeouts",
    "TlsFiles",
    "Truncate",
]

_HOMES = {
    "Cancellation": "cancel",
    "Credentials": "config",
    "Limits": "config",
    "Mirror": "config",
    "NotInRegistry": "errors",
    "Proxies": "config",
    "RegistryClient": "client",
    "RegistryConfig": "config",
    "Resolved": "resolve",
    "Retries": "config",
    "Timeouts": "config",
}
_HOMES |= dict.fromkeys(
    [
        "Answer",
        "Corrupt",
        "Drop",
        "DropUpload",
        "Endless",
        "Fault",
        "Hang",
        "Headers",
        "IgnoreRange",
        "Redirect",
        "Registry",
        "RequestRecord",
        "Silence",
        "Slow",
        "Status",
        "TlsFiles",
        "Truncate",
    ],
    "server",
)


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return __all__
