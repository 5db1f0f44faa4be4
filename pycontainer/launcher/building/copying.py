"""COPY and ADD: chosen files written into a stage's new layer. Source: Dockerfile reference; BuildKit,
solver/llbsolver/file.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from pycontainer.errors import Conflict, InvalidInput, NotFound
from pycontainer.launcher.building.checksum import open_source
from pycontainer.launcher.building.choosing import Source, choose, explained, walk
from pycontainer.launcher.building.roots import account, ensure_directory, open_beneath, open_target, resolve
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import data_extents, move_all
from pycontainer.launcher.files.copying import Unpacker
from pycontainer.launcher.files.entering import Cell, named
from pycontainer.launcher.files.filling import Filler, Manners
from pycontainer.launcher.files.walking import attributes, open_pinned
from pycontainer.layers import HEAD_SIZE, Entry, Inflater, Limits, TarReader, describe, detect
from pycontainer.patterns import PatternMatcher

__all__ = ["copy"]

_BLOCK = 512
_SMALL = 1 << 16
_CODECS = ("zlib", "bz2", "lzma", "isal.isal_zlib", "compression.zstd", "backports.zstd")


def copy(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: copy what the sources mean into the target. fds: what the sources speak of.

    params: where to (see open_target); sources, each as for the checksum job with its patterns, excludes,
    parents, is_plain, and unpacks (files that are archives are unpacked: "never", "local", "always");
    destination (absolute, ends with a slash where it has to be a directory), chown, mode (bits, or a list of
    [who, operator, permissions] of chmod(1), or None), epoch, codec_path.
    Returns: entries, size. Raises: NotFound, Conflict, InvalidInput, InvalidImage, KernelError.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    cell = Cell()
    target = open_target(params)
    roots = [open_source(source, fds) for source in params["sources"]]
    # The inflaters import before the world is gone.
    inflate = _Inflating(params)
    cell.lock([target], roots)
    owner = account(target, params["chown"], is_pair=True) if params["chown"] else None
    chosen = [
        (root, source, one)
        for root, source in zip(roots, params["sources"], strict=True)
        for one in choose(
            root,
            source["patterns"],
            PatternMatcher(source.get("ignore") or ()),
            parents=bool(source.get("parents")),
        )
    ]
    copying = _Copying(target, params, owner, len(chosen), inflate)
    for root, source, one in chosen:
        copying.add(root, source, one)
    return {"entries": copying.entries, "size": copying.size}


class BuildManners(Manners):
    """Owners as --chown says, modes as --chmod does."""

    __slots__ = ("_mode",)

    def __init__(self, owner: tuple[int, int] | None, mode: object) -> None:
        super().__init__(owner)
        self._mode = mode

    def mode(self, entry: Entry) -> int:
        """The permission bits an entry gets."""
        if self._mode is None:
            return entry.mode
        if isinstance(self._mode, int):
            return self._mode
        assert isinstance(self._mode, list)
        return changed_mode(entry.mode, self._mode, is_directory=entry.kind == "dir")


def changed_mode(mode: int, changes: Sequence[Sequence[str]], *, is_directory: bool) -> int:
    """A mode after symbolic changes, each (who, operator, permissions). Source: chmod(1)."""
    for who, operator, permissions in changes:
        wanted = 0
        shifts = [
            shift
            for letter, shift in (("u", 6), ("g", 3), ("o", 0))
            if letter in who or "a" in who or not who
        ]
        for letter in permissions:
            if letter == "X" and not (is_directory or mode & 0o111):
                continue
            bit = {"r": 4, "w": 2, "x": 1, "X": 1}.get(letter)
            if bit is not None:
                wanted |= sum(bit << shift for shift in shifts)
            elif letter == "s":
                wanted |= (0o4000 if 6 in shifts else 0) | (0o2000 if 3 in shifts else 0)
            elif letter == "t":
                wanted |= 0o1000
            else:
                from_shift = {"u": 6, "g": 3, "o": 0}[letter]
                wanted |= sum((mode >> from_shift & 7) << shift for shift in shifts)
        if operator == "+":
            mode |= wanted
        elif operator == "-":
            mode &= ~wanted
        else:
            mode = mode & ~sum(7 << shift for shift in shifts) | wanted
    return mode


class _Inflating:
    """Starts what inflates archives; made while there is a file system to import from."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        if any(source.get("unpacks", "never") != "never" for source in params["sources"]):
            sys.path.extend(params.get("codec_path") or ())
            for name in _CODECS:
                with suppress(ImportError):
                    import_module(name)

    def reader(self, fd: int, kind: str) -> Inflater:
        """The uncompressed content of a file."""
        return Inflater(fd, None, Limits(), (), kind)


