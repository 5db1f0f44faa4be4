"""Options and an image's configuration become a runtime-spec. Pure: looks at nothing but its arguments.

Image configurations are hostile: what they say is checked here as an option would be, nothing in them
names a path of the host, and their labels steer nothing (CVE-2026-53488).

The launcher adds what every container has: the default device nodes and links, HOME, and the ids behind
the user's name (see `identity`), which only the container's own files can tell.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pycontainer.errors import InvalidImage, InvalidOption
from pycontainer.oci import ImageConfig
from pycontainer.oci import runtime as model
from pycontainer.options import MountPoint, RunOptions, is_network, parse_signal, shared_with
from pycontainer.runtime import cdi, cgroups, defaults
from pycontainer.runtime.hostfacts import HostFacts
from pycontainer.runtime.resources import device_edits, device_nodes, linux_resources
from pycontainer.runtime.security import Security, capabilities, security
from pycontainer.runtime.validate import check_options, check_spec, check_user

_SIGTERM = 15
_RECURSIVE_SINCE = (5, 12)  # mount_setattr(2)
_VARIABLE = re.compile(r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\})")
_NUMBER = re.compile(r"\d{1,20}")
# Docker opens these two in a private network; harmless there, and expected by images (moby#41030).
_PRIVATE_NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


class Identity(NamedTuple):
    """Who the program runs as, in words for the launcher to resolve inside the root file system."""

    user: str
    """Docker's form, name[:group]; "" is root with the groups it has there."""
    groups: tuple[str, ...]
    """Further groups, by name or number."""


def build_spec(
    options: RunOptions,
    image_config: ImageConfig,
    host: HostFacts,
    *,
    container_id: str,
    store_tag: str = "default",
    cgroup_manager: str = "cgroupfs",
    hostname: str | None = None,
    network_namespace: str | None = None,
    rootfs: str = "rootfs",
) -> model.Spec:
    """The config.json of one container, checked.

    Args: container_id (64 hex digits); store_tag (tells the stores of one host apart in cgroup paths);
    cgroup_manager ("cgroupfs", or "systemd" for a cgroupsPath in systemd's form);
    hostname (instead of the first 12 digits of the id); network_namespace (one to join, by path).
    Raises: InvalidOption naming the option; InvalidImage naming the field; Unsupported.
    """
    check_options(options, host)
    rules = security(options, host)
    edits = device_edits(options, host)
    has_users = options.userns != "host"
    name = None if options.uts != "private" else options.hostname or hostname or container_id[:12]
    spec = model.Spec(
        process=_process(options, image_config, host, rules, name, edits),
        root=model.Root(path=rootfs, readonly=options.read_only or None),
        hostname=name,
        domainname=options.domainname,
        mounts=(*mounts(options, rules, host.kernel), *edits.mounts),
        hooks={kind: list(hooks) for kind, hooks in edits.hooks.items()},
        annotations=dict(options.annotations or {}),
        linux=model.Linux(
            namespaces=namespaces(options, network_namespace),
            uid_mappings=_id_map(options.uid_map) if has_users else (),
            gid_mappings=_id_map(options.gid_map or options.uid_map) if has_users else (),
            devices=device_nodes(options, host, edits),
            cgroups_path=cgroup_path(options, container_id, store_tag, cgroup_manager),
            resources=linux_resources(options, host, edits),
            sysctl=_sysctls(options, network_namespace),
            masked_paths=rules.masked_paths,
            readonly_paths=rules.readonly_paths,
            mount_label=rules.mount_label,
            personality={"domain": options.personality} if options.personality else None,
        ),
    )
    check_spec(spec)
    return spec


def identity(options: RunOptions, image_config: ImageConfig) -> Identity:
    """The user to run as, from the option or else from the image.

    Raises: InvalidOption or InvalidImage for a user that no file could name.
    """
    if options.user is not None:
        try:
            check_user(options.user)
        except ValueError as problem:
            raise InvalidOption(f"option user={options.user!r}: {problem}") from None
    elif image_config.config.user:
        try:
            check_user(image_config.config.user)
        except ValueError as problem:
            raise InvalidImage(
                f"the image's user {image_config.config.user!r}: {problem}; pass user="
            ) from None
    return Identity(options.user or image_config.config.user or "", options.group_add or ())


