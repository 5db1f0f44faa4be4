"""Links of containers made worse, or pulled, for tests of what a program does on a bad network.

Theory of operation. What a link suffers is a file below its network's directory, with the process that wants
it so, as with partitions; there is one for its quality and one for whether it is plugged in at all. Both ends
of the link have it, so it is alike both ways. It goes with the link when the container stops, and is made
again from the file when it starts. The file of a process that has died counts for nothing; whoever opens the
store next takes it away, and heals the link.

A container with CAP_NET_ADMIN can undo what is at its own end.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from pycontainer.checkpoints import reached
from pycontainer.engine import bridging, networking, partitioning
from pycontainer.engine.state import observe
from pycontainer.errors import InUse, InvalidOption, KernelError, NotFound, Unsupported
from pycontainer.kernel import pidfd
from pycontainer.options import parse_seconds, parse_size

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Route, Shape
    from pycontainer.store import EndpointRecord, NetworkRecord

__all__ = ["KILL_POINTS", "Impairment", "impair", "restore", "shape_of", "sweep", "unplug"]

KILL_POINTS = ("impairment.file.written", "impairment.link.changed")

_LOCK = "impairments"
_LOCK_S = 30.0
_UP_S, _UP_PAUSE_S = 5.0, 0.002
_DIRECTORY = "faults"
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)  # no such link, or nothing at it

T = TypeVar("T")
Place = tuple["EndpointRecord", "NetworkRecord"]


class Impairment:
    """Links of a container that are worse than they could be, until it is healed.

    Made by Network.impair and Container.disconnect. In a with block it is healed with the block. It ends with
    the process that made it at the latest, as soon as another one opens the store.
    """

    def __init__(self, engine: Engine, files: Sequence[Path]) -> None:
        self._engine = engine
        self._files = tuple(files)

    @property
    def is_healed(self) -> bool:
        """Whether the links are as good as ever."""
        return not any(file.exists() for file in self._files)

    def heal(self) -> None:
        """Let the links be as good as ever; idempotent. Raises KernelError, DeadlineExceeded."""
        with self._engine.store.container_lock(_LOCK, _LOCK_S):
            for file in self._files:
                _heal(self._engine, file)

    def __enter__(self) -> Impairment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()


def shape_of(
    latency: float | str | timedelta | None,
    jitter: float | str | timedelta | None,
    loss: float,
    rate: int | str | None,
) -> Shape:
    """What Network.impair is asked for. Raises InvalidOption."""
    from pycontainer.network import Shape

    def read(name: str, parse: Callable[[object], T], given: object) -> T:
        try:
            return parse(given)
        except ValueError as error:
            raise InvalidOption(f"impair: {name}={given!r}: {error}") from None

    if not 0 <= loss <= 1:
        raise InvalidOption(f"impair: loss={loss!r}: give the part that is lost, from 0 to 1")
    made = Shape(
        latency_s=read("latency", parse_seconds, 0 if latency is None else latency),
        jitter_s=read("jitter", parse_seconds, 0 if jitter is None else jitter),
        loss=float(loss),
        rate=read("rate", parse_size, 0 if rate is None else rate),
    )
    if made.jitter_s > made.latency_s:
        raise InvalidOption(f"impair: jitter={jitter!r} is more than latency={latency!r}; give it as much")
    if rate is not None and made.rate < 1:
        raise InvalidOption(f"impair: rate={rate!r}: give bytes a second, 1 at least")
    if made == Shape():
        raise InvalidOption("impair: give latency, loss or rate")
    return made


def impair(engine: Engine, place: Place, shape: Shape) -> Impairment:
    """Make one link of a container worse. See Network.impair."""
    return _make(engine, [place], {"shape": attrs.asdict(shape)})


def unplug(container: Container, network: str | None) -> Impairment:
    """Pull a container's links, or one of them. See Container.disconnect."""
    engine = container._engine
    key = None if network is None else engine.store.state.networks.find(network).id
    places = [place for place in networking.places_of(engine, container.id) if key in (None, place[1].id)]
    if not places:
        where = "any network" if network is None else f"network {network}"
        raise NotFound(f"container {container.name} is not on {where}; connect it first")
    return _make(engine, places, {"is_unplugged": True})


