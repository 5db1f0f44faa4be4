"""From a profile to the BPF program that the kernel runs on every system call.

Theory of operation. The program looks up the architecture, then finds the call's number by binary search
over runs of numbers with one verdict, then, for the few calls that need it, tests arguments. Several rules
for one call are alternatives; one without tests decides alone (libseccomp does the same). Numbers above the
newest call that the profile names get ENOSYS rather than the default error: programs take that as "an older
kernel" and fall back (runc does the same). The kernel caches verdicts that depend on the number alone.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cachetools import LRUCache

from pycontainer.errors import Unsupported
from pycontainer.runtime.seccomp.assembler import (
    JUMP_EQUAL,
    JUMP_GREATER,
    JUMP_GREATER_EQUAL,
    Assembler,
)
from pycontainer.runtime.seccomp.profile import ArgTest, Profile, Rule

_VERSION = b"2"  # of the compiler; changes what the cache on disk is keyed by
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ENOSYS = 38
_X32_BIT = 0x40000000
_SHARED_NUMBERS_END = 512  # x32 has calls of its own from here on, arm from 0xf0000
_AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_TABLES = {"x86_64": ("x86_64", "x32", "x86"), "aarch64": ("aarch64", "arm")}
_KILL_PROCESS = 0x80000000
_VERDICTS = {
    "allow": 0x7FFF0000,
    "errno": 0x00050000,
    "kill": 0,
    "kill_process": _KILL_PROCESS,
    "trap": 0x00030000,
}
_VERDICTS |= {"log": 0x7FFC0000, "notify": 0x7FC00000, "trace": 0x7FF00000}

Alternatives = tuple[tuple[tuple[ArgTest, ...], int], ...]
"""Tests and the verdict when all hold, in order."""

_cache: LRUCache[tuple[object, ...], bytes] = LRUCache(maxsize=64)


def compile(
    profile: Profile,
    caps: Iterable[str],
    arch: str,
    kernel: tuple[int, int] = (99, 0),
    *,
    cache_directory: Path | None = None,
) -> bytes:
    """The filter for a container with these capabilities, as an array of struct sock_filter.

    Args: arch as uname -m; kernel as (major, minor), for rules that ask for a least version;
    cache_directory keeps programs between processes. The result is kept in memory as well.
    Raises: Unsupported for an architecture without a table.
    """
    if arch not in _TABLES:
        raise Unsupported(f"no system call tables for {arch}", 'pass security_opt=["seccomp=unconfined"]')
    held = frozenset(caps)
    rules = tuple(rule for rule in profile.rules if rule.applies(held, arch, kernel))
    # Keyed by what the conditions left over: most sets of capabilities share a filter.
    key = (rules, profile.default_action, profile.default_errno, profile.arches, arch)
    found = _cache.get(key)
    if found is None:
        found = _from_disk(profile._replace(rules=rules), arch, cache_directory)
        _cache[key] = found
    return found


def _from_disk(profile: Profile, arch: str, directory: Path | None) -> bytes:
    if directory is None:
        return _compiled(profile, arch)
    name = hashlib.sha256(repr((_VERSION, profile, arch)).encode()).hexdigest()
    path = directory / f"seccomp-{name}"
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    # A file cut short by a full disk must not become a filter; the digest in front tells.
    if hashlib.sha256(stored[32:]).digest() == stored[:32] and len(stored) > 32:
        return stored[32:]
    program = _compiled(profile, arch)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        import tempfile  # only where there is something to keep

        with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
            file.write(hashlib.sha256(program).digest() + program)
        os.replace(file.name, path)
    except OSError:
        pass  # only a cache: the program is right without it
    return program


def _compiled(profile: Profile, arch: str) -> bytes:
    code = Assembler()
    native, *others = _TABLES[arch]
    if profile.arches is not None:
        others = [name for name in others if name in profile.arches]
    start = code.ret(_KILL_PROCESS)  # a call of an architecture that the host does not have
    for name in others:
        if name != "x32":
            tree = _numbers(code, profile, name, 0)
            start = code.jump_if(JUMP_EQUAL, _AUDIT[name], code.load(_NUMBER, tree), start)
    tree = _numbers(code, profile, native, 0)
    if "x32" in others:
        x32 = _numbers(code, profile, "x32", _X32_BIT)
        tree = code.jump_if(JUMP_GREATER_EQUAL, _X32_BIT, x32, tree)
    start = code.jump_if(JUMP_EQUAL, _AUDIT[native], code.load(_NUMBER, tree), start)
    return code.program(code.load(_ARCHITECTURE, start))


def _numbers(code: Assembler, profile: Profile, table: str, base: int) -> int:
    """The binary search over one table's numbers; returns where it starts."""
    return _search(code, _runs(profile, table, base))


