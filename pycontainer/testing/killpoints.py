"""Kill points: end a program at a named step, then look at what the next program finds.

The engine marks its steps with `checkpoints.reached("pull.blob.committed")`. `names` lists the marks in
the source, so a test can cover each of them without a list to keep; `run_killed` runs a script in which
one of them is armed. The arming travels with every job to the helper, its children and the monitors.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["Outcome", "names", "run_killed"]

_PACKAGE = Path(__file__).resolve().parent.parent
_PREAMBLE = """\
import os, sys
sys.path.insert(0, {root!r})
from pycontainer import checkpoints
checkpoints.arm({point!r}, {victim})
exec(compile({script!r}, "<killed at {point}>", "exec"), {{"__name__": "__main__"}})
"""


class Outcome(NamedTuple):
    """How the script ended. exit_code is negative for a signal, as in subprocess."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def was_killed(self) -> bool:
        """Whether the script's own process was the one that was killed."""
        return self.exit_code == -signal.SIGKILL


def names(verb: str = "") -> list[str]:
    """Every step marked in the package's source whose name begins with the verb, sorted."""
    found: set[str] = set()
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Call) and _called(node) == "reached" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return sorted(name for name in found if name == verb or name.startswith(f"{verb}." if verb else ""))


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def run_killed(
    script: str,
    point: str,
    *,
    victim: Literal["reacher", "caller"] = "reacher",
    timeout_s: float = 60.0,
    env: dict[str, str] | None = None,
) -> Outcome:
    """Run Python source in a new process with one kill point armed, and wait for its end.

    victim: "reacher" kills whichever process reaches the step (the script, the helper's job, the
    monitor); "caller" kills the script's own process when any of them reaches it.
    Processes the script leaves behind (a detached container's monitor) are left to the test.
    Raises: subprocess.TimeoutExpired after timeout_s; the script is dead by then.
    """
    program = _PREAMBLE.format(
        root=str(_PACKAGE.parent),
        point=point,
        victim="os.getpid()" if victim == "caller" else "None",
        script=script,
    )
    # Output goes to files: a surviving monitor may hold the pipe's end, and end of file would never come.
    with (
        _unlinked_file() as stdout,
        _unlinked_file() as stderr,
        subprocess.Popen(
            [sys.executable, "-c", program],
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
        return Outcome(exit_code, stdout.text(), stderr.text())


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
