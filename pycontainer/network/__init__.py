"""Networks of containers, spoken to the kernel over netlink; no ip, iptables or nft binary is needed.

pyroute2 is imported on the first call that needs it, and only by netlink.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.network.cuts import cut as cut
    from pycontainer.network.cuts import table_name as table_name
    from pycontainer.network.egress import Egress as Egress
    from pycontainer.network.egress import guard as guard
    from pycontainer.network.egress import is_guarded as is_guarded
    from pycontainer.network.egress import lift as lift
    from pycontainer.network.egress import restrict as restrict
    from pycontainer.network.firewall import Bridge as Bridge
    from pycontainer.network.firewall import Firewall as Firewall
    from pycontainer.network.firewall import Published as Published
    from pycontainer.network.foreign import forward_finding as forward_finding
    from pycontainer.network.ipam import check_subnet as check_subnet
    from pycontainer.network.ipam import choose_address as choose_address
    from pycontainer.network.ipam import choose_subnet as choose_subnet
    from pycontainer.network.ipam import gateway_of as gateway_of
    from pycontainer.network.ipam import mac_of as mac_of
    from pycontainer.network.ipam import overlaps as overlaps
    from pycontainer.network.links import Route as Route
    from pycontainer.network.links import addresses_of as addresses_of
    from pycontainer.network.links import check_kind as check_kind
    from pycontainer.network.links import host_subnets as host_subnets
    from pycontainer.network.netlink import nft_finding as nft_finding
    from pycontainer.network.netlink import nft_rules as nft_rules
    from pycontainer.network.restoring import rules_base as rules_base
    from pycontainer.network.restoring import rules_part as rules_part
    from pycontainer.network.shaping import Shape as Shape

_HOMES = {
    "Bridge": "firewall",
    "Egress": "egress",
    "Firewall": "firewall",
    "Published": "firewall",
    "Route": "links",
    "Shape": "shaping",
    "addresses_of": "links",
    "check_kind": "links",
    "check_subnet": "ipam",
    "choose_address": "ipam",
    "choose_subnet": "ipam",
    "cut": "cuts",
    "forward_finding": "foreign",
    "gateway_of": "ipam",
    "guard": "egress",
    "host_subnets": "links",
    "is_guarded": "egress",
    "lift": "egress",
    "mac_of": "ipam",
    "nft_finding": "netlink",
    "nft_rules": "netlink",
    "overlaps": "ipam",
    "restrict": "egress",
    "rules_base": "restoring",
    "rules_part": "restoring",
    "table_name": "cuts",
}

__all__ = [
    "Bridge",
    "Egress",
    "Firewall",
    "Published",
    "Route",
    "Shape",
    "addresses_of",
    "check_kind",
    "check_subnet",
    "choose_address",
    "choose_subnet",
    "cut",
    "forward_finding",
    "gateway_of",
    "guard",
    "host_subnets",
    "is_guarded",
    "lift",
    "mac_of",
    "nft_finding",
    "nft_rules",
    "overlaps",
    "restrict",
    "rules_base",
    "rules_part",
    "table_name",
]


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
