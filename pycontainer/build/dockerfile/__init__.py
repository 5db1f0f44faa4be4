"""The language of Dockerfiles: from text to what an executor does, step by step. No I/O.

1. `parse(text)` gives a `Dockerfile`: directives, global ARGs, and stages of frozen instructions with
   their variables unexpanded.
2. `plan(dockerfile, target=…, build_args=…)` gives a `Plan`. `Plan.stages` are the stages the target needs,
   each after what it needs; base and sources of each are resolved to a stage, an image, a named
   context or scratch. Once the config of a base image is known, `Plan.with_triggers` puts its ONBUILD
   triggers in front of the stage, and gives a plan that may need more stages.
3. `Plan.evaluate(configs)` gives the `Step`s of each stage: instructions with their variables expanded,
   which variables that read, and the environment of each RUN. It depends on the configs of the base
   images only, so all of it happens before anything is run.
4. `Plan.checks.warnings` are the findings of BuildKit's build checks.

Everything wrong with the text is a `DockerfileError` with file, line and text.
"""

from pycontainer.build.dockerfile.model import (
    NOWHERE,
    SCRIPT_DIRECTORY,
    Add,
    Arg,
    BuildWarning,
    Cmd,
    Command,
    Copy,
    Declaration,
    Device,
    Directive,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Heredoc,
    InlineFile,
    Instruction,
    Label,
    Lines,
    Maintainer,
    Mount,
    OnBuild,
    Pair,
    Run,
    Shell,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from pycontainer.build.dockerfile.names import Base
from pycontainer.build.dockerfile.parser import parse
from pycontainer.build.dockerfile.plan import Plan, PlannedStage, plan
from pycontainer.build.dockerfile.rules import RULES, Rule
from pycontainer.build.dockerfile.scope import DEFAULT_PATH, Scope, Step
from pycontainer.build.dockerfile.variables import SCAN_CONTEXT, SCAN_STAGE, Variables, proxy_environment

__all__ = [
    "DEFAULT_PATH",
    "NOWHERE",
    "RULES",
    "SCAN_CONTEXT",
    "SCAN_STAGE",
    "SCRIPT_DIRECTORY",
    "Add",
    "Arg",
    "Base",
    "BuildWarning",
    "Cmd",
    "Command",
    "Copy",
    "Declaration",
    "Device",
    "Directive",
    "Dockerfile",
    "Entrypoint",
    "Env",
    "Expose",
    "From",
    "HealthCheck",
    "Heredoc",
    "InlineFile",
    "Instruction",
    "Label",
    "Lines",
    "Maintainer",
    "Mount",
    "OnBuild",
    "Pair",
    "Plan",
    "PlannedStage",
    "Rule",
    "Run",
    "Scope",
    "Shell",
    "Stage",
    "Step",
    "StopSignal",
    "User",
    "Variables",
    "Volume",
    "Workdir",
    "parse",
    "plan",
    "proxy_environment",
]
