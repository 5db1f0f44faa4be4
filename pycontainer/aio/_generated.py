"""The asynchronous mirror of the public classes and functions.

Made by `python -m pycontainer.aio.derive --write`; never edited by hand.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Self

import pycontainer.engine
from pycontainer.aio.running import Mirror, Stream, call, ending, mirrored, streamed, undoing, unwrap, wrap
from pycontainer.aio.streams import EngineContext, Events, Logs, ProcessStreams, StatsStream

if TYPE_CHECKING:
    import os
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path, PurePosixPath
    from typing import IO, BinaryIO, Literal, Unpack

    import httpx

    from pycontainer._generated import RunKwargs, UpdateKwargs
    from pycontainer.build import BuildWarning, OnBuildEvent
    from pycontainer.compose.asked import Duration, PathLike
    from pycontainer.compose.model import Project
    from pycontainer.compose.output import ComposeLogLine
    from pycontainer.compose.planning import PlannedChange
    from pycontainer.compose.service import ComposeService
    from pycontainer.compose.watching import WatchEvent
    from pycontainer.engine import ExecResult, PortBinding, RunResult, steering
    from pycontainer.engine.artifacts import ArtifactFile
    from pycontainer.engine.attaching import Chunk
    from pycontainer.engine.building import OnFailure
    from pycontainer.engine.building.pruning import PrunedBuildCache
    from pycontainer.engine.changed import Change
    from pycontainer.engine.connecting import Protocol
    from pycontainer.engine.copying import Copied, HostPath
    from pycontainer.engine.diskusage import DiskUsage
    from pycontainer.engine.filters import FilterValues
    from pycontainer.engine.images import HistoryEntry
    from pycontainer.engine.locking import Moved
    from pycontainer.engine.moments import Moment
    from pycontainer.engine.paths import InnerPath
    from pycontainer.engine.process import OutputLine, Seconds
    from pycontainer.engine.processes import Top
    from pycontainer.engine.pruning import Pruned
    from pycontainer.engine.sendable import ArchiveFormat, Sendable
    from pycontainer.engine.stats import Stats
    from pycontainer.engine.supervision import Health
    from pycontainer.engine.trusting import Key, Verified
    from pycontainer.engine.waits import Wait
    from pycontainer.image import Files, OnEvent
    from pycontainer.oci import Descriptor, ImageConfig
    from pycontainer.oci import runtime as model
    from pycontainer.registry.config import RegistryConfig
    from pycontainer.registry.server.faults import Fault
    from pycontainer.registry.server.limits import ServerLimits
    from pycontainer.registry.server.registry import TlsFiles
    from pycontainer.registry.server.service import RequestRecord
    from pycontainer.store import Damage
    from pycontainer.trust import SignaturePolicy, SigningKey

__all__ = [
    "Artifact",
    "Attachment",
    "Compose",
    "Container",
    "ContainerPath",
    "Engine",
    "Events",
    "Exec",
    "FailedStep",
    "Image",
    "ImageIndex",
    "Impairment",
    "LockFile",
    "Logs",
    "Network",
    "Partition",
    "Process",
    "Registry",
    "RemoteImage",
    "StatsStream",
    "Volume",
    "VolumePath",
    "VolumeSnapshot",
    "copy",
    "disk_usage",
    "events",
    "info",
    "login",
    "logout",
    "prune",
    "prune_build_cache",
    "run",
    "sign",
    "verify",
]


class Artifact(Mirror):
    """An artifact in a registry, looked up once."""

    _of = ("pycontainer.engine.artifacts", "Artifact")

    def __init__(self, reference: str, *, engine: Engine | None = None) -> None:
        """As `pycontainer.Artifact`."""
        self.sync: Any = self._class()(unwrap(reference), engine=unwrap(engine))

    @property
    def annotations(self) -> Awaitable[Mapping[str, str]]:
        """Annotations of its manifest."""
        return mirrored(getattr, self.sync, "annotations")

    @property
    def artifact_type(self) -> Awaitable[str]:
        """What it is; of old artifacts the type of the configuration."""
        return mirrored(getattr, self.sync, "artifact_type")

    @classmethod
    async def attach(
        cls,
        subject: str,
        files: Mapping[str, bytes | str | Path],
        *,
        artifact_type: str,
        media_types: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Artifact:
        """Push files as a referrer of an image, into its repository and without a tag."""
        return await mirrored(
            cls._class().attach,
            subject,
            files,
            artifact_type=artifact_type,
            media_types=media_types,
            annotations=annotations,
            engine=engine,
        )

    async def delete(self) -> None:
        """Delete it from the registry."""
        return await mirrored(self.sync.delete)

    @property
    def digest(self) -> Awaitable[str]:
        """Digest of its manifest."""
        return mirrored(getattr, self.sync, "digest")

    async def extract(self, directory: str | os.PathLike[str]) -> builtins.list[Path]:
        """Write its files below a directory, which is made; returns their paths."""
        return await mirrored(self.sync.extract, directory)

    @property
    def files(self) -> Awaitable[tuple[ArtifactFile, ...]]:
        """Its files, in their order."""
        return mirrored(getattr, self.sync, "files")

    @classmethod
    async def push(
        cls,
        reference: str,
        files: Mapping[str, bytes | str | Path],
        *,
        artifact_type: str = "",
        media_types: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        file_annotations: Mapping[str, Mapping[str, str]] | None = None,
        subject: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> Artifact:
        """Push files under a name: content, text, or a file of the host (Path), by the names they get."""
        return await mirrored(
            cls._class().push,
            reference,
            files,
            artifact_type=artifact_type,
            media_types=media_types,
            annotations=annotations,
            file_annotations=file_annotations,
            subject=subject,
            on_event=on_event,
            engine=engine,
        )

    async def read(self, name: str = "") -> bytes:
        """The content of a file, or of the only one, verified; one without a name is known by its digest."""
        return await mirrored(self.sync.read, name)

    @property
    def reference(self) -> str:
        """The whole name."""
        return wrap(self.sync.reference)

    @property
    def subject(self) -> Awaitable[str]:
        """Digest of what it is about, or ""."""
        return mirrored(getattr, self.sync, "subject")


class Attachment(Mirror):
    """One client of a container's streams, as `Container.attach()` gives it."""

    _of = ("pycontainer.engine.attaching", "Attachment")

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    def __aiter__(self) -> Stream[Chunk]:
        return streamed(self.sync.__iter__)

    async def close(self) -> None:
        """Detach: the container goes on, and so does its input unless it was to end with us."""
        return await ending(self.sync.close)

    async def close_stdin(self) -> None:
        """Let the container's input end, for all who are attached; idempotent."""
        return await mirrored(self.sync.close_stdin)

    async def communicate(
        self, input: bytes | None = None, timeout: Seconds | None = None
    ) -> tuple[bytes, bytes]:
        """Write the input and end it, and read all output meanwhile: stdout and stderr."""
        return await mirrored(self.sync.communicate, input, timeout)

    def fileno(self) -> int:
        """A descriptor that poll(2) finds readable when there is output; `read` may have some besides."""
        return wrap(self.sync.fileno())

    async def read(self, timeout: Seconds | None = None) -> Chunk | None:
        """The next output; None when the container's output has ended, or on being closed."""
        return await mirrored(self.sync.read, timeout)

    async def read_all(self, timeout: Seconds | None = None) -> tuple[bytes, bytes]:
        """All that is written until the container's end: stdout and stderr."""
        return await mirrored(self.sync.read_all, timeout)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal; without effect when it has none."""
        return await mirrored(self.sync.resize, rows, columns)

    async def send_signal(self, number: int) -> None:
        """Send the container's first process a signal; without effect when it has ended."""
        return await mirrored(self.sync.send_signal, number)

    async def wait(self) -> int:
        """Wait for the end of the container's run and return the exit code."""
        return await mirrored(self.sync.wait)

    async def write(self, content: bytes, timeout: Seconds | None = None) -> None:
        """Pass on to the container's input, shared with others who are attached."""
        return await mirrored(self.sync.write, content, timeout)


