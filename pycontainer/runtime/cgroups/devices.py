"""The device allow-list: as v1 writes, or as a BPF program for v2.

The runtime-spec's rules are applied in order, the last match winning. Both forms need the resulting
state: a default, and exceptions from it, as the v1 controller keeps them.
Source: kernel security/device_cgroup.c; include/uapi/linux/bpf.h (struct bpf_cgroup_dev_ctx).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pycontainer.errors import InvalidOption

_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPES = {"b": 1, "c": 2}
_CHARACTER_DEVICES = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 1),  # console
    (5, 2),  # ptmx
    (136, None),  # pts
)
USUAL: tuple[Mapping[str, Any], ...] = (
    # Making a node is harmless: opening it is what the rules below decide.
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _CHARACTER_DEVICES
    ),
)
"""What a container may do with devices whatever its rules say (runc: specconv, AllowedDevices)."""

Exceptions = dict[tuple[str, int | None, int | None], int]


def reduced(rules: Sequence[Mapping[str, Any]]) -> tuple[bool, Exceptions]:
    """Apply rules in order: (is everything else allowed, exceptions as (type, major, minor) -> access bits).

    Raises: InvalidOption for a rule that no device matches.
    """
    allows_all, exceptions = False, {}  # type: bool, Exceptions
    for rule in rules:
        kind, allow = rule.get("type") or "a", rule["allow"]
        key = (kind, _device_number(rule.get("major")), _device_number(rule.get("minor")))
        access = _access_bits(rule.get("access") or "rwm")
        if kind == "a":
            # As in the kernel: "a" is everything, and forgets what was said before.
            allows_all, exceptions = allow, {}
        elif kind not in _TYPES:
            raise InvalidOption(f'linux.resources.devices: type {kind!r}; give "a", "b" or "c"')
        elif allow != allows_all:
            exceptions[key] = exceptions.get(key, 0) | access
        elif key in exceptions:
            exceptions[key] &= ~access
            if not exceptions[key]:
                del exceptions[key]
    return allows_all, exceptions


def _device_number(value: int | None) -> int | None:
    return None if value is None or value == -1 else value


def _access_bits(access: str) -> int:
    if not access or set(access) - set(_ACCESS):
        raise InvalidOption(f'linux.resources.devices: access {access!r}; give letters of "rwm"')
    return sum(_ACCESS[letter] for letter in set(access))


def v1_writes(rules: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(file, text) in order, for the v1 controller."""
    allows_all, exceptions = reduced(rules)
    writes = [("devices.allow" if allows_all else "devices.deny", "a")]
    file = "devices.deny" if allows_all else "devices.allow"
    for (kind, major, minor), bits in exceptions.items():
        numbers = ":".join("*" if number is None else str(number) for number in (major, minor))
        access = "".join(letter for letter in "rwm" if _ACCESS[letter] & bits)
        writes.append((file, f"{kind} {numbers} {access}"))
    return writes


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, to | source << 4, offset, value)


_LOAD_WORD, _MOVE, _SHIFT_RIGHT, _AND, _SET, _EXIT = 0x61, 0xBC, 0x74, 0x54, 0xB4, 0x95
_JUMP_IF_EQUAL, _JUMP_IF_NOT = 0x15, 0x55


def bpf_program(rules: Sequence[Mapping[str, Any]]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program that returns 1 for allowed accesses, 0 for others.

    Registers: r2 type, r3 access bits, r4 major, r5 minor, r1 scratch once the context is read.
    """
    allows_all, exceptions = reduced(rules)
    code = [
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_MOVE, 3, 2),
        _instruction(_SHIFT_RIGHT, 3, value=16),
        _instruction(_AND, 2, value=0xFFFF),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
    ]
    for key, bits in exceptions.items():
        code += _exception(key, bits, allows_all)
    code += [_instruction(_SET, 0, value=int(allows_all)), _instruction(_EXIT)]
    return b"".join(code)


def _exception(key: tuple[str, int | None, int | None], bits: int, allows_all: bool) -> list[bytes]:
    tests: list[tuple[int, int, int]] = [(_JUMP_IF_NOT, 2, _TYPES[key[0]])]
    tests += [
        (_JUMP_IF_NOT, register, number)
        for register, number in ((4, key[1]), (5, key[2]))
        if number is not None
    ]
    scratch: list[bytes] = []
    if bits != 7:
        # Allowed when nothing beyond the exception is asked; denied when any of it is.
        wanted = bits if allows_all else ~bits & 7
        scratch = [_instruction(_MOVE, 1, 3), _instruction(_AND, 1, value=wanted)]
        tests.append((_JUMP_IF_EQUAL if allows_all else _JUMP_IF_NOT, 1, 0))
    verdict = [_instruction(_SET, 0, value=int(not allows_all)), _instruction(_EXIT)]
    body: list[bytes] = []
    length = len(tests) + len(scratch) + len(verdict)
    for index, (operation, register, value) in enumerate(tests):
        if scratch and index == len(tests) - 1:
            body += scratch
        body.append(_instruction(operation, register, offset=length - len(body) - 1, value=value))
    return body + verdict
