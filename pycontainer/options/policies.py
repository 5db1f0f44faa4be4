"""What restart, health_* and log_* mean together, as values that the engine hands to a monitor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from pycontainer.options.units import parse_duration, parse_size

__all__ = ["HealthOptions", "LogOptions", "RestartPolicy"]

_RESTART = re.compile(r"(no|always|unless-stopped|on-failure)(?::([0-9]{1,9}))?", re.ASCII)
MIN_LOG_BYTES = 4096  # a record and its header must fit with room
DEFAULT_LOG_BYTES = 100 << 20  # per file: bounded unless asked otherwise, where Docker fills the disk
DEFAULT_LOG_FILES = 3
DEFAULT_LOG_BUFFER_BYTES = 1 << 20  # moby: daemon/logger/ring.go, defaultMaxBufferSize
MIN_HEALTH_S = 0.001  # moby: container.MinimumDuration

LOG_DRIVERS = ("json-file", "local", "none", "journald", "syslog")
_COMMON = {"mode", "max-buffer-size"}
_TAGS = {"tag", "labels", "labels-regex", "env", "env-regex"}
LOG_OPTIONS: Mapping[str, frozenset[str]] = {
    "json-file": frozenset(_COMMON | _TAGS | {"max-size", "max-file", "compress"}),
    "local": frozenset(_COMMON | {"max-size", "max-file", "compress"}),
    "none": frozenset(),
    "journald": frozenset(_COMMON | _TAGS),
    "syslog": frozenset(_COMMON | _TAGS | {"syslog-address", "syslog-facility", "syslog-format"}),
}
"""Keys of log_opts that each driver knows."""


@attrs.frozen
class RestartPolicy:
    """When a container that has ended is started again."""

    name: str = "no"
    """"no", "always", "unless-stopped" or "on-failure"."""
    max_retries: int = 0
    """Most starts again in a row, for on-failure; 0 is no limit."""

    @classmethod
    def parse(cls, text: object) -> RestartPolicy:
        """Read "no", "always", "unless-stopped", "on-failure" or "on-failure:5". Raises ValueError."""
        match = _RESTART.fullmatch(text) if isinstance(text, str) else None
        if match is None or (match[2] is not None and match[1] != "on-failure"):
            raise ValueError('give "no", "always", "unless-stopped" or "on-failure[:retries]"')
        return cls(match[1], int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.name}:{self.max_retries}" if self.max_retries else self.name


@attrs.frozen(kw_only=True)
class HealthOptions:
    """What the options say of the health check; None leaves it to the image, and that to Docker's default."""

    test: tuple[str, ...] | None = None
    """("CMD", arg, ...), ("CMD-SHELL", line), or ("NONE",) when the image's is switched off."""
    interval_s: float | None = None
    timeout_s: float | None = None
    retries: int | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None

    @classmethod
    def of(cls, options: Any) -> HealthOptions:
        """From parsed options. Raises ValueError when a check is asked for and switched off together."""
        given = {
            "interval_s": options.health_interval,
            "timeout_s": options.health_timeout,
            "retries": options.health_retries,
            "start_period_s": options.health_start_period,
            "start_interval_s": options.health_start_interval,
        }
        if options.no_healthcheck:
            if options.health_cmd is not None or any(value is not None for value in given.values()):
                raise ValueError("it conflicts with the other health_ options; leave one out")
            return cls(test=("NONE",))
        return cls(test=options.health_cmd, **given)


def parse_health_command(value: object) -> tuple[str, ...]:
    """Read a shell line, or a list of words that is executed as it is; a given "CMD" in front is kept."""
    if isinstance(value, str):
        if not value.strip() or "\0" in value:
            raise ValueError('give a shell line as "wget -q localhost", or a list of words')
        return ("CMD-SHELL", value)
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ValueError('give a shell line as "wget -q localhost", or a list of words')
    words = tuple(value)
    if any("\0" in word for word in words):
        raise ValueError("text for the kernel cannot hold a NUL byte")
    if words and words[0] == "CMD-SHELL" and len(words) == 2:
        return words
    if words == ("NONE",):
        return words
    program = words[1:] if words and words[0] == "CMD" else words
    if not program or not program[0]:
        raise ValueError("the list of words is empty")
    return ("CMD", *program)


def parse_health_time(value: object) -> float:
    """Read a time of a health check in seconds: 0 for the default, else 1 ms or more."""
    seconds = parse_duration(value)
    if seconds and seconds < MIN_HEALTH_S:
        raise ValueError("give 0 for the default, or 1ms or more")
    return seconds


@attrs.frozen(kw_only=True)
class LogOptions:
    """Where output goes; made by `of`, which checks it."""

    driver: str = "json-file"
    max_size: int = DEFAULT_LOG_BYTES
    """Bytes at which the file is rotated."""
    max_files: int = DEFAULT_LOG_FILES
    """Files kept, the current one counted."""
    compress: bool = False
    """Whether rotated files are compressed."""
    is_blocking: bool = True
    """Whether the program waits when the log cannot keep up; else lines are dropped."""
    max_buffer_size: int = DEFAULT_LOG_BUFFER_BYTES
    """Bytes that wait for the driver before lines are dropped, where it is not blocking."""
    extra: Mapping[str, str] = attrs.Factory(dict)
    """The driver's other options as given: tag, labels, env, syslog-address ..."""

    @classmethod
    def of(cls, driver: str, given: Mapping[str, str]) -> LogOptions:
        """Read log_driver and log_opts. Raises ValueError naming the key and what is accepted."""
        known = LOG_OPTIONS[driver]
        for key in given:
            if key not in known:
                names = ", ".join(sorted(known)) or "none at all"
                raise ValueError(f"the driver {driver} has no option {key!r}; it has {names}")
        fields: dict[str, Any] = {"driver": driver}
        if driver == "local":
            fields.update(max_size=20 << 20, max_files=5, compress=True)  # Docker's, of that driver
        for key, read in _READERS.items():
            if key in given:
                name, parse = read
                try:
                    fields[name] = parse(given[key])
                except ValueError as problem:
                    raise ValueError(f"{key}={given[key]!r}: {problem}") from None
        if "max-buffer-size" in given and fields.get("is_blocking", True):
            raise ValueError("max-buffer-size has a meaning with mode=non-blocking only")
        fields["extra"] = {key: value for key, value in given.items() if key not in _READERS}
        return cls(**fields)


def _log_size(text: str) -> int:
    size = parse_size(text)
    if size < MIN_LOG_BYTES:
        raise ValueError(f"the smallest log file is {MIN_LOG_BYTES} bytes")
    return size


def _log_files(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 1000:
        raise ValueError("give a number between 1 and 1000")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError('give "true" or "false"')
    return text == "true"


def _mode(text: str) -> bool:
    if text not in ("blocking", "non-blocking"):
        raise ValueError('give "blocking" or "non-blocking"')
    return text == "blocking"


def _buffer(text: str) -> int:
    size = parse_size(text)
    if size < 1:
        raise ValueError('give bytes as a whole number, or text as "4m"')
    return size


_READERS: Mapping[str, tuple[str, Any]] = {
    "max-size": ("max_size", _log_size),
    "max-file": ("max_files", _log_files),
    "compress": ("compress", _truth),
    "mode": ("is_blocking", _mode),
    "max-buffer-size": ("max_buffer_size", _buffer),
}
