"""Whether what a killed process left of networks is to be put right: looked for without what does that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["sweep"]

_CUTS, _FAULTS = "cuts", "faults"


def sweep(engine: Engine, *, is_forced: bool) -> None:
    """Put right what is found. is_forced: containers have ended unseen, and may have left rules."""
    place = str(engine.store.root / "networks")
    try:
        found = os.listdir(place)
    except FileNotFoundError:
        return
    known = {network.id for network in engine.store.state.networks.list()}
    if is_forced or not known.issuperset(found):
        from pycontainer.engine import bridging

        bridging.sweep(engine, is_forced=is_forced)
    if _any_has(place, found, _CUTS):
        from pycontainer.engine import partitioning

        partitioning.sweep(engine)
    if _any_has(place, found, _FAULTS):
        from pycontainer.engine import impairing

        impairing.sweep(engine)


def _any_has(place: str, networks: list[str], name: str) -> bool:
    return any(os.path.isdir(f"{place}/{network}/{name}") for network in networks)
