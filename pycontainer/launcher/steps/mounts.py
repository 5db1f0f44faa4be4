"""Everything mounted inside the root, each on a descriptor that was resolved once."""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache

from pycontainer.kernel import mounts, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import Context, Refused

_CLONE_RECURSIVE = 0x8001  # OPEN_TREE_CLONE | AT_RECURSIVE
_FILES_BYTES = 1 << 16
_FILE_BYTES = 512_000  # as BuildKit bounds a secret


def copy_trees(sources: tuple[tuple[bytes, bool], ...]) -> list[int]:
    """Detached copies of the host's trees to bind, (path, recursive) each. Raises Refused.

    The monitor takes them, from where the caller sees its files; a copy taken there also still belongs
    to the host's peer group, which is what slave and shared propagation mean (mount_namespaces(7)).
    """
    copies = []
    for path, recursive in sources:
        flags = _CLONE_RECURSIVE if recursive else _CLONE_RECURSIVE & 1
        try:
            copies.append(syscalls.open_tree(syscalls.AT_FDCWD, path, flags))
        except OSError as error:
            raise Refused(f"cannot bind {os.fsdecode(path)}: {error.strerror}") from None
    return copies


def mount_bind(
    context: Context,
    index: int,
    path: bytes,
    attributes: tuple[int, int, int, int],
    propagation: tuple[int, bool],
    may_cover_proc: bool,
) -> None:
    """Attach a copy on path. attributes: set, clear, and the same for the whole tree."""
    tree, context.trees[index] = context.trees[index], -1
    _bind(context, tree, path, attributes, propagation, may_cover_proc)


def bind_inside(
    context: Context,
    source: bytes,
    is_whole: bool,
    path: bytes,
    attributes: tuple[int, int, int, int],
    propagation: tuple[int, bool],
) -> None:
    """Attach a copy of what is mounted on source in the container's root by now, as mount_bind does."""
    try:
        spot = inroot.locate(context.root, source)
    except OSError as error:
        raise Refused(f"cannot bind {os.fsdecode(source)} of the container: {error.strerror}") from None
    try:
        tree = mounts.clone(spot, recursive=is_whole)
    finally:
        os.close(spot)
    _bind(context, tree, path, attributes, propagation, False)


def _bind(
    context: Context,
    tree: int,
    path: bytes,
    attributes: tuple[int, int, int, int],
    propagation: tuple[int, bool],
    may_cover_proc: bool,
) -> None:
    """Attach a tree, which is closed then."""
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    spot = inroot.target(context.root, path, is_directory=is_directory)
    try:
        _refuse_proc(context, spot, path, may_cover_proc)
        if not is_directory and stat.S_ISDIR(os.fstat(spot).st_mode):
            text = os.fsdecode(path)
            raise Refused(f"{text} in the image is a directory, and the source is none; name a file in it")
        set_, clear, tree_set, tree_clear = attributes
        if tree_set or tree_clear:
            mounts.set_attributes(tree, tree_set, tree_clear, recursive=True)
        if set_ or clear:
            mounts.set_attributes(tree, set_, clear)
        mounts.set_propagation(tree, propagation[0], recursive=propagation[1])
        mounts.attach(tree, spot)
    finally:
        os.close(spot)
        os.close(tree)


def mount_filesystem(
    context: Context,
    fstype: bytes,
    path: bytes,
    options: tuple[tuple[bytes, bytes | None], ...],
    attributes: int,
    propagation: int,
) -> None:
    """Mount a new file system on path; the kernel's own ones never on a link."""
    made = context.create(fstype, options, attributes)
    attach_filesystem(context, made, fstype, path, propagation)


def remount(
    context: Context,
    path: bytes,
    attributes: int,
    cleared: int,
    options: tuple[tuple[bytes, bytes | None], ...],
    is_alone: bool,
) -> None:
    """Change what was mounted on path: the mount alone, or the file system that shows there."""
    try:
        spot = inroot.locate(context.root, path)
    except OSError as error:
        raise Refused(f"{os.fsdecode(path)} cannot be remounted: {error.strerror}") from None
    try:
        if is_alone:
            mounts.set_attributes(spot, attributes, cleared)
        else:
            mounts.reconfigure(spot, attributes, options)
    except OSError as error:
        if error.errno == errno.EINVAL:
            text = os.fsdecode(path)
            raise Refused(f"{text} cannot be remounted: nothing that takes this is mounted there") from None
        raise
    finally:
        os.close(spot)


