"""The leak oracle: what this program holds of the host, so that a test can prove it gave everything back.

Theory of operation. A snapshot lists facts as text, grouped by kind. Two snapshots differ by the facts
that came and the facts that went; a test that cleans up leaves neither. By default only facts that can
be laid at this program's door are listed (its descendants; mounts, processes and cgroups that hold
something under the given paths), so that several test runs share a machine. With
`is_global` the whole host counts: every network namespace, link, nft rule, engine process and cgroup.

What goes away by itself does so a little later (a closing socket, a dying child, a cgroup whose last
process is being reaped), so `assert_unchanged` looks again for a bounded time before it complains.

Snapshots are taken around every test of a large suite, so one costs a few milliseconds: each process is
looked at once, and a directory without others in it is not listed.

Source of formats: proc_pid_mountinfo(5), proc_pid_stat(5), proc_pid_fd(5), cgroups(7).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Difference", "LeakError", "Snapshot"]

CGROUP_ROOT = Path("/sys/fs/cgroup")
_AT_REST_S = 5.0
_SETTLE_FIRST_S = 0.002
_SETTLE_LONGEST_S = 0.1
_TAG = re.compile(r"[0-9a-f]{12}")
_NUMBERED = re.compile(r"^(socket|pipe|anon_inode|mnt|net|pid|user|ipc|uts|cgroup|time):\[?([a-z_]*)\d*\]?$")


class LeakError(AssertionError):
    """Something was left behind, or something was taken that was there before."""


# What nobody but the program under test takes away. Processes, descriptors and the like end by themselves:
# what was still finishing when the first snapshot was taken is missing in the second, and that is well.
_LASTING = frozenset({"mount", "network namespace", "link", "nft"})


class Difference(NamedTuple):
    """What changed between two snapshots, as lines that begin with the kind."""

    appeared: tuple[str, ...]
    vanished: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.appeared or self.vanished)

    def __str__(self) -> str:
        lines = [f"+ {fact}" for fact in self.appeared] + [f"- {fact}" for fact in self.vanished]
        return "\n".join(lines)


class Snapshot:
    """What this program holds of the host at one moment."""

    def __init__(self, facts: Mapping[str, Counter[str]], paths: tuple[str, ...], is_global: bool) -> None:
        self.facts = facts
        self.paths = paths
        self.is_global = is_global

    @classmethod
    def take(cls, paths: Iterable[os.PathLike[str] | str] = (), *, is_global: bool = False) -> Snapshot:
        """List what is held now.

        paths: directories of this program (its stores, its temporary directory); processes and cgroups
        that hold something below them count as this program's.
        is_global: count the whole host; only where nothing else runs.
        """
        roots = tuple(os.path.realpath(path) for path in paths)
        table = _table_at_rest()
        waiting = _waiting(table)
        processes = _processes(table, waiting, roots, is_global=is_global)
        stores = _stores_below(roots)
        facts: dict[str, Counter[str]] = {
            "mount": Counter(_mounts(roots, is_global=is_global)),
            "process": Counter(processes.values()),
            "thread": Counter(thread.name for thread in threading.enumerate()),
            "task": Counter({"kernel tasks of this process": len(os.listdir("/proc/self/task"))}),
            "fd": Counter(_descriptors()),
            "cgroup": Counter(_cgroups(processes, waiting, stores, is_global=is_global)),
            "file lock": Counter(_locks([os.getpid(), *processes], roots)),
            "network link": Counter(_network_links(stores)),
            "filter table": Counter(_filter_tables(stores)),
        }
        if is_global:
            facts["network namespace"] = Counter(_network_namespaces(table.keys() - waiting))
            facts["link"] = Counter(os.listdir("/sys/class/net"))
            facts["address or route"] = Counter(_routes())
            facts["nft"] = Counter(_nft_rules())
        return cls(facts, roots, is_global)

    def compare(self, later: Snapshot) -> Difference:
        """Tell what appeared and vanished between this snapshot and a later one."""
        appeared: list[str] = []
        vanished: list[str] = []
        for kind, before in self.facts.items():
            after = later.facts.get(kind, Counter())
            appeared += _lines(kind, after - before)
            if kind in _LASTING:
                vanished += _lines(kind, before - after)
        return Difference(tuple(appeared), tuple(vanished))

    def settle(
        self, timeout_s: float = 5.0, *, ignore: Callable[[str], bool] = lambda fact: False
    ) -> Difference:
        """Compare with now, again and again until nothing differs or the time is over.

        ignore: told each line ("fd: /dev/null"); true leaves it out.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = _SETTLE_FIRST_S
        while True:
            found = self.compare(Snapshot.take(self.paths, is_global=self.is_global))
            found = Difference(
                tuple(fact for fact in found.appeared if not ignore(fact)),
                tuple(fact for fact in found.vanished if not ignore(fact)),
            )
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _SETTLE_LONGEST_S)

    def assert_unchanged(
        self, timeout_s: float = 5.0, *, ignore: Callable[[str], bool] = lambda fact: False
    ) -> None:
        """Raise LeakError with the difference if, after settling, the host is not as it was."""
        found = self.settle(timeout_s, ignore=ignore)
        if found:
            raise LeakError(f"left behind (+) or taken away (-):\n{found}")


