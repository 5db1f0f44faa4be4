"""Runs inside the virtual machine: use the engine on cgroup v2 and print what was seen as one line."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pycontainer as pc
from pycontainer.kernel import probe
from pycontainer.testing import leaks
from tests.guest import networks

_CGROUP = "/sys/fs/cgroup"
_EAT_MEMORY = "a=xxxxxxxxxxxxxxxx; while true; do a=$a$a; done"
_FORK = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait"


def _result(result: pc.RunResult) -> dict[str, Any]:
    return {
        "exit_code": result.exit_code,
        "stdout": result.text,
        "stderr": result.stderr.decode(errors="replace"),
        "oom_killed": result.oom_killed,
        "cpu_s": result.usage.cpu_s,
        "memory_peak_bytes": result.usage.memory_peak_bytes,
    }


def _stopped(image: pc.Image) -> dict[str, Any]:
    container = pc.Container.create(image, ["sleep", "1000"], name="box")
    container.start()
    running = container.state
    container.stop(timeout=0.5)
    seen = {"running": running, "stopped": container.state, "exit_code": container.exit_code}
    container.remove()
    return seen


def _joined(image: pc.Image) -> list[dict[str, Any]]:
    """Containers in the network of another: the first is made when asked for, further ones ahead."""
    look = "ls /sys/class/net; ls -A /sys/firmware | wc -l; ls -A /proc/acpi 2>/dev/null | wc -l"
    look += "; : 2>/dev/null >/proc/sys/kernel/shm_rmid_forced && echo writable"
    with pc.Container(image, ["sleep", "1000"], name="first", network="none"):
        return [_result(pc.run(image, ["sh", "-c", look], network="container:first")) for _ in range(3)]


def _checks(image: pc.Image) -> dict[str, Callable[[], Any]]:
    def run(*command: str, **options: Any) -> dict[str, Any]:
        return _result(pc.run(image, list(command), **options))

    files = [f"{_CGROUP}/{name}" for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")]
    return {
        "hello": lambda: run("echo", "hello"),
        "limits": lambda: run("cat", *files, memory="64m", memory_swap="64m", pids_limit=20, cpus=0.5),
        "weight": lambda: run("cat", f"{_CGROUP}/cpu.weight", cpu_shares=1024),
        "own_view": lambda: run("cat", "/proc/self/cgroup"),
        "read_only": lambda: run("sh", "-c", f"echo 1 > {_CGROUP}/pids.max"),
        "oom": lambda: run("sh", "-c", _EAT_MEMORY, memory="24m", memory_swap="24m"),
        "pids": lambda: run("sh", "-c", _FORK, pids_limit=6),
        "usage": lambda: run("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", memory="64m"),
        "filled": lambda: run("cat", "/srv/greeting", volumes={"filled": "/srv"}),
        "stopped": lambda: _stopped(image),
        "joined": lambda: _joined(image),
    }


def main() -> None:
    verdict: dict[str, Any] = {"kernel": os.uname().release, "cgroup_mode": probe.cgroup_mode()}
    verdict["doctor"] = {finding.name: finding.is_ok for finding in probe.examine("/var/lib/pycontainer")}
    networks.prepare()
    with pc.Engine():
        loaded: Any = pc.Image.load("/guest/layout")
        image = loaded[0] if isinstance(loaded, list | tuple) else loaded
        for name, check in {**_checks(image), **networks.checks(image)}.items():
            try:
                verdict[name] = check()
            except Exception:  # one failing check must not hide the others
                verdict[name] = {"error": traceback.format_exc()}
    verdict["left_cgroups"] = leaks.engine_cgroups()
    verdict["left_mounts"] = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " overlay " in line
    ]
    print(f"\nVERDICT {json.dumps(verdict)}", flush=True)


if __name__ == "__main__":
    main()