def attach_filesystem(context: Context, made: int, fstype: bytes, path: bytes, propagation: int) -> None:
    """Attach a detached mount on path, and keep it or close it."""
    is_ours = fstype in (b"proc", b"sysfs", b"cgroup2", b"devpts", b"mqueue") or path == b"/dev"
    _attach(context, made, path, strict=is_ours, is_proc=fstype == b"proc")
    if propagation not in (0, mounts.MS_PRIVATE):
        mounts.set_propagation(made, propagation)
    if path == b"/proc":
        context.proc = made
    elif path == b"/dev":
        context.dev = made
    elif path == b"/sys":
        context.sys = made
    else:
        os.close(made)


def mounting_filesystem(context: Context, fstype: bytes, path: bytes, attributes: int) -> Script:
    """The calls of `mount_filesystem`, for one of the kernel's own that has no options and stays private."""
    return _mounting_filesystem(context.root, fstype, path, attributes)


@lru_cache(maxsize=16)
def _mounting_filesystem(root: int, fstype: bytes, path: bytes, attributes: int) -> Script:
    script = Script()
    fs = script.fsopen(fstype)
    script.fsconfig(fs, mounts.SET_STRING, b"source", fstype)
    script.fsconfig(fs, mounts.CREATE)
    made = script.fsmount(fs, attributes)
    spot = script.openat2(root, path, os.O_PATH | os.O_DIRECTORY, inroot.STRICT)
    script.move_mount(made, spot)
    return script


def _attach(context: Context, made: int, path: bytes, *, strict: bool, is_proc: bool) -> None:
    spot = inroot.target(context.root, path, is_directory=True, strict=strict)
    try:
        if not is_proc:
            _refuse_proc(context, spot, path, False)
        mounts.attach(made, spot)
    finally:
        os.close(spot)


def _refuse_proc(context: Context, spot: int, path: bytes, may_cover: bool) -> None:
    # A mount over /proc lets an image answer for the kernel, and hides where labels are written
    # (CVE-2019-16884); through a link of the image it is no better.
    if not may_cover and context.proc >= 0 and os.fstat(spot).st_dev == os.fstat(context.proc).st_dev:
        raise Refused(f"{os.fsdecode(path)} lies in /proc, where nothing may be mounted; mount it elsewhere")


def mount_cgroups(
    context: Context, path: bytes, controllers: tuple[tuple[bytes, bytes], ...], attributes: int
) -> None:
    """Show cgroups version 1 as Docker does: a directory per controller on a small tmpfs.

    controllers: (name, the container's directory on the host). With a private cgroup namespace each
    shows as the root, without one as the directory that it is.
    """
    spot = inroot.target(context.root, path, is_directory=True, strict=True)
    top = context.create(b"tmpfs", ((b"mode", b"755"), (b"size", b"65536")), attributes & ~mounts.ATTR_RDONLY)
    mounts.attach(top, spot)
    os.close(spot)
    for name, source in controllers:
        tree = syscalls.open_tree(syscalls.AT_FDCWD, source, 1)
        mounts.set_attributes(tree, attributes, propagation=mounts.MS_PRIVATE)
        first, *others = name.split(b",")
        os.mkdir(name, 0o755, dir_fd=top)
        inner = os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=top)
        mounts.attach(tree, inner)
        os.close(inner)
        os.close(tree)
        for alias in (first, *others) if others else ():
            os.symlink(name, alias, dir_fd=top)
    if attributes & mounts.ATTR_RDONLY:
        mounts.set_attributes(top, mounts.ATTR_RDONLY)
    os.close(top)


