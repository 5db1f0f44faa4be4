"""The embedded registry server; see registry.py.

Plain imports: whoever asks for this package starts a server.
"""

from pycontainer.registry.server.faults import (
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
    Silence,
    Slow,
    Status,
    Truncate,
)
from pycontainer.registry.server.limits import ServerLimits
from pycontainer.registry.server.registry import Registry, TlsFiles
from pycontainer.registry.server.service import RequestRecord

__all__ = [
    "Answer",
    "Corrupt",
    "Drop",
    "DropUpload",
    "Endless",
    "Fault",
    "Hang",
    "Headers",
    "IgnoreRange",
    "ServerLimits",
    "Redirect",
    "Registry",
    "RequestRecord",
    "Silence",
    "Slow",
    "Status",
    "TlsFiles",
    "Truncate",
]
