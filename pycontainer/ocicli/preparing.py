"""The first half of create and run: everything that can be known before anything is made.

Theory of operation. This process has the whole library at hand, and works out the container's plan: the
checked specification, its cgroups, its filter. Then it executes a sealed copy of the interpreter, which
has the standard library and the launcher only, with that plan as its input (`ocicli.creating`). It is the
same process for the caller: its children, descriptors and exit code are those of the command.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.kernel import syscalls
from pycontainer.launcher import resctrl, sealed
from pycontainer.ocicli import bundle
from pycontainer.ocicli.arguments import Arguments
from pycontainer.ocicli.report import Log
from pycontainer.ocicli.states import check_id

__all__ = ["become", "prepare", "preserved"]

_SECCOMP_FLAGS = tuple(
    f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")
)
_KILL_AT = "PYCONTAINER_RUNTIME_KILL_AT"
"""Variable with the step at which a test has this command kill itself."""

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_MAIN = "import sys; sys.path.insert(0, {root!r}); from pycontainer.ocicli.{module} import main; main({fd})"


def prepare(asked: Arguments, root: str, log: Log) -> dict[str, Any]:
    """The request for create or run. Raises what a bad command line, bundle or host deserves."""
    flags = asked.flags
    name = asked.words[0]
    check_id(name)
    _refuse(asked)
    directory = os.path.realpath(str(flags.get("bundle", ".")))
    spec = bundle.load(directory, str(flags.get("config", "config.json")), log.warning)
    if not spec["process"].get("terminal") and "console-socket" in flags:
        raise InvalidOption("--console-socket is given, but process.terminal is not set")
    if spec["process"].get("terminal") and asked.command == "create" and "console-socket" not in flags:
        raise InvalidOption("process.terminal is set: --console-socket is needed, to hand the terminal over")
    cgroup, path = _plan_cgroup(spec, name, is_systemd=_is_systemd(asked))
    program, notifies = _seccomp(spec, root)
    shares = _shares(spec, name)
    return {
        "command": asked.command,
        "root": os.path.abspath(root),
        "id": name,
        "bundle": directory,
        "spec": spec,
        "cgroup": cgroup,
        "cgroups_path": path,
        "resctrl": shares,
        "seccomp_b64": base64.b64encode(program).decode(),
        "notifies": notifies,
        "flags": {key: value for key, value in flags.items() if isinstance(value, str)},
        "preserve_fds": preserved(flags, spec["process"]),
        "kill_at": os.environ.get(_KILL_AT),
        "environ": dict(os.environ),
        "log": [log.file, log.form, log.is_debug],
    }


def _refuse(asked: Arguments) -> None:
    """What is known and cannot be done here is not passed over in silence."""
    if asked.options.get("rootless") == "true":
        raise Unsupported("containers of a user without root's rights are not supported", "run it as root")
    if asked.options.get("cgroup-manager") == "disabled":
        raise Unsupported("a container always gets cgroups of its own", "leave --cgroup-manager out")


def preserved(flags: Mapping[str, Any], process: dict[str, Any]) -> int:
    """How many descriptors from 3 on the program gets. Raises InvalidOption."""
    text = flags.get("preserve-fds", "0")
    if not text.isdigit() or int(text) > 4096:
        raise InvalidOption(f"--preserve-fds {text!r} is no number of descriptors")
    count = int(text)
    passed = os.environ.get("LISTEN_FDS", "")
    if passed.isdigit() and int(passed):
        # Sockets that systemd opened come first (sd_listen_fds(3)); the program is process 1 of its own.
        count += int(passed)
        process["env"] = [*(process.get("env") or ()), f"LISTEN_FDS={passed}", "LISTEN_PID=1"]
        if "LISTEN_FDNAMES" in os.environ:
            process["env"].append(f"LISTEN_FDNAMES={os.environ['LISTEN_FDNAMES']}")
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            raise InvalidOption(f"--preserve-fds {count}: descriptor {fd} is not open") from None
    return count


def _cgroups_path(spec: Mapping[str, Any], name: str) -> str:
    """The path below the hierarchies' mount points; a relative one starts there, too, as with crun."""
    path = spec["linux"].get("cgroupsPath") or name
    return "/" + os.path.normpath("/" + path).lstrip("/")


