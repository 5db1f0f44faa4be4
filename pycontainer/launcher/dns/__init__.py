"""The name server that each container on a network has at 127.0.0.11, served by its monitor.

`wire` reads and writes messages, `names` knows the containers by the files that `files` writes, `resolver`
decides, `upstream` asks others, `server` speaks to the container, `opening` makes the sockets, `resolvconf`
is the resolver's configuration file. Standard library only; each is loaded by those that need it, since what
a monitor has loaded it keeps.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.launcher.dns.opening import ADDRESS
    from pycontainer.launcher.dns.resolvconf import HOST_FILE, Configuration, parse, reachable, text

__all__ = ["ADDRESS", "HOST_FILE", "Configuration", "parse", "reachable", "text"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = "opening" if name == "ADDRESS" else "resolvconf"
    return getattr(import_module(f"{__name__}.{home}"), name)
