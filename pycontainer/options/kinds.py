"""The forms an option's value may take: what is accepted, what it becomes, and how it is written as JSON.

A parser raises ValueError or TypeError with the remedy; `derive.parse_run_options` adds the option's name.
What `dump` writes, `parse` reads back to the same value.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pycontainer.options.logs import LOG_DRIVERS
from pycontainer.options.policies import (
    RestartPolicy,
    parse_health_command,
    parse_health_time,
    parse_requirements,
)
from pycontainer.options.units import MAX_BYTES, parse_cpus, parse_seconds, parse_signal, parse_size


class Kind(NamedTuple):
    """One form of value: the type a caller may give, the placeholder in help, parser and JSON writer."""

    accepts: str
    metavar: str
    parse: Callable[[Any], Any]
    dump: Callable[[Any], Any]
    is_repeatable: bool = False


def _same(value: Any) -> Any:
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("give text")
    if "\0" in value:
        raise ValueError("text for the kernel cannot hold a NUL byte")
    return value


def _line(value: object) -> str:
    text = _text(value)
    if not text:
        raise ValueError("the text is empty")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("control characters are not accepted")
    return text


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("give True or False")


def _absolute(value: object) -> str:
    path = _line(value)
    if not path.startswith("/"):
        raise ValueError('give an absolute path as "/srv"')
    return path


def _cgroup_parent(value: object) -> str:
    text = _line(value)
    if not text.startswith("/") and re.fullmatch(r"[A-Za-z0-9_.@]+(-[A-Za-z0-9_.@]+)*\.slice", text) is None:
        raise ValueError('give an absolute path as "/jobs", or for systemd a slice as "jobs.slice"')
    return text


def integer(low: int, high: int) -> Kind:
    """Whole numbers between two bounds, both included."""

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("give a whole number")
        if not low <= value <= high:
            raise ValueError(f"give a number between {low} and {high}")
        return value

    return Kind("int", "NUMBER", parse, _same)


def choice(*names: str) -> Kind:
    """One of a few words."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError("give " + " or ".join(f'"{name}"' for name in names))
        return value

    accepted = "Literal[" + ", ".join(f'"{name}"' for name in names) + "]"
    return Kind(accepted, "|".join(names), parse, _same)


def csv_fields(text: str) -> list[str]:
    """The fields of a long form, of which those with a comma in them are quoted. Raises ValueError."""
    if '"' not in text:
        return text.split(",")
    import csv  # few have to quote anything

    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"{text!r}: {error}") from None


def matching(pattern: str, remedy: str, metavar: str) -> Kind:
    """Text that matches a whole regular expression."""

    def parse(value: object) -> str:
        text = _line(value)
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError(remedy)
        return text

    return Kind("str", metavar, parse, _same)


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(shlex.split(_text(value)))
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return tuple(_text(item) for item in value)
    raise ValueError('give a list of words as ["echo", "hi"], or one line of text')


def _lines(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_line(value),)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return tuple(_line(str(item) if isinstance(item, int) else item) for item in value)
    raise ValueError("give a list of text")


def _pairs(value: object, *, needs_value: bool) -> dict[str, str | None]:
    """Read {"key": value} or ["key=value"]; a missing value is None where that is allowed."""
    found: dict[str, str | None] = {}
    if isinstance(value, Mapping):
        items: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        items = (_split_pair(item) for item in value)
    else:
        raise ValueError('give a dict as {"key": "value"}, or a list as ["key=value"]')
    for key, item in items:
        name = _text(key)
        if not name or "=" in name:
            raise ValueError(f'the key {name!r} is empty or holds "="')
        if item is None and needs_value:
            raise ValueError(f"the key {name!r} has no value")
        found[name] = None if item is None else _text(item if isinstance(item, str) else _number_text(item))
    return found


def _split_pair(item: object) -> tuple[str, str | None]:
    key, separator, rest = _text(item).partition("=")
    return key, rest if separator else None


def _number_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("values are text or numbers")
    return str(value)


def _environment(value: object) -> dict[str, str | None]:
    return _pairs(value, needs_value=False)


def _mapping(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) and isinstance(value, Iterable) and not isinstance(value, str | bytes):
        # A label without "=" has the empty value, as on Docker's command line.
        value = {key: rest or "" for key, rest in (_split_pair(item) for item in value)}
    return {key: item or "" for key, item in _pairs(value, needs_value=True).items()}


