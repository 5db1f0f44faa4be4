"""Building images: the language of Dockerfiles, and what executes it.

`dockerfile` turns text into a plan; `solve` executes a plan, stages beside each other, with a `Worker` that
the engine is: it has the images, the cache and the containers.
"""

from typing import TYPE_CHECKING

from pycontainer.build.events import BuildAction, BuildEvent, OnBuildEvent
from pycontainer.build.sources import is_git, is_url, shown_url, url_name
from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.build.config import DEFAULT_SHELL
    from pycontainer.build.dockerfile import (
        Arg,
        BuildWarning,
        Dockerfile,
        Plan,
        Run,
        parse,
        plan,
        proxy_environment,
    )
    from pycontainer.build.executor import Rules
    from pycontainer.build.expanding import expanded
    from pycontainer.build.solver import Solved, solve
    from pycontainer.build.steps import Built, StageState, chain_of, key_of
    from pycontainer.build.worker import (
        Base,
        CopyPart,
        CopyStep,
        FileSource,
        GivenUp,
        Layer,
        RunMount,
        RunStep,
        Worker,
    )

_HOMES = {
    "Arg": "dockerfile",
    "Base": "worker",
    "BuildWarning": "dockerfile",
    "Built": "steps",
    "CopyPart": "worker",
    "CopyStep": "worker",
    "DEFAULT_SHELL": "config",
    "Dockerfile": "dockerfile",
    "FileSource": "worker",
    "GivenUp": "worker",
    "Layer": "worker",
    "Plan": "dockerfile",
    "Rules": "executor",
    "Run": "dockerfile",
    "RunMount": "worker",
    "RunStep": "worker",
    "Solved": "solver",
    "StageState": "steps",
    "Worker": "worker",
    "chain_of": "steps",
    "expanded": "expanding",
    "key_of": "steps",
    "parse": "dockerfile",
    "plan": "dockerfile",
    "proxy_environment": "dockerfile",
    "solve": "solver",
}

__all__ = [
    "Arg",
    "Base",
    "BuildAction",
    "BuildEvent",
    "BuildWarning",
    "Built",
    "CopyPart",
    "CopyStep",
    "DEFAULT_SHELL",
    "Dockerfile",
    "FileSource",
    "GivenUp",
    "Layer",
    "OnBuildEvent",
    "Plan",
    "Rules",
    "Run",
    "RunMount",
    "RunStep",
    "Solved",
    "StageState",
    "Worker",
    "chain_of",
    "expanded",
    "is_git",
    "is_url",
    "key_of",
    "parse",
    "plan",
    "proxy_environment",
    "shown_url",
    "solve",
    "url_name",
]


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
