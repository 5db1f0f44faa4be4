"""The plan of a container that is created first and started later: that of any other, with more steps.

The order of hooks is the runtime-spec's: those of the runtime's namespaces when everything is mounted,
then those of the container's, both before the pivot; the last ones when the start was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pycontainer.kernel import mounts
from pycontainer.launcher import hooks, mountoptions, plan
from pycontainer.launcher.plan import Step
from pycontainer.launcher.steps import (
    chroots,
    copyup,
    devices,
    held,
    identity,
    process,
    rootfs,
    scheduling,
    security,
    settings,
)
from pycontainer.launcher.steps import mounts as mount_steps

__all__ = ["plan_held"]

_PROPAGATION = {
    "private": mounts.MS_PRIVATE,
    "slave": mounts.MS_SLAVE,
    "shared": mounts.MS_SHARED,
    "unbindable": mounts.MS_UNBINDABLE,
}

Json = Mapping[str, Any]


def plan_held(spec: Json, params: Json, *, seccomp: bytes = b"") -> tuple[Step, ...]:
    """Work out the steps. Raises InvalidInput naming what cannot be done.

    params, beside those of any plan: rootfs.dir, state (what hooks are told), preserve_fds (how many
    descriptors from 3 on the program gets), notifies (the filter has a listener), no_pivot (move the root
    instead, as from a ramdisk).
    """
    outline = plan.outline(spec, has_new_mounts=False)
    steps = [Step("process", held.let_go, (params.get("preserve_fds") or 0,))]
    for step in plan.plan(spec, params, seccomp=seccomp):
        steps += _changed(step, spec, params, has_own_mounts=outline.has_own_mounts)
    return tuple(steps)


def _changed(step: Step, spec: Json, params: Json, *, has_own_mounts: bool) -> list[Step]:
    if step.function is rootfs.isolate_mounts and not has_own_mounts:
        return []
    if step.function is rootfs.attach_root:
        attach = held.attach_directory if has_own_mounts else chroots.attach_among_others
        return [Step("rootfs", attach, (os.fsencode(params["rootfs"]["dir"]),))]
    if step.function is rootfs.pivot:
        seal = [Step("mount /dev", held.seal_dev)] if _has_readonly_dev(spec) else []
        if not has_own_mounts:
            step = Step("rootfs", chroots.change_root)
        elif params.get("no_pivot"):
            step = Step("rootfs", chroots.move_root)
        return [*_hooks_before_pivot(spec, params), *seal, step, *_propagation(spec)]
    if step.function is identity.own_output:
        return [Step("user", held.own_streams)]
    if step.function in (devices.make_nodes, devices.make_links) and _has_own_dev(spec):
        return []
    if step.function is mount_steps.mount_filesystem:
        return [_filesystem(step)]
    if step.function is settings.enter_cgroups:
        return [step, Step("affinity", scheduling.set_affinity, (None,))]
    if step.function is identity.use_ids:
        return [Step("user", held.use_ids, step.args)]
    if step.function in (devices.use_null, process.die_with_monitor, process.let_go):
        return []  # it has let go of everything at first, and what it has now it still needs
    waiting = Step("start", held.await_start, (params.get("preserve_fds") or 0,))
    # A filter with a listener is loaded while the parent that creates can still hand that over.
    is_late = bool(params.get("notifies")) and bool(spec["process"].get("noNewPrivileges"))
    if step.function is process.prepare_exec:
        return [step, *_last_checks(spec, params), *([] if is_late else [waiting])]
    if step.function is security.load_filter and params.get("notifies"):
        loading = Step("seccomp", held.load_listened_filter, step.args)
        return [loading, *([waiting] if is_late else [])]
    if step.function in (process.execute, process.supervise):
        # Programs of the container: with the rights and the filter that the container's program has.
        return [*_inner_hooks(spec, params, "startContainer", "created"), step]
    return [step]


def _filesystem(step: Step) -> Step:
    """The step of a new file system, as runc makes them."""
    fstype, path, options, attributes, propagation = step.args
    if path == b"/dev" and attributes & mounts.ATTR_RDONLY:
        # Not before its nodes are made.
        return Step(
            step.name, step.function, (fstype, path, options, attributes & ~mounts.ATTR_RDONLY, propagation)
        )
    if copyup.OPTION in options:
        return Step(step.name, copyup.mount_copied, step.args)
    if fstype == b"tmpfs" and b"mode" not in dict(options):
        return Step(step.name, copyup.mount_like_below, step.args)
    return step


def _has_readonly_dev(spec: Json) -> bool:
    return any(
        entry["destination"] == "/dev"
        and not mountoptions.is_bind(entry)
        and mountoptions.parse(entry.get("options") or ()).attributes & mounts.ATTR_RDONLY
        for entry in spec.get("mounts") or ()
    )


def _has_own_dev(spec: Json) -> bool:
    """Whether /dev is a directory of the host, whose nodes are not ours to make."""
    return any(
        entry["destination"] == "/dev" and mountoptions.is_bind(entry) for entry in spec.get("mounts") or ()
    )


def _hooks_before_pivot(spec: Json, params: Json) -> list[Step]:
    described = spec.get("hooks") or {}
    steps = []
    if described.get("prestart") or described.get("createRuntime"):
        steps.append(Step("hooks", held.await_hooks))
    return steps + _inner_hooks(spec, params, "createContainer", "creating")


def _inner_hooks(spec: Json, params: Json, kind: str, status: str) -> list[Step]:
    wanted = tuple(map(hooks.parse, (spec.get("hooks") or {}).get(kind) or ()))
    if not wanted:
        return []
    return [Step("hooks", held.run_hooks, (kind, wanted, {**params["state"], "status": status}))]


def _propagation(spec: Json) -> list[Step]:
    word = (spec.get("linux") or {}).get("rootfsPropagation") or ""
    is_recursive = word[:1] == "r" and word[1:] in _PROPAGATION
    kind = _PROPAGATION.get(word[1:] if is_recursive else word)
    return [] if kind is None else [Step("rootfs", held.set_root_propagation, (kind, is_recursive))]


def _last_checks(spec: Json, params: Json) -> list[Step]:
    count = params.get("preserve_fds") or 0
    args = tuple(os.fsencode(arg) for arg in spec["process"]["args"])
    steps = [Step("descriptors", held.keep_descriptors, (count,))] if count else []
    return [*steps, Step("exec", held.find_program, (args,))]
