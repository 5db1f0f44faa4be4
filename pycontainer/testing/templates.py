"""A prepared container, stopped, of which copies start in milliseconds.

Theory of operation. The container is started, prepared and stopped, so that what it wrote is whole; its
writable layer becomes an image, once. A copy is a container of that image with the stopped one's volumes
mounted copy-on-write: nothing is copied but what it writes, and it costs what any start does.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from pycontainer.engine import Container, Engine, Image, forked_options
from pycontainer.errors import NotFound
from pycontainer.options import parse_signal
from pycontainer.services import Running, Service
from pycontainer.testing.factory import Started, Wanted, container_of

__all__ = ["Template"]


@attrs.frozen
class Template:
    """A stopped container and the image of its files; `fork` starts a copy.

        with pc.testing.Template.of(seeded) as template:
            db = template.fork()

    It owns both: `remove`, or the end of its block, removes them, when no copy is left.
    """

    started: Started
    image: Image
    wanted: Wanted

    @classmethod
    def of(
        cls,
        started: Started,
        *,
        name: str | None = None,
        timeout: float | None = None,
        wanted: Wanted | None = None,
    ) -> Template:
        """Stop a container, or a service, and make it a template.

        name: of the image; none by default. timeout: seconds for its program to end, as for Container.stop.
        wanted: what it was started from, which tells when copies are ready; a service's own by default.
        """
        container = container_of(started)
        container.stop(timeout if _heeds_stop(container) else 0)
        image = container.commit(name, compression="plain")
        if wanted is None:
            wanted = Wanted(what=started.service if isinstance(started, Running) else image)
        return cls(started, image, wanted)

    @classmethod
    def found(cls, engine: Engine, container: str, image: str, wanted: Wanted) -> Template | None:
        """The one whose container and image have these names, or None when they are not there."""
        try:
            box = Container.get(container, engine=engine)
            made = Image.get(image, engine=engine)
        except NotFound:
            return None
        what = wanted.what
        started: Started = box if isinstance(what, str | Image) else Running(what, box)
        return cls(started, made, wanted)

    def fork(self) -> Started:
        """Start a copy, owned by this process, and return when it is ready.

        Raises as Container.start and wait_until.
        """
        box = container_of(self.started)
        options = forked_options(box)
        command = options.pop("command", None)
        if isinstance(self.started, Running):
            options.pop("ports", None)  # it publishes its own
            if self.started.service.advertised:
                options.pop("hostname", None)
            what: Image | Service = self.started.service.replace(image=self.image, options={})
        else:
            what = self.image
        return attrs.evolve(self.wanted, what=what, command=command, options=options).start(box._engine)

    def remove(self) -> None:
        """Remove the container with its volumes, and the image."""
        container_of(self.started).remove(force=True, volumes=True)
        self.image.remove(force=True)

    def __enter__(self) -> Template:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _heeds_stop(container: Container) -> bool:
    """Whether its program has a handler for the signal that asks it to end.

    To a first process without one the kernel does not even deliver it, and stopping would only take its time.
    Source: pid_namespaces(7), proc(5) (SigCgt).
    """
    number = int(parse_signal(container.inspect()["Config"]["StopSignal"] or "TERM"))
    try:
        text = Path(f"/proc/{container.pid}/status").read_text()
    except FileNotFoundError:
        return True  # it has ended
    caught = next(line for line in text.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