def _lines(kind: str, counts: Counter[str]) -> list[str]:
    return [
        f"{kind}: {fact}" + (f" (x{count})" if count > 1 else "") for fact, count in sorted(counts.items())
    ]


def _mounts(roots: tuple[str, ...], *, is_global: bool) -> list[str]:
    """Mounts of this process's namespace: mount point, file system and where it comes from.

    Given paths, only those on or made of something below them, unless is_global.
    """
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if roots and not is_global and not any(root in line for root in roots):
            continue
        fields = line.split(" ")
        kind, source = fields[fields.index("-") + 1 :][:2]
        found.append(f"{fields[4]} ({kind} of {source})")
    return found


def _descriptors() -> list[str]:
    """Open descriptors of this process by target; numbers of sockets, pipes and deleted files left out.

    The one in which an engine keeps a network namespace for the next start is no leak: close() closes it.
    """
    from pycontainer.engine import kept_ahead

    kept = set(map(str, kept_ahead()))
    found = []
    with os.scandir("/proc/self/fd") as entries:
        for entry in entries:
            try:
                target = os.readlink(entry.path)
            except FileNotFoundError:
                continue  # the descriptor this listing itself uses, or another thread's
            if target.startswith("/proc/") and target.endswith("/fd"):
                continue
            if entry.name in kept:
                continue
            match = _NUMBERED.match(target)
            found.append(f"{match[1]} {match[2]}".strip() if match else target)
    return found


_FOR_THE_NEXT = ("pycontainer-nxt", "pycontainer-net")


class _Process(NamedTuple):
    pid: int
    parent: int
    state: str
    name: str


def _process_table() -> dict[int, _Process]:
    """All processes but the kernel's own."""
    table: dict[int, _Process] = {}
    kernel = set(_text("/proc/2/task/2/children").split())
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry in kernel:
            continue
        text = _text(f"/proc/{entry}/stat")
        if not text:
            continue
        # The name stands in parentheses and may itself hold parentheses and spaces.
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split(" ", 2)[:2]
        if parent != "2":
            table[int(entry)] = _Process(int(entry), int(parent), state, name)
    return table


def _table_at_rest() -> dict[int, _Process]:
    """All processes, once none of ours is left that hands a container over which it has started."""
    deadline = time.monotonic() + _AT_REST_S
    while True:
        table = _process_table()
        starting = (process.pid for process in table.values() if process.name == "pycontainer-new")
        is_at_rest = not any(_descends(pid, os.getpid(), table) for pid in starting)
        if is_at_rest or time.monotonic() >= deadline:
            return table
        time.sleep(_SETTLE_FIRST_S)


def _waiting(table: Mapping[int, _Process]) -> frozenset[int]:
    """What a living helper keeps for the next launches, each time others: processes, and forks of theirs."""
    return frozenset(process.pid for process in table.values() if _waits(process, table))


def _waits(process: _Process, table: Mapping[int, _Process]) -> bool:
    if process.name not in _FOR_THE_NEXT or process.parent not in table:
        return False
    parent = table[process.parent]
    return parent.name == "pycontainer" or _waits(parent, table)


