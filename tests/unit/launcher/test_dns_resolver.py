"""What a question is answered with, from files that name the containers of a network."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer.kernel import pidfd
from pycontainer.launcher import status
from pycontainer.launcher.dns import files, names, resolver, wire
from tests.support import dns

SELF = "0" * 64
WEB = "1" * 64
TWIN = "2" * 64


class Place:
    """Networks as directories, and containers that this process is the monitor of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.containers = root / "containers"
        self.containers.mkdir()

    def run(self, container_id: str, **changed: Any) -> None:
        """Have a status that says that it runs, by what is changed in it."""
        directory = self.containers / container_id
        directory.mkdir(exist_ok=True)
        me = os.getpid()
        fields = {"state": "running", "boot_id": status.BOOT_ID, "monitor_pid": me}
        fields |= {"monitor_start": pidfd.start_time(me), **changed}
        (directory / "status.json").write_text(json.dumps(fields))

    def network(self, name: str, **changed: Any) -> dict[str, Any]:
        """A network as a name server is told of it."""
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        found = {"name": name, "names": str(directory), "subnets": [["0a010000", 24]], "is_internal": False}
        return {**found, **changed}

    def join(self, network: str, container_id: str, *known: str, ipv4: str = "", ipv6: str = "") -> None:
        """Have a container known on a network."""
        fields = {"names": known, "ipv4": ipv4 or None, "ipv6": ipv6 or None}
        files.write(str(self.root / network), container_id, fields)

    def resolver(self, *networks: dict[str, Any], **described: Any) -> resolver.Resolver:
        """The view of the container SELF."""
        told = {"id": SELF, "containers": str(self.containers), "networks": networks, **described}
        return resolver.Resolver(told)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.run(WEB)
    made.run(TWIN)
    return made


def look_up(view: resolver.Resolver, name: str, kind: int = dns.A) -> tuple[int, list[str]] | str:
    """Code and addresses, or "forwarded"."""
    query = wire.parse_query(dns.question(name, kind))
    verdict = view.judge(query)
    if verdict.is_forwarded:
        return "forwarded"
    answer = wire.response(query, verdict.code, verdict.records)
    return verdict.code, sorted(dns.addresses(answer))


@pytest.fixture
def view(place: Place) -> resolver.Resolver:
    """A container on the networks app and other; web is on both, twin on app alone."""
    app, other = place.network("App"), place.network("other", subnets=[["0a020000", 24]])
    place.join("App", WEB, "Web", "db", WEB[:12], ipv4="10.1.0.2", ipv6="fd00::2")
    place.join("other", WEB, "Web", ipv4="10.2.0.2")
    place.join("App", TWIN, "twin", "db", ipv4="10.1.0.3")
    place.network("secret")
    place.join("secret", WEB, "hidden", ipv4="10.3.0.2")
    return place.resolver(app, other, links={"Store": "twin"})


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        pytest.param("web", dns.A, (0, ["10.1.0.2", "10.2.0.2"]), id="on every network that is shared"),
        pytest.param("WEB", dns.A, (0, ["10.1.0.2", "10.2.0.2"]), id="in any case"),
        pytest.param("web.app", dns.A, (0, ["10.1.0.2"]), id="with the network's name"),
        pytest.param("Web.OTHER", dns.A, (0, ["10.2.0.2"]), id="with the other network's name"),
        pytest.param("db", dns.A, (0, ["10.1.0.2", "10.1.0.3"]), id="an alias of two"),
        pytest.param(WEB[:12], dns.A, (0, ["10.1.0.2"]), id="the short id"),
        pytest.param("store", dns.A, (0, ["10.1.0.3"]), id="a link"),
        pytest.param("web", dns.AAAA, (0, ["fd00::2"]), id="IPv6"),
        pytest.param("twin", dns.AAAA, (0, []), id="no IPv6: no data"),
        pytest.param("web", dns.MX, (0, []), id="another kind: no data"),
        pytest.param("web", dns.HTTPS, (0, []), id="a kind of today: no data"),
        pytest.param("web.app", dns.ANY, (0, ["10.1.0.2", "fd00::2"]), id="any kind"),
        pytest.param("nobody", dns.A, (3, []), id="a single label that nobody has"),
        pytest.param("nobody", dns.AAAA, (3, []), id="a single label that nobody has, IPv6"),
        pytest.param("hidden", dns.A, (3, []), id="on another network"),
        pytest.param("com", dns.MX, "forwarded", id="a top-level domain's own records"),
        pytest.param("", 2, "forwarded", id="the root's servers"),
        pytest.param("web.secret", dns.A, "forwarded", id="a network that is none of its own"),
        pytest.param("www.example.com", dns.A, "forwarded", id="the world"),
        pytest.param("localhost", dns.A, (0, ["127.0.0.1"]), id="localhost"),
        pytest.param("a.localhost", dns.AAAA, (0, ["::1"]), id="below localhost"),
        pytest.param("localhost", dns.MX, (0, []), id="localhost, another kind"),
    ],
)
def test_a_name_is_answered_from_the_networks_that_are_shared(
    view: resolver.Resolver, name: str, kind: int, expected: object
) -> None:
    assert look_up(view, name, kind) == expected


