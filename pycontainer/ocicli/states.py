"""What is kept of a container between two commands: one directory, one file that is replaced whole.

Theory of operation. The directory is made first and locked; state.json is written before anything is made
on the host and says what has to be taken down, so that `delete --force` can repair whatever a command that
was killed left behind. A process is known by id and start time. The status is never stored: it is worked
out from the process, its cgroup and the socket on which a created container waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pycontainer import errors
from pycontainer.kernel import pidfd
from pycontainer.launcher import freezer, held

__all__ = ["State", "check_id", "default_root", "ids", "now"]

_ID = re.compile(r"[\w+-][\w+.-]{0,1023}", re.ASCII)  # a name with a dot in front is ours
_FILE = "state.json"
_LOCK = "lock"


def default_root() -> str:
    """Where states are kept when nothing is said: gone after a reboot, as the containers are."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() and runtime_dir:
        return os.path.join(runtime_dir, "pycontainer-runtime")
    return "/run/pycontainer-runtime"


def check_id(name: str) -> None:
    """Refuse what cannot be a directory's name of its own. Raises InvalidOption."""
    if _ID.fullmatch(name) is None or name in (".", ".."):
        raise errors.InvalidOption(f"invalid container id {name!r}: use letters, digits and _ + . -")


def now() -> str:
    """The time of day as RFC 3339 has it, in nanoseconds."""
    ns = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def ids(root: str) -> list[str]:
    """The containers below root."""
    try:
        with os.scandir(root) as entries:
            found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if _ID.fullmatch(name))


class State:
    """One container's directory, held by descriptor, and the fields of its state.json."""

    def __init__(self, root: str, name: str, directory: int) -> None:
        self.root = root
        self.id = name
        self.directory = directory
        self.fields: dict[str, Any] = {}
        self._lock = -1

    # -- making and finding

    @classmethod
    def make(cls, root: str, name: str) -> State:
        """Take the id, and lock it. Raises AlreadyExists, InvalidOption."""
        check_id(name)
        os.makedirs(root, mode=0o700, exist_ok=True)
        path = os.path.join(root, name)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass  # whoever made it may have been killed before it made anything else
        state = cls(root, name, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        if not state.lock(wait=False) or state.read():
            raise errors.AlreadyExists(f"container with id {name!r} exists already; delete it first")
        state.fields = {"id": name, "boot_id": _boot_id(), "created": now()}
        return state

    @classmethod
    def find(cls, root: str, name: str) -> State:
        """An existing container. Raises NotFound."""
        check_id(name)
        try:
            path = os.path.join(root, name)
            state = cls(root, name, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        except FileNotFoundError:
            raise errors.NotFound(f"container {name!r} does not exist") from None
        state.read()
        return state

    def path(self, name: str) -> str:
        """The path of a file of the state directory."""
        return os.path.join(self.root, self.id, name)

    def read(self) -> bool:
        """Read the fields again; False when nothing was written yet."""
        try:
            fd = os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.directory)
        except FileNotFoundError:
            return False
        with open(fd, "rb") as file:
            self.fields = json.loads(file.read())
        return True

    def write(self, **changes: Any) -> None:
        """Change fields, and replace the file."""
        self.fields.update(changes)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(f".{_FILE}", flags, 0o600, dir_fd=self.directory), "w") as file:
            json.dump(self.fields, file, separators=(",", ":"))
        os.rename(f".{_FILE}", _FILE, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    # -- one at a time

    def lock(self, *, wait: bool = True) -> bool:
        """Be the only one that changes the container, until this process ends or `unlock`.

        False when another is, and wait is not asked for. Raises NotFound when it was deleted meanwhile.
        """
        try:
            fd = os.open(
                _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.directory
            )
        except FileNotFoundError:
            raise errors.NotFound(f"container {self.id!r} does not exist") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock = fd
        try:
            here = os.stat(os.path.join(self.root, self.id), follow_symlinks=False)
        except FileNotFoundError:
            here = None
        if here is None or here.st_ino != os.fstat(self.directory).st_ino:
            self.unlock()
            raise errors.NotFound(f"container {self.id!r} does not exist")
        return True

    def unlock(self) -> None:
        """Let others change it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait to be the only one, read what the one before did, and let go afterwards."""
        self.lock()
        try:
            self.read()
            yield
        finally:
            self.unlock()

    def _is_locked_elsewhere(self) -> bool:
        if self._lock >= 0:
            return False
        try:
            is_free = self.lock(wait=False)
        except errors.NotFound:
            return False
        self.unlock()
        return not is_free

    # -- what it is like

    def process(self) -> int | None:
        """A pidfd of the first process while it lives."""
        pid = self.fields.get("pid")
        if not pid or self.fields.get("boot_id") != _boot_id():
            return None
        return pidfd.open_checked(pid, self.fields["pid_start"])

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        process = self.process()
        if self.fields.get("phase", "creating") == "creating":
            if process is not None:
                os.close(process)
            return "creating" if self._is_locked_elsewhere() or self._lock >= 0 else "stopped"
        if process is None:
            return "stopped"
        os.close(process)
        if freezer.is_frozen(self.fields["cgroup"].get("freeze")):
            return "paused"
        return "created" if held.waits(self.directory) else "running"

    def described(self, status: str | None = None) -> dict[str, Any]:
        """The state as the runtime-spec has it, with what runc tells besides."""
        status = status or self.status()
        made: dict[str, Any] = {
            "ociVersion": self.fields.get("ociVersion", ""),
            "id": self.id,
            "pid": 0 if status == "stopped" else self.fields.get("pid", 0),
            "status": status,
            "bundle": self.fields.get("bundle", ""),
            "rootfs": self.fields.get("rootfs", ""),
            "created": self.fields.get("created", ""),
            "owner": self.fields.get("owner", ""),
        }
        if self.fields.get("annotations"):
            made["annotations"] = self.fields["annotations"]
        return made

    def hooks(self, kind: str) -> list[Mapping[str, Any]]:
        """The hooks of a kind, as the specification had them."""
        found: list[Mapping[str, Any]] = (self.fields.get("hooks") or {}).get(kind) or []
        return found

    def remove(self) -> None:
        """Forget the container; the state goes last, so that a killed removal can be repeated."""
        for name in os.listdir(self.directory):
            if name not in (_FILE, _LOCK):
                os.unlink(name, dir_fd=self.directory)
        for name in (_FILE, _LOCK):
            try:
                os.unlink(name, dir_fd=self.directory)
            except FileNotFoundError:
                pass
        os.rmdir(os.path.join(self.root, self.id))
