"""The forms of a container's networks: one of a few modes, or the networks it has a place in.

Several are kept as one text, joined by ";", each a name or Docker's long form "name=app,alias=db,ip=...",
whose fields may be quoted as in CSV.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pycontainer.errors import InvalidOption
from pycontainer.options.kinds import LINES, Kind, csv_fields, matching
from pycontainer.options.naming import LINKS

__all__ = [
    "ADDRESS",
    "DEFAULT_NETWORK",
    "LINK_LOCAL",
    "MAC",
    "NETWORK",
    "NETWORK_ALIASES",
    "Place",
    "is_network",
    "parse_network_name",
    "parse_place",
    "places",
]

DEFAULT_NETWORK = "bridge"
"""The network of those that ask for no other by name."""

_MODES = ("none", "host")
_NAME = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_ALIAS = r"(?a)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
_MAC = r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
_LINK = r"(?a)[A-Za-z0-9_.-]{1,15}"
_FIELDS = (
    *("name", "alias", "ip", "ip6", "mac-address", "gw-priority", "ifname", "link-local-ip"),
    "driver-opt",
)
_SEVERAL = ("alias", "link-local-ip", "driver-opt")
_ENDPOINT = "com.docker.network.endpoint."
_SYSCTL = r"(?a)net\.(ipv4|ipv6|mpls)\.[a-z]+\.IFNAME\.[a-z0-9_]+=[A-Za-z0-9_.:-]{1,64}"
_MAX_LINK_LOCAL = 16
_MAX = 64


class Place(NamedTuple):
    """A container's place in a network, as asked for. "" is left to the network. ifname, sysctls: those of
    Docker's driver options com.docker.network.endpoint; sysctls as "net.ipv4.conf.IFNAME.forwarding=1".
    links: "container:alias" each, names that this container alone knows others by.
    """

    network: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    priority: int = 0
    ifname: str = ""
    link_local: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def is_network(mode: str) -> bool:
    """Whether it is no mode, but names networks."""
    return mode not in _MODES and not mode.startswith("container:")


def places(
    network: str,
    ip: str | None,
    ip6: str | None,
    mac: str | None,
    aliases: Iterable[str] | None,
    link_local: Iterable[str] | None = None,
) -> tuple[Place, ...]:
    """The places that an option's text asks for; the other options are of the first one."""
    if not is_network(network):
        return ()
    first, *others = (_place(part) for part in network.split(";"))
    first = first._replace(
        ip=ip or first.ip,
        ip6=ip6 or first.ip6,
        mac=mac or first.mac,
        aliases=tuple(dict.fromkeys((*first.aliases, *(aliases or ())))),
        link_local=tuple(dict.fromkeys((*first.link_local, *(link_local or ())))),
    )
    return (first, *others)


def _parse(value: object) -> str:
    if isinstance(value, Mapping):
        parts = [_long_form(name, fields or {}) for name, fields in value.items()]
    elif isinstance(value, str):
        parts = value.split(";")
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        parts = [_named(item) for item in value]
    else:
        parts = [_named(value)]
    if len(parts) == 1 and (parts[0] in _MODES or parts[0].startswith("container:")):
        if parts[0].startswith("container:") and re.fullmatch(_NAME, parts[0].partition(":")[2]) is None:
            raise ValueError('give "container:NAME"')
        return parts[0]
    if not parts or len(parts) > _MAX:
        raise ValueError(f"give at least one network, and {_MAX} at most")
    found = [_place(part) for part in parts]
    names = [place.network for place in found]
    if len(set(names)) < len(names):
        raise ValueError("a network is named twice")
    return ";".join(parts)


def _named(item: object) -> str:
    """The text for one network; a Network has its name."""
    text = getattr(item, "name", item)
    if not isinstance(text, str):
        raise ValueError('give "bridge", "none", "host", "container:NAME", or the names of networks')
    return text


def _long_form(name: object, fields: Mapping[str, object]) -> str:
    words = [f"name={_named(name)}"]
    for key, content in fields.items():
        field = {"aliases": "alias", "mac": "mac-address", "link_local_ips": "link-local-ip"}.get(key, key)
        field = field.replace("_", "-")
        if isinstance(content, Mapping):
            field, content = field.removesuffix("s"), [f"{name}={each}" for name, each in content.items()]
        many = content if isinstance(content, list | tuple) else [content]
        words += [_quoted(f"{field}={each}") for each in many]
    return ",".join(words)


def _quoted(word: str) -> str:
    if ";" in word:
        raise ValueError(f"{word!r} has a semicolon in it, which no field of a network has")
    return '"' + word.replace('"', '""') + '"' if "," in word or '"' in word else word


