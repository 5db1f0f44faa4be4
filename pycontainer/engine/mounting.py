"""The sources of a container's mounts: found when it is created, opened once for each start.

What is opened here goes to the launch as a descriptor, and its name is not looked at again.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from pycontainer.errors import InvalidInput, InvalidOption, KernelError, NotFound
from pycontainer.kernel import syscalls
from pycontainer.options import parse_run_options
from pycontainer.store import SnapshotKey

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.options import MountPoint, RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["opened", "resolved", "written_over"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS


def resolved(engine: Engine, options: RunOptions) -> RunOptions:
    """The options with the layers of images to mount, and sources made that are to be made.

    Raises: NotFound naming a source or an image that is not there.
    """
    if not options.mounts:
        return options
    return attrs.evolve(options, mounts=tuple(_resolved(engine, point) for point in options.mounts))


def _resolved(engine: Engine, point: MountPoint) -> MountPoint:
    if point.kind == "image":
        from pycontainer.engine.images import Image

        return attrs.evolve(point, snapshots=Image.get(point.source, engine=engine).snapshots)
    if point.kind == "bind":
        if point.is_made and not os.path.lexists(point.source):
            os.makedirs(point.source, mode=0o755, exist_ok=True)
        os.close(_open(point))
    return point


def _open(point: MountPoint) -> int:
    try:
        return os.open(point.source, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"option mounts: the source {point.source} of {point.target} does not exist; make it first, "
            "or add bind-create-src"
        ) from None
    except OSError as error:
        raise KernelError(error.errno or 0, "open", point.source) from error


def opened(
    engine: Engine, record: ContainerRecord, cleanup: ExitStack
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Descriptors for a launch, closed with cleanup, and what they are the sources of, by place.

    Raises: NotFound; InvalidOption; KernelError.
    """
    fds: dict[str, int] = {}
    sources: dict[str, dict[str, Any]] = {}
    for index, point in enumerate(parse_run_options(**record.options).mounts or ()):
        if point.kind == "tmpfs":
            continue
        described: dict[str, Any] = {"subpath": point.subpath}
        if point.kind == "image":
            described["layers"] = [
                str(path) for path in engine.store.lower_dirs([SnapshotKey(key) for key in point.snapshots])
            ]
            if not described["layers"]:
                raise InvalidOption(f"option mounts: image {point.source} has no files to mount")
        else:
            described["fd"] = f"mount:{index}"
            fds[described["fd"]] = _open(point)
            cleanup.callback(os.close, fds[described["fd"]])
        if point.is_copied:
            described["cow"] = _written(engine, record, index)
        sources[posixpath.normpath(point.target)] = described
    return fds, sources


@contextmanager
def written_over(engine: Engine, record: ContainerRecord, target: str) -> Iterator[tuple[str, int]]:
    """The directory of what a container wrote to a copy on write, and one of what is below it.

    Raises: InvalidInput when there is no such mount; NotFound; KernelError.
    """
    wanted = posixpath.normpath(target)
    for index, point in enumerate(parse_run_options(**record.options).mounts or ()):
        if not point.is_copied or posixpath.normpath(point.target) != wanted:
            continue
        with ExitStack() as held:
            source = _open(point)
            held.callback(os.close, source)
            if point.subpath:
                try:
                    source = syscalls.openat2(source, os.fsencode(point.subpath), _DIRECTORY, _BENEATH)
                except OSError as error:
                    raise KernelError(error.errno or 0, "openat2", point.subpath) from error
                held.callback(os.close, source)
            yield _written(engine, record, index)["upper"], source
        return
    raise InvalidInput(f"{target} is no mount with mode=cow of container {record.name}")


def _written(engine: Engine, record: ContainerRecord, index: int) -> dict[str, str]:
    """Directories in the container's own for what it writes; they go with it, and stay between its runs."""
    place = engine.store.container_dir(record.id) / f"mount-{index}"
    for name in ("upper", "work"):
        (place / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return {name: str(place / name) for name in ("upper", "work")}
