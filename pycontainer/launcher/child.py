"""The container's first process, until it is the container's program.

It runs the plan's steps and reports the first failure on a close-on-exec pipe: one record of (step,
errno, exit code, text), then _exit. A READY byte goes before the program is executed, so that the pipe's
end means "running" after it and "killed" without it. Nothing here prints or traces.

Either it makes everything itself, in the plan's order, or its monitor has put its surroundings together, and
what is left is mostly scripts of system calls (launcher.assembly).
"""

from __future__ import annotations

import binascii
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pycontainer import errors
from pycontainer.launcher import plan
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
        steps = plan.plan(params["spec"], params, seccomp=filter_of(params, fds))
        context.env = plan.environment(params["spec"])
    except BaseException as error:  # the edge of the process: nobody above could tell
        fail(context.error, PLANNING, error)
    carry_out(context, steps)


def filter_of(params: Mapping[str, Any], fds: Mapping[str, int]) -> bytes:
    """The system call filter that came with a request, b"" without one. Raises LaunchError."""
    if "seccomp" in fds:
        # The descriptor is shared with other launches, and its offset with it.
        program = os.pread(fds["seccomp"], os.fstat(fds["seccomp"]).st_size, 0)
        if not program:
            raise errors.LaunchError("the system call filter is empty", step="seccomp", reason="empty")
        return program
    return binascii.a2b_base64(params.get("seccomp_b64") or "")


def carry_out(context: Context, steps: Sequence[plan.Step]) -> NoReturn:
    """Carry the steps out; the last one executes the program."""
    index = 0
    last = len(steps) - 1
    try:
        for index, step in enumerate(steps):
            if index == last:
                say_ready(context.error)
            step.function(context, *step.args)
    except BaseException as error:  # the edge of the process: nobody above could tell
        fail(context.error, index, error)
    os._exit(125)


def fail(fd: int, step: int, error: BaseException) -> NoReturn:
    """Report why this step failed, and end."""
    report(fd, describe(step, error))
    os._exit(125)


def report(fd: int, failure: Failure) -> None:
    """Write a failure down for the monitor, in one piece."""
    text = failure.text.encode("utf-8", "surrogateescape")[:_MAX_TEXT]
    try:
        os.write(fd, _RECORD.pack(failure.step, failure.errno, failure.exit_code) + text)
    except OSError:
        pass  # the monitor is gone, and this process ends with it


def describe(step: int, error: BaseException) -> Failure:
    """Why a step failed."""
    if isinstance(error, Refused):
        return Failure(step, 0, error.exit_code, error.message)
    if isinstance(error, OSError):
        about = os.fsdecode(error.filename) + ": " if isinstance(error.filename, str | bytes) else ""
        return Failure(step, error.errno or 0, 125, about + (error.strerror or ""))
    return Failure(step, 0, 125, f"{type(error).__name__}: {error}")


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
