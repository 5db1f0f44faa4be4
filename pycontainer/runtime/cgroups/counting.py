"""What the kernel counts of one container, on cgroup version 1, 2 or both: a few short reads, no processes.

Sources: kernel Documentation/admin-guide/cgroup-v1/{cpuacct,memory,pids,blkio-controller}.rst and
cgroup-v2.rst; what Docker makes of them: docker/cli, stats_helpers.go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pycontainer.runtime.cgroups.detection import CgroupLayout

__all__ = ["counters", "path_of", "processes"]

_CHUNK = 65536
_NO_LIMIT = 1 << 62  # version 1 shows "none" as the largest multiple of a page
_NS_PER_US = 1000


def path_of(file: str, layout: CgroupLayout) -> str | None:
    """Where in every hierarchy the cgroup lies that has this file, as "/pycontainer/store/id"."""
    directory = os.path.dirname(file)
    mounts = [*layout.v1.values(), *([layout.v2] if layout.v2 else [])]
    for mount in sorted(mounts, key=len, reverse=True):
        if directory.startswith(f"{mount}/"):
            return directory[len(mount) :]
    return None


def counters(path: str, layout: CgroupLayout) -> dict[str, int]:
    """The figures that this host counts for the cgroup with this path; the others are left out.

    cpu_ns, cpu_user_ns, cpu_system_ns, cpu_periods, cpu_throttled_periods, cpu_throttled_ns;
    memory_bytes (all that is charged), memory_inactive_bytes (file pages that were read once),
    memory_cache_bytes, memory_limit_bytes (left out without one), memory_peak_bytes, swap_bytes; pids,
    pids_limit; read_bytes and written_bytes (to block devices).
    """
    found: dict[str, int | None] = {}
    for controller, add in _SOURCES.items():
        mount = layout.v1.get(controller)
        add(found, f"{mount}{path}" if mount else "", f"{layout.v2}{path}" if layout.v2 else "")
    return {name: value for name, value in found.items() if value is not None}


def processes(path: str, layout: CgroupLayout) -> list[int]:
    """Process ids, on this host, of all in the cgroup and those below it."""
    # On version 1 a hierarchy that every container is in; on version 2 there is but one.
    mount = layout.v1.get("cpuacct") or layout.v1.get("memory") or layout.v2
    return [pid for directory in _tree(f"{mount}{path}") for pid in _pids_in(directory)]


def _pids_in(directory: str) -> Iterator[int]:
    return map(int, _read(f"{directory}/cgroup.procs").split())


def _tree(top: str) -> Iterable[str]:
    try:
        # Mostly there is none below, which this tells without listing dozens of files.
        return [top] if os.stat(top).st_nlink <= 2 else [directory for directory, _, _ in os.walk(top)]
    except FileNotFoundError:
        return ()


def _cpu_time(found: dict[str, int | None], v1: str, v2: str) -> None:
    if v1:
        found["cpu_ns"] = _number(f"{v1}/cpuacct.usage")
        found["cpu_user_ns"] = _number(f"{v1}/cpuacct.usage_user")
        found["cpu_system_ns"] = _number(f"{v1}/cpuacct.usage_sys")
        return
    figures = _table(f"{v2}/cpu.stat")
    for name, key in (("cpu_ns", "usage"), ("cpu_user_ns", "user"), ("cpu_system_ns", "system")):
        found[name] = _times(figures.get(f"{key}_usec"), _NS_PER_US)


def _cpu_limit(found: dict[str, int | None], v1: str, v2: str) -> None:
    figures = _table(f"{v1 or v2}/cpu.stat")
    found["cpu_periods"] = figures.get("nr_periods")
    found["cpu_throttled_periods"] = figures.get("nr_throttled")
    throttled = figures.get("throttled_time")
    found["cpu_throttled_ns"] = (
        _times(figures.get("throttled_usec"), _NS_PER_US) if throttled is None else throttled
    )


def _memory(found: dict[str, int | None], v1: str, v2: str) -> None:
    figures = _table(f"{v1 or v2}/memory.stat")
    if v1:
        found["memory_bytes"] = _number(f"{v1}/memory.usage_in_bytes")
        found["memory_limit_bytes"] = _number(f"{v1}/memory.limit_in_bytes")
        found["memory_peak_bytes"] = _number(f"{v1}/memory.max_usage_in_bytes")
        found["memory_inactive_bytes"] = figures.get("total_inactive_file")
        found["memory_cache_bytes"] = figures.get("total_cache")
        found["swap_bytes"] = figures.get("total_swap")
    else:
        found["memory_bytes"] = _number(f"{v2}/memory.current")
        found["memory_limit_bytes"] = _number(f"{v2}/memory.max")
        found["memory_peak_bytes"] = _number(f"{v2}/memory.peak")
        found["memory_inactive_bytes"] = figures.get("inactive_file")
        found["memory_cache_bytes"] = figures.get("file")
        found["swap_bytes"] = _number(f"{v2}/memory.swap.current")
    if (found["memory_limit_bytes"] or 0) >= _NO_LIMIT:
        del found["memory_limit_bytes"]


def _pids(found: dict[str, int | None], v1: str, v2: str) -> None:
    found["pids"] = _number(f"{v1 or v2}/pids.current")
    found["pids_limit"] = _number(f"{v1 or v2}/pids.max")


def _block_io(found: dict[str, int | None], v1: str, v2: str) -> None:
    if v1:
        text = _read(f"{v1}/blkio.throttle.io_service_bytes_recursive")
        lines = [line.split() for line in text.splitlines()]
        pairs = [(words[1].lower(), words[2]) for words in lines if len(words) == 3]
        names = {"read": "read_bytes", "write": "written_bytes"}
    else:
        text = _read(f"{v2}/io.stat")
        words = [word.partition("=") for line in text.splitlines() for word in line.split()[1:]]
        pairs = [(key, value) for key, _, value in words]
        names = {"rbytes": "read_bytes", "wbytes": "written_bytes"}
    if os.path.isdir(v1) or _has_io(v2):
        found.update(dict.fromkeys(names.values(), 0))
    for key, value in pairs:
        if key in names and value.isdigit():
            found[names[key]] = (found.get(names[key]) or 0) + int(value)


def _has_io(v2: str) -> bool:
    return bool(v2) and os.path.exists(f"{v2}/io.stat")


_SOURCES = {"cpuacct": _cpu_time, "cpu": _cpu_limit, "memory": _memory, "pids": _pids, "blkio": _block_io}


def _times(value: int | None, factor: int) -> int | None:
    return None if value is None else value * factor


def _number(file: str) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdigit() else None


def _table(file: str) -> dict[str, int]:
    """The lines "name number" of a file."""
    found = {}
    for line in _read(file).splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found


def _read(file: str) -> str:
    """The text of a file; nothing when it is not there, or its cgroup has just gone."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        parts = []
        while chunk := os.read(fd, _CHUNK):
            parts.append(chunk)
        return b"".join(parts).decode()
    except OSError:
        return ""
    finally:
        os.close(fd)
