"""`pycontainer build --call`: what a Dockerfile says, without building it.

Source: docs.docker.com, docker buildx build, "Call a frontend method"; buildkit, frontend/subrequests.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.edge import Failed
from pycontainer.cli.formatting import tabulate
from pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from pycontainer.build import BuildWarning, Dockerfile, Plan
    from pycontainer.cli.session import Session

__all__ = ["CALLS", "call"]

CALLS = ("build", "check", "outline", "targets")
_RULE = "-" * 20
_AROUND = 2
"""Lines that are shown around those that a check speaks of."""


def call(
    session: Session,
    method: str,
    form: str,
    context: str,
    given: str | bytes | None,
    *,
    platform: str | None,
    **params: Any,
) -> int:
    """Print what is asked for, and give the exit code: 1 for a check that has found something.

    method: one of CALLS but build. form: "json" or "text". given: the Dockerfile, as of Image.build. params:
    target, build_args and contexts. Raises: DockerfileError, Failed; for a check what Image.check does.
    """
    from pycontainer.build import parse, plan

    text, filename = _text(context, given)
    if method == "check":
        from pycontainer.engine import Image

        where, which = (None, text) if context == "-" else (context, given)
        try:
            found = Image.check(where, dockerfile=which, platform=platform, engine=session.engine, **params)
        except DockerfileError as error:
            _print_warnings(error.warnings, text, filename, form)
            raise
        return _check(found, text, filename, form)
    dockerfile = parse(text, filename)
    planned = plan(dockerfile, **params)
    told = _targets(dockerfile, planned) if method == "targets" else _outline(dockerfile, planned)
    if form == "json":
        click.echo(json.dumps(told, indent=2))
    elif method == "targets":
        rows = [
            (each["name"] + (" (default)" if each["default"] else ""), each["description"])
            for each in told["targets"]
        ]
        _print([("TARGET", "DESCRIPTION"), *rows])
    else:
        _print_outline(told)
    return 0


def _text(context: str, given: str | bytes | None) -> tuple[str | bytes, str]:
    if isinstance(given, bytes):
        return given, "Dockerfile"
    if given is None and context == "-":
        return sys.stdin.buffer.read(), "Dockerfile"
    path = Path(context, given or "Dockerfile")
    if not Path(context).is_dir() and not path.is_file():
        raise Failed(
            f"Error: --call reads a Dockerfile of this host; {context} is no directory, give -f FILE"
        )
    return path.read_bytes(), path.name


def _print(rows: Iterable[tuple[str, ...]]) -> None:
    for line in tabulate(rows):
        click.echo(line)


# -- check ----------------------------------------------------------------------------------------


def _check(found: Sequence[BuildWarning], text: str | bytes, filename: str, form: str) -> int:
    _print_warnings(found, text, filename, form)
    if form == "json":
        return int(bool(found))
    if not found:
        click.echo("Check complete, no warnings found.")
        return 0
    number = "1 warning has" if len(found) == 1 else f"{len(found)} warnings have"
    raise Failed(f"Check complete, {number} been found!")


def _print_warnings(found: Sequence[BuildWarning], text: str | bytes, filename: str, form: str) -> None:
    if form == "json":
        click.echo(json.dumps({"warnings": [_described(each) for each in found]}, indent=2))
        return
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).splitlines()
    for each in found:
        click.echo(f"WARNING: {each.rule} - {each.url}\n{each.message}\n{_shown(lines, filename, each)}\n")


def _described(warning: BuildWarning) -> dict[str, Any]:
    return {
        "ruleName": warning.rule,
        "description": warning.description,
        "url": warning.url,
        "detail": warning.message,
        "location": {
            "ranges": [{"start": {"line": warning.lines.first}, "end": {"line": warning.lines.last}}]
        },
    }


def _shown(lines: Sequence[str], filename: str, warning: BuildWarning) -> str:
    first, last = max(1, warning.lines.first - _AROUND), min(len(lines), warning.lines.last + _AROUND)
    marked = [
        f"{number:4} | {'>>>' if warning.lines.first <= number <= warning.lines.last else '   '} {text}"
        for number, text in enumerate(lines[first - 1 : last], first)
    ]
    return "\n".join([f"{filename}:{warning.lines.first}", _RULE, *marked, _RULE])


# -- targets and outline ----------------------------------------------------------------------------


def _targets(dockerfile: Dockerfile, planned: Plan) -> dict[str, Any]:
    return {
        "targets": [
            {
                "name": stage.name,
                "default": stage.index == planned.target,
                "description": stage.start.comment,
                "base": stage.start.base,
            }
            for stage in dockerfile.stages
            if stage.name or stage.index == planned.target
        ]
    }


def _outline(dockerfile: Dockerfile, planned: Plan) -> dict[str, Any]:
    from pycontainer.build import Arg, Run

    target = dockerfile.stages[planned.target]
    args: dict[str, dict[str, Any]] = {}
    secrets: dict[str, bool] = {}
    stages = [each.stage for each in planned.stages]
    for made in (*dockerfile.global_args, *(each for stage in stages for each in stage.instructions)):
        if isinstance(made, Arg):
            for each in made.args:
                known = args.setdefault(each.name, {"name": each.name, "value": "", "description": ""})
                known["value"] = known["value"] or each.value or ""
                known["description"] = known["description"] or each.comment
        elif isinstance(made, Run):
            for mount in map(_fields, made.mount_flags):
                if mount.get("type") == "secret":
                    place = mount.get("target", mount.get("dst", mount.get("destination", "")))
                    name = mount.get("id") or os.path.basename(place)
                    secrets[name] = secrets.get(name, False) or mount.get("required") in ("", "true")
    return {
        "name": target.name,
        "description": target.start.comment,
        "args": list(args.values()),
        "secrets": [{"name": name, "required": is_required} for name, is_required in secrets.items()],
    }


def _fields(flag: str) -> dict[str, str]:
    """What a --mount says; its variables stay as they are written."""
    pairs = (field.partition("=") for field in flag.split(","))
    return {key.lower(): value for key, _, value in pairs}


def _print_outline(told: Mapping[str, Any]) -> None:
    click.echo(f"TARGET:      {told['name'] or 'default'}")
    if told["description"]:
        click.echo(f"DESCRIPTION: {told['description']}")
    if told["args"]:
        click.echo()
        _print(
            [
                ("BUILD ARG", "VALUE", "DESCRIPTION"),
                *((each["name"], each["value"], each["description"]) for each in told["args"]),
            ]
        )
    if told["secrets"]:
        click.echo()
        rows = [(each["name"], str(each["required"]).lower()) for each in told["secrets"]]
        _print([("SECRET", "REQUIRED"), *rows])