def _tmpfs(value: object) -> dict[str, str]:
    """Read {"/run": "size=64m,mode=1777"} or ["/run:size=64m"]."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Mapping) and isinstance(value, Iterable):
        parts = (_text(item).partition(":") for item in value)
        value = {path: options for path, _, options in parts}
    if not isinstance(value, Mapping):
        raise ValueError('give {"/run": "size=64m"} or ["/run:size=64m"]')
    return {_absolute(path): _text(options or "") for path, options in value.items()}


_ULIMITS = frozenset(
    {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"}
    | {"rtprio", "rttime", "sigpending", "stack"}
)
_UNLIMITED = 2**64 - 1


def _ulimits(value: object) -> dict[str, tuple[int, int]]:
    """Read {"nofile": 1024} or {"nofile": (1024, 2048)} or ["nofile=1024:2048"]; -1 is unlimited."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Mapping) and isinstance(value, Iterable):
        value = dict(_split_pair(item) for item in value)
    if not isinstance(value, Mapping):
        raise ValueError('give {"nofile": (1024, 2048)} or ["nofile=1024:2048"]')
    found = {}
    for name, limit in value.items():
        if name not in _ULIMITS:
            raise ValueError(f"{name!r} is none of {', '.join(sorted(_ULIMITS))}")
        found[str(name)] = _soft_hard(limit)
    return found


def _soft_hard(limit: object) -> tuple[int, int]:
    if isinstance(limit, str):
        limit = limit.split(":")
    values = list(limit) if isinstance(limit, list | tuple) else [limit]
    if not 1 <= len(values) <= 2:
        raise ValueError("a limit is one number, or soft and hard as 1024:2048")
    numbers = [_limit_number(item) for item in values]
    soft, hard = numbers[0], numbers[-1]
    if soft > hard:
        raise ValueError(f"the soft limit {soft} is above the hard limit {hard}")
    return soft, hard


def _limit_number(value: object) -> int:
    if value in (-1, "-1", "unlimited"):
        return _UNLIMITED
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _UNLIMITED:
        raise ValueError("a limit is a number from 0, or -1 for unlimited")
    return value


def _device_values(parse: Callable[[object], int]) -> Callable[[object], dict[str, int]]:
    def read(value: object) -> dict[str, int]:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, Mapping) and isinstance(value, Iterable):
            value = {path: rate for path, _, rate in (_text(item).rpartition(":") for item in value)}
        if not isinstance(value, Mapping):
            raise ValueError('give {"/dev/sda": rate} or ["/dev/sda:rate"]')
        return {_absolute(path): parse(rate) for path, rate in value.items()}

    return read


def _size(value: object) -> int:
    size = parse_size(value)
    if size < 0:
        raise ValueError('give bytes as a whole number, or text as "512m"')
    return size


def _stop_timeout(value: object) -> float:
    return parse_seconds(value, minus_one=True)


def _run_timeout(value: object) -> float:
    seconds = parse_seconds(value)
    if not seconds:
        raise ValueError("give more than 0 seconds")
    return seconds


def _id_map(value: object) -> tuple[str, ...]:
    lines = _lines(value)
    for line in lines:
        if re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10}){2}", line) is None:
            raise ValueError('give "container:host:count" as "0:100000:65536"')
        first, outside, count = map(int, line.split(":"))
        if not count or max(first, outside) + count > 2**32 - 1:
            raise ValueError(f"the range {line} is empty or ends above 2^32-2")
    return lines


def namespace_mode(*modes: str, can_join: bool = True) -> Kind:
    """A word of a few, or container:NAME for the namespace of another container."""

    def parse(value: object) -> str:
        text = _line(value)
        if text in modes or (can_join and re.fullmatch(_CONTAINER_MODE, text)):
            return text
        words = [f'"{mode}"' for mode in modes] + (['"container:NAME"'] if can_join else [])
        raise ValueError("give " + " or ".join(words))

    return Kind("str", "|".join(modes) + ("|container:NAME" if can_join else ""), parse, _same)


def shared_with(mode: str | None) -> str | None:
    """The container whose namespace is meant by "container:NAME"; None for every other mode."""
    return mode.partition(":")[2] if mode is not None and mode.startswith("container:") else None


def _restart(value: object) -> RestartPolicy:
    return value if isinstance(value, RestartPolicy) else RestartPolicy.parse(value)


def _file_names(value: object) -> tuple[str, ...]:
    if isinstance(value, os.PathLike | str):
        value = [value]
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return tuple(_line(os.fspath(item) if isinstance(item, os.PathLike) else item) for item in value)
    raise ValueError("give the name of a file, or a list of names")


_DEVICE_RULE = r"(?a)[acb] ([0-9]{1,10}|\*):([0-9]{1,10}|\*) [rwm]{1,3}"


