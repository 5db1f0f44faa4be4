"""The variables of a stage, and its instructions expanded one after the other.

ENV and ARG write to one scope in the order they stand, as in BuildKit: the later one wins. An
instruction sees the values from before it. A stage on top of another continues with its scope.
Source: moby/buildkit, frontend/dockerfile/dockerfile2llb/convert.go; docs.docker.com/reference/dockerfile.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from attrs import Factory, evolve, frozen

from pycontainer.build.dockerfile import model
from pycontainer.build.dockerfile.checks import Checks
from pycontainer.build.dockerfile.mounts import parse_mount
from pycontainer.build.dockerfile.ports import parse_ports
from pycontainer.build.dockerfile.rules import warning
from pycontainer.build.dockerfile.source import Problem, Source, nearest
from pycontainer.build.dockerfile.variables import NOT_IN_ENVIRONMENT, Budget
from pycontainer.options import parse_signal

__all__ = ["DEFAULT_PATH", "Given", "Ignored", "Scope", "Step"]

# What a RUN and the image get where the base image sets none; moby/buildkit, util/system.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|git|ssh)://|git@[^/]+:")
_LOOKUP_COST = 10_000  # characters that one look at an ignore file counts as
_PORT_COST = 100  # characters that one port counts as
_MAX_SUGGESTING = 500  # names among which a misspelt variable is still looked for


class Ignored(Protocol):
    """What a `.dockerignore` leaves out; for one check only."""

    @property
    def has_negations(self) -> bool: ...

    @property
    def ignores_everything(self) -> bool: ...

    def matches(self, path: str, /) -> bool: ...


@frozen(kw_only=True)
class Step:
    """An instruction with its variables replaced by their values.

    Attributes: instruction, used (variables whose values were read for that), environment (of a RUN: what
    ENV and ARG set so far, all of which it may use; {} for others), build_args (of a RUN: the ARGs
    declared so far with their values, as its history tells), is_trigger (came from ONBUILD).
    """

    instruction: model.Instruction
    used: frozenset[str] = frozenset()
    environment: Mapping[str, str] = Factory(dict)
    build_args: Mapping[str, str] = Factory(dict)
    is_trigger: bool = False


@frozen(kw_only=True)
class Given:
    """What every scope of a build shares. Attributes: global_args (what FROM sees), ignored."""

    source: Source
    escape: str
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    checks: Checks
    budget: Budget
    ignored: Ignored | None = None


class Scope:
    """The variables at one point of a stage; of one thread at a time."""

    def __init__(
        self,
        given: Given,
        *,
        env: Iterable[str] = (),
        has_shell: bool = False,
        base: Scope | None = None,
    ) -> None:
        """Args: env (NAME=value, of the base image), has_shell (the base image sets one), base (the
        scope of the stage below at its end, instead of both).

        Raises: Problem for a base with more variables than a build may copy.
        """
        self._given = given
        self._values: dict[str, str] = given.budget.copy(base._values if base else {})
        self._declared: dict[str, str] = given.budget.copy(base._declared if base else {})
        self._has_shell: bool = base._has_shell if base else has_shell
        self._has_workdir: bool = base._has_workdir if base else False
        self._values |= {name: value for name, _, value in (text.partition("=") for text in env)}
        self._values.setdefault("PATH", DEFAULT_PATH)
        self._once: dict[str, model.Lines] = {}
        self._used: set[str] = set()
        self._snapshot: tuple[Mapping[str, str], Mapping[str, str]] | None = None

    def step(self, instruction: model.Instruction, *, is_trigger: bool = False) -> Step:
        """Expand the next instruction.

        Raises: DockerfileError for a bad substitution, or a value that the instruction does not take.
        """
        self._used = set()
        try:
            expand = _EXPANDERS.get(type(instruction))
            made = expand(self, instruction) if expand else instruction
            environment, declared = self._surroundings() if isinstance(made, model.Run) else ({}, {})
        except Problem as problem:
            raise self._given.source.error(problem, instruction.lines) from None
        return Step(
            instruction=made,
            used=frozenset(self._used),
            environment=environment,
            build_args=declared,
            is_trigger=is_trigger,
        )

    def _surroundings(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if self._snapshot is None:
            copied = self._given.budget.copy(self._values)
            declared = self._given.budget.copy(self._declared)
            self._snapshot = copied, {name: copied.get(name, value) for name, value in declared.items()}
        return self._snapshot

    def _set(self, name: str, value: str) -> None:
        self._values[name] = value
        self._snapshot = None

    def _warn(self, rule: str, lines: model.Lines, *words: str) -> None:
        self._given.checks.add([warning(rule, lines, *words)])

    def _word(self, word: str, lines: model.Lines, *, raw: bool = False) -> str:
        if not word:
            return word
        found = self._given.budget.expand(word, self._values, self._given.escape, raw=raw)
        self._note(found.used, found.missing, lines)
        return found.text

    def _words(self, word: str, lines: model.Lines) -> tuple[str, ...]:
        found = self._given.budget.expand(word, self._values, self._given.escape)
        self._note(found.used, found.missing, lines)
        return found.words

    def _note(self, used: frozenset[str], missing: frozenset[str], lines: model.Lines) -> None:
        self._used |= used
        for name in sorted(missing - NOT_IN_ENVIRONMENT):
            if name in self._declared:
                continue
            near = nearest(name, self._values) if len(self._values) <= _MAX_SUGGESTING else ""
            self._warn("UndefinedVar", lines, name, f" (did you mean ${near}?)" if near else "")

    def _env(self, made: model.Env) -> model.Env:
        pairs = self._pairs(made.pairs, made)
        for pair in pairs:
            self._check_secret("ENV", pair.name, made.lines)
            self._set(pair.name, pair.value)
        return evolve(made, pairs=pairs)

    def _label(self, made: model.Label) -> model.Label:
        return evolve(made, pairs=self._pairs(made.pairs, made))

    def _pairs(self, pairs: tuple[model.Pair, ...], made: model.Instruction) -> tuple[model.Pair, ...]:
        if any(pair.is_legacy for pair in pairs):
            self._warn("LegacyKeyValueFormat", made.lines, made.spelled)
        return tuple(
            model.Pair(
                name=self._word(pair.name, made.lines),
                value=self._word(pair.value, made.lines),
                is_legacy=pair.is_legacy,
            )
            for pair in pairs
        )

    def _arg(self, made: model.Arg) -> model.Arg:
        args = tuple(self._declare(declared, made.lines) for declared in made.args)
        return evolve(made, args=args)

    def _declare(self, declared: model.Declaration, lines: model.Lines) -> model.Declaration:
        name, value = declared.name, declared.value
        self._check_secret("ARG", name, lines)
        if name in self._given.build_args:
            value = self._given.build_args[name]
            self._given.budget.spend(len(value))
        elif value is None:
            value = self._given.global_args.get(name)
        else:
            value = self._word(value, lines)
        if value is not None and name not in NOT_IN_ENVIRONMENT:
            self._set(name, value)
        self._declared[name] = value or ""
        self._snapshot = None
        return evolve(declared, value=value)

    def _check_secret(self, keyword: str, name: str, lines: model.Lines) -> None:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            self._warn("SecretsUsedInArgOrEnv", lines, keyword, name)

    def _run(self, made: model.Run) -> model.Run:
        mounts = tuple(
            parse_mount(flag, lambda word: self._word(word, made.lines)) for flag in made.mount_flags
        )
        return evolve(made, mounts=mounts)

    def _copy(self, made: model.Copy) -> model.Copy:
        if not made.from_stage:
            self._check_ignored("Copy", made.sources, made.lines)
        sources = self._all(made.sources, made)
        for source in sources:
            if _REMOTE.match(source):
                what = "URL" if source.startswith("http") else "git ref"
                raise Problem(f"source can't be a {what} for COPY", expected="ADD for it")
        return evolve(made, **self._carried(made, sources))

    def _add(self, made: model.Add) -> model.Add:
        self._check_ignored("Add", made.sources, made.lines)
        sources = self._all(made.sources, made)
        if made.checksum and len(sources) != 1:
            raise Problem("checksum can't be specified for multiple sources")
        if made.checksum and not _REMOTE.match(sources[0]):
            raise Problem("checksum requires HTTP(S) or Git sources")
        return evolve(made, checksum=self._word(made.checksum, made.lines), **self._carried(made, sources))

    def _carried(self, made: model.Transfer, sources: tuple[str, ...]) -> dict[str, Any]:
        """What COPY and ADD both say."""
        return {
            "sources": sources,
            "files": self._files(made.files, made),
            "destination": self._word(made.destination, made.lines),
            "chown": self._word(made.chown, made.lines),
            "chmod": self._word(made.chmod, made.lines),
            "excludes": self._all(made.excludes, made),
        }

    def _all(self, words: tuple[str, ...], made: model.Instruction) -> tuple[str, ...]:
        return tuple(self._word(word, made.lines) for word in words)

    def _files(
        self, files: tuple[model.InlineFile, ...], made: model.Instruction
    ) -> tuple[model.InlineFile, ...]:
        return tuple(
            evolve(file, content=self._word(file.content, made.lines, raw=True)) if file.is_expanded else file
            for file in files
        )

    def _check_ignored(self, keyword: str, sources: tuple[str, ...], lines: model.Lines) -> None:
        ignored = self._given.ignored
        # A negation may bring back what lies inside, which is not to be seen from here.
        if ignored is None or ignored.has_negations or not self._given.checks.wants("CopyIgnoredFile"):
            return
        self._given.budget.spend(len(sources) * _LOOKUP_COST)
        for source in sources:
            path = posixpath.normpath(source)
            is_root = path in {".", "/", "//"}
            if ignored.ignores_everything if is_root else ignored.matches(path.lstrip("/")):
                self._warn("CopyIgnoredFile", lines, keyword, path)

    def _expose(self, made: model.Expose) -> model.Expose:
        names: dict[str, None] = {}
        for text in (word for port in made.ports for word in self._words(port, made.lines)):
            ports = parse_ports(text)
            self._given.budget.spend((ports.last - ports.first) * _PORT_COST)
            if ports.is_mapped:
                self._warn("ExposeInvalidFormat", made.lines, text)
            if not ports.protocol_spelled.islower() and ports.protocol_spelled:
                self._warn("ExposeProtoCasing", made.lines, text)
            names |= dict.fromkeys(ports.names())
        return evolve(made, ports=tuple(names))

    def _volume(self, made: model.Volume) -> model.Volume:
        paths = self._all(made.paths, made)
        if not all(paths):
            raise Problem("VOLUME specified can not be an empty string")
        return evolve(made, paths=paths)

    def _user(self, made: model.User) -> model.User:
        return evolve(made, user=self._word(made.user, made.lines))

    def _workdir(self, made: model.Workdir) -> model.Workdir:
        path = self._word(made.path, made.lines)
        if not self._has_workdir and not path.startswith("/"):
            self._warn("WorkdirRelativePath", made.lines, path)
        self._has_workdir = True
        return evolve(made, path=path)

    def _stop_signal(self, made: model.StopSignal) -> model.StopSignal:
        signal = self._word(made.signal, made.lines)
        try:
            parse_signal(signal)
        except ValueError:
            raise Problem(
                f"invalid signal: {signal[:100]}", expected="a name as SIGTERM, or a number"
            ) from None
        return evolve(made, signal=signal)

    def _shell(self, made: model.Shell) -> model.Shell:
        self._has_shell = True
        return made

    def _started(self, made: model.Cmd | model.Entrypoint) -> model.Instruction:
        if made.command.is_shell and not self._has_shell:
            self._warn("JSONArgsRecommended", made.lines, made.spelled)
        return self._only_once(made)

    def _only_once(self, made: model.Instruction) -> model.Instruction:
        # The earlier one is reported, for it is the one without effect.
        if made.keyword in self._once:
            self._warn("MultipleInstructionsDisallowed", self._once[made.keyword], made.spelled)
        self._once[made.keyword] = made.lines
        return made


# mypy cannot tie the key of a table to the argument of its value.
_EXPANDERS: dict[type[model.Instruction], Callable[[Scope, model.Instruction], model.Instruction]] = {
    model.Add: Scope._add,  # type: ignore[dict-item]
    model.Arg: Scope._arg,  # type: ignore[dict-item]
    model.Cmd: Scope._started,  # type: ignore[dict-item]
    model.Copy: Scope._copy,  # type: ignore[dict-item]
    model.Entrypoint: Scope._started,  # type: ignore[dict-item]
    model.Env: Scope._env,  # type: ignore[dict-item]
    model.Expose: Scope._expose,  # type: ignore[dict-item]
    model.HealthCheck: Scope._only_once,
    model.Label: Scope._label,  # type: ignore[dict-item]
    model.Run: Scope._run,  # type: ignore[dict-item]
    model.Shell: Scope._shell,  # type: ignore[dict-item]
    model.StopSignal: Scope._stop_signal,  # type: ignore[dict-item]
    model.User: Scope._user,  # type: ignore[dict-item]
    model.Volume: Scope._volume,  # type: ignore[dict-item]
    model.Workdir: Scope._workdir,  # type: ignore[dict-item]
}
