"""A container's changes as a layer, while the container stands still.

The job is two processes: one reads, and its parent, which opens nothing of the container, sees to it that the
container goes on whatever becomes of the reader or the caller. While it is frozen, a locked file in its
directory says so: found without its lock, whoever finds it lets the container go on (`engine.thawing`).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
from typing import Any

from pycontainer.checkpoints import reached
from pycontainer.errors import Conflict, HelperDied
from pycontainer.kernel import syscalls
from pycontainer.launcher import freezer, status
from pycontainer.launcher.protocol import Channel, describe_error, rebuild_error
from pycontainer.layers import JOBS

__all__ = ["KILL_POINTS", "commit_layer"]

_MARK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

KILL_POINTS = (
    "commit.container.frozen",  # the container stands still, and a file says why
    "commit.layer.read",  # all of the layer is out, the container still stands
    "commit.container.thawed",
)


def commit_layer(params: dict[str, Any], fds: list[int], channel: Channel) -> None:
    """Write the upper directory as a layer's tar to fds[0].

    params: container_dir, freeze (see launcher.freezer; None not to), freeze_timeout_s, is_live (files may
    change meanwhile). Answers with the result of the diff job, or an error.
    """
    syscalls.set_name(b"pycontainer-com")
    try:
        answer: dict[str, Any] = {"result": _commit(params, fds, channel)}
    except BaseException as error:  # the edge of the process: whatever happened is the caller's to see
        answer = {"error": describe_error(error, "commit_layer")}
    try:
        channel.send(answer)
    except OSError:
        pass  # the caller has gone


def _commit(params: dict[str, Any], fds: list[int], channel: Channel) -> dict[str, Any]:
    directory = os.open(os.fsencode(params["container_dir"]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    target = params["freeze"]
    if target is None:
        return _read(directory, params, fds[0], channel)
    mark = os.open(
        status.COMMITTING, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
    )
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict("the container is being committed by another process; wait for that") from None
    try:
        freezer.freeze(target, params["freeze_timeout_s"])
        reached("commit.container.frozen")
        result = _read(directory, params, fds[0], channel)
        reached("commit.layer.read")
        return result
    finally:
        freezer.thaw(target)
        os.unlink(status.COMMITTING, dir_fd=directory)
        reached("commit.container.thawed")


def _read(directory: int, params: dict[str, Any], output: int, channel: Channel) -> dict[str, Any]:
    """Have another process read, and wait for it or for the caller's end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        ours.close()
        _be_reader(parent, directory, params, output, Channel(theirs))
    theirs.close()
    os.close(output)  # the caller sees the end when the reader has ended
    reader = Channel(ours)
    try:
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        poller.register(channel, select.POLLIN)
        ready = {fd for fd, _ in poller.poll()}
        message = reader.receive() if reader.fileno() in ready else None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reader.close()
    if message is None:
        raise HelperDied("the process that reads the container's changes was killed", job="commit_layer")
    if "error" in message:
        raise rebuild_error(message["error"], "commit_layer")
    result: dict[str, Any] = message["result"]
    return result


def _be_reader(parent: int, directory: int, params: dict[str, Any], output: int, channel: Channel) -> None:
    """Read the layer and tell; never returns."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        upper = os.open(
            "upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
        )
        try:
            answer: dict[str, Any] = {
                "result": JOBS["diff"]({"is_live": params["is_live"]}, [upper, output], channel.send)
            }
        except BaseException as error:  # told to the parent, which tells the caller
            answer = {"error": describe_error(error, "commit_layer")}
        channel.send(answer)
    finally:
        os._exit(0)
