"""From a runtime specification to the steps that make it true. Pure: nothing here touches the host.

The order carries the safety. Trees of the host are copied before the namespace is cut off; everything is
mounted before anything is masked, so that no mount uncovers what is hidden; the pivot comes before any
file of the image is read; ids and capabilities go last but for the filter, and with no_new_privs the
filter is the very last, so that the steps before need no system calls in it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pycontainer import errors
from pycontainer.kernel import caps, mounts, namespaces
from pycontainer.launcher import mountoptions
from pycontainer.launcher.steps import devices, identity, process, rootfs, security, settings
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps.context import Context

__all__ = ["Plan", "Step", "plan"]

Json = Mapping[str, Any]


class Step(NamedTuple):
    """One thing to do in the container's first process; name is what a failure is reported under."""

    name: str
    function: Callable[..., None]
    args: tuple[Any, ...] = ()


class Plan(NamedTuple):
    """What the monitor clones, and what the clone then does."""

    clone_flags: int
    joined: tuple[tuple[str, int, str], ...]
    """Namespaces to enter: (descriptor's name, kind, path)."""
    time_offsets: tuple[bytes, ...]
    """Lines for timens_offsets of a new time namespace."""
    uid_map: bytes
    gid_map: bytes
    steps: tuple[Step, ...]
    env: dict[bytes, bytes]
    has_own_pids: bool
    """Whether the kernel ends every process of the container with its first."""


