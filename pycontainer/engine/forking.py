"""What a further container needs to begin with what a stopped one has in its volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pycontainer.options import MountPoint, dump_run_options

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine

__all__ = ["forked_options"]

# Its own, which no second one can have at the same time, or found out anew.
_OWN = ("auto_remove", "ip", "ip6", "mac_address", "name", "replace", "restart", "volumes", "volumes_from")


def forked_options(container: Container) -> dict[str, Any]:
    """The options of a container like this one, with its volumes copy-on-write instead of the volumes.

    This one must not run, nor be removed, for as long as the others do: they read its files. Volumes with
    options (tmpfs, nfs) are shared, or are new, as they always are.
    """
    given = container._options
    mounts = tuple(_over(container._engine, point) for point in given.mounts or ())
    options = dump_run_options(attrs.evolve(given, mounts=mounts))
    return {name: value for name, value in options.items() if name not in _OWN}


def _over(engine: Engine, point: MountPoint) -> MountPoint:
    from pycontainer.engine.volumes import data_of  # containers without volumes do without

    if point.kind != "volume" or point.fstype or point.device:
        return point
    return MountPoint(
        kind="bind",
        target=point.target,
        source=str(data_of(engine, point.source)),
        subpath=point.subpath,
        is_readonly=point.is_readonly,
        is_copied=not point.is_readonly,
        words=point.words,
    )
