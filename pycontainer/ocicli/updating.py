"""New limits for a container that exists, from a document or from single flags."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pycontainer import errors
from pycontainer.launcher import limits, scopes
from pycontainer.ocicli import bundle, schema
from pycontainer.ocicli.arguments import Arguments
from pycontainer.ocicli.states import State
from pycontainer.runtime import cgroups

__all__ = ["update"]

_FLAGS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def update(asked: Arguments, root: str) -> int:
    """Change the limits, all or none. Raises WrongState, InvalidOption, KernelError."""
    state = State.find(root, asked.words[0])
    with state.locked():
        status = state.status()
        if status not in ("created", "running", "paused"):
            raise errors.WrongState(
                f"cannot update container {state.id!r}: it is {status}", verb="update", state=status
            )
        wanted = _wanted(asked)
        schema.check(wanted, schema.RESOURCES, "resources")
        memory = wanted.get("memory") or {}
        if memory.get("limit") == -1 and "swap" not in memory:
            # What is not limited has no limit together with swap either, as with runc.
            wanted["memory"] = {**memory, "swap": -1}
        spec = bundle.read_json(state.path("config.json"))
        linux = spec["linux"]
        before = linux.get("resources") or {}
        after = {**before, **{key: _merged(before.get(key), value) for key, value in wanted.items()}}
        plan = state.fields["cgroup"]
        layout = cgroups.detect()
        limits.change(plan, cgroups.changes(before, after, state.fields["cgroups_path"], layout))
        scopes.change(plan, cgroups.systemd_limits(after, layout))
        linux["resources"] = after
        made = state.path(".config.json")
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(spec, file)
        os.rename(made, state.path("config.json"))
    return 0


def _merged(before: Any, value: Any) -> Any:
    return {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value


def _wanted(asked: Arguments) -> dict[str, Any]:
    if "resources" in asked.flags:
        path = str(asked.flags["resources"])
        document = json.loads(sys.stdin.read()) if path == "-" else bundle.read_json(path)
        if not isinstance(document, dict):
            raise errors.InvalidOption("--resources holds no object; give linux.resources")
        bundle.drop_nulls(document)
        document.pop("devices", None)
        return document
    found: dict[str, Any] = {}
    for flag, (section, key) in _FLAGS.items():
        if flag in asked.flags:
            text = str(asked.flags[flag])
            found.setdefault(section, {})[key] = text if key in ("cpus", "mems") else _number(flag, text)
    if not found:
        raise errors.InvalidOption("update needs a limit to change, or --resources")
    return found


def _number(flag: str, text: str) -> int:
    unit = _UNITS.get(text[-1:].lower())
    number = text[:-1] if unit else text
    try:
        return int(number) * (unit or 1)
    except ValueError:
        raise errors.InvalidOption(f"--{flag} {text!r} is no number") from None