def mount_files(
    context: Context, files: tuple[tuple[bytes, bytes, int, int, int], ...], attributes: int
) -> None:
    """Put small files of our own over the image's, no path of the host shows.

    files: path, content, permission bits, owner and group of each.
    """
    flags = mounts.ATTR_NOSUID | mounts.ATTR_NODEV | mounts.ATTR_NOEXEC
    # Most have a few lines, and no more room than that may be needed: it is memory of the host.
    wanted = sum(len(content) for _, content, *_ in files)
    room = _FILES_BYTES * (1 if wanted <= _FILES_BYTES // 2 else 2 + wanted // _FILES_BYTES)
    tree = context.create(b"tmpfs", ((b"mode", b"755"), (b"size", b"%d" % room)), flags)
    if syscalls.kernel_version() < (6, 15):
        _hang(context, tree)
    for index, (path, content, mode, uid, gid) in enumerate(files):
        if len(content) > _FILE_BYTES:
            raise Refused(f"{os.fsdecode(path)} is too large: its like have at most {_FILE_BYTES} bytes")
        name = b"%d" % index
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=tree)
        if os.write(fd, content) != len(content):
            raise Refused(f"{os.fsdecode(path)} could not be written whole")
        if uid or gid:
            os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        os.close(fd)
        spot = inroot.target(context.root, path, is_directory=False)
        _refuse_proc(context, spot, path, False)
        cover = mounts.clone(tree, path=name)
        if attributes:
            mounts.set_attributes(cover, attributes)
        mounts.attach(cover, spot)
        os.close(cover)
        os.close(spot)
    os.close(tree)


def mask(context: Context, paths: tuple[bytes, ...]) -> None:
    """Hide paths behind an empty, read-only file or directory of our own (never the host's /dev/null)."""
    for path in paths:
        spot = _present(context, path)
        if spot is None:
            continue
        kind = b"directory" if stat.S_ISDIR(os.fstat(spot).st_mode) else b"file"
        cover = mounts.clone(masks(context), path=kind)
        mounts.attach(cover, spot)
        os.close(cover)
        os.close(spot)


def masking(root: int, path: bytes, kind: bytes, masks: int) -> Script:
    """The calls of `mask` for a path that is a "file" or a "directory", if it is there."""
    script = Script()
    spot = script.openat2(root, path, os.O_PATH, inroot.STRICT, skips=2)
    cover = script.clone_tree(masks, kind, syscalls.AT_SYMLINK_NOFOLLOW)
    script.move_mount(cover, spot)
    return script


def masks(context: Context) -> int:
    """What hides others: an empty, read-only file and directory, in this mount namespace."""
    if context.masks < 0:
        context.masks = _empty_tree(context)
        if syscalls.kernel_version() < (6, 15):
            _hang(context, context.masks)
    return context.masks


def _hang(context: Context, tree: int) -> None:
    """Attach a tree in this namespace where the pivot lets go of it: over the host's /sys.

    Before Linux 6.15 open_tree(2) copies mounts of the caller's own namespace only.
    """
    if not context.has_own_mounts:
        raise Refused("nothing can be masked without a mount namespace before Linux 6.15: give it one")
    spot = os.open(b"/sys", os.O_PATH | os.O_DIRECTORY)
    mounts.attach(tree, spot)
    os.close(spot)


def _empty_tree(context: Context) -> int:
    """A detached, read-only mount of an empty "file" and an empty "directory"."""
    attributes = mounts.ATTR_NOSUID | mounts.ATTR_NODEV | mounts.ATTR_NOEXEC
    options = ((b"mode", b"755"), (b"size", b"4096"), (b"nr_inodes", b"4"))
    made = context.create(b"tmpfs", options, attributes)
    os.mkdir(b"directory", 0o555, dir_fd=made)
    os.close(os.open(b"file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444, dir_fd=made))
    mounts.set_attributes(made, mounts.ATTR_RDONLY)
    return made


def freeze(context: Context, paths: tuple[bytes, ...]) -> None:
    """Make paths read-only by a bind of each onto itself."""
    for path in paths:
        spot = _present(context, path)
        if spot is None:
            continue
        tree = mounts.clone(spot, recursive=True)
        mounts.set_attributes(tree, mounts.ATTR_RDONLY, recursive=True)
        mounts.attach(tree, spot)
        os.close(tree)
        os.close(spot)


def freezing(root: int, path: bytes) -> Script:
    """The calls of `freeze` for a path, if it is there."""
    script = Script()
    spot = script.openat2(root, path, os.O_PATH, inroot.STRICT, skips=3)
    tree = script.clone_tree(spot, b"", mounts.AT_RECURSIVE)
    script.mount_setattr(tree, mounts.AT_RECURSIVE, set=mounts.ATTR_RDONLY)
    script.move_mount(tree, spot)
    return script


def _present(context: Context, path: bytes) -> int | None:
    try:
        return inroot.locate(context.root, path, strict=True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None  # other kernels have other files
        if error.errno == errno.ELOOP:
            raise Refused(
                f"{os.fsdecode(path)} is reached through a symbolic link and cannot be protected"
            ) from None
        raise
