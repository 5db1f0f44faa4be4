"""The types of config.json's properties, as a table; unknown properties are nobody's business.

Written as data rather than read into models: a fresh process checks one document each time, and models
cost more to make than the container. Source: opencontainers/runtime-spec 1.3, config.md, config-linux.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pycontainer.errors import InvalidOption

__all__ = ["PROCESS", "RESOURCES", "SPEC", "Table", "check"]


class Number(NamedTuple):
    """A whole number from least to most."""

    least: int
    most: int


class Several(NamedTuple):
    """An array."""

    of: Any


class Each(NamedTuple):
    """An object whose keys are names of the document's author, which may not be empty."""

    of: Any


class Needed(NamedTuple):
    """A property that cannot be left out, nor be null."""

    of: Any


Table = Mapping[str, Any]

UINT16, UINT32, UINT64 = Number(0, 2**16 - 1), Number(0, 2**32 - 1), Number(0, 2**64 - 1)
INT, INT64 = Number(-(2**31), 2**31 - 1), Number(-(2**63), 2**63 - 1)
ID = Number(0, 2**32 - 2)
STRINGS = Several(str)

HOOK: Table = {"path": Needed(str), "args": STRINGS, "env": STRINGS, "timeout": Number(1, 2**31 - 1)}
ID_MAPPINGS = Several({"containerID": Needed(UINT32), "hostID": Needed(UINT32), "size": Needed(UINT32)})
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")

PROCESS: Table = {
    "terminal": bool,
    "consoleSize": {"height": Needed(UINT64), "width": Needed(UINT64)},
    "cwd": Needed(str),
    "env": STRINGS,
    "args": STRINGS,
    "rlimits": Several({"type": Needed(str), "soft": Needed(UINT64), "hard": Needed(UINT64)}),
    "capabilities": dict.fromkeys(_CAPABILITY_SETS, STRINGS),
    "noNewPrivileges": bool,
    "apparmorProfile": str,
    "selinuxLabel": str,
    "oomScoreAdj": Number(-1000, 1000),
    "user": {"uid": ID, "gid": ID, "umask": Number(0, 0o777), "additionalGids": Several(ID)},
    "ioPriority": {"class": Needed(str), "priority": Number(0, 7)},
    "scheduler": {
        "policy": Needed(str),
        "nice": Number(-20, 19),
        "priority": INT,
        "flags": STRINGS,
        "runtime": UINT64,
        "deadline": UINT64,
        "period": UINT64,
    },
    "execCPUAffinity": {"initial": str, "final": str},
}

_DEVICE_RATES = Several({"major": Needed(INT64), "minor": Needed(INT64), "rate": Needed(UINT64)})
_WEIGHT = Number(0, 1000)
RESOURCES: Table = {
    "devices": Several(
        {"allow": Needed(bool), "type": str, "major": INT64, "minor": INT64, "access": str},
    ),
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), INT64),
        "swappiness": Number(0, 100),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), bool),
    },
    "cpu": {
        **dict.fromkeys(("shares", "burst", "period", "realtimePeriod"), UINT64),
        **dict.fromkeys(("quota", "realtimeRuntime"), INT64),
        "idle": Number(0, 1),
        "cpus": str,
        "mems": str,
    },
    "pids": {"limit": INT64},
    "blockIO": {
        "weight": _WEIGHT,
        "leafWeight": _WEIGHT,
        "weightDevice": Several(
            {"major": Needed(INT64), "minor": Needed(INT64), "weight": _WEIGHT, "leafWeight": _WEIGHT}
        ),
        **dict.fromkeys(
            (
                "throttleReadBpsDevice",
                "throttleWriteBpsDevice",
                "throttleReadIOPSDevice",
                "throttleWriteIOPSDevice",
            ),
            _DEVICE_RATES,
        ),
    },
    "hugepageLimits": Several({"pageSize": Needed(str), "limit": Needed(UINT64)}),
    "network": {
        "classID": UINT32,
        "priorities": Several({"name": Needed(str), "priority": Needed(UINT32)}),
    },
    "rdma": Each({"hcaHandles": UINT32, "hcaObjects": UINT32}),
    "unified": Each(str),
}

