"""`--filter` of lists and prunes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

__all__ = ["filter_option", "parse_filters"]

F = TypeVar("F", bound=Callable[..., Any])


def parse_filters(ctx: click.Context, _: click.Parameter, lines: Sequence[str]) -> Mapping[str, list[str]]:
    """The values of each filter. Raises: click.BadParameter for one without a value."""
    found: dict[str, list[str]] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if name.endswith("!"):  # label!=key
            equals = equals or ""
        if not equals:
            raise click.BadParameter(f"{line!r}: give it as NAME=VALUE", ctx, param_hint="--filter")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def filter_option(function: F) -> F:
    """Decorate a command with -f/--filter, whose parameter is `filters`."""
    decorate = click.option(
        "-f", "--filter", "filters", multiple=True, metavar="NAME=VALUE", callback=parse_filters,
        help="Only what fits; several of one name are alternatives.",
    )  # fmt: skip
    return decorate(function)


def prune_filter_option(function: F) -> F:
    """As filter_option, without the short form, which is --force's in prunes."""
    decorate = click.option(
        "--filter", "filters", multiple=True, metavar="NAME=VALUE", callback=parse_filters,
        help="Only what fits, as until=24h or label=KEY.",
    )  # fmt: skip
    return decorate(function)
