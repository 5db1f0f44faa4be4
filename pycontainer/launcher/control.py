"""Asking the monitor of a running container: the client of `launcher.monitor.control`."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from pycontainer import errors
from pycontainer.kernel import inotify, pidfd
from pycontainer.launcher import status
from pycontainer.launcher.protocol import Channel, rebuild_error

__all__ = ["ask", "connect", "is_stopped"]

NAME = "control"
TIMEOUT_S = 10.0
_TIMEVAL = struct.Struct("ll")


def ask(
    directory: str | int,
    message: dict[str, Any],
    fds: Sequence[int] = (),
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Ask the monitor of the container with this directory (a path, or a descriptor); its answer.

    message: "op" names what is asked for. fds: sent along; the caller keeps its own.
    Raises: WrongState when the container has no monitor; DeadlineExceeded; what the operation raises.
    """
    deadline = time.monotonic() + timeout_s
    channel = connect(directory, timeout_s)
    try:
        channel.send(message, fds)
        answer = channel.receive(max(0.0, deadline - time.monotonic()))
    except errors.DeadlineExceeded:
        raise _unanswered(directory, timeout_s) from None
    except OSError:
        answer = None
    finally:
        channel.close()
    if answer is None:
        raise _has_none()
    if "error" in answer:
        raise rebuild_error(answer["error"], str(message.get("op")))
    return answer


def connect(directory: str | int, timeout_s: float = TIMEOUT_S) -> Channel:
    """A connection to the monitor, which the caller closes; waits for a container that has just started.

    Raises: WrongState when the container has no monitor; DeadlineExceeded when that does not listen.
    """
    if isinstance(directory, int):
        return _connect(directory, time.monotonic() + timeout_s, timeout_s)
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _connect(held, time.monotonic() + timeout_s, timeout_s)
    finally:
        os.close(held)


def _connect(directory: int, deadline: float, timeout_s: float) -> Channel:
    found = _try(directory, timeout_s)
    if found is not None:
        return found
    monitor = _monitor(directory)
    if monitor is None:
        raise _has_none()
    poller = select.poll()
    try:
        # The watch comes before the next look: what appears between the two is seen.
        with inotify.Watch(b"/proc/self/fd/%d" % directory) as watch:
            poller.register(watch, select.POLLIN)
            poller.register(monitor, select.POLLIN)
            while (found := _try(directory, timeout_s)) is None:
                if pidfd.has_ended(monitor):
                    raise _has_none()
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not poller.poll(left_s * 1000):
                    raise _unanswered(directory, timeout_s)
                watch.drain()
            return found
    finally:
        os.close(monitor)


def _try(directory: int, timeout_s: float) -> Channel | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A monitor that is stopped lets the queue of its socket fill up: connect(2) then waits for this long.
    seconds, fraction = divmod(timeout_s, 1)
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(seconds), int(fraction * 1e6))
    )
    try:
        # By way of the descriptor: a path of sockets has 107 bytes at most (unix(7)).
        connection.connect(f"/proc/self/fd/{directory}/{NAME}")
        return Channel(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BlockingIOError:
        connection.close()
        raise _unanswered(directory, timeout_s) from None
    except BaseException:
        connection.close()
        raise


def _monitor(directory: int) -> int | None:
    fields = status.read(directory)
    if fields is None or fields.get("boot_id") != status.BOOT_ID or "monitor_pid" not in fields:
        return None
    return pidfd.open_checked(fields["monitor_pid"], fields["monitor_start"])


def _has_none() -> errors.WrongState:
    return errors.WrongState(
        "the container has no monitor to ask: it does not run",
        verb="ask",
        state="exited",
        allowed=("running",),
    )


def _unanswered(directory: str | int, timeout_s: float) -> errors.DeadlineExceeded:
    fields = status.read(directory) or {}
    pid = fields.get("monitor_pid", 0)
    remedy = f"; it is stopped: continue it with kill -CONT {pid}" if is_stopped(directory) else ""
    return errors.DeadlineExceeded(
        f"the container's monitor (process {pid}) did not answer within {timeout_s:g} s{remedy}",
        timeout_s=timeout_s,
    )


def is_stopped(directory: str | int) -> bool:
    """Whether the container has a monitor, and somebody has stopped that (SIGSTOP) or traces it."""
    fields = status.read(directory)
    if fields is None or fields.get("boot_id") != status.BOOT_ID or "monitor_pid" not in fields:
        return False
    try:
        with open(f"/proc/{fields['monitor_pid']}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(words[19]) == fields["monitor_start"] and words[0] in (b"T", b"t")
