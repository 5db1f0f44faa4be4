"""What the virtual machine without systemd saw: one boot for all that is looked at in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.guest import machine

# In an order in which each finds what it asks the kernel for by name, crc32c for SCTP first.
MODULES = (
    *("crc32c_generic", "nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_fib_inet"),
    *("nft_reject_inet", "nf_conntrack_netlink", "veth", "bridge", "dummy", "macvlan", "ipvlan", "8021q"),
    *("sctp", "sch_netem", "sch_tbf"),
)


@pytest.fixture(scope="session")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if os.uname().machine != "x86_64":
        pytest.skip("the guest's kernel is for x86-64")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "MODULES", (*machine.MODULES, *MODULES))
        found, said = machine.boot(tmp_path_factory.mktemp("guest"), Path(home, "pycontainer-guest"))
    print(said)
    return _Verdict(found)


class _Verdict(dict[str, Any]):
    """What the guest saw, by name; what failed in it fails who asks for that."""

    def __getitem__(self, name: str) -> Any:
        part = super().__getitem__(name)
        assert not (isinstance(part, dict) and "error" in part), part["error"]
        return part
