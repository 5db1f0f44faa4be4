"""Launch jobs without an engine: a specification written out by hand, and what comes back of it."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from pycontainer.errors import LaunchError
from pycontainer.launcher import Helper, Job

CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
)
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware"),
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_FLAGS = ["nosuid", "noexec", "nodev"]
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": _FLAGS},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": [*_FLAGS, "mode=1777", "size=65536k"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _FLAGS},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_FLAGS, "ro"]},
]


def base_spec(args: Sequence[str]) -> dict[str, Any]:
    """A runtime specification as Docker would write it, but for cgroups and seccomp."""
    sets = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.2.0",
        "process": {
            "args": list(args),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": sets,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


def merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put changes into a nested document; a value of None removes the key."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value


@attrs.frozen(kw_only=True)
class Ended:
    """What a container left: exit message, output and the container's directory."""

    message: dict[str, Any]
    directory: Path
    pid: int

    @property
    def exit_code(self) -> int:
        return int(self.message["exit_code"])

    @property
    def stdout(self) -> str:
        return base64.b64decode(self.message["stdout_b64"]).decode()

    @property
    def stderr(self) -> str:
        return base64.b64decode(self.message["stderr_b64"]).decode()


class Launcher:
    """Starts containers on one root file system under an overlay, each with a directory below base."""

    def __init__(self, helper: Helper, base: Path, rootfs: Path) -> None:
        self.helper = helper
        self.base = base
        self.rootfs = rootfs
        self._numbers = itertools.count(1)

    def params(
        self, args: Sequence[str], spec: Mapping[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Launch parameters with a fresh container directory; changes go over the defaults."""
        directory = self.base / f"c{next(self._numbers)}"
        for name in ("upper", "work"):
            (directory / name).mkdir(parents=True)
        described = base_spec(args)
        merge(described, spec or {})
        layers = {"lower": [str(self.rootfs)], "upper": f"{directory}/upper", "work": f"{directory}/work"}
        return {
            "id": self.helper.next_id(),
            "spec": described,
            "rootfs": {"overlay": layers},
            "container_dir": str(directory),
            "owned": True,
            "inline_output": 1 << 20,
            **changes,
        }

    def submit(self, params: dict[str, Any], fds: Mapping[str, int] | None = None) -> Job:
        """Ask for a launch; fds by name."""
        given = fds or {}
        params["fd_names"] = {name: index for index, name in enumerate(given)}
        return self.helper.launch(
            params["id"],
            json.dumps(params),
            list(given.values()),
            has_init=bool(params.get("init")),
            has_names="dns" in params,
        )

    def start(self, params: dict[str, Any], fds: Mapping[str, int] | None = None) -> tuple[Job, int]:
        """Launch and wait for the program to run; the job and the program's pid."""
        job = self.submit(params, fds)
        try:
            message = job.receive(20)
            assert message is not None, "the monitor ended without a word"
            assert message["event"] == "started"
        except BaseException:
            job.close()
            raise
        return job, int(message["pid"])

    def run(
        self,
        args: Sequence[str],
        spec: Mapping[str, Any] | None = None,
        *,
        fds: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> Ended:
        """Launch, wait for the end of container and monitor, and return what they said."""
        params = self.params(args, spec, **changes)
        job, pid = self.start(params, fds)
        with job:
            message = job.receive(60)
            assert message is not None, "the monitor ended before it told the exit"
            assert message["event"] == "exited"
            end = job.receive(20)
            assert end is None
        return Ended(message=message, directory=Path(params["container_dir"]), pid=pid)

    def failure(
        self,
        args: Sequence[str],
        spec: Mapping[str, Any] | None = None,
        *,
        fds: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> LaunchError:
        """Launch what cannot start; the error."""
        job = self.submit(self.params(args, spec, **changes), fds)
        with job:
            try:
                message = job.receive(20)
            except LaunchError as error:
                assert job.receive(20) is None
                return error
        raise AssertionError(f"the container started: {message}")


def wait_for_end(pidfd: int, timeout_s: float = 20.0) -> None:
    """Wait until the process has terminated."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(timeout_s * 1000), "the process did not end"


def pidfd_of(pid: int) -> int:
    """A pidfd of the process."""
    return os.pidfd_open(pid)
