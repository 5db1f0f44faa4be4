"""Every system call that Python's os module does not offer: one typed function each, errno checked.

Numbers are those of x86-64 and the generic table (arm64, riscv64); calls above 423 share one number
on every architecture. Struct layouts are tested against the kernel's headers.
Source: the man pages of section 2; include/uapi/linux of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from functools import cache

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

IS_X86_64 = os.uname().machine == "x86_64"

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100

# openat2(2)
SYS_OPENAT2 = 437
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def raw(number: int, *args: object) -> int:
    """Call by number; return the result or raise OSError. EINTR is retried."""
    while True:
        result = int(_syscall(ctypes.c_long(number), *args))
        if result != -1:
            return result
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open path beneath dir_fd under the given RESOLVE_* rules; the descriptor is close-on-exec.

    EAGAIN (a rename raced with a ".." step) is retried a bounded number of times.
    Source: openat2(2).
    """
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(128):
        try:
            return raw(
                SYS_OPENAT2,
                ctypes.c_int(dir_fd),
                ctypes.c_char_p(path),
                ctypes.byref(how),
                ctypes.c_size_t(24),
            )
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == 127:
                raise
    raise AssertionError("unreachable")


# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Operate on the calling thread or process. Source: prctl(2)."""
    result = int(
        _libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(arg) for arg in (arg2, arg3, arg4, arg5)))
    )
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def set_name(name: bytes) -> None:
    """Name the calling thread, as ps(1) shows it; at most 15 bytes. Source: prctl(2), PR_SET_NAME."""
    buffer = ctypes.create_string_buffer(name, 16)
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def inotify_init1(flags: int) -> int:
    """A new inotify instance. Source: inotify_init(2)."""
    fd = int(_libc.inotify_init1(ctypes.c_int(flags)))
    if fd == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def inotify_add_watch(fd: int, path: bytes, events: int) -> int:
    """Watch path for the given IN_* events. Source: inotify_add_watch(2)."""
    watch = int(_libc.inotify_add_watch(ctypes.c_int(fd), ctypes.c_char_p(path), ctypes.c_uint32(events)))
    if watch == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return watch


def number(x86_64: int, generic: int) -> int:
    """A system call whose number differs: arch/x86/entry/syscalls/syscall_64.tbl; asm-generic/unistd.h."""
    return x86_64 if IS_X86_64 else generic


SYS_RT_SIGACTION = number(13, 134)


def act_by_default(signal: int) -> None:
    """Reset a signal, also one of the C library's own, which its sigaction(3) refuses."""
    raw(SYS_RT_SIGACTION, ctypes.c_long(signal), bytes(32), None, ctypes.c_long(8))  # with an empty mask


SYS_WRITE = number(1, 64)
SYS_DUP3 = number(292, 24)
SYS_PPOLL = number(271, 73)
SYS_RT_SIGACTION = number(13, 134)
SYS_RT_SIGPROCMASK = number(14, 135)
SYS_EXECVE = number(59, 221)
SYS_GETCWD = number(79, 17)
SYS_CHDIR = number(80, 49)
SYS_FCHDIR = number(81, 50)
SYS_UMASK = number(95, 166)
SYS_SETSID = number(112, 157)
SYS_SETGROUPS = number(116, 159)
SYS_SETRESUID = number(117, 147)
SYS_SETRESGID = number(119, 149)
SYS_CAPSET = number(126, 91)
SYS_PRCTL = number(157, 167)
SYS_UMOUNT2 = number(166, 39)
SYS_UNSHARE = number(272, 97)
SYS_SETNS = number(308, 268)
SYS_PIVOT_ROOT = number(155, 41)
SYS_PRLIMIT64 = number(302, 261)
SYS_KEYCTL = number(250, 219)
SYS_SECCOMP = number(317, 277)
SYS_PIDFD_SEND_SIGNAL = 424
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_CLONE3 = 435
SYS_CLOSE_RANGE = 436
SYS_MOUNT_SETATTR = 442

CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
MOVE_MOUNT_EMPTY_PATHS = 0x44  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH: no path is resolved


class CloneArgs(ctypes.Structure):
    """struct clone_args of clone3(2), CLONE_ARGS_SIZE_VER2 (88 bytes)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


class MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2), MOUNT_ATTR_SIZE_VER0 (32 bytes)."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


class Rlimit64(ctypes.Structure):
    """struct rlimit64 of prlimit(2)."""

    _fields_ = (("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64))


class CapHeader(ctypes.Structure):
    """struct __user_cap_header_struct of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int32))


