"""Build contexts: a directory, an archive, files in memory, a URL or a repository, all become a directory.

The Dockerfile and the ignore file are the context's own, and untrusted: they are opened inside it, the latter
without following links (CVE-2022-4122).
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from attrs import evolve, frozen

from pycontainer.build import FileSource, is_git, is_url, shown_url
from pycontainer.engine.copying import unpack
from pycontainer.engine.files import run_volume_job
from pycontainer.errors import InvalidInput, KernelError, NotFound
from pycontainer.kernel import syscalls
from pycontainer.layers import HEAD_SIZE, detect, open_decoder
from pycontainer.oci import sha256
from pycontainer.patterns import PatternMatcher, ignore_files, read_patterns

if TYPE_CHECKING:
    from pycontainer.engine.building.worker import EngineWorker
    from pycontainer.engine.engine import Engine

__all__ = ["Opened", "open_context", "open_named"]

MAX_DOCKERFILE_BYTES = 16 << 20
_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_TEXT = re.compile(r"\s*(?:#|FROM\s|ARG\s)", re.IGNORECASE)
_BLOCK = 512


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@frozen(kw_only=True)
class Opened:
    """A context, ready to be used. filename: what messages call the Dockerfile. url: of where it is from."""

    source: FileSource
    text: str
    filename: str
    url: str = ""


def open_context(
    worker: EngineWorker, context: Any, dockerfile: str | os.PathLike[str] | bytes | None
) -> Opened:
    """The context and the Dockerfile. Raises: NotFound, InvalidInput, InvalidImage, KernelError."""
    source, own = _source(worker, context)
    if dockerfile is None and own is not None:
        text, filename = own, "Dockerfile"
    elif isinstance(dockerfile, bytes):
        text, filename = _decoded(dockerfile, "Dockerfile"), "Dockerfile"
    elif isinstance(dockerfile, str) and ("\n" in dockerfile or _TEXT.match(dockerfile)):
        text, filename = dockerfile, "Dockerfile"
    else:
        text, filename = _read_dockerfile(source, dockerfile)
    inside = "Dockerfile" if os.path.isabs(filename) else filename
    is_remote = isinstance(context, str) and (is_git(context) or is_url(context))
    return Opened(
        source=_with_ignored(source, ignore_files(inside)),
        text=text,
        filename=filename,
        url=shown_url(context) if is_remote else "",
    )


def _with_ignored(source: FileSource, names: Sequence[str]) -> FileSource:
    """The source without what the first of the ignore files that is there leaves out."""
    for name in names:
        content = _small_file(source.directory, name, _BENEATH)
        if content is not None:
            patterns = read_patterns(_decoded(content, name))
            PatternMatcher(patterns)  # it tells of a pattern that is none
            return evolve(source, ignore=patterns)
    return source


def open_named(worker: EngineWorker, name: str, context: Any) -> FileSource:
    """A further context that the build names."""
    source, _ = _source(worker, context)
    return evolve(_with_ignored(source, (".dockerignore",)), name=f"context {name}")


def _source(worker: EngineWorker, context: Any) -> tuple[FileSource, str | None]:
    """The files, and the text of a Dockerfile that was given in their place."""
    if context is None:
        return worker.opened(worker.new_place(), "the build context"), None
    if isinstance(context, Mapping):
        return _from_mapping(worker, context), None
    if isinstance(context, str) and is_git(context):
        return worker.clone(context, "", keep_git_dir=False), None
    if isinstance(context, str) and is_url(context):
        with open(worker.fetched(context, ""), "rb") as stream:
            return _from_stream(worker, stream, context)
    if isinstance(context, (str, os.PathLike)):
        return _from_path(worker, context)
    if isinstance(context, (bytes, bytearray, memoryview)):
        return _from_stream(worker, io.BytesIO(context), "the build context")
    if hasattr(context, "read"):
        return _from_stream(worker, context, "the build context")
    raise TypeError(
        "a context is a path, a URL, bytes or a stream of a tar, or a dict of files, "
        f"not {type(context).__name__}"
    )


def _from_path(worker: EngineWorker, path: str | os.PathLike[str]) -> tuple[FileSource, str | None]:
    shown = os.fspath(path)
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no build context {shown}: there is no such directory") from None
    except OSError as error:
        raise KernelError(error.errno or 0, "stat", shown) from error
    if stat.S_ISREG(kind):
        with open(path, "rb") as stream:
            return _from_stream(worker, stream, shown)
    if not stat.S_ISDIR(kind):
        raise InvalidInput(f"build context {shown} is neither a directory nor a file")
    try:
        source = worker.opened(Path(path), "the build context")
    except OSError as error:
        raise KernelError(error.errno or 0, "open", shown) from error
    table = sha256(os.fsencode(os.path.realpath(path))).partition(":")[2][:32]
    return evolve(source, table=table), None


def _from_mapping(worker: EngineWorker, files: Mapping[Any, Any]) -> FileSource:
    place = worker.new_place()
    for name, content in files.items():
        parts = str(name).split("/")
        if not str(name) or str(name).startswith("/") or "\0" in str(name) or set(parts) & {"", ".", ".."}:
            raise InvalidInput(f"context file {name!r}: give a relative path without . and ..")
        path = place.joinpath(*parts)
        if isinstance(content, os.PathLike):
            data, mode = _read_file(name, Path(content))
        else:
            data = content.encode() if isinstance(content, str) else bytes(content)
            mode = 0o755 if data.startswith((b"#!", b"\x7fELF")) else 0o644
        try:
            for above in reversed(path.relative_to(place).parents[:-1]):
                with suppress(FileExistsError):
                    (place / above).mkdir()
                    (place / above).chmod(0o755)
            path.write_bytes(data)
            path.chmod(mode)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            raise InvalidInput(f"context file {name!r}: another one is in its way") from None
        except OSError as error:
            raise KernelError(error.errno or 0, "write", os.fspath(path)) from error
    return worker.opened(place, "the build context")


def _read_file(name: Any, path: Path) -> tuple[bytes, int]:
    try:
        return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise NotFound(f"context file {name!r}: there is no {path}") from None
    except OSError as error:
        raise KernelError(error.errno or 0, "read", os.fspath(path)) from error


def _from_stream(worker: EngineWorker, stream: Any, shown: str) -> tuple[FileSource, str | None]:
    """An archive is unpacked; anything else is taken for a Dockerfile, as `docker build -` does."""
    head = _read_exactly(stream, _BLOCK)
    kind = detect(head[:HEAD_SIZE])
    place = worker.new_place()
    if kind == "plain" and not _looks_like_tar(head):
        rest = stream.read(MAX_DOCKERFILE_BYTES + 1 - len(head))
        if len(head) + len(rest) > MAX_DOCKERFILE_BYTES:
            raise InvalidInput(f"{shown} is neither a tar nor a Dockerfile")
        return worker.opened(place, "the build context"), _decoded(head + rest, shown)
    unpack(_Place(worker.engine, place), _inflated(stream, head, kind), timeout=None)
    return worker.opened(place, "the build context"), None


def _read_exactly(stream: Any, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return found


def _looks_like_tar(head: bytes) -> bool:
    return len(head) == _BLOCK and (head[257:262] == b"ustar" or not head.strip(b"\0"))


class _Place:
    """A directory in which jobs work; see files.Rooted."""

    def __init__(self, engine: Engine, place: Path) -> None:
        self._engine = engine
        self._place = place

    def _run_job(self, *given: Any, **named: Any) -> dict[str, Any]:
        directory = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return run_volume_job(self._engine, directory, *given, **named)
        finally:
            os.close(directory)


class _Joined(io.RawIOBase):
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, stream: _Readable) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(data) :] if self._head else b""
        buffer[: len(data)] = data
        return len(data)


class _Decoded(io.RawIOBase):
    """The uncompressed bytes of a stream."""

    def __init__(self, kind: str, stream: _Readable) -> None:
        self._decoder = open_decoder(kind, stream)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._decoder.readinto(memoryview(buffer))


def _inflated(stream: Any, head: bytes, kind: str) -> BinaryIO:
    joined = _Joined(head, stream)
    raw = joined if kind == "plain" else _Decoded(kind, io.BufferedReader(joined))
    return io.BufferedReader(raw)


def _read_dockerfile(source: FileSource, name: str | os.PathLike[str] | None) -> tuple[str, str]:
    shown = os.fspath(name) if name is not None else "Dockerfile"
    if os.path.isabs(shown):
        try:
            with open(shown, "rb") as file:
                return _decoded(file.read(MAX_DOCKERFILE_BYTES + 1), shown), shown
        except OSError as error:
            raise NotFound(f"no Dockerfile {shown}: {error.strerror}") from None
    content = _small_file(source.directory, shown, _IN_ROOT)
    if content is None and name is None:
        content = _small_file(source.directory, "dockerfile", _IN_ROOT)
    if content is None:
        raise NotFound(
            f"no {shown} in {source.name}; name it with dockerfile=, relative to the context or absolute"
        )
    return _decoded(content, shown), shown


def _small_file(directory: int, name: str, resolve: int) -> bytes | None:
    """A regular file of the context, None if it is not there. Raises: InvalidInput, KernelError."""
    try:
        fd = syscalls.openat2(
            directory, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, resolve
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise InvalidInput(
                f"{name} of the build context is, or leads through, a link; put a file there"
            ) from None
        raise KernelError(error.errno or 0, "open", name) from error
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidInput(f"{name} of the build context is no regular file")
        content = file.read(MAX_DOCKERFILE_BYTES + 1)
    if len(content) > MAX_DOCKERFILE_BYTES:
        raise InvalidInput(f"{name} of the build context has more than {MAX_DOCKERFILE_BYTES} bytes")
    return content


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text (byte {error.start})") from None
