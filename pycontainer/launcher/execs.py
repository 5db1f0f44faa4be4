"""The exec job: the parent of one further process of a running container, until that has ended.

Theory of operation. Forked from the helper, it makes the cgroup that holds the process's descendants,
writes the record, joins (`joining`), and is one loop over the report pipe, the process's pidfd, the
channel to the caller and the caller's pidfd. The streams are the caller's own descriptors, handed through:
nothing is pumped here. It reaps at once, for the end of a pid namespace waits until all in it are reaped.

Of the caller's own, the process ends with the caller: when the channel closes, or the pidfd fires, before
it has ended, all its descendants are killed. After it has ended by itself, what it left running in the
background is the container's from then on. A detached one is nobody's, and dies with the container only.

Messages: started (with the process's pidfd), exited, or an error; to it: {"kill": true}, which ends the
process with all its descendants.
"""

from __future__ import annotations

import binascii
import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from pycontainer.checkpoints import reached
from pycontainer.kernel import namespaces, pidfd, syscalls
from pycontainer.launcher import eventlog, execrecords, joining, plan, pty
from pycontainer.launcher.monitor.loop import Loop
from pycontainer.launcher.proctree import Tree
from pycontainer.launcher.protocol import Channel, describe_error

__all__ = ["CHECKPOINTS", "kill", "run", "sweep", "warm"]

CHECKPOINTS = (
    "exec.tree.made",
    "exec.process.joined",
    "exec.process.executed",
    "exec.start.told",
    "exec.exit.seen",
    "exec.exit.told",
)
"""The named steps of an exec in this process, in order."""

_SAMPLE = json.dumps(
    {
        "job": "exec",
        "params": {
            "id": "0" * 64,
            "user": "0",
            "groups": [],
            "event_attributes": {"name": "sample"},
            "seccomp_b64": "A" * 6000,
            "spec": {
                "process": {
                    "args": ["/bin/true"],
                    "cwd": "/",
                    "env": [f"NAME{number}=value" for number in range(8)],
                    "noNewPrivileges": True,
                    "capabilities": {
                        name: ["CAP_KILL"] * 14 for name in ("bounding", "effective", "permitted")
                    },
                },
                "linux": {"namespaces": [{"type": name} for name in namespaces.FLAGS]},
            },
        },
    }
)
"""Like a request as they usually are."""
_SOON_S = 0.01
"""Programs that end within it leave their parent to the next one."""
_LEAVING_S = 0.002
_LEAVING_TRIES = 25


def run(params: dict[str, Any], fds: list[int], channel: Channel, goes_on: Callable[[], None]) -> bool:
    """Be the parent of one process of a running container. See the module's text for the messages.

    goes_on: called when the program takes time. Returns whether this process can be another one's parent.
    params: those of `joining.join`, and exec_id, pid and pid_start of the container's first process,
    container_dir, is_detached, seccomp_b64, record (what is to be written down of it), events_dir and
    event_attributes.
    """
    syscalls.set_name(b"pycontainer-exe")
    try:
        parent = _Parent(params, fds, channel)
        parent.start()
    except BaseException as error:  # the edge of the process: a failed start is the caller's to see
        try:
            channel.send({"error": describe_error(error, "exec")})
        except OSError:
            pass
        return False
    parent.serve(goes_on)
    # The record of a detached one may have to tell, by its parent's end, that it has ended.
    return not params["is_detached"]


def kill(params: dict[str, Any], _fds: list[int], _report: object) -> dict[str, Any]:
    """Kill a running exec with all its descendants. params: container_dir, exec_id."""
    fields = execrecords.read(params["container_dir"], params["exec_id"])
    if fields is None or not fields["is_running"]:
        return {"killed": False}
    process = pidfd.open_checked(fields["pid"], fields["pid_start"]) if "pid" in fields else None
    if process is not None:
        pidfd.send_signal(process, signal.SIGKILL)
    Tree(fields["cgroup"], fields["id"]).kill()
    return {"killed": True}


def warm() -> None:
    """Go once through what an exec needs, so that its pages are this process's own when it is asked."""
    request = json.loads(_SAMPLE)
    params = request["params"]
    plan.plan_join(params["spec"], params, seccomp=bytes(4096))
    plan.environment(params["spec"])
    os.close(os.open("/proc/self/ns/pid", os.O_RDONLY))
    pidfd.start_time(os.getpid())
    handle = os.pidfd_open(os.getpid())
    loop = Loop()
    loop.add(handle, lambda _: None)
    loop.remove(handle)
    os.close(handle)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(ours).send(request)
        Channel(theirs).receive()


