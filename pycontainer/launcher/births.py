"""Cloning a first process into its namespaces: new ones, and those that exist, where users are others.

Theory of operation. New namespaces belong to the user namespace that makes them, and only who is root there
may mount in them. So where a container joins a user namespace, its other ones must be made from within; and
from a user namespace, new or not, nobody can join what belongs to the host. So a process in between joins
what is to be joined, the user namespace last, and clones the first process as its own parent's child. The
pidfd comes back over a socket, since the process in between may be in another pid namespace, where numbers
are others.
Source: user_namespaces(7), "Interaction of user namespaces and other types of namespaces"; clone(2).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pycontainer import errors
from pycontainer.kernel import namespaces, syscalls
from pycontainer.launcher import plan

__all__ = ["clone"]


def clone(outline: plan.Outline, given: Mapping[str, int], born_in: int = -1) -> tuple[int, int]:
    """Clone the first process: (0, -1) in it, (pid, pidfd) in its parent, which has to have one thread.

    given: descriptors of the namespaces to join, by the names of the outline. born_in: a cgroup v2 directory.
    Raises OSError; LaunchError when a namespace cannot be joined.
    """
    if not outline.is_born_within:
        return syscalls.clone3(outline.clone_flags, cgroup_fd=born_in)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    between, _ = syscalls.clone3(0)
    if between == 0:
        ours.close()
        if _clone_within(outline, given, born_in, theirs):
            theirs.close()
            return 0, -1
        os._exit(0)
    theirs.close()
    with ours:
        said, fds, _, _ = socket.recv_fds(ours, 16, 1)
    os.waitpid(between, 0)
    if not fds:
        number = int(said or b"5")
        reason = os.strerror(number)
        raise errors.LaunchError(
            f"the container's namespaces cannot be joined: {reason}", step="namespaces", reason=reason
        )
    return _pid_of(fds[0]), fds[0]


def _clone_within(
    outline: plan.Outline, given: Mapping[str, int], born_in: int, parent: socket.socket
) -> bool:
    """In the process in between: tell the parent of its new child; True in the child itself."""
    try:
        for key, kind, _ in outline.joined:
            if kind not in (
                namespaces.NEWUSER,
                namespaces.NEWPID,
            ):  # its pid namespace is the parent's choice
                namespaces.enter(given[key], kind)
        if outline.joins_users:
            namespaces.enter(given["ns:user"], namespaces.NEWUSER)
        pid, pidfd = syscalls.clone3(outline.clone_flags, cgroup_fd=born_in, as_sibling=True)
        if pid == 0:
            return True
        socket.send_fds(parent, [b"0"], [pidfd])
    except OSError as error:
        parent.send(b"%d" % (error.errno or 0))
    return False


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
