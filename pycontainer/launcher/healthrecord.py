"""The file in which a monitor keeps the last results of its container's health checks. Replaced whole.

Fields: status ("starting", "healthy", "unhealthy"), failing_streak, log: of the last checks, the oldest
first, started_ns and ended_ns since the epoch, exit_code (-1 for one that could not be run or was killed
for its time) and output. The status is in status.json as well, which is written after this file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["NAME", "read", "write"]

NAME = "health.json"
_NEW = ".health.json.new"
_encode = json.JSONEncoder(separators=(",", ":")).encode


def write(directory_fd: int, fields: Mapping[str, Any]) -> None:
    """Replace the file: readers see the old one or the new one. Raises OSError."""
    fd = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=directory_fd)
    try:
        content = memoryview(_encode(fields).encode("ascii"))
        while content:
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)
    os.rename(_NEW, NAME, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)


def read(directory: str) -> dict[str, Any] | None:
    """The fields last written, None before the first start with a health check."""
    try:
        fd = os.open(os.path.join(directory, NAME), os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        fields: dict[str, Any] = json.loads(file.read())
    return fields
