"""Checks that see more than one value: options against each other and the host, and a finished spec.

Each raises one sentence that names the option or the spec's field, the value and the remedy.
"""

from __future__ import annotations

import re

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.oci import runtime as model
from pycontainer.options import HealthOptions, LogOptions, RunOptions, shared_with
from pycontainer.runtime import defaults
from pycontainer.runtime.hostfacts import HostFacts

MIN_MEMORY = 6 << 20  # below it the first program cannot even be loaded (moby: linuxMinMemory)
MAX_ID = 2**32 - 2
_SYSCTL = r"[a-z][a-z0-9_-]*([./][A-Za-z0-9_-]+)+"
_USER_NAME = r"[^\s:\x00-\x1f\x7f]{1,256}"
_NAMESPACES = frozenset({"mount", "pid", "uts", "ipc", "cgroup", "user", "time", "network"})
_TMPFS_WORD = (
    r"(size|nr_blocks|nr_inodes|mode|uid|gid|huge|mpol|inode64|noswap)(=[A-Za-z0-9%,:_/-]+)?"
    r"|ro|rw|(no)?(suid|exec|dev|atime|diratime)|relatime|strictatime|sync|dirsync|tmpcopyup"
)


def check_options(options: RunOptions, host: HostFacts) -> None:
    """Refuse options that contradict each other or ask for what the host does not have."""
    _check_memory(options)
    _check_cpu(options, host)
    _check_names(options)
    _check_sharing(options)
    _check_storage(options)
    _check_sysctls(options)
    for path, words in (options.tmpfs or {}).items():
        for word in filter(None, words.split(",")):
            if re.fullmatch(_TMPFS_WORD, word) is None:
                raise InvalidOption(
                    f"option tmpfs: {path} has {word!r}; give options as size=64m,mode=1777,noexec"
                )
        if path == "/" or path == "/proc" or path.startswith("/proc/"):
            raise InvalidOption(f"option tmpfs: {path} belongs to the container itself; choose another place")
    if options.userns == "host" and (options.uid_map or options.gid_map):
        raise InvalidOption('option uid_map and gid_map need a user namespace; add userns="private"')
    _check_policies(options)


def _check_policies(options: RunOptions) -> None:
    if options.log_opts is not None or options.log_driver != "local":
        try:
            LogOptions.of(options.log_driver, options.log_opts or {})
        except ValueError as problem:
            raise InvalidOption(f"option log_opts: {problem}") from None
    if options.no_healthcheck:
        try:
            HealthOptions.of(options)
        except ValueError as problem:
            raise InvalidOption(f"option no_healthcheck: {problem}") from None
    if options.restart is not None and options.restart.name != "no" and options.auto_remove:
        raise InvalidOption(
            "option restart: a container that removes itself cannot be started again; "
            "leave out auto_remove or restart"
        )
    if options.health_on_failure == "restart" and options.auto_remove:
        raise InvalidOption(
            "option health_on_failure='restart': a container that removes itself cannot be started again; "
            "leave out auto_remove, or give stop"
        )


def _check_memory(options: RunOptions) -> None:
    limit, swap, kept = options.memory, options.memory_swap, options.memory_reservation
    if limit is not None and 0 < limit < MIN_MEMORY:
        raise InvalidOption(f"option memory={limit}: give 6 MiB (6291456 bytes) or more")
    if swap is not None and swap > 0:
        if not limit:
            raise InvalidOption(f"option memory_swap={swap}: it counts memory and swap; give memory too")
        if swap < limit:
            raise InvalidOption(f"option memory_swap={swap}: it counts memory too, so give {limit} or more")
    if kept is not None and limit and kept > limit:
        raise InvalidOption(f"option memory_reservation={kept}: it is above memory={limit}; give less")
    if options.oom_kill_disable and not limit:
        raise InvalidOption(
            "option oom_kill_disable needs a memory limit, or the host itself could hang; give memory"
        )


