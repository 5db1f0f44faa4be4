"""`Volume`: files that outlive the containers that use them, and what containers get of them.

Theory of operation. A volume is a row and a directory below the store's `volumes/`; the row is written first
and deleted first, so that a directory without a row is what a crash left. An empty one is filled with what
the image has at its place, at the start of the first container that uses it: in place, under a lock of its
own, with a file beside it that tells the next one of a copy that was cut off.
"""

from __future__ import annotations

import builtins
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, final

from pycontainer.checkpoints import reached
from pycontainer.engine import copying, snapshots
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.events import emit
from pycontainer.engine.files import Attend, OnMessage, run_volume_job
from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.engine.ownership import forget_vanished
from pycontainer.errors import AlreadyExists, DeadlineExceeded, InUse, InvalidOption, NotFound, Unsupported
from pycontainer.options import parse_volume_name
from pycontainer.store import VolumeRecord

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.copying import Copied, Duration, HostPath
    from pycontainer.engine.paths import VolumePath
    from pycontainer.engine.snapshots import VolumeSnapshot

__all__ = ["DRIVER", "KILL_POINTS", "Volume", "data_of", "fill", "make_volume", "sweep"]

KILL_POINTS = (
    "volume.create.inserted",
    "volume.create.directory",
    "volume.fill.begun",
    "volume.fill.copied",
    "volume.remove.deleted",
)

