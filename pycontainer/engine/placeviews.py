"""What is told of containers' places in networks, in the words of Docker's inspect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycontainer.engine import bridging, naming, networking
from pycontainer.store import EndpointRecord

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["described", "endpoint_id"]


def endpoint_id(endpoint: EndpointRecord) -> str:
    """64 hexadecimal digits for a place, the same as long as it is one."""
    return hashlib.sha256(bridging.link_name(endpoint).encode()).hexdigest()


def described(engine: Engine, record: ContainerRecord, options: RunOptions) -> dict[str, dict[str, Any]]:
    """A container's places as Docker's inspect has them, by network."""
    found = {}
    for endpoint, network in networking.places_of(engine, record.id):
        own: dict[int, tuple[str, str, int]] = {4: ("", "", 0), 6: ("", "", 0)}
        for made in network.subnets:
            version = 6 if ":" in made.subnet else 4
            address = endpoint.ipv6 if version == 6 else endpoint.ipv4
            own[version] = (address or "", made.gateway, int(made.subnet.rpartition("/")[2]))
        asked = endpoint.options.get("asked")
        config = dict(asked) if isinstance(asked, Mapping) else {}
        if further := _listed(endpoint, "link_local_ips"):
            config["LinkLocalIPs"] = further
        aliases, sysctls = (list(map(str, _listed(endpoint, key))) for key in ("aliases", "sysctls"))
        is_named = network.name != networking.DEFAULT
        found[network.name] = {
            "IPAMConfig": config or None,
            "Links": _listed(endpoint, "links") or None,
            "Aliases": aliases or None,
            "DriverOpts": {"com.docker.network.endpoint.sysctls": ",".join(sysctls)} if sysctls else None,
            "MacAddress": endpoint.mac,
            "NetworkID": network.id,
            "EndpointID": endpoint_id(endpoint),
            "Gateway": own[4][1],
            "IPAddress": own[4][0],
            "IPPrefixLen": own[4][2],
            "IPv6Gateway": own[6][1],
            "GlobalIPv6Address": own[6][0],
            "GlobalIPv6PrefixLen": own[6][2],
            "GwPriority": endpoint.options.get("gw_priority", 0),
            "DNSNames": naming.names_of(record, options, aliases) if is_named else None,
        }
    return found


def _listed(endpoint: EndpointRecord, key: str) -> list[object]:
    found = endpoint.options.get(key)
    return found if isinstance(found, list) else []
