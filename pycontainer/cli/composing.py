"""What the commands of `pycontainer compose` share: which application is meant, and how things are shown."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from pycontainer.cli.edge import INTERRUPTED, tell
from pycontainer.cli.formatting import ago, tabulate
from pycontainer.errors import NotFound, PycontainerError

if TYPE_CHECKING:
    from pycontainer.cli.session import Session
    from pycontainer.compose import Compose, ComposeLogLine
    from pycontainer.engine import Container, Engine

__all__ = [
    "Asked",
    "Foreground",
    "age",
    "changes_told",
    "container_status",
    "pass_asked",
    "ports_shown",
    "print_logs",
    "services_argument",
    "table",
    "uses_color",
    "variables",
    "variables_of_files",
    "warnings_told",
]

_AGAIN_S = 0.5
_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


@frozen(kw_only=True)
class Asked:
    """The options that stand before the command: which files, and which project."""

    files: tuple[str, ...]
    project: str | None
    profiles: tuple[str, ...]
    env_files: tuple[str, ...]
    directory: str | None
    session: Session
    is_dry: bool = False

    @property
    def engine(self) -> Engine:
        """The engine of this call."""
        return self.session.engine

    def container(self, service: str, index: int | None = None) -> Container:
        """A container of a service: that with this number, else the first. Raises: NotFound."""
        return self.application()[service].numbered(index or None)

    def application(self, *, needs_files: bool = False) -> Compose:
        """The application that is meant; one that has containers is known without its files by -p.

        needs_files: whether that is not enough. Raises: NotFound, ComposeFileError.
        """
        from pycontainer.compose import Compose

        files = self.paths
        env_files = self.env_files or tuple(filter(None, os.environ.get("COMPOSE_ENV_FILES", "").split(",")))
        try:
            found = Compose(
                list(files) or self.directory,
                project=self.project,
                profiles=self.profiles,
                env_files=list(env_files) or None,
                directory=self.directory,
                engine=self.engine,
            )
        except NotFound:
            if needs_files or files or self.project is None:
                raise
            return Compose.get(self.project, engine=self.engine)
        _tell_warnings(found.warnings)
        return found

    def tells_only(self, application: Compose, verb: str, *services: str, **options: Any) -> bool:
        """Whether only to tell what would be done, as --dry-run says; it is told then, on standard error.

        verb, options: those of Compose.plan.
        """
        if self.is_dry:
            for each in application.plan(verb, *services, **options):
                name = f"{each.kind.capitalize()} {each.name}"
                click.echo(f" DRY-RUN MODE -  {name}  {each.action.capitalize()}", err=True)
        return self.is_dry

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are named, by flags or the environment."""
        separator = os.environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        return self.files or tuple(filter(None, os.environ.get("COMPOSE_FILE", "").split(separator)))


def _tell_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"WARN {warning}", err=True)


@contextmanager
def warnings_told(application: Compose) -> Iterator[None]:
    """Tell on standard error what there is to be warned of meanwhile."""
    told = application.warnings
    try:
        yield
    finally:
        _tell_warnings(each for each in application.warnings if each not in told)


def variables(lines: Sequence[str]) -> dict[str, str | None]:
    """KEY=VALUE, or KEY for this process's own."""
    pairs = (line.partition("=") for line in lines)
    return {key: value if equals else os.environ.get(key) for key, equals, value in pairs}


def variables_of_files(paths: Sequence[str]) -> dict[str, str | None]:
    """What files of KEY=VALUE lines hold."""
    from pycontainer.options import parse_run_options

    return dict(parse_run_options(env_file=list(paths)).env or {}) if paths else {}


pass_asked: Callable[[Any], Any] = click.make_pass_decorator(Asked)
"""Decorate a command that takes what stands before it first."""

