"""Network namespaces made ahead of the starts that need them: one for each engine, by a job of its own.

Theory of operation. When a container with networks has started, the job that makes such another namespace is
begun, and its answer waits in the job's channel: no thread is needed, and a start finds there what would take
it milliseconds. A namespace is given to one container only. The next start may want another kind; then it
makes its own. With the engine, or a child forked from its process, the channel is closed, and what was in it
is gone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from pycontainer.errors import NotFound, PycontainerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontainer.engine.engine import Engine
    from pycontainer.launcher import Job

__all__ = ["Ahead", "begin", "take"]

_JOB_S = 30.0


@frozen(kw_only=True)
class Ahead:
    """What a job was asked to make, and its channel, where that waits."""

    params: Mapping[str, Any]
    job: Job


def take(engine: Engine, params: Mapping[str, Any], users: int | None = None) -> list[int]:
    """The descriptors that a make_network job with these parameters hands over; they are the caller's.

    users: a user namespace that it is to belong to.
    Raises NotFound when the job was killed, DeadlineExceeded, KernelError, Unsupported.
    """
    ahead = engine.swap_ahead(None) if users is None else None
    if ahead is not None:
        with ahead.job as job:
            if ahead.params == params:
                with suppress(PycontainerError):  # whatever has happened to it, there is another way
                    if job.receive(_JOB_S) is not None:
                        return job.take_fds()
    with engine.helper.submit("make_network", dict(params), () if users is None else (users,)) as job:
        if job.receive(_JOB_S) is None:
            raise NotFound("the job that makes a network namespace was killed")
        return job.take_fds()


def begin(engine: Engine, params: Mapping[str, Any]) -> None:
    """Have a namespace made for the next start. What fails now will fail, and be told, when it is wanted."""
    if not engine.helper.makes_ahead:
        return
    with suppress(PycontainerError):
        job = engine.helper.submit("make_network", dict(params))
        previous = engine.swap_ahead(Ahead(params=dict(params), job=job))
        if previous is not None:
            previous.job.close()
