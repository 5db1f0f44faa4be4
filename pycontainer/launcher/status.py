"""The one small file in which a monitor says how its container is. Replaced whole, never edited.

Before the first start there is none. Fields: state ("running", "restarting", "exited"), id, boot_id,
monitor_pid, monitor_start, pid, pid_start, started_at_ns, finished_at_ns, exit_code (128+n after signal n),
signal, oom_killed, usage, error (why it could not start), is_lost (it ran, and nobody saw its end),
log_lost_bytes, freeze (the file that pauses it; whether it is paused is told by the kernel alone).
Then restart (the name of its policy), restart_count, is_halted (somebody has stopped it), health.
Start times are clock ticks since boot: with boot_id and pid they tell whether the
process named here is still that one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from typing import Any

from pycontainer.kernel import pidfd, syscalls

NAME = "status.json"
LIVE = ("running", "restarting")
"""States in which a monitor is at work."""

LOCK = ".monitor"
"""Beside it, the file on which a monitor holds a lock from before it makes anything until it ends."""

COMMITTING = ".committing"
"""Beside it while a commit has frozen the container, locked by the commit's process."""

_NEW = ".status.json.new"
_SPARE = ".status.json.spare"
_ROOM = 4096
_ATTEMPTS = 5
_encode = json.JSONEncoder(separators=(",", ":")).encode

# Read once, when the helper starts: every monitor is forked from it.
with open("/proc/sys/kernel/random/boot_id") as _file:
    BOOT_ID = _file.read().strip()


def reserve(directory_fd: int, name: str = _NEW) -> None:
    """Take room for the next status, so that the end of a container that filled the disk can be told."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=directory_fd)
        try:
            os.posix_fallocate(fd, 0, _ROOM)
        finally:
            os.close(fd)
    except OSError:
        pass  # the disk is full by now; some may be free again in the end


def reserve_exchange(directory_fd: int) -> None:
    """Take room for the first `exchange` of a container, which has no old file to write the next one over."""
    try:
        os.stat(NAME, dir_fd=directory_fd)
    except FileNotFoundError:
        reserve(directory_fd, _SPARE)


def prepare(directory_fd: int, fields: Mapping[str, Any]) -> None:
    """Write the fields beside the file, to be shown by replace."""
    content = _encode(fields).encode("ascii")
    fd = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=directory_fd)
    try:
        # Over what is reserved, and only then cut to its length.
        os.write(fd, content)
        os.ftruncate(fd, len(content))
    finally:
        os.close(fd)


def replace(directory_fd: int) -> None:
    """Show what was prepared: readers see the old file or the new one."""
    os.rename(_NEW, NAME, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)


def exchange(directory_fd: int) -> None:
    """Show what was prepared, and keep the old file to write the next one over.

    So a container that fills the disk over and over leaves no moment in which there is no room to tell how it
    is. The old file is written over while somebody may still read it: `read` reads again then.
    """
    try:
        syscalls.renameat2(directory_fd, _NEW, directory_fd, NAME, syscalls.RENAME_EXCHANGE)
    except FileNotFoundError:
        replace(directory_fd)
        try:
            os.rename(_SPARE, _NEW, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except FileNotFoundError:
            pass
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
        replace(directory_fd)


def read(directory: str | int) -> dict[str, Any] | None:
    """The fields last written below the directory (a path, or a descriptor), None before the first.

    A container whose record is of an earlier boot is not running, whatever its state says.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _read(directory)
        except json.JSONDecodeError:
            continue  # it was written over while we read
    return _read(directory)


def _read(directory: str | int) -> dict[str, Any] | None:
    opener = {"dir_fd": directory} if isinstance(directory, int) else {}
    path = NAME if isinstance(directory, int) else os.path.join(directory, NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW, **opener)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        fields: dict[str, Any] = json.loads(file.read())
    return fields


def is_running(directory: str | int) -> bool:
    """Whether the container runs, or will again, by its status and its monitor's life together."""
    fields = read(directory)
    if fields is None or fields["state"] not in LIVE or fields["boot_id"] != BOOT_ID:
        return False
    monitor = pidfd.open_checked(fields["monitor_pid"], fields["monitor_start"])
    if monitor is not None:
        os.close(monitor)
    return monitor is not None
