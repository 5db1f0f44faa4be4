"""Where things lie in the store's directory, made with modes that keep other users out.

state.db                     names: images, tags, containers, layers
content/blobs/sha256/<hex>   complete, verified blobs
content/ingest/<hex>.*       blobs on their way: .partial (kept for resuming), .lock
snapshots/<key>/fs           unpacked layers
init-1/fs                    the layer of mount points above every image
containers/<id>/             writable layer, status and log of one container
events/                      the log of what happened (launcher.eventlog)
locks/                       leases/<id>, layers/<key>, containers/<id>, compose/<project>, store
trash/                       trees being deleted
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

from pycontainer.errors import InvalidInput, KernelError, Unsupported

__all__ = ["Layout"]

# 0710: a process of the group may pass through to a path it was given, but nobody lists the store.
ROOT_MODE = 0o710
PRIVATE_MODE = 0o700
# ioctl_iflags(2), of a 64-bit kernel
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x20000


class Layout:
    """The paths of one store. `create` makes what is missing; everything else is arithmetic."""

    __slots__ = (
        "blobs",
        "container_locks",
        "containers",
        "content",
        "database",
        "events",
        "ingest",
        "layer_locks",
        "leases",
        "root",
        "snapshots",
        "store_lock",
        "trash",
    )

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.database: Path = root / "state.db"
        self.content: Path = root / "content"
        self.blobs: Path = root / "content/blobs"
        self.ingest: Path = root / "content/ingest"
        self.snapshots: Path = root / "snapshots"
        self.containers: Path = root / "containers"
        self.events: Path = root / "events"
        self.trash: Path = root / "trash"
        self.leases: Path = root / "locks/leases"
        self.layer_locks: Path = root / "locks/layers"
        self.container_locks: Path = root / "locks/containers"
        self.store_lock: Path = root / "locks/store"

    def container(self, container_id: str) -> Path:
        """Directory of one container."""
        return self.containers / container_id

    def create(self) -> None:
        """Make the directories that are missing.

        Raises: InvalidInput if others could write to the store or replace it; KernelError.
        """
        try:
            if not self.root.exists():
                # Parents get the caller's umask as with mkdir -p; only the store itself is restricted.
                self.root.parent.mkdir(parents=True, exist_ok=True)
                _make(self.root, ROOT_MODE)
            self._refuse_unsafe()
            for path in (
                self.content,
                self.blobs,
                self.blobs / "sha256",
                self.blobs / "sha512",
                self.ingest,
                self.snapshots,
                self.containers,
                self.events,
                self.trash,
                self.root / "locks",
                self.leases,
                self.layer_locks,
                self.container_locks,
            ):
                _make(path, PRIVATE_MODE)
                if path is self.snapshots:
                    _spread(path)
            self._refuse_folded_names()
        except OSError as error:
            if isinstance(error, KernelError):
                raise
            raise KernelError(
                error.errno or 0,
                "mkdir",
                str(error.filename or self.root),
                "choose another store with PYCONTAINER_ROOT",
            ) from error

    def _refuse_folded_names(self) -> None:
        """Refuse a file system that takes A and a for one name: one of two such files would be lost."""
        if os.path.exists(self.snapshots.with_name(self.snapshots.name.upper())):
            raise Unsupported(
                f"the store's root {self.root} is on a file system that does not tell A from a in names",
                "choose another PYCONTAINER_ROOT, or a directory without chattr +F",
            )

    def _refuse_unsafe(self) -> None:
        """Refuse a root that someone else owns or can write to: they could exchange what we verified."""
        status = os.stat(self.root)
        if not stat.S_ISDIR(status.st_mode):
            raise InvalidInput(f"the store's root {self.root} is not a directory")
        if status.st_uid != os.geteuid():
            raise InvalidInput(
                f"the store's root {self.root} belongs to user {status.st_uid}, not to user {os.geteuid()}; "
                "choose another one with PYCONTAINER_ROOT"
            )
        if status.st_mode & 0o022:
            mode = stat.S_IMODE(status.st_mode)
            raise InvalidInput(
                f"the store's root {self.root} is writable by others (mode {mode:04o}); "
                f"chmod go-w {self.root}"
            )
        filesystem = os.statvfs(self.root)
        if filesystem.f_flag & os.ST_RDONLY:
            raise Unsupported(
                f"the store's root {self.root} is on a read-only file system",
                "choose another PYCONTAINER_ROOT",
            )


def _spread(path: Path) -> None:
    """Have ext2, 3 and 4 put each new directory of this one into another part of the disk, if they can.

    They put it near its parent else, where ext4 has to pass by every inode that was freed in the last minutes
    before it finds one for a file: a layer unpacked after another was removed takes several times as long.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # most file systems have no such flag, and none has to let us set it
            flags = struct.unpack("i", fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(4)))[0]
            if not flags & _FS_TOPDIR_FL:
                fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, struct.pack("i", flags | _FS_TOPDIR_FL))
    finally:
        os.close(descriptor)


def _make(path: Path, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    # The umask may have taken more away than we need.
    os.chmod(path, mode)
