"""Trees that a container gets from elsewhere: directories held open, layers of images, copies on write.

Theory of operation. Whoever asks for a mount opens its source once and passes the descriptor; from then on
no name decides what is mounted, whoever exchanges directories and links meanwhile. A part of it is opened
beneath the descriptor, through no link, at every start anew. All is made detached: nothing is ever mounted
on the host, and what a crash leaves goes with the last descriptor.

Source: open_tree(2), openat2(2), mount_namespaces(7); moby, volume/mounts and daemon/oci_linux.go.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pycontainer import errors
from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher import idmaps, mountoptions
from pycontainer.launcher.steps import copyup, rootfs

__all__ = ["check_propagation", "open_source"]

_FOUND = os.O_PATH | os.O_CLOEXEC
_DIRECTORY = _FOUND | os.O_DIRECTORY
_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_MAX_TURNS = 16
_OVERLAY: tuple[tuple[bytes, bytes | None], ...] = ((b"source", b"overlay"),)
# Whatever the host's defaults, what is written must be whole without what lies below.
_COPIED = (*_OVERLAY, (b"index", b"off"), (b"metacopy", b"off"), (b"redirect_dir", b"off"))

Json = Mapping[str, Any]


def open_source(place: str, described: Json, given: Mapping[str, int], *, recursive: bool) -> int:
    """A detached copy of the tree to be mounted on `place`.

    described: "fd", the name of the source's descriptor in given; or "layers", directories of an image, top
    first; or "filesystem", what is to be mounted: "type", "device", "words" as mount(8) has them. "subpath",
    a path beneath it; "cow", {"upper", "work"}: directories that take what is written, of which the first is
    made like the source if it is missing. "maps", of user and of group ids, by which the owners of an image's
    files, or of a copy's, show; "place", a directory that this needs.
    Raises: LaunchError naming the mount; Unsupported.
    """
    step = f"mount {place}"
    subpath = described.get("subpath") or ""
    with errors.mapped(OSError, to=errors.launch_failed(step, f"{step}: it cannot be opened")):
        if "layers" in described or "filesystem" in described:
            # What is reached over the network is reached over the host's.
            is_image = "layers" in described
            base = _layers(described) if is_image else _filesystem(place, described["filesystem"])
            if not subpath and "cow" not in described:
                return base
        else:
            base = os.dup(given[described["fd"]])
        # A detached mount lasts as long as the base is open, so that comes last.
        spot = -1
        try:
            spot = _beneath(base, place, subpath)
            if "cow" in described:
                return _on_write(spot, place, described)
            return mounts.clone(spot, recursive=recursive)
        finally:
            for fd in (spot, base):
                if fd >= 0:
                    os.close(fd)


def _layers(described: Json) -> int:
    """The files of an image as a detached mount, read-only; their owners unmapped where that cannot be."""
    fds = [os.open(os.fsencode(path), _DIRECTORY) for path in described["layers"]]
    try:
        if "maps" in described:
            with suppress(OSError):
                return _layers_mapped(fds, described["maps"], os.fsencode(described["place"]))
        if len(fds) == 1:  # an overlay needs two layers, or one that is written to
            tree = mounts.clone(fds[0])
            mounts.set_attributes(tree, mounts.ATTR_RDONLY)
            return tree
        return mounts.overlay(fds, -1, -1, _OVERLAY, mounts.ATTR_RDONLY)
    finally:
        for fd in fds:
            os.close(fd)


def _layers_mapped(fds: Sequence[int], maps: rootfs.Maps, place: bytes) -> int:
    if len(fds) > 1:
        tree = rootfs.overlay_mapped(fds, b"", b"", _OVERLAY, maps, place)
    else:
        tree = mounts.clone(fds[0])
        idmaps.show(tree, maps)
    mounts.set_attributes(tree, mounts.ATTR_RDONLY)
    return tree


def _filesystem(place: str, wanted: Json) -> int:
    """A file system as a detached mount, by the words of mount(8)."""
    options = mountoptions.parse(wanted["words"])
    data = [(b"source", os.fsencode(wanted["device"])), *options.data]
    if options.attributes & mounts.ATTR_RDONLY:
        data.append((b"ro", None))  # or a device that is not to be written to is refused
    try:
        return mounts.create(os.fsencode(wanted["type"]), data, options.attributes)
    except OSError as error:
        kind, device = wanted["type"], wanted["device"]
        why = error.strerror
        if error.errno == errno.ENODEV:
            why = f"the kernel has no file system {kind}; load its module (modprobe {kind})"
        reason = f"{kind} {device}: {why}"
        raise errors.LaunchError(f"mount {place}: {reason}", step=f"mount {place}", reason=reason) from error


def _beneath(base: int, place: str, subpath: str) -> int:
    """What lies at subpath beneath base, reached through no link and no mount's border upwards."""
    if not subpath:
        return os.dup(base)
    try:
        return _resolved(base, os.fsencode(subpath))
    except OSError as error:
        why = {
            errno.ELOOP: "it is, or leads through, a symbolic link, which is not followed",
            errno.EXDEV: "it leads out of the source",
            errno.EAGAIN: "it is renamed all the time",
        }.get(error.errno or 0, error.strerror or "")
        reason = f"subpath {subpath!r}: {why}"
        raise errors.LaunchError(f"mount {place}: {reason}", step=f"mount {place}", reason=reason) from None