def stop_signal(options: RunOptions, image_config: ImageConfig) -> int:
    """The signal that asks the program to stop: the option's, the image's, or SIGTERM."""
    if options.stop_signal is not None:
        return options.stop_signal
    text = image_config.config.stop_signal
    if not text:
        return _SIGTERM
    try:
        return parse_signal(text)
    except ValueError as problem:
        raise InvalidImage(f"the image's stop signal {text[:40]!r}: {problem}; pass stop_signal=") from None


def arguments(options: RunOptions, image_config: ImageConfig) -> tuple[str, ...]:
    """Entrypoint and command, merged as Docker does.

    An entrypoint option drops the image's command, and an empty one clears the image's entrypoint; a
    command option replaces the image's command only.
    """
    image = image_config.config
    if options.entrypoint is not None:
        entrypoint, command = tuple(word for word in options.entrypoint if word), options.command or ()
    else:
        entrypoint = _image_words(image.entrypoint, "entrypoint")
        command = _image_words(image.cmd, "command") if options.command is None else options.command
    words = (*entrypoint, *command)
    if not words:
        raise InvalidOption("no command: the image names none; give a command or an entrypoint")
    return words


def _image_words(words: Sequence[str] | None, field: str) -> tuple[str, ...]:
    for word in words or ():
        if "\0" in word:
            raise InvalidImage(f"the image's {field} holds a NUL byte; give a command and an entrypoint")
    return tuple(words or ())


