"""`pycontainer completion`."""

from __future__ import annotations

import click

from pycontainer.cli.command import command

__all__ = ["completion"]


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that has a shell complete commands, flags and names.

    bash: source <(pycontainer completion bash). zsh: source <(pycontainer completion zsh). fish: pycontainer
    completion fish > ~/.config/fish/completions/pycontainer.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    context = click.get_current_context().find_root()
    script = found(context.command, {}, "pycontainer", "_PYCONTAINER_COMPLETE")
    # Not `source()`, which runs the shell to look at its version.
    click.echo(script.source_template % script.source_vars())
