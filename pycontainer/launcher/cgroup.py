"""Carries out a cgroup plan: makes, fills, reads, empties and removes directories. Holds no policy.

The plan's fields are described in `pycontainer.runtime.cgroups.planning.CgroupPlan`; versions 1, 2 and hybrid
hosts all come out as directories, files and values.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.launcher import freezer

Plan = Mapping[str, Any]

_REMOVE_WAIT_S = 5.0
_MAKE_ATTEMPTS = 10
_REAP_PAUSE_S = 0.001
_EMPTY_LINKS = 2
"""How many links a directory of cgroups has that no other is in."""


def make(plan: Plan) -> None:
    """Make the directories and set the limits. Raises LaunchError naming the file."""
    lock = make_held(plan)
    if lock >= 0:
        os.close(lock)


def make_held(plan: Plan) -> int:
    """`make`, with the first own directory locked (flock(2), shared); gives its descriptor, -1 without one.

    It is locked before the others are made. Whoever removes what a killed monitor left locks all it finds
    exclusively: so it takes none of what is being made for that, and we nothing that is being removed.
    Raises: as `make`.
    """
    lock = _hold(plan["own"][0]) if plan.get("own") else -1
    try:
        _make_all(plan)
    except BaseException:
        if lock >= 0:
            os.close(lock)
        raise
    return lock


def _hold(directory: str) -> int:
    while True:
        _make_all({"dirs": [directory]})
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.fstat(lock), os.stat(directory)):
                return lock
        except FileNotFoundError:
            pass  # it was removed while we waited
        os.close(lock)


def _make_all(plan: Plan) -> None:
    for attempt in range(_MAKE_ATTEMPTS):
        try:
            _make_once(plan)
            break
        except FileNotFoundError as error:
            # The last container of a parent directory takes it away, perhaps just now.
            if attempt == _MAKE_ATTEMPTS - 1:
                raise _refused(os.fsdecode(error.filename or ""), "a directory", error) from error
    program = plan.get("device_bpf_b64")
    if program:
        _attach_device_rules(plan["clone_into"], binascii.a2b_base64(program))


def _make_once(plan: Plan) -> None:
    for directory in plan.get("dirs") or ():
        try:
            _make_directory(directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _failed(f"{directory} cannot be made", error) from error
    for file, value, is_required in plan.get("writes") or ():
        try:
            _write(file, value)
        except FileNotFoundError as error:
            if not os.path.exists(os.path.dirname(file)):
                raise
            if is_required:
                raise _refused(file, value, error) from error
        except OSError as error:
            if is_required:
                raise _refused(file, value, error) from error


_REMEDIES = {
    "cpu.rt_runtime_us": "the cgroups above it must have as much real-time time: set theirs first",
    "blkio.bfq.weight_device": "the device's scheduler must be bfq: see /sys/block/*/queue/scheduler",
}
"""What to do about a refusal, by the file's name."""


def _refused(file: str, value: str, error: OSError) -> errors.LaunchError:
    return _failed(f"{value!r} cannot be set in {file}", error, _REMEDIES.get(os.path.basename(file), ""))


def _failed(what: str, error: OSError, remedy: str = "") -> errors.LaunchError:
    return errors.LaunchError(
        f"cgroup: {what}: {error.strerror}" + (f"; {remedy}" if remedy else ""),
        step="cgroup",
        reason=str(error),
    )


def _attach_device_rules(directory: str, program: bytes) -> None:
    """Version 2 knows no device files: a program decides on each access (BPF_PROG_TYPE_CGROUP_DEVICE)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        loaded = syscalls.bpf_load(syscalls.BPF_PROG_TYPE_CGROUP_DEVICE, program)
        try:
            syscalls.bpf_attach(loaded, fd, syscalls.BPF_CGROUP_DEVICE)
        finally:
            os.close(loaded)
    except OSError as error:
        raise _refused(directory, "device rules", error) from error
    finally:
        os.close(fd)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        # The parent is shared by all containers, and made by the first.
        parent = os.path.dirname(path)
        if parent == path:
            raise
        _make_directory(parent)
        _make_directory(path)
    else:
        if os.path.exists(f"{path}/cpuset.cpu_exclusive"):
            _fill_cpuset(path)


def _fill_cpuset(directory: str) -> None:
    """Give a version 1 cpuset, which is empty at first and takes nobody, all that the one above it has.

    It may have been there when the plan was made, and gone since with the last container in it.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        with open(f"{os.path.dirname(directory)}/{name}") as above, open(f"{directory}/{name}", "w") as file:
            file.write(above.read())


