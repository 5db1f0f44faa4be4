"""The layer above every image that holds the mount points a container needs.

Because it lies above, a link that an image puts at one of these names never decides what is mounted
over (CVE-2026-41579); and a read-only root file system needs no writing before the start.
Source: moby, daemon/initlayer/setup_unix.go.
"""

from __future__ import annotations

import os
from pathlib import Path

from pycontainer.store import locks
from pycontainer.store.locks import FileLock

__all__ = ["make_init_layer"]

# Part of the name, so that a change of the contents makes a new layer beside the old one.
_VERSION = 1

_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
_LINKS = {"etc/mtab": "/proc/mounts"}


def make_init_layer(root: Path, store_lock: Path) -> Path:
    """The init layer's files; made whole on the first call, found on every other."""
    final = root / f"init-{_VERSION}"
    if not (final / "fs").is_dir():
        with FileLock(store_lock).held(locks.SHORT_S):
            if not (final / "fs").is_dir():
                temporary = root / f"init-{_VERSION}.new"
                import shutil  # with compressors: only once for each store

                # Left by a crash; it holds no stranger's file.
                shutil.rmtree(temporary, ignore_errors=True)
                _fill(temporary)
                os.rename(temporary, final)
    return final / "fs"


def _fill(directory: Path) -> None:
    fs = directory / "fs"
    for path in (directory, fs, *(fs / name for name in _DIRECTORIES)):
        path.mkdir()
        path.chmod(0o700 if path == directory else 0o755)
    for name in _FILES:
        (fs / name).touch(exist_ok=False)
        (fs / name).chmod(0o644)
    for name, target in _LINKS.items():
        (fs / name).symlink_to(target)
