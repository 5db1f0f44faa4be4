"""The last steps: working directory, environment, descriptors, and execve."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Sequence
from functools import lru_cache

from pycontainer.kernel import syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher import initproc
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import CONSOLE, Context, Refused

_STREAMS = ("stdin", "stdout", "stderr")
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLOSE_RANGE_CLOEXEC = 4
# What this interpreter, the helper or its jobs ignore; handlers are reset by the clone (CLONE_CLEAR_SIGHAND).
_IGNORED_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD, signal.SIGIO)


def settle(context: Context) -> None:
    """Tie this process to the monitor's life, hide it, and give it its streams and a session."""
    settling(context).perform()


def settling(context: Context) -> Script:
    """The calls of `settle`."""
    return _settling(context.monitor, tuple(context.fds.get(name, -1) for name in _STREAMS))


# Scripts that hold nothing but numbers, which are the same for many containers.
@lru_cache(maxsize=16)
def _settling(monitor: int, streams: tuple[int, ...]) -> Script:
    script = Script()
    script.include(_dying_with(monitor))
    script.setsid()
    script.umask(0)
    for number, fd in enumerate(streams):
        if fd >= 0:
            script.dup3(fd, number)
    for ignored in _IGNORED_SIGNALS:
        script.default_signal(ignored)
    script.unblock_signals()
    return script


_LIBRARYS = (32, 33)
"""The C library's own signals, which it lets no program touch; posix_spawn(3) has a new one ignore them."""


def reset_signals() -> None:
    """Undo what the parent ignored or blocked, which is inherited across execve (signal(7))."""
    for number in range(1, signal.NSIG):
        if number in _LIBRARYS:
            syscalls.act_by_default(number)
        elif number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def die_with_monitor(context: Context) -> None:
    """Have the kernel kill this process when the monitor dies, and hide it; again after ids change (prctl).

    A change of ids makes it what fs.suid_dumpable says, which may be visible (proc_sys_fs(5)).
    """
    dying_with_monitor(context).perform()


def dying_with_monitor(context: Context) -> Script:
    """The calls of `die_with_monitor`; they fail if it is dead already."""
    return _dying_with(context.monitor)


@lru_cache(maxsize=16)
def _dying_with(monitor: int) -> Script:
    script = Script()
    script.prctl(syscalls.PR_SET_DUMPABLE, 0)
    script.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    script.must_live(monitor)
    return script


def await_go(context: Context) -> None:
    """Wait for what the parent gives: the maps of a user namespace, links of the host."""
    context.wait_go()


def become_root(context: Context, uid: int, gid: int) -> None:
    """Take the ids of a new user namespace that have every right in it, once its maps are written."""
    context.wait_go()
    os.setgroups(())
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    die_with_monitor(context)


def enter_directory(context: Context, path: bytes) -> None:
    """Change to the working directory, made if missing, and prove that it lies in the root.

    A directory descriptor of the host kept open would let "/proc/self/fd/N" lead out (CVE-2024-21626):
    links of that kind are not followed, and getcwd(2) must know the way from the root.
    """
    root = os.open(b"/", os.O_PATH | os.O_DIRECTORY)
    try:
        spot = inroot.directory(root, path)
        os.fchdir(spot)
        os.close(spot)
    except OSError as error:
        raise Refused(f"working directory {os.fsdecode(path)}: {error.strerror}") from None
    finally:
        os.close(root)
    check_directory(context)


def check_directory(context: Context) -> None:
    """Refuse to run where the root cannot be seen from."""
    checking_directory(context).perform()


def checking_directory(context: Context) -> Script:
    """The calls of `check_directory`."""
    return _checking_directory()


@lru_cache(maxsize=1)
def _checking_directory() -> Script:
    script = Script()
    script.must_see_root(_outside)
    return script


def _outside(error: OSError) -> Refused:
    return Refused("the working directory is outside the container's root")


def prepare_exec(context: Context, umask: int) -> None:
    """Set what execve keeps: umask, environment, and nothing open but the three streams."""
    _perform_closing(preparing_exec(context, umask), 3, _CLOSE_RANGE_CLOEXEC)


def _perform_closing(script: Script, first: int, flags: int) -> None:
    """Perform calls of which the last closes; by hand where the container's filter, which counts already
    without no_new_privs, does not know that one.
    """
    try:
        script.perform()
    except OSError as error:
        if error.errno not in syscalls.REFUSALS:
            raise
        syscalls.close_range(first, 0xFFFFFFFF, flags)


def preparing_exec(context: Context, umask: int) -> Script:
    """The calls of `prepare_exec`."""
    if not context.env.get(b"HOME"):
        context.env[b"HOME"] = context.home
    return _preparing_exec(umask)


@lru_cache(maxsize=16)
def _preparing_exec(umask: int) -> Script:
    script = Script()
    script.umask(umask)
    script.close_range(3, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)
    return script


