"""System calls that are written down first and made later, with hardly anything done in between.

A process that was just cloned has its memory in common with the one it came from: whatever it touches, and
to the interpreter calling a function is touching dozens of objects, is a page that the kernel copies for it.
A script is made by who has time, and making its calls touches little but the script; nothing else at all,
where the processor can make them (kernel.native).

A script is a row of entries of WORDS words each: a call's number, its six arguments, whether its only good
result is 0, two errors that are no failure, how many bytes of the row to leave out after such an error, and
its result, or that error. Two numbers are no calls: _COPY, a word from the first argument's address to the
second's; and _STARTS_WITH, which fails with ENOENT unless the byte at the first is the second.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pycontainer.kernel import syscalls

__all__ = ["RESULT", "WORDS", "Explain", "Result", "Script"]

WORDS = 12
RESULT = 11
"""Which of an entry's words its result is."""
_COPY, _STARTS_WITH = -2, -3

_ZERO, _PASSES, _SKIPS = 7, 8, 10
_ENTRY_BYTES = 8 * WORDS
_ANY_ERROR = -1
_NO_MORE = (0,) * 6
_NOTHING = (0,) * (WORDS - 3)

_VALUE = ctypes.c_void_p  # as wide as a register
_call = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *(_VALUE,) * 6, use_errno=True)(
    ("syscall", ctypes.CDLL(None, use_errno=True))
)

_SIGNAL_SET_BYTES = 8
_OPEN_TREE_CLONE = 1
_PATH_MAX = 4096
_EMPTY = b""

Explain = Callable[[OSError], Exception]


class Result(NamedTuple):
    """What a call will have returned, as an argument of later ones of its script."""

    word: int


