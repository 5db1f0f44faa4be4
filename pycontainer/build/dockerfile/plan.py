"""Which stages a target needs, what each is built on and copies from, and its instructions expanded.

Source: moby/buildkit, frontend/dockerfile/dockerfile2llb/convert.go and validations.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from pycontainer.build.dockerfile import model
from pycontainer.build.dockerfile.checks import Checks
from pycontainer.build.dockerfile.flags import TRUE
from pycontainer.build.dockerfile.names import Base, Names, reference_of
from pycontainer.build.dockerfile.parser import trigger
from pycontainer.build.dockerfile.rules import warning
from pycontainer.build.dockerfile.scope import Given, Ignored, Scope, Step
from pycontainer.build.dockerfile.source import Problem, Source, nearest
from pycontainer.build.dockerfile.variables import Budget, Variables
from pycontainer.errors import DockerfileError, InvalidInput
from pycontainer.oci import ContainerConfig, Platform

__all__ = ["Plan", "PlannedStage", "plan"]


@frozen(kw_only=True)
class PlannedStage:
    """One stage of a plan.

    Attributes: stage, base, platform (of `--platform`, else None: the target's), instructions (ONBUILD
    triggers first, then its own; none where a named context replaces the stage), triggers (how many of
    them are triggers), sources (what each name in `COPY --from` and `RUN --mount=from` means), needs
    (numbers of the stages it waits for).
    """

    stage: model.Stage
    base: Base
    platform: Platform | None = None
    instructions: tuple[model.Instruction, ...] = ()
    triggers: int = 0
    sources: Mapping[str, Base]

    @property
    def index(self) -> int:
        return self.stage.index

    @property
    def needs(self) -> frozenset[int]:
        used = (self.base, *self.sources.values())
        return frozenset(base.stage for base in used if base.stage is not None)


@frozen(kw_only=True)
class Plan:
    """What to build. Attributes: target (the number of its stage), variables, checks (findings so far)."""

    target: int
    variables: Variables
    checks: Checks = field(repr=False)
    _stages: tuple[PlannedStage, ...] = field(repr=False)
    _given: Given = field(repr=False)
    _names: Names = field(repr=False)
    _is_whole: bool = field(repr=False)

    @property
    def stages(self) -> tuple[PlannedStage, ...]:
        """The stages the target needs, each after all that it needs itself."""
        if self._is_whole:
            return self._stages
        needed: set[int] = set()
        waiting = [self.target]
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting += self._stages[index].needs
        found = tuple(planned for planned in self._stages if planned.index in needed)
        for planned in found:
            self._check_order(planned)
        return found

    @property
    def global_args(self) -> Mapping[str, str]:
        """The values that FROM sees: of platform ARGs, of ARGs above the first stage, of build arguments."""
        return self._given.global_args

    def stage(self, index: int) -> PlannedStage:
        """A stage by its number."""
        return self._stages[index]

    def _check_order(self, planned: PlannedStage) -> None:
        for name, base in planned.sources.items():
            if base.stage is not None and base.stage >= planned.index:
                user = next(made for made in planned.instructions if name in _taken_from(made))
                verb = "copy" if isinstance(user, model.Copy) else "mount"
                problem = (
                    f'cannot {verb} from stage "{name}", it needs to be defined before current stage '
                    f'"{planned.stage.title}"'
                )
                raise self._given.source.error(problem, user.lines)

    def with_triggers(self, index: int, on_build: Sequence[str]) -> Plan:
        """The plan with the ONBUILD triggers of a base image in front of the stage upon it.

        They may need stages that the plan did not hold before. The image that is built does not keep them.
        Raises: DockerfileError at the FROM for a trigger that is no instruction or not allowed.
        """
        if not on_build:
            return self
        planned = _triggered(self._stages[index], on_build, self._names, self._given)
        stages = (*self._stages[:index], planned, *self._stages[index + 1 :])
        _check_circles(stages, self._given.source)
        return evolve(self, stages=stages)

    def _scope(self, index: int, config: ContainerConfig | None, base: Scope | None) -> Scope:
        """The scope at the start of a stage. base: that at the end of the stage below."""
        config = config or ContainerConfig()
        try:
            return Scope(self._given, env=config.env, has_shell=bool(config.shell), base=base)
        except Problem as problem:
            raise self._given.source.error(problem, self._stages[index].stage.start.lines) from None

    def evaluate(self, configs: Mapping[int, ContainerConfig]) -> dict[int, tuple[Step, ...]]:
        """The steps of every stage, by its number; nothing needs to have run for that.

        Args: configs, of the base images, by the number of the stage upon them.
        Raises: DockerfileError; also where checks found something and the Dockerfile makes that an error.
        """
        scopes: dict[int, Scope] = {}
        steps: dict[int, tuple[Step, ...]] = {}
        with self.checks.told():
            for planned in self.stages:
                below = scopes[planned.base.stage] if planned.base.stage is not None else None
                scope = self._scope(planned.index, configs.get(planned.index), below)
                steps[planned.index] = tuple(
                    scope.step(made, is_trigger=number < planned.triggers)
                    for number, made in enumerate(planned.instructions)
                )
                scopes[planned.index] = scope
            self.checks.enforce()
        return steps

    def scanned(self, name: str, steps: Mapping[int, Sequence[Step]]) -> tuple[int, ...]:
        """The stages for which an ARG that steers the scanner of software is on.

        name: SCAN_STAGE or SCAN_CONTEXT. steps: as `evaluate` gives them. The ARG is a global one or the
        stage's own; its value is true, false, or names of stages with commas between them.
        Source: docs.docker.com/build/metadata/attestations/sbom, "Arguments".
        """
        found = []
        for planned in self.stages:
            value = self._given.global_args.get(name, "")
            for step in steps[planned.index]:
                if isinstance(step.instruction, model.Arg):
                    own = [each.value for each in step.instruction.args if each.name == name]
                    value = next((text for text in reversed(own) if text is not None), value)
            if value in TRUE or planned.stage.title in value.lower().split(","):
                found.append(planned.index)
        return tuple(found)

    def check_base_platform(self, index: int, found: Platform) -> None:
        """Note whether the base image of a stage is for another platform than the stage."""
        planned = self._stages[index]
        expected = (planned.platform or self.variables.target_platform).normalized()
        found = found.normalized()
        if (expected.os, expected.architecture) != (found.os, found.architecture):
            words = planned.base.name, str(found), str(expected)
            self.checks.add([warning("InvalidBaseImagePlatform", planned.stage.start.lines, *words)])

    def error(self, problem: str, lines: model.Lines) -> DockerfileError:
        """An error at a place of the Dockerfile, for what an executor finds wrong there."""
        return self._given.source.error(problem, lines)


def plan(
    dockerfile: model.Dockerfile,
    *,
    target: str = "",
    build_args: Mapping[str, str] | None = None,
    build_platform: Platform | None = None,
    target_platform: Platform | None = None,
    contexts: Collection[str] = (),
    ignored: Ignored | None = None,
    all_stages: bool = False,
) -> Plan:
    """Find out what to build.

    Args: target, a stage's name or number, the last stage by default; contexts, the names of the named
    contexts, which replace stages and images of the same name; ignored, what `.dockerignore` leaves out;
    all_stages, plan the stages too that the target does not need. Platforms are the host's by default.
    Raises: DockerfileError for a base that is no reference, a platform, target or stage that does not
    exist, stages that need each other.
    """
    source = Source(filename=dockerfile.filename, text=dockerfile.text)
    host = build_platform or Platform.host()
    index = _target(dockerfile, target, source)
    variables = Variables(
        build_args=dict(build_args or {}),
        build_platform=host,
        target_platform=target_platform or host,
        target_stage=target or dockerfile.stages[-1].name,
    )
    checks = Checks(dockerfile, variables.build_args)
    budget = Budget()
    with checks.told():
        global_args, declared = _global_args(dockerfile, variables, variables.build_args, budget, source)
        _check_defaults(dockerfile, variables, checks, source)
        given = Given(
            source=source,
            escape=dockerfile.escape,
            build_args=variables.build_args,
            global_args=global_args,
            checks=checks,
            budget=budget,
            ignored=ignored,
        )
        names = Names.of(dockerfile, contexts)
        stages = tuple(_planned_stages(dockerfile, names, given, declared))
        _check_circles(stages, source)
    return Plan(
        target=index,
        variables=variables,
        checks=checks,
        stages=stages,
        given=given,
        names=names,
        is_whole=all_stages,
    )


def _target(dockerfile: model.Dockerfile, target: str, source: Source) -> int:
    if not target:
        return len(dockerfile.stages) - 1
    names = {stage.name: stage.index for stage in dockerfile.stages if stage.name}
    if target.lower() in names:
        return names[target.lower()]
    if target.isascii() and target.isdigit() and int(target[:9]) < len(dockerfile.stages):
        return int(target)
    problem = Problem(f'target stage "{target[:100]}" could not be found', suggestion=nearest(target, names))
    raise source.error(problem, model.NOWHERE)


def _global_args(
    dockerfile: model.Dockerfile,
    variables: Variables,
    build_args: Mapping[str, str],
    budget: Budget,
    source: Source,
) -> tuple[dict[str, str], set[str]]:
    """The values that FROM sees, and the names that are declared whether they have a value or not."""
    values = variables.predefined()
    declared = set(values)
    for made in dockerfile.global_args:
        for argument in made.args:
            declared.add(argument.name)
            value = build_args.get(argument.name)
            if value is None and argument.value is not None:
                try:
                    value = budget.expand(argument.value, values, dockerfile.escape).text
                except Problem as problem:
                    raise source.error(problem, made.lines) from None
            if value is not None:
                values[argument.name] = value
    return values, declared


def _check_defaults(
    dockerfile: model.Dockerfile, variables: Variables, checks: Checks, source: Source
) -> None:
    """Find bases that are no image's name unless a build argument is given."""
    budget = Budget()
    try:
        values, _ = _global_args(dockerfile, variables, {}, budget, source)
        for stage in dockerfile.stages:
            name = budget.expand(stage.start.base, values, dockerfile.escape).text
            if reference_of(name) is None:
                checks.add([warning("InvalidDefaultArgInFrom", stage.start.lines, stage.start.base)])
    except (Problem, DockerfileError):
        return  # the build itself says what is wrong, where it is


