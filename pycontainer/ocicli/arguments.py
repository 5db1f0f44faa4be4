"""The command line, read as runc and crun read theirs: a table of flags for each command.

Written by hand because a fresh process reads it each time, and because callers rely on what Go's flag
package accepts: one dash or two, "--flag value" and "--flag=value", flags after the container's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pycontainer.errors import InvalidOption

__all__ = ["COMMANDS", "GLOBAL", "Arguments", "Command", "parse", "usage"]

Flags = Mapping[str, str]
"""Flag -> what its value is called, or "" when it has none; "name..." may be given several times."""


class Command(NamedTuple):
    """A command's flags, its arguments as usage shows them, and how many it takes."""

    flags: Flags
    shown: str
    least: int
    most: int
    help: str
    stops_at: int = 99
    """After so many arguments everything is the program's own."""


class Arguments(NamedTuple):
    """What was asked for; a flag that was not given is missing in its table."""

    options: dict[str, str | list[str]]
    command: str
    flags: dict[str, str | list[str]]
    words: list[str]


GLOBAL: Flags = {
    "root": "PATH",
    "log": "FILE",
    "log-format": "text|json",
    "debug": "",
    "systemd-cgroup": "",
    "cgroup-manager": "cgroupfs|systemd|disabled",
    "rootless": "true|false|auto",
    "criu": "PATH",
    "help": "",
    "version": "",
}
_SHORT: Mapping[str, Sequence[str]] = {
    "a": ("all",),
    "b": ("bundle",),
    "c": ("cap",),
    "d": ("detach",),
    "e": ("env",),
    "f": ("format", "force", "config"),
    "g": ("additional-gids",),
    "h": ("help",),
    "p": ("process",),
    "q": ("quiet",),
    "r": ("resources", "regex"),
    "t": ("tty",),
    "u": ("user",),
    "v": ("version",),
}
"""Of each letter the flags that it stands for, of which a command has one."""

_CREATE: Flags = {
    "bundle": "PATH",
    "config": "FILE",
    "pid-file": "FILE",
    "console-socket": "PATH",
    "pidfd-socket": "PATH",
    "preserve-fds": "N",
    "no-pivot": "",
    "no-new-keyring": "",
    "no-subreaper": "",
}
_ID = "CONTAINER"

COMMANDS: dict[str, Command] = {
    "create": Command(_CREATE, _ID, 1, 1, "Make a container of a bundle; start runs its program."),
    "start": Command({}, _ID, 1, 1, "Run the program of a container that was created."),
    "state": Command({}, _ID, 1, 1, "Print the state of a container as JSON."),
    "kill": Command({"all": "", "regex": ""}, f"{_ID} [SIGNAL]", 1, 2, "Send a signal to a container."),
    "delete": Command({"force": "", "regex": ""}, f"{_ID}...", 1, 99, "Remove a container that is stopped."),
    "run": Command({**_CREATE, "detach": "", "keep": ""}, _ID, 1, 1, "Create and start a container."),
    "exec": Command(
        {
            "process": "FILE",
            "tty": "",
            "cwd": "PATH",
            "env": "NAME=VALUE...",
            "user": "UID[:GID]",
            "additional-gids": "GID...",
            "detach": "",
            "pid-file": "FILE",
            "console-socket": "PATH",
            "pidfd-socket": "PATH",
            "cap": "CAP...",
            "no-new-privs": "",
            "apparmor": "PROFILE",
            "process-label": "LABEL",
            "cgroup": "PATH...",
            "preserve-fds": "N",
            "ignore-paused": "",
            "no-subreaper": "",
        },
        f"{_ID} [PROGRAM [ARGUMENT...]]",
        1,
        9999,
        "Run a further program in a container.",
        stops_at=1,
    ),
    "list": Command({"format": "json|table", "quiet": ""}, "", 0, 0, "List the containers."),
    "ps": Command(
        {"format": "json|table"}, f"{_ID} [PS-OPTION...]", 1, 99, "List a container's processes.", stops_at=0
    ),
    "pause": Command({}, _ID, 1, 1, "Stop all processes of a container where they are."),
    "resume": Command({}, _ID, 1, 1, "Let the processes of a paused container go on."),
    "update": Command(
        {
            "resources": "FILE|-",
            "blkio-weight": "N",
            "cpu-period": "US",
            "cpu-quota": "US",
            "cpu-burst": "US",
            "cpu-share": "N",
            "cpu-rt-period": "US",
            "cpu-rt-runtime": "US",
            "cpu-idle": "0|1",
            "cpuset-cpus": "LIST",
            "cpuset-mems": "LIST",
            "memory": "BYTES",
            "memory-reservation": "BYTES",
            "memory-swap": "BYTES",
            "kernel-memory": "BYTES",
            "kernel-memory-tcp": "BYTES",
            "pids-limit": "N",
        },
        _ID,
        1,
        1,
        "Change the limits of a container.",
    ),
    "events": Command({"stats": "", "interval": "DURATION"}, _ID, 1, 1, "Print a container's figures."),
    "features": Command({}, "", 0, 0, "Print what this runtime can do, as JSON."),
    "spec": Command({"bundle": "PATH", "rootless": ""}, "", 0, 0, "Write an example config.json."),
}


