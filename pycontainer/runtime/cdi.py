"""Devices by name: specifications that vendors leave in /etc/cdi and /var/run/cdi, and what they add.

The files belong to the host's administrator. What they say is held to the grammar of the specification all
the same: a mistake in one must not become a mount over /proc. Only the options name devices: no label,
annotation or variable of an image does (CVE-2026-53492).
Source: github.com/cncf-tags/container-device-interface, SPEC.md 1.0 and schema/defs.json.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycontainer.errors import InvalidInput, InvalidOption, NotFound, Unsupported
from pycontainer.oci import jsontext
from pycontainer.oci import runtime as model

__all__ = ["DIRECTORIES", "Edits", "edits_of", "gpu_names", "is_name"]

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Where specifications are; a later directory wins over an earlier one."""
MAX_FILE_BYTES = 8 << 20
_MAX_FILES = 1000
_KIND = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?"
_DEVICE = r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?"
_HOOKS = frozenset({"createContainer"})
_OTHER_HOOKS = frozenset({"prestart", "createRuntime", "startContainer", "poststart", "poststop"})
_EDIT_KEYS = frozenset({"env", "deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt", "netDevices"})
_SPEC_KEYS = frozenset({"cdiVersion", "kind", "annotations", "devices", "containerEdits"})

Json = Mapping[str, Any]


class Edits(NamedTuple):
    """What devices add to a container."""

    devices: tuple[model.Device, ...] = ()
    rules: tuple[model.DeviceRule, ...] = ()
    mounts: tuple[model.Mount, ...] = ()
    env: Mapping[str, str] = {}
    hooks: Mapping[str, Sequence[Json]] = {}
    gids: tuple[int, ...] = ()


class _Spec(NamedTuple):
    path: str
    rank: int
    kind: str
    devices: Mapping[str, Json]
    edits: Json


def is_name(text: str) -> bool:
    """Whether this is a device's full name, vendor/class=device."""
    return re.fullmatch(rf"{_KIND}={_DEVICE}", text, re.ASCII) is not None


def gpu_names(wanted: str, directories: Iterable[str] = DIRECTORIES) -> list[str]:
    """The names that "all", a number of GPUs or "device=0,1" stand for.

    Raises: NotFound when no specification describes GPUs, or too few; InvalidOption.
    """
    specs, _ = _read_all(directories)
    for kind in ("nvidia.com/gpu", "amd.com/gpu"):
        known = {name for spec in specs if spec.kind == kind for name in spec.devices}
        if known:
            break
    else:
        raise NotFound(
            "option gpus: no CDI specification describes GPUs; "
            "write one with nvidia-ctk cdi generate --output=/etc/cdi/nvidia.json --format=json"
        )
    if wanted == "all":
        chosen = ["all"] if "all" in known else sorted(known)
    elif wanted.startswith("device="):
        chosen = wanted.partition("=")[2].split(",")
    else:
        numbered = sorted((name for name in known if name.isdigit()), key=int)
        chosen = numbered[: int(wanted)]
        if len(chosen) < int(wanted):
            raise NotFound(f"option gpus={wanted}: this host has {len(numbered)}; ask for fewer")
    return [f"{kind}={name}" for name in chosen]


def edits_of(
    names: Iterable[str],
    *,
    node: Callable[[str], model.Device],
    directories: Iterable[str] = DIRECTORIES,
) -> Edits:
    """Everything that the named devices add, the edits of a whole specification once.

    node: looks a device of the host up by path. Raises: NotFound for a name that no file has; InvalidOption
    naming the file and the field of a specification that says what it must not; Unsupported.
    """
    specs, unread = _read_all(directories)
    found: dict[str, Any] = {name: [] for name in Edits._fields}
    found["env"] = {}
    found["hooks"] = {}
    applied: list[_Spec] = []
    for name in dict.fromkeys(names):
        spec, device = _find(name, specs, unread)
        if spec not in applied:
            applied.append(spec)
            _collect(found, spec.path, spec.edits, node)
        _collect(found, spec.path, device, node)
    lists = {name: tuple(found[name]) for name in ("devices", "rules", "mounts")}
    gids = tuple(dict.fromkeys(found["gids"]))
    return Edits(**lists, env=found["env"], hooks=found["hooks"], gids=gids)


def _find(name: str, specs: Sequence[_Spec], unread: Sequence[str]) -> tuple[_Spec, Json]:
    kind, _, device = name.partition("=")
    holders = [spec for spec in specs if spec.kind == kind and device in spec.devices]
    if not holders:
        if unread:
            raise Unsupported(
                f"device {name} is in no JSON specification, and {unread[0]} is YAML",
                "install PyYAML, or generate the specification with --format=json",
            )
        raise NotFound(f"device {name} is in no specification in {' or '.join(DIRECTORIES)}")
    best = max(spec.rank for spec in holders)
    first = [spec for spec in holders if spec.rank == best]
    if len(first) > 1:
        raise InvalidOption(
            f"device {name} is in both {first[0].path} and {first[1].path}; remove it from one"
        )
    return first[0], first[0].devices[device]