def _planned_stages(
    dockerfile: model.Dockerfile, names: Names, given: Given, declared: set[str]
) -> Iterator[PlannedStage]:
    above: dict[str, int] = {}
    planned: list[PlannedStage] = []
    for stage in dockerfile.stages:
        base_name = _expanded(stage.start.base, stage, given, declared)[0]
        if not base_name:
            problem = f"base name ({stage.start.base[:100]}) should not be blank"
            raise given.source.error(problem, stage.start.lines)
        platform = _stage_platform(stage, given, declared)
        base = names.base(base_name, above)
        is_replaced = stage.name and stage.name in names.contexts
        if is_replaced:
            base = Base(kind="context", name=stage.name)
        elif base.kind == "image" and reference_of(base_name) is None:
            problem = f'failed to parse stage name "{base_name[:200]}": invalid reference format'
            raise given.source.error(problem, stage.start.lines)
        instructions = () if is_replaced else stage.instructions
        planned.append(
            PlannedStage(stage=stage, base=base, platform=platform, instructions=instructions, sources={})
        )
        if stage.name:
            above[stage.name] = stage.index
    for item in planned:
        sources = _sources(item.instructions, names, given)
        item = evolve(item, sources=sources)
        below = dockerfile.stages[item.base.stage] if item.base.stage is not None else None
        texts = (
            [made.trigger for made in below.instructions if isinstance(made, model.OnBuild)] if below else []
        )
        yield _triggered(item, texts, names, given) if texts else item


