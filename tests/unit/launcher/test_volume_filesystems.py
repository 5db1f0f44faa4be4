"""What the kernel is told of a file system that a volume's options name, where it cannot be mounted here."""

from __future__ import annotations

import errno
import os

import pytest

from pycontainer.errors import LaunchError
from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.binding import open_source

FLAG, STRING, CREATE = mounts.SET_FLAG, mounts.SET_STRING, mounts.CREATE


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The calls that would make a file system, of a kernel that then knows none of its kind."""
    calls: list[tuple[object, ...]] = []

    def opened(fstype: bytes) -> int:
        calls.append((fstype,))
        return os.open("/dev/null", os.O_RDONLY)

    def configured(_: int, command: int, key: bytes | None, value: bytes | None) -> None:
        calls.append((command, key, value))
        if command == CREATE:
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    monkeypatch.setattr(syscalls, "fsopen", opened)
    monkeypatch.setattr(syscalls, "fsconfig", configured)
    return calls


# What mount.nfs 2.6.2 gives mount(2) for the same words, as strace shows it, but for clientaddr=, which the
# kernel finds itself (fs/nfs/nfs4client.c). Words of the mount, not of the file system, go to fsmount(2).
@pytest.mark.parametrize(
    ("fstype", "device", "words", "expected"),
    [
        (
            "nfs",
            "nas:/export",
            ["vers=4.2", "soft", "timeo=600", "nosuid", "_netdev", "addr=192.0.2.1"],
            [
                (STRING, b"vers", b"4.2"), (FLAG, b"soft", None), (STRING, b"timeo", b"600"),
                (STRING, b"addr", b"192.0.2.1"),
            ],
        ),
        (
            "nfs4",
            "[fd00::1]:/export",
            ["ro", "sec=sys", "noac", "addr=fd00::1"],
            [
                (STRING, b"sec", b"sys"), (FLAG, b"noac", None), (STRING, b"addr", b"fd00::1"),
                (FLAG, b"ro", None),
            ],
        ),
    ],
    ids=["v4.2", "v6-read-only"],
)  # fmt: skip
def test_a_share_is_asked_for_with_its_server_version_and_options(
    told: list[tuple[object, ...]],
    fstype: str,
    device: str,
    words: list[str],
    expected: list[tuple[int, bytes, bytes | None]],
) -> None:
    described = {"filesystem": {"type": fstype, "device": device, "words": words}}
    with pytest.raises(LaunchError, match=r"mount /m: nfs4? .*:/export: Connection refused"):
        open_source("/m", described, {}, recursive=True)
    source = (STRING, b"source", device.encode())
    assert told == [(fstype.encode(),), source, *expected, (CREATE, None, None)]