# -- files -------------------------------------------------------------------------------------------


def _read_all(directories: Iterable[str]) -> tuple[list[_Spec], list[str]]:
    """Every specification, and the YAML files that cannot be read here."""
    specs, unread = [], []
    for rank, directory in enumerate(directories):
        try:
            files = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for file in files[:_MAX_FILES]:
            path = os.path.join(directory, file)
            if file.endswith(".json"):
                specs.append(_checked(_json(path), path, rank))
            elif file.endswith((".yaml", ".yml")):
                document = _yaml(path)
                if document is None:
                    unread.append(path)
                else:
                    specs.append(_checked(document, path, rank))
    return specs, unread


def _content(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as problem:
        raise InvalidOption(f"{path} cannot be read: {problem.strerror}; remove it") from None
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidOption(f"{path} is no regular file; remove it")
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
            raise InvalidOption(
                f"{path} belongs to user {found.st_uid} or anybody may write it; what it says would be done "
                "as root: give it to root, with mode 0644"
            )
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise InvalidOption(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return content


def _json(path: str) -> object:
    try:
        return jsontext.parse(_content(path), path, MAX_FILE_BYTES)
    except InvalidInput as problem:
        raise InvalidOption(str(problem)) from None


def _yaml(path: str) -> object | None:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        return None
    try:
        document: object = yaml.safe_load(_content(path))
        return document
    except (yaml.YAMLError, RecursionError) as problem:
        raise InvalidOption(f"{path} is no YAML: {problem}") from None


def _checked(document: object, path: str, rank: int) -> _Spec:
    spec = _object(document, path, "the document", _SPEC_KEYS)
    version, kind = spec.get("cdiVersion"), spec.get("kind")
    if not isinstance(version, str) or re.fullmatch(r"[01]\.\d{1,3}\.\d{1,3}", version) is None:
        raise InvalidOption(f"{path}: cdiVersion {version!r} is not known; 0.3.0 to 1.x are")
    if not isinstance(kind, str) or re.fullmatch(_KIND, kind, re.ASCII) is None:
        raise InvalidOption(f"{path}: kind {kind!r} is not vendor/class")
    devices: dict[str, Json] = {}
    for entry in _list(spec.get("devices"), path, "devices"):
        device = _object(entry, path, "devices", {"name", "annotations", "containerEdits"})
        name = device.get("name")
        if not isinstance(name, str) or re.fullmatch(_DEVICE, name, re.ASCII) is None:
            raise InvalidOption(f"{path}: the device name {name!r} is not well formed")
        if name in devices:
            raise InvalidOption(f"{path}: the device {name} is there twice")
        devices[name] = _object(device.get("containerEdits") or {}, path, name, _EDIT_KEYS)
    edits = _object(spec.get("containerEdits") or {}, path, "containerEdits", _EDIT_KEYS)
    return _Spec(path, rank, kind, devices, edits)


# -- edits -------------------------------------------------------------------------------------------


def _collect(found: dict[str, Any], path: str, edits: Json, node: Callable[[str], model.Device]) -> None:
    for key in ("intelRdt", "netDevices"):
        if edits.get(key):
            raise Unsupported(f"{path}: {key} is not carried out here", "choose a device without it")
    for line in _list(edits.get("env"), path, "env"):
        if not isinstance(line, str) or "\0" in line or not line.partition("=")[0] or "=" not in line:
            raise InvalidOption(f"{path}: the variable {line!r} is not NAME=value")
        name, _, value = line.partition("=")
        found["env"][name] = value
    for entry in _list(edits.get("deviceNodes"), path, "deviceNodes"):
        device, rule = _device(entry, path, node)
        found["devices"].append(device)
        if rule is not None:
            found["rules"].append(rule)
    found["mounts"] += [_mount(entry, path) for entry in _list(edits.get("mounts"), path, "mounts")]
    for entry in _list(edits.get("hooks"), path, "hooks"):
        kind, hook = _hook(entry, path)
        found["hooks"].setdefault(kind, []).append(hook)
    for gid in _list(edits.get("additionalGids"), path, "additionalGids"):
        if isinstance(gid, bool) or not isinstance(gid, int) or not 0 <= gid <= 2**32 - 2:
            raise InvalidOption(f"{path}: the group {gid!r} is not between 0 and 4294967294")
        if gid:
            found["gids"].append(gid)


_NODE_KEYS = frozenset(
    {"path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"}
)


def _device(
    entry: object, path: str, node: Callable[[str], model.Device]
) -> tuple[model.Device, model.DeviceRule | None]:
    fields = _object(entry, path, "deviceNodes", _NODE_KEYS)
    inside = _place(fields.get("path"), path, "deviceNodes.path")
    access = fields.get("permissions") or "rwm"
    if not isinstance(access, str) or set(access) - set("rwm"):
        raise InvalidOption(f"{path}: the permissions {access!r} of {inside} are not letters of rwm")
    numbers = {}
    for key in ("major", "minor", "fileMode", "uid", "gid"):
        value = fields.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32
        ):
            raise InvalidOption(f"{path}: {key} {value!r} of {inside} is no number from 0")
        numbers[key] = value
    kind, major, minor = fields.get("type"), numbers["major"], numbers["minor"]
    if kind not in (None, "b", "c", "u", "p"):
        raise InvalidOption(f"{path}: the type {kind!r} of {inside} is none of b, c, u and p")
    mode = numbers["fileMode"]
    if kind != "p" and (kind is None or major is None or minor is None):
        host = node(_place(fields.get("hostPath") or inside, path, "deviceNodes.hostPath"))
        if kind is not None and ("c" if kind == "u" else kind) != host.type:
            raise InvalidOption(f"{path}: {inside} is of type {host.type} on this host, not {kind}")
        kind, major, minor = host.type, host.major, host.minor
        mode = host.file_mode if mode is None else mode
    made = model.Device(
        type=kind or "c",
        path=inside,
        major=major,
        minor=minor,
        file_mode=mode,
        uid=numbers["uid"],
        gid=numbers["gid"],
    )
    if kind == "p":
        return made, None
    rule_kind = "c" if kind == "u" else kind
    return made, model.DeviceRule(allow=True, type=rule_kind, major=major, minor=minor, access=access)


def _mount(entry: object, path: str) -> model.Mount:
    fields = _object(entry, path, "mounts", {"hostPath", "containerPath", "options", "type"})
    source = _place(fields.get("hostPath"), path, "mounts.hostPath")
    inside = _place(fields.get("containerPath"), path, "mounts.containerPath")
    if inside == "/" or inside == "/proc" or inside.startswith("/proc/"):
        raise InvalidOption(f"{path}: {inside} belongs to the container itself and is not mounted over")
    options = _list(fields.get("options"), path, "mounts.options")
    if not all(
        isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9_=.,:/-]{1,256}", word) for word in options
    ):
        raise InvalidOption(f"{path}: the options {options!r} of {inside} are not well formed")
    kind = fields.get("type") or "bind"
    if kind != "bind":
        raise Unsupported(f"{path}: a mount of type {kind!r} for a device", "use a bind mount")
    bound = tuple(options) if {"bind", "rbind"} & set(options) else ("rbind", *options)
    return model.Mount(destination=inside, type="bind", source=source, options=bound)


