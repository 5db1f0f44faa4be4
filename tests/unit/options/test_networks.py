"""The forms in which a container's networks are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.options import Place, dump_run_options, is_network, parse_run_options, places


def asked(network: object, **given: object) -> tuple[Place, ...]:
    options = parse_run_options(network=network, **given)
    return places(options.network, options.ip, options.ip6, options.mac_address, options.network_alias)


@pytest.mark.parametrize("mode", ["none", "host", "container:box"])
def test_a_mode_is_no_network(mode: str) -> None:
    assert not is_network(parse_run_options(network=mode).network)
    assert asked(mode) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("app", (Place("app"),)),
        (["app", "back.end"], (Place("app"), Place("back.end"))),
        (
            "name=app,alias=db,alias=sql,ip=10.1.2.3,ip6=fd00:0::1,mac-address=02-42-AC-11-00-02,gw-priority=-3",
            (Place("app", ("db", "sql"), "10.1.2.3", "fd00::1", "02:42:ac:11:00:02", -3),),
        ),
        ({"app": {"aliases": ["db"]}, "back": None}, (Place("app", ("db",)), Place("back"))),
        ("name=app,ifname=lan0", (Place("app", ifname="lan0"),)),
    ],
    ids=["a name", "several", "the long form", "a mapping", "the name of a link"],
)
def test_networks_are_read_and_kept_as_they_were_asked_for(
    given: object, expected: tuple[Place, ...]
) -> None:
    assert asked(given) == expected
    kept = dump_run_options(parse_run_options(network=given))
    assert parse_run_options(**kept) == parse_run_options(network=given)  # type: ignore[arg-type]


def test_options_beside_it_are_of_the_first_network() -> None:
    found = asked(["app", "back"], ip="10.1.2.3", network_alias=["db"], mac_address="02:42:01:02:03:04")
    assert found == (Place("app", ("db",), "10.1.2.3", "", "02:42:01:02:03:04"), Place("back"))


@pytest.mark.parametrize(
    "given",
    [
        "", [], "a b", "-app", "app;app", ["app", "app"], ["app", "none"], "container:", "name=host",
        "ip=10.1.2.3", "name=app,ip=10.1.2", "name=app,ip=fd00::1", "name=app,ip6=10.1.2.3", "name=app,x=y",
        "name=app,ip=10.1.2.3,ip=10.1.2.4", "name=app,mac-address=01:42:ac:11:00:02", ["name=app,alias=a;b"],
        "name=app,gw-priority=high", "name=app,ifname=../../x", "name=app,ifname=lo", "a\nb", 7,
        [f"n{number}" for number in range(65)],
    ],
    ids=repr,
)  # fmt: skip
def test_what_names_no_network_is_refused(given: object) -> None:
    with pytest.raises(InvalidOption, match="network"):
        parse_run_options(network=given)


@pytest.mark.parametrize(
    "asked", [{"ports": {80: None}}, {"publish_all": True}, {"ip": "10.1.2.3"}, {"network_alias": "db"}]
)
def test_what_is_of_a_network_gets_the_default_one_unless_another_is_named(asked: dict[str, Any]) -> None:
    assert parse_run_options(**asked).network == "bridge"
    assert parse_run_options(network="app", **asked).network == "app"
    for mode in ("none", "host", "container:web"):
        with pytest.raises(InvalidOption, match=f"goes not with network='{mode}'"):
            parse_run_options(network=mode, **asked)
    assert parse_run_options(publish_all=False).network == "none"