def _processes(
    table: Mapping[int, _Process], waiting: frozenset[int], roots: tuple[str, ...], *, is_global: bool
) -> dict[int, str]:
    """Processes of this program but those that wait for a launch: pid -> description."""
    me, above = os.getpid(), os.getppid()
    found: dict[int, str] = {}
    namespaces: dict[int, bool] = {os.stat("/proc/self/ns/mnt").st_ino: False}
    for process in table.values():
        if process.pid in (me, 2) or process.pid in waiting:
            continue
        is_ours = _descends(process.pid, me, table)
        # What another child of our parent has begun is that one's: as a copy of all mounts it may have ours.
        if not is_ours and not (above > 1 and _descends(process.pid, above, table)):
            is_ours = _holds(process.pid, roots, namespaces)
        is_ours = is_ours or (is_global and _is_engine_process(process.pid))
        if is_ours:
            state = " zombie" if process.state == "Z" else ""
            found[process.pid] = f"{process.pid} {process.name}{state}"
    return found


def _is_engine_process(pid: int) -> bool:
    """Whether it is a helper, or what was forked from one, of whatever program."""
    try:
        return b"pycontainer.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _descends(pid: int, ancestor: int, table: Mapping[int, _Process]) -> bool:
    while pid in table:
        pid = table[pid].parent
        if pid == ancestor:
            return True
    return False


def _holds(pid: int, roots: tuple[str, ...], namespaces: dict[int, bool]) -> bool:
    """Whether a process outside our tree has something under our paths: cwd, root, a file or a mount.

    namespaces: of which mount namespaces it is known whether they have such a mount; our own, whose mounts
    say nothing about a process, has none.
    """
    if not roots:
        return False
    base = f"/proc/{pid}"
    links = [f"{base}/cwd", f"{base}/root"]
    links += [f"{base}/fd/{name}" for name in _listed(f"{base}/fd")]  # none if it is gone, or not ours
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if _is_below(target, roots):
            return True
    try:
        namespace = os.stat(f"{base}/ns/mnt").st_ino
    except OSError:
        return False
    if namespace not in namespaces:
        text = _text(f"{base}/mountinfo")
        namespaces[namespace] = any(f"upperdir={root}/" in text or f" {root}/" in text for root in roots)
    return namespaces[namespace]


def _cgroups(
    processes: Mapping[int, str], waiting: frozenset[int], stores: _Stores, *, is_global: bool
) -> list[str]:
    """Engine cgroups, in every hierarchy: those of our processes and stores, or with is_global all."""
    # Those of our processes, by their paths below any of the hierarchies' mounts.
    ours = {line.split(":", 2)[2] for pid in processes for line in _text(f"/proc/{pid}/cgroup").splitlines()}
    of_processes = tuple(ours - {"/"})
    found = []
    for path in _not_made_ahead(engine_cgroups(), waiting):
        relative = path.removeprefix(f"{CGROUP_ROOT}/")
        if (
            is_global
            # An engine keeps its cgroups below a directory named after its store's path.
            or any(stores.own(part) for part in relative.split("/") if _TAG.fullmatch(part))
            or relative.endswith(of_processes)
        ):
            found.append(relative)
    return found


def _not_made_ahead(paths: list[str], waiting: Iterable[int]) -> list[str]:
    """Without those that are for the next launch of a living helper, nor parents that hold only these."""
    ahead = {os.path.basename(path) for pid in waiting for path in _locked_by(pid)}
    kept = [path for path in paths if os.path.basename(path) not in ahead]
    parents = {os.path.dirname(path) for path in paths if os.path.basename(path) in ahead}
    empty = {parent for parent in parents if not any(path.startswith(f"{parent}/") for path in kept)}
    return [path for path in kept if path not in empty]


