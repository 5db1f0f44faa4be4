"""The command line: a thin layer over the library, one file per verb in `commands`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command the process's arguments name; ends the process with its exit code."""
    from pycontainer.cli.app import app

    app(prog_name="pycontainer")