def environment(options: RunOptions, image_config: ImageConfig, hostname: str | None) -> tuple[str, ...]:
    """PATH, HOSTNAME, TERM of a terminal, the image's variables, then the option's; None takes one away."""
    merged = {"PATH": defaults.PATH.partition("=")[2]}
    if hostname:
        merged["HOSTNAME"] = hostname
    if options.tty:
        merged["TERM"] = "xterm"
    for line in image_config.config.env:
        key, separator, value = line.partition("=")
        if not key or "\0" in line:
            raise InvalidImage(f"the image's environment line {line[:40]!r} is not KEY=VALUE")
        if separator:
            merged[key] = value
        else:
            merged.pop(key, None)  # as Docker reads it: the variable is not there
    if options.unsetenv_all:
        merged.clear()
    for key in options.unsetenv or ():
        merged.pop(key, None)
    if options.tz and options.tz != "local":
        merged["TZ"] = options.tz
    merged.update({key: _expanded(text, merged) for key, text in (options.env_merge or {}).items()})
    for key, given in (options.env or {}).items():
        if given is None:
            merged.pop(key, None)
        else:
            merged[key] = given
    return tuple(f"{key}={value}" for key, value in merged.items())


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Put the values in for $NAME and ${NAME}; what is not there is empty, as in a shell."""
    return _VARIABLE.sub(lambda found: variables.get(found["plain"] or found["braced"], ""), text)


def workdir(options: RunOptions, image_config: ImageConfig) -> str:
    """Where the program starts; an absolute path inside."""
    if options.workdir is not None:
        return options.workdir
    given = image_config.config.working_dir or "/"
    if not given.startswith("/") or "\0" in given:
        raise InvalidImage(f"the image's working directory {given[:80]!r} is not absolute; pass workdir=")
    return given


def volumes(image_config: ImageConfig) -> list[str]:
    """Directories the image's programs write to, which a container has even where no layer does.

    Those below /dev, /proc and /sys, which are not the image's to make, are left out.
    """
    found = []
    for path in image_config.config.volumes:
        clean = "/" + posixpath.normpath(f"/{path}").lstrip("/")
        if clean.split("/")[1] not in ("", "dev", "proc", "sys"):
            found.append(clean)
    return found


def _process(
    options: RunOptions,
    image_config: ImageConfig,
    host: HostFacts,
    rules: Security,
    hostname: str | None,
    edits: cdi.Edits,
) -> model.Process:
    held = capabilities(options, host)
    return model.Process(
        cwd=workdir(options, image_config),
        args=arguments(options, image_config),
        env=_with(environment(options, image_config, hostname), edits.env),
        user=model.User(additional_gids=(*_numeric_groups(options), *edits.gids), umask=options.umask),
        terminal=options.tty or None,
        # Inheritable and ambient stay empty: files of the image must not gain from them (CVE-2022-24769).
        capabilities=model.Capabilities(bounding=held, effective=held, permitted=held),
        rlimits=tuple(
            model.Rlimit(type=f"RLIMIT_{name.upper()}", soft=soft, hard=hard)
            for name, (soft, hard) in (options.ulimits or {}).items()
        ),
        no_new_privileges=rules.no_new_privileges or None,
        oom_score_adj=options.oom_score_adj,
        apparmor_profile=rules.apparmor,
        selinux_label=rules.process_label,
    )


def _with(lines: tuple[str, ...], more: Mapping[str, str]) -> tuple[str, ...]:
    """The variables, with others that replace those of the same name."""
    if not more:
        return lines
    merged = {**dict(line.split("=", 1) for line in lines), **more}
    return tuple(f"{key}={value}" for key, value in merged.items())


def _numeric_groups(options: RunOptions) -> tuple[int, ...]:
    numbers = []
    for group in options.group_add or ():
        if _NUMBER.fullmatch(group):
            if int(group) > 2**32 - 2:
                raise InvalidOption(f"option group_add={group!r}: a group id is at most 4294967294")
            numbers.append(int(group))
    return tuple(numbers)


def namespaces(options: RunOptions, network_namespace: str | None = None) -> tuple[model.Namespace, ...]:
    """The namespaces to make or join.

    The cgroup namespace is private on version 1 too, where Docker defaults to the host's: with it the
    host's cgroup paths stay hidden and release_agent is out of reach (CVE-2022-0492).
    One of another container has the path "container:NAME", and those of a container that has networks
    what names these: the launch gets them as open descriptors.
    """
    found = [model.Namespace(type="mount")]
    for kind, mode in (
        ("pid", options.pid),
        ("uts", options.uts),
        ("ipc", options.ipc),
        ("cgroup", options.cgroupns or "private"),
        ("user", options.userns),
        ("time", options.time),
        ("network", options.network),
    ):
        path = f"container:{shared_with(mode)}" if shared_with(mode) else None
        if kind == "network" and is_network(mode):
            path = f"network:{mode}"
        if kind == "user" and mode == "private" and is_network(options.network):
            # Made before, for a network namespace is its own who makes it.
            path = f"network:{options.network}"
        if kind == "network" and network_namespace is not None:
            path = network_namespace
        if path is not None or mode != "host":
            found.append(model.Namespace(type=kind, path=path))
    return tuple(found)


def mounts(options: RunOptions, rules: Security, kernel: tuple[int, int]) -> tuple[model.Mount, ...]:
    """Docker's default mounts, then what was asked for, parents first."""
    # A sysfs shows its mounter's network namespace, which only the user namespace that made it may mount.
    binds_sysfs = options.userns != "host" and (
        options.network == "host" or bool(shared_with(options.network))
    )
    found = [
        defaults.PROC,
        defaults.DEV,
        defaults.DEVPTS,
        defaults.host_bind("/sys", "ro", "nosuid", "noexec", "nodev")
        if binds_sysfs
        else defaults.sysfs(is_writable=rules.is_privileged),
        defaults.cgroup(is_writable=rules.has_writable_cgroups),
        defaults.MQUEUE,  # shows the queues of whichever namespace it is mounted in, the host's too
        *shared_memory(options),
    ]
    asked = dict(options.tmpfs or {})
    if options.read_only_tmpfs:
        asked = {**dict.fromkeys(("/run", "/tmp", "/var/tmp"), "mode=1777"), **asked}
    points = {posixpath.normpath(point.target): point for point in options.mounts or ()}
    taken = {*asked, *points}
    found = [mount for mount in found if mount.destination not in taken or mount.destination == "/proc"]
    own = [_mount(path, point, kernel) for path, point in points.items()]
    for path in sorted(asked.keys() - points.keys()):
        given = tuple(word for word in asked[path].split(",") if word)
        own.append(
            model.Mount(
                destination=path, type="tmpfs", source="tmpfs", options=(*_kept_defaults(given), *given)
            )
        )
    found += sorted(own, key=lambda mount: mount.destination.count("/"))
    return tuple(_labelled(mount, rules.mount_label) for mount in found)


