"""`Network`: links between containers, with addresses, names and rules of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, final

from pycontainer.checkpoints import reached
from pycontainer.engine import bridging, egress, networking, placeviews
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.events import emit
from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.engine.netmaking import PREDEFINED, aligned, make_network
from pycontainer.engine.ownership import forget_vanished
from pycontainer.errors import (
    InUse,
    InvalidOption,
    KernelError,
    NotFound,
    WrongState,
)
from pycontainer.kernel import pidfd
from pycontainer.options import is_network, parse_place
from pycontainer.store import EndpointRecord, NetworkRecord

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.impairing import Impairment
    from pycontainer.engine.partitioning import Partition

__all__ = ["KILL_POINTS", "Network", "forget_default"]

KILL_POINTS = ("network.remove.deleted", "network.connect.inserted", "network.disconnect.deleted")

_FILTERS = ("dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until")
_PRUNE_FILTERS = ("label", "label!", "until")
_SEARCHES = 8


@final
class Network:
    """A network of containers: a handle whose attributes read the store anew each time.

    Containers find each other on it by name, are shut off from other networks, and reach the world unless it
    is internal. Handles may be used from several threads, and pickled.
    """

    def __init__(self, network_id: str, engine: Engine) -> None:
        self._id = network_id
        self._engine = engine

    # -- find and make ---------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        name: str,
        *,
        driver: Literal["bridge", "macvlan", "ipvlan"] = "bridge",
        subnet: str | Sequence[str] | None = None,
        gateway: str | Sequence[str] | None = None,
        ip_range: str | Sequence[str] | None = None,
        ipv4: bool = True,
        ipv6: bool = False,
        internal: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        aux_addresses: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Network:
        """Make a network.

        subnet: as "10.1.0.0/24", one of IPv4 and one of IPv6 at most; free ones of Docker's pools by default
        (ipv6: one of those as well; ipv4=False: that one only). gateway: the host's address in it, the first
        by default. ip_range: what containers get addresses of. internal: nothing goes in or out. options:
        those of Docker's drivers, as com.docker.network.bridge.enable_icc="false", and for macvlan and
        ipvlan parent and macvlan_mode or ipvlan_mode; see the guide of networks. aux_addresses: by name, not
        to be given to containers.
        Raises: AlreadyExists if its name or subnet is taken; InvalidOption; InUse; Unsupported; KernelError.
        """
        record = make_network(
            engine or current_engine(),
            name,
            driver=driver,
            subnets=aligned(subnet, gateway, ip_range),
            ipv4=ipv4,
            ipv6=ipv6,
            internal=internal,
            labels=labels,
            options=options,
            aux_addresses=aux_addresses,
        )
        return cls(record.id, engine or current_engine())

    @classmethod
    def get(cls, name: str, *, engine: Engine | None = None) -> Network:
        """The network of this name, id, or beginning of an id. Raises NotFound."""
        engine = engine or current_engine()
        if name in ("default", networking.DEFAULT):
            return cls(networking.default_network(engine).id, engine)
        return cls(engine.store.state.networks.find(name).id, engine)

    @classmethod
    def prune(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> tuple[str, ...]:
        """Remove the networks that no container has a place in; their names.

        filters: label, label! and until.
        """
        engine = engine or current_engine()
        removed = []
        for record in _fitting(engine, Filters(filters, _PRUNE_FILTERS, "network prunes")):
            if record.name != networking.DEFAULT:
                with suppress(InUse, NotFound):
                    cls(record.id, engine).remove()
                    removed.append(record.name)
        return tuple(removed)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def _record(self) -> NetworkRecord:
        record = self._engine.store.state.networks.get(self._id)
        if record is None:
            raise NotFound(f"network {self._id[:12]} was removed")
        return record

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._id

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self._record.name

    @property
    def driver(self) -> str:
        """ "bridge", "macvlan" or "ipvlan"."""
        return self._record.driver

    @property
    def subnets(self) -> tuple[str, ...]:
        """Its addresses, IPv4 first."""
        return tuple(made.subnet for made in self._record.subnets)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The host's addresses in it, those of a bridge."""
        return tuple(made.gateway for made in self._record.subnets if made.gateway)

    @property
    def labels(self) -> dict[str, str]:
        """What it was labelled with."""
        return dict(self._record.labels)

    @property
    def is_internal(self) -> bool:
        """Whether nothing goes in or out."""
        return bool(self._record.options.get("internal"))

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return datetime.fromtimestamp(self._record.created_at, UTC)

    @property
    def containers(self) -> list[Container]:
        """The containers that have a place in it, running or not."""
        from pycontainer.engine.containers import Container

        found = []
        for endpoint in self._engine.store.state.endpoints.of_network(self._id):
            with suppress(NotFound):
                found.append(Container.get(endpoint.container_id, engine=self._engine))
        return found

    def inspect(self) -> dict[str, Any]:
        """Everything, as Docker's `network inspect` has it."""
        record = self._record
        endpoints = self._engine.store.state.endpoints.of_network(self._id)
        prefixes = {6 if ":" in each.subnet else 4: each.subnet.rpartition("/")[2] for each in record.subnets}
        containers = {}
        for each in endpoints:
            owner = self._engine.store.state.containers.get(each.container_id)
            containers[each.container_id] = {
                "Name": owner.name if owner else "",
                "EndpointID": placeviews.endpoint_id(each),
                "MacAddress": each.mac,
                "IPv4Address": f"{each.ipv4}/{prefixes[4]}" if each.ipv4 else "",
                "IPv6Address": f"{each.ipv6}/{prefixes[6]}" if each.ipv6 else "",
            }
        return {
            "Name": record.name,
            "Id": record.id,
            "Created": self.created_at.isoformat().replace("+00:00", "Z"),
            "Scope": "local",
            "Driver": record.driver,
            "EnableIPv4": 4 in prefixes,
            "EnableIPv6": 6 in prefixes,
            "IPAM": {
                "Driver": "default",
                "Options": {},
                "Config": [
                    {"Subnet": each.subnet}
                    | ({"Gateway": each.gateway} if each.gateway else {})
                    | ({"IPRange": each.ip_range} if each.ip_range else {})
                    | _reserved(record, each.subnet)
                    for each in record.subnets
                ],
            },
            "Internal": self.is_internal,
            "Attachable": True,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": containers,
            "Options": record.options.get("driver_options") or {},
            "Labels": dict(record.labels),
        }

    # -- containers ------------------------------------------------------------------------------

    def connect(
        self,
        container: Container | str,
        *,
        aliases: Iterable[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        mac_address: str | None = None,
        gw_priority: int = 0,
        link_local_ips: Iterable[str] = (),
        driver_opts: Mapping[str, str] | None = None,
        links: Iterable[str] = (),
    ) -> None:
        """Give a container a place in this network, at once if it runs.

        aliases: further names for others here to find it by. ip, ip6: instead of the next free ones.
        link_local_ips: further addresses of the link alone, of 169.254.0.0/16 or fe80::/10. driver_opts:
        com.docker.network.endpoint.ifname, the name of the link, and .sysctls, settings of it as
        "net.ipv4.conf.IFNAME.forwarding=1", separated by commas. links: "other:alias" each, names by which
        this container alone knows others that are here.
        Raises: AlreadyExists if it has one; InUse; InvalidOption; NotFound; WrongState if its network is the
        host's, another container's or none at all.
        """
        place = parse_place(
            self._record.name, aliases, ip, ip6, mac_address, gw_priority, link_local_ips, driver_opts, links
        )
        box = self._container(container)
        mode = box._options.network
        if not is_network(mode):
            raise WrongState(
                f"container {box.name} has network={mode!r}, which goes with no network; make it with one",
                verb="connect",
                state=box.state,
            )
        with self._engine.store.container_lock(box.id):
            taken = {each.ifname for each in self._engine.store.state.endpoints.of_container(box.id)}
            egress.check_places(box._options, [place])
            egress.check(box._options, [*networking.networks_of(self._engine, box.id), self._record])
            if place.ifname in taken:
                raise InvalidOption(f"connect: container {box.name} has a link named {place.ifname} already")
            ifname = place.ifname or networking.free_link_name(self._record, taken)
            endpoint = networking.reserve_place(self._engine, box.id, self._record, place, ifname=ifname)
            reached("network.connect.inserted")
            try:
                if egress.is_limited(box._options):
                    egress.apply(self._engine, box.id, box._options, keeps_named=True)
                self._change(box, lambda process: networking.attach(self._engine, box.id, process, endpoint))
            except BaseException:
                self._release(box, endpoint)
                self._engine.store.state.endpoints.delete(self._id, box.id)
                raise
        if box._observed.pid is not None:  # else its next start tells
            self._tell("connect", box.id)

    def disconnect(self, container: Container | str, *, force: bool = False) -> None:
        """Take a container's place in this network away, at once if it runs.

        force: no error when it has none. Raises: NotFound when it has none.
        """
        box = self._container(container)
        with self._engine.store.container_lock(box.id):
            endpoint = self._endpoint(box.id)
            if endpoint is None:
                if force:
                    return
                raise NotFound(f"container {box.name} is not connected to network {self.name}")
            self._engine.store.state.endpoints.delete(self._id, box.id)
            reached("network.disconnect.deleted")
            self._change(box, lambda process: networking.detach(self._engine, box.id, process, endpoint))
            self._release(box, endpoint)
        self._tell("disconnect", box.id)

    def partition(
        self, a: Container | str | Iterable[Container | str], b: Container | str | Iterable[Container | str]
    ) -> Partition:
        """Cut two containers, or groups of them, off from each other until it is healed; for tests.

        Use it as a context manager, or call heal(). Packets are lost, and nobody is told. It ends with this
        process at the latest. Raises: InvalidOption, NotFound, Unsupported for other drivers than bridge.
        """
        from pycontainer.engine.partitioning import partition

        return partition(self._engine, self._record, a, b)

    def impair(
        self,
        container: Container | str,
        *,
        latency: float | str | timedelta | None = None,
        jitter: float | str | timedelta | None = None,
        loss: float = 0.0,
        rate: int | str | None = None,
    ) -> Impairment:
        """Make a container's link to this network worse, both ways, until it is healed; for tests.

        latency: how late each packet is, in seconds or as "100ms"; jitter: how much more or less at random.
        loss: the part of packets that is lost, 0 to 1. rate: most bytes a second, a number or text as "1m".
        Use it as a context manager, or call heal(). It holds over restarts of the container, and ends with
        this process at the latest. Raises: InvalidOption, NotFound, InUse if it is impaired already;
        Unsupported for other drivers than bridge, and where the kernel cannot: latency and loss need netem.
        """
        from pycontainer.engine.impairing import impair, shape_of

        shape, box = shape_of(latency, jitter, loss, rate), self._container(container)
        endpoint = self._endpoint(box.id)
        if endpoint is None:
            raise NotFound(f"container {box.name} is not on network {self.name}; connect it first")
        return impair(self._engine, (endpoint, self._record), shape)

    def remove(self) -> None:
        """Remove the network. Raises: InUse while containers have a place in it; NotFound; InvalidOption."""
        record = self._record
        if record.name in PREDEFINED:
            raise InvalidOption(f"network {record.name} is predefined and cannot be removed")
        forget_vanished(self._engine)
        _remove(self._engine, record)

    # -- the rest --------------------------------------------------------------------------------

    def _container(self, container: Container | str) -> Container:
        from pycontainer.engine.containers import Container

        if isinstance(container, Container):
            return container
        return Container.get(container, engine=self._engine)

    def _endpoint(self, container_id: str) -> EndpointRecord | None:
        endpoints = self._engine.store.state.endpoints.of_container(container_id)
        return next((each for each in endpoints if each.network_id == self._id), None)

    def _release(self, box: Container, endpoint: EndpointRecord) -> None:
        if egress.is_limited(box._options):
            egress.release(self._engine, [endpoint])

    def _change(self, box: Container, change: Callable[[int], None]) -> None:
        """Carry out a change in a container that runs, and let it and others know of it."""
        observed = box._observed
        if observed.pid is None:
            return
        process = pidfd.open_checked(observed.pid, observed.pid_start)
        if process is None:
            return  # it has ended since we looked
        try:
            change(process)
        except (NotFound, KernelError):
            if not pidfd.has_ended(process):
                raise
            return
        finally:
            os.close(process)
        with suppress(WrongState):
            networking.tell(box, box._options)

    def _tell(self, action: str, container_id: str) -> None:
        record = self._record
        about = {"name": record.name, "type": record.driver, "container": container_id}
        emit(self._engine, "network", action, record.id, about)

    def __enter__(self) -> Network:
        """Remove it when the block ends; containers that have a place in it then are an error."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(NotFound, *((InUse,) if kind is not None else ())):
            self.remove()

    def __reduce__(self) -> tuple[object, ...]:
        return _found, (self._id, str(self._engine.root))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and (self._id, self._engine) == (other._id, other._engine)

    def __hash__(self) -> int:
        return hash(self._id)

    def _repr_html_(self) -> str:
        from pycontainer.engine.displays import network_html  # only in notebooks

        return network_html(self)

    def __repr__(self) -> str:
        record = self._engine.store.state.networks.get(self._id)
        named = repr(record.name) if record is not None else "removed"
        return f"Network({named}, id={self._id[:12]!r})"

    @classmethod
    def list(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> list[Network]:
        """All networks, the oldest first.

        filters: dangling, driver, id, label, label!, name, scope ("local" is that of all), type ("builtin" or
        "custom") and until.
        """
        engine = engine or current_engine()
        chosen = Filters(filters, _FILTERS, "networks")
        return [cls(record.id, engine) for record in _fitting(engine, chosen)]


def _found(network_id: str, root: str) -> Network:
    engine = current_engine()
    return Network(network_id, engine if str(engine.root) == root else Engine(root))


def _reserved(record: NetworkRecord, subnet: str) -> dict[str, dict[str, str]]:
    """What no container of a subnet is given, as Docker has it; nothing where there is nothing."""
    import ipaddress  # inspect alone

    given = record.options.get("aux_addresses")
    network = ipaddress.ip_network(subnet)
    within = {
        name: str(address)
        for name, address in (given.items() if isinstance(given, Mapping) else ())
        if ipaddress.ip_address(address) in network
    }
    return {"AuxiliaryAddresses": within} if within else {}


def _remove(engine: Engine, record: NetworkRecord) -> None:
    with bridging.host_lock():
        if not engine.store.state.networks.delete(record.id):
            raise NotFound(f"network {record.id[:12]} was removed")
        reached("network.remove.deleted")
        bridging.remove_link(engine, record)
    emit(engine, "network", "destroy", record.id, {"name": record.name, "type": record.driver})


def forget_default(engine: Engine) -> None:
    """Remove the default network unless a container has a place in it; its next use makes it again.

    Raises KernelError, DeadlineExceeded.
    """
    with suppress(NotFound, InUse):
        _remove(engine, engine.store.state.networks.find(networking.DEFAULT))


def _fitting(engine: Engine, filters: Filters) -> list[NetworkRecord]:
    until_ns = filters.moment_ns("until")
    found = []
    if "dangling" in filters:
        forget_vanished(engine)
    for record in engine.store.state.networks.list():
        kind = "builtin" if record.name == networking.DEFAULT else "custom"
        fits = (
            filters.has_labels(record.labels)
            and (until_ns is None or record.created_at * 1e9 < until_ns)
            and filters.has_pattern_in("name", record.name)
            and filters.has_prefix_of("id", record.id)
            and ("driver" not in filters or record.driver in filters.texts("driver"))
            and ("type" not in filters or kind in filters.texts("type"))
            and ("scope" not in filters or "local" in filters.texts("scope"))
        )
        if fits and "dangling" in filters:
            is_dangling = kind == "custom" and not engine.store.state.endpoints.of_network(record.id)
            fits = is_dangling == filters.flag("dangling", True)
        if fits:
            found.append(record)
    return found
