"""What a running container uses: read from its cgroup and its network namespace, with nothing started."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, final

import attrs

from pycontainer.engine.state import Observed, observe
from pycontainer.errors import InvalidOption, NotFound, WrongState
from pycontainer.kernel import interrupts, pidfd
from pycontainer.runtime import cgroups

if TYPE_CHECKING:
    from pycontainer.runtime import HostFacts

__all__ = ["NetworkStats", "Stats", "StatsStream", "cgroup_of", "read_stats"]

_LEAST_INTERVAL_S = 0.01


@attrs.frozen(kw_only=True)
class NetworkStats:
    """What one interface has received and sent since it was made."""

    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@attrs.frozen(kw_only=True)
class Stats:
    """One look at what a container uses; None is what this host does not count.

    cpu_ns: since its start, of which cpu_user_ns and cpu_system_ns; cpu_throttled_ns: time in which it
    could have run but for its limit, in cpu_throttled_periods of cpu_periods. memory_bytes: without file
    pages that were read only once, as Docker shows it; memory_cache_bytes: all file pages.
    memory_limit_bytes: its limit, or the host's memory. memory_peak_bytes counts every page. pids: its
    processes and threads. read_bytes, written_bytes: of block devices. networks: by interface, without the
    loopback; empty on the host's network. cpu_percent: since the look before, 100 for each CPU.
    monotonic_ns: time.monotonic_ns() at this look.
    """

    at: datetime
    monotonic_ns: int
    cpu_ns: int | None = None
    cpu_user_ns: int | None = None
    cpu_system_ns: int | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_ns: int | None = None
    cpu_percent: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int = 0
    memory_cache_bytes: int | None = None
    memory_peak_bytes: int | None = None
    swap_bytes: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    networks: Mapping[str, NetworkStats] = MappingProxyType({})

    @property
    def memory_percent(self) -> float | None:
        """Of the limit."""
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes * 100

    @property
    def received_bytes(self) -> int:
        """Of all its interfaces."""
        return sum(network.received_bytes for network in self.networks.values())

    @property
    def sent_bytes(self) -> int:
        """Of all its interfaces."""
        return sum(network.sent_bytes for network in self.networks.values())

    def _repr_html_(self) -> str:
        from pycontainer.engine.displays import stats_html  # only in notebooks

        return stats_html(self)

    def cpu_percent_since(self, earlier: Stats) -> float | None:
        """CPU use between an earlier look and this one: 100 is one CPU, all the time."""
        elapsed_ns = self.monotonic_ns - earlier.monotonic_ns
        if self.cpu_ns is None or earlier.cpu_ns is None or elapsed_ns <= 0:
            return None
        return max(0, self.cpu_ns - earlier.cpu_ns) / elapsed_ns * 100


def read_stats(directory: Path, host: HostFacts, name: str, *, earlier: Stats | None = None) -> Stats:
    """Look at the container of this directory now. Raises: WrongState when it does not run; NotFound."""
    observed = observe(directory)
    path = cgroup_of(observed, host)
    if observed.pid is None or path is None:
        if not directory.is_dir():
            raise NotFound(f"container {name} was removed")
        raise WrongState(
            f"container {name} is {observed.state} and uses nothing; start it first",
            verb="count",
            state=str(observed.state),
            allowed=("running", "paused"),
        )
    figures = cgroups.counters(path, host.cgroups)
    now_ns = time.monotonic_ns()
    if "pids" not in figures or "read_bytes" not in figures:
        figures = {**_of_processes(cgroups.processes(path, host.cgroups)), **figures}
    inactive = figures.pop("memory_inactive_bytes", 0)
    if "memory_bytes" in figures:
        figures["memory_bytes"] = max(0, figures["memory_bytes"] - inactive)
    found = Stats(
        at=datetime.now(UTC),
        monotonic_ns=now_ns,
        networks=MappingProxyType(_networks(observed)),
        **{"memory_limit_bytes": _host_memory(), **figures},
    )
    return found if earlier is None else attrs.evolve(found, cpu_percent=found.cpu_percent_since(earlier))


def cgroup_of(observed: Observed, host: HostFacts) -> str | None:
    """The path of its cgroup in every hierarchy, while it runs.

    That of the file which pauses it; its first process may since have moved to one below.
    """
    if observed.pid is None:
        return None
    if observed.freeze is not None:
        return cgroups.path_of(observed.freeze["file"], host.cgroups)
    controller = next(iter(host.cgroups.v1), "")
    for line in _read(f"/proc/{observed.pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") if controller else number == "0":
            return path
    return None


def _of_processes(pids: list[int]) -> dict[str, int]:
    """What the cgroup does not count, added up: living processes, and the children they waited for."""
    found = {"pids": 0, "read_bytes": 0, "written_bytes": 0}
    keys = {"read_bytes": "read_bytes", "write_bytes": "written_bytes"}
    for pid in pids:
        try:
            found["pids"] += max(0, os.stat(f"/proc/{pid}/task").st_nlink - 2)
        except FileNotFoundError:
            continue
        for line in _read(f"/proc/{pid}/io").splitlines():
            key, _, value = line.partition(": ")
            if key in keys:
                found[keys[key]] += int(value)
    return found


def _networks(observed: Observed) -> dict[str, NetworkStats]:
    """Counters of its interfaces, by way of its first process. Source: proc_pid_net(5)."""
    pid = observed.pid
    try:
        if os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            return {}
        text = _read(f"/proc/{pid}/net/dev")
        if pid is None or pidfd.start_time(pid) != observed.pid_start:
            return {}  # it ended, and this was another process's
    except OSError:
        return {}
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        words = numbers.split()
        if name.strip() == "lo" or len(words) < 12:
            continue
        received, sent = [int(word) for word in words[:4]], [int(word) for word in words[8:12]]
        found[name.strip()] = NetworkStats(
            received_bytes=received[0],
            received_packets=received[1],
            received_errors=received[2],
            received_dropped=received[3],
            sent_bytes=sent[0],
            sent_packets=sent[1],
            sent_errors=sent[2],
            sent_dropped=sent[3],
        )
    return found


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""


@final
class StatsStream:
    """An iterator of looks at a container, one each interval, which ends when the container does.

    Times are kept by the first look, so that intervals do not add up their delays; when the reader is
    late, the looks missed are left out. Close it, or use it in a with block.
    """

    def __init__(
        self, directory: Path, host: HostFacts, name: str, interval_s: float, timeout_s: float | None
    ) -> None:
        self._process = -1
        if interval_s < _LEAST_INTERVAL_S:
            raise InvalidOption(f"interval={interval_s:g}: give seconds from {_LEAST_INTERVAL_S}")
        self._directory, self._host, self._name = directory, host, name
        self._interval_s = interval_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        observed = observe(self._directory)
        self._last = read_stats(self._directory, self._host, self._name)
        self._next_at = time.monotonic()
        if observed.pid is not None:
            process = pidfd.open_checked(observed.pid, observed.pid_start)
            self._process = -1 if process is None else process

    def __iter__(self) -> Iterator[Stats]:
        return self

    def __next__(self) -> Stats:
        if self._process < 0 or not self._await_next():
            self.close()
            raise StopIteration
        try:
            self._last = read_stats(self._directory, self._host, self._name, earlier=self._last)
        except (WrongState, NotFound):
            self.close()
            raise StopIteration from None
        return self._last

    def _await_next(self) -> bool:
        """Wait for the next time; False when the container or the given time ends before."""
        self._next_at += self._interval_s
        now = time.monotonic()
        if self._next_at < now:
            self._next_at += (now - self._next_at) // self._interval_s * self._interval_s
        until = self._next_at if self._deadline is None else min(self._next_at, self._deadline)
        poller = interrupts.poll()
        poller.register(self._process, select.POLLIN)
        if poller.poll(max(0.0, until - now) * 1000):
            return False
        return self._deadline is None or self._next_at <= self._deadline

    def close(self) -> None:
        """End it; idempotent."""
        process, self._process = self._process, -1
        if process >= 0:
            os.close(process)

    def __enter__(self) -> StatsStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
