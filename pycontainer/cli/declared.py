"""Flags of the container options, over click's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from pycontainer.cli.command import Flag
from pycontainer.cli.spelling import spellings
from pycontainer.options import OPTIONS

__all__ = ["declared"]

F = TypeVar("F", bound=Callable[..., Any])


def declared(names: Iterable[str]) -> Callable[[F], F]:
    """Decorate a command with the flags of these run options."""

    def decorate(function: F) -> F:
        for name in reversed(list(names)):
            function = _option(name)(function)
        return function

    return decorate


def _option(name: str) -> Callable[[F], F]:
    info = OPTIONS[name]
    names = [name, *spellings(name)]
    if info.kind.metavar == "":
        return click.option(*names, cls=Flag, help=info.doc)
    return click.option(
        *names, multiple=info.kind.is_repeatable, default=None, metavar=info.kind.metavar, help=info.doc
    )