class _Copying:
    """Copies source after source."""

    def __init__(
        self,
        target: int,
        params: Mapping[str, Any],
        owner: tuple[int, int] | None,
        count: int,
        inflate: _Inflating,
    ) -> None:
        self._target = target
        self._destination: str = params["destination"]
        self._owner = owner
        self._mode = params["mode"]
        self._epoch = params["epoch"]
        self._has_several = count > 1
        self._inflate = inflate
        self.entries = 0
        self.size = 0

    def add(self, root: int, source: Mapping[str, Any], one: Source) -> None:
        """Copy one source."""
        owner = self._owner or ((0, 0) if source.get("is_plain") else None)
        manners = BuildManners(owner, self._mode)
        path = one.path
        try:
            fd = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
            try:
                status = os.fstat(fd)
                if stat.S_ISDIR(status.st_mode):
                    self._tree(root, source, one, fd, status, manners)
                elif source.get("unpacks", "never") == "never" or not self._unpacked(
                    fd, status, source, owner
                ):
                    self._file(root, source, one, fd, status, manners)
            finally:
                os.close(fd)
        except NotADirectoryError as error:
            raise Conflict(f"{self._destination} is, or is below, what is no directory") from error
        except OSError as error:
            raise explained(error, path or ".") from error

    def _ensure(self, path: str) -> int:
        """A directory of the target. Those made are no copies: root's, or as --chown and --chmod say."""
        mode = self._mode if isinstance(self._mode, int) else 0o755
        return ensure_directory(self._target, path, self._owner or (0, 0), self._epoch, mode)

    def _kept_parents(self, root: int, one: Source, manners: Manners) -> str:
        """Where --parents puts a source: the directories above it are made like those of the source."""
        above = one.name.rpartition("/")[0]
        parts = [part for part in above.split("/") if part]
        so_far = self._destination.rstrip("/")
        below = one.path.split("/")
        for index, part in enumerate(parts):
            so_far = f"{so_far}/{part}"
            try:
                resolve(self._target, so_far)
                continue
            except FileNotFoundError:
                pass
            fd = self._ensure(so_far)
            origin = "/".join(below[: len(below) - len(parts) - 1 + index + 1])
            above_fd = open_beneath(root, origin, os.O_RDONLY | os.O_DIRECTORY)
            try:
                entry = describe(b"", os.fstat(above_fd), attributes(above_fd))
                assert entry is not None
                writable = inside.reopen(fd, os.O_RDONLY | os.O_DIRECTORY)
                Filler(manners).settle_directory(writable, entry)
                os.close(writable)
            finally:
                os.close(above_fd)
                os.close(fd)
        return so_far

    def _tree(
        self,
        root: int,
        source: Mapping[str, Any],
        one: Source,
        fd: int,
        status: os.stat_result,
        manners: Manners,
    ) -> None:
        destination = self._destination
        is_copied = False
        if source.get("parents"):
            destination = f"{self._kept_parents(root, one, manners)}/{one.name.rpartition('/')[2]}"
            try:
                resolve(self._target, destination)
            except FileNotFoundError:
                is_copied = True
        into = self._ensure(destination)
        top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            filler = Filler(manners)
            excluded = PatternMatcher(source.get("excludes") or ())
            walker = _Tree(filler, into, one.path)
            walker.run(top, PatternMatcher(source.get("ignore") or ()), excluded)
            self.entries += walker.entries
            self.size += walker.size
            if is_copied:
                entry = describe(b"", status, attributes(top))
                assert entry is not None
                made = inside.reopen(into, os.O_RDONLY | os.O_DIRECTORY)
                filler.settle_directory(made, entry)
                os.close(made)
        finally:
            os.close(top)
            os.close(into)

    def _file(
        self,
        root: int,
        source: Mapping[str, Any],
        one: Source,
        fd: int,
        status: os.stat_result,
        manners: Manners,
    ) -> None:
        base = one.name.rpartition("/")[2]
        excluded = PatternMatcher(source.get("excludes") or ())
        if excluded and excluded.along(base)[0]:
            return
        parent, base = self._place(root, source, one, base, manners)
        try:
            kind = stat.S_IFMT(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            kind = 0
        if kind == stat.S_IFDIR:
            os.close(parent)
            raise Conflict(f"{self._destination}: the directory {base} is not replaced by a file")
        try:
            self.size += _put(Filler(manners), parent, os.fsencode(base), os.fsencode(base), fd, status)
            self.entries += 1
        finally:
            os.close(parent)

    def _place(
        self, root: int, source: Mapping[str, Any], one: Source, base: str, manners: Manners
    ) -> tuple[int, str]:
        """The directory a file goes to, and its name there."""
        destination: str = self._destination
        if source.get("parents"):
            return self._ensure(self._kept_parents(root, one, manners)), base
        if destination.endswith("/") or self._has_several or self._is_directory(destination):
            return self._ensure(destination), base
        above, _, name = destination.rpartition("/")
        return self._ensure(above), name

    def _is_directory(self, path: str) -> bool:
        try:
            real = resolve(self._target, path)
            fd = open_beneath(self._target, real, os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def _unpacked(
        self, fd: int, status: os.stat_result, source: Mapping[str, Any], owner: tuple[int, int] | None
    ) -> bool:
        """Unpack the file into the destination if it is an archive."""
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        archive = open_pinned(fd)
        try:
            kind = detect(os.pread(archive, HEAD_SIZE, 0))
            if kind == "plain" and not _is_tar(os.pread(archive, _BLOCK, 0)):
                if source["unpacks"] == "always":
                    raise InvalidInput(
                        "ADD --unpack=true: it is no archive (tar; plain, gzip, bzip2, xz or zstd)"
                    )
                return False
            if kind != "plain" and not self._holds_tar(archive, kind):
                if source["unpacks"] == "always":
                    raise InvalidInput("ADD --unpack=true: it is compressed, but holds no tar")
                return False
            os.close(self._ensure(self._destination))
            top = open_beneath(
                self._target, resolve(self._target, self._destination), os.O_PATH | os.O_DIRECTORY
            )
            destination = os.fsencode("/" + resolve(self._target, self._destination))
            with self._inflate.reader(archive, kind) as inflater:
                manners = BuildManners(self._owner, None)
                unpacker = Unpacker(self._target, destination, top, TarReader(inflater, Limits()), manners)
                unpacker.run()
            self.entries += unpacker.entries
            self.size += unpacker.size
            return True
        finally:
            os.close(archive)

    def _holds_tar(self, archive: int, kind: str) -> bool:
        with self._inflate.reader(archive, kind) as inflater:
            try:
                return _is_tar(bytes(inflater.next()[:_BLOCK]))
            except (InvalidInput, NotFound):
                return False


def _is_tar(block: bytes) -> bool:
    """Whether a tar begins so: the checksum of its first header is right, or it is the end mark."""
    if len(block) < _BLOCK:
        return False
    try:
        told = int(block[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return told == sum(block[:148]) + 8 * 0x20 + sum(block[156:])


class _Tree:
    """Copies what is below a directory into another one."""

    def __init__(self, filler: Filler, top: int, base: str) -> None:
        self._filler = filler
        self._stack: list[tuple[int, Entry]] = []
        self._top = top
        self._base = base
        self._links: dict[tuple[int, int], bytes] = {}
        self.entries = 0
        self.size = 0

    def run(self, source: int, ignored: PatternMatcher, excluded: PatternMatcher) -> None:
        """Copy. Raises: Conflict; InvalidInput; KernelError naming the path."""
        path = self._base
        try:
            for verb, parent, path, status in walk(source, self._base, ignored, excluded):
                if verb == "leave":
                    fd, entry = self._stack.pop()
                    try:
                        self._filler.settle_directory(fd, entry)
                    finally:
                        os.close(fd)
                    continue
                self.entries += 1
                into = self._stack[-1][0] if self._stack else self._top
                name = path.rpartition("/")[2]
                if verb == "enter":
                    self._enter(parent, name, path, status, into)
                else:
                    self._take(parent, name, path, status, into)
        except OSError as error:
            raise explained(error, f"{self._base}/{path}" if self._base else path) from error
        finally:
            for fd, _ in self._stack:
                os.close(fd)
            self._stack.clear()

    def _enter(self, parent: int, name: str, path: str, status: os.stat_result, into: int) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            entry = describe(os.fsencode(path), status, attributes(fd))
        finally:
            os.close(fd)
        assert entry is not None, "sockets were passed over"
        self._stack.append((self._filler.directory(into, os.fsencode(name), entry), entry))

    def _take(self, parent: int, name: str, path: str, status: os.stat_result, into: int) -> None:
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            first = self._links.setdefault(key, os.fsencode(path))
            if first != os.fsencode(path):
                self._link(first, path, into)
                return
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            found = os.fstat(fd)
            if not os.path.samestat(found, status):
                raise InvalidInput(
                    f"{path} was replaced while it was read; build again when nothing changes it"
                )
            self.size += _put(self._filler, into, os.fsencode(name), os.fsencode(path), fd, found)
        finally:
            os.close(fd)

    def _link(self, first: bytes, path: str, into: int) -> None:
        above, _, source = first.rpartition(b"/")
        directory = open_beneath(self._top, os.fsdecode(above), os.O_PATH | os.O_DIRECTORY)
        try:
            entry = Entry(os.fsencode(path), "hardlink", linkname=first)
            self._filler.hard_link(into, os.fsencode(path.rpartition("/")[2]), entry, directory, source)
        finally:
            os.close(directory)


def _put(filler: Filler, into: int, base: bytes, path: bytes, fd: int, status: os.stat_result) -> int:
    """Make what is pinned in a directory; the bytes copied."""
    if stat.S_ISREG(status.st_mode):
        source = open_pinned(fd)
        try:
            entry = describe(path, status, attributes(source))
            assert entry is not None
            entry.sparse = data_extents(source, status)
            return filler.file(into, base, entry, _moving(source, entry))
        finally:
            os.close(source)
    entry = describe(path, status, {} if stat.S_ISLNK(status.st_mode) else attributes(named(fd)))
    if entry is None:
        return 0  # a socket
    if entry.kind == "symlink":
        entry.linkname = os.fsencode(os.readlink("", dir_fd=fd))
    filler.other(into, base, entry)
    return 0


def _moving(source: int, entry: Entry) -> Callable[[int], int]:
    if entry.sparse is None and entry.size <= _SMALL:
        # Below that, two calls cost less than the kernel's preparations for moving pages.
        return lambda target: os.write(target, os.pread(source, entry.size, 0)) if entry.size else 0
    return lambda target: move_all(source, target, entry.size, entry.sparse)
