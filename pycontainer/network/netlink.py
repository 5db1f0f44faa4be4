"""Netlink, through pyroute2; the only module that imports it.

pyroute2 costs some 150 ms to import, so it is loaded on the first call, never with this module.
"""

from __future__ import annotations

import os
from typing import Any

from pycontainer.kernel.probe import Finding

__all__ = ["nft_finding", "nft_rules"]


def _nftables() -> Any:
    """A netfilter socket. Raises OSError where the kernel has no nf_tables or refuses this user."""
    from pyroute2.nftables.main import NFTables

    return NFTables(nfgen_family=0)  # 0 lists every family; the default is IPv4 only


def nft_finding() -> Finding:
    """Whether packet filter rules can be read and written over netlink."""
    try:
        with _nftables() as socket:
            count = sum(1 for _table in socket.get_tables())
        is_ok, detail = True, f"{count} tables"
    except OSError as error:
        is_ok, detail = False, f"nfnetlink: {error.strerror or error}"
    # pyroute2 has netlink errors of its own, outside the OSError tree in some releases.
    except Exception as error:
        if type(error).__module__.split(".")[0] != "pyroute2":
            raise
        is_ok, detail = False, f"nfnetlink: {error}"
    return Finding(
        "nft",
        is_ok,
        detail,
        is_required=False,
        consequence="no published ports and no address translation for containers",
        remedy="modprobe nf_tables; as an ordinary user, only inside the user's own network namespace"
        if os.geteuid() == 0
        else "run as root",
    )


def nft_rules() -> list[str]:
    """Every table, chain, set and rule of this network namespace, as one line each, without counters."""
    found: list[str] = []
    with _nftables() as socket:
        for kind, listing in (
            ("table", socket.get_tables),
            ("chain", socket.get_chains),
            ("set", socket.get_sets),
            ("rule", socket.get_rules),
        ):
            for message in listing():
                found.append(" ".join([kind, *_identity(message)]))
    return found


def _identity(message: Any) -> list[str]:
    """Family and the attributes that say which object a netfilter message describes."""
    names = ("TABLE", "CHAIN", "NAME", "HANDLE")
    attributes = {name.rpartition("_")[2]: value for name, value, *_rest in message["attrs"]}
    return [str(message["nfgen_family"])] + [
        f"{name.lower()}={attributes[name]}" for name in names if name in attributes
    ]
