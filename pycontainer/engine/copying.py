"""Copies into a container and out of it, as `docker cp` and `docker export` make them.

What lies in the container is resolved and read there, in a job; what lies on the host is the caller's, and is
opened here, as the caller would.
"""

from __future__ import annotations

import fcntl
import io
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from pycontainer.engine.events import emit_container
from pycontainer.engine.files import Rooted, await_event, until
from pycontainer.engine.paths import ContainerPath
from pycontainer.errors import Conflict, InvalidInput, KernelError, NotFound
from pycontainer.image import whole_file
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container

__all__ = ["Copied", "copied", "copy_from", "copy_to", "export", "unpack"]

HostPath = str | os.PathLike[str]
Duration = float | str | timedelta

_CHUNK = 1 << 18
_PIPE_SIZE = 1 << 20
_FOUND = os.O_PATH | os.O_CLOEXEC


@attrs.frozen(kw_only=True)
class Copied:
    """What was copied. entries: files, directories, links. size_bytes: of files' data, holes left out.

    skipped: paths, from the source on, of what was left out: sockets; what is mounted below it of /proc,
    /sys and their like; and, out of a container but for archive=True, devices.
    """

    entries: int
    size_bytes: int
    skipped: tuple[str, ...] = ()


def copy_to(
    container: Container,
    src: HostPath | bytes | BinaryIO,
    dst: str | ContainerPath,
    *,
    archive: bool,
    follow_link: bool,
    timeout: Duration | None,
) -> Copied:
    """See Container.copy_to."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    params: dict[str, Any] = {
        "dst": _inside(dst, container),
        "name": "",
        "is_content": False,
        "is_tar": False,
    }
    if isinstance(src, (str, os.PathLike)):
        raw, fd = _host_source(src, follow_link)
        params |= {"is_tar": False, "owner": None if archive else (0, 0), **_source_name(raw)}
        if params["is_content"] and not stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise Conflict(f"{raw} is not a directory")
        try:
            told = container._run_job("copy_in", params, [fd], deadline=deadline)
        finally:
            os.close(fd)
    else:
        params |= {"owner": None, "is_tar": True}
        stream = BytesIO(src) if isinstance(src, bytes) else src
        told = _fed(container, params, stream, deadline)
    emit_container(container._engine, "copy", container._current)
    return copied(told)


def copy_from(
    container: Container,
    src: str | ContainerPath,
    dst: HostPath | BinaryIO,
    *,
    archive: bool,
    follow_link: bool,
    timeout: Duration | None,
) -> Copied:
    """See Container.copy_from."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    raw = _inside(src, container)
    params: dict[str, Any] = {"src": raw, **_source_name(raw)}
    params["follow"] = follow_link or raw.endswith("/") or params["is_content"]
    if not isinstance(dst, (str, os.PathLike)):
        told = _streamed(container, "copy_out", {**params, "is_tar": True}, dst, deadline)
    else:
        target, about = _host_target(dst)
        own = (os.geteuid(), os.getegid())
        params |= {"is_tar": False, "owner": None if archive else own, "is_plain": not archive, **about}
        try:
            told = container._run_job("copy_out", params, [target], deadline=deadline)
        finally:
            os.close(target)
    emit_container(container._engine, "copy", container._current)
    return copied(told)


def export(owner: Rooted, target: HostPath | BinaryIO, *, timeout: Duration | None) -> Copied:
    """Write all of a container or volume as a tar. See Container.export, Volume.export."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    if not isinstance(target, (str, os.PathLike)):
        return copied(_streamed(owner, "export", {}, target, deadline))
    path = os.fspath(target)
    if os.path.isdir(path):
        raise Conflict(f"{path} is a directory; give the name of a file")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise NotFound(f"the directory that {path} is to be in is not there; make it first")
    with whole_file(path) as file:
        return copied(_streamed(owner, "export", {}, file, deadline))


def unpack(owner: Rooted, source: HostPath | bytes | BinaryIO, *, timeout: Duration | None) -> Copied:
    """Unpack a tar over all of a volume. See Volume.load."""
    deadline = until(None if timeout is None else given_seconds(timeout))
    params = {"dst": "/", "name": "", "is_content": False, "is_tar": True, "owner": None}
    if isinstance(source, (str, os.PathLike)):
        try:
            file = open(source, "rb")  # noqa: SIM115  (closed below)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"no {os.fspath(source)} on this host") from None
        with file:
            return copied(_fed(owner, params, file, deadline))
    stream = BytesIO(source) if isinstance(source, bytes) else source
    return copied(_fed(owner, params, stream, deadline))


def copied(told: dict[str, Any]) -> Copied:
    """What a job has told of it."""
    return Copied(entries=told["entries"], size_bytes=told["size"], skipped=tuple(told["skipped"]))


def _inside(path: str | ContainerPath, container: Container) -> str:
    """The container's path as text, its end as it was written: that says what is meant."""
    if isinstance(path, ContainerPath):
        if path.container != container:
            raise InvalidInput(f"{path} is a path of another container, not of {container.name}")
        path = str(path)
    if not path or "\0" in path:
        raise InvalidInput(f"{path!r} is no path in a container")
    return path if path.startswith("/") else f"/{path}"


