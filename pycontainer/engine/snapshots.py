"""Copies of a volume: clones, which are volumes, and snapshots, which are what a volume had at a time.

Theory of operation. Each copy is made whole under a name that nobody asks for, and gets its own by rename(2).
While it is made its maker holds a lock of that name: whoever finds it without may delete it. Blocks are
shared where the file system can do that (FICLONE, by way of copy_file_range(2)). A snapshot is a directory
beside the volume's files, and goes with the volume.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, final

from pycontainer.checkpoints import reached
from pycontainer.engine import copying
from pycontainer.engine.events import emit
from pycontainer.engine.files import Attend, OnMessage, at_rest, run_volume_job, until
from pycontainer.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InUse,
    InvalidOption,
    NotFound,
    WrongState,
)
from pycontainer.kernel import syscalls
from pycontainer.options import parse_volume_name
from pycontainer.store import VolumeRecord

if TYPE_CHECKING:
    from pycontainer.engine.copying import Copied, Duration, HostPath
    from pycontainer.engine.engine import Engine
    from pycontainer.engine.volumes import Volume

__all__ = [
    "KILL_POINTS",
    "VolumeSnapshot",
    "changing",
    "clone",
    "find",
    "list_snapshots",
    "lock",
    "sweep_begun",
    "take",
]

KILL_POINTS = (
    "volume.clone.begun",
    "volume.clone.copied",
    "volume.clone.named",  # the directory has its name, and no row yet
    "volume.snapshot.copied",
    "volume.restore.copied",
    "volume.restore.exchanged",  # all is as it was, what was there since is not deleted yet
)

_COPY_S = 3600.0
_LOCK_S = 3600.0
_BEGUN = ".begun-"
_FILES = "_data"
_SNAPSHOTS = "snapshots"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_ALL = {"dst": "/", "name": "", "is_content": True, "is_tar": False, "owner": None}


@contextmanager
def lock(engine: Engine, name: str, timeout_s: float = _LOCK_S) -> Iterator[None]:
    """Let one process at a time make, fill, restore or remove a volume. Raises DeadlineExceeded."""
    with engine.store.container_lock(f"volume-{name}", timeout_s):
        yield


@final
class VolumeSnapshot:
    """What a volume had at a time: kept beside it, changed by nobody, gone with it."""

    def __init__(self, volume: Volume, name: str) -> None:
        self._volume = volume
        self._name = name

    @property
    def name(self) -> str:
        """What it is called, of its volume's."""
        return self._name

    @property
    def volume(self) -> Volume:
        """Whose files these were."""
        return self._volume

    @property
    def created_at(self) -> datetime:
        """When it was whole. Raises NotFound."""
        with _missing_named(self):
            return datetime.fromtimestamp(self._place.stat().st_mtime, UTC)

    def restore(self) -> None:
        """Let the volume have exactly these files again; what it has now is lost.

        All or nothing. Refused while a container that uses the volume runs.
        Raises: InUse, NotFound, KernelError, DeadlineExceeded.
        """
        _restore(self._volume._engine, self)

    def clone(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make another volume with these files, as `Volume.clone` does."""
        return clone(self._volume._engine, self._opened, name, labels)

    def export(self, target: HostPath | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Write these files as a tar, as `Volume.export` does."""
        return copying.export(self, target, timeout=timeout)

    def remove(self) -> None:
        """Delete it. Raises NotFound."""
        if not self._place.is_dir():
            raise _not_there(self)
        self._volume._engine.store.remove_tree(self._place)

    @property
    def _place(self) -> Path:
        return _top(self._volume._engine, self._volume.name) / _SNAPSHOTS / self._name

    def _opened(self) -> int:
        with _missing_named(self):
            return os.open(self._place / _FILES, _DIRECTORY)

    def _run_job(
        self,
        job: str,
        params: Mapping[str, Any],
        fds: Sequence[int] = (),
        *,
        deadline: float | None,
        on_message: OnMessage | None = None,
        attend: Attend | None = None,
    ) -> dict[str, Any]:
        directory = self._opened()
        try:
            return run_volume_job(
                self._volume._engine, directory, job, params, fds,
                deadline=deadline, on_message=on_message, attend=attend,
            )  # fmt: skip
        finally:
            os.close(directory)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VolumeSnapshot):
            return NotImplemented
        return (self._name, self._volume) == (other._name, other._volume)

    def __hash__(self) -> int:
        return hash((self._name, self._volume))

    def __repr__(self) -> str:
        return f"VolumeSnapshot({self._name!r}, of={self._volume.name!r})"


