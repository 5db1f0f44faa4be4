"""`pycontainer version`."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

import click

import pycontainer
from pycontainer.cli.command import command
from pycontainer.cli.formatting import Template

__all__ = ["version"]

_LIBRARIES = ("attrs", "click", "httpx", "pyroute2", "isal", "backports.zstd")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _document() -> dict[str, Any]:
    """In Docker's shape, where client and server are two; here they are one program."""
    kernel = os.uname()
    own = {
        "Version": pycontainer.__version__,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(kernel.machine, kernel.machine),
    }
    libraries = []
    for name in _LIBRARIES:
        try:
            libraries.append({"Name": name, "Version": version_of(name)})
        except PackageNotFoundError:
            libraries.append({"Name": name, "Version": "not installed"})
    server = {**own, "KernelVersion": kernel.release, "Components": libraries}
    return {"Client": {**own, "Context": "default"}, "Server": server}


@command("version")
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
def version(form: str | None) -> None:
    """Tell the versions of this package and of what it runs on."""
    found = _document()
    if form == "json":
        click.echo(json.dumps(found, separators=(",", ":")))
        return
    if form:
        click.echo(Template(form).render(found))
        return
    server = found["Server"]
    lines = [
        ("pycontainer", server["Version"]),
        (platform.python_implementation(), server["PythonVersion"]),
        ("Linux", f"{server['KernelVersion']} {server['Os']}/{server['Arch']}"),
        *((each["Name"], each["Version"]) for each in server["Components"]),
    ]
    for name, text in lines:
        click.echo(f"{name} {text}")
