"""The file tree that an image's layers make together, seen from their tars alone: nothing is unpacked.

Theory of operation. Layers are read bottom first, headers only. A directory holds its children by name, each
with the number of the layer that put it there, for a whiteout acts on lower layers only, wherever it stands
in its own. A node is what the kernel calls an inode: names that are hard links share it. Parents of an entry
are followed through symbolic links inside the tree, as an unpacker that applies one layer to the other does.
Source: OCI image-spec, layer.md; containerd, archive/tar.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pycontainer.errors import InvalidImage
from pycontainer.image.view import ImageView
from pycontainer.layers import (
    HEAD_SIZE,
    Entry,
    FileBlocks,
    Limits,
    TarReader,
    TarWriter,
    detect,
    open_decoder,
)
from pycontainer.oci import Descriptor

__all__ = ["MergedTree", "Node"]

WHITEOUT = b".wh."
WHITEOUT_META = b".wh..wh."  # of aufs: .wh..wh..opq says something, the others nothing
OPAQUE = b".wh..wh..opq"
MAX_DEPTH = 256  # as unpacking has it
# What a tree may cost in memory, which unpacking does not: a million entries, and what they are called.
TREE_LIMITS = Limits(entries=1_000_000)
MAX_TEXT_BYTES = 256 << 20
MAX_LINKS = 40  # the kernel's own limit, path_resolution(7)


class Node:
    """A file, directory, link or device. Attributes: entry (its name is not meant), children, source.

    children: of a directory, by name, with the layer that put each there. source: layer and number of the
    header which brought the content.
    """

    __slots__ = ("children", "entry", "source")

    def __init__(self, entry: Entry, source: tuple[int, int] = (-1, -1)) -> None:
        self.entry: Entry = entry
        self.source: tuple[int, int] = source
        self.children: dict[bytes, tuple[Node, int]] = {}

    @property
    def is_directory(self) -> bool:
        """Whether it can have children."""
        return self.entry.kind == "dir"


class MergedTree:
    """The tree of an image. Attributes: root."""

    def __init__(self) -> None:
        self.root: Node = Node(Entry(b"/", "dir", 0o755))
        self._has_root = False
        self._text_bytes = 0

    @classmethod
    def of(cls, view: ImageView, limits: Limits = TREE_LIMITS, *, layers: int | None = None) -> MergedTree:
        """Read the headers of all layers of an image, or of so many of the lowest.

        Raises: InvalidImage for a layer that is broken or beyond the limits; DigestMismatch; NotFound.
        """
        tree = cls()
        for number, layer in enumerate(view.layers[:layers]):
            with _opened(view, layer, limits) as reader:
                tree._apply(reader, number)
        return tree

    def find(self, path: bytes) -> Node | None:
        """What lies at a path, no link followed; the path has no leading slash."""
        node: Node | None = self.root
        for part in path.split(b"/") if path else ():
            if node is None:
                return None
            node = node.children.get(part, (None, 0))[0]
        return node

    def write(self, view: ImageView, out: TarWriter, limits: Limits = TREE_LIMITS, *, above: int = 0) -> None:
        """Write the tree as one layer: directories, files in the order of the layers, links and devices.

        view: the image that the tree was made of, whose layers are read once more for their content.
        above: only what differs from what so many of the lowest layers show, with whiteouts.
        """
        paths: dict[int, bytes] = {}
        files: dict[tuple[int, int], Node] = {}
        others: list[tuple[bytes, Node]] = []
        links: list[tuple[bytes, Node]] = []
        removed = self._removed(MergedTree.of(view, limits, layers=above)) if above else []
        wanted = self._changed(above, removed) if above else None
        for path, node, _ in self._walk():
            if wanted is not None and path not in wanted:
                continue
            if node.is_directory:
                if path or self._has_root:
                    out.add(_named(node.entry, path or b"."))
            elif id(node) in paths:
                links.append((path, node))
            else:
                paths[id(node)] = path
                if node.entry.kind == "file":
                    files[node.source] = node
                else:
                    others.append((path, node))
        for path in removed:
            parent, slash, name = path.rpartition(b"/")
            out.add(Entry(parent + slash + WHITEOUT + name))
        for number, layer in enumerate(view.layers):
            if any(source[0] == number for source in files):
                with _opened(view, layer, limits) as reader:
                    _copy_files(reader, number, files, paths, out)
        for path, node in others:
            out.add(_named(node.entry, path))
        for path, node in links:
            out.add(Entry(path, "hardlink", node.entry.mode, linkname=paths[id(node)]))

    def _walk(self) -> Iterator[tuple[bytes, Node, int]]:
        """All nodes with their paths and the layers that put them there, parents first, names sorted."""
        stack = [(b"", self.root, 0)]
        while stack:
            path, node, born = stack.pop()
            yield path, node, born
            for name in sorted(node.children, reverse=True):
                stack.append((path + b"/" + name if path else name, *node.children[name]))

    def _changed(self, above: int, removed: Sequence[bytes]) -> set[bytes]:
        """Paths that a layer from this number on put there, with their parents, and those of what is removed.

        A file of which one name is among them has all its names there, so that they stay one file.
        """
        nodes: set[int] = set()
        for _, node, born in self._walk():
            if max(born, node.source[0]) >= above:
                nodes.add(id(node))
        found: set[bytes] = set()
        changed = (path for path, node, _ in self._walk() if id(node) in nodes)
        for path in (*changed, *(path.rpartition(b"/")[0] for path in removed)):
            while path not in found:
                found.add(path)
                path = path.rpartition(b"/")[0]
        return found

    def _removed(self, lower: MergedTree) -> list[bytes]:
        """Paths of a lower tree that are not there, where their directory still is one."""
        found = []
        for path, _, _ in lower._walk():
            parent = self.find(path.rpartition(b"/")[0])
            if path and parent is not None and parent.is_directory and self.find(path) is None:
                found.append(path)
        return found

    def _apply(self, reader: TarReader, layer: int) -> None:
        number = -1
        while (entry := reader.next()) is not None:
            number += 1
            self._count(entry)
            parts = _parts(entry.name)
            if not parts:
                if entry.kind == "dir":
                    self.root.entry, self._has_root = entry, True
                continue
            parent = self._directory(parts[:-1], layer)
            name = parts[-1]
            if name == OPAQUE:
                for child in list(parent.children):
                    _remove_lower(parent, child, layer)
            elif name.startswith(WHITEOUT_META):
                continue
            elif name.startswith(WHITEOUT):
                _remove_lower(parent, name[len(WHITEOUT) :], layer)
            else:
                self._put(parent, name, entry, (layer, number))

    def _count(self, entry: Entry) -> None:
        self._text_bytes += len(entry.name) + len(entry.linkname)
        self._text_bytes += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._text_bytes > MAX_TEXT_BYTES:
            raise InvalidImage(f"layers: more than {MAX_TEXT_BYTES} bytes of names and attributes")

    def _put(self, parent: Node, name: bytes, entry: Entry, source: tuple[int, int]) -> None:
        layer = source[0]
        if entry.kind == "hardlink":
            target = self._linked(entry)
            parent.children[name] = (target, layer)
            return
        node = Node(entry, source)
        known = parent.children.get(name)
        if known is not None and known[0].is_directory and node.is_directory:
            node.children = known[0].children
        parent.children[name] = (node, layer)

    def _linked(self, entry: Entry) -> Node:
        parts = _parts(entry.linkname)
        node = self._directory(parts[:-1], None).children.get(parts[-1], (None, 0))[0] if parts else None
        if node is None or node.is_directory:
            raise InvalidImage(
                f"layer entry {entry.name!r} is a hard link to {entry.linkname!r}: no such file"
            )
        return node

    def _directory(self, parts: Sequence[bytes], layer: int | None) -> Node:
        """The directory at a path, links followed; made where it is missing, unless layer is None."""
        trail = [self.root]
        todo = list(reversed(parts))
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                trail = trail[:-1] or trail
                continue
            if part in (b"", b"."):
                continue
            node = trail[-1].children.get(part, (None, 0))[0]
            if node is None:
                if layer is None:
                    raise InvalidImage(f"layer: {b'/'.join(parts)!r} does not exist")
                node = Node(Entry(part, "dir", 0o755))
                trail[-1].children[part] = (node, layer)
            if node.entry.kind == "symlink":
                links += 1
                if links > MAX_LINKS:
                    raise InvalidImage(f"layer: more than {MAX_LINKS} links lead to {b'/'.join(parts)!r}")
                if node.entry.linkname.startswith(b"/"):
                    trail = [self.root]
                todo += node.entry.linkname.split(b"/")[::-1]
                continue
            if not node.is_directory:
                raise InvalidImage(f"layer: {part!r} on the way to {b'/'.join(parts)!r} is no directory")
            trail.append(node)
            if len(trail) > MAX_DEPTH:
                raise InvalidImage(f"layer: {b'/'.join(parts)[:200]!r} is below {MAX_DEPTH} directories")
        return trail[-1]


@contextmanager
def _opened(view: ImageView, layer: Descriptor, limits: Limits) -> Iterator[TarReader]:
    with view.open_blob(layer) as blob:
        head = blob.read(HEAD_SIZE)
        yield TarReader(FileBlocks(open_decoder(detect(head), blob, limits, head)), limits)


def _copy_files(
    reader: TarReader,
    layer: int,
    files: dict[tuple[int, int], Node],
    paths: dict[int, bytes],
    out: TarWriter,
) -> None:
    number = -1
    while (entry := reader.next()) is not None:
        number += 1
        node = files.get((layer, number))
        if node is not None:
            out.add(_named(entry, paths[id(node)]), _Content(reader))


class _Content:
    """The content of the reader's current entry, as a file."""

    def __init__(self, reader: TarReader) -> None:
        self._reader = reader
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        if not len(self._rest):
            self._rest = self._reader.piece()
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


def _parts(path: bytes) -> list[bytes]:
    """Components of a path of a layer. Raises: InvalidImage for one that goes upwards."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise InvalidImage(f"layer entry {path[:200]!r} leads upwards")
    return parts


def _named(entry: Entry, name: bytes) -> Entry:
    made = copy.copy(entry)
    made.name = name
    return made


def _remove_lower(parent: Node, name: bytes, layer: int) -> None:
    """Remove what lower layers put under a name; what this layer put there, or below it, stays."""
    node, born = parent.children.get(name, (None, layer))
    if node is None:
        return
    for inner in list(node.children):
        _remove_lower(node, inner, layer)
    if born < layer and not node.children:
        del parent.children[name]
