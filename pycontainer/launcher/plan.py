"""From a runtime specification to the steps that make it true. Pure: nothing here touches the host.

The order carries the safety. Trees of the host are copied before the namespace is cut off; everything is
mounted before anything is masked, so that no mount uncovers what is hidden; the pivot comes before any
file of the image is read; ids and capabilities go last but for the filter, and with no_new_privs the
filter is the very last, so that the steps before need no system calls in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pycontainer import errors
from pycontainer.kernel import caps, namespaces
from pycontainer.launcher import hooks, manners, mountoptions, pty, rlimits, scheduling
from pycontainer.launcher.mountplan import plan_mounts
from pycontainer.launcher.step import Step, absolute, to_bytes
from pycontainer.launcher.steps import chroots, entering, held, identity, process, rootfs, security, settings
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps import scheduling as steps_scheduling

__all__ = [
    "Outline",
    "Overlay",
    "Step",
    "environment",
    "outline",
    "overlay",
    "plan",
    "plan_join",
    "root_on_host",
]

Json = Mapping[str, Any]


class Overlay(NamedTuple):
    """Directories, top layer first, and options of an overlay mount.

    maps: of the container's user and group ids, whose files' owners are shown by them; none where these are
    the host's.
    """

    lower: tuple[bytes, ...]
    upper: bytes
    work: bytes
    options: tuple[tuple[bytes, bytes | None], ...]
    maps: tuple[Sequence[Json], ...] = ()


class Outline(NamedTuple):
    """What the monitor must know before it clones; the rest is the clone's own business."""

    new: int
    """Namespaces to make, as CLONE_NEW* flags."""
    joined: tuple[tuple[str, int, str], ...]
    """Namespaces to enter: (descriptor's name, kind, path)."""
    time_offsets: tuple[bytes, ...]
    """Lines for timens_offsets of a new time namespace."""
    uid_map: bytes
    gid_map: bytes
    trees: tuple[tuple[bytes, bool], ...]
    """Trees of the host to bind: (path, recursive), in the order of the mounts; places: where."""
    places: tuple[str, ...] = ()

    @property
    def has_own_mounts(self) -> bool:
        """Whether it has a mount namespace that is not its parent's."""
        return bool(self.new & namespaces.NEWNS) or any(
            kind == namespaces.NEWNS for _, kind, _ in self.joined
        )

    @property
    def clone_flags(self) -> int:
        """The namespaces a clone can be born in: the cgroup one is entered once the process is in its
        cgroup, and a time namespace is set up first, for children."""
        return self.new & ~(namespaces.NEWCGROUP | namespaces.NEWTIME)

    @property
    def joins_users(self) -> bool:
        """Whether it is born in a user namespace that exists."""
        return any(kind == namespaces.NEWUSER for _, kind, _ in self.joined)

    @property
    def is_born_within(self) -> bool:
        """Whether another process has to join for it: from a user namespace it could not join any other."""
        return self.joins_users or bool(self.joined and self.new & namespaces.NEWUSER)

    @property
    def has_users(self) -> bool:
        """Whether its user ids are not the host's."""
        return bool(self.new & namespaces.NEWUSER) or self.joins_users

    @property
    def has_own_pids(self) -> bool:
        """Whether the kernel ends every process of the container with its first."""
        return bool(self.new & namespaces.NEWPID)


_STREAMS = ("stdin", "stdout", "stderr")


def outline(spec: Json, *, has_new_mounts: bool = True) -> Outline:
    """What to clone for this specification. Raises InvalidInput naming what cannot be done.

    has_new_mounts: refuse a container without a new mount namespace.
    """
    linux = spec.get("linux") or {}
    new, joined = _namespaces(linux.get("namespaces") or ())
    if has_new_mounts and not new & namespaces.NEWNS:
        raise errors.InvalidInput("a container needs a mount namespace of its own")
    has_users = bool(new & namespaces.NEWUSER)
    binds = [entry for entry in spec.get("mounts") or () if mountoptions.is_bind(entry)]
    return Outline(
        new=new,
        joined=joined,
        time_offsets=_time_offsets(linux),
        uid_map=_id_map(linux.get("uidMappings") or ()) if has_users else b"",
        gid_map=_id_map(linux.get("gidMappings") or ()) if has_users else b"",
        trees=tuple((to_bytes(entry["source"]), "rbind" in (entry.get("options") or ())) for entry in binds),
        places=tuple(entry["destination"] for entry in binds),
    )


