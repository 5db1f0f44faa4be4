"""Bringing what there is to what the files say: containers made, made anew, started and removed.

Theory of operation. All is first made, then started, each in the order of dependencies. What is there is told
by the labels of containers alone, so any process goes on where another was killed. A container that is to be
made anew is stopped; its successor is made under a name of its own, labelled with whom it replaces, with its
anonymous volumes; then the old one is removed, and the new one takes the name. A process that dies between
leaves a successor that the next one recognises.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from pycontainer import wait
from pycontainer.checkpoints import reached
from pycontainer.compose import mapping, members
from pycontainer.compose.graph import each_of, in_order, sequence
from pycontainer.compose.labels import CONFIG_HASH, REPLACES, Member, container_labels, find_members, settle
from pycontainer.compose.resources import network_hash
from pycontainer.compose.steering import restarted_with
from pycontainer.engine import Container, Image, Network
from pycontainer.errors import ContainerFailed, NotFound, PycontainerError

if TYPE_CHECKING:
    from pycontainer.compose.model import Dependency, Project, ServiceSpec
    from pycontainer.engine import Engine

__all__ = [
    "Convergence",
    "Steps",
    "Wishes",
    "await_healthy",
    "await_ready",
    "oneoff_options",
    "finish_replacements",
]

_TAIL_LINES = 20
_HEALTH_SLACK_S = 60.0


@frozen(kw_only=True)
class Wishes:
    """How containers are brought to what the files say.

    recreate: "changed", "always" or "never". recreates_dependencies: make those anew that are not named.
    timeout_s: for stopping; None is each container's own.
    completion_s: how long to wait for one that is to complete; None is without end. is_owned: new containers
    belong to this process.
    """

    recreate: str = "changed"
    recreates_dependencies: bool = False
    renews_volumes: bool = False
    timeout_s: float | None = None
    completion_s: float | None = None
    is_owned: bool = False


def container_options(
    project: Project,
    service: ServiceSpec,
    number: int,
    image: Image,
    *,
    is_oneoff: bool = False,
) -> tuple[Sequence[str] | None, dict[str, Any]]:
    """Command and options of a container of a service, with the labels it is found by; without its name."""
    options = mapping.run_options(project, service, number)
    hashed = mapping.config_hash(project, service)
    # A network that is made anew takes its containers with it.
    hashes = [network_hash(project.networks[key]) for key in sorted(service.keys["networks"])]
    labels = container_labels(
        project,
        service,
        number=number,
        config_hash=mapping.digest_of([hashed, *hashes]),
        image=image.id,
        is_oneoff=is_oneoff,
    )
    options["labels"] = {**service.labels, **labels}
    return options.pop("command", None), options


def oneoff_options(
    project: Project,
    service: ServiceSpec,
    image: Image,
    changes: Mapping[str, Any],
    *,
    service_ports: bool,
    use_aliases: bool,
) -> tuple[Sequence[str] | None, dict[str, Any]]:
    """Command and options of a one-off container of a service; see Compose.create_oneoff."""
    command, options = container_options(project, service, 0, image, is_oneoff=True)
    if not service_ports:
        options.pop("ports", None)
    if not use_aliases and isinstance(options.get("network"), dict):
        options["network"] = {
            name: {key: value for key, value in place.items() if key not in ("aliases", "ip", "ip6", "mac")}
            for name, place in options["network"].items()
        }
    options.pop("restart", None)
    for key, added in changes.items():
        options[key] = {**options.get(key, {}), **added} if key in ("env", "labels") else added
    options.setdefault("name", f"{project.name}-{service.name}-run-{secrets.token_hex(6)}")
    return command, options


def finish_replacements(engine: Engine, project: Project) -> list[Member]:
    """Complete what a killed process began to replace; the containers of the project then."""
    settle(engine, project.name)
    found = find_members(engine, project.name)
    by_id = {each.container.id: each for each in found}
    for each in found:
        if not each.replaces:
            continue
        old = by_id.get(each.replaces)
        if old is not None:
            members.remove(engine, old)
        wanted = mapping.container_name(project, each.service, each.number)
        if each.container.name != wanted and not any(
            other.container.name == wanted for other in found if other not in (each, old)
        ):
            each.container.rename(wanted)
    return find_members(engine, project.name)


@frozen(kw_only=True)
class Steps:
    """What is to be done for a service. missing: the numbers of containers that are not there."""

    kept: Sequence[Member]
    obsolete: Sequence[Member]
    surplus: Sequence[Member]
    missing: Sequence[int]


@define(kw_only=True)
class Convergence:
    """One bringing up. services: those that are meant; scales: how many containers of each.

    named: those that were asked for by name; the others are there for them. images: by service; for `steps`
    those that are here.
    """

    engine: Engine
    project: Project
    services: Mapping[str, ServiceSpec]
    scales: Mapping[str, int]
    images: Mapping[str, Image]
    wishes: Wishes
    named: Collection[str] = ()
    warnings: list[str] = field(factory=list)
    _members: dict[str, list[Member]] = field(factory=dict, init=False)
    _containers: dict[str, list[Container]] = field(factory=dict, init=False)
    _lock: Lock = field(factory=Lock, init=False)

    @property
    def _graph(self) -> dict[str, list[str]]:
        return {name: list(service.depends_on) for name, service in self.services.items()}

    # -- making

    def create(self) -> None:
        """Make all containers, without starting any. Raises as Container.create."""
        self._look(finish_replacements(self.engine, self.project))
        in_order(self._graph, self._create_service)

    def _look(self, found: Iterable[Member]) -> None:
        for member in found:
            if not member.is_oneoff:
                self._members.setdefault(member.service, []).append(member)

    def steps(self) -> dict[str, Steps]:
        """What `create` would do now, by service, in the order in which it would begin."""
        self._look(find_members(self.engine, self.project.name))
        return {name: self._steps(name) for name in sequence(self._graph)}

    def _steps(self, name: str) -> Steps:
        service, expected = self.services[name], self.scales[name]
        present = sorted(
            self._members.get(name, []), key=lambda each: (self._is_obsolete(service, each), each.number)
        )
        kept, surplus = present[:expected], present[expected:]
        obsolete = [each for each in kept if self._is_obsolete(service, each)]
        taken = {each.number for each in kept}
        free = (number for number in range(1, expected + len(taken) + 1) if number not in taken)
        return Steps(
            kept=[each for each in kept if each not in obsolete],
            obsolete=obsolete,
            surplus=surplus,
            missing=list(islice(free, expected - len(kept))),
        )

    def _create_service(self, name: str) -> None:
        service, steps = self.services[name], self._steps(name)
        if steps.obsolete:
            self._stop_dependents(name)
        found = [each.container for each in steps.kept]
        each_of(steps.surplus, lambda each: self._remove(service, each))
        each_of(steps.obsolete, lambda each: found.append(self._replace(service, each)))
        each_of(steps.missing, lambda number: found.append(self._make(service, number)))
        with self._lock:
            self._containers[name] = found

    def _is_obsolete(self, service: ServiceSpec, member: Member) -> bool:
        if self.wishes.recreates_dependencies and self.named and service.name not in self.named:
            return True
        if self.wishes.recreate != "changed":
            return self.wishes.recreate == "always"
        image = self.images.get(service.name)
        if image is None:
            return True  # it is not here yet, so that one is another's
        _, options = container_options(self.project, service, member.number, image)
        return (member.config_hash, member.image) != (options["labels"][CONFIG_HASH], image.id)

    def _stop_dependents(self, name: str) -> None:
        """Stop those that are restarted with a service; they are started again in their turn."""
        for other in restarted_with(self.services, [name]):
            for member in self._members.get(other, ()):
                members.stop(member.container, self.wishes.timeout_s, self.services[other])

    def _make(self, service: ServiceSpec, number: int) -> Container:
        command, options = container_options(self.project, service, number, self.images[service.name])
        made = self._new(
            service, command, options, mapping.container_name(self.project, service.name, number)
        )
        reached("compose.create.created")
        return made

    def _new(
        self, service: ServiceSpec, command: Sequence[str] | None, options: dict[str, Any], name: str
    ) -> Container:
        try:
            return Container.create(
                service.image,
                command,
                name=name,
                pull="never",
                owned=self.wishes.is_owned,
                engine=self.engine,
                **options,
            )
        except PycontainerError as error:
            error.add_note(f"service {service.name} of project {self.project.name}")
            raise

    def _replace(self, service: ServiceSpec, member: Member) -> Container:
        """Make a container anew, in the place of the one there is."""
        old = member.container
        image = self.images[service.name]
        command, options = container_options(self.project, service, member.number, image)
        options["labels"][REPLACES] = old.id
        if not self.wishes.renews_volumes:
            kept = members.anonymous_volumes(self.engine, old)
            options["mounts"] = _inherited(options.get("mounts", []), kept, image)
        members.stop(old, self.wishes.timeout_s, service)
        self._release_addresses(service, old)
        name = mapping.container_name(self.project, service.name, member.number)
        made = self._new(service, command, options, f"{old.id[:12]}_{name}"[:128])
        reached("compose.recreate.created")
        members.remove(self.engine, member, volumes=self.wishes.renews_volumes)
        reached("compose.recreate.removed")
        made.rename(name)
        return made

    def _release_addresses(self, service: ServiceSpec, old: Container) -> None:
        """Free what only one container can have, since both are there for a moment."""
        own = ("ipv4_address", "ipv6_address", "mac_address", "link_local_ips")
        for key, asked in service.keys["networks"].items():
            if "mac_address" in service.keys or any(each in asked for each in own):
                with suppress(NotFound):
                    Network.get(self.project.networks[key].name, engine=self.engine).disconnect(
                        old, force=True
                    )

    def _remove(self, service: ServiceSpec, member: Member) -> None:
        members.remove(self.engine, member, timeout_s=self.wishes.timeout_s, service=service)

    # -- starting

    def start(self) -> None:
        """Start what does not run, each service when what it waits for has come to it.

        Raises: NotReady, ContainerFailed of one that is waited for; and as Container.start.
        """
        in_order(self._graph, self._start_service)

    def _start_service(self, name: str) -> None:
        service = self.services[name]
        containers = [each for each in self._containers.get(name, ()) if not members.is_live(each)]
        if not containers:
            return
        self.await_dependencies(service)

        def begin(container: Container) -> None:
            try:
                members.start(container, self.project, service)
            except PycontainerError as error:
                error.add_note(f"service {name} of project {self.project.name}")
                raise

        each_of(containers, begin)

    def await_dependencies(self, service: ServiceSpec) -> None:
        """Return when what a service waits for has come to it. Raises: NotReady, ContainerFailed."""
        for other, dependency in service.depends_on.items():
            if other in self.services:
                self._await(service.name, other, dependency)

    def _await(self, name: str, other: str, dependency: Dependency) -> None:
        try:
            for container in self._containers.get(other, ()):
                if dependency.condition == "service_healthy":
                    await_healthy(container)
                elif dependency.condition == "service_completed_successfully":
                    _await_completion(container, self.wishes.completion_s)
        except PycontainerError as error:
            if dependency.is_required:
                error.add_note(f"service {name} waits for it")
                raise
            self.warnings.append(f"service {name} does without {other}: {str(error).splitlines()[0]}")

    def await_ready(self, timeout_s: float | None = None) -> None:
        """Return when every container is ready; see await_ready."""
        await_ready(
            [each for name in self.services for each in self._containers.get(name, ())],
            timeout_s,
            self.wishes.completion_s,
        )


def await_ready(
    containers: Iterable[Container], timeout_s: float | None = None, completion_s: float | None = None
) -> None:
    """Return when each runs, and is healthy if it has a check, or has ended with 0.

    timeout_s: for the health of each; completion_s: for the end of one that does not run.
    Raises: NotReady, ReadinessTimeout; ContainerFailed.
    """
    for container in containers:
        if container.health is not None and members.is_live(container):
            await_healthy(container, timeout_s)
        elif not members.is_live(container):
            _await_completion(container, completion_s)


def _await_completion(container: Container, timeout_s: float | None) -> None:
    code = container.wait(timeout_s)
    if code:
        raise ContainerFailed(
            f"container {container.name} was to complete, and ended with {code}",
            exit_code=code,
            stderr=container.logs(tail=_TAIL_LINES).read(),
        )


def await_healthy(container: Container, timeout_s: float | None = None) -> None:
    """Return when its health check passes. timeout_s: by default what its checks may take to tell.

    Raises: NotReady, ReadinessTimeout.
    """
    if timeout_s is None:
        check = container.inspect()["Config"].get("Healthcheck") or {}
        times = {key: (check.get(key) or 0) / 1e9 for key in ("Interval", "Timeout", "StartPeriod")}
        rounds = (check.get("Retries") or 3) + 1
        one_round_s = (times["Interval"] or 30.0) + (times["Timeout"] or 30.0)
        timeout_s = times["StartPeriod"] + rounds * one_round_s + _HEALTH_SLACK_S
    container.wait_until(wait.healthy(), timeout_s)


def _inherited(mounts: list[dict[str, Any]], kept: Mapping[str, str], image: Image) -> list[dict[str, Any]]:
    """The mounts, with the volumes of a predecessor where there would be new ones without names."""
    found, taken = [], set()
    for mount in mounts:
        target = posixpath.normpath(mount["target"])
        taken.add(target)
        if mount["type"] == "volume" and not mount["source"] and target in kept:
            mount = {**mount, "source": kept[target]}
        found.append(mount)
    for place in image.config.config.volumes:
        target = posixpath.normpath(place)
        if target not in taken and target in kept:
            found.append({"type": "volume", "source": kept[target], "target": target})
    return found
