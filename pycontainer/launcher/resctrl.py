"""Shares of caches and memory bandwidth, which the kernel gives by groups of resctrl: linux.intelRdt.

Source: opencontainers/runtime-spec config-linux.md, "IntelRdt"; kernel Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pycontainer import errors

__all__ = ["assign", "mount_point", "plan", "remove"]

Json = Mapping[str, Any]


def mount_point() -> str | None:
    """Where resctrl is mounted, None where it is not."""
    with open("/proc/self/mountinfo") as file:
        return next((line.split()[4] for line in file if line.split(" - ")[1].split()[0] == "resctrl"), None)


def plan(described: Json, name: str, root: str) -> dict[str, Any]:
    """What is made, written and joined for a container, as data that can be kept. Raises InvalidOption.

    described: linux.intelRdt; name: the container's, and the group's where that has none.
    """
    group = described.get("closID") or name
    if re.fullmatch(r"[^/\s]{1,255}", group) is None or group in (
        ".",
        "..",
        "info",
        "mon_groups",
        "mon_data",
    ):
        raise errors.InvalidOption(f"linux.intelRdt.closID {group!r} is no name of a directory")
    lines = [line.strip() for line in (described.get("l3CacheSchema") or "").splitlines() if line.strip()]
    if described.get("memBwSchema"):
        lines = [line for line in lines if not line.startswith("MB:")] + [described["memBwSchema"].strip()]
    lines += [line.strip() for line in described.get("schemata") or () if line.strip()]
    for line in lines:
        if "\n" in line or ":" not in line:
            raise errors.InvalidOption(f"linux.intelRdt has the schema {line!r}; give lines as L3:0=ff;1=f0")
    directory = os.path.join(root, group)
    return {
        "directory": directory,
        "is_made": not os.path.isdir(directory),
        "must_exist": bool(described.get("closID")) and not lines,
        "schemata": lines,
        "monitor": os.path.join(directory, "mon_groups", name) if described.get("enableMonitoring") else None,
    }


def assign(planned: Json, pid: int) -> None:
    """Make the group, unless it is there, and put a process into it. Raises LaunchError."""
    directory = planned["directory"]
    with errors.mapped(OSError, to=errors.launch_failed("resctrl", f"linux.intelRdt: {directory}")):
        try:
            if not planned["must_exist"]:
                os.mkdir(directory, 0o755)
        except FileExistsError:
            _compare(planned)
        else:
            if planned["schemata"] and not planned["must_exist"]:
                _write(f"{directory}/schemata", "".join(f"{line}\n" for line in planned["schemata"]))
        _write(f"{directory}/tasks", str(pid))
        if planned["monitor"]:
            os.makedirs(planned["monitor"], 0o755, exist_ok=True)
            _write(f"{planned['monitor']}/tasks", str(pid))


def remove(planned: Json) -> None:
    """Remove what was made for the container, unless others are in it. Idempotent. Raises OSError."""
    if planned["monitor"]:
        _remove(planned["monitor"])
    try:
        with open(f"{planned['directory']}/tasks") as file:
            is_used = bool(file.read().strip())
    except FileNotFoundError:
        return
    if planned["is_made"] and not is_used:
        _remove(planned["directory"])


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _compare(planned: Json) -> None:
    """A group that is there is used as it is, never changed: it may be others', too."""
    with open(f"{planned['directory']}/schemata") as file:
        there = {_plain(line) for line in file}
    for line in planned["schemata"]:
        if _plain(line) not in there:
            raise errors.LaunchError(
                f"linux.intelRdt: {planned['directory']} has other shares than {line}: name another closID",
                step="resctrl",
                reason="other shares",
            )


def _plain(line: str) -> tuple[str, frozenset[tuple[str, int | str]]]:
    """What a line says, however it is written: "L3:0=0ff; 1=f0" is "L3:1=f0;0=ff"."""
    resource, _, shares = line.strip().partition(":")
    found: set[tuple[str, int | str]] = set()
    for share in filter(None, shares.split(";")):
        domain, _, value = share.partition("=")
        try:
            found.add((domain.strip(), int(value, 10 if resource == "MB" else 16)))
        except ValueError:
            found.add((domain.strip(), value.strip()))
    return resource.strip(), frozenset(found)


def _write(path: str, content: str) -> None:
    with open(path, "w") as file:
        file.write(content)
