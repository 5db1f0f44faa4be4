"""The commands of `pycontainer compose` that look, and that run further programs."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.composing import (
    Asked,
    age,
    container_status,
    pass_asked,
    ports_shown,
    print_logs,
    services_argument,
    table,
    uses_color,
    variables,
    variables_of_files,
)

if TYPE_CHECKING:
    from pycontainer.engine import Container


@command("ps")
@flag("-a", "--all", "is_all", help="Also those that do not run.")
@flag("-q", "--quiet", help="Print ids alone.")
@flag("--services", "only_services", help="Print the names of services.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to list.")
@click.option("--status", "states", multiple=True, help="Those in this state: running, exited …")
@click.option("--filter", "filters", multiple=True, metavar="status=STATE", help="Those in a state.")
@flag("--no-trunc", help="Do not shorten what is long.")
@flag("--orphans", default=True, help="Also those of services that are no longer in the file.")
@services_argument
@pass_asked
def ps(
    asked: Asked,
    /,
    services: tuple[str, ...],
    is_all: bool,
    quiet: bool,
    only_services: bool,
    form: str,
    states: tuple[str, ...],
    filters: tuple[str, ...],
    no_trunc: bool,
    orphans: bool,
) -> None:
    """List the containers of an application."""
    states += tuple(each.removeprefix("status=") for each in filters)
    application = asked.application()
    found = [
        (name, each)
        for name, service in application.services.items()
        if (not services or name in services) and (orphans or name in application.project.services)
        for each in service.containers
        if (each.state in states if states else is_all or each.state in ("running", "paused", "restarting"))
    ]
    if quiet:
        click.echo("".join(f"{each.id}\n" for _, each in found), nl=False)
    elif only_services:
        click.echo("".join(f"{name}\n" for name in dict.fromkeys(name for name, _ in found)), nl=False)
    elif form == "json":
        for name, each in found:
            click.echo(json.dumps(_described(name, each, application.name)))
    else:
        rows = [_row(name, each, is_whole=no_trunc) for name, each in found]
        table(("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"), rows)


def _words(container: Container) -> str:
    document = container.inspect()
    return " ".join((document["Path"], *document["Args"]))


def _row(service: str, container: Container, *, is_whole: bool) -> tuple[str, ...]:
    words = _words(container)
    if not is_whole and len(words) > 20:
        words = f"{words[:19]}…"
    created = f"{age(container.created_at)} ago"
    image = str(container.inspect()["Config"]["Image"])
    shown = json.dumps(words, ensure_ascii=False)
    return container.name, image, shown, service, created, container_status(container), ports_shown(container)


def _described(service: str, container: Container, project: str) -> dict[str, Any]:
    health = container.health
    return {
        "ID": container.id,
        "Name": container.name,
        "Project": project,
        "Service": service,
        "Image": container.inspect()["Config"]["Image"],
        "Command": _words(container),
        "CreatedAt": container.created_at.isoformat(),
        "State": container.state,
        "Status": container_status(container),
        "Health": health.status if health is not None else "",
        "ExitCode": container.exit_code or 0,
        "Ports": ports_shown(container),
        "Labels": dict(container.labels),
    }


@command("logs")
@flag("-f", "--follow", help="Go on until the containers have ended.")
@click.option("-n", "--tail", default="all", metavar="NUMBER", help="So many of the last lines of each.")
@click.option("--since", metavar="TIME", help="From a time on, as 2026-01-31T12:00:00Z or 10m (ago).")
@click.option("--until", metavar="TIME", help="Up to a time.")
@flag("-t", "--timestamps", help="Begin lines with their time.")
@flag("--no-log-prefix", help="Do not say who wrote a line.")
@flag("--no-color", help="Without colours.")
@click.option("--index", type=int, help="Number of the container, if the service has several.")
@services_argument
@pass_asked
def logs(
    asked: Asked,
    /,
    services: tuple[str, ...],
    follow: bool,
    tail: str,
    since: str | None,
    until: str | None,
    timestamps: bool,
    no_log_prefix: bool,
    no_color: bool,
    index: int | None,
) -> None:
    """Show what the containers wrote."""
    if tail != "all" and not tail.isdecimal():
        raise click.BadParameter(f"{tail!r}: give a number of lines, or all", param_hint="--tail")
    application = asked.application()
    lines = application.logs(
        *services, follow=follow, tail=None if tail == "all" else int(tail), since=since, until=until
    )
    sources = [
        f"{name}-{number}"
        for name, each in application.services.items()
        if not services or name in services
        for number in range(1, len(each.containers) + 1)
        if index in (None, number)
    ]
    print_logs(
        lines if index is None else (line for line in lines if line.source in sources),
        sources,
        has_prefix=not no_log_prefix,
        has_color=uses_color(no_color),
        has_times=timestamps,
    )


@command("exec", passes_rest=True)
@flag("-d", "--detach", help="Leave it running in the background.")
@click.option("-e", "--env", multiple=True, metavar="KEY=VALUE", help="A variable.")
@click.option("--index", type=int, help="Number of the container, if the service has several.")
@flag("-T", "--no-TTY", "--no-tty", "no_tty", help="Without a terminal.")
@flag("-i", "--interactive", default=True, hidden=True)
@flag("-t", "--tty", hidden=True)
@flag("--privileged", help="With all capabilities.")
@click.option("-u", "--user", metavar="USER", help="User, by name or number.")
@click.option("-w", "--workdir", metavar="PATH", help="Directory to begin in.")
@click.argument("service")
@click.argument("words", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_asked
def execute(asked: Asked, /, service: str, words: tuple[str, ...], **given: Any) -> None:
    """Run a further program in a container of a service; ends with its exit code."""
    from subprocess import DEVNULL, PIPE

    from pycontainer.errors import LaunchError

    container = asked.application()[service].numbered(given["index"])
    has_tty = not given["no_tty"] and not given["detach"] and os.isatty(0) and os.isatty(1)
    options: dict[str, Any] = {
        "env": variables(given["env"]),
        "user": given["user"],
        "workdir": given["workdir"],
        "privileged": given["privileged"],
        "tty": has_tty,
    }
    try:
        if given["detach"]:
            container.popen(words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, detach=True, **options)
            return
        # Pipes of its own: a program that is given our terminal could type into it.
        with container.popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options) as process:
            code = process.interact(detach_keys="", sig_proxy=False)
    except LaunchError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    click.get_current_context().exit(code or 0)


@command("run", passes_rest=True)
@flag("-d", "--detach", help="Leave it running, and print its name.")
@flag("--rm", "is_removed", help="Remove it when it has ended.")
@click.option("--cap-add", multiple=True, metavar="CAPABILITY", help="A further capability.")
@click.option("--cap-drop", multiple=True, metavar="CAPABILITY", help="A capability less.")
@click.option("--entrypoint", metavar="COMMAND", help="Another entrypoint.")
@click.option("-e", "--env", multiple=True, metavar="KEY=VALUE", help="A variable.")
@click.option("--env-from-file", multiple=True, metavar="FILE", help="Variables from a file.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option("--name", metavar="NAME", help="Name of the container.")
@flag("--no-deps", help="Without the services it depends on.")
@flag("--remove-orphans", help="Remove containers of services that are no longer in the file.")
@click.option("-p", "--publish", multiple=True, metavar="PORT", help="Publish a port.")
@flag("-P", "--service-ports", help="Publish the service's ports.")
@flag("--use-aliases", help="Let it be found by the service's names.")
@click.option("-u", "--user", metavar="USER", help="User, by name or number.")
@click.option("-v", "--volume", multiple=True, metavar="VOLUME", help="A further volume.")
@click.option("-w", "--workdir", metavar="PATH", help="Directory to begin in.")
@flag("-T", "--no-TTY", "--no-tty", "no_tty", help="Without a terminal.")
@flag("-i", "--interactive", default=True, hidden=True)
@flag("--build", "is_built", help="Build the image before.")
@click.option("--pull", type=click.Choice(["always", "missing", "never"]), help="When to ask the registry.")
@flag("-q", "--quiet", help="Show no progress.")
@flag("--quiet-build", help="Show no output of builds; none is shown in any case.")
@flag("--quiet-pull", help="Show no progress of pulls.")
@click.argument("service")
@click.argument("words", metavar="[COMMAND] [ARG]...", nargs=-1, type=click.UNPROCESSED)
@pass_asked
def run(asked: Asked, /, service: str, words: tuple[str, ...], **given: Any) -> None:
    """Run a one-off container of a service; ends with its exit code."""
    has_tty = not given["no_tty"] and not given["detach"] and os.isatty(0) and os.isatty(1)
    if given["quiet"] or given["quiet_pull"]:
        asked.session.progress = "off"
    application = asked.application(needs_files=True)
    changes: dict[str, Any] = {
        "env": {**variables_of_files(given["env_from_file"]), **variables(given["env"])},
        "labels": {key: value for key, _, value in (line.partition("=") for line in given["label"])},
        "tty": has_tty,
        "stdin_open": not given["detach"],
    }
    for option, key in (
        ("entrypoint", "entrypoint"),
        ("name", "name"),
        ("user", "user"),
        ("workdir", "workdir"),
    ):
        if given[option] is not None:
            changes[key] = given[option]
    known = application.project.services.get(service)
    for key in ("cap_add", "cap_drop"):
        if given[key]:
            changes[key] = [*(known.keys.get(key, ()) if known is not None else ()), *given[key]]
    if given["volume"]:
        changes["volumes"] = list(given["volume"])
    if given["publish"]:
        changes["ports"] = list(given["publish"])
    if given["detach"]:
        changes["auto_remove"] = given["is_removed"]
    container = application.create_oneoff(
        service,
        list(words) or None,
        no_deps=given["no_deps"],
        service_ports=given["service_ports"],
        use_aliases=given["use_aliases"],
        build=given["is_built"] or None,
        pull=given["pull"],
        remove_orphans=given["remove_orphans"],
        **changes,
    )
    if given["detach"]:
        container.start()
        click.echo(container.name)
        return
    click.get_current_context().exit(_attached(container, is_removed=given["is_removed"]))


def _attached(container: Container, *, is_removed: bool) -> int:
    from pycontainer.errors import LaunchError

    try:
        return container.interact(start=True) or 0
    except LaunchError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    finally:
        if is_removed:
            container.remove(force=True, volumes=True)


@command("port")
@click.option("--protocol", type=click.Choice(["tcp", "udp"]), default="tcp", help="Protocol of the port.")
@click.option("--index", type=int, default=1, help="Number of the container, if the service has several.")
@click.argument("service")
@click.argument("private_port", type=int)
@pass_asked
def port(asked: Asked, /, service: str, private_port: int, protocol: str, index: int) -> None:
    """Print where a port of a service is found on this host."""
    click.echo(str(asked.application().port(service, private_port, protocol=protocol, index=index)))


@command("ls")
@flag("-a", "--all", "is_all", help="Also those of which nothing runs.")
@flag("-q", "--quiet", help="Print names alone.")
@click.option("--filter", "filters", multiple=True, metavar="name=PATTERN", help="Those whose name fits.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to list.")
@pass_asked
def ls(asked: Asked, /, is_all: bool, quiet: bool, filters: tuple[str, ...], form: str) -> None:
    """List applications that have containers."""
    from pycontainer.compose import list_projects

    patterns = [each.removeprefix("name=") for each in filters]
    if any(not each.startswith("name=") for each in filters):
        raise click.BadParameter("give name=PATTERN", param_hint="--filter")
    found = [
        each
        for each in list_projects(asked.engine)
        if (is_all or each.is_running) and (not patterns or any(re.search(it, each.name) for it in patterns))
    ]
    if quiet:
        click.echo("".join(f"{each.name}\n" for each in found), nl=False)
    elif form == "json":
        documents = [{"Name": each.name, "Status": each.status, "ConfigFiles": each.files} for each in found]
        click.echo(json.dumps(documents))
    else:
        table(("NAME", "STATUS", "CONFIG FILES"), [(each.name, each.status, each.files) for each in found])