def _source_name(raw: str) -> dict[str, Any]:
    """What the source is called at the destination; its content alone is meant by "/." in the end."""
    name = os.path.basename(os.path.abspath(raw))
    is_content = raw == "." or raw.endswith("/.") or not name
    return {"name": name, "is_content": is_content}


def _host_source(src: HostPath, follow: bool) -> tuple[str, int]:
    raw = os.fspath(src)
    follow = follow or raw == "." or raw.endswith(("/", "/."))
    try:
        return raw, os.open(raw, _FOUND if follow else _FOUND | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no {raw} on this host") from None
    except OSError as error:
        raise KernelError(error.errno or 0, "open", raw) from error


def _host_target(dst: HostPath) -> tuple[int, dict[str, Any]]:
    """The directory of the host to copy to, or into, and what the job has to know of it.

    A link that is not followed by a slash stands for itself: the last copy may have put it there, for the
    container's sake, to lead this one elsewhere.
    """
    raw = os.fspath(dst)
    if not raw:
        raise InvalidInput('"" is no path of this host')
    needs_directory = raw.endswith(("/", "/."))
    about = {"dst": raw, "base": "", "needs_directory": needs_directory}
    try:
        fd = os.open(raw, _FOUND if needs_directory else _FOUND | os.O_NOFOLLOW)
    except FileNotFoundError:
        found = "missing"
    except NotADirectoryError:
        raise Conflict(f"{raw} is not a directory") from None
    except OSError as error:
        raise KernelError(error.errno or 0, "open", raw) from error
    else:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return fd, {**about, "found": "directory"}
        os.close(fd)
        found = "other"
    above, base = os.path.split(os.path.abspath(raw))
    try:
        fd = os.open(above, _FOUND | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"the directory that {raw} is to be in is not there; make it first") from None
    return fd, {**about, "found": found, "base": base}


def _fed(owner: Rooted, params: dict[str, Any], stream: BinaryIO, deadline: float | None) -> dict[str, Any]:
    """Have a job read the stream, decompressed."""
    reader, writer = _pipe()
    ends = _Ends(reader, writer)

    def feed() -> None:
        ends.close(reader)
        with suppress(BrokenPipeError):  # the job has seen enough, or says why not
            _pump(_decoded(stream), lambda data: _write(writer, data, deadline))
        ends.close(writer)

    try:
        return owner._run_job("copy_in", params, [reader], deadline=deadline, attend=feed)
    finally:
        ends.close()


def _decoded(stream: BinaryIO) -> Callable[[], bytes]:
    from pycontainer.layers import HEAD_SIZE, detect, open_decoder

    head = b""
    while len(head) < HEAD_SIZE and (more := stream.read(HEAD_SIZE - len(head))):
        head += more
    decoder = open_decoder(detect(head), stream, head=head)
    return lambda: decoder.read(_CHUNK)


def _streamed(
    owner: Rooted, job: str, params: dict[str, Any], stream: BinaryIO, deadline: float | None
) -> dict[str, Any]:
    """Have a job write to the stream; to its descriptor, where it has one of its own."""
    if type(stream) in (io.FileIO, io.BufferedWriter) and os.get_blocking(stream.fileno()):
        stream.flush()
        return owner._run_job(job, params, [stream.fileno()], deadline=deadline)
    reader, writer = _pipe()
    ends = _Ends(reader, writer)

    def drain() -> None:
        ends.close(writer)
        _pump(lambda: _read(reader, deadline), stream.write)

    try:
        return owner._run_job(job, params, [writer], deadline=deadline, attend=drain)
    finally:
        ends.close()


def _pump(read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    while data := read():
        write(data)


class _Ends:
    """The ends of a pipe, each closed once."""

    def __init__(self, *fds: int) -> None:
        self._fds = set(fds)

    def close(self, *fds: int) -> None:
        """Close these, or all."""
        for fd in fds or tuple(self._fds):
            self._fds.discard(fd)
            os.close(fd)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # beyond what a user may have, the usual size does, too
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return reader, writer


def _write(fd: int, data: bytes, deadline: float | None) -> None:
    os.set_blocking(fd, False)
    view = memoryview(data)
    while view:
        await_event(fd, select.POLLOUT, deadline)
        with suppress(BlockingIOError):
            view = view[os.write(fd, view) :]


def _read(fd: int, deadline: float | None) -> bytes:
    await_event(fd, select.POLLIN, deadline)
    return os.read(fd, _CHUNK)