def _not_there(snapshot: VolumeSnapshot) -> NotFound:
    return NotFound(f"volume {snapshot.volume.name} has no snapshot {snapshot.name!r}")


@contextmanager
def _missing_named(snapshot: VolumeSnapshot) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _not_there(snapshot) from None


def _top(engine: Engine, volume: str) -> Path:
    return engine.store.root / "volumes" / volume


# -- snapshots -----------------------------------------------------------------------------------------


def take(volume: Volume, name: str | None) -> VolumeSnapshot:
    """See Volume.snapshot."""
    if name is None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}.{secrets.token_hex(3)}"
    elif _NAME.fullmatch(name) is None:
        raise InvalidOption(
            f"snapshot {name!r} is no name: start with a letter or digit, then letters, digits, _ . -"
        )
    made = VolumeSnapshot(volume, name)
    engine = volume._engine
    with changing(engine, volume.name):
        os.close(volume._opened())
        if made._place.exists():
            raise AlreadyExists(f"volume {volume.name} has a snapshot {name!r} already; remove that first")
        with _begun(engine, _top(engine, volume.name)) as begun:
            _copy(engine, volume._opened, begun / _FILES)
            reached("volume.snapshot.copied")
            made._place.parent.mkdir(mode=0o711, exist_ok=True)
            os.utime(begun)
            os.rename(begun, made._place)
    return made


def list_snapshots(volume: Volume) -> list[VolumeSnapshot]:
    """See Volume.snapshots."""
    _ = volume._record
    try:
        names = os.listdir(_top(volume._engine, volume.name) / _SNAPSHOTS)
    except FileNotFoundError:
        return []
    found: list[tuple[datetime, str, VolumeSnapshot]] = []
    for name in names:
        with suppress(NotFound):
            made = VolumeSnapshot(volume, name)
            found.append((made.created_at, name, made))
    return [made for _, _, made in sorted(found, key=lambda each: each[:2])]


def find(volume: Volume, name: str) -> VolumeSnapshot:
    """The snapshot of this name. Raises NotFound."""
    found = VolumeSnapshot(volume, str(name))
    _ = volume._record
    if _NAME.fullmatch(found.name) is None or not found._place.is_dir():
        raise _not_there(found)
    return found


def _restore(engine: Engine, snapshot: VolumeSnapshot) -> None:
    volume = snapshot.volume
    with ExitStack() as held:
        held.enter_context(changing(engine, volume.name))
        for opened in (volume._opened, snapshot._opened):
            os.close(opened())
        begun = held.enter_context(_begun(engine, _top(engine, volume.name)))
        _copy(engine, snapshot._opened, begun / _FILES)
        reached("volume.restore.copied")
        with lock(engine, volume.name), _users_at_rest(volume):
            os.close(volume._opened())
            files = _top(engine, volume.name) / _FILES
            syscalls.renameat2(
                syscalls.AT_FDCWD,
                str(begun / _FILES),
                syscalls.AT_FDCWD,
                str(files),
                syscalls.RENAME_EXCHANGE,
            )
        reached("volume.restore.exchanged")
        engine.store.remove_tree(begun)