def plan(spec: Json, params: Json, *, seccomp: bytes = b"") -> tuple[Step, ...]:
    """Work out the steps to this container. Raises InvalidInput naming what cannot be done."""
    new, joined = _namespaces((spec.get("linux") or {}).get("namespaces") or ())
    steps = [Step("process", process.settle)]
    has_users = bool(new & namespaces.NEWUSER) or any(kind == namespaces.NEWUSER for _, kind, _ in joined)
    if joined and not has_users:  # else it was born in all of them (births)
        steps.append(Step("namespaces", settings.join, (tuple((key, kind) for key, kind, _ in joined),)))
    if has_users:
        steps.append(Step("user namespace", process.become_root, root_inside(spec)))
    if has_part_of_host(spec):
        steps.append(Step("network devices", process.await_go))
    steps += _file_system(spec, params, new)
    if spec["process"].get("terminal"):
        steps.append(_terminal(spec["process"], params))
    steps += _settings(spec, new)
    steps += _hidden(spec)
    # Nothing of the image is touched, and nothing runs, outside the container's cgroups.
    steps.append(Step("cgroup", settings.enter_cgroups))
    if params.get("hook_state"):
        wanted = tuple(map(hooks.parse, (spec.get("hooks") or {}).get("createContainer") or ()))
        steps.append(Step("hooks", held.run_hooks, ("createContainer", wanted, params["hook_state"])))
    steps.append(Step("pivot", rootfs.pivot))
    steps += _identity(spec["process"], params)
    for step in _confinement(spec, params, seccomp):
        steps.append(step)
        if step.function is process.prepare_exec:
            steps.append(Step("process", process.let_go))
    return tuple(steps)


def has_part_of_host(spec: Json) -> bool:
    """Whether the first process has to wait until its parent has given it what only that can."""
    linux = spec.get("linux") or {}
    return bool(linux.get("netDevices")) or linux.get("intelRdt") is not None


def plan_join(spec: Json, params: Json, *, seccomp: bytes = b"") -> tuple[Step, ...]:
    """Work out the steps of a further process of a running container. Raises InvalidInput.

    Of the specification its process, the types of its namespaces and its filter's flags are used.
    """
    described, given = spec["process"], params.get("fd_names") or ()
    passed = params.get("preserve_fds") or 0
    affinity = described.get("execCPUAffinity") or {}
    steps = [Step("process", entering.settle, (passed,))]
    if affinity.get("initial"):
        steps.append(
            Step("affinity", steps_scheduling.set_affinity, (scheduling.cpu_list(affinity["initial"]),))
        )
    steps.append(Step("cgroup", settings.enter_cgroups))
    kept = params.get("keeps_owner")
    owner = None if kept else root_on_host(spec)
    steps.append(Step("namespaces", entering.enter, (_kinds_to_join(spec), owner, root_inside(spec))))
    if params.get("has_root"):
        steps.append(Step("rootfs", chroots.enter_root))
    if described.get("terminal"):
        steps.append(Step("terminal", entering.use_terminal, _console_size(described)))
    else:
        missing = tuple(number for number, name in enumerate(_STREAMS) if name not in given)
        if missing:
            steps.append(Step("devices", entering.use_null, (missing,)))
    if described.get("oomScoreAdj") is not None:
        steps.append(Step("oom score", security.set_oom_score, (described["oomScoreAdj"],)))
    steps += _identity(described, params)
    steps += _confinement(spec, {**params, "init": False}, seccomp, entering.enter_directory)
    if params.get("notifies"):
        steps = [
            Step(s.name, held.load_listened_filter, s.args) if s.function is security.load_filter else s
            for s in steps
        ]
    if params.get("lives_on"):
        steps = [
            Step(s.name, entering.live_on) if s.function is process.die_with_monitor else s for s in steps
        ]
        final = scheduling.cpu_list(affinity["final"]) if affinity.get("final") else None
        steps.insert(_after(steps, entering.enter), Step("affinity", steps_scheduling.set_affinity, (final,)))
    if passed:
        steps.insert(
            _after(steps, process.prepare_exec), Step("descriptors", held.keep_descriptors, (passed,))
        )
    return tuple(step for step in steps if not (kept and step.function is identity.own_output))


