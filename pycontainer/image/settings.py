"""What an image tells of itself, set one by one: each function gives the changed configuration.

Values are checked as the Dockerfile instruction of the same name does. Raises: InvalidInput, TypeError.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from pycontainer.errors import InvalidInput
from pycontainer.oci import ContainerConfig, Healthcheck
from pycontainer.options import parse_seconds, parse_signal

__all__ = [
    "with_cmd",
    "with_entrypoint",
    "with_env",
    "with_healthcheck",
    "with_labels",
    "with_ports",
    "with_stop_signal",
    "with_user",
    "with_volumes",
    "with_workdir",
]

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
Changed = tuple[ContainerConfig, str]
"""The configuration, and the instruction as a line of the image's history."""


def with_env(config: ContainerConfig, variables: Mapping[str, str | None]) -> Changed:
    """Set variables; None removes one."""
    known = dict(entry.partition("=")[::2] for entry in config.env)
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name or "\0" in str(value):
            raise InvalidInput(f"variable {name!r}: a name is not empty and has no '=', and nothing has NUL")
        if value is None:
            known.pop(name, None)
        else:
            known[name] = str(value)
    told = " ".join(f"{name}={'' if value is None else value}" for name, value in variables.items())
    return evolve(config, env=tuple(f"{name}={value}" for name, value in known.items())), f"ENV {told}"


def with_entrypoint(config: ContainerConfig, words: Sequence[str] | None) -> Changed:
    """Set the program, and clear the arguments that were those of the one before."""
    entrypoint = _words("entrypoint", words)
    return evolve(config, entrypoint=entrypoint, cmd=None), f"ENTRYPOINT {json.dumps(list(words or ()))}"


def with_cmd(config: ContainerConfig, words: Sequence[str] | None) -> Changed:
    """Set the command, or the entrypoint's arguments."""
    return evolve(config, cmd=_words("cmd", words)), f"CMD {json.dumps(list(words or ()))}"


def with_user(config: ContainerConfig, user: str | int) -> Changed:
    """Set the user: name or number, with a group after a colon."""
    text = str(user)
    if not text or any(character.isspace() or character == "\0" for character in text):
        raise InvalidInput(f"user {text!r}: give user or user:group, by name or number")
    return evolve(config, user=text), f"USER {text}"


def with_workdir(config: ContainerConfig, path: str) -> Changed:
    """Set the working directory; a relative one is below the one before."""
    if not path or "\0" in path:
        raise InvalidInput(f"workdir {path!r} is no path")
    whole = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    return evolve(config, working_dir="/" + whole.lstrip("/")), f"WORKDIR {path}"


def with_labels(config: ContainerConfig, labels: Mapping[str, str]) -> Changed:
    """Set labels beside those there are."""
    if not all(labels):
        raise InvalidInput("a label without a name")
    texts = {name: str(value) for name, value in labels.items()}
    told = " ".join(f"{name}={value}" for name, value in texts.items())
    return evolve(config, labels={**config.labels, **texts}), f"LABEL {told}"


def with_ports(config: ContainerConfig, ports: Sequence[int | str]) -> Changed:
    """Name ports, as 80, "53/udp" or "8000-8010/tcp"."""
    found = []
    for port in ports:
        match = _PORT.fullmatch(str(port))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last < 65536:
            raise InvalidInput(f"port {port!r}: give a number or a range of them, with /tcp, /udp or /sctp")
        found += [f"{number}/{match[3] or 'tcp'}" for number in range(first, last + 1)]
    told = f"EXPOSE {' '.join(str(port) for port in ports)}"
    return evolve(config, exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *found)))), told


def with_volumes(config: ContainerConfig, paths: Sequence[str]) -> Changed:
    """Name directories whose content is kept beside the container."""
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise InvalidInput(f"volume {path!r}: give an absolute path")
    return evolve(
        config, volumes=tuple(dict.fromkeys((*config.volumes, *paths)))
    ), f"VOLUME {json.dumps(list(paths))}"


def with_stop_signal(config: ContainerConfig, signal: str | int) -> Changed:
    """Set the signal that asks the program to end."""
    try:
        parse_signal(signal)
    except ValueError as error:
        raise InvalidInput(f"stop signal {signal!r}: {error}") from None
    return evolve(config, stop_signal=str(signal)), f"STOPSIGNAL {signal}"


def with_healthcheck(
    config: ContainerConfig, test: Sequence[str] | str | None, times: Mapping[str, object], retries: int
) -> Changed:
    """Set the health check: a list of words, a line for the shell, or None for none at all.

    times: seconds, or durations such as "30s", by interval, timeout, start_period and start_interval.
    """
    if test is None:
        return evolve(config, healthcheck=Healthcheck(test=("NONE",))), "HEALTHCHECK NONE"
    if retries < 0:
        raise InvalidInput(f"health check: retries={retries} is below 0")
    words = ("CMD-SHELL", test) if isinstance(test, str) else ("CMD", *test)
    if len(words) < 2 or not words[1]:
        raise InvalidInput(f"health check {test!r}: give words, or a line for the shell")
    spans: dict[str, Any] = {}
    for name, value in times.items():
        try:
            spans[f"{name}_ns"] = round(parse_seconds(value) * 1e9) if value is not None else 0
        except ValueError as error:
            raise InvalidInput(f"health check {name}={value!r}: {error}") from None
    check = Healthcheck(test=words, retries=retries, **spans)
    return evolve(config, healthcheck=check), f"HEALTHCHECK CMD {json.dumps(list(words[1:]))}"


def _words(what: str, words: Sequence[str] | None) -> tuple[str, ...] | None:
    if words is None:
        return None
    if isinstance(words, str):
        raise TypeError(f"{what}={words!r} is one string; give a list of words")
    if any("\0" in word for word in words):
        raise InvalidInput(f"{what} {words!r}: a word has a NUL character")
    return tuple(words)