def let_go(context: Context) -> None:
    """Close everything but the three streams and the report, which is descriptor 3 from now on.

    execve looks up its path, and what that needs, before it closes what is marked for that: a link of the
    image to /proc/self/fd/N would lead to whatever is open (CVE-2024-21626).
    """
    _perform_closing(letting_go(context), 4, 0)
    report_on_three(context)


def letting_go(context: Context) -> Script:
    """The calls of `let_go`."""
    return _letting_go(context.error)


@lru_cache(maxsize=16)
def _letting_go(report: int) -> Script:
    script = Script()
    script.dup3(report, 3, os.O_CLOEXEC)
    script.close_range(4, 0xFFFFFFFF, 0)
    return script


def report_on_three(context: Context) -> None:
    """Know the report by its new number."""
    context.error = 3


def execute(context: Context, args: tuple[bytes, ...]) -> None:
    """Become the program. Raises Refused with Docker's words and exit code."""
    failures = []
    for path in candidates(context, args[0]):
        try:
            os.execve(path, args, context.env)
        except OSError as error:
            failures.append((path, error.errno or errno.EIO))
    raise not_executed(args[0], failures, os.open)


def executing(context: Context, args: tuple[bytes, ...]) -> Script:
    """Calls of which one becomes the program, if any of them can; `execute` behind them tells why not."""
    env = tuple(name + b"=" + value for name, value in context.env.items())
    script = Script()
    script.execve(candidates(context, args[0]), args, env)
    return script


def not_executed(
    program: bytes, failures: Sequence[tuple[bytes, int]], open_file: Callable[[bytes, int], int]
) -> Refused:
    """Why the program was not executed: from where it was tried, and the errno.

    open_file: opens a file of the container by its path, with these flags.
    """
    problem: Refused | None = None
    for path, code in failures:
        refused = _refusal(path, code, open_file)
        if b"/" in program or _is_missing_interpreter(refused):
            return refused
        if refused.exit_code == 126 and problem is None:
            problem = refused
    return problem or Refused(f'exec: "{os.fsdecode(program)}": executable file not found in $PATH', 127)


def candidates(context: Context, program: bytes) -> list[bytes]:
    """Where the program is looked for, in this order."""
    if b"/" in program:
        return [program]
    # A program of the working directory is run by path only.
    places = context.env.get(b"PATH", DEFAULT_PATH).split(b":")
    return [place + b"/" + program for place in places if place.startswith(b"/")]


def supervise(context: Context, args: tuple[bytes, ...]) -> None:
    """Be a small init: run the program as a child, reap, forward signals, end as it ends."""
    # This process never executes anything, so closing on execve is not enough: it must hold nothing now.
    if context.error != 3:
        os.dup2(context.error, 3, inheritable=False)
        context.error = 3
    syscalls.close_range(4, 0xFFFFFFFF, 0)
    # No execve gives it these, and they would tell from whom, and where on the host, it was cloned.
    syscalls.set_name(b"init")
    syscalls.set_arguments(b"init")
    initproc.run(lambda: execute(context, args), context.error, has_terminal=CONSOLE in context.fds)


def _is_missing_interpreter(refused: Refused) -> bool:
    return "interpreter" in refused.message


def _refusal(path: bytes, code: int, open_file: Callable[[bytes, int], int]) -> Refused:
    shown = os.fsdecode(path)
    if code in (errno.ENOENT, errno.ENOTDIR):
        interpreter = _interpreter(path, open_file)
        if interpreter:
            return Refused(
                f"exec {shown}: no such file or directory: its interpreter "
                f"{os.fsdecode(interpreter)} is not in the image",
                127,
            )
        return Refused(f'exec: "{shown}": stat {shown}: no such file or directory', 127)
    if code == errno.EACCES and _is_directory(path, open_file):
        return Refused(f'exec: "{shown}": is a directory', 126)
    if code == errno.E2BIG:
        return Refused(f'exec: "{shown}": argument list too long', 126)
    return Refused(f'exec: "{shown}": {os.strerror(code).lower()}', 126)


def _is_directory(path: bytes, open_file: Callable[[bytes, int], int]) -> bool:
    try:
        os.close(open_file(path, os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return False
    return True


def _interpreter(path: bytes, open_file: Callable[[bytes, int], int]) -> bytes:
    """What a present file needs and the kernel did not find: the program of "#!", or an ELF loader."""
    try:
        fd = open_file(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        head = os.read(fd, 4096) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        head = b""
    finally:
        os.close(fd)
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        return words[0] if words else b""
    return _elf_loader(head)


def _elf_loader(head: bytes) -> bytes:
    """The path in the PT_INTERP segment of a 64-bit little-endian ELF head. Source: elf(5)."""
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return b""
    start = int.from_bytes(head[32:40], "little")
    size = int.from_bytes(head[54:56], "little")
    for index in range(int.from_bytes(head[56:58], "little")):
        entry = head[start + index * size : start + (index + 1) * size]
        if entry[:4] == b"\x03\0\0\0":
            offset = int.from_bytes(entry[8:16], "little")
            return head[offset : offset + int.from_bytes(entry[32:40], "little")].rstrip(b"\0")
    return b""
