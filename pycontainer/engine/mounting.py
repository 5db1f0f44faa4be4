"""The sources of a container's mounts: found when it is created, opened once for each start.

What is opened here goes to the launch as a descriptor, and its name is not looked at again.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from pycontainer import runtime
from pycontainer.engine import sharing
from pycontainer.errors import InvalidInput, InvalidOption, KernelError, LaunchError, NotFound
from pycontainer.kernel import syscalls
from pycontainer.options import MountPoint, parse_run_options, split_volumes_from
from pycontainer.store import SnapshotKey

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["addressed", "claim", "opened", "resolved", "written_over"]

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_RACES = 100
_GIVING_S = 3600.0
_THE_HOSTS = {
    *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found"),
    *("/media", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),
    *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp"),
}
_BELOW_THEM = tuple(f"/{name}/" for name in ("boot", "dev", "etc", "proc", "sys", "usr"))
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS


def resolved(engine: Engine, options: RunOptions, config: ImageConfig) -> RunOptions:
    """The options with all mounts as they will be, in `mounts`: also those of volumes, of volumes_from and of
    the image; with the layers of images, and sources made that are to be made.

    Raises: NotFound naming a source, image or container that is not there; InvalidOption.
    """
    wanted = list(options.mounts or ())
    for point in options.volumes or ():
        if any(other.target == point.target for other in wanted):
            raise InvalidOption(
                f"options mounts and volumes both have the target {point.target}; leave one out"
            )
        wanted.append(point)
    for line in options.volumes_from or ():
        wanted += _of_other(engine, line, {point.target for point in wanted})
    taken = {posixpath.normpath(point.target) for point in wanted} | set(options.tmpfs or ())
    # Made on every start, they are nothing that a container has written itself.
    wanted += _of_image(options.image_volume, [path for path in runtime.volumes(config) if path not in taken])
    if not wanted:
        return options
    user = options.user or config.config.user or "0"
    has_maps = _has_maps(engine, options)
    found = tuple(_resolved(engine, point, user, has_maps=has_maps) for point in wanted)
    return attrs.evolve(options, mounts=found)


def _has_maps(engine: Engine, options: RunOptions) -> bool:
    """Whether the container's ids are others than the host's."""
    options = sharing.with_users(engine, options)
    return options.userns != "host" and bool(options.uid_map or options.gid_map)


def _of_image(become: str, places: Sequence[str]) -> list[MountPoint]:
    """What an image's volumes become."""
    if become == "ignore":
        return []
    kind = "tmpfs" if become == "tmpfs" else "volume"
    return [MountPoint(kind=kind, target=path) for path in places]


def _of_other(engine: Engine, line: str, taken: set[str]) -> list[MountPoint]:
    """The volumes and binds of another container, but for places that this one has something else at."""
    name, is_readonly = split_volumes_from(line)
    donor = parse_run_options(**engine.store.state.containers.find(name).options)
    return [
        attrs.evolve(
            point,
            is_readonly=is_readonly or point.is_readonly,
            is_own=False,
            is_borrowed=True,
            is_owned=False,
        )
        for point in donor.mounts or ()
        if point.kind in ("volume", "bind") and point.target not in taken
    ]


def claim(engine: Engine, container_id: str, options: RunOptions) -> None:
    """Make the volumes that are missing, and write down that a new container uses them.

    Raises: AlreadyExists, InvalidOption, NotFound.
    """
    points = [point for point in options.mounts or () if point.kind == "volume"]
    if not points:
        return
    for _ in range(_MAX_RACES):
        _make_missing(engine, container_id, points)
        with suppress(NotFound):  # another process has pruned one that nobody used yet
            engine.store.state.volumes.use(container_id, [point.source for point in points])
            return
    engine.store.state.volumes.use(container_id, [point.source for point in points])


def _make_missing(engine: Engine, container_id: str, points: Sequence[MountPoint]) -> None:
    from pycontainer.engine.volumes import make_volume  # containers without volumes do without

    for point in points:
        if point.is_own or engine.store.state.volumes.get(point.source) is None:
            make_volume(
                engine, point.source, options=point.driver_options, labels=point.labels,
                goes_with=container_id if point.is_own else None,
            )  # fmt: skip


