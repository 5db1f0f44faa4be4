"""What one does with a container's streams: the part of `Container` that attaches to them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from pycontainer import runtime
from pycontainer.engine import steering
from pycontainer.engine.attaching import Attachment, Chunk, attach_running, check_size, request, terminal_size
from pycontainer.engine.detachkeys import DEFAULT
from pycontainer.engine.events import emit_container
from pycontainer.engine.state import await_end, end_held, monitor_of
from pycontainer.errors import DeadlineExceeded, WrongState
from pycontainer.launcher import ask
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.engine.logs import Logs
    from pycontainer.engine.moments import Moment
    from pycontainer.engine.process import Seconds
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["Attachable"]

_PATIENCE_S = 10.0


class Attachable:
    """Methods of a container that use its streams and its terminal."""

    if TYPE_CHECKING:
        _engine: Engine

        @property
        def id(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def state(self) -> str: ...
        @property
        def _current(self) -> ContainerRecord: ...
        @property
        def _directory(self) -> Path: ...
        @property
        def _options(self) -> RunOptions: ...
        @property
        def _current(self) -> ContainerRecord: ...
        def kill(self, signal: int | str = ...) -> None: ...
        def wait(self, timeout: Any = ...) -> int: ...

    def logs(
        self,
        *,
        follow: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tail: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        timeout_s: float | None = None,
    ) -> Logs:
        """Its output: iterate over tagged lines, or call `.text()` or `.read()`. See Logs.

        Raises NotFound when its log driver keeps nothing here.
        """
        from pycontainer.engine import logdrivers
        from pycontainer.engine.logs import Logs

        path, form = logdrivers.readable_log(self._directory, self.id, self._options)
        return Logs(
            directory=path.parent,
            name=path.name,
            form=form,
            monitor=lambda: monitor_of(self._directory),
            follow=follow,
            stdout=stdout,
            stderr=stderr,
            tail=tail,
            since=since,
            until=until,
            timeout_s=timeout_s,
        )

    def attach(
        self,
        *,
        stdin: bool = True,
        stdout: bool = True,
        stderr: bool = True,
        logs: bool = False,
        start: bool = False,
        stdin_once: bool = False,
        size: tuple[int, int] | None = None,
        timeout: Seconds = 10.0,
    ) -> Attachment:
        """Its output from now on, and its input, which all who are attached share.

        stdin: also write, where the container's input is open (stdin_open). logs: what it has written so
        far comes first. start: start it, and miss nothing. stdin_once: its input ends when this
        attachment is closed. size: rows and columns to give its terminal. timeout: seconds to wait for
        its monitor.

        Raises WrongState when it does not run; DeadlineExceeded; LaunchError of a start; NotFound when
        logs are asked for and its log driver keeps none here.
        """
        options = self._options
        may_write = stdin and options.stdin_open
        asked = request(stdin=may_write, stdout=stdout, stderr=stderr, stdin_once=stdin_once, size=size)
        earlier: Iterator[Chunk] = iter(())
        if start:
            emit_container(self._engine, "attach", self._current)
            sock = self._start_attached(asked)
        else:
            if self.state not in ("running", "paused", "restarting"):
                raise WrongState(
                    f"container {self.name} does not run; pass start=True to start it",
                    verb="attach",
                    state=self.state,
                    allowed=("running",),
                )
            sock, answer = attach_running(self._directory, {**asked, "logs": logs}, given_seconds(timeout))
            emit_container(self._engine, "attach", self._current)
            if logs:
                earlier = self._written_until(answer, stdout=stdout, stderr=stderr)
        return Attachment(
            sock,
            has_terminal=options.tty,
            may_write=may_write,
            before=earlier,
            wait=self.wait,
            signal=self._signal_quietly,
            was_lost=self._was_lost,
        )

    def _was_lost(self) -> bool:
        """Whether the monitor that has closed our socket was killed."""
        try:
            return await_end(self._directory, _PATIENCE_S).is_lost
        except (DeadlineExceeded, FileNotFoundError):
            return False

    def _start_attached(self: Any, asked: dict[str, Any]) -> socket.socket:
        container: Container = self
        ours, theirs = socket.socketpair()
        try:
            with theirs, container._engine.store.container_lock(container.id):
                runtime.after("start", container.state)
                steering.start(container, attach=(theirs.fileno(), asked))
        except BaseException:
            ours.close()
            raise
        return ours

    def _written_until(self, answer: dict[str, Any], *, stdout: bool, stderr: bool) -> Iterator[Chunk]:
        """What was written before we were attached: all of the log up to where it was then."""
        if answer.get("log") is None:
            return
        inode, size = answer["log"]
        for record in self.logs(stdout=stdout, stderr=stderr).records_until(inode, size):
            yield Chunk(stream="stdout" if record.stream == 1 else "stderr", content=record.content)
        for stream, text in answer.get("held", {}).items():
            if (stdout if stream == "stdout" else stderr) and text:
                yield Chunk(stream=stream, content=bytes.fromhex(text))

    def _signal_quietly(self, number: int) -> None:
        with suppress(WrongState):
            self.kill(number)

    def interact(
        self,
        *,
        detach_keys: str = DEFAULT,
        sig_proxy: bool = True,
        logs: bool = False,
        start: bool = False,
        stdin: bool = True,
        stdout: bool = True,
        stderr: bool = True,
    ) -> int | None:
        """Join the terminal of this process to the container, until its end or the detach keys.

        Gives its exit code; None when it was left with the keys and goes on. With tty our terminal is raw
        meanwhile and tells its size; interrupts and the like are keys then. Signals that would end this
        process go to the container (sig_proxy), in the main thread. All is as before afterwards, whatever
        happens. detach_keys: as "ctrl-p,ctrl-q"; "" for none. The others: as for attach.
        """
        from pycontainer.engine.interaction import interact_attached

        size = terminal_size(1) or terminal_size(0)
        has_terminal = self._options.tty
        with ExitStack() as held:
            wait = None
            if self._current.auto_remove:
                # Else it may be gone, with its exit code, before we come to ask for that.
                wait = self._reader_of_end(held.enter_context(end_held(self._directory)))
            it = held.enter_context(
                self.attach(
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    logs=logs,
                    start=start,
                    stdin_once=start and not has_terminal,  # who left it by keys may come back and type on
                    size=size if has_terminal else None,
                )
            )
            exit_code = interact_attached(it, detach_keys=detach_keys, sig_proxy=sig_proxy, wait=wait)
        if exit_code is None:
            emit_container(self._engine, "detach", self._current)
        return exit_code

    def _reader_of_end(self, held: int) -> Callable[[], int]:
        def wait() -> int:
            try:
                observed = await_end(self._directory, None, removes_itself=True, held=held)
            except FileNotFoundError:
                raise steering.removed(self.name) from None
            if not self._directory.is_dir():
                # Its monitor has removed the files. What that does not reach would be for the next who opens
                # the store to find, as what a crash left: its record, its places and anonymous volumes.
                with self._engine.store.container_lock(self.id):
                    self._engine.forget_container(self.id)
            return steering.exit_code_of(observed, self.name, "not-running")

        return wait

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal. Raises WrongState without one, or when it does not run."""
        check_size(rows, columns)
        ask(str(self._directory), {"op": "resize", "rows": rows, "columns": columns})
        emit_container(self._engine, "resize", self._current, {"height": str(rows), "width": str(columns)})
