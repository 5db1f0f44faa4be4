"""Structures and numbers against the kernel's own headers, by a C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontainer.kernel import caps, mounts, namespaces, syscalls

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc")

_HEADERS = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stddef.h>
#include <sched.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <asm/unistd.h>
struct rlimit64_ { __u64 soft, hard; };
"""

# our structure, C's type, (our field, C's field)
STRUCTURES = [
    (syscalls.OpenHow, "struct open_how", ("flags", "mode", "resolve")),
    (syscalls.CloneArgs, "struct clone_args", tuple(name for name, _ in syscalls.CloneArgs._fields_)),
    (syscalls.MountAttr, "struct mount_attr", ("attr_set", "attr_clr", "propagation", "userns_fd")),
    (syscalls.CapHeader, "struct __user_cap_header_struct", ("version", "pid")),
    (syscalls.CapData, "struct __user_cap_data_struct", ("effective", "permitted", "inheritable")),
    (syscalls.Rlimit64, "struct rlimit64_", ("soft", "hard")),
    (syscalls.SockFprog, "struct sock_fprog", (("length", "len"), "filter")),
]
PARTS = [
    (syscalls.BpfProgLoad, ("prog_type", "insn_cnt", "insns", "license", "log_level", "log_size", "log_buf")),
    (syscalls.BpfProgAttach, ("target_fd", "attach_bpf_fd", "attach_type", "attach_flags")),
]
NUMBERS = {
    "__NR_write": syscalls.SYS_WRITE,
    "__NR_dup3": syscalls.SYS_DUP3,
    "__NR_ppoll": syscalls.SYS_PPOLL,
    "__NR_rt_sigaction": syscalls.SYS_RT_SIGACTION,
    "__NR_rt_sigprocmask": syscalls.SYS_RT_SIGPROCMASK,
    "__NR_execve": syscalls.SYS_EXECVE,
    "__NR_chdir": syscalls.SYS_CHDIR,
    "__NR_fchdir": syscalls.SYS_FCHDIR,
    "__NR_umask": syscalls.SYS_UMASK,
    "__NR_setsid": syscalls.SYS_SETSID,
    "__NR_setgroups": syscalls.SYS_SETGROUPS,
    "__NR_setresuid": syscalls.SYS_SETRESUID,
    "__NR_setresgid": syscalls.SYS_SETRESGID,
    "__NR_capset": syscalls.SYS_CAPSET,
    "__NR_prctl": syscalls.SYS_PRCTL,
    "__NR_umount2": syscalls.SYS_UMOUNT2,
    "__NR_unshare": syscalls.SYS_UNSHARE,
    "__NR_pivot_root": syscalls.SYS_PIVOT_ROOT,
    "__NR_keyctl": syscalls.SYS_KEYCTL,
    "__NR_seccomp": syscalls.SYS_SECCOMP,
    "__NR_bpf": syscalls.SYS_BPF,
    "__NR_pidfd_send_signal": syscalls.SYS_PIDFD_SEND_SIGNAL,
    "__NR_open_tree": syscalls.SYS_OPEN_TREE,
    "__NR_move_mount": syscalls.SYS_MOVE_MOUNT,
    "__NR_fsopen": syscalls.SYS_FSOPEN,
    "__NR_fsconfig": syscalls.SYS_FSCONFIG,
    "__NR_fsmount": syscalls.SYS_FSMOUNT,
    "__NR_clone3": syscalls.SYS_CLONE3,
    "__NR_close_range": syscalls.SYS_CLOSE_RANGE,
    "__NR_openat2": syscalls.SYS_OPENAT2,
    "__NR_mount_setattr": syscalls.SYS_MOUNT_SETATTR,
    "RESOLVE_NO_XDEV": syscalls.RESOLVE_NO_XDEV,
    "RESOLVE_NO_MAGICLINKS": syscalls.RESOLVE_NO_MAGICLINKS,
    "RESOLVE_NO_SYMLINKS": syscalls.RESOLVE_NO_SYMLINKS,
    "RESOLVE_BENEATH": syscalls.RESOLVE_BENEATH,
    "RESOLVE_IN_ROOT": syscalls.RESOLVE_IN_ROOT,
    "MOUNT_ATTR_RDONLY": mounts.ATTR_RDONLY,
    "MOUNT_ATTR_NOSUID": mounts.ATTR_NOSUID,
    "MOUNT_ATTR_NODEV": mounts.ATTR_NODEV,
    "MOUNT_ATTR_NOEXEC": mounts.ATTR_NOEXEC,
    "MOUNT_ATTR__ATIME": mounts.ATTR_ATIME_MASK,
    "MOUNT_ATTR_NOATIME": mounts.ATTR_NOATIME,
    "MOUNT_ATTR_STRICTATIME": mounts.ATTR_STRICTATIME,
    "MOUNT_ATTR_NODIRATIME": mounts.ATTR_NODIRATIME,
    "MS_PRIVATE": mounts.MS_PRIVATE,
    "MS_SLAVE": mounts.MS_SLAVE,
    "MS_SHARED": mounts.MS_SHARED,
    "MS_UNBINDABLE": mounts.MS_UNBINDABLE,
    "MS_REC": mounts.MS_REC,
    "CLONE_NEWTIME": namespaces.NEWTIME,
    "CLONE_NEWNS": namespaces.NEWNS,
    "CLONE_NEWCGROUP": namespaces.NEWCGROUP,
    "CLONE_NEWUTS": namespaces.NEWUTS,
    "CLONE_NEWIPC": namespaces.NEWIPC,
    "CLONE_NEWUSER": namespaces.NEWUSER,
    "CLONE_NEWPID": namespaces.NEWPID,
    "CLONE_NEWNET": namespaces.NEWNET,
    "PR_SET_PDEATHSIG": syscalls.PR_SET_PDEATHSIG,
    "PR_SET_DUMPABLE": syscalls.PR_SET_DUMPABLE,
    "PR_SET_CHILD_SUBREAPER": syscalls.PR_SET_CHILD_SUBREAPER,
    "PR_SET_NO_NEW_PRIVS": syscalls.PR_SET_NO_NEW_PRIVS,
    "BPF_PROG_TYPE_CGROUP_DEVICE": syscalls.BPF_PROG_TYPE_CGROUP_DEVICE,
    "BPF_CGROUP_DEVICE": syscalls.BPF_CGROUP_DEVICE,
    **{f"CAP_{name}": number for number, name in enumerate(caps.NAMES)},
}