def _search(code: Assembler, runs: Sequence[tuple[int, int | Alternatives]]) -> int:
    if len(runs) == 1:
        verdict = runs[0][1]
        return code.ret(verdict) if isinstance(verdict, int) else _alternatives(code, verdict)
    middle = len(runs) // 2
    above = _search(code, runs[middle:])
    below = _search(code, runs[:middle])
    return code.jump_if(JUMP_GREATER_EQUAL, runs[middle][0], above, below)


def _runs(profile: Profile, table: str, base: int) -> list[tuple[int, int | Alternatives]]:
    """(first number, verdict) of every run of numbers that share a verdict; the first starts at 0."""
    numbers = syscall_table(table)
    default = _verdict(profile.default_action, profile.default_errno)
    named: dict[int, list[Rule]] = {}
    for rule in profile.rules:
        for name in rule.names:
            if name in numbers:
                named.setdefault(numbers[name], []).append(rule)
    newest = max((number for number in named if number < _SHARED_NUMBERS_END), default=0)
    assigned = frozenset(numbers.values())
    unknown = _verdict("errno", _ENOSYS) if profile.default_action == "errno" else default
    verdicts: dict[int, int | Alternatives] = {}
    for number in sorted(assigned):
        if number in named:
            verdicts[number] = _merged(named[number], default, profile.default_errno)
        else:
            verdicts[number] = default if not newest < number < _SHARED_NUMBERS_END else unknown
    runs: list[tuple[int, int | Alternatives]] = [(0, unknown)]
    expected = 0
    for number, verdict in verdicts.items():
        if number != expected:
            runs.append((base + expected, unknown))
        runs.append((base + number, verdict))
        expected = number + 1
    runs.append((base + expected, unknown))
    return _joined(runs)


def _joined(runs: list[tuple[int, int | Alternatives]]) -> list[tuple[int, int | Alternatives]]:
    joined: list[tuple[int, int | Alternatives]] = []
    for first, verdict in runs:
        if joined and joined[-1][0] == first:
            joined.pop()
        if not joined or joined[-1][1] != verdict:
            joined.append((first, verdict))
    return joined


def _merged(rules: list[Rule], default: int, default_errno: int) -> int | Alternatives:
    """One verdict for a call: that of the last rule without tests, else alternatives before the default."""
    for rule in reversed(rules):
        if not rule.args:
            return _verdict(rule.action, default_errno if rule.errno is None else rule.errno)
    tests = [
        (rule.args, _verdict(rule.action, default_errno if rule.errno is None else rule.errno))
        for rule in rules
    ]
    return (*tests, ((), default))


def _verdict(action: str, code: int) -> int:
    return _VERDICTS[action] | (code if action in ("errno", "trace") else 0)


def _alternatives(code: Assembler, alternatives: Alternatives) -> int:
    """Tests in order; the last alternative has none."""
    place = code.ret(alternatives[-1][1])
    for tests, verdict in reversed(alternatives[:-1]):
        otherwise, place = place, code.ret(verdict)
        for test in reversed(tests):
            place = _argument(code, test, place, otherwise)
    return place


def _argument(code: Assembler, test: ArgTest, then: int, otherwise: int) -> int:
    """Compare a 64-bit argument by its halves (both table architectures are little-endian)."""
    low_at = _ARGUMENTS + 8 * test.position
    high, low = test.value >> 32, test.value & 0xFFFFFFFF
    if test.operator == "masked_eq":
        wanted_high, wanted_low = test.value_two >> 32, test.value_two & 0xFFFFFFFF
        place = code.jump_if(JUMP_EQUAL, wanted_low, then, otherwise)
        place = code.load(low_at, code.mask(low, place))
        if not high and not wanted_high:
            return place
        place = code.jump_if(JUMP_EQUAL, wanted_high, place, otherwise)
        return code.load(low_at + 4, code.mask(high, place))
    if test.operator in ("ne", "lt", "le"):
        opposite = {"ne": "eq", "lt": "ge", "le": "gt"}[test.operator]
        return _argument(code, test._replace(operator=opposite), otherwise, then)
    jump = {"eq": JUMP_EQUAL, "ge": JUMP_GREATER_EQUAL, "gt": JUMP_GREATER}[test.operator]
    place = code.load(low_at, code.jump_if(jump, low, then, otherwise))
    if test.operator == "eq":
        place = code.jump_if(JUMP_EQUAL, high, place, otherwise)
    else:
        place = code.jump_if(JUMP_EQUAL, high, place, otherwise)
        place = code.jump_if(JUMP_GREATER, high, then, place)
    return code.load(low_at + 4, place)


@functools.cache
def syscall_table(name: str) -> Mapping[str, int]:
    """Numbers by name for x86_64, x86, x32 (without its bit), aarch64 or arm; made from kernel headers."""
    lines = (Path(__file__).parent / "tables" / f"{name}.txt").read_text().splitlines()
    return {call: int(number) for number, call in (line.split() for line in lines)}
