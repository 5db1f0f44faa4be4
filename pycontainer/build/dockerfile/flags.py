"""The flags of an instruction, and the comma-separated options within some of them.

Source: moby/buildkit, frontend/dockerfile/instructions/bflag.go; encoding/csv of Go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pycontainer.build.dockerfile.source import Problem, nearest

__all__ = ["TRUE", "Flags", "csv_fields", "truth", "unexpected"]

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # Go, strconv.ParseBool
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Flags:
    """The flags given to an instruction, checked against those it takes.

    Args: texts (flags with a value), switches (true unless `=false`), lists (may be repeated).
    Raises: Problem for an unknown or repeated flag, a value that is missing or no boolean.
    """

    def __init__(
        self,
        given: Sequence[str],
        *,
        texts: tuple[str, ...] = (),
        switches: tuple[str, ...] = (),
        lists: tuple[str, ...] = (),
    ) -> None:
        self._values: dict[str, list[str]] = {}
        if not given:
            return
        for flag in given:
            name, equals, value = flag.removeprefix("--").partition("=")
            known = (*texts, *switches, *lists)
            if name not in known:
                near = nearest(name, known)
                raise Problem(f"unknown flag: --{name[:100]}", suggestion=f"--{near}" if near else "")
            if name in self._values and name not in lists:
                raise Problem(f"duplicate flag specified: --{name}")
            if not value and (equals if name in switches else not equals):
                raise Problem(f"missing a value on flag: --{name}", expected=f"--{name}=VALUE")
            if name in switches and value.lower() not in {"", "true", "false"}:
                raise Problem(f"expecting boolean value for flag --{name}, not: {value[:100]}")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        return self._values[name][0] if name in self._values else default

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._values.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """None where the flag was not given."""
        if name not in self._values:
            return None
        return self._values[name][0].lower() != "false"


def csv_fields(text: str, what: str) -> list[str]:
    """The fields of one CSV record; a field in quotes may hold commas, and quotes written twice.

    Raises: Problem naming `what`.
    """
    fields: list[str] = []
    at = 0
    while True:
        if not text.startswith('"', at):
            end = text.find(",", at)
            bare = text[at:] if end < 0 else text[at:end]
            if '"' in bare:
                raise Problem(f'failed to parse csv {what}: bare " in non-quoted field')
            fields.append(bare)
            if end < 0:
                return fields
            at = end + 1
            continue
        parts: list[str] = []
        at += 1
        while True:
            end = text.find('"', at)
            if end < 0:
                raise Problem(f'failed to parse csv {what}: extraneous or missing " in quoted field')
            parts.append(text[at:end])
            at = end + 1
            if not text.startswith('"', at):
                break
            parts.append('"')
            at += 1
        fields.append("".join(parts))
        if at == len(text):
            return fields
        if text[at] != ",":
            raise Problem(f'failed to parse csv {what}: extraneous or missing " in quoted field')
        at += 1


def truth(key: str, value: str) -> bool:
    """A boolean as Go's strconv.ParseBool reads it. Raises: Problem."""
    if value not in TRUE | _FALSE:
        raise Problem(f"invalid value for {key}: {value[:100]}", expected="true or false")
    return value in TRUE


def unexpected(key: str, field: str, known: Iterable[str]) -> Problem:
    """The problem of a key that is not known."""
    problem = f"unexpected key '{key[:100]}' in '{field[:100]}'"
    return Problem(problem, suggestion=nearest(key, known))
