"""The name server that each container on a network has at 127.0.0.11, served by its monitor.

`wire` reads and writes messages, `names` knows the containers, `resolver` decides, `upstream` asks others,
`server` speaks to the container, `opening` makes the sockets. Standard library only.
"""

from __future__ import annotations

from pycontainer.launcher.dns.names import remove, write
from pycontainer.launcher.dns.opening import ADDRESS, open_sockets
from pycontainer.launcher.dns.resolvconf import HOST_FILE, Configuration, parse, reachable, text
from pycontainer.launcher.dns.server import Server

__all__ = [
    "ADDRESS",
    "HOST_FILE",
    "Configuration",
    "Server",
    "open_sockets",
    "parse",
    "reachable",
    "remove",
    "text",
    "write",
]
