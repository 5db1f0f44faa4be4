"""Networks, places in them and volumes in the database; a database of the version before them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from pycontainer.errors import AlreadyExists, InUse, NotFound
from pycontainer.store import EndpointRecord, NetworkRecord, StateDB, SubnetRecord, VolumeRecord
from pycontainer.store.database import SCHEMA_VERSION
from pycontainer.store.layout import Layout
from tests.unit.store.records import container, digest, image


def network(name: str, *subnets: str) -> NetworkRecord:
    return NetworkRecord(
        id=digest(name)[7:], name=name, driver="bridge", created_at=1.0, bridge=f"pc-{name}",
        subnets=tuple(SubnetRecord(subnet=each, gateway="", ip_range="") for each in subnets),
        options={"internal": True}, labels={"team": "ü"},
    )  # fmt: skip


def place(of: str, at: str, ipv4: str | None = None, ipv6: str | None = None) -> EndpointRecord:
    return EndpointRecord(
        network_id=network(at).id, container_id=container(of).id, mac="02:00:00:00:00:01", ifname="eth0",
        ipv4=ipv4, ipv6=ipv6, options={"aliases": [of]},
    )  # fmt: skip


def test_a_network_is_read_back_as_it_was_put(state: StateDB) -> None:
    made = network("app", "10.1.0.0/24", "fd00:1::/64")
    state.networks.insert(made)
    assert (
        state.networks.get(made.id) == state.networks.find("app") == state.networks.find(made.id[:8]) == made
    )
    assert state.networks.list() == [made]


@pytest.mark.parametrize("subnet", ["10.1.0.0/24", "10.1.0.128/25", "10.0.0.0/8"])
def test_networks_share_neither_name_nor_addresses(state: StateDB, subnet: str) -> None:
    state.networks.insert(network("app", "10.1.0.0/24", "fd00:1::/64"))
    with pytest.raises(AlreadyExists, match="app"):
        state.networks.insert(network("app"))
    with pytest.raises(AlreadyExists, match=f"{subnet} overlaps 10.1.0.0/24 of network app"):
        state.networks.insert(network("other", "10.2.0.0/24", subnet))
    state.networks.insert(network("other", "10.2.0.0/24"))


def test_a_place_is_unique_and_goes_with_its_container(state: StateDB) -> None:
    state.networks.insert(network("app", "10.1.0.0/24"))
    for name in ("a", "b"):
        state.containers.insert(container(name))
    state.endpoints.insert(place("a", "app", "10.1.0.2", "fd00::2"))
    with pytest.raises(AlreadyExists, match="connected to network"):
        state.endpoints.insert(place("a", "app", "10.1.0.3"))
    with pytest.raises(InUse, match=r"10\.1\.0\.2 is that of container a"):
        state.endpoints.insert(place("b", "app", "10.1.0.2"))
    with pytest.raises(InUse, match="fd00::2 is that of container a"):
        state.endpoints.insert(place("b", "app", "10.1.0.3", "fd00::2"))
    with pytest.raises(InUse, match="has containers: a"):
        state.networks.delete(network("app").id)
    state.containers.delete(container("a").id)
    assert state.endpoints.list() == []
    state.endpoints.insert(place("b", "app", "10.1.0.2", "fd00::2"))
    assert state.endpoints.delete(network("app").id, container("b").id)
    assert state.networks.delete(network("app").id)
    assert not state.networks.delete(network("app").id)
    state.networks.insert(network("other", "10.1.0.0/24"))


def test_a_place_needs_its_network_and_its_container(state: StateDB) -> None:
    with pytest.raises(NotFound, match="network"):
        state.endpoints.insert(place("a", "app"))
    state.networks.insert(network("app"))
    with pytest.raises(NotFound, match="container"):
        state.endpoints.insert(place("a", "app"))


def test_places_without_an_address_are_no_conflict(state: StateDB) -> None:
    state.networks.insert(network("app"))
    for name in ("a", "b"):
        state.containers.insert(container(name))
        state.endpoints.insert(place(name, "app"))
    assert len(state.endpoints.of_network(network("app").id)) == 2
    assert state.endpoints.of_container(container("a").id) == [place("a", "app")]


def volume(name: str, goes_with: str | None = None) -> VolumeRecord:
    return VolumeRecord(
        name=name, driver="local", created_at=1.0, options={"type": "tmpfs"}, labels={"a": "b"},
        is_anonymous=goes_with is not None, goes_with=goes_with,
    )  # fmt: skip


def test_a_volume_is_read_back_as_it_was_put(state: StateDB) -> None:
    for made in (volume("data"), volume("other", "c")):
        state.volumes.insert(made)
        assert state.volumes.get(made.name) == made
    with pytest.raises(AlreadyExists, match="data"):
        state.volumes.insert(volume("data"))
    assert [each.name for each in state.volumes.list()] == ["data", "other"]


def test_a_volume_in_use_stays_until_its_containers_go(state: StateDB) -> None:
    state.volumes.insert(volume("data"))
    state.containers.insert(container("a"))
    with pytest.raises(NotFound, match="none"):
        state.volumes.use(container("a").id, ["data", "none"])
    assert state.volumes.users("data") == []
    state.volumes.use(container("a").id, ["data"])
    state.volumes.use(container("a").id, ["data"])
    assert state.volumes.users("data") == [container("a").id]
    assert state.volumes.of_container(container("a").id) == [volume("data")]
    with pytest.raises(InUse, match="used by a"):
        state.volumes.delete("data")
    state.containers.delete(container("a").id)
    assert state.volumes.delete("data")
    assert not state.volumes.delete("data")


def test_a_database_of_the_version_before_is_brought_up_to_date(state: StateDB, layout: Layout) -> None:
    state.images.put(image("a", ["base"]), [])
    state.containers.insert(container("old", of="a"))
    state.close()
    with closing(sqlite3.connect(layout.database)) as connection:
        of_networks = ("volume_uses", "volumes", "endpoints", "subnets", "networks")
        for table in ("build_cache", "build_sums", *of_networks):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    again = StateDB(layout)
    assert [each.name for each in again.containers.list()] == ["old"]
    again.networks.insert(network("app", "10.1.0.0/24"))
    again.endpoints.insert(place("old", "app", "10.1.0.2"))
    again.close()
    with closing(sqlite3.connect(layout.database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
