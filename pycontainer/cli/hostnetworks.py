"""The networks `host` and `none`, which Docker has among its networks and which are no objects of the store.

What a container has in them is not made by anybody: it is the host's network, or none at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pycontainer.engine import Engine

__all__ = ["HOST_NETWORKS", "HostNetwork", "find_host_network"]


class HostNetwork(NamedTuple):
    """One of them, with what is listed of a network."""

    name: str
    driver: str

    @property
    def id(self) -> str:
        """64 hexadecimal digits, the same in every store."""
        return sha256(f"pycontainer network {self.name}".encode()).hexdigest()

    @property
    def subnets(self) -> tuple[str, ...]:
        """None: there are no addresses to give."""
        return ()

    @property
    def labels(self) -> dict[str, str]:
        """None."""
        return {}

    @property
    def is_internal(self) -> bool:
        """False, as Docker has it of both."""
        return False

    @property
    def created_at(self) -> datetime:
        """Docker's time of what never happened."""
        return datetime(1, 1, 1, tzinfo=UTC)

    def fits(self, filters: Mapping[str, Sequence[str]]) -> bool:
        """Whether filters of `network ls`, whose names the engine has checked, let it through."""
        return (
            any(re.search(text, self.name) for text in filters.get("name", [""]))
            and self.id.startswith(tuple(filters.get("id", [""])))
            and self.driver in filters.get("driver", [self.driver])
            and "builtin" in filters.get("type", ["builtin"])
            and "label" not in filters
            and not {"true", "1"}.intersection(filters.get("dangling", ()))
        )

    def inspect(self, engine: Engine) -> dict[str, Any]:
        """As `docker network inspect` has it."""
        from pycontainer.engine import Container

        inside = Container.list(filters={"network": self.name}, engine=engine)
        return {
            "Name": self.name,
            "Id": self.id,
            "Created": "0001-01-01T00:00:00Z",
            "Scope": "local",
            "Driver": self.driver,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None, "Config": []},
            "Internal": False,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": {
                each.id: {"Name": each.name, "MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
                for each in inside
            },
            "Options": {},
            "Labels": {},
        }


_SHORT_ID = 12

HOST_NETWORKS = (HostNetwork("host", "host"), HostNetwork("none", "null"))
"""By name."""


def find_host_network(name: str) -> HostNetwork | None:
    """The one of this name, or beginning of an id as it is listed."""
    for each in HOST_NETWORKS:
        if name == each.name or (len(name) >= _SHORT_ID and each.id.startswith(name)):
            return each
    return None