def _ask(tmp_path: Path, expressions: list[str]) -> list[int]:
    """What the C compiler says these expressions are."""
    lines = "\n".join(f'printf("%llu\\n", (unsigned long long)({text}));' for text in expressions)
    source = tmp_path / "ask.c"
    source.write_text(f"{_HEADERS}\nint main(void) {{\n{lines}\nreturn 0;\n}}\n")
    subprocess.run(["cc", "-o", tmp_path / "ask", source], check=True, capture_output=True)
    said = subprocess.run([tmp_path / "ask"], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in said.split()]


def test_structures_are_laid_out_as_the_kernel_s(tmp_path: Path) -> None:
    expressions, found = [], []
    for ours, name, fields in STRUCTURES:
        expressions.append(f"sizeof({name})")
        found.append(ctypes.sizeof(ours))
        for field in fields:
            mine, theirs = (field, field) if isinstance(field, str) else field
            expressions.append(f"offsetof({name}, {theirs})")
            found.append(getattr(ours, mine).offset)
    for ours, names in PARTS:
        for name in names:
            expressions.append(f"offsetof(union bpf_attr, {name})")
            found.append(getattr(ours, name).offset)
    expected = _ask(tmp_path, expressions)
    assert dict(zip(expressions, found, strict=True)) == dict(zip(expressions, expected, strict=True))


def test_numbers_are_the_kernel_s(tmp_path: Path) -> None:
    assert dict(zip(NUMBERS, _ask(tmp_path, list(NUMBERS)), strict=True)) == NUMBERS
