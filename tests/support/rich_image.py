"""An image with one of everything that layers can hold, written with the standard library alone."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import images

# Source: linux/capability.h, struct vfs_cap_data of revision 2: CAP_NET_BIND_SERVICE, effective
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
LONG = "long-" * 19 + "/" + "name-" * 30
CONFIG: Mapping[str, Any] = {
    "Cmd": ["sh", "-c", "cat /etc/motd; echo $GREETING"],
    "Env": ["PATH=/bin:/usr/bin", "GREETING=from the image"],
    "WorkingDir": "/srv",
    "Labels": {"org.example": "rich"},
}
SAYS = b"changed by the second layer\nfrom the image\n"

# What a container prints of itself, in every engine alike: the files it sees, and what is in them.
# Links of directories are not compared: a directory merged of several layers has one, a plain one more.
LISTING = (
    "cd /; find bin/su etc/motd home new old srv turned usr var -xdev ! -type l | sort | "
    "while read -r path; do stat -c '%n %F %a %u %g %t %T' \"$path\"; done; "
    "find . -xdev -type l ! -path './dev/*' ! -path './etc/mtab' ! -path './proc/*' | sort | "
    'while read -r path; do echo "$path $(readlink "$path")"; done; '
    "find bin etc/motd new old srv turned usr var -xdev -type f -exec stat -c '%n %h' {} + | sort; "
    "find bin etc/motd new old srv turned usr var -xdev -type f -exec sha256sum {} + | sort"
)


class _Layer:
    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.archive = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(
        self, name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", mode: int = 0o644, **more: Any
    ) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.mtime = kind, mode, len(content), images.EPOCH + 7
        for key, value in more.items():
            setattr(entry, key, value)
        self.archive.addfile(entry, io.BytesIO(content))

    def directory(self, name: str, mode: int = 0o755, **more: Any) -> None:
        self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def done(self) -> bytes:
        self.archive.close()
        return self.buffer.getvalue()


def _xattr(key: str, value: bytes) -> dict[str, Any]:
    return {"pax_headers": {f"SCHILY.xattr.{key}": value.decode("ascii")}}


def _oddities() -> bytes:
    layer = _Layer()
    layer.directory("etc", 0o755)
    layer.add("etc/motd", content=b"from the first layer\n")
    layer.add("bin/su", content=b"set-user-id\n", mode=0o4755, gid=42)
    layer.directory("usr", 0o755)
    layer.directory("usr/sbin", 0o2775, gid=50)
    layer.add("usr/sbin/bind", content=b"able\n", mode=0o755, **_xattr("security.capability", CAPABILITY))
    layer.add("usr/sbin/noted", content=b"noted\n", **_xattr("user.note", b"kept"))
    layer.directory("srv", 0o711, uid=3_000_000, gid=3_000_001)
    layer.add("srv/big-owner", content=b"x", mode=0o600, uid=2_000_000_000, gid=1)
    layer.directory("srv/" + LONG.partition("/")[0])
    layer.add("srv/" + LONG, content=b"a long way down\n")
    layer.add("srv/ünïcödé ☃", content=b"snow")
    layer.add("srv/one", content=b"linked" * 1000, mode=0o640, uid=7)
    layer.add("srv/two", tarfile.LNKTYPE, linkname="srv/one", mode=0o640, uid=7)
    layer.add("srv/three", tarfile.LNKTYPE, linkname="srv/one", mode=0o640, uid=7)
    layer.add("srv/dangling", tarfile.SYMTYPE, linkname="/no/where", mode=0o777, uid=5, gid=6)
    layer.add("srv/pipe", tarfile.FIFOTYPE, mode=0o622)
    layer.add("srv/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
    layer.add("srv/data", content=bytes(range(256)) * 2048)
    layer.directory("old", 0o750, gid=9)
    layer.add("old/hidden", content=b"1")
    layer.directory("old/deep")
    layer.add("old/deep/hidden", content=b"2")
    layer.directory("var/spool", 0o1777)
    layer.add("var/spool/removed", content=b"3")
    layer.add("var/spool/kept", content=b"4")
    layer.add("gone", content=b"5")
    layer.add("turned", content=b"a file")
    return layer.done()


def _changes() -> bytes:
    layer = _Layer()
    layer.directory("etc", 0o755)
    layer.add("etc/motd", content=b"changed by the second layer\n", mode=0o664, gid=3)
    layer.add(".wh.gone")
    layer.directory("old", 0o700)
    layer.add("old/.wh..wh..opq")
    layer.add("old/seen", content=b"6")
    layer.directory("var/spool", 0o1770)
    layer.add("var/spool/.wh.removed")
    layer.directory("turned", 0o2711, uid=11)
    layer.add("turned/inside", content=b"7")
    return layer.done()


def _additions() -> bytes:
    layer = _Layer()
    layer.directory("new", 0o755)
    layer.add("new/script", content=b"#!/bin/sh\necho ran\n", mode=0o755)
    layer.add("new/link", tarfile.SYMTYPE, linkname="../old/seen")
    return layer.done()


def layers(rootfs: Path) -> Sequence[bytes]:
    """Plain tars of its layers, bottom first. rootfs: busybox as tests.support.images makes it."""
    parts: Sequence[Callable[[], bytes]] = (_oddities, _changes, _additions)
    return [images.tar_of(rootfs), *(part() for part in parts)]


def layout(target: Path, rootfs: Path) -> Path:
    """An OCI layout of the image, named "latest"."""
    return images.oci_layout(target, layers(rootfs), config=CONFIG)