def _resolved(engine: Engine, point: MountPoint, user: str, *, has_maps: bool) -> MountPoint:
    if point.is_owned:
        point = attrs.evolve(point, owner=user)
    if point.kind == "image" and not point.snapshots:
        from pycontainer.engine.images import Image, ready

        image = ready(engine, Image.get(point.source, engine=engine), point.source)
        return attrs.evolve(point, snapshots=image.snapshots, has_ids=has_maps)
    if point.kind == "volume":
        return _volume(engine, point, has_maps=has_maps)
    if point.kind == "bind":
        if point.is_made and not os.path.lexists(point.source):
            os.makedirs(point.source, mode=0o755, exist_ok=True)
        source = _open(point)
        try:
            if point.is_owned:
                _check_ownable(source, point)
        finally:
            os.close(source)
    return point


def _volume(engine: Engine, point: MountPoint, *, has_maps: bool) -> MountPoint:
    """A volume with its name, and what it is mounted by if it has options.

    has_maps: its files keep the ids that they have inside, as the container's own do: another container, with
    other maps or none, finds them as they are.
    """
    if not point.source:
        point = attrs.evolve(point, source=secrets.token_hex(32), is_own=True)
    known = engine.store.state.volumes.get(point.source)
    options = known.options if known is not None else point.driver_options
    words = [word for word in options.get("o", "").split(",") if word]
    # What is not to be changed is not filled.
    is_filled = point.is_filled and not point.is_copied
    point = attrs.evolve(point, has_ids=has_maps and not options, is_filled=is_filled)
    if not options or "bind" in words or "rbind" in words:
        return attrs.evolve(point, device=options.get("device", ""))
    if point.is_owned:
        raise InvalidOption(
            f"option volumes: U of {point.target}: the volume's options say whose it is; leave U out"
        )
    if point.is_copied:
        raise InvalidOption(
            f"option volumes: O of {point.target}: a volume of type {options['type']} is mounted for each "
            "container anew, and has nothing to be kept as it is; leave O out"
        )
    fstype = options["type"]
    device = options.get("device") or fstype
    return attrs.evolve(point, fstype=fstype, device=device, words=(*words, *point.words), is_filled=False)


