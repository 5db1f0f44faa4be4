"""One RUN on an image, without a Dockerfile: `image.run([...])`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.build import DEFAULT_SHELL
from pycontainer.errors import InvalidOption
from pycontainer.image import derived

if TYPE_CHECKING:
    from pycontainer.engine.images import Image

__all__ = ["run_on"]

_BASE = "base"


def run_on(
    image: Image,
    command: Sequence[str] | str,
    mounts: Sequence[str],
    *,
    contexts: Mapping[str, Any] | None,
    **options: Any,
) -> Image:
    """See Image.run."""
    own = image.config.config
    if own.on_build:
        # These wait for a build on the image, which this is none.
        plain = image._derive(derived(image.view, config=evolve(own, on_build=())))
        made = run_on(plain, command, mounts, contexts=contexts, **options)
        return made._derive(derived(made.view, config=evolve(made.config.config, on_build=own.on_build)))
    words = [*(own.shell or DEFAULT_SHELL), command] if isinstance(command, str) else list(command)
    if not words or not all(isinstance(word, str) for word in words):
        raise InvalidOption(f"run: {command!r} is no command; give words, or a line for the shell")
    for mount in mounts:
        if not mount or mount.split() != [mount]:
            raise InvalidOption(f"option mounts: {mount!r} is not like type=cache,target=/path")
    if _BASE in (contexts or {}):
        raise InvalidOption(f"option contexts: {_BASE!r} is the image itself; take another name")
    flags = "".join(f"--mount={mount} " for mount in mounts)
    return type(image).build(
        None,
        dockerfile=f"FROM {_BASE}\nRUN {flags}{json.dumps(words)}\n",
        contexts={**(contexts or {}), _BASE: f"docker-image://{image._record.id}"},
        platform=image.platform,
        engine=image._engine,
        **options,
    )