DEFAULT_NODES = (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9))
_LINKS = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
    (b"ptmx", b"pts/ptmx"),
)
# Files that lxcfs and its like provide (runc, libcontainer/rootfs_linux.go, checkProcMount).
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
    )
)
_LIMITS = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE"),
    *("MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
"""By number, the same on x86-64 and arm64 (asm-generic/resource.h)."""


def plan(spec: Json, params: Json, *, seccomp: bytes = b"") -> Plan:
    """Work out the launch of this specification. Raises InvalidInput naming what cannot be done."""
    linux = spec.get("linux") or {}
    new, joined = _namespaces(linux.get("namespaces") or ())
    has_users = bool(new & namespaces.NEWUSER)
    env = _environment(spec["process"].get("env") or ())
    steps = [Step("process", process.settle)]
    if joined:
        steps.append(Step("namespaces", settings.join, (tuple((key, kind) for key, kind, _ in joined),)))
    if has_users:
        steps.append(Step("user namespace", process.become_root))
    steps += _file_system(spec, params, new)
    steps += _settings(spec, new)
    # Nothing of the image is touched, and nothing runs, outside the container's cgroups.
    steps.append(Step("cgroup", settings.wait_go))
    steps.append(Step("pivot", rootfs.pivot))
    steps += _identity(spec["process"], params)
    steps += _confinement(spec, params, env, seccomp)
    return Plan(
        # The cgroup namespace is entered when the process is in its cgroup; a time namespace is for children.
        clone_flags=new & ~(namespaces.NEWCGROUP | namespaces.NEWTIME),
        joined=joined,
        time_offsets=_time_offsets(linux),
        uid_map=_id_map(linux.get("uidMappings") or ()) if has_users else b"",
        gid_map=_id_map(linux.get("gidMappings") or ()) if has_users else b"",
        steps=tuple(steps),
        env=env,
        has_own_pids=bool(new & namespaces.NEWPID),
    )


def _bytes(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.InvalidInput(f"{text!r} contains a NUL byte, which no path, argument or variable can")
    return data


def _absolute(path: str, what: str) -> str:
    if not path.startswith("/"):
        raise errors.InvalidInput(f"{what} {path!r} is not an absolute path")
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/")


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
    if not new & namespaces.NEWNS:
        raise errors.InvalidInput("a container needs a mount namespace of its own")
    return new, tuple(joined[kind] for kind in namespaces.FLAGS.values() if kind in joined)


def _environment(entries: Sequence[str]) -> dict[bytes, bytes]:
    env = {}
    for entry in entries:
        name, equals, value = _bytes(entry).partition(b"=")
        if not name or not equals:
            raise errors.InvalidInput(f"environment entry {entry!r} is not of the form NAME=value")
        env[name] = value
    return env


def _time_offsets(linux: Json) -> tuple[bytes, ...]:
    offsets = linux.get("timeOffsets") or {}
    return tuple(
        b"%s %d %d\n" % (_bytes(clock), offset.get("secs", 0), offset.get("nanosecs", 0))
        for clock, offset in sorted(offsets.items())
    )


def _id_map(entries: Sequence[Json]) -> bytes:
    return b"".join(
        b"%d %d %d\n" % (entry["containerID"], entry["hostID"], entry["size"]) for entry in entries
    )


def _file_system(spec: Json, params: Json, new: int) -> list[Step]:
    """Everything that is mounted or made under the root, masks last."""
    binds: list[tuple[bytes, bool]] = []
    attached = _mounts(spec, params, new, binds)
    steps = [Step("mounts", mount_steps.open_sources, (tuple(binds),))] if binds else []
    steps.append(Step("mounts", rootfs.isolate_mounts))
    steps.append(_rootfs(params))
    steps += attached
    linux = spec.get("linux") or {}
    masked = tuple(_bytes(_absolute(path, "masked path")) for path in linux.get("maskedPaths") or ())
    frozen = tuple(_bytes(_absolute(path, "read-only path")) for path in linux.get("readonlyPaths") or ())
    if frozen:
        steps.append(Step("read-only paths", mount_steps.freeze, (frozen,)))
    if masked:
        steps.append(Step("masked paths", mount_steps.mask, (masked,)))
    if (spec.get("root") or {}).get("readonly"):
        steps.append(Step("rootfs", rootfs.make_readonly))
    return steps


def _rootfs(params: Json) -> Step:
    place = _bytes(params["container_dir"])
    source = params["rootfs"]
    if "overlay" not in source:
        return Step("rootfs", rootfs.bind_directory, (_bytes(source["dir"]), place))
    overlay = source["overlay"]
    options: list[tuple[bytes, bytes | None]] = [(b"source", b"overlay")]
    if overlay.get("volatile"):
        options.append((b"volatile", None))
    if overlay.get("userxattr"):
        options.append((b"userxattr", None))
    lower = tuple(_bytes(path) for path in overlay["lower"])
    args = (lower, _bytes(overlay["upper"]), _bytes(overlay["work"]), tuple(options), place)
    return Step("rootfs", rootfs.mount_overlay, args)


def _mounts(spec: Json, params: Json, new: int, binds: list[tuple[bytes, bool]]) -> list[Step]:
    wanted = list(spec.get("mounts") or ())
    taken = {entry["destination"] for entry in wanted}
    wanted += [
        {"destination": path, "type": "bind", "source": source, "options": ["bind", "rprivate"]}
        for path, source in (params.get("files") or {}).items()
        if path not in taken
    ]
    steps: list[Step] = []
    nodes = _nodes(spec, new)
    in_cgroups = not new & namespaces.NEWCGROUP
    for entry in wanted:
        destination = _absolute(entry["destination"], "mount destination")
        if entry.get("type") in ("cgroup", "cgroup2") and not in_cgroups:
            steps.append(Step("cgroup namespace", settings.enter_cgroup_namespace))
            in_cgroups = True
        steps.append(_mount(entry, destination, params, binds))
        if destination == "/dev" and nodes:
            steps += nodes
            nodes = []
    if not in_cgroups:
        steps.append(Step("cgroup namespace", settings.enter_cgroup_namespace))
    return steps + nodes


def _mount(entry: Json, destination: str, params: Json, binds: list[tuple[bytes, bool]]) -> Step:
    options = mountoptions.parse(entry.get("options") or ())
    fstype = entry.get("type") or ("bind" if options.is_bind else "")
    name = f"mount {destination}"
    if destination == "/":
        raise errors.InvalidInput(
            "nothing can be mounted over the container's root; choose a directory below it"
        )
    if destination == "/proc" or destination.startswith("/proc/"):
        if not (destination == "/proc" and fstype == "proc") and destination not in _PROC_FILES:
            raise errors.InvalidInput(
                f"cannot mount on {destination}: /proc belongs to the kernel; mount elsewhere"
            )
    path = _bytes(destination)
    if fstype == "bind" or options.is_bind:
        binds.append((_bytes(entry["source"]), options.is_recursive))
        attributes = (options.attributes, options.cleared, options.tree_attributes, options.tree_cleared)
        propagation = (
            options.propagation or mounts.MS_PRIVATE,
            options.propagates_recursively or not options.propagation,
        )
        may_cover = destination in _PROC_FILES
        return Step(name, mount_steps.mount_bind, (len(binds) - 1, path, attributes, propagation, may_cover))
    if fstype in ("cgroup", "cgroup2"):
        return _cgroup_mount(name, path, options, params)
    if not fstype:
        raise errors.InvalidInput(f"mount {destination} has neither a type nor the option bind")
    data = options.data
    if entry.get("source"):
        data = ((b"source", _bytes(entry["source"])), *data)
    return Step(
        name,
        mount_steps.mount_filesystem,
        (_bytes(fstype), path, data, options.attributes, options.propagation),
    )


def _cgroup_mount(name: str, path: bytes, options: mountoptions.MountOptions, params: Json) -> Step:
    """Version 2 is one file system of its own; version 1 a directory for each controller."""
    controllers = _controllers((params.get("cgroup") or {}).get("procs") or ())
    if not controllers:
        args = (b"cgroup2", path, options.data, options.attributes, options.propagation)
        return Step(name, mount_steps.mount_filesystem, args)
    return Step(name, mount_steps.mount_cgroups, (path, controllers, options.attributes))


def _controllers(procs: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """(hierarchy's name, the container's directory in it), from the cgroup.procs files of version 1."""
    found = []
    for file in procs:
        directory = posixpath.dirname(file)
        hierarchy = directory.removeprefix("/sys/fs/cgroup/").partition("/")[0]
        if file.startswith("/sys/fs/cgroup/"):
            found.append((_bytes(hierarchy), _bytes(directory)))
    return tuple(sorted(found))


def _nodes(spec: Json, new: int) -> list[Step]:
    by_bind = bool(new & namespaces.NEWUSER)
    nodes = {
        f"/dev/{name}": devices.Node(_bytes(f"/dev/{name}"), stat.S_IFCHR | 0o666, os.makedev(1, minor), 0, 0)
        for name, minor in DEFAULT_NODES
    }
    nodes["/dev/tty"] = devices.Node(b"/dev/tty", stat.S_IFCHR | 0o666, os.makedev(5, 0), 0, 0)
    for entry in (spec.get("linux") or {}).get("devices") or ():
        path = _absolute(entry["path"], "device")
        nodes[path] = _node(path, entry)
    return [
        Step("devices", devices.make_nodes, (tuple(nodes.values()), by_bind)),
        Step("devices", devices.make_links, (_LINKS,)),
        Step("devices", devices.use_null),
    ]


def _node(path: str, entry: Json) -> devices.Node:
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    kind = kinds.get(entry["type"])
    if kind is None:
        raise errors.InvalidInput(f"device {path} has the unknown type {entry['type']!r}")
    mode = entry.get("fileMode")
    number = 0 if kind == stat.S_IFIFO else os.makedev(entry["major"], entry["minor"])
    permissions = 0o666 if mode is None else stat.S_IMODE(mode)
    return devices.Node(
        _bytes(path), kind | permissions, number, entry.get("uid") or 0, entry.get("gid") or 0
    )


def _settings(spec: Json, new: int) -> list[Step]:
    """What belongs to the namespaces, while /proc of the container is at hand and the root is ours."""
    steps = []
    hostname, domainname = spec.get("hostname") or "", spec.get("domainname") or ""
    if hostname or domainname:
        steps.append(Step("hostname", settings.set_names, (_bytes(hostname), _bytes(domainname))))
    if new & namespaces.NEWNET:
        steps.append(Step("loopback", settings.raise_loopback))
    sysctls = (spec.get("linux") or {}).get("sysctl") or {}
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
    return _bytes(name), _bytes(f"sys/{path}"), _bytes(value)


def _identity(described: Json, params: Json) -> list[Step]:
    user = described.get("user") or {}
    extra = tuple(_bytes(name) for name in params.get("group_add") or ())
    if params.get("user") is not None:
        return [Step("user", identity.resolve, (_bytes(params["user"]), extra))]
    ids = (user.get("uid", 0), user.get("gid", 0), tuple(user.get("additionalGids") or ()))
    return [Step("user", identity.use_ids, ids)]


def _confinement(spec: Json, params: Json, env: Mapping[bytes, bytes], seccomp: bytes) -> list[Step]:
    described = spec["process"]
    steps = []
    limits = tuple(map(_limit, described.get("rlimits") or ()))
    if limits:
        steps.append(Step("ulimit", security.set_limits, (limits,)))
    steps.append(Step("keyring", security.join_keyring, (b"_ses." + _bytes(params["id"]),)))
    steps.append(
        Step("cwd", process.enter_directory, (_bytes(_absolute(described.get("cwd") or "/", "directory")),))
    )
    steps += _labels(described)
    steps.append(Step("user", identity.own_output))
    no_new_privileges = bool(described.get("noNewPrivileges"))
    filter_step = [Step("seccomp", security.load_filter, (seccomp, _filter_flags(spec)))] if seccomp else []
    if no_new_privileges:
        steps.append(Step("no new privileges", security.forbid_new_privileges))
    else:
        steps += filter_step  # without no_new_privs loading it needs CAP_SYS_ADMIN (seccomp(2))
    steps.append(Step("capabilities", identity.become, _capabilities(described)))
    steps.append(Step("process", process.die_with_monitor))
    umask = (described.get("user") or {}).get("umask", 0o022)
    steps.append(Step("process", process.prepare_exec, (umask,)))
    if no_new_privileges:
        steps += filter_step
    args = tuple(_bytes(arg) for arg in described.get("args") or ())
    if not args or not args[0]:
        raise errors.InvalidInput("no command: neither the call nor the image names a program to run")
    run = process.supervise if params.get("init") else process.execute
    return [*steps, Step("exec", run, (args,))]


def _limit(entry: Json) -> tuple[str, int, int, int]:
    name = entry["type"].removeprefix("RLIMIT_")
    if name not in _LIMITS:
        raise errors.InvalidInput(f"unknown ulimit {entry['type']}; there are {', '.join(_LIMITS).lower()}")
    return name.lower(), _LIMITS.index(name), entry["soft"], entry["hard"]


def _labels(described: Json) -> list[Step]:
    steps = []
    if described.get("apparmorProfile"):
        steps.append(
            Step(
                "apparmor",
                security.set_label,
                (b"apparmor/exec", b"exec " + _bytes(described["apparmorProfile"])),
            )
        )
    if described.get("selinuxLabel"):
        steps.append(Step("selinux", security.set_label, (b"exec", _bytes(described["selinuxLabel"]))))
    return steps


def _filter_flags(spec: Json) -> int:
    known = {
        "SECCOMP_FILTER_FLAG_TSYNC": 1,
        "SECCOMP_FILTER_FLAG_LOG": 2,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    }
    flags = ((spec.get("linux") or {}).get("seccomp") or {}).get("flags") or ()
    return sum(known.get(flag, 0) for flag in set(flags))


def _capabilities(described: Json) -> tuple[int, int, int, int, int]:
    """Masks in the order of identity.become; sets that are not given are empty."""
    sets = described.get("capabilities") or {}
    try:
        kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
        bounding, effective, permitted, inheritable, ambient = (
            caps.mask(sets.get(kind) or ()) for kind in kinds
        )
    except ValueError as error:
        raise errors.InvalidInput(str(error)) from error
    return bounding, effective, permitted, inheritable, ambient
