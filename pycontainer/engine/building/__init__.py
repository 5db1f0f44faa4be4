"""`Image.build`: what the package `build` needs of an engine, and what becomes of its result."""

from typing import TYPE_CHECKING

from pycontainer.engine.building.scratch import sweep
from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.engine.building.building import build, check
    from pycontainer.engine.building.failing import FailedStep, OnFailure
    from pycontainer.engine.building.git import clone_git, commit_of_git
    from pycontainer.engine.building.options import understood_check
    from pycontainer.engine.building.pruning import PrunedBuildCache, prune_build_cache
    from pycontainer.engine.building.stepping import run_on

__all__ = [
    "FailedStep",
    "OnFailure",
    "PrunedBuildCache",
    "build",
    "check",
    "clone_git",
    "commit_of_git",
    "prune_build_cache",
    "run_on",
    "sweep",
    "understood_check",
]

_HOMES = {
    "FailedStep": "failing",
    "OnFailure": "failing",
    "PrunedBuildCache": "pruning",
    "build": "building",
    "check": "building",
    "clone_git": "git",
    "commit_of_git": "git",
    "prune_build_cache": "pruning",
    "run_on": "stepping",
    "understood_check": "options",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
