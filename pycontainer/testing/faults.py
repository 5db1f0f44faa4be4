"""What the embedded registry can be told to do wrong: what real registries do on bad days.

with pc.Registry() as registry:
    registry.inject(faults.Fault(faults.Status(429, retry_after=1), path=r"/blobs/", count=2))
"""

from pycontainer.registry import (
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
    RequestRecord,
    Silence,
    Slow,
    Status,
    Truncate,
)

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
    "Redirect",
    "RequestRecord",
    "Silence",
    "Slow",
    "Status",
    "Truncate",
]