def _check_cpu(options: RunOptions, host: HostFacts) -> None:
    if options.cpus is not None:
        if options.cpu_quota is not None or options.cpu_period is not None:
            raise InvalidOption("option cpus sets cpu_quota and cpu_period; give one or the others")
        if options.cpus > len(host.cpus):
            raise InvalidOption(
                f"option cpus={options.cpus}: this host has {len(host.cpus)}; give that or less"
            )
        if options.cpus < 0.01:
            raise InvalidOption(f"option cpus={options.cpus}: the kernel's least is 0.01")
    if options.cpu_quota is not None and 0 < options.cpu_quota < 1000:
        raise InvalidOption(f"option cpu_quota={options.cpu_quota}: the kernel's least is 1000 microseconds")
    if options.cpu_shares == 1:
        raise InvalidOption("option cpu_shares=1: the kernel's least is 2")
    if options.cpuset_cpus is not None:
        for part in options.cpuset_cpus.split(","):
            first, _, last = part.partition("-")
            # By the ends: a range is never expanded before it is known to be small (CVE-2018-20699).
            for end in {first, last or first}:
                if int(end) not in host.cpus:
                    raise InvalidOption(
                        f"option cpuset_cpus={options.cpuset_cpus!r}: this host has no CPU {end}"
                    )
            if last and int(last) < int(first):
                raise InvalidOption(f"option cpuset_cpus={options.cpuset_cpus!r}: {part} runs backwards")
    runtime, period = options.cpu_rt_runtime, options.cpu_rt_period
    if runtime and period and runtime > period:
        raise InvalidOption(f"option cpu_rt_runtime={runtime}: it is above cpu_rt_period={period}")


def _check_names(options: RunOptions) -> None:
    if options.uts != "private" and (options.hostname or options.domainname):
        whom = "the host" if options.uts == "host" else options.uts
        raise InvalidOption(
            f"option hostname and domainname would rename {whom} with uts={options.uts!r}; leave one out"
        )


def _check_sharing(options: RunOptions) -> None:
    if options.shm_size is not None and (options.ipc in ("host", "none") or shared_with(options.ipc)):
        raise InvalidOption(
            f"option shm_size: with ipc={options.ipc!r} the container has no /dev/shm of its own"
        )
    if shared_with(options.ipc) and options.restart is not None and options.restart.name != "no":
        raise InvalidOption(
            f"option ipc={options.ipc!r}: the shared memory of another container is gone when that ends, so "
            "this one cannot be started again by itself; leave out restart"
        )
    if options.userns == "private":
        if options.pid == "host":
            raise InvalidOption(
                'option pid="host": with userns="private" the container may not show the processes of the '
                "host; leave one out"
            )
        for name in ("network", "ipc", "pid", "uts", "cgroupns"):
            mode = getattr(options, name)
            if shared_with(mode):
                raise InvalidOption(
                    f'option {name}={mode!r}: with userns="private" the container has no rights in the '
                    "namespaces of others; leave one out"
                )
    if options.no_hosts and (options.extra_hosts or options.hosts_file):
        raise InvalidOption("option no_hosts leaves extra_hosts and hosts_file no file; leave one out")
    if options.network.startswith("container:"):
        for name in ("no_hosts", "no_hostname", "hosts_file"):
            if getattr(options, name):
                raise InvalidOption(
                    f"option {name}: with network={options.network!r} the files are the other container's; "
                    "leave one out"
                )
    if options.read_only_tmpfs and not options.read_only:
        raise InvalidOption("option read_only_tmpfs has a meaning with read_only only; give both")


def _check_storage(options: RunOptions) -> None:
    for key in options.storage_opt or {}:
        if key != "size":
            raise InvalidOption(f"option storage_opt: {key!r} is not known; there is size")
        raise Unsupported(
            "option storage_opt: a container's part of the disk is not limited; no project quotas are set",
            "limit what is written with tmpfs and its size, or give the engine a root on a small file system",
        )


def _check_sysctls(options: RunOptions) -> None:
    for name, value in (options.sysctls or {}).items():
        if re.fullmatch(_SYSCTL, name) is None or ".." in name:
            raise InvalidOption(f"option sysctls: {name!r} is no name; give it as net.ipv4.ip_forward")
        key = name.replace("/", ".")
        # One value per write: a line break would smuggle a second one in (CVE-2022-0811).
        if any(ord(letter) < 32 and letter != "\t" for letter in value):
            raise InvalidOption(f"option sysctls: {name} has a control character in its value")
        if key in defaults.IPC_SYSCTLS or key.startswith("fs.mqueue."):
            if options.ipc == "host" or shared_with(options.ipc):
                raise InvalidOption(
                    f'option sysctls: {name} would change the host with ipc="host"; leave one out'
                    if options.ipc == "host"
                    else f"option sysctls: {name} belongs to {options.ipc}; set it there"
                )
        elif key.startswith("net."):
            if options.network == "host" or shared_with(options.network):
                raise InvalidOption(
                    f'option sysctls: {name} would change the host with network="host"; leave one out'
                    if options.network == "host"
                    else f"option sysctls: {name} belongs to {options.network}; set it there"
                )
        else:
            raise InvalidOption(
                f"option sysctls: {name} belongs to the whole host; kernel.msg*, kernel.sem, kernel.shm*, "
                "fs.mqueue.* and net.* belong to containers"
            )


