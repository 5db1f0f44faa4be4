"""Which containers a list shows: Docker's `ps` filters over records, states and images."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.engine.images import Image
from pycontainer.engine.steering import is_live
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.runtime import State

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.engine.state import Observed
    from pycontainer.store import ContainerRecord

__all__ = ["select"]

_FILTERS = (
    *("ancestor", "before", "exited", "expose", "health", "id", "is-task", "label"),
    *("name", "network", "publish", "since", "status", "volume"),
)
_HEALTHS = ("starting", "healthy", "unhealthy", "none")


def select(
    engine: Engine,
    containers: Iterable[Container],
    *,
    all: bool,
    given: FilterValues | None,
    limit: int | None,
) -> list[Container]:
    """The containers, given newest first, that live or are asked for by all, limit or a filter.

    As in Docker, a limit and the filters status and exited look among all. Raises: InvalidInput, NotFound.
    """
    if limit is not None and limit < 1:
        raise InvalidInput(f"limit={limit}: give how many containers to list, from 1")
    chosen = _Chosen(engine, Filters(given, _FILTERS, "container lists"))
    shows_all = all or limit is not None or chosen.is_about_the_dead
    found: list[Container] = []
    for container in containers:
        # Removed by somebody since the database was read: it is in no list any more.
        with suppress(NotFound):
            observed = container._observed
            if (shows_all or is_live(observed)) and chosen.has(container, observed):
                found.append(container)
                if len(found) == limit:
                    break
    return found


class _Chosen:
    """The filters of one list, with what they refer to looked up once."""

    def __init__(self, engine: Engine, filters: Filters) -> None:
        self._filters = filters
        self._states = {_one_of(text, tuple(State), "status") for text in filters.texts("status")}
        self._healths = {_one_of(text, _HEALTHS, "health") for text in filters.texts("health")}
        self._codes = {_exit_code(text) for text in filters.texts("exited")}
        find = engine.store.state.containers.find
        self._before = [_age(find(text)) for text in filters.texts("before")]
        self._since = [_age(find(text)) for text in filters.texts("since")]
        self._descendants = _descendants(engine, filters.texts("ancestor"))
        self._published = [port for text in filters.texts("publish") for port in _ports(text, "publish")]
        self._exposed = [port for text in filters.texts("expose") for port in _ports(text, "expose")]
        # There are no services here whose tasks containers could be.
        self._are_wanted = not filters.flag("is-task", False)

    @property
    def is_about_the_dead(self) -> bool:
        """Whether a filter makes sense only for containers that do not run, too."""
        return bool(self._states or self._codes)

    def has(self, container: Container, observed: Observed) -> bool:
        """Whether the container fits every filter; the cheap ones are looked at first."""
        filters, record = self._filters, container._known
        return (
            self._are_wanted
            and filters.has_pattern_in("name", container.name, f"/{container.name}")
            and filters.has_prefix_of("id", container.id)
            and (not self._states or str(observed.state) in self._states)
            and (not self._codes or (observed.state is State.EXITED and observed.exit_code in self._codes))
            and (not self._healths or (getattr(observed, "health", None) or "none") in self._healths)
            and all(_age(record) < age for age in self._before)
            and all(_age(record) > age for age in self._since)
            and ("ancestor" not in filters or record.image_id in self._descendants)
            and ("network" not in filters or filters.has_any("network", *_networks(container)))
            and ("volume" not in filters or filters.has_any("volume", *_mounted(container)))
            and (not (self._published or self._exposed) or self._has_port(container, observed))
            and (not _asks_labels(filters) or filters.has_labels(container.labels))
        )

    def _has_port(self, container: Container, observed: Observed) -> bool:
        """Whether it has one of the ports, published or its own: as in Docker these are alternatives."""
        published = {f"{bound['host_port']}/{bound['protocol']}" for bound in observed.ports}
        if not published.isdisjoint(self._published):
            return True
        from pycontainer.engine.views import exposed  # few ask for ports

        return bool(self._exposed) and not set(self._exposed).isdisjoint(
            exposed(container._options, container.image.config)
        )


def _asks_labels(filters: Filters) -> bool:
    return "label" in filters


def _age(record: ContainerRecord) -> tuple[float, str]:
    return record.created_at, record.id


def _one_of(text: str, known: Iterable[str], name: str) -> str:
    if text not in tuple(known):
        raise InvalidInput(f"filter {name}={text!r}: give {', '.join(known)}")
    return text


def _exit_code(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"filter exited={text!r}: give an exit code") from None


def _ports(text: str, name: str) -> list[str]:
    """Read "80", "80/udp" or "80-90" as ports with their protocols."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 65535 or protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidInput(f"filter {name}={text!r}: give PORT, FIRST-LAST or either with /udp")
    return [f"{port}/{protocol or 'tcp'}" for port in found]


def _descendants(engine: Engine, names: Iterable[str]) -> set[str]:
    """Ids of the images that are one of these, or lie on all layers of one."""
    found: set[str] = set()
    images = engine.store.state.images
    for name in names:
        try:
            ancestor = Image.get(name, engine=engine)._record
        except NotFound:
            continue
        layers = [layer.diff_id for layer in ancestor.layers]
        found.add(ancestor.id)
        found.update(
            image.id
            for image in images.list()
            if layers and [layer.diff_id for layer in image.layers[: len(layers)]] == layers
        )
    return found


def _mounted(container: Container) -> list[str]:
    """Names of its volumes, and the places of what is mounted."""
    points = container._options.mounts or ()
    return [text for point in points for text in (point.source, point.target)]


def _networks(container: Container) -> list[str]:
    """Names and ids of its networks, or the mode that it has instead."""
    state = container._engine.store.state
    found = [container._options.network]
    for endpoint in state.endpoints.of_container(container.id):
        network = state.networks.get(endpoint.network_id)
        found += [endpoint.network_id, *([network.name] if network is not None else [])]
    return found