class Compose(Mirror):
    """An application of several containers, networks and volumes, as compose files say it."""

    _of = ("pycontainer.compose.application", "Compose")

    def __init__(
        self,
        path: PathLike | Sequence[PathLike] | None = None,
        *,
        project: str | None = None,
        profiles: Collection[str] = (),
        env: Mapping[str, str] | None = None,
        env_files: Sequence[PathLike] | None = None,
        directory: PathLike | None = None,
        remove_volumes: bool = False,
        engine: Engine | None = None,
    ) -> None:
        """As `pycontainer.Compose`."""
        self.sync: Any = self._class()(
            unwrap(path),
            project=unwrap(project),
            profiles=unwrap(profiles),
            env=unwrap(env),
            env_files=unwrap(env_files),
            directory=unwrap(directory),
            remove_volumes=unwrap(remove_volumes),
            engine=unwrap(engine),
        )

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def build(
        self,
        *services: str,
        no_cache: bool = False,
        pull: bool = False,
        args: Mapping[str, str | None] | None = None,
        progress: OnBuildEvent | str | None = None,
        **options: Any,
    ) -> None:
        """Build the images of all services that say how, or of these."""
        return await mirrored(
            self.sync.build, *services, no_cache=no_cache, pull=pull, args=args, progress=progress, **options
        )

    async def check(self, *services: str) -> dict[str, tuple[BuildWarning, ...]]:
        """By service what Image.check finds in its Dockerfile, if it has one."""
        return await mirrored(self.sync.check, *services)

    async def config(self, *services: str, resolve_image_digests: bool = False) -> dict[str, Any]:
        """The files put together, in canonical form: what `docker compose config` prints."""
        return await mirrored(self.sync.config, *services, resolve_image_digests=resolve_image_digests)

    async def config_hashes(self, *services: str) -> dict[str, str]:
        """By service what changes when its containers have to be made anew."""
        return await mirrored(self.sync.config_hashes, *services)

    async def config_text(self, *services: str, **options: Any) -> str:
        """The same as YAML, which reads back as the same application."""
        return await mirrored(self.sync.config_text, *services, **options)

    @property
    def containers(self) -> builtins.list[Container]:
        """Its containers, running or not, by service and number."""
        return wrap(self.sync.containers)

    async def create_oneoff(
        self,
        service: str,
        command: Sequence[str] | str | None = None,
        *,
        no_deps: bool = False,
        service_ports: bool = False,
        use_aliases: bool = False,
        build: bool | None = None,
        pull: str | None = None,
        remove_orphans: bool = False,
        **changes: Any,
    ) -> Container:
        """Make a one-off container of a service, once what it depends on runs; it is not started."""
        return await mirrored(
            self.sync.create_oneoff,
            service,
            command,
            no_deps=no_deps,
            service_ports=service_ports,
            use_aliases=use_aliases,
            build=build,
            pull=pull,
            remove_orphans=remove_orphans,
            **changes,
        )

    async def down(
        self,
        *services: str,
        volumes: bool = False,
        images: str | None = None,
        remove_orphans: bool = False,
        timeout: Duration | None = None,
    ) -> None:
        """Stop and remove its containers and networks; volumes stay unless they are asked for."""
        return await mirrored(
            self.sync.down,
            *services,
            volumes=volumes,
            images=images,
            remove_orphans=remove_orphans,
            timeout=timeout,
        )

    @property
    def engine(self) -> Engine:
        """The engine it runs on."""
        return wrap(self.sync.engine)

    async def exec(
        self, service: str, args: Sequence[str] | str, *, index: int = 1, **options: Any
    ) -> ExecResult:
        """Run a further program in a container of a service to its end."""
        return await mirrored(self.sync.exec, service, args, index=index, **options)

    @classmethod
    async def get(cls, project: str, *, engine: Engine | None = None) -> Compose:
        """The application of this name by what there is of it, without its files."""
        return await mirrored(cls._class().get, project, engine=engine)

    async def kill(self, *services: str, signal: int | str = "KILL") -> None:
        """Send the running containers a signal."""
        return await ending(self.sync.kill, *services, signal=signal)

    def logs(
        self,
        *services: str,
        follow: bool = False,
        tail: int | None = None,
        since: Any = None,
        until: Any = None,
        on_end: Callable[[Container], object] | None = None,
    ) -> Stream[ComposeLogLine]:
        """Its output, in the order of time; with follow as it comes, until all containers have ended."""
        return streamed(
            self.sync.logs, *services, follow=follow, tail=tail, since=since, until=until, on_end=on_end
        )

    @property
    def name(self) -> str:
        """The name of the project."""
        return wrap(self.sync.name)

    async def pause(self, *services: str) -> None:
        """Stop all processes where they are, until unpause()."""
        return await mirrored(self.sync.pause, *services)

    async def plan(self, verb: str, *services: str, **options: Any) -> builtins.list[PlannedChange]:
        """What a method of this name would change now, in about that order; nothing is done."""
        return await mirrored(self.sync.plan, verb, *services, **options)

    async def port(self, service: str, port: int, *, protocol: str = "tcp", index: int = 1) -> PortBinding:
        """Where a port of a service is found on this host."""
        return await mirrored(self.sync.port, service, port, protocol=protocol, index=index)

    @property
    def project(self) -> Project:
        """What the files say."""
        return wrap(self.sync.project)

    async def publish(self, reference: str, *, resolve_image_digests: bool = False) -> Artifact:
        """Push the images, then the compose files themselves, as an artifact that oci://REFERENCE names."""
        return await mirrored(self.sync.publish, reference, resolve_image_digests=resolve_image_digests)

    async def pull(self, *services: str, ignore_failures: bool = False, missing: bool = False) -> None:
        """Pull the images of all services that are not built here, or of these."""
        return await mirrored(self.sync.pull, *services, ignore_failures=ignore_failures, missing=missing)

    async def push(self, *services: str, ignore_failures: bool = False) -> None:
        """Upload the images of all services that name one, or of these."""
        return await mirrored(self.sync.push, *services, ignore_failures=ignore_failures)

    async def remove(self, *services: str, stop: bool = False, volumes: bool = False) -> None:
        """Remove stopped containers; stop: those that run, too."""
        return await ending(self.sync.remove, *services, stop=stop, volumes=volumes)

    async def remove_orphans(self, *, timeout: Duration | None = None) -> None:
        """Remove containers of services that the files no longer have."""
        return await mirrored(self.sync.remove_orphans, timeout=timeout)

    async def restart(self, *services: str, timeout: Duration | None = None, no_deps: bool = False) -> None:
        """Stop its containers and start them again, with those that are to restart with them."""
        return await mirrored(self.sync.restart, *services, timeout=timeout, no_deps=no_deps)

    async def run(
        self,
        service: str,
        command: Sequence[str] | str | None = None,
        *,
        input: bytes | None = None,
        timeout: Duration | None = None,
        **options: Any,
    ) -> RunResult:
        """Run a one-off container of a service to its end, and return what it wrote; it is removed then."""
        return await mirrored(self.sync.run, service, command, input=input, timeout=timeout, **options)

    @property
    def services(self) -> Mapping[str, ComposeService]:
        """Its services by name: those that are on, and those that have containers."""
        return wrap(self.sync.services)

    async def start(self, *services: str, wait: bool = False, wait_timeout: Duration | None = None) -> None:
        """Start the containers there are, each service after those that it depends on."""
        return await mirrored(self.sync.start, *services, wait=wait, wait_timeout=wait_timeout)

    async def stop(self, *services: str, timeout: Duration | None = None) -> None:
        """Stop its containers, those first that depend on others; they stay."""
        return await mirrored(self.sync.stop, *services, timeout=timeout)

    async def unpause(self, *services: str) -> None:
        """Let paused processes go on."""
        return await ending(self.sync.unpause, *services)

    async def up(
        self,
        *services: str,
        scale: Mapping[str, int] | None = None,
        build: bool | None = None,
        pull: str | None = None,
        force_recreate: bool = False,
        no_recreate: bool = False,
        always_recreate_deps: bool = False,
        renew_volumes: bool = False,
        remove_orphans: bool = False,
        no_deps: bool = False,
        start: bool = True,
        wait: bool = False,
        wait_timeout: Duration | None = None,
        timeout: Duration | None = None,
        progress: OnBuildEvent | str | None = None,
    ) -> Compose:
        """Bring what there is to what the files say: make, make anew, start and remove what differs."""
        return await mirrored(
            self.sync.up,
            *services,
            scale=scale,
            build=build,
            pull=pull,
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            always_recreate_deps=always_recreate_deps,
            renew_volumes=renew_volumes,
            remove_orphans=remove_orphans,
            no_deps=no_deps,
            start=start,
            wait=wait,
            wait_timeout=wait_timeout,
            timeout=timeout,
            progress=progress,
        )

    async def wait(self, *services: str) -> dict[str, int]:
        """Wait until its containers have ended, or those of these services; gives exit codes by name."""
        return await mirrored(self.sync.wait, *services)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What one may want to hear of: variables that are not set, containers of services that are gone."""
        return wrap(self.sync.warnings)

    def watch(self, *services: str, prune: bool = True) -> Stream[WatchEvent]:
        """Bring files that change into what runs, as `develop.watch` of the services says."""
        return streamed(self.sync.watch, *services, prune=prune)


class Container(Mirror):
    """A container: a handle whose attributes read the store and the kernel anew each time."""

    _of = ("pycontainer.engine.containers", "Container")

    def __init__(
        self,
        image: str | Image,
        command: Sequence[str] | str | None = None,
        *,
        engine: Engine | None = None,
        wait: Wait | None = None,
        **options: Unpack[RunKwargs],
    ) -> None:
        """As `pycontainer.Container`."""
        self.sync: Any = self._class()(
            unwrap(image), unwrap(command), engine=unwrap(engine), wait=unwrap(wait), **options
        )

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def apply(
        self, mount: str, *, archive: bool = False, timeout: float | str | timedelta | None = None
    ) -> Copied:
        """Carry what it changed in a mount with mode=cow over to the host's directory: what `diff` tells."""
        return await mirrored(self.sync.apply, mount, archive=archive, timeout=timeout)

    async def attach(
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
        """Its output from now on, and its input, which all who are attached share."""
        return await undoing(
            lambda made: made.close(),
            self.sync.attach,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            logs=logs,
            start=start,
            stdin_once=stdin_once,
            size=size,
            timeout=timeout,
        )

    async def commit(
        self,
        name: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        compression: str = "gzip",
        timeout: float | str | timedelta | None = None,
    ) -> Image:
        """Make an image of its image and what it changed, configured as it was run."""
        return await mirrored(
            self.sync.commit,
            name,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
            compression=compression,
            timeout=timeout,
        )

    async def connect(
        self,
        port: int,
        host: str = "localhost",
        *,
        protocol: Protocol = "tcp",
        timeout: float | str | timedelta | None = 10.0,
    ) -> socket.socket:
        """A socket that is connected to a port in the container's network namespace, published or not."""
        return await undoing(
            lambda made: made.close(), self.sync.connect, port, host, protocol=protocol, timeout=timeout
        )

    async def copy_from(
        self,
        src: str | ContainerPath,
        dst: str | os.PathLike[str] | BinaryIO,
        *,
        archive: bool = False,
        follow_link: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Copied:
        """Copy a file or directory out of it, to a path of the host or as a tar to a stream."""
        return await mirrored(
            self.sync.copy_from, src, dst, archive=archive, follow_link=follow_link, timeout=timeout
        )

    async def copy_to(
        self,
        src: str | os.PathLike[str] | bytes | BinaryIO,
        dst: str | ContainerPath,
        *,
        archive: bool = False,
        follow_link: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Copied:
        """As `pycontainer.Container.copy_to`."""
        return await mirrored(
            self.sync.copy_to, src, dst, archive=archive, follow_link=follow_link, timeout=timeout
        )

    @classmethod
    async def create(
        cls,
        image: str | Image,
        command: Sequence[str] | str | None = None,
        *,
        engine: Engine | None = None,
        owned: bool = False,
        owner_pid: int | None = None,
        **options: Unpack[RunKwargs],
    ) -> Container:
        """Make a container without starting it; it stays until it is removed."""
        return await undoing(
            lambda made: made.remove(force=True),
            cls._class().create,
            image,
            command,
            engine=engine,
            owned=owned,
            owner_pid=owner_pid,
            **options,
        )

    @property
    def created_at(self) -> datetime:
        """When it was created, UTC."""
        return wrap(self.sync.created_at)

    async def detach(self) -> None:
        """Hand an owned container over: it goes on after the with block, and when this process ends."""
        return await mirrored(self.sync.detach)

    async def diff(
        self, mount: str | None = None, *, timeout: float | str | timedelta | None = 60.0
    ) -> builtins.list[Change]:
        """What it added, changed and deleted of its image's files, sorted by path."""
        return await mirrored(self.sync.diff, mount, timeout=timeout)

    async def disconnect(self, network: Network | str | None = None) -> Impairment:
        """Pull its cables, or the one to a network, until they are put back by heal(); for tests."""
        return await mirrored(self.sync.disconnect, network)

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        filters: FilterValues | None = None,
        follow: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Events:
        """What happened to it; see `pycontainer.events`."""
        return Events(
            lambda: self.sync.events(
                since=since, until=until, filters=filters, follow=follow, timeout=timeout
            )
        )

    async def exec(
        self,
        args: Sequence[str] | str,
        *,
        input: bytes | IO[bytes] | None = None,
        env: Mapping[str, str | None] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = False,
        privileged: bool = False,
        timeout: float | str | timedelta | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a further program in it to the end, and return what it wrote."""
        return await mirrored(
            self.sync.exec,
            args,
            input=input,
            env=env,
            user=user,
            workdir=workdir,
            tty=tty,
            privileged=privileged,
            timeout=timeout,
            check=check,
        )

    @property
    def execs(self) -> Sequence[Exec]:
        """Its further processes that run, whoever started them, and detached ones that have ended."""
        return wrap(self.sync.execs)

    @property
    def exit_code(self) -> int | None:
        """Of its last run: the program's code, 128+n after signal n, or Docker's 125 to 127."""
        return wrap(self.sync.exit_code)

    async def export(
        self, target: str | os.PathLike[str] | BinaryIO, *, timeout: float | str | timedelta | None = None
    ) -> Copied:
        """Write its whole root as a tar to a file or stream, without what is mounted in it."""
        return await mirrored(self.sync.export, target, timeout=timeout)

    @property
    def finished_at(self) -> datetime | None:
        """When its last run ended, UTC."""
        return wrap(self.sync.finished_at)

    @classmethod
    async def get(cls, key: str, *, engine: Engine | None = None) -> Container:
        """The container with this name, id or unique beginning of an id."""
        return await mirrored(cls._class().get, key, engine=engine)

    async def get_exec(self, key: str) -> Exec:
        """The further process with this id, or unique beginning of one."""
        return await mirrored(self.sync.get_exec, key)

    @property
    def health(self) -> Health | None:
        """What its health checks say: status, failing_streak, log."""
        return wrap(self.sync.health)

    def http(
        self, port: int = 80, host: str = "localhost", *, tls: bool | ssl.SSLContext = False, **settings: Any
    ) -> httpx.AsyncClient:
        """An httpx client all of whose connections go to this port of the container; see `connect`."""
        from pycontainer.aio.innerhttp import client

        return client(self.sync, port, host, tls=tls, **settings)

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return wrap(self.sync.id)

    @property
    def image(self) -> Image:
        """The image it was made from, which stays as long as it does, if perhaps without a name."""
        return wrap(self.sync.image)

    async def inspect(self) -> dict[str, Any]:
        """What `docker inspect` shows of a container, as far as it applies here."""
        return await mirrored(self.sync.inspect)

    async def interact(
        self,
        *,
        detach_keys: str = "ctrl-p,ctrl-q",
        sig_proxy: bool = True,
        logs: bool = False,
        start: bool = False,
        stdin: bool = True,
        stdout: bool = True,
        stderr: bool = True,
    ) -> int | None:
        """Join the terminal of this process to the container, until its end or the detach keys."""
        return await mirrored(
            self.sync.interact,
            detach_keys=detach_keys,
            sig_proxy=sig_proxy,
            logs=logs,
            start=start,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    @property
    def ip(self) -> str | None:
        """Its address in the network of its default route, IPv4 if it has one; None without networks."""
        return wrap(self.sync.ip)

    @property
    def ips(self) -> dict[str, str]:
        """Its addresses by network, that of the default route first; it keeps them while it is stopped."""
        return wrap(self.sync.ips)

    async def kill(self, signal: int | str = "KILL") -> None:
        """Send its first process a signal, by name or number."""
        return await ending(self.sync.kill, signal)

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels and its own."""
        return wrap(self.sync.labels)

    @classmethod
    async def list(
        cls,
        *,
        all: bool = False,
        filters: FilterValues | None = None,
        limit: int | None = None,
        engine: Engine | None = None,
    ) -> builtins.list[Container]:
        """The running containers, or all of them, the newest first."""
        return await mirrored(cls._class().list, all=all, filters=filters, limit=limit, engine=engine)

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
        """Its output: iterate over tagged lines, or call `.text()` or `.read()`."""
        return Logs(
            lambda: self.sync.logs(
                follow=follow,
                stdout=stdout,
                stderr=stderr,
                tail=tail,
                since=since,
                until=until,
                timeout_s=timeout_s,
            )
        )

    @property
    def name(self) -> str:
        """Unique in its store."""
        return wrap(self.sync.name)

    @property
    def networks(self) -> builtins.list[Network]:
        """The networks that it has a place in, that of the default route first."""
        return wrap(self.sync.networks)

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed one of its processes for want of memory in its last run."""
        return wrap(self.sync.oom_killed)

    @property
    def path(self) -> ContainerPath:
        """Its root directory, as a path to begin with: `c.path / "etc" / "hosts"`."""
        return wrap(self.sync.path)

    async def pause(self, *, timeout: float | str | timedelta = 10.0) -> None:
        """Stop all its processes where they are, until unpause()."""
        return await mirrored(self.sync.pause, timeout=timeout)

    @property
    def pid(self) -> int | None:
        """Process id of its first process on the host, while it runs."""
        return wrap(self.sync.pid)

    async def popen(
        self,
        args: Sequence[str] | str,
        *,
        stdin: int | IO[bytes] | None = -3,
        stdout: int | IO[bytes] | None = -1,
        stderr: int | IO[bytes] | None = -1,
        env: Mapping[str, str | None] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        privileged: bool = False,
        detach: bool = False,
    ) -> Process:
        """Start a further program in it, with streams as `subprocess.Popen` has them."""
        return await undoing(
            lambda made: made.close(),
            self.sync.popen,
            args,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            user=user,
            workdir=workdir,
            tty=tty,
            size=size,
            privileged=privileged,
            detach=detach,
        )

    @property
    def ports(self) -> Mapping[int | str, PortBinding]:
        """Where its published ports are found on the host: by port, as 80, "53/udp" or "3868/sctp"."""
        return wrap(self.sync.ports)

    @classmethod
    async def prune(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> Pruned:
        """Remove every container that does not run."""
        return await mirrored(cls._class().prune, filters=filters, engine=engine)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files."""
        return await ending(self.sync.remove, force=force, volumes=volumes)

    async def rename(self, name: str) -> None:
        """Give it another name."""
        return await mirrored(self.sync.rename, name)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        return await mirrored(self.sync.resize, rows, columns)

    async def restart(
        self, timeout: float | str | timedelta | None = None, *, signal: int | str | None = None
    ) -> None:
        """Stop it, if it runs, and start it again; an owned one stays owned."""
        return await mirrored(self.sync.restart, timeout, signal=signal)

    @property
    def restart_count(self) -> int:
        """How often its restart policy has started it again since it was last started by somebody."""
        return wrap(self.sync.restart_count)

    @classmethod
    async def returning(cls, *names: str, engine: Engine | None = None) -> Sequence[Container]:
        """Those that are to run again after a reboot, the oldest first; with names, only of these."""
        return await mirrored(cls._class().returning, *names, engine=engine)

    @property
    def size_bytes(self) -> Awaitable[int]:
        """Bytes of the files that it has written or changed, without its image; measured now."""
        return mirrored(getattr, self.sync, "size_bytes")

    @property
    def spec(self) -> model.Spec:
        """The runtime-spec it is started with, or was if it runs."""
        return wrap(self.sync.spec)

    async def start(self, *, wait: Wait | None = None) -> None:
        """Start its program; it goes on when this process ends."""
        return await mirrored(self.sync.start, wait=wait)

    @classmethod
    async def start_all(
        cls, containers: Iterable[Container | str], *, engine: Engine | None = None
    ) -> Sequence[Container]:
        """As `pycontainer.Container.start_all`."""
        return await mirrored(cls._class().start_all, containers, engine=engine)

    @property
    def started_at(self) -> datetime | None:
        """When its program was last started, UTC."""
        return wrap(self.sync.started_at)

    @property
    def state(self) -> str:
        """One of Docker's: created, running, paused, restarting, removing, exited, dead."""
        return wrap(self.sync.state)

    async def stats(self) -> Stats:
        """What it uses now: processor, memory, disks, network."""
        return await mirrored(self.sync.stats)

    def stats_stream(
        self, interval: float | str | timedelta = 1.0, *, timeout: float | str | timedelta | None = None
    ) -> StatsStream:
        """One look each interval, with the CPU use since the one before, until it ends."""
        return StatsStream(lambda: self.sync.stats_stream(interval, timeout=timeout))

    async def stop(
        self, timeout: float | str | timedelta | None = None, *, signal: int | str | None = None
    ) -> None:
        """Ask its program to end, and kill it when it has not after the timeout."""
        return await mirrored(self.sync.stop, timeout, signal=signal)

    @classmethod
    async def stop_all(
        cls,
        containers: Iterable[Container | str],
        timeout: float | str | timedelta | None = None,
        *,
        engine: Engine | None = None,
    ) -> None:
        """Stop the containers for a shutdown, in the opposite order of start_all."""
        return await mirrored(cls._class().stop_all, containers, timeout, engine=engine)

    async def top(self) -> Top:
        """Its processes, by their ids here and inside."""
        return await mirrored(self.sync.top)

    async def unpause(self) -> None:
        """Let its processes go on."""
        return await ending(self.sync.unpause)

    async def update(self, **options: Unpack[UpdateKwargs]) -> None:
        """As `pycontainer.Container.update`."""
        return await mirrored(self.sync.update, **options)

    async def wait(
        self, timeout: float | str | timedelta | None = None, *, condition: steering.Condition = "not-running"
    ) -> int:
        """Wait for its end and return the exit code."""
        return await mirrored(self.sync.wait, timeout, condition=condition)

    async def wait_until(self, strategy: Wait, timeout: float | str | timedelta | None = None) -> None:
        """Return when what a function of `pycontainer.wait` describes is met."""
        return await mirrored(self.sync.wait_until, strategy, timeout)


class ContainerPath(Mirror):
    """A path in a container, running or stopped: `c.path / "etc" / "hosts"`."""

    _of = ("pycontainer.engine.paths", "ContainerPath")

    def __truediv__(self, other: str | PurePosixPath) -> Self:
        """As `pycontainer.ContainerPath.__truediv__`."""
        return wrap(self.sync.__truediv__(unwrap(other)))

    def as_posix(self) -> str:
        """The path as text."""
        return wrap(self.sync.as_posix())

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change its permission bits."""
        return await mirrored(self.sync.chmod, mode, follow_symlinks=follow_symlinks)

    async def chown(self, uid: int, gid: int = -1, *, follow_symlinks: bool = True) -> None:
        """Change its owner and group, by number; -1 leaves one as it is."""
        return await mirrored(self.sync.chown, uid, gid, follow_symlinks=follow_symlinks)

    @property
    def container(self) -> Container:
        """Whose path it is."""
        return wrap(self.sync.container)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is there."""
        return await mirrored(self.sync.exists, follow_symlinks=follow_symlinks)

    def glob(self, pattern: str) -> Stream[Self]:
        """What matches a pattern below it, as with pathlib; "**" passes over /proc, /sys and their like."""
        return streamed(self.sync.glob, pattern)

    async def hardlink_to(self, target: str | InnerPath) -> None:
        """Make it another name of a file."""
        return await mirrored(self.sync.hardlink_to, target)

    async def is_dir(self) -> bool:
        """Whether it is, or links to, a directory."""
        return await mirrored(self.sync.is_dir)

    async def is_file(self) -> bool:
        """Whether it is, or links to, a regular file."""
        return await mirrored(self.sync.is_file)

    def is_relative_to(self, other: str | InnerPath) -> bool:
        """Whether the other path is above this one, by name."""
        return wrap(self.sync.is_relative_to(unwrap(other)))

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await mirrored(self.sync.is_symlink)

    def iterdir(self) -> Stream[Self]:
        """What is in the directory, sorted by name."""
        return streamed(self.sync.iterdir)

    def joinpath(self, *others: str | PurePosixPath) -> Self:
        """The path with these appended; an absolute one begins anew."""
        return wrap(self.sync.joinpath(*map(unwrap, others)))

    async def lstat(self) -> os.stat_result:
        """Its status, of a link itself."""
        return await mirrored(self.sync.lstat)

    def match(self, pattern: str) -> bool:
        """Whether the path's end matches a pattern."""
        return wrap(self.sync.match(unwrap(pattern)))

    async def mkdir(self, mode: int = 511, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory; mode before a umask of 022."""
        return await mirrored(self.sync.mkdir, mode, parents, exist_ok)

    @property
    def name(self) -> str:
        """The last component."""
        return wrap(self.sync.name)

    async def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the regular file, as the built-in open() does; reading and writing then need no job."""
        return await mirrored(self.sync.open, mode, buffering, encoding, errors, newline)

    @property
    def parent(self) -> Self:
        """The path without its last component."""
        return wrap(self.sync.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """The directories above, the nearest first."""
        return wrap(self.sync.parents)

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, "/" first."""
        return wrap(self.sync.parts)

    async def read_bytes(self) -> bytes:
        """The file's content."""
        return await mirrored(self.sync.read_bytes)

    async def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file's content as text."""
        return await mirrored(self.sync.read_text, encoding, errors)

    async def readlink(self) -> PurePosixPath:
        """What a symbolic link says."""
        return await mirrored(self.sync.readlink)

    def relative_to(self, other: str | InnerPath) -> PurePosixPath:
        """What leads here from another path."""
        return wrap(self.sync.relative_to(unwrap(other)))

    async def rename(self, target: str | InnerPath) -> Self:
        """Give it another path in the same container, replacing what is there; gives that path."""
        return await mirrored(self.sync.rename, target)

    async def replace(self, target: str | InnerPath) -> Self:
        """Give it another path in the same container, replacing what is there; gives that path."""
        return await mirrored(self.sync.replace, target)

    def rglob(self, pattern: str) -> Stream[Self]:
        """As glob, of "**/" and the pattern."""
        return streamed(self.sync.rglob, pattern)

    async def rmdir(self) -> None:
        """Remove the empty directory."""
        return await mirrored(self.sync.rmdir)

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its status; user and group ids are those the host has for them."""
        return await mirrored(self.sync.stat, follow_symlinks=follow_symlinks)

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return wrap(self.sync.stem)

    @property
    def suffix(self) -> str:
        """The name's last extension, with its dot."""
        return wrap(self.sync.suffix)

    @property
    def suffixes(self) -> builtins.list[str]:
        """All extensions of the name."""
        return wrap(self.sync.suffixes)

    async def symlink_to(self, target: str | PurePosixPath | InnerPath) -> None:
        """Make it a symbolic link with this text."""
        return await mirrored(self.sync.symlink_to, target)

    async def touch(self, mode: int = 438, exist_ok: bool = True) -> None:
        """Make the file if it is missing, else set its times to now."""
        return await mirrored(self.sync.touch, mode, exist_ok)

    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        return await mirrored(self.sync.unlink, missing_ok)

    def with_name(self, name: str) -> Self:
        """The path with another last component."""
        return wrap(self.sync.with_name(unwrap(name)))

    def with_suffix(self, suffix: str) -> Self:
        """The path with another extension."""
        return wrap(self.sync.with_suffix(unwrap(suffix)))

    async def write_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Replace the file's content, or make the file; gives the number of bytes."""
        return await mirrored(self.sync.write_bytes, data)

    async def write_text(self, data: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Replace the file's content by a text; see write_bytes."""
        return await mirrored(self.sync.write_text, data, encoding, errors)


class Engine(EngineContext):
    """A container engine over one directory."""

    _of = ("pycontainer.engine.engine", "Engine")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        python: str | None = None,
        registry: object | None = None,
        policy: SignaturePolicy | str | Path | None = None,
        lock: str | Path | None = None,
        progress: str | None = None,
        cgroup_manager: str | None = None,
    ) -> None:
        """As `pycontainer.Engine`."""
        self.sync: Any = self._class()(
            unwrap(root),
            python=unwrap(python),
            registry=unwrap(registry),
            policy=unwrap(policy),
            lock=unwrap(lock),
            progress=unwrap(progress),
            cgroup_manager=unwrap(cgroup_manager),
        )

    async def check(self, *, repair: bool = False) -> tuple[Damage, ...]:
        """What in the store is not as it was when it came: blobs and unpacked layers, every byte read."""
        return await mirrored(self.sync.check, repair=repair)

    async def close(self, timeout_s: float = 30.0) -> None:
        """Stop what this engine owns and end its helper; idempotent."""
        return await ending(self.sync.close, timeout_s)

    @property
    def root(self) -> Path:
        """Directory of the store."""
        return wrap(self.sync.root)

    async def systemd_unit(self, *names: str) -> str:
        """The text of a systemd service that starts this store's containers again after a reboot."""
        return await mirrored(self.sync.systemd_unit, *names)


class Exec(Mirror):
    """One look at a further process of a container, whoever started it."""

    _of = ("pycontainer.engine.execs", "Exec")

    @property
    def args(self) -> tuple[str, ...]:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.args)

    @property
    def container_id(self) -> str:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.container_id)

    @property
    def exit_code(self) -> int | None:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.exit_code)

    @property
    def finished_at(self) -> datetime | None:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.finished_at)

    @property
    def id(self) -> str:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.id)

    async def inspect(self) -> dict[str, Any]:
        """What Docker's API shows of an exec, as far as it applies here."""
        return await mirrored(self.sync.inspect)

    @property
    def is_detached(self) -> bool:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.is_detached)

    @property
    def is_running(self) -> bool:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.is_running)

    async def kill(self) -> None:
        """Kill the process and all its descendants; without effect when it has ended."""
        return await ending(self.sync.kill)

    @property
    def pid(self) -> int | None:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.pid)

    @property
    def started_at(self) -> datetime | None:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.started_at)

    @property
    def tty(self) -> bool:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.tty)

    @property
    def user(self) -> str:
        """As of `pycontainer.Exec`."""
        return wrap(self.sync.user)

    async def wait(self, timeout: Seconds | None = None) -> int:
        """As `pycontainer.Exec.wait`."""
        return await mirrored(self.sync.wait, timeout)


