"""Files that appear when they are complete, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from pycontainer.checkpoints import reached
from pycontainer.errors import KernelError, PycontainerError

__all__ = ["KILL_POINTS", "whole_file"]

KILL_POINTS: Final = (
    "save.content.written",  # the file is complete and has no name
    "save.file.named",  # it has one beside the one it is to have
)
# What open(2) answers where the file system has no files without a name, or knows nothing of them.
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file that gets its name, and takes the place of the one that had it, at the end of the block.

    After an error nothing is left of it, nor after a kill where the file system has files without a name. Its
    mode follows the process's umask. Links are followed; what is no file, like /dev/null, is written to.
    Raises: OSError; KernelError with the path where there is no room.
    """
    with _told_where(path), _written(path) as file:
        yield file


@contextmanager
def _told_where(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename or isinstance(error, PycontainerError):
            raise
        hint = "free space there, or in the directory for temporary files"
        raise KernelError(error.errno, "write", os.fsdecode(path), hint) from error


@contextmanager
def _written(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    if _is_no_file(path):
        with open(path, "wb") as file:
            yield file
        return
    place = os.path.realpath(path)
    scratch = os.path.join(os.path.dirname(place), f".{os.urandom(8).hex()}.part")
    fd, has_name = _opened(os.path.dirname(place), scratch)
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            reached("save.content.written")
            if not has_name:
                # Without a directory's descriptor, Python would call link(2), which follows no links.
                os.link(f"/proc/self/fd/{fd}", scratch, src_dir_fd=fd, follow_symlinks=True)
        reached("save.file.named")
        os.rename(scratch, place)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(scratch)
        raise


def _is_no_file(path: str | os.PathLike[str]) -> bool:
    # By the path as it is: what /dev/stdout links to has a name that is nowhere when it is a pipe.
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _opened(directory: str, scratch: str) -> tuple[int, bool]:
    """A new file in a directory, and whether it has a name: the scratch one."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666), False
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
    return os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666), True
