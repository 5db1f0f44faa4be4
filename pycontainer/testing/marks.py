"""Marks on what tests make and nobody's death removes: of which process it is, so that the next one can.

Containers need none: they belong to a process, and go with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from pycontainer.engine import Container, Engine, Image, Network, Volume
from pycontainer.errors import DeadlineExceeded, InUse, NotFound
from pycontainer.kernel import pidfd

__all__ = [
    "IMAGES",
    "NOTED_BYTES",
    "REUSE",
    "REUSED",
    "container_name",
    "forget_abandoned",
    "forget_place",
    "identity",
    "lock",
    "mark",
    "place",
]

LABEL = "pycontainer.testing.owner"
REUSED = "pycontainer.testing.reused"
"""The label of a container that stays for later runs: whose it is."""
REUSE = "reuse-"
"""How its key begins."""
IMAGES = "pycontainer-testing"
"""The repository of images of prepared containers."""

NOTED_BYTES = 256
"""More than a name that is noted of a shared thing has."""

_LOCK_S = 600.0


def identity(pid: int) -> str:
    """A process until reboot, as text."""
    return f"{pid}-{pidfd.start_time(pid)}"


def mark(pid: int) -> dict[str, str]:
    """The label of what belongs to a process."""
    return {LABEL: identity(pid)}


def _is_abandoned(labels: Mapping[str, str]) -> bool:
    pid, _, start = labels.get(LABEL, "").partition("-")
    if not pid:
        return False
    opened = pidfd.open_checked(int(pid), int(start)) if (pid + start).isdigit() else None
    if opened is not None:
        os.close(opened)
    return opened is None


def forget_abandoned(engine: Engine) -> None:
    """Remove what tests of processes that were killed left in this store."""
    # Listing them lets go of those whose owner has died, on which networks, volumes and images wait.
    Container.list(all=True, engine=engine)
    for network in Network.list(filters={"label": LABEL}, engine=engine):
        with suppress(InUse, NotFound):
            if _is_abandoned(network.labels):
                network.remove()
    for volume in Volume.list(filters={"label": LABEL}, engine=engine):
        with suppress(InUse, NotFound):
            if _is_abandoned(volume.labels):
                volume.remove()
    for image in Image.list(filters={"label": LABEL}, engine=engine):
        with suppress(InUse, NotFound):
            if _is_abandoned(image.config.config.labels):
                image.remove(force=True)
    for image in Image.list(filters={"reference": f"{IMAGES}:*"}, engine=engine):
        key = image.name.partition(":")[2]
        with suppress(DeadlineExceeded, InUse, NotFound), lock(engine, key, 0):
            if not Container.list(all=True, filters={"name": f"^{container_name(key)}$"}, engine=engine):
                image.remove(force=True)
    _forget_places(engine)


def container_name(key: str) -> str:
    """What the container of a shared thing is called."""
    return f"testing-{key}"


# -- places of what is shared ----------------------------------------------------------------------


def place(engine: Engine, key: str) -> str:
    """The file that those who share a thing hold locked together; what is in it names the thing."""
    directory = engine.store.root / "testing"
    directory.mkdir(mode=0o700, exist_ok=True)
    return str(directory / key)


@contextmanager
def lock(engine: Engine, key: str, timeout_s: float = _LOCK_S) -> Iterator[None]:
    """Let one process at a time make, find or remove a shared thing. Raises DeadlineExceeded."""
    with engine.store.container_lock(f"testing-{key}", timeout_s):
        yield


def _forget_places(engine: Engine) -> None:
    directory = engine.store.root / "testing"
    for key in os.listdir(directory) if directory.is_dir() else ():
        with suppress(DeadlineExceeded, FileNotFoundError), lock(engine, key, 0):
            forget_place(engine, key)


def forget_place(engine: Engine, key: str) -> None:
    """Remove the file of a shared thing that nobody uses, and that is gone unless it goes with its run."""
    opened = os.open(path := place(engine, key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        noted = os.pread(opened, NOTED_BYTES, 0).decode(errors="replace")
        if not key.startswith(REUSE) or engine.store.state.containers.get(noted) is None:
            os.unlink(path)
    except BlockingIOError:
        return
    finally:
        os.close(opened)
