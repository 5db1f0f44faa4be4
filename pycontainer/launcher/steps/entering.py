"""Entering a container that runs: its namespaces, its null device, its directories.

Until execve the process that does this is not dumpable and belongs to the host's user namespace as far as
ptrace(2) is concerned, so that no program of the container can stop it, read its memory or take its
descriptors (CVE-2016-9962).
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial

from pycontainer.kernel import namespaces, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher import pty
from pycontainer.launcher.steps import identity, process
from pycontainer.launcher.steps.context import CONSOLE, Context, Refused

_NULL = os.makedev(1, 3)
_LAST = 0xFFFFFFFF


def settle(context: Context, count: int) -> None:
    """Be hidden, tied to the parent's life, with the streams in place and nothing open that is not needed.

    count: how many descriptors from 3 on the program gets.
    """
    settling(context, count).perform()


def settling(context: Context, count: int) -> Script:
    """The calls of `settle`."""
    script = Script()
    script.include(process.settling(context))
    needed = {context.monitor, context.error, context.proc, *(tasks for _, tasks in context.cgroups)}
    needed |= {fd for name, fd in context.fds.items() if name in ("init", "root", "answers", CONSOLE)}
    first = 3 + count
    for fd in sorted(fd for fd in needed if fd >= first):
        if fd > first:
            script.close_range(first, fd - 1, 0)
        first = fd + 1
    script.close_range(first, _LAST, 0)
    return script


def live_on(context: Context) -> None:
    """Outlive the process that cloned this one: its caller's subreaper is the parent then."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)


def enter(context: Context, kinds: int, owner: tuple[int, int] | None, inside: tuple[int, int]) -> None:
    """Join those namespaces of the container's first process, its user namespace the last.

    owner: who the root of that is on the host: it gets the pipes, to hand them on to the user.
    inside: its ids there.

    While this process is privileged in the host's user namespace it may join all others, whoever owns
    them; inside, it could not join one that the container shares with another (setns(2)).
    """
    init = context.fds["init"]
    joining(context, kinds & ~namespaces.NEWUSER).perform()
    try:
        if kinds & namespaces.NEWUSER:
            identity.give_pipes((0, 1, 2), owner)
            namespaces.enter(init, namespaces.NEWUSER)
            process.become_root(context, *inside)
    except ProcessLookupError as error:
        raise _ended(error) from None
    os.close(init)
    # A mount namespace is entered at its root; what is a link of the image there is the image's own.
    context.root = os.open(b"/", os.O_PATH | os.O_DIRECTORY)


def joining(context: Context, kinds: int) -> Script:
    """The call by which the process joins those namespaces of the container's first process."""
    script = Script()
    if kinds:
        script.setns(context.fds["init"], kinds, explain=_ended)
    return script


def _ended(error: OSError) -> Exception:
    return Refused("the container has ended") if error.errno == errno.ESRCH else error


def use_terminal(context: Context, rows: int, columns: int) -> None:
    """Make a terminal of the container's own, the controlling one of this session, and hand it over."""
    terminal = pty.open_terminal(context.root, rows, columns)
    pty.hand_over(context.fds[CONSOLE], terminal.master)
    os.close(terminal.master)
    pty.use_terminal(terminal.peer)
    pty.take_control()


def use_null(context: Context, streams: tuple[int, ...]) -> None:
    """Take these streams from the container's own /dev/null: the host's node could be changed through it."""
    fd = open_null(context)
    for stream in streams:
        os.dup2(fd, stream)
    os.close(fd)


def open_null(context: Context) -> int:
    """Open the container's /dev/null, if that is the null device. Raises Refused."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
    rules = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
    # Whatever the container put there instead, one who is in its cgroups opens as it could itself. Another
    # looks at it first: to open a device is to have its driver do something.
    may_open = context.proc < 0
    try:
        fd = syscalls.openat2(context.root, b"/dev/null", flags if may_open else os.O_PATH, rules)
        try:
            found = os.fstat(fd)
            if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NULL:
                raise Refused("/dev/null of the container is not the null device; give all three streams")
            if may_open:
                os.set_blocking(fd, True)
                return os.dup(fd)
            return os.open(b"self/fd/%d" % fd, os.O_RDWR, dir_fd=context.proc)
        finally:
            os.close(fd)
    except OSError as error:
        raise Refused(f"/dev/null of the container: {error.strerror}; give all three streams") from None


def enter_directory(context: Context, path: bytes) -> None:
    """Change to a directory of the container, which must exist, and prove that it lies in the root."""
    entering_directory(context, path).perform()
    os.close(context.root)
    context.root = -1


def entering_directory(context: Context, path: bytes) -> Script:
    """The calls of `enter_directory`, to be made at the root; the directory stays open until execve."""
    rules = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    explain = partial(_no_directory, path)
    script = Script()
    spot = script.openat2(syscalls.AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY, rules, explain=explain)
    script.fchdir(spot, explain=explain)
    script.include(process.checking_directory(context))
    return script


def _no_directory(path: bytes, error: OSError) -> Refused:
    return Refused(f"working directory {os.fsdecode(path)}: {error.strerror}")
