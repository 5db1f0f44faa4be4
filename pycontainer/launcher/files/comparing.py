"""What a container changed: its upper directory held against the layers below it.

The upper directory says what is there, a device 0:0 in it what is not; whether that was added or changed
tell the layers, looked through from the top as overlayfs does, past whiteouts and opaque directories.
Source: kernel Documentation/filesystems/overlayfs.rst; moby, pkg/archive/changes.go.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from pycontainer.errors import InvalidInput
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.entering import DIRECTORY, Cell
from pycontainer.launcher.files.marks import is_opaque, is_whiteout
from pycontainer.launcher.files.protocol import Report

__all__ = ["compare"]

_BATCH = 2000
_MAX_DEPTH = 300


def compare(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Report every change as {"changes": [[kind, path], …]}, kinds "A", "C" and "D", in no order.

    params: upper, and lower directories, top first; without lower ones fds[0] is the directory below.
    """
    upper = os.open(os.fsencode(params["upper"]), DIRECTORY)
    lower = [os.open(os.fsencode(path), DIRECTORY) for path in params["lower"]] or [fds[0]]
    # Overlayfs's marks can only be read with its capability.
    Cell().lock([], [upper, *lower], keep=("SYS_ADMIN",))
    comparer = _Comparer(report)
    comparer.run(upper, lower)
    return {}


class _Comparer:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._batch: list[list[str]] = []

    def run(self, upper: int, lower: list[int]) -> None:
        """Compare all below these."""
        self._directory(os.dup(upper), [os.dup(fd) for fd in lower], b"")
        self._flush()

    def _tell(self, kind: str, path: bytes) -> None:
        self._batch.append([kind, os.fsdecode(path)])
        if len(self._batch) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._report({"changes": self._batch})
            self._batch = []

    def _directory(self, upper: int, lower: list[int], path: bytes, *, is_pure: bool = False) -> bool:
        """Compare what is in a directory, and close it; whether anything has changed there or below.

        is_pure: whether a directory above hides the layers below, and so all they have in this one.
        """
        has_changed = False
        try:
            is_pure = is_pure or is_opaque(upper)
            for base in inside.listing(upper):
                try:
                    fd = inside.pinned(upper, base)
                except FileNotFoundError:
                    continue
                try:
                    has_changed |= self._entry(fd, base, lower, path + b"/" + base, is_pure=is_pure)
                finally:
                    os.close(fd)
            if lower and is_pure:
                has_changed |= self._removed_at_once(upper, lower, path)
        finally:
            for opened in (upper, *lower):
                os.close(opened)
        return has_changed

    def _removed_at_once(self, upper: int, lower: list[int], path: bytes) -> bool:
        """Report what an opaque directory hides of the layers below."""
        kept = set(inside.listing(upper))
        hidden = {base for fd in lower for base in inside.listing(fd)} - kept
        has_removed = False
        for base in sorted(hidden):
            before = _beneath(lower, base)
            if before is not None:
                _close(before[1])
                self._tell("D", path + b"/" + base)
                has_removed = True
        return has_removed

    def _entry(self, fd: int, base: bytes, lower: list[int], path: bytes, *, is_pure: bool) -> bool:
        """Report one entry, and all below it; whether there was anything to report.

        As with Docker, a directory has changed when something in it has.
        """
        found = os.fstat(fd)
        before = _beneath(lower, base)
        if is_whiteout(fd, found):
            if before is None:
                return False
            _close(before[1])
            self._tell("D", path)
            return True
        if not stat.S_ISDIR(found.st_mode):
            if before is not None:
                _close(before[1])
            self._tell("A" if before is None else "C", path)
            return True
        below = [] if before is None else before[1]
        if path.count(b"/") > _MAX_DEPTH:
            raise InvalidInput(f"{os.fsdecode(path[:128])}…: more than {_MAX_DEPTH} directories deep")
        has_changed = self._directory(os.dup(fd), below, path, is_pure=is_pure)
        if before is None:
            self._tell("A", path)
        elif has_changed or _differ(found, before[0]):
            self._tell("C", path)
        else:
            return False
        return True


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _differ(one: os.stat_result, other: os.stat_result) -> bool:
    fields = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    return any(getattr(one, field) != getattr(other, field) for field in fields)


def _beneath(lower: list[int], base: bytes) -> tuple[os.stat_result, list[int]] | None:
    """What the layers show under this name, and the directories of that name that are merged there."""
    first: os.stat_result | None = None
    merged: list[int] = []
    for directory in lower:
        try:
            fd = inside.pinned(directory, base)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found = os.fstat(fd)
        is_directory = stat.S_ISDIR(found.st_mode)
        if is_whiteout(fd, found) or (first is not None and not is_directory):
            os.close(fd)
            break
        first = first or found
        if not is_directory:
            os.close(fd)
            break
        merged.append(fd)
        if is_opaque(fd):
            break
    return None if first is None else (first, merged)
