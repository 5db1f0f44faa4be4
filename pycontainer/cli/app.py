"""The table of all commands, and the options that stand before them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pycontainer.cli.command import Entry, Flag, Group, Nested
from pycontainer.cli.session import Session

__all__ = ["COMMANDS", "GROUPS", "app"]

COMMANDS = {
    "attach": Entry("starting:attach", "Join the terminal to a running container"),
    "build": Entry("build:build", "Build an image from a Dockerfile"),
    "commit": Entry("files:commit", "Make an image of a container's changes"),
    "compose": Entry("compose:command", "Bring up and take down applications of several containers"),
    "completion": Entry("completion:completion", "Print the completion script of a shell"),
    "cp": Entry("files:cp", "Copy files between a container and this host"),
    "create": Entry("running:create", "Make a container without starting it"),
    "diff": Entry("files:diff", "List what a container changed of its image's files"),
    "doctor": Entry("doctor:command", "Tell what this host can do, and the remedy for what it cannot"),
    "events": Entry("events:events", "Print what happens, as it happens"),
    "exec": Entry("execute:execute", "Run a command in a running container"),
    "export": Entry("files:export", "Write a container's files as a tar"),
    "help": Entry("helping:help_", "Show the help of a command", True),
    "history": Entry("images:history", "Show how an image was made"),
    "images": Entry("images:images", "List images"),
    "import": Entry("archives:import_", "Make an image of a tar of files"),
    "info": Entry("system:info", "Tell about this engine and its host"),
    "inspect": Entry("inspecting:inspect", "Show everything about containers, images, networks or volumes"),
    "kill": Entry("steering:kill", "Send containers a signal"),
    "load": Entry("archives:load", "Load images from an archive"),
    "login": Entry("accounts:login", "Keep an account of a registry"),
    "logout": Entry("accounts:logout", "Forget an account of a registry"),
    "logs": Entry("logs:logs", "Show what a container wrote"),
    "mount": Entry("mounting:mount", "Show where a running container's files are on this host", True),
    "pause": Entry("steering:pause", "Stop all processes of containers where they are"),
    "port": Entry("observing:port", "List the published ports of a container"),
    "ps": Entry("ps:ps", "List containers"),
    "pull": Entry("transfers:pull", "Bring an image from its registry"),
    "push": Entry("transfers:push", "Upload an image to a registry"),
    "rename": Entry("steering:rename", "Give a container another name"),
    "restart": Entry("steering:restart", "Stop containers and start them again"),
    "rm": Entry("steering:remove", "Remove containers"),
    "rmi": Entry("images:remove", "Remove images"),
    "run": Entry("running:run", "Make a container and run it"),
    "save": Entry("archives:save", "Write images to an archive"),
    "search": Entry("accounts:search", "Look for images in a registry"),
    "start": Entry("starting:start", "Start containers"),
    "start-all": Entry("start_all:command", "Start the containers that are to run again after a reboot"),
    "stats": Entry("stats:stats", "Watch what containers use"),
    "stop": Entry("steering:stop", "Stop containers"),
    "stop-all": Entry("stop_all:command", "Stop them for a shutdown, after which they are to run again"),
    "systemd": Entry("systemd:command", "Print a systemd unit that does so at boot"),
    "tag": Entry("images:tag", "Give an image another name"),
    "top": Entry("observing:top", "List the processes of a container"),
    "unpause": Entry("steering:unpause", "Let the processes of containers go on"),
    "untag": Entry("images:untag", "Take names of an image away"),
    "update": Entry("steering:update", "Change limits of containers"),
    "version": Entry("version:version", "Tell the versions of this package and of what it runs on"),
    "wait": Entry("steering:wait", "Wait until containers have ended, and print their exit codes"),
}


_ONE_CONTEXT = "containers run on this machine only, which is the context default"


def _of(*names: str, **others: Entry | str) -> dict[str, Entry]:
    """Commands of a group: those of the same name above, and others under another one."""
    found = {name: COMMANDS[name] for name in names}
    for name, entry in others.items():
        found[name] = COMMANDS[entry] if isinstance(entry, str) else entry
    return dict(sorted(found.items()))


GROUPS = {
    "builder": Nested(
        "Manage builds",
        _of("build", prune=Entry("build:prune", "Forget what builds have kept")),
    ),
    "buildx": Nested(
        "Manage builds",
        _of("build", prune=Entry("build:prune", "Forget what builds have kept")),
        is_hidden=True,
    ),
    "container": Nested(
        "Manage containers",
        _of(
            *("attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "mount"),
            *("pause", "port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top"),
            *("unpause", "update", "wait"),
            inspect=Entry("inspecting:inspect_containers", "Show everything about containers"),
            list=COMMANDS["ps"]._replace(is_hidden=True),
            ls="ps",
            ps=COMMANDS["ps"]._replace(is_hidden=True),
            prune=Entry("pruning:prune_containers", "Remove all containers that do not run"),
            remove=COMMANDS["rm"]._replace(is_hidden=True),
        ),
    ),
    "context": Nested(
        "Tell where containers run",
        _of(
            inspect=Entry("contexts:inspect", "Show everything about the context"),
            ls=Entry("contexts:ls", "List contexts"),
            show=Entry("contexts:show", "Print the name of the current context"),
            use=Entry("contexts:use", "Choose a context"),
        ),
        refused=dict.fromkeys(("create", "export", "import", "rm", "update"), _ONE_CONTEXT),
    ),
    "healthcheck": Nested(
        "Check the health of containers",
        _of(run=Entry("execute:check_health", "Run the health check of a container now")),
    ),
    "image": Nested(
        "Manage images",
        _of(
            *("build", "history", "import", "load", "pull", "push", "save", "tag", "untag"),
            inspect=Entry("inspecting:inspect_images", "Show everything about images"),
            list=COMMANDS["images"]._replace(is_hidden=True),
            ls="images",
            prune=Entry("pruning:prune_images", "Remove unused images"),
            remove=COMMANDS["rmi"]._replace(is_hidden=True),
            rm="rmi",
        ),
    ),
    "manifest": Nested(
        "Make indexes of images for several platforms",
        _of(
            annotate=Entry("manifests:annotate", "Say more about an image of an index"),
            create=Entry("manifests:create", "Begin an index of images"),
            inspect=Entry("manifests:inspect", "Show a manifest or index"),
            push=Entry("manifests:push", "Upload an index with its images"),
            rm=Entry("manifests:remove", "Forget indexes"),
        ),
    ),
    "network": Nested(
        "Manage networks",
        _of(
            connect=Entry("networks:connect", "Give a container a place in a network"),
            create=Entry("networks:create", "Make a network"),
            disconnect=Entry("networks:disconnect", "Take a container's place in a network away"),
            inspect=Entry("inspecting:inspect_networks", "Show everything about networks"),
            list=Entry("networks:ls", "List networks", True),
            ls=Entry("networks:ls", "List networks"),
            prune=Entry("pruning:prune_networks", "Remove all networks that no container uses"),
            remove=Entry("networks:remove", "Remove networks", True),
            rm=Entry("networks:remove", "Remove networks"),
        ),
    ),
    "system": Nested(
        "Manage the engine",
        _of(
            *("events", "info"),
            check=Entry("checking:check", "Check all that is stored, and repair it"),
            df=Entry("system:df", "Tell how much room everything takes"),
            prune=Entry("pruning:prune_system", "Remove what is not used"),
        ),
    ),
    "volume": Nested(
        "Manage volumes",
        _of(
            create=Entry("volumes:create", "Make a volume"),
            export=Entry("volumes:export", "Write a volume's files as a tar"),
            inspect=Entry("inspecting:inspect_volumes", "Show everything about volumes"),
            list=Entry("volumes:ls", "List volumes", True),
            ls=Entry("volumes:ls", "List volumes"),
            prune=Entry("pruning:prune_volumes", "Remove volumes that no container uses"),
            remove=Entry("volumes:remove", "Remove volumes", True),
            rm=Entry("volumes:remove", "Remove volumes"),
            **{"import": Entry("volumes:import_", "Unpack a tar into a volume")},
        ),
    ),
}
"""Groups of commands; what stands in COMMANDS as well is the same command."""

_NO_SWARM = "it is part of Docker's swarm mode"
REFUSED = {
    "checkpoint": "checkpoints need CRIU",
    "config": _NO_SWARM,
    "node": _NO_SWARM,
    "plugin": "there is no daemon to plug into",
    "secret": _NO_SWARM,
    "service": _NO_SWARM,
    "stack": _NO_SWARM,
    "swarm": _NO_SWARM,
    "trust": "Docker content trust has ended; see the guide about signatures",
}

_LOCAL = ("unix://", "fd://", "npipe://")


def _check_host(host: str | None, origin: str) -> None:
    """There is no daemon; to work here what was meant for another machine would be a bad surprise."""
    if host and not host.startswith(_LOCAL):
        raise click.UsageError(
            f"{origin} is {host!r}, but containers run on this machine only; "
            "leave it out, or run this command there, as with ssh"
        )


def _check_context(name: str | None, origin: str) -> None:
    if name not in (None, "", "default"):
        raise click.UsageError(f"{origin} is {name!r}, but there is only the context default")


def _version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        from pycontainer import __version__

        click.echo(f"pycontainer version {__version__}")
        ctx.exit()


@click.command(
    cls=Group,
    table={**COMMANDS, **GROUPS},
    refused=REFUSED,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--root", type=click.Path(path_type=Path), help="Directory of the store.")
@click.option("-H", "--host", metavar="URL", help="Taken for Docker's sake: local sockets only.")
@click.option("-c", "--context", "context_name", metavar="NAME", help="Taken for Docker's sake: default.")
@click.option("--config", metavar="DIRECTORY", help="Directory of Docker's config.json.")
@click.option("-D", "--debug", cls=Flag, help="Tell on standard error what is done.")
@click.option(
    "-l",
    "--log-level",
    type=click.Choice(["debug", "info", "warn", "error", "fatal"]),
    help="How much is told on standard error.",
)
@click.option("--tls", cls=Flag, help="Without effect: there is no connection to secure.")
@click.option("--tlscacert", metavar="FILE", help="Without effect, as --tls.")
@click.option("--tlscert", metavar="FILE", help="Without effect, as --tls.")
@click.option("--tlskey", metavar="FILE", help="Without effect, as --tls.")
@click.option("--tlsverify", cls=Flag, help="Without effect, as --tls.")
@click.option("-v", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Print the version.")  # fmt: skip
@click.pass_context
def app(
    ctx: click.Context,
    root: Path | None,
    host: str | None,
    context_name: str | None,
    config: str | None,
    debug: bool,
    log_level: str | None,
    tls: bool,
    tlscacert: str | None,
    tlscert: str | None,
    tlskey: str | None,
    tlsverify: bool,
) -> None:
    """Containers without a daemon."""
    session = ctx.ensure_object(Session)
    _check_host(host, "--host")
    _check_context(context_name, "--context")
    if host is None and context_name is None:
        _check_host(session.environ.get("DOCKER_HOST"), "DOCKER_HOST")
        _check_context(session.environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT")
    session.root = root
    if config is not None:
        session.config_dir = Path(config)
        os.environ["DOCKER_CONFIG"] = config  # which accounts of registries are read by
    if debug or log_level is not None:
        import logging

        named = {"warn": "WARNING", "fatal": "CRITICAL"}.get(log_level or "", (log_level or "").upper())
        logging.basicConfig(level="DEBUG" if debug else named)
