"""Jobs that enter a network namespace to make sockets there, and nothing else of the container's.

A socket stays in the namespace that it was made in, whoever uses it. So the job joins, makes sockets, hands
them over and ends; it never sees the container's files, and none of its processes sees the job.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pycontainer import errors
from pycontainer.kernel import namespaces, syscalls
from pycontainer.launcher import idmaps
from pycontainer.launcher.protocol import Channel, describe_error
from pycontainer.launcher.steps import settings

__all__ = ["make_network", "make_networks", "open_names", "open_route", "open_sockets", "set_links"]

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

Report = Callable[..., None]


def open_sockets(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Hand over unconnected sockets of params["protocol"], one of each of params["families"].

    fds: a pidfd of a process in the namespace, or the namespace. A family that the kernel does not have is
    passed over: {"families"} are those that came. Raises NotFound when the process has ended.
    """
    _join(fds[0])
    made = []
    for family in params["families"]:
        try:
            kind = _KINDS[params["protocol"]] | socket.SOCK_CLOEXEC
            made.append((family, socket.socket(_FAMILIES[family], kind)))
        except OSError:
            continue
    report({"families": [family for family, _ in made]}, [each.fileno() for _, each in made])
    return {}


def open_names(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Hand over the sockets of a name server, datagrams first: see launcher.dns.opening.

    fds: as for open_sockets; the loopback link of the namespace is up. Raises NotFound, Unsupported, OSError.
    """
    from pycontainer.launcher.dns import opening  # what it costs, only those pay that have networks

    _join(fds[0])
    datagrams, listener = opening.open_sockets()
    report({"names": True}, [datagrams.fileno(), listener.fileno()])
    return {}


def make_network(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Hand over a new network namespace, its loopback link up, and a netlink socket in it (rtnetlink(7)).

    params["settings"]: kernel settings of it, by their paths below /proc/sys/net. params["has_names"]: hand
    over the sockets of a name server, too, as open_names does. params["users"]: id maps of a new user
    namespace that it belongs to, which is handed over last, {} for none; fds: or one that exists.
    Raises Unsupported, KernelError, OSError.
    """
    if params.get("users"):
        fds = [idmaps.user_namespace(params["users"]["uidMappings"], params["users"]["gidMappings"])]
    if fds:
        namespaces.enter(fds[0], namespaces.NEWUSER)
    with ExitStack() as held:
        made = _new(params, held)
        report({"network": True}, [*made, *fds] if params.get("users") else made)
    return {}


def make_networks(params: dict[str, Any], fds: list[int], channel: Channel) -> None:
    """Make one namespace after the other, as make_network does, for as long as the caller asks for more.

    Each message asks for one, with what params["settings"] and params["has_names"] say.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    syscalls.set_name(b"pycontainer-net")
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    wanted: dict[str, Any] | None = params
    while wanted is not None:
        with ExitStack() as held:
            # Whoever stayed in it would keep it, and its container's links, alive.
            held.callback(namespaces.enter, home, namespaces.NEWNET)
            answer: dict[str, Any] = {"network": True}
            try:
                made = _new(wanted, held)
            except Exception as error:  # the edge of the process: it is the caller's to see
                answer, made = {"error": describe_error(error, "make_networks")}, []
            try:
                channel.send(answer, made)
            except OSError:
                return  # the caller has gone
        wanted = channel.receive()


def _new(params: dict[str, Any], held: ExitStack) -> list[int]:
    """Go to a new network namespace; what is handed over of it, closed with held."""
    namespaces.leave(namespaces.NEWNET)
    _write(params["settings"])
    settings.bring_up_loopback()
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    held.callback(os.close, namespace)
    sockets = [held.enter_context(_route())]
    if params["has_names"]:
        from pycontainer.launcher.dns import opening  # see open_names

        sockets += [held.enter_context(each) for each in opening.open_sockets()]
    return [namespace, *(each.fileno() for each in sockets)]


def open_route(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Hand over a network namespace and a netlink socket in it; fds as for open_sockets.

    params["settings"]: as for make_network, for links that come.
    """
    _join(fds[0])
    _write(params["settings"])
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with _route() as route:
        report({"network": True}, [namespace, route.fileno()])
    return {}


def set_links(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Write params["settings"] of links that are there: as for make_network; fds as for open_sockets.

    Raises NotFound naming one that the kernel does not have, KernelError naming one that it refuses.
    """
    _join(fds[0])
    for path, content in params["settings"].items():
        try:
            _write_one(path, content)
        except FileNotFoundError:
            raise errors.NotFound(f"the kernel has no setting net.{path.replace('/', '.')}") from None
        except OSError as error:
            raise errors.KernelError(error.errno or 0, "write", f"/proc/sys/net/{path}", content) from error
    return {}


def _write(settings: dict[str, str]) -> None:
    for path, content in settings.items():
        try:
            _write_one(path, content)
        except FileNotFoundError:
            continue  # a kernel without IPv6


def _write_one(path: str, content: str) -> None:
    with open(f"/proc/sys/net/{path}", "w") as file:
        file.write(content)


def _route() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def _join(namespace: int) -> None:
    try:
        namespaces.enter(namespace, namespaces.NEWNET)
    except ProcessLookupError:
        raise errors.NotFound("the container's first process has ended") from None
