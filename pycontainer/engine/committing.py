"""A container's changes as a new image, as `docker commit` makes it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.engine.events import emit_container
from pycontainer.engine.files import await_event, left, until
from pycontainer.engine.images import Image
from pycontainer.engine.instructions import apply_instructions
from pycontainer.engine.pulling import import_view
from pycontainer.engine.state import observe
from pycontainer.engine.thawing import thaw
from pycontainer.errors import BadReference, HelperDied, InvalidInput, NotFound
from pycontainer.image import Compression, ImageView, LayerWriter, derived, keep
from pycontainer.launcher import freezer
from pycontainer.oci import Healthcheck, History, Reference
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.state import Observed
    from pycontainer.image import WrittenLayer
    from pycontainer.oci import ContainerConfig
    from pycontainer.options import RunOptions

__all__ = ["KILL_POINTS", "commit"]

KILL_POINTS = (
    "commit.layer.stored",  # the layer is a blob, which only the lease keeps
    "commit.documents.stored",  # configuration and manifest are, too
    "commit.image.recorded",  # the image is there with its name
)

_CHUNK = 1 << 20
_FREEZE_TIMEOUT_S = 10.0


def commit(
    container: Container,
    name: str | None,
    *,
    author: str,
    message: str,
    changes: Sequence[str],
    pause: bool,
    compression: str,
    timeout: float | str | timedelta | None,
) -> Image:
    """See Container.commit."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    engine, base = container._engine, container.image
    names = [] if name is None else [_name(name)]
    options = container._options
    config = apply_instructions(_as_run(base.config.config, options), _one_by_one(changes))
    with engine.store.lease(f"commit {container.name}") as lease:
        layer = _layer(container, pause, Compression.parse(compression), deadline)
        reached("commit.layer.stored")
        view = _assembled(container, base.view, layer, config, author, message)
        reached("commit.documents.stored")
        image = Image(engine, import_view(engine, view, names, lease))
        reached("commit.image.recorded")
    emit_container(engine, "commit", container._current, {"comment": message, "imageID": image.id})
    return image


def _name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise BadReference(f"{text!r} names a digest, which only content has; leave the digest out")
    return reference


def _one_by_one(changes: Sequence[str]) -> Sequence[str]:
    if isinstance(changes, str):
        raise InvalidInput(f"changes={changes!r}: give a list of instructions")
    return changes


def _as_run(config: ContainerConfig, options: RunOptions) -> ContainerConfig:
    """The image's configuration with what the container was given instead."""
    given: dict[str, Any] = {}
    if options.entrypoint:
        # Whoever replaces the entrypoint has said goodbye to the image's arguments.
        given |= {"entrypoint": tuple(options.entrypoint), "cmd": None}
    if options.command:
        given["cmd"] = tuple(options.command)
    for option, field in (("user", "user"), ("workdir", "working_dir")):
        if (value := getattr(options, option)) is not None:
            given[field] = value
    if options.env:
        variables = dict(entry.partition("=")[::2] for entry in config.env) | dict(options.env)
        given["env"] = tuple(f"{name}={value}" for name, value in variables.items() if value is not None)
    if options.labels:
        given["labels"] = {**config.labels, **options.labels}
    if options.stop_signal is not None:
        given["stop_signal"] = str(int(options.stop_signal))
    if options.no_healthcheck:
        given["healthcheck"] = Healthcheck(test=("NONE",))
    elif options.health_cmd:
        given["healthcheck"] = _health(options)
    return evolve(config, **given)


def _health(options: RunOptions) -> Healthcheck:
    return Healthcheck(
        test=tuple(options.health_cmd or ()),
        retries=options.health_retries or 0,
        interval_ns=_nanoseconds(options.health_interval),
        timeout_ns=_nanoseconds(options.health_timeout),
        start_period_ns=_nanoseconds(options.health_start_period),
        start_interval_ns=_nanoseconds(options.health_start_interval),
    )


def _nanoseconds(seconds: float | None) -> int:
    return round((seconds or 0) * 1e9)


def _layer(
    container: Container, pause: bool, compression: Compression, deadline: float | None
) -> WrittenLayer:
    """The container's changes, in the store."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with ExitStack() as cleanup:
        cleanup.callback(os.close, reader)
        try:
            observed = cleanup.enter_context(_held_if_stopped(container, deadline))
            runs = observed.pid is not None
            freezes = pause and runs and not freezer.is_frozen(observed.freeze)
            params = {
                "container_dir": str(container._directory),
                "freeze": observed.freeze if freezes else None,
                "freeze_timeout_s": _FREEZE_TIMEOUT_S,
                "is_live": runs and not pause,
            }
            running = cleanup.enter_context(container._engine.helper.submit("commit_layer", params, [writer]))
        finally:
            os.close(writer)
        out = cleanup.enter_context(LayerWriter(compression))
        await_event(reader, select.POLLIN, deadline)
        while data := os.read(reader, _CHUNK):
            out.write(data)
            await_event(reader, select.POLLIN, deadline)
        try:
            told = running.result(left(deadline))
        except HelperDied:
            thaw(container._directory)
            raise
        layer = out.store(container._engine.store.content)
    if layer.diff_id != told["diff_id"]:
        raise HelperDied("the layer was cut off; commit again", job="commit_layer")
    return layer


@contextmanager
def _held_if_stopped(container: Container, deadline: float | None) -> Iterator[Observed]:
    """How the container is; one that does not run is not started before the block ends."""
    if not container._directory.is_dir():
        raise NotFound(f"container {container.name} was removed")
    observed = observe(container._directory)
    if observed.pid is not None:
        yield observed
        return
    with container._engine.store.container_lock(container.id, left(deadline)):
        yield observe(container._directory)


def _assembled(
    container: Container,
    base: ImageView,
    layer: WrittenLayer,
    config: ContainerConfig,
    author: str,
    message: str,
) -> ImageView:
    """The new image's documents, in the store."""
    content = container._engine.store.content
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    step = History(
        created=now, created_by=" ".join(container._options.command or ()), author=author, comment=message
    )
    made = derived(base, layer=layer, config=config, step=step, annotations={}, author=author)
    keep(made, content)
    return ImageView(made.manifest_bytes, made.config_bytes, content)