def parse(words: Sequence[str]) -> Arguments:
    """Read a command line, without the program's name. Raises InvalidOption."""
    options, rest = _flags(words, GLOBAL, "", 0)
    if "help" in options or "version" in options or not rest:
        return Arguments(options, "", {}, rest)
    name, *others = rest
    command = COMMANDS.get(name)
    if command is None:
        raise InvalidOption(f"unknown command {name!r}; there are {', '.join(COMMANDS)}")
    flags, given = _flags(others, {**command.flags, "help": ""}, name, command.stops_at)
    if "help" not in flags and not command.least <= len(given) <= command.most:
        raise InvalidOption(f"{name} takes {command.shown or 'no arguments'}; {len(given)} were given")
    return Arguments(options, name, flags, given)


def _flags(
    words: Sequence[str], known: Flags, command: str, stops_at: int
) -> tuple[dict[str, str | list[str]], list[str]]:
    found: dict[str, str | list[str]] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return found, rest + left
        if word == "-" or not word.startswith("-"):
            rest.append(word)
            if len(rest) > stops_at or not command:
                return found, rest + left
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in known:
            name = next((each for each in _SHORT.get(name, ()) if each in known), name)
        if name not in known:
            raise InvalidOption(f"{command or 'the runtime'} knows no flag {word!r}; see --help")
        if not known[name]:
            if value in ("false", "0"):
                continue
            found[name] = "true"
            continue
        if not equals:
            if not left:
                raise InvalidOption(f"--{name} needs a value: {known[name]}")
            value = left.pop(0)
        if known[name].endswith("..."):
            several = found.setdefault(name, [])
            assert isinstance(several, list)
            several.append(value)
        else:
            found[name] = value
    return found, rest


def usage(name: str = "") -> str:
    """The help text of a command, or of all."""
    if name:
        command = COMMANDS[name]
        head = f"usage: pycontainer-runtime [FLAG...] {name} [FLAG...] {command.shown}\n\n{command.help}\n"
        return head + _described(command.flags)
    lines = "\n".join(f"  {each:<10} {command.help}" for each, command in COMMANDS.items())
    head = "usage: pycontainer-runtime [FLAG...] COMMAND [FLAG...] [ARGUMENT...]\n\ncommands:\n"
    return head + lines + "\n" + _described(GLOBAL)


def _described(flags: Flags) -> str:
    if not flags:
        return ""
    return "\nflags:\n" + "\n".join(f"  --{flag} {value}".rstrip() for flag, value in flags.items()) + "\n"