def _make(engine: Engine, places: Sequence[Place], fault: Mapping[str, Any]) -> Impairment:
    made = Impairment(engine, [_file(engine, place, fault) for place in places])
    for _, network in places:
        if network.bridge is None:
            raise Unsupported(
                f"network {network.name} is of driver {network.driver}: its links have no end on the host",
                "use a network of driver bridge",
            )
    with engine.store.container_lock(_LOCK, _LOCK_S), ExitStack() as undo:
        for place, file in zip(places, made._files, strict=True):
            if (old := partitioning.read(file)) and not partitioning.owner_has_died(old):
                raise InUse(
                    f"network {place[1].name}: process {old['pid']} has this link of the container impaired "
                    "already; heal that first"
                )
            file.parent.mkdir(0o700, parents=True, exist_ok=True)
            undo.callback(_heal, engine, file)
            endpoint = place[0]
            about = {"network": endpoint.network_id, "container": endpoint.container_id, **fault}
            partitioning.write(file, about)
            reached("impairment.file.written")
            _change(engine, place, fault, is_on=True)
        undo.pop_all()
    reached("impairment.link.changed")
    return made


def restore(engine: Engine, places: Sequence[Place], host: Route, inner: Route) -> None:
    """Have the links that were just made suffer what they are to. Raises KernelError, DeadlineExceeded."""
    if not any(_directory(engine, network.id).is_dir() for _, network in places):
        return
    with engine.store.container_lock(_LOCK, _LOCK_S):
        for place in places:
            for fault in ("shape", "is_unplugged"):
                fields = partitioning.read(_file(engine, place, {fault: True}))
                if fields and not partitioning.owner_has_died(fields):
                    _queue(host, inner, place[0], fields, is_on=True)
        host.send()
        inner.send()


def sweep(engine: Engine) -> None:
    """Heal what processes have made worse that are no more. Cheap where nothing was."""
    if any(partitioning.owner_has_died(partitioning.read(file)) for file in _files(engine)):
        with engine.store.container_lock(_LOCK, _LOCK_S):
            for file in _files(engine):
                if partitioning.owner_has_died(partitioning.read(file)):
                    _heal(engine, file)


def _directory(engine: Engine, network_id: str) -> Path:
    return engine.store.root / "networks" / network_id / _DIRECTORY


def _file(engine: Engine, place: Place, fault: Mapping[str, Any]) -> Path:
    what = "unplugged" if "is_unplugged" in fault else "shape"
    return _directory(engine, place[1].id) / f"{place[0].container_id}-{what}.json"


def _files(engine: Engine) -> Iterator[Path]:
    return (engine.store.root / "networks").glob(f"*/{_DIRECTORY}/*.json")


def _heal(engine: Engine, file: Path) -> None:
    """Forget a fault and undo it; with the lock held. Idempotent."""
    fields = partitioning.read(file)
    for place in networking.places_of(engine, str(fields.get("container"))):
        if place[1].id == fields["network"]:
            try:
                _change(engine, place, fields, is_on=False)
            except KernelError as error:
                if error.errno not in _GONE:
                    raise
    file.unlink(missing_ok=True)  # not before: what could not be undone is still to be undone


def _change(engine: Engine, place: Place, fault: Mapping[str, Any], *, is_on: bool) -> None:
    """Change a link of a container, if it runs."""
    from pycontainer.network import Route

    endpoint = place[0]
    observed = observe(engine.store.container_dir(endpoint.container_id))
    process = None if observed.pid is None else pidfd.open_checked(observed.pid, observed.pid_start)
    if process is None:
        return
    try:
        with Route() as host, ExitStack() as ending:
            inner = ending.enter_context(Route(networking.open_route(engine, process)))
            _queue(host, inner, endpoint, fault, is_on=is_on)
            # Each end for itself: what cannot be undone at one, since it was changed there, is at the other.
            with ExitStack() as both:
                both.callback(inner.send)
                host.send()
            if "is_unplugged" in fault and not is_on:
                _await_up((host, bridging.link_name(endpoint)), (inner, endpoint.ifname))
    except (NotFound, KernelError):
        if not pidfd.has_ended(process):
            raise
    finally:
        os.close(process)


def _await_up(*ends: tuple[Route, str]) -> None:
    """Wait until a link that was raised carries packets: the kernel comes to it within a second or so."""
    deadline = time.monotonic() + _UP_S
    while time.monotonic() < deadline and not all(route.is_up(name) for route, name in ends):
        time.sleep(_UP_PAUSE_S)


def _queue(
    host: Route, inner: Route, endpoint: EndpointRecord, fault: Mapping[str, Any], *, is_on: bool
) -> None:
    from pycontainer.network import Shape

    name = bridging.link_name(endpoint)
    if "is_unplugged" in fault:
        (host.lower_link if is_on else host.raise_link)(name)
        return
    for route, index in ((host, host.index(name)), (inner, inner.index(endpoint.ifname))):
        if is_on:
            route.shape(index, Shape(**fault["shape"]))
        else:
            route.unshape(index)
