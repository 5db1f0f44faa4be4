"""The members of an image archive, in a plain seekable tar: found once, then read by offset.

Anything an archive of images has no need of is refused: paths that leave it, links that leave it, devices,
sparse files, two members of one name. Nothing is ever extracted.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from typing import BinaryIO, cast

from attrs import frozen

from pycontainer.errors import InvalidImage, NotFound
from pycontainer.layers import HEAD_SIZE, Entry, FileBlocks, Limits, TarReader, detect, open_decoder

__all__ = ["ARCHIVE_LIMITS", "Member", "Members"]

BLOCK = 512
MAX_LINKS = 8
# Deflate stays below 1032; a layer of zeros in zstd may honestly go further, a bomb goes much further.
ARCHIVE_LIMITS = Limits(entries=200_000, ratio=2000, path_bytes=1024)


@frozen(kw_only=True)
class Member:
    """A regular file in the archive: its bytes lie at `offset`."""

    offset: int
    size: int


class Members:
    """Names and places of all regular files of one archive."""

    def __init__(self, file: BinaryIO, members: dict[str, Member], links: dict[str, str]) -> None:
        self._file = file
        self._members = members
        self._links = links

    @classmethod
    def scan(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        limits: Limits | None = None,
        scratch_dir: str | None = None,
    ) -> Members:
        """Read the archive once. A stream or a compressed one is unpacked into a scratch file meanwhile.

        Raises: InvalidImage, OSError.
        """
        limits = limits or ARCHIVE_LIMITS
        if not isinstance(source, (str, os.PathLike)):
            return cls._spooled(source, source.read(HEAD_SIZE), limits, scratch_dir)
        file = open(source, "rb")  # noqa: SIM115  kept open for reading by offset
        try:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            head = file.read(HEAD_SIZE)
            if is_file and detect(head) == "plain":
                file.seek(0)
                return cls(file, *_index(TarReader(FileBlocks(file), limits), limits))
            with file:
                return cls._spooled(file, head, limits, scratch_dir)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _spooled(cls, source: BinaryIO, head: bytes, limits: Limits, scratch_dir: str | None) -> Members:
        spool = cast(BinaryIO, tempfile.TemporaryFile(dir=scratch_dir))  # noqa: SIM115
        try:
            decoder = open_decoder(detect(head), source, limits, head)
            reader = TarReader(_Tee(FileBlocks(decoder), spool), limits)
            found = _index(reader, limits)
            spool.flush()
            return cls(spool, *found)
        except BaseException:
            spool.close()
            raise

    def close(self) -> None:
        """Close the file; blobs that are being read break off."""
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members or name in self._links

    def find(self, name: str) -> Member:
        """The member of that name, links followed inside the archive.

        Raises: NotFound, InvalidImage.
        """
        at = _inside(name, "")
        for _ in range(MAX_LINKS):
            if at in self._members:
                return self._members[at]
            if at not in self._links:
                via = f" (by links from {name})" if at != name else ""
                raise NotFound(f"archive has no member {at}{via}")
            at = self._links[at]
        raise InvalidImage(f"archive member {name}: more than {MAX_LINKS} links in a row")

    def open(self, member: Member) -> BinaryIO:
        """The member's bytes; several readers at once do not disturb each other."""
        return cast(BinaryIO, _Window(self._file, member))

    def read(self, name: str, limit: int) -> bytes:
        """A whole member.

        Raises: NotFound; InvalidImage if it is above `limit` bytes.
        """
        member = self.find(name)
        if member.size > limit:
            raise InvalidImage(f"archive member {name} of {member.size} bytes is above the limit of {limit}")
        with self.open(member) as window:
            return window.read()


class _Window(io.RawIOBase):
    """Part of a file, read by position, so that the file's own position does not matter."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        super().__init__()
        self._file = file
        self._start = member.offset
        self._size = member.size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        room = min(len(buffer), max(0, self._size - self._position))
        if not room:
            return 0
        # fileno() anew each time: it raises once the archive is closed and the number is another file's.
        count = os.preadv(self._file.fileno(), [memoryview(buffer)[:room]], self._start + self._position)
        if not count:
            raise InvalidImage("archive became shorter while it was read")
        self._position += count
        return count


class _Tee:
    """Slots of a tar that also go to a file."""

    def __init__(self, blocks: FileBlocks, copy: BinaryIO) -> None:
        self._blocks = blocks
        self._copy = copy

    def next(self) -> memoryview:
        slot: memoryview = self._blocks.next()
        self._copy.write(slot)
        return slot


def _index(reader: TarReader, limits: Limits) -> tuple[dict[str, Member], dict[str, str]]:
    members: dict[str, Member] = {}
    links: dict[str, str] = {}
    while (entry := reader.next()) is not None:
        if len(entry.name) > limits.path_bytes:
            raise InvalidImage(
                f"archive member name of {len(entry.name)} bytes; at most {limits.path_bytes} are read"
            )
        shown = os.fsdecode(entry.name)
        if entry.kind == "dir":
            continue  # nothing is extracted, so a directory is only a name
        name = _inside(shown, "")
        if name in members or name in links:
            raise InvalidImage(f"archive has two members {name}")
        if entry.kind in ("symlink", "hardlink"):
            links[name] = _target(entry, name)
        elif entry.kind == "file" and entry.sparse is None:
            members[name] = Member(offset=reader.offset + BLOCK, size=entry.size)
        else:
            raise InvalidImage(
                f"archive member {name}: a {'sparse ' if entry.sparse else ''}{entry.kind} has no place here"
            )
    return members, links


def _target(entry: Entry, name: str) -> str:
    """Where a link leads: a symlink from its own directory, a hard link from the top."""
    base = name.rpartition("/")[0] if entry.kind == "symlink" else ""
    return _inside(os.fsdecode(entry.linkname), base)


def _inside(path: str, base: str) -> str:
    """The normal form of a path below `base`.

    Raises: InvalidImage if it is absolute, or leaves the archive.
    """
    at = base.split("/") if base else []
    for part in path.split("/"):
        if part == "..":
            if not at:
                raise InvalidImage(f"archive path {path[:200]!r} leads out of the archive")
            at.pop()
        elif part not in ("", "."):
            at.append(part)
    if path.startswith("/") or not at:
        raise InvalidImage(f"archive path {path[:200]!r} is not below the top of the archive")
    return "/".join(at)
