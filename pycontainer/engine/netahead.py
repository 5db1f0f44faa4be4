"""Network namespaces made ahead of the starts that need them, by a process that does nothing else.

Theory of operation. Where a container with networks has started, a process is asked for such another
namespace, and its answer waits in the channel: no thread is needed, and a start finds there what would take
it milliseconds. A namespace is given to one container only; those of another kind than the next start wants
are let go of. With the engine, or a child forked from its process, the channel is closed, and what was in it
is gone; the process ends with it.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pycontainer.errors import DeadlineExceeded, HelperDied, NotFound, PycontainerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontainer.engine.engine import Engine
    from pycontainer.launcher import Helper, Job

__all__ = ["Ahead", "begin", "take"]

_JOB_S = 30.0
_KEPT = 2


class Ahead:
    """The channel to the process that makes namespaces, and what was asked of it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._asked: deque[str] = deque()
        """Of what kinds those are that it was asked for, in the order of its answers."""

    @property
    def fileno(self) -> int:
        """The channel's descriptor, -1 without one."""
        job = self._job
        return -1 if job is None else job.fileno()

    @property
    def is_asked(self) -> bool:
        """Whether one was asked for that nobody has taken."""
        return bool(self._asked)

    def take(self, helper: Helper, params: Mapping[str, Any]) -> list[int]:
        """A namespace of this kind, made ahead or now: the descriptors that make_networks hands over.

        Raises HelperDied when that process was killed, DeadlineExceeded, KernelError, Unsupported.
        """
        kind = json.dumps(params)
        with self._lock:
            while self._asked:
                with suppress(PycontainerError):  # whatever has happened to it, there is another way
                    is_wanted, fds = self._receive(kind)
                    if is_wanted:
                        return fds
                    for fd in fds:
                        os.close(fd)
            self._ask(helper, params, kind)
            return self._receive(kind)[1]

    def begin(self, helper: Helper, params: Mapping[str, Any]) -> None:
        """Have one made for a start to come, unless enough wait. What fails now is told when it is wanted."""
        with self._lock, suppress(PycontainerError):
            if len(self._asked) < _KEPT:
                self._ask(helper, params, json.dumps(params))

    def close(self) -> None:
        """Let go of what was made, and of the process."""
        with self._lock:
            self._forget()

    def leave_to_parent(self) -> None:
        """In a forked child: the namespaces that wait are the parent's."""
        self._lock = threading.Lock()
        self._forget()

    def _ask(self, helper: Helper, params: Mapping[str, Any], kind: str) -> None:
        if self._job is not None:
            try:
                self._job.send(dict(params))
            except OSError:
                self._forget()  # it was killed
        if self._job is None:
            self._job = helper.submit("make_networks", dict(params))
        self._asked.append(kind)

    def _receive(self, wanted: str) -> tuple[bool, list[int]]:
        """The oldest of those that were asked for, and whether it is of this kind."""
        assert self._job is not None
        kind = self._asked.popleft()
        try:
            message = self._job.receive(_JOB_S)
        except DeadlineExceeded:
            self._forget()  # its answer, when it comes, would be taken for another's
            raise
        except OSError:
            message = None
        if message is None:
            self._forget()
            raise HelperDied("the process that makes network namespaces was killed", job="make_networks")
        return kind == wanted, self._job.take_fds()

    def _forget(self) -> None:
        job, self._job = self._job, None
        self._asked.clear()
        if job is not None:
            job.close()


def take(engine: Engine, params: Mapping[str, Any], users: int | None = None) -> list[int]:
    """The descriptors that a make_network job with these parameters hands over; they are the caller's.

    users: a user namespace that it is to belong to.
    Raises NotFound when the job was killed, HelperDied, DeadlineExceeded, KernelError, Unsupported.
    """
    is_usual = users is None and not params["users"]
    if is_usual and (engine.helper.makes_ahead or engine.networks_ahead.is_asked):
        try:
            return engine.networks_ahead.take(engine.helper, params)
        finally:
            if not engine.helper.makes_ahead:
                engine.networks_ahead.close()  # it was for this one
    with engine.helper.submit("make_network", dict(params), () if users is None else (users,)) as job:
        if job.receive(_JOB_S) is None:
            raise NotFound("the job that makes a network namespace was killed")
        return job.take_fds()


def begin(engine: Engine, params: Mapping[str, Any]) -> None:
    """Have a namespace made for the next start, which is like this one."""
    if engine.helper.makes_ahead and not params["users"]:
        engine.networks_ahead.begin(engine.helper, params)
