"""What a monitor knows of its one container, and what every part of its life needs."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from pycontainer.kernel import pidfd
from pycontainer.launcher import eventlog, freezer, status
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.monitor.control import Control
from pycontainer.launcher.monitor.health import Health
from pycontainer.launcher.monitor.loop import Loop
from pycontainer.launcher.monitor.naming import Naming
from pycontainer.launcher.monitor.oom import OomWatch, has_limit
from pycontainer.launcher.monitor.restarting import Policy
from pycontainer.launcher.monitor.rules import Rules
from pycontainer.launcher.monitor.streams import Streams
from pycontainer.launcher.protocol import Channel

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.keeping import Keeper
    from pycontainer.launcher.monitor.ports import Ports

__all__ = ["Monitor"]

_SETTLED_S = 0.010


class Monitor:
    """State of the one container of this process.

    params: the launch request. fds: by the names in it. channel: to the caller, None once it is closed.
    keeper: who can take it over, if somebody can.
    fields: what status.json says or will say next. directory: descriptor of the container's directory.
    """

    def __init__(
        self,
        params: dict[str, Any],
        fds: dict[str, int],
        channel: Channel | None,
        ahead: Ahead,
        keeper: Keeper | None = None,
    ) -> None:
        self.params = params
        self.ahead = ahead
        self.keeper: Keeper | None = keeper
        self.fds: dict[str, int] = fds
        self.channel: Channel | None = channel
        self.is_for_keeper: bool = False
        """Whether its first process is the keeper's child, who takes it over when it runs."""
        self.is_owned: bool = bool(params.get("owned"))
        self.cgroup: dict[str, Any] = params.get("cgroup") or {}
        self.directory: int = fds.pop("directory", -1)
        if self.directory < 0:
            self.directory = os.open(params["container_dir"], os.O_RDONLY | os.O_DIRECTORY)
        self.lock: int = fds.pop("lock", -1)
        """Held as long as this process, or the one it comes from, is the container's monitor."""
        self.loop: Loop = Loop()
        self.streams: Streams = Streams(self.loop, self.directory, params)
        self.control: Control = Control(self)
        self.events: eventlog.Reporter = eventlog.Reporter(params)
        self.fields: dict[str, Any] = {"id": params["id"], "boot_id": status.BOOT_ID}
        self.pid: int = -1
        self.pidfd: int = -1
        self.has_ended: bool = False
        """Whether the pidfd has fired; the process is not reaped yet then."""
        self.mount_namespace = -1
        self.steps: tuple[str, ...] = ()
        """Names of the first process's steps, as it counts them; empty if it has planned them itself."""
        self.has_own_pids = True
        self.removes_files: bool = bool(params.get("auto_remove"))
        restart = params.get("restart")
        self.policy: Policy | None = Policy(restart) if restart else None
        described = params.get("health")
        self.health: Health | None = Health(self, described) if described else None
        self.oom: OomWatch | None = OomWatch(self) if has_limit(params) else None
        self.naming: Naming | None = Naming(self) if params.get("dns") else None
        self.ports: Ports | None = _ports_of(self)
        self.rules: Rules = Rules(self)
        self.packed_spec: bytes = b""
        """The whole specification, if params have only a part of it, which is many objects less."""
        self.is_halted: bool = False
        """Whether somebody has stopped the container, so that it is not started again."""
        self.is_between = False
        """Whether it waits to be started again, or is being started again."""
        self.is_hurried: bool = False

    def watch(self) -> None:
        """Serve until the first process has ended."""
        if self.policy is not None:
            self.control.open()  # at once: a stop has to be heard before the end it makes
        if self.health is not None:
            self.health.begin()
        if self.oom is not None:
            self.oom.has_told = False
        self.loop.add(self.pidfd, self._see_end)
        settled = self.loop.at(time.monotonic() + _SETTLED_S, self._settle)
        longest = None
        if self.params.get("run_timeout_s"):
            longest = self.loop.at(time.monotonic() + self.params["run_timeout_s"], self.kill_process)
        self.loop.run_until(lambda: self.has_ended)
        self.loop.cancel(settled)
        self.loop.cancel(longest)
        self.loop.remove(self.pidfd)

    def _see_end(self, _: int) -> None:
        self.has_ended = True

    def _settle(self) -> None:
        """Its start is over: nothing that is done for the next one, or for later, delays it."""
        self.ahead.tell(may_stay=self.is_plain)
        self.control.open()
        if self.oom is not None:
            self.oom.open()

    def kill(self) -> None:
        """End the container's first process, and the container with it, for good."""
        self.is_halted = True
        self.kill_process()

    def kill_process(self) -> None:
        """End this run; whether another one follows is the policy's to say."""
        if self.pidfd >= 0:
            pidfd.send_signal(self.pidfd, signal.SIGKILL)
            # With version 1 a frozen process dies of it only when it is thawed.
            freezer.thaw(self.cgroup.get("freeze"))

    # -- between two runs ------------------------------------------------------------------------

    def halt(self, *, is_by_hand: bool = True) -> None:
        """Start no more: a wait is over, a start under way is broken off, a run ends as it will.

        is_by_hand: somebody wants it so, and not only the host's shutdown; "unless-stopped" asks for that.
        """
        self.is_halted = True
        if is_by_hand:
            self.fields["is_halted"] = True
        if self.is_between:
            self.kill_process()

    def hurry(self) -> None:
        """Wait no longer before the next run."""
        self.is_hurried = True

    def forget_process(self) -> None:
        """The last run's process is reaped: there is none to signal."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pid = self.pidfd = -1
        self.has_ended = False
        self.fields.pop("pid", None)
        self.fields.pop("pid_start", None)

    def undo_start(self) -> None:
        """Take back what a start that failed has made, but for the record."""
        if self.pid > 0:
            self.kill_process()
            self.reap()
        self.ahead.settle()
        self.streams.drain()
        self.streams.close()
        self.forget_process()

    def reap(self) -> int:
        """The wait status of the first process, which has ended or is about to."""
        if self.is_for_keeper:
            assert self.keeper is not None
            return self.keeper.reap(self.pid)
        return os.waitpid(self.pid, 0)[1]

    def leave_networks(self) -> None:
        """Be known by no name, and let go of the host's ports. Before the status tells the end: whoever
        starts the container again may take them again at once.
        """
        self.rules.close()
        if self.naming is not None:
            self.naming.withdraw()
        if self.ports is not None:
            self.ports.close()
            self.fields.pop("ports", None)

    # -- the caller ------------------------------------------------------------------------------

    def watch_caller(self) -> None:
        """Serve the caller's channel from now on; an owned container ends with it, or with the caller."""
        if self.channel is not None:
            self.loop.add(self.channel, self.serve_channel)
        if self.is_owned and "caller" in self.fds:
            self.loop.add(self.fds["caller"], self._see_caller_end)

    def _see_caller_end(self, _: int) -> None:
        self.loop.remove(self.fds["caller"])
        self._end_unowned()

    def _end_unowned(self) -> None:
        """Nobody is left to remove what the owner has left."""
        self.removes_files = True
        self.kill()

    def serve_channel(self, _: int) -> None:
        """Do what the caller sent."""
        assert self.channel is not None
        if not self.channel.fill():
            self.close_channel()
            if self.is_owned:
                self._end_unowned()
            return
        while (message := self.channel.take()) is not None:
            if "signal" in message:
                pidfd.send_signal(self.pidfd, int(message["signal"]))

    def send(self, message: dict[str, Any]) -> None:
        """Tell the caller, if it still listens."""
        if self.channel is None:
            return
        try:
            self.channel.send(message)
        except OSError:
            self.close_channel()

    def close_channel(self) -> None:
        """Let go of the caller; idempotent."""
        if self.channel is not None:
            self.loop.remove(self.channel)
            self.channel.close()
            self.channel = None

    # -- the record ------------------------------------------------------------------------------

    def note(self, **fields: Any) -> None:
        """Tell more of the container as it is."""
        self.fields.update(fields)
        if self.is_between and self.pid > 0:
            status.prepare(self.directory, self.fields)  # shown when the program runs
            return
        self.write_status()
        status.reserve(self.directory)

    @property
    def is_plain(self) -> bool:
        """Whether nothing of the container is left to this process when its files are removed."""
        has_more = self.policy is not None or self.health is not None or self.streams.calls_out
        return self.is_forgotten and bool(self.steps) and not has_more and not self.streams.has_input

    @property
    def is_forgotten(self) -> bool:
        """Whether its end is its owner's alone to know: the files that would tell of it are removed."""
        return self.is_owned and self.removes_files

    @property
    def is_told_often(self) -> bool:
        """Whether the record changes while the container goes on."""
        return self.policy is not None or self.health is not None

    def show_status(self) -> None:
        """Show what was prepared; where more will follow, so that there is room for that on a full disk."""
        if self.is_told_often:
            status.exchange(self.directory)
        else:
            status.replace(self.directory)

    def write_status(self) -> None:
        """Write the fields down as far as that can be done."""
        try:
            status.prepare(self.directory, self.fields)
            self.show_status()
        except OSError:
            pass  # the disk is full or the directory gone; the message still says what happened


def _ports_of(monitor: Monitor) -> Ports | None:
    if not monitor.params.get("ports"):
        return None
    from pycontainer.launcher.monitor.ports import Ports  # containers without ports do without

    return Ports(monitor)
