"""Cutting containers of one bridge off from each other: pairs of addresses whose packets are dropped.

Packets between containers of one bridge are not routed, so it is a table of the bridge family that drops
them, of this store alone: two sets, of pairs of IPv4 and of IPv6 addresses, and a rule for each. It is made
anew as a whole with every change, in one transaction, and is there only while something is cut.

Neighbours are still found (ARP, neighbour discovery by link-local addresses): as behind a cable that is cut
further on, packets get lost, and nobody is told.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence

from pycontainer.errors import KernelError, Unsupported
from pycontainer.kernel import nfnetlink as nf

__all__ = ["cut", "cuts_base", "cuts_name", "send_to_bridges", "table_name"]

_FORWARD = 2  # NF_BR_FORWARD
_FILTER = -200  # NF_BR_PRI_FILTER_BRIDGED
_PROTOCOL = 1  # NFT_META_PROTOCOL
_NETWORK_HEADER = 1
# EtherType, set, type and length of an address, offset of the source; the destination lies beside it.
_KINDS = ((b"\x08\x00", "pairs4", nf.IP4, 12), (b"\x86\xdd", "pairs6", nf.IP6, 8))
_IN_ONE_MESSAGE = 500  # elements: an attribute has 64 KiB at most

Pair = tuple[str, str]


def table_name(store_tag: str) -> str:
    """The name of a store's table, and what the names of its others begin with."""
    return f"pycontainer_{store_tag}"


def cuts_name(store_tag: str) -> str:
    """The name of the table that cuts containers off."""
    return f"{table_name(store_tag)}_cuts"


def cut(store_tag: str, pairs: Collection[Pair]) -> None:
    """Drop what goes from the first address of a pair to the second, and nothing else from now on.

    Raises Unsupported where the kernel filters no packets of bridges; KernelError, DeadlineExceeded.
    """
    table = nf.Table(cuts_name(store_tag), nf.BRIDGE)
    send_to_bridges(
        [table.add(), table.delete(), *([table.add(), *cuts_base(store_tag, pairs)] if pairs else ())]
    )


def cuts_base(store_tag: str, pairs: Collection[Pair]) -> list[bytes]:
    """The messages that make what is in the table for these pairs."""
    table = nf.Table(cuts_name(store_tag), nf.BRIDGE)
    batch = [table.chain("forward", "filter", _FORWARD, _FILTER)]
    for number, (ether_type, set_, field, offset) in enumerate(_KINDS, 1):
        batch.append(table.set(number, set_, [field, field], nf.CONCAT))
        batch.append(
            table.rule(
                "forward",
                nf.load_meta(_PROTOCOL),
                nf.compare(ether_type),
                nf.load_header(_NETWORK_HEADER, offset, 2 * field[1]),
                nf.look_up(set_),
                nf.verdict(nf.DROP),
            )
        )
    return [*batch, *_elements(table, pairs)]


def send_to_bridges(batch: Sequence[bytes]) -> None:
    """Have the kernel take a batch that has messages of the bridge family. Raises as cut."""
    try:
        nf.send(batch)
    except KernelError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.ENOENT):
            raise
        raise Unsupported(
            "the kernel filters no packets within a bridge", "a kernel with CONFIG_NF_TABLES_BRIDGE"
        ) from None


def _elements(table: nf.Table, pairs: Collection[Pair]) -> Iterator[bytes]:
    for is_six, (_, set_, _, _) in enumerate(_KINDS):
        keys = {
            nf.address(source) + nf.address(target)
            for source, target in pairs
            if (":" in source) == is_six and (":" in target) == is_six
        }
        ordered = sorted(keys)
        for start in range(0, len(ordered), _IN_ONE_MESSAGE):
            yield table.elements(set_, [(key, None, 0) for key in ordered[start : start + _IN_ONE_MESSAGE]])