class Script:
    """Calls in their order. The methods write one down each, named like it; `perform` makes them.

    Descriptors may be numbers or results. A method returns the call's result where others may need it.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        """At which word each call's entry is."""
        self._words = array("q")
        self._addresses: list[int] = []
        """Which words are places in the row, to be made addresses."""
        self._leaps: list[tuple[int, int]] = []
        """Calls that leave some out after an error, and how many."""
        self._explained: dict[int, Explain] = {}
        self._kept: list[object] = []

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self._words) // WORDS

    def perform(self) -> None:
        """Make the calls. Raises OSError, or what that is explained as, at the first that fails."""
        words = self.written(0)
        at, end = 0, len(words)
        while at < end:
            number, *arguments = words[at : at + _ZERO]
            if number == _COPY:
                words[arguments[1] >> 3] = words[arguments[0] >> 3]
            elif number == _STARTS_WITH:
                if ctypes.string_at(arguments[0], 1)[0] != arguments[1]:
                    raise self._failure_at(at, errno.ENOENT)
            else:
                value = _call(number, *arguments)
                if value == -1:
                    value = ctypes.get_errno()
                    if value == errno.EINTR:
                        continue
                    passed = words[at + _PASSES], words[at + _PASSES + 1]
                    if passed[0] != _ANY_ERROR and value not in passed:
                        raise self._failure_at(at, value)
                    at += words[at + _SKIPS] >> 3
                elif value and words[at + _ZERO]:
                    raise self._failure_at(at, errno.ESRCH)
                else:
                    words[at + RESULT] = value
            at += WORDS

    def include(self, other: Script) -> None:
        """Make all calls of another one here."""
        base = len(self._words)
        first = len(self.calls)
        self._words.extend(other._words)
        self.calls += [base + call for call in other.calls]
        for place in other._addresses:
            self._words[base + place] += 8 * base
            self._addresses.append(base + place)
        self._leaps += [(first + call, count) for call, count in other._leaps]
        self._explained.update((first + call, explain) for call, explain in other._explained.items())
        self._kept.append(other)

    def written(self, address: int) -> array[int]:
        """The row, to lie at that address."""
        words = array("q", self._words)
        for place in self._addresses:
            words[place] += address
        for call, count in self._leaps:
            own = self.calls[call]
            behind = self.calls[call + count] + WORDS
            words[own + _SKIPS] = 8 * (behind - own - WORDS)
        return words

    def failure(self, call: int, code: int) -> Exception:
        """What the failure of that call with this errno is raised as."""
        error, explain = OSError(code, os.strerror(code)), self._explained.get(call)
        return error if explain is None else explain(error)

    def _failure_at(self, word: int, code: int) -> Exception:
        return self.failure(self.calls.index(word), code)

    def add(
        self,
        number: int,
        *args: int | bytes | ctypes.Array[Any] | Result | None,
        is_zero: bool = False,
        passes: tuple[int, ...] | None = (),
        skips: int = 0,
        explain: Explain | None = None,
    ) -> Result:
        """Any call, by its number.

        is_zero: any other result is a failure, ESRCH. passes: at most two errors that are none; None: all.
        skips: how many calls to leave out after such an error. explain: what a failure is raised as.
        """
        values: list[int] = []
        copied: list[tuple[int, int]] = []
        for argument in args:
            if type(argument) is int:
                values.append(argument)
            elif isinstance(argument, Result):
                copied.append((argument.word, len(values)))
                values.append(0)
            else:
                values.append(self._address(argument))
        words = self._words
        own = len(words) + WORDS * len(copied)
        for source, place in copied:
            self._addresses += (len(words) + 1, len(words) + 2)
            words.extend((_COPY, 8 * source, 8 * (own + 1 + place), *_NOTHING))
        if explain is not None:
            self._explained[len(self.calls)] = explain
        if skips:
            self._leaps.append((len(self.calls), skips))
        self.calls.append(own)
        passed = (_ANY_ERROR, 0) if passes is None else (*passes, 0, 0)[:2]
        words.extend((number, *values, *_NO_MORE[len(values) :], is_zero, *passed, 0, 0))
        return Result(own + RESULT)

    def _address(self, argument: int | bytes | ctypes.Array[Any] | None) -> int:
        """Where it is, for as long as this script is there."""
        if argument is None:
            return 0
        if isinstance(argument, int):
            return int(argument)
        self._kept.append(argument)
        if isinstance(argument, bytes):
            return ctypes.cast(ctypes.c_char_p(argument), _VALUE).value or 0
        return ctypes.addressof(argument)

    # -- the process -----------------------------------------------------------------------------

    def prctl(self, option: int, argument: int = 0, second: int = 0, *, ends: bool = False) -> None:
        """prctl(2). ends: EINVAL is no failure."""
        self.add(syscalls.SYS_PRCTL, option, argument, second, passes=(errno.EINVAL,) if ends else ())

    def must_live(self, pidfd: int) -> None:
        """Fail if the process has ended by then (ppoll(2))."""
        polled = ctypes.create_string_buffer(struct.pack("=ihh", pidfd, 1, 0), 8)
        self.add(syscalls.SYS_PPOLL, polled, 1, bytes(16), None, _SIGNAL_SET_BYTES, is_zero=True)

    def setsid(self) -> None:
        """setsid(2)."""
        self.add(syscalls.SYS_SETSID)

    def umask(self, mask: int) -> None:
        """umask(2)."""
        self.add(syscalls.SYS_UMASK, mask)

    def dup3(self, fd: int, number: int, flags: int = 0) -> None:
        """dup3(2), to a descriptor that stays open over execve without flags; without effect on itself."""
        self.add(syscalls.SYS_DUP3, fd, number, flags, passes=(errno.EINVAL,))

    def default_signal(self, signal: int) -> None:
        """Have the signal do what it does by default (sigaction(2))."""
        self.add(syscalls.SYS_RT_SIGACTION, signal, bytes(32), None, _SIGNAL_SET_BYTES)

    def unblock_signals(self) -> None:
        """Block no signal (sigprocmask(2))."""
        self.add(syscalls.SYS_RT_SIGPROCMASK, 2, bytes(_SIGNAL_SET_BYTES), None, _SIGNAL_SET_BYTES)

    def setgroups(self, groups: tuple[int, ...]) -> None:
        """setgroups(2)."""
        self.add(syscalls.SYS_SETGROUPS, len(groups), struct.pack(f"={len(groups)}I", *groups))

    def setresgid(self, gid: int) -> None:
        """All three group ids (setresgid(2))."""
        self.add(syscalls.SYS_SETRESGID, gid, gid, gid)

    def setresuid(self, uid: int) -> None:
        """All three user ids (setresuid(2))."""
        self.add(syscalls.SYS_SETRESUID, uid, uid, uid)

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        """capset(2), with masks of 64 bits."""
        sets = (effective, permitted, inheritable)
        halves = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in sets]
        self.add(
            syscalls.SYS_CAPSET,
            struct.pack("=Ii", syscalls.CAPABILITY_VERSION, 0),
            struct.pack("=6I", *halves),
        )

    def seccomp_load(self, program: bytes, flags: int) -> None:
        """seccomp(2), SECCOMP_SET_MODE_FILTER."""
        fprog = syscalls.filter_program(program)
        self._kept.append(fprog)
        self.add(syscalls.SYS_SECCOMP, 1, flags, ctypes.addressof(fprog[0]))

    def join_session_keyring(self, name: bytes, permissions: int) -> None:
        """keyctl_join_session_keyring(3) and keyctl_setperm(3); kernels without keys have none to join."""
        key = self.add(syscalls.SYS_KEYCTL, 1, name, passes=(errno.ENOSYS,), skips=1)
        self.add(syscalls.SYS_KEYCTL, 5, key, permissions)

    def close_range(self, first: int, last: int, flags: int) -> None:
        """close_range(2)."""
        self.add(syscalls.SYS_CLOSE_RANGE, first, last, flags)

    def unshare(self, kinds: int) -> None:
        """unshare(2)."""
        self.add(syscalls.SYS_UNSHARE, kinds)

    def setns(self, fd: int, kinds: int, *, explain: Explain | None = None) -> None:
        """setns(2)."""
        self.add(syscalls.SYS_SETNS, fd, kinds, explain=explain)

    def prlimit(self, number: int, soft: int, hard: int, *, explain: Explain | None = None) -> None:
        """Set a resource limit (prlimit(2))."""
        self.add(syscalls.SYS_PRLIMIT64, 0, number, struct.pack("=QQ", soft, hard), explain=explain)

    def write(self, fd: int | Result, content: bytes, *, explain: Explain | None = None) -> None:
        """write(2), whole or not at all."""
        self.add(syscalls.SYS_WRITE, fd, content, len(content), explain=explain)

    def execve(self, paths: Sequence[bytes], args: tuple[bytes, ...], env: tuple[bytes, ...]) -> None:
        """execve(2) of one after the other; it goes on behind them when all fail, whatever the reasons."""
        arrays = [(ctypes.c_char_p * (len(texts) + 1))(*texts, None) for texts in (args, env)]
        for path in paths:
            self.add(syscalls.SYS_EXECVE, path, *arrays, passes=None)

    # -- mounts and directories ------------------------------------------------------------------

    def fchdir(self, fd: int | Result, *, explain: Explain | None = None) -> None:
        """fchdir(2)."""
        self.add(syscalls.SYS_FCHDIR, fd, explain=explain)

    def must_see_root(self, explain: Explain) -> None:
        """Fail if no path leads from the root to the working directory (getcwd(2))."""
        path = ctypes.create_string_buffer(_PATH_MAX)
        self.add(syscalls.SYS_GETCWD, path, _PATH_MAX, explain=explain)
        self.add(_STARTS_WITH, path, ord("/"), explain=explain)

    def pivot_root(self) -> None:
        """Make the working directory the root, and let go of the old one (pivot_root(2), NOTES)."""
        self.add(syscalls.SYS_PIVOT_ROOT, b".", b".")
        self.add(syscalls.SYS_UMOUNT2, b".", syscalls.MNT_DETACH)
        self.add(syscalls.SYS_CHDIR, b"/")

    def openat2(
        self,
        directory: int | Result,
        path: bytes,
        flags: int,
        rules: int,
        *,
        skips: int = 0,
        explain: Explain | None = None,
    ) -> Result:
        """openat2(2). skips: how many calls to leave out when there is no such file, else a failure."""
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, rules)
        passes = (errno.ENOENT, errno.ENOTDIR) if skips else ()
        args = directory, path, how, len(how)
        return self.add(syscalls.SYS_OPENAT2, *args, passes=passes, skips=skips, explain=explain)

    def fsopen(self, fstype: bytes) -> Result:
        """fsopen(2)."""
        return self.add(syscalls.SYS_FSOPEN, fstype, 1)

    def fsconfig(
        self, fs: Result, command: int, key: bytes | None = None, value: bytes | None = None
    ) -> None:
        """fsconfig(2)."""
        self.add(syscalls.SYS_FSCONFIG, fs, command, key, value, 0)

    def fsmount(self, fs: Result, attributes: int) -> Result:
        """fsmount(2)."""
        return self.add(syscalls.SYS_FSMOUNT, fs, 1, attributes)

    def clone_tree(self, directory: int | Result, path: bytes, flags: int) -> Result:
        """A detached copy of a mount, or of a tree of mounts (open_tree(2))."""
        flags |= _OPEN_TREE_CLONE | os.O_CLOEXEC | (0 if path else syscalls.AT_EMPTY_PATH)
        return self.add(syscalls.SYS_OPEN_TREE, directory, path, flags)

    def mount_setattr(self, fd: Result, flags: int, *, set: int = 0, propagation: int = 0) -> None:
        """mount_setattr(2)."""
        attributes = struct.pack("=QQQQ", set, 0, propagation, 0)
        flags |= syscalls.AT_EMPTY_PATH
        self.add(syscalls.SYS_MOUNT_SETATTR, fd, _EMPTY, flags, attributes, len(attributes))

    def move_mount(self, tree: int | Result, spot: int | Result) -> None:
        """Attach a detached mount on what a descriptor stands for (move_mount(2))."""
        self.add(syscalls.SYS_MOVE_MOUNT, tree, _EMPTY, spot, _EMPTY, syscalls.MOVE_MOUNT_EMPTY_PATHS)