def _hook(entry: object, path: str) -> tuple[str, Json]:
    fields = _object(entry, path, "hooks", {"hookName", "path", "args", "env", "timeout"})
    kind = fields.get("hookName")
    if kind in _OTHER_HOOKS:
        raise Unsupported(f"{path}: hooks at {kind}", "those at createContainer are run")
    if kind not in _HOOKS:
        raise InvalidOption(f"{path}: the hook name {kind!r} is not known")
    program = _place(fields.get("path"), path, "hooks.path")
    hook: dict[str, Any] = {"path": program}
    for key in ("args", "env"):
        words = _list(fields.get(key), path, f"hooks.{key}")
        if not all(isinstance(word, str) and "\0" not in word for word in words):
            raise InvalidOption(f"{path}: {key} of the hook {program} is no list of text")
        if key == "env" and not all(word.partition("=")[0] and "=" in word for word in words):
            raise InvalidOption(f"{path}: the hook {program} has a variable that is not NAME=value")
        if words:
            hook[key] = words
    timeout = fields.get("timeout")
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0:
            raise InvalidOption(f"{path}: the timeout {timeout!r} of the hook {program} is no number above 0")
        hook["timeout"] = timeout
    return kind, hook


def _place(value: object, path: str, field: str) -> str:
    is_plain = (
        isinstance(value, str) and value.startswith("/") and not any(ord(letter) < 32 for letter in value)
    )
    if not is_plain or ".." in Path(str(value)).parts:
        raise InvalidOption(f"{path}: {field} {value!r} is no plain absolute path")
    return str(value)


def _object(value: object, path: str, field: str, known: Iterable[str]) -> Json:
    if not isinstance(value, dict):
        raise InvalidOption(f"{path}: {field} is no object")
    unknown = set(value) - set(known)
    if unknown:
        raise InvalidOption(f"{path}: {field} has the unknown field {min(map(str, unknown))!r}")
    return value


def _list(value: object, path: str, field: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidOption(f"{path}: {field} is no list")
    return value
