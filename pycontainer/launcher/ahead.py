"""What a launch needs whatever the container: made before it is asked for, used once or not at all.

Theory of operation. After each launch the helper forks one process that will be the next container's
monitor. It enters new network, IPC and UTS namespaces; mounts, detached, what belongs to them and to
nobody's image (/dev with its devices, devpts, sysfs, message queues, shared memory, the masks), as the
last container had it; and waits. The request then finds no fork and no new network namespace in its way.
The first process is cloned inside these namespaces, and the monitor goes back to the host's.

A container that is not like the last gets none of it: what does not fit is let go, and made as asked.
Nothing here is ever used by two. What it knows of the last container are these steps of its plan, which
name no program, variable or path of the host; and it ends with the helper unless it was given a request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from pycontainer import errors
from pycontainer.kernel import mounts, namespaces, syscalls
from pycontainer.launcher import plan
from pycontainer.launcher.protocol import Channel
from pycontainer.launcher.steps import devices, settings
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps.context import Context

__all__ = ["Ahead"]

_KINDS = (("net", namespaces.NEWNET), ("ipc", namespaces.NEWIPC), ("uts", namespaces.NEWUTS))
_ALL_KINDS = namespaces.NEWNET | namespaces.NEWIPC | namespaces.NEWUTS
_FILE_SYSTEMS = frozenset((b"tmpfs", b"devpts", b"mqueue", b"sysfs"))
_FUNCTIONS: dict[str, Callable[..., None]] = {
    "mount": mount_steps.mount_filesystem,
    "nodes": devices.make_nodes,
    "links": devices.make_links,
    "loopback": settings.raise_loopback,
}
_NAMES = {function: name for name, function in _FUNCTIONS.items()}

Steps = tuple[plan.Step, ...]


def _to_json(value: Any) -> Any:
    """Arguments of a step as JSON has them: there are no texts among them, so texts stand for bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("latin-1")
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value


def _step(name: str, function: str, described: Any) -> plan.Step:
    args = _from_json(described)
    if function == "nodes":
        nodes, *rest = args
        args = (tuple(devices.Node(*node) for node in nodes), *rest)
    return plan.Step(name, _FUNCTIONS[function], args)


def _can_be_made_ahead(step: plan.Step) -> bool:
    if step.function is mount_steps.mount_filesystem:
        return step.args[0] in _FILE_SYSTEMS
    return step.function in _NAMES


class Ahead:
    """What this process has made ahead; empty in one that was forked for a request."""

    def __init__(self, helper: Channel) -> None:
        self._helper: Channel | None = helper
        self._home: list[tuple[int, int]] = []
        self._groups: list[tuple[Steps, tuple[int, ...]]] = []
        self.masks = -1
        """A detached tree to mask paths with, or -1."""
        self._kinds = 0
        self._like: dict[str, Any] | None = None

    # -- before the request ----------------------------------------------------------------------

    def prepare(self, like: dict[str, Any]) -> None:
        """Make what the last container had; nothing if it cannot be made."""
        self._like = like
        steps = [_step(*described) for described in like["steps"]]
        mask = os.umask(0)  # as in the first process, which gives exact modes
        try:
            if not self._is_busy():
                self._enter(like["kinds"])
                self._mount(steps)
        except (errors.PycontainerError, OSError):
            self.discard()
        finally:
            os.umask(mask)

    def _is_busy(self) -> bool:
        """Whether the request is here already: it is not kept waiting for what it can make itself."""
        return self._helper is None or self._helper.has_arrived()

    def _enter(self, kinds: int) -> None:
        for name, kind in _KINDS:
            if kinds & kind:
                self._home.append((os.open(f"/proc/self/ns/{name}", os.O_RDONLY), kind))
        namespaces.leave(kinds)
        self._kinds = kinds

    def _mount(self, steps: Sequence[plan.Step]) -> None:
        context = Context(monitor=-1, go=-1, error=-1, fds={})
        of_dev = tuple(step for step in steps if step.function in (devices.make_nodes, devices.make_links))
        for step in steps:
            if self._is_busy():
                return
            if step.function is settings.raise_loopback:
                step.function(context, *step.args)
                self._groups.append(((step,), (-1,)))
            elif step.function is mount_steps.mount_filesystem:
                fstype, path, options, attributes, _propagation = step.args
                made = mounts.create(fstype, options, attributes)
                if path != b"/dev":
                    self._groups.append(((step,), (made,)))
                    continue
                # A /dev with other devices than asked for must not be used: all of it, or nothing.
                context.dev = made
                for inner in of_dev:
                    inner.function(context, *inner.args)
                self._groups.append(((step, *of_dev), (made, *(-1 for _ in of_dev))))
        # Before that, only mounts of the container's own namespace can be copied, and this is none.
        if syscalls.kernel_version() >= (6, 15):
            self.masks = mount_steps.empty_tree()

    def await_request(self) -> dict[str, Any] | None:
        """What the helper passes on, with `take_fds`; None when it has ended."""
        assert self._helper is not None
        return self._helper.receive()

    def take_fds(self) -> list[int]:
        """The descriptors of the request."""
        assert self._helper is not None
        return self._helper.take_fds()

    # -- with the request ------------------------------------------------------------------------

    def fits(self, outline: plan.Outline) -> int:
        """The namespaces the container can have from here, as CLONE_NEW* flags; else it is all let go."""
        wanted = outline.new & _ALL_KINDS
        if (
            self._kinds
            and self._kinds == wanted
            and not outline.joined
            and not outline.new & namespaces.NEWUSER
        ):
            return self._kinds
        self.discard()
        return 0

    def made(self, steps: Sequence[plan.Step]) -> dict[plan.Step, int]:
        """Which of the steps are done: a detached mount that is to be attached still, or -1."""
        wanted = set(steps)
        found: dict[plan.Step, int] = {}
        for group, fds in self._groups:
            if wanted.issuperset(group):
                found.update(zip(group, fds, strict=True))
        return found

    def describe(self, steps: Sequence[plan.Step]) -> bytes:
        """The steps to make ahead next time; b"" if they are those that this was made from."""
        described = [
            [step.name, _NAMES[step.function], _to_json(step.args)]
            for step in steps
            if _can_be_made_ahead(step)
        ]
        if self._like is not None and self._like["steps"] == described:
            return b""
        return json.dumps(described, separators=(",", ":")).encode("ascii")

    def learn(self, outline: plan.Outline, described: bytes) -> None:
        """Remember for the next one what the container is like; described: as `describe` gave it."""
        steps = json.loads(described) if described else self._like["steps"] if self._like else []
        is_plain = not outline.joined and not outline.new & namespaces.NEWUSER
        self._like = {"kinds": outline.new & _ALL_KINDS, "steps": steps} if is_plain else None

    def discard(self) -> None:
        """Go back to the host's namespaces and let go of the rest; idempotent."""
        for fd, kind in self._home:
            if self._kinds & kind:
                namespaces.enter(fd, kind)
            os.close(fd)
        for _, fds in self._groups:
            for fd in fds:
                if fd >= 0:
                    os.close(fd)
        if self.masks >= 0:
            os.close(self.masks)
        self._home, self._groups, self._kinds, self.masks = [], [], 0, -1

    @property
    def has_told(self) -> bool:
        """Whether the helper knows that it may make the next one."""
        return self._helper is None

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
