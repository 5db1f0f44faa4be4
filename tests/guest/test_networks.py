"""Networks on a kernel with more modules than hosts may have: a virtual machine says what it saw."""

from __future__ import annotations

from typing import Any

import pytest

from tests.guest import machine
from tests.support.needs import needs

pytestmark = [
    needs("root", "qemu-system-x86_64", "busybox", "mkfs.ext4", "apt-get"),
    pytest.mark.slow,
    pytest.mark.timeout(machine.BOOT_LIMIT_S + 60),
]


def test_latency_and_loss_are_as_asked_for_both_ways(verdict: dict[str, Any]) -> None:
    seen = verdict["impaired"]
    assert seen["before"]["exit_code"] == 0
    # Each of the two ways takes at least the latency without its jitter.
    assert len(seen["late"]["ms"]) == 5
    assert min(seen["late"]["ms"]) >= 2 * 140
    assert min(seen["slow"]["ms"]) >= 2 * 100
    assert seen["lost"] == {"exit_code": 1, "ms": []}
    assert seen["after"]["exit_code"] == 0
    assert min(seen["after"]["ms"]) < 2 * 100


def test_sctp_is_published(verdict: dict[str, Any]) -> None:
    assert verdict["sctp"] == {"heard": "of the container", "is_held": True}


@pytest.mark.parametrize(
    ("kind", "reached"), [("ipvlan", 0), ("ipvlan l3", 0), ("ipvlan l3s", 0), ("ipvlan private", 1)]
)
def test_containers_share_a_hardware_address_with_ipvlan(
    verdict: dict[str, Any], kind: str, reached: int
) -> None:
    assert (verdict[kind]["reached"], verdict[kind]["macs"]) == (reached, 1)


def test_a_vlan_is_made_for_its_network_and_goes_with_it(verdict: dict[str, Any]) -> None:
    seen = verdict["vlan"]
    assert (seen["reached"], seen["macs"]) == (0, 2)
    assert "out0.10" in seen["links"]
    assert "out0.10" not in seen["left"]
