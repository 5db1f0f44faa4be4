"""What is done with single containers of a project: hooks, files that they are given, stopping, removing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pycontainer.compose import mapping
from pycontainer.engine import Container, Volume
from pycontainer.errors import ContainerFailed, InUse, NotFound, WrongState

if TYPE_CHECKING:
    from pycontainer.compose.labels import Member
    from pycontainer.compose.model import Project, ServiceSpec
    from pycontainer.engine import Engine

__all__ = ["anonymous_volumes", "give_files", "is_live", "remove", "run_hook", "start", "stop"]

_LIVE = ("running", "paused", "restarting")
_HOOK_TIMEOUT_S = 600.0


def is_live(container: Container) -> bool:
    """Whether its program runs, or will again by itself."""
    return container.state in _LIVE


def start(container: Container, project: Project, service: ServiceSpec) -> None:
    """Start it, with the files that it is given, and run what is to run then. Raises as Container.start."""
    if container.state == "created":
        give_files(container, project, service)
    try:
        container.start()
    except WrongState:
        if not is_live(container):
            raise
        return  # another process was faster
    _run_hooks(container, service, "post_start")


def give_files(container: Container, project: Project, service: ServiceSpec) -> None:
    """Write the secrets and configs into it that are no files of this host. Raises: ComposeFileError."""
    files = mapping.given_files(project, service)
    mounted = [each["Destination"] for each in container.inspect()["Mounts"]] if files else []
    for target, content, bits, uid, gid in files:
        mapping.check_visible(service, target, mounted)
        place = container.path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.touch(0o600)
        place.write_bytes(content)
        place.chown(uid, gid)
        place.chmod(bits)


def _run_hooks(container: Container, service: ServiceSpec, key: str) -> None:
    for hook in service.keys.get(key, ()):
        try:
            run_hook(container, hook)
        except ContainerFailed as error:
            error.add_note(f"it is of {key} of service {service.name}")
            raise


def run_hook(container: Container, hook: Mapping[str, Any]) -> None:
    """Run a program in it as a hook of a compose file says. Raises: ContainerFailed; as Container.exec."""
    container.exec(
        hook["command"] or [],
        env=hook.get("environment"),
        user=hook.get("user"),
        workdir=hook.get("working_dir"),
        privileged=hook.get("privileged", False),
        timeout=_HOOK_TIMEOUT_S,
        check=True,
    )


def stop(container: Container, timeout_s: float | None, service: ServiceSpec | None) -> None:
    """Stop it, if it runs, after what is to run before that."""
    with suppress(NotFound):
        if service is not None and container.state == "running":
            _run_hooks(container, service, "pre_stop")
        container.stop(timeout_s)


def remove(
    engine: Engine,
    member: Member,
    *,
    timeout_s: float | None = None,
    service: ServiceSpec | None = None,
    volumes: bool = False,
) -> None:
    """Stop and remove it. volumes: its anonymous volumes, too."""
    container = member.container
    stop(container, timeout_s, service)
    names = anonymous_volumes(engine, container) if volumes else {}
    container.remove(force=True, volumes=volumes)
    engine.disown(container.id)
    for name in names.values():
        # One that has come over from a predecessor does not go with the container by itself.
        with suppress(NotFound, InUse):
            Volume.get(name, engine=engine).remove(force=True)


def anonymous_volumes(engine: Engine, container: Container) -> dict[str, str]:
    """Its volumes without names of their own, by where it has them."""
    found = {}
    with suppress(NotFound):
        for mount in container.inspect()["Mounts"]:
            if mount["Type"] == "volume":
                with suppress(NotFound):
                    if Volume.get(mount["Name"], engine=engine).is_anonymous:
                        found[posixpath.normpath(mount["Destination"])] = str(mount["Name"])
    return found