def _after(steps: Sequence[Step], function: Callable[..., None]) -> int:
    return next(index for index, step in enumerate(steps, 1) if step.function is function)


def root_on_host(spec: Json) -> tuple[int, int] | None:
    """The ids on the host of `root_inside`, where the specification tells."""
    found = _rights_holder(spec, "hostID")
    return (found[0], found[1]) if len(found) == 2 else None


def root_inside(spec: Json) -> tuple[int, int]:
    """The ids in a user namespace of whom the set-up is done as: 0, or the first where that has no map."""
    found = _rights_holder(spec, "containerID")
    return (found[0], found[1]) if len(found) == 2 else (0, 0)


def _rights_holder(spec: Json, key: str) -> list[int]:
    linux = spec.get("linux") or {}
    maps = [linux.get(kind) or () for kind in ("uidMappings", "gidMappings")]
    # Without a map of id 0 no change of ids takes capabilities away (capabilities(7)).
    return [
        next((entry for entry in entries if entry["containerID"] == 0), entries[0])[key]
        for entries in maps
        if entries
    ]


def _kinds_to_join(spec: Json) -> int:
    """All but the pid namespace, in which the process is born already."""
    new, joined = _namespaces((spec.get("linux") or {}).get("namespaces") or ())
    for _, kind, _ in joined:
        new |= kind
    return new & ~namespaces.NEWPID


def overlay(params: Json) -> Overlay | None:
    """The root's layers, or None when it is a plain directory."""
    described = params["rootfs"].get("overlay")
    if described is None:
        return None
    options: list[tuple[bytes, bytes | None]] = [(b"source", b"overlay")]
    options += [(to_bytes(flag), None) for flag in ("volatile", "userxattr") if described.get(flag)]
    label = ((params.get("spec") or {}).get("linux") or {}).get("mountLabel")
    if label:
        options.append((b"context", to_bytes(label)))
    lower = tuple(to_bytes(path) for path in described["lower"])
    return Overlay(
        lower, to_bytes(described["upper"]), to_bytes(described["work"]), tuple(options), _id_maps(params)
    )


def _id_maps(params: Json) -> tuple[Sequence[Json], ...]:
    linux = (params.get("spec") or {}).get("linux") or {}
    maps = (linux.get("uidMappings") or (), linux.get("gidMappings") or ())
    is_shifted = any(entry["containerID"] != entry["hostID"] for entries in maps for entry in entries)
    return maps if is_shifted and all(maps) else ()


def _namespaces(wanted: Sequence[Json]) -> tuple[int, tuple[tuple[str, int, str], ...]]:
    new, joined = 0, {}
    for entry in wanted:
        kind = namespaces.FLAGS.get(entry["type"])
        if kind is None:
            raise errors.InvalidInput(f"unknown namespace type {entry['type']!r}")
        if entry.get("path"):
            joined[kind] = (f"ns:{entry['type']}", kind, entry["path"])
        else:
            new |= kind
    return new, tuple(joined[kind] for kind in namespaces.FLAGS.values() if kind in joined)


def environment(spec: Json) -> dict[bytes, bytes]:
    """The program's variables. Raises InvalidInput."""
    env = {}
    for entry in spec["process"].get("env") or ():
        name, equals, value = to_bytes(entry).partition(b"=")
        if not name or not equals:
            raise errors.InvalidInput(f"environment entry {entry!r} is not of the form NAME=value")
        env[name] = value
    return env


