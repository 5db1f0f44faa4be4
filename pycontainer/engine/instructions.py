"""Dockerfile instructions that change an image's configuration, as `docker commit --change` takes them.

Source: Dockerfile reference; moby, builder/dockerfile (BuildFromConfig); buildkit, frontend/dockerfile/shell.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import evolve

from pycontainer.errors import InvalidInput
from pycontainer.oci import ContainerConfig, Healthcheck
from pycontainer.options import parse_seconds, parse_signal

__all__ = ["apply_instructions"]

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEALTH_FLAG = re.compile(r"--([a-z-]+)=(\S+)\s*")
_NOT_ON_BUILD = ("ONBUILD", "FROM", "MAINTAINER")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply_instructions(config: ContainerConfig, instructions: Iterable[str]) -> ContainerConfig:
    """The configuration after these instructions, in their order.

    Raises: InvalidInput for one that does not exist, is not for this, or is malformed.
    """
    for text in instructions:
        name, _, rest = text.strip().partition(" ")
        apply = _TABLE.get(name.upper())
        if apply is None:
            raise InvalidInput(f"{text!r}: only {', '.join(_TABLE)} change an image's configuration")
        if not rest.strip() or "\n" in rest:
            raise InvalidInput(f"{text!r}: {name.upper()} needs a value, on one line")
        config = apply(config, rest.strip())
    return config


def _command(config: ContainerConfig, text: str) -> tuple[str, ...]:
    words = _json_words(text)
    return (*(config.shell or _SHELL), text) if words is None else words


def _json_words(text: str) -> tuple[str, ...] | None:
    """The words of the JSON form; None for anything else, which Docker takes for a shell's line, too."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(words)


def _cmd(config: ContainerConfig, text: str) -> ContainerConfig:
    return evolve(config, cmd=_command(config, text))


def _entrypoint(config: ContainerConfig, text: str) -> ContainerConfig:
    return evolve(config, entrypoint=_command(config, text))


def _env(config: ContainerConfig, text: str) -> ContainerConfig:
    variables = dict(entry.partition("=")[::2] for entry in config.env)
    # All values of one instruction see the variables as they were before it.
    variables.update(_pairs(text, dict(variables)))
    return evolve(config, env=tuple(f"{name}={value}" for name, value in variables.items()))


def _label(config: ContainerConfig, text: str) -> ContainerConfig:
    return evolve(config, labels={**config.labels, **dict(_pairs(text, _variables(config)))})


def _expose(config: ContainerConfig, text: str) -> ContainerConfig:
    ports = list(config.exposed_ports)
    for word in _words(text, _variables(config)):
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if found is None or not 0 < first <= last < 65536:
            raise InvalidInput(f"EXPOSE {word!r}: give a port or a range of them, with /tcp, /udp or /sctp")
        ports += [f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1)]
    return evolve(config, exposed_ports=tuple(dict.fromkeys(ports)))


def _on_build(config: ContainerConfig, text: str) -> ContainerConfig:
    if text.split()[0].upper() in _NOT_ON_BUILD:
        raise InvalidInput(f"ONBUILD {text!r}: {', '.join(_NOT_ON_BUILD)} cannot be triggers")
    return evolve(config, on_build=(*config.on_build, text))


def _stop_signal(config: ContainerConfig, text: str) -> ContainerConfig:
    (word,) = _exactly_one("STOPSIGNAL", text, config)
    try:
        parse_signal(word)
    except ValueError as error:
        raise InvalidInput(f"STOPSIGNAL {word!r}: {error}") from None
    return evolve(config, stop_signal=word)


def _user(config: ContainerConfig, text: str) -> ContainerConfig:
    (word,) = _exactly_one("USER", text, config)
    return evolve(config, user=word)


def _workdir(config: ContainerConfig, text: str) -> ContainerConfig:
    (word,) = _exactly_one("WORKDIR", text, config)
    return evolve(config, working_dir=posixpath.normpath(posixpath.join("/", config.working_dir, word)))


def _volume(config: ContainerConfig, text: str) -> ContainerConfig:
    paths = _json_words(text) or tuple(_words(text, _variables(config)))
    if not all(path.strip() for path in paths):
        raise InvalidInput("VOLUME: a path is empty")
    return evolve(config, volumes=tuple(dict.fromkeys((*config.volumes, *paths))))


