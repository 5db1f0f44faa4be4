"""What can be waited for in a container, as values: they compose, and say in words what they are.

`a & b` waits for both, `a | b` for the first of them, `a.within(5)` gives one its own deadline. Made by the
functions below, which `pycontainer.wait` offers; looked after by `pycontainer.engine.waiting`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Literal

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.options import parse_seconds

__all__ = [
    "AllOf",
    "AnyOf",
    "Exec",
    "Exit",
    "File",
    "Healthy",
    "Http",
    "Log",
    "Port",
    "Wait",
    "Within",
    "exec",
    "exit",
    "file",
    "healthy",
    "http",
    "log",
    "port",
]

Timeout = float | str | timedelta | None


@attrs.frozen(kw_only=True)
class Wait:
    """Something to wait for; combine with `&`, `|` and `within`."""

    def __and__(self, other: Wait) -> Wait:
        return AllOf(parts=(*_flat(self, AllOf), *_flat(other, AllOf)))

    def __or__(self, other: Wait) -> Wait:
        return AnyOf(parts=(*_flat(self, AnyOf), *_flat(other, AnyOf)))

    def within(self, timeout: float | str | timedelta) -> Wait:
        """The same, given up after this many seconds. Raises InvalidOption."""
        return Within(part=self, timeout_s=_seconds(timeout))

    def leaves(self) -> Iterator[Wait]:
        """The conditions it is made of, from left to right."""
        yield self


@attrs.frozen(kw_only=True)
class _Several(Wait):
    parts: tuple[Wait, ...]

    def leaves(self) -> Iterator[Wait]:
        for part in self.parts:
            yield from part.leaves()

    def _joined(self, word: str) -> str:
        return word.join(f"({part})" if isinstance(part, _Several) else str(part) for part in self.parts)


@attrs.frozen(kw_only=True)
class AllOf(_Several):
    """Every part."""

    def __str__(self) -> str:
        return self._joined(" and ")


@attrs.frozen(kw_only=True)
class AnyOf(_Several):
    """The first of the parts."""

    def __str__(self) -> str:
        return self._joined(" or ")


@attrs.frozen(kw_only=True)
class Within(Wait):
    """A part with a deadline of its own, in seconds from the beginning of the wait."""

    part: Wait
    timeout_s: float

    def leaves(self) -> Iterator[Wait]:
        yield from self.part.leaves()

    def __str__(self) -> str:
        part = f"({self.part})" if isinstance(self.part, _Several) else str(self.part)
        return f"{part} within {self.timeout_s:g} s"


@attrs.frozen(kw_only=True)
class Log(Wait):
    """A pattern in the output of this run, so many times."""

    pattern: re.Pattern[str]
    times: int
    stream: Literal["stdout", "stderr"] | None

    def __str__(self) -> str:
        times = f" {self.times} times" if self.times > 1 else ""
        return f"{self.pattern.pattern!r} in its {self.stream or 'output'}{times}"


@attrs.frozen(kw_only=True)
class Port(Wait):
    """A socket that listens, in the container's own network namespace."""

    port: int
    protocol: Literal["tcp", "udp"]

    def __str__(self) -> str:
        return f"port {self.port}/{self.protocol}"


@attrs.frozen(kw_only=True)
class Http(Wait):
    """An answer to an HTTP request made from inside the container's network namespace."""

    path: str
    port: int
    statuses: Collection[int]
    body: re.Pattern[str] | None
    method: str
    headers: Mapping[str, str]
    is_tls: bool

    def __str__(self) -> str:
        scheme = "https" if self.is_tls else "http"
        return f"{self.method} {scheme}://localhost:{self.port}{self.path}"


@attrs.frozen(kw_only=True)
class Healthy(Wait):
    """The container's health check passes."""

    def __str__(self) -> str:
        return "its health check"


@attrs.frozen(kw_only=True)
class Exec(Wait):
    """A command in the container that exits with a code."""

    command: tuple[str, ...] | str
    exit_code: int
    interval_s: float

    def __str__(self) -> str:
        words = self.command if isinstance(self.command, str) else " ".join(self.command)
        return f"exit code {self.exit_code} of {words!r}"


@attrs.frozen(kw_only=True)
class File(Wait):
    """Something at a path inside the container."""

    path: str

    def __str__(self) -> str:
        return f"the file {self.path}"


@attrs.frozen(kw_only=True)
class Exit(Wait):
    """The end of the container's run, with this code, or with any."""

    exit_code: int | None

    def __str__(self) -> str:
        return "its end" if self.exit_code is None else f"its end with code {self.exit_code}"


