"""What `run` and `create` do, once their flags are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from pycontainer.cli.edge import Failed, say
from pycontainer.cli.session import Session
from pycontainer.cli.spelling import given
from pycontainer.errors import InvalidOption, LaunchError, PycontainerError
from pycontainer.options import is_network

if TYPE_CHECKING:
    from pycontainer.engine import Container, Image

__all__ = ["REFUSED", "create", "run"]

REFUSED = {
    "cpu_count": "it is for Windows",
    "cpu_percent": "it is for Windows",
    "io_maxbandwidth": "it is for Windows",
    "io_maxiops": "it is for Windows",
    "kernel_memory": "kernels from 5.16 on have no such limit",
    "use_api_socket": "there is no daemon whose socket could be given",
}
"""Flags by parameter, and why they are refused."""


def create(session: Session, params: Mapping[str, Any]) -> None:
    """Make a container, and print its id. Raises: PycontainerError, BadFlag, Failed."""
    print(_created(session, params).id)


def run(session: Session, params: Mapping[str, Any], name: str) -> int:
    """Make a container, run it, and give its exit code.

    name: of the command, for its user. Raises: BadFlag; Failed, with Docker's codes.
    """
    if not params["is_detached"]:
        _check_terminal(params)
    try:
        if params["removes_image"]:
            params = {**params, "auto_remove": True}
        container = _created(session, params, starts=True)
        if params["is_detached"]:
            _start_or_remove(container, params)
            print(container.id)
            return 0
        if not params["removes_image"]:
            return _joined(session, container, params)
        image = container.image
        try:
            return _joined(session, container, params)
        finally:
            _remove_image(image)
    except PycontainerError as error:
        _fail(error, name)


def _remove_image(image: Image) -> None:
    try:
        image.remove()
    except PycontainerError as error:
        say(f"pycontainer: the image stays: {error}")


def _fail(error: PycontainerError, name: str) -> NoReturn:
    code = error.exit_code if isinstance(error, LaunchError) else 125
    raise Failed(f"pycontainer: {error}\n\nRun '{name} --help' for more information", code) from error


def _check_terminal(params: Mapping[str, Any]) -> None:
    attaches_input = params["stdin_open"] and (not params["streams"] or "stdin" in params["streams"])
    if params["tty"] and attaches_input and not os.isatty(0):
        raise Failed("the input device is not a TTY")


def _joined(session: Session, container: Container, params: Mapping[str, Any]) -> int:
    wanted = params["streams"] or (*(["stdin"] if params["stdin_open"] else []), "stdout", "stderr")
    keys = params["detach_keys"]
    try:
        code = container.interact(
            start=True,
            stdin="stdin" in wanted,
            stdout="stdout" in wanted,
            stderr="stderr" in wanted,
            detach_keys=session.detach_keys if keys is None else keys,
            sig_proxy=params["sig_proxy"],
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


def _created(session: Session, params: Mapping[str, Any], *, starts: bool = False) -> Container:
    """Make the container. starts: it is to be started then. Raises: PycontainerError; BadFlag; Failed."""
    _check_refused(params)
    options = given(params)
    options.setdefault("platform", session.platform)
    options.setdefault("network", ["bridge"])
    if params["is_quiet"]:
        session.progress = "off"
    from pycontainer.engine import Container

    with _reserved(params["cidfile"]) as cidfile:
        _tell_missing(session, params)
        if starts and len(options["network"]) == 1 and is_network(options["network"][0]):
            from pycontainer.engine import expect_network  # containers without networks do without

            expect_network(session.engine, options["network"][0])
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
        say(f"Unable to find image {params['image']!r} locally")


def _check_refused(params: Mapping[str, Any]) -> None:
    for name, reason in REFUSED.items():
        if params[name]:
            raise InvalidOption(f"--{name.replace('_', '-')} is not here: {reason}; leave it out")
    if params["volume_driver"] not in (None, "", "local"):
        raise InvalidOption(f"--volume-driver={params['volume_driver']}: there is only local")
    if params["isolation"] not in (None, "", "default"):
        raise InvalidOption(f"--isolation={params['isolation']} is for Windows; leave it out")
    if params["runtime"] not in (None, "", "pycontainer", "runc", "io.containerd.runc.v2"):
        raise InvalidOption(f"--runtime={params['runtime']}: there is only pycontainer's own; leave it out")