def check_user(text: str) -> None:
    """Check Docker's user string, name[:group]; digits are ids only. Raises ValueError with the remedy."""
    user, separator, group = text.partition(":")
    if separator and not group:
        raise ValueError("the group after the colon is missing")
    for part in (user, group) if separator else (user,):
        if re.fullmatch(_USER_NAME, part) is None:
            raise ValueError("give name, uid, name:group or uid:gid, without spaces or control characters")
        if part.lstrip("+-").isdecimal():
            # A number is never looked up as a name, nor cut to 32 bits (CVE-2024-40635, CVE-2026-46680).
            if not part.isascii() or not part.isdigit() or int(part) > MAX_ID:
                raise ValueError(f"the id {part} is not between 0 and {MAX_ID}")


def check_spec(spec: model.Spec) -> None:
    """Refuse a spec that the launcher could not carry out, whoever wrote it.

    Raises: InvalidOption naming the field; Unsupported for a property that this engine does not act on.
    """
    process, linux = spec.process, spec.linux
    if process is None or linux is None or spec.root is None:
        raise InvalidOption(
            "the spec has no process, root or linux part; a container of Linux needs all three"
        )
    if not process.args:
        raise InvalidOption("process.args is empty; give a program")
    _check_text("process.cwd", process.cwd)
    if not process.cwd.startswith("/"):
        raise InvalidOption(f"process.cwd {process.cwd!r} is not absolute")
    for line in process.env:
        if "\0" in line or "=" not in line[1:]:
            raise InvalidOption(f"process.env has {line.partition('=')[0]!r}, which is not KEY=VALUE")
    for word in process.args:
        if "\0" in word:
            raise InvalidOption(f"process.args has a NUL byte in {word[:40]!r}")
    for limit in process.rlimits:
        if limit.soft > limit.hard:
            raise InvalidOption(
                f"process.rlimits: {limit.type} has soft {limit.soft} above hard {limit.hard}"
            )
    for mount in spec.mounts:
        _check_text("mounts.destination", mount.destination)
        if not mount.destination.startswith("/") or ".." in mount.destination.split("/"):
            raise InvalidOption(f"mounts.destination {mount.destination!r} is not a plain absolute path")
    _check_linux(linux)
    if spec.hostname is not None and len(spec.hostname.encode()) > 64:
        raise InvalidOption(f"hostname {spec.hostname!r} is longer than the kernel's 64 bytes")


def _check_linux(linux: model.Linux) -> None:
    kinds = [namespace.type for namespace in linux.namespaces]
    if unknown := set(kinds) - _NAMESPACES:
        raise Unsupported(f"linux.namespaces has the unknown type {min(unknown)!r}", "remove it")
    if len(set(kinds)) != len(kinds):
        raise InvalidOption("linux.namespaces names a type twice; name each once")
    if "mount" not in kinds:
        raise InvalidOption(
            "linux.namespaces lacks mount; a container without it would change the host's mounts"
        )
    if linux.uid_mappings and "user" not in kinds:
        raise InvalidOption("linux.uidMappings needs a user namespace; add it to linux.namespaces")
    for field, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for path in paths:
            if not path.startswith("/"):
                raise InvalidOption(f"linux.{field} has {path!r}, which is not absolute")
    for device in linux.devices:
        if device.type not in ("b", "c", "u", "p") or not device.path.startswith("/"):
            raise InvalidOption(
                f"linux.devices has {device.path!r} of type {device.type!r}; give b, c, u or p"
            )
    for key in linux.sysctl:
        if re.fullmatch(_SYSCTL, key) is None:
            raise InvalidOption(f"linux.sysctl has {key!r}, which is no name of a kernel setting")


def _check_text(field: str, value: str) -> None:
    if not value or "\0" in value:
        raise InvalidOption(f"{field} is empty or has a NUL byte")
