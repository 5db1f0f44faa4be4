"""The rules of published ports, as nft reads them back from the kernel."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.needs import needs

pytestmark = needs("root", "nft", "unshare")

SCRIPT = """
import subprocess
from pycontainer.network import Bridge, Firewall, Published
firewall = Firewall("test")
firewall.ensure([Bridge(name="pc-test", subnets=("10.1.0.0/24", "fd00::/64"))], [])
ports = [
    Published(protocol=protocol, host_address=host, host_port=3868, address=address, port=38)
    for protocol in ("tcp", "udp", "sctp")
    for host, address in (("127.0.0.1", "10.1.0.2"), ("0.0.0.0", "10.1.0.2"), ("::", "fd00::2"))
]
firewall.publish(ports)
def shown():
    command = "nft list table inet pycontainer_test".split()
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    return [part.strip() for part in listed.replace("{", ",").replace("}", ",").split(",") if ": " in part]
print("\\n".join(shown()))
firewall.withdraw(ports)
assert not [part for part in shown() if ". 38" in part]
"""


MODES = """
import json, subprocess
from pycontainer.network import Bridge, Firewall, Published
firewall = Firewall("test")
both = {"subnets": ("10.1.0.0/24", "fd00::/64"), "trusted": ("eth1",)}
bridges = [
    Bridge(name="pc-out", modes={4: "routed", 6: "nat-unprotected"}, sources={6: "fd09::1"}, **both),
    Bridge(name="pc-in", subnets=("10.2.0.0/24",), modes={4: "routed"}, trusted=("eth1",), is_internal=True),
]
direct = dict(host_port=0, port=38, is_direct=True)
ports = [
    Published(protocol="tcp", host_address="0.0.0.0", address="10.1.0.2", **direct),
    Published(protocol="udp", host_address="::", address="fd00::2", **direct),
    Published(protocol="tcp", host_address="127.0.0.2", host_port=3868, address="10.1.0.2", port=39),
]
def shown():
    listed = json.loads(subprocess.check_output("nft -j list table inet pycontainer_test".split()))
    kinds = [each.get("set") or each.get("map") for each in listed["nftables"]]
    return {each["name"]: each["elem"] for each in kinds if each and each.get("elem")}
firewall.ensure([], [])
for bridge in bridges:
    firewall.add_bridge(bridge)
firewall.publish(ports)
print(json.dumps(shown()))
firewall.withdraw(ports)
for bridge in bridges:
    firewall.remove_bridge(bridge)
assert shown() == {}, shown()
"""


def test_a_network_is_open_as_its_gateway_modes_say_and_nothing_of_it_is_left() -> None:
    command = ["unshare", "--net", sys.executable, "-c", MODES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["routed4"] == ["pc-out"]  # internal networks are routed nowhere
    assert seen["open6"] == ["pc-out"]
    assert seen["trusted"] == [{"concat": ["eth1", "pc-out"]}]
    assert seen["direct4"] == [{"concat": ["tcp", "10.1.0.2", 38]}]
    assert seen["direct6"] == [{"concat": ["udp", "fd00::2", 38]}]
    assert seen["loopback"] == [{"concat": ["tcp", "127.0.0.2", 3868]}]
    assert [source for _, source in seen["sources6"]] == ["fd09::1"]
    assert {"masqueraded4", "masqueraded6", "open4", "routed6", "any4", "any6"}.isdisjoint(seen)


def test_ports_of_every_protocol_lead_to_the_container_and_go_again() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for protocol in ("tcp", "udp", "sctp"):
        assert f"{protocol} . 127.0.0.1 . 3868 : 10.1.0.2 . 38" in done.stdout
        assert f"{protocol} . 3868 : 10.1.0.2 . 38" in done.stdout
        assert f"{protocol} . 3868 : fd00::2 . 38" in done.stdout
