"""Root file systems and OCI layouts made on the spot from busybox; nothing is fetched.

Written with the standard library alone, so that the package under test never checks its own work.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1::/:/bin/false\n"
    "web:x:1000:1000:A web user:/home/web:/bin/sh\n"
)
GROUP = "root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nweb:x:1000:\nstaff:x:50:web\nvideo:x:44:web,daemon\n"
EPOCH = 1_700_000_000


def busybox_path() -> Path | None:
    """Path of a statically linked busybox on this host, or None."""
    found = shutil.which("busybox")
    if found is None:
        return None
    path = Path(found).resolve()
    # A static program names no interpreter (PT_INTERP): the loader's path is not in its first page.
    return None if b"/ld-linux" in path.read_bytes()[:4096] else path


def busybox_rootfs(target: Path) -> Path:
    """Make a small root file system at target, which must not exist; return target."""
    source = busybox_path()
    if source is None:
        raise FileNotFoundError("no static busybox on this host: apt-get install busybox-static")
    for name in ("bin", "dev", "etc", "home/web", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"):
        (target / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target / "bin/busybox")
    applets = subprocess.run([source, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (target / "bin" / applet).symlink_to("busybox")
    (target / "etc/passwd").write_text(PASSWD)
    (target / "etc/group").write_text(GROUP)
    (target / "tmp").chmod(0o1777)
    (target / "var/tmp").chmod(0o1777)
    if os.geteuid() == 0:
        os.chown(target / "home/web", 1000, 1000)
    return target


def tar_of(directory: Path) -> bytes:
    """A directory as an uncompressed tar with sorted entries and fixed times."""
    buffer = io.BytesIO()

    def normalised(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = EPOCH
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, path.relative_to(directory).as_posix(), recursive=False, filter=normalised)
    return buffer.getvalue()


def tar_with(files: Mapping[str, bytes | None], *, mode: int = 0o644) -> bytes:
    """A tar made of names and contents; None makes a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mtime = EPOCH
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            else:
                entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _write_blob(layout: Path, data: bytes) -> tuple[str, int]:
    digest = digest_of(data)
    path = layout / "blobs/sha256" / digest.removeprefix("sha256:")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest, len(data)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def oci_layout(
    target: Path,
    layers: Sequence[bytes],
    *,
    config: Mapping[str, Any] | None = None,
    tags: Iterable[str] = ("latest",),
    architecture: str = "amd64",
) -> Path:
    """Write an OCI image layout of one image; layers are uncompressed tars, stored as gzip.

    config: the image's `config` object ("Cmd", "Env", "User" ...).
    """
    target.mkdir(parents=True, exist_ok=True)
    descriptors = []
    for layer in layers:
        digest, size = _write_blob(target, gzip.compress(layer, compresslevel=6, mtime=0))
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        descriptors.append({"mediaType": media_type, "digest": digest, "size": size})
    image = {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": dict(config or {"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin"]}),
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "made for a test"} for _ in layers],
    }
    config_digest, config_size = _write_blob(target, _json(image))
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest,
            "size": config_size,
        },
        "layers": descriptors,
    }
    digest, size = _write_blob(target, _json(manifest))
    entries = [
        {
            "mediaType": manifest["mediaType"],
            "digest": digest,
            "size": size,
            "platform": {"architecture": architecture, "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }
        for tag in tags
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }
    (target / "index.json").write_bytes(_json(index))
    (target / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    return target