def _expanded(
    word: str, stage: model.Stage, given: Given, declared: set[str]
) -> tuple[str, frozenset[str], frozenset[str]]:
    """A word of FROM after expansion, and the variables used and missing."""
    lines = stage.start.lines
    try:
        found = given.budget.expand(word, given.global_args, given.escape)
    except Problem as problem:
        raise given.source.error(problem, lines) from None
    for name in sorted(found.missing - declared):
        near = nearest(name, declared) if len(declared) < 500 else ""
        words = name, f" (did you mean {near}?)" if near else ""
        given.checks.add([warning("UndefinedArgInFrom", lines, *words)])
    return found.text, found.used, found.missing


def _stage_platform(stage: model.Stage, given: Given, declared: set[str]) -> Platform | None:
    written, lines = stage.start.platform, stage.start.lines
    if not written:
        return None
    text, used, missing = _expanded(written, stage, given, declared)
    near = next((near for name in sorted(missing) if (near := nearest(name, declared))), "")
    if not text:
        problem = f"empty platform value from expression {written[:100]}"
        raise given.source.error(Problem(problem, suggestion=near), lines)
    try:
        platform = Platform.parse(text)
    except InvalidInput as error:
        problem = f"failed to parse platform {written[:100]}: {error}"
        raise given.source.error(Problem(problem, suggestion=near), lines) from None
    if used == {"TARGETPLATFORM"} and not missing and text == given.global_args["TARGETPLATFORM"]:
        given.checks.add([warning("RedundantTargetPlatform", lines, written)])
    is_in_name = platform.os in stage.name or platform.architecture in stage.name
    if not used and not missing and not is_in_name:
        given.checks.add([warning("FromPlatformFlagConstDisallowed", lines, text)])
    return platform


