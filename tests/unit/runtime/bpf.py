"""Interpreters of what the kernel would run: classic BPF on system calls, eBPF on device accesses."""

from __future__ import annotations

import struct
from collections.abc import Sequence

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EPERM, ENOSYS = ERRNO | 1, ERRNO | 38
KILL_PROCESS = 0x80000000
AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
X32_BIT = 0x40000000


def run_filter(program: bytes, number: int, arch: int, args: Sequence[int] = ()) -> int:
    """The verdict of a seccomp filter on one call. Checks that every jump stays inside."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    full = [*args, *([0] * (6 - len(args)))]
    data = struct.pack("<iIQ6Q", number if number < 2**31 else number - 2**32, arch, 0, *full)
    accumulator, counter = 0, 0
    while True:
        code, if_true, if_false, value = instructions[counter]
        counter += 1
        if code == 0x20:
            assert value % 4 == 0
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            counter += value
        elif code == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: accumulator & value != 0,
            }[code]
            counter += if_true if holds else if_false


def run_device_program(program: bytes, kind: str, access: str, major: int, minor: int) -> bool:
    """Whether a device program lets an access through."""
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("<III", {"b": 1, "c": 2}[kind] | bits << 16, major, minor)
    registers, counter = [0] * 11, 0
    instructions = list(struct.iter_unpack("<BBhi", program))
    while True:
        code, both, offset, value = instructions[counter]
        to, source = both & 15, both >> 4
        counter += 1
        if code == 0x61:
            assert source == 1
            registers[to] = struct.unpack_from("<I", context, offset)[0]
        elif code == 0xBC:
            registers[to] = registers[source]
        elif code == 0x74:
            registers[to] >>= value
        elif code == 0x54:
            registers[to] &= value
        elif code == 0xB4:
            registers[to] = value
        elif code == 0x15:
            counter += offset if registers[to] == value else 0
        elif code == 0x55:
            counter += offset if registers[to] != value else 0
        else:
            assert code == 0x95
            return registers[0] == 1
