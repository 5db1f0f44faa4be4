"""What of a container's file systems is the kernel's, and so can be made before the container is known."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

__all__ = ["is_bind", "is_of_network", "shape"]

Json = Mapping[str, Any]

_KERNEL_TREES = ("/proc", "/dev", "/sys")


def shape(spec: Json) -> Json | None:
    """What the container's kernel file systems look like, as JSON; None if that is all its own.

    It tells whether two containers can have the same `staged` steps, and names nothing of the host. Of a
    container that joins a network namespace /sys is left out, which shows the namespace it was mounted in.
    """
    linux = spec.get("linux") or {}
    entries = [entry for entry in spec.get("mounts") or () if _tree_of(entry["destination"])]
    entries = [entry for entry in entries if entry.get("type") not in ("cgroup", "cgroup2")]
    tops = {entry["destination"] for entry in entries}
    inner = ["/dev", *(entry["destination"] for entry in entries)]
    inner += [*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())]
    inner += [entry["path"] for entry in linux.get("devices") or ()]
    if any(map(is_bind, entries)) or not all(_tree_of(path) in tops for path in inner):
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
    late = {"/proc/sys"} if len(kept["sysctl"]) < len(all_settings) else set()
    for name in ("maskedPaths", "readonlyPaths"):
        kept[name] = [path for path in kept.get(name) or () if _tree_of(path) != "/sys" and path not in late]


def is_of_network(setting: str) -> bool:
    """Whether a kernel setting is one of a network namespace."""
    return setting.startswith(("net.", "net/"))


def _tree_of(path: str) -> str | None:
    top = "/" + path.split("/", 2)[1] if path.startswith("/") else ""
    return top if top in _KERNEL_TREES and posixpath.normpath(path) == path else None


def is_bind(entry: Json) -> bool:
    """Whether a mount shows a tree of the host."""
    options = entry.get("options") or ()
    return entry.get("type") == "bind" or "bind" in options or "rbind" in options
