"""Telling the store's log what happens to containers and images; `eventstream` reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pycontainer.errors import KernelError, NotFound
from pycontainer.launcher import eventlog
from pycontainer.options import is_network, parse_run_options

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord, Repaired

__all__ = [
    "EventWriter",
    "container_attributes",
    "emit",
    "emit_container",
    "emit_image",
    "tell_repaired",
    "uses",
]

_ENDS = {"connect": "disconnect", "mount": "unmount"}
_LOST_EXIT_CODE = 137  # SIGKILL's: the end of its monitor was the container's, too


class EventWriter:
    """The log as one process of an engine writes it. Thread-safe; a forked child needs its own."""

    def __init__(self, directory: str) -> None:
        self._lock = threading.Lock()
        self._log = eventlog.EventLog(directory)

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event. What cannot be written is let go: no container fails for its log."""
        with self._lock, suppress(OSError):
            self._log.append(event)

    def close(self) -> None:
        """Close the log; idempotent."""
        self._log.close()


def emit(
    engine: Engine,
    type: str,
    action: str,
    id: str,
    attributes: Mapping[str, str] | None = None,
    *,
    time_ns: int | None = None,
) -> None:
    """Tell the engine's log that something happened, now or at time_ns; never raises for the log's sake.

    Types, actions and attributes are Docker's (`docker events`); attributes are texts.
    """
    engine.event_writer.write(
        {
            "type": type,
            "action": action,
            "id": id,
            "attributes": attributes or {},
            "time_ns": time.time_ns() if time_ns is None else time_ns,
        }
    )


def emit_container(
    engine: Engine, action: str, record: ContainerRecord, attributes: Mapping[str, str] | None = None
) -> None:
    """Tell what happened to a container: these attributes, and its name, image and labels."""
    emit(engine, "container", action, record.id, {**_recorded(engine, record), **(attributes or {})})


def emit_image(engine: Engine, action: str, id: str, name: str = "") -> None:
    """Tell what happened to an image. name: which of its names it happened to."""
    emit(engine, "image", action, id, {"name": name or id})


def container_attributes(record: ContainerRecord, options: RunOptions, config: ImageConfig) -> dict[str, str]:
    """What every event of a container says of it: labels, image and name."""
    own = options.labels or {}
    return {**config.config.labels, **own, "image": record.image_ref, "name": record.name}


def uses(engine: Engine, record: ContainerRecord, options: RunOptions) -> list[dict[str, Any]]:
    """The networks and volumes that a run of a container takes, as its monitor tells of them.

    Source: moby, daemon/container_operations.go (connectToNetwork), daemon/volumes_unix.go (setupMounts).
    """
    found: list[dict[str, Any]] = []
    if is_network(options.network):
        state = engine.store.state
        for endpoint in state.endpoints.of_container(record.id):
            network = state.networks.get(endpoint.network_id)
            if network is not None:
                about = {"name": network.name, "type": network.driver, "container": record.id}
                found.append(_use("network", network.id, ("connect", about), ("disconnect", about)))
    if record.options.get("mounts"):
        # As they were resolved: those of the image and of volumes_from are among them.
        for point in parse_run_options(**record.options).mounts or ():
            if point.kind == "volume":
                about = {"driver": "local", "container": record.id}
                place = {
                    "destination": point.target,
                    "read/write": "false" if point.is_readonly else "true",
                    "propagation": "",  # that of the host's mounts, which a volume is none of
                }
                found.append(_use("volume", point.source, ("mount", {**about, **place}), ("unmount", about)))
    return found


def _use(
    type: str, id: str, begin: tuple[str, Mapping[str, str]], end: tuple[str, Mapping[str, str]]
) -> dict[str, Any]:
    told = {
        moment: {"action": action, "attributes": attributes}
        for moment, (action, attributes) in (("begin", begin), ("end", end))
    }
    return {"type": type, "id": id, **told}


def tell_repaired(engine: Engine, repaired: Repaired) -> None:
    """Tell of what nobody could tell when it happened: ends and removals that opening the store found."""
    ids = {*repaired.exited, *repaired.forgotten}
    if not ids:
        return
    for container_id, known in _told(engine, ids).items():
        actions = [event["action"] for event in known]
        about: Mapping[str, str] = next(
            (event["attributes"] for event in known if event["action"] in ("create", "start")), {}
        )
        if container_id in repaired.exited and actions and "die" not in actions[_last(actions, "start") :]:
            emit(engine, "container", "die", container_id, {**about, "exitCode": str(_LOST_EXIT_CODE)})
            _tell_let_go(engine, container_id)
        if container_id in repaired.forgotten and "destroy" not in actions:
            emit(engine, "container", "destroy", container_id, about)


def _tell_let_go(engine: Engine, container_id: str) -> None:
    """Tell of the networks and volumes that a container had when it ended unseen."""
    held: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for event in _all(engine):
        about = event.get("attributes", {})
        kind, ends = event.get("type"), _ENDS.get(event.get("action", ""))
        if kind in ("network", "volume") and about.get("container") == container_id:
            if ends is not None:
                held[kind, event["id"], ends] = about
            else:
                held.pop((kind, event["id"], event["action"]), None)
    for (kind, id, action), about in held.items():
        kept = {key: value for key, value in about.items() if key in ("name", "type", "driver", "container")}
        emit(engine, kind, action, id, kept)


def is_told(engine: Engine, container_id: str, action: str) -> bool:
    """Whether this has been told of a container."""
    return any(event["action"] == action for event in _told(engine, {container_id})[container_id])


def _told(engine: Engine, ids: Iterable[str]) -> dict[str, list[Mapping[str, Any]]]:
    """All that the log has of these containers."""
    told: dict[str, list[Mapping[str, Any]]] = {container_id: [] for container_id in ids}
    for event in _all(engine):
        if event.get("type") == "container" and event.get("id") in told:
            told[event["id"]].append(event)
    return told


def _all(engine: Engine) -> Iterator[Mapping[str, Any]]:
    reader = eventlog.Reader(str(engine.store.events_dir))
    try:
        yield from reader.available()
    finally:
        reader.close()


def _last(actions: list[str], action: str) -> int:
    return max((index for index, known in enumerate(actions) if known == action), default=0)


def _recorded(engine: Engine, record: ContainerRecord) -> dict[str, str]:
    """The same, of a container that is no more than a record."""
    own = record.options.get("labels")
    inherited: Mapping[str, str] = {}
    with suppress(NotFound, KernelError):  # in a store whose blobs were lost
        if record.image_id:
            image = engine.store.state.images.get(record.image_id)
            inherited = engine.image_view(image).config.config.labels
    given = own if isinstance(own, Mapping) else {}
    return {**inherited, **given, "image": record.image_ref, "name": record.name}
