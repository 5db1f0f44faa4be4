"""Health checks: a command that is run in the container now and then, and what its results make of it.

Theory of operation. A timer begins a check, which is a further process of the container (`joining`) in a
cgroup of its own; its report, its output and its end are handlers of the loop. The next timer is set when
it is over. One that takes too long is killed with all it has begun, by a process forked for that: it may
take the kernel a while, and the monitor waits for nothing. A paused container is not checked.

Verdicts are Docker's: a success makes it healthy; failures in a row make it unhealthy, where those of the
start period count only once it has been healthy.

Source: moby, daemon/health.go.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pycontainer.checkpoints import reached
from pycontainer.kernel import pidfd, syscalls
from pycontainer.launcher import freezer, healthrecord, joining
from pycontainer.launcher.monitor import starting
from pycontainer.launcher.monitor.loop import Timer
from pycontainer.launcher.proctree import Tree

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["Health", "Verdicts"]

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"

_MAX_OUTPUT = 4096
_MAX_RESULTS = 5
_FAILED = -1
_TREE = "health"
_CHUNK = 16384
_PF_EXITING = 0x4  # of the flags in /proc/PID/stat (include/linux/sched.h)


class Verdicts:
    """What a run's results so far make of it. described: the launch request's "health"."""

    __slots__ = ("_described", "failing_streak", "log", "status")

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._described = described
        self.status: str = STARTING
        self.failing_streak: int = 0
        self.log: list[dict[str, Any]] = []

    def take(self, result: dict[str, Any], since_start_s: float) -> bool:
        """Take a result; whether the status is another one now. since_start_s: when the check began."""
        before = self.status
        self.log = [*self.log[1 - _MAX_RESULTS :], result]
        if result["exit_code"] == 0:
            self.failing_streak = 0
            self.status = HEALTHY
        elif self.status != STARTING or since_start_s >= self._described["start_period_s"]:
            self.failing_streak += 1
            if self.failing_streak >= self._described["retries"]:
                self.status = UNHEALTHY
        return self.status != before

    def pause_s(self, since_start_s: float) -> float:
        """Seconds to the next check."""
        is_early = self.status == STARTING and since_start_s < self._described["start_period_s"]
        pause: float = self._described["start_interval_s" if is_early else "interval_s"]
        return pause


class Health:
    """The health checks of one container.

    described: test (program and arguments), interval_s, timeout_s, retries, start_period_s and
    start_interval_s, with every default filled in; on_failure ("kill", "restart", "stop") with stop_signal
    and stop_timeout_s, if anything is done.
    """

    def __init__(self, monitor: Monitor, described: Mapping[str, Any]) -> None:
        self._monitor = monitor
        self._described = described
        self._verdicts = Verdicts(described)
        self._timer: Timer | None = None
        self._check: _Check | None = None
        self._killer = -1
        self._last_resort: Timer | None = None
        self._started_s = 0.0

    def reset(self) -> None:
        """A run begins: nothing is known of it."""
        self._verdicts = Verdicts(self._described)
        self._monitor.fields["health"] = STARTING
        self._write()

    def begin(self) -> None:
        """The program runs: check from now on."""
        self._started_s = time.monotonic()
        self._wait()

    def end(self) -> None:
        """The run has ended, and every process of it with it."""
        self._monitor.loop.cancel(self._timer)
        self._monitor.loop.cancel(self._last_resort)
        if self._check is not None:
            self._check.forget()
            self._check = None

    def _wait(self) -> None:
        now = time.monotonic()
        self._timer = self._monitor.loop.at(
            now + self._verdicts.pause_s(now - self._started_s), self._begin_check
        )

    def _begin_check(self) -> None:
        if self._killer >= 0 or freezer.is_frozen(self._monitor.fields.get("freeze")):
            self._wait()  # what would be judged cannot run
            return
        check = _Check(self._monitor, self._described, self._take)
        self._check = check
        reached("health.check.begun")
        check.start()

    def _take(self, result: dict[str, Any], began_s: float) -> None:
        """A check is over."""
        check, self._check = self._check, None
        if check is not None and check.is_late:
            self._kill(check)
        is_other = self._verdicts.take(result, began_s - self._started_s)
        self._write()
        reached("health.result.written")
        if is_other:
            self._monitor.note(health=self._verdicts.status)
            self._monitor.events.report(f"health_status: {self._verdicts.status}")
            if self._verdicts.status == UNHEALTHY:
                self._act()
        self._wait()

    def _act(self) -> None:
        """Do what was asked for when it is unhealthy."""
        monitor, wanted = self._monitor, self._described.get("on_failure", "none")
        if wanted == "none":
            return
        if wanted == "kill":
            monitor.kill_process()
            return
        if wanted == "stop":
            monitor.halt()
        elif monitor.policy is not None:
            monitor.policy.is_unhealthy = True
        pidfd.send_signal(monitor.pidfd, self._described["stop_signal"])
        patience_s = self._described["stop_timeout_s"]
        if patience_s >= 0:
            self._last_resort = monitor.loop.at(time.monotonic() + patience_s, monitor.kill_process)

    def _kill(self, check: _Check) -> None:
        """End all that the check has begun, in a process that may wait for it."""
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                check.tree.kill()
            finally:
                os._exit(0)
        self._killer = os.pidfd_open(pid)
        self._monitor.loop.add(self._killer, partial(self._see_killer_end, pid))

    def _see_killer_end(self, pid: int, _: int) -> None:
        self._monitor.loop.remove(self._killer)
        os.close(self._killer)
        self._killer = -1
        _reap(pid)

    def _write(self) -> None:
        fields = {
            "status": self._verdicts.status,
            "failing_streak": self._verdicts.failing_streak,
            "log": self._verdicts.log,
        }
        try:
            healthrecord.write(self._monitor.directory, fields)
        except OSError:
            pass  # the disk is full: the status alone has room kept for it, and the next check tries again


class _Check:
    """One check, from its cgroup to its result, which `done` gets with when it began."""

    def __init__(self, monitor: Monitor, described: Mapping[str, Any], done: Any) -> None:
        self._monitor = monitor
        self._loop = monitor.loop
        self._timeout_s: float = described["timeout_s"]
        self._done = done
        spec = monitor.params["spec"]
        process = {**spec["process"], "args": described["test"], "terminal": False}
        self.tree = Tree(monitor.cgroup, _TREE)
        self._params = {**monitor.params, "spec": {**spec, "process": process}, "cgroup": self.tree.cgroup}
        self._began_s = time.monotonic()
        self._began_ns = time.time_ns()
        self._joined = joining.Joined(-1, -1, -1)
        self._output = -1
        self._kept = bytearray()
        self._said = b""
        self._has_filter = False
        self._timer: Timer | None = None
        self.is_late = False
        """Whether it was given up for its time, and its processes may still run."""

    def start(self) -> None:
        """Begin; what goes wrong is a result as well."""
        try:
            self._join()
        except Exception as error:  # no container ends for its check
            self.forget()
            self._finish(_FAILED, str(error))
            return
        self._loop.add(self._joined.report, self._read_report)
        self._loop.add(self._output, self._see_output)
        self._loop.add(self._joined.pidfd, self._see_end)
        self._timer = self._loop.at(self._began_s + self._timeout_s, self._give_up)

    def _join(self) -> None:
        try:
            self.tree.make()
        except FileExistsError:
            pass  # the last one's, which the kernel has not let go of yet
        self._output, writer = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self._output, False)
            seccomp = starting.seccomp_of(self._monitor)
            self._has_filter = bool(seccomp)
            streams = {"stdout": writer, "stderr": writer}
            self._joined = joining.join(self._params, self._monitor.pidfd, streams, seccomp=seccomp)
        finally:
            os.close(writer)

    def _read_report(self, _: int) -> None:
        chunk = os.read(self._joined.report, _CHUNK)
        self._said += chunk
        if not chunk:
            self._loop.remove(self._joined.report)
            os.close(self._joined.report)
            self._joined = self._joined._replace(report=-1)

    def _see_output(self, _: int) -> None:
        self._read_output()

    def _read_output(self) -> bool:
        """Take what there is; False at its end."""
        try:
            chunk = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return False
        self._kept += chunk[: _MAX_OUTPUT - len(self._kept)]
        if not chunk:
            self._loop.remove(self._output)
        return bool(chunk)

    def _see_end(self, _: int) -> None:
        """Its first process has ended; what that has left behind is the container's from now on."""
        while self._joined.report >= 0:
            self._read_report(0)
        while len(self._kept) < _MAX_OUTPUT and self._read_output():
            pass
        code = _reap(self._joined.pid)
        self._joined = self._joined._replace(pid=-1)
        if self.is_late:
            self._close()
            return
        if code == 128 + signal.SIGKILL and _is_exiting(self._monitor.pid):
            self.forget()  # it was killed with the container, and says nothing of it
            return
        error = joining.failure(self._joined, self._said)
        output = self._kept.decode("utf-8", "replace")
        self.tree.release()
        self.forget()
        if error is not None:
            self._finish(_FAILED, str(error))
        else:
            self._finish(code, output)

    def _give_up(self) -> None:
        """Its time is over. It is reaped when it has been killed."""
        self.is_late = True
        shown = self._kept.decode("utf-8", "replace")
        text = f"health check exceeded timeout ({self._timeout_s:g} s)" + (f": {shown}" if shown else "")
        pidfd.send_signal(self._joined.pidfd, signal.SIGKILL)
        self._loop.remove(self._output)
        self._finish(_FAILED, text)

    def _finish(self, exit_code: int, output: str) -> None:
        result = {
            "started_ns": self._began_ns,
            "ended_ns": time.time_ns(),
            "exit_code": exit_code,
            "output": output,
        }
        self._done(result, self._began_s)

    def forget(self) -> None:
        """Let go of everything; its processes are dead, or nobody's any more."""
        self._loop.cancel(self._timer)
        if self._joined.pid > 0:
            pidfd.send_signal(self._joined.pidfd, signal.SIGKILL)
            _reap(self._joined.pid)
        self._close()

    def _close(self) -> None:
        for fd in (self._joined.report, self._joined.pidfd, self._output):
            if fd >= 0:
                self._loop.remove(fd)
                os.close(fd)
        self._joined = joining.Joined(-1, -1, -1)
        self._output = -1


def _is_exiting(pid: int) -> bool:
    """Whether a process is on its way to its end, for which it may have to wait."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return True
    try:
        return bool(int(os.read(fd, 4096).rpartition(b")")[2].split()[6]) & _PF_EXITING)
    except OSError:
        return True
    finally:
        os.close(fd)


def _reap(pid: int) -> int:
    """Exit code as a shell has it."""
    try:
        _, wait_status = os.waitpid(pid, 0)
    except ChildProcessError:
        return _FAILED  # reaped with the rest of the container
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)
