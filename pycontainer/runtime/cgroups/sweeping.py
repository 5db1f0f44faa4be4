"""Cgroups whose container has ended without anybody to remove them: a monitor that was killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

from pycontainer.errors import DeadlineExceeded
from pycontainer.launcher import cgroup
from pycontainer.runtime.cgroups.detection import CgroupLayout

__all__ = ["Home", "homes", "leftovers", "sweep"]

_KILL_TIMEOUT_S = 10.0


class Home(NamedTuple):
    """Where a store's cgroups are: those below a path whose name begins and ends so."""

    path: str
    prefix: str = ""
    suffix: str = ""

    @property
    def is_systemds(self) -> bool:
        """Whether they are scopes of systemd, in a slice with others."""
        return bool(self.suffix)


def homes(store_tag: str, layout: CgroupLayout) -> list[Home]:
    """Where the containers of a store have their cgroups, whichever cgroup manager made them."""
    found = [Home(f"/pycontainer/{store_tag}")]
    if layout.mode == "v2":
        from pycontainer.runtime.cgroups.systemd import DEFAULT_SLICE, scope_prefix

        found.append(Home(f"/{DEFAULT_SLICE}", f"{scope_prefix(store_tag)}-", ".scope"))
    return found


def leftovers(home: Home, layout: CgroupLayout) -> dict[str, list[str]]:
    """The cgroups of a home: name of the container -> its directory in each hierarchy."""
    found: dict[str, list[str]] = {}
    for parent in _parents(home.path, layout):
        try:
            with os.scandir(parent) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue
        for name in names:
            if name.startswith(home.prefix) and name.endswith(home.suffix):
                own = name[len(home.prefix) : len(name) - len(home.suffix)]
                found.setdefault(own, []).append(f"{parent}/{name}")
    return found


def sweep(
    home: Home,
    names: Iterable[str],
    layout: CgroupLayout,
    locked_out: Callable[[str], AbstractContextManager[bool]],
) -> None:
    """Kill what is left in the cgroups of these containers in a home, and remove them.

    locked_out: keeps the monitor of a name from coming to life, and tells whether there is none; a name
    that has one is left alone. So is one that a process holds locked (flock(2)): it makes them just now, or
    has made them ahead of the container.
    Raises: DeadlineExceeded when a process does not die; LaunchError when systemd does not let a scope go.
    """
    for name in names:
        directories = _directories(home, name, layout)
        with _locked(directories) as is_idle:
            # If more have come since, somebody is at work, and what was found is a part of it.
            if not is_idle or not set(_directories(home, name, layout)) <= set(directories):
                continue
            # Asked now: a container that is started later waits for the lock before it makes its cgroups.
            with locked_out(name) as has_no_monitor:
                if has_no_monitor:
                    _end(home, name, directories, layout)


def _end(home: Home, name: str, directories: list[str], layout: CgroupLayout) -> None:
    if not directories:
        return
    stale = _plan_of(home, directories, layout)
    # Whoever sweeps is not their parent, and may have children of its own.
    if not cgroup.kill_all(stale, _KILL_TIMEOUT_S, reaps=False):
        raise DeadlineExceeded(
            f"a process of container {name[:12]} did not die in {_KILL_TIMEOUT_S:g} s",
            timeout_s=_KILL_TIMEOUT_S,
        )
    cgroup.remove(stale)
    if home.is_systemds:
        from pycontainer.launcher import scopes  # few hosts have any

        scopes.stop({"scope": {"unit": os.path.basename(directories[0])}})


def _parents(path: str, layout: CgroupLayout) -> list[str]:
    return [f"{mount}{path}" for mount in sorted({*layout.v1.values(), *([layout.v2] if layout.v2 else [])})]


def _directories(home: Home, name: str, layout: CgroupLayout) -> list[str]:
    own = (f"{parent}/{home.prefix}{name}{home.suffix}" for parent in _parents(home.path, layout))
    return [directory for directory in own if os.path.isdir(directory)]


@contextmanager
def _locked(directories: Iterable[str]) -> Iterator[bool]:
    """Keep others from holding them meanwhile; false if somebody does already."""
    opened: list[int] = []
    try:
        for directory in directories:
            with suppress(FileNotFoundError):
                opened.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                fcntl.flock(opened[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_idle = True
    except BlockingIOError:
        is_idle = False
    try:
        yield is_idle
    finally:
        for fd in opened:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a process that another thread forks meanwhile would keep it
            os.close(fd)


def _plan_of(home: Home, directories: list[str], layout: CgroupLayout) -> cgroup.Plan:
    """What is known of a cgroup without its container: where it is."""
    in_v2 = [directory for directory in directories if layout.v2 and directory.startswith(f"{layout.v2}/")]
    frozen = [directory for directory in directories if os.path.exists(f"{directory}/freezer.state")]
    return {
        # A slice is systemd's.
        "dirs": []
        if home.is_systemds
        else [parent for directory in directories for parent in _with_parents(directory)],
        "own": directories,
        "kill": f"{in_v2[0]}/cgroup.kill" if in_v2 and layout.has_kill and not layout.v1 else None,
        "freeze": {"file": f"{frozen[0]}/freezer.state", "frozen": "FROZEN", "thawed": "THAWED"}
        if frozen
        else None,
    }


def _with_parents(directory: str) -> list[str]:
    store = os.path.dirname(directory)
    return [os.path.dirname(store), store, directory]
