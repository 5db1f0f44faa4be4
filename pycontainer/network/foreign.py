"""Other programs' rules that stand in the way of containers' packets, and what to tell those programs.

A packet that the store's own table lets through still meets the rules of all others: of Docker, whose policy
is to forward nothing that it does not know; of firewalld, or the host's own. These are read, never changed.

Source: moby, libnetwork/iptables (DOCKER-USER); firewalld, firewall/core/nftables.py; nft(8).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pycontainer.errors import PycontainerError
from pycontainer.kernel import nfnetlink as nf
from pycontainer.kernel.probe import Finding

__all__ = ["Obstacle", "forward_finding", "obstacles"]

_FORWARD = 2  # NF_INET_FORWARD, in every family that routes
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
_OURS = "pycontainer_"
_LINKS = b"pc"
"""What the names of all our bridges begin with, but for those that were given one."""
_FIREWALLD = "firewalld"  # its chain has the policy to accept, and ends with a rule that does not
_DOCKER_USER = "DOCKER-USER"  # what Docker leaves to others, and asks first
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class Obstacle(NamedTuple):
    """A chain of another program that drops what it does not know. entry: the chain to put exceptions in."""

    family: str
    table: str
    chain: str
    entry: str


def obstacles() -> list[Obstacle]:
    """The chains that drop what containers send to other hosts, or get from them.

    Raises Unsupported, KernelError, DeadlineExceeded.
    """
    known = list(nf.chains())
    names = {(each.family, each.table, each.name) for each in known}
    found = []
    for each in known:
        if each.hook != _FORWARD or each.family not in _FAMILIES or each.table.startswith(_OURS):
            continue
        if each.policy == nf.DROP or each.table == _FIREWALLD:
            has_user = (each.family, each.table, _DOCKER_USER) in names
            entry = _DOCKER_USER if has_user else each.name
            table, chains = nf.Table(each.table, each.family), [each.name, entry]
            sides = ["iifname", "oifname"]
            if each.table == _FIREWALLD:
                # Zones are told by where packets come from, in chains of their own; published ports are open.
                chains += [name for family, _, name in names if name.startswith(each.name)]
                sides = ["iifname"]
            if not all(_lets_pass(table, chains, side) for side in sides):
                found.append(Obstacle(_FAMILIES[each.family], each.table, each.name, entry))
    return found


def _lets_pass(table: nf.Table, chains: Collection[str], side: str) -> bool:
    """Whether a rule of these chains accepts what comes from, or goes to, links that are named as ours."""
    wanted = nf.load_meta(6 if side == "iifname" else 7)[-8:]  # the key that is loaded
    for chain, expressions in nf.rules_of(table):
        parts = [nf.attributes_of(each) for _, each in nf.items_of(expressions)]
        loads = [each.get(2, b"") for each in parts if each.get(1) == b"meta\0"]
        compares = [each.get(2, b"") for each in parts if each.get(1) == b"cmp\0"]
        if chain in chains and any(wanted in each for each in loads):
            names = [nf.attributes_of(nf.attributes_of(each).get(3, b"")).get(1, b"") for each in compares]
            if any(name.startswith(_LINKS) for name in names):
                return True
    return False


def forward_finding() -> Finding:
    """Whether other programs forward what containers on networks send and get."""
    try:
        found = obstacles()
    except PycontainerError as error:
        return Finding("forward", True, f"not known: {error}", is_required=False)
    # The other address family is in no container's way unless somebody makes a network of it.
    told = [
        f"table {each.family} {each.table}, chain {each.chain} drops what it does not know" for each in found
    ]
    return Finding(
        "forward",
        not found,
        "; ".join(told) or "no other program's rules drop what containers send",
        is_required=False,
        consequence="containers on networks reach no other host, and other hosts reach no published port; "
        "where the kernel filters bridges (br_netfilter), neighbours do not reach each other",
        remedy="; ".join(dict.fromkeys(_remedy(each) for each in found)),
    )


def _remedy(obstacle: Obstacle) -> str:
    if obstacle.table == _FIREWALLD:
        # Now, and from its next start or reload on.
        command = "firewall-cmd {}--zone=trusted --add-interface=pc+"
        return f"{command.format('--permanent ')} && {command.format('')}"
    outer = " ".join(_ways_out()[:1]) or "LINK"
    pairs = [("pc+", outer), (outer, "pc+")]
    if _BRIDGED.exists() and _BRIDGED.read_text().strip() == "1":
        pairs.append(("pc+", "pc+"))  # what neighbours send each other meets the same rules then
    if obstacle.table == "filter" and obstacle.family != "inet":
        program = "ip6tables" if obstacle.family == "ip6" else "iptables"
        commands = [f"{program} -I {obstacle.entry} -i {one} -o {other} -j ACCEPT" for one, other in pairs]
    else:
        place = f"{obstacle.family} {obstacle.table} {obstacle.entry}"
        quoted = [[f"""'"{each.replace("+", "*")}"'""" for each in pair] for pair in pairs]
        commands = [f"nft insert rule {place} iifname {one} oifname {other} accept" for one, other in quoted]
    return " && ".join(commands)


def _ways_out() -> list[str]:
    """Links with a default route; see proc(5), /proc/net/route."""
    return list(_routes()) if os.path.exists("/proc/net/route") else []


def _routes() -> Iterator[str]:
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        link, destination, *rest = line.split()
        if destination == "00000000" and rest[5] == "00000000":
            yield link
