"""Runs inside the virtual machine: pytest, with the arguments given, and tell how it ended as one line.

Arguments of the form NAME=VALUE are for its environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.patience import VARIABLE

PATIENCE = 8
"""How much longer than on a host things may take on processors that are emulated."""
_TEST_LIMIT_S = 900
_WORK = "/var/tmp/suite"
_VARIABLE = re.compile(r"[A-Z_]+=")


def run(given: Sequence[str]) -> int:
    """Run pytest, whose report goes to standard output; its exit code."""
    variables = dict(word.split("=", 1) for word in given if _VARIABLE.match(word))
    words = [word for word in given if not _VARIABLE.match(word)]
    os.makedirs(_WORK, exist_ok=True)
    for name in ("fuse", "loop"):  # devices that tests give to containers
        subprocess.run(["modprobe", name], check=True)
    sys.stdout.flush()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "pytest_timeout", "-p", "no:cacheprovider",
            "--color=no", "-v", "--durations=8", f"--basetemp={_WORK}/pytest",
            "-o", f"timeout={_TEST_LIMIT_S}", *words,
        ],
        env={**os.environ, VARIABLE: str(PATIENCE), "COLUMNS": "110", **variables},
        check=False,
    )  # fmt: skip
    return done.returncode


def arguments() -> list[str]:
    """What the machine was booted to do."""
    found: list[str] = json.loads(Path("/guest/arguments.json").read_text())
    return found


def main() -> None:
    print(f"\nVERDICT {json.dumps({'exit_code': run(arguments())})}", flush=True)


if __name__ == "__main__":
    main()