def sweep(params: dict[str, Any], _fds: list[int], _report: object) -> dict[str, Any]:
    """Kill what is left of a container's execs whose parents were killed. params: container_dir."""
    return {"swept": execrecords.sweep(params["container_dir"])}


class _Parent:
    """State of the one process."""

    def __init__(self, params: dict[str, Any], fds: list[int], channel: Channel) -> None:
        self.params = params
        self.channel: Channel | None = channel
        self.fds = {name: fds[index] for name, index in params["fd_names"].items()}
        self.directory = os.open(params["container_dir"], os.O_RDONLY | os.O_DIRECTORY)
        self.tree = Tree(params["cgroup"], params["exec_id"])
        self.record = execrecords.Writer(self.directory, params["exec_id"])
        self.events = eventlog.Reporter(params)
        self.loop = Loop()
        self.joined = joining.Joined(-1, -1, -1)
        self.said = b""
        self.has_ended = False
        self.is_left = False
        """Whether the caller has gone before the process ended."""

    # -- start -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Join, and wait until the program is executed. Raises LaunchError, WrongState and others."""
        init = pidfd.open_checked(self.params["pid"], self.params["pid_start"])
        if init is None:
            raise joining.ended()
        self.tree.make()
        reached("exec.tree.made")
        try:
            self._write_record()
            self._join(init)
            reached("exec.process.joined")
        except BaseException:
            self._forget()
            raise
        finally:
            os.close(init)
        self._await_executed()
        reached("exec.process.executed")
        started_ns = time.time_ns()
        me_pid = self.joined.pid
        self.record.add({"pid": me_pid, "pid_start": pidfd.start_time(me_pid), "started_at_ns": started_ns})
        self._send({"event": "started", "pid": me_pid}, (self.joined.pidfd,))
        reached("exec.start.told")
        shown = " ".join(self.params["spec"]["process"]["args"])
        named = {"execID": self.params["exec_id"]}
        self.events.report(f"exec_create: {shown}", named, time_ns=self.params["record"]["created_at_ns"])
        self.events.report(f"exec_start: {shown}", named, time_ns=started_ns)

    def _write_record(self) -> None:
        fields = {
            **self.params["record"],
            "id": self.params["exec_id"],
            "parent": [os.getpid(), pidfd.start_time(os.getpid())],
            "is_detached": self.params["is_detached"],
            "cgroup": self.params["cgroup"],
        }
        try:
            self.record.begin(fields)
        except FileNotFoundError:
            raise joining.ended() from None
        except OSError as error:
            # On a full disk one must be able to tidy up; only what is to be found again needs a record.
            if self.params["is_detached"] or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def _join(self, init: int) -> None:
        streams = {
            name: fd for name, fd in self.fds.items() if name in ("stdin", "stdout", "stderr", "console")
        }
        params = {**self.params, "cgroup": self.tree.cgroup}
        ours = self._make_console(streams)
        seccomp = binascii.a2b_base64(self.params["seccomp_b64"])
        self.joined = joining.join(params, init, streams, seccomp=seccomp, can_wait=True)
        # Whoever reads the output waits for the process's end of it only.
        for name, fd in streams.items():
            os.close(fd)
            self.fds.pop(name, None)
        if ours is not None:
            self.loop.add(ours, lambda _: self._see_console(ours))

    def _make_console(self, streams: dict[str, int]) -> socket.socket | None:
        """A detached terminal has nobody but us to hold it open, and to take what is written to it."""
        if not self.params["is_detached"] or not self.params["spec"]["process"].get("terminal"):
            return None
        ours, theirs = socket.socketpair()
        streams["console"] = theirs.detach()
        return ours

    def _see_console(self, console: socket.socket) -> None:
        self.loop.remove(console)
        master = pty.receive_master(console.fileno())
        console.close()
        if master is not None:
            os.set_blocking(master, False)
            self.loop.add(master, lambda _: self._discard(master))

    def _discard(self, master: int) -> None:
        try:
            os.read(master, 1 << 16)
        except BlockingIOError:
            pass
        except OSError:  # EIO: nobody has the other side open
            self.loop.remove(master)

    def _await_executed(self) -> None:
        self.loop.add(self.joined.report, self._see_report)
        assert self.channel is not None
        self.loop.add(self.channel, self._serve_channel)
        if "caller" in self.fds and not self.params["is_detached"]:
            self.loop.add(self.fds["caller"], self._see_caller_end)
        self.loop.run_until(lambda: self.joined.report < 0)
        error = joining.failure(self.joined, self.said)
        if error is not None:
            self._forget()
            raise error

    def _see_report(self, _: int) -> None:
        chunk = os.read(self.joined.report, 4096)
        self.said += chunk
        if not chunk:
            self.loop.remove(self.joined.report)
            os.close(self.joined.report)
            self.joined = self.joined._replace(report=-1)

    def _forget(self) -> None:
        if self.joined.pid > 0:
            pidfd.send_signal(self.joined.pidfd, signal.SIGKILL)
            os.waitpid(self.joined.pid, 0)
        self.tree.kill()
        self._remove_tree()
        self.record.remove()

    # -- life ------------------------------------------------------------------------------------

    def serve(self, goes_on: Callable[[], None]) -> None:
        """Wait for the process's end, tell it and tidy up."""
        self.loop.add(self.joined.pidfd, self._see_end)
        self.loop.at(time.monotonic() + _SOON_S, goes_on)
        self.loop.run_until(lambda: self.has_ended)
        self.loop.remove(self.joined.pidfd)
        code, number = self._reap()
        ended_ns = time.time_ns()
        reached("exec.exit.seen")
        if self.params["is_detached"]:
            self.record.add({"exit_code": code, "finished_at_ns": ended_ns})
        else:
            self.record.remove()  # once its caller knows, nobody finds it running
        leaves_others = bool(self.tree.members())
        self._send({"event": "exited", "exit_code": code, "signal": number, "leaves_others": leaves_others})
        reached("exec.exit.told")
        named = {"execID": self.params["exec_id"], "exitCode": str(code)}
        self.events.report("exec_die", named, time_ns=ended_ns)
        self._leave(leaves_others)

    def _see_end(self, _: int) -> None:
        self.has_ended = True

    def _reap(self) -> tuple[int, int]:
        """Exit code as a shell has it, and the signal that ended the process or 0."""
        _, wait_status = os.waitpid(self.joined.pid, 0)
        if os.WIFSIGNALED(wait_status):
            number = os.WTERMSIG(wait_status)
            return 128 + number, number
        return os.WEXITSTATUS(wait_status), 0

    def _leave(self, leaves_others: bool) -> None:
        """Give what still runs to the container, once the caller needs no way to end it; forget the rest."""
        if self.is_left:
            self.tree.kill()
        elif self.channel is not None and leaves_others and not self.params["is_detached"]:
            self.loop.run_until(lambda: self.channel is None)
            self.tree.release()
        self._remove_tree()
        execrecords.sweep(self.directory)

    def _remove_tree(self) -> None:
        for _ in range(_LEAVING_TRIES):
            if self.tree.remove():
                return
            if self.tree.members():
                self.tree.release()
            # The kernel lets go of a dead process's cgroup a little after it was reaped, and tells nobody.
            select.select((), (), (), _LEAVING_S)

    def kill(self) -> None:
        """End the process and all its descendants."""
        pidfd.send_signal(self.joined.pidfd, signal.SIGKILL)
        self.tree.kill()

    # -- the caller ------------------------------------------------------------------------------

    def _serve_channel(self, _: int) -> None:
        assert self.channel is not None
        if not self.channel.fill():
            self._close_channel()
            self._see_left()
            return
        while (message := self.channel.take()) is not None:
            if message.get("kill"):
                self.kill()

    def _see_caller_end(self, _: int) -> None:
        self.loop.remove(self.fds["caller"])
        if self.channel is not None:
            self._close_channel()
            self._see_left()

    def _see_left(self) -> None:
        if not self.has_ended and not self.params["is_detached"]:
            self.is_left = True
            self.kill()

    def _send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        if self.channel is None:
            return
        try:
            self.channel.send(message, fds)
        except OSError:
            self._close_channel()

    def _close_channel(self) -> None:
        if self.channel is not None:
            self.loop.remove(self.channel)
            self.channel.close()
            self.channel = None
