"""What this runtime is able to do, and an example of what it takes: features and spec."""

from __future__ import annotations

import json
import os
from typing import Any

from pycontainer import errors
from pycontainer.kernel import caps
from pycontainer.launcher import mountoptions, scheduling
from pycontainer.ocicli.arguments import Arguments

__all__ = ["features", "spec"]

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
_ACTIONS = ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP")
_OPERATORS = ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE")
_ARCHES = {"x86_64": ("X32", "X86", "X86_64"), "aarch64": ("AARCH64", "ARM")}
_FLAGS = ("TSYNC", "SPEC_ALLOW", "LOG", "WAIT_KILLABLE_RECV")
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_LOCKED = ["nosuid", "noexec", "nodev"]


def features() -> int:
    """Print the features document of the runtime-spec."""
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in _FLAGS]
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": list(_HOOKS),
        "mountOptions": sorted([*mountoptions.words(), "tmpcopyup"]),
        "linux": {
            "namespaces": list(_NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in caps.NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": [f"SCMP_ACT_{name}" for name in _ACTIONS],
                "operators": [f"SCMP_CMP_{name}" for name in _OPERATORS],
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHES.get(os.uname().machine, ())],
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
            "memoryPolicy": {
                "modes": list(scheduling.MEMORY_MODES),
                "flags": list(scheduling.MEMORY_FLAGS),
            },
        },
        "annotations": {"org.pycontainer.runtime": "true"},
        "potentiallyUnsafeConfigAnnotations": [],
    }
    print(json.dumps(document, indent=2))
    return 0


def spec(asked: Arguments) -> int:
    """Write an example config.json. Raises AlreadyExists."""
    path = os.path.join(str(asked.flags.get("bundle", ".")), "config.json")
    try:
        with open(path, "x") as file:
            json.dump(_example("rootless" in asked.flags), file, indent=2)
            file.write("\n")
    except FileExistsError:
        raise errors.AlreadyExists(f"{path} exists already; remove it first") from None
    return 0


def _example(is_rootless: bool) -> dict[str, Any]:
    # As `runc spec`: with version 1 programs are shown where they are in the host's cgroups.
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if is_v2 else [])]
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": [
            *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
            *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    if is_rootless:
        del linux["resources"]
        linux["namespaces"] = [{"type": kind} for kind in (*namespaces, "user") if kind != "network"]
        for key, host in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
            linux[key] = [{"containerID": 0, "hostID": host, "size": 1}]
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pycontainer",
        "mounts": _mounts(),
        "linux": linux,
    }


def _mounts() -> list[dict[str, Any]]:
    rows: list[tuple[str, str, str, list[str]]] = [
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/shm", "tmpfs", "shm", [*_LOCKED, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", _LOCKED),
        ("/sys", "sysfs", "sysfs", [*_LOCKED, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*_LOCKED, "relatime", "ro"]),
    ]
    keys = ("destination", "type", "source", "options")
    return [dict(zip(keys, row, strict=True)) for row in rows]
