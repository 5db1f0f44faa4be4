"""The commands of `pycontainer compose` that make, start, stop and remove."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.composing import (
    Asked,
    Foreground,
    changes_told,
    pass_asked,
    services_argument,
    uses_color,
    variables,
    warnings_told,
)

if TYPE_CHECKING:
    from pycontainer.compose import Compose

_timeout = click.option(
    "-t", "--timeout", metavar="SECONDS", help="How long to wait for an end before killing."
)


def _scales(ctx: click.Context, param: click.Parameter, lines: Sequence[str]) -> dict[str, int]:
    found = {}
    for line in lines:
        name, _, count = line.partition("=")
        if not name or not count.isdecimal():
            raise click.BadParameter(f"{line!r}: give SERVICE=NUMBER")
        found[name] = int(count)
    return found


@command("up")
@flag("-d", "--detach", help="Leave them running in the background.")
@flag("--build", "is_built", help="Build images before.")
@flag("--no-build", help="Build no image, even if it is missing.")
@flag("--force-recreate", help="Make all containers anew.")
@flag("--no-recreate", help="Make no container anew.")
@flag("--always-recreate-deps", help="Make those anew that the given services depend on.")
@flag("--no-deps", help="Without the services that the given ones depend on.")
@flag("--no-start", help="Make containers, and start none.")
@flag("--remove-orphans", help="Remove containers of services that are no longer in the file.")
@flag("-V", "--renew-anon-volumes", help="New anonymous volumes for what is made anew.")
@click.option(
    "--scale", multiple=True, metavar="SERVICE=NUMBER", callback=_scales, help="How many containers."
)
@flag("--wait", "waits", help="Wait until all are running or healthy; implies -d.")
@click.option("--wait-timeout", metavar="SECONDS", help="How long to wait for each.")
@click.option("--pull", type=click.Choice(["always", "missing", "never"]), help="When to ask the registry.")
@flag("--quiet-pull", help="Show no progress of pulls.")
@flag("--abort-on-container-exit", help="Stop all when one ends.")
@flag("--abort-on-container-failure", help="Stop all when one ends with an error.")
@click.option("--exit-code-from", metavar="SERVICE", help="End with the code of this service's container.")
@flag("--no-log-prefix", help="Do not say who wrote a line.")
@flag("--no-color", help="Without colours.")
@flag("--timestamps", help="Begin lines with their time.")
@click.option("--attach", multiple=True, metavar="SERVICE", help="Show the output of this service only.")
@click.option("--no-attach", multiple=True, metavar="SERVICE", help="Do not show the output of this service.")
@flag("--quiet-build", help="Show no output of builds.")
@flag("-w", "--watch", "watches", help="Bring files that change into what runs meanwhile.")
@flag("--menu", hidden=True)
@flag("-y", "--yes", help="Taken for Docker's sake.")
@_timeout
@services_argument
@pass_asked
def up(asked: Asked, /, services: tuple[str, ...], **given: Any) -> None:
    """Make and start containers, and show their output until they end."""
    if given["quiet_pull"]:
        asked.session.progress = "off"
    application = asked.application(needs_files=True)
    begun = datetime.now(UTC)
    wishes = {
        "scale": given["scale"],
        "build": True if given["is_built"] else False if given["no_build"] else None,
        "pull": given["pull"],
        "force_recreate": given["force_recreate"],
        "no_recreate": given["no_recreate"],
        "always_recreate_deps": given["always_recreate_deps"],
        "remove_orphans": given["remove_orphans"],
        "no_deps": given["no_deps"],
        "start": not given["no_start"],
    }
    if asked.tells_only(application, "up", *services, **wishes):
        return
    with changes_told(application):
        application.up(
            *services,
            **wishes,
            renew_volumes=given["renew_anon_volumes"],
            wait=given["waits"],
            wait_timeout=given["wait_timeout"],
            timeout=given["timeout"],
            progress="off" if given["quiet_build"] else "auto",
        )
    if given["detach"] or given["no_start"] or given["waits"]:
        if given["watches"]:
            raise click.UsageError("--watch shows what it does: it goes not with -d, --wait and --no-start")
        return
    shown = given["attach"] or services
    if not shown:
        shown = [name for name, each in application.project.services.items() if each.keys.get("attach", True)]
    shown = [name for name in shown if name not in given["no_attach"]]
    aborts = "exit" if given["abort_on_container_exit"] or given["exit_code_from"] else None
    aborts = aborts or ("failure" if given["abort_on_container_failure"] else None)
    look = {
        "has_prefix": not given["no_log_prefix"],
        "has_color": uses_color(given["no_color"]),
        "has_times": given["timestamps"],
    }
    foreground = Foreground(application, shown, aborts=aborts)
    if given["watches"]:
        code = foreground.show_watched(services, begun, given["timeout"], **look)
    else:
        code = foreground.show(begun, given["timeout"], **look)
    if given["exit_code_from"] and code != 130:
        code = application[given["exit_code_from"]].container.exit_code or 0
    click.get_current_context().exit(code)


@command("create")
@flag("--build", "is_built", help="Build images before.")
@flag("--no-build", help="Build no image, even if it is missing.")
@flag("--force-recreate", help="Make all containers anew.")
@flag("--no-recreate", help="Make no container anew.")
@flag("--remove-orphans", help="Remove containers of services that are no longer in the file.")
@click.option(
    "--scale", multiple=True, metavar="SERVICE=NUMBER", callback=_scales, help="How many containers."
)
@click.option("--pull", type=click.Choice(["always", "missing", "never"]), help="When to ask the registry.")
@flag("--quiet-pull", help="Show no progress of pulls.")
@flag("-y", "--yes", help="Taken for Docker's sake.")
@services_argument
@pass_asked
def create(
    asked: Asked,
    /,
    services: tuple[str, ...],
    is_built: bool,
    no_build: bool,
    quiet_pull: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Make containers, and start none."""
    if quiet_pull:
        asked.session.progress = "off"
    application = asked.application(needs_files=True)
    given |= {"build": True if is_built else False if no_build else None, "start": False}
    if not asked.tells_only(application, "up", *services, **given):
        with changes_told(application):
            application.up(*services, progress="auto", **given)


