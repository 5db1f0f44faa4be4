"""What only a container does that is created first and started later, with no monitor to watch it."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
from typing import Any

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher import hooks
from pycontainer.launcher.steps import identity, process
from pycontainer.launcher.steps.context import Context, Refused

ASK_HOOKS = 0xFE
"""First byte of a message to the parent: the mounts are made, run the hooks of its namespaces."""
ASK_LISTENER = 0xFD
"""First byte of a message to the parent: take the filter's listener, whose number follows."""
LISTENER = struct.Struct("<BI")
GO_ON = b"g"
START = b"s"
"""What is written to the socket in the state directory to have the program executed."""

_SYS_PERSONALITY = 135 if syscalls.IS_X86_64 else 92
_SYS_IOPRIO_SET = 251 if syscalls.IS_X86_64 else 30
_IOPRIO_WHO_PROCESS = 1
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_TSYNC = 1
_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER
_NULL = os.makedev(1, 3)

Hooks = tuple[hooks.Hook, ...]


def let_go(context: Context, count: int) -> None:
    """Let go of what the creating process has of its own: locks would be held here, signals ignored."""
    process.reset_signals()
    named = (context.monitor, context.go, context.error, *context.fds.values(), *context.trees)
    needed = {*named, *(tasks for _, tasks in context.cgroups)}
    syscalls.close_all_but((*range(3 + count), *needed))


def attach_directory(context: Context, place: bytes) -> None:
    """Hang the root on the directory that it is a copy of, where hooks look for it."""
    context.root = context.fds["root"]
    spot = os.open(place, _DIRECTORY)
    try:
        mounts.attach(context.root, spot)
    finally:
        os.close(spot)


def await_hooks(context: Context) -> None:
    """Let the parent run the hooks that belong to its namespaces."""
    os.write(context.error, bytes((ASK_HOOKS,)))
    _go_on(context)


def _go_on(context: Context) -> None:
    if os.read(context.fds["answers"], 1) != GO_ON:
        os._exit(1)


def run_hooks(context: Context, kind: str, wanted: Hooks, state: dict[str, Any] | str) -> None:
    """Run hooks of the container's namespaces, told the state, which may be JSON text. Raises Refused."""
    described = json.loads(state) if isinstance(state, str) else state
    text = json.dumps({**described, "pid": os.getpid()}).encode()
    # One that is a program of the container gets nothing of the host's environment.
    inherited = context.env if kind == "startContainer" else os.environb
    for index, hook in enumerate(wanted):
        try:
            hooks.run(hook, text, inherited)
        except hooks.HookFailed as failed:
            raise Refused(f"error running {kind} hook #{index}: {failed}") from None


def seal_dev(context: Context) -> None:
    """Make /dev read-only, now that all its nodes are made."""
    mounts.set_attributes(context.dev, mounts.ATTR_RDONLY)


def set_root_propagation(context: Context, kind: int, is_recursive: bool) -> None:
    """Set how mounts below the root propagate; it was private while it was put together."""
    mounts.set_propagation(context.root, kind, recursive=is_recursive)


def own_streams(context: Context) -> None:
    """Give pipes and terminals among the streams to the user, who may open /dev/stdout again."""
    for fd in (0, 1, 2):
        found = os.fstat(fd)
        if found.st_rdev == _NULL or found.st_uid == context.uid:
            continue
        if stat.S_ISFIFO(found.st_mode) or os.isatty(fd):
            try:
                os.fchown(fd, context.uid, -1)
            except OSError as error:
                # A stream of another user namespace stays its owner's.
                if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS):
                    raise


def use_ids(context: Context, uid: int, gid: int, additional: tuple[int, ...]) -> None:
    """Use ids as given, with exactly these further groups."""
    identity.use_ids(context, uid, gid, additional)
    context.groups = additional


def set_personality(context: Context, domain: int) -> None:
    """Set the execution domain, which decides what uname(2) calls the machine."""
    syscalls.raw(_SYS_PERSONALITY, domain)


def set_io_priority(context: Context, priority: int) -> None:
    """Set the class and level that the block scheduler goes by (ioprio_set(2))."""
    syscalls.raw(_SYS_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, priority)


def keep_descriptors(context: Context, count: int) -> None:
    """Let the program inherit the descriptors from 3 on that the caller passed."""
    for fd in range(3, 3 + count):
        os.set_inheritable(fd, True)


def find_program(context: Context, args: tuple[bytes, ...]) -> None:
    """Refuse a program that is not there or cannot be executed, while the one who creates still listens."""
    program = args[0]
    if b"/" in program:
        _check_program(program)
        return
    problem: Refused | None = None
    for place in context.env.get(b"PATH", process.DEFAULT_PATH).split(b":"):
        if place.startswith(b"/"):
            try:
                _check_program(place + b"/" + program)
                return
            except Refused as refused:
                if refused.exit_code == 126 and problem is None:
                    problem = refused
    raise problem or Refused(f'exec: "{os.fsdecode(program)}": executable file not found in $PATH', 127)


def _check_program(path: bytes) -> None:
    shown = os.fsdecode(path)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise Refused(f'exec: "{shown}": is a directory', 126)
        if not _may_execute(path):
            raise Refused(f'exec: "{shown}": permission denied', 126)
    except OSError as error:
        code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        raise Refused(f'exec: "{shown}": stat {shown}: {(error.strerror or "").lower()}', code) from None


def _may_execute(path: bytes) -> bool:
    if os.access(path, os.X_OK, effective_ids=True):
        return True
    # By now the filter may refuse faccessat2(2), which older profiles do not know: the root is always there.
    is_refused = not os.access(b"/", os.F_OK, effective_ids=True)
    return is_refused and os.access(path, os.X_OK)


def load_listened_filter(context: Context, program: bytes, flags: int) -> None:
    """Install a filter that asks a listener, and let the parent hand it over before anything can ask."""
    # There is one thread; and the answer of the call is the listener, not a thread that did not follow.
    listener = syscalls.seccomp_load(program, flags & ~_TSYNC | _NEW_LISTENER)
    os.write(context.error, LISTENER.pack(ASK_LISTENER, listener))
    _go_on(context)
    os.close(listener)


def await_start(context: Context, count: int) -> None:
    """Tell the parent that all is made, and wait for the word to go on; report to whoever says it.

    The parent may end from here on: whose child this process then is, the caller has settled.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    os.write(context.error, b"\xff")
    os.close(context.error)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=context.fds["start"])
    # It may wait for long, and others may join the container meanwhile: it holds nothing of the host.
    syscalls.close_all_but((*range(3 + count), listener.fileno()))
    while True:
        connection, _ = listener.accept()
        # Others connect to see whether somebody waits here, and say nothing.
        if os.read(connection.fileno(), 1) == START:
            context.error = connection.detach()
            listener.close()
            return
        connection.close()
