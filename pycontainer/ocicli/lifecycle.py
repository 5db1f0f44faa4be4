"""What is done to containers that exist: started, signalled, paused, taken down."""

from __future__ import annotations

import json
import os
import select
import signal
from typing import Any

from pycontainer import errors
from pycontainer.kernel import pidfd
from pycontainer.launcher import cgroup, freezer, held, hooks, resctrl, scopes
from pycontainer.ocicli import leftovers
from pycontainer.ocicli.report import Log
from pycontainer.ocicli.states import State

__all__ = ["delete", "freeze", "kill", "run_hooks", "start", "take_down"]

_KILL_WAIT_S = 10.0


def start(state: State, log: Log) -> None:
    """Have the program executed, then run the poststart hooks. Raises WrongState, LaunchError."""
    with state.locked():
        status = state.status()
        if status != "created":
            raise errors.WrongState(
                f"cannot start container {state.id!r}: it is {status}, and only a created one can be",
                verb="start",
                state=status,
                allowed=("created",),
            )
        held.release(state.directory)
        try:
            os.unlink("start", dir_fd=state.directory)
        except FileNotFoundError:
            pass
        try:
            run_hooks(state, "poststart", "running")
        except errors.LaunchError:
            _end_processes(state)
            raise


def run_hooks(state: State, kind: str, status: str) -> None:
    """Run hooks of the runtime's namespaces; the first failure ends it. Raises LaunchError."""
    wanted = state.hooks(kind)
    text = json.dumps(state.described(status)).encode() if wanted else b""
    for index, hook in enumerate(wanted):
        _run_hook(state, kind, index, hook, text)


def _run_hook(state: State, kind: str, index: int, hook: Any, text: bytes) -> None:
    directory = state.fields.get("bundle") or "/"
    try:
        place = os.fsencode(directory if os.path.isdir(directory) else "/")
        hooks.run(hooks.parse(hook), text, os.environb, place)
    except hooks.HookFailed as failed:
        message = f"error running {kind} hook #{index}: {failed}"
        raise errors.LaunchError(message, step="hooks", reason=str(failed)) from None


def signal_number(text: str) -> int:
    """The signal that a name, with or without SIG, or a number means. Raises InvalidOption."""
    if text.isdigit():
        number = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        base, _, offset = name.partition("+") if name.startswith("RTMIN") else (name, "", "")
        known = getattr(signal.Signals, "__members__", {}).get(f"SIG{base}")
        number = -1 if known is None else int(known) + (int(offset) if offset.isdigit() else 0)
    if not 0 <= number <= signal.SIGRTMAX:
        raise errors.InvalidOption(f"unknown signal {text!r}; give a name as TERM, or a number")
    return number


def kill(state: State, number: int, *, is_all: bool) -> None:
    """Signal the first process, or all. Raises WrongState when it does not run.

    SIGKILL goes to all of a container without a pid namespace: no kernel ends them with the first.
    """
    shares_pids = number == signal.SIGKILL and not _has_own_pids(state)
    found = members(state) if is_all or shares_pids else []
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    if is_all or found:
        if number == signal.SIGKILL:
            _thaw(state)
        return
    process = state.process()
    if process is None or not pidfd.send_signal(process, number):
        raise errors.WrongState(
            f"cannot kill container {state.id!r}: container not running",
            verb="kill",
            state="stopped",
            allowed=("created", "running", "paused"),
        )
    os.close(process)
    if number == signal.SIGKILL:
        _thaw(state)  # on version 1 a frozen process does not die


def _has_own_pids(state: State) -> bool:
    try:
        with open(state.path("config.json"), "rb") as file:
            wanted = json.load(file)["linux"].get("namespaces") or ()
    except (OSError, ValueError):
        return True  # one in the making, or half deleted
    return any(entry["type"] == "pid" and not entry.get("path") for entry in wanted)


def members(state: State) -> list[int]:
    """Every process in the container's cgroups, nested ones included."""
    plan = state.fields.get("cgroup") or {}
    found: set[int] = set()
    for top in plan.get("own") or ():
        for directory, _, _ in os.walk(top):
            try:
                with open(f"{directory}/cgroup.procs") as file:
                    found.update(int(line) for line in file.read().split())
            except OSError:
                continue  # it has just gone, or is a threaded one
    return sorted(found)


def _thaw(state: State) -> None:
    try:
        freezer.thaw((state.fields.get("cgroup") or {}).get("freeze"))
    except errors.KernelError:
        pass  # what cannot be thawed will be seen not to end


def delete(state: State, log: Log, *, is_forced: bool) -> None:
    """Take down what create made, and run the poststop hooks. Raises WrongState unless it is stopped."""
    with state.locked():
        status = state.status()
        if not is_forced and status not in ("stopped", "creating"):
            raise errors.WrongState(
                f"cannot delete container {state.id!r} that is not stopped: {status}; "
                "kill it first, or use --force",
                verb="delete",
                state=status,
                allowed=("stopped",),
            )
        take_down(state, log)


def take_down(state: State, log: Log) -> None:
    """End what runs, undo what was made, run the poststop hooks, forget the container. Idempotent."""
    _end_processes(state)
    leftovers.unmount(state)
    if state.fields.get("resctrl"):
        resctrl.remove(state.fields["resctrl"])
    plan = state.fields.get("cgroup")
    if plan:
        _thaw(state)
        kept = cgroup.remove(plan)
        if kept:
            raise errors.LaunchError(f"the cgroups {', '.join(kept)} stay busy", step="cgroup")
        scopes.stop(plan)
    for index, hook in enumerate(state.hooks("poststop")):
        text = json.dumps(state.described("stopped")).encode()
        try:
            _run_hook(state, "poststop", index, hook, text)
        except errors.LaunchError as error:
            # The runtime-spec: a warning, and the others run as if nothing had happened.
            log.warning(str(error))
    state.remove()


def _end_processes(state: State) -> None:
    process = state.process()
    if process is not None:
        pidfd.send_signal(process, signal.SIGKILL)
        _thaw(state)
        _await_end(process)
        os.close(process)
    plan = state.fields.get("cgroup")
    if plan:
        _thaw(state)
        cgroup.kill_all(plan)


def _await_end(process: int) -> None:
    poller = select.poll()
    poller.register(process, select.POLLIN)
    if not poller.poll(_KILL_WAIT_S * 1000):
        raise errors.DeadlineExceeded(
            f"the container's first process did not end within {_KILL_WAIT_S} s", timeout_s=_KILL_WAIT_S
        )


def freeze(state: State, *, is_frozen: bool) -> None:
    """Pause or resume. Raises WrongState, Unsupported, KernelError, DeadlineExceeded."""
    with state.locked():
        verb, allowed = ("pause", ("created", "running")) if is_frozen else ("resume", ("paused",))
        status = state.status()
        if status not in allowed:
            raise errors.WrongState(
                f"cannot {verb} container {state.id!r}: it is {status}",
                verb=verb,
                state=status,
                allowed=allowed,
            )
        target = state.fields["cgroup"].get("freeze")
        if target is None:
            raise errors.Unsupported("this host has no freezer for cgroups", "mount cgroup version 2")
        if is_frozen:
            freezer.freeze(target)
        else:
            freezer.thaw(target)