def _place(part: str) -> Place:
    if "=" not in part:
        if re.fullmatch(_NAME, part) is None:
            raise ValueError(
                f'{part!r} is no network; give "bridge", "none", "host", "container:NAME" or a name'
            )
        if part in _MODES:
            raise ValueError(f'"{part}" goes with no other network')
        return Place(part)
    found: dict[str, list[str]] = {}
    for word in csv_fields(part):
        key, _, content = word.partition("=")
        if key not in _FIELDS or not content:
            raise ValueError(f"{word!r} is none of {', '.join(f'{field}=...' for field in _FIELDS)}")
        found.setdefault(key, []).append(content)
    for key, contents in found.items():
        if key not in _SEVERAL and len(contents) > 1:
            raise ValueError(f"{key} is given twice in {part!r}")
    one = {key: contents[0] for key, contents in found.items()}
    if "name" not in one or re.fullmatch(_NAME, one["name"]) is None or one["name"] in _MODES:
        raise ValueError(f"{part!r} names no network; begin with name=")
    ifname, sysctls = _endpoint(found.get("driver-opt", ()))
    return Place(
        network=one["name"],
        aliases=tuple(map(_alias, found.get("alias", ()))),
        ip=_address(one.get("ip", ""), 4),
        ip6=_address(one.get("ip6", ""), 6),
        mac=_mac(one.get("mac-address", "")),
        priority=_priority(one.get("gw-priority", "0")),
        ifname=_ifname(one.get("ifname", "") or ifname),
        link_local=_link_local(found.get("link-local-ip", ())),
        sysctls=sysctls,
    )


def _endpoint(options: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """What the driver options of a place say: the name of its link, and kernel settings of it."""
    ifname, sysctls = "", []
    for option in options:
        key, _, content = option.partition("=")
        if key == f"{_ENDPOINT}ifname":
            ifname = content
        elif key == f"{_ENDPOINT}sysctls":
            sysctls += content.split(",")
        else:
            raise ValueError(f"{key!r} is no option of a place; give {_ENDPOINT}ifname or {_ENDPOINT}sysctls")
    for each in sysctls:
        if re.fullmatch(_SYSCTL, each) is None:
            raise ValueError(
                f'{each!r} is no setting of a link; give one as "net.ipv4.conf.IFNAME.forwarding=1"'
            )
    return ifname, tuple(sysctls)


def _alias(text: str) -> str:
    if re.fullmatch(_ALIAS, text) is None:
        raise ValueError(f"{text!r} is no name to be found by")
    return text


def _address(text: str, version: int = 0) -> str:
    if not text:
        return ""
    import ipaddress  # 3 ms that only those pay who give one

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address") from None
    if version and address.version != version:
        raise ValueError(f"{text} is no IPv{version} address")
    return str(address)


def _link_local(value: object) -> tuple[str, ...]:
    import ipaddress  # see _address

    texts = LINES.parse([value] if isinstance(value, str) else value)
    found = tuple(dict.fromkeys(map(_address, texts)))
    for text in found:
        if not text or not ipaddress.ip_address(text).is_link_local:
            raise ValueError(
                f"{text!r} is no address of a link alone; give one of 169.254.0.0/16 or fe80::/10"
            )
    if len(found) > _MAX_LINK_LOCAL:
        raise ValueError(f"{len(found)} addresses are too many; give {_MAX_LINK_LOCAL} at most")
    return found


def _mac(text: str) -> str:
    if text and (re.fullmatch(_MAC, text) is None or int(text[1], 16) & 1):
        raise ValueError(f'{text!r} is no hardware address of one link; give one as "02:42:ac:11:00:02"')
    return text.lower().replace("-", ":")


def _priority(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,9}", text) is None:
        raise ValueError(f"gw-priority={text!r} is no number")
    return int(text)


def _ifname(text: str) -> str:
    if text and (re.fullmatch(_LINK, text) is None or text in (".", "..", "lo", "all", "default")):
        raise ValueError(f"{text!r} is no name of a link")
    return text


def _aliases(value: object) -> tuple[str, ...]:
    return tuple(map(_alias, LINES.parse(value)))


NETWORK = Kind(
    "str | Sequence[str] | Mapping[str, object] | object", "NAME", _parse, lambda value: value, True
)
ADDRESS = Kind("str", "ADDRESS", lambda value: _address(str(value)), lambda value: value)
MAC = matching(_MAC, 'give a hardware address as "02:42:ac:11:00:02"', "MAC")
LINK_LOCAL = Kind("Sequence[str] | str", "ADDRESS", _link_local, list, True)
NETWORK_ALIASES = Kind("Sequence[str] | str", "NAME", _aliases, list, True)


def parse_network_name(name: object) -> str:
    """A name for a network. Raises InvalidOption."""
    if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
        raise InvalidOption(f"name={name!r}: start with a letter or digit, then letters, digits, _ . -")
    return name


def parse_place(
    network: str,
    aliases: Iterable[str],
    ip: str | None,
    ip6: str | None,
    mac: str | None,
    priority: int,
    link_local: Iterable[str] = (),
    driver_opts: Mapping[str, str] | None = None,
    links: Iterable[str] = (),
) -> Place:
    """A place that is asked for while a container runs. Raises InvalidOption."""
    try:
        ifname, sysctls = _endpoint(f"{key}={content}" for key, content in (driver_opts or {}).items())
        return Place(
            network=network,
            aliases=_aliases(list(aliases)),
            ip=_address(ip or "", 4),
            ip6=_address(ip6 or "", 6),
            mac=_mac(mac or ""),
            priority=_priority(str(priority)),
            link_local=_link_local(link_local if isinstance(link_local, str) else list(link_local)),
            ifname=_ifname(ifname),
            sysctls=sysctls,
            links=LINKS.parse(links if isinstance(links, str) else list(links)),
        )
    except ValueError as error:
        raise InvalidOption(f"connect: {error}") from None
