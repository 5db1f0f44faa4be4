"""What /etc/hosts and /etc/resolv.conf of a container say, by its options and networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.engine import naming
from pycontainer.engine.naming import Membership, network_files
from pycontainer.errors import InvalidOption
from pycontainer.options import parse_run_options

HOST_RESOLVER = "# made by hand\nnameserver 192.0.2.53\nsearch corp.example\noptions timeout:2 edns0\n"
APP = Membership(
    network_id="a" * 64, network="app", subnets=["10.1.0.0/24"], gateways=["10.1.0.1"],
    ipv4="10.1.0.2", aliases=["db"],
)  # fmt: skip
OTHER = APP._replace(network="other", ipv4="10.2.0.9", ipv6="fd00::9", gateways=["10.2.0.1", "fd00::1"])
DEFAULT = APP._replace(network="bridge", is_default=True)


@pytest.fixture(autouse=True)
def host_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the host's files say."""
    found = {"/etc/resolv.conf": HOST_RESOLVER, "/etc/hosts": "127.0.0.1 localhost\n10.9.9.9 box"}
    monkeypatch.setattr(naming, "_read", lambda path: found.get(path, ""))
    return found


def hosts(*memberships: Membership, **options: object) -> list[str]:
    text = network_files("box", parse_run_options(**options), memberships)["/etc/hosts"]
    return [line for line in text.splitlines() if "ip6-" not in line and "\tlocalhost" not in line]


def resolver(*memberships: Membership, **options: object) -> list[str]:
    return network_files("box", parse_run_options(**options), memberships)["/etc/resolv.conf"].splitlines()


@pytest.mark.parametrize(
    ("memberships", "options", "expected"),
    [
        pytest.param([], {}, ["127.0.1.1\tbox"], id="no network"),
        pytest.param([], {"network": "host"}, ["127.0.0.1 localhost", "10.9.9.9 box"], id="the host's"),
        pytest.param([APP], {}, ["10.1.0.2\tbox"], id="one network"),
        pytest.param([APP], {"domainname": "example.com"}, ["10.1.0.2\tbox.example.com box"], id="domain"),
        pytest.param([APP, OTHER], {}, ["10.1.0.2\tbox", "10.2.0.9\tbox", "fd00::9\tbox"], id="two networks"),
        pytest.param(
            [APP], {"extra_hosts": {"db": "10.0.0.5"}}, ["10.0.0.5\tdb", "10.1.0.2\tbox"], id="an extra one"
        ),
        pytest.param(
            [OTHER], {"extra_hosts": "host.docker.internal:host-gateway"},
            ["10.2.0.1\thost.docker.internal", "fd00::1\thost.docker.internal", "10.2.0.9\tbox",
             "fd00::9\tbox"],
            id="the host by both families",
        ),
        pytest.param(
            [], {"network": "host", "extra_hosts": "here:host-gateway"},
            ["127.0.0.1 localhost", "10.9.9.9 box", "127.0.0.1\there"], id="the host on the host",
        ),
    ],
)  # fmt: skip
def test_hosts_has_own_addresses_and_those_that_were_asked_for(
    memberships: list[Membership], options: dict[str, object], expected: list[str]
) -> None:
    assert hosts(*memberships, **options) == expected


def test_the_hosts_address_is_refused_where_the_host_has_none() -> None:
    with pytest.raises(InvalidOption, match="no network on which the host has an address"):
        hosts(extra_hosts="host:host-gateway")
    with pytest.raises(InvalidOption, match="no network on which the host has an address"):
        hosts(APP._replace(gateways=[]), extra_hosts="host:host-gateway")


@pytest.mark.parametrize(
    ("memberships", "options", "expected"),
    [
        pytest.param([], {}, [], id="no network"),
        pytest.param([], {"network": "host"}, HOST_RESOLVER.splitlines(), id="the host's own file"),
        pytest.param(
            [APP], {}, ["nameserver 127.0.0.11", "search corp.example", "options timeout:2 edns0 ndots:0"],
            id="own server",
        ),
        pytest.param(
            [APP], {"dns": "9.9.9.9", "dns_search": ".", "dns_option": "ndots:2"},
            ["nameserver 127.0.0.11", "options ndots:2"], id="own server, options",
        ),
        pytest.param(
            [DEFAULT], {}, ["nameserver 192.0.2.53", "search corp.example", "options timeout:2 edns0"],
            id="the default network has no names",
        ),
        pytest.param(
            [DEFAULT], {"dns": ["127.0.0.1"], "dns_search": ["a.example", "b.example"]},
            ["nameserver 127.0.0.1", "search a.example b.example", "options timeout:2 edns0"],
            id="what is asked for is not filtered",
        ),
        pytest.param(
            [DEFAULT, APP], {},
            ["nameserver 127.0.0.11", "search corp.example", "options timeout:2 edns0 ndots:0"],
            id="names on one of two networks",
        ),
        pytest.param(
            [], {"network": "host", "dns": "9.9.9.9"},
            ["nameserver 9.9.9.9", "search corp.example", "options timeout:2 edns0"], id="the host, dns",
        ),
        pytest.param([], {"dns": "9.9.9.9"}, ["nameserver 9.9.9.9"], id="no network, dns"),
    ],
)  # fmt: skip
def test_the_resolver_is_the_containers_own_or_what_it_can_reach(
    memberships: list[Membership], options: dict[str, object], expected: list[str]
) -> None:
    assert resolver(*memberships, **options) == expected


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        (["127.0.0.53"], ["192.0.2.1"]),
        (["127.0.0.53", "192.0.2.7"], ["192.0.2.7"]),
        (["::1", "fe80::1%eth0", "2001:db8::1", "192.0.2.7"], ["192.0.2.7"]),
        (["not-an-address", "192.0.2.7"], ["192.0.2.7"]),
    ],
)
def test_servers_of_the_hosts_loopback_are_not_given_to_the_default_network(
    host_files: dict[str, str], servers: list[str], expected: list[str]
) -> None:
    host_files["/etc/resolv.conf"] = "".join(f"nameserver {server}\n" for server in servers)
    host_files["/run/systemd/resolve/resolv.conf"] = "nameserver 192.0.2.1\n"
    assert resolver(DEFAULT) == [f"nameserver {server}" for server in expected]


def test_a_server_of_ipv6_is_given_to_a_container_that_has_ipv6(host_files: dict[str, str]) -> None:
    host_files["/etc/resolv.conf"] = "nameserver 2001:db8::1\n"
    assert resolver(DEFAULT) == []
    assert resolver(DEFAULT._replace(ipv6="fd00::2")) == ["nameserver 2001:db8::1"]


def test_a_removed_network_leaves_no_directory(tmp_path: Path) -> None:
    directory = naming.names_directory(tmp_path, "a" * 64)
    directory.mkdir(parents=True)
    (directory / "file").write_text("{}")
    naming.forget_network(tmp_path, "a" * 64)
    naming.forget_network(tmp_path, "a" * 64)
    assert list((tmp_path / "networks").iterdir()) == []
