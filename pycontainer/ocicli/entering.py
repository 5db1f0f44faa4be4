"""The second half of exec: from a sealed interpreter, a further process joins the container."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.launcher import held, joining
from pycontainer.ocicli import files, foreground, listening
from pycontainer.ocicli.report import Log
from pycontainer.ocicli.states import State

__all__ = ["main"]

_FAILED = 255  # what runc answers when the program could not be run

Request = Mapping[str, Any]


def main(fd: int) -> None:
    """Carry out the request that lies in the descriptor; ends the process with the program's code."""
    with open(fd, "rb") as file:
        file.seek(0)
        request = json.load(file)
    log = Log(*request["log"])
    try:
        code = _carry_out(request)
    except (errors.PycontainerError, OSError) as error:
        log.error(str(error))
        code = _FAILED
    os._exit(code)


def _carry_out(request: Request) -> int:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(b"pycontainer-rt")
    state = State.find(request["root"], request["id"])
    init = state.process()
    if init is None:
        raise errors.WrongState(
            f"cannot exec in container {state.id!r}: container not running", verb="exec", state="stopped"
        )
    flags, process = request["flags"], request["spec"]["process"]
    terminal, console = None, -1
    fds = {"stdin": 0, "stdout": 1, "stderr": 2}
    if process.get("terminal"):
        if "console-socket" in flags:
            console = files.connect(flags["console-socket"])
        else:
            terminal = foreground.Terminal()
            console = terminal.give()
        fds = {"console": console}
    params = {
        "id": request["id"],
        "spec": request["spec"],
        "cgroup": _cgroup(state, request["cgroups"]),
        "lives_on": True,
        "preserve_fds": request["preserve_fds"],
    }
    if not any(entry["type"] == "mount" for entry in request["spec"]["linux"].get("namespaces") or ()):
        # In the namespace of others nothing but the first process knows where the container's root is.
        fds["root"] = os.open(f"/proc/{state.fields['pid']}/root", os.O_PATH | os.O_DIRECTORY)
        params["has_root"] = True
    answers, answer = os.pipe()
    if state.fields.get("notifies"):
        params["notifies"] = True
        fds["answers"] = answers
    joined = joining.join(params, init, fds, seccomp=base64.b64decode(request["seccomp_b64"]))
    os.close(answers)
    if console >= 0:
        os.close(console)
    if terminal is not None:
        terminal.take()
    said = _hand_over_listener(joined, state, request["spec"], answer) if "notifies" in params else b""
    joining.await_executed(joined, said)
    os.close(answer)
    if "pidfd-socket" in flags:
        files.send_pidfd(flags["pidfd-socket"], joined.pidfd)
    if "pid-file" in flags:
        files.write_pid(flags["pid-file"], joined.pid)
    if "detach" in flags:
        return 0
    return foreground.attend(joined.pid, joined.pidfd, terminal)


def _hand_over_listener(joined: joining.Joined, state: State, spec: Request, answer: int) -> bytes:
    """Pass on the listener of the process's own filter; what it reported instead, when it got not so far."""
    said = os.read(joined.report, 4096)
    listener = held.listener_of(joined.pidfd, said)
    if listener is None:
        return said
    try:
        listening.send(spec["linux"]["seccomp"], state.described(), joined.pid, listener)
    finally:
        os.close(listener)
    held.answer(answer)
    return b""


def _cgroup(state: State, below: list[str]) -> dict[str, Any]:
    """The container's cgroups to join, or those named below them ("path", or "controller:path")."""
    plan = state.fields.get("cgroup") or {}
    born_in: str | None = plan.get("clone_into")
    procs: list[str] = list(plan.get("procs") or ())
    for text in below:
        controllers, colon, path = text.rpartition(":")
        if ".." in path.split("/"):
            raise errors.InvalidOption(
                f"bad sub cgroup path: --cgroup {text!r} leads out of the container's cgroup"
            )
        for name in filter(None, controllers.split(",")):
            if not any(name in file.split("/") for file in procs):
                raise errors.InvalidOption(f"--cgroup {text!r}: unknown controller {name!r}")
        if not colon and born_in:
            born_in = os.path.join(born_in, path.lstrip("/"))
        procs = [_moved(file, controllers, path) for file in procs]
    for directory in (*map(os.path.dirname, procs), *([born_in] if born_in else ())):
        if not os.path.isdir(directory):
            raise errors.InvalidOption(f"--cgroup: adding pid to {directory}: no such file or directory")
    return {"clone_into": born_in, "procs": procs}


def _moved(file: str, controllers: str, path: str) -> str:
    wanted = controllers.split(",") if controllers else []
    directory = os.path.dirname(file)
    if wanted and not any(name in directory.split("/") for name in wanted):
        return file
    return os.path.join(directory, path.lstrip("/"), "cgroup.procs")
