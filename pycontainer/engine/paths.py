"""Paths inside a container or a volume that look and work like pathlib's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Self, cast, final

from pycontainer.engine.files import Rooted, until
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.volumes import Volume

__all__ = ["ContainerPath", "VolumePath"]

_TIMEOUT_S = 60.0  # of one look or change; a directory of a million names takes a few seconds
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF)
_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


class InnerPath:
    """A path in a root of its own.

    Arithmetic is that of PurePosixPath and touches nothing. Everything else happens there as it is then, as
    its root user; links lead where they lead inside, never out. Names that
    are no UTF-8 pass as surrogates, as with os.fsdecode.

    Errors are those of pathlib: FileNotFoundError, IsADirectoryError, and so on, besides NotFound when the
    container or volume is gone and DeadlineExceeded when there is no answer within a minute. Devices, FIFOs
    and sockets are never opened: OSError (ENXIO).

    It is no os.PathLike: the host's open() would look for it on the host.
    """

    __slots__ = ("_owner", "_pure")

    def __init__(self, owner: Rooted, path: str | PurePosixPath = "/") -> None:
        self._owner = owner
        self._pure = PurePosixPath("/", path)

    # -- arithmetic ------------------------------------------------------------------------------

    def __truediv__(self, other: str | PurePosixPath) -> Self:
        return type(self)(self._owner, self._pure / other)

    def joinpath(self, *others: str | PurePosixPath) -> Self:
        """The path with these appended; an absolute one begins anew."""
        return type(self)(self._owner, self._pure.joinpath(*others))

    @property
    def name(self) -> str:
        """The last component."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The name's last extension, with its dot."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All extensions of the name."""
        return self._pure.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, "/" first."""
        return self._pure.parts

    @property
    def parent(self) -> Self:
        """The path without its last component."""
        return type(self)(self._owner, self._pure.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """The directories above, the nearest first."""
        return tuple(type(self)(self._owner, above) for above in self._pure.parents)

    def with_name(self, name: str) -> Self:
        """The path with another last component."""
        return type(self)(self._owner, self._pure.with_name(name))

    def with_suffix(self, suffix: str) -> Self:
        """The path with another extension."""
        return type(self)(self._owner, self._pure.with_suffix(suffix))

    def relative_to(self, other: str | InnerPath) -> PurePosixPath:
        """What leads here from another path. Raises ValueError when that is not above."""
        return self._pure.relative_to(str(other))

    def is_relative_to(self, other: str | InnerPath) -> bool:
        """Whether the other path is above this one, by name."""
        return self._pure.is_relative_to(str(other))

    def match(self, pattern: str) -> bool:
        """Whether the path's end matches a pattern."""
        return self._pure.match(pattern)

    def as_posix(self) -> str:
        """The path as text."""
        return str(self._pure)

    def __str__(self) -> str:
        return str(self._pure)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._owner!r}, {str(self._pure)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InnerPath):
            return NotImplemented
        return type(self) is type(other) and (self._owner, self._pure) == (other._owner, other._pure)

    def __lt__(self, other: InnerPath) -> bool:
        return self._pure < other._pure

    def __hash__(self) -> int:
        return hash((self._owner, self._pure))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._owner, str(self._pure))

    # -- what is there ---------------------------------------------------------------------------

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its status; user and group ids are those the host has for them."""
        told = self._ask("stat", follow=follow_symlinks)
        return os.stat_result(tuple(told["stat"]), told["extra"])

    def lstat(self) -> os.stat_result:
        """Its status, of a link itself."""
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is there."""
        return self._mode(follow=follow_symlinks) != 0

    def is_file(self) -> bool:
        """Whether it is, or links to, a regular file."""
        return stat.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        """Whether it is, or links to, a directory."""
        return stat.S_ISDIR(self._mode())

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self._mode(follow=False))

    def _mode(self, *, follow: bool = True) -> int:
        try:
            return self.stat(follow_symlinks=follow).st_mode
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            return 0

    def iterdir(self) -> Iterator[Self]:
        """What is in the directory, sorted by name."""
        names = self._names("list")
        return (self / name for name in names)

    def glob(self, pattern: str) -> Iterator[Self]:
        """What matches a pattern below it, as with pathlib; "**" passes over /proc, /sys and their like.

        Raises: ValueError for an empty or absolute pattern.
        """
        parts = PurePosixPath(pattern).parts
        if not parts or parts[0] == "/":
            raise ValueError(f"pattern {pattern!r} is empty or absolute; begin at the path")
        if ".." in parts:
            raise ValueError(f"pattern {pattern!r} leads up; begin at the path above")
        # As in pathlib before 3.13, "**" in the end means directories only.
        names = self._names("glob", parts=list(parts))
        return (type(self)(self._owner, name) for name in names)

    def rglob(self, pattern: str) -> Iterator[Self]:
        """As glob, of "**/" and the pattern."""
        return self.glob(f"**/{pattern}")

    def readlink(self) -> PurePosixPath:
        """What a symbolic link says."""
        return PurePosixPath(self._ask("readlink")["target"])

    # -- content ---------------------------------------------------------------------------------

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the regular file, as the built-in open() does; reading and writing then need no job.

        "w" and "+" change the file where it is; `write_bytes` replaces it as a whole. Close it before the
        container starts, if it does not run.
        """
        kind = mode.replace("b", "").replace("t", "").replace("+", "")
        if kind not in _FLAGS or len(set(mode)) != len(mode) or ("b" in mode and "t" in mode):
            raise ValueError(f"invalid mode: {mode!r}")
        flags = _FLAGS[kind]
        if "+" in mode:
            flags = (flags & ~os.O_ACCMODE) | os.O_RDWR
        opened = self._opened(flags)
        # Made already as asked: "x" would want to make it again, and "w" is what cut it.
        plain = mode.replace("x", "w")
        try:
            return open(opened, plain, buffering, encoding, errors, newline)
        except BaseException:
            os.close(opened)
            raise

    def read_bytes(self) -> bytes:
        """The file's content."""
        with open(self._opened(os.O_RDONLY), "rb") as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file's content as text."""
        with open(self._opened(os.O_RDONLY), encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Replace the file's content, or make the file; gives the number of bytes.

        The content is there whole, or, when something fails, the old one is; owner, mode and attributes
        stay. (Files with several names, and those that are mounts of their own like /etc/hosts, are
        overwritten in place, after room for all of it was made sure of.)
        """
        view = memoryview(data).cast("B")
        self._put("write", view)
        return len(view)

    def _exchange(self, before: bytes, after: bytes) -> None:
        """As write_bytes, if the content is the one before; else leave it."""
        self._put("exchange", memoryview(after), expected=before.hex())

    def _put(self, verb: str, content: memoryview, **params: Any) -> None:
        memory = os.memfd_create("pycontainer-content", os.MFD_CLOEXEC)
        try:
            while content:
                content = content[os.write(memory, content) :]
            self._ask(verb, fds=[memory], **params)
        finally:
            os.close(memory)

    def write_text(self, data: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Replace the file's content by a text; see write_bytes. Gives the number of characters."""
        self.write_bytes(data.encode(encoding, errors))
        return len(data)

    def _opened(self, flags: int) -> int:
        taken: list[int] = []
        try:
            self._ask("open", flags=flags, mode=0o666, taken=taken)
        except BaseException:
            for fd in taken:
                os.close(fd)
            raise
        return taken[0]

    # -- changes ---------------------------------------------------------------------------------

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory; mode before a umask of 022."""
        try:
            self._ask("mkdir", mode=mode)
        except FileNotFoundError:
            if not parents or self._pure.parent == self._pure:
                raise
            self.parent.mkdir(parents=True, exist_ok=True)
            self.mkdir(mode, parents=False, exist_ok=exist_ok)
        except OSError:
            # Other errors than that it exists are hidden, too, if it does (pathlib, mkdir).
            if not exist_ok or not self.is_dir():
                raise

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file or link."""
        try:
            self._ask("unlink")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmdir(self) -> None:
        """Remove the empty directory."""
        self._ask("rmdir")

    def rename(self, target: str | InnerPath) -> Self:
        """Give it another path in the same container, replacing what is there; gives that path."""
        other = self._own(target)
        self._ask("rename", target=str(other))
        return other

    replace = rename

    def symlink_to(self, target: str | PurePosixPath | InnerPath) -> None:
        """Make it a symbolic link with this text."""
        self._ask("symlink", target=str(target))

    def hardlink_to(self, target: str | InnerPath) -> None:
        """Make it another name of a file."""
        self._ask("hardlink", target=str(self._own(target)))

    def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change its permission bits."""
        self._ask("chmod", mode=mode, follow=follow_symlinks)

    def chown(self, uid: int, gid: int = -1, *, follow_symlinks: bool = True) -> None:
        """Change its owner and group, by number; -1 leaves one as it is."""
        self._ask("chown", uid=uid, gid=gid, follow=follow_symlinks)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make the file if it is missing, else set its times to now."""
        self._ask("touch", mode=mode, exist_ok=exist_ok)

    # -- how it is asked -------------------------------------------------------------------------

    def _own(self, other: str | InnerPath) -> Self:
        if not isinstance(other, InnerPath):
            return type(self)(self._owner, other)
        if other._owner != self._owner or not isinstance(other, type(self)):
            kind = type(other).__name__.removesuffix("Path").lower()
            raise InvalidInput(f"{other} is a path of another {kind}; copy it to the host in between")
        return other

    def _names(self, verb: str, **params: Any) -> list[str]:
        names: list[str] = []
        self._ask(verb, names=names, **params)
        return names

    def _ask(
        self,
        verb: str,
        *,
        fds: list[int] | None = None,
        taken: list[int] | None = None,
        names: list[str] | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        path = str(self._pure)
        if "\0" in path or "\0" in params.get("target", ""):
            raise ValueError("embedded null byte")

        def on_message(message: dict[str, Any], received: list[int]) -> None:
            if names is not None:
                names.extend(message["names"])
            if taken is not None:
                taken.extend(received)

        told = self._owner._run_job(
            "files",
            {"verb": verb, "path": path, **params},
            fds or (),
            deadline=until(_TIMEOUT_S),
            on_message=on_message,
        )
        if "errno" in told:
            raise OSError(told["errno"], told["why"] or os.strerror(told["errno"]), path)
        return told


@final
class ContainerPath(InnerPath):
    """A path in a container, running or stopped: `c.path / "etc" / "hosts"`."""

    __slots__ = ()

    @property
    def container(self) -> Container:
        """Whose path it is."""
        return cast("Container", self._owner)


@final
class VolumePath(InnerPath):
    """A path in a volume, whoever uses it meanwhile: `v.path / "data.db"`."""

    __slots__ = ()

    @property
    def volume(self) -> Volume:
        """Whose path it is."""
        return cast("Volume", self._owner)
