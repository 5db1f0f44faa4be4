"""Publishing a project: its compose files as an artifact of a registry, which `include` and -f take again.

Source: docker/compose, pkg/compose/publish.go and internal/oci/push.go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.compose import images
from pycontainer.compose.remote import ARTIFACT_TYPE, FILE_NAME, FILE_TYPE
from pycontainer.compose.yamlfile import dump
from pycontainer.engine import Artifact
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.compose.model import Project
    from pycontainer.engine import Engine

__all__ = ["publish"]

_PINS = "image-digests.yaml"
_VERSION = "com.docker.compose.version"
_FORMAT = "2.40.0"
"""The release of Docker Compose whose artifacts these are."""


def publish(
    engine: Engine,
    project: Project,
    others: Collection[str],
    reference: str,
    *,
    resolve_image_digests: bool,
    warn: Callable[[Iterable[str]], None],
) -> Artifact:
    """Push the images that have names, then the files as they are written; see Compose.publish.

    others: the files that those include or extend. warn: is told which images could not be pushed.
    """
    _check(project)
    local = sorted(each for each in others if not Path(each).is_relative_to(engine.store.root))
    if local:
        raise InvalidInput(f"what the files include or extend is not published: {', '.join(local)}; merge it")
    warn(images.push_images(engine, project.services.values(), ignore_failures=True))
    files: dict[str, bytes] = {}
    for place in map(Path, project.files):
        name = place.name if place.name not in files else f"{len(files)}-{place.name}"
        files[name] = place.read_bytes()
    if resolve_image_digests:
        pinned = images.pinned(engine, project.services.values())
        files[_PINS] = dump({"services": {name: {"image": image} for name, image in pinned.items()}}).encode()
    return Artifact.push(
        reference,
        files,
        artifact_type=ARTIFACT_TYPE,
        media_types=dict.fromkeys(files, FILE_TYPE),
        file_annotations={name: {FILE_NAME: name, _VERSION: _FORMAT} for name in files},
        engine=engine,
    )


def _check(project: Project) -> None:
    """Refuse what others would lack. Raises: InvalidInput."""
    for name, service in {**project.services, **project.disabled}.items():
        keys: dict[str, Any] = dict(service.keys)
        if "image" not in keys:
            raise InvalidInput(f"service {name} is built here and has no image; give it one, and push that")
        for key in ("env_file", "label_file"):
            if keys.get(key):
                raise InvalidInput(
                    f"service {name} has {key}, which is not published, lest secrets are; give the values"
                )