@contextmanager
def _users_at_rest(volume: Volume) -> Iterator[None]:
    with ExitStack() as held:
        for container in volume.in_use_by:
            try:
                held.enter_context(at_rest(container, until(0)))
            except NotFound:
                continue
            except (WrongState, DeadlineExceeded) as error:
                state = error.state if isinstance(error, WrongState) else "about to change"
                raise InUse(
                    f"volume {volume.name} is used by {container.name}, which is {state}; stop it first"
                ) from None
        # One that is about to start has locked it; one that will waits for us.
        top = os.open(_top(volume._engine, volume.name), _DIRECTORY)
        held.callback(os.close, top)
        try:
            fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"volume {volume.name} is used by a container that starts; stop it first") from None
        yield


@contextmanager
def changing(engine: Engine, volume: str) -> Iterator[None]:
    """Let one process at a time take, restore or remove what a volume has. Raises DeadlineExceeded."""
    with engine.store.container_lock(f"snapshots-{volume}", _LOCK_S):
        yield


# -- clones --------------------------------------------------------------------------------------------


def clone(
    engine: Engine, opened: Callable[[], int], name: str | None, labels: Mapping[str, str] | None
) -> Volume:
    """See Volume.clone. opened: gives a descriptor of the files."""
    from pycontainer.engine.volumes import DRIVER, Volume

    record = VolumeRecord(
        name=parse_volume_name(name) if name is not None else secrets.token_hex(32),
        driver=DRIVER,
        created_at=time.time(),
        labels=dict(labels or {}),
        is_anonymous=name is None,
    )
    _refuse_known(engine, record.name)
    with _begun(engine, engine.store.root / "volumes") as begun:
        reached("volume.clone.begun")
        _copy(engine, opened, begun / _FILES)
        reached("volume.clone.copied")
        with lock(engine, record.name):
            _refuse_known(engine, record.name)
            place = _top(engine, record.name)
            engine.store.remove_tree(place)  # without a row it is what a crash left
            os.rename(begun, place)
            reached("volume.clone.named")
            engine.store.state.volumes.insert(record)
    emit(engine, "volume", "create", record.name, {"driver": record.driver})
    return Volume(record.name, engine)


def _refuse_known(engine: Engine, name: str) -> None:
    if engine.store.state.volumes.get(name) is not None:
        raise AlreadyExists(f"a volume named {name!r} exists already")


@contextmanager
def _begun(engine: Engine, parent: Path) -> Iterator[Path]:
    """A new directory of ours to be renamed; it goes when that does not happen."""
    parent.mkdir(mode=0o711, exist_ok=True)
    place = parent / f"{_BEGUN}{secrets.token_hex(8)}"
    with lock(engine, place.name):
        place.mkdir(mode=0o711)
        try:
            yield place
        finally:
            engine.store.remove_tree(place)


def sweep_begun(engine: Engine, parent: Path) -> None:
    """Delete what copies that were cut off left in a directory."""
    for place in parent.glob(f"{_BEGUN}*"):
        with suppress(DeadlineExceeded), lock(engine, place.name, 0):  # whose lock is held is being made
            engine.store.remove_tree(place)


def _copy(engine: Engine, opened: Callable[[], int], target: Path) -> None:
    """Copy all of a directory into a new one, links between its files and holes in them too."""
    with ExitStack() as held:
        source = opened()
        held.callback(os.close, source)
        target.mkdir(mode=0o700)
        into = os.open(target, _DIRECTORY)
        held.callback(os.close, into)
        run_volume_job(engine, into, "copy_in", _COPY_ALL, [source], deadline=until(_COPY_S))
        found = os.fstat(source)
        os.fchown(into, found.st_uid, found.st_gid)
        os.fchmod(into, stat.S_IMODE(found.st_mode))
        for attribute in os.listxattr(source):
            if attribute.startswith(("security.", "trusted.overlay.")):
                continue  # the host's own to give
            os.setxattr(into, attribute, os.getxattr(source, attribute))
        os.utime(into, ns=(found.st_atime_ns, found.st_mtime_ns))
