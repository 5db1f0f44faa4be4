"""Trees copied into a container and out of it, as files or as a tar. Source: docker cp, reference manual."""

from __future__ import annotations

import os
import signal
import stat
from typing import Any

from pycontainer.errors import Conflict, InvalidImage, NotFound
from pycontainer.kernel import syscalls
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import Extents, read_view
from pycontainer.launcher.files.entering import Cell
from pycontainer.launcher.files.filling import Filler, Manners, TreeSink, fill_from_tar
from pycontainer.launcher.files.protocol import Report
from pycontainer.launcher.files.walking import Walker, explained
from pycontainer.layers import Entry, FileBlocks, Limits, TarReader, TarWriter, clean

__all__ = ["Unpacker", "copy_in", "copy_out", "export"]

_OUTPUT_SIZE = 1 << 18
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def copy_in(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Copy the host's tree, or unpack the tar, that fds[-1] stands for into the container.

    params: root (see Cell.enter), dst (path in the container), is_tar, name (of the source),
    is_content (of the source directory alone), owner (uid and gid of everything, None for each its own).
    Returns: entries, size, skipped. Raises: NotFound, Conflict, InvalidInput, KernelError.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    source = fds[-1]
    cell = Cell()
    root = cell.enter(params, fds)
    is_tree = not params["is_tar"] and stat.S_IFMT(os.fstat(source).st_mode) in (stat.S_IFREG, stat.S_IFDIR)
    cell.lock([root], [source] if is_tree else [])
    report({"ready": True})
    manners = Manners(None if params["owner"] is None else tuple(params["owner"]))
    dst = os.fsencode(params["dst"])
    if params["is_tar"]:
        return _unpack(root, dst, source, manners)
    is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
    parent, name = _destination(root, dst, os.fsencode(params["name"]), is_directory, params["is_content"])
    walker = Walker(TreeSink(parent, manners))
    walker.run(source, name)
    return _told(walker)


def copy_out(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Copy a tree of the container to the host's directory, or as a tar to the output, fds[-1].

    params: root, src (path in the container), follow (a link in the end), is_content, name; for a tar
    is_tar; else found ("directory", "other" or "missing": what the destination is), base (its own name
    in fds[-1], but for a directory), owner and is_plain (see Manners).
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    target = fds[-1]
    cell = Cell()
    root = cell.enter(params, fds, with_its_ids=bool(params["is_tar"]))  # else it writes on the host
    cell.lock([] if params["is_tar"] else [target], [root])
    report({"ready": True})
    src = os.fsencode(params["src"])
    try:
        top = inside.locate(root, src, follow=params["follow"])
    except OSError as error:
        raise _missing(error, src) from None
    is_directory = stat.S_ISDIR(os.fstat(top).st_mode)
    if params["is_content"] and not is_directory:
        raise Conflict(f"{params['src']} in the container is not a directory")
    name = os.fsencode(params["name"])
    if params["is_tar"]:
        sink = TarSink(target)
        walker = Walker(sink)
        walker.run(top, b"" if params["is_content"] else name)
        sink.close()
        return _told(walker)
    if params["found"] == "other" and is_directory:
        raise Conflict(
            f"{params['dst']} is no directory to copy a directory over; end a link to one with a slash"
        )
    if params["found"] == "missing" and params["needs_directory"] and not is_directory:
        raise NotFound(f"{params['dst']} does not exist; make the directory first")
    if params["found"] != "directory":
        name = os.fsencode(params["base"])
    elif params["is_content"]:
        name = b""
    manners = Manners(params["owner"] and tuple(params["owner"]), is_plain=params["is_plain"])
    walker = Walker(TreeSink(target, manners))
    walker.run(top, name)
    return _told(walker)


def export(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Write the container's root, without what is mounted below it, as a tar to fds[-1]; params: root."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    cell = Cell()
    root = cell.enter(params, fds, with_mounts=False)
    cell.lock([], [root])
    report({"ready": True})
    sink = TarSink(fds[-1])
    walker = Walker(sink)
    walker.run(root, b"")
    sink.close()
    return _told(walker)


def _told(walker: Walker) -> dict[str, Any]:
    skipped = [os.fsdecode(path) for path in walker.skipped]
    return {"entries": walker.entries, "size": walker.size, "skipped": skipped}


def _missing(error: OSError, path: bytes) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"no {os.fsdecode(path)} in the container")
    if isinstance(error, NotADirectoryError):
        return Conflict(f"{os.fsdecode(path)} in the container is not, or is below, what is not a directory")
    return explained(error, path)


def _destination(
    root: int, dst: bytes, name: bytes, is_directory: bool, is_content: bool
) -> tuple[int, bytes]:
    """The pinned directory to copy into, and what the copy is called in it; "" for content alone."""
    shown = os.fsdecode(dst)
    needs_directory = dst.endswith((b"/", b"/."))
    try:
        found = inside.locate(root, dst.removesuffix(b"/."), flags=0)
    except FileNotFoundError:
        if needs_directory and not is_directory:
            raise NotFound(f"no directory {shown} in the container; make it first") from None
    except OSError as error:
        raise _missing(error, dst) from None
    else:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            return found, b"" if is_directory and is_content else name
        os.close(found)
        if is_directory or needs_directory:
            raise Conflict(f"{shown} in the container is not a directory")
    try:
        return inside.place(root, dst.removesuffix(b"/."), follow=True)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"the directory that {shown} is to be in is not in the container") from None


class TarSink:
    """Writes what a Walker gives as a tar to a descriptor."""

    def __init__(self, fd: int) -> None:
        self._file = open(fd, "wb", buffering=_OUTPUT_SIZE, closefd=False)  # noqa: SIM115
        self._writer = TarWriter(self._file)

    def enter(self, entry: Entry) -> None:
        """A directory."""
        self._writer.add(entry)

    def leave(self) -> None:
        """Nothing says in a tar where a directory ends."""

    def file(self, entry: Entry, fd: int) -> int:
        """A file with its content, as long as it was when it was found."""
        if not entry.size and inside.is_kernels_own(fd):
            view = read_view(fd)
            entry.size = len(view)
            self._writer.add(entry, view)
            return len(view)
        extents = [(0, entry.size)] if entry.sparse is None else entry.sparse
        self._writer.add(entry, Extents(fd, list(extents)))
        return entry.stored_size

    def other(self, entry: Entry) -> bool:
        """A link or node."""
        self._writer.add(entry)
        return True

    def close(self) -> None:
        """Write the end mark."""
        self._writer.close()
        self._file.flush()


def _unpack(root: int, dst: bytes, source: int, manners: Manners) -> dict[str, Any]:
    try:
        top = inside.locate(root, dst, flags=os.O_DIRECTORY)
    except FileNotFoundError:
        raise NotFound(f"no directory {os.fsdecode(dst)} in the container; make it first") from None
    except NotADirectoryError:
        raise Conflict(f"{os.fsdecode(dst)} in the container is not a directory") from None
    with open(source, "rb", buffering=0, closefd=False) as file:
        unpacker = Unpacker(root, dst, top, TarReader(FileBlocks(file)), manners)
        unpacker.run()
    return {"entries": unpacker.entries, "size": unpacker.size, "skipped": []}


class Unpacker:
    """Unpacks a tar below a directory of the container, whose links lead where they lead inside.

    Each entry's directory is resolved anew from the root by the kernel, unless the last entry's was the
    same; missing ones are made. Directories get their modes and times in the end.
    """

    def __init__(self, root: int, dst: bytes, top: int, reader: TarReader, manners: Manners) -> None:
        self._root = root
        self._dst = dst.rstrip(b"/")
        self._top = top
        self._reader = reader
        self._limits = Limits()
        self._filler = Filler(manners)
        self._parent = top
        self._above = b""
        self._directories: dict[bytes, Entry] = {}
        self.entries: int = 0
        self.size: int = 0

    def run(self) -> None:
        """Unpack all. Raises: InvalidImage naming the entry; Conflict; KernelError."""
        while True:
            entry = self._reader.next()
            if entry is None:
                break
            name = clean(entry.name, self._limits)
            try:
                self._apply(entry, name)
            except OSError as error:
                raise explained(error, name) from error
            self.entries += 1
        for name in sorted(self._directories, reverse=True):
            try:
                self._settle(name, self._directories[name])
            except OSError as error:
                raise explained(error, name) from error

    def _apply(self, entry: Entry, name: bytes) -> None:
        if not name:
            return  # the destination itself is there, and stays as it is
        above, _, base = name.rpartition(b"/")
        if above != self._above:
            self._enter(above)
        if entry.kind == "file":
            fill = fill_from_tar(self._reader, entry)
            self.size += self._filler.file(self._parent, base, entry, fill)
        elif entry.kind == "dir":
            os.close(self._filler.directory(self._parent, base, entry))
            self._directories[name] = entry
        elif entry.kind == "hardlink":
            self._link(entry, base)
        else:
            self._filler.other(self._parent, base, entry)

    def _link(self, entry: Entry, base: bytes) -> None:
        target = clean(entry.linkname, self._limits) if entry.linkname else b""
        if not target:
            raise InvalidImage(f"{entry.name!r}: a hard link to nothing")
        above, _, source = target.rpartition(b"/")
        directory = self._found(above)
        try:
            self._filler.hard_link(self._parent, base, entry, directory, source)
        finally:
            os.close(directory)

    def _found(self, directory: bytes) -> int:
        return inside.locate(self._root, self._dst + b"/" + directory, flags=os.O_DIRECTORY)

    def _enter(self, above: bytes) -> None:
        """Make `above` the directory that entries are made in."""
        fd = self._ensured(above) if above else os.dup(self._top)
        if self._parent != self._top:
            os.close(self._parent)
        self._parent, self._above = fd, above

    def _ensured(self, path: bytes) -> int:
        try:
            return self._found(path)
        except FileNotFoundError:
            above, _, base = path.rpartition(b"/")
        parent = self._ensured(above) if above else os.dup(self._top)
        try:
            os.mkdir(base, 0o755, dir_fd=parent)
            os.chmod(base, 0o755, dir_fd=parent)
        except FileExistsError:
            pass  # a link that leads nowhere, or somebody was faster: the next look tells
        finally:
            os.close(parent)
        return self._found(path)

    def _settle(self, name: bytes, entry: Entry) -> None:
        above, _, base = name.rpartition(b"/")
        parent = self._found(above)
        try:
            fd = syscalls.openat2(
                parent,
                base,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS,
            )
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced since by a later entry, or by a program of the container
        finally:
            os.close(parent)
        try:
            self._filler.settle_directory(fd, entry)
        finally:
            os.close(fd)