services_argument: Callable[[Any], Any] = click.argument("services", metavar="[SERVICE]...", nargs=-1)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns, as Docker does."""
    for line in tabulate([headers, *rows]):
        click.echo(line)


def age(moment: datetime | None) -> str:
    """How long ago something was, in Docker's words."""
    return "never" if moment is None else ago(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def container_status(container: Container) -> str:
    """Its state in Docker's words, as "Up 5 minutes (healthy)"."""
    state = container.state
    if state in ("running", "paused"):
        health = container.health
        told = "Paused" if state == "paused" else health.status if health is not None else ""
        told = "health: starting" if told == "starting" else told
        return f"Up {age(container.started_at)}" + (f" ({told})" if told else "")
    if state in ("exited", "restarting"):
        return f"{state.capitalize()} ({container.exit_code}) {age(container.finished_at)} ago"
    return state.capitalize()


# -- what has changed


def _present(application: Compose) -> dict[str, tuple[str, ...]]:
    """What there is of an application, by what it is called."""
    from pycontainer.engine import Network, Volume

    mine = {"label": f"com.docker.compose.project={application.name}"}
    found: dict[str, tuple[str, ...]] = {}
    for network in Network.list(filters=mine, engine=application.engine):
        found[f"Network {network.name}"] = (network.id,)
    for volume in Volume.list(filters=mine, engine=application.engine):
        found[f'Volume "{volume.name}"'] = (volume.name,)
    for container in application.containers:
        found[f"Container {container.name}"] = (container.id, container.state, str(container.started_at))
    return found


@contextmanager
def changes_told(application: Compose) -> Iterator[None]:
    """Tell on standard error what was made, started, stopped and removed meanwhile."""
    before = _present(application)
    is_done = False
    try:
        with warnings_told(application):
            yield
        is_done = True
    finally:
        after = _present(application)
        for name in dict.fromkeys((*before, *after)):
            word = _change(before.get(name), after.get(name))
            if word not in ("", "Running") or (is_done and word):
                click.echo(f" {name}  {word}", err=True)


def _change(before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> str:
    if after is None:
        return "Removed"
    if len(after) == 1:
        return "Created" if before is None else ""
    state = {"created": "Created", "running": "Started", "exited": "Exited"}.get(
        after[1], after[1].capitalize()
    )
    if before is None:
        return state
    if before[0] != after[0]:
        return "Recreated"
    if before == after:
        return "Running" if after[1] == "running" else ""
    return {"Exited": "Stopped"}.get(state, state)


# -- logs


def print_logs(
    lines: Iterable[ComposeLogLine],
    sources: Iterable[str],
    *,
    has_prefix: bool = True,
    has_color: bool = False,
    has_times: bool = False,
) -> None:
    """Print lines to the streams they came from, each with who wrote it. sources: those who may."""
    names = list(dict.fromkeys(sources))
    width = max(map(len, names), default=0)
    colors = {name: _COLORS[index % len(_COLORS)] for index, name in enumerate(names)}
    for line in lines:
        prefix = f"{line.source.ljust(width)}  | " if has_prefix else ""
        if prefix and has_color:
            prefix = f"\033[{colors.get(line.source, 37)}m{prefix}\033[0m"
        moment = line.at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ") if has_times else ""
        out = sys.stdout if line.stream == "stdout" else sys.stderr
        out.write(f"{prefix}{moment}{line.text}\n")
        out.flush()


def uses_color(is_off: bool) -> bool:
    """Whether prefixes get colours: on a terminal, unless somebody minds."""
    return sys.stdout.isatty() and not is_off and "NO_COLOR" not in os.environ


# -- in the foreground


class Foreground:
    """`up` without -d: shows the output until all containers have ended, or somebody interrupts."""

    def __init__(self, application: Compose, services: Sequence[str], *, aborts: str | None) -> None:
        """aborts: "exit" stops all when one has ended, "failure" when one has ended with an error."""
        self._application = application
        self._services = services
        self._aborts = aborts
        self._first: Container | None = None
        self._shown_at: datetime | None = None
        self._stopping: threading.Thread | None = None

    def show(self, since: datetime, timeout: str | None, **look: bool) -> int:
        """Show it; 130 when it was interrupted, the code of the container that made it stop, or 0."""
        application = self._application
        wanted = [name for name in self._services if application[name].containers] or list(self._services)
        lines = application.logs(*wanted, follow=True, since=since, on_end=self._ended)
        sources = [
            f"{name}-{number}"
            for name in (wanted or application.services)
            for number in range(1, len(application[name].containers) + 1)
        ]
        try:
            print_logs(self._noted(lines), sources, **look)
        except KeyboardInterrupt:
            click.echo("Gracefully stopping... (press Ctrl+C again to force)", err=True)
            self._stop(timeout)
            return INTERRUPTED
        finally:
            if self._stopping is not None:
                self._stopping.join()
        return (self._first.exit_code or 0) if self._first is not None else 0

    def show_watched(
        self, services: Sequence[str], since: datetime, timeout: str | None, **look: bool
    ) -> int:
        """Show it, and bring files that change into what runs, until somebody interrupts.

        Containers that are made anew are shown from their start.
        """

        def watch() -> None:
            from pycontainer.cli.commands.compose_watch import tell_watched

            try:
                tell_watched(self._application, services)
            except PycontainerError as error:
                tell(error)

        # It ends with this process: nothing that it does is lost when it is killed.
        threading.Thread(target=watch, name="pycontainer-watch", daemon=True).start()
        while True:
            code = self.show(since, timeout, **look)
            if code == INTERRUPTED or self._first is not None:
                return code
            since = self._shown_at or since
            try:
                time.sleep(_AGAIN_S)
            except KeyboardInterrupt:
                self._stop(timeout)
                return INTERRUPTED

    def _noted(self, lines: Iterable[ComposeLogLine]) -> Iterator[ComposeLogLine]:
        for line in lines:
            yield line
            self._shown_at = line.at + timedelta(microseconds=1)

    def _stop(self, timeout: str | None) -> None:
        try:
            self._application.stop(timeout=timeout)
        except KeyboardInterrupt:
            self._application.kill()

    def _ended(self, container: Container) -> None:
        code = container.exit_code
        click.echo(f"{container.name} exited with code {code}", err=True)
        if self._first is None and (self._aborts == "exit" or (self._aborts == "failure" and code)):
            self._first = container
            click.echo("Aborting on container exit...", err=True)
            self._stopping = threading.Thread(target=self._application.stop, name="pycontainer-stop")
            self._stopping.start()


def ports_shown(container: Container) -> str:
    """Its ports as Docker lists them."""
    ports: Mapping[str, Any] = container.inspect()["NetworkSettings"]["Ports"]
    found = []
    for port, places in ports.items():
        outer = [each for each in places or () if each["HostPort"]]
        found += [f"{each['HostIp']}:{each['HostPort']}->{port}" for each in outer]
        if not outer:
            found.append(port)
    return ", ".join(found)
