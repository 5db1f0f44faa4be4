"""Run tests in a virtual machine with systemd and cgroup v2 only: `python -m tests.guest ARGUMENTS`.

Arguments are pytest's, and NAME=VALUE for its environment; without any it is the whole integration suite.
Ends as pytest did; 1 if the machine gave no verdict.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.guest import machine

LIMIT_S = 4 * 3600.0


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the machine ends, too
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    with tempfile.TemporaryDirectory() as work:
        verdict, _ = machine.boot(
            Path(work),
            Path(home, "pycontainer-guest"),
            "suite.py",
            system=machine.SUITE,
            arguments=arguments or ["tests/integration"],
            limit_s=LIMIT_S,
            is_shown=True,
        )
    return int(verdict["exit_code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
