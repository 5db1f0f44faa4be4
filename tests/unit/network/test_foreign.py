"""Rules of other programs: found where they stand in the way, with a remedy that the finding then takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.needs import needs

pytestmark = needs("root", "nft", "iptables", "unshare", "ip")

# As Docker leaves it, as firewalld does, as a host's own; and what forwards everything.
DOCKER = """
table ip filter {
    chain DOCKER-USER { return; }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
"""
FIREWALLD = """
table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        reject with icmpx type admin-prohibited;
    }
}
"""
# What it has made of its remedy, as nft lists it.
REMEDIED_FIREWALLD = """
table inet firewalld {
    chain filter_FWD_trusted { accept; }
    chain filter_FORWARD_ZONES { iifname "pc*" goto filter_FWD_trusted; }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct status dnat accept
        jump filter_FORWARD_ZONES
        reject with icmpx type admin-prohibited;
    }
}
"""
OWN = """
table inet own { chain routed { type filter hook forward priority filter; policy drop; }; }
"""
OPEN = """
table ip filter { chain FORWARD { type filter hook forward priority filter; policy accept; }; }
table ip other { chain INPUT { type filter hook input priority filter; policy drop; }; }
table inet pycontainer_0123 { chain forward { type filter hook forward priority filter; policy drop; }; }
"""
SCRIPT = """
ip link set lo up
ip link add out0 type dummy 2>/dev/null || ip link add out0 type veth
ip addr add 192.0.2.1/24 dev out0
ip link set out0 up
ip route add default via 192.0.2.2 dev out0
nft -f - || exit 1
"$@" || exit 1
[ -z "$REMEDIED" ] || { sh -c "$($1 -c "$3" remedy)" && "$@"; }
"""
FIND = """
import json, sys
from pycontainer.network import forward_finding
found = forward_finding()
print(found.remedy if sys.argv[1:] else json.dumps(found._asdict()))
"""


def findings(rules: str, *, is_remedied: bool) -> list[dict[str, object]]:
    """What the doctor says in a network with these rules; then once more when its remedy was taken."""
    command = ["unshare", "--net", "sh", "-c", SCRIPT, "sh", sys.executable, "-c", FIND]
    environment = {"REMEDIED": "y" if is_remedied else "", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        command, input=rules, capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("rules", "named", "remedy"),
    [
        (DOCKER, "table ip filter, chain FORWARD", "iptables -I DOCKER-USER -i pc+ -o out0 -j ACCEPT"),
        (
            OWN,
            "table inet own, chain routed",
            "nft insert rule inet own routed iifname '\"out0\"' oifname '\"pc*\"'",
        ),
    ],
    ids=["docker", "own"],
)
def test_who_drops_is_named_and_the_remedy_is_one(rules: str, named: str, remedy: str) -> None:
    before, after = findings(rules, is_remedied=True)
    assert before["is_ok"] is False
    assert named in str(before["detail"])
    assert remedy in str(before["remedy"])
    assert after["is_ok"] is True


def test_firewalld_is_told_in_its_own_words() -> None:
    (found,) = findings(FIREWALLD, is_remedied=False)
    assert found["is_ok"] is False
    assert found["remedy"] == (
        "firewall-cmd --permanent --zone=trusted --add-interface=pc+ && "
        "firewall-cmd --zone=trusted --add-interface=pc+"
    )
    (found,) = findings(REMEDIED_FIREWALLD, is_remedied=False)
    assert found["is_ok"] is True


def test_what_forwards_or_is_the_store_s_own_is_in_nobodys_way() -> None:
    (found,) = findings(OPEN, is_remedied=False)
    assert found["is_ok"] is True
