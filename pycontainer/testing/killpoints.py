"""Kill points: end a program at a named step, then look at what the next program finds.

The engine marks its steps with `checkpoints.reached("pull.blob.committed")`. `names` lists the marks in
the source, so a test can cover each of them without a list to keep; `run_killed` runs a script in which
one of them is armed. The arming travels with every job to the helper, its children and the monitors.
"""

from __future__ import annotations

import ast
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["Outcome", "names", "run_killed"]

_PACKAGE = Path(__file__).resolve().parent.parent
_PREAMBLE = """\
import os, sys
sys.path.insert(0, {root!r})
from pycontainer import checkpoints
names = {{"__name__": "__main__"}}
exec(compile({setup!r}, "<setup>", "exec"), names)
checkpoints.arm({point!r}, {witness}, eval({victim!r}, names | {{"os": os}}))
exec(compile({script!r}, "<killed at {point}>", "exec"), names)
"""
_VICTIMS = {"reacher": "0", "caller": "os.getpid()", "helper": "engine.helper.pid"}


class Outcome(NamedTuple):
    """How the script ended. exit_code is negative for a signal, as in subprocess.

    was_reached: whether any process came to the armed step.
    """

    exit_code: int
    stdout: str
    stderr: str
    was_reached: bool

    @property
    def was_killed(self) -> bool:
        """Whether the script's own process was the one that was killed."""
        return self.exit_code == -signal.SIGKILL


def names(verb: str = "", *, within: str = "") -> list[str]:
    """Every step marked in the package's source whose name begins with the verb, sorted.

    within: only those of this file or directory of the package.
    """
    top = _PACKAGE / within
    found = {name for name, path in _marks() if path.is_relative_to(top)}
    return sorted(name for name in found if name == verb or name.startswith(f"{verb}." if verb else ""))


@functools.cache
def _marks() -> tuple[tuple[str, Path], ...]:
    """Every mark in the source, and its file."""
    found = []
    for path in _PACKAGE.rglob("*.py"):
        text = path.read_text()
        # Reading is cheap, parsing the whole package is not.
        for node in ast.walk(ast.parse(text, str(path))) if "reached(" in text else ():
            if isinstance(node, ast.Call) and _called(node) == "reached" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.append((first.value, path))
    return tuple(found)


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def run_killed(
    script: str,
    point: str,
    *,
    victim: Literal["reacher", "caller", "helper"] = "reacher",
    setup: str = "",
    timeout_s: float = 60.0,
    settle_s: float = 0.0,
    env: dict[str, str] | None = None,
) -> Outcome:
    """Run Python source in a new process with one kill point armed, and wait for its end.

    victim: "reacher" kills whichever process reaches the step (the script, the helper's job, the
    monitor); "caller" kills the script's own process when any of them reaches it, "helper" the started
    helper of what `setup` called `engine`.
    setup: source that runs in the same process before the step is armed.
    settle_s: how long a process that outlives the script (a monitor) may take to come to the step.
    Processes the script leaves behind (a detached container's monitor) are left to the test.
    Raises: subprocess.TimeoutExpired after timeout_s; the script is dead by then.
    """
    # Output goes to files: a surviving monitor may hold the pipe's end, and end of file would never come.
    with (
        _unlinked_file() as stdout,
        _unlinked_file() as stderr,
        _witness() as witness,
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                _PREAMBLE.format(
                    root=str(_PACKAGE.parent),
                    point=point,
                    victim=_VICTIMS[victim],
                    setup=setup,
                    script=script,
                    witness=witness.pid,
                ),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stdout.fd,
            stderr=stderr.fd,
            env={**os.environ, **(env or {})},
        ) as process,
    ):
        try:
            exit_code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Outcome(exit_code, stdout.text(), stderr.text(), _has_ended(witness, settle_s))


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def _witness() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing; it is killed first, so its death tells that the step was reached."""
    process = subprocess.Popen(["sleep", "infinity"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class _unlinked_file:  # noqa: N801 - used as a context manager only
    """A memory file that takes a child's output whole."""

    def __enter__(self) -> _unlinked_file:
        self.fd = os.memfd_create("output", os.MFD_CLOEXEC)
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def text(self) -> str:
        os.lseek(self.fd, 0, os.SEEK_SET)
        with open(self.fd, errors="replace", closefd=False) as stream:
            return stream.read()
