"""What a finished container leaves behind for its caller."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import attrs

from pycontainer.errors import ContainerFailed
from pycontainer.values import Value

__all__ = ["Gathered", "RunResult", "Usage"]


class Gathered:
    """Output of a process, by stream, while it comes.

    In buffers that hand out what they hold: a list of pieces would take its size twice when it is joined.
    """

    def __init__(self) -> None:
        self._stdout, self._stderr = BytesIO(), BytesIO()

    def add(self, stream: Literal["stdout", "stderr"], content: bytes) -> None:
        """Append to one of them."""
        (self._stdout if stream == "stdout" else self._stderr).write(content)

    def both(self) -> tuple[bytes, bytes]:
        """All of stdout, and all of stderr."""
        return self._stdout.getvalue(), self._stderr.getvalue()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Usage(Value):
    """What a container used, as its cgroup counted it; None where the host does not count it.

    cpu_s: processor seconds, user and system. memory_peak_bytes: the most it held at once.
    wall_s: from the start of its first process to its end.
    """

    wall_s: float = 0.0
    cpu_s: float | None = None
    memory_peak_bytes: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunResult(Value):
    """The outcome of `run()`.

    exit_code: the program's, or 128+n when signal n ended it. stdout, stderr: everything it wrote, unless
    is_complete is False: the store's disk was full, and some of it is lost. oom_killed: the kernel killed one
    of its processes for want of memory.
    """

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    is_complete: bool = True
    oom_killed: bool = False
    usage: Usage = attrs.Factory(Usage)
    container_id: str = ""

    @property
    def text(self) -> str:
        """stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout.decode(errors="replace")

    def check(self) -> RunResult:
        """Return this result, or raise ContainerFailed when the exit code is not zero."""
        if self.exit_code == 0:
            return self
        tail = self.stderr[-2048:].decode(errors="replace").strip()
        why = " (out of memory)" if self.oom_killed else ""
        raise ContainerFailed(
            f"the container exited with code {self.exit_code}{why}{f': {tail}' if tail else ''}",
            exit_code=self.exit_code,
            stdout=self.stdout,
            stderr=self.stderr,
        )