def pointer(view: resolver.Resolver, name: str) -> bytes | int | str:
    verdict = view.judge(wire.parse_query(dns.question(name, dns.PTR)))
    if verdict.is_forwarded:
        return "forwarded"
    return verdict.records[0].value if verdict.records else verdict.code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("2.0.1.10.in-addr.arpa", dns.name("web.app"), id="a container's"),
        pytest.param("2.0.2.10.IN-ADDR.arpa", dns.name("web.other"), id="on the other network"),
        pytest.param("3." + "0." * 29 + "d.f.ip6.arpa", "forwarded", id="not the address of anybody"),
        pytest.param("2." + "0." * 29 + "d.f.ip6.arpa", dns.name("web.app"), id="IPv6"),
        pytest.param("9.0.1.10.in-addr.arpa", wire.NXDOMAIN, id="free on one of the networks"),
        pytest.param("9.0.3.10.in-addr.arpa", "forwarded", id="on no network of its own"),
        pytest.param("8.8.8.8.in-addr.arpa", "forwarded", id="the world's"),
        pytest.param("300.0.1.10.in-addr.arpa", "forwarded", id="no address"),
        pytest.param("1.10.in-addr.arpa", "forwarded", id="half an address"),
        pytest.param("in-addr.arpa", "forwarded", id="the domain itself"),
    ],
)
def test_an_address_has_a_name_on_the_networks(
    view: resolver.Resolver, name: str, expected: bytes | int | str
) -> None:
    assert pointer(view, name) == expected


def test_the_order_of_several_addresses_changes(view: resolver.Resolver) -> None:
    query = wire.parse_query(dns.question("db"))
    firsts = {view.judge(query).records[0].value for _ in range(200)}
    assert firsts == {bytes((10, 1, 0, 2)), bytes((10, 1, 0, 3))}


def test_nothing_is_asked_elsewhere_for_a_container_on_internal_networks_alone(place: Place) -> None:
    inner, outer = place.network("inner", is_internal=True), place.network("outer")
    place.join("inner", WEB, "web", ipv4="10.1.0.2")
    shut = place.resolver(inner)
    assert look_up(shut, "web") == (0, ["10.1.0.2"])
    assert look_up(shut, "www.example.com") == (wire.REFUSED, [])
    assert pointer(shut, "8.8.8.8.in-addr.arpa") == wire.REFUSED
    assert look_up(place.resolver(inner, outer), "www.example.com") == "forwarded"
    assert look_up(place.resolver(), "www.example.com") == (wire.REFUSED, [])


