"""Resource limits as the runtime-spec names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycontainer import errors

__all__ = ["limit"]

_LIMITS = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE"),
    *("MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
"""By number, the same on x86-64 and arm64 (asm-generic/resource.h)."""


def limit(entry: Mapping[str, Any]) -> tuple[str, int, int, int]:
    """Name, number, soft and hard limit of one of process.rlimits. Raises InvalidInput."""
    name = entry["type"].removeprefix("RLIMIT_")
    if name not in _LIMITS:
        raise errors.InvalidInput(f"unknown ulimit {entry['type']}; there are {', '.join(_LIMITS).lower()}")
    return name.lower(), _LIMITS.index(name), entry["soft"], entry["hard"]
