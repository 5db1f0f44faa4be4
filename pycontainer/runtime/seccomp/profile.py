"""What a system call filter says, before it is compiled: rules, and Docker's JSON form of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycontainer.errors import InvalidOption, Unsupported

MAX_PROFILE_BYTES = 1 << 20
_ACTIONS = {
    "SCMP_ACT_ALLOW": "allow",
    "SCMP_ACT_ERRNO": "errno",
    "SCMP_ACT_KILL": "kill",
    "SCMP_ACT_KILL_THREAD": "kill",
    "SCMP_ACT_KILL_PROCESS": "kill_process",
    "SCMP_ACT_TRAP": "trap",
    "SCMP_ACT_LOG": "log",
}
_ASKING = {"SCMP_ACT_NOTIFY": "notify", "SCMP_ACT_TRACE": "trace"}
_ARCHES = {"X86_64": "x86_64", "X86": "x86", "X32": "x32", "AARCH64": "aarch64", "ARM": "arm"}
_OPERATORS = {
    "SCMP_CMP_NE": "ne",
    "SCMP_CMP_LT": "lt",
    "SCMP_CMP_LE": "le",
    "SCMP_CMP_EQ": "eq",
    "SCMP_CMP_GE": "ge",
    "SCMP_CMP_GT": "gt",
    "SCMP_CMP_MASKED_EQ": "masked_eq",
}
# Docker names architectures as Go does.
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "x86": "x86", "x32": "x32", "arm": "arm"}


class ArgTest(NamedTuple):
    """A test of one argument as an unsigned 64-bit number; for masked_eq `value` is the mask."""

    position: int
    operator: str
    value: int
    value_two: int = 0


class Rule(NamedTuple):
    """An action for some calls when all tests hold, where the conditions on the container are met."""

    names: tuple[str, ...]
    action: str
    errno: int | None = None
    args: tuple[ArgTest, ...] = ()
    caps: tuple[str, ...] = ()
    """All of these are held."""
    not_caps: tuple[str, ...] = ()
    """None of these is held."""
    arches: tuple[str, ...] = ()
    """The host is one of these."""
    not_arches: tuple[str, ...] = ()
    min_kernel: tuple[int, int] = (0, 0)

    def applies(self, caps: frozenset[str], arch: str, kernel: tuple[int, int]) -> bool:
        """Whether the rule counts for a container with these capabilities on such a host."""
        return (
            caps.issuperset(self.caps)
            and caps.isdisjoint(self.not_caps)
            and (not self.arches or arch in self.arches)
            and arch not in self.not_arches
            and kernel >= self.min_kernel
        )


class Profile(NamedTuple):
    """Rules, and what happens to calls that none of them names."""

    rules: tuple[Rule, ...]
    default_action: str
    default_errno: int = errno.EPERM
    arches: tuple[str, ...] | None = None
    """Of those that the host runs, the ones that may call at all besides its own; None is every one."""

    @property
    def notifies(self) -> bool:
        """Whether some calls are decided by a listener."""
        return self.default_action == "notify" or any(rule.action == "notify" for rule in self.rules)


def allow(names: str, **conditions: Any) -> Rule:
    """A rule that lets the calls in a space-separated text through."""
    return Rule(tuple(names.split()), "allow", **conditions)


def load(path: str | Path) -> Profile:
    """Read a profile in Docker's JSON form from a file.

    Raises: InvalidOption when the file cannot be read or breaks the form; Unsupported for user notification.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as problem:
        raise InvalidOption(
            f"seccomp profile {path}: {problem.strerror}; give a readable JSON file"
        ) from None
    if len(data) > MAX_PROFILE_BYTES:
        raise InvalidOption(f"seccomp profile {path} is larger than {MAX_PROFILE_BYTES} bytes")
    try:
        return parse(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise InvalidOption(
            f"seccomp profile {path}: {problem!s}; see Docker's default.json for the form"
        ) from None


def parse(document: Mapping[str, Any], *, may_ask: bool = False) -> Profile:
    """Read a profile, in Docker's form or the runtime-spec's.

    may_ask: actions that ask a listener or a tracer are taken, too.
    Raises ValueError, KeyError, TypeError or Unsupported.
    """
    default = _action(document["defaultAction"], may_ask)
    code = document.get("defaultErrnoRet")
    rules = tuple(rule for item in document.get("syscalls") or () for rule in _rules(item, may_ask))
    named = document.get("architectures")
    arches = None
    if named:
        known = (_ARCHES.get(str(name).removeprefix("SCMP_ARCH_")) for name in named)
        arches = tuple(sorted({name for name in known if name is not None}))
    return Profile(rules, default, errno.EPERM if code is None else _errno(code), arches)


def _action(name: str, may_ask: bool) -> str:
    if name in _ASKING:
        if may_ask:
            return _ASKING[name]
        raise Unsupported(f"the seccomp action {name} needs a listening process", "use ERRNO, LOG or KILL")
    if name not in _ACTIONS:
        raise ValueError(f"unknown action {name!r}")
    return _ACTIONS[name]


def _errno(code: object) -> int:
    if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 4095:
        raise ValueError(f"error number {code!r} is not between 0 and 4095")
    return code


def _rules(item: Mapping[str, Any], may_ask: bool) -> Iterator[Rule]:
    """A rule; of one with several tests of one argument an alternative for each test, as with runc."""
    rule = _rule(item, may_ask)
    if len({test.position for test in rule.args}) == len(rule.args):
        yield rule
    else:
        for test in rule.args:
            yield rule._replace(args=(test,))


def _rule(item: Mapping[str, Any], may_ask: bool) -> Rule:
    names = item.get("names") or [item["name"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a system call's name is not text")
    includes, excludes = item.get("includes") or {}, item.get("excludes") or {}
    code = item.get("errnoRet")
    return Rule(
        names=tuple(names),
        action=_action(item["action"], may_ask),
        errno=None if code is None else _errno(code),
        args=tuple(_argument(argument) for argument in item.get("args") or ()),
        caps=tuple(includes.get("caps") or ()),
        not_caps=tuple(excludes.get("caps") or ()),
        arches=_arches(includes.get("arches") or ()),
        not_arches=_arches(excludes.get("arches") or ()),
        min_kernel=_kernel(includes.get("minKernel") or "0.0"),
    )


def _arches(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_ARCHITECTURES.get(name, name) for name in names)


def _kernel(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _argument(item: Mapping[str, Any]) -> ArgTest:
    index, value, value_two = int(item["index"]), int(item["value"]), int(item.get("valueTwo") or 0)
    if not 0 <= index <= 5 or not 0 <= value < 2**64 or not 0 <= value_two < 2**64:
        raise ValueError(f"the argument test {dict(item)!r} is out of range")
    if item["op"] not in _OPERATORS:
        raise ValueError(f"unknown comparison {item['op']!r}")
    return ArgTest(index, _OPERATORS[item["op"]], value, value_two)