def log(
    pattern: str | re.Pattern[str],
    *,
    times: int = 1,
    stream: Literal["stdout", "stderr"] | None = None,
    timeout: Timeout = None,
) -> Wait:
    """Wait until the output of this run holds the regular expression, in `times` lines (re.search).

    stream: only "stdout" or "stderr". timeout: as within(). Raises InvalidOption.
    """
    if times < 1:
        raise InvalidOption(f"wait.log: times={times!r}; give 1 or more")
    if stream not in (None, "stdout", "stderr"):
        raise InvalidOption(f"wait.log: stream={stream!r}; give 'stdout' or 'stderr'")
    return _limited(Log(pattern=_regex(pattern, "log"), times=times, stream=stream), timeout)


def port(number: int, *, protocol: Literal["tcp", "udp"] = "tcp", timeout: Timeout = None) -> Wait:
    """Wait until a socket in the container's network namespace listens on the port.

    The kernel is asked, nothing is connected to or run inside. With network="host" that is the host's
    namespace, and any process's socket. timeout: as within(). Raises InvalidOption.
    """
    if protocol not in ("tcp", "udp"):
        raise InvalidOption(f"wait.port: protocol={protocol!r}; give 'tcp' or 'udp'")
    return _limited(Port(port=_port(number, "port"), protocol=protocol), timeout)


def http(
    path: str = "/",
    port: int = 80,
    *,
    status: int | Collection[int] = 200,
    body: str | re.Pattern[str] | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    tls: bool = False,
    timeout: Timeout = None,
) -> Wait:
    """Wait until an HTTP request, made from inside the container's network namespace, is answered as asked.

    status: the code, or those that will do (`range(200, 400)`). body: a regular expression that the
    answer holds, in its first MiB. tls: speak HTTPS; the certificate is not checked. timeout: as
    within(). Raises InvalidOption.
    """
    if not path.startswith("/") or re.search(r"[\x00-\x20\x7f]", path):
        raise InvalidOption(f"wait.http: path={path!r}; give one that begins with / and has no blanks")
    if re.fullmatch(r"[A-Z]+", method) is None:
        raise InvalidOption(f"wait.http: method={method!r}; give GET, HEAD, POST ...")
    for name, value in (headers or {}).items():
        if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is None or re.search(r"[\r\n\x00]", value):
            raise InvalidOption(f"wait.http: the header {name!r} is not one that can be sent")
    made = Http(
        path=path,
        port=_port(port, "http"),
        statuses=(status,) if isinstance(status, int) else status,
        body=None if body is None else _regex(body, "http"),
        method=method,
        headers=dict(headers or {}),
        is_tls=tls,
    )
    return _limited(made, timeout)


def healthy(*, timeout: Timeout = None) -> Wait:
    """Wait until the container's health check passes; it fails at once when it has none, or is unhealthy.

    timeout: as within(). Raises InvalidOption.
    """
    return _limited(Healthy(), timeout)


def exec(
    command: Sequence[str] | str,
    *,
    exit_code: int = 0,
    interval: float | str | timedelta = 0.25,
    timeout: Timeout = None,
) -> Wait:
    """Wait until the command, run in the container, exits with the code; tried again after the interval.

    timeout: as within(). Raises InvalidOption.
    """
    words = command if isinstance(command, str) else tuple(command)
    if not words:
        raise InvalidOption("wait.exec: the command is empty")
    return _limited(Exec(command=words, exit_code=exit_code, interval_s=_seconds(interval)), timeout)


def file(path: str, *, timeout: Timeout = None) -> Wait:
    """Wait until there is something at the path inside the container.

    path: absolute; links in it are followed inside the container. timeout: as within(). Raises InvalidOption.
    """
    if not path.startswith("/") or "\0" in path:
        raise InvalidOption(f"wait.file: path={path!r}; give an absolute one")
    return _limited(File(path=path), timeout)


def exit(code: int | None = 0, *, timeout: Timeout = None) -> Wait:
    """Wait until the container's run has ended with the code; None takes any. timeout: as within()."""
    return _limited(Exit(exit_code=code), timeout)


def _flat(strategy: Wait, kind: type[_Several]) -> tuple[Wait, ...]:
    if not isinstance(strategy, Wait):
        raise TypeError(f"{strategy!r} is nothing to wait for; use the functions of pycontainer.wait")
    return strategy.parts if isinstance(strategy, kind) else (strategy,)


def _limited(strategy: Wait, timeout: Timeout) -> Wait:
    return strategy if timeout is None else strategy.within(timeout)


def _seconds(timeout: float | str | timedelta) -> float:
    try:
        return parse_seconds(timeout)
    except ValueError as problem:
        raise InvalidOption(f"timeout={timeout!r}: {problem}") from None


def _port(number: object, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
        raise InvalidOption(f"wait.{name}: port={number!r}; give a number from 1 to 65535")
    return number


def _regex(pattern: str | re.Pattern[str], name: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as problem:
        raise InvalidOption(f"wait.{name}: {pattern!r} is no regular expression: {problem}") from None
