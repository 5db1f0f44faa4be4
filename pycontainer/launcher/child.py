"""The container's first process, until it is the container's program.

It runs the plan's steps and reports the first failure on a close-on-exec pipe: one record of (step,
errno, exit code, text), then _exit. A READY byte goes before the program is executed, so that the pipe's
end means "running" after it and "killed" without it; with it goes what the next launch can make ahead.
Nothing here prints or traces.
"""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple, NoReturn

from pycontainer.launcher import plan
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.steps import mounts
from pycontainer.launcher.steps.context import Context, Refused

READY = b"\xff"  # of no step's number
PLANNING = 0xFFFE
"""Instead of a step: the specification could not be planned, which planning again will explain."""

_RECORD = struct.Struct("<HHB")
_LENGTH = struct.Struct("<I")
_MAX_TEXT = 3000  # a pipe takes 4096 bytes in one piece (pipe(7), PIPE_BUF)


class Failure(NamedTuple):
    """Which step failed, and why."""

    step: int
    errno: int
    exit_code: int
    text: str


def run(params: dict[str, Any], seccomp: bytes, context: Context, ahead: Ahead) -> NoReturn:
    """Plan the steps and carry them out; the last one executes the program."""
    index = PLANNING
    try:
        steps = plan.plan(params["spec"], params, seccomp=seccomp)
        context.env = plan.environment(params["spec"])
        described = ahead.describe(steps)
        ready = READY + _LENGTH.pack(len(described)) + described
        context.masks = ahead.masks
        made = ahead.made(steps)
        for index, step in enumerate(steps):
            if index == len(steps) - 1:
                os.write(context.error, ready)
            if step not in made:
                step.function(context, *step.args)
            elif made[step] >= 0:
                fstype, path, _options, _attributes, propagation = step.args
                mounts.attach_filesystem(context, made[step], fstype, path, propagation)
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


def say_ready(fd: int, described: bytes = b"") -> None:
    """Tell that only the program's execution is left, and what the next launch can make ahead."""
    os.write(fd, READY + _LENGTH.pack(len(described)) + described)


def parse(said: bytes) -> tuple[bytes | None, Failure | None]:
    """What can be made ahead next time if the program was about to be executed, and the reported failure."""
    described = None
    if said.startswith(READY):
        end = 1 + _LENGTH.size + _LENGTH.unpack_from(said, 1)[0]
        described, said = said[1 + _LENGTH.size : end], said[end:]
    if len(said) < _RECORD.size:
        return described, None
    step, number, exit_code = _RECORD.unpack_from(said)
    return described, Failure(step, number, exit_code, said[_RECORD.size :].decode("utf-8", "replace"))
