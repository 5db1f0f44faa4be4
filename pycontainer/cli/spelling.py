"""How a command line spells the container options, and what was given of them.

All that is said of an option is said in its declaration. Only what the SDK has no use for stands here: short
names, further spellings, and the numbers that mean "not asked" on Docker's command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from pycontainer.cli.switches import BadFlag
from pycontainer.options import OPTIONS

__all__ = ["given", "parse_environment", "spellings"]


_SHORT = {
    "cpu_shares": "-c",
    "env": "-e",
    "hostname": "-h",
    "labels": "-l",
    "memory": "-m",
    "ports": "-p",
    "publish_all": "-P",
    "stdin_open": "-i",
    "tty": "-t",
    "user": "-u",
    "volumes": "-v",
    "workdir": "-w",
}
_FURTHER = {
    "network": ("--net",),
    "network_alias": ("--net-alias",),
    "dns_option": ("--dns-opt",),
    "uid_map": ("--uidmap",),
    "gid_map": ("--gidmap",),
}
_UNSET = {
    "blkio_weight": ("0",),
    "cpu_period": ("0",),
    "cpu_quota": ("0",),
    "cpu_rt_period": ("0",),
    "cpu_rt_runtime": ("0",),
    "cpu_shares": ("0",),
    "cpus": ("0", "0.0"),
    "health_interval": ("0", "0s"),
    "health_retries": ("0",),
    "health_start_interval": ("0", "0s"),
    "health_start_period": ("0", "0s"),
    "health_timeout": ("0", "0s"),
    "memory": ("0",),
    "memory_reservation": ("0",),
    "memory_swap": ("0",),
    "memory_swappiness": ("-1",),
    "pids_limit": ("0",),
    "restart": ("",),
    "shm_size": ("0",),
}
"""Docker's defaults of these flags, which stand for no value (docker/cli, cli/command/container/opts.go)."""


def spellings(name: str) -> tuple[str, ...]:
    """The flags of an option, the usual one among them."""
    short = (_SHORT[name],) if name in _SHORT else ()
    return (*short, OPTIONS[name].flag, *_FURTHER.get(name, ()))


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """The run options among a command's parameters that were given, each checked.

    Raises: BadFlag.
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        info = OPTIONS.get(name)
        if info is None or value is None or value is False or value == () or value in _UNSET.get(name, ()):
            continue
        value = _adapted(name, list(value) if isinstance(value, tuple) else value)
        try:
            info.kind.parse(value)
        except (ValueError, TypeError) as problem:
            shown = "" if name == "env" else f"{value!r}: "
            raise BadFlag(f"{shown}{problem}", info.flag) from None
        found[name] = value
    return found


def _adapted(name: str, value: Any) -> Any:
    if name == "env":
        return parse_environment(value)
    if name == "entrypoint":
        # One word, as Docker takes it; the SDK splits a text.
        return [value] if value else [""]
    if name == "network":
        return ["bridge" if each == "default" else each for each in value]
    return value


def parse_environment(lines: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Variables of -e: KEY=VALUE, or KEY for the caller's own, which without one is taken away."""
    found: dict[str, str | None] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name:
            raise BadFlag(f"{line!r} has no name", "--env")
        found[name] = value if equals else environ.get(name)
    return found