class CapData(ctypes.Structure):
    """struct __user_cap_data_struct of capset(2); version 3 uses two of them."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class SockFprog(ctypes.Structure):
    """struct sock_fprog of seccomp(2): count and address of eight-byte instructions."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _checked(result: int) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _path(path: bytes) -> ctypes.c_char_p:
    # C would stop at the NUL and act on another path than the one that was checked.
    if b"\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return ctypes.c_char_p(path)


def clone3(flags: int, *, cgroup_fd: int = -1, as_sibling: bool = False) -> tuple[int, int]:
    """Fork with CLONE_PIDFD and the given CLONE_* flags; (0, -1) in the child, (pid, pidfd) in the parent.

    Signal handlers are reset in the child (CLONE_CLEAR_SIGHAND), ignored signals stay ignored.

    The child has none of Python's after-fork work done (os.register_at_fork, what threading knows).
    Needs a single-threaded process. cgroup_fd: a cgroup v2 directory to be born in (CLONE_INTO_CGROUP).
    as_sibling: the child is one of this process's own parent (CLONE_PARENT).
    Source: clone(2).
    """
    args, pidfd = clone_args(flags, cgroup_fd, as_sibling=as_sibling)
    pid = raw(SYS_CLONE3, ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args)))
    return pid, pidfd.value


def clone_args(flags: int, cgroup_fd: int, *, as_sibling: bool) -> tuple[CloneArgs, ctypes.c_int]:
    """What `clone3` passes on, and where the pidfd will be."""
    pidfd = ctypes.c_int(-1)
    args = CloneArgs(flags=flags | 0x100001000, pidfd=ctypes.addressof(pidfd), exit_signal=17)
    if as_sibling:
        args.flags |= 0x8000
        args.exit_signal = 0  # that of this process, and no other may be asked for (clone(2))
    if cgroup_fd >= 0:
        args.flags |= 0x200000000
        args.cgroup = cgroup_fd
    return args, pidfd


def set_arguments(text: bytes) -> None:
    """Show the text as this process's command line instead of the words that it was executed with.

    As much of it as these had room for. Source: proc_pid_stat(5), arg_start and arg_end.
    """
    fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    finally:
        os.close(fd)
    start, end = int(fields[45]), int(fields[46])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, text, min(len(text), end - start - 1))


def mount(source: bytes | None, target: bytes, fstype: bytes | None, flags: int, data: bytes | None) -> None:
    """The classic mount(2); data is at most one page."""
    texts = [None if text is None else _path(text) for text in (source, target, fstype)]
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else ctypes.c_char_p(data)))


MNT_DETACH = 2


def umount2(target: bytes, flags: int) -> None:
    """Unmount. Source: umount(2)."""
    _checked(_libc.umount2(_path(target), ctypes.c_int(flags)))


def fsopen(fstype: bytes) -> int:
    """A context for a new file system. Source: fsopen(2)."""
    return raw(SYS_FSOPEN, _path(fstype), ctypes.c_uint(1))


def fsconfig(fs_fd: int, command: int, key: bytes | None, value: bytes | None, aux: int = 0) -> None:
    """Configure, or create, the file system of a context. Source: fsconfig(2)."""
    raw(
        SYS_FSCONFIG,
        ctypes.c_int(fs_fd),
        ctypes.c_uint(command),
        None if key is None else _path(key),
        None if value is None else _path(value),
        ctypes.c_int(aux),
    )


def fsmount(fs_fd: int, attributes: int) -> int:
    """A detached mount of a created file system; it dies with its last descriptor. Source: fsmount(2)."""
    return raw(SYS_FSMOUNT, ctypes.c_int(fs_fd), ctypes.c_uint(1), ctypes.c_uint(attributes))


