"""Handing a container that goes on from the process that started it to one that stays small.

Theory of operation. To start a container a process writes to two megabytes of its memory, which it shared
with the helper until then; to look after one takes a third of that. So a monitor is two processes at first.
The keeper does nothing but fork the starter and wait. What the starter clones is the keeper's child
(CLONE_PARENT), tied to the keeper's life. Once the program runs the keeper gets what there is to know of it,
with all descriptors, and the starter ends. Whoever is killed meanwhile, nothing is left: the starter dies
with the keeper, and the keeper ends its children when it is left alone with them.

A container stays with its starter if the caller waits for its output, which a warm process serves faster and
which then is free for the next one; if its first process cannot be cloned that way; or if its streams are
more than two pipes to a log of this host.
"""

from __future__ import annotations

import marshal
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pycontainer import checkpoints
from pycontainer.kernel import pidfd, syscalls
from pycontainer.launcher.protocol import MAX_FDS, Channel

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["NAME", "Keeper", "keep", "suits"]

NAME = b"pycontainer-mon"
"""Of the process that is a container's monitor, and will be."""

_REAP = b"reap "
_MOST_OWN = 10
"""Descriptors that are handed over besides those of the request."""
_OF_MONITOR = ("fields", "is_halted", "is_owned", "removes_files", "has_own_pids", "pid")


class Keeper:
    """The process that will stay, as the starter knows it. pidfd: for whoever is tied to its life."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self.pid: int = pid
        self.pidfd: int = os.pidfd_open(pid)

    @property
    def descriptors(self) -> tuple[int, int]:
        """What stays open from one container to the next."""
        return self._channel.fileno(), self.pidfd

    def reap(self, pid: int) -> int:
        """The wait status of a process that was cloned as the keeper's child, once it has ended."""
        self._channel.send_body(b"%b%d" % (_REAP, pid))
        answer = None
        while answer is None and self._channel.fill():
            answer = self._channel.take_body()
        return int(answer) if answer is not None else signal.SIGKILL

    def take_over(self, monitor: Monitor) -> None:
        """Let it be the monitor of the container that runs; this process has no part in it any more."""
        fds = {**monitor.fds, **monitor.streams.readers()}
        fds["pidfd"], fds["mounts"] = monitor.pidfd, monitor.mount_namespace
        fds["directory"], fds["lock"] = monitor.directory, monitor.lock
        if monitor.channel is not None:
            fds["channel"] = monitor.channel.fileno()
        if monitor.ports is not None:
            fds.update(monitor.ports.descriptors())
        if monitor.rules.descriptor >= 0:
            fds["rules"] = monitor.rules.descriptor
        message = {
            "params": {**monitor.params, "cgroup": monitor.cgroup, "spec": _needed(monitor)},
            "spec": marshal.dumps(monitor.params["spec"]),
            "fds": list(fds),
            "monitor": {name: getattr(monitor, name) for name in _OF_MONITOR},
            "is_log_cut_off": monitor.streams.is_cut_off,
            "kill_at": checkpoints.armed(),
        }
        self._channel.send_body(marshal.dumps(message), list(fds.values()))


def suits(monitor: Monitor) -> bool:
    """Whether a keeper can take the container over once it runs."""
    bound = (monitor.params.get("ports") or {}).get("bound", ())
    return (
        monitor.keeper is not None
        and not monitor.params.get("inline_output")
        and not monitor.is_between
        and not monitor.cgroup.get("scope")
        and monitor.streams.are_plain
        and len(monitor.fds) + len(bound) + _MOST_OWN <= MAX_FDS
    )


def _needed(monitor: Monitor) -> dict[str, Any]:
    """What of the specification is looked at while it runs; a check of its health looks at all of it."""
    spec: dict[str, Any] = monitor.params["spec"]
    if monitor.health is not None:
        return spec
    memory = ((spec.get("linux") or {}).get("resources") or {}).get("memory")
    return {"process": {}, "linux": {"resources": {"memory": memory}}}


def keep(
    helper: Channel, start: Callable[[Keeper], None], take_over: Callable[[dict[str, Any], list[int]], None]
) -> None:
    """Be a keeper; returns when its container has ended, or the starter without having handed over one.

    helper: for the starter alone. start: called in the starter, which ends when it returns. take_over: called
    with what Keeper.take_over has sent; goes on for the container's life.
    """
    me = os.getpid()
    ours, theirs = Channel.pair()
    starter, ended = syscalls.clone3(0)  # os.fork writes to a fifth of a megabyte besides
    if starter == 0:
        try:
            ours.close()
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == me:
                start(Keeper(theirs, me))
        finally:
            os._exit(0)
    theirs.close()
    helper.close()
    os.close(ended)
    body = None
    while body is None and ours.fill():
        body = ours.take_body()
        if body is not None and body.startswith(_REAP):
            ours.send_body(b"%d" % os.waitpid(int(body[len(_REAP) :]), 0)[1])
            body = None
    if body is not None:
        syscalls.set_name(NAME)  # while the starter is seen by its own: one of them always tells what goes on
        fds = ours.take_fds()
        ours.close()
        os.waitpid(starter, 0)
        message = marshal.loads(body)
        checkpoints.arm(*message["kill_at"])
        take_over(message, fds)
        return
    while alone := pidfd.children():
        for pid in alone:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
