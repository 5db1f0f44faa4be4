"""The rules of published ports, as nft reads them back from the kernel."""

from __future__ import annotations

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


def test_ports_of_every_protocol_lead_to_the_container_and_go_again() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for protocol in ("tcp", "udp", "sctp"):
        assert f"{protocol} . 127.0.0.1 . 3868 : 10.1.0.2 . 38" in done.stdout
        assert f"{protocol} . 3868 : 10.1.0.2 . 38" in done.stdout
        assert f"{protocol} . 3868 : fd00::2 . 38" in done.stdout
