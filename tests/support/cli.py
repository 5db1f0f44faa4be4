"""The command line over one store: in this process, in one of its own, or on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pexpect
import pyte

from pycontainer.cli import invoke

__all__ = ["CommandLine", "Terminal", "interruptible"]

TIMEOUT_S = 60


@contextmanager
def interruptible() -> Iterator[None]:
    """Have processes started here take interrupts, though whoever started this one had it ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class CommandLine:
    """Runs `pycontainer` on a store. home: for the user's settings."""

    def __init__(self, root: Path, home: Path) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("DOCKER_")}
        self.env: Mapping[str, str] = {
            **kept,
            "HOME": str(home),
            "PYCONTAINER_ROOT": str(root),
            "TERM": "xterm",
        }
        self.command = [sys.executable, "-m", "pycontainer"]

    def __call__(self, *words: str, code: int = 0, input: bytes = b"") -> str:
        """What the command writes to standard output; its exit code has to be this one."""
        return self.both(*words, code=code, input=input)[0]

    def both(self, *words: str, code: int = 0, input: bytes = b"") -> tuple[str, str]:
        """Standard output and standard error."""
        found, out, err = self._in_process(words, input)
        told = err.decode(errors="replace")
        assert found == code, f"{words}: exit code {found}\n{out.decode(errors='replace')}\n{told}"
        return out.decode(errors="replace"), told

    def bytes(self, *words: str, input: bytes = b"") -> bytes:
        """Standard output as it is."""
        code, out, err = self._in_process(words, input)
        assert code == 0, err.decode(errors="replace")
        return out

    def _in_process(self, words: tuple[str, ...], input: bytes) -> tuple[int, bytes, bytes]:
        """The command in this process, which knows all modules already, with streams of its own."""
        with ExitStack() as held:
            files = [held.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(input)
            files[0].seek(0)
            for fd, file in enumerate(files):
                saved = os.dup(fd)
                held.callback(os.close, saved)
                held.callback(os.dup2, saved, fd)
                os.dup2(file.fileno(), fd)
            for fd, name in enumerate(("stdin", "stdout", "stderr")):
                stream = open(fd, "r" if fd == 0 else "w", closefd=False)  # noqa: SIM115  (closed with all else)
                held.enter_context(patch.object(sys, name, stream))
                held.callback(stream.close)
            with patch.dict(os.environ, self.env, clear=True):
                code = invoke(words)
            sys.stdout.flush()
            sys.stderr.flush()
            for file in files[1:]:
                file.seek(0)
            return code, files[1].read(), files[2].read()

    def apart(self, *words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """The command as a process of its own, to its end."""
        return subprocess.run(
            [*self.command, *words], input=input, capture_output=True, env=self.env, timeout=TIMEOUT_S
        )

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        """The command, begun."""
        return subprocess.Popen(
            [*self.command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
        )

    def terminal(self, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
        """The command on a terminal of its own."""
        return Terminal([*self.command, *words], self.env, rows, columns)

    def shell(self, *words: str) -> Terminal:
        """A shell on a terminal of its own, which finds the command as users do."""
        path = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        return Terminal(list(words), {**self.env, "PATH": path}, 24, 160)


class Terminal:
    """A command on a pseudo-terminal, and the screen that a human would see."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], rows: int, columns: int) -> None:
        self.process = pexpect.spawn(
            command[0],
            list(command[1:]),
            env=dict(env),
            dimensions=(rows, columns),
            timeout=TIMEOUT_S,
        )
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: str) -> None:
        """Press these keys."""
        self.process.send(keys)

    def expect(self, pattern: str) -> str:
        """Wait until this comes; what came up to it."""
        self.process.expect(pattern)
        before, found = self.process.before, self.process.after
        self._stream.feed(before + found)
        return str(before.decode(errors="replace"))

    def until_shown(self, text: str) -> None:
        """Wait until the screen shows this, however it was drawn."""
        deadline = time.monotonic() + TIMEOUT_S
        while not any(text in line for line in self.screen()):
            assert time.monotonic() < deadline, self.screen()
            with suppress(pexpect.TIMEOUT):
                self._stream.feed(self.process.read_nonblocking(4096, timeout=1))

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        self.process.setwinsize(rows, columns)
        self._screen.resize(rows, columns)

    def screen(self) -> list[str]:
        """The lines that are seen now, without the empty ones."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def end(self) -> int:
        """Wait for the command's end; its exit code, or 128 and the number of the signal."""
        self.process.expect(pexpect.EOF)
        self._stream.feed(self.process.before)
        self.process.close()
        code, number = self.process.exitstatus, self.process.signalstatus
        return int(code) if code is not None else 128 + int(number)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)
