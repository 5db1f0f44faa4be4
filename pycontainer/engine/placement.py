"""What a container's handle tells of its networks and published ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.impairing import Impairment
    from pycontainer.engine.networks import Network
    from pycontainer.engine.publishing import PortBinding

__all__ = ["Placed"]


class Placed:
    """Where a container is found."""

    __slots__ = ()

    @property
    def ip(self) -> str | None:
        """Its address in the network of its default route, IPv4 if it has one; None without networks."""
        return next(iter(self.ips.values()), None)

    @property
    def ips(self) -> dict[str, str]:
        """Its addresses by network, that of the default route first; it keeps them while it is stopped."""
        from pycontainer.engine import networking

        box = cast("Container", self)
        placed = networking.memberships(box._engine, box.id)
        return {each.network: each.addresses[0] for each in placed if each.addresses}

    @property
    def networks(self) -> list[Network]:
        """The networks that it has a place in, that of the default route first."""
        from pycontainer.engine import networking
        from pycontainer.engine.networks import Network

        box = cast("Container", self)
        return [Network(each.network_id, box._engine) for each in networking.memberships(box._engine, box.id)]

    def disconnect(self, network: Network | str | None = None) -> Impairment:
        """Pull its cables, or the one to a network, until they are put back by heal(); for tests.

        Its program sees links without carrier; it keeps its places and addresses, which Network.disconnect
        takes away. Use it as a context manager, or call heal(). It holds over restarts of the container, and
        ends with this process at the latest.
        Raises: NotFound if it has no such network; InUse; Unsupported for other drivers than bridge.
        """
        from pycontainer.engine.impairing import unplug

        named = network if network is None or isinstance(network, str) else network.id
        return unplug(cast("Container", self), named)

    @property
    def ports(self) -> Mapping[int | str, PortBinding]:
        """Where its published ports are found on the host: by port, as 80, "53/udp" or "3868/sctp".

        Whole when start() has returned; empty while it does not run. Of a port that is published several
        times it is the first; inspect() has all.
        """
        from pycontainer.engine.publishing import bindings

        return bindings(cast("Container", self)._observed)
