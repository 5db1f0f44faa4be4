"""Runs inside the virtual machine: pytest, with the arguments given, and tell how it ended as one line.

Arguments of the form NAME=VALUE are for its environment. Before the end stands what each file came to, and
what is left out here with the reason.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.support.patience import VARIABLE

PATIENCE = 8
"""How much longer than on a host things may take on processors that are emulated."""
_TEST_LIMIT_S = 900
_WORK = "/var/tmp/suite"
_REPORT = f"{_WORK}/report.xml"
LEFT_OUT: dict[str, str] = {}
"""Tests, by the beginning of their names, that are not run here, and why."""
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
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-v", "--durations=8",
            f"--basetemp={_WORK}/pytest", f"--junitxml={_REPORT}", "-o", "junit_family=xunit1",
            # By a signal: one test that hangs is a failure, and the others are run.
            "-o", f"timeout={_TEST_LIMIT_S}", "-o", "timeout_method=signal",
            *(f"--deselect={name}" for name in LEFT_OUT), *words,
        ],
        env={**os.environ, VARIABLE: str(PATIENCE), "COLUMNS": "110", **variables},
        check=False,
    )  # fmt: skip
    if os.path.exists(_REPORT):  # there is none where pytest did not understand its arguments
        print(_summary())
    return done.returncode


def _summary() -> str:
    """What each file came to, in a line, and what was left out."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for case in ET.parse(_REPORT).iter("testcase"):
        file = case.get("file", "")
        outcome = {part.tag for part in case} & {"failure", "error", "skipped"}
        counts[file][min(outcome, default="passed")] += 1
        seconds[file] += round(float(case.get("time", "0")))
    lines = ["what each file came to:"]
    for file, found in sorted(counts.items()):
        told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.items()))
        lines.append(f"{file}: {told} in {seconds[file]} s")
    lines += [f"left out: {name}: {reason}" for name, reason in LEFT_OUT.items()]
    return "\n".join(lines)


def arguments() -> list[str]:
    """What the machine was booted to do."""
    found: list[str] = json.loads(Path("/guest/arguments.json").read_text())
    return found


def main() -> None:
    print(f"\nVERDICT {json.dumps({'exit_code': run(arguments())})}", flush=True)


if __name__ == "__main__":
    main()
