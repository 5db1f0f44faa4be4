"""A process that does nothing but make the calls of scripts, on the memory of the one that clones it.

Theory of operation. A fork copies the tables of all memory, and afterwards both sides pay for each page that
they write to; for an interpreter that is most of what a container's start costs. vfork(2) copies nothing, but
whoever it starts must not run Python: the memory is its parent's, and so is the stack. So what it runs is a
few dozen instructions that carry a table of system calls out and leave in that table what became of them. Its
parent waits until it has executed a program or ended, as with vfork(2): the kernel knows such a pair, and
neither kills the one for the other when memory is short, nor gives the one the oom_score_adj of the other.

The instructions lie in a sealed memory file, which is mapped to be read and executed, never to be written.
Where that is not allowed, or the processor is another, `is_possible` says so; a fork does the same there.
They are kept as they are assembled from `SOURCES`, which a test does.
Source: clone(2); syscall(2), "Architecture calling conventions"; vfork_done in
mm/oom_kill.c and fs/proc/base.c.
"""

from __future__ import annotations

import bisect
import ctypes
import errno
import fcntl
import os
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pycontainer.kernel import syscalls
from pycontainer.kernel.script import RESULT, WORDS, Script

__all__ = ["CODE", "SOURCES", "Ended", "is_possible", "spawn"]

_CLONE_VM = 0x100
_CLONE_VFORK = 0x4000
_PROT_READ, _PROT_EXEC, _MAP_PRIVATE = 1, 4, 2
_SEALS = 0xF  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_MFD_ALLOW_SEALING, _MFD_EXEC = 2, 0x10

_END = -1
_HEAD = 3  # words: the entry that failed, its errno, the last entry that was begun
_FAILED = 0xFFFFFFFFFFFFFFFF

SOURCES = {
    "x86_64": """
        mov eax, 435                    # clone3(rdi, rsi); rdx is the table
        syscall
        test rax, rax
        jz 0f
        ret
    0:  mov r13, rdx                    # the child: r13 is the table's head, r12 the entry
        lea r12, [rdx+24]
    1:  mov [r13+16], r12
        mov rax, [r12]
        cmp rax, -1
        je 8f
        cmp rax, -2
        je 4f
        cmp rax, -3
        je 5f
        mov rdi, [r12+8]
        mov rsi, [r12+16]
        mov rdx, [r12+24]
        mov r10, [r12+32]
        mov r8, [r12+40]
        mov r9, [r12+48]
        syscall
        cmp rax, -4095
        jae 2f
        cmp qword ptr [r12+56], 0
        je 6f
        test rax, rax
        jz 6f
        mov eax, 3                      # ESRCH
        jmp 9f
    2:  neg rax
        cmp rax, 4                      # EINTR: once more
        je 1b
        cmp qword ptr [r12+64], -1
        je 3f
        cmp rax, [r12+64]
        je 3f
        cmp rax, [r12+72]
        jne 9f
    3:  mov [r12+88], rax               # an error that passes
        add r12, [r12+80]
        jmp 7f
    4:  mov rcx, [r12+8]                # copy a word
        mov rax, [rcx]
        mov rcx, [r12+16]
        mov [rcx], rax
        jmp 7f
    5:  mov rcx, [r12+8]                # compare a byte
        movzx ecx, byte ptr [rcx]
        mov eax, 2                      # ENOENT
        cmp rcx, [r12+16]
        jne 9f
        jmp 7f
    6:  mov [r12+88], rax
    7:  add r12, 96
        jmp 1b
    8:  mov eax, 125                    # the end of the table
    9:  mov [r13], r12
        mov [r13+8], rax
        mov edi, 125
        mov eax, 231                    # exit_group
        syscall
        ud2
    """,
    "aarch64": """
        mov x8, #435                    // clone3(x0, x1); x2 is the table
        svc #0
        cbz x0, 0f
        ret
    0:  mov x19, x2                     // the child: x19 is the table's head, x20 the entry
        add x20, x2, #24
    1:  str x20, [x19, #16]
        ldr x8, [x20]
        cmn x8, #1
        b.eq 8f
        cmn x8, #2
        b.eq 4f
        cmn x8, #3
        b.eq 5f
        ldp x0, x1, [x20, #8]
        ldp x2, x3, [x20, #24]
        ldp x4, x5, [x20, #40]
        svc #0
        cmn x0, #4095
        b.hs 2f
        ldr x9, [x20, #56]
        cbz x9, 6f
        cbz x0, 6f
        mov x0, #3                      // ESRCH
        b 9f
    2:  neg x0, x0
        cmp x0, #4                      // EINTR: once more
        b.eq 1b
        ldr x9, [x20, #64]
        cmn x9, #1
        b.eq 3f
        cmp x0, x9
        b.eq 3f
        ldr x9, [x20, #72]
        cmp x0, x9
        b.ne 9f
    3:  str x0, [x20, #88]              // an error that passes
        ldr x9, [x20, #80]
        add x20, x20, x9
        b 7f
    4:  ldp x9, x10, [x20, #8]          // copy a word
        ldr x9, [x9]
        str x9, [x10]
        b 7f
    5:  ldp x9, x10, [x20, #8]          // compare a byte
        ldrb w9, [x9]
        mov x0, #2                      // ENOENT
        cmp x9, x10
        b.ne 9f
        b 7f
    6:  str x0, [x20, #88]
    7:  add x20, x20, #96
        b 1b
    8:  mov x0, #125                    // the end of the table
    9:  str x20, [x19]
        str x0, [x19, #8]
        mov x0, #125
        mov x8, #94                     // exit_group
        svc #0
        brk #0
    """,
}

