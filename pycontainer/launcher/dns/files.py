"""Writing the files of `dns.names`: a container's own, in the directory of a network's names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["SUFFIX", "remove", "write"]

SUFFIX = ".json"


def write(directory: str, container_id: str, fields: Mapping[str, Any]) -> None:
    """Make a container's names known on the network of this directory, or change them.

    fields: "names", the first one being its own; "ipv4" and "ipv6" as text, or None. Raises OSError.
    """
    new = os.path.join(directory, f".{container_id}.{os.getpid()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            # Not json.dump, whose functions refer to each other: no collector runs in a monitor.
            file.write(json.dumps(dict(fields)))
        os.rename(new, os.path.join(directory, container_id + SUFFIX))
    except BaseException:
        os.unlink(new)
        raise


def remove(directory: str, container_id: str) -> None:
    """Make a container's names on a network unknown; idempotent."""
    try:
        os.unlink(os.path.join(directory, container_id + SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        pass
