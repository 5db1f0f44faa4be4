"""What `docker info` tells, of this engine and host, for the tools that look at it."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.ownership import forget_vanished
from pycontainer.engine.state import observe

if TYPE_CHECKING:
    from pycontainer.runtime import HostFacts

__all__ = ["info"]

_NEEDED = {
    "memory": ("No memory limit support",),
    "cpu": ("No cpu shares support", "No cpu cfs quota support"),
    "cpuset": ("No cpuset support",),
    "pids": ("No pids limit support",),
}
"""Docker's warnings for controllers that the host does not offer."""
_LACK_D_TYPE = ("vfat", "msdos", "minix", "nfs", "nfs4")
_OCTAL = re.compile(r"\\([0-7]{3})")


def info(*, engine: Engine | None = None) -> dict[str, Any]:
    """This engine and its host, in the words of `docker info --format json`, as far as they mean something.

    Warnings names what the host cannot limit. Takes some milliseconds, as it looks at every container.
    """
    engine = engine or current_engine()
    store, host = engine.store, engine.host
    forget_vanished(engine)
    states = Counter(
        str(observe(store.container_dir(record.id)).state) for record in store.state.containers.list()
    )
    kernel = os.uname()
    backing = _file_system(str(engine.root))
    return {
        "ID": engine.store_tag,
        "Containers": states.total(),
        "ContainersRunning": states["running"] + states["restarting"],
        "ContainersPaused": states["paused"],
        "ContainersStopped": states.total()
        - sum(states[name] for name in ("running", "restarting", "paused")),
        "Images": len(store.state.images.list()),
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", backing],
            ["Supports d_type", str(backing not in _LACK_D_TYPE).lower()],
            ["Using metacopy", str(_is_on("metacopy")).lower()],
            ["Native Overlay Diff", str(not _is_on("metacopy") and not _is_on("redirect_dir")).lower()],
            ["userxattr", str(os.geteuid() != 0).lower()],
        ],
        "Plugins": {"Volume": [], "Network": ["host", "none"], "Log": _log_drivers()},
        "MemoryLimit": "memory" in host.cgroups.controllers,
        "SwapLimit": host.cgroups.has_swap,
        "CpuCfsPeriod": "cpu" in host.cgroups.controllers,
        "CpuCfsQuota": "cpu" in host.cgroups.controllers,
        "CPUShares": "cpu" in host.cgroups.controllers,
        "CPUSet": "cpuset" in host.cgroups.controllers,
        "PidsLimit": "pids" in host.cgroups.controllers,
        "OomKillDisable": "memory" in host.cgroups.v1,
        "IPv4Forwarding": _setting("net/ipv4/ip_forward") == "1",
        "NFd": len(os.listdir("/proc/self/fd")),
        "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "LoggingDriver": "local",
        "CgroupDriver": engine.config.cgroup_manager,
        "CgroupVersion": "1" if host.cgroups.v1 else "2",
        "KernelVersion": kernel.release,
        "OperatingSystem": _operating_system().get("PRETTY_NAME", "Linux"),
        "OSVersion": _operating_system().get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": len(host.cpus),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "DockerRootDir": str(engine.root),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": socket.gethostname(),
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": _version(),
        "Runtimes": {"pycontainer": {"path": "pycontainer-runtime"}},
        "DefaultRuntime": "pycontainer",
        "InitBinary": "pycontainer",
        "SecurityOptions": _security_options(host),
        "FirewallBackend": {"Driver": "none"},
        "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
        "LiveRestoreEnabled": True,  # nothing that is restarted is a container's parent
        "Warnings": _warnings(host),
    }


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pycontainer-engine")
    except PackageNotFoundError:
        return "unknown"  # run from a checkout that was never installed


def _log_drivers() -> list[str]:
    from pycontainer.options import LOG_DRIVERS

    return sorted(LOG_DRIVERS)


def _security_options(host: HostFacts) -> list[str]:
    found = []
    if host.has_apparmor:
        found.append("name=apparmor")
    if host.seccomp:
        found.append("name=seccomp,profile=builtin")
    if host.has_selinux:
        found.append("name=selinux")
    if os.geteuid() != 0:
        found.append("name=rootless")
    return [*found, "name=cgroupns", "name=no-new-privileges"]


def _warnings(host: HostFacts) -> list[str]:
    layout = host.cgroups
    found = [
        f"WARNING: {text}"
        for controller, texts in _NEEDED.items()
        if controller not in layout.controllers
        for text in texts
    ]
    if "memory" in layout.controllers and not layout.has_swap:
        found.append("WARNING: No swap limit support")
    if not host.seccomp:
        found.append("WARNING: No seccomp support")
    return found


def _is_on(parameter: str) -> bool:
    with suppress(OSError), open(f"/sys/module/overlay/parameters/{parameter}") as file:
        return file.read().strip() == "Y"
    return False


def _setting(name: str) -> str:
    with suppress(OSError), open(f"/proc/sys/{name}") as file:
        return file.read().strip()
    return ""


def _file_system(path: str) -> str:
    """The type of the file system that a path is on. Source: mountinfo in proc(5)."""
    found = os.stat(path).st_dev
    device = f"{os.major(found)}:{os.minor(found)}"
    best, kind = -1, "unknown"
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            left, _, right = line.partition(" - ")
            fields = left.split()
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            is_above = real == point or real.startswith(f"{point.rstrip('/')}/")
            if is_above and (fields[2] == device or best < 0) and len(point) >= best:
                best, kind = len(point), right.split()[0]
    return kind


def _operating_system() -> dict[str, str]:
    """The fields of os-release(5) of this host."""
    with suppress(OSError), open("/etc/os-release", encoding="utf-8", errors="replace") as file:
        pairs = (line.strip().partition("=") for line in file)
        return {name: value.strip("\"'") for name, _, value in pairs if name}
    return {}