def _is_systemd(asked: Arguments) -> bool:
    manager = asked.options.get("cgroup-manager")
    return "systemd-cgroup" in asked.options if manager is None else manager == "systemd"


def _plan_cgroup(spec: Mapping[str, Any], name: str, *, is_systemd: bool) -> tuple[dict[str, Any], str]:
    """What is made, written and joined of cgroups, and where. Raises InvalidOption, Unsupported."""
    from pycontainer.runtime import cgroups

    resources, layout = dict(spec["linux"].get("resources") or {}), cgroups.detect()
    # Nothing is allowed that no rule allows, and what every program needs is, as with runc and crun.
    rules = resources.get("devices") or ()
    resources["devices"] = [{"allow": False, "access": "rwm"}, *rules, *cgroups.USUAL_DEVICES]
    if is_systemd:
        made, path = cgroups.scope_plan(resources, spec["linux"].get("cgroupsPath") or "", name, layout)
    else:
        path = _cgroups_path(spec, name)
        made = cgroups.plan(resources, path, layout, is_whole=True)
    return dict(made), path


def _shares(spec: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The group of resctrl to be in, None for none. Raises Unsupported, InvalidOption."""
    described = spec["linux"].get("intelRdt")
    if described is None:
        return None
    root = resctrl.mount_point()
    if root is None:
        raise Unsupported(
            "linux.intelRdt needs resctrl, which is not mounted on this host",
            "mount -t resctrl resctrl /sys/fs/resctrl, if kernel and processor have it; or leave it out",
        )
    return resctrl.plan(described, name, root)


def _seccomp(spec: Mapping[str, Any], root: str) -> tuple[bytes, bool]:
    """The compiled filter, b"" without one, and whether it has a listener. Raises InvalidOption."""
    described = spec["linux"].get("seccomp")
    if not described:
        return b"", False
    from pathlib import Path

    from pycontainer.runtime import seccomp

    flags = described.get("flags") or []
    for flag in flags:
        if flag not in _SECCOMP_FLAGS:
            raise InvalidOption(f"linux.seccomp.flags has {flag!r}; there are {', '.join(_SECCOMP_FLAGS)}")
    try:
        profile = seccomp.parse(described, may_ask=True)
    except (ValueError, KeyError, TypeError) as problem:
        raise InvalidOption(f"linux.seccomp: {problem}") from None
    if profile.notifies and not described.get("listenerPath"):
        raise InvalidOption("linux.seccomp.listenerPath is missing; the action SCMP_ACT_NOTIFY needs it")
    asking = [rule for rule in described.get("syscalls") or () if rule.get("action") == "SCMP_ACT_NOTIFY"]
    if any("write" in rule.get("names", ()) for rule in asking):
        # The first process tells of its listener by write(2), which nobody could answer yet.
        raise InvalidOption("linux.seccomp: SCMP_ACT_NOTIFY cannot be used for the system call write")
    if not profile.notifies and _SECCOMP_FLAGS[-1] in flags:
        described["flags"] = [flag for flag in flags if flag != _SECCOMP_FLAGS[-1]]
    program = seccomp.compile(profile, (), os.uname().machine, cache_directory=Path(root) / ".filters")
    return program, profile.notifies


def become(module: str, request: Mapping[str, Any]) -> NoReturn:
    """Execute the sealed interpreter, which goes on with the request. Raises Unsupported, OSError."""
    executable = os.path.realpath(sys.executable)
    image, env = sealed.sealed_copy(executable)
    fd = os.memfd_create("request", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(json.dumps(request, separators=(",", ":")).encode("utf-8", "surrogateescape"))
    os.set_inheritable(fd, True)
    syscalls.set_name(b"pycontainer-rt")
    program = _MAIN.format(root=_ROOT, module=module, fd=fd)
    args = [executable, "-I", "-S", "-B", "-X", "utf8", "-c", program]
    os.execve(f"/proc/self/fd/{image}", args, env)
