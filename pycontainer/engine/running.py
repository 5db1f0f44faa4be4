"""`run()`: one container, from its first process to its result."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, Unpack

from attrs import evolve

from pycontainer.engine.engine import Engine
from pycontainer.engine.events import container_attributes, emit
from pycontainer.engine.images import Image, engine_for, resolve_image
from pycontainer.engine.launching import INLINE_OUTPUT_BYTES, create, feed, launch
from pycontainer.engine.logdrivers import SPOOL, needs_spool
from pycontainer.engine.ownership import this_process
from pycontainer.engine.result import Gathered, RunResult
from pycontainer.engine.state import await_tidied, usage_of
from pycontainer.errors import DeadlineExceeded, InvalidOption, KernelError, LaunchError
from pycontainer.options import given_seconds, parse_run_options

if TYPE_CHECKING:
    from pycontainer._generated import RunKwargs
    from pycontainer.engine.recipes import Recipe
    from pycontainer.launcher import Job
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["run"]


def run(
    image: str | Image,
    command: Sequence[str] | str | None = None,
    *,
    input: bytes | bytearray | memoryview | IO[bytes] | None = None,
    timeout: float | str | timedelta | None = None,
    check: bool = False,
    interactive: bool = False,
    engine: Engine | None = None,
    **options: Unpack[RunKwargs],
) -> RunResult:
    """Run a container to its end and return what it wrote; nothing of it is left behind.

    image: an image, or its reference, id or prefix of an id; pulled when it is not here.
    command: program and arguments, instead of the image's; a string is split as a shell would.
    input: bytes or an open binary file for its stdin, which is empty otherwise.
    timeout: seconds after which the container is killed; None waits for ever.
    check: raise ContainerFailed unless it exits with 0.
    interactive: join the terminal of this process to it (see Container.interact), its input is open, and it
    has a terminal if we have one; the result holds no output then. Not with input or timeout.
    engine: default the current one, or the image's own where that has another store. options: see the
    reference of run options.

    The container ends with this process, however that ends. Blocks; for use from an event loop call
    it in a thread. Raises: LaunchError with exit_code 125, 126 or 127 when the program could not be
    started; DeadlineExceeded; NotFound; InvalidOption; TypeError for an unknown option.
    """
    engine = engine_for(image, engine)
    engine.helper.begin()
    asked = parse_run_options(**{**options, "command": command, "auto_remove": True})
    if interactive:
        if input is not None or timeout is not None:
            raise InvalidOption("option interactive: the terminal is the input, and its user ends it")
        asked = evolve(asked, stdin_open=True, tty=asked.tty or (os.isatty(0) and os.isatty(1)))
    limit_s = None if timeout is None else given_seconds(timeout)
    given: bytes | IO[bytes] | None = None
    if input is not None:
        from pycontainer.engine.inputs import readable  # few pass any

        given = readable(input)
    chosen = resolve_image(engine, image, asked)
    reference = image if isinstance(image, str) else ""
    record, made = create(engine, chosen, asked, owner=this_process(), reference=reference)
    try:
        if interactive:
            result = _run_joined(engine, record, asked, chosen.config, made)
        else:
            result = _run_recorded(engine, record, asked, chosen.config, made, given, limit_s)
    except BaseException:
        engine.forget_container(record.id)
        raise
    # Its files are the monitor's to remove, off the caller's path.
    try:
        if asked.egress is not None:
            from pycontainer.engine import egress  # containers without a policy do without

            egress.forget(engine, record)
        if engine.store.state.containers.delete(record.id):
            told = container_attributes(record, asked, chosen.config)
            emit(engine, "container", "destroy", record.id, told)
        if record.options.get("mounts"):
            from pycontainer.engine.volumes import sweep  # containers without mounts do without

            sweep(engine)
    except KernelError:
        # No room to write even this, when the container has just filled the disk: its files go first. The
        # kernel may free them later still; then whoever opens the store next drops the row without files.
        with suppress(KernelError, DeadlineExceeded):
            await_tidied(engine.store.container_dir(record.id))
            engine.forget_container(record.id)
    return result.check() if check else result


def _run_recorded(
    engine: Engine,
    record: ContainerRecord,
    options: RunOptions,
    config: ImageConfig,
    made: Recipe,
    given: bytes | IO[bytes] | None,
    limit_s: float | None,
) -> RunResult:
    stdin = feed(given) if isinstance(given, bytes) else None
    try:
        descriptor = stdin if given is None or isinstance(given, bytes) else given.fileno()
        job = launch(
            engine,
            record,
            options,
            config,
            is_owned=True,
            made=made,
            stdin=descriptor,
            inline_output=INLINE_OUTPUT_BYTES,
        )
    finally:
        if stdin is not None:
            os.close(stdin)
    try:
        exited = _await_exit(job, limit_s)
        stdout, stderr = _output(engine, record, options, exited)
    finally:
        # Lets go of the container: the monitor kills it if it still runs, and removes its files.
        job.close()
    return RunResult(
        exit_code=exited["exit_code"],
        stdout=stdout,
        stderr=stderr,
        is_complete="stdout_b64" in exited or exited["log_complete"],
        oom_killed=bool(exited.get("oom_killed")),
        usage=usage_of(exited),
        container_id=record.id,
    )


def _run_joined(
    engine: Engine, record: ContainerRecord, options: RunOptions, config: ImageConfig, made: Recipe
) -> RunResult:
    """Run it with our terminal as its streams."""
    from pycontainer.engine.attaching import Attachment, request, terminal_size
    from pycontainer.engine.interaction import interact_attached

    size = (terminal_size(1) or terminal_size(0)) if options.tty else None
    asked = request(stdin=True, stdout=True, stderr=True, stdin_once=True, size=size)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            job = launch(
                engine,
                record,
                options,
                config,
                is_owned=True,
                made=made,
                attach=(theirs.fileno(), asked),
            )
    except BaseException:
        ours.close()
        raise
    exited: dict[str, Any] = {}

    def wait() -> int:
        exited.update(_await_exit(job, None))
        return int(exited["exit_code"])

    try:
        with Attachment(
            ours,
            has_terminal=options.tty,
            may_write=True,
            before=iter(()),
            wait=wait,
            signal=lambda number: job.send({"signal": number}),
            was_lost=lambda: True,  # its output is read all the time
        ) as attachment:
            interact_attached(attachment, detach_keys="")
    finally:
        job.close()
    return RunResult(
        exit_code=exited["exit_code"],
        oom_killed=bool(exited.get("oom_killed")),
        usage=usage_of(exited),
        container_id=record.id,
    )


def _await_exit(job: Job, limit_s: float | None) -> dict[str, Any]:
    try:
        message = job.receive(limit_s)
    except DeadlineExceeded:
        raise DeadlineExceeded(
            f"the container did not end within {limit_s:g} s and was killed", timeout_s=limit_s
        ) from None
    if message is None:
        raise LaunchError("the container's monitor was killed, and the container with it", step="monitor")
    return message


def _output(
    engine: Engine, record: ContainerRecord, options: RunOptions, exited: dict[str, Any]
) -> tuple[bytes, bytes]:
    if "stdout_b64" in exited:
        # With a terminal all of it is stdout.
        return base64.b64decode(exited["stdout_b64"]), base64.b64decode(exited.get("stderr_b64", ""))
    from pycontainer.engine.logfiles import Reader  # with gzip: only for output that is in a log

    reader = Reader(engine.store.container_dir(record.id) / (SPOOL if needs_spool(options) else "log"))
    gathered = Gathered()
    try:
        for piece in reader.available():
            gathered.add("stdout" if piece.stream == 1 else "stderr", piece.content)
    finally:
        reader.close()
    return gathered.both()
