"""What a launch needs whatever the container: made before it is asked for, used once or not at all.

Theory of operation. After each launch the helper forks one process that will be the next container's
monitor. It makes that container's cgroups, enters new network, IPC and UTS namespaces and clones the
container's first process, born in its cgroup, which makes and mounts what is nobody's image (/proc, /dev,
/sys and their masks) on a stage of its own, as the last container had it; and both wait. The request then
finds no fork, no new namespace and few mounts in its way: the first process reads and plans it while the
monitor sets the limits and makes the root file system.

The ids of containers are a sequence that helper and caller both know, and nobody else can guess: so the
next container's cgroups can bear its name. Their lock tells others that somebody is at work in them.

What belongs to a network namespace that the container is to join is not staged: the process joins when it
has the request, and mounts /sys, which shows the namespace, and writes net.* settings after that.

A container that is not like the last gets none of it: the process is killed, and all is made as asked.
Nothing here is ever used by two. What it knows of the last container is the shape of its kernel file
systems and where its cgroups were, which name no program, variable or path of the image; and it ends with
the helper unless it was given a request.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pycontainer import errors
from pycontainer.kernel import namespaces, pidfd, syscalls
from pycontainer.launcher import cgroup, plan, stages
from pycontainer.launcher.protocol import Channel

__all__ = ["Ahead"]

_KINDS = (("net", namespaces.NEWNET), ("ipc", namespaces.NEWIPC), ("uts", namespaces.NEWUTS))
_BORN_IN = namespaces.NEWNS | namespaces.NEWPID
_READY_TIMEOUT_S = 10.0

FirstProcess = Callable[[Channel, int, Mapping[str, Any]], NoReturn]


class Ahead:
    """What this process has made ahead; empty in one that was forked for a request."""

    def __init__(self, helper: Channel) -> None:
        self._helper: Channel | None = helper
        self._home: list[tuple[int, int]] = []
        self._kinds = 0
        self._shape: Any = None
        self._like: dict[str, Any] | None = None
        self._cgroup: dict[str, Any] = {}
        self._lock = -1
        self._child: Channel | None = None
        self._pid = -1
        self._pidfd = -1

    # -- before the request ----------------------------------------------------------------------

    def prepare(self, like: dict[str, Any], own_id: str, first_process: FirstProcess) -> None:
        """Make what the last container had for the one with this id; nothing if it cannot be made."""
        try:
            self._make_cgroups(like["cgroup"], own_id)
            self._enter(like["kinds"])
            self._clone(first_process, like)
        except (errors.PycontainerError, OSError):
            self.discard()
        else:
            self._like, self._shape = like, like["shape"]

    def _make_cgroups(self, like: Mapping[str, Any], own_id: str) -> None:
        own = [f"{parent}/{own_id}" for parent in like["parents"]]
        self._cgroup = {**like, "dirs": [*like["shared"], *own], "own": own}
        self._lock = cgroup.make_held(self._cgroup)

    def _enter(self, kinds: int) -> None:
        for name, kind in _KINDS:
            if kinds & kind:
                self._home.append((os.open(f"/proc/self/ns/{name}", os.O_RDONLY), kind))
                self._kinds |= kind
        namespaces.leave(self._kinds)

    def _clone(self, first_process: FirstProcess, like: Mapping[str, Any]) -> None:
        me = os.pidfd_open(os.getpid())
        ours, theirs = socket.socketpair()
        born_in = self._lock if self._cgroup["is_born_in_first"] else -1
        self._pid, self._pidfd = syscalls.clone3(_BORN_IN, cgroup_fd=born_in)
        if self._pid == 0:
            try:
                self._leave(ours)
                first_process(Channel(theirs), me, like)
            finally:
                os._exit(125)
        theirs.close()
        os.close(me)
        self._child = Channel(ours)

    def _leave(self, ours: socket.socket) -> None:
        """In the first process: let go of what is the monitor's."""
        ours.close()
        if self._lock >= 0:
            os.close(self._lock)
        for fd, _ in self._home:
            os.close(fd)
        assert self._helper is not None
        self._helper.close()

    def await_request(self) -> tuple[dict[str, Any], list[int]] | None:
        """What the helper passes on, with its descriptors; None when the helper has ended."""
        assert self._helper is not None
        while (body := self._helper.take_body()) is None:
            if not self._helper.fill():
                return None
        fds = self._helper.take_fds()
        if self._child is not None:
            try:
                # The job's own channel comes first, and is the monitor's alone.
                self._child.send_body(body, fds[1:])
            except OSError:
                self.discard()
        return json.loads(body), fds

    # -- with the request ------------------------------------------------------------------------

    def take_child(
        self, outline: plan.Outline, params: Mapping[str, Any], *, has_root: bool
    ) -> tuple[int, int, Channel] | None:
        """The first process, if this container can have it: pid, pidfd and channel.

        has_root: whether the root is made, for it could mount none of the host's directories. Its cgroups
        must have been made. If it cannot, the process is let go; `settle` lets go of the rest.
        """
        if has_root and self._child is not None and self._fits(outline, params) and self._is_ready():
            taken = self._pid, self._pidfd, self._child
            self._pid, self._pidfd, self._child = -1, -1, None
            return taken
        self._like = None
        self._end_child()
        self._go_home()
        return None

    def _fits(self, outline: plan.Outline, params: Mapping[str, Any]) -> bool:
        own = list((params.get("cgroup") or {}).get("own") or ())
        return (
            outline.clone_flags == self._kinds | _BORN_IN
            and _joins_later(outline)
            and not outline.new & namespaces.NEWTIME  # made for those that are born after it
            and not params["spec"].get("hooks")  # they look at the host, which it sees no more
            and own == self._cgroup["own"]
            and stages.shape(params["spec"]) == self._shape
        )

    def _is_ready(self) -> bool:
        assert self._child is not None
        try:
            # It may have been killed since it said so.
            return self._child.receive(_READY_TIMEOUT_S) is not None and not pidfd.has_ended(self._pidfd)
        except (OSError, errors.DeadlineExceeded):
            return False

    def learn(self, outline: plan.Outline, params: Mapping[str, Any]) -> None:
        """Remember for the next one what the container is like, unless it was like the last."""
        if self._like is not None:
            return
        shape = stages.shape(params["spec"])
        is_plain = _joins_later(outline) and not outline.new & (namespaces.NEWUSER | namespaces.NEWTIME)
        can_be_born = outline.clone_flags & _BORN_IN == _BORN_IN
        likeness = _cgroup_likeness(params["id"], params.get("cgroup") or {})
        if is_plain and can_be_born and shape is not None and likeness is not None:
            self._like = {"kinds": outline.new, "shape": shape, "cgroup": likeness}

    def settle(self) -> None:
        """Go back to the host's namespaces and let go of the lock; idempotent.

        What was made is the container's by now, or is not wanted.
        """
        self._go_home()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _go_home(self) -> None:
        for fd, kind in self._home:
            if self._kinds & kind:
                namespaces.enter(fd, kind)
            os.close(fd)
        self._home, self._kinds = [], 0

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
        if self._pid > 0:
            pidfd.send_signal(self._pidfd, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pidfd)
            self._pid = self._pidfd = -1

    def let_go(self) -> None:
        """End the first process if it was not taken, and settle; idempotent."""
        self._end_child()
        self.settle()

    def discard(self) -> None:
        """Undo all that was made; for the end without a request. Idempotent."""
        self.let_go()
        # The container may be started by another process, or was asked for earlier: then they are its own.
        cgroup.remove_unused(self._cgroup)
        self._cgroup = {}

    def discard_foreign(self, params: Mapping[str, Any]) -> None:
        """Undo the cgroups, if they were made for another container than asked for."""
        if self._cgroup and self._cgroup["own"] != list((params.get("cgroup") or {}).get("own") or ()):
            self.discard()

    def tell(self) -> None:
        """Let the helper make the next one, now that this one's caller has its answer; once."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        if self._like is not None:
            try:
                helper.send(self._like)
            except OSError:
                pass  # the helper has ended, or another launch has followed
        helper.close()


def _joins_later(outline: plan.Outline) -> bool:
    """Whether a process that exists already can join what it is to join: a network namespace, if any."""
    return all(kind == namespaces.NEWNET for _, kind, _ in outline.joined)


def _cgroup_likeness(own_id: str, made: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the next container's cgroups will be if this one's are these; None if nobody can tell."""
    own = list(made.get("own") or ())
    born_in = made.get("clone_into")
    if any(os.path.basename(path) != own_id for path in own) or (born_in and born_in != own[0]):
        return None
    return {
        "parents": [os.path.dirname(path) for path in own],
        "shared": [path for path in made.get("dirs") or () if path not in own],
        # What the parents must have before somebody is born below them.
        "writes": [
            write for write in made.get("writes") or () if write[0].endswith("/cgroup.subtree_control")
        ],
        "is_born_in_first": bool(born_in),
    }
