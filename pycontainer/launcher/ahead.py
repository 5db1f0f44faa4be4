"""What a launch needs whatever the container: made before it is asked for, used once or not at all.

Theory of operation. The monitor of a container that is done quickly stays for the next one; when a container
goes on, the helper forks a process that will be the next one's monitor. It makes that container's cgroups,
goes to new network, IPC and UTS namespaces, as the last container had them, makes the file systems for its
/dev, /sys and the like, which are mounted nowhere yet, and waits. The request then finds no fork, no new
namespace and, in a monitor that has been one, warm memory of its own in its way.

Between two containers a monitor forgets the last one: every object and descriptor of it. It stays only where
nothing else has changed, and not for ever.

The ids of containers are a sequence that helper and caller both know, and nobody else can guess: so the
next container's cgroups can bear its name. Their lock tells others that somebody is at work in them.

A container that is not like the last gets none of it: the process comes back, and all is made as asked.
Nothing here is ever used by two. What it knows of the last container is where its cgroups were and what kinds
of namespaces and file systems it had, which name no program, variable or path of the image; and it ends with
the helper unless it was given a request.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from pycontainer import errors
from pycontainer.kernel import mounts, namespaces, syscalls
from pycontainer.launcher import cgroup, plan
from pycontainer.launcher.away import Away
from pycontainer.launcher.ids import ID_LENGTH
from pycontainer.launcher.protocol import Channel
from pycontainer.launcher.steps import settings
from pycontainer.launcher.steps.context import Context, FileSystem

__all__ = ["NEXT", "STAYS", "Ahead"]

NEXT = b"next:"
"""Before the id of the container to make ready for, from the helper."""
STAYS = b'{"stays":true'
"""How the message begins of one that will wait for another container."""

_MOST_LAUNCHES = 200
_KINDS = namespaces.NEWNET | namespaces.NEWIPC | namespaces.NEWUTS
_FILE_SYSTEMS = frozenset((b"tmpfs", b"devpts", b"sysfs", b"mqueue"))
"""Those that can be made ahead of the namespaces that the first process is born in."""
_SHOWN = {b"sysfs": namespaces.NEWNET, b"mqueue": namespaces.NEWIPC}
"""What of the namespaces that they are made in some of them show."""


class Ahead:
    """What this process has made ahead; nothing in one that was forked for a request."""

    def __init__(self, helper: Channel | None = None) -> None:
        self._helper: Channel | None = helper
        self._away = Away()
        self._like: dict[str, Any] | None = None
        self._cgroup: dict[str, Any] = {}
        self._lock = -1
        self._made: dict[FileSystem, list[int]] = {}
        self._needed: list[FileSystem] = []
        self._alien: set[bytes] = set()
        self._launches = 0
        self._has_told = False
        self.stays: bool = False
        """Whether it was told that this process will wait for another container."""

    # -- before the request ----------------------------------------------------------------------

    def prepare(self, like: dict[str, Any], own_id: str) -> None:
        """Make what the last container had for the one with this id; nothing if it cannot be made."""
        try:
            self._make_cgroups(like["cgroup"], own_id)
            self._away.leave(like["kinds"])
            self._make_file_systems(like)
        except (errors.PycontainerError, OSError):
            self.discard()
        else:
            self._like = like

    def _make_cgroups(self, like: Mapping[str, str], own_id: str) -> None:
        self._cgroup = json.loads(like["text"].replace(like["id"], own_id))
        self._lock = cgroup.make_held(self._cgroup)

    def _make_file_systems(self, like: Mapping[str, Any]) -> None:
        if like["kinds"] & namespaces.NEWNET:
            settings.bring_up_loopback()
        for wanted in map(_heard, like["mounts"]):
            self._made.setdefault(wanted, []).append(mounts.create(*wanted))

    def take_cgroups(self, plan_: Mapping[str, Any]) -> int:
        """The lock of this plan's cgroups, if they are made with all their limits; else -1, and none are."""
        if self._cgroup and self._cgroup != plan_:
            self.discard()
        lock, self._lock, self._cgroup = self._lock, -1, {}
        return lock

    def await_request(self) -> tuple[dict[str, Any], list[int]] | None:
        """What the helper passes on, with its descriptors; None when the helper has ended."""
        helper = self._helper
        assert helper is not None
        while True:
            while (body := helper.take_body()) is None:
                if not helper.fill():
                    return None
            if not body.startswith(NEXT):
                self._launches += 1
                return json.loads(body), helper.take_fds()
            own_id, like = body[len(NEXT) :][:ID_LENGTH].decode(), body[len(NEXT) + ID_LENGTH :]
            if like:
                self._like = json.loads(like)
            if self._like is not None:
                self.prepare(self._like, own_id)

    def forget(self, kept: Collection[int]) -> None:
        """Let go of every object and descriptor of the last container. kept: descriptors of other use."""
        self.stays = self._has_told = False
        self._made, self._needed, self._alien = {}, [], set()
        # In this order: an object that went later would close what has its number by then.
        gc.collect()
        assert self._helper is not None
        syscalls.close_all_but((0, 1, 2, self._helper.fileno(), *kept, *self._away.descriptors))

    # -- with the request ------------------------------------------------------------------------

    def go(self, outline: plan.Outline, context: Context) -> None:
        """Be in the container's namespaces that can be come back from: those made ahead, or new ones.

        context: has descriptors of the joined ones, by name, and gets the file systems that were made.
        """
        kinds = outline.new & _KINDS
        joined = {kind for _, kind, _ in outline.joined}
        alien = {fstype for fstype, kind in _SHOWN.items() if kind in joined}
        self._let_go_of_file_systems(alien)
        if self._away.kinds != kinds:
            self._like = None
            self._let_go_of_file_systems(_FILE_SYSTEMS)
            self._away.come_back()
            self._away.leave(kinds)
        for key, kind, _ in outline.joined:
            self._away.join(context.fds[key], kind)
        self._away.leave(namespaces.NEWNS)
        context.made = self._made
        self._needed, self._alien = context.needed, alien

    def learn(self, outline: plan.Outline, params: Mapping[str, Any]) -> None:
        """Remember for the next one what the container is like, unless it was like the last."""
        if self._like is None:
            likeness = _likeness(params["id"], params.get("cgroup") or {})
            if likeness is not None:
                self._like = {"kinds": outline.new & _KINDS, "cgroup": likeness, "mounts": self.needed}

    def settle(self) -> None:
        """Go back to the host's namespaces, and let go of file systems that were not needed; idempotent."""
        self._away.come_back()
        self._let_go_of_file_systems(_FILE_SYSTEMS)

    @property
    def needed(self) -> list[list[Any]]:
        """Which file systems the container had that another may find made; for a message."""
        return [_told(found) for found in self._needed if found[0] in _FILE_SYSTEMS - self._alien]

    def _let_go_of_file_systems(self, fstypes: Collection[bytes]) -> None:
        for wanted, made in self._made.items():
            while made and wanted[0] in fstypes:
                os.close(made.pop())

    def discard(self) -> None:
        """Undo all that was made and is still here; idempotent."""
        self._like = None
        self.settle()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        # The container may be started by another process, or was asked for earlier: then they are its own.
        cgroup.remove_unused(self._cgroup)
        self._cgroup = {}

    def tell(self, *, may_stay: bool = False) -> None:
        """Let the helper make the next one, now that this one's caller has its answer; once.

        may_stay: this process may still wait for another container when this one is done.
        """
        helper = self._helper
        if helper is None or self.stays:
            return
        try:
            if self._like is not None and not self._has_told:
                helper.send(self._like)
        except OSError:
            may_stay = False  # the helper has ended
        self._has_told = True
        if not may_stay:
            helper.close()
            self._helper = None

    def stay(self) -> None:
        """Tell the helper that this process will wait for another container, unless it has had many."""
        if self._helper is None or self._like is None or self._launches >= _MOST_LAUNCHES:
            self.tell()
            return
        try:
            self._helper.send({"stays": True, **self._like})
            self.stays = True
        except OSError:
            pass  # the helper has ended


def _told(found: FileSystem) -> list[Any]:
    fstype, options, attributes = found
    words = [(key.decode("latin-1"), value and value.decode("latin-1")) for key, value in options]
    return [fstype.decode(), words, attributes]


def _heard(told: list[Any]) -> FileSystem:
    fstype, words, attributes = told
    options = tuple((key.encode("latin-1"), value and value.encode("latin-1")) for key, value in words)
    return fstype.encode(), options, attributes


def _likeness(own_id: str, made: Mapping[str, Any]) -> dict[str, str] | None:
    """How the next container's cgroups follow from these; None if they do not."""
    own = made.get("own") or ()
    if made.get("scope"):
        return None  # systemd makes a scope for a process that exists, and takes an empty one away
    if any(os.path.basename(path) != own_id for path in own):
        return None
    return {"id": own_id, "text": json.dumps(made)}