@command("scale")
@flag("--no-deps", help="Without the services that the given ones depend on.")
@click.argument(
    "counts", metavar="SERVICE=NUMBER...", nargs=-1, required=True, callback=_scales, type=click.UNPROCESSED
)
@pass_asked
def scale(asked: Asked, /, counts: dict[str, int], no_deps: bool) -> None:
    """Have other numbers of containers of services."""
    application = asked.application(needs_files=True)
    wishes: dict[str, Any] = {"scale": counts, "no_recreate": True, "no_deps": no_deps}
    if not asked.tells_only(application, "up", *counts, **wishes):
        with changes_told(application):
            application.up(*counts, progress="auto", **wishes)


@command("down")
@flag("-v", "--volumes", help="Remove the volumes, too.")
@click.option(
    "--rmi", type=click.Choice(["all", "local"]), help="Remove images: all, or those without a name."
)
@flag("--remove-orphans", help="Remove containers of services that are no longer in the file.")
@_timeout
@services_argument
@pass_asked
def down(
    asked: Asked,
    /,
    services: tuple[str, ...],
    volumes: bool,
    rmi: str | None,
    remove_orphans: bool,
    timeout: str | None,
) -> None:
    """Stop and remove containers and networks."""
    application = asked.application()
    which: dict[str, Any] = {"volumes": volumes, "images": rmi, "remove_orphans": remove_orphans}
    if not asked.tells_only(application, "down", *services, **which):
        with changes_told(application):
            application.down(*services, timeout=timeout, **which)