def _time_offsets(linux: Json) -> tuple[bytes, ...]:
    offsets = linux.get("timeOffsets") or {}
    return tuple(
        b"%s %d %d\n" % (to_bytes(clock), offset.get("secs", 0), offset.get("nanosecs", 0))
        for clock, offset in sorted(offsets.items())
    )


def _id_map(entries: Sequence[Json]) -> bytes:
    return b"".join(
        b"%d %d %d\n" % (entry["containerID"], entry["hostID"], entry["size"]) for entry in entries
    )


def _file_system(spec: Json, params: Json, new: int) -> list[Step]:
    """Everything that is mounted or made under the root."""
    steps = [Step("mounts", rootfs.isolate_mounts)]
    place = to_bytes(params["container_dir"])
    if params.get("hook_state"):
        # Where hooks look for it, as config.json tells them.
        steps.append(Step("rootfs", rootfs.attach_root, (place + b"/rootfs", True)))
    else:
        steps.append(Step("rootfs", rootfs.attach_root, (place,)))
    steps += plan_mounts(spec, params, new)
    is_readonly = bool((spec.get("root") or {}).get("readonly"))
    if is_readonly:
        # Made if missing, while that can be done.
        cwd = to_bytes(absolute(spec["process"].get("cwd") or "/", "directory"))
        steps.append(Step("cwd", rootfs.make_directory, (cwd,)))
    return steps


def _terminal(described: Json, params: Json) -> Step:
    rows, columns = _console_size(described)
    return Step("terminal", pty.give_terminal, (rows, columns, not params.get("init")))


def _console_size(described: Json) -> tuple[int, int]:
    size = described.get("consoleSize") or {}
    rows, columns = size.get("height", 0), size.get("width", 0)
    if not (0 <= rows <= pty.MAX_SIZE and 0 <= columns <= pty.MAX_SIZE):
        raise errors.InvalidInput(
            f"a console of {rows} by {columns} cannot be: a side is 0 to {pty.MAX_SIZE}"
        )
    return rows, columns


def _hidden(spec: Json) -> list[Step]:
    """Masks and read-only paths: after every mount, and after /proc/sys was written."""
    steps = []
    linux = spec.get("linux") or {}
    for paths in _in_parts(tuple(linux.get("readonlyPaths") or ()), "read-only path"):
        steps.append(Step("read-only paths", mount_steps.freeze, (paths,)))
    for paths in _in_parts(tuple(linux.get("maskedPaths") or ()), "masked path"):
        steps.append(Step("masked paths", mount_steps.mask, (paths,)))
    if (spec.get("root") or {}).get("readonly"):
        steps.append(Step("rootfs", rootfs.make_readonly))
    return steps


@lru_cache(maxsize=16)
def _in_parts(paths: tuple[str, ...], what: str) -> list[tuple[bytes, ...]]:
    """Those in /proc and the others: two steps, of which another process may take one."""
    clean = [to_bytes(absolute(path, what)) for path in paths]
    in_proc = tuple(path for path in clean if (path + b"/").startswith(b"/proc/"))
    return [part for part in (in_proc, tuple(path for path in clean if path not in in_proc)) if part]


def _settings(spec: Json, new: int) -> list[Step]:
    """What belongs to the namespaces, while /proc of the container is at hand and the root is ours."""
    steps = []
    hostname, domainname = spec.get("hostname") or "", spec.get("domainname") or ""
    if hostname or domainname:
        steps.append(Step("hostname", settings.set_names, (to_bytes(hostname), to_bytes(domainname))))
    if new & namespaces.NEWNET:
        steps.append(Step("loopback", settings.raise_loopback))
    sysctls = (spec.get("linux") or {}).get("sysctl")
    if sysctls:
        steps.append(Step("sysctl", security.set_sysctls, (tuple(map(_sysctl, sysctls.items())),)))
    score = spec["process"].get("oomScoreAdj")
    if score is not None:
        steps.append(Step("oom score", security.set_oom_score, (score,)))
    return steps


