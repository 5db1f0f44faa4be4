"""A container's surroundings put together by its monitor, so that its first process has little left to do.

Theory of operation. A process that was just cloned pays for each page it touches, and an interpreter touches
hundreds on the way to execve. So whatever any process in the container's namespaces can do, the monitor does:
it goes there for that moment, with the steps of the plan, and comes back (`away`). What only the first
process can do for itself (its own /proc, cgroups, ids, capabilities, filter) is written down as scripts of
system calls, which it has nothing to do but to make.

Most containers can be made so. One whose plan has a step that is in neither list below, or that joins what
the monitor cannot come back from, is made by its first process alone, in the plan's order.

Nobody of the container lives while the monitor is in its namespaces, and nothing of the image is executed.
Its procfs is the host's there, and is gone before any file of the image is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import lru_cache

from pycontainer.kernel import mounts, namespaces, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher import plan, scripting
from pycontainer.launcher.plan import Step
from pycontainer.launcher.steps import devices, identity, inroot, process, rootfs, security, settings
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps.context import Context, Refused

__all__ = ["BORN_IN", "Assembly", "can_assemble", "has_such_namespaces"]

BORN_IN = namespaces.NEWPID
"""The kinds of namespaces that the first process is still cloned into."""

_VISITED = namespaces.NEWNS | namespaces.NEWNET | namespaces.NEWIPC | namespaces.NEWUTS
_POSSIBLE = _VISITED | BORN_IN | namespaces.NEWCGROUP
_PROC = b"/proc"
_OF_VISITED = (
    *(b"net.", b"fs.mqueue.", b"kernel.shm", b"kernel.msg", b"kernel.sem"),
    *(b"kernel.hostname", b"kernel.domainname"),
)
_UMASK = 0o022

_BEFORE = (
    *(rootfs.isolate_mounts, rootfs.attach_root, rootfs.make_directory, rootfs.make_readonly),
    *(mount_steps.mount_filesystem, mount_steps.mount_bind, mount_steps.mount_cgroups),
    *(mount_steps.mount_files, mount_steps.freeze, mount_steps.mask),
    *(devices.make_nodes, devices.make_links, devices.use_null),
    *(settings.set_names, settings.raise_loopback, security.set_sysctls),
    *(identity.resolve, identity.use_ids, identity.own_output),
)
"""What the monitor can do, with the exceptions of `_is_own`."""

_USERS = (identity.resolve, identity.use_ids)
"""The one step with which files of the image begin to be read."""

_AS_IT_IS = (
    *(settings.enter_cgroups, settings.enter_cgroup_namespace, security.set_oom_score),
    *(settings.join, security.set_label, process.enter_directory, process.execute, process.supervise),
)
"""Steps of the first process that it carries out itself."""

_KNOWN = frozenset((*_BEFORE, *scripting.WRITTEN, *_AS_IT_IS))
_CLOSING = (process.prepare_exec, process.let_go)
_MOUNTING = (mount_steps.mount_filesystem, mount_steps.mount_bind)

_kinds: dict[bytes, bytes] = {}
"""What in the kernel's part of /proc is a file and what a directory, as far as it was looked at."""


def can_assemble(outline: plan.Outline, steps: Sequence[Step], cgroup: str = "") -> bool:
    """Whether the monitor can make the container's surroundings; its root must be a detached mount.

    cgroup: as for Assembly.
    """
    if not has_such_namespaces(outline):
        return False
    has_proc = False
    users = 0
    for step in steps:
        function = step.function
        if function not in _KNOWN or (_is_cgroup2(step) and not cgroup):
            return False
        if function in _MOUNTING:
            # What only the first process can mount comes too late for what is mounted over or in it.
            if has_proc and (step.args[1] + b"/").startswith(_PROC + b"/"):
                return False
            if _is_proc(step):
                if step.args[1] != _PROC:
                    return False
                has_proc = True
        elif function is security.set_sysctls and not all(map(_is_of_visited, step.args[0])):
            return False
        users += function in _USERS
    return has_proc and users == 1


def has_such_namespaces(outline: plan.Outline) -> bool:
    """Whether the container's namespaces are of those that the monitor can go to and come back from."""
    return (
        outline.new & (namespaces.NEWNS | BORN_IN) == namespaces.NEWNS | BORN_IN
        and not outline.new & ~_POSSIBLE
        and all(kind & _VISITED for _, kind, _ in outline.joined)
    )


