"""What a container wrote to a copy on write, carried over to the host's directory."""

from __future__ import annotations

import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.checkpoints import reached
from pycontainer.engine.copying import Copied, copied
from pycontainer.engine.files import at_rest, run_plain_job, until
from pycontainer.engine.mounting import written_over
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container

__all__ = ["KILL_POINTS", "apply"]

KILL_POINTS = ("apply.changes.cleared",)  # what was carried over is out of sight, and not deleted yet

_ATTEMPTS = "applying"  # the names of directories of ours that attempts may have left in the host's
_APPLIED = "applied-"


def apply(
    container: Container, mount: str, *, archive: bool, timeout: float | str | timedelta | None
) -> Copied:
    """See Container.apply."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    engine = container._engine
    with (
        at_rest(container, deadline),
        written_over(engine, container._current, mount) as (upper, source),
    ):
        place = Path(upper).parent
        for begun in place.glob(f"{_APPLIED}*"):
            engine.store.remove_tree(begun)
        if not os.path.lexists(upper):
            return Copied(entries=0, size_bytes=0)
        stale = _attempts(place)
        staging = f".pycontainer-{secrets.token_hex(8)}"
        (place / _ATTEMPTS).write_text(json.dumps([*stale, staging]))
        params = {"upper": upper, "staging": staging, "stale": stale, "has_powers": archive}
        told = run_plain_job(engine, "apply", params, [source], deadline=deadline)
        gone = place / f"{_APPLIED}{secrets.token_hex(4)}"
        os.rename(upper, gone)
        reached("apply.changes.cleared")
        (place / _ATTEMPTS).unlink()
        engine.store.remove_tree(gone)
        return copied(told)


def _attempts(place: Path) -> list[str]:
    try:
        found: list[str] = json.loads((place / _ATTEMPTS).read_text())
    except (FileNotFoundError, ValueError):
        return []
    return found