def _sysctl(item: tuple[str, str]) -> tuple[bytes, bytes, bytes]:
    name, value = item
    # A name with dots may use slashes for dots inside a part ("net/ipv4/conf/eth0.100/..."; sysctl(8)).
    path = (
        name if "/" in name.split(".", 1)[0] else name.replace("/", "\0").replace(".", "/").replace("\0", ".")
    )
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise errors.InvalidInput(f"sysctl name {name!r} is not well formed")
    if "\n" in value:
        raise errors.InvalidInput(f"sysctl {name} has a value of several lines")
    return to_bytes(name), to_bytes(f"sys/{path}"), to_bytes(value)


def _identity(described: Json, params: Json) -> list[Step]:
    user = described.get("user") or {}
    extra = tuple(to_bytes(name) for name in params.get("groups") or ())
    text = params.get("user")
    if text is None and extra:
        text = f"{user.get('uid', 0)}:{user.get('gid', 0)}"
    if text is not None:
        return [Step("user", identity.resolve, (to_bytes(text), extra))]
    ids = (user.get("uid", 0), user.get("gid", 0), tuple(user.get("additionalGids") or ()))
    return [Step("user", identity.use_ids, ids)]


def _confinement(
    spec: Json,
    params: Json,
    seccomp: bytes,
    enter_directory: Callable[..., None] = process.enter_directory,
) -> list[Step]:
    described = spec["process"]
    steps = []
    limits = tuple(map(rlimits.limit, described.get("rlimits") or ()))
    if limits:
        steps.append(Step("ulimit", security.set_limits, (limits,)))
    if params.get("keyring", True):
        steps.append(Step("keyring", security.join_keyring, (b"_ses." + to_bytes(params["id"]),)))
    steps.append(
        Step("cwd", enter_directory, (to_bytes(absolute(described.get("cwd") or "/", "directory")),))
    )
    steps += _labels(described)
    steps.append(Step("user", identity.own_output))
    if described.get("scheduler"):
        steps.append(
            Step("scheduler", steps_scheduling.set_scheduler, scheduling.attributes(described["scheduler"]))
        )
    # While every capability is there: the highest priorities need CAP_SYS_NICE (ioprio_set(2)).
    steps += [Step(*manner) for manner in manners.of(spec)]
    no_new_privileges = bool(described.get("noNewPrivileges"))
    filter_step = [Step("seccomp", security.load_filter, (seccomp, _filter_flags(spec)))] if seccomp else []
    if no_new_privileges:
        steps.append(Step("no new privileges", security.forbid_new_privileges))
    else:
        steps += filter_step  # without no_new_privs loading it needs CAP_SYS_ADMIN (seccomp(2))
    try:
        masks = caps.masks(described.get("capabilities") or {})
    except ValueError as error:
        raise errors.InvalidInput(str(error)) from error
    steps.append(Step("capabilities", identity.become, masks))
    steps.append(Step("process", process.die_with_monitor))
    umask = (described.get("user") or {}).get("umask", 0o022)
    steps.append(Step("process", process.prepare_exec, (umask,)))
    if no_new_privileges:
        steps += filter_step
    args = tuple(to_bytes(arg) for arg in described.get("args") or ())
    if not args or not args[0]:
        raise errors.InvalidInput("no command: neither the call nor the image names a program to run")
    run = process.supervise if params.get("init") else process.execute
    return [*steps, Step("exec", run, (args,))]


def _labels(described: Json) -> list[Step]:
    steps = []
    if described.get("apparmorProfile"):
        steps.append(
            Step(
                "apparmor",
                security.set_label,
                (b"apparmor/exec", b"exec " + to_bytes(described["apparmorProfile"])),
            )
        )
    if described.get("selinuxLabel"):
        steps.append(Step("selinux", security.set_label, (b"exec", to_bytes(described["selinuxLabel"]))))
    return steps


def _filter_flags(spec: Json) -> int:
    known = {
        "SECCOMP_FILTER_FLAG_TSYNC": 1,
        "SECCOMP_FILTER_FLAG_LOG": 2,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
    }
    flags = ((spec.get("linux") or {}).get("seccomp") or {}).get("flags") or ()
    return sum(known.get(flag, 0) for flag in set(flags))
