"""Networks of containers, spoken to the kernel over netlink; no ip, iptables or nft binary is needed.

pyroute2 is imported on the first call that needs it, and only by netlink.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.network.cuts import cut as cut
    from pycontainer.network.netlink import nft_finding as nft_finding
    from pycontainer.network.netlink import nft_rules as nft_rules

__all__ = ["cut", "nft_finding", "nft_rules"]


def __getattr__(name: str) -> object:
    if name == "cut":
        from pycontainer.network import cuts

        return cuts.cut
    if name in __all__:
        from pycontainer.network import netlink

        return getattr(netlink, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
