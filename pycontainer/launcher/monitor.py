"""The monitor: one small process per container, its parent from the first breath to the last record.

Theory of operation. The helper forks it; it prepares the cgroups, clones the container's first process
with all namespaces at once, and then is one poll(2) loop over a handful of descriptors: the report pipe
(its end means "executed"), the process's pidfd, the two output pipes, the channel to the caller and the
caller's pidfd. Everything is written down before it is said: status.json first, then the message.

After the exit only what the caller waits for comes first: exit code, the rest of the output, the figures.
Taking down the mount namespace, the cgroups and the files follows when the caller already knows; for
that the monitor holds the mount namespace open, else the dying process would take it down itself.

An owned container ends with its caller (its channel closes, or its pidfd fires). A detached one outlives
caller and helper; its channel is closed once it has started.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import resource  # noqa: F401  (os.wait4 imports it when first called, which costs half a millisecond)
import select
import signal
import time
from typing import Any

from pycontainer import errors
from pycontainer.checkpoints import reached
from pycontainer.kernel import namespaces, pidfd, syscalls
from pycontainer.launcher import cgroup, child, logs, plan, status, trees
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.protocol import Channel, describe_error
from pycontainer.launcher.steps import mounts, rootfs
from pycontainer.launcher.steps.context import Context, Refused

__all__ = ["CHECKPOINTS", "launch"]

CHECKPOINTS = (
    "start.cgroup.made",
    "start.rootfs.mounted",
    "start.init.cloned",
    "start.process.executed",
    "start.status.written",
    "stop.exit.seen",
    "stop.status.written",
    "remove.cgroup.removed",
    "remove.files.removed",
)
"""The named steps of a container's life in this process, in order."""

_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_MAX_REPORT = 4096
_LOCK_PAUSE_S = 0.002
_SETTLED_MS = 10


def launch(params: dict[str, Any], fds: list[int], channel: Channel, ahead: Ahead) -> None:
    """Start a container and be its monitor until it has ended and is cleaned up.

    The messages are those of the launch job: started, exited, or an error.
    """
    syscalls.set_name(b"pycontainer-mon")
    monitor = _Monitor(params, fds, channel, ahead)
    try:
        monitor.take_over()
    except errors.PycontainerError as error:
        channel.send({"error": describe_error(error, "launch")})
        return
    try:
        monitor.start()
    except BaseException as error:  # the edge of the process: a failed start is the caller's to see
        monitor.abandon(error)
        return
    monitor.watch()
    monitor.finish()


class _Output:
    """One of the container's output streams."""

    __slots__ = ("fd", "kept", "number")

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self.kept: bytearray | None = bytearray()
        """The whole output so far, None once it is too long to hand over."""