@pytest.mark.parametrize(
    ("forwards", "name", "is_forwarded"),
    [
        (False, "www.example.com", False),
        (["example.com"], "example.com", True),
        (["Example.COM."], "example.com", True),
        (["example.com"], "www.example.com", False),
        (["*.example.com"], "www.example.com", True),
        (["*.example.com"], "a.b.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "badexample.com", False),
        (["example.com"], "example.com.evil.org", False),
    ],
)
def test_an_egress_policy_says_what_may_be_asked_elsewhere(
    place: Place, forwards: bool | list[str], name: str, is_forwarded: bool
) -> None:
    found = look_up(place.resolver(place.network("app"), forwards=forwards), name)
    assert found == ("forwarded" if is_forwarded else (wire.REFUSED, []))


# -- the files


def test_a_change_is_seen_by_the_next_question(place: Place) -> None:
    view = place.resolver(place.network("app"))
    assert look_up(view, "web")[0] == wire.NXDOMAIN
    for last in range(2, 30):  # many within one tick of the directory's time
        place.join("app", WEB, "web", ipv4=f"10.1.0.{last}")
        assert look_up(view, "web") == (0, [f"10.1.0.{last}"])
    files.remove(str(place.root / "app"), WEB)
    assert look_up(view, "web")[0] == wire.NXDOMAIN
    files.remove(str(place.root / "app"), WEB)


def test_a_change_is_seen_when_all_was_quiet_before(place: Place) -> None:
    view = place.resolver(place.network("app"))
    place.join("app", WEB, "web", ipv4="10.1.0.2")
    past = time.time_ns() - 10**9
    os.utime(place.root / "app", ns=(past, past))
    assert look_up(view, "web") == (0, ["10.1.0.2"])
    place.join("app", WEB, "web", ipv4="10.1.0.3")
    assert look_up(view, "web") == (0, ["10.1.0.3"])


@pytest.mark.parametrize(
    "status_now",
    [
        {"state": "exited"},
        {"state": "created"},
        {"boot_id": "another boot"},
        {"monitor_start": 1},
        {"monitor_pid": 2**22 - 1},
    ],
    ids=["ended", "not started", "of an earlier boot", "another process", "no process"],
)
def test_the_name_of_a_container_that_does_not_run_is_unknown(
    place: Place, status_now: dict[str, Any]
) -> None:
    view = place.resolver(place.network("app"))
    place.join("app", WEB, "web", ipv4="10.1.0.2")
    place.run(WEB, **status_now)
    assert look_up(view, "web") == (wire.NXDOMAIN, [])
    assert pointer(view, "2.0.1.10.in-addr.arpa") == wire.NXDOMAIN
    place.run(WEB)
    assert look_up(view, "web") == (0, ["10.1.0.2"])


def test_a_container_that_is_half_removed_is_unknown(place: Place) -> None:
    view = place.resolver(place.network("app"))
    place.join("app", "9" * 64, "web", ipv4="10.1.0.2")
    assert look_up(view, "web") == (wire.NXDOMAIN, [])
    (place.containers / ("9" * 64)).mkdir()
    (place.containers / ("9" * 64) / "status.json").write_text("{")
    assert look_up(view, "web") == (wire.NXDOMAIN, [])


def test_a_container_knows_itself_before_its_status_says_so(place: Place) -> None:
    view = place.resolver(place.network("app"))
    place.join("app", SELF, "me", ipv4="10.1.0.9")
    assert look_up(view, "me") == (0, ["10.1.0.9"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"names": "web"}',
        b'{"names": [1], "ipv4": "10.1.0.2"}',
        b'{"names": ["web"], "ipv4": "10.1.0"}',
        b'{"names": ["web"], "ipv4": 7}',
        b'{"names": ["web"], "ipv4": "10.1.0.2", "x": "' + b"y" * names.MAX_FILE + b'"}',
        b"[" * 100000,
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_none_of_ours_names_nobody(place: Place, content: bytes) -> None:
    view = place.resolver(place.network("app"))
    (place.root / "app" / f"{WEB}.json").write_bytes(content)
    place.join("app", TWIN, "twin", ipv4="10.1.0.3")
    assert look_up(view, "web") == (wire.NXDOMAIN, [])
    assert look_up(view, "twin") == (0, ["10.1.0.3"])


def test_links_pipes_and_other_names_in_the_directory_are_passed_over(place: Place) -> None:
    view = place.resolver(place.network("app"))
    place.join("app", TWIN, "twin", ipv4="10.1.0.3")
    directory = place.root / "app"
    (directory / f"{WEB}.json").symlink_to(f"{TWIN}.json")
    os.mkfifo(directory / f"{'3' * 64}.json")
    (directory / f".{WEB}.77.new").write_text("{")
    (directory / "notes.json").write_text("{}")
    (directory / f"{'4' * 64}.json").mkdir()
    assert look_up(view, "twin") == (0, ["10.1.0.3"])


def test_a_network_without_a_directory_names_nobody(place: Place) -> None:
    network = place.network("app")
    (place.root / "app").rmdir()
    view = place.resolver(network)
    assert look_up(view, "web") == (wire.NXDOMAIN, [])
    (place.root / "app").mkdir()
    place.join("app", WEB, "web", ipv4="10.1.0.2")
    assert look_up(view, "web") == (0, ["10.1.0.2"])


def test_a_name_that_cannot_be_written_whole_leaves_nothing(place: Place) -> None:
    place.network("app")
    with pytest.raises(TypeError):
        files.write(str(place.root / "app"), WEB, {"names": object()})
    assert list((place.root / "app").iterdir()) == []


def test_five_hundred_containers_are_known_without_delay(place: Place) -> None:
    view = place.resolver(place.network("app"))
    for number in range(500):
        container_id = f"{number:064x}"
        place.run(container_id)
        place.join("app", container_id, f"c{number}", ipv4=f"10.1.{number // 250}.{number % 250 + 1}")
    past = time.time_ns() - 10**9
    os.utime(place.root / "app", ns=(past, past))
    assert look_up(view, "c0")[0] == 0
    begun = time.process_time()
    for number in range(500):
        assert look_up(view, f"c{number}")[0] == 0
    assert time.process_time() - begun < 5