def _write(file: str, value: str) -> None:
    fd = os.open(file, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def open_tasks(plan: Plan) -> list[tuple[str, int]]:
    """The version 1 directories, with the file open by which a process moves itself in. Raises LaunchError.

    A process of one thread that writes "0" to "tasks" takes none of the locks for which the kernel waits
    until every processor has passed by; "cgroup.procs" takes them: 10 ms against some microseconds.
    Source: kernel/cgroup/cgroup.c, cgroup_procs_write_start.
    """
    opened = []
    for file in plan.get("procs") or ():
        directory = os.path.dirname(file)
        try:
            opened.append((directory, os.open(f"{directory}/tasks", os.O_WRONLY)))
        except OSError as error:
            raise _refused(f"{directory}/tasks", "0", error) from error
    return opened


def read(plan: Plan) -> dict[str, int]:
    """The figures that can be read now; those the kernel does not have are left out."""
    figures = {}
    for name, source in (plan.get("reads") or {}).items():
        value = _figure(*((source,) if isinstance(source, str) else source))
        if value is not None:
            figures[name] = value
    return figures


def _figure(file: str, key: str | None = None, factor: int = 1) -> int | None:
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        content = os.read(fd, 16384)
    except OSError:
        return None
    finally:
        os.close(fd)
    for line in content.splitlines():
        words = line.split()
        if key is None or (words and words[0] == key.encode()):
            return int(words[-1]) * factor if words and words[-1].isdigit() else None
    return None


def is_empty(plan: Plan) -> bool:
    """Whether no process is left in the directories."""
    return not _members(plan)


def _members(plan: Plan) -> set[int]:
    pids: set[int] = set()
    for file in {f"{path}/cgroup.procs" for own in plan.get("own") or () for path in _with_children(own)}:
        try:
            fd = os.open(file, os.O_RDONLY)
        except OSError:
            continue
        try:
            while chunk := os.read(fd, 65536):
                pids.update(int(word) for word in chunk.split())
        except OSError:
            pass
        finally:
            os.close(fd)
    return pids


def _with_children(path: str) -> list[str]:
    """The directory, and those below it, where further processes of the container may be."""
    try:
        if os.stat(path).st_nlink == 2:  # of a directory: one for each directory in it, and two
            return [path]
    except OSError:
        return [path]
    return [path, *(deeper for name in _children(path) for deeper in _with_children(f"{path}/{name}"))]


def kill_all(plan: Plan, timeout_s: float = 10.0, *, reaps: bool = True) -> bool:
    """End every process in the cgroups, paused ones too; True when none is left.

    reaps: whether this process is the one that inherits them, and has no children but these.
    """
    deadline = time.monotonic() + timeout_s
    file = plan.get("kill")
    while True:
        if file:
            try:
                _write(file, "1")
            except OSError:
                file = None
        members = _members(plan)
        if not members:
            return True
        if not file:
            _kill(members)
        freezer.thaw(plan.get("freeze"))
        _wait_for(members, deadline)
        if reaps:
            _reap()
        else:
            time.sleep(_REAP_PAUSE_S)  # a zombie is listed until its parent has looked at it
        if time.monotonic() >= deadline:
            return is_empty(plan)


def _kill(pids: set[int]) -> None:
    # A process that forks faster than we read is met again in the next round.
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _wait_for(pids: set[int], deadline: float) -> None:
    """Wait until these have ended, by their pidfds."""
    poller = select.poll()
    opened = []
    for pid in list(pids)[:256]:
        try:
            opened.append(os.pidfd_open(pid))
        except OSError:
            continue
        poller.register(opened[-1], select.POLLIN)
    left = len(opened)
    while left and time.monotonic() < deadline:
        for fd, _ in poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            poller.unregister(fd)
            left -= 1
    for fd in opened:
        os.close(fd)


def _reap() -> None:
    while True:  # ours by the subreaper's right
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def remove(plan: Plan, timeout_s: float = _REMOVE_WAIT_S) -> list[str]:
    """Remove the container's own directories, with any below; those that stay busy are returned."""
    deadline = time.monotonic() + timeout_s
    own = plan.get("own") or ()
    # The first one last: whoever makes them again waits for its lock, and must not find the others half gone.
    kept = [path for path in reversed(own) if not _remove_directory(path, deadline)]
    for parent in reversed(plan.get("dirs") or ()):
        if parent not in own:
            try:
                # Others are in it most of the time; to ask is less than to have the kernel refuse.
                if os.stat(parent).st_nlink <= _EMPTY_LINKS:
                    os.rmdir(parent)
            except OSError:
                pass  # others have come meanwhile
    return kept


def remove_unused(plan: Plan) -> None:
    """Remove the own directories, unless a process is in them or somebody holds them to put one there."""
    own = plan.get("own")
    if not own:
        return
    try:
        lock = os.open(own[0], os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_empty(plan):
            remove(plan)
    except BlockingIOError:
        pass  # it is theirs
    finally:
        os.close(lock)


def _remove_directory(path: str, deadline: float) -> bool:
    pause = 0.0005
    while True:
        try:
            os.rmdir(path)
            return True
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                return False
            for name in _children(path):
                _remove_directory(f"{path}/{name}", deadline)
        # The kernel lets go of a dead process's cgroup a little after it was reaped, and tells nobody.
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _children(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
