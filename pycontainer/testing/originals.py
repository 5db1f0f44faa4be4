"""Containers of declared fixtures: a test's own, one for all workers or later runs, and copies of one."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from pycontainer.engine import Container, Engine, Image
from pycontainer.errors import NotFound, PycontainerError
from pycontainer.options import dump_run_options, parse_run_options
from pycontainer.services import Running, Service
from pycontainer.testing import marks
from pycontainer.testing.factory import Started, Wanted, container_of
from pycontainer.testing.session import Session
from pycontainer.testing.sharing import Shared
from pycontainer.testing.templates import Template

__all__ = ["Originals"]

Prepare = Callable[[Any], object] | None


class Originals:
    """What the fixtures of this process have of containers that are for more than one test. See `provide`."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine, self._session = engine, session
        self._templates: dict[str, Shared[Template]] = {}

    def provide(
        self,
        wanted: Wanted,
        slot: str,
        prepare: Prepare,
        *,
        fork: bool,
        share: bool,
        reuse: bool,
        fixture: str,
    ) -> Iterator[Started]:
        """Give what is wanted, and end it, or this use of it, when the caller goes on.

        slot: what tells the declaration from others. See `testing.container` for the rest.
        """
        reuse = reuse and self._session.reuse != "off"
        if not (fork or share or reuse):
            started = wanted.start(self._engine)
            return self._watched(fixture, started, prepare, lambda: _remove(started))
        key = self._key(wanted, slot, prepare, reuse)
        if fork:
            if key not in self._templates:
                self._templates[key] = self._template(key, wanted, slot, prepare, reuse)
            copy = self._templates[key].thing.fork()
            return self._watched(fixture, copy, None, lambda: _remove(copy))
        shared = self._shared(key, wanted, slot, prepare, reuse)
        keeps = reuse and self._session.reuse != "end"
        return self._watched(fixture, shared.thing, None, lambda: shared.release(keeps=keeps))

    def _watched(
        self, fixture: str, started: Started, prepare: Prepare, end: Callable[[], None]
    ) -> Iterator[Started]:
        self._session.watch(fixture, started)
        try:
            if prepare is not None:
                prepare(started)
            yield started
        finally:
            self._session.forget(started)
            end()

    def close(self) -> None:
        """Let go of what copies were made of."""
        for key, shared in self._templates.items():
            shared.release(keeps=key.startswith(marks.REUSE) and self._session.reuse != "end")
        self._templates.clear()

    # -- one for several -------------------------------------------------------------------------

    def _shared(self, key: str, wanted: Wanted, slot: str, prepare: Prepare, reuse: bool) -> Shared[Started]:
        def make() -> tuple[str, Started]:
            started = self._begun(key, wanted, slot, prepare, reuse)
            if reuse:
                container_of(started).detach()
            return container_of(started).id, started

        return Shared(
            self._engine, key, find=lambda name: self._found(name, wanted), make=make, remove=_remove
        )

    def _template(
        self, key: str, wanted: Wanted, slot: str, prepare: Prepare, reuse: bool
    ) -> Shared[Template]:
        image = f"{marks.IMAGES}:{key}"

        def make() -> tuple[str, Template]:
            started = self._begun(key, wanted, slot, prepare, reuse)
            template = Template.of(started, name=image, wanted=wanted)
            if reuse:
                container_of(started).detach()
            return container_of(started).id, template

        return Shared(
            self._engine,
            key,
            find=lambda name: Template.found(self._engine, name, image, wanted),
            make=make,
            remove=Template.remove,
        )

    def _begun(self, key: str, wanted: Wanted, slot: str, prepare: Prepare, reuse: bool) -> Started:
        """Start it under the name of its key, and prepare it."""
        name = marks.container_name(key)
        options = {**wanted.options, "name": name}
        self._forget(Container.list(all=True, filters={"name": f"^{name}$"}, engine=self._engine))
        if reuse:  # what the declaration stood for before is nobody's any more
            options["labels"] = {**_labels(options.get("labels")), marks.REUSED: slot}
            # Copies have the label, too, but other names.
            asked = {"label": f"{marks.REUSED}={slot}", "name": f"^{marks.container_name('')}"}
            self._forget(Container.list(all=True, filters=asked, engine=self._engine))
        owner_pid = None if reuse else self._session.owner_pid
        started = attrs.evolve(wanted, options=options).start(self._engine, owner_pid=owner_pid)
        try:
            if prepare is not None:
                prepare(started)
        except BaseException:
            _remove(started)
            raise
        return started

    def _forget(self, containers: list[Container]) -> None:
        for each in containers:
            key = each.name.removeprefix(marks.container_name(""))
            each.remove(force=True, volumes=True)
            with suppress(NotFound):
                Image.get(f"{marks.IMAGES}:{key}", engine=self._engine).remove()
            with suppress(FileNotFoundError):
                marks.forget_place(self._engine, key)

    def _found(self, container_id: str, wanted: Wanted) -> Started | None:
        """The container of this id, started again if it has ended; None when it is not to be had any more."""
        try:
            box = Container.get(container_id, engine=self._engine)
            started: Started = box if not isinstance(wanted.what, Service) else Running(wanted.what, box)
            if box.state != "running":
                box.start()
            wait = wanted.wait or (wanted.what.ready if isinstance(wanted.what, Service) else None)
            if wait is not None:
                box.wait_until(wait)
        except PycontainerError:
            return None
        return started

    def _key(self, wanted: Wanted, slot: str, prepare: Prepare, reuse: bool) -> str:
        """What tells it from others: everything that it depends on, and the run unless it outlives that."""
        told = wanted.what.image if isinstance(wanted.what, Service) else wanted.what
        service = repr(wanted.what.replace(image="")) if isinstance(wanted.what, Service) else ""
        options = dump_run_options(parse_run_options(command=wanted.command, **wanted.options))
        parts = [slot, self._image(told).id, service, options, repr(wanted.wait), _source(prepare)]
        parts.append("" if reuse else marks.identity(self._session.owner_pid))
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()[:16]
        return f"{marks.REUSE}{digest}" if reuse else digest

    def _image(self, image: str | Image) -> Image:
        if isinstance(image, Image):
            return image
        try:
            return Image.get(image, engine=self._engine)
        except NotFound:
            return Image.pull(image, engine=self._engine)


def _remove(started: Started) -> None:
    container_of(started).remove(force=True, volumes=True)


def _source(prepare: Prepare) -> str:
    if prepare is None:
        return ""
    try:
        return inspect.getsource(prepare)
    except (OSError, TypeError):
        return getattr(prepare, "__qualname__", repr(type(prepare)))


def _labels(given: Any) -> dict[str, str]:
    return dict(given) if hasattr(given, "keys") else dict(line.partition("=")[::2] for line in given or ())
