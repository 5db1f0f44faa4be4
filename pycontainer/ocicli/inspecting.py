"""What is asked of containers without changing them: list, ps, events."""

from __future__ import annotations

import json
import os
import pwd
import select
import subprocess
from typing import Any

from pycontainer import errors
from pycontainer.ocicli import lifecycle
from pycontainer.ocicli.arguments import Arguments
from pycontainer.ocicli.states import State, ids

__all__ = ["events", "list_containers", "ps"]


def list_containers(asked: Arguments, root: str) -> int:
    """Print the containers below root."""
    form = asked.flags.get("format", "table")
    if form not in ("json", "table"):
        raise errors.InvalidOption(f"--format {form!r} is not known; give json or table")
    states = []
    for name in ids(root):
        try:
            states.append(State.find(root, name))
        except errors.NotFound:
            continue  # deleted meanwhile
    if "quiet" in asked.flags:
        for state in states:
            print(state.id)
        return 0
    rows = [_row(state) for state in states]
    if form == "json":
        print(json.dumps(rows, separators=(",", ":")))
        return 0
    shown = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    shown += [(r["id"], str(r["pid"]), r["status"], r["bundle"], r["created"], r["owner"]) for r in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(6)]
    for row in shown:
        print("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(state: State) -> dict[str, Any]:
    row = state.described()
    if not row["owner"] and row["id"]:
        row["owner"] = pwd.getpwuid(os.fstat(state.directory).st_uid).pw_name
    return row


def ps(asked: Arguments, root: str) -> int:
    """Print the processes of a container."""
    pids = lifecycle.members(State.find(root, asked.words[0]))
    form = asked.flags.get("format", "table")
    if form == "json":
        print(json.dumps(pids))
        return 0
    if form != "table":
        raise errors.InvalidOption(f"--format {form!r} is not known; give json or table")
    try:
        done = subprocess.run(
            ["ps", *(asked.words[1:] or ["-ef"])], stdout=subprocess.PIPE, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise errors.Unsupported(f"ps cannot be run: {error}", "use --format json") from None
    head, *lines = done.stdout.splitlines()
    names = head.split()
    if "PID" not in names:
        raise errors.InvalidOption("the options for ps leave out the column PID, which is needed")
    column, wanted = names.index("PID"), {str(pid) for pid in pids}
    print(head)
    for line in lines:
        if line.split()[column] in wanted:
            print(line)
    return 0


def events(asked: Arguments, root: str) -> int:
    """Print a container's figures, once or again and again until it has stopped."""
    state = State.find(root, asked.words[0])
    interval_s = _seconds(str(asked.flags.get("interval", "5s")))
    if state.status() == "stopped":
        raise errors.WrongState(
            f"container {state.id!r} is stopped and has no figures", verb="events", state="stopped"
        )
    killed = _killed(state)
    while True:
        _print_event(state, "stats", data=_figures(state))
        is_last = "stats" in asked.flags or _has_ended(state, interval_s)
        if (now := _killed(state)) > killed:
            killed = now
            _print_event(state, "oom")
        if is_last:
            return 0


def _print_event(state: State, kind: str, **fields: Any) -> None:
    print(json.dumps({"type": kind, "id": state.id, **fields}, separators=(",", ":")), flush=True)


def _killed(state: State) -> int:
    """How many processes the kernel has killed for want of memory."""
    from pycontainer.launcher import cgroup

    return cgroup.read(state.fields["cgroup"]).get("oom", 0)


def _seconds(text: str) -> float:
    factor = {"ms": 0.001, "s": 1.0, "m": 60.0}
    for unit, value in factor.items():
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit() and float(number) > 0:
            return float(number) * value
    raise errors.InvalidOption(f"--interval {text!r} is no duration; give it as 5s")


def _has_ended(state: State, timeout_s: float) -> bool:
    process = state.process()
    if process is None:
        return True
    poller = select.poll()
    poller.register(process, select.POLLIN)
    has_ended = bool(poller.poll(timeout_s * 1000))
    os.close(process)
    return has_ended


def _figures(state: State) -> dict[str, Any]:
    """The figures in the form runc gives them."""
    from pycontainer.runtime import cgroups

    layout = cgroups.detect()
    own = next(iter(state.fields["cgroup"]["own"]), "")
    path = cgroups.path_of(f"{own}/cgroup.procs", layout)
    found = {} if path is None else cgroups.counters(path, layout)

    def some(**names: str) -> dict[str, int]:
        return {name: found[key] for name, key in names.items() if key in found}

    usage = {
        "total": found.get("cpu_ns", 0),
        "kernel": found.get("cpu_system_ns", 0),
        "user": found.get("cpu_user_ns", 0),
    }
    throttling = {
        "throttledPeriods": found.get("cpu_throttled_periods", 0),
        **some(periods="cpu_periods", throttledTime="cpu_throttled_ns"),
    }
    memory = {
        "usage": found.get("memory_bytes", 0),
        "max": found.get("memory_peak_bytes", 0),
        **some(limit="memory_limit_bytes"),
    }
    return {
        "cpu": {"usage": usage, "throttling": throttling},
        "memory": {"usage": memory, **some(cache="memory_cache_bytes")},
        "pids": {"current": found.get("pids", len(lifecycle.members(state))), **some(limit="pids_limit")},
    }
