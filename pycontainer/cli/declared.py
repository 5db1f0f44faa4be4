"""Flags of the container options: all that is said of an option is said in its declaration.

Only what the SDK has no use for stands here: short names, further spellings, and the numbers that mean "not
asked" on Docker's command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from pycontainer.cli.command import Flag
from pycontainer.options import OPTIONS

__all__ = ["declared", "given", "parse_environment"]

F = TypeVar("F", bound=Callable[..., Any])

_SHORT = {
    "cpu_shares": "-c",
    "env": "-e",
    "hostname": "-h",
    "labels": "-l",
    "memory": "-m",
    "ports": "-p",
    "publish_all": "-P",
    "stdin_open": "-i",
    "tty": "-t",
    "user": "-u",
    "volumes": "-v",
    "workdir": "-w",
}
_FURTHER = {"network": ("--net",), "network_alias": ("--net-alias",), "dns_option": ("--dns-opt",)}
_UNSET = {
    "blkio_weight": ("0",),
    "cpu_period": ("0",),
    "cpu_quota": ("0",),
    "cpu_rt_period": ("0",),
    "cpu_rt_runtime": ("0",),
    "cpu_shares": ("0",),
    "cpus": ("0", "0.0"),
    "health_interval": ("0", "0s"),
    "health_retries": ("0",),
    "health_start_interval": ("0", "0s"),
    "health_start_period": ("0", "0s"),
    "health_timeout": ("0", "0s"),
    "memory": ("0",),
    "memory_reservation": ("0",),
    "memory_swap": ("0",),
    "memory_swappiness": ("-1",),
    "pids_limit": ("0",),
    "restart": ("",),
    "shm_size": ("0",),
}
"""Docker's defaults of these flags, which stand for no value (docker/cli, cli/command/container/opts.go)."""


def declared(names: Iterable[str]) -> Callable[[F], F]:
    """Decorate a command with the flags of these run options."""

    def decorate(function: F) -> F:
        for name in reversed(list(names)):
            function = _option(name)(function)
        return function

    return decorate


def _option(name: str) -> Callable[[F], F]:
    info = OPTIONS[name]
    spellings = [name, *filter(None, [_SHORT.get(name)]), info.flag, *_FURTHER.get(name, ())]
    if info.kind.metavar == "":
        return click.option(*spellings, cls=Flag, help=info.doc)
    return click.option(
        *spellings, multiple=info.kind.is_repeatable, default=None, metavar=info.kind.metavar, help=info.doc
    )


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """The run options among a command's parameters that were given, each checked.

    Raises: click.BadParameter naming the flag.
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        info = OPTIONS.get(name)
        if info is None or value is None or value is False or value == () or value in _UNSET.get(name, ()):
            continue
        value = _adapted(name, list(value) if isinstance(value, tuple) else value)
        try:
            info.kind.parse(value)
        except (ValueError, TypeError) as problem:
            shown = "" if name == "env" else f"{value!r}: "
            raise click.BadParameter(f"{shown}{problem}", param_hint=info.flag) from None
        found[name] = value
    return found


def _adapted(name: str, value: Any) -> Any:
    if name == "env":
        return parse_environment(value)
    if name == "entrypoint":
        # One word, as Docker takes it; the SDK splits a text.
        return [value] if value else [""]
    if name == "network":
        return ["bridge" if each == "default" else each for each in value]
    return value


def parse_environment(lines: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Variables of -e: KEY=VALUE, or KEY for the caller's own, which without one is taken away."""
    found: dict[str, str | None] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name:
            raise click.BadParameter(f"{line!r} has no name", param_hint="--env")
        found[name] = value if equals else environ.get(name)
    return found
