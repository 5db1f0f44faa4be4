"""What restart and health_* mean together, as values that the engine hands to a monitor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from pycontainer.options.units import parse_duration
from pycontainer.values import Value

__all__ = ["HealthOptions", "Requirement", "RestartPolicy"]

_RESTART = r"(?a)(no|always|unless-stopped|on-failure)(?::([0-9]{1,9}))?"
_NAME = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_CONDITIONS = ("started", "healthy", "completed")
MIN_HEALTH_S = 0.001  # moby: container.MinimumDuration


@attrs.frozen(eq=False, repr=False)
class RestartPolicy(Value):
    """When a container that has ended is started again."""

    name: str = "no"
    """"no", "always", "unless-stopped" or "on-failure"."""
    max_retries: int = 0
    """Most starts again in a row, for on-failure; 0 is no limit."""

    @classmethod
    def parse(cls, text: object) -> RestartPolicy:
        """Read "no", "always", "unless-stopped", "on-failure" or "on-failure:5". Raises ValueError."""
        match = re.fullmatch(_RESTART, text) if isinstance(text, str) else None
        if match is None or (match[2] is not None and match[1] != "on-failure"):
            raise ValueError('give "no", "always", "unless-stopped" or "on-failure[:retries]"')
        return cls(match[1], int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.name}:{self.max_retries}" if self.max_retries else self.name


@attrs.frozen(eq=False, repr=False)
class Requirement(Value):
    """A container that is started before another one."""

    name: str
    """Its name, or id."""
    condition: str = "started"
    """What is waited for: "started", "healthy", or "completed", its end with the exit code 0."""

    def __str__(self) -> str:
        return self.name if self.condition == "started" else f"{self.name}:{self.condition}"


def parse_requirements(value: object) -> tuple[Requirement, ...]:
    """Read {"db": "healthy"}, ["db:healthy", "cache"] or "db". Raises ValueError."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, Iterable) and all(isinstance(item, str | Requirement) for item in value):
        pairs = (str(item).partition(":")[::2] for item in value)
    else:
        raise ValueError('give names as ["db:healthy"], or {"db": "healthy"}')
    found = {}
    for name, condition in pairs:
        if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
            raise ValueError(f"{name!r} is no name of a container")
        if condition not in ("", *_CONDITIONS):
            raise ValueError(f"{condition!r} is none of {', '.join(_CONDITIONS)}")
        found[name] = Requirement(name, condition or "started")
    return tuple(found.values())


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HealthOptions(Value):
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
