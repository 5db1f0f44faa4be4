"""What the monitors of containers need to make the packet filter again when another program has deleted it.

They know nothing of networks: they get messages. See launcher.monitor.rules for what becomes of these.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pycontainer.kernel import nfnetlink as nf
from pycontainer.network.cuts import cuts_base, cuts_name, table_name
from pycontainer.network.egress import Egress, guard_base, guard_name, guard_part
from pycontainer.network.firewall import Bridge, Firewall, Published

__all__ = ["rules_base", "rules_part"]


def rules_base(store_tag: str, cut: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Of each table of a store, what is in it whatever networks there are; as JSON can hold it.

    cut: pairs of addresses that are cut off from each other.
    """
    filter_, guard = nf.Table(table_name(store_tag)), nf.Table(guard_name(store_tag), nf.BRIDGE)
    found = {
        filter_.name: _described(filter_, Firewall(store_tag).base()),
        guard.name: _described(guard, guard_base(store_tag)),
    }
    if cut:
        cuts = nf.Table(cuts_name(store_tag), nf.BRIDGE)
        found[cuts.name] = _described(cuts, cuts_base(store_tag, sorted(cut)))
    return found


def rules_part(
    store_tag: str, bridges: Iterable[Bridge], ports: Iterable[Published], policies: Sequence[Egress]
) -> dict[str, list[str]]:
    """Of each table of a store that these need, what is theirs."""
    found = {
        table_name(store_tag): _text(Firewall(store_tag).part(bridges, ports, policies)),
        cuts_name(store_tag): [],  # whatever is cut off, all of it is in the base
    }
    if policies:
        found[guard_name(store_tag)] = _text(guard_part(store_tag, policies))
    return found


def _described(table: nf.Table, messages: Sequence[bytes]) -> dict[str, Any]:
    # One rule more than there is otherwise, which nothing leads to: so whoever counts them makes all anew.
    marked = [*messages, table.chain("restored"), table.rule("restored", nf.verdict(nf.RETURN))]
    count = sum(1 for each in messages if nf.is_rule(each))
    return {"family": table.family, "count": count, "messages": _text(marked)}


def _text(messages: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in messages]
