"""What is known of the further processes of a container: one small file each, below its directory.

A record is lines of JSON objects, appended as things happen; the later line wins. Its process's parent
holds a lock on it as long as it lives: a record without exit_code that nobody holds is of an exec whose
parent was killed. Fields: id, args, user, tty, is_detached, cgroup (of the container, for `proctree`),
created_at_ns; pid, pid_start, started_at_ns; exit_code, finished_at_ns, is_lost.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from typing import Any

from pycontainer.launcher.proctree import Tree

__all__ = ["DIRECTORY", "Writer", "read", "read_all", "sweep"]

DIRECTORY = "execs"
_KEPT = 64
"""Finished detached execs of a container whose records stay."""
_KILLED = 137
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Writer:
    """The record of one exec, held by its parent. container_dir: descriptor of the container's directory."""

    def __init__(self, container_dir: int, exec_id: str) -> None:
        self._container = container_dir
        self._path = f"{DIRECTORY}/{exec_id}"
        self._fd = -1

    def begin(self, fields: Mapping[str, Any]) -> None:
        """Make the record and hold it. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags, 0o600, dir_fd=self._container)
        except FileNotFoundError:
            try:
                os.mkdir(DIRECTORY, 0o700, dir_fd=self._container)
            except FileExistsError:
                pass
            fd = os.open(self._path, flags, 0o600, dir_fd=self._container)
        fcntl.flock(fd, fcntl.LOCK_EX)  # readers hold it for a moment only
        self._fd = fd
        self._append(fields)

    def add(self, fields: Mapping[str, Any]) -> None:
        """Write more down, as far as that can be done."""
        if self._fd >= 0:
            try:
                self._append(fields)
            except OSError:
                pass  # the disk is full

    def _append(self, fields: Mapping[str, Any]) -> None:
        os.write(self._fd, _encode(fields).encode("ascii") + b"\n")

    def remove(self) -> None:
        """Nobody will ask for it; or the process never ran."""
        if self._fd >= 0:
            try:
                os.unlink(self._path, dir_fd=self._container)
            except OSError:
                pass  # the container was removed


def read(container_dir: str | int, exec_id: str) -> dict[str, Any] | None:
    """The fields of a record, with "is_running"; None when there is none. The id must be one, and no path."""
    opener = {"dir_fd": container_dir} if isinstance(container_dir, int) else {}
    base = "" if isinstance(container_dir, int) else f"{container_dir}/"
    try:
        fd = os.open(f"{base}{DIRECTORY}/{exec_id}", os.O_RDONLY | os.O_NOFOLLOW, **opener)
    except FileNotFoundError:
        return None
    try:
        # The lock first: what its holder wrote last is there once it is free.
        is_held = _is_held(fd)
        fields = _parse(os.pread(fd, 1 << 20, 0))
    finally:
        os.close(fd)
    if fields is None:
        return None
    fields["is_running"] = is_held and "exit_code" not in fields
    if not is_held and "exit_code" not in fields:
        fields.update(exit_code=_KILLED, is_lost=True)
    return fields


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _parse(content: bytes) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    # A line without an end is one that its writer did not finish.
    for line in content.split(b"\n")[:-1]:
        try:
            fields.update(json.loads(line))
        except ValueError:
            continue  # cut off on a full disk
    return fields if "id" in fields else None


def read_all(container_dir: str | int) -> list[dict[str, Any]]:
    """Every record of the container, the oldest first."""
    found = [read(container_dir, name) for name in _names(container_dir)]
    return sorted((fields for fields in found if fields is not None), key=lambda f: f["created_at_ns"])


def _names(container_dir: str | int) -> list[str]:
    try:
        if not isinstance(container_dir, int):
            return os.listdir(f"{container_dir}/{DIRECTORY}")
        fd = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY, dir_fd=container_dir)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def sweep(container_dir: str | int) -> int:
    """Kill what execs left behind whose parent was killed, and forget them; how many those were.

    The records of detached ones stay, the newest of them.
    """
    records = read_all(container_dir)
    lost = [fields for fields in records if fields.get("is_lost")]
    for fields in lost:
        tree = Tree(fields["cgroup"], fields["id"])
        tree.kill()
        tree.release()
        if not fields["is_detached"]:
            _unlink(container_dir, fields["id"])
    finished = [fields for fields in records if fields["is_detached"] and not fields["is_running"]]
    for fields in finished[:-_KEPT]:
        _unlink(container_dir, fields["id"])
    return len(lost)


def _unlink(container_dir: str | int, exec_id: str) -> None:
    try:
        if isinstance(container_dir, int):
            os.unlink(f"{DIRECTORY}/{exec_id}", dir_fd=container_dir)
        else:
            os.unlink(f"{container_dir}/{DIRECTORY}/{exec_id}")
    except FileNotFoundError:
        pass