CODE = {
    "x86_64": (
        "b8b30100000f054885c07401c34989d54c8d62184d896510498b04244883f8ff0f84a90000004883f8fe746d4883f8fd"
        "7479498b7c2408498b742410498b5424184d8b5424204d8b4424284d8b4c24300f05483d01f0ffff731449837c243800"
        "745f4885c0745ab803000000eb6648f7d84883f804749d49837c2440ff740e493b4424407407493b4424487547498944"
        "24584d03642450eb2d498b4c2408488b01498b4c2410488901eb1b498b4c24080fb609b802000000493b4c24107515eb"
        "0549894424584983c460e945ffffffb87d0000004d89650049894508bf7d000000b8e70000000f050f0b"
    ),
    "aarch64": (
        "683680d2010000d4400000b4c0035fd6f30302aa54600091740a00f9880240f91f0500b1800500541f0900b1a0030054"
        "1f0d00b1e0030054808640a9828e41a9849642a9010000d41ffc3fb1c2000054891e40f9a90300b4800300b4600080d2"
        "1e000014e00300cb1f1000f160fdff54892240f93f0500b1c00000541f0009eb80000054892640f91f0009eb61020054"
        "802e00f9892a40f99402098b0c00001489aa40a9290140f9490100f90800001489aa40a929014039400080d23f010aeb"
        "c100005402000014802e00f994820191d2ffff17a00f80d2740200f9600600f9a00f80d2c80b80d2010000d4000020d4"
    ),
}
"""The same, assembled."""


class Ended(NamedTuple):
    """What became of the scripts in a process that has executed a program, or ended, by now."""

    pid: int
    pidfd: int
    errno: int
    """Of the call that failed; 0: none did."""
    script: int
    """Which script the last call that was begun is of."""
    call: int
    """Which of its calls that is; behind the last one if they were all made."""
    results: Sequence[int]
    """Of that script's calls: what they returned, or the error that was passed over."""


_Spawn = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_spawn: list[Callable[[int, int, int], int] | None] = []
"""The instructions, from the first use on; None where there can be none."""


def is_possible() -> bool:
    """Whether this processor and this system let such processes be."""
    if not _spawn:
        _spawn.append(_mapped())
    return _spawn[0] is not None


def spawn(scripts: Sequence[Script], kinds: int, *, cgroup_fd: int = -1, as_sibling: bool = False) -> Ended:
    """Clone a process with the CLONE_* flags, and wait until it has made the calls of these scripts.

    It ends with code 125 at the first call that fails, or behind the last one. Signal handlers are reset in
    it, ignored signals stay ignored. cgroup_fd, as_sibling: as for syscalls.clone3. Raises OSError.
    """
    if not is_possible():
        raise OSError(errno.ENOSYS, "no native code for this processor")
    call = _spawn[0]
    assert call is not None
    table = array("q", bytes(8 * (_HEAD + WORDS * (1 + sum(script.size for script in scripts)))))
    base, _ = table.buffer_info()
    at = _HEAD
    for script in scripts:
        words = script.written(base + 8 * at)
        table[at : at + len(words)] = words
        at += len(words)
    table[at] = _END
    args, pidfd = syscalls.clone_args(kinds | _CLONE_VM | _CLONE_VFORK, cgroup_fd, as_sibling=as_sibling)
    pid = call(ctypes.addressof(args), ctypes.sizeof(args), base)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return _read(scripts, table, base, pid, pidfd.value)


def _mapped() -> Callable[[int, int, int], int] | None:
    code = bytes.fromhex(CODE.get(os.uname().machine, ""))
    if not code or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    try:
        fd = _memory_file(code)
    except OSError:
        return None
    try:
        address = libc.mmap(None, ctypes.c_size_t(len(code)), _PROT_READ | _PROT_EXEC, _MAP_PRIVATE, fd, 0)
    finally:
        os.close(fd)
    return None if address in (None, _FAILED) else _Spawn(address)


def _memory_file(code: bytes) -> int:
    flags = os.MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("pycontainer-native", flags | _MFD_EXEC)
    except OSError:
        fd = os.memfd_create("pycontainer-native", flags)  # before Linux 6.3
    os.write(fd, code)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def _read(scripts: Sequence[Script], table: array[int], base: int, pid: int, pidfd: int) -> Ended:
    failed, code, begun = table[:_HEAD]
    word = (begun - base) // 8 - _HEAD
    for number, script in enumerate(scripts):
        if word < (size := WORDS * script.size) or number == len(scripts) - 1:
            break
        word -= size
    call = bisect.bisect_left(script.calls, word)
    own = (begun - base) // 8 - word
    results = [table[own + place + RESULT] for place in script.calls]
    return Ended(pid, pidfd, code if failed and call < len(script.calls) else 0, number, call, results)
