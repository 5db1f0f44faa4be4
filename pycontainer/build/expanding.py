"""All of a plan expanded, and with that checked, before any of it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pycontainer.build.dockerfile.names import SCRATCH
from pycontainer.build.dockerfile.names import Base as Named
from pycontainer.build.dockerfile.plan import Plan, PlannedStage
from pycontainer.build.dockerfile.scope import Step
from pycontainer.build.worker import FileSource
from pycontainer.errors import DockerfileError, NotFound
from pycontainer.oci import ImageConfig, Platform

__all__ = ["Contexts", "expanded", "image_of"]

Contexts: TypeAlias = Mapping[str, "FileSource | str"]
"""Files by the name of a context, the main one's is ""; or the reference of an image."""

FindConfig: TypeAlias = Callable[[str, Platform], ImageConfig]
"""The configuration of an image by its reference. Raises: NotFound."""


def expanded(
    plan: Plan, contexts: Contexts, find_config: FindConfig
) -> tuple[Plan, Mapping[int, tuple[Step, ...]]]:
    """The plan with the triggers of all images that stages are built on, and the steps of each stage.

    Raises: DockerfileError, also for an image that is not found; what finding one raises.
    """
    configs: dict[int, ImageConfig] = {}
    known: set[int] = set()
    while new := [planned for planned in plan.stages if planned.index not in known]:
        for planned in new:  # their triggers may need more stages
            known.add(planned.index)
            reference = image_of(planned.base, contexts)
            if reference is None:
                continue
            config = configs[planned.index] = _found(plan, planned, reference, find_config)
            offered = Platform(os=config.os, architecture=config.architecture, variant=config.variant)
            plan.check_base_platform(planned.index, offered)
            plan = plan.with_triggers(planned.index, config.config.on_build)
    return plan, plan.evaluate({index: config.config for index, config in configs.items()})


def image_of(base: Named, contexts: Contexts) -> str | None:
    """The image that this stands for, if it is one; `scratch` is none."""
    found = contexts[base.name] if base.kind == "context" else base.name
    return (
        found if base.kind in ("image", "context") and isinstance(found, str) and found != SCRATCH else None
    )


def _found(plan: Plan, planned: PlannedStage, reference: str, find_config: FindConfig) -> ImageConfig:
    try:
        return find_config(reference, planned.platform or plan.variables.target_platform)
    except DockerfileError:
        raise
    except NotFound as error:
        raise plan.error(str(error), planned.stage.start.lines) from error
