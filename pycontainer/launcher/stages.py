"""What of a container's file systems is the kernel's, and so can be made before the container is known."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from pycontainer.launcher import mountoptions

__all__ = ["is_of_network", "part", "shape"]

Json = Mapping[str, Any]

_KERNEL_TREES = ("/proc", "/dev", "/sys")


def shape(spec: Json) -> Json | None:
    """What the container's kernel file systems look like, as JSON; None if that is all its own.

    It tells whether two containers can have the same steps done ahead (plan.staged), and names nothing of
    the host. Of a container that joins a network namespace /sys is left out, which shows the namespace it was
    mounted in.
    """
    linux = spec.get("linux") or {}
    entries = [entry for entry in spec.get("mounts") or () if _tree_of(entry["destination"])]
    entries = [entry for entry in entries if entry.get("type") not in ("cgroup", "cgroup2")]
    tops = {entry["destination"] for entry in entries}
    inner = ["/dev", *(entry["destination"] for entry in entries)]
    inner += [*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())]
    inner += [entry["path"] for entry in linux.get("devices") or ()]
    if any(map(mountoptions.is_bind, entries)) or not all(_tree_of(path) in tops for path in inner):
        return None
    kept = {
        name: linux[name] for name in ("sysctl", "maskedPaths", "readonlyPaths", "devices") if linux.get(name)
    }
    if any(entry["type"] == "network" and entry.get("path") for entry in linux.get("namespaces") or ()):
        entries = [entry for entry in entries if _tree_of(entry["destination"]) != "/sys"]
        _leave_out_network(kept)
    return {"mounts": entries, "linux": kept}


def _leave_out_network(kept: dict[str, Any]) -> None:
    """Leave out what shows or sets the network namespace that the process is in."""
    all_settings = kept.get("sysctl") or {}
    kept["sysctl"] = {name: value for name, value in all_settings.items() if not is_of_network(name)}
    late = {"/sys"}
    if len(kept["sysctl"]) < len(all_settings):
        late.add("settings")  # closed they could not be written any more
    for name in ("maskedPaths", "readonlyPaths"):
        kept[name] = [path for path in kept.get(name) or () if part(path) not in late]


def part(path: str) -> str:
    """Which part of the kernel's trees is closed with a path: "/sys", "settings" (/proc/sys), else ""."""
    if path in ("/proc", "/proc/sys") or path.startswith("/proc/sys/"):
        return "settings"
    return "/sys" if _tree_of(path) == "/sys" else ""


def is_of_network(setting: str) -> bool:
    """Whether a kernel setting is one of a network namespace."""
    return setting.startswith(("net.", "net/"))


def _tree_of(path: str) -> str | None:
    top = "/" + path.split("/", 2)[1] if path.startswith("/") else ""
    return top if top in _KERNEL_TREES and posixpath.normpath(path) == path else None
