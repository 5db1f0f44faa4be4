"""Who answers for a system call filter with SCMP_ACT_NOTIFY, at linux.seccomp.listenerPath."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from pycontainer import errors
from pycontainer.ocicli import files

__all__ = ["send"]


def send(seccomp: Mapping[str, Any], state: Mapping[str, Any], pid: int, listener: int) -> None:
    """Send the listener of a process's filter, with the container's state, to whoever will answer it.

    Raises: InvalidOption when nobody listens there, LaunchError when it is not taken.
    Source: runtime-spec, config-linux.md, "The Container Process State".
    """
    message = {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.get("listenerMetadata", ""),
        "state": state,
    }
    with socket.socket(fileno=files.connect(seccomp["listenerPath"])) as sock:
        about = f"seccomp: {seccomp['listenerPath']} does not take the listener"
        with errors.mapped(OSError, to=errors.launch_failed("seccomp", about)):
            socket.send_fds(sock, [json.dumps(message).encode()], [listener])
