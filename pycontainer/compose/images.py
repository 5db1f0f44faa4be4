"""Images of services: pulled or built, each once, several at a time."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.compose.graph import WORKERS, each_of, in_order
from pycontainer.compose.labels import PROJECT, SERVICE
from pycontainer.compose.serviceschema import PULL_POLICIES
from pycontainer.engine import Image, RemoteImage, events_shown
from pycontainer.errors import ComposeFileError, InvalidInput, NotFound, PycontainerError, Unsupported
from pycontainer.oci import Digest, Reference

if TYPE_CHECKING:
    from pycontainer.build import BuildWarning, OnBuildEvent
    from pycontainer.compose.model import Project, ServiceSpec
    from pycontainer.engine import Engine

__all__ = [
    "build_images",
    "check_images",
    "ensure_images",
    "is_built",
    "missing_images",
    "pinned",
    "present_images",
    "pull_images",
    "push_images",
]

_SERVICE_CONTEXT = "service:"
_SECONDS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def is_built(service: ServiceSpec) -> bool:
    """Whether its image is built from its own files; one of a certain digest cannot be, but is what it is."""
    return "build" in service.keys and "@" not in service.image


def ensure_images(
    engine: Engine,
    project: Project,
    services: Collection[ServiceSpec],
    *,
    pull: str | None = None,
    build: bool | None = None,
    progress: OnBuildEvent | str | None = None,
) -> dict[str, Image]:
    """The image of each service by its name, brought here as the services' pull_policy says.

    pull: "always", "missing" or "never", instead of the policy. build: True builds all that can be, also when
    there is one; False builds none; None those that are missing.
    Raises: InvalidInput for a policy that is none; NotFound, RegistryError, BuildError.
    """
    to_build, to_pull = missing_images(engine, services, pull=pull, build=build)
    pull_images(engine, to_pull)
    build_images(engine, project, to_build, progress=progress)
    return {service.name: Image.get(service.image, engine=engine) for service in services}


def missing_images(
    engine: Engine, services: Iterable[ServiceSpec], *, pull: str | None = None, build: bool | None = None
) -> tuple[list[ServiceSpec], list[ServiceSpec]]:
    """The services whose images are to be built, and those whose are to be pulled; see ensure_images."""
    to_build, to_pull = [], []
    for service in services:
        policy = _policy(service, pull)
        has_image = _get(engine, service.image) is not None
        if is_built(service) and build is not False:
            if build or policy == "build" or not has_image:
                to_build.append(service)
        elif policy == "always" or not has_image or _is_stale(engine, service, policy):
            if policy == "never":
                raise NotFound(
                    f"service {service.name}: image {service.image} is not here, and is not to be pulled"
                )
            if is_built(service) and "image" not in service.keys:
                raise NotFound(f"service {service.name}: image {service.image} was not built; build it first")
            to_pull.append(service)
    return to_build, to_pull


def _policy(service: ServiceSpec, given: str | None) -> str:
    policy = given or str(service.keys.get("pull_policy", "missing"))
    if re.fullmatch(PULL_POLICIES, policy) is None:
        raise InvalidInput(f"pull={policy!r}: give always, missing or never")
    if policy == "refresh":
        raise Unsupported(
            f"services.{service.name}.pull_policy: {policy} says no age", "give daily, weekly or every_12h"
        )
    return {"if_not_present": "missing", "daily": "every_1d", "weekly": "every_1w"}.get(policy, policy)


def _is_stale(engine: Engine, service: ServiceSpec, policy: str) -> bool:
    """Whether the registry is to be asked again: it has not been for longer than the policy says."""
    if not policy.startswith("every_"):
        return False
    parts = re.findall(r"([0-9]+)([wdhms])", policy)
    age_s = sum(int(count) * _SECONDS[unit] for count, unit in parts)
    asked_at = Image.get(service.image, engine=engine).created_at.timestamp()
    with suppress(FileNotFoundError):
        asked_at = max(asked_at, _asked_mark(engine, service.image).stat().st_mtime)
    return time.time() - asked_at >= age_s


def _asked_mark(engine: Engine, image: str) -> Path:
    """The file whose time says when a registry was asked for an image; the store knows when it changed."""
    return engine.store.root / "compose" / "asked" / hashlib.sha256(image.encode()).hexdigest()


def present_images(engine: Engine, services: Iterable[ServiceSpec]) -> dict[str, Image]:
    """By service the images that are here."""
    found = {service.name: _get(engine, service.image) for service in services}
    return {name: image for name, image in found.items() if image is not None}


def _get(engine: Engine, name: str) -> Image | None:
    try:
        return Image.get(name, engine=engine)
    except NotFound:
        return None


def pull_images(
    engine: Engine, services: Iterable[ServiceSpec], *, ignore_failures: bool = False, missing: bool = False
) -> list[str]:
    """Pull the images of these services from their registries; gives what went wrong, if ignored.

    missing: only those that are not here. Raises as Image.pull.
    """
    wanted = {(service.image, service.keys.get("platform")): service for service in services}
    failures: list[str] = []

    def pull(service: ServiceSpec) -> None:
        platform = service.keys.get("platform")
        if missing:
            with suppress(NotFound):
                Image.get(service.image, platform=platform, engine=engine)
                return
        try:
            Image.pull(service.image, platform=platform, on_event=show or (lambda event: None), engine=engine)
        except PycontainerError as error:
            error.add_note(f"service {service.name} has this image")
            if not ignore_failures:
                raise
            failures.append(f"service {service.name}: {error}")
            return
        if _policy(service, None).startswith("every_"):
            mark = _asked_mark(engine, service.image)
            mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mark.touch()

    if wanted:
        with events_shown(engine, None) as show:  # one display for all of them
            each_of(wanted.values(), pull)
    return failures


def push_images(
    engine: Engine, services: Iterable[ServiceSpec], *, ignore_failures: bool = False
) -> list[str]:
    """Upload the images of these services that have names of their own; gives what went wrong, if ignored.

    Raises as Image.push.
    """
    wanted = {service.image: service for service in services if "image" in service.keys}
    failures: list[str] = []

    def push(service: ServiceSpec) -> None:
        try:
            Image.get(service.image, engine=engine).push(service.image)
        except PycontainerError as error:
            error.add_note(f"it is the image of service {service.name}")
            if not ignore_failures:
                raise
            failures.append(f"service {service.name}: {error}")

    each_of(wanted.values(), push)
    return failures


def pinned(engine: Engine, services: Iterable[ServiceSpec]) -> dict[str, str]:
    """By service the image with the digest that its registry has now. Raises: NotFound, RegistryError."""
    found = {}
    for service in services:
        if "image" in service.keys:
            reference = Reference.parse(service.image)
            digest = reference.digest or Digest(RemoteImage(service.image, engine=engine).digest)
            found[service.name] = str(evolve(reference, digest=digest))
    return found


def build_images(
    engine: Engine,
    project: Project,
    services: Iterable[ServiceSpec],
    *,
    no_cache: bool = False,
    pull: bool = False,
    args: Mapping[str, str | None] | None = None,
    progress: OnBuildEvent | str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Build the images of these services, those that others are built on first. Raises as Image.build.

    no_cache, pull, args: beside what each says itself. options: of Image.build, instead of that.
    """
    chosen = {service.name: service for service in services if is_built(service)}
    graph = {name: _built_on(service) for name, service in chosen.items()}

    def build(name: str) -> None:
        own = _options(project, chosen[name])
        context = own.pop("context")
        own["no_cache"] = no_cache or own["no_cache"]
        own["pull"] = pull or own["pull"]
        own["build_args"] |= args or {}
        try:
            Image.build(context, progress=progress, engine=engine, **{**own, **options})
        except Exception as error:
            error.add_note(f"it is the image of service {name}")
            raise

    # One at a time where somebody watches: displays of several would write over each other.
    is_watched = not callable(progress) and progress != "off"
    in_order(graph, build, workers=1 if is_watched else WORKERS)


