"""What is done with a plan outside a container's start: limits changed, paused, killed, counted, removed.

The monitor carries the same plan out when it starts a container; `apply` is for callers without one.
All functions are idempotent: a cgroup that is gone already is no error for freeze, kill, usage and remove.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pycontainer.errors import DeadlineExceeded, KernelError
from pycontainer.kernel import bpf
from pycontainer.launcher import freezer
from pycontainer.runtime.cgroups.plan import CgroupPlan

_GONE = (errno.ENOENT, errno.ENODEV)  # ENODEV: the file was open while its cgroup went
_HINTS = {
    errno.EBUSY: "the parent cgroup holds processes of its own; give another cgroup_parent",
    errno.EACCES: "this needs root, or a delegated cgroup",
    errno.EPERM: "this needs root, or a delegated cgroup",
    errno.EROFS: "the cgroup file system is mounted read-only; mount it writable",
    errno.EINVAL: "the kernel refuses the value",
    errno.ENOENT: "this kernel has no such limit",
    errno.ERANGE: "the value is out of the kernel's range",
}


def apply(plan: CgroupPlan) -> None:
    """Make the plan's directories, write its limits, attach its device program.

    Raises: KernelError for the first required step that fails; what was made is removed again.
    """
    try:
        _make_directories(plan["dirs"])
        write(plan["writes"])
        if plan["device_bpf_b64"] is not None and plan["clone_into"] is not None:
            with _named("bpf", plan["clone_into"]):
                bpf.attach_to(plan["clone_into"], base64.b64decode(plan["device_bpf_b64"]))
    except BaseException as error:
        try:
            remove(plan, timeout_s=1)
        except (KernelError, DeadlineExceeded) as second:
            error.add_note(f"and its cgroups could not be removed: {second}")
        raise


def _make_directories(directories: Iterable[str]) -> None:
    for directory in directories:
        with _named("mkdir", directory):
            # Another container's end may take an empty parent away between two steps.
            for attempt in range(10):
                try:
                    os.makedirs(directory, mode=0o755, exist_ok=True)
                    break
                except FileNotFoundError:
                    if attempt == 9:
                        raise


def write(writes: Iterable[Sequence[Any]]) -> None:
    """Write [file, text, is_required] in order; a failing write that is not required is passed over."""
    for file, text, is_required in writes:
        try:
            _write(file, text)
        except OSError as problem:
            if is_required:
                hint = _HINTS.get(problem.errno or 0, "")
                raise KernelError(
                    problem.errno or errno.EIO, "write", file, f"writing {text!r}: {hint}" if hint else ""
                ) from None


def _write(file: str, text: str) -> None:
    # Never created: a limit that the kernel does not have must not become an ordinary file in a fake tree.
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def join(plan: CgroupPlan, pid: int) -> None:
    """Move a process into every cgroup of the plan. Raises: KernelError."""
    files = list(plan["procs"])
    if plan["clone_into"] is not None:
        files.append(f"{plan['clone_into']}/cgroup.procs")
    for file in files:
        with _named("write", file):
            _write(file, str(pid))


def freeze(plan: CgroupPlan, timeout_s: float = 10) -> None:
    """Stop every process from running, and wait until none does.

    Raises: DeadlineExceeded when one cannot be stopped (it waits for a device, say); it is thawed again.
    """
    freezer.freeze(plan["freeze"], timeout_s)


def thaw(plan: CgroupPlan) -> None:
    """Let the processes run again."""
    freezer.thaw(plan["freeze"])


def pids(plan: CgroupPlan) -> list[int]:
    """Every process in the container's cgroups, nested ones included."""
    leaf = plan["clone_into"] or (plan["procs"][0].rpartition("/")[0] if plan["procs"] else None)
    if leaf is None:
        return []
    found: list[int] = []
    for directory, _, _ in os.walk(leaf):
        found.extend(int(line) for line in _read(f"{directory}/cgroup.procs").split())
    return found


def kill(plan: CgroupPlan, timeout_s: float = 10) -> None:
    """SIGKILL every process of the container, also those made meanwhile, and wait until all are gone.

    Raises: DeadlineExceeded when one does not die (it waits for a device, say).
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0005
    while True:
        if plan["kill"] is None or not _write_if_there(plan["kill"], "1"):
            _kill_one_by_one(plan)
        if not pids(plan):
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"processes {pids(plan)} did not die in {timeout_s} s", timeout_s=timeout_s
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def _kill_one_by_one(plan: CgroupPlan) -> None:
    target = plan["freeze"]
    # Frozen, none can fork while the list is worked through; v1 kills once thawed.
    if target is not None:
        _write_if_there(target["file"], target["frozen"])
    for pid in pids(plan):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    thaw(plan)


def usage(reads: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """Read every counter of a plan; what this kernel does not count, or counts no more, is left out."""
    found = {}
    for name, (file, key, factor) in reads.items():
        value = read_key(file, key)
        if value is not None:
            found[name] = value * factor
    return found


def read_key(file: str, key: str | None) -> int | None:
    """One number of a cgroup file: the whole text, or the value after a key; None when it is not there."""
    text = _read(file)
    if key is None:
        return int(text) if text.strip().isdigit() else None
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def remove(plan: CgroupPlan, timeout_s: float = 5) -> None:
    """Remove the container's cgroups, nested ones first, then parents of ours that are empty.

    Raises: KernelError or DeadlineExceeded when processes are left in one; kill first.
    """
    deadline = time.monotonic() + timeout_s
    for directory in plan["own"]:
        _remove_tree(directory, deadline, timeout_s)
    for directory in reversed(plan["dirs"]):
        if directory not in plan["own"] and "/pycontainer" in directory:
            try:
                os.rmdir(directory)
            except OSError:
                pass  # another container lives there


def _remove_tree(directory: str, deadline: float, timeout_s: float) -> None:
    pause_s = 0.0005
    while True:
        for nested, _, _ in os.walk(directory, topdown=False):
            try:
                os.rmdir(nested)
            except FileNotFoundError:
                pass
            except OSError as problem:
                # A process that has just ended leaves its cgroup a moment later.
                if problem.errno != errno.EBUSY:
                    raise KernelError(problem.errno or errno.EIO, "rmdir", nested) from None
        if not os.path.isdir(directory):
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"{directory} still holds processes after {timeout_s} s", timeout_s=timeout_s
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def _write_if_there(file: str, text: str) -> bool:
    try:
        _write(file, text)
    except OSError as problem:
        if problem.errno in _GONE:
            return False
        raise KernelError(problem.errno or errno.EIO, "write", file) from None
    return True


def _read(file: str) -> str:
    try:
        with open(file) as opened:
            return opened.read()
    except OSError as problem:
        if problem.errno in (*_GONE, errno.EOPNOTSUPP):
            return ""
        raise KernelError(problem.errno or errno.EIO, "read", file) from None


@contextlib.contextmanager
def _named(call: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        code = problem.errno or errno.EIO
        raise KernelError(code, call, path, _HINTS.get(code, "")) from None
