"""The flags of `run`, read without the library that reads all others, whose import takes long.

Only what is well formed and usual is read: for all else, a wish for help and every mistake among it, there is
no answer here, and the command is read once more by `commands.running`, which knows what to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pycontainer.cli.spelling import spellings
from pycontainer.cli.switches import FALSE, TRUE
from pycontainer.options import OPTIONS

__all__ = ["read_run"]


class _Flag(NamedTuple):
    name: str
    is_switch: bool
    is_repeatable: bool


def _known() -> dict[str, _Flag]:
    found = {
        "-d": _Flag("is_detached", True, False),
        "--detach": _Flag("is_detached", True, False),
        "-q": _Flag("is_quiet", True, False),
        "--quiet": _Flag("is_quiet", True, False),
        "--sig-proxy": _Flag("sig_proxy", True, False),
        "--detach-keys": _Flag("detach_keys", False, False),
    }
    for name, info in OPTIONS.items():
        if name != "command":
            made = _Flag(name, info.kind.metavar == "", info.kind.is_repeatable)
            found.update(dict.fromkeys(spellings(name), made))
    return found


_ELSEWHERE = {
    "cidfile": None,
    "cpu_count": None,
    "cpu_percent": None,
    "disable_content_trust": True,
    "io_maxbandwidth": None,
    "io_maxiops": None,
    "isolation": None,
    "kernel_memory": None,
    "removes_image": False,
    "runtime": None,
    "streams": (),
    "use_api_socket": False,
    "volume_driver": None,
}
"""What has flags that are not read here, and its defaults."""


def read_run(words: Sequence[str]) -> dict[str, Any] | None:
    """The parameters of `run` that these words after it give, as click would; None if it has to say."""
    known = _known()
    found: dict[str, Any] = {}
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        token = left.pop(0)
        if token == "--":
            break
        read = _long(token, known, left) if token.startswith("--") else _cluster(token, known, left)
        if read is None:
            return None
        for flag, value in read:
            if flag.is_repeatable:
                found.setdefault(flag.name, []).append(value)
            else:
                found[flag.name] = value
    if not left:
        return None
    return {**_defaults(known), **_frozen(found), "image": left[0], "words": tuple(left[1:])}


Read = list[tuple[_Flag, "str | bool"]]


def _long(token: str, known: Mapping[str, _Flag], left: list[str]) -> Read | None:
    name, equals, value = token.partition("=")
    flag = known.get(name)
    if flag is None:
        return None
    if not flag.is_switch:
        return _valued(flag, value if equals else None, left)
    return _switched(flag, value) if equals else [(flag, True)]


def _cluster(token: str, known: Mapping[str, _Flag], left: list[str]) -> Read | None:
    """Short options in one word."""
    read: Read = []
    for place, letter in enumerate(token[1:], 1):
        flag = known.get(f"-{letter}")
        if flag is None:
            return None
        rest = token[place + 1 :]
        if not flag.is_switch:
            more = _valued(flag, rest.removeprefix("=") if rest else None, left)
            return None if more is None else read + more
        if rest.startswith("="):
            more = _switched(flag, rest[1:])
            return None if more is None else read + more
        read.append((flag, True))
    return read


def _valued(flag: _Flag, value: str | None, left: list[str]) -> Read | None:
    if value is None:
        if not left:
            return None
        value = left.pop(0)
    return [(flag, value)]


def _switched(flag: _Flag, value: str) -> Read | None:
    return [(flag, value in TRUE)] if value in TRUE | FALSE else None


def _defaults(known: Mapping[str, _Flag]) -> dict[str, Any]:
    found = {
        flag.name: () if flag.is_repeatable else (False if flag.is_switch else None)
        for flag in known.values()
    }
    return {**found, **_ELSEWHERE, "sig_proxy": True}


def _frozen(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
