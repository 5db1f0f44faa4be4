"""Names of images with the digests they stood for, in a file to be kept beside the program: TOML, sorted.

version = 1

[images]
"docker.io/library/alpine:3.20" = "sha256:..."
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.oci import Digest, Reference, parse_digest

__all__ = ["read_lock", "write_lock"]

VERSION = 1
LARGEST_FILE = 16 << 20
_HEAD = "# The digests that these names of images stand for; written by pycontainer.LockFile."


def read_lock(path: str | os.PathLike[str]) -> dict[Reference, Digest]:
    """The pinned digests of a file. Raises: NotFound; InvalidInput naming what is wrong."""
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise NotFound(f"lock file {where} does not exist; LockFile(path).add(names) makes it") from None
    except OSError as error:
        raise InvalidInput(f"lock file {where} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"lock file {where} is larger than {LARGEST_FILE} bytes")
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"lock file {where} is not TOML: {error}") from None
    if document.get("version") != VERSION:
        raise InvalidInput(f"lock file {where} is of version {document.get('version')!r}, not {VERSION}")
    images = document.get("images", {})
    if not isinstance(images, dict) or not all(isinstance(digest, str) for digest in images.values()):
        raise InvalidInput(f"lock file {where}: images is no table of digests by name")
    found = {}
    for name, digest in images.items():
        try:
            reference = Reference.parse(name)
            found[reference] = parse_digest(digest)
        except InvalidInput as error:
            raise InvalidInput(f"lock file {where}: {name[:200]!r}: {error}") from None
        if reference.digest is not None:
            raise InvalidInput(f"lock file {where}: {name[:200]!r} has a digest; leave it out")
        if str(reference) != name:
            raise InvalidInput(f"lock file {where}: write {name[:200]!r} as {reference}")
    return found


def write_lock(path: str | os.PathLike[str], pinned: Mapping[Reference, Digest]) -> None:
    """Replace a file as a whole. Raises: OSError."""
    # Names and digests are of letters that need no escape in TOML.
    lines = [f'"{name}" = "{pinned[name]}"' for name in sorted(pinned, key=str)]
    text = "\n".join([_HEAD, f"version = {VERSION}", "", "[images]", *lines, ""])
    target = Path(os.path.realpath(path))
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    fd, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
            os.fchmod(fd, mode)
            file.flush()
            os.fsync(fd)
        os.rename(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise
