"""A whole Dockerfile: statements to instructions, instructions to stages."""

from __future__ import annotations

from attrs import evolve

from pycontainer.build.dockerfile.checks import check_file, check_instruction, reported
from pycontainer.build.dockerfile.instructions import instruction, parse_trigger
from pycontainer.build.dockerfile.limits import MAX_STAGES
from pycontainer.build.dockerfile.model import (
    NOWHERE,
    Arg,
    BuildWarning,
    Dockerfile,
    From,
    Instruction,
    Stage,
)
from pycontainer.build.dockerfile.source import Source
from pycontainer.build.dockerfile.statements import Statements, statements
from pycontainer.errors import DockerfileError

__all__ = ["parse", "trigger"]


def parse(text: str | bytes, filename: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile.

    Args: text, UTF-8 where it is bytes; filename, for messages.
    Raises: DockerfileError with the place of the first thing that is wrong.
    """
    if isinstance(text, bytes):
        # What is not UTF-8 may stand in comments; an instruction that holds such bytes is refused.
        text = text.decode("utf-8", "surrogateescape")
    reading = _Reading(statements(text, filename))
    try:
        reading.read()
    except DockerfileError as error:
        error.warnings = reported(reading.dockerfile)
        raise
    return evolve(reading.dockerfile, warnings=(*reading.warnings, *check_file(reading.dockerfile)))


class _Reading:
    """A file as far as it was read."""

    def __init__(self, split: Statements) -> None:
        self._split = split
        self._global_args: list[Arg] = []
        self._stages: list[tuple[From, list[Instruction]]] = []
        self.warnings: list[BuildWarning] = []

    def read(self) -> None:
        """Read it all."""
        source, stages = self._split.source, self._stages
        for statement in self._split.items:
            made = instruction(statement, source)
            self.warnings += check_instruction(made, has_empty_lines=statement.has_empty_lines)
            if isinstance(made, From):
                stages.append((made, []))
            elif stages:
                stages[-1][1].append(made)
            elif isinstance(made, Arg):
                self._global_args.append(made)
            else:
                problem = "no build stage in current context; a Dockerfile begins with FROM"
                raise source.error(problem, made.lines)
        if not stages:
            raise source.error("dockerfile contains no stages to build", NOWHERE)
        if len(stages) > MAX_STAGES:
            raise source.error(f"more than {MAX_STAGES} stages", stages[MAX_STAGES][0].lines)

    @property
    def dockerfile(self) -> Dockerfile:
        """What was read."""
        return Dockerfile(
            filename=self._split.source.filename,
            text=self._split.source.text,
            escape=self._split.escape,
            directives=self._split.directives,
            global_args=tuple(self._global_args),
            stages=tuple(
                Stage(index=index, start=start, instructions=tuple(instructions))
                for index, (start, instructions) in enumerate(self._stages)
            ),
            warnings=tuple(self.warnings),
        )


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
