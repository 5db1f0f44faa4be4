"""A program of a given size that runs a container whenever it is told to; for `benchmarks.start`.

    python -m benchmarks.caller STORE IMAGE GIB

Reads lines; answers each with the seconds one run took. So callers of several sizes can take turns.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pycontainer as pc
from benchmarks import harness


class Caller(AbstractContextManager["Caller"]):
    """The program, seen from outside."""

    def __init__(self, store: Path, image: str, gib: int) -> None:
        command = [sys.executable, "-m", "benchmarks.caller", str(store), image, str(gib)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> float:
        """Let it run one container; return the seconds that took it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main() -> None:
    store, image, gib = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ballast = bytearray(gib << 30)
    ballast[::4096] = b"x" * len(ballast[::4096])  # every page is really there
    with pc.Engine(store) as engine:
        for _line in sys.stdin:
            took_s = harness.timed(lambda: pc.run(image, ["true"], network="none", engine=engine))
            print(took_s, flush=True)
    del ballast


if __name__ == "__main__":
    main()
