"""`pycontainer version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

import pycontainer

__all__ = ["command"]

_LIBRARIES = ("attrs", "httpx", "pyroute2", "isal", "backports.zstd")


@click.command("version")
def command() -> None:
    """Tell the versions of this package and of what it runs on."""
    click.echo(f"pycontainer {pycontainer.__version__}")
    click.echo(f"{platform.python_implementation()} {platform.python_version()}")
    click.echo(f"{platform.system()} {platform.release()} {platform.machine()}")
    for library in _LIBRARIES:
        try:
            click.echo(f"{library} {version(library)}")
        except PackageNotFoundError:
            click.echo(f"{library} not installed")
