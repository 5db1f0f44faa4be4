"""The labels by which what belongs to a project is found again, by any process: those of Docker Compose.

Source: docker/compose, pkg/api/labels.go.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from pycontainer.engine import Container, current_engine
from pycontainer.errors import DeadlineExceeded

if TYPE_CHECKING:
    from pycontainer.compose.model import Dependency, Project, ServiceSpec
    from pycontainer.engine import Engine
    from pycontainer.store import ContainerRecord

__all__ = [
    "CONFIG_HASH",
    "NETWORK",
    "PROJECT",
    "REPLACES",
    "VOLUME",
    "Member",
    "ProjectInfo",
    "container_labels",
    "find_members",
    "list_projects",
    "resource_labels",
    "settle",
]

_SETTLE_S = 30.0
_SETTLE_STEP_S = 0.01  # nothing tells of it: monitors end, and the next look removes what they leave
_PREFIX = "com.docker.compose."
PROJECT = _PREFIX + "project"
SERVICE = _PREFIX + "service"
CONFIG_HASH = _PREFIX + "config-hash"
NUMBER = _PREFIX + "container-number"
ONEOFF = _PREFIX + "oneoff"
DEPENDS_ON = _PREFIX + "depends_on"
IMAGE = _PREFIX + "image"
WORKING_DIR = _PREFIX + "project.working_dir"
CONFIG_FILES = _PREFIX + "project.config_files"
REPLACES = _PREFIX + "replace"
NETWORK = _PREFIX + "network"
VOLUME = _PREFIX + "volume"


@frozen(kw_only=True)
class Member:
    """A container of a project. depends_on: the services that its own waited for when it was made.

    replaces: the id of the container whose place it is to take, "" once it has it.
    """

    container: Container
    project: str
    service: str
    number: int
    is_oneoff: bool
    config_hash: str
    image: str
    depends_on: tuple[str, ...]
    replaces: str
    files: str


def container_labels(
    project: Project,
    service: ServiceSpec,
    *,
    number: int,
    config_hash: str,
    image: str,
    is_oneoff: bool = False,
) -> dict[str, str]:
    """What a container of a service is labelled with, besides what its file says."""
    return {
        PROJECT: project.name,
        SERVICE: service.name,
        CONFIG_HASH: config_hash,
        NUMBER: str(number),
        ONEOFF: str(is_oneoff),
        DEPENDS_ON: ",".join(_dependency(name, each) for name, each in service.depends_on.items()),
        IMAGE: image,
        WORKING_DIR: project.directory,
        CONFIG_FILES: ",".join(project.files),
    }


def _dependency(name: str, dependency: Dependency) -> str:
    return f"{name}:{dependency.condition}:{str(dependency.restarts).lower()}"


def resource_labels(project: str, kind: str, key: str, given: Mapping[str, str]) -> dict[str, str]:
    """What a network or volume is labelled with. kind: NETWORK or VOLUME."""
    return {**given, PROJECT: project, kind: key}


@frozen(kw_only=True)
class ProjectInfo:
    """A project that has containers. status: as "running(2), exited(1)"; files: its compose files."""

    name: str
    status: str
    files: str
    is_running: bool


def list_projects(engine: Engine | None = None) -> list[ProjectInfo]:
    """The projects that have containers, by name."""
    engine = engine or current_engine()
    grouped: dict[str, list[Member]] = {}
    for each in find_members(engine):
        if not each.is_oneoff:
            grouped.setdefault(each.project, []).append(each)
    found = []
    for name, members in sorted(grouped.items()):
        states = Counter(each.container.state for each in members)
        found.append(
            ProjectInfo(
                name=name,
                status=", ".join(f"{state}({count})" for state, count in sorted(states.items())),
                files=members[0].files,
                is_running="running" in states,
            )
        )
    return found


def find_members(engine: Engine, project: str | None = None) -> list[Member]:
    """The containers of a project, running or not, by service and number; of all projects without a name.

    Labels of their images count for nothing: whoever makes an image would be a member of any project.
    """
    found = []
    for container in Container.list(all=True, engine=engine):
        record = engine.store.state.containers.get(container.id)
        labels = _own_labels(record) if record is not None else {}
        if PROJECT in labels and project in (None, labels[PROJECT]):
            found.append(_member(container, labels))
    return sorted(found, key=lambda each: (each.service, each.is_oneoff, each.number, each.replaces))


def _own_labels(record: ContainerRecord) -> Mapping[str, str]:
    labels = record.options.get("labels")
    return labels if isinstance(labels, Mapping) else {}


def settle(engine: Engine, project: str) -> None:
    """Wait for containers to go whose process has died: they are in no list, but hold names and addresses.

    Raises: DeadlineExceeded.
    """
    deadline = time.monotonic() + _SETTLE_S
    while True:
        shown = {each.container.id for each in find_members(engine, project)}
        left = [
            each
            for each in engine.store.state.containers.list()
            if each.owner is not None and each.id not in shown and _own_labels(each).get(PROJECT) == project
        ]
        if not left:
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"container {left[0].name} of a process that has died is still there", timeout_s=_SETTLE_S
            )
        time.sleep(_SETTLE_STEP_S)


def _member(container: Container, labels: Mapping[str, str]) -> Member:
    number = labels.get(NUMBER, "")
    depends_on = labels.get(DEPENDS_ON, "")
    return Member(
        container=container,
        project=labels.get(PROJECT, ""),
        service=labels.get(SERVICE, ""),
        number=int(number) if number.isdecimal() and len(number) < 10 else 0,
        is_oneoff=labels.get(ONEOFF, "").lower() == "true",
        config_hash=labels.get(CONFIG_HASH, ""),
        image=labels.get(IMAGE, ""),
        depends_on=tuple(each.partition(":")[0] for each in depends_on.split(",") if each),
        replaces=labels.get(REPLACES, ""),
        files=labels.get(CONFIG_FILES, ""),
    )