@command("build")
@flag("--no-cache", help="Take nothing from the cache.")
@flag("--pull", help="Look for newer base images.")
@click.option("--build-arg", "arguments", multiple=True, metavar="KEY=VALUE", help="A value for ARG.")
@flag("-q", "--quiet", help="Print nothing.")
@flag("--push", "is_pushed", help="Upload what was built.")
@flag("--with-dependencies", "has_deps", help="Also those of services that the given ones depend on.")
@flag("--check", "is_checked", help="Look for mistakes in the Dockerfiles, and build nothing.")
@click.option("--provenance", metavar="true|mode=max", help="Attest how the images were built.")
@flag("--sbom", help="Attest what software the images contain.")
@click.option("--ssh", multiple=True, metavar="ID[=SOCKET]", help="Agents for RUN --mount=type=ssh.")
@click.option("-m", "--memory", metavar="SIZE", help="Most memory of each RUN.")
@click.option("--builder", hidden=True)
@services_argument
@pass_asked
def build(
    asked: Asked,
    /,
    services: tuple[str, ...],
    no_cache: bool,
    pull: bool,
    arguments: tuple[str, ...],
    quiet: bool,
    is_pushed: bool,
    has_deps: bool,
    is_checked: bool,
    builder: str | None,
    **further: Any,
) -> None:
    """Build the images of services."""
    if builder:
        raise click.BadParameter("there is one builder", param_hint="--builder")
    application = asked.application(needs_files=True)
    if has_deps:
        services = _with_dependencies(application, services)
    if is_checked:
        click.get_current_context().exit(_check(application, services))
    if asked.tells_only(application, "build", *services):
        return
    application.build(
        *services,
        no_cache=no_cache,
        pull=pull,
        args=variables(arguments),
        progress="off" if quiet else "auto",
        **{name: value for name, value in further.items() if value},
    )
    if is_pushed:
        built = [name for name, each in application.project.services.items() if "build" in each.keys]
        pushed = [name for name in services or built if name in built]
        if pushed:
            application.push(*pushed)


def _check(application: Compose, services: tuple[str, ...]) -> int:
    found = application.check(*services)
    for service, warnings in found.items():
        for each in warnings:
            click.echo(
                f"{service}: WARNING: {each.rule} - {each.url}\n{each.message} (line {each.lines.first})\n"
            )
    click.echo(f"{sum(map(len, found.values()))} warnings in {len(found)} Dockerfiles")
    return int(any(found.values()))


def _with_dependencies(application: Compose, services: tuple[str, ...]) -> tuple[str, ...]:
    """These services and what they depend on; none stays none, which is all."""
    return tuple(application.config(*services)["services"]) if services else ()


@command("pull")
@flag("-q", "--quiet", help="Show no progress.")
@flag("--ignore-buildable", help="Taken for Docker's sake; it is always so.")
@flag("--ignore-pull-failures", "is_lenient", help="Go on where one cannot be pulled.")
@flag("--include-deps", "has_deps", help="Also those of services that the given ones depend on.")
@click.option(
    "--policy", type=click.Choice(["always", "missing"]), default="always", help="Which to ask for."
)
@services_argument
@pass_asked
def pull(
    asked: Asked,
    /,
    services: tuple[str, ...],
    quiet: bool,
    ignore_buildable: bool,
    is_lenient: bool,
    has_deps: bool,
    policy: str,
) -> None:
    """Pull the images of services."""
    if quiet:
        asked.session.progress = "off"
    application = asked.application(needs_files=True)
    if has_deps:
        services = _with_dependencies(application, services)
    if asked.tells_only(application, "pull", *services, missing=policy == "missing"):
        return
    with warnings_told(application):
        application.pull(*services, ignore_failures=is_lenient, missing=policy == "missing")


@command("push")
@flag("-q", "--quiet", help="Show no progress.")
@flag("--ignore-push-failures", "is_lenient", help="Go on where one cannot be pushed.")
@flag("--include-deps", "has_deps", help="Also those of services that the given ones depend on.")
@services_argument
@pass_asked
def push(asked: Asked, /, services: tuple[str, ...], quiet: bool, is_lenient: bool, has_deps: bool) -> None:
    """Upload the images of services to their registries."""
    if quiet:
        asked.session.progress = "off"
    application = asked.application(needs_files=True)
    if has_deps:
        services = _with_dependencies(application, services)
    if asked.tells_only(application, "push", *services):
        return
    with warnings_told(application):
        application.push(*services, ignore_failures=is_lenient)


