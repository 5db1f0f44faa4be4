"""The options of the drivers of networks: what they are read as, and what is refused by name."""

from __future__ import annotations

import pytest

from pycontainer.engine import driveroptions, parents
from pycontainer.errors import InvalidOption, NotFound

_BRIDGE = "com.docker.network.bridge."
_NETWORK = "com.docker.network."


@pytest.mark.parametrize(
    ("key", "text", "name", "value"),
    [
        (f"{_BRIDGE}name", "br-app", "name", "br-app"),
        (f"{_BRIDGE}enable_icc", "false", "icc", False),
        (f"{_BRIDGE}enable_ip_masquerade", "0", "masquerade", False),
        (f"{_BRIDGE}gateway_mode_ipv4", "nat-unprotected", "mode4", "nat-unprotected"),
        (f"{_BRIDGE}gateway_mode_ipv6", "routed", "mode6", "routed"),
        (f"{_BRIDGE}host_binding_ipv4", "192.0.2.1", "binding", "192.0.2.1"),
        (f"{_BRIDGE}inhibit_ipv4", "true", "inhibits", True),
        (f"{_BRIDGE}trusted_host_interfaces", "eth1:wg0", "trusted", ["eth1", "wg0"]),
        (f"{_NETWORK}container_iface_prefix", "net", "prefix", "net"),
        (f"{_NETWORK}driver.mtu", "1400", "mtu", 1400),
        (f"{_NETWORK}host_ipv4", "192.0.2.7", "source4", "192.0.2.7"),
        (f"{_NETWORK}host_ipv6", "2001:DB8::7", "source6", "2001:db8::7"),
    ],
)
def test_an_option_is_read(key: str, text: str, name: str, value: object) -> None:
    found = driveroptions.described("bridge", {key: text}, internal=False)
    assert found[name] == value
    assert found["driver_options"] == {key: text}


@pytest.mark.parametrize(
    ("driver", "key", "text"),
    [
        ("bridge", f"{_BRIDGE}gateway_mode_ipv4", "bridged"),
        ("bridge", f"{_BRIDGE}gateway_mode_ipv4", "isolated"),  # not internal
        ("bridge", f"{_BRIDGE}host_binding_ipv4", "::1"),
        ("bridge", f"{_BRIDGE}host_binding_ipv4", "localhost"),
        ("bridge", f"{_BRIDGE}inhibit_ipv4", "perhaps"),
        ("bridge", f"{_BRIDGE}name", "../../etc"),
        ("bridge", f"{_BRIDGE}name", ".."),
        ("bridge", f"{_BRIDGE}trusted_host_interfaces", "eth1:e/h2"),
        ("bridge", f"{_NETWORK}container_iface_prefix", "a/b"),
        ("bridge", f"{_NETWORK}container_iface_prefix", "thirteenchars"),
        ("bridge", f"{_NETWORK}container_iface_prefix", ""),
        ("bridge", f"{_NETWORK}driver.mtu", "67"),
        ("bridge", f"{_NETWORK}driver.mtu", "²"),
        ("bridge", f"{_NETWORK}host_ipv6", "192.0.2.1"),
        ("bridge", "parent", "eth0"),
        ("bridge", f"{_BRIDGE}no_such", "1"),
        ("macvlan", f"{_BRIDGE}enable_icc", "true"),
        ("macvlan", "macvlan_mode", "l2"),
        ("ipvlan", "ipvlan_mode", "bridge"),
        ("ipvlan", "ipvlan_flag", "vlan"),
    ],
)
def test_what_cannot_be_is_refused_by_name(driver: str, key: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=key.rpartition(".")[2].split("_")[0]):
        driveroptions.described(driver, {key: text}, internal=False)


def test_an_unknown_driver_and_a_missing_parent_are_named() -> None:
    with pytest.raises(InvalidOption, match="overlay"):
        driveroptions.described("overlay", {}, internal=False)
    with pytest.raises(NotFound, match="no-such"):
        parents.check("no-such", "0" * 64)