def _healthcheck(config: ContainerConfig, text: str) -> ContainerConfig:
    flags: dict[str, str] = {}
    while found := _HEALTH_FLAG.match(text):
        flags[found[1]] = found[2]
        text = text[found.end() :]
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE" and not rest and not flags:
        return evolve(config, healthcheck=Healthcheck(test=("NONE",)))
    if kind.upper() != "CMD" or not rest.strip():
        raise InvalidInput("HEALTHCHECK: give NONE, or flags and CMD with a command")
    words = _json_words(rest.strip())
    test = ("CMD-SHELL", rest.strip()) if words is None else ("CMD", *words)
    retries = flags.pop("retries", "0")
    check = Healthcheck(
        test=test,
        retries=int(retries) if retries.isdigit() else -1,
        interval_ns=_nanoseconds(flags.pop("interval", "0")),
        timeout_ns=_nanoseconds(flags.pop("timeout", "0")),
        start_period_ns=_nanoseconds(flags.pop("start-period", "0")),
        start_interval_ns=_nanoseconds(flags.pop("start-interval", "0")),
    )
    if flags or check.retries < 0:
        raise InvalidInput(f"HEALTHCHECK: {', '.join(flags) or f'retries={retries}'} is not understood")
    return evolve(config, healthcheck=check)


def _nanoseconds(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        try:
            return round(parse_seconds(text) * 1e9)
        except ValueError as error:
            raise InvalidInput(f"HEALTHCHECK {text!r}: {error}") from None
    return round(sum(float(number) * _UNITS_NS[unit] for number, unit in parts))


def _variables(config: ContainerConfig) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in config.env)


def _exactly_one(name: str, text: str, config: ContainerConfig) -> list[str]:
    words = list(_words(text, _variables(config)))
    if len(words) != 1 or not words[0]:
        raise InvalidInput(f"{name} {text!r}: exactly one value is needed")
    return words


def _pairs(text: str, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """NAME=value pairs, or the old form: one name, a space, and all the rest."""
    first = text.split(None, 1)
    if "=" not in first[0]:
        if len(first) != 2:
            raise InvalidInput(f"{text!r}: write NAME=value")
        yield first[0], " ".join(_words(first[1], variables, splits=False))
        return
    for word in _words(text, variables):
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InvalidInput(f"{word!r}: write NAME=value, with quotes around spaces")
        yield name, value


def _words(text: str, variables: Mapping[str, str], *, splits: bool = True) -> Iterator[str]:
    """Words as the shell would see them: quotes and backslashes are taken away, variables put in."""
    word: list[str] = []
    has_begun = False
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and quote != "'" and position < len(text):
            following = text[position]
            position += 1
            # In double quotes only what means something there is escaped.
            word.append(following if not quote or following in '"\\$' else character + following)
            has_begun = True
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
            has_begun = True
        elif character == "$" and quote != "'":
            value, position = _expanded(text, position, variables)
            word.append(value)
            has_begun = True
        elif character.isspace() and not quote and splits:
            if has_begun:
                yield "".join(word)
            word, has_begun = [], False
        else:
            word.append(character)
            has_begun = True
    if quote:
        raise InvalidInput(f"{text!r}: the quote {quote} is not closed")
    if has_begun:
        yield "".join(word)


def _expanded(text: str, position: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value of the variable named from there on, and where the text goes on."""
    if text.startswith("{", position):
        end = text.find("}", position)
        if end < 0:
            raise InvalidInput(f"{text!r}: ${{ is not closed")
        name, operator, other = re.split(r"(:?[-+]|$)", text[position + 1 : end], maxsplit=1)
        value = variables.get(name)
        is_set = value is not None if not operator.startswith(":") else bool(value)
        if operator.endswith("-"):
            return (value or "") if is_set else other, end + 1
        if operator.endswith("+"):
            return other if is_set else "", end + 1
        return value or "", end + 1
    found = _NAME.match(text, position)
    if found is None:
        return "$", position
    return variables.get(found[0], ""), found.end()


_TABLE: dict[str, Callable[[ContainerConfig, str], ContainerConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
