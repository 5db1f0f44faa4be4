"""What containers that run need of the packet filter, told to their monitors (launcher.monitor.rules).

The monitors make it again when another program has deleted it: no process of ours but these is sure to run.
What every container needs is in a file of the store in /run, which is written with the rules themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer import __version__
from pycontainer.engine.events import uses
from pycontainer.launcher import ask, status

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Published
    from pycontainer.options import RunOptions
    from pycontainer.store import NetworkRecord

__all__ = [
    "STORES",
    "are_seen",
    "base_path",
    "described",
    "forget",
    "note_seen",
    "tell",
    "unsee",
    "write_base",
]

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


def are_seen(store_tag: str, generation: int) -> bool:
    """Whether a process has found the store's rules whole when all rules were of this generation."""
    try:
        return _seen_path(store_tag).read_text() == _seen(generation) and base_path(store_tag).exists()
    except FileNotFoundError:
        return False


def note_seen(store_tag: str, generation: int) -> None:
    """Spare the next process the look, which takes as long as the rest of its container's network."""
    if base_path(store_tag).exists():  # else nothing would tell whose it is
        _seen_path(store_tag).write_text(_seen(generation))  # half of it is as good as none


def unsee(store_tag: str) -> None:
    """Have the next process look; idempotent."""
    _seen_path(store_tag).unlink(missing_ok=True)


def forget(store_tag: str) -> None:
    """Delete what tells of a store without networks; idempotent."""
    for path in (STORES / store_tag, base_path(store_tag), _seen_path(store_tag)):
        path.unlink(missing_ok=True)


def _seen_path(store_tag: str) -> Path:
    return STORES / f"{store_tag}.seen"


def _seen(generation: int) -> str:
    """Whose generation it is: of this network namespace since this boot, as this version makes its rules."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    return f"{__version__} {status.BOOT_ID} {namespace} {generation}"


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
