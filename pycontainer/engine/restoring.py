"""What containers that run need of the packet filter, told to their monitors (launcher.monitor.rules).

The monitors make it again when another program has deleted it: no process of ours but these is sure to run.
What every container needs is in a file of the store in /run, which is written with the rules themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.engine.events import uses
from pycontainer.launcher import ask

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Published
    from pycontainer.options import RunOptions
    from pycontainer.store import NetworkRecord

__all__ = ["STORES", "base_path", "described", "tell", "write_base"]

STORES = Path("/run/pycontainer/stores")
"""Where stores that have networks tell of themselves."""


def base_path(store_tag: str) -> Path:
    """The file of what is in a store's tables whatever networks there are."""
    return STORES / f"{store_tag}.rules"


def write_base(engine: Engine) -> None:
    """Write it, unless it is there as it should be, or the store has no bridges (any more), which the first
    file of its own tells. With the lock of the store's rules held.
    """
    from pycontainer.engine import partitioning
    from pycontainer.network import rules_base

    if not (STORES / engine.store_tag).exists():
        return
    cut = partitioning.pairs(engine)
    place, content = base_path(engine.store_tag), json.dumps(rules_base(engine.store_tag, cut))
    if place.exists() and place.read_text() == content:
        return
    place.parent.mkdir(0o755, parents=True, exist_ok=True)
    new = place.with_suffix(".rules.new")
    new.write_text(content)
    new.rename(place)


def described(
    engine: Engine,
    container_id: str,
    options: RunOptions,
    published: Sequence[Published],
    networks: Iterable[NetworkRecord],
) -> dict[str, Any] | None:
    """What the monitor of a container in these networks needs to make its rules again; None if none."""
    from pycontainer.engine import bridging, egress
    from pycontainer.network import rules_part

    bridges = [bridge for each in networks if (bridge := bridging.bridge_of(each)) is not None]
    if not bridges:
        return None
    policies = [egress.policy_of(engine, container_id, options)] if egress.is_limited(options) else []
    own = rules_part(engine.store_tag, bridges, published, policies)
    return {"base": str(base_path(engine.store_tag)), "own": own}


def tell(container: Container, options: RunOptions) -> None:
    """Have a container that runs have the rules of its places and these options, and its published ports lead
    to where it is.

    Raises WrongState when it does not run, DeadlineExceeded, KernelError.
    """
    from pycontainer.engine import bridging, networking, publishing

    engine = container._engine
    old = publishing.published(container._observed)
    places = networking.places_of(engine, container.id)
    new = publishing.moved(old, places)
    networks = [network for _, network in places]
    request: dict[str, Any] = {
        "op": "rules",
        "rules": described(engine, container.id, options, new, networks),
        "uses": uses(engine, container._current, options),
    }
    if new == old:
        ask(str(container._directory), request)
        return
    firewall = bridging.firewall_of(engine)
    request["ports"] = publishing.described(firewall, new)
    ask(str(container._directory), request)
    firewall.withdraw([each for each in old if each not in new])
    firewall.publish([each for each in new if each not in old])