def _resolved(base: int, path: bytes) -> int:
    for _ in range(_MAX_TURNS):
        try:
            return syscalls.openat2(base, path, _FOUND, _BENEATH)
        except BlockingIOError:
            continue  # something was renamed while ".." was resolved (openat2(2), EAGAIN)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _on_write(source: int, place: str, described: Json) -> int:
    """A detached overlay over the source, which stays as it is; what is mounted below it does not show."""
    cow = described["cow"]
    if not stat.S_ISDIR(os.fstat(source).st_mode):
        reason = "only a directory can be copied on write, and the source is none"
        raise errors.LaunchError(f"mount {place}: {reason}", step=f"mount {place}", reason=reason)
    work = os.open(os.fsencode(cow["work"]), _DIRECTORY)
    upper = _upper_like(source, os.fsencode(cow["upper"]))
    try:
        if _is_above(source, upper):
            reason = "the source contains the store, which takes what is written; choose a part of it"
            raise errors.LaunchError(f"mount {place}: {reason}", step=f"mount {place}", reason=reason)
        if "maps" in described:
            return _copies_mapped(source, place, described)
        return mounts.overlay((source,), upper, work, _COPIED)
    finally:
        os.close(upper)
        os.close(work)


def _copies_mapped(source: int, place: str, described: Json) -> int:
    upper, work = (os.fsencode(described["cow"][name]) for name in ("upper", "work"))
    try:
        return rootfs.overlay_mapped(
            (source,), upper, work, _COPIED, described["maps"], os.fsencode(described["place"])
        )
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise errors.Unsupported(
            f"mount {place}: ids cannot be mapped here beneath a copy on write",
            "it needs Linux 5.19, and a store on ext4, xfs, btrfs or tmpfs; leave O out, or uid_map",
        ) from None


def _upper_like(source: int, path: bytes) -> int:
    """The directory that takes what is written. A new one is like the source: it is what the container sees
    as the mount's own owner, mode and attributes.
    """
    with suppress(FileNotFoundError):
        return os.open(path, _DIRECTORY)
    begun = path + b"-begun"
    with suppress(FileExistsError):  # as an attempt that was cut off left it
        os.mkdir(begun, 0o700)
    readers = [os.open(b"/proc/self/fd/%d" % source, _READABLE), os.open(begun, _READABLE)]
    try:
        copyup.copy_status(*readers)
        os.rename(begun, path)
    finally:
        for fd in readers:
            os.close(fd)
    return os.open(path, _DIRECTORY)


def _is_above(directory: int, other: int) -> bool:
    """Whether the other directory lies in this one, or is it."""
    wanted = os.fstat(directory)
    at = os.dup(other)
    while True:
        found = os.fstat(at)
        if os.path.samestat(found, wanted):
            os.close(at)
            return True
        above = os.open("..", _DIRECTORY, dir_fd=at)
        os.close(at)
        at = above
        if os.path.samestat(os.fstat(at), found):
            os.close(at)
            return False


def check_propagation(place: str, source: int, words: Iterable[str], *, has_users: bool) -> None:
    """Refuse what would look like propagation and be none, or be more than the container may have.

    source: a descriptor of the source, before it is copied. words: the mount's options. has_users: whether
    the container has a user namespace of its own. Raises: LaunchError, as Docker does.
    """
    asked = {word.removeprefix("r") for word in words} & {"shared", "slave"}
    if not asked:
        return
    reason = ""
    fields = _mount_fields(source)
    if "shared" in asked and has_users:
        reason = "what a container with its own user namespace mounts may not show on the host; use rslave"
    elif "shared" in asked and not any(field.startswith("shared:") for field in fields):
        reason = "its source is not on a shared mount; run mount --make-shared on that first"
    elif not any(field.startswith(("shared:", "master:")) for field in fields):
        reason = (
            "its source is neither on a shared nor on a slave mount; run mount --make-shared on that first"
        )
    if reason:
        raise errors.LaunchError(f"mount {place}: {reason}", step=f"mount {place}", reason=reason)


def _mount_fields(fd: int) -> Sequence[str]:
    """The optional fields of the line of mountinfo that the descriptor's mount has."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        number = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" - ")[0].split()
            if fields[0] == number:
                return fields[6:]
    return ()
