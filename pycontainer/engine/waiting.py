"""Waiting until a container is as somebody wants it: one poll(2) loop over everything that may tell.

Theory of operation. Each condition of a strategy gets a watcher, which owns descriptors and says when they
are ready whether its condition is met; once met it stays so for this run of the container. Output and
state are files that inotify(7) watches; ports, files and HTTP are a job of the helper (launcher.probing);
a command is an exec with a pidfd. The verdict over the whole strategy has three values, so that a wait
ends as soon as it cannot succeed any more. When the run ends, each watcher takes a last look, and then
what is not met has failed. A container that restarts by policy is watched afresh.
"""

from __future__ import annotations

import enum
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pycontainer.engine import waits
from pycontainer.engine.httpprobe import Exchange
from pycontainer.engine.logfiles import Reader
from pycontainer.engine.logs import Logs
from pycontainer.engine.moments import to_nanoseconds
from pycontainer.engine.state import Observed, await_start, monitor_of, observe
from pycontainer.engine.supervision import health_of
from pycontainer.errors import NotFound, NotReady, ReadinessTimeout, WrongState
from pycontainer.kernel import inotify, interrupts, pidfd
from pycontainer.launcher import Channel
from pycontainer.runtime import State

if TYPE_CHECKING:
    from pycontainer.launcher import Helper, Job

__all__ = ["DEFAULT_TIMEOUT_S", "Subject", "await_ready"]

DEFAULT_TIMEOUT_S = 60.0
"""For a strategy that sets no deadline itself."""

_TAIL_LINES = 20
_TAIL_WIDTH = 500
_LONGEST_LINE = 64 << 10
_STREAMS = {1: "stdout", 2: "stderr"}
_HTTP_PAUSE_S = 0.1  # between two requests: an answer that will not do yet can only be asked for again
_JOB_S = 10.0
_LIVE = (State.RUNNING, State.PAUSED)


class _Command(Protocol):
    """A command that runs in the container: EXEC's Process, as far as it is needed here."""

    def fileno(self) -> int: ...
    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


@attrs.frozen(kw_only=True)
class Subject:
    """The container that is waited for, as far as a wait needs to know it."""

    name: str
    directory: Path
    helper: Helper
    start_command: Callable[[Sequence[str] | str], _Command]
    logs: Callable[[], Logs]


class _Verdict(enum.Enum):
    MET = "met"
    PENDING = "pending"
    FAILED = "failed"


def await_ready(subject: Subject, strategy: waits.Wait, timeout_s: float | None = None) -> None:
    """Return when the strategy is met.

    timeout_s: None is the strategy's own deadline, or else DEFAULT_TIMEOUT_S.
    Raises: NotReady when it cannot be met any more; ReadinessTimeout; NotFound.
    """
    if not isinstance(strategy, waits.Wait):
        raise TypeError(f"wait={strategy!r}: give what a function of pycontainer.wait returns")
    if timeout_s is None and not isinstance(strategy, waits.Within):
        timeout_s = DEFAULT_TIMEOUT_S
    await_start(subject.directory)
    with _Session(subject, strategy, timeout_s) as session:
        session.serve()


