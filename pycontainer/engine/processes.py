"""The processes of a running container, as this host and as the container see them."""

from __future__ import annotations

import os
import pwd
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, final

import attrs

from pycontainer.engine.stats import cgroup_of
from pycontainer.errors import NotFound, WrongState
from pycontainer.runtime import cgroups

if TYPE_CHECKING:
    from pycontainer.engine.state import Observed
    from pycontainer.runtime import HostFacts

__all__ = ["ProcessInfo", "Top", "top"]

_TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PTY_MAJORS = range(136, 144)  # Documentation/admin-guide/devices.txt, "Unix98 PTY slaves"
_DAY_S = 86400


@attrs.frozen(kw_only=True)
class ProcessInfo:
    """One process. pid, parent_pid: on this host; inner_pid: in the container's own numbering.

    user: name of uid on this host, or its digits. state: one letter, as ps shows it. cpu_s: user and
    system time. rss_bytes: memory that is resident, shared pages included. terminal: as "pts/0", or "?".
    arguments: its command line; its name in brackets for a process that has none.
    """

    pid: int
    inner_pid: int
    parent_pid: int
    uid: int
    user: str
    state: str
    threads: int
    cpu_s: float
    rss_bytes: int
    started_at: datetime
    terminal: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """Its command line as one text; a control character, which a terminal would obey, as "?"."""
        return "".join(char if char.isprintable() else "?" for char in " ".join(self.arguments))


@final
class Top(tuple[ProcessInfo, ...]):
    """The processes of a container, oldest first."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """What `docker top` shows: the columns of `ps -ef`."""
        return {"Titles": list(_TITLES), "Processes": [_row(process) for process in self]}

    def __str__(self) -> str:
        rows = [list(_TITLES), *(_row(process) for process in self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES) - 1)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        )


def top(observed: Observed, host: HostFacts, name: str) -> Top:
    """Look at every process in the container's cgroup. Raises: WrongState when it does not run."""
    path = cgroup_of(observed, host)
    if observed.pid is None or path is None:
        raise WrongState(
            f"container {name} is {observed.state} and has no processes; start it first",
            verb="list processes of",
            state=str(observed.state),
            allowed=("running", "paused"),
        )
    try:
        # How deep its process ids lie below ours; further down are those of containers in it.
        level = len(_status(observed.pid)["NSpid"].split()) - 1
    except FileNotFoundError:
        raise NotFound(f"container {name} has just ended") from None
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    users: dict[int, str] = {}
    found = []
    for pid in cgroups.processes(path, host.cgroups):
        try:
            found.append(_look_at(pid, level, booted_at, users))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return Top(sorted(found, key=lambda process: (process.started_at, process.inner_pid)))


def _look_at(pid: int, level: int, booted_at: float, users: dict[int, str]) -> ProcessInfo:
    status = _status(pid)
    name, _, rest = _read(f"/proc/{pid}/stat").partition("(")[2].rpartition(")")
    fields = rest.split()  # from field 3, "state", on: proc_pid_stat(5)
    arguments = tuple(_read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0"))
    uid = int(status["Uid"].split()[1])
    numbers = status["NSpid"].split()
    return ProcessInfo(
        pid=pid,
        inner_pid=int(numbers[min(level, len(numbers) - 1)]),
        parent_pid=int(fields[1]),
        uid=uid,
        user=_user(uid, users),
        state=fields[0],
        threads=int(fields[17]),
        cpu_s=(int(fields[11]) + int(fields[12])) * _TICK_S,
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        started_at=datetime.fromtimestamp(booted_at + int(fields[19]) * _TICK_S, UTC),
        terminal=_terminal(int(fields[4])),
        arguments=arguments if arguments != ("",) else (f"[{name}]",),
    )


def _status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in _read(f"/proc/{pid}/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _read(file: str) -> str:
    with open(file, encoding="utf-8", errors="replace") as opened:
        return opened.read()


def _user(uid: int, known: dict[int, str]) -> str:
    if uid not in known:
        try:
            known[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            known[uid] = str(uid)
    return known[uid]


def _terminal(number: int) -> str:
    """Name of a terminal by the number in /proc/PID/stat, whose minor has its high bits on top."""
    major, minor = number >> 8 & 0xFFF, (number & 0xFF) | (number >> 12 & 0xFFF00)
    if major in _PTY_MAJORS:
        return f"pts/{minor + (major - _PTY_MAJORS.start) * 256}"
    return f"tty{minor}" if major == 4 else "?"


def _row(process: ProcessInfo) -> list[str]:
    """The columns of `ps -ef`."""
    lived_s = time.time() - process.started_at.timestamp()
    started = process.started_at.astimezone()
    hours, seconds = divmod(int(process.cpu_s), 3600)
    return [
        process.user,
        str(process.pid),
        str(process.parent_pid),
        str(min(99, int(process.cpu_s / lived_s * 100)) if lived_s > 0 else 0),
        started.strftime("%H:%M" if lived_s < _DAY_S else "%b%d"),
        process.terminal,
        f"{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}",
        process.command,
    ]
