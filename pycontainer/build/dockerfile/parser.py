"""A whole Dockerfile: statements to instructions, instructions to stages."""

from __future__ import annotations

from attrs import evolve

from pycontainer.build.dockerfile.checks import check_file, check_instruction
from pycontainer.build.dockerfile.instructions import instruction, parse_trigger
from pycontainer.build.dockerfile.limits import MAX_STAGES
from pycontainer.build.dockerfile.model import Arg, Dockerfile, From, Instruction, Lines, Stage
from pycontainer.build.dockerfile.source import Source
from pycontainer.build.dockerfile.statements import statements

__all__ = ["parse", "trigger"]


def parse(text: str | bytes, filename: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile.

    Args: text, UTF-8 where it is bytes; filename, for messages.
    Raises: DockerfileError with the place of the first thing that is wrong.
    """
    if isinstance(text, bytes):
        # What is not UTF-8 may stand in comments; an instruction that holds such bytes is refused.
        text = text.decode("utf-8", "surrogateescape")
    split = statements(text, filename)
    source = split.source
    warnings = []
    global_args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for statement in split.items:
        made = instruction(statement, source)
        warnings += check_instruction(made, has_empty_lines=statement.has_empty_lines)
        if isinstance(made, From):
            stages.append((made, []))
        elif stages:
            stages[-1][1].append(made)
        elif isinstance(made, Arg):
            global_args.append(made)
        else:
            raise source.error("no build stage in current context; a Dockerfile begins with FROM", made.lines)
    if not stages:
        raise source.error("dockerfile contains no stages to build", Lines(first=0, last=0))
    if len(stages) > MAX_STAGES:
        raise source.error(f"more than {MAX_STAGES} stages", stages[MAX_STAGES][0].lines)
    made_stages = tuple(
        Stage(index=index, start=start, instructions=tuple(instructions))
        for index, (start, instructions) in enumerate(stages)
    )
    dockerfile = Dockerfile(
        filename=filename,
        text=source.text,
        escape=split.escape,
        directives=split.directives,
        global_args=tuple(global_args),
        stages=made_stages,
    )
    return evolve(dockerfile, warnings=(*warnings, *check_file(dockerfile)))


def trigger(text: str, stage: Stage, source: Source) -> Instruction:
    """An ONBUILD trigger of the base of a stage, as an instruction of it.

    Raises: DockerfileError at the stage's FROM, for whoever builds on the image sees only that.
    """
    lines = stage.start.lines
    split = statements(text, f"{source.filename} (ONBUILD of {stage.start.base})")
    if len(split.items) != 1:
        raise source.error("onbuild trigger should be a single expression", lines)
    made = parse_trigger(split.items[0], source, lines)
    if isinstance(made, From) or made.keyword in {"ONBUILD", "MAINTAINER"}:
        raise source.error(f"{made.keyword} isn't allowed as an ONBUILD trigger", lines)
    return made
