"""The options of the drivers of networks, by Docker's names for them: read once, when a network is made.

Source: docker network create, reference manual; moby, daemon/libnetwork/drivers/bridge/labels.go, netlabel.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pycontainer.errors import InvalidOption

if TYPE_CHECKING:
    from pycontainer.store import NetworkRecord

__all__ = [
    "DRIVERS",
    "NAME",
    "binding_of",
    "described",
    "has_gateway",
    "is_inhibited",
    "mode_of",
    "prefix_of",
    "source_of",
    "switched",
    "trusted_of",
]

DRIVERS = ("bridge", "macvlan", "ipvlan")
NAME = "com.docker.network.bridge.name"
_SWITCHES = {4: "com.docker.network.enable_ipv4", 6: "com.docker.network.enable_ipv6"}
_MTU = "com.docker.network.driver.mtu"
_PREFIX = "com.docker.network.container_iface_prefix"
_MODES = ("nat", "nat-unprotected", "routed", "isolated")
_KINDS = {"macvlan": ("bridge", "private", "vepa", "passthru"), "ipvlan": ("l2", "l3", "l3s")}
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_LINK_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,11}", re.ASCII)


def described(driver: str, options: Mapping[str, str], *, internal: bool) -> dict[str, object]:
    """The options as the rest reads them. Raises InvalidOption."""
    if driver not in DRIVERS:
        raise InvalidOption(f"driver={driver!r}; give {', '.join(DRIVERS)}")
    known = _BRIDGE if driver == "bridge" else _beside_a_link(driver)
    found: dict[str, object] = {"internal": internal, "driver_options": dict(options)}
    for key, text in options.items():
        if key not in known:
            raise InvalidOption(f"options: the driver {driver} has no {key!r}; give {', '.join(known)}")
        try:
            name, value = known[key](text)
        except ValueError as error:
            raise InvalidOption(f"options: {key}={text!r}: {error}") from None
        found[name] = value
    if driver == "bridge":
        found = {"icc": True, "masquerade": True} | found
        if "isolated" in (found.get("mode4"), found.get("mode6")) and not internal:
            raise InvalidOption(
                "options: the gateway mode isolated is for internal networks; add internal=True"
            )
        return found
    return {"mode": _KINDS[driver][0]} | found


def switched(options: Mapping[str, str], version: int, default: bool) -> bool:
    """Whether a network has addresses of IPv4 or IPv6, which an option may say, too. Raises InvalidOption."""
    key = _SWITCHES[version]
    try:
        return _flag(options[key]) if key in options else default
    except ValueError as error:
        raise InvalidOption(f"options: {key}={options[key]!r}: {error}") from None


# -- what they say -------------------------------------------------------------------------------------


def mode_of(network: NetworkRecord, version: int) -> str:
    """How packets of IPv4 or IPv6 come in and go out: "nat", "nat-unprotected", "routed" or "isolated"."""
    return str(network.options.get(f"mode{version}", _MODES[0]))


def has_gateway(options: Mapping[str, object], version: int) -> bool:
    """Whether the host has an address in a network with these options, or containers are to go by one."""
    is_bare = version == 4 and bool(options.get("inhibits") and options.get("internal"))
    return options.get(f"mode{version}") != "isolated" and not is_bare


def is_inhibited(network: NetworkRecord) -> bool:
    """Whether the bridge gets no IPv4 address from us."""
    return bool(network.options.get("inhibits"))


def binding_of(network: NetworkRecord) -> str:
    """Where ports are published if nothing else is said; "" for where they are anyway."""
    return str(network.options.get("binding", ""))


def prefix_of(network: NetworkRecord) -> str:
    """What the names of containers' links begin with."""
    return str(network.options.get("prefix", "eth"))


def source_of(network: NetworkRecord, version: int) -> str:
    """The address of the host that containers leave by; "" for that of the link that leads there."""
    return str(network.options.get(f"source{version}", ""))


def trusted_of(network: NetworkRecord) -> tuple[str, ...]:
    """Links of the host by which published ports are reached at the containers' own addresses, too."""
    found = network.options.get("trusted")
    return tuple(map(str, found)) if isinstance(found, list) else ()


# -- how they are read ---------------------------------------------------------------------------------

_Reader = Callable[[str], tuple[str, object]]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "1", "t", "false", "0", "f"):
        raise ValueError("give true or false")
    return text.lower() in ("true", "1", "t")


def _named(name: str, read: Callable[[str], object]) -> _Reader:
    return lambda text: (name, read(text))


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"give {', '.join(words)}")
        return text

    return read


def _address(version: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError("this is no address") from None
        if address.version != version:
            raise ValueError(f"give an IPv{version} address")
        return str(address)

    return read


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 68 <= int(text) <= 65535:
        raise ValueError("give 68 to 65535")
    return int(text)


def _link(text: str) -> str:
    if _LINK.fullmatch(text) is None or text in (".", ".."):
        raise ValueError("give the name of a link, of 1 to 15 letters, digits, _ . -")
    return text


def _links(text: str) -> list[str]:
    return [_link(name) for name in text.split(":") if name]


def _prefix(text: str) -> str:
    if _LINK_PREFIX.fullmatch(text) is None:
        raise ValueError("give what the names of links begin with, of 1 to 12 letters, digits, _ . -")
    return text


_BRIDGE: Mapping[str, _Reader] = {
    NAME: _named("name", _link),
    "com.docker.network.bridge.enable_icc": _named("icc", _flag),
    "com.docker.network.bridge.enable_ip_masquerade": _named("masquerade", _flag),
    "com.docker.network.bridge.gateway_mode_ipv4": _named("mode4", _one_of(*_MODES)),
    "com.docker.network.bridge.gateway_mode_ipv6": _named("mode6", _one_of(*_MODES)),
    "com.docker.network.bridge.host_binding_ipv4": _named("binding", _address(4)),
    "com.docker.network.bridge.inhibit_ipv4": _named("inhibits", _flag),
    "com.docker.network.bridge.trusted_host_interfaces": _named("trusted", _links),
    _PREFIX: _named("prefix", _prefix),
    _MTU: _named("mtu", _size),
    "com.docker.network.host_ipv4": _named("source4", _address(4)),
    "com.docker.network.host_ipv6": _named("source6", _address(6)),
    **{key: _named(f"ipv{version}", _flag) for version, key in _SWITCHES.items()},
}


def _beside_a_link(driver: str) -> Mapping[str, _Reader]:
    flag = {"ipvlan_flag": _named("flag", _one_of("bridge", "private", "vepa"))} if driver == "ipvlan" else {}
    return {
        "parent": _named("parent", str),
        f"{driver}_mode": _named("mode", _one_of(*_KINDS[driver])),
        **flag,
        _MTU: _named("mtu", _size),
        _PREFIX: _named("prefix", _prefix),
    }
