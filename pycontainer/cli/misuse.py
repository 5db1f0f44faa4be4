"""What click raises, as it is told, and as an exit code."""

from __future__ import annotations

import click

from pycontainer.cli.command import OFF, Misuse
from pycontainer.cli.edge import INTERRUPTED, say

__all__ = ["code_of"]


def code_of(error: Exception) -> int | None:
    """The exit code of an error of click's, which is told; None for others."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        return INTERRUPTED
    return _misused(error) if isinstance(error, click.ClickException) else None


def _misused(error: click.ClickException) -> int:
    if isinstance(error, click.NoSuchOption):
        near = [name for name in error.possibilities or () if not name.endswith(OFF)]
        error = click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
    message = f"pycontainer: {error.format_message()}"
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        usage = context.get_usage().removeprefix("Usage: ")
        message += f"\n\nUsage:  {usage}\n\nRun '{context.command_path} --help' for more information"
    say(message)
    is_about_arguments = isinstance(error, Misuse) or (
        isinstance(error, click.MissingParameter) and isinstance(error.param, click.Argument)
    )
    if is_about_arguments or "unexpected extra argument" in error.format_message():
        return 1
    return 125 if isinstance(error, click.UsageError) else 1