def _mount(path: str, point: MountPoint, kernel: tuple[int, int]) -> model.Mount:
    words = point.options(is_recursive_possible=kernel >= _RECURSIVE_SINCE)
    if point.kind == "tmpfs":
        return model.Mount(destination=path, type="tmpfs", source="tmpfs", options=words)
    if point.is_inner:
        return model.Mount(destination=path, type=point.fstype, source=point.device, options=words)
    return model.Mount(destination=path, type="bind", source=point.source, options=words)


def _labelled(mount: model.Mount, label: str | None) -> model.Mount:
    """The mount with its files labelled for SELinux, where that is a mount's option."""
    if label is None or mount.type != "tmpfs":
        return mount
    return model.Mount(
        destination=mount.destination,
        type=mount.type,
        source=mount.source,
        options=(*mount.options, f"context={label}"),
    )


def _kept_defaults(given: tuple[str, ...]) -> tuple[str, ...]:
    """The default flags that the caller did not turn into their opposite."""
    return tuple(
        flag for flag in defaults.TMPFS_OPTIONS if flag.removeprefix("no") not in given and flag not in given
    )


def shared_memory(options: RunOptions) -> tuple[model.Mount, ...]:
    """/dev/shm: a tmpfs of its own, or with an IPC namespace that is not its own also that one's; or none."""
    if options.ipc == "host":
        return (defaults.host_bind("/dev/shm"),)
    if options.ipc == "none":
        return ()
    if shared_with(options.ipc):
        return (defaults.container_bind("/dev/shm", options.ipc),)
    return (defaults.shm(defaults.SHM_BYTES if options.shm_size is None else options.shm_size),)


def cgroup_path(
    options: RunOptions, container_id: str, store_tag: str, cgroup_manager: str = "cgroupfs"
) -> str:
    """Where the container's cgroup is, from the hierarchy's root; for systemd "slice:prefix:name".

    Raises: InvalidOption for a parent of the other kind.
    """
    parent, is_systemd = options.cgroup_parent, cgroup_manager == "systemd"
    if parent is not None and parent.startswith("/") == is_systemd:
        form = 'a slice, as "jobs.slice"' if is_systemd else 'an absolute path, as "/jobs"'
        raise InvalidOption(
            f"option cgroup_parent={parent!r}: the cgroup manager is {cgroup_manager}; give {form}"
        )
    if is_systemd:
        return f"{parent or cgroups.DEFAULT_SLICE}:{cgroups.scope_prefix(store_tag)}:{container_id}"
    return f"{(parent or f'/pycontainer/{store_tag}').rstrip('/')}/{container_id}"


def _id_map(lines: tuple[str, ...] | None) -> tuple[model.IdMapping, ...]:
    if not lines:
        # Every id to itself: files keep their owners, and capabilities end at the namespace's border.
        return (model.IdMapping(container_id=0, host_id=0, size=2**32 - 1),)
    ranges = (map(int, line.split(":")) for line in lines)
    return tuple(
        model.IdMapping(container_id=first, host_id=outside, size=size) for first, outside, size in ranges
    )


def _sysctls(options: RunOptions, network_namespace: str | None) -> dict[str, str]:
    is_own = options.network == "none" or is_network(options.network)
    owns_network = is_own and network_namespace is None
    # A user namespace of its own may not name groups that it does not map.
    chosen = dict(_PRIVATE_NETWORK_SYSCTLS) if owns_network and options.userns == "host" else {}
    for key, value in (options.sysctls or {}).items():
        chosen[key.replace("/", ".")] = value
    return chosen


__all__ = [
    "Identity",
    "arguments",
    "build_spec",
    "cgroup_path",
    "environment",
    "identity",
    "mounts",
    "namespaces",
    "shared_memory",
    "stop_signal",
    "workdir",
]
