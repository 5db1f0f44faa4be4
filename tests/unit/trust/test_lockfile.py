"""The file of pinned digests, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.oci import Digest, Reference
from pycontainer.trust import read_lock, write_lock

DIGEST = Digest("sha256:" + "a" * 64)


def test_what_is_written_is_read_back_and_sorted(tmp_path: Path) -> None:
    pinned = {Reference.parse(name): DIGEST for name in ("quay.io/b/c:1", "alpine", "localhost:5000/x:y")}
    write_lock(tmp_path / "lock", pinned)
    assert read_lock(tmp_path / "lock") == pinned
    names = [line for line in (tmp_path / "lock").read_text().splitlines() if line.startswith('"')]
    assert names == sorted(names)
    write_lock(tmp_path / "other", dict(reversed(pinned.items())))
    assert (tmp_path / "other").read_bytes() == (tmp_path / "lock").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "version = 2",
        "version = 1\nimages = 1",
        f'version = 1\n[images]\n"alpine" = "sha256:{DIGEST[7:]}"',
        'version = 1\n[images]\n"docker.io/library/alpine:1" = "sha256:x"',
        'version = 1\n[images]\n"docker.io/library/alpine:1" = 1',
        f'version = 1\n[images]\n"docker.io/Bad:1" = "sha256:{DIGEST[7:]}"',
        f'version = 1\n[images]\n"docker.io/library/a@sha256:{DIGEST[7:]}" = "sha256:x"',
    ],
    ids=["toml", "version", "table", "short", "digest", "type", "name", "digest in name"],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(InvalidInput, match=f"lock file {tmp_path}"):
        read_lock(tmp_path / "lock")


def test_a_missing_file_tells_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="LockFile"):
        read_lock(tmp_path / "none")