@command("publish")
@flag("--resolve-image-digests", "is_pinned", help="Also say which images the names stand for now.")
@flag("-y", "--yes", help="Taken for Docker's sake: nothing is asked.")
@click.argument("reference", metavar="REPOSITORY[:TAG]")
@pass_asked
def publish(asked: Asked, /, reference: str, is_pinned: bool, yes: bool) -> None:
    """Push the images, and the files themselves as an artifact that -f oci://REPOSITORY takes."""
    application = asked.application(needs_files=True)
    with warnings_told(application):
        made = application.publish(reference, resolve_image_digests=is_pinned)
    click.echo(f"{made.reference}@{made.digest}")


@command("start")
@flag("--wait", "waits", help="Wait until all are running or healthy.")
@click.option("--wait-timeout", metavar="SECONDS", help="How long to wait for each.")
@services_argument
@pass_asked
def start(asked: Asked, /, services: tuple[str, ...], waits: bool, wait_timeout: str | None) -> None:
    """Start the containers there are."""
    application = asked.application()
    if not asked.tells_only(application, "start", *services):
        with changes_told(application):
            application.start(*services, wait=waits, wait_timeout=wait_timeout)


@command("stop")
@_timeout
@services_argument
@pass_asked
def stop(asked: Asked, /, services: tuple[str, ...], timeout: str | None) -> None:
    """Stop containers; they stay."""
    application = asked.application()
    if not asked.tells_only(application, "stop", *services):
        with changes_told(application):
            application.stop(*services, timeout=timeout)


@command("restart")
@_timeout
@flag("--no-deps", help="Without those that are restarted with them.")
@services_argument
@pass_asked
def restart(asked: Asked, /, services: tuple[str, ...], timeout: str | None, no_deps: bool) -> None:
    """Stop containers and start them again."""
    application = asked.application()
    if not asked.tells_only(application, "restart", *services):
        with changes_told(application):
            application.restart(*services, timeout=timeout, no_deps=no_deps)


@command("kill")
@click.option("-s", "--signal", default="SIGKILL", metavar="SIGNAL", help="Signal to send.")
@flag("--remove-orphans", help="Remove containers of services that are no longer in the file.")
@services_argument
@pass_asked
def kill(asked: Asked, /, services: tuple[str, ...], signal: str, remove_orphans: bool) -> None:
    """Send the running containers a signal."""
    application = asked.application()
    if not asked.tells_only(application, "kill", *services):
        application.kill(*services, signal=signal)
        if remove_orphans:
            application.remove_orphans()


@command("pause")
@services_argument
@pass_asked
def pause(asked: Asked, /, services: tuple[str, ...]) -> None:
    """Stop all processes of containers where they are."""
    application = asked.application()
    if not asked.tells_only(application, "pause", *services):
        application.pause(*services)


@command("unpause")
@services_argument
@pass_asked
def unpause(asked: Asked, /, services: tuple[str, ...]) -> None:
    """Let the processes of containers go on."""
    application = asked.application()
    if not asked.tells_only(application, "unpause", *services):
        application.unpause(*services)


@command("rm")
@flag("-f", "--force", help="Taken for Docker's sake: nothing is asked.")
@flag("-s", "--stop", help="Stop them before.")
@flag("-v", "--volumes", help="Remove their anonymous volumes, too.")
@services_argument
@pass_asked
def rm(asked: Asked, /, services: tuple[str, ...], force: bool, stop: bool, volumes: bool) -> None:
    """Remove stopped containers."""
    application = asked.application()
    if not asked.tells_only(application, "remove", *services, stop=stop):
        application.remove(*services, stop=stop, volumes=volumes)
