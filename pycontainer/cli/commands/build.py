"""`pycontainer build` and `pycontainer builder prune`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.declared import declared
from pycontainer.cli.filters import prune_filter_option
from pycontainer.cli.formatting import decimal_size
from pycontainer.cli.pairs import pairs, split_words
from pycontainer.cli.session import Session, pass_session
from pycontainer.cli.spelling import given
from pycontainer.errors import InvalidOption

if TYPE_CHECKING:
    from pycontainer.build import OnBuildEvent

__all__ = ["build", "prune"]

LIMITS = (
    *("extra_hosts", "cgroup_parent", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems"),
    *("memory", "memory_swap", "security_opt", "shm_size", "ulimits"),
)
"""Run options that hold for every RUN."""

_NOT_HERE = {
    "builder": "there is one builder",
    "isolation": "it is for Windows",
    "squash": "squash the image afterwards, with image.squash() of the library",
}


@command("build")
@declared(LIMITS)
@click.option("--allow", multiple=True, metavar="WHAT", help="network.host, security.insecure.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Of the manifest.")
@click.option("--attest", multiple=True, metavar="type=provenance|sbom", help="As --provenance, --sbom.")
@click.option("--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="Values for ARG.")
@click.option("--build-context", "contexts", multiple=True, metavar="NAME=PLACE", help="Further contexts.")
@click.option("--cache-from", multiple=True, metavar="CACHE", help="Caches to take steps from.")
@click.option("--cache-to", multiple=True, metavar="CACHE", help="Where to write the cache to.")
@flag("--compress", hidden=True)
@flag("--disable-content-trust", default=True, hidden=True)
@click.option("-f", "--file", "dockerfile", metavar="FILE", help="The Dockerfile; - is standard input.")
@flag("--force-rm", hidden=True)
@click.option("--iidfile", type=click.Path(path_type=Path), help="Write the image's id to this file.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Labels.")
@flag("--load", help="Without effect: the image is always in the store.")
@click.option("--metadata-file", type=click.Path(path_type=Path), help="Write what was made to this file.")
@click.option("--network", default="default", metavar="NAME", help="Of every RUN: none, host, or a network.")
@flag("--no-cache", help="Take nothing from the cache.")
@click.option(
    "--no-cache-filter", multiple=True, metavar="STAGE", help="Take nothing of these stages from it."
)
@click.option("-o", "--output", "outputs", multiple=True, metavar="OUTPUT", help="As type=local,dest=DIR.")
@click.option("--platform", "platforms", multiple=True, metavar="PLATFORM", help="Which to build for.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "tty", "quiet", "rawjson"]),
    help="How to show what is done; BUILDKIT_PROGRESS by default.",
)
@click.option("--provenance", metavar="true|mode=max", help="Attest how the image was built.")
@flag("--pull", help="Look for newer base images.")
@flag("--push", help="Upload the image to the registries of its names.")
@flag("-q", "--quiet", help="Print the image's id alone.")
@flag("--rm", default=True, hidden=True)
@flag("--sbom", help="Attest what software the image contains.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE]", help="For RUN --mount=type=secret."
)
@click.option("--ssh", multiple=True, metavar="ID[=SOCKET]", help="Agents for RUN --mount=type=ssh.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Names of the image.")
@click.option("--target", metavar="STAGE", help="The stage to build.")
@click.option("--builder", hidden=True)
@click.option(
    "--call",
    "method",
    default="build",
    metavar="METHOD",
    help="Instead of building: check, outline or targets; with ,format=json.",
)
@flag("--check", help="As --call=check.")
@click.option("--isolation", hidden=True)
@flag("--squash", hidden=True)
@click.argument("context", metavar="PATH|URL|-")
@pass_session
def build(session: Session, /, **params: Any) -> int:
    """Build an image from a Dockerfile, and print its id on standard output."""
    from pycontainer.engine import Image

    for name, reason in _NOT_HERE.items():
        if params[name] and params[name] != "default":
            raise InvalidOption(f"--{name} is not here: {reason}; leave it out")
    if params["context"] == "-" and params["dockerfile"] == "-":
        raise click.UsageError("context and Dockerfile cannot both be standard input")
    method = "check" if params["check"] else params["method"]
    if method.partition(",")[0] == "build" and method != "build":
        raise click.BadParameter(f"{method!r}: a build has no format; give --call=build", param_hint="--call")
    platforms = split_words(params["platforms"]) or ([session.platform] if session.platform else [])
    if method != "build":
        return _called(session, method, platforms, params)
    context: str | BinaryIO = sys.stdin.buffer if params["context"] == "-" else params["context"]
    tags = split_words(params["tags"])
    image = Image.build(
        context,
        dockerfile=_dockerfile(params["dockerfile"]),
        target=params["target"],
        build_args=dict(map(_build_arg, params["build_args"])),
        tags=tags,
        platforms=platforms,
        labels=pairs(params["labels"]),
        annotations=pairs(params["annotations"]),
        secrets=dict(map(_secret, params["secrets"])),
        ssh=_agents(params["ssh"]),
        contexts=pairs(params["contexts"]),
        no_cache=True if params["no_cache"] else split_words(params["no_cache_filter"]),
        cache_from=params["cache_from"],
        cache_to=params["cache_to"],
        pull=params["pull"],
        network=params["network"],
        allow=split_words(params["allow"]),
        outputs=[*params["outputs"], *(["type=registry"] if params["push"] else [])],
        progress=_progress(session, params),
        **_attested(params),
        engine=session.engine,
        **given({name: params[name] for name in LIMITS}),
    )
    if params["iidfile"] is not None:
        params["iidfile"].write_text(image.id)
    if params["metadata_file"] is not None:
        _write_metadata(params["metadata_file"], image.id, image.digest, image.tags)
    click.echo(image.id)
    return 0


def _called(session: Session, method: str, platforms: Sequence[str], params: Mapping[str, Any]) -> int:
    from pycontainer.cli.commands.build_call import CALLS, call

    name, comma, form = method.partition(",")
    if name not in CALLS or (comma and form not in ("format=json", "format=text")):
        known = ", ".join(CALLS)
        raise click.BadParameter(f"{method!r}: it is one of {known}", param_hint="--call")
    given_args = dict(map(_build_arg, params["build_args"]))
    values = {key: os.environ.get(key) if value is None else value for key, value in given_args.items()}
    return call(
        session,
        name,
        form.removeprefix("format=") or "text",
        params["context"],
        _dockerfile(params["dockerfile"]),
        platform=platforms[0] if platforms else None,
        target=params["target"] or "",
        build_args={key: value for key, value in values.items() if value is not None},
        contexts=pairs(params["contexts"]),
    )


def _dockerfile(given_file: str | None) -> str | bytes | None:
    """The SDK takes a relative name as one in the context; Docker's flag is a path of this host."""
    if given_file is None:
        return None
    if given_file == "-":
        return sys.stdin.buffer.read()
    path = Path(given_file)
    return str(path.absolute()) if path.exists() else given_file


