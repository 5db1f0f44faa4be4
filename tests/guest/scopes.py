"""Runs inside the virtual machine: containers in scopes of systemd, told as one line; then some tests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycontainer.launcher import scopes
from pycontainer.runtime import cgroups
from pycontainer.runtime.defaults import DEVICE_RULES
from tests.guest import suite
from tests.support import images
from tests.support.ocicli import COMMAND, Done, Runtime

SLICE = "guest-inner.slice"
WHERE = "guest.slice/guest-inner.slice"
MEMORY = 64 << 20
RESOURCES = {
    "memory": {"limit": MEMORY},
    "pids": {"limit": 50},
    "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000},
    "devices": [rule.to_dict() for rule in DEVICE_RULES],
}
_KILLED_AT = ("create.cgroup.made", "create.init.waiting")
_MEMORY_DEVICE = "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg"


def _show(unit: str, *names: str) -> dict[str, str]:
    command = ["systemctl", "show", unit, f"--property={','.join(names)}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


def _shown(unit: str) -> dict[str, str]:
    limits = ("MemoryMax", "MemoryLimit", "TasksMax", "CPUWeight", "CPUShares", "CPUQuotaPerSecUSec")
    return _show(unit, "ActiveState", "Slice", "Delegate", *limits)


def _files(path: str) -> dict[str, str]:
    """What the kernel holds, whichever version has it."""
    layout = cgroups.detect()
    found = {}
    names = ("memory.max", "memory.limit_in_bytes", "pids.max", "cpu.weight", "cpu.shares", "cpu.max")
    for top in {layout.v2, *layout.v1.values()} - {None}:
        for name in (*names, "cpu.cfs_quota_us"):
            file = Path(f"{top}{path}/{name}")
            if file.exists():
                found[name] = file.read_text().strip()
    return found


def _directories(path: str) -> list[str]:
    layout = cgroups.detect()
    tops = {layout.v2, layout.systemd, *layout.v1.values()} - {None, ""}
    return sorted(f"{top}{path}" for top in tops if os.path.isdir(f"{top}{path}"))


class Checks:
    """Each method is one check; what it returns is the verdict's part of its name."""

    def __init__(self, base: Path) -> None:
        self._rootfs = images.busybox_rootfs(base / "rootfs")
        self._base = base

    def _runtime(self, name: str) -> Runtime:
        (self._base / name).mkdir()
        command = (*COMMAND, "--systemd-cgroup")
        return Runtime(self._base / name, self._rootfs, command)

    def _bundle(self, runtime: Runtime, name: str, args: list[str], path: str | None = None) -> Path:
        path = f"{SLICE}:pre:{name}" if path is None else path
        return runtime.bundle(name, args, {"linux": {"cgroupsPath": path, "resources": RESOURCES}})

    def life(self) -> dict[str, Any]:
        runtime = self._runtime("life")
        unit, path = "pre-one.scope", f"/{WHERE}/pre-one.scope"
        runtime.ok("create", "--bundle", self._bundle(runtime, "one", ["sleep", "1000"]), "one")
        seen: dict[str, Any] = {"created": runtime.status("one"), "unit": _shown(unit), "files": _files(path)}
        runtime.ok("start", "one")
        seen["cgroup"] = Path(f"/proc/{runtime.pid('one')}/cgroup").read_text()
        seen["device"] = self._device(runtime)
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
        seen["reloaded"] = {"files": _files(path), "device": self._device(runtime)}
        runtime.ok("update", "--memory", str(2 * MEMORY), "--pids-limit", "70", "one")
        seen["updated"] = {"unit": _shown(unit), "files": _files(path)}
        runtime.ok("pause", "one")
        seen["paused"] = runtime.status("one")
        runtime.ok("resume", "one")
        again = runtime("run", "--bundle", self._bundle(runtime, "two", ["true"], f"{SLICE}:pre:one"), "two")
        seen["again"] = {"code": again.code, "stderr": again.stderr, "one": runtime.status("one")}
        runtime.ok("delete", "--force", "one")
        seen["left"] = {"unit": _show(unit, "LoadState"), "directories": _directories(path)}
        return seen

    def _device(self, runtime: Runtime) -> dict[str, Any]:
        null = runtime("exec", "one", "sh", "-c", "echo x > /dev/null")
        done = runtime("exec", "one", "sh", "-c", f"rm -f /tmp/kmsg; {_MEMORY_DEVICE}")
        return {"null": null.code, "code": done.code, "stderr": done.stderr}

    def foreground(self) -> dict[str, Any]:
        runtime = self._runtime("foreground")
        done = runtime(
            "run", "--bundle", self._bundle(runtime, "a", ["sh", "-c", "echo hi; exit 3"], ""), "a"
        )
        return {**_told(done), "unit": _show("pycontainer-a.scope", "LoadState")}

    def refused(self) -> dict[str, Any]:
        runtime = self._runtime("refused")
        paths = {
            "/plain/path": "slice:prefix:name",
            "no slice:a:b": "no slice",
            "a--b.slice:a:b": "a--b.slice",
        }
        found = {}
        for path, named in paths.items():
            done = runtime("run", "--bundle", self._bundle(runtime, f"a{len(found)}", ["true"], path), "a")
            found[path] = done.code == 1 and named in done.stderr
        return found

    def killed(self) -> dict[str, Any]:
        runtime = self._runtime("killed")
        found = {}
        for number, step in enumerate(_KILLED_AT):
            name = f"k{number}"
            environment = {**os.environ, "PYCONTAINER_RUNTIME_KILL_AT": step}
            bundle = self._bundle(runtime, name, ["sleep", "1000"])
            runtime("create", "--bundle", bundle, name, env=environment)
            runtime("delete", "--force", name)
            unit = f"pre-{name}.scope"
            found[step] = [_show(unit, "LoadState")["LoadState"], *_directories(f"/{WHERE}/{unit}")]
        return found

    def bus(self) -> dict[str, Any]:
        """The same over the bus, where systemd's own socket is out of reach."""
        sockets, scopes.SOCKETS = scopes.SOCKETS, scopes.SOCKETS[1:]
        try:
            made, path = cgroups.scope_plan({}, f"{SLICE}:bus:one", "one", cgroups.detect())
            with scopes.made(made):
                inside = _show("bus-one.scope", "ActiveState")
                scopes.change(made, [["TasksMax", "t", 9]])
                tasks = _show("bus-one.scope", "TasksMax")
            scopes.stop(made)
            return {"inside": inside, "tasks": tasks, "left": _directories(path)}
        finally:
            scopes.SOCKETS = sockets


def _told(done: Done) -> dict[str, Any]:
    return {"code": done.code, "stdout": done.stdout, "stderr": done.stderr}


def main() -> None:
    verdict: dict[str, Any] = {"mode": cgroups.detect().mode}
    with tempfile.TemporaryDirectory() as base:
        checks = Checks(Path(base))
        parts: list[Callable[[], dict[str, Any]]] = [
            checks.life, checks.foreground, checks.refused, checks.bus, checks.killed
        ]  # fmt: skip
        for part in parts:
            try:
                verdict[part.__name__] = part()
            except Exception:  # one failing check must not hide the others
                verdict[part.__name__] = {"error": traceback.format_exc()}
            print(part.__name__, flush=True)
        verdict["suite"] = suite.run(suite.arguments())
        print(f"\nVERDICT {json.dumps(verdict)}", flush=True)


if __name__ == "__main__":
    main()
