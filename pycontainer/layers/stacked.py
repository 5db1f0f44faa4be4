"""Unpack a layer on top of the layers below, for one that only means something together with them.

The archive is applied to an overlay mounted over the lower layers, as containerd does, and the kernel
leaves the overlay form in the upper directory. Whiteouts delete at once, but never what this same layer
brought: the specification lets them act on lower layers only, wherever they stand in the archive.
Source: OCI image-spec layer.md, "Whiteouts"; containerd archive/tar.go.
"""

from __future__ import annotations

import os
import stat

from pycontainer.layers.apply import Applier
from pycontainer.layers.entry import Entry
from pycontainer.layers.limits import Limits
from pycontainer.layers.tarreader import TarReader
from pycontainer.layers.tree import drop_inherited_lists

__all__ = ["StackedApplier"]

_ACCESS_LIST = "system.posix_acl_access"
_DEFAULT_LIST = "system.posix_acl_default"


class StackedApplier(Applier):
    """Applies one archive to a mounted overlay.

    `below` is the root of the topmost lower layer: an upper directory covers the lower roots' owner and
    mode, so a layer that does not list the root inherits them by copy.
    """

    strict = False  # any directory may be a link of a lower layer

    def __init__(self, reader: TarReader, root: int, limits: Limits, below: int) -> None:
        super().__init__(reader, root, limits)
        self._below = below
        self._made: set[bytes] = set()
        self._real = b""
        self._has_default_list = False

    def _prepare_root(self) -> None:
        found = os.stat(self._below)
        xattrs = {os.fsencode(name): os.getxattr(self._below, name) for name in os.listxattr(self._below)}
        self._directories[b""] = Entry(
            b"/",
            "dir",
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            mtime_ns=found.st_mtime_ns,
            xattrs=xattrs,
        )

    def _enter(self, directory: bytes, name: bytes) -> None:
        super()._enter(directory, name)
        self._real = self._tree.real_path(self._parent)
        self._note(self._real)
        path = b"/proc/self/fd/%d" % self._parent
        self._has_default_list = _DEFAULT_LIST in os.listxattr(path)

    def _note(self, path: bytes) -> None:
        """A path and the directories above it belong to this layer now."""
        while path and path not in self._made:
            self._made.add(path)
            path = path.rpartition(b"/")[0]

    def _create(self, entry: Entry, name: bytes, base: bytes) -> None:
        real = self._joined(base)
        super()._create(entry, name, base)
        self._note(real)
        if self._has_default_list and entry.kind not in ("symlink", "hardlink"):
            self._undo_inheritance(entry, base)

    def _joined(self, base: bytes) -> bytes:
        return self._real + b"/" + base if self._real else base

    def _undo_inheritance(self, entry: Entry, base: bytes) -> None:
        """Remove the access lists that the directory's default list gave to a new entry."""
        path = b"/proc/self/fd/%d/%s" % (self._parent, base)
        inherited = (_ACCESS_LIST, _DEFAULT_LIST) if entry.kind == "dir" else (_ACCESS_LIST,)
        drop_inherited_lists(path, tuple(name for name in inherited if os.fsencode(name) not in entry.xattrs))
        self._change_mode(base, entry.mode)

    def _hide(self, path: bytes, base: bytes) -> None:
        try:
            if self._joined(base) not in self._made:
                self._remove(self._parent, base)
            elif self._is_directory(base):
                self._prune(self._joined(base))
        except FileNotFoundError:
            pass  # nothing below to hide

    def _hide_all(self, directory: bytes, name: bytes) -> None:
        self._enter(directory, name)
        self._prune(self._real)

    def _remove(self, parent: int, base: bytes) -> None:
        if self._tree.remove(parent, base) != stat.S_IFREG:
            self._parent_path = None

    def _prune(self, top: bytes) -> None:
        """Remove everything below a directory that is not of this layer."""
        todo = [top]
        while todo:
            path = todo.pop()
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._tree.directory(path))
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    child = path + b"/" + name if path else name
                    if child not in self._made:
                        self._remove(fd, name)
                    elif stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        todo.append(child)
            finally:
                os.close(fd)
        self._parent_path = None