_CHECKED = ("dockerfile", "target", "build_args", "platform", "contexts")


def check_images(
    engine: Engine, project: Project, services: Iterable[ServiceSpec]
) -> dict[str, tuple[BuildWarning, ...]]:
    """By service what is found in its Dockerfile; nothing is built. Raises as Image.check."""
    found = {}
    for service in filter(is_built, services):
        own = _options(project, service)
        chosen = {key: own[key] for key in _CHECKED}
        found[service.name] = Image.check(own["context"], engine=engine, **chosen)
    return found


def _built_on(service: ServiceSpec) -> list[str]:
    contexts = service.keys["build"].get("additional_contexts", {}).values()
    return [place.removeprefix(_SERVICE_CONTEXT) for place in contexts if place.startswith(_SERVICE_CONTEXT)]


def _options(project: Project, service: ServiceSpec) -> dict[str, Any]:
    keys = service.keys["build"]
    if keys.get("privileged"):
        raise Unsupported(
            f"services.{service.name}.build.privileged is not supported",
            "give entitlements: [security.insecure]",
        )
    inline = keys.get("dockerfile_inline")
    dockerfile: Any = inline.encode() if inline is not None else None
    if "dockerfile" in keys:
        dockerfile = Path(keys["dockerfile"])
    given = {
        name: project.variables.get(name) if value is None else value
        for name, value in keys.get("args", {}).items()
    }
    limits = {key: keys[key] for key in ("shm_size", "extra_hosts") if key in keys}
    if "ulimits" in keys:
        limits["ulimits"] = {name: (each["soft"], each["hard"]) for name, each in keys["ulimits"].items()}
    platforms = keys.get("platforms", [])
    return {
        "context": keys.get("context", project.directory if inline is None else None),
        "dockerfile": dockerfile,
        "target": keys.get("target"),
        "build_args": {name: value for name, value in given.items() if value is not None},
        "tags": [service.image, *keys.get("tags", ())],
        "labels": {**keys.get("labels", {}), PROJECT: project.name, SERVICE: service.name},
        "platform": service.keys.get("platform") if not platforms else None,
        "platforms": platforms,
        "secrets": _secrets(project, service),
        "ssh": _agents(keys.get("ssh", ())),
        "contexts": _contexts(project, service),
        "no_cache": keys.get("no_cache", False) or keys.get("no_cache_filter", False),
        "cache_from": keys.get("cache_from", ()),
        "cache_to": keys.get("cache_to", ()),
        "pull": keys.get("pull", False),
        "provenance": keys.get("provenance", False),
        "sbom": keys.get("sbom", False),
        "network": keys.get("network", "default"),
        "allow": keys.get("entitlements", ()),
        **limits,
    }


def _secrets(project: Project, service: ServiceSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for asked in service.keys["build"].get("secrets", ()):
        resource = project.secrets[asked["source"]]
        if not resource.file and resource.content is None:
            raise ComposeFileError(
                f"the environment has no variable for {resource.key!r}; set it",
                path=f"services.{service.name}.build.secrets",
            )
        identity = asked["target"].removeprefix("/run/secrets/")
        found[identity] = Path(resource.file) if resource.file else resource.content
    return found


def _agents(given: Any) -> dict[str, str | None]:
    if isinstance(given, dict):
        return {name: place or None for name, place in given.items()}
    return {name: place or None for name, _, place in (each.partition("=") for each in given)}


def _contexts(project: Project, service: ServiceSpec) -> dict[str, Any]:
    found = {}
    for name, place in service.keys["build"].get("additional_contexts", {}).items():
        if place.startswith(_SERVICE_CONTEXT):
            other = place.removeprefix(_SERVICE_CONTEXT)
            place = f"docker-image://{(project.services.get(other) or project.disabled[other]).image}"
        found[name] = place
    return found
