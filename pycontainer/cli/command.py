"""Commands as Docker's users know them, over click's: what its flags may look like, and when they are loaded.

Docker's parser (spf13/pflag) takes `--rm=false`, `-t=false` and `-p=80:80`, which click does not; they are
rewritten before click reads them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, TypeVar

import click

from pycontainer.cli.switches import FALSE, TRUE, BadFlag

__all__ = ["OFF", "Command", "Entry", "Flag", "Group", "Nested", "Misuse", "command", "flag"]

F = TypeVar("F", bound=Callable[..., Any])

OFF = "!"
"""Ends the name that stands for a flag's being false, between the rewriting and click."""


class Misuse(click.UsageError):
    """No such command, or too few arguments: Docker ends with 1 then, and with 125 for a wrong flag."""


class Flag(click.Option):
    """A switch, which may be given a value as --name=false."""

    def __init__(self, declarations: Sequence[str], default: bool = False, **attributes: Any) -> None:
        super().__init__(declarations, is_flag=True, default=default, **attributes)
        self.secondary_opts: list[str] = [f"{name}{OFF}" for name in self.opts]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        off, self.secondary_opts = self.secondary_opts, []
        try:
            return super().get_help_record(ctx)
        finally:
            self.secondary_opts = off


def flag(*declarations: str, default: bool = False, help: str = "", hidden: bool = False) -> Callable[[F], F]:
    """Decorate a command with a switch."""
    return click.option(*declarations, cls=Flag, default=default, help=help, hidden=hidden)


@contextmanager
def _placed(ctx: click.Context) -> Iterator[None]:
    """Have a misuse know which command's usage to show."""
    try:
        yield
    except click.UsageError as error:
        if error.ctx is None:
            error.ctx = ctx
        raise
    except BadFlag as error:
        raise click.BadParameter(str(error), ctx, param_hint=error.flag) from None


class _Reader(click.Command):
    """Reads its arguments as pflag does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _placed(ctx):
            return super().parse_args(ctx, self._rewritten(ctx, args))

    def invoke(self, ctx: click.Context) -> Any:
        with _placed(ctx):
            return super().invoke(ctx)

    def _rewritten(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name: each for each in self.params if isinstance(each, click.Option) for name in each.opts}
        made: list[str] = []
        left = list(args)
        while left:
            token = left.pop(0)
            if token == "--":
                return [*made, token, *left]
            if token.startswith("--"):
                name, equals, value = token.partition("=")
                option = known.get(name)
                if equals and isinstance(option, Flag):
                    made.append(_switched(ctx, name, value))
                    continue
                made.append(token)
                if option is not None and not option.is_flag and not equals:
                    made += left[:1]
                    del left[:1]
            elif token.startswith("-") and token != "-":
                made += self._cluster(ctx, token, known, left)
            else:
                made.append(token)
                if not ctx.allow_interspersed_args:
                    return [*made, *left]
        return made

    def _cluster(
        self, ctx: click.Context, token: str, known: Mapping[str, click.Option], left: list[str]
    ) -> list[str]:
        """Short options in one word; what a last one without its value takes is taken from `left`."""
        for place, letter in enumerate(token[1:], 1):
            option = known.get(f"-{letter}")
            rest = token[place + 1 :]
            if option is None:
                return [token]
            before = [token[:place]] if place > 1 else []
            if isinstance(option, Flag):
                if rest.startswith("="):
                    return [*before, _switched(ctx, f"-{letter}", rest[1:])]
                continue
            if option.is_flag:
                continue
            if rest:
                return [*before, f"-{letter}", rest.removeprefix("=")]
            value = left[:1]
            del left[:1]
            return [*before, f"-{letter}", *value]
        return [token]


class Command(_Reader):
    """A command that reads its arguments as pflag does."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pieces = ["[OPTIONS]" if self._has_options() else "", *_arguments(self, ctx)]
        formatter.write_usage(ctx.command_path, " ".join(filter(None, pieces)))

    def _has_options(self) -> bool:
        return any(isinstance(each, click.Option) and not each.hidden for each in self.params)


def _arguments(made: click.Command, ctx: click.Context) -> list[str]:
    return [each.make_metavar(ctx) for each in made.params if isinstance(each, click.Argument)]


def _switched(ctx: click.Context, name: str, value: str) -> str:
    if value in TRUE:
        return name
    if value in FALSE:
        return f"{name}{OFF}"
    raise click.BadParameter(f"{value!r} is neither true nor false", ctx, param_hint=name)


def command(name: str, *, passes_rest: bool = False, **settings: Any) -> Callable[[F], Command]:
    """Decorate the function of a command. passes_rest: after the first argument nothing is a flag."""
    context = {"allow_interspersed_args": not passes_rest}
    decorated: Callable[[F], Command] = click.command(name, cls=Command, context_settings=context, **settings)
    return decorated


# -- groups ---------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A command in a table. place: "module:name" below `pycontainer.cli.commands`."""

    place: str
    help: str
    is_hidden: bool = False


class Nested(NamedTuple):
    """A group in a table."""

    help: str
    table: Mapping[str, Entry | Nested]
    is_hidden: bool = False
    refused: Mapping[str, str] | None = None


class Group(_Reader, click.Group):
    """Commands by name in a table, imported when they are called, so that one costs no other.

    refused: names that Docker has and this has not on purpose, with the reason.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        table: Mapping[str, Entry | Nested],
        refused: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        self._table = table
        self._refused = refused or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in self._table.items() if not entry.is_hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        if isinstance(entry, Nested):
            return Group(cmd_name, table=entry.table, refused=entry.refused, help=entry.help)
        module, _, attribute = entry.place.partition(":")
        found = getattr(importlib.import_module(f"pycontainer.cli.commands.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._table:
            self._unknown(ctx, args[0])
        # Under the name it was called by, which may be another than its own.
        found = self.get_command(ctx, args[0])
        return args[0], found, args[1:]

    def _unknown(self, ctx: click.Context, name: str) -> NoReturn:
        if name.startswith("-"):
            raise click.NoSuchOption(name, ctx=ctx)
        if name in self._refused:
            raise Misuse(f"there is no {name} here: {self._refused[name]}", ctx)
        import difflib  # only to tell of a mistake

        near = difflib.get_close_matches(name, self._table, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Misuse(f"unknown command: {ctx.command_path} {name}{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = {name: entry for name, entry in self._table.items() if not entry.is_hidden}
        for title, kind in (("Commands", Entry), ("Management commands", Nested)):
            rows = [(name, each.help) for name, each in shown.items() if isinstance(each, kind)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