def _device_rules(value: object) -> tuple[str, ...]:
    lines = _lines(value)
    for line in lines:
        if re.fullmatch(_DEVICE_RULE, line) is None:
            raise ValueError(f'{line!r} is no rule; give type, numbers and access as "c 42:* rmw"')
    return lines


_GPUS = r"(?a)all|[0-9]{1,4}|device=[A-Za-z0-9][A-Za-z0-9_.:-]*(,[A-Za-z0-9][A-Za-z0-9_.:-]*)*"


def _gpus(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = "all" if value == -1 else str(value)
    text = _line(value)
    if re.fullmatch(_GPUS, text) is None:
        raise ValueError('give "all", a number of GPUs, or "device=0,1"')
    return text


def _umask(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{1,4}", value):
        value = int(value.replace("o", ""), 8)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise ValueError('give permission bits as 0o022 or "0022"')
    return value


def _time_zone(value: object) -> str:
    text = _line(value)
    if text != "local" and (re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}", text, re.ASCII) is None):
        raise ValueError('give the name of a time zone as "Europe/Paris", or "local"')
    return text


def _rate_count(value: object) -> int:
    return int(integer(0, MAX_BYTES).parse(value))


_CONTAINER_MODE = r"(?a)container:[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_FILES = "Sequence[str | PathLike[str]] | str | PathLike[str]"
_TIME = "float | str | timedelta"
_WORDS = "Sequence[str] | str"
_PAIRS = "Mapping[str, str | int | float | None] | Sequence[str]"

TEXT = Kind("str", "TEXT", _line, _same)
FLAG = Kind("bool", "", _flag, _same)
SIZE = Kind("int | str", "BYTES", _size, _same)
SIZE_OR_MINUS_ONE = Kind("int | str", "BYTES", parse_size, _same)
STOP_TIMEOUT = Kind("float | str | timedelta", "SECONDS", _stop_timeout, _same)
CPUS = Kind("float | str", "NUMBER", parse_cpus, _same)
SIGNAL = Kind("int | str", "SIGNAL", parse_signal, _same)
PATH = Kind("str", "PATH", _absolute, _same)
CGROUP_PARENT = Kind("str", "PATH|SLICE", _cgroup_parent, _same)
WORDS = Kind(_WORDS, "WORDS", _words, list)
LINES = Kind("Sequence[str] | str", "TEXT", _lines, list, True)
ID_OR_NAME_LIST = Kind("Sequence[str | int] | str", "GROUP", _lines, list, True)
ID_MAP = Kind("Sequence[str] | str", "MAP", _id_map, list, True)
ENVIRONMENT = Kind(_PAIRS, "KEY=VALUE", _environment, dict, True)
MAPPING = Kind("Mapping[str, str | int | float] | Sequence[str]", "KEY=VALUE", _mapping, dict, True)
TMPFS = Kind("Mapping[str, str] | Sequence[str] | str", "PATH[:OPTIONS]", _tmpfs, dict, True)
ULIMITS = Kind(
    "Mapping[str, int | tuple[int, int] | str] | Sequence[str] | str",
    "NAME=SOFT[:HARD]",
    _ulimits,
    lambda value: {name: list(pair) for name, pair in value.items()},
    True,
)
DEVICE_RATES = Kind(
    "Mapping[str, int | str] | Sequence[str] | str", "PATH:RATE", _device_values(_size), dict, True
)
DEVICE_COUNTS = Kind(
    "Mapping[str, int] | Sequence[str] | str", "PATH:COUNT", _device_values(_rate_count), dict, True
)
DEVICE_WEIGHTS = Kind(
    "Mapping[str, int] | Sequence[str] | str",
    "PATH:WEIGHT",
    _device_values(integer(10, 1000).parse),
    dict,
    True,
)
DEVICE_RULES = Kind("Sequence[str] | str", "RULE", _device_rules, list, True)
GPUS = Kind("int | str", "GPUS", _gpus, _same)
FILES = Kind(_FILES, "FILE", _file_names, list, True)
UMASK = Kind("int | str", "MASK", _umask, _same)
TIME_ZONE = Kind("str", "ZONE", _time_zone, _same)
RESTART = Kind("str", "POLICY", _restart, str)
REQUIREMENTS = Kind(
    "Mapping[str, str] | Sequence[str] | str",
    "NAME[:CONDITION]",
    parse_requirements,
    lambda value: list(map(str, value)),
    True,
)
RUN_TIMEOUT = Kind(_TIME, "SECONDS", _run_timeout, _same)
HEALTH_COMMAND = Kind(_WORDS, "COMMAND", parse_health_command, list)
HEALTH_TIME = Kind(_TIME, "SECONDS", parse_health_time, _same)
LOG_DRIVER = choice(*LOG_DRIVERS)
