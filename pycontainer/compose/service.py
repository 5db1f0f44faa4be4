"""A service of an application: its containers, and what is done with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

from pycontainer.compose.labels import Member, find_members
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from pycontainer.compose.application import Compose
    from pycontainer.compose.output import ComposeLogLine
    from pycontainer.engine import Container, ExecResult, PortBinding

__all__ = ["ComposeService"]


@final
class ComposeService:
    """A service of an application; its attributes look anew each time."""

    def __init__(self, application: Compose, name: str) -> None:
        self._application = application
        self._name = name

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self._name

    @property
    def containers(self) -> list[Container]:
        """Its containers, running or not, by number."""
        return [each.container for each in self._members() if not each.is_oneoff]

    @property
    def numbers(self) -> dict[int, Container]:
        """Its containers by number."""
        return {each.number: each.container for each in self._members() if not each.is_oneoff}

    @property
    def oneoffs(self) -> list[Container]:
        """Its one-off containers that are still there."""
        return [each.container for each in self._members() if each.is_oneoff]

    def _members(self) -> list[Member]:
        found = find_members(self._application.engine, self._application.name)
        return [each for each in found if each.service == self._name]

    @property
    def container(self) -> Container:
        """Its first container. Raises: NotFound."""
        return self.numbered(None)

    def numbered(self, index: int | None) -> Container:
        """Its container with this number; the first for None. Raises: NotFound."""
        found = [each for each in self._members() if not each.is_oneoff and index in (None, each.number)]
        if not found:
            which = "no container" if index is None else f"no container {index}"
            raise NotFound(f"service {self._name} has {which}; bring it up first")
        return found[0].container

    def exec(self, args: Sequence[str] | str, *, index: int | None = None, **options: Any) -> ExecResult:
        """Run a further program in its first container, or that with this number; see Container.exec."""
        return self.numbered(index).exec(args, **options)

    def port(self, port: int, *, protocol: str = "tcp", index: int | None = None) -> PortBinding:
        """Where one of its ports is found on this host. Raises: NotFound."""
        container = self.numbered(index)
        found = container.ports.get(port if protocol == "tcp" else f"{port}/{protocol}")
        if found is None:
            raise NotFound(f"port {port}/{protocol} of {container.name} is not published, or it does not run")
        return found

    def logs(self, **selection: Any) -> Iterator[ComposeLogLine]:
        """Its output; see Compose.logs."""
        return self._application.logs(self._name, **selection)

    def scale(self, count: int) -> None:
        """Have as many containers of it. Raises as Compose.up."""
        self._application.up(self._name, scale={self._name: count}, no_recreate=True, no_deps=True)

    def start(self) -> None:
        """Start its containers."""
        self._application.start(self._name)

    def stop(self, **options: Any) -> None:
        """Stop its containers; they stay. timeout: seconds."""
        self._application.stop(self._name, **options)

    def restart(self, **options: Any) -> None:
        """Stop its containers and start them again. timeout: seconds."""
        self._application.restart(self._name, **options)

    def __repr__(self) -> str:
        return f"ComposeService(name={self._name!r}, project={self._application.name!r})"