class _Monitor:
    """State of the one container of this process."""

    def __init__(self, params: dict[str, Any], fds: list[int], channel: Channel, ahead: Ahead) -> None:
        self.params = params
        self.ahead = ahead
        self.fds = {name: fds[index] for name, index in (params.get("fd_names") or {}).items()}
        self.channel: Channel | None = channel
        self.is_owned = bool(params.get("owned"))
        self.cgroup: dict[str, Any] = params.get("cgroup") or {}
        self.directory = os.open(params["container_dir"], os.O_RDONLY | os.O_DIRECTORY)
        log = params.get("log") or {}
        self.log = logs.LogWriter(
            self.directory, max_size=log.get("max_size"), max_files=log.get("max_files") or 1
        )
        self.inline_left = int(params.get("inline_output") or 0)
        self.buffer = bytearray()
        self.outputs: dict[int, _Output] = {}
        self.poller = select.poll()
        self.fields: dict[str, Any] = {"id": params["id"], "boot_id": status.BOOT_ID}
        self.pid = -1
        self.pidfd = -1
        self.report = -1
        self.said = b""
        self.mount_namespace = -1
        self.has_own_pids = True
        self.code = -1

    # -- start -----------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Become the container's only monitor, until this process ends. Raises WrongState, NotFound.

        The lock tells others that a monitor lives before it has said so. The last run's monitor may
        still be tidying up; or a caller died after it had asked for a start, and that one comes first.
        """
        try:
            lock = os.open(status.LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self.directory)
            while not self._has_locked(lock):
                time.sleep(_LOCK_PAUSE_S)
        except FileNotFoundError:
            raise errors.NotFound(f"container {self.params['id']} was removed") from None

    def _has_locked(self, lock: int) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if status.is_running(self.directory):
                raise errors.WrongState(
                    f"container {self.params['id'][:12]} was started meanwhile", verb="start", state="running"
                ) from None
            return False
        return True

    def start(self) -> None:
        """Clone the process and wait until it executes the program. Raises LaunchError and others."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        outline = plan.outline(self.params["spec"])
        self.has_own_pids = outline.has_own_pids
        cgroup.make(self.cgroup)
        reached("start.cgroup.made")
        self._clone(outline)
        self._prepare_running()
        self._await_exec(outline)
        reached("start.process.executed")
        status.replace(self.directory)
        reached("start.status.written")
        self._send({"event": "started", "pid": self.pid, "pid_start": self.fields["pid_start"]})
        status.reserve(self.directory)
        if not self.is_owned:
            self._close_channel()

    def _prepare_running(self) -> None:
        """Use the time in which the clone sets itself up for what will be needed when it is done."""
        me = os.getpid()
        self.fields.update(
            state="running",
            monitor_pid=me,
            monitor_start=pidfd.start_time(me),
            started_at_ns=time.time_ns(),
        )
        status.prepare(self.directory, self.fields)

    def _seccomp(self) -> bytes:
        if "seccomp" in self.fds:
            # The descriptor is shared with other launches, and its offset with it.
            program = os.pread(self.fds["seccomp"], os.fstat(self.fds["seccomp"]).st_size, 0)
            if not program:
                raise errors.LaunchError("the system call filter is empty", step="seccomp", reason="empty")
            return program
        return binascii.a2b_base64(self.params.get("seccomp_b64") or "")

    def _clone(self, outline: plan.Outline) -> None:
        """Clone the first process into its namespaces and give it what only its parent can."""
        me = os.pidfd_open(os.getpid())
        given = self._open_root()
        given["stdin"] = self.fds.pop("stdin") if "stdin" in self.fds else os.open("/dev/null", os.O_RDONLY)
        for name, number in (("stdout", logs.STDOUT), ("stderr", logs.STDERR)):
            reader, given[name] = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            self.outputs[reader] = _Output(reader, number)
        self.report, report = os.pipe2(os.O_CLOEXEC)
        go, self_go = os.pipe2(os.O_CLOEXEC)
        trees = self._open_trees(outline)
        self._open_namespaces(outline, given)
        seccomp = self._seccomp()
        tasks = cgroup.open_tasks(self.cgroup)
        born_in = -1
        if self.cgroup.get("clone_into"):
            born_in = os.open(self.cgroup["clone_into"], os.O_RDONLY | os.O_DIRECTORY)
        born_with = self.ahead.fits(outline)
        self.pid, self.pidfd = syscalls.clone3(outline.clone_flags & ~born_with, cgroup_fd=born_in)
        if self.pid == 0:
            os.close(self_go)  # else our own copy would keep the monitor's death from being seen
            context = Context(monitor=me, go=go, error=report, fds=given, trees=trees, cgroups=tasks)
            child.run(self.params, seccomp, context, self.ahead)
        self.ahead.discard()
        for fd in (me, report, *given.values(), *trees, *dict(tasks).values()):
            os.close(fd)
        if born_in >= 0:
            os.close(born_in)
        reached("start.init.cloned")
        self._hold_mounts()
        try:
            self._map_ids(outline)
            # Our own reading end is still open: a clone that failed already must not kill us by SIGPIPE.
            os.write(self_go, b"g")
        except errors.LaunchError:
            if not pidfd.has_ended(self.pidfd):
                raise
            # It failed first; what it reports is the cause.
        finally:
            os.close(go)
            os.close(self_go)
        self.fields.update(pid=self.pid, pid_start=pidfd.start_time(self.pid))

    def _open_root(self) -> dict[str, int]:
        layers = plan.overlay(self.params)
        try:
            if layers is None:
                return {"root": rootfs.copy_directory(os.fsencode(self.params["rootfs"]["dir"]))}
            root = rootfs.assemble(*layers)
            reached("start.rootfs.mounted")
        except OSError as error:
            raise errors.LaunchError(
                f"rootfs: the container's file system cannot be mounted: {error.strerror}",
                step="rootfs",
                reason=str(error),
            ) from error
        return {} if root is None else {"root": root}

    def _open_trees(self, outline: plan.Outline) -> list[int]:
        try:
            return mounts.copy_trees(outline.trees)
        except Refused as refused:
            raise errors.LaunchError(refused.message, step="mounts", reason=refused.message) from None

    def _open_namespaces(self, outline: plan.Outline, given: dict[str, int]) -> None:
        for key, kind, path in outline.joined:
            try:
                given[key] = os.open(path, os.O_RDONLY)
                if kind == namespaces.NEWPID:
                    namespaces.enter(given[key], kind)  # for the children only (setns(2))
            except OSError as error:
                raise errors.LaunchError(
                    f"the namespace {path} cannot be joined: {error.strerror}",
                    step="namespaces",
                    reason=str(error),
                ) from error
        if outline.new & namespaces.NEWTIME:
            # Only before the first process is in it can a time namespace be set (time_namespaces(7)).
            namespaces.leave(namespaces.NEWTIME)
        if outline.time_offsets:
            with open("/proc/self/timens_offsets", "wb", buffering=0) as file:
                file.write(b"".join(outline.time_offsets))

    def _map_ids(self, outline: plan.Outline) -> None:
        for name, content in (("uid_map", outline.uid_map), ("gid_map", outline.gid_map)):
            if not content:
                continue
            try:
                with open(f"/proc/{self.pid}/{name}", "wb", buffering=0) as file:
                    file.write(content)
            except OSError as error:
                raise errors.LaunchError(
                    f"the ids of the user namespace cannot be mapped: {error.strerror}",
                    step="user namespace",
                    reason=f"{name}: {error.strerror}",
                ) from error

    def _hold_mounts(self) -> None:
        try:
            self.mount_namespace = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY)
        except OSError:
            self.mount_namespace = -1  # only the time of the take-down is lost

    def _await_exec(self, outline: plan.Outline) -> None:
        """Read the report to its end while the output is pumped. Raises LaunchError."""
        for fd in self.outputs:
            self.poller.register(fd, _READ)
        self.poller.register(self.report, _READ)
        self._watch_caller()
        while self.report >= 0:
            self._serve_ready(None)
        described, failure = child.parse(self.said)
        if failure is not None:
            raise self._failed(failure)
        if described is None:
            raise self._killed_early()
        self.ahead.learn(outline, described)

    def _failed(self, failure: child.Failure) -> Exception:
        """What the child reported, as the error that the caller gets."""
        spec = self.params["spec"]
        try:
            # The same steps that the child counted: with a place for the filter if it had one.
            has_filter = "seccomp" in self.params.get("fd_names", ()) or self.params.get("seccomp_b64")
            steps = plan.plan(spec, self.params, seccomp=b"filter" if has_filter else b"")
        except errors.InvalidInput as error:
            return error
        step = steps[failure.step].name if failure.step < len(steps) else "plan"
        reason = failure.text or os.strerror(failure.errno)
        message = reason if failure.exit_code != 125 else f"{step}: {reason}"
        return errors.LaunchError(message, step=step, reason=reason, exit_code=failure.exit_code)

    def _killed_early(self) -> errors.LaunchError:
        _, wait_status, _ = os.wait4(self.pid, 0)
        self.pid = -1
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
        reason = f"killed by signal {number}" if number else f"ended with code {os.WEXITSTATUS(wait_status)}"
        if cgroup.read(self.cgroup).get("oom"):
            reason += ": its memory limit is too small to start in"
        return errors.LaunchError(
            f"the container's first process was {reason} during set-up", step="process", reason=reason
        )

    def abandon(self, error: BaseException) -> None:
        """Undo a start that failed, say why, and end."""
        if self.pid > 0:
            pidfd.send_signal(self.pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._drain()
        self.log.close()
        described = describe_error(error, "launch")
        code = error.exit_code if isinstance(error, errors.LaunchError) else 125
        self.fields.update(state="exited", exit_code=code, error=str(error), finished_at_ns=time.time_ns())
        self._write_status()
        self._release()
        self._send({"error": described})
        self.ahead.tell()
        self._remove_files()

    # -- life ------------------------------------------------------------------------------------

    def _watch_caller(self) -> None:
        if self.channel is not None:
            self.poller.register(self.channel, _READ)
        if self.is_owned and "caller" in self.fds:
            self.poller.register(self.fds["caller"], _READ)

    def watch(self) -> None:
        """Serve until the first process has ended."""
        self.poller.register(self.pidfd, _READ)
        settled_at = time.monotonic() + _SETTLED_MS / 1000
        while not self._serve_ready(None if self.ahead.has_told else _SETTLED_MS):
            # Its start is over, and nothing that is done for the next one delays it.
            if not self.ahead.has_told and time.monotonic() >= settled_at:
                self.ahead.tell()
        reached("stop.exit.seen")

    def _serve_ready(self, timeout_ms: int | None) -> bool:
        """Handle what is ready; True when the first process has ended."""
        for fd, _ in self.poller.poll(timeout_ms):
            if fd in self.outputs:
                self._pump(self.outputs[fd])
            elif fd == self.pidfd:
                return True
            elif fd == self.report:
                self._read_report()
            elif fd == self.fds.get("caller"):
                self.poller.unregister(fd)
                self._kill()
            elif self.channel is not None and fd == self.channel.fileno():
                self._serve_channel()
        return False

    def _read_report(self) -> None:
        chunk = os.read(self.report, _MAX_REPORT)
        self.said += chunk
        if not chunk:
            self.poller.unregister(self.report)
            os.close(self.report)
            self.report = -1

    def _serve_channel(self) -> None:
        assert self.channel is not None
        if not self.channel.fill():
            self._close_channel()
            if self.is_owned:
                self._kill()
            return
        while (message := self.channel.take()) is not None:
            if "signal" in message:
                pidfd.send_signal(self.pidfd, int(message["signal"]))

    def _kill(self) -> None:
        """The owner is gone: end the container."""
        pidfd.send_signal(self.pidfd, signal.SIGKILL)

    def _pump(self, output: _Output) -> bool:
        """Move what one read gives; False when nothing was there."""
        if not self.buffer:
            self.buffer = bytearray(logs.CHUNK)  # most containers are silent for long
        try:
            count = os.readv(output.fd, (self.buffer,))
        except BlockingIOError:
            return False
        if count == 0:
            self._close_output(output)
            return False
        content = memoryview(self.buffer)[:count]
        self.log.append(output.number, content, time.time_ns())
        self._keep(output, content)
        return True

    def _keep(self, output: _Output, content: memoryview) -> None:
        if len(content) > self.inline_left:
            self.inline_left = 0
            for each in (output, *self.outputs.values()):
                each.kept = None
        elif output.kept is not None:
            self.inline_left -= len(content)
            output.kept += content

    def _close_output(self, output: _Output) -> None:
        self.poller.unregister(output.fd)
        os.close(output.fd)
        output.fd = -1

    def _send(self, message: dict[str, Any]) -> None:
        if self.channel is None:
            return
        try:
            self.channel.send(message)
        except OSError:
            self._close_channel()

    def _close_channel(self) -> None:
        if self.channel is not None:
            try:
                self.poller.unregister(self.channel)
            except KeyError:
                pass
            self.channel.close()
            self.channel = None

    # -- end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Record the exit, tell the caller, then clean up."""
        _, wait_status, usage = os.wait4(self.pid, 0)
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
        code = 128 + number if number is not None else os.WEXITSTATUS(wait_status)
        if not self.has_own_pids:
            # No kernel does it for us: what the program left running would hold its output for ever.
            cgroup.kill_all(self.cgroup)
        self._drain()
        self.log.close()
        figures = cgroup.read(self.cgroup)
        was_oom = bool(figures.pop("oom", 0))
        figures.update(
            user_ns=int(usage.ru_utime * 1e9),
            system_ns=int(usage.ru_stime * 1e9),
            max_rss_bytes=usage.ru_maxrss * 1024,
        )
        self.fields.update(
            state="exited",
            exit_code=code,
            signal=number,
            oom_killed=was_oom,
            usage=figures,
            finished_at_ns=time.time_ns(),
            log_lost_bytes=self.log.lost_bytes,
        )
        if not (self.is_owned and self.params.get("auto_remove")):
            # Others may wait for a detached one; an owned one's exit is the caller's alone.
            self._write_status()
        reached("stop.status.written")
        is_whole = self._send_exited(code, was_oom, figures)
        self.ahead.tell()
        self._release()
        if self.params.get("auto_remove"):
            if not is_whole:
                self._await_reader()
            self._remove_files()

    def _send_exited(self, code: int, was_oom: bool, figures: dict[str, int]) -> bool:
        """Tell the caller; whether the message holds the whole output."""
        message: dict[str, Any] = {
            "event": "exited",
            "exit_code": code,
            "oom_killed": was_oom,
            "usage": figures,
            "log_complete": self.log.lost_bytes == 0,
        }
        is_whole = self.channel is None
        for output in self.outputs.values():
            if output.kept is not None:
                name = "stdout_b64" if output.number == logs.STDOUT else "stderr_b64"
                message[name] = binascii.b2a_base64(output.kept, newline=False).decode("ascii")
                is_whole = True
        self._send(message)
        return is_whole

    def _write_status(self) -> None:
        try:
            status.prepare(self.directory, self.fields)
            status.replace(self.directory)
        except OSError:
            pass  # the disk is full or the directory gone; the message still says what happened

    def _drain(self) -> None:
        """Take what is still in the pipes; every writer is dead by now."""
        for output in self.outputs.values():
            while output.fd >= 0 and self._pump(output):
                pass

    def _release(self) -> None:
        """Let go of what the kernel holds for the container."""
        if self.mount_namespace >= 0:
            os.close(self.mount_namespace)
            self.mount_namespace = -1
        if self.cgroup:
            if cgroup.remove(self.cgroup) and cgroup.kill_all(self.cgroup):
                cgroup.remove(self.cgroup)
            reached("remove.cgroup.removed")

    def _await_reader(self) -> None:
        """The caller reads a long output from the log: keep the files until it has closed the channel."""
        while self.channel is not None:
            for fd, _ in self.poller.poll():
                if fd == self.channel.fileno():
                    self._serve_channel()
                    break
                if fd == self.fds.get("caller"):
                    return
                self.poller.unregister(fd)

    def _remove_files(self) -> None:
        if not self.params.get("auto_remove"):
            return
        parent, name = os.path.split(self.params["container_dir"])
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        trees.remove(parent_fd, name)
        reached("remove.files.removed")
