"""What this host can do, what follows where it cannot, and the remedy: the facts behind `doctor`.

Theory of operation. A check is a function of the store directory that returns a Finding. Most read
/proc or make a call that cannot succeed but tells apart "unknown" and "refused" (a NULL filter, a zero
size). What needs a mount or a namespace runs in a child interpreter of its own, inside a new mount
namespace that dies with it: the caller's process is neither forked nor moved, and nothing stays.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from pycontainer.kernel import syscalls

__all__ = ["CAPABILITIES", "NAMES", "Finding", "cgroup_mode", "check", "examine", "missing_rights"]

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CHILD_TIMEOUT_S = 20.0
MOUNTINFO = "/proc/self/mountinfo"
_OLDEST_KERNEL = (5, 11)  # overlay mounts inside a user namespace


class Finding(NamedTuple):
    """One thing the host can or cannot do."""

    name: str
    is_ok: bool
    detail: str
    is_required: bool = True
    consequence: str = ""
    remedy: str = ""


CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
).split()
"""Names by number, without CAP_. Source: include/uapi/linux/capability.h."""

_CAPABILITY_NEEDS = {
    "SYS_ADMIN": "no mounts and no namespaces: containers cannot start",
    "SYS_CHROOT": "the container's root cannot be entered",
    "SETUID": "containers cannot change user",
    "SETGID": "containers cannot change group",
    "SETPCAP": "the capability bounding set cannot be reduced",
    "CHOWN": "files of layers cannot be given to their owners",
    "DAC_OVERRIDE": "files of other owners in layers cannot be written",
    "FOWNER": "modes and times of other owners' files cannot be set",
    "FSETID": "setgid bits of layers are lost",
    "MKNOD": "device nodes and overlay whiteouts cannot be made",
    "SETFCAP": "file capabilities of layers are lost",
    "KILL": "processes of containers under other users cannot be signalled",
    "NET_ADMIN": "the loopback link of a new network namespace stays down",
}
_CAPABILITY_WANTS = {
    "SYS_RESOURCE": "hard limits cannot be raised and oom scores not lowered: ulimits above this "
    "process's own and a negative oom_score_adj are refused",
    "NET_RAW": "containers get no raw sockets (ping)",
    "NET_BIND_SERVICE": "containers on the host network cannot bind ports below 1024",
    "AUDIT_WRITE": "containers cannot write audit records (login, sudo)",
    "SYS_PTRACE": "processes of containers under other users cannot be inspected",
}


_CAPABILITY_REMEDY = "give this process the capability (systemd: AmbientCapabilities=, docker: --cap-add)"

_LIMITING = {"devices", "memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "freezer"}
"""Controllers of version 1 whose hierarchies containers are put into."""


def _as_root(remedy: str) -> str:
    """The remedy where being root was not what was missing."""
    return remedy if os.geteuid() == 0 else "run as root"


def _kernel(store: str) -> Finding:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    return Finding(
        "kernel",
        sys.platform == "linux" and version >= _OLDEST_KERNEL,
        f"{platform.system()} {release} on {platform.machine()}",
        consequence="older kernels are not supported",
        remedy="boot Linux 5.11 or newer",
    )


def _root(store: str) -> Finding:
    return Finding(
        "root",
        os.geteuid() == 0,
        f"effective user {os.geteuid()}",
        consequence="containers are started by root only",
        remedy="run as root",
    )


def missing_rights() -> str:
    """The capabilities that launches need and this process lacks, with the remedy; empty when it has all."""
    if os.geteuid() != 0:
        return "run as root"
    needs = _needs(_missing_capabilities())
    return f"this process lacks {'; '.join(needs)}; {_CAPABILITY_REMEDY}" if needs else ""


def _missing_capabilities() -> list[str]:
    effective = syscalls.capget()[0]
    return [name for bit, name in enumerate(CAPABILITIES) if not effective >> bit & 1]


def _needs(missing: list[str]) -> list[str]:
    return [f"CAP_{name}: {_CAPABILITY_NEEDS[name]}" for name in missing if name in _CAPABILITY_NEEDS]


def _capabilities(store: str) -> Finding:
    missing = _missing_capabilities()
    needs = _needs(missing)
    wants = [f"CAP_{name}: {_CAPABILITY_WANTS[name]}" for name in missing if name in _CAPABILITY_WANTS]
    detail = "all" if not missing else "without " + ", ".join(f"CAP_{name}" for name in missing)
    if len(missing) == len(CAPABILITIES):
        detail, needs, wants = "none", ["an ordinary user: what needs root is refused"], []
    return Finding(
        "capabilities",
        not needs and not wants,
        detail,
        is_required=bool(needs),
        consequence="; ".join(needs + wants),
        remedy=_CAPABILITY_REMEDY,
    )


class _CgroupMount(NamedTuple):
    point: str
    is_unified: bool
    names: list[str]
    is_read_only: bool


def _cgroup_mounts() -> list[_CgroupMount]:
    found = []
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.rstrip("\n").split(" ")
            kind, _source, options = fields[fields.index("-") + 1 :][:3]
            if kind in ("cgroup", "cgroup2"):
                words = options.split(",")
                names = [word for word in words if word not in ("rw", "ro")]
                is_read_only = "ro" in (*words, *fields[5].split(","))
                found.append(_CgroupMount(fields[4], kind == "cgroup2", names, is_read_only))
    return found


def cgroup_mode() -> tuple[str, tuple[str, ...]]:
    """The host's cgroup layout: ("v2" | "hybrid" | "v1" | "none", controllers that can set limits).

    Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst.
    """
    legacy: list[str] = []
    unified = ""
    for mount in _cgroup_mounts():
        if mount.is_unified:
            unified = mount.point
        else:
            legacy += mount.names
    named = [name for name in legacy if not name.startswith(("name=", "xattr", "release_agent", "clone_"))]
    if unified and not named:
        with open(f"{unified}/cgroup.controllers", encoding="ascii") as text:
            return "v2", tuple(text.read().split())
    if not named:
        return "none", ()
    return ("hybrid" if unified else "v1"), tuple(named)


def _cgroups(store: str) -> Finding:
    mode, controllers = cgroup_mode()
    missing = [name for name in ("memory", "cpu", "pids") if name not in controllers]
    optional = [name for name in ("cpuset", "io" if mode == "v2" else "blkio") if name not in controllers]
    detail = f"{mode}, controllers: {' '.join(controllers) or 'none'}"
    if optional and not missing:
        detail += f" (no {' '.join(optional)})"
    closed = [
        mount.point
        for mount in _cgroup_mounts()
        if mount.is_read_only and (mount.is_unified or not _LIMITING.isdisjoint(mount.names))
    ]
    if closed:
        return Finding(
            "cgroups",
            False,
            f"{detail}; read-only: {' '.join(closed)}",
            consequence="containers cannot start: no cgroup can be made for them",
            remedy=f"mount -o remount,rw,bind {closed[0]}"
            + (" and each of the others" if closed[1:] else "")
            + "; inside a container, run that with --privileged",
        )
    return Finding(
        "cgroups",
        not missing,
        detail,
        consequence=f"limits on {', '.join(missing)} are refused" if missing else "",
        remedy="mount cgroup2 on /sys/fs/cgroup, or delegate the controllers (systemd: Delegate=yes)",
    )


def _overlay(store: str) -> Finding:
    is_ok, detail = _isolated(store)["overlay"]
    return Finding(
        "overlay",
        is_ok,
        detail,
        consequence="container root file systems cannot be assembled",
        remedy=_as_root("modprobe overlay; inside a container it takes CAP_SYS_ADMIN"),
    )


def _overlay_userns(store: str) -> Finding:
    is_ok, detail = _isolated(store)["overlay_userns"]
    return Finding(
        "overlay_userns",
        is_ok,
        detail,
        is_required=False,
        consequence="no overlay mounts for ordinary users",
        remedy="Linux 5.11 or newer, with user namespaces allowed",
    )


def _userns(store: str) -> Finding:
    is_ok, detail = _isolated(store)["userns"]
    return Finding(
        "userns",
        is_ok,
        detail,
        is_required=False,
        consequence="no container in a user namespace of its own",
        remedy="sysctl user.max_user_namespaces=15000 (Debian also: kernel.unprivileged_userns_clone=1)",
    )


def _newuidmap(store: str) -> Finding:
    missing = [name for name in ("newuidmap", "newgidmap") if shutil.which(name) is None]
    return Finding(
        "newuidmap",
        not missing,
        f"{' and '.join(missing)} not found" if missing else str(shutil.which("newuidmap")),
        is_required=False,
        consequence="ordinary users can map one id only",
        remedy="apt-get install uidmap",
    )


def _seccomp(store: str) -> Finding:
    # A NULL program cannot be installed: EFAULT says filters are known, EINVAL that they are not.
    code = _errno_of(syscalls.SYS_SECCOMP, ctypes.c_uint(1), ctypes.c_uint(0), None)
    return Finding(
        "seccomp",
        code == errno.EFAULT,
        "filters" if code == errno.EFAULT else f"seccomp: {os.strerror(code)}",
        consequence="containers run without a system call filter, or not at all with the default profile",
        remedy="a kernel with CONFIG_SECCOMP_FILTER; inside a container, a profile that allows seccomp",
    )


def _landlock(store: str) -> Finding:
    detail, is_ok = "", True
    try:
        detail = f"ABI {syscalls.raw(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))}"
    except OSError as error:
        detail, is_ok = f"landlock_create_ruleset: {error.strerror}", False
    return Finding(
        "landlock",
        is_ok,
        detail,
        is_required=False,
        consequence="unpacking is confined by the directory descriptor alone",
        remedy="Linux 5.13 or newer with landlock in the lsm= boot option",
    )


def _mount_api(store: str) -> Finding:
    is_ok, detail = _isolated(store)["mount_api"]
    return Finding(
        "mount_api",
        is_ok,
        detail,
        consequence="root file systems cannot be assembled detached, by descriptor",
        remedy=_as_root(
            "Linux 5.12 or newer; inside a container, a seccomp profile that allows fsopen and fsmount"
        ),
    )


def _openat2(store: str) -> Finding:
    try:
        os.close(
            syscalls.openat2(syscalls.AT_FDCWD, b"/proc/self", os.O_PATH, syscalls.RESOLVE_NO_MAGICLINKS)
        )
    except OSError as error:
        is_ok, detail = False, f"openat2: {error.strerror}"
    else:
        is_ok, detail = True, "paths resolve inside a root"
    return Finding(
        "openat2",
        is_ok,
        detail,
        consequence="paths inside a container cannot be resolved safely",
        remedy="Linux 5.6 or newer; inside a container, a seccomp profile that allows openat2",
    )


def _pidfd(store: str) -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        is_ok, detail = False, f"pidfd_open: {error.strerror}"
    else:
        is_ok, detail = True, "processes are held by descriptor"
    return Finding(
        "pidfd",
        is_ok,
        detail,
        consequence="processes cannot be signalled without a race",
        remedy="Linux 5.3 or newer; inside a container, a seccomp profile that allows pidfd_open",
    )


def _clone3(store: str) -> Finding:
    # A zero-sized argument is refused with EINVAL by a kernel that knows the call.
    code = _errno_of(syscalls.SYS_CLONE3, None, ctypes.c_size_t(0))
    return Finding(
        "clone3",
        code == errno.EINVAL,
        "all namespaces at once" if code == errno.EINVAL else f"clone3: {os.strerror(code)}",
        consequence="containers cannot be started",
        remedy="Linux 5.3 or newer; inside a container, a seccomp profile that allows clone3",
    )


def _memfd_exec(store: str) -> Finding:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | 0x10  # MFD_EXEC, memfd_create(2)
    try:
        os.close(os.memfd_create("probe", flags))
    except OSError as error:
        is_ok = error.errno == errno.EINVAL  # before Linux 6.3 every memfd is executable
        detail = "executable by default" if is_ok else f"memfd_create: {error.strerror}"
    else:
        is_ok, detail = True, "sealed and executable"
    return Finding(
        "memfd_exec",
        is_ok,
        detail,
        is_required=False,
        consequence="helper programs are started from files instead of sealed memory",
        remedy="sysctl vm.memfd_noexec=0",
    )


def _timens(store: str) -> Finding:
    is_ok = os.path.exists("/proc/self/ns/time")
    return Finding(
        "timens",
        is_ok,
        "present" if is_ok else "absent",
        is_required=False,
        consequence="containers share the host's monotonic clock",
        remedy="Linux 5.6 or newer with CONFIG_TIME_NS",
    )


def _erofs(store: str) -> Finding:
    is_ok, detail = _has_filesystem("erofs")
    return Finding(
        "erofs",
        is_ok,
        detail,
        is_required=False,
        consequence="none for overlay snapshots, the only driver in use",
        remedy="modprobe erofs",
    )


def _binfmt(store: str) -> Finding:
    base = "/proc/sys/fs/binfmt_misc"
    names = sorted(set(_listed(base)) - {"register", "status"})
    return Finding(
        "binfmt",
        bool(names),
        f"interpreters: {' '.join(names)}" if names else "no foreign interpreter is registered",
        is_required=False,
        consequence="images of other processors cannot run here",
        remedy="apt-get install qemu-user-static binfmt-support",
    )


def _store(store: str) -> Finding:
    base = _existing_ancestor(store)
    problems = _file_system_problems(base)
    usage = shutil.disk_usage(base)
    return Finding(
        "store",
        not problems,
        f"{store} ({usage.free / 1e9:.1f} GB free)" + (f": {', '.join(problems)}" if problems else ""),
        consequence="images cannot be unpacked there",
        remedy="put the store on ext4, xfs with ftype=1, or btrfs: set PYCONTAINER_ROOT",
    )


def _file_system_problems(base: str) -> list[str]:
    """What a snapshot needs and the file system of base lacks; makes a temporary directory there."""
    if not os.access(base, os.W_OK):
        return [f"{base} is not writable for user {os.geteuid()}"]
    try:
        problems = _trial_problems(base)
    except OSError as error:
        return [f"{base} cannot be written to ({error.strerror})"]
    overlay = _isolated(base).get("overlay_on_store")
    if overlay is not None and not overlay[0]:
        problems.append(overlay[1])
    return problems


def _trial_problems(base: str) -> list[str]:
    problems = []
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=base) as directory:
        path = os.path.join(directory, "file")
        with open(path, "xb"):
            pass
        if not _has_entry_types(directory):
            problems.append("directory entries carry no type (d_type)")
        name = "trusted.overlay.probe" if os.geteuid() == 0 else "user.overlay.probe"
        try:
            os.setxattr(path, name, b"y")
        except OSError as error:
            problems.append(f"no {name.split('.')[0]} extended attributes ({error.strerror})")
    return problems


def _has_entry_types(directory: str) -> bool:
    """Whether getdents64(2) tells the type of a regular file (DT_REG, 8)."""
    number = 217 if syscalls.IS_X86_64 else 61
    buffer = ctypes.create_string_buffer(4096)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        size = syscalls.raw(number, ctypes.c_int(fd), buffer, ctypes.c_size_t(4096))
    finally:
        os.close(fd)
    data = buffer.raw[:size]
    while data:
        length = int.from_bytes(data[16:18], sys.byteorder)
        if data[19:length].split(b"\0", 1)[0] == b"file":
            return data[18] == 8
        data = data[length:]
    return False


def _existing_ancestor(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _has_filesystem(name: str) -> tuple[bool, str]:
    with open("/proc/filesystems", encoding="ascii") as text:
        if name in text.read().split():
            return True, "in the kernel"
    release = platform.release()
    for base in (f"/lib/modules/{release}/kernel/fs/{name}", f"/usr/lib/modules/{release}/kernel/fs/{name}"):
        if os.path.isdir(base):
            return True, "a module that can be loaded"
    return False, "unknown to this kernel"


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _errno_of(number: int, *arguments: object) -> int:
    """The errno of a call that cannot succeed."""
    try:
        syscalls.raw(number, *arguments)
    except OSError as error:
        return error.errno or 0
    return 0


CHECKS: tuple[tuple[str, Callable[[str], Finding]], ...] = (
    ("kernel", _kernel),
    ("root", _root),
    ("capabilities", _capabilities),
    ("cgroups", _cgroups),
    ("overlay", _overlay),
    ("store", _store),
    ("mount_api", _mount_api),
    ("clone3", _clone3),
    ("pidfd", _pidfd),
    ("openat2", _openat2),
    ("seccomp", _seccomp),
    ("landlock", _landlock),
    ("userns", _userns),
    ("overlay_userns", _overlay_userns),
    ("newuidmap", _newuidmap),
    ("timens", _timens),
    ("memfd_exec", _memfd_exec),
    ("erofs", _erofs),
    ("binfmt", _binfmt),
)
NAMES = tuple(name for name, _check in CHECKS)


def check(name: str, store: str = "/var/lib") -> Finding:
    """Examine one feature. Raises KeyError for a name that is not in NAMES."""
    return dict(CHECKS)[name](os.path.abspath(store))


def examine(store: str = "/var/lib") -> list[Finding]:
    """Examine everything; store is the directory images will be kept in, which need not exist."""
    return [function(os.path.abspath(store)) for _name, function in CHECKS]


@functools.lru_cache(maxsize=8)
def _isolated(store: str) -> dict[str, tuple[bool, str]]:
    """Results of the checks that mount and unshare, from a child interpreter; name -> (ok, detail)."""
    program = (
        f"import sys; sys.path.insert(0, {_PACKAGE_PARENT!r}); "
        "from pycontainer.kernel import mountprobe; mountprobe.report(sys.argv[1])"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", program, _existing_ancestor(store)]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={},
            timeout=_CHILD_TIMEOUT_S,
            check=False,
        )
        answers = json.loads(child.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        failed = (False, f"the probing process failed: {error}")
        return dict.fromkeys(("overlay", "overlay_userns", "userns", "mount_api"), failed)
    return {name: (bool(is_ok), str(detail)) for name, (is_ok, detail) in answers.items()}
