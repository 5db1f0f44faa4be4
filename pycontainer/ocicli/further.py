"""The first half of exec: which process it is to be, from a file or from the flags."""

from __future__ import annotations

import base64
import copy
import os
from typing import Any

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.ocicli import bundle, schema
from pycontainer.ocicli.arguments import Arguments
from pycontainer.ocicli.preparing import preserved
from pycontainer.ocicli.report import Log
from pycontainer.ocicli.states import State

__all__ = ["prepare"]

Process = dict[str, Any]
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def prepare(asked: Arguments, root: str, log: Log) -> dict[str, Any]:
    """The request for exec. Raises WrongState, NotFound, InvalidOption."""
    # Before anything is opened here: what a program gets must be the caller's own.
    listening: Process = {}
    passed = preserved(asked.flags, listening)
    state = State.find(root, asked.words[0])
    status = state.status()
    allowed = ("created", "running", "paused") if "ignore-paused" in asked.flags else ("created", "running")
    if status not in allowed:
        raise errors.WrongState(
            "cannot exec in a paused container (use --ignore-paused to override)"
            if status == "paused"
            else f"cannot exec in container {state.id!r}: container not running: {status}",
            verb="exec",
            state=status,
            allowed=allowed,
        )
    spec = bundle.read_json(state.path("config.json"))
    process = _process(asked, spec["process"])
    schema.check(process, schema.PROCESS, "process")
    has_users = any(entry["type"] == "user" for entry in spec["linux"].get("namespaces") or ())
    bundle.check_process(process, -1 if has_users else syscalls.capget()[1], log.warning)
    is_own_console = "detach" not in asked.flags
    if process.get("terminal") and not is_own_console and "console-socket" not in asked.flags:
        raise errors.InvalidOption("a detached process with a terminal needs --console-socket")
    with open(state.path("filter"), "rb") as file:
        program = file.read()
    kept = ("namespaces", "uidMappings", "gidMappings", "seccomp", "personality", "memoryPolicy")
    linux = {key: spec["linux"].get(key) for key in kept}
    below = asked.flags.get("cgroup", [])
    if listening:
        process["env"] = [*(process.get("env") or ()), *listening["env"]]
    return {
        "root": os.path.abspath(root),
        "id": state.id,
        "spec": {"process": process, "linux": {key: value for key, value in linux.items() if value}},
        "seccomp_b64": base64.b64encode(program).decode(),
        "flags": {key: value for key, value in asked.flags.items() if isinstance(value, str)},
        "preserve_fds": passed,
        "cgroups": [below] if isinstance(below, str) else below,
        "log": [log.file, log.form, log.is_debug],
    }


def _process(asked: Arguments, own: Process) -> Process:
    if "process" in asked.flags:
        return _from_file(str(asked.flags["process"]))
    if len(asked.words) < 2:
        raise errors.InvalidOption("exec needs the program to run, or --process with a file")
    process = copy.deepcopy(own)
    flags = asked.flags
    process["args"] = asked.words[1:]
    process["terminal"] = "tty" in flags
    process["env"] = [*(process.get("env") or ()), *flags.get("env", [])]
    for flag, key in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if flag in flags:
            process[key] = flags[flag]
    if "no-new-privs" in flags:
        process["noNewPrivileges"] = True
    if "user" in flags:
        process["user"] = _user(str(flags["user"]))
    gids = flags.get("additional-gids", [])
    if gids:
        process.setdefault("user", {})["additionalGids"] = [
            _number(text, "--additional-gids") for text in gids
        ]
    added = flags.get("cap", [])
    if added:
        sets = process.setdefault("capabilities", {})
        # Ambient ones have to be inheritable, which those of a specification without such are not.
        for kind in (*_SETS[:3], *(("ambient",) if sets.get("inheritable") else ())):
            sets[kind] = list(dict.fromkeys([*(sets.get(kind) or ()), *added]))
    return process


def _from_file(path: str) -> Process:
    process = bundle.read_json(path)
    schema.check(process, {**schema.PROCESS, "cwd": schema.Needed(str)}, "process")
    bundle.drop_nulls(process)
    return process


def _user(text: str) -> dict[str, Any]:
    uid, colon, gid = text.partition(":")
    return {"uid": _number(uid, "--user"), "gid": _number(gid, "--user") if colon else 0}


def _number(text: str, flag: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise errors.InvalidOption(f"{flag} {text!r} is no number; a runtime looks up no names")
    return int(text)