class _Session:
    """One wait."""

    def __init__(self, subject: Subject, strategy: waits.Wait, timeout_s: float | None) -> None:
        self._subject = subject
        self._strategy = strategy
        self._timeout_s = timeout_s
        self._begun = time.monotonic()
        self._stack = ExitStack()
        self._watchers: list[_Watcher] = []
        self._run: tuple[int | None, int] = (None, 0)

    def __enter__(self) -> _Session:
        try:
            self._directory = os.open(self._subject.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"container {self._subject.name} was removed") from None
        self._stack.callback(os.close, self._directory)
        try:
            self._changes = inotify.Watch(os.fsencode(self._subject.directory))
            self._stack.callback(self._changes.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.close()
        self._stack.close()

    def serve(self) -> None:
        """Look, judge, wait; until there is a verdict."""
        ready: set[int] = set()
        while True:
            # Before the look at the state: what was written before the end is then seen for sure.
            monitor = monitor_of(self._directory)
            try:
                observed = observe(self._directory)
                self._follow(observed)
                has_ended = observed.state not in (*_LIVE, State.RESTARTING)
                has_news = has_ended or not ready or self._changes.fileno() in ready
                for watcher in self._watchers:
                    if not watcher.is_met:
                        watcher.step(ready, has_news=has_news)
                if self._is_decided(observed, has_ended):
                    return
                ready = self._wait(monitor)
            finally:
                if monitor is not None:
                    os.close(monitor)

    def _follow(self, observed: Observed) -> None:
        """Watch the run that goes on now, if it is another one."""
        run = (observed.pid, observed.pid_start)
        if run == self._run and self._watchers:
            return
        if self._watchers and observed.pid is None:
            return  # it has ended, and what was seen of it still counts
        for watcher in self._watchers:
            watcher.close()
        self._run = run
        self._watchers = list(_watchers(self._subject, self._strategy, observed))

    def _is_decided(self, observed: Observed, has_ended: bool) -> bool:
        now = time.monotonic() - self._begun
        facts: dict[int, _Verdict] = {}
        for watcher in self._watchers:
            for leaf, verdict in watcher.verdicts(observed, has_ended):
                facts[id(leaf)] = verdict
        verdict = _judge(self._strategy, facts, now)
        if verdict is _Verdict.MET:
            return True
        if self._timeout_s is not None and now >= self._timeout_s:
            raise self._failure(observed, facts, self._timeout_s)
        if verdict is _Verdict.FAILED:
            limit_s = None if has_ended else _expired(self._strategy, now)
            raise self._failure(observed, facts, limit_s)
        return False

    def _wait(self, monitor: int | None) -> set[int]:
        poller = interrupts.poll()
        poller.register(self._changes, select.POLLIN)
        if monitor is not None:
            poller.register(monitor, select.POLLIN)
        due = [self._begun + limit for limit in _deadlines(self._strategy)]
        due = [moment for moment in due if moment > time.monotonic()]
        if self._timeout_s is not None:
            due.append(self._begun + self._timeout_s)
        for watcher in self._watchers:
            if watcher.is_met:
                continue
            for fd, events in watcher.wanted():
                poller.register(fd, events)
            if watcher.due is not None:
                due.append(watcher.due)
        left_ms = None if not due else max(0.0, min(due) - time.monotonic()) * 1000 + 0.5
        ready = {fd for fd, _ in poller.poll(left_ms)}
        if self._changes.fileno() in ready:
            self._changes.drain()
        return ready or {-1}

    def _failure(self, observed: Observed, facts: dict[int, _Verdict], limit_s: float | None) -> NotReady:
        elapsed_s = time.monotonic() - self._begun
        missing = [str(leaf) for leaf in self._strategy.leaves() if facts.get(id(leaf)) is not _Verdict.MET]
        is_removed = not self._subject.directory.is_dir()
        state = "removed" if is_removed else str(observed.state)
        what = f"container {self._subject.name} was not ready ({self._strategy})"
        how = _how(observed, state)
        if any(isinstance(leaf, waits.Healthy) for leaf in self._strategy.leaves()):
            how += _why_not_healthy(self._subject, observed)
        when = f"after {elapsed_s:.1f} s" if limit_s is None else f"within {limit_s:g} s"
        tail = "" if is_removed else _tail(self._subject)
        said = f"its last output:\n{tail}" if tail else "it wrote nothing"
        details: dict[str, Any] = {
            "strategy": str(self._strategy),
            "missing": tuple(missing),
            "state": state,
            "exit_code": observed.exit_code,
            "oom_killed": observed.oom_killed,
            "elapsed_s": elapsed_s,
            "log_tail": tail,
        }
        if limit_s is None:
            return NotReady(f"{what}: {how} {when}; {said}", **details)
        waiting = f"still waiting for {' and '.join(missing)}"
        return ReadinessTimeout(f"{what} {when}: {how}; {waiting}; {said}", timeout_s=limit_s, **details)


def _how(observed: Observed, state: str) -> str:
    if state == State.EXITED:
        why = " (out of memory)" if observed.oom_killed else f" ({observed.error})" if observed.error else ""
        return f"it exited with code {observed.exit_code}{why}"
    if state == State.CREATED and observed.error:
        return f"it could not be started: {observed.error}"
    return {
        "removed": "it was removed",
        State.CREATED: "it was never started",
    }.get(state, f"it is {state}")


def _why_not_healthy(subject: Subject, observed: Observed) -> str:
    if observed.pid is None:
        return ""
    health = health_of(subject.directory, observed)
    if health is None:
        return " and has no health check; give health_cmd, or wait for something else"
    if not health.log:
        return ""
    last = health.log[-1]
    return (
        f", {health.status}: the last check ended with code {last.exit_code}, {last.output.strip()[-200:]!r}"
    )


def _tail(subject: Subject) -> str:
    try:
        lines = attrs.evolve(subject.logs(), tail=_TAIL_LINES).text().splitlines()
    except NotFound:
        return ""  # its log driver keeps nothing here
    return "\n".join(line[:_TAIL_WIDTH] for line in lines[-_TAIL_LINES:])


# -- verdicts


def _judge(strategy: waits.Wait, facts: dict[int, _Verdict], elapsed_s: float) -> _Verdict:
    if isinstance(strategy, waits.Within):
        verdict = _judge(strategy.part, facts, elapsed_s)
        is_late = verdict is _Verdict.PENDING and elapsed_s >= strategy.timeout_s
        return _Verdict.FAILED if is_late else verdict
    if isinstance(strategy, waits.AllOf | waits.AnyOf):
        found = {_judge(part, facts, elapsed_s) for part in strategy.parts}
        decisive, other = _Verdict.FAILED, _Verdict.MET
        if isinstance(strategy, waits.AnyOf):
            decisive, other = other, decisive
        return decisive if decisive in found else other if found == {other} else _Verdict.PENDING
    return facts.get(id(strategy), _Verdict.PENDING)


def _deadlines(strategy: waits.Wait) -> Iterator[float]:
    if isinstance(strategy, waits.Within):
        yield strategy.timeout_s
        yield from _deadlines(strategy.part)
    elif isinstance(strategy, waits.AllOf | waits.AnyOf):
        for part in strategy.parts:
            yield from _deadlines(part)


def _expired(strategy: waits.Wait, elapsed_s: float) -> float | None:
    """The deadline that made it fail, if it was one."""
    return max((limit for limit in _deadlines(strategy) if limit <= elapsed_s), default=None)


# -- watchers


class _Watcher:
    """Looks after some of the conditions.

    due: when `step` wants to be called though no descriptor is ready, on the monotonic clock.
    is_met: there is nothing left to look for.
    """

    due: float | None = None
    is_met = False

    def wanted(self) -> list[tuple[int, int]]:
        """Descriptors and events for poll(2)."""
        return []

    def step(self, ready: set[int], *, has_news: bool) -> None:
        """Look at what is ready; has_news: something in the container's directory changed."""

    def verdicts(self, observed: Observed, has_ended: bool) -> Iterator[tuple[waits.Wait, _Verdict]]:
        """What has become of each condition."""
        raise AssertionError("each watcher has its own")

    def close(self) -> None:
        """Let go of everything; idempotent."""


def _watchers(subject: Subject, strategy: waits.Wait, observed: Observed) -> Iterator[_Watcher]:
    inside: list[waits.Port | waits.Http | waits.File] = []
    for leaf in {id(leaf): leaf for leaf in strategy.leaves()}.values():
        if isinstance(leaf, waits.Port | waits.Http | waits.File):
            inside.append(leaf)
        elif isinstance(leaf, waits.Log):
            yield _LogWatcher(leaf, subject, observed)
        elif isinstance(leaf, waits.Exec):
            yield _ExecWatcher(leaf, subject, observed)
        elif isinstance(leaf, waits.Healthy):
            yield _HealthWatcher(leaf)
        elif isinstance(leaf, waits.Exit):
            yield _ExitWatcher(leaf)
    if inside:
        yield _InsideWatcher(inside, subject, observed)


class _Single(_Watcher):
    """A watcher of one condition."""

    leaf: waits.Wait

    def verdicts(self, observed: Observed, has_ended: bool) -> Iterator[tuple[waits.Wait, _Verdict]]:
        pending = _Verdict.FAILED if has_ended else _Verdict.PENDING
        yield self.leaf, _Verdict.MET if self.is_met else pending


class _LogWatcher(_Single):
    def __init__(self, leaf: waits.Log, subject: Subject, observed: Observed) -> None:
        self.leaf: waits.Log = leaf
        self._count = 0
        self._unfinished: dict[int, str] = {}
        # Only this run counts.
        begun = observed.started_at
        self._since_ns = 0 if begun is None else to_nanoseconds(begun, "since")
        logs = subject.logs()
        self._reader = Reader(logs._directory / logs._name, logs._form)

    def step(self, ready: set[int], *, has_news: bool) -> None:
        if not has_news:
            return
        for piece in self._reader.available():
            if piece.at_ns >= self._since_ns and self.leaf.stream in (None, _STREAMS[piece.stream]):
                self._search(piece.stream, piece.content.decode(errors="replace"))
        self.is_met = self._count >= self.leaf.times

    def _search(self, stream: int, text: str) -> None:
        """Count the lines that hold the pattern; the end of a record may be in the middle of one."""
        *lines, unfinished = (self._unfinished.pop(stream, "") + text).split("\n")
        self._count += sum(self.leaf.pattern.search(line) is not None for line in lines)
        if unfinished and self.leaf.pattern.search(unfinished):
            self._count += 1  # a prompt has no end of the line
        elif unfinished:
            self._unfinished[stream] = unfinished[-_LONGEST_LINE:]

    def close(self) -> None:
        self._reader.close()


class _HealthWatcher(_Single):
    def __init__(self, leaf: waits.Healthy) -> None:
        self.leaf = leaf

    def verdicts(self, observed: Observed, has_ended: bool) -> Iterator[tuple[waits.Wait, _Verdict]]:
        found = {"healthy": _Verdict.MET, "starting": _Verdict.PENDING}.get(
            observed.health or "", _Verdict.FAILED
        )
        is_over = has_ended and found is _Verdict.PENDING
        yield self.leaf, _Verdict.FAILED if is_over else found


class _ExitWatcher(_Single):
    def __init__(self, leaf: waits.Exit) -> None:
        self.leaf: waits.Exit = leaf

    def verdicts(self, observed: Observed, has_ended: bool) -> Iterator[tuple[waits.Wait, _Verdict]]:
        if not has_ended:
            yield self.leaf, _Verdict.PENDING
            return
        is_right = observed.exit_code is not None and self.leaf.exit_code in (None, observed.exit_code)
        yield self.leaf, _Verdict.MET if is_right else _Verdict.FAILED


class _ExecWatcher(_Single):
    def __init__(self, leaf: waits.Exec, subject: Subject, observed: Observed) -> None:
        self.leaf: waits.Exec = leaf
        self._subject = subject
        self._command: _Command | None = None
        self.due = time.monotonic() if observed.pid is not None else None

    def wanted(self) -> list[tuple[int, int]]:
        return [] if self._command is None else [(self._command.fileno(), select.POLLIN)]

    def step(self, ready: set[int], *, has_news: bool) -> None:
        if self._command is not None and self._command.fileno() in ready:
            code = self._command.poll()
            if code is not None:
                self._command.close()
                self._command = None
                self.is_met = code == self.leaf.exit_code
                self.due = None if self.is_met else time.monotonic() + self.leaf.interval_s
        if self._command is None and self.due is not None and time.monotonic() >= self.due:
            self.due = None
            try:
                self._command = self._subject.start_command(self.leaf.command)
            except WrongState:
                # It is paused, or ends just now, which its state will say.
                self.due = time.monotonic() + self.leaf.interval_s

    def close(self) -> None:
        if self._command is not None:
            self._command.kill()
            self._command.close()
            self._command = None


class _InsideWatcher(_Watcher):
    """Ports, files and HTTP: everything that the one job in the container's namespaces looks for."""

    def __init__(
        self, leaves: Sequence[waits.Port | waits.Http | waits.File], subject: Subject, observed: Observed
    ) -> None:
        self._leaves = leaves
        self._left = set(range(len(leaves)))
        self._exchanges: dict[int, Exchange] = {}
        self._again: dict[int, float] = {}
        self._job: Job | None = None
        self._talk: Channel | None = None
        process = None if observed.pid is None else pidfd.open_checked(observed.pid, observed.pid_start)
        if process is None:
            return  # it has ended: the state says so, or will in a moment
        ours, theirs = socket.socketpair()
        self._talk = Channel(ours)
        try:
            with theirs:
                params = {"pid": observed.pid, "probes": [_probe(leaf) for leaf in leaves]}
                self._job = subject.helper.submit("probe", params, [process, theirs.fileno()])
        except BaseException:
            self._talk.close()
            raise
        finally:
            os.close(process)

    def wanted(self) -> list[tuple[int, int]]:
        found = [] if self._talk is None else [(self._talk.fileno(), select.POLLIN)]
        return found + [(each.fileno(), each.events) for each in self._exchanges.values()]

    def step(self, ready: set[int], *, has_news: bool) -> None:
        now = time.monotonic()
        if self._talk is not None and self._talk.fileno() in ready:
            self._listen(self._talk)
        for number, exchange in list(self._exchanges.items()):
            answer = exchange.step() if exchange.fileno() in ready else None
            if answer is None and now < exchange.deadline:
                continue
            exchange.close()
            del self._exchanges[number]
            if answer:
                self._left.discard(number)
            else:
                self._again[number] = now + _HTTP_PAUSE_S
        for number, moment in list(self._again.items()):
            if now >= moment and self._talk is not None:
                del self._again[number]
                self._ask_again(self._talk, number)
        pending = [*self._again.values(), *(each.deadline for each in self._exchanges.values())]
        self.due = min(pending, default=None)
        self.is_met = not self._left

    def verdicts(self, observed: Observed, has_ended: bool) -> Iterator[tuple[waits.Wait, _Verdict]]:
        pending = _Verdict.FAILED if has_ended else _Verdict.PENDING
        for number, leaf in enumerate(self._leaves):
            yield leaf, pending if number in self._left else _Verdict.MET

    def close(self) -> None:
        for exchange in self._exchanges.values():
            exchange.close()
        self._exchanges.clear()
        self._let_go()

    def _listen(self, talk: Channel) -> None:
        if not talk.fill():
            self._job_ended()
            return
        while (message := talk.take()) is not None:
            number = int(message["met"])
            leaf = self._leaves[number]
            if isinstance(leaf, waits.Http):
                sock = socket.socket(int(message["family"]), socket.SOCK_STREAM, fileno=talk.take_fds()[0])
                self._exchanges[number] = Exchange(sock, str(message["host"]), leaf)
            else:
                self._left.discard(number)

    def _ask_again(self, talk: Channel, number: int) -> None:
        try:
            talk.send({"again": number})
        except OSError:
            self._job_ended()

    def _job_ended(self) -> None:
        job = self._job
        try:
            if job is not None:
                job.result(_JOB_S)
        except NotFound:
            pass  # the container has just ended, which its state will say
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._talk is not None:
            self._talk.close()
            self._talk = None
        if self._job is not None:
            self._job.close()
            self._job = None


def _probe(leaf: waits.Port | waits.Http | waits.File) -> dict[str, Any]:
    if isinstance(leaf, waits.File):
        return {"kind": "file", "path": leaf.path}
    if isinstance(leaf, waits.Http):
        return {"kind": "http", "port": leaf.port}
    return {"kind": "port", "port": leaf.port, "protocol": leaf.protocol}