def _held(engine: Engine, volume: str) -> int:
    """A descriptor with a shared lock that keeps others from restoring a volume."""
    from pycontainer.engine.volumes import data_of

    fd = os.open(data_of(engine, volume).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _volume_source(engine: Engine, record: ContainerRecord, point: MountPoint) -> int:
    """A descriptor of a volume's files, which are filled from the image before if there are none."""
    from pycontainer.engine import volumes as kept  # containers without volumes do without

    if point.device:
        return _open(attrs.evolve(point, source=point.device))
    if engine.store.state.volumes.get(point.source) is None:
        raise NotFound(f"volume {point.source} of {point.target} was removed")
    if point.is_filled:
        lower = engine.store.lower_dirs(record.snapshots)
        kept.fill(engine, point.source, lower, point.target)
    return os.open(kept.data_of(engine, point.source), _DIRECTORY)


def _open(point: MountPoint) -> int:
    try:
        return os.open(point.source, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"option mounts: the source {point.source} of {point.target} does not exist; make it first, "
            "or add bind-create-src"
        ) from None
    except OSError as error:
        raise KernelError(error.errno or 0, "open", point.source) from error


def opened(
    engine: Engine, record: ContainerRecord, cleanup: ExitStack
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Descriptors for a launch, closed with cleanup, and what they are the sources of, by place.

    Raises: NotFound; InvalidOption; KernelError.
    """
    fds: dict[str, int] = {}
    sources: dict[str, dict[str, Any]] = {}
    options = parse_run_options(**record.options)
    for index, point in enumerate(options.mounts or ()):
        if point.is_inner:
            continue
        described: dict[str, Any] = {"subpath": point.subpath}
        if point.fstype:
            words = addressed(point.source, point.fstype, point.device, point.words)
            described["filesystem"] = {"type": point.fstype, "device": point.device, "words": words}
        elif point.kind == "image":
            described["layers"] = [
                str(path) for path in engine.store.lower_dirs([SnapshotKey(key) for key in point.snapshots])
            ]
            if not described["layers"]:
                raise InvalidOption(f"option mounts: image {point.source} has no files to mount")
        else:
            described["fd"] = f"mount:{index}"
            if point.kind == "volume" and not point.device:
                # The launch has it, too, and so it is not restored before the container is known to run.
                fds[f"volume:{index}"] = _held(engine, point.source)
                cleanup.callback(os.close, fds[f"volume:{index}"])
            fds[described["fd"]] = (
                _volume_source(engine, record, point) if point.kind == "volume" else _open(point)
            )
            cleanup.callback(os.close, fds[described["fd"]])
            if point.is_owned:
                _give(engine, record, options, point, fds[described["fd"]])
        if point.is_copied:
            described["cow"] = _written(engine, record, index)
        if point.has_ids and (point.is_copied or point.kind == "image"):
            described["maps"] = _maps(engine, options)
            described["place"] = str(engine.store.container_dir(record.id))
        sources[posixpath.normpath(point.target)] = described
    return fds, sources


def _maps(engine: Engine, options: RunOptions) -> list[list[dict[str, int]]]:
    """The maps of user and of group ids, as the runtime-spec has them."""
    options = sharing.with_users(engine, options)
    return [
        [
            dict(zip(("containerID", "hostID", "size"), map(int, line.split(":")), strict=True))
            for line in lines
        ]
        for lines in (options.uid_map or (), options.gid_map or options.uid_map or ())
    ]


def _check_ownable(source: int, point: MountPoint) -> None:
    """Refuse to give a container what the host needs. Source: containers/storage, DangerousHostPath."""
    path = os.readlink(f"/proc/self/fd/{source}")
    if path in _THE_HOSTS or path.startswith(_BELOW_THEM):
        raise InvalidOption(f"option mounts: {path} is the host's own, and not given to a user; leave U out")


def _give(
    engine: Engine, record: ContainerRecord, options: RunOptions, point: MountPoint, source: int
) -> None:
    """Make the container's user the owner of all that is in a source, as ids of the host.

    Raises: InvalidOption, LaunchError, NotFound naming a user that there is none of; KernelError.
    """
    if point.kind == "bind":
        _check_ownable(source, point)
    has_users = options.userns == "private" and not point.has_ids
    params = {
        "lower": list(map(str, engine.store.lower_dirs(record.snapshots))),
        "user": point.owner,
        "subpath": point.subpath,
        "uids": list(options.uid_map or ()) if has_users else [],
        "gids": list(options.gid_map or options.uid_map or ()) if has_users else [],
    }
    engine.helper.run("own_tree", params, [source], timeout_s=_GIVING_S)


def addressed(volume: str, fstype: str, device: str, words: Sequence[str]) -> list[str]:
    """The options of a volume with the server's address where its name is: the kernel knows no names.

    Raises: LaunchError when nobody knows the name, or there is none.
    Source: moby, volume/local/local_linux.go; of a server in the device alone, nfs-utils, mount.nfs(8).
    """
    found = list(words)
    if fstype not in ("nfs", "nfs4", "cifs"):
        return found
    given = next((word for word in words if word.startswith("addr=")), "")
    name = given.removeprefix("addr=")
    if not name and fstype == "cifs":
        name = device.replace("\\", "/").removeprefix("//").partition("/")[0]
    elif not name:
        name = device.partition("]")[0].removeprefix("[") if "]" in device else device.partition(":")[0]
    if not name:
        reason = f"volume {volume}: {fstype} {device} names no server; add addr= to its options"
        raise LaunchError(reason, step=f"volume {volume}", reason=reason)
    try:
        address = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        reason = f"volume {volume}: the server {name!r} cannot be found: {error.strerror}; check addr="
        raise LaunchError(reason, step=f"volume {volume}", reason=reason) from error
    if given in found:
        found.remove(given)
    return [*found, f"addr={address}"]


@contextmanager
def written_over(engine: Engine, record: ContainerRecord, target: str) -> Iterator[tuple[str, int]]:
    """The directory of what a container wrote to a copy on write, which is not there before its first start,
    and a descriptor of what is below it.

    Raises: InvalidInput when there is no such mount; NotFound; KernelError.
    """
    wanted = posixpath.normpath(target)
    for index, point in enumerate(parse_run_options(**record.options).mounts or ()):
        if not point.is_copied or posixpath.normpath(point.target) != wanted:
            continue
        with ExitStack() as held:
            source = _volume_source(engine, record, point) if point.kind == "volume" else _open(point)
            held.callback(os.close, source)
            if point.subpath:
                try:
                    source = syscalls.openat2(source, os.fsencode(point.subpath), _DIRECTORY, _BENEATH)
                except OSError as error:
                    raise KernelError(error.errno or 0, "openat2", point.subpath) from error
                held.callback(os.close, source)
            yield _written(engine, record, index)["upper"], source
        return
    raise InvalidInput(f"{target} is no mount with mode=cow (O) of container {record.name}")


def _written(engine: Engine, record: ContainerRecord, index: int) -> dict[str, str]:
    """Directories in the container's own for what it writes; they go with it, and stay between its runs.

    "upper" is made when it first starts, like the source.
    """
    place = engine.store.container_dir(record.id) / f"mount-{index}"
    (place / "work").mkdir(mode=0o755, parents=True, exist_ok=True)
    return {name: str(place / name) for name in ("upper", "work")}
