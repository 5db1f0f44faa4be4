"""Which addresses networks and containers are given."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InUse, InvalidOption
from pycontainer.network import (
    check_subnet,
    choose_address,
    choose_subnet,
    gateway_of,
    mac_of,
    overlaps,
)

_PRIVATE = [IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


@st.composite
def private_subnets(draw: st.DrawFn) -> str:
    pool = draw(st.sampled_from(_PRIVATE))
    prefix = draw(st.integers(pool.prefixlen, 30))
    number = draw(st.integers(0, (1 << prefix - pool.prefixlen) - 1))
    return f"{pool.network_address + (number << 32 - prefix)}/{prefix}"


def test_networks_get_the_pools_of_docker_in_order() -> None:
    taken: list[str] = []
    for _ in range(31):
        taken.append(choose_subnet(taken))
    assert taken[0] == "172.17.0.0/16"
    assert taken[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    with pytest.raises(InUse, match=r"Network\.prune"):
        choose_subnet(taken)


@given(st.lists(private_subnets(), max_size=20))
def test_a_chosen_subnet_shares_no_address_with_what_is_taken(taken: list[str]) -> None:
    try:
        chosen = choose_subnet(taken)
    except InUse:
        return
    assert overlaps(chosen, taken) is None
    assert ip_network(chosen).is_private


@given(st.integers(0, (1 << 56) - 1))
def test_a_subnet_of_ipv6_is_a_unique_local_one_and_follows_from_the_seed(seed: int) -> None:
    chosen = choose_subnet([], seed)
    assert ip_network(chosen).subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]
    assert ip_network(chosen).prefixlen == 64
    assert choose_subnet([], seed) == chosen
    assert overlaps(choose_subnet([chosen], seed), [chosen]) is None


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        (["10.0.0.0/8"], "10.0.0.0/8"),
        (["10.1.2.128/25"], "10.1.2.128/25"),
        (["10.1.3.0/24", "fd00::/8"], None),
    ],
    ids=["around it", "within it", "beside it"],
)
def test_subnets_that_have_an_address_in_common_are_told(taken: list[str], found: str | None) -> None:
    assert overlaps("10.1.2.0/24", taken) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("10.1.0.1/24", "", ""), "host bits"),
        (("10.1.0.0/31", "", ""), "too small"),
        (("fd00:1::/127", "", ""), "too small"),
        (("ten/24", "", ""), "give one as"),
        (("127.0.0.0/16", "", ""), "no network can have"),
        (("0.0.0.0/0", "", ""), "no network can have"),
        (("224.1.0.0/16", "", ""), "no network can have"),
        (("fe80::/64", "", ""), "no network can have"),
        (("10.1.0.0/24", "10.2.0.1", ""), "not within"),
        (("10.1.0.0/24", "10.1.0.0", ""), "the subnet"),
        (("10.1.0.0/24", "10.1.0.255", ""), "the subnet"),
        (("10.1.0.0/24", "fd00::1", ""), "not within"),
        (("10.1.0.0/24", "x", ""), "no address"),
        (("10.1.0.0/24", "", "10.1.0.0/16"), "not within"),
        (("10.1.0.0/24", "", "fd00::/64"), "not within"),
        (("10.1.0.0/24", "", "y"), "ip_range"),
    ],
    ids=str,
)
def test_what_is_no_subnet_is_refused_by_name(given: tuple[str, str, str], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        check_subnet(*given)


def test_a_subnet_is_written_as_it_commonly_is() -> None:
    assert check_subnet("fd00:0001::/64", "fd00:1::0001") == ("fd00:1::/64", "fd00:1::1", "")
    assert gateway_of("10.1.0.0/24") == "10.1.0.1"


@given(private_subnets(), st.data())
def test_a_container_gets_a_free_address_of_its_subnet_while_there_is_one(
    subnet: str, data: st.DataObject
) -> None:
    network = ip_network(subnet)
    taken = {gateway_of(subnet)}
    room = min(network.num_addresses - 3, 40)
    last = ""
    for _ in range(data.draw(st.integers(0, room))):
        last = choose_address(subnet, taken, after=last)
        assert last not in taken
        assert ip_address(last) in network
        assert ip_address(last) not in (network.network_address, network.broadcast_address)
        taken.add(last)


def test_every_address_of_a_small_subnet_is_given_once_and_then_none() -> None:
    taken = {"10.1.0.1"}
    while len(taken) < 6:
        taken.add(choose_address("10.1.0.0/29", taken))
    assert taken == {f"10.1.0.{number}" for number in range(1, 7)}
    with pytest.raises(InUse, match="larger subnet"):
        choose_address("10.1.0.0/29", taken)


def test_an_address_that_was_just_given_back_is_not_the_next() -> None:
    assert choose_address("10.1.0.0/24", {"10.1.0.1"}, after="10.1.0.5") == "10.1.0.6"
    assert choose_address("10.1.0.0/24", {"10.1.0.1"}, after="10.1.0.254") == "10.1.0.2"


def test_addresses_are_chosen_of_the_range_and_wanted_ones_of_the_subnet() -> None:
    assert choose_address("10.1.0.0/16", (), ip_range="10.1.5.0/24") == "10.1.5.0"
    assert choose_address("10.1.0.0/16", (), ip_range="10.1.5.0/24", wanted="10.1.7.7") == "10.1.7.7"
    with pytest.raises(InUse, match=r"every address of 10\.1\.5\.0/31"):
        choose_address("10.1.0.0/16", {"10.1.5.0", "10.1.5.1"}, ip_range="10.1.5.0/31")


@pytest.mark.parametrize(
    ("wanted", "error"),
    [("10.1.0.1", InUse), ("10.2.0.1", InvalidOption), ("10.1.0.255", InvalidOption), ("q", InvalidOption)],
    ids=["in use", "outside", "broadcast", "no address"],
)
def test_an_address_that_cannot_be_had_is_refused(wanted: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        choose_address("10.1.0.0/24", {"10.1.0.1"}, wanted=wanted)


def test_a_hardware_address_follows_from_the_address_and_is_a_local_one() -> None:
    assert mac_of("172.17.0.2", None) == "02:42:ac:11:00:02"
    assert mac_of(None, "fd00::a:2") == "02:42:00:0a:00:02"
