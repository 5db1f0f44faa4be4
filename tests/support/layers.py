"""Tars good and bad, layer jobs in a child of their own, and trees described so that two can be compared."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pycontainer.kernel import mounts
from pycontainer.layers import JOBS, Entry, TarWriter

Result = TypeVar("Result")
END = bytes(1024)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes,
    flag: bytes = b"0",
    size: int | bytes = 0,
    *,
    linkname: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    **fields: bytes,
) -> bytes:
    """A header block as raw as wanted: any field may be given as bytes, the checksum too."""
    parts = {
        "name": name.ljust(100, b"\0"),
        "mode": octal(0o644, 8),
        "uid": octal(0, 8),
        "gid": octal(0, 8),
        "size": size if isinstance(size, bytes) else octal(size, 12),
        "mtime": octal(0, 12),
        "checksum": b" " * 8,
        "flag": flag,
        "linkname": linkname.ljust(100, b"\0"),
        "magic": magic,
        "names": bytes(64),
        "major": octal(0, 8),
        "minor": octal(0, 8),
        "prefix": prefix.ljust(155, b"\0"),
        "tail": bytes(12),
    } | fields
    block = b"".join(parts.values())
    assert len(block) == 512, {key: len(value) for key, value in parts.items()}
    if "checksum" in fields:
        return block
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", flag: bytes = b"0", **fields: Any) -> bytes:
    """A header with its content."""
    return header(name, flag, len(data), **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record."""
    length = len(key) + len(value) + 3
    while length != len(b"%d %s=%s\n" % (length, key, value)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def pax(records: Iterable[tuple[bytes, bytes]], flag: bytes = b"x") -> bytes:
    """An extended header."""
    return member(b"PaxHeaders.0/x", b"".join(record(key, value) for key, value in records), flag)


def tar(*members: Entry | tuple[Entry, bytes]) -> bytes:
    """An archive of well-formed entries."""
    out = io.BytesIO()
    writer = TarWriter(out)
    for item in members:
        entry, content = (item, b"") if isinstance(item, Entry) else item
        if content and not entry.size:
            entry.size = len(content)
        writer.add(entry, content)
    writer.close()
    return out.getvalue()


def directory(name: bytes, **attributes: Any) -> Entry:
    return Entry(name, "dir", attributes.pop("mode", 0o755), **attributes)


def file(name: bytes, content: bytes = b"content", **attributes: Any) -> tuple[Entry, bytes]:
    return Entry(name, "file", size=len(content), **attributes), content


def in_child(function: Callable[[], Result], on_fork: Callable[[], None] = lambda: None) -> Result:
    """Run in a forked child (jobs confine their process for good); its result, or its exception raised.

    on_fork: called in this process once the child has its copies of the descriptors.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                answer: tuple[bool, Any] = (True, function())
            except BaseException as error:  # the child's edge: everything goes to the parent
                error.__traceback__ = None
                error.__cause__ = error.__context__ = None
                answer = (False, error)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    on_fork()
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    assert data, "the child died without an answer"
    is_result, value = pickle.loads(data)
    if is_result:
        return value  # type: ignore[no-any-return]
    raise value


def run_job(name: str, params: dict[str, Any], paths: Sequence[Path | int]) -> dict[str, Any]:
    """A job on these files and directories, as the helper would run it."""
    flags = {True: os.O_RDONLY | os.O_DIRECTORY, False: os.O_RDONLY}
    opened = [path if isinstance(path, int) else os.open(path, flags[path.is_dir()]) for path in paths]
    try:
        return in_child(lambda: JOBS[name](params, list(opened), lambda _event: None))
    finally:
        for fd, path in zip(opened, paths, strict=True):
            if not isinstance(path, int):
                os.close(fd)


def unpack(data: bytes, target: Path, **params: Any) -> dict[str, Any]:
    """Unpack an archive, compressed or not, into the new directory `target`."""
    blob = target.parent / f"{target.name}.blob"
    blob.write_bytes(data)
    target.mkdir()
    return run_job("unpack", params, [blob, target])


def unpack_stacked(data: bytes, target: Path, lower: Sequence[Path], **params: Any) -> dict[str, Any]:
    """Unpack on top of other unpacked layers, topmost first."""
    blob, work = target.parent / f"{target.name}.blob", target.parent / f"{target.name}.work"
    blob.write_bytes(data)
    target.mkdir()
    work.mkdir()
    return run_job("unpack_stacked", params, [blob, target, work, *lower])


def describe(root: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Everything below root that a container could see, and root itself as '.'."""
    found: dict[str, tuple[Any, ...]] = {}
    first_name: dict[int, str] = {}
    paths = [root]
    for path in paths:
        status = path.lstat()
        name = str(path.relative_to(root))
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = (status.st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = status.st_rdev
        elif kind == stat.S_IFDIR:
            paths += sorted(path.iterdir())
        twin = first_name.setdefault(status.st_ino, name) if kind != stat.S_IFDIR else name
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        mtime = status.st_mtime_ns if times else 0
        found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, content, mtime, xattrs, twin)
    return found


def merged(layers: Sequence[Path], work: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """What a container over these layers (topmost first) sees."""

    def look() -> dict[str, tuple[Any, ...]]:
        upper, scratch = work / "upper", work / "scratch"
        upper.mkdir(parents=True)
        scratch.mkdir()
        upper.chmod(layers[0].stat().st_mode)
        opened = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (*layers, upper, scratch)]
        mount = mounts.overlay(opened[:-2], opened[-2], opened[-1])
        os.chdir(mount)
        return describe(Path(), times=times)

    found = in_child(look)
    found.pop(".")
    return found