def open_tree(dir_fd: int, path: bytes, flags: int) -> int:
    """A descriptor of a mounted tree, or with OPEN_TREE_CLONE of a detached copy. Source: open_tree(2)."""
    return raw(SYS_OPEN_TREE, ctypes.c_int(dir_fd), _path(path), ctypes.c_uint(flags | os.O_CLOEXEC))


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attach the mount from_fd stands for on what to_fd stands for. Source: move_mount(2)."""
    raw(
        SYS_MOVE_MOUNT,
        ctypes.c_int(from_fd),
        _path(b""),
        ctypes.c_int(to_fd),
        _path(b""),
        ctypes.c_uint(MOVE_MOUNT_EMPTY_PATHS),
    )


def mount_setattr(
    fd: int, flags: int, *, set: int = 0, clear: int = 0, propagation: int = 0, userns_fd: int = 0
) -> None:
    """Change the attributes of the mount fd stands for. Source: mount_setattr(2)."""
    attr = MountAttr(set, clear, propagation, userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    raw(
        SYS_MOUNT_SETATTR,
        ctypes.c_int(fd),
        _path(b""),
        ctypes.c_uint(flags | AT_EMPTY_PATH),
        ctypes.byref(attr),
        size,
    )


def setns(fd: int, nstype: int) -> None:
    """Enter the namespace, or those of the process a pidfd refers to. Source: setns(2)."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(nstype)))


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones. Source: unshare(2)."""
    _checked(_libc.unshare(ctypes.c_int(flags)))


def sethostname(name: bytes) -> None:
    """Set the UTS namespace's host name. Source: sethostname(2)."""
    _checked(_libc.sethostname(ctypes.c_char_p(name), ctypes.c_size_t(len(name))))


def setdomainname(name: bytes) -> None:
    """Set the UTS namespace's NIS domain name. Source: setdomainname(2)."""
    _checked(_libc.setdomainname(ctypes.c_char_p(name), ctypes.c_size_t(len(name))))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's capability sets from masks of 64 bits. Source: capset(2)."""
    header = CapHeader(CAPABILITY_VERSION, 0)
    sets = (effective, permitted, inheritable)
    data = (CapData * 2)(
        CapData(*(mask & 0xFFFFFFFF for mask in sets)), CapData(*(mask >> 32 for mask in sets))
    )
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(data)))


def capget(pid: int = 0) -> tuple[int, int, int]:
    """Effective, permitted and inheritable sets as masks of 64 bits. Source: capget(2)."""
    header = CapHeader(CAPABILITY_VERSION, pid)
    data = (CapData * 2)()
    _checked(_libc.capget(ctypes.byref(header), ctypes.byref(data)))
    effective, permitted, inheritable = (
        getattr(data[0], name) | getattr(data[1], name) << 32
        for name in ("effective", "permitted", "inheritable")
    )
    return effective, permitted, inheritable


def prlimit(pid: int, resource: int, limit: tuple[int, int] | None = None) -> tuple[int, int]:
    """Set the (soft, hard) limit of a process if given; return what it was before. Source: prlimit(2)."""
    new = None if limit is None else ctypes.byref(Rlimit64(*limit))
    old = Rlimit64()
    _checked(_libc.prlimit64(ctypes.c_int(pid), ctypes.c_int(resource), new, ctypes.byref(old)))
    return old.soft, old.hard


