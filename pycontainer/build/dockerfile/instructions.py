"""From statements to instructions: what each keyword takes, and what it makes of it.

One function for each keyword, in a table. Messages are BuildKit's where there is one.
Source: moby/buildkit, frontend/dockerfile/instructions/parse.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypedDict

from attrs import evolve

from pycontainer.build.dockerfile import model
from pycontainer.build.dockerfile.durations import nanoseconds
from pycontainer.build.dockerfile.flags import Flags
from pycontainer.build.dockerfile.heredocs import parse_heredoc
from pycontainer.build.dockerfile.mounts import parse_device, source_of_mount
from pycontainer.build.dockerfile.shellword import SPACES
from pycontainer.build.dockerfile.source import Problem, Source, nearest
from pycontainer.build.dockerfile.statements import Statement
from pycontainer.oci import Healthcheck

__all__ = ["KEYWORDS", "instruction", "parse_trigger"]

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_MIN_INTERVAL_NS = 1_000_000  # moby, api/types/container: MinimumDuration
_MAX_RETRIES = 2**31 - 1


class _Common(TypedDict):
    spelled: str
    source: str
    lines: model.Lines
    comments: tuple[str, ...]


def instruction(statement: Statement, source: Source) -> model.Instruction:
    """Raises: DockerfileError for an unknown keyword, or arguments and flags it does not take."""
    try:
        return _made(statement)
    except Problem as problem:
        raise source.error(problem, statement.lines) from None


def parse_trigger(statement: Statement, source: Source, lines: model.Lines) -> model.Instruction:
    """An instruction that ONBUILD of a base image adds to a stage. Args: lines, of the FROM."""
    return instruction(evolve(statement, lines=lines), source)


def _made(statement: Statement) -> model.Instruction:
    make = _MAKERS.get(statement.keyword.upper())
    if make is None:
        word = statement.keyword[:100]
        raise Problem(f"unknown instruction: {word}", suggestion=nearest(word, KEYWORDS, ignore_case=True))
    if "\0" in statement.line or (statement.is_json and any("\0" in arg for arg in statement.args)):
        raise Problem(f"{statement.keyword.upper()} cannot hold a NUL character")
    return make(statement)


def _common(statement: Statement) -> _Common:
    return {
        "spelled": statement.keyword,
        "source": statement.line.strip(SPACES),
        "lines": statement.lines,
        "comments": statement.comments,
    }


def _at_least_one(statement: Statement) -> None:
    if not statement.args:
        raise Problem(f"{statement.keyword.upper()} requires at least one argument")


def _exactly_one(statement: Statement) -> str:
    if len(statement.args) != 1:
        raise Problem(f"{statement.keyword.upper()} requires exactly one argument")
    return statement.args[0]


def _descriptions(statement: Statement) -> dict[str, str]:
    """Descriptions of stages and arguments by name: the comments above that begin with it."""
    described: dict[str, str] = {}
    for comment in statement.comments:
        name, _, text = comment.partition(" ")
        described.setdefault(name, text)
    return described


def _from(statement: Statement) -> model.From:
    args = statement.args
    is_named = len(args) == 3 and args[1].lower() == "as"
    if len(args) != 1 and not is_named:
        raise Problem("FROM requires either one or three arguments", expected="FROM IMAGE [AS NAME]")
    name = args[2].lower() if is_named else ""
    if is_named and not _STAGE_NAME.fullmatch(name):
        raise Problem(
            f'invalid name for build stage: "{args[2][:100]}", '
            "name can't start with a number or contain symbols"
        )
    flags = Flags(statement.flags, texts=("platform",))
    return model.From(
        base=args[0],
        name=name,
        name_spelled=args[2] if is_named else "",
        as_spelled=args[1] if is_named else "",
        platform=flags.text("platform"),
        comment=_descriptions(statement).get(name, ""),
        **_common(statement),
    )


def _arg(statement: Statement) -> model.Arg:
    _at_least_one(statement)
    Flags(statement.flags)
    declared = []
    described = _descriptions(statement)
    for word in statement.args:
        name, equals, value = word.partition("=")
        if not name:
            raise Problem("ARG names can not be blank")
        declared.append(
            model.Declaration(name=name, value=value if equals else None, comment=described.get(name, ""))
        )
    return model.Arg(args=tuple(declared), **_common(statement))


def _pairs(statement: Statement) -> tuple[model.Pair, ...]:
    Flags(statement.flags)
    _at_least_one(statement)
    names, values = statement.args[::2], statement.args[1::2]
    if not all(names):
        raise Problem(f"{statement.keyword.upper()} names can not be blank")
    return tuple(
        model.Pair(name=name, value=value, is_legacy=not sep)
        for name, value, sep in zip(names, values, statement.seps, strict=True)
    )


def _env(statement: Statement) -> model.Env:
    return model.Env(pairs=_pairs(statement), **_common(statement))


def _label(statement: Statement) -> model.Label:
    return model.Label(pairs=_pairs(statement), **_common(statement))


def _maintainer(statement: Statement) -> model.Maintainer:
    name = _exactly_one(statement)
    Flags(statement.flags)
    return model.Maintainer(name=name, **_common(statement))


def _command(statement: Statement) -> model.Command:
    if statement.is_json:
        return model.Command(words=statement.args, is_shell=False)
    return model.Command(
        words=statement.args,
        is_shell=True,
        heredocs=statement.heredocs,
        is_heredoc=bool(statement.heredocs) and _document(statement.args[0]) is not None,
    )


def _document(word: str) -> model.Heredoc | None:
    if "<<" not in word:
        return None  # as nearly every word
    try:
        return parse_heredoc(word)
    except Problem:
        return None


def _run(statement: Statement) -> model.Run:
    if not statement.flags:
        return model.Run(command=_command(statement), **_common(statement))
    flags = Flags(statement.flags, texts=("network", "security"), lists=("mount", "device"))
    network = flags.text("network", "default")
    if network not in {"default", "host", "none"}:
        raise Problem(f'invalid network mode "{network[:100]}"', expected="default, none or host")
    security = flags.text("security", "sandbox")
    if security not in {"insecure", "sandbox"}:
        raise Problem(f'security "{security[:100]}" is not valid', expected="sandbox or insecure")
    return model.Run(
        command=_command(statement),
        mount_flags=flags.all("mount"),
        mounts=tuple(source_of_mount(flag) for flag in flags.all("mount")),
        network=network,
        security=security,
        devices=tuple(parse_device(flag) for flag in flags.all("device")),
        **_common(statement),
    )


class _Transfer(TypedDict):
    sources: tuple[str, ...]
    files: tuple[model.InlineFile, ...]
    destination: str


def _transfer(statement: Statement) -> _Transfer:
    """Sources and destination of COPY and ADD."""
    keyword = statement.keyword.upper()
    if not statement.is_json and _document(statement.args[-1]) is not None:
        raise Problem(f"{keyword} cannot accept a heredoc as a destination")
    contents = {document.name: document for document in statement.heredocs}
    sources, files = [], []
    for word in statement.args[:-1]:
        document = None if statement.is_json else _document(word)
        if document is None:
            sources.append(word)
        else:
            text = evolve(contents.get(document.name, document), strips_tabs=document.strips_tabs).text
            files.append(model.InlineFile(path=document.name, content=text, is_expanded=document.is_expanded))
    return {"sources": tuple(sources), "files": tuple(files), "destination": statement.args[-1]}


def _needs_destination(statement: Statement) -> None:
    if len(statement.args) < 2:
        raise Problem(
            f"{statement.keyword.upper()} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )


def _copy(statement: Statement) -> model.Copy:
    _needs_destination(statement)
    flags = Flags(
        statement.flags,
        texts=("chown", "from", "chmod"),
        switches=("link", "parents"),
        lists=("exclude",),
    )
    return model.Copy(
        from_stage=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.switch("link")),
        parents=bool(flags.switch("parents")),
        excludes=flags.all("exclude"),
        **_transfer(statement),
        **_common(statement),
    )


def _add(statement: Statement) -> model.Add:
    _needs_destination(statement)
    flags = Flags(
        statement.flags,
        texts=("chown", "chmod", "checksum"),
        switches=("link", "keep-git-dir", "unpack"),
        lists=("exclude",),
    )
    return model.Add(
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.switch("link")),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.switch("keep-git-dir"),
        unpack=flags.switch("unpack"),
        excludes=flags.all("exclude"),
        **_transfer(statement),
        **_common(statement),
    )


def _cmd(statement: Statement) -> model.Cmd:
    Flags(statement.flags)
    return model.Cmd(command=_command(statement), **_common(statement))


def _entrypoint(statement: Statement) -> model.Entrypoint:
    Flags(statement.flags)
    return model.Entrypoint(command=_command(statement), **_common(statement))


def _healthcheck(statement: Statement) -> model.HealthCheck:
    _at_least_one(statement)
    kind, command = statement.args[0].upper(), statement.args[1:]
    if kind == "NONE":
        if command:
            raise Problem("HEALTHCHECK NONE takes no arguments")
        return model.HealthCheck(healthcheck=Healthcheck(test=("NONE",)), **_common(statement))
    times = ("interval", "timeout", "start-period", "start-interval")
    flags = Flags(statement.flags, texts=(*times, "retries"))
    if kind != "CMD":
        raise Problem(f'Unknown type "{kind[:100]}" in HEALTHCHECK (try CMD)')
    if not command:
        raise Problem("Missing command after HEALTHCHECK CMD")
    interval, timeout, start_period, start_interval = (_interval(name, flags.text(name)) for name in times)
    healthcheck = Healthcheck(
        test=("CMD", *command) if statement.is_json else ("CMD-SHELL", *command),
        interval_ns=interval,
        timeout_ns=timeout,
        start_period_ns=start_period,
        start_interval_ns=start_interval,
        retries=_retries(flags.text("retries")),
    )
    return model.HealthCheck(healthcheck=healthcheck, **_common(statement))


def _interval(name: str, text: str) -> int:
    duration = nanoseconds(text) if text else 0
    if duration and duration < _MIN_INTERVAL_NS:
        raise Problem(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text or "0") or int(text or 0) > _MAX_RETRIES:
        raise Problem(f"invalid --retries {text[:100]}", expected="a whole number")
    if int(text or 0) < 0:
        raise Problem(f"--retries cannot be negative ({text})")
    return int(text or 0)


def _expose(statement: Statement) -> model.Expose:
    _at_least_one(statement)
    Flags(statement.flags)
    return model.Expose(ports=tuple(sorted(statement.args)), **_common(statement))


def _volume(statement: Statement) -> model.Volume:
    _at_least_one(statement)
    Flags(statement.flags)
    paths = tuple(path.strip(SPACES) for path in statement.args)
    if not all(paths):
        raise Problem("VOLUME specified can not be an empty string")
    return model.Volume(paths=paths, **_common(statement))


def _user(statement: Statement) -> model.User:
    user = _exactly_one(statement)
    Flags(statement.flags)
    return model.User(user=user, **_common(statement))


def _workdir(statement: Statement) -> model.Workdir:
    path = _exactly_one(statement)
    Flags(statement.flags)
    return model.Workdir(path=path, **_common(statement))


def _stopsignal(statement: Statement) -> model.StopSignal:
    return model.StopSignal(signal=_exactly_one(statement), **_common(statement))


def _shell(statement: Statement) -> model.Shell:
    Flags(statement.flags)
    _at_least_one(statement)
    if not statement.is_json:
        raise Problem("SHELL requires the arguments to be in JSON form", expected='["/bin/sh", "-c"]')
    return model.Shell(words=statement.args, **_common(statement))


def _onbuild(statement: Statement) -> model.OnBuild:
    if statement.child is None:
        _at_least_one(statement)
    assert statement.child is not None
    Flags(statement.flags)
    keyword = statement.child.keyword.upper()
    if keyword == "ONBUILD":
        raise Problem("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in {"MAINTAINER", "FROM"}:
        raise Problem(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = _ONBUILD.sub("", statement.line, count=1)
    trigger += "".join(f"\n{document.content}{document.name}" for document in statement.heredocs)
    return model.OnBuild(trigger=trigger, **_common(statement))


_MAKERS: dict[str, Callable[[Statement], model.Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
KEYWORDS = tuple(_MAKERS)
