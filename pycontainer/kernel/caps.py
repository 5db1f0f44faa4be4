"""Capabilities by name, and the five sets of this process. Source: capabilities(7); linux/capability.h."""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable, Mapping

from pycontainer.kernel import syscalls
from pycontainer.kernel.script import Script

__all__ = ["NAMES", "mask", "masks", "names", "raise_ambient", "restrict_bounding", "supported"]

NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *(
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
    ),
    *(
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
    ),
    *(
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
    ),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""In the kernel's order: the index is the capability's number."""

_NUMBERS = {name: number for number, name in enumerate(NAMES)}

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_AMBIENT_RAISE = 2


def mask(capabilities: Iterable[str]) -> int:
    """The set as a mask of bits; names with or without CAP_. Raises ValueError for an unknown name."""
    return _mask(tuple(capabilities))


@functools.lru_cache(maxsize=64)
def _mask(capabilities: tuple[str, ...]) -> int:
    result = 0
    for name in capabilities:
        number = _NUMBERS.get(name.removeprefix("CAP_"))
        if number is None:
            raise ValueError(f"unknown capability {name}")
        result |= 1 << number
    return result


def names(mask_: int) -> list[str]:
    """The names, with CAP_, of a mask's bits that have one."""
    return [f"CAP_{name}" for number, name in enumerate(NAMES) if mask_ >> number & 1]


@functools.cache
def supported() -> int:
    """The capabilities this kernel knows, as a mask."""
    result = 0
    for number in range(64):
        try:
            syscalls.prctl(_PR_CAPBSET_READ, number)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break
        result |= 1 << number
    return result


def masks(sets: Mapping[str, Iterable[str]]) -> tuple[int, int, int, int, int]:
    """The masks of sets by name: bounding, effective, permitted, inheritable, ambient; 0 for one not given.

    Raises ValueError.
    """
    bounding, effective, permitted, inheritable, ambient = (
        mask(sets.get(kind) or ())
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    )
    return bounding, effective, permitted, inheritable, ambient


def restrict_bounding(script: Script, keep: int) -> None:
    """Drop every capability outside keep from the bounding set. Needs CAP_SETPCAP."""
    script.include(_dropping(supported() & ~keep))


@functools.lru_cache(maxsize=16)
def _dropping(dropped: int) -> Script:
    script = Script()
    for number in range(dropped.bit_length()):
        if dropped >> number & 1:
            script.prctl(_PR_CAPBSET_DROP, number)
    return script


def raise_ambient(script: Script, capabilities: int) -> None:
    """Raise these ambient capabilities; each must be permitted and inheritable."""
    for number in range(capabilities.bit_length()):
        if capabilities >> number & 1:
            script.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