DRIVER = "local"
"""The one there is."""
_OPTIONS = ("device", "o", "type")
_FILTERS = ("dangling", "driver", "label", "label!", "name")
_PRUNE_FILTERS = ("all", "label", "label!")
_FILL_S = 3600.0
_MARK = ".filling"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@final
class Volume:
    """A volume: a handle whose attributes read the store anew each time. May be used from several threads."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine

    @classmethod
    def create(
        cls,
        name: str | None = None,
        *,
        driver: str = DRIVER,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Volume:
        """Make a volume; one that exists with the same driver and options is given as it is, as in Docker.

        name: a random one by default. options: of the local driver, as mount(8) takes them: type, o, device;
        without any it is a directory of the store.
        Raises: AlreadyExists if there is another of this name; InvalidOption.
        """
        engine = engine or current_engine()
        record = make_volume(engine, name, driver=driver, options=options, labels=labels)
        return cls(record.name, engine)

    @classmethod
    def get(cls, name: str, *, engine: Engine | None = None) -> Volume:
        """The volume of this name. Raises NotFound."""
        found = cls(name, engine or current_engine())
        _ = found._record
        return found

    @classmethod
    def prune(
        cls, *, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> tuple[str, ...]:
        """Remove the anonymous volumes that no container uses, or all of those; their names.

        filters: label, label! and all.
        """
        engine = engine or current_engine()
        chosen = Filters(filters, _PRUNE_FILTERS, "volume prunes")
        everything = all or chosen.flag("all", False)
        removed = []
        for record in engine.store.state.volumes.list():
            if (record.is_anonymous or everything) and chosen.has_labels(record.labels):
                with suppress(InUse, NotFound):
                    cls(record.name, engine).remove()
                    removed.append(record.name)
        return tuple(removed)

    @property
    def _record(self) -> VolumeRecord:
        record = self._engine.store.state.volumes.get(self._name)
        if record is None:
            raise NotFound(f"no such volume: {self._name}")
        return record

    @property
    def name(self) -> str:
        """What it is called, which identifies it."""
        return self._name

    @property
    def driver(self) -> str:
        """ "local"."""
        return self._record.driver

    @property
    def options(self) -> dict[str, str]:
        """Those of its driver."""
        return dict(self._record.options)

    @property
    def labels(self) -> dict[str, str]:
        """What it was labelled with."""
        return dict(self._record.labels)

    @property
    def is_anonymous(self) -> bool:
        """Whether a container had it made without a name."""
        return self._record.is_anonymous

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return datetime.fromtimestamp(self._record.created_at, UTC)

    @property
    def mountpoint(self) -> Path:
        """Its directory on the host, for one without options. Raises NotFound."""
        _ = self._record
        return data_of(self._engine, self._name)

    @property
    def in_use_by(self) -> list[Container]:
        """The containers that use it, running or not."""
        from pycontainer.engine.containers import Container

        found = []
        for container_id in self._engine.store.state.volumes.users(self._name):
            with suppress(NotFound):
                found.append(Container.get(container_id, engine=self._engine))
        return found

    # -- files -----------------------------------------------------------------------------------

    @property
    def path(self) -> VolumePath:
        """Its files, as with pathlib: `v.path / "data.db"`. Unsupported for one with options."""
        from pycontainer.engine.paths import VolumePath

        return VolumePath(self)

    def export(self, target: HostPath | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Write its files as a tar, to a file of that name once all is in it, or to a stream.

        Raises: DeadlineExceeded, KernelError, NotFound, Unsupported for one with options.
        """
        return copying.export(self, target, timeout=timeout)

    def load(self, source: HostPath | bytes | BinaryIO, *, timeout: Duration | None = None) -> Copied:
        """Unpack a tar, compressed or not, over what is in it; with owners, modes and attributes.

        Nothing in the tar leads out of the volume. What fails half-way leaves what was unpacked.
        Raises: Conflict, DeadlineExceeded, InvalidImage, KernelError, NotFound, Unsupported.
        """
        return copying.unpack(self, source, timeout=timeout)

    def clone(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make another volume with the same files; blocks are shared where the file system can.

        It is there whole or not at all. What is written to this one meanwhile may be in it or not.
        Raises: AlreadyExists, DeadlineExceeded, KernelError, NotFound, Unsupported for one with options.
        """
        os.close(self._opened())
        return snapshots.clone(self._engine, self._opened, name, labels)

    def snapshot(self, name: str | None = None) -> VolumeSnapshot:
        """Keep what it has now, to be restored or cloned later; blocks are shared where the file system can.

        It is kept beside the files and goes with the volume. What is written meanwhile may be in it or not:
        stop or pause the writers first for files of one moment. name: of this volume's; the time by default.
        Raises: AlreadyExists, DeadlineExceeded, InvalidOption, KernelError, NotFound, Unsupported (options).
        """
        return snapshots.take(self, name)

    @property
    def snapshots(self) -> builtins.list[VolumeSnapshot]:
        """What was kept of it, the oldest first."""
        return snapshots.list_snapshots(self)

    def restore(self, name: str) -> None:
        """Let it have the files of the snapshot of this name again; see `VolumeSnapshot.restore`."""
        snapshots.find(self, name).restore()

    def _opened(self) -> int:
        """A descriptor of its directory. Raises NotFound, Unsupported."""
        if self._record.options:
            raise Unsupported(
                f"volume {self._name} has options, so its files are only where a container has it mounted",
                "use the path of such a container",
            )
        return os.open(data_of(self._engine, self._name), _DIRECTORY)

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
                self._engine, directory, job, params, fds,
                deadline=deadline, on_message=on_message, attend=attend,
            )  # fmt: skip
        finally:
            os.close(directory)

    def inspect(self) -> dict[str, Any]:
        """Everything, as Docker's `volume inspect` has it."""
        record = self._record
        return {
            "CreatedAt": self.created_at.isoformat().replace("+00:00", "Z"),
            "Driver": record.driver,
            "Labels": dict(record.labels) or None,
            "Mountpoint": str(self.mountpoint),
            "Name": record.name,
            "Options": dict(record.options) or None,
            "Scope": "local",
        }

    def remove(self, *, force: bool = False) -> None:
        """Remove it with its files. force: no error when there is none. Raises: InUse, NotFound."""
        forget_vanished(self._engine)
        if not _remove(self._engine, self._name) and not force:
            raise NotFound(f"no such volume: {self._name}")

    def __reduce__(self) -> tuple[object, ...]:
        return _found, (self._name, str(self._engine.root))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and (self._name, self._engine) == (other._name, other._engine)

    def __hash__(self) -> int:
        return hash(self._name)

    def _repr_html_(self) -> str:
        from pycontainer.engine.displays import volume_html  # only in notebooks

        return volume_html(self)

    def __repr__(self) -> str:
        return f"Volume({self._name!r})"

    @classmethod
    def list(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> list[Volume]:
        """All volumes, by name. filters: dangling (used by no container), driver, label, label! and name."""
        engine = engine or current_engine()
        chosen = Filters(filters, _FILTERS, "volumes")
        table = engine.store.state.volumes
        forget_vanished(engine)
        return [
            cls(record.name, engine)
            for record in table.list()
            if chosen.has_labels(record.labels)
            and chosen.has_pattern_in("name", record.name)
            and ("driver" not in chosen or record.driver in chosen.texts("driver"))
            and ("dangling" not in chosen or chosen.flag("dangling", True) == (not table.users(record.name)))
        ]


def _found(name: str, root: str) -> Volume:
    engine = current_engine()
    return Volume(name, engine if str(engine.root) == root else Engine(root))


# -- making and removing -------------------------------------------------------------------------------


def make_volume(
    engine: Engine,
    name: str | None,
    *,
    driver: str = DRIVER,
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    goes_with: str | None = None,
) -> VolumeRecord:
    """Record a volume and make its directory. goes_with: see VolumeRecord. Raises as Volume.create."""
    if driver != DRIVER:
        raise InvalidOption(f'volume driver={driver!r}: there is only "local"')
    given = _checked(options or {})
    record = VolumeRecord(
        name=parse_volume_name(name) if name is not None else secrets.token_hex(32),
        driver=driver,
        created_at=time.time(),
        options=given,
        labels=dict(labels or {}),
        is_anonymous=name is None or goes_with is not None,
        goes_with=goes_with,
    )
    if (known := _known(engine, record.name, given)) is not None:
        return known
    with snapshots.lock(engine, record.name):
        if (known := _known(engine, record.name, given)) is not None:
            return known
        engine.store.state.volumes.insert(record)
        reached("volume.create.inserted")
        data_of(engine, record.name)
        reached("volume.create.directory")
    emit(engine, "volume", "create", record.name, {"driver": driver})
    return record


def _known(engine: Engine, name: str, options: Mapping[str, str]) -> VolumeRecord | None:
    """The volume of this name if there is one, with these options if some are given. Raises AlreadyExists."""
    known = engine.store.state.volumes.get(name)
    if known is not None and options and dict(known.options) != options:
        raise AlreadyExists(
            f"a volume named {name!r} exists with other options; remove it, or choose another name"
        )
    return known


def _checked(options: Mapping[str, str]) -> dict[str, str]:
    for key, value in options.items():
        if key not in _OPTIONS:
            raise InvalidOption(
                f"volume options: the driver local has no {key!r}; give {', '.join(_OPTIONS)}"
            )
        if "\0" in value:
            raise InvalidOption(f"volume options: {key}={value!r} is no text")
    if options and not options.get("type") and not {"bind", "rbind"} & set(options.get("o", "").split(",")):
        raise InvalidOption('volume options: give type=, as "tmpfs" or "nfs", or o="bind" with device=')
    if options and options.get("type") != "tmpfs" and not options.get("device"):
        raise InvalidOption("volume options: give device=, what is to be mounted")
    return dict(options)


def _top(engine: Engine, name: str) -> Path:
    return engine.store.root / "volumes" / name


def data_of(engine: Engine, name: str) -> Path:
    """The directory of a volume's files, made if a crash left it out."""
    place = _top(engine, name) / "_data"
    if not place.is_dir():
        place.parent.parent.mkdir(0o711, exist_ok=True)
        place.parent.mkdir(0o711, exist_ok=True)
        with suppress(FileExistsError):
            place.mkdir(0o755)
    return place


def _remove(engine: Engine, name: str) -> bool:
    with snapshots.changing(engine, name), snapshots.lock(engine, name):
        if not engine.store.state.volumes.delete(name):
            return False
        reached("volume.remove.deleted")
        engine.store.remove_tree(_top(engine, name))
    emit(engine, "volume", "destroy", name, {"driver": DRIVER})
    return True


def sweep(engine: Engine) -> None:
    """Remove anonymous volumes whose container has gone with them, directories that have no row, and copies
    that are not whole.
    """
    for name in engine.store.state.volumes.orphans():
        with suppress(InUse):
            _remove(engine, name)
    top = engine.store.root / "volumes"
    if not top.is_dir():
        return
    snapshots.sweep_begun(engine, top)
    known = {record.name for record in engine.store.state.volumes.list()}
    for directory in (found for found in top.iterdir() if not found.name.startswith(".")):
        if directory.name in known:
            snapshots.sweep_begun(engine, directory)
            continue
        # Nobody makes or removes it now; what has no row then was left by one who did not finish.
        with suppress(DeadlineExceeded), snapshots.lock(engine, directory.name, 0):
            if engine.store.state.volumes.get(directory.name) is None:
                engine.store.remove_tree(directory)


# -- filling -------------------------------------------------------------------------------------------


def fill(engine: Engine, name: str, lower: Sequence[Path], target: str) -> None:
    """Copy what an image has at a place into a volume that is empty, or whose copy was cut off.

    lower: the image's layers, top first. Raises KernelError, LaunchError, DeadlineExceeded.
    """
    data = data_of(engine, name)
    mark = data.parent / _MARK
    if os.listdir(data) and not mark.exists():
        return
    with snapshots.lock(engine, name):
        if os.listdir(data) and not mark.exists():
            return
        mark.touch(0o600)
        reached("volume.fill.begun")
        into = os.open(data, _DIRECTORY)
        try:
            params = {"lower": list(map(str, lower)), "target": target}
            engine.helper.run("fill_volume", params, [into], timeout_s=_FILL_S)
        finally:
            os.close(into)
        reached("volume.fill.copied")
        mark.unlink()
