"""`pycontainer run` and `pycontainer create`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar, cast

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import images
from pycontainer.cli.declared import declared, given
from pycontainer.cli.edge import Failed
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import InvalidOption, LaunchError, PycontainerError
from pycontainer.options import OPTIONS

if TYPE_CHECKING:
    from pycontainer.engine import Container

__all__ = ["create", "run"]

F = TypeVar("F", bound=Callable[..., Any])

_STREAMS = ("stdin", "stdout", "stderr")
_REFUSED = {
    "cpu_count": "it is for Windows",
    "cpu_percent": "it is for Windows",
    "io_maxbandwidth": "it is for Windows",
    "io_maxiops": "it is for Windows",
    "kernel_memory": "kernels from 5.16 on have no such limit",
    "use_api_socket": "there is no daemon whose socket could be given",
}
_REFUSED_VALUES = [name for name in _REFUSED if name != "use_api_socket"]


def _both(function: F) -> F:
    """The flags that `run` and `create` have in common."""
    decorations: list[Callable[[Any], Any]] = [
        click.option(
            "-a",
            "--attach",
            "streams",
            multiple=True,
            type=click.Choice(_STREAMS, case_sensitive=False),
            help="Attach to these streams alone.",
        ),
        click.option(
            "--cidfile", type=click.Path(path_type=Path), help="Write the container's id to this file."
        ),
        flag("-q", "--quiet", "is_quiet", help="Do not show how the image is pulled."),
        declared(name for name in OPTIONS if name != "command"),
        click.option("--runtime", metavar="NAME", help="Taken for Docker's sake: there is one."),
        click.option("--volume-driver", metavar="NAME", help="Driver of volumes without a name: local."),
        click.option("--isolation", metavar="NAME", help="Taken for Docker's sake: default."),
        flag("--disable-content-trust", default=True, help="Without effect.", hidden=True),
        flag("--use-api-socket", hidden=True),
        *(click.option(f"--{name.replace('_', '-')}", hidden=True) for name in _REFUSED_VALUES),
        click.argument("image", shell_complete=images),
        click.argument("words", metavar="[COMMAND] [ARG]...", nargs=-1, type=click.UNPROCESSED),
        pass_session,
    ]
    made: Any = function
    for decorate in reversed(decorations):
        made = decorate(made)
    return cast("F", made)


@command("create", passes_rest=True)
@_both
def create(session: Session, **params: Any) -> None:
    """Make a container of an image without starting it, and print its id."""
    container = _created(session, params)
    click.echo(container.id)


@command("run", passes_rest=True)
@flag("-d", "--detach", "is_detached", help="Let it run in the background, and print its id.")
@click.option("--detach-keys", metavar="KEYS", help="Keys to leave it by: ctrl-p,ctrl-q unless given.")
@flag("--sig-proxy", default=True, help="Pass signals on to it.")
@_both
def run(session: Session, is_detached: bool, detach_keys: str | None, sig_proxy: bool, **params: Any) -> int:
    """Make a container of an image, run it, and end with its exit code.

    125 is the code when it could not be run, 126 when its program cannot be executed, 127 when that is not
    there.
    """
    streams = params["streams"]
    if is_detached and streams:
        raise click.UsageError("-d and -a go not together; leave one out")
    if not is_detached:
        _check_terminal(params)
    try:
        container = _created(session, params)
        if is_detached:
            _start_or_remove(container, params)
            click.echo(container.id)
            return 0
        return _joined(session, container, params, detach_keys, sig_proxy)
    except PycontainerError as error:
        _fail(error, click.get_current_context())


def _fail(error: PycontainerError, context: click.Context) -> NoReturn:
    code = error.exit_code if isinstance(error, LaunchError) else 125
    hint = f"Run '{context.command_path} --help' for more information"
    raise Failed(f"pycontainer: {error}\n\n{hint}", code) from error


def _check_terminal(params: Mapping[str, Any]) -> None:
    attaches_input = params["stdin_open"] and (not params["streams"] or "stdin" in params["streams"])
    if params["tty"] and attaches_input and not os.isatty(0):
        raise Failed("the input device is not a TTY")


def _joined(
    session: Session, container: Container, params: Mapping[str, Any], keys: str | None, sig_proxy: bool
) -> int:
    wanted = params["streams"] or (*(["stdin"] if params["stdin_open"] else []), "stdout", "stderr")
    try:
        code = container.interact(
            start=True,
            stdin="stdin" in wanted,
            stdout="stdout" in wanted,
            stderr="stderr" in wanted,
            detach_keys=session.detach_keys if keys is None else keys,
            sig_proxy=sig_proxy,
        )
    except LaunchError:
        _remove_failed(container, params)
        raise
    return 0 if code is None else code


def _start_or_remove(container: Container, params: Mapping[str, Any]) -> None:
    try:
        container.start()
    except LaunchError:
        _remove_failed(container, params)
        raise


def _remove_failed(container: Container, params: Mapping[str, Any]) -> None:
    if params["auto_remove"]:
        container.remove(force=True, volumes=True)


def _created(session: Session, params: dict[str, Any]) -> Container:
    """Make the container. Raises: PycontainerError; click.BadParameter; Failed."""
    _check_refused(params)
    options = given(params)
    options.setdefault("platform", session.platform)
    options.setdefault("network", ["bridge"])
    if params["is_quiet"]:
        session.progress = "off"
    session.warm_up()
    from pycontainer.engine import Container

    with _reserved(params["cidfile"]) as cidfile:
        _tell_missing(session, params)
        container = Container.create(
            params["image"], params["words"] or None, engine=session.engine, **options
        )
        if cidfile is not None:
            cidfile.write(container.id)
    return container


@contextmanager
def _reserved(path: Path | None) -> Iterator[TextIO | None]:
    """A new file for the container's id, gone again when there is none. Raises: Failed when there is one."""
    if path is None:
        yield None
        return
    try:
        file = path.open("x")
    except FileExistsError:
        raise Failed(f"pycontainer: {path} exists; remove it, or give another file", 125) from None
    with file:
        try:
            yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _tell_missing(session: Session, params: Mapping[str, Any]) -> None:
    """As Docker says it, before an image is pulled."""
    from pycontainer.engine import Image
    from pycontainer.errors import NotFound

    if params["is_quiet"] or params["pull"] not in (None, "missing"):
        return
    try:
        Image.get(params["image"], engine=session.engine)
    except NotFound:
        click.echo(f"Unable to find image {params['image']!r} locally", err=True)


def _check_refused(params: Mapping[str, Any]) -> None:
    for name, reason in _REFUSED.items():
        if params[name]:
            raise InvalidOption(f"--{name.replace('_', '-')} is not here: {reason}; leave it out")
    if params["volume_driver"] not in (None, "", "local"):
        raise InvalidOption(f"--volume-driver={params['volume_driver']}: there is only local")
    if params["isolation"] not in (None, "", "default"):
        raise InvalidOption(f"--isolation={params['isolation']} is for Windows; leave it out")
    if params["runtime"] not in (None, "", "pycontainer", "runc", "io.containerd.runc.v2"):
        raise InvalidOption(f"--runtime={params['runtime']}: there is only pycontainer's own; leave it out")
