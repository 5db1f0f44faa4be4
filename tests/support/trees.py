"""Trees in tars described so that those of two engines can be compared, entry by entry."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Container
from typing import BinaryIO

Described = tuple[object, ...]

# What engines put into every root file system that they export.
ENGINES = frozenset({".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"})


def described(tar: BinaryIO, *, without: Container[str] = ENGINES) -> dict[str, Described]:
    """What a tar says of each entry, but for times: kind, mode, owners, device, attributes, target, content.

    Of a hard link only where it leads counts. without: names that are left out, as are /dev, /proc and /sys.
    """
    found: dict[str, Described] = {}
    with tarfile.open(fileobj=tar) as archive:
        for entry in archive:
            name = entry.name.removeprefix("./").strip("/")
            if name.split("/")[0] in ("dev", "proc", "sys") or name in without or name in ("", "."):
                continue
            if entry.islnk():
                found[name] = (entry.linkname.removeprefix("./").lstrip("/"),)
                continue
            attributes = {key: value for key, value in entry.pax_headers.items() if "xattr" in key}
            content = archive.extractfile(entry) if entry.isreg() else None
            found[name] = (
                entry.type,
                f"{entry.mode & 0o7777:04o}",
                (entry.uid, entry.gid),
                (entry.devmajor, entry.devminor) if entry.isdev() else None,
                attributes,
                entry.linkname,
                None if content is None else (entry.size, hashlib.file_digest(content, "sha256").hexdigest()),
            )
    return found