def _is_of_visited(setting: tuple[bytes, bytes, bytes]) -> bool:
    """Whether a kernel setting is one of the namespaces that the monitor goes to."""
    name, _, _ = setting
    return name.replace(b"/", b".").startswith(_OF_VISITED)


def _is_proc(step: Step) -> bool:
    """Whether the step mounts what shows the processes of whoever mounts it."""
    return step.function is mount_steps.mount_filesystem and step.args[0] == b"proc"


def _is_cgroup2(step: Step) -> bool:
    """Whether the step mounts version 2 of the cgroups."""
    return step.function is mount_steps.mount_filesystem and step.args[0] == b"cgroup2"


def _is_own(step: Step) -> bool:
    """Whether the step, though one of those the monitor can do, is the first process's."""
    if step.function in (mount_steps.freeze, mount_steps.mask):
        return any(path == _PROC or path.startswith(b"/proc/") for path in step.args[0])
    return _is_proc(step)


class Assembly:
    """The surroundings of one container, and what is left for its first process.

    context: of both. steps: the plan's. cgroup: the container's directory of version 2, "" if it has none.
    To be used in the container's namespaces, but for BORN_IN.
    """

    def __init__(self, context: Context, steps: Sequence[Step], cgroup: str = "") -> None:
        self._context = context
        self._cgroup = cgroup
        self._left: list[Step] = []
        self._spots: list[int] = []
        self._steps = steps
        self.step: Step = steps[0]
        """The one under way, for who has to tell of a failure."""

    def put_together(self) -> tuple[Step, ...]:
        """Make the surroundings; the steps that are left. Raises Refused, OSError; `step` tells where."""
        os.umask(0)
        try:
            for step in self._steps:
                self.step = step
                if step.function in _BEFORE and not _is_own(step):
                    self._carry_out(step)
                else:
                    self._leave(step)
        finally:
            os.umask(_UMASK)
        # It is of this process's own namespace, and no step of the other one may take it for its own.
        os.close(self._context.proc)
        self._context.proc = -1
        # Written down last: it hands on what the steps have opened.
        first = scripting.performing(self._steps[0], process.settling(self._context))
        return (first, *self._left)

    def close(self) -> None:
        """Let go of what was opened; the container has it."""
        context = self._context
        for fd in (context.proc, context.dev, context.sys, context.masks, *self._spots):
            if fd >= 0:
                os.close(fd)
        context.proc = context.dev = context.sys = context.masks = -1
        self._spots = []

    def _carry_out(self, step: Step) -> None:
        context = self._context
        if step.function in _USERS:
            self._hide_processes()
        if _is_cgroup2(step) and self._is_private:
            self._show_cgroup(step)
            return
        if step.function is devices.use_null:
            null = devices.open_null(context)
            if null >= 0:
                context.fds["stdin"] = null
        elif step.function is identity.own_output:
            # They are not the streams of this process, but will be those of the first one.
            outputs = [context.fds[name] for name in ("stdout", "stderr") if name in context.fds]
            identity.give_output(context, outputs)
        else:
            step.function(context, *step.args)

    def _show_processes(self, step: Step) -> None:
        """Mount this process's own procfs where the container's will be, to tell what would lie in it."""
        made = mounts.create(step.args[0])
        mount_steps.attach_filesystem(self._context, made, step.args[0], step.args[1], 0)

    @property
    def _is_private(self) -> bool:
        """Whether the container will have a cgroup namespace of its own."""
        return any(step.function is settings.enter_cgroup_namespace for step in self._steps)

    def _show_cgroup(self, step: Step) -> None:
        """Bind the container's cgroup, which is the root of what its namespace will show."""
        fstype, path, _, attributes, propagation = step.args
        tree = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(self._cgroup), 1)
        mounts.set_attributes(tree, attributes)
        mounts.set_propagation(tree, mounts.MS_PRIVATE)
        mount_steps.attach_filesystem(self._context, tree, fstype, path, propagation)

    def _hide_processes(self) -> None:
        """Move it to where the pivot lets go of it: to unmount it would be to wait for every processor."""
        spot = os.open(b"/proc", os.O_PATH | os.O_DIRECTORY)
        mounts.attach(self._context.proc, spot)
        os.close(spot)

    def _leave(self, step: Step) -> None:
        """Let the first process do it, as a script where that can be."""
        context, function = self._context, step.function
        if function is settings.join:
            return  # this process is there, and whoever it clones will be
        if function in _CLOSING and scripting.is_filtered_early(self._steps):
            self._left.append(step)
        elif function in scripting.WRITTEN:
            if function is process.settle:
                return  # see put_together
            self._left.append(scripting.performing(step, scripting.WRITTEN[function](context, *step.args)))
            if function is process.let_go:
                self._left.append(Step(step.name, process.report_on_three))
        elif function is settings.enter_cgroups:
            self._enter_cgroups(step)
        elif _is_proc(step):
            self._show_processes(step)
            self._left.append(self._mounting(step))
        elif function in (mount_steps.freeze, mount_steps.mask):
            self._left += self._closing(step)
        elif function is process.enter_directory:
            self._left += self._entering(step)
        elif function is settings.enter_cgroup_namespace:
            self._enter_cgroups(step)
            script = Script()
            script.unshare(namespaces.NEWCGROUP)
            self._left.append(scripting.performing(step, script))
        elif function is process.execute:
            self._left.append(scripting.executing(step, context))
        else:
            self._left.append(step)

    def _enter_cgroups(self, step: Step) -> None:
        self._left.append(scripting.performing(step, self._context.entering_cgroups()))
        self._context.cgroups = ()

    def _mounting(self, step: Step) -> Step:
        fstype, path, options, attributes, propagation = step.args
        if any(key != b"source" for key, _ in options) or propagation not in (0, mounts.MS_PRIVATE):
            return step
        return scripting.performing(
            step, mount_steps.mounting_filesystem(self._context, fstype, path, attributes)
        )

    def _closing(self, step: Step) -> list[Step]:
        """Of paths in /proc those are written down that this host has, too; others may be a process's own."""
        kinds = [(path, self._kind(path)) for path in step.args[0]]
        found = [Step(step.name, step.function, ((path,),)) for path, kind in kinds if kind is None]
        if step.function is mount_steps.freeze:
            paths = tuple(path for path, kind in kinds if kind is not None)
            return [scripting.performing(step, _freezing(self._context.root, paths)), *found]
        there = tuple((path, kind) for path, kind in kinds if kind)
        if there:
            masks = mount_steps.masks(self._context)
            found.append(scripting.performing(step, _masking(self._context.root, there, masks)))
        return found

    def _kind(self, path: bytes) -> bytes | None:
        """What this is in /proc: a "file" or a "directory", "" for neither; None if that is not known."""
        inner = path[len(_PROC) :].lstrip(b"/")
        if not inner or inner.split(b"/")[0] in (b"self", b"thread-self", b"net", b"mounts"):
            return None
        if inner[:1].isdigit():
            return None
        if inner not in _kinds:
            try:
                found = os.stat(inner, dir_fd=self._context.procfs(), follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return b""  # there may be one later
            _kinds[inner] = b"directory" if stat.S_ISDIR(found.st_mode) else b"file"
        return _kinds[inner]

    def _entering(self, step: Step) -> list[Step]:
        """A directory that is reached through no link, and is not of /proc, is the same one for anybody."""
        (path,) = step.args
        if path == _PROC or path.startswith(b"/proc/"):
            return [step]
        try:
            spot = inroot.locate(self._context.root, path, os.O_PATH | os.O_DIRECTORY, strict=True)
        except (OSError, Refused):
            return [step]
        self._spots.append(spot)
        script = Script()
        script.fchdir(spot)
        return [
            scripting.performing(step, script),
            scripting.performing(step, process.checking_directory(self._context)),
        ]


# Most containers close the same ones, with descriptors of the same numbers.
@lru_cache(maxsize=64)
def _freezing(root: int, paths: tuple[bytes, ...]) -> Script:
    script = Script()
    for path in paths:
        script.include(mount_steps.freezing(root, path))
    return script


@lru_cache(maxsize=64)
def _masking(root: int, there: tuple[tuple[bytes, bytes], ...], masks: int) -> Script:
    script = Script()
    for path, kind in there:
        script.include(mount_steps.masking(root, path, kind, masks))
    return script
