"""The leak oracle: what this program holds of the host, so that a test can prove it gave everything back.

Theory of operation. A snapshot lists facts as text, grouped by kind. Two snapshots differ by the facts
that came and the facts that went; a test that cleans up leaves neither. By default only facts that can
be laid at this program's door are listed (its descendants; mounts, processes and cgroups that hold
something under the given paths), so that several test runs share a machine. With
`is_global` the whole host counts: every network namespace, link, nft rule, engine process and cgroup.

What goes away by itself does so a little later (a closing socket, a dying child, a cgroup whose last
process is being reaped), so `assert_unchanged` looks again for a bounded time before it complains.

Source of formats: proc_pid_mountinfo(5), proc_pid_stat(5), proc_pid_fd(5), cgroups(7).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Difference", "LeakError", "Snapshot"]

CGROUP_ROOT = Path("/sys/fs/cgroup")
_SETTLE_FIRST_S = 0.002
_SETTLE_LONGEST_S = 0.1
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
        processes = _processes(roots, is_global=is_global)
        facts: dict[str, Counter[str]] = {
            "mount": Counter(_mounts(roots, is_global=is_global)),
            "process": Counter(processes.values()),
            "thread": Counter(thread.name for thread in threading.enumerate()),
            "task": Counter({"kernel tasks of this process": len(os.listdir("/proc/self/task"))}),
            "fd": Counter(_descriptors()),
            "cgroup": Counter(_cgroups(processes, roots, is_global=is_global)),
            "file lock": Counter(_locks([os.getpid(), *processes], roots)),
            "network link": Counter(_network_links(roots)),
            "filter table": Counter(_filter_tables(roots)),
        }
        if is_global:
            facts["network namespace"] = Counter(_network_namespaces())
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


class _Process(NamedTuple):
    pid: int
    parent: int
    state: str
    name: str


def _process_table() -> dict[int, _Process]:
    """All processes but those that wait for a launch."""
    table = _all_processes()
    for pid in _waiting(table):
        del table[pid]
    return table


def _all_processes() -> dict[int, _Process]:
    table: dict[int, _Process] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in parentheses and may itself hold parentheses and spaces.
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split(" ")[:2]
        table[int(entry)] = _Process(int(entry), int(parent), state, name)
    return table


def _waiting(table: Mapping[int, _Process]) -> list[int]:
    """What a living helper keeps for the next launch, each time another: a process, and its child."""
    named = [process for process in table.values() if process.name == "pycontainer-nxt"]
    parents = {
        process.pid
        for process in named
        if process.parent in table and table[process.parent].name == "pycontainer"
    }
    return [process.pid for process in named if process.pid in parents or process.parent in parents]


def _processes(roots: tuple[str, ...], *, is_global: bool) -> dict[int, str]:
    """Processes of this program: pid -> description. Kernel threads never count."""
    me = os.getpid()
    table = _process_table()
    found: dict[int, str] = {}
    for process in table.values():
        if process.pid in (me, 2) or process.parent == 2:
            continue
        is_ours = _descends(process.pid, me, table) or _holds(process.pid, roots)
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


def _holds(pid: int, roots: tuple[str, ...]) -> bool:
    """Whether a process outside our tree has something under our paths: cwd, root, a file or a mount."""
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
        own = Path("/proc/self/ns/mnt").stat().st_ino
        if Path(f"{base}/ns/mnt").stat().st_ino == own:
            return False  # our own namespace's mounts say nothing about that process
        text = Path(f"{base}/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    return any(f"upperdir={root}/" in text or f" {root}/" in text for root in roots)


def _cgroups(processes: Mapping[int, str], roots: tuple[str, ...], *, is_global: bool) -> list[str]:
    """Engine cgroups, in every hierarchy: those of our processes and stores, or with is_global all."""
    # An engine keeps its cgroups below a directory named after its store's path.
    tags = {_tag(store) for store in _stores(roots)}
    ours: set[str] = set()
    for pid in processes:
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        ours |= {line.split(":", 2)[2] for line in lines}
    found = []
    for directory in _not_made_ahead(engine_cgroups()):
        relative = directory.relative_to(CGROUP_ROOT)
        if (
            is_global
            or tags & set(relative.parts)
            or any(str(relative).endswith(path) for path in ours if path != "/")
        ):
            found.append(str(relative))
    return found


def _not_made_ahead(directories: list[Path]) -> list[Path]:
    """Without those that are for the next launch of a living helper, nor parents that hold only these."""
    ahead = {Path(path).name for pid in _waiting(_all_processes()) for path in _locked_by(pid)}
    kept = [directory for directory in directories if directory.name not in ahead]
    filled = {parent for directory in kept for parent in directory.parents}
    parents = {directory.parent for directory in directories if directory.name in ahead}
    return [directory for directory in kept if directory not in parents or directory in filled]


def _locked_by(pid: int) -> list[str]:
    """Paths of the cgroups that the process has locked."""
    found = []
    for number in _listed(f"/proc/{pid}/fdinfo"):
        try:
            if "lock:" in Path(f"/proc/{pid}/fdinfo/{number}").read_text():
                found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except OSError:
            continue
    return [path for path in found if Path(path).is_relative_to(CGROUP_ROOT)]


def engine_cgroups() -> list[Path]:
    """Every cgroup directory below one named pycontainer, in all hierarchies."""
    found: list[Path] = []
    for base, names, _files in os.walk(CGROUP_ROOT):
        is_inside = any(part.startswith("pycontainer") for part in Path(base).relative_to(CGROUP_ROOT).parts)
        if is_inside:
            found += [Path(base, name) for name in names]
    return found


def _stores(roots: Iterable[str]) -> list[str]:
    """Every store at one of the paths or up to three levels below it."""
    patterns = ("state.db", "*/state.db", "*/*/state.db", "*/*/*/state.db")
    return [str(path.parent) for root in roots for pattern in patterns for path in Path(root).glob(pattern)]


def _tag(store: str) -> str:
    return hashlib.sha256(os.fsencode(store)).hexdigest()[:12]


def _locks(pids: Iterable[int], roots: tuple[str, ...]) -> list[str]:
    """Locks the processes hold on files below our paths, once however many inherited the descriptor."""
    found: set[str] = set()
    for pid in pids:
        base = f"/proc/{pid}"
        for number in _listed(f"{base}/fdinfo"):
            try:
                text = Path(f"{base}/fdinfo/{number}").read_text()
                path = os.readlink(f"{base}/fd/{number}") if "lock:" in text else ""
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("lock:") and _is_below(path, roots):
                    _number, kind, _advisory, mode = line.split()[1:5]
                    found.add(f"{path} ({kind.lower()}, {mode.lower()})")
    return sorted(found)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _network_namespaces() -> set[str]:
    found = set()
    for pid in _process_table():
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found


def _network_links(roots: tuple[str, ...]) -> list[str]:
    """Bridges of the stores, and the host's ends of their containers' links.

    Without the bridge of a store's default network, which stays until its engine closes.
    """
    notes = {f"pycontainer:{_tag(store)}" for store in _stores(roots)}
    found = []
    for name in _listed("/sys/class/net") if notes else []:
        directory = Path("/sys/class/net", name)
        bridge = directory / "master" if name.startswith("pcv") else directory
        try:
            if (bridge / "ifalias").read_text().strip() in notes:
                found.append(name)
        except OSError:
            continue
    return [name for name in found if not name.startswith("pc0-")]


def _filter_tables(roots: tuple[str, ...]) -> list[str]:
    """Tables of packet filter rules of stores that have no network."""
    from pycontainer.errors import PycontainerError
    from pycontainer.kernel import nfnetlink

    found = []
    for store in _stores(roots):
        tag = _tag(store)
        try:
            has_rules = nfnetlink.rule_count(nfnetlink.Table(f"pycontainer_{tag}")) > 0
        except PycontainerError:
            return []  # the kernel has none at all
        if has_rules and f"pycontainer:{tag}" not in _notes():
            found.append(f"pycontainer_{tag}")
    return found


def _notes() -> set[str]:
    """What is noted on the links of the host."""
    found = set()
    for name in _listed("/sys/class/net"):
        try:
            found.add(Path("/sys/class/net", name, "ifalias").read_text().strip())
        except OSError:
            continue
    return found


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