def _locked_by(pid: int) -> list[str]:
    """Paths of the cgroups that the process has locked."""
    found = []
    for number in _listed(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if path.startswith(f"{CGROUP_ROOT}/") and "lock:" in _text(f"/proc/{pid}/fdinfo/{number}"):
            found.append(path)
    return found


def engine_cgroups() -> list[str]:
    """Every cgroup directory below one named pycontainer, in all hierarchies."""
    found: list[str] = []
    left = [(str(CGROUP_ROOT), False)]
    while left:
        base, is_inside = left.pop()
        for path in _directories(base):
            if is_inside:
                found.append(path)
            left.append((path, is_inside or os.path.basename(path).startswith("pycontainer")))
    return found


def _directories(base: str) -> Iterator[str]:
    """Directories in a directory; of a cgroup without any, its many files are not even listed."""
    try:
        # Each subdirectory is a link, on file systems that count them as the cgroup ones do (inode(7)).
        if os.stat(base).st_nlink == 2:
            return
        with os.scandir(base) as entries:
            yield from (entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return  # gone meanwhile


class _Stores:
    """Which tags on the host, each of a store's path, are of stores below some paths.

    A store is there before what bears its tag, so those below the paths are looked for when a tag is seen
    for the first time, and not again.
    """

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._ours: set[str] = set()
        self._foreign: set[str] = set()

    def own(self, tag: str) -> bool:
        if tag not in self._ours and tag not in self._foreign:
            self._ours |= {_tag(store) for root in self._roots for store in _stores(root, 3)}
            self._foreign |= {tag} - self._ours
        return tag in self._ours


_stores_below = lru_cache(maxsize=8)(_Stores)


def _stores(base: str, depth: int) -> Iterator[str]:
    """Every store at the path, or up to so many levels below it but not in another."""
    if os.path.exists(f"{base}/state.db"):
        yield base
    elif depth:
        for path in _directories(base):
            yield from _stores(path, depth - 1)


def _tag(store: str) -> str:
    return hashlib.sha256(os.fsencode(store)).hexdigest()[:12]


def _locks(pids: Iterable[int], roots: tuple[str, ...]) -> list[str]:
    """Locks the processes hold on files below our paths, once however many inherited the descriptor."""
    found: set[str] = set()
    for pid in pids:
        base = f"/proc/{pid}"
        for number in _listed(f"{base}/fd"):
            try:
                path = os.readlink(f"{base}/fd/{number}")
            except OSError:
                continue
            if not _is_below(path, roots):
                continue
            for line in _text(f"{base}/fdinfo/{number}").splitlines():
                if line.startswith("lock:"):
                    _number, kind, _advisory, mode = line.split()[1:5]
                    found.add(f"{path} ({kind.lower()}, {mode.lower()})")
    return sorted(found)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _text(path: str) -> str:
    """What a file of the kernel says; nothing if it is gone, or its process is."""
    try:
        with open(path, "rb", buffering=0) as file:
            parts = []
            while part := file.read(1 << 16):
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode(errors="surrogateescape")


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _network_namespaces(pids: Iterable[int]) -> set[str]:
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found


_NOTE = "pycontainer:"


def _network_links(stores: _Stores) -> list[str]:
    """Bridges of the stores, and the host's ends of their containers' links.

    Without the bridge of a store's default network, which stays until its engine closes.
    """
    found = []
    for name in _listed("/sys/class/net"):
        bridge = f"/sys/class/net/{name}/master" if name.startswith("pcv") else f"/sys/class/net/{name}"
        note = _text(f"{bridge}/ifalias").strip()
        if note.startswith(_NOTE) and not name.startswith("pc0-") and stores.own(note.removeprefix(_NOTE)):
            found.append(name)
    return found


def _filter_tables(stores: _Stores) -> list[str]:
    """Tables of packet filter rules of stores that have no network."""
    from pycontainer.errors import PycontainerError
    from pycontainer.kernel import nfnetlink

    try:
        tables = {chain.table for chain in nfnetlink.chains()}
    except PycontainerError:
        return []  # the kernel has none at all
    found = []
    for name in sorted(tables):
        tag = name.removeprefix("pycontainer_")
        if tag == name or not stores.own(tag) or nfnetlink.rule_count(nfnetlink.Table(name)) == 0:
            continue
        if f"{_NOTE}{tag}" not in _notes():
            found.append(name)
    return found


def _notes() -> set[str]:
    """What is noted on the links of the host."""
    return {_text(f"/sys/class/net/{name}/ifalias").strip() for name in _listed("/sys/class/net")}


def _routes() -> list[str]:
    """The host's addresses and routes, one text each; those of its loopback and of every link."""
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    for name in ("if_inet6", "ipv6_route"):
        try:
            lines += Path("/proc/net", name).read_text().splitlines()
        except OSError:
            continue  # no IPv6
    return [" ".join(_without_counters(line.split())) for line in lines]


def _without_counters(fields: list[str]) -> list[str]:
    if len(fields) == 11:
        return [*fields[:4], *fields[6:8]]  # of /proc/net/route: without RefCnt and Use
    return [*fields[:6], fields[-1]] if len(fields) == 10 else fields


def _nft_rules() -> list[str]:
    from pycontainer.network import nft_rules

    return nft_rules()
