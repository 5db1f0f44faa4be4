"""The container's first process, until it is the container's program.

It runs the plan's steps and reports the first failure on a close-on-exec pipe: one record of (step,
errno, exit code, text), then _exit. A READY byte goes before the program is executed, so that the pipe's
end means "running" after it and "killed" without it. Nothing here prints or traces.

Either it is cloned for a request and makes everything in the plan's order, or it was cloned ahead of it
and has staged what does not depend on it: then it waits in the container's own namespaces, from which
nothing of the host's files can be reached.
"""

from __future__ import annotations

import binascii
import json
import os
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pycontainer import errors
from pycontainer.launcher import plan
from pycontainer.launcher.protocol import Channel
from pycontainer.launcher.steps import mounts, process, rootfs
from pycontainer.launcher.steps.context import Context, Refused

READY = b"\xff"  # of no step's number
PLANNING = 0xFFFE
"""Instead of a step: the specification could not be planned, which planning again will explain."""

_RECORD = struct.Struct("<HHB")
_MAX_TEXT = 3000  # a pipe takes 4096 bytes in one piece (pipe(7), PIPE_BUF)


class Failure(NamedTuple):
    """Which step failed, and why."""

    step: int
    errno: int
    exit_code: int
    text: str


def run(params: Mapping[str, Any], fds: Mapping[str, int], context: Context) -> NoReturn:
    """Plan the steps and carry them out; the last one executes the program."""
    try:
        steps, context.env = _plan(params, fds)
    except BaseException as error:  # the edge of the process: nobody above could tell
        fail(context.error, PLANNING, error)
    _carry_out(context, steps, ())


def wait(channel: Channel, monitor: int, like: Mapping[str, Any]) -> NoReturn:
    """Stage what the last container was like, then be the process of the request that comes on the channel.

    like: kinds of namespaces, and the shape of its kernel file systems. The channel brings the request as
    the monitor got it, then the descriptors with their names. Whether the container is like the last is
    the monitor's to find out, which else ends this process.
    """
    try:
        context = Context(monitor=monitor, go=-1, error=-1, fds={})
        staged = plan.staged(like["kinds"], like["shape"])
        for step in staged:
            step.function(context, *step.args)
        rootfs.pivot(context)
        channel.send({"event": "ready"})
        params, fds = _await(channel)
        steps: tuple[plan.Step, ...] = ()
        failure: Exception | None = None
        try:
            given = {name: fds[index] for name, index in (params["params"].get("fd_names") or {}).items()}
            steps, context.env = _plan(params["params"], given)
        except Exception as error:  # reported as soon as there is somewhere to report it
            failure = error
        for fd in fds:
            os.close(fd)
        late, fds = _await(channel)
        _take(context, late["fds"], fds)
        channel.close()
    except BaseException:  # the edge of the process: without the report pipe only its end can tell
        os._exit(125)
    if failure is not None:
        fail(context.error, PLANNING, failure)
    _carry_out(context, steps, staged)


def _await(channel: Channel) -> tuple[dict[str, Any], list[int]]:
    while (body := channel.take_body()) is None:
        if not channel.fill():
            os._exit(0)
    return json.loads(body), channel.take_fds()


def _take(context: Context, names: Sequence[str], fds: Sequence[int]) -> None:
    """Take descriptors by name: "error", "tree", "tasks:DIRECTORY", "view:CONTROLLERS", or as in fds."""
    trees, tasks, others = [], [], {}
    for name, fd in zip(names, fds, strict=True):
        kind, _, about = name.partition(":")
        if kind == "error":
            context.error = fd
        elif kind == "tree":
            trees.append(fd)
        elif kind == "tasks":
            tasks.append((about, fd))
        elif kind == "view":
            context.views[about.encode()] = fd
        else:
            others[name] = fd
    context.fds, context.trees, context.cgroups = others, trees, tasks


def _plan(
    params: Mapping[str, Any], fds: Mapping[str, int]
) -> tuple[tuple[plan.Step, ...], dict[bytes, bytes]]:
    steps = plan.plan(params["spec"], params, seccomp=filter_of(params, fds))
    return steps, plan.environment(params["spec"])


def filter_of(params: Mapping[str, Any], fds: Mapping[str, int]) -> bytes:
    """The system call filter that came with a request, b"" without one. Raises LaunchError."""
    if "seccomp" in fds:
        # The descriptor is shared with other launches, and its offset with it.
        program = os.pread(fds["seccomp"], os.fstat(fds["seccomp"]).st_size, 0)
        if not program:
            raise errors.LaunchError("the system call filter is empty", step="seccomp", reason="empty")
        return program
    return binascii.a2b_base64(params.get("seccomp_b64") or "")


def _carry_out(context: Context, steps: Sequence[plan.Step], staged: Collection[plan.Step]) -> NoReturn:
    index = 0
    last = len(steps) - 1
    try:
        if staged:
            process.take_streams(context)
        for index, step in enumerate(steps):
            if index == last:
                say_ready(context.error)
            if step not in staged:
                step.function(context, *step.args)
            elif step.function is mounts.mount_filesystem:
                mounts.move_staged(context, step.args[1])
    except BaseException as error:  # the edge of the process: nobody above could tell
        fail(context.error, index, error)
    os._exit(125)


def fail(fd: int, step: int, error: BaseException) -> NoReturn:
    """Report why this step failed, and end."""
    if isinstance(error, Refused):
        _report(fd, step, 0, error.exit_code, error.message)
    elif isinstance(error, OSError):
        about = os.fsdecode(error.filename) + ": " if isinstance(error.filename, str | bytes) else ""
        _report(fd, step, error.errno or 0, 125, about + (error.strerror or ""))
    else:
        _report(fd, step, 0, 125, f"{type(error).__name__}: {error}")
    os._exit(125)


def _report(fd: int, step: int, errno: int, exit_code: int, text: str) -> None:
    try:
        os.write(
            fd, _RECORD.pack(step, errno, exit_code) + text.encode("utf-8", "surrogateescape")[:_MAX_TEXT]
        )
    except OSError:
        pass  # the monitor is gone, and this process ends with it


def say_ready(fd: int) -> None:
    """Tell that only the program's execution is left."""
    os.write(fd, READY)


def parse(said: bytes) -> tuple[bool, Failure | None]:
    """Whether the program was about to be executed, and the failure that was reported."""
    is_ready = said.startswith(READY)
    if is_ready:
        said = said[len(READY) :]
    if len(said) < _RECORD.size:
        return is_ready, None
    step, number, exit_code = _RECORD.unpack_from(said)
    return is_ready, Failure(step, number, exit_code, said[_RECORD.size :].decode("utf-8", "replace"))