class FailedStep(Mirror):
    """As `pycontainer.FailedStep`."""

    _of = ("pycontainer.engine.building.failing", "FailedStep")

    @property
    def command(self) -> tuple[str, ...]:
        """As of `pycontainer.FailedStep`."""
        return wrap(self.sync.command)

    async def container(
        self, command: Sequence[str] | str = ("sleep", "infinity"), **options: Any
    ) -> Container:
        """A running container in the failed state, with the step's environment, user and directory."""
        return await mirrored(self.sync.container, command, **options)

    @property
    def exit_code(self) -> int:
        """As of `pycontainer.FailedStep`."""
        return wrap(self.sync.exit_code)

    @property
    def image(self) -> Image:
        """As of `pycontainer.FailedStep`."""
        return wrap(self.sync.image)

    @property
    def log_tail(self) -> str:
        """As of `pycontainer.FailedStep`."""
        return wrap(self.sync.log_tail)


class Image(Mirror):
    """An image in the store."""

    _of = ("pycontainer.engine.images", "Image")

    async def add(self, files: Files, *, compression: str = "gzip") -> Image:
        """The image with a layer of these files: path in the image to content, as in from_host."""
        return await mirrored(self.sync.add, files, compression=compression)

    async def add_layer(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        to: str = "/",
        owner: tuple[int, int] | None = None,
        compression: str = "gzip",
    ) -> Image:
        """The image with one more layer: what is below a directory, or a layer's tar."""
        return await mirrored(self.sync.add_layer, source, to=to, owner=owner, compression=compression)

    async def annotate(self, annotations: Mapping[str, str] | None = None, /, **more: str) -> Image:
        """The image with these annotations in its manifest, beside those it has."""
        return await mirrored(self.sync.annotate, annotations, **more)

    async def attestations(self) -> tuple[Mapping[str, Any], ...]:
        """The in-toto statements (provenance, SBOM) that it was built with; () for none, or none here."""
        return await mirrored(self.sync.attestations)

    @classmethod
    async def build(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any] | None = ".",
        *,
        dockerfile: str | os.PathLike[str] | bytes | None = None,
        target: str | None = None,
        build_args: Mapping[str, str | None] | None = None,
        tags: Sequence[str] = (),
        platform: str | None = None,
        platforms: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | str | Mapping[str, str | None] | Sequence[str] = False,
        contexts: Mapping[str, Any] | None = None,
        no_cache: bool | Sequence[str] = False,
        cache_from: Sequence[str | Mapping[str, str]] | str | Mapping[str, str] = (),
        cache_to: Sequence[str | Mapping[str, str]] | str | Mapping[str, str] = (),
        pull: bool | str = False,
        network: str = "default",
        allow: Sequence[str] = (),
        compression: str = "gzip",
        outputs: Sequence[str | Mapping[str, Any]] | str | Mapping[str, Any] = (),
        provenance: bool | str | Mapping[str, str] = False,
        sbom: bool = False,
        progress: OnBuildEvent | str | None = None,
        on_failure: OnFailure | None = None,
        timeout: float | str | timedelta | None = None,
        engine: Engine | None = None,
        **limits: Any,
    ) -> Image:
        """Build an image from a Dockerfile and give it names."""
        return await mirrored(
            cls._class().build,
            context,
            dockerfile=dockerfile,
            target=target,
            build_args=build_args,
            tags=tags,
            platform=platform,
            platforms=platforms,
            labels=labels,
            annotations=annotations,
            secrets=secrets,
            ssh=ssh,
            contexts=contexts,
            no_cache=no_cache,
            cache_from=cache_from,
            cache_to=cache_to,
            pull=pull,
            network=network,
            allow=allow,
            compression=compression,
            outputs=outputs,
            provenance=provenance,
            sbom=sbom,
            progress=progress,
            on_failure=on_failure,
            timeout=timeout,
            engine=engine,
            **limits,
        )

    @classmethod
    async def check(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any] | None = ".",
        *,
        dockerfile: str | os.PathLike[str] | bytes | None = None,
        target: str | None = None,
        build_args: Mapping[str, str | None] | None = None,
        platform: str | None = None,
        contexts: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
    ) -> tuple[BuildWarning, ...]:
        """What BuildKit's build checks find in a Dockerfile, as `docker build --check`; nothing is built."""
        return await mirrored(
            cls._class().check,
            context,
            dockerfile=dockerfile,
            target=target,
            build_args=build_args,
            platform=platform,
            contexts=contexts,
            engine=engine,
        )

    async def cmd(self, words: Sequence[str] | None) -> Image:
        """The image with this command, which is the entrypoint's arguments where there is one."""
        return await mirrored(self.sync.cmd, words)

    @property
    def config(self) -> ImageConfig:
        """Its configuration: environment, command, user, layers, history."""
        return wrap(self.sync.config)

    @property
    def created_at(self) -> datetime:
        """When it came into this store, UTC."""
        return wrap(self.sync.created_at)

    @property
    def digest(self) -> str:
        """Digest of what was pulled: the index where there is one, else the manifest."""
        return wrap(self.sync.digest)

    async def entrypoint(self, words: Sequence[str] | None) -> Image:
        """The image with this program, and without the arguments (cmd) that were those of the one before."""
        return await mirrored(self.sync.entrypoint, words)

    async def env(self, variables: Mapping[str, str | None] | None = None, /, **more: str | None) -> Image:
        """The image with these environment variables; None removes one."""
        return await mirrored(self.sync.env, variables, **more)

    async def expose(self, *ports: int | str) -> Image:
        """The image with these ports, as 80, "53/udp" or "8000-8010"."""
        return await mirrored(self.sync.expose, *ports)

    async def for_platform(self, platform: str) -> Image:
        """The image that says it is for this platform, as "linux/arm64"; its files are what they are."""
        return await mirrored(self.sync.for_platform, platform)

    @classmethod
    async def from_directory(
        cls,
        path: str | os.PathLike[str],
        *,
        tags: Sequence[str] = (),
        platform: str | None = None,
        compression: str = "gzip",
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """An image whose one layer is this directory, with owners, modes, times and attributes."""
        return await mirrored(
            cls._class().from_directory,
            path,
            tags=tags,
            platform=platform,
            compression=compression,
            engine=engine,
            **config,
        )

    @classmethod
    async def from_host(
        cls,
        programs: Sequence[str],
        *,
        paths: Sequence[str] = (),
        files: Files | None = None,
        tags: Sequence[str] = (),
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """An image of programs of this host and the libraries they load; needs no network."""
        return await mirrored(
            cls._class().from_host, programs, paths=paths, files=files, tags=tags, engine=engine, **config
        )

    @classmethod
    async def from_tar(
        cls,
        tar: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        tags: Sequence[str] = (),
        platform: str | None = None,
        compression: str = "gzip",
        changes: Sequence[str] = (),
        message: str = "",
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """As `pycontainer.Image.from_tar`."""
        return await mirrored(
            cls._class().from_tar,
            tar,
            tags=tags,
            platform=platform,
            compression=compression,
            changes=changes,
            message=message,
            engine=engine,
            **config,
        )

    @classmethod
    async def get(cls, key: str, *, platform: str | None = None, engine: Engine | None = None) -> Image:
        """The image of this name, id, or unique beginning of an id."""
        return await mirrored(cls._class().get, key, platform=platform, engine=engine)

    async def healthcheck(
        self,
        test: Sequence[str] | str | None,
        *,
        interval: float | str | timedelta | None = None,
        timeout: float | str | timedelta | None = None,
        start_period: float | str | timedelta | None = None,
        start_interval: float | str | timedelta | None = None,
        retries: int = 0,
    ) -> Image:
        """The image with this health check: words, or a line for the shell; None switches it off."""
        return await mirrored(
            self.sync.healthcheck,
            test,
            interval=interval,
            timeout=timeout,
            start_period=start_period,
            start_interval=start_interval,
            retries=retries,
        )

    async def history(self) -> tuple[HistoryEntry, ...]:
        """How it was made, oldest first."""
        return await mirrored(self.sync.history)

    @property
    def id(self) -> str:
        """sha256 digest of its configuration, as `docker images` of the classic store shows it."""
        return wrap(self.sync.id)

    async def inspect(self) -> dict[str, Any]:
        """What `docker image inspect` shows."""
        return await mirrored(self.sync.inspect)

    async def label(self, labels: Mapping[str, str] | None = None, /, **more: str) -> Image:
        """The image with these labels beside its own."""
        return await mirrored(self.sync.label, labels, **more)

    @classmethod
    async def list(
        cls, *, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> builtins.list[Image]:
        """The images of the store, the newest first."""
        return await mirrored(cls._class().list, filters=filters, engine=engine)

    @classmethod
    async def load(
        cls,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        platform: str | None = None,
        engine: Engine | None = None,
    ) -> builtins.list[Image]:
        """The images of an OCI layout directory, oci-archive or docker-archive, with their names."""
        return await mirrored(cls._class().load, source, platform=platform, engine=engine)

    @property
    def manifest_digest(self) -> str:
        """Digest of its manifest, by which a registry knows this one platform of it."""
        return wrap(self.sync.manifest_digest)

    @property
    def name(self) -> str:
        """Its first tag, or the beginning of its id."""
        return wrap(self.sync.name)

    @property
    def platform(self) -> str:
        """As "linux/amd64"."""
        return wrap(self.sync.platform)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Those of all images that share its name and are here; see get."""
        return wrap(self.sync.platforms)

    @classmethod
    async def prune(
        cls, *, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> Pruned:
        """Remove the images without a name, or all that no container uses, and what nothing needs."""
        return await mirrored(cls._class().prune, all=all, filters=filters, engine=engine)

    @classmethod
    async def pull(
        cls,
        reference: str,
        *,
        platform: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Bring an image from its registry, unpack it and give it its name."""
        return await mirrored(
            cls._class().pull, reference, platform=platform, on_event=on_event, engine=engine
        )

    @classmethod
    async def pull_all(
        cls,
        repository: str,
        *,
        platform: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> builtins.list[Image]:
        """Pull every tag of a repository, as `docker pull --all-tags`."""
        return await mirrored(
            cls._class().pull_all, repository, platform=platform, on_event=on_event, engine=engine
        )

    async def push(
        self,
        reference: str | None = None,
        *,
        platform: str | None = None,
        compression: str | None = None,
        on_event: OnEvent | None = None,
    ) -> str:
        """Upload it and return its digest there."""
        return await mirrored(
            self.sync.push, reference, platform=platform, compression=compression, on_event=on_event
        )

    async def rebase(self, base: Image, *, old: Image | None = None) -> Image:
        """The image on another base: the layers of `old` are replaced by those of `base`."""
        return await mirrored(self.sync.rebase, base, old=old)

    async def recompress(self, compression: str, *, force: bool = False) -> Image:
        """The image with its layers compressed otherwise; its id and all it contains stay."""
        return await mirrored(self.sync.recompress, compression, force=force)

    async def remove(
        self, name: str | None = None, *, platform: str | None = None, force: bool = False
    ) -> None:
        """Remove one of its names, or the image itself; with its last name the image goes, too."""
        return await ending(self.sync.remove, name, platform=platform, force=force)

    async def run(
        self,
        command: Sequence[str] | str,
        *,
        mounts: Sequence[str] = (),
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | str | Mapping[str, str | None] | Sequence[str] = False,
        contexts: Mapping[str, Any] | None = None,
        no_cache: bool = False,
        network: str = "default",
        compression: str = "gzip",
        progress: OnBuildEvent | str | None = None,
        on_failure: OnFailure | None = None,
        timeout: float | str | timedelta | None = None,
        **limits: Any,
    ) -> Image:
        """The image with one more layer: what a program changes that is run in it, as a Dockerfile's RUN."""
        return await mirrored(
            self.sync.run,
            command,
            mounts=mounts,
            secrets=secrets,
            ssh=ssh,
            contexts=contexts,
            no_cache=no_cache,
            network=network,
            compression=compression,
            progress=progress,
            on_failure=on_failure,
            timeout=timeout,
            **limits,
        )

    async def save(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: ArchiveFormat = "docker-archive",
        platform: str | None = None,
        compression: str | None = None,
    ) -> None:
        """Write it with its names to a directory ("oci-layout"), a file or a stream."""
        return await mirrored(
            self.sync.save, target, format=format, platform=platform, compression=compression
        )

    @staticmethod
    async def save_all(
        images: Sequence[Sendable],
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: ArchiveFormat = "docker-archive",
        platform: str | None = None,
        compression: str | None = None,
    ) -> None:
        """Write several images of one engine with their names, as `save` does; blobs are there once."""
        return await mirrored(
            Image._class().save_all, images, target, format=format, platform=platform, compression=compression
        )

    async def sbom(self) -> dict[str, Any]:
        """What software it contains, as an SPDX 2.3 document."""
        return await mirrored(self.sync.sbom)

    @classmethod
    async def scratch(cls, platform: str | None = None, *, engine: Engine | None = None) -> Image:
        """The image without a layer, to which files and settings are added."""
        return await mirrored(cls._class().scratch, platform, engine=engine)

    @property
    def size_bytes(self) -> int:
        """Bytes of its manifest, configuration and compressed layers."""
        return wrap(self.sync.size_bytes)

    async def squash(self, *, base: Image | None = None, compression: str = "gzip") -> Image:
        """The image with one layer that has what all of its layers together show, and nothing they hide."""
        return await mirrored(self.sync.squash, base=base, compression=compression)

    async def stop_signal(self, signal: str | int) -> Image:
        """The image whose program ends by this signal."""
        return await mirrored(self.sync.stop_signal, signal)

    async def tag(self, name: str) -> Image:
        """Give it another name, taking that from whatever had it; returns this image."""
        return await mirrored(self.sync.tag, name)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names, in the short form; sorted."""
        return wrap(self.sync.tags)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the files of its layers, as they lie unpacked in the store."""
        return wrap(self.sync.unpacked_bytes)

    async def untag(self, name: str) -> None:
        """Take one of its names away; the image stays, also without any."""
        return await mirrored(self.sync.untag, name)

    async def user(self, user: str | int) -> Image:
        """The image that runs as this user, by name or number, with a group after a colon."""
        return await mirrored(self.sync.user, user)

    async def volume(self, *paths: str) -> Image:
        """The image whose containers keep these directories in volumes."""
        return await mirrored(self.sync.volume, *paths)

    async def workdir(self, path: str) -> Image:
        """The image with this working directory; a relative one is below the one it has."""
        return await mirrored(self.sync.workdir, path)


class ImageIndex(Mirror):
    """As `pycontainer.ImageIndex`."""

    _of = ("pycontainer.engine.indexes", "ImageIndex")

    def __init__(self, *, engine: Engine | None = None) -> None:
        """As `pycontainer.ImageIndex`."""
        self.sync: Any = self._class()(engine=unwrap(engine))

    async def add(
        self, image: Image | str, *, platform: str | None = None, annotations: Mapping[str, str] | None = None
    ) -> ImageIndex:
        """Add an image of the store, or of a registry by its name; one for the same platform is replaced."""
        return await mirrored(self.sync.add, image, platform=platform, annotations=annotations)

    async def annotate(self, annotations: Mapping[str, str] | None = None, /, **more: str) -> ImageIndex:
        """With these annotations of the index itself, beside those it has."""
        return await mirrored(self.sync.annotate, annotations, **more)

    async def annotate_entry(
        self, platform: str, annotations: Mapping[str, str] | None = None, *, os_version: str | None = None
    ) -> ImageIndex:
        """With annotations, or the operating system's version, of the entry of a platform or digest."""
        return await mirrored(self.sync.annotate_entry, platform, annotations, os_version=os_version)

    @property
    def digest(self) -> str:
        """Its digest, by which a registry will know it."""
        return wrap(self.sync.digest)

    @classmethod
    async def get(cls, reference: str, *, engine: Engine | None = None) -> ImageIndex:
        """The index that a reference names in its registry."""
        return await mirrored(cls._class().get, reference, engine=engine)

    async def inspect(self) -> dict[str, Any]:
        """The index as a JSON object, as a registry will have it."""
        return await mirrored(self.sync.inspect)

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """Its entries: type, digest, size, platform and annotations of each image."""
        return wrap(self.sync.manifests)

    async def push(self, reference: str, *, on_event: OnEvent | None = None) -> str:
        """Push every image it lists, then itself under this name; returns its digest."""
        return await mirrored(self.sync.push, reference, on_event=on_event)

    async def remove(self, platform: str) -> ImageIndex:
        """Without the image of a platform, or of a digest."""
        return await ending(self.sync.remove, platform)

    async def save(self, target: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> None:
        """Write it with all images to an oci-archive, or add it to an OCI layout that is a directory."""
        return await mirrored(self.sync.save, target, name)


class Impairment(Mirror):
    """Links of a container that are worse than they could be, until it is healed."""

    _of = ("pycontainer.engine.impairing", "Impairment")

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def heal(self) -> None:
        """Let the links be as good as ever; idempotent."""
        return await ending(self.sync.heal)

    @property
    def is_healed(self) -> bool:
        """Whether the links are as good as ever."""
        return wrap(self.sync.is_healed)


class LockFile(Mirror):
    """A file such as `containers.lock`, read anew each time."""

    _of = ("pycontainer.engine.locking", "LockFile")

    def __init__(self, path: str | os.PathLike[str], *, engine: Engine | None = None) -> None:
        """As `pycontainer.LockFile`."""
        self.sync: Any = self._class()(unwrap(path), engine=unwrap(engine))

    async def add(self, *names: str) -> LockFile:
        """Pin what these names stand for now; names that are pinned stay as they are."""
        return await mirrored(self.sync.add, *names)

    @property
    def images(self) -> Mapping[str, str]:
        """The pinned digests by whole name; none if the file does not exist."""
        return wrap(self.sync.images)

    async def remove(self, *names: str) -> LockFile:
        """Drop names."""
        return await ending(self.sync.remove, *names)

    async def update(self, *names: str) -> LockFile:
        """Pin anew what these names stand for now, or all that are in the file."""
        return await mirrored(self.sync.update, *names)

    async def verify(self) -> tuple[Moved, ...]:
        """As `pycontainer.LockFile.verify`."""
        return await mirrored(self.sync.verify)


class Network(Mirror):
    """A network of containers: a handle whose attributes read the store anew each time."""

    _of = ("pycontainer.engine.networks", "Network")

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def connect(
        self,
        container: Container | str,
        *,
        aliases: Iterable[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        mac_address: str | None = None,
        gw_priority: int = 0,
        link_local_ips: Iterable[str] = (),
        driver_opts: Mapping[str, str] | None = None,
        links: Iterable[str] = (),
    ) -> None:
        """Give a container a place in this network, at once if it runs."""
        return await mirrored(
            self.sync.connect,
            container,
            aliases=aliases,
            ip=ip,
            ip6=ip6,
            mac_address=mac_address,
            gw_priority=gw_priority,
            link_local_ips=link_local_ips,
            driver_opts=driver_opts,
            links=links,
        )

    @property
    def containers(self) -> builtins.list[Container]:
        """The containers that have a place in it, running or not."""
        return wrap(self.sync.containers)

    @classmethod
    async def create(
        cls,
        name: str,
        *,
        driver: Literal["bridge", "macvlan", "ipvlan"] = "bridge",
        subnet: str | Sequence[str] | None = None,
        gateway: str | Sequence[str] | None = None,
        ip_range: str | Sequence[str] | None = None,
        ipv4: bool = True,
        ipv6: bool = False,
        internal: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        aux_addresses: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Network:
        """Make a network."""
        return await undoing(
            lambda made: made.remove(),
            cls._class().create,
            name,
            driver=driver,
            subnet=subnet,
            gateway=gateway,
            ip_range=ip_range,
            ipv4=ipv4,
            ipv6=ipv6,
            internal=internal,
            labels=labels,
            options=options,
            aux_addresses=aux_addresses,
            engine=engine,
        )

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return wrap(self.sync.created_at)

    async def disconnect(self, container: Container | str, *, force: bool = False) -> None:
        """Take a container's place in this network away, at once if it runs."""
        return await mirrored(self.sync.disconnect, container, force=force)

    @property
    def driver(self) -> str:
        """ "bridge", "macvlan" or "ipvlan"."""
        return wrap(self.sync.driver)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The host's addresses in it, those of a bridge."""
        return wrap(self.sync.gateways)

    @classmethod
    async def get(cls, name: str, *, engine: Engine | None = None) -> Network:
        """The network of this name, id, or beginning of an id."""
        return await mirrored(cls._class().get, name, engine=engine)

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return wrap(self.sync.id)

    async def impair(
        self,
        container: Container | str,
        *,
        latency: float | str | timedelta | None = None,
        jitter: float | str | timedelta | None = None,
        loss: float = 0.0,
        rate: int | str | None = None,
    ) -> Impairment:
        """Make a container's link to this network worse, both ways, until it is healed; for tests."""
        return await mirrored(
            self.sync.impair, container, latency=latency, jitter=jitter, loss=loss, rate=rate
        )

    async def inspect(self) -> dict[str, Any]:
        """Everything, as Docker's `network inspect` has it."""
        return await mirrored(self.sync.inspect)

    @property
    def is_internal(self) -> bool:
        """Whether nothing goes in or out."""
        return wrap(self.sync.is_internal)

    @property
    def labels(self) -> dict[str, str]:
        """What it was labelled with."""
        return wrap(self.sync.labels)

    @classmethod
    async def list(
        cls, *, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> builtins.list[Network]:
        """All networks, the oldest first."""
        return await mirrored(cls._class().list, filters=filters, engine=engine)

    @property
    def name(self) -> str:
        """Its name in the store."""
        return wrap(self.sync.name)

    async def partition(
        self, a: Container | str | Iterable[Container | str], b: Container | str | Iterable[Container | str]
    ) -> Partition:
        """Cut two containers, or groups of them, off from each other until it is healed; for tests."""
        return await mirrored(self.sync.partition, a, b)

    @classmethod
    async def prune(
        cls, *, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> tuple[str, ...]:
        """Remove the networks that no container has a place in; their names."""
        return await mirrored(cls._class().prune, filters=filters, engine=engine)

    async def remove(self) -> None:
        """Remove the network."""
        return await ending(self.sync.remove)

    @property
    def subnets(self) -> tuple[str, ...]:
        """Its addresses, IPv4 first."""
        return wrap(self.sync.subnets)


class Partition(Mirror):
    """Two groups of containers that do not reach each other, until it is healed."""

    _of = ("pycontainer.engine.partitioning", "Partition")

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def heal(self) -> None:
        """Let them reach each other again; idempotent."""
        return await ending(self.sync.heal)

    @property
    def is_healed(self) -> bool:
        """Whether the two reach each other again."""
        return wrap(self.sync.is_healed)


class Process(ProcessStreams):
    """A process that runs in a container, as `Container.popen()` gives it."""

    _of = ("pycontainer.engine.process", "Process")

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    async def close(self) -> None:
        """Close its streams, and kill it with all its descendants if it still runs; idempotent."""
        return await ending(self.sync.close)

    async def communicate(
        self, input: bytes | None = None, timeout: Seconds | None = None
    ) -> tuple[bytes, bytes]:
        """Write the input, read all output, wait for the end; what was written to stdout and stderr."""
        return await mirrored(self.sync.communicate, input, timeout)

    def fileno(self) -> int:
        """A descriptor that poll(2) finds readable when the process has ended; call `poll` then."""
        return wrap(self.sync.fileno())

    @property
    def has_terminal(self) -> bool:
        """Whether it was given a terminal: then all its output is stdout."""
        return wrap(self.sync.has_terminal)

    async def interact(self, *, detach_keys: str = "ctrl-p,ctrl-q", sig_proxy: bool = True) -> int | None:
        """Join the terminal of this process to it, until its end or the detach keys."""
        return await mirrored(self.sync.interact, detach_keys=detach_keys, sig_proxy=sig_proxy)

    async def kill(self) -> None:
        """Kill the process and all its descendants, wherever they hid."""
        return await ending(self.sync.kill)

    def lines(self, timeout: Seconds | None = None) -> Stream[OutputLine]:
        """Its output line by line, as it comes; at the end `returncode` is set."""
        return streamed(self.sync.lines, timeout)

    async def poll(self) -> int | None:
        """The exit code if the process has ended, else None."""
        return await mirrored(self.sync.poll)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        return await mirrored(self.sync.resize, rows, columns)

    @property
    def returncode(self) -> int | None:
        """The exit code once `wait` or `poll` has seen the end: the program's, or 128+n after signal n."""
        return wrap(self.sync.returncode)

    async def send_signal(self, signal: int | str) -> None:
        """Send the process a signal, by name or number; without effect when it has ended."""
        return await mirrored(self.sync.send_signal, signal)

    async def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        return await mirrored(self.sync.terminate)

    async def wait(self, timeout: Seconds | None = None) -> int:
        """Wait for its end and return the exit code."""
        return await mirrored(self.sync.wait, timeout)


class Registry(Mirror):
    """An OCI registry in this process."""

    _of = ("pycontainer.registry.server.registry", "Registry")

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        auth: Mapping[str, str] | None = None,
        token_auth: bool = False,
        tls: TlsFiles | None = None,
        upstream: str | None = None,
        upstream_config: RegistryConfig | None = None,
        faults: Sequence[Fault] = (),
        limits: ServerLimits | None = None,
    ) -> None:
        """As `pycontainer.Registry`."""
        self.sync: Any = self._class()(
            unwrap(root),
            host=unwrap(host),
            port=unwrap(port),
            auth=unwrap(auth),
            token_auth=unwrap(token_auth),
            tls=unwrap(tls),
            upstream=unwrap(upstream),
            upstream_config=unwrap(upstream_config),
            faults=unwrap(faults),
            limits=unwrap(limits),
        )

    async def __aenter__(self) -> Self:
        leave = self.sync.__exit__
        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await ending(self.sync.__exit__, *error)

    @property
    def address(self) -> str:
        """ "HOST:PORT", the form image references begin with."""
        return wrap(self.sync.address)

    def clear_faults(self) -> None:
        """Remove all planted faults."""
        return wrap(self.sync.clear_faults())

    async def close(self) -> None:
        """Stop serving; end all connections and threads; remove a temporary root."""
        return await ending(self.sync.close)

    def inject(self, fault: Fault) -> None:
        """Plant a fault; it applies to the next requests it fits."""
        return wrap(self.sync.inject(unwrap(fault)))

    async def repositories(self) -> builtins.list[str]:
        """Names of the repositories, sorted."""
        return await mirrored(self.sync.repositories)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """What clients asked so far, oldest first; the last ten thousand."""
        return wrap(self.sync.requests)

    @property
    def root(self) -> Path:
        """The directory the content is in."""
        return wrap(self.sync.root)

    async def tags(self, repository: str) -> builtins.list[str]:
        """Tags of a repository, sorted as the specification says."""
        return await mirrored(self.sync.tags, repository)

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return wrap(self.sync.url)


class RemoteImage(Mirror):
    """As `pycontainer.RemoteImage`."""

    _of = ("pycontainer.engine.remote", "RemoteImage")

    def __init__(self, reference: str, *, engine: Engine | None = None) -> None:
        """As `pycontainer.RemoteImage`."""
        self.sync: Any = self._class()(unwrap(reference), engine=unwrap(engine))

    @property
    def annotations(self) -> Awaitable[Mapping[str, str]]:
        """Annotations of its manifest or index."""
        return mirrored(getattr, self.sync, "annotations")

    @property
    def artifact_type(self) -> Awaitable[str]:
        """What kind of artifact it is, or "" for an image."""
        return mirrored(getattr, self.sync, "artifact_type")

    async def attestations(self, platform: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """The in-toto statements (provenance, SBOMs) that BuildKit put into the index for a platform."""
        return await mirrored(self.sync.attestations, platform)

    async def config(self, platform: str | None = None) -> ImageConfig:
        """The configuration of the image for a platform (default: this host's)."""
        return await mirrored(self.sync.config, platform)

    async def delete(self) -> None:
        """As `pycontainer.RemoteImage.delete`."""
        return await mirrored(self.sync.delete)

    @property
    def descriptor(self) -> Awaitable[Descriptor]:
        """Type, digest and size of its manifest or index."""
        return mirrored(getattr, self.sync, "descriptor")

    @property
    def digest(self) -> Awaitable[str]:
        """Digest of its manifest, or of its index."""
        return mirrored(getattr, self.sync, "digest")

    @property
    def exists(self) -> Awaitable[bool]:
        """Whether the registry has it now."""
        return mirrored(getattr, self.sync, "exists")

    async def inspect(self, platform: str | None = None) -> dict[str, Any]:
        """What `skopeo inspect` shows, without its list of tags."""
        return await mirrored(self.sync.inspect, platform)

    @property
    def manifest(self) -> Awaitable[dict[str, Any]]:
        """Its manifest or index as a JSON object."""
        return mirrored(getattr, self.sync, "manifest")

    @property
    def manifest_bytes(self) -> Awaitable[bytes]:
        """Its manifest or index as the registry keeps it."""
        return mirrored(getattr, self.sync, "manifest_bytes")

    @property
    def media_type(self) -> Awaitable[str]:
        """Type of its manifest, or of its index."""
        return mirrored(getattr, self.sync, "media_type")

    @property
    def platforms(self) -> Awaitable[tuple[str, ...]]:
        """What it can be pulled for, as "linux/arm64"; attestations are left out."""
        return mirrored(getattr, self.sync, "platforms")

    async def pull(self, platform: str | None = None) -> Image:
        """Pull exactly this, though the tag may have moved; it gets the tag's name."""
        return await mirrored(self.sync.pull, platform)

    @property
    def reference(self) -> str:
        """The whole name."""
        return wrap(self.sync.reference)

    async def referrers(self, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to it (signatures, SBOMs and other artifacts), of one type if given."""
        return await mirrored(self.sync.referrers, artifact_type)

    @classmethod
    async def repositories(
        cls, registry: str, pattern: str = "*", *, engine: Engine | None = None
    ) -> builtins.list[str]:
        """Names of the repositories of a registry that lists them, which fit a pattern such as "team/*"."""
        return await mirrored(cls._class().repositories, registry, pattern, engine=engine)

    async def size_bytes(self, platform: str | None = None) -> int:
        """What pulling it transfers: manifest, configuration and compressed layers."""
        return await mirrored(self.sync.size_bytes, platform)

    @classmethod
    async def tags(cls, repository: str, *, engine: Engine | None = None) -> builtins.list[str]:
        """All tags of a repository, in the registry's order."""
        return await mirrored(cls._class().tags, repository, engine=engine)


class Volume(Mirror):
    """A volume: a handle whose attributes read the store anew each time."""

    _of = ("pycontainer.engine.volumes", "Volume")

    async def clone(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make another volume with the same files; blocks are shared where the file system can."""
        return await mirrored(self.sync.clone, name, labels=labels)

    @classmethod
    async def create(
        cls,
        name: str | None = None,
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Volume:
        """As `pycontainer.Volume.create`."""
        return await mirrored(
            cls._class().create, name, driver=driver, options=options, labels=labels, engine=engine
        )

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return wrap(self.sync.created_at)

    @property
    def driver(self) -> str:
        """ "local"."""
        return wrap(self.sync.driver)

    async def export(self, target: HostPath | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Write its files as a tar, to a file of that name once all is in it, or to a stream."""
        return await mirrored(self.sync.export, target, timeout=timeout)

    @classmethod
    async def get(cls, name: str, *, engine: Engine | None = None) -> Volume:
        """The volume of this name."""
        return await mirrored(cls._class().get, name, engine=engine)

    @property
    def in_use_by(self) -> builtins.list[Container]:
        """The containers that use it, running or not."""
        return wrap(self.sync.in_use_by)

    async def inspect(self) -> dict[str, Any]:
        """Everything, as Docker's `volume inspect` has it."""
        return await mirrored(self.sync.inspect)

    @property
    def is_anonymous(self) -> bool:
        """Whether a container had it made without a name."""
        return wrap(self.sync.is_anonymous)

    @property
    def labels(self) -> dict[str, str]:
        """What it was labelled with."""
        return wrap(self.sync.labels)

    @classmethod
    async def list(
        cls, *, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> builtins.list[Volume]:
        """All volumes, by name."""
        return await mirrored(cls._class().list, filters=filters, engine=engine)

    async def load(self, source: HostPath | bytes | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Unpack a tar, compressed or not, over what is in it; with owners, modes and attributes."""
        return await mirrored(self.sync.load, source, timeout=timeout)

    @property
    def mountpoint(self) -> Path:
        """Its directory on the host, for one without options."""
        return wrap(self.sync.mountpoint)

    @property
    def name(self) -> str:
        """What it is called, which identifies it."""
        return wrap(self.sync.name)

    @property
    def options(self) -> dict[str, str]:
        """Those of its driver."""
        return wrap(self.sync.options)

    @property
    def path(self) -> VolumePath:
        """Its files, as with pathlib: `v.path / "data.db"`."""
        return wrap(self.sync.path)

    @classmethod
    async def prune(
        cls, *, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> tuple[str, ...]:
        """Remove the anonymous volumes that no container uses, or all of those; their names."""
        return await mirrored(cls._class().prune, all=all, filters=filters, engine=engine)

    async def remove(self, *, force: bool = False) -> None:
        """Remove it with its files."""
        return await ending(self.sync.remove, force=force)

    async def restore(self, name: str) -> None:
        """Let it have the files of the snapshot of this name again; see `VolumeSnapshot.restore`."""
        return await mirrored(self.sync.restore, name)

    async def snapshot(self, name: str | None = None) -> VolumeSnapshot:
        """As `pycontainer.Volume.snapshot`."""
        return await mirrored(self.sync.snapshot, name)

    @property
    def snapshots(self) -> builtins.list[VolumeSnapshot]:
        """What was kept of it, the oldest first."""
        return wrap(self.sync.snapshots)


class VolumePath(Mirror):
    """A path in a volume, whoever uses it meanwhile: `v.path / "data.db"`."""

    _of = ("pycontainer.engine.paths", "VolumePath")

    def __truediv__(self, other: str | PurePosixPath) -> Self:
        """As `pycontainer.VolumePath.__truediv__`."""
        return wrap(self.sync.__truediv__(unwrap(other)))

    def as_posix(self) -> str:
        """The path as text."""
        return wrap(self.sync.as_posix())

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change its permission bits."""
        return await mirrored(self.sync.chmod, mode, follow_symlinks=follow_symlinks)

    async def chown(self, uid: int, gid: int = -1, *, follow_symlinks: bool = True) -> None:
        """Change its owner and group, by number; -1 leaves one as it is."""
        return await mirrored(self.sync.chown, uid, gid, follow_symlinks=follow_symlinks)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is there."""
        return await mirrored(self.sync.exists, follow_symlinks=follow_symlinks)

    def glob(self, pattern: str) -> Stream[Self]:
        """What matches a pattern below it, as with pathlib; "**" passes over /proc, /sys and their like."""
        return streamed(self.sync.glob, pattern)

    async def hardlink_to(self, target: str | InnerPath) -> None:
        """Make it another name of a file."""
        return await mirrored(self.sync.hardlink_to, target)

    async def is_dir(self) -> bool:
        """Whether it is, or links to, a directory."""
        return await mirrored(self.sync.is_dir)

    async def is_file(self) -> bool:
        """Whether it is, or links to, a regular file."""
        return await mirrored(self.sync.is_file)

    def is_relative_to(self, other: str | InnerPath) -> bool:
        """Whether the other path is above this one, by name."""
        return wrap(self.sync.is_relative_to(unwrap(other)))

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await mirrored(self.sync.is_symlink)

    def iterdir(self) -> Stream[Self]:
        """What is in the directory, sorted by name."""
        return streamed(self.sync.iterdir)

    def joinpath(self, *others: str | PurePosixPath) -> Self:
        """The path with these appended; an absolute one begins anew."""
        return wrap(self.sync.joinpath(*map(unwrap, others)))

    async def lstat(self) -> os.stat_result:
        """Its status, of a link itself."""
        return await mirrored(self.sync.lstat)

    def match(self, pattern: str) -> bool:
        """Whether the path's end matches a pattern."""
        return wrap(self.sync.match(unwrap(pattern)))

    async def mkdir(self, mode: int = 511, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory; mode before a umask of 022."""
        return await mirrored(self.sync.mkdir, mode, parents, exist_ok)

    @property
    def name(self) -> str:
        """The last component."""
        return wrap(self.sync.name)

    async def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the regular file, as the built-in open() does; reading and writing then need no job."""
        return await mirrored(self.sync.open, mode, buffering, encoding, errors, newline)

    @property
    def parent(self) -> Self:
        """The path without its last component."""
        return wrap(self.sync.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """The directories above, the nearest first."""
        return wrap(self.sync.parents)

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, "/" first."""
        return wrap(self.sync.parts)

    async def read_bytes(self) -> bytes:
        """The file's content."""
        return await mirrored(self.sync.read_bytes)

    async def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file's content as text."""
        return await mirrored(self.sync.read_text, encoding, errors)

    async def readlink(self) -> PurePosixPath:
        """What a symbolic link says."""
        return await mirrored(self.sync.readlink)

    def relative_to(self, other: str | InnerPath) -> PurePosixPath:
        """What leads here from another path."""
        return wrap(self.sync.relative_to(unwrap(other)))

    async def rename(self, target: str | InnerPath) -> Self:
        """Give it another path in the same container, replacing what is there; gives that path."""
        return await mirrored(self.sync.rename, target)

    async def replace(self, target: str | InnerPath) -> Self:
        """Give it another path in the same container, replacing what is there; gives that path."""
        return await mirrored(self.sync.replace, target)

    def rglob(self, pattern: str) -> Stream[Self]:
        """As glob, of "**/" and the pattern."""
        return streamed(self.sync.rglob, pattern)

    async def rmdir(self) -> None:
        """Remove the empty directory."""
        return await mirrored(self.sync.rmdir)

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its status; user and group ids are those the host has for them."""
        return await mirrored(self.sync.stat, follow_symlinks=follow_symlinks)

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return wrap(self.sync.stem)

    @property
    def suffix(self) -> str:
        """The name's last extension, with its dot."""
        return wrap(self.sync.suffix)

    @property
    def suffixes(self) -> builtins.list[str]:
        """All extensions of the name."""
        return wrap(self.sync.suffixes)

    async def symlink_to(self, target: str | PurePosixPath | InnerPath) -> None:
        """Make it a symbolic link with this text."""
        return await mirrored(self.sync.symlink_to, target)

    async def touch(self, mode: int = 438, exist_ok: bool = True) -> None:
        """Make the file if it is missing, else set its times to now."""
        return await mirrored(self.sync.touch, mode, exist_ok)

    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        return await mirrored(self.sync.unlink, missing_ok)

    @property
    def volume(self) -> Volume:
        """Whose path it is."""
        return wrap(self.sync.volume)

    def with_name(self, name: str) -> Self:
        """The path with another last component."""
        return wrap(self.sync.with_name(unwrap(name)))

    def with_suffix(self, suffix: str) -> Self:
        """The path with another extension."""
        return wrap(self.sync.with_suffix(unwrap(suffix)))

    async def write_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Replace the file's content, or make the file; gives the number of bytes."""
        return await mirrored(self.sync.write_bytes, data)

    async def write_text(self, data: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Replace the file's content by a text; see write_bytes."""
        return await mirrored(self.sync.write_text, data, encoding, errors)


class VolumeSnapshot(Mirror):
    """What a volume had at a time: kept beside it, changed by nobody, gone with it."""

    _of = ("pycontainer.engine.snapshots", "VolumeSnapshot")

    async def clone(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make another volume with these files, as `Volume.clone` does."""
        return await mirrored(self.sync.clone, name, labels=labels)

    @property
    def created_at(self) -> datetime:
        """When it was whole."""
        return wrap(self.sync.created_at)

    async def export(self, target: HostPath | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Write these files as a tar, as `Volume.export` does."""
        return await mirrored(self.sync.export, target, timeout=timeout)

    @property
    def name(self) -> str:
        """What it is called, of its volume's."""
        return wrap(self.sync.name)

    async def remove(self) -> None:
        """Delete it."""
        return await ending(self.sync.remove)

    async def restore(self) -> None:
        """Let the volume have exactly these files again; what it has now is lost."""
        return await mirrored(self.sync.restore)

    @property
    def volume(self) -> Volume:
        """Whose files these were."""
        return wrap(self.sync.volume)


async def copy(
    source: str | Image,
    target: str,
    *,
    platform: str | None = None,
    on_event: OnEvent | None = None,
    engine: Engine | None = None,
) -> str:
    """As `pycontainer.copy`."""
    return await mirrored(
        pycontainer.engine.copy, source, target, platform=platform, on_event=on_event, engine=engine
    )


async def disk_usage(*, engine: Engine | None = None) -> DiskUsage:
    """How much room everything in the store takes."""
    return await mirrored(pycontainer.engine.disk_usage, engine=engine)


def events(
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    filters: FilterValues | None = None,
    follow: bool = False,
    timeout: float | str | timedelta | None = None,
    engine: Engine | None = None,
) -> Events:
    """What happened in the store, by whatever process, in the order it was written down."""
    return Events(
        lambda: pycontainer.engine.read_events(
            since=unwrap(since),
            until=unwrap(until),
            filters=unwrap(filters),
            follow=unwrap(follow),
            timeout=unwrap(timeout),
            engine=unwrap(engine),
        )
    )


async def info(*, engine: Engine | None = None) -> dict[str, Any]:
    """As `pycontainer.info`."""
    return await mirrored(pycontainer.engine.info, engine=engine)


async def login(
    registry: str,
    username: str = "",
    password: str = "",
    *,
    identity_token: str = "",
    engine: Engine | None = None,
) -> str:
    """Check an account with its registry and keep it as `docker login` does; returns the file's path."""
    return await mirrored(
        pycontainer.engine.login, registry, username, password, identity_token=identity_token, engine=engine
    )


async def logout(registry: str, *, engine: Engine | None = None) -> bool:
    """Remove what `login` kept of an account; whether there was one."""
    return await mirrored(pycontainer.engine.logout, registry, engine=engine)


async def prune(
    *, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None
) -> Pruned:
    """As `pycontainer.prune`."""
    return await mirrored(pycontainer.engine.prune, all=all, filters=filters, engine=engine)


async def prune_build_cache(
    *,
    all: bool = False,
    until: float | str | timedelta | datetime | None = None,
    keep: int | str | None = None,
    reserved: int | str | None = None,
    min_free: int | str | None = None,
    engine: Engine | None = None,
) -> PrunedBuildCache:
    """Forget what builds have kept: the layers of steps that no image needs, cache mounts, checksums."""
    return await mirrored(
        pycontainer.engine.prune_build_cache,
        all=all,
        until=until,
        keep=keep,
        reserved=reserved,
        min_free=min_free,
        engine=engine,
    )


async def run(
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
    """Run a container to its end and return what it wrote; nothing of it is left behind."""
    return await mirrored(
        pycontainer.engine.run,
        image,
        command,
        input=input,
        timeout=timeout,
        check=check,
        interactive=interactive,
        engine=engine,
        **options,
    )


async def sign(
    reference: str,
    key: SigningKey,
    *,
    notes: Mapping[str, str] | None = None,
    with_tag: bool = False,
    as_referrer: bool = False,
    as_bundle: bool = False,
    engine: Engine | None = None,
) -> str:
    """As `pycontainer.sign`."""
    return await mirrored(
        pycontainer.engine.sign,
        reference,
        key,
        notes=notes,
        with_tag=with_tag,
        as_referrer=as_referrer,
        as_bundle=as_bundle,
        engine=engine,
    )


async def verify(
    reference: str,
    key: Key | Sequence[Key],
    *,
    with_tag: bool = False,
    nameless: bool = False,
    engine: Engine | None = None,
) -> Verified:
    """Verify that what a name stands for in its registry is signed by the key, or by one of several."""
    return await mirrored(
        pycontainer.engine.verify, reference, key, with_tag=with_tag, nameless=nameless, engine=engine
    )