def _build_arg(line: str) -> tuple[str, str | None]:
    name, equals, value = line.partition("=")
    return name, value if equals else None


def _secret(line: str) -> tuple[str, object]:
    """As id=ID, with src=FILE or env=NAME; without either the variable or the file of that name."""
    fields = pairs(line.split(","))
    name = fields.get("id", "")
    path, variable = fields.get("src", fields.get("source", "")), fields.get("env", "")
    if not name or set(fields) - {"id", "src", "source", "env", "type"}:
        raise click.BadParameter(f"{line!r}: give id=ID,src=FILE or id=ID,env=NAME", param_hint="--secret")
    if fields.get("type") == "env" or (not path and not variable and name in os.environ):
        return name, {"env": variable or path or name}
    return name, {"env": variable} if variable else Path(path or name)


def _attested(params: Mapping[str, Any]) -> dict[str, Any]:
    """What to attest, as flags of its own or --attest say it."""
    provenance, sbom = params["provenance"] or "false", params["sbom"]
    for line in params["attest"]:
        fields = pairs(line.split(","))
        kind, is_off = fields.pop("type", ""), fields.pop("disabled", "false") == "true"
        if kind == "sbom":
            sbom = not is_off
        elif kind == "provenance":
            told = ",".join(f"{name}={value}" for name, value in fields.items())
            provenance = "false" if is_off else told or "true"
        else:
            raise click.BadParameter(f"{line!r}: give type=provenance or type=sbom", param_hint="--attest")
    return {"provenance": {"true": True, "false": False}.get(provenance, provenance), "sbom": sbom}


def _agents(lines: Sequence[str]) -> Mapping[str, str | None]:
    return {name: path or None for name, _, path in (line.partition("=") for line in lines)}


def _progress(session: Session, params: Mapping[str, Any]) -> OnBuildEvent | str:
    if params["quiet"]:
        return "off"
    wanted = params["progress"] or session.environ.get("BUILDKIT_PROGRESS") or "auto"
    if wanted == "rawjson":
        from pycontainer.cli.commands.build_rawjson import RawJson

        return RawJson(sys.stderr).take
    modes = {"auto": "rich" if sys.stderr.isatty() else "plain", "tty": "rich", "quiet": "off"}
    return modes.get(wanted, "plain")


def _write_metadata(path: Path, image_id: str, digest: str, tags: Sequence[str]) -> None:
    import json

    document = {
        "containerimage.config.digest": image_id,
        "containerimage.digest": digest,
        "image.name": ",".join(tags),
    }
    path.write_text(json.dumps(document, indent=2))


@command("prune")
@flag("-a", "--all", "is_all", help="Also steps whose layers an image has.")
@prune_filter_option
@flag("-f", "--force", help="Do not ask.")
@click.option("--keep-storage", "--max-used-space", "keep", metavar="BYTES", help="Keep so much of it.")
@click.option("--min-free-space", "min_free", metavar="BYTES", help="Have so much of the disk free.")
@click.option("--reserved-space", "reserved", metavar="BYTES", help="Keep so much of it in any case.")
@pass_session
def prune(
    session: Session,
    is_all: bool,
    filters: Mapping[str, list[str]],
    force: bool,
    keep: str | None,
    min_free: str | None,
    reserved: str | None,
) -> None:
    """Forget what builds have kept."""
    from pycontainer.cli.commands.pruning import confirm
    from pycontainer.engine import prune_build_cache

    if unknown := set(filters) - {"until", "unused-for"}:
        raise click.UsageError(f"the cache of builds has no filter {min(unknown)!r}; there is until")
    until = next((values[-1] for values in filters.values()), None)
    confirm(force, "all build cache" if is_all else "all dangling build cache")
    pruned = prune_build_cache(
        all=is_all, until=until, keep=keep, min_free=min_free, reserved=reserved, engine=session.engine
    )
    click.echo(f"Total: {decimal_size(pruned.freed_bytes)}")