_LINUX: Table = {
    "namespaces": Several({"type": Needed(str), "path": str}),
    "uidMappings": ID_MAPPINGS,
    "gidMappings": ID_MAPPINGS,
    "timeOffsets": Each({"secs": INT64, "nanosecs": UINT32}),
    "devices": Several(
        {
            "type": Needed(str),
            "path": Needed(str),
            "major": INT64,
            "minor": INT64,
            "fileMode": UINT32,
            "uid": ID,
            "gid": ID,
        }
    ),
    "cgroupsPath": str,
    "rootfsPropagation": str,
    "resources": RESOURCES,
    "sysctl": Each(str),
    "seccomp": {
        "defaultAction": Needed(str),
        "defaultErrnoRet": UINT32,
        "architectures": STRINGS,
        "flags": STRINGS,
        "listenerPath": str,
        "listenerMetadata": str,
        "syscalls": Several(
            {
                "names": Needed(STRINGS),
                "action": Needed(str),
                "errnoRet": UINT32,
                "args": Several(
                    {"index": Needed(UINT32), "value": Needed(UINT64), "valueTwo": UINT64, "op": Needed(str)}
                ),
            }
        ),
    },
    "maskedPaths": STRINGS,
    "readonlyPaths": STRINGS,
    "mountLabel": str,
    "personality": {"domain": Needed(str), "flags": STRINGS},
    "intelRdt": {
        **dict.fromkeys(("closID", "l3CacheSchema", "memBwSchema"), str),
        "schemata": STRINGS,
        "enableMonitoring": bool,
    },
    "netDevices": Each({"name": str}),
    "memoryPolicy": {"mode": Needed(str), "nodes": str, "flags": STRINGS},
}

SPEC: Table = {
    "ociVersion": Needed(str),
    "root": {"path": Needed(str), "readonly": bool},
    "mounts": Several(
        {
            "destination": Needed(str),
            "type": str,
            "source": str,
            "options": STRINGS,
            "uidMappings": ID_MAPPINGS,
            "gidMappings": ID_MAPPINGS,
        }
    ),
    "process": PROCESS,
    "hostname": str,
    "domainname": str,
    "hooks": {
        kind: Several(HOOK)
        for kind in (
            *("prestart", "createRuntime", "createContainer"),
            *("startContainer", "poststart", "poststop"),
        )
    },
    "annotations": Each(str),
    "linux": _LINUX,
}

_NAMES = {str: "a text", bool: "true or false"}


def check(value: Any, kind: Any, where: str) -> None:
    """Make sure that a value of a document is of its kind. Raises InvalidOption naming the property."""
    if isinstance(kind, Needed):
        if value is None:
            raise InvalidOption(f"{where} is missing; the runtime-spec requires it")
        kind = kind.of
    if value is None:
        return
    if kind is str or kind is bool:
        _check_plain(value, kind, where)
    elif isinstance(kind, Number):
        _check_number(value, kind, where)
    elif isinstance(kind, Several):
        if not isinstance(value, list):
            raise InvalidOption(f"{where} is {_shown(value)}; give an array")
        _check_each(value, kind.of, where)
    elif not isinstance(value, dict):
        raise InvalidOption(f"{where} is {_shown(value)}; give an object")
    elif isinstance(kind, Each):
        for key, item in value.items():
            if not key:
                raise InvalidOption(f"{where} has an empty key; give each entry a name")
            check(item, Needed(kind.of), f"{where}[{key!r}]")
    else:
        for key, inner in kind.items():
            check(value.get(key), inner, f"{where}.{key}" if where else key)


def _check_each(values: Sequence[Any], kind: Any, where: str) -> None:
    for index, item in enumerate(values):
        check(item, Needed(kind), f"{where}[{index}]")


def _check_plain(value: Any, kind: type, where: str) -> None:
    if not isinstance(value, kind):
        raise InvalidOption(f"{where} is {_shown(value)}; give {_NAMES[kind]}")
    if isinstance(value, str) and "\0" in value:
        raise InvalidOption(f"{where} has a NUL byte, which no path, argument or variable can")


def _check_number(value: Any, kind: Number, where: str) -> None:
    if isinstance(value, float) and value.is_integer():
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(f"{where} is {_shown(value)}; give a whole number")
    if not kind.least <= value <= kind.most:
        raise InvalidOption(f"{where} is {value}, which is not between {kind.least} and {kind.most}")


def _shown(value: Any) -> str:
    return repr(value)[:80]
