"""Containers and what they need, made for a test and removed after it, in the opposite order."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Unpack, overload

import attrs

from pycontainer.engine import Container, Engine, Image, Network, Volume
from pycontainer.registry import Registry
from pycontainer.services import Running, Service
from pycontainer.testing.marks import mark

if TYPE_CHECKING:
    from pycontainer._generated import RunKwargs
    from pycontainer.engine import waits

__all__ = ["ContainerFactory", "Started", "Wanted", "container_of"]

Started = Container | Running


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be started: an image, or a service, and options."""

    what: str | Image | Service
    command: Sequence[str] | str | None = None
    wait: waits.Wait | None = None
    options: Mapping[str, Any] = attrs.Factory(dict)

    def start(self, engine: Engine, *, owner_pid: int | None = None) -> Started:
        """Start it and return when it is ready. owner_pid: whose it is; default this process's."""
        owner: dict[str, Any] = {"owned": True} if owner_pid is None else {"owner_pid": owner_pid}
        if isinstance(self.what, Service):
            service = self.what if self.wait is None else self.what.replace(wait=self.wait)
            options = dict(self.options)
            if self.command is not None:
                options["command"] = self.command
            return service.start(engine=engine, **owner, **options)
        made = Container.create(self.what, self.command, engine=engine, **owner, **self.options)
        try:
            made.start(wait=self.wait)
        except BaseException:
            made.remove(force=True, volumes=True)
            raise
        return made


def container_of(started: Started) -> Container:
    """The container of what was started."""
    return started.container if isinstance(started, Running) else started


class ContainerFactory:
    """Makes containers, networks, volumes, images and registries, and removes them when it is closed.

        redis = factory(pc.services.redis())
        app = factory("app:latest", env={"REDIS": redis.inner_url}, network=factory.network())

    A context manager. What it makes is gone, too, when this process dies; the networks, volumes and images
    with the next one that runs tests on the same store. on_start: called with each container's object.
    """

    def __init__(self, engine: Engine, *, on_start: Callable[[Started], None] | None = None) -> None:
        self.engine = engine
        self._on_start = on_start
        self._stack = ExitStack()

    @overload
    def __call__(self, image: Service, **options: Unpack[RunKwargs]) -> Running: ...
    @overload
    def __call__(
        self,
        image: str | Image,
        command: Sequence[str] | str | None = None,
        *,
        wait: waits.Wait | None = None,
        **options: Unpack[RunKwargs],
    ) -> Container: ...

    def __call__(
        self,
        image: str | Image | Service,
        command: Sequence[str] | str | None = None,
        *,
        wait: waits.Wait | None = None,
        **options: Any,
    ) -> Started:
        """Start a container, and return when it is ready. Raises as Container.create, start, wait_until."""
        wanted = Wanted(what=image, command=command, wait=wait, options=options)
        return self._keep(wanted.start(self.engine))

    def together(self, *wanted: str | Image | Service) -> list[Any]:
        """Start several at the same time; what came of each, in their order, when the last is ready.

        When one fails none is left, and its error is raised, with a note for each further one.
        """
        wants = [Wanted(what=each) for each in wanted]
        return [self._keep(each) for each in start_together(self.engine, wants)]

    def _keep(self, started: Started) -> Started:
        self._stack.callback(container_of(started).remove, force=True, volumes=True)
        if self._on_start is not None:
            self._on_start(started)
        return started

    def network(self, name: str | None = None, **options: Any) -> Network:
        """Make a network, see Network.create; the option network takes it."""
        labels = {**(options.pop("labels", None) or {}), **mark(os.getpid())}
        chosen = name or f"test-{secrets.token_hex(4)}"
        made = Network.create(chosen, labels=labels, engine=self.engine, **options)
        self._stack.callback(made.remove)
        return made

    def volume(self, name: str | None = None, **options: Any) -> Volume:
        """Make a volume, see Volume.create; the option volumes takes it: `{volume: "/data"}`."""
        labels = {**(options.pop("labels", None) or {}), **mark(os.getpid())}
        chosen = name or f"test-{secrets.token_hex(4)}"
        made = Volume.create(chosen, labels=labels, engine=self.engine, **options)
        self._stack.callback(made.remove, force=True)
        return made

    def image(self, context: Any = ".", **options: Any) -> Image:
        """Build an image, see Image.build, for as long as it is needed; the cache of builds stays."""
        labels = {**(options.pop("labels", None) or {}), **mark(os.getpid())}
        made = Image.build(context, labels=labels, engine=self.engine, **options)
        self._stack.callback(made.remove, force=True)
        return made

    def registry(self, **options: Any) -> Registry:
        """Serve a registry from this process, see pycontainer.Registry."""
        return self._stack.enter_context(Registry(**options))

    def close(self) -> None:
        """Remove everything; idempotent."""
        self._stack.close()

    def __enter__(self) -> ContainerFactory:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


def start_together(engine: Engine, wanted: Sequence[Wanted]) -> list[Started]:
    """Start all at the same time, or none."""
    _ = engine.store  # opened once, not by each thread
    with ThreadPoolExecutor(max(1, len(wanted)), "pycontainer-start") as pool:
        futures = [pool.submit(each.start, engine) for each in wanted]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if not errors:
        return [future.result() for future in futures]
    for future in futures:
        if future.exception() is None:
            container_of(future.result()).remove(force=True, volumes=True)
    for further in errors[1:]:
        errors[0].add_note(f"another one failed as well: {further}")
    raise errors[0]
