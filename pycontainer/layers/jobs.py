"""What the helper's children do with layers: unpack one, unpack one onto others, take one from a directory.

Each job confines its process before it looks at the first byte of a stranger's archive, so it must run
in a process of its own. Nothing is committed here: whatever fails leaves a directory for the caller to
remove, and the caller compares the returned diff_id before it believes the tree.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycontainer import checkpoints
from pycontainer.errors import InvalidInput, KernelError
from pycontainer.kernel import mounts, namespaces
from pycontainer.layers.apply import Applied, Applier
from pycontainer.layers.confine import confine
from pycontainer.layers.diff import Differ, HashedOutput
from pycontainer.layers.limits import Limits
from pycontainer.layers.pipeline import Inflater
from pycontainer.layers.stacked import StackedApplier
from pycontainer.layers.tarreader import TarReader
from pycontainer.layers.tarwriter import TarWriter

__all__ = ["JOBS", "mount_overlay"]

Report = Callable[[dict[str, Any]], None]

# Whatever the host's defaults, the upper directory must be readable without these features; nobody
# needs it synced before the caller commits it.
_PLAIN_OVERLAY: tuple[tuple[bytes, bytes | None], ...] = (
    (b"index", b"off"),
    (b"metacopy", b"off"),
    (b"redirect_dir", b"off"),
    (b"volatile", None),
)


def unpack(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Unpack a layer in overlay form; fds: blob, progress pipe (may be left out), target directory.

    params: limits (see Limits), codec_path (directories to import codecs from),
    stop_if_not_self_contained. Without progress pipe the blob is complete.
    Returns: diff_id, tar_size, entries, content_size, is_self_contained, reason; a layer that was stopped
    at has no diff_id.
    Raises: InvalidImage, KernelError, TransferFailed, Unsupported.
    """
    if len(fds) not in (2, 3):
        raise InvalidInput(
            f"unpack takes a blob, perhaps a progress pipe, and a target, not {len(fds)} descriptors"
        )
    blob, target = fds[0], fds[-1]
    stop = bool(params.get("stop_if_not_self_contained", False))
    limits = Limits.from_params(params.get("limits") or {})
    with _inflater(params, limits, blob, fds[1] if len(fds) == 3 else None) as inflater:
        confine(target)
        reader = TarReader(inflater, limits)
        applied = Applier(reader, target, limits, stop_if_not_self_contained=stop).run()
        return _result(applied, reader, inflater, is_stopped=stop and not applied.is_self_contained)


def unpack_stacked(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Unpack a complete layer onto others; fds: blob, upper, work, then the lower roots, topmost first.

    params and result as of `unpack`. The upper directory ends up in overlay form.
    Raises: as `unpack`, and KernelError from the mount.
    """
    if len(fds) < 4:
        raise InvalidInput(
            f"unpack_stacked takes a blob, upper, work and lower directories, not {len(fds)} descriptors"
        )
    blob, upper, work, *lower = fds
    limits = Limits.from_params(params.get("limits") or {})
    with _inflater(params, limits, blob, None) as inflater:
        root = _mount(upper, work, lower)
        confine(root)
        reader = TarReader(inflater, limits)
        applied = StackedApplier(reader, root, limits, lower[0]).run()
        result = _result(applied, reader, inflater, is_stopped=False)
        os.close(root)
        return result


def diff(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Write an upper directory as a layer's tar; fds: the directory, where the tar goes.

    params: limits (depth and path_bytes count), is_live and is_compared (see Differ). Returns: diff_id,
    tar_size.
    Raises: InvalidInput, Unsupported, KernelError naming the path.
    """
    if len(fds) != 2:
        raise InvalidInput(f"diff takes a directory and an output, not {len(fds)} descriptors")
    root, output = fds
    confine(root, is_writable=False)
    out = HashedOutput(output)
    writer = TarWriter(out)
    limits = Limits.from_params(params.get("limits") or {})
    told = {name: bool(params.get(name)) for name in ("is_live", "is_compared")}
    Differ(root, writer, limits, **told).run()
    writer.close()
    out.flush()
    checkpoints.reached("diff.tar.written")
    return {"diff_id": out.digest, "tar_size": writer.size}


def _inflater(params: Mapping[str, Any], limits: Limits, blob: int, progress: int | None) -> Inflater:
    # A decompressor that was killed is an error to report, not a reason to die of its pipe.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # Forked before this process confines itself: it has its own, narrower confinement, and imports first.
    return Inflater(blob, progress, limits, tuple(params.get("codec_path") or ()))


def _result(applied: Applied, reader: TarReader, inflater: Inflater, *, is_stopped: bool) -> dict[str, Any]:
    if not is_stopped:
        reader.drain()
        checkpoints.reached("unpack.layer.applied")
    return {
        "diff_id": inflater.diff_id,
        "tar_size": inflater.size,
        "entries": applied.entries,
        "content_size": applied.content_size,
        "is_self_contained": applied.is_self_contained,
        "reason": applied.reason,
        "stubbed_devices": applied.stubbed_devices,
    }


def _mount(upper: int, work: int, lower: Sequence[int]) -> int:
    """A descriptor of the root of an overlay that no other process sees and that ends with this one."""
    options = _PLAIN_OVERLAY if _is_host_root() else (*_PLAIN_OVERLAY, (b"userxattr", None))
    return mount_overlay(upper, work, lower, options)


def mount_overlay(
    upper: int,
    work: int,
    lower: Sequence[int],
    options: Sequence[tuple[bytes, bytes | None]],
    attributes: int = 0,
) -> int:
    """A descriptor of the root of an overlay that no other process sees, top layer first.

    The mount lives as long as a descriptor of something in it. attributes: ATTR_* of kernel.mounts; before
    Linux 6.5 there are none. Raises: OSError.
    """
    try:
        return _open_root(mounts.overlay(lower, upper, work, options, attributes))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
    return _mount_classic(upper, work, lower, options)


def _mount_classic(
    upper: int, work: int, lower: Sequence[int], options: Sequence[tuple[bytes, bytes | None]]
) -> int:
    """The same before Linux 6.5: mount(2) needs a place to mount on, in a namespace of its own."""
    namespaces.leave(namespaces.NEWNS)
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY)
    mounts.set_propagation(slash, mounts.MS_PRIVATE, recursive=True)
    os.close(slash)
    upper, work, *lower = (_reopened(fd) for fd in (upper, work, *lower))
    plain = [key if value is None else key + b"=" + value for key, value in options if key != b"source"]
    path = os.readlink(f"/proc/self/fd/{upper}")
    mounts.overlay_classic(lower, upper, work, plain, os.fsencode(path))
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _reopened(fd: int) -> int:
    """The same directory on this namespace's copy of its mount, which is all that mount(2) accepts.

    Raises: KernelError if another directory has its place by now.
    """
    path = os.readlink(f"/proc/self/fd/{fd}")
    new = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not os.path.samestat(os.fstat(fd), os.fstat(new)):
        raise KernelError(errno.ESTALE, "open", path)
    return new


def _open_root(mount: int) -> int:
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)


def _is_host_root() -> bool:
    """Whether this user namespace is the first one, which alone may set trusted.* attributes."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]


JOBS: dict[str, Callable[[dict[str, Any], list[int], Report], dict[str, Any]]] = {
    "unpack": unpack,
    "unpack_stacked": unpack_stacked,
    "diff": diff,
}