def filter_program(program: bytes) -> tuple[SockFprog, object]:
    """struct sock_fprog of a filter of struct sock_filter instructions, and what must live as long as it.

    Raises OSError for what is no filter.
    """
    if not program or len(program) % 8:
        raise OSError(errno.EINVAL, "a filter is a whole number of eight-byte instructions")
    code = ctypes.create_string_buffer(program, len(program))
    return SockFprog(len(program) // 8, ctypes.addressof(code)), code


def seccomp_load(program: bytes, flags: int) -> int:
    """Install a filter of struct sock_filter instructions; the listener's descriptor with NEW_LISTENER.

    Source: seccomp(2), SECCOMP_SET_MODE_FILTER.
    """
    fprog, _code = filter_program(program)
    return raw(SYS_SECCOMP, ctypes.c_uint(1), ctypes.c_uint(flags), ctypes.byref(fprog))


REFUSALS = (errno.ENOSYS, errno.EPERM)
"""How system call filters answer what they do not know."""
_MOST_DESCRIPTORS = 1 << 16


def close_range(first: int, last: int, flags: int) -> None:
    """Close, or with CLOSE_RANGE_CLOEXEC mark, all descriptors of the range. Source: close_range(2).

    One by one, up to a number that nobody uses, under a system call filter that is older than the call.
    """
    try:
        raw(SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        for fd in range(first, min(last, _MOST_DESCRIPTORS) + 1):
            try:
                if flags:
                    os.set_inheritable(fd, False)
                else:
                    os.close(fd)
            except OSError:
                pass  # most are not open


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process that is not among these."""
    first = 0
    for fd in sorted(kept):
        if fd > first:
            close_range(first, fd - 1, 0)
        first = fd + 1
    close_range(first, 0xFFFFFFFF, 0)


def pidfd_send_signal(pidfd: int, signum: int) -> None:
    """Signal exactly the process the descriptor refers to. Source: pidfd_send_signal(2)."""
    raw(SYS_PIDFD_SEND_SIGNAL, ctypes.c_int(pidfd), ctypes.c_int(signum), None, ctypes.c_uint(0))


# landlock(7); the numbers are shared by all architectures
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_RULE_PATH_BENEATH = 1


class LandlockRulesetAttr(ctypes.Structure):
    """struct landlock_ruleset_attr; how much of it is passed depends on the kernel's ABI version."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class LandlockPathBeneathAttr(ctypes.Structure):
    """struct landlock_path_beneath_attr, which is packed."""

    _pack_ = 1
    _layout_ = "ms"  # what _pack_ implies; Python 3.14 wants it said
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_abi() -> int:
    """The kernel's Landlock ABI version; 0 without Landlock. Source: landlock_create_ruleset(2)."""
    try:
        return raw(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def landlock_create_ruleset(fs: int, net: int, scoped: int, size: int) -> int:
    """A descriptor of a ruleset that denies the given rights; size is that of the struct in this ABI."""
    attr = LandlockRulesetAttr(fs, net, scoped)
    return raw(SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint(0))


def landlock_allow_beneath(ruleset: int, directory: int, access: int) -> None:
    """Allow the rights for everything beneath the directory. Source: landlock_add_rule(2)."""
    attr = LandlockPathBeneathAttr(access, directory)
    raw(
        SYS_LANDLOCK_ADD_RULE,
        ctypes.c_int(ruleset),
        ctypes.c_int(LANDLOCK_RULE_PATH_BENEATH),
        ctypes.byref(attr),
        ctypes.c_uint(0),
    )


def landlock_restrict_self(ruleset: int) -> None:
    """Enforce the ruleset on this thread and its children for good; needs no_new_privs first."""
    raw(SYS_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))


def syncfs(fd: int) -> None:
    """Write back the file system fd lies on; reports its write errors since Linux 5.8. Source: sync(2)."""
    _checked(_libc.syncfs(ctypes.c_int(fd)))


@cache
def kernel_version() -> tuple[int, int]:
    """Major and minor version of the running kernel."""
    major, minor = os.uname().release.split("-")[0].split(".")[:2]
    return int(major), int(minor)


# bpf(2)
SYS_BPF = number(321, 280)
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6


class BpfProgLoad(ctypes.Structure):
    """The head of union bpf_attr for BPF_PROG_LOAD (48 bytes)."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


class BpfProgAttach(ctypes.Structure):
    """The head of union bpf_attr for BPF_PROG_ATTACH (16 bytes)."""

    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("target_fd", "attach_bpf_fd", "attach_type", "attach_flags")
    )


def bpf_load(program_type: int, program: bytes) -> int:
    """Load a program of eight-byte instructions; its descriptor. Source: bpf(2), BPF_PROG_LOAD."""
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attr = BpfProgLoad(
        prog_type=program_type,
        insn_cnt=len(program) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(licence),
    )
    return raw(SYS_BPF, ctypes.c_int(5), ctypes.byref(attr), ctypes.c_uint(ctypes.sizeof(attr)))


def bpf_attach(program_fd: int, cgroup_fd: int, kind: int) -> None:
    """Attach a program to a cgroup, beside what is there (BPF_F_ALLOW_MULTI). Source: bpf(2)."""
    attr = BpfProgAttach(cgroup_fd, program_fd, kind, 2)
    raw(SYS_BPF, ctypes.c_int(8), ctypes.byref(attr), ctypes.c_uint(ctypes.sizeof(attr)))


def filesystem_type(fd: int) -> int:
    """The magic number of the file system fd lies on, as in linux/magic.h. Source: fstatfs(2)."""
    room = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes; its first member is f_type
    _checked(_libc.fstatfs(ctypes.c_int(fd), room))
    return ctypes.c_long.from_buffer(room).value & 0xFFFFFFFF


SYS_RENAMEAT2 = number(316, 276)
RENAME_EXCHANGE = 0x02


def renameat2(old_dir: int, old: str, new_dir: int, new: str, flags: int) -> None:
    """Rename by the flags; with RENAME_EXCHANGE both exist, and swap their names. Source: rename(2)."""
    raw(
        SYS_RENAMEAT2,
        ctypes.c_int(old_dir),
        _path(os.fsencode(old)),
        ctypes.c_int(new_dir),
        _path(os.fsencode(new)),
        ctypes.c_uint(flags),
    )