def _taken_from(made: model.Instruction) -> list[str]:
    """The stages, images and contexts an instruction takes files from."""
    if isinstance(made, model.Copy):
        return [made.from_stage] if made.from_stage else []
    if isinstance(made, model.Run):
        return [mount.from_stage for mount in made.mounts if mount.from_stage]
    return []


def _sources(instructions: Iterable[model.Instruction], names: Names, given: Given) -> dict[str, Base]:
    sources: dict[str, Base] = {}
    for made in instructions:
        for name in _taken_from(made):
            if name in sources:
                continue
            try:
                if given.budget.expand(name, {}, given.escape).text != name:
                    raise Problem(
                        "variable expansion is not supported for --from, "
                        "define a new stage with FROM using ARG from global scope as a workaround"
                    )
                sources[name] = names.source(name)
            except Problem as problem:
                raise given.source.error(problem, made.lines) from None
    return sources


def _triggered(planned: PlannedStage, texts: Sequence[str], names: Names, given: Given) -> PlannedStage:
    made = tuple(trigger(text, planned.stage, given.source) for text in texts)
    sources = _sources(made, names, given)
    return evolve(
        planned,
        instructions=(*made, *planned.instructions),
        triggers=planned.triggers + len(made),
        sources={**sources, **planned.sources},
    )


def _check_circles(stages: Sequence[PlannedStage], source: Source) -> None:
    """Raises: DockerfileError for a stage that copies from itself, however far around."""
    finished: set[int] = set()
    for start in stages:
        path: list[tuple[int, Iterator[int]]] = [(start.index, _copied_from(start))]
        entered = {start.index}
        while path and start.index not in finished:
            index, following = path[-1]
            next_index = next(following, None)
            if next_index is None:
                path.pop()
                entered.discard(index)
                finished.add(index)
            elif next_index in entered:
                title = stages[next_index].stage.title
                user = next(made for made in stages[index].instructions if _taken_from(made))
                raise source.error(f"circular dependency detected on stage: {title}", user.lines)
            elif next_index not in finished:
                entered.add(next_index)
                path.append((next_index, _copied_from(stages[next_index])))


def _copied_from(planned: PlannedStage) -> Iterator[int]:
    return iter(sorted({base.stage for base in planned.sources.values() if base.stage is not None}))
