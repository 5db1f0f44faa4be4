"""Build checks: what the text alone shows, and which findings are reported.

`# check=skip=RULE,RULE;error=true;experimental=RULE` chooses for a file (`all` for every rule), the same in
a comment directly above an instruction for that instruction.
Source: moby/buildkit, frontend/dockerfile/linter/linter.go and dockerfile2llb/validations.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from attrs import frozen

from pycontainer.build.dockerfile.flags import truth
from pycontainer.build.dockerfile.model import (
    Arg,
    BuildWarning,
    Dockerfile,
    From,
    Instruction,
    Lines,
    Maintainer,
)
from pycontainer.build.dockerfile.rules import warning
from pycontainer.build.dockerfile.source import Problem, Source
from pycontainer.errors import DockerfileError

__all__ = ["CHECK_ARG", "Checks", "check_file", "check_instruction", "reported"]

CHECK_ARG = "BUILDKIT_DOCKERFILE_CHECK"  # a build argument that stands above the directive
RESERVED_STAGES = frozenset({"context", "scratch"})
_COMMENT = re.compile(r"check\s*=\s*(?P<options>\S+)")


@frozen(kw_only=True)
class _Choice:
    """What is reported. Each set may hold "all"."""

    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False

    def takes(self, found: BuildWarning) -> bool:
        if found.is_experimental:
            return bool(self.experimental & {"all", found.rule})
        return not self.skipped & {"all", found.rule}

    def merged(self, other: _Choice) -> _Choice:
        return _Choice(
            skipped=self.skipped | other.skipped,
            experimental=self.experimental | other.experimental,
            is_error=self.is_error,
        )


class Checks:
    """Collects the findings of one build."""

    def __init__(self, dockerfile: Dockerfile, build_args: Mapping[str, str]) -> None:
        """Raises: DockerfileError for a check directive that is not understood."""
        directive = dockerfile.directives.get("check")
        text = directive.value.split(" ")[0] if directive else ""
        self._source = Source(filename=dockerfile.filename, text=dockerfile.text)
        with self._source.at(directive.lines if directive else Lines(first=0, last=0)):
            self._choice = _choice(build_args.get(CHECK_ARG, text))
        self._found: dict[BuildWarning, None] = {}
        comments = {made.lines: made.comments for made in dockerfile.instructions() if made.comments}
        self._local = {
            lines: choice for lines, texts in comments.items() if (choice := _of_comments(texts)) is not None
        }
        choices = (self._choice, *self._local.values())
        self._experimental = frozenset(rule for choice in choices for rule in choice.experimental)
        self.add(dockerfile.warnings)

    def add(self, found: Iterable[BuildWarning]) -> None:
        """Report those that are wanted; the same one twice is one."""
        for item in found:
            local = self._local.get(item.lines)
            choice = self._choice.merged(local) if local else self._choice
            if choice.takes(item):
                self._found[item] = None

    def wants(self, experimental: str) -> bool:
        """Whether an experimental rule is asked for anywhere; spares the work of one that is not."""
        return bool(self._experimental & {"all", experimental})

    @property
    def warnings(self) -> tuple[BuildWarning, ...]:
        """What was found, in the order of the file."""
        return tuple(sorted(self._found, key=lambda found: found.lines.first))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have an error of the Dockerfile carry what was found until then."""
        try:
            yield
        except DockerfileError as error:
            error.warnings = self.warnings
            raise

    def enforce(self) -> None:
        """Raises: DockerfileError where something was found and the file says `error=true`."""
        if not self._choice.is_error or not self._found:
            return
        rules = ", ".join(sorted({found.rule for found in self._found}))
        raise self._source.error(f"lint violation found for rules: {rules}", self.warnings[0].lines)


def reported(dockerfile: Dockerfile) -> tuple[BuildWarning, ...]:
    """The findings in a file, or in the part of it that could be read, that it wants to be told of."""
    try:
        return Checks(dockerfile, {}).warnings
    except DockerfileError:
        return ()  # its directive is wrong, too, and says nothing


def _choice(text: str) -> _Choice:
    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error = False
    for part in text.strip().split(";") if text.strip() else ():
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in {"skip", "error", "experimental"}:
            wanted = "skip=RULE,…, error=true or experimental=RULE,…"
            raise Problem(f'invalid check option "{part[:100]}"', expected=wanted)
        names = frozenset(name.strip() for name in value.split(","))
        if key == "error":
            is_error = truth("check option error", value)
        elif key == "skip":
            skipped = names
        else:
            experimental = names
    return _Choice(skipped=skipped, experimental=experimental, is_error=is_error)


def _of_comments(comments: tuple[str, ...]) -> _Choice | None:
    choice: _Choice | None = None
    for comment in comments:
        match = _COMMENT.match(comment)
        try:
            if match:
                choice = (choice or _Choice()).merged(_choice(match["options"]))
        except Problem:
            continue  # a comment like any other
    return choice


def check_instruction(made: Instruction, *, has_empty_lines: bool) -> list[BuildWarning]:
    """What an instruction shows without the rest of the file."""
    found: list[BuildWarning] = []
    lines = made.lines
    if has_empty_lines:
        found.append(warning("NoEmptyContinuation", Lines(first=lines.last, last=lines.last)))
    if isinstance(made, From):
        if made.name_spelled != made.name:
            found.append(warning("StageNameCasing", lines, made.name_spelled))
        if made.as_spelled and not _cases_match(made.spelled, made.as_spelled):
            found.append(warning("FromAsCasing", lines, made.as_spelled, made.spelled))
        if made.name:
            found += _undescribed(made, "FROM", (made.name_spelled,))
    elif isinstance(made, Maintainer):
        found.append(warning("MaintainerDeprecated", lines))
    elif isinstance(made, Arg):
        found += _undescribed(made, "ARG", tuple(declared.name for declared in made.args))
    return found


def _cases_match(keyword: str, other: str) -> bool:
    # A keyword of mixed case says nothing, and is found by another rule.
    if keyword.islower():
        return other.islower()
    return other.isupper() if keyword.isupper() else True


def _undescribed(made: Instruction, keyword: str, names: tuple[str, ...]) -> list[BuildWarning]:
    if not made.comments or made.comments[-1].split(" ")[0] in names:
        return []
    example = names[0] if len(names) == 1 else "<arg_key>"
    return [warning("InvalidDefinitionDescription", made.lines, keyword, example)]


def check_file(dockerfile: Dockerfile) -> list[BuildWarning]:
    """What the stages and the spelling of all keywords show."""
    found = []
    names: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name in RESERVED_STAGES:
            found.append(warning("ReservedStageName", stage.start.lines, stage.name))
        if stage.name and stage.name in names:
            found.append(warning("DuplicateStageName", stage.start.lines, stage.name))
        names.add(stage.name)
    made = [item for stage in dockerfile.stages for item in (stage.start, *stage.instructions)]
    lower = sum(item.spelled.islower() for item in made)
    is_lower = lower > sum(item.spelled.isupper() for item in made)
    for item in made:
        if not (item.spelled.islower() if is_lower else item.spelled.isupper()):
            majority = "lowercase" if is_lower else "uppercase"
            found.append(warning("ConsistentInstructionCasing", item.lines, item.spelled, majority))
    return found
