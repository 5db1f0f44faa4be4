"""Messages to the kernel about links, addresses and routes, read back by a library that knows them all."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from pycontainer.network.links import Route

MAC = "02:42:ac:11:00:02"
NEW, REPLACING = 0x1 | 0x4 | 0x200 | 0x400, 0x1 | 0x4 | 0x100 | 0x400


def _decoded(kind: type[Any], call: str, *arguments: Any, **options: Any) -> list[Any]:
    with Route() as route:
        getattr(route, call)(*arguments, **options)
        messages = [kind(content) for _, content in route._queue]
    for message in messages:
        message.decode()
    return messages


def _plain(message: Any) -> dict[str, Any]:
    """Attributes by name, those of attributes within as well."""
    return {
        name: _plain(value) if isinstance(value, dict) and "attrs" in value else value
        for name, value in message["attrs"]
    }


@pytest.mark.parametrize(
    ("expected", "call", "arguments", "options"),
    [
        (
            {
                "IFLA_IFNAME": "pcbr",
                "IFLA_MTU": 1400,
                "IFLA_ADDRESS": MAC,
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "bridge",
                    "IFLA_INFO_DATA": {
                        "IFLA_BR_FORWARD_DELAY": 0,
                        "IFLA_BR_STP_STATE": 0,
                        "IFLA_BR_MCAST_SNOOPING": 0,
                    },
                },
            },
            "add_bridge",
            ("pcbr",),
            {"mtu": 1400, "mac": MAC},
        ),
        (
            {
                "IFLA_IFNAME": "veth12",
                "IFLA_MASTER": 7,
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "veth",
                    "IFLA_INFO_DATA": {
                        "VETH_INFO_PEER": {
                            "IFLA_IFNAME": "eth0",
                            "IFLA_ADDRESS": MAC,
                            "IFLA_NET_NS_FD": 5,
                            "IFLA_MTU": 1400,
                        }
                    },
                },
                "IFLA_MTU": 1400,
            },
            "add_veth",
            ("veth12", 7, "eth0", 5),
            {"mac": MAC, "mtu": 1400},
        ),
        (
            {
                "IFLA_IFNAME": "eth0",
                "IFLA_LINK": 3,
                "IFLA_ADDRESS": MAC,
                "IFLA_NET_NS_FD": 5,
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "macvlan",
                    "IFLA_INFO_DATA": {"IFLA_MACVLAN_MODE": "bridge"},
                },
            },
            "add_macvlan",
            (3, "eth0", 5),
            {"mode": "bridge", "mac": MAC},
        ),
        (
            {
                "IFLA_IFNAME": "v.20",
                "IFLA_LINK": 3,
                "IFLA_LINKINFO": {"IFLA_INFO_KIND": "vlan", "IFLA_INFO_DATA": {"IFLA_VLAN_ID": 20}},
            },
            "add_vlan",
            (3, "v.20", 20),
            {},
        ),
    ],
)
def test_a_link_is_asked_for_as_rtnetlink_has_it(
    expected: dict[str, Any], call: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    message = _decoded(ifinfmsg, call, *arguments, **options)[0]
    assert _plain(message) == expected
    assert message["header"]["flags"] == NEW


@pytest.mark.parametrize("is_isolated", [False, True])
def test_a_port_of_a_bridge_lets_packets_back_and_may_be_isolated(is_isolated: bool) -> None:
    _, port = _decoded(ifinfmsg, "add_veth", "veth1", 7, "eth0", 5, mac=MAC, is_isolated=is_isolated)
    kept = _plain(port)["IFLA_LINKINFO"]["IFLA_INFO_SLAVE_DATA"]
    assert kept == {"IFLA_BRPORT_MODE": 1, "IFLA_BRPORT_ISOLATED": int(is_isolated)}


@pytest.mark.parametrize(("call", "flags"), [("raise_link", 1), ("lower_link", 0)])
def test_a_link_goes_up_and_down(call: str, flags: int) -> None:
    (message,) = _decoded(ifinfmsg, call, "eth0")
    assert (message["flags"], message["change"]) == (flags, 1)


@pytest.mark.parametrize(
    ("address", "subnet", "prefix"), [("10.1.2.3", "10.1.0.0/16", 16), ("fd00::3", "fd00::/64", 64)]
)
def test_an_address_is_there_at_once(address: str, subnet: str, prefix: int) -> None:
    (message,) = _decoded(ifaddrmsg, "add_address", 3, address, subnet)
    attributes = _plain(message)
    assert (attributes["IFA_LOCAL"], attributes["IFA_ADDRESS"]) == (address, address)
    assert (message["index"], message["prefixlen"], attributes["IFA_FLAGS"]) == (3, prefix, 0x82)
    assert message["header"]["flags"] == REPLACING


@pytest.mark.parametrize(("gateway", "family"), [("10.1.0.1", 2), ("fd00::1", 10), (None, 2)])
def test_the_default_route_goes_by_a_gateway_or_the_link(gateway: str | None, family: int) -> None:
    (message,) = _decoded(rtmsg, "set_default_route", gateway, 3, family)
    attributes = _plain(message)
    assert (message["family"], message["table"], message["scope"]) == (family, 254, 0 if gateway else 253)
    assert (attributes["RTA_OIF"], attributes.get("RTA_GATEWAY")) == (3, gateway)
