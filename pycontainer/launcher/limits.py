"""Changing the limits of a container that runs: all of them, or none.

Theory of operation. The engine decides what is written where (`runtime.cgroups.changes`); the monitor does
it, since it removes in the end what is made here. Each file is read before it is written, and when the
kernel refuses one, those before it get back what they held, the last first: every state on the way back is
one that the kernel has accepted on the way there.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pycontainer import errors
from pycontainer.checkpoints import reached

__all__ = ["change"]

Plan = Mapping[str, Any]

_MOVE_S = 5.0
_HINTS = {
    errno.EBUSY: "the container uses more than that now",
    errno.EINVAL: "the kernel refuses the value",
    errno.ENOENT: "this kernel has no such limit",
    errno.ERANGE: "the value is out of the kernel's range",
    errno.EACCES: "this needs root, or a delegated cgroup",
    errno.EPERM: "this needs root, or a delegated cgroup",
}


def change(current: Plan, wanted: Plan) -> None:
    """Make the directories of a running container's cgroups, write the limits, move its processes in.

    current: the plan its cgroups were made by. wanted: dirs, own and procs as in a plan, and writes as
    [file, text, is_required]. Raises KernelError naming the file; then nothing has changed.
    """
    made = [directory for directory in wanted.get("dirs") or () if _make(directory)]
    undone: list[tuple[str, str]] = []
    try:
        _write_all(wanted.get("writes") or (), undone)
        reached("update.limits.written")
        new = [file for file in wanted.get("procs") or () if os.path.dirname(file) in made]
        for file in new:
            _move(current, file)
    except BaseException as error:
        _undo(current, undone, made, error)
        raise


def _write_all(writes: Iterable[tuple[str, str, bool]], undone: list[tuple[str, str]]) -> None:
    """Write the limits, and note in `undone` what brings back what they were. Raises KernelError.

    Some hold each other, as a period its quota and those of the cgroups around: what the kernel refuses as it
    is now is tried again when others are written.
    """
    left = list(writes)
    while left:
        refused: list[tuple[tuple[str, str, bool], OSError]] = []
        for write in left:
            file, text, is_required = write
            before = _before(file, text)
            try:
                _write(file, text)
            except OSError as problem:
                if is_required and problem.errno != errno.EINVAL:
                    raise _refused(problem, file, text) from None
                refused.append((write, problem))
                continue
            if before is not None:
                undone.append((file, before))
        if len(refused) == len(left):
            for (file, text, is_required), why in refused:
                if is_required:
                    raise _refused(why, file, text) from None
            return
        left = [write for write, _ in refused]


def _make(directory: str) -> bool:
    try:
        os.makedirs(directory, mode=0o755)
    except FileExistsError:
        return False
    except OSError as problem:
        raise errors.KernelError(problem.errno or errno.EIO, "mkdir", directory) from None
    return True


def _undo(current: Plan, undone: list[tuple[str, str]], made: list[str], error: BaseException) -> None:
    for file, text in reversed(undone):
        try:
            _write(file, text)
        except OSError as problem:
            error.add_note(f"and {file} could not be set back to {text!r}: {problem.strerror}")
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # processes are in it by now, which it does not limit


def _refused(problem: OSError, file: str, text: str) -> errors.KernelError:
    code = problem.errno or errno.EIO
    hint = _HINTS.get(code)
    return errors.KernelError(
        code, "write", file, f"writing {text!r}: {hint}" if hint else f"writing {text!r}"
    )


def _before(file: str, text: str) -> str | None:
    """What writing into the file brings back what it says now; None when nothing needs to."""
    name = os.path.basename(file)
    try:
        content = _read(file)
    except OSError:
        return None
    lines = content.splitlines()
    if name == "cgroup.subtree_control":
        return None  # a controller that nobody limits changes nothing
    if name == "memory.oom_control":
        return lines[0].split()[-1] if lines else None
    device = text.split()[0]
    if ":" not in device:
        return lines[0] if lines else "\n"
    found = next((line for line in lines if line.split()[:1] == [device]), None)
    if found is not None:
        return found
    unlimited = "rbps=max wbps=max riops=max wiops=max" if name == "io.max" else "0"
    return f"{device} {unlimited}"


def _move(current: Plan, file: str) -> None:
    """Move all processes of the container into the cgroup of this file; none that they fork escapes."""
    deadline = time.monotonic() + _MOVE_S
    where = os.path.dirname(file)
    while True:
        left = _members(_known_directories(current)) - _members([where])
        if not left:
            return
        for pid in left:
            try:
                _write(file, str(pid))
            except ProcessLookupError:
                pass
            except OSError as problem:
                if not os.path.exists(f"/proc/{pid}") or _is_zombie(pid):
                    continue
                raise _refused(problem, file, str(pid)) from None
        if all(_is_zombie(pid) for pid in left):
            return
        if time.monotonic() > deadline:
            raise errors.DeadlineExceeded(
                f"the container's processes multiply faster than they can be moved to {where}",
                timeout_s=_MOVE_S,
            )


def _known_directories(current: Plan) -> list[str]:
    leaf = current.get("clone_into") or ""
    own = current.get("own") or ()
    return [leaf] if leaf else list(own[:1])


def _members(directories: Iterable[str]) -> set[int]:
    """The processes in the cgroups and in those nested in them."""
    found: set[int] = set()
    for top in directories:
        for directory, _, _ in os.walk(top):
            try:
                found.update(int(word) for word in _read(f"{directory}/cgroup.procs").split())
            except OSError:
                continue  # removed while we looked
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def _write(file: str, text: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(file: str) -> str:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while chunk := os.read(fd, 65536):
            content += chunk
        return content.decode(errors="replace")
    finally:
        os.close(fd)
