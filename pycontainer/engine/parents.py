"""Links that networks of macvlan and ipvlan have as their parents: a link of the host, the VLAN of one
("eth0.10" is VLAN 10 of eth0), or for a network without any a link of its own that leads nowhere.

One that is there is used as it is, and stays. One that is not is made with the first network that names it,
has the same note of whose it is as a bridge, and goes with the last such network.

Source: moby, daemon/libnetwork/drivers/macvlan/macvlan_setup.go, whose names these are. It makes a dummy link
where this makes a bridge without ports, which is the same to the links beside it: every kernel that has
networks of containers has bridges, and not every one dummy links.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pycontainer.errors import InvalidOption, NotFound

if TYPE_CHECKING:
    from pycontainer.store import NetworkRecord

__all__ = ["add", "check", "made_for", "own_name", "parse"]

_OWN = "dm-"
_FORM = re.compile(r"(?P<link>[^./]{1,13})\.(?P<number>[1-9][0-9]{0,3})", re.ASCII)
_LAST = 4094
_LONGEST = 15  # IFNAMSIZ - 1


def parse(parent: str) -> tuple[str, int] | None:
    """The link and the number that a name says, "eth0.10"; None for another name."""
    match = _FORM.fullmatch(parent)
    if match is None or int(match["number"]) > _LAST or len(parent) > _LONGEST:
        return None
    return match["link"], int(match["number"])


def own_name(network_id: str) -> str:
    """What the link of a network's own is called."""
    return f"{_OWN}{network_id[:12]}"


def check(parent: str, network_id: str) -> bool:
    """Whether a parent has to be made. Raises InvalidOption, NotFound, Unsupported."""
    if parent == own_name(network_id):
        return True
    if os.path.exists(f"/sys/class/net/{parent}"):
        return False
    named = parse(parent)
    if named is None and "." not in parent:
        raise NotFound(f"options: parent={parent!r} is no link of this host")
    if named is None:
        raise InvalidOption(
            f"options: parent={parent!r} is no link of this host, nor the VLAN of one; give it as eth0.10, "
            f"with a number from 1 to {_LAST} and {_LONGEST} characters at most"
        )
    if not os.path.exists(f"/sys/class/net/{named[0]}"):
        raise NotFound(f"options: parent={parent!r}: {named[0]!r} is no link of this host")
    from pycontainer.network import check_kind

    check_kind("vlan")
    return True


def add(route: Any, network: NetworkRecord, note: str) -> None:
    """Queue what makes a network's parent, with a note of whose it is. Raises NotFound."""
    parent = str(network.options["parent"])
    named = parse(parent)
    if named is None:
        route.add_bridge(parent)
    else:
        try:
            index = socket.if_nametoindex(named[0])
        except OSError:
            raise NotFound(
                f"network {network.name}: the host has no link {named[0]!r} to attach to"
            ) from None
        route.add_vlan(index, parent, named[1])
    route.set_alias(parent, note)


def made_for(networks: Iterable[NetworkRecord]) -> set[str]:
    """The parents that these networks had to have made."""
    return {str(network.options["parent"]) for network in networks if network.options.get("is_parent_made")}
