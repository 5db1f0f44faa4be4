"""`Compose`: an application of several containers, as a compose file says it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pycontainer.compose import (
    bringing,
    images,
    mapping,
    members,
    planning,
    printing,
    publishing,
    resources,
    steering,
    teardown,
    watching,
)
from pycontainer.compose.asked import Duration, PathLike, file_paths, seconds, unknown
from pycontainer.compose.converge import Wishes, await_ready
from pycontainer.compose.graph import each_of
from pycontainer.compose.labels import Member, find_members
from pycontainer.compose.loading import load, project_name
from pycontainer.compose.output import ComposeLogLine, read_logs
from pycontainer.compose.remote import Remote
from pycontainer.compose.resolving import resolve
from pycontainer.compose.service import ComposeService
from pycontainer.compose.yamlfile import dump
from pycontainer.engine import Container, RunResult, current_engine
from pycontainer.errors import NotFound, PycontainerError

if TYPE_CHECKING:
    from pycontainer.build import BuildWarning, OnBuildEvent
    from pycontainer.compose.converge import Convergence
    from pycontainer.compose.loading import Loaded
    from pycontainer.compose.model import Project, ServiceSpec
    from pycontainer.compose.planning import PlannedChange
    from pycontainer.compose.watching import WatchEvent
    from pycontainer.engine import Artifact, Engine, ExecResult, PortBinding

__all__ = ["Compose"]


@final
class Compose:
    """An application of several containers, networks and volumes, as compose files say it.

    `with pc.Compose("compose.yaml") as app:` brings it up, waits until it is ready, and takes it down at the
    end; new containers belong to this process, and end when it does, however that happens. Without `with`,
    `up()` and `down()` do the same for containers that stay. What belongs to a project is found by labels, so
    any process, and `pycontainer compose`, goes on where another stopped.
    """

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
        """Read the files; nothing is made yet.

        path: a file, or several, each on top of those before it; a directory, or None for the current one, is
        searched for compose.yaml with its compose.override.yaml; "-" is the standard input; oci://… and git
        repositories are fetched. project: the name; by default
        COMPOSE_PROJECT_NAME, the file's own, or that of the directory. profiles: those that are on; "*" is
        all. env: variables for ${...} instead of this process's. env_files: files of variables instead of
        .env. directory: where relative paths begin. remove_volumes: whether the end of a with block removes
        the volumes, too.
        Raises: ComposeFileError with file, line and path; NotFound; InvalidInput; Unsupported without pyyaml.
        """
        self._engine = engine
        self._profiles = tuple(profiles)
        self._removes_volumes = remove_volumes
        self._warnings: dict[str, None] = {}
        fetch = Remote(lambda: self.engine)
        self._loaded: Loaded | None = load(
            file_paths(path, fetch),
            environment=os.environ if env is None else env,
            name=project,
            directory=None if directory is None else Path(directory),
            env_files=None if env_files is None else [Path(each) for each in env_files],
            fetch=fetch,
        )
        self._name = self._loaded.name
        self._warn(self._loaded.warnings)
        self._known: Project | None = resolve(self._loaded, self._profiles)

    @classmethod
    def get(cls, project: str, *, engine: Engine | None = None) -> Compose:
        """The application of this name by what there is of it, without its files. Raises: NotFound."""
        made = object.__new__(cls)
        made._engine, made._loaded, made._known, made._profiles = engine, None, None, ()
        made._name, made._removes_volumes, made._warnings = project_name(project), False, {}
        if not (find_members(made.engine, project) or resources.project_networks(made.engine, project)):
            raise NotFound(f"there is no project {project!r}; give its files")
        return made

    # -- what it is ------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine it runs on."""
        return self._engine or current_engine()

    @property
    def name(self) -> str:
        """The name of the project."""
        return self._name

    @property
    def project(self) -> Project:
        """What the files say. Raises: NotFound for one without files."""
        return self._resolved(())

    def _resolved(self, wanted: Iterable[str]) -> Project:
        """What the files say, with the profiles on that these services need."""
        if self._loaded is None or self._known is None:
            raise NotFound(f"project {self._name} is known by its containers alone; give its files for this")
        if all(name in self._known.services for name in wanted):
            return self._known
        return resolve(self._loaded, self._profiles, wanted)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What one may want to hear of: variables that are not set, containers of services that are gone."""
        return tuple(self._warnings)

    def _warn(self, texts: Iterable[str]) -> None:
        self._warnings.update(dict.fromkeys(texts))

    @property
    def services(self) -> Mapping[str, ComposeService]:
        """Its services by name: those that are on, and those that have containers."""
        known = self._known
        names = [*(known.services if known is not None else ())]
        names += [each.service for each in find_members(self.engine, self._name)]
        return {name: ComposeService(self, name) for name in dict.fromkeys(names)}

    def __getitem__(self, name: str) -> ComposeService:
        """The service of this name. Raises: NotFound."""
        services = self.services
        if name not in services:
            raise unknown(name, services)
        return services[name]

    @property
    def containers(self) -> list[Container]:
        """Its containers, running or not, by service and number."""
        return [each.container for each in self._members()]

    def _members(self, services: Collection[str] = (), *, oneoffs: bool = False) -> list[Member]:
        found = find_members(self.engine, self._name)
        names = {each.service for each in found}
        known = self._known
        if known is not None:
            names |= {*known.services, *known.disabled}
        for name in services:
            if name not in names:
                raise unknown(name, names)
        return [
            each
            for each in found
            if (oneoffs or not each.is_oneoff) and (not services or each.service in services)
        ]

    def config(self, *services: str, resolve_image_digests: bool = False) -> dict[str, Any]:
        """The files put together, in canonical form: what `docker compose config` prints.

        services: these alone, with what they depend on and use. resolve_image_digests: ask the registries
        which images the names stand for now.
        """
        chosen = self._chosen(project := self._resolved(services), services)
        document = printing.only(project, services) if services else dict(project.document)
        if resolve_image_digests:
            for name, image in images.pinned(self.engine, chosen).items():
                document["services"] = {
                    **document["services"],
                    name: {**document["services"][name], "image": image},
                }
        return printing.shown(document)

    def config_text(self, *services: str, **options: Any) -> str:
        """The same as YAML, which reads back as the same application."""
        return dump(self.config(*services, **options))

    def config_hashes(self, *services: str) -> dict[str, str]:
        """By service what changes when its containers have to be made anew."""
        project = self._resolved(services)
        return {each.name: mapping.config_hash(project, each) for each in self._chosen(project, services)}

    # -- up and down -----------------------------------------------------------------------------

    def up(
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
        """Bring what there is to what the files say: make, make anew, start and remove what differs.

        services: these, and what they depend on (no_deps: without); all that are on by default. scale: how
        many containers, by service. build: True builds images also when there is one, False never. pull:
        "always", "missing" or "never". force_recreate, no_recreate: make all containers anew, or none that is
        there. always_recreate_deps: make those anew that the given services depend on. renew_volumes: new
        anonymous volumes for containers that are made anew. remove_orphans:
        containers of services that the files no longer have. start: False makes containers only. wait: until
        all are healthy, run, or have ended with 0; wait_timeout: seconds for each. timeout: seconds for
        stopping. progress: of builds.
        Raises: ComposeFileError before anything is done; NotReady, ContainerFailed for one that others wait
        for; and what pulling, building, making and starting raise. What was done until then stays.
        """
        wishes = bringing.wishes_of(
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            always_recreate_deps=always_recreate_deps,
            renew_volumes=renew_volumes,
            timeout=timeout,
            wait_timeout=wait_timeout,
        )
        running = self._prepared(
            services,
            wishes,
            scale or {},
            no_deps=no_deps,
            build=build,
            pull=pull,
            progress=progress,
        )
        bringing.settle_orphans(running, removes=remove_orphans, warn=self._warn)
        bringing.bring(running, start=start, wait=wait, wait_timeout_s=seconds(wait_timeout), warn=self._warn)
        return self

    def _prepared(self, names: Sequence[str], *wishes: Any, **options: Any) -> Convergence:
        return bringing.prepare(self.engine, self._resolved(names), names, *wishes, **options)

    def down(
        self,
        *services: str,
        volumes: bool = False,
        images: str | None = None,
        remove_orphans: bool = False,
        timeout: Duration | None = None,
    ) -> None:
        """Stop and remove its containers and networks; volumes stay unless they are asked for.

        services: only the containers of these. images: "all" removes the images of its services, "local"
        those that were built without a name of their own. timeout: seconds for stopping.
        """
        self._warn(
            teardown.take_down(
                self.engine,
                self._name,
                self._known,
                services=services,
                volumes=volumes,
                images=images,
                remove_orphans=remove_orphans,
                timeout_s=seconds(timeout),
            )
        )

    def plan(self, verb: str, *services: str, **options: Any) -> list[PlannedChange]:
        """What a method of this name would change now, in about that order; nothing is done.

        verb: up, down, start, stop, restart, kill, pause, unpause, remove, build, pull or push. services,
        options: as for that method; those that change nothing about what is done need not be there. Images
        that are missing are only named: what depends on what is in them is not foreseen.
        Raises: InvalidInput for another verb; NotFound; ComposeFileError.
        """
        if verb in ("up", "build", "pull", "push"):
            return planning.from_files(self.engine, self._resolved(services), verb, services, options)
        found = self._members(services, oneoffs=verb in ("down", "remove"))
        return planning.from_members(self.engine, self._name, self._known, verb, services, found, options)

    def __enter__(self) -> Compose:
        try:
            running = self._prepared((), Wishes(is_owned=True), {})
            bringing.bring(running, wait=True, warn=self._warn)
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        try:
            self.down(volumes=self._removes_volumes, remove_orphans=True)
        except PycontainerError as failure:
            if error is None:
                raise
            error.add_note(f"taking project {self._name} down failed, too: {failure}")

    # -- single steps ----------------------------------------------------------------------------

    def build(
        self,
        *services: str,
        no_cache: bool = False,
        pull: bool = False,
        args: Mapping[str, str | None] | None = None,
        progress: OnBuildEvent | str | None = None,
        **options: Any,
    ) -> None:
        """Build the images of all services that say how, or of these. Raises as Image.build.

        no_cache, pull, args: beside what each says itself; options of Image.build: instead of that.
        """
        chosen = self._chosen(project := self._resolved(services), services)
        images.build_images(
            self.engine,
            project,
            chosen,
            no_cache=no_cache,
            pull=pull,
            args=args,
            progress=progress,
            options=options,
        )

    def check(self, *services: str) -> dict[str, tuple[BuildWarning, ...]]:
        """By service what Image.check finds in its Dockerfile, if it has one. Raises as that."""
        chosen = self._chosen(project := self._resolved(services), services)
        return images.check_images(self.engine, project, chosen)

    def pull(self, *services: str, ignore_failures: bool = False, missing: bool = False) -> None:
        """Pull the images of all services that are not built here, or of these. Raises as Image.pull.

        ignore_failures: go on, with warnings. missing: only those that are not here.
        """
        chosen = self._chosen(self._resolved(services), services)
        wanted = (each for each in chosen if not images.is_built(each))
        self._warn(images.pull_images(self.engine, wanted, ignore_failures=ignore_failures, missing=missing))

    def push(self, *services: str, ignore_failures: bool = False) -> None:
        """Upload the images of all services that name one, or of these.

        ignore_failures: go on where one cannot be; `warnings` says which. Raises as Image.push.
        """
        chosen = self._chosen(self._resolved(services), services)
        self._warn(images.push_images(self.engine, chosen, ignore_failures=ignore_failures))

    def publish(self, reference: str, *, resolve_image_digests: bool = False) -> Artifact:
        """Push the images, then the compose files themselves, as an artifact that oci://REFERENCE names.

        The files go as they are written, with their variables; files for the environment do not go. An image
        that could not be pushed is a warning: others may have it already.
        resolve_image_digests: with a further file that pins the images to what they are now.
        Raises: InvalidInput for what others would lack; RegistryError.
        """
        others = self._loaded.others if self._loaded is not None else ()
        return publishing.publish(
            self.engine,
            self.project,
            others,
            reference,
            resolve_image_digests=resolve_image_digests,
            warn=self._warn,
        )

    def watch(self, *services: str, prune: bool = True) -> Iterator[WatchEvent]:
        """Bring files that change into what runs, as `develop.watch` of the services says.

        Gives what was done, each time; it goes on until the iteration is left. What runs has to be up.
        prune: remove images that a rebuild leaves without a name.
        Raises: InvalidInput where nothing is to be watched; KernelError at the limits of inotify.
        """
        self._resolved(services)
        return watching.follow(self, services, prune=prune)

    def wait(self, *services: str) -> dict[str, int]:
        """Wait until its containers have ended, or those of these services; gives exit codes by name.

        Raises: NotFound where there is none.
        """
        found = self._members(services)
        if not found:
            raise NotFound(f"project {self._name} has no containers; bring it up first")
        return {each.container.name: each.container.wait() for each in found}

    def _chosen(self, project: Project, names: Sequence[str]) -> list[ServiceSpec]:
        for name in names:
            if name not in project.services:
                raise unknown(name, project.services)
        return [each for name, each in project.services.items() if not names or name in names]

    def start(self, *services: str, wait: bool = False, wait_timeout: Duration | None = None) -> None:
        """Start the containers there are, each service after those that it depends on.

        wait: until all are healthy, run, or have ended with 0; wait_timeout: seconds for each. Raises as up.
        """
        found = self._members(services)
        steering.start_members(found, self._known)
        if wait:
            await_ready([each.container for each in found], seconds(wait_timeout))

    def stop(self, *services: str, timeout: Duration | None = None) -> None:
        """Stop its containers, those first that depend on others; they stay. timeout: seconds."""
        teardown.stop_members(self._members(services), self._known, timeout_s=seconds(timeout))

    def restart(self, *services: str, timeout: Duration | None = None, no_deps: bool = False) -> None:
        """Stop its containers and start them again, with those that are to restart with them.

        no_deps: without the latter. timeout: seconds.
        """
        names = list(services)
        if names and self._known is not None and not no_deps:
            names += steering.restarted_with(self._known.services, names)
        self.stop(*names, timeout=timeout)
        self.start(*names)

    def kill(self, *services: str, signal: int | str = "KILL") -> None:
        """Send the running containers a signal."""
        each_of(self._running(services), lambda each: each.kill(signal))

    def pause(self, *services: str) -> None:
        """Stop all processes where they are, until unpause()."""
        each_of(self._running(services), Container.pause)

    def unpause(self, *services: str) -> None:
        """Let paused processes go on."""
        paused = [each.container for each in self._members(services) if each.container.state == "paused"]
        each_of(paused, Container.unpause)

    def _running(self, services: Collection[str]) -> list[Container]:
        return [each.container for each in self._members(services) if each.container.state == "running"]

    def remove_orphans(self, *, timeout: Duration | None = None) -> None:
        """Remove containers of services that the files no longer have. timeout: seconds for stopping."""
        teardown.remove_orphans(self.engine, self.project, timeout_s=seconds(timeout))

    def remove(self, *services: str, stop: bool = False, volumes: bool = False) -> None:
        """Remove stopped containers; stop: those that run, too. volumes: with their anonymous volumes."""
        found = self._members(services, oneoffs=True)
        wanted = [each for each in found if stop or not members.is_live(each.container)]
        each_of(wanted, lambda each: members.remove(self.engine, each, volumes=volumes))

    # -- looking, and running further programs ------------------------------------------------------

    def logs(
        self,
        *services: str,
        follow: bool = False,
        tail: int | None = None,
        since: Any = None,
        until: Any = None,
        on_end: Callable[[Container], object] | None = None,
    ) -> Iterator[ComposeLogLine]:
        """Its output, in the order of time; with follow as it comes, until all containers have ended.

        tail: of each container. since, until: as for Container.logs. on_end: with follow, called with each
        container when it has ended and all of its output was given.
        """
        selection = {"tail": tail, "since": since, "until": until}
        tell = on_end or (lambda container: None)
        return read_logs(
            self._members(services), follow=follow, on_end=lambda each: tell(each.container), **selection
        )

    def exec(self, service: str, args: Sequence[str] | str, *, index: int = 1, **options: Any) -> ExecResult:
        """Run a further program in a container of a service to its end. options: as for Container.exec."""
        return self[service].exec(args, index=index, **options)

    def port(self, service: str, port: int, *, protocol: str = "tcp", index: int = 1) -> PortBinding:
        """Where a port of a service is found on this host. Raises: NotFound."""
        return self[service].port(port, protocol=protocol, index=index)

    def run(
        self,
        service: str,
        command: Sequence[str] | str | None = None,
        *,
        input: bytes | None = None,
        timeout: Duration | None = None,
        **options: Any,
    ) -> RunResult:
        """Run a one-off container of a service to its end, and return what it wrote; it is removed then.

        What the service depends on is brought up before. It publishes no ports. input: bytes for its stdin.
        timeout: seconds, after which it is killed. options: as for create_oneoff.
        """
        container = self.create_oneoff(service, command, stdin_open=input is not None, **options)
        try:
            with container.attach(start=True, stdin_once=True) as attached:
                stdout, stderr = attached.communicate(input, timeout)
            return RunResult(
                exit_code=container.wait(timeout),
                stdout=stdout,
                stderr=stderr,
                oom_killed=container.oom_killed,
                container_id=container.id,
            )
        finally:
            container.remove(force=True, volumes=True)

    def create_oneoff(
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
        """Make a one-off container of a service, once what it depends on runs; it is not started.

        service_ports: publish the service's ports. use_aliases: let it be found by the service's names.
        remove_orphans: as for up. changes: options of Container.create instead of the service's; env, labels
        and volumes are added to them.
        """
        project = self._resolved([service])
        if service not in project.services:
            raise unknown(service, project.services)
        return bringing.make_oneoff(
            self.engine,
            project,
            project.services[service],
            command,
            changes,
            no_deps=no_deps,
            service_ports=service_ports,
            use_aliases=use_aliases,
            build=build,
            pull=pull,
            remove_orphans=remove_orphans,
            warn=self._warn,
        )

    def __repr__(self) -> str:
        return f"Compose(name={self._name!r})"
