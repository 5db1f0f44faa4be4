"""Programs that others have run at points of a container's life: the runtime-spec's hooks.

A hook gets the container's state on its standard input, the environment that it names, or if it names none
that of whoever runs it, and no descriptor but its streams. It is the same code outside a container and
inside, where nothing may be imported any more. Source: opencontainers/runtime-spec config.md,
"POSIX-platform Hooks".
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from pycontainer.kernel import syscalls

__all__ = ["Hook", "HookFailed", "parse", "run"]

_CLOSE_RANGE_CLOEXEC = 4
_KEPT_BYTES = 4096
_FIELD_TEXT = 2000


class HookFailed(Exception):
    """A hook could not be run, ended with an error or took too long; the text says which and why."""


class Hook(NamedTuple):
    """One program to run; timeout_s is None when it may take as long as it likes, env if it says nothing."""

    path: bytes
    args: tuple[bytes, ...]
    env: tuple[tuple[bytes, bytes], ...] | None
    timeout_s: float | None


def parse(described: Mapping[str, Any]) -> Hook:
    """Read a hook of a specification that has been checked."""
    path = os.fsencode(described["path"])
    args = tuple(os.fsencode(arg) for arg in described.get("args") or ()) or (path,)
    env, given = None, described.get("env")
    if given is not None:
        env = tuple((name, value) for name, _, value in (os.fsencode(each).partition(b"=") for each in given))
    return Hook(path, args, env, described.get("timeout"))


def run(hook: Hook, state: bytes, inherited: Mapping[bytes, bytes], directory: bytes = b"/") -> None:
    """Run the hook in the directory, with state on its standard input, and wait for its end.

    inherited: the environment of one that says nothing of its own, as with runc and crun. Raises HookFailed.
    """
    given = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(given, state)
    os.lseek(given, 0, os.SEEK_SET)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    failed, fail = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(hook, given, writer, fail, dict(inherited if hook.env is None else hook.env), directory)
    for fd in (given, writer, fail):
        os.close(fd)
    try:
        _await(hook, pid, reader, failed)
    finally:
        os.close(reader)
        os.close(failed)


def _become(
    hook: Hook, given: int, writer: int, fail: int, env: Mapping[bytes, bytes], directory: bytes
) -> None:
    try:
        os.umask(0o022)
        for number, fd in ((0, given), (1, writer), (2, writer)):
            os.dup2(fd, number)
        for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(directory)
        syscalls.close_range(3, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)
        os.execve(hook.path, hook.args, env)
    except OSError as error:
        os.write(fail, (error.strerror or "cannot be executed").encode())
    finally:
        os._exit(127)


def _await(hook: Hook, pid: int, reader: int, failed: int) -> None:
    pidfd = os.pidfd_open(pid)
    said = b""
    deadline = None if hook.timeout_s is None else time.monotonic() + hook.timeout_s
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(reader, select.POLLIN)
    is_late = False
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = poller.poll(left)
        if deadline is not None and time.monotonic() >= deadline:
            # What it started and left behind is not ours to find; the hook itself ends here.
            syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
            is_late, deadline = True, None
        fds = [fd for fd, _ in ready]
        if reader in fds:
            chunk = os.read(reader, 65536)
            said = (said + chunk)[-_KEPT_BYTES:]
            if not chunk:
                poller.unregister(reader)
        elif pidfd in fds:
            break
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    name = os.fsdecode(hook.path)
    if is_late:
        raise HookFailed(f"hook {name} did not end within {hook.timeout_s} s")
    problem = os.read(failed, 256).decode("utf-8", "replace")
    if problem:
        raise HookFailed(f"hook {name} cannot be executed: {problem}")
    if status:
        how = f"code {os.WEXITSTATUS(status)}"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            how = f"signal {number} ({(signal.strsignal(number) or 'unknown').lower()})"
        output = said.decode("utf-8", "replace").strip()[-_FIELD_TEXT:]
        raise HookFailed(f"hook {name} ended with {how}" + (f": {output}" if output else ""))
