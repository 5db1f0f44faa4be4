"""`pycontainer info` and `pycontainer system df`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.formatting import Field, Listing, Template, binary_size, decimal_size, tabulate
from pycontainer.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pycontainer.engine import DiskUsage

__all__ = ["df", "info"]


@command("info")
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
@pass_session
def info(session: Session, form: str | None) -> None:
    """Tell about this engine and its host."""
    from pycontainer.engine import info as look

    found = look(engine=session.engine)
    if form == "json":
        click.echo(json.dumps(found, ensure_ascii=False, separators=(",", ":")))
    elif form:
        click.echo(Template(form).render(found))
    else:
        for line in _told(found):
            click.echo(line)
        for warning in found["Warnings"]:
            click.echo(warning, err=True)


_LINES = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("", "DriverStatus"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Plugins", ""),
    (" Volume", "Plugins.Volume"),
    (" Network", "Plugins.Network"),
    (" Log", "Plugins.Log"),
    ("Runtimes", "Runtimes"),
    ("Default Runtime", "DefaultRuntime"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Root Dir", "DockerRootDir"),
    ("Experimental", "ExperimentalBuild"),
)


def _told(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, key in _LINES:
        value: Any = found
        for part in filter(None, key.split(".")):
            value = value[part]
        if key == "DriverStatus":
            lines += [f" {name}: {text}" for name, text in value]
        elif not key:
            lines.append(f"{title}:")
        elif key == "MemTotal":
            lines.append(f"{title}: {binary_size(value)}")
        elif key == "SecurityOptions":
            lines += [f"{title}:", *(f" {each.removeprefix('name=')}" for each in value)]
        elif isinstance(value, bool):
            lines.append(f"{title}: {str(value).lower()}")
        elif isinstance(value, list | dict):
            lines.append(f"{title}: {' '.join(map(str, value))}")
        else:
            lines.append(f"{title}: {value}")
    return lines


class _Kind(NamedTuple):
    name: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int

    @property
    def reclaimable(self) -> str:
        shown = decimal_size(self.reclaimable_bytes)
        if self.size_bytes <= 0 or self.name == "Build Cache":
            return shown
        return f"{shown} ({100 * self.reclaimable_bytes // self.size_bytes}%)"


_DF: Listing[_Kind] = Listing(
    {
        "Type": Field("TYPE", lambda each: each.name),
        "TotalCount": Field("TOTAL", lambda each: str(each.total)),
        "Active": Field("ACTIVE", lambda each: str(each.active)),
        "Size": Field("SIZE", lambda each: decimal_size(each.size_bytes)),
        "Reclaimable": Field("RECLAIMABLE", lambda each: each.reclaimable),
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)


@command("df")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("-v", "--verbose", help="Each image, container, volume and step of builds.")
@pass_session
def df(session: Session, form: str | None, verbose: bool) -> None:
    """Tell how much room images, containers, volumes and the cache of builds take."""
    from pycontainer.engine import disk_usage

    usage = disk_usage(engine=session.engine)
    lines = _each(usage) if verbose and not form else _DF.lines(_kinds(usage), form or "")
    for line in lines:
        click.echo(line)


def _kinds(usage: DiskUsage) -> list[_Kind]:
    running = sum(each.state in ("running", "paused", "restarting") for each in usage.containers)
    unused = sum(each.size_bytes or 0 for each in usage.volumes if not each.containers)
    used_images = sum(each.containers > 0 for each in usage.images)
    used_volumes = sum(each.containers > 0 for each in usage.volumes)
    return [
        _Kind("Images", len(usage.images), used_images, usage.images_bytes, usage.reclaimable_image_bytes),
        _Kind(
            "Containers",
            len(usage.containers),
            running,
            usage.containers_bytes,
            usage.reclaimable_container_bytes,
        ),
        _Kind("Local Volumes", len(usage.volumes), used_volumes, usage.volumes_bytes, unused),
        _Kind(
            "Build Cache",
            usage.build_cache.steps + usage.build_cache.mounts,
            0,
            usage.build_cache.size_bytes,
            usage.reclaimable_build_bytes,
        ),
    ]


def _each(usage: DiskUsage) -> list[str]:
    def table(title: str, rows: list[list[str]]) -> list[str]:
        return [f"{title} space usage:", "", *tabulate(rows), ""]

    size: Callable[[float], str] = decimal_size
    images = [
        [tag, each.id.removeprefix("sha256:")[:12], size(each.size_bytes), size(each.shared_bytes),
         size(each.unique_bytes), str(each.containers)]
        for each in usage.images
        for tag in each.tags or ("<none>",)
    ]  # fmt: skip
    containers = [[each.id[:12], each.state, size(each.size_bytes), each.name] for each in usage.containers]
    volumes = [
        [each.name, str(each.containers), "N/A" if each.size_bytes is None else size(each.size_bytes)]
        for each in usage.volumes
    ]
    cache = usage.build_cache
    builds = [
        ["layers", str(cache.steps), size(cache.layers_bytes)],
        ["mounts", str(cache.mounts), size(cache.mounts_bytes)],
        ["downloads", "", size(cache.downloads_bytes)],
    ]
    return [
        *table("Images", [["NAME", "IMAGE ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"], *images]),
        *table("Containers", [["CONTAINER ID", "STATUS", "SIZE", "NAMES"], *containers]),
        *table("Local Volumes", [["VOLUME NAME", "LINKS", "SIZE"], *volumes]),
        *table("Build cache", [["TYPE", "TOTAL", "SIZE"], *builds]),
    ]
