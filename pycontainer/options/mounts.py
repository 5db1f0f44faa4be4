"""The option mounts: what of the host, of images or of memory is mounted where, in Docker's long form.

"type=bind,source=/srv,target=/data,readonly" or {"type": "bind", "source": "/srv", "target": "/data",
"readonly": True}. Source: docker run --mount, reference manual; podman run, --mount (idmap, exec and suid).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from pycontainer.options.kinds import Kind, csv_fields
from pycontainer.options.units import parse_size
from pycontainer.values import Value

__all__ = ["MOUNTS", "MountPoint", "dump_mounts", "mount_flags", "mount_propagations", "recorded_mount"]

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "U": "chown"}
_FLAGS = {"nosuid", "suid", "nodev", "dev", "noexec", "exec"}
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCIES = ("default", "consistent", "cached", "delegated")
_RECURSIONS = ("enabled", "disabled", "writable", "readonly")
_KEYS = {
    "bind": {"source", "readonly", "bind-propagation", "bind-recursive", "bind-create-src", "subpath"}
    | {"bind-subpath", "bind-nonrecursive", "chown", "idmap", "mode"}
    | _FLAGS,
    "tmpfs": {"readonly", "tmpfs-size", "tmpfs-mode", "tmpfs-options"} | _FLAGS,
    "image": {"source", "image-subpath", "subpath", "readonly"},
    "volume": {"source", "readonly", "volume-nocopy", "volume-subpath", "subpath", "volume-driver"}
    | {"volume-opt", "volume-label", "chown"}
    | _FLAGS,
}
_REPEATED = ("volume-opt", "volume-label")
_VOLUME = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}"
_SWITCHES = {"readonly", "bind-create-src", "bind-nonrecursive", "chown", "idmap", "volume-nocopy"} | _FLAGS
# What these show depends on the namespaces of who mounts them; other file systems are the host's.
_INNER = ("cgroup", "cgroup2", "devpts", "mqueue", "proc", "ramfs", "sysfs", "tmpfs")
_OCTAL = r"0?[0-7]{3,4}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MountPoint(Value):
    """One mount. What is not of its type is empty.

    source: of a volume its name, "" for one of the container's own (is_own, once it has a name).
    is_borrowed: it is another container's, by volumes_from.
    recursion: what becomes of mounts below a bind's source ("enabled": bound, too, and read-only with it).
    is_owned: all of it is given to the container's user when it starts, whom owner names, as USER does, once
    there is a container. is_copied: what is written goes beside the source, which stays as it is. has_ids:
    files keep the ids of the host on disk, and have the container's inside. words: mount options besides.
    snapshots: the layers of an image, bottom first, which the engine finds. is_filled: whether an empty
    volume gets what the image has there. driver_options, labels: of a volume that is made for it.
    fstype, device: what a volume with options is mounted by, instead of a directory of the store.
    """

    kind: str
    target: str
    source: str = ""
    subpath: str = ""
    is_readonly: bool = False
    recursion: str = "enabled"
    propagation: str = "rprivate"
    is_owned: bool = False
    owner: str = ""
    is_copied: bool = False
    has_ids: bool = False
    is_made: bool = False
    words: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    is_filled: bool = True
    is_own: bool = False
    is_borrowed: bool = False
    driver_options: Mapping[str, str] = attrs.Factory(dict)
    labels: Mapping[str, str] = attrs.Factory(dict)
    fstype: str = ""
    device: str = ""

    @property
    def is_inner(self) -> bool:
        """Whether the container mounts it itself, as a file system of its own namespaces."""
        return self.kind == "tmpfs" or self.fstype in _INNER

    def options(self, *, is_recursive_possible: bool = True) -> tuple[str, ...]:
        """The words of the runtime-spec. is_recursive_possible: whether the kernel has mount_setattr(2)."""
        if self.is_inner:
            return ("ro", *self.words) if self.is_readonly else self.words
        # What else a file system is told, it is told when it is mounted, on the host's side.
        words = [word for word in self.words if word in _FLAGS] if self.fstype else self.words
        found = ["bind" if self.recursion == "disabled" else "rbind", self.propagation, *words]
        if self.is_readonly:
            found.append("ro")
            if self.recursion == "readonly" or (self.recursion == "enabled" and is_recursive_possible):
                found.append("rro")
        if self.has_ids and self.kind != "image" and not self.is_copied:  # those are what is mounted there
            found.append("idmap" if self.recursion == "disabled" else "ridmap")
        return tuple(found)


def _parse(value: object) -> tuple[MountPoint, ...]:
    if isinstance(value, str | Mapping | MountPoint):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise ValueError('give mounts as ["type=bind,source=/srv,target=/data,readonly"]')
    found = tuple(map(_one, value))
    for point in found:
        if sum(other.target == point.target for other in found) > 1:
            raise ValueError(f"two mounts have the target {point.target}; leave one out")
    return found


def _one(item: object) -> MountPoint:
    if isinstance(item, MountPoint):
        return item
    if isinstance(item, Mapping) and "kind" in item:
        return recorded_mount(item)
    if isinstance(item, str):
        item = _pairs(item)
    if not isinstance(item, Mapping):
        raise ValueError(f"{item!r} is no mount; give it as text or a mapping")
    keys = {_ALIASES.get(str(key), str(key)): value for key, value in item.items()}
    _chosen(keys, "consistency", _CONSISTENCIES, _CONSISTENCIES[0])
    keys.pop("consistency", None)  # of other systems than Linux
    is_path = str(keys.get("source", "")).startswith("/")
    kind = str(keys.pop("type", "bind" if is_path else "volume"))
    if kind not in _KEYS:
        raise ValueError(f"unknown type {kind!r} of a mount; there are {', '.join(_KEYS)}")
    target = _path(keys.pop("target", ""), "target")
    unknown = sorted(set(keys) - _KEYS[kind])
    if unknown:
        known = ", ".join(sorted(_KEYS[kind]))
        raise ValueError(f"a mount of type {kind} has no {unknown[0]!r}; it has {known}")
    switches = {key for key in _SWITCHES & set(keys) if _is_on(key, keys[key])}
    words = tuple(word for word in sorted(_FLAGS) if word in switches)
    if kind == "bind":
        return _bind(target, keys, switches, words)
    if kind == "tmpfs":
        return _tmpfs(target, keys, switches, words)
    if kind == "volume":
        return _volume(target, keys, switches, words)
    if not keys.get("source"):
        raise ValueError(f"the image mount on {target} needs a source: the image's name")
    subpath = str(keys.get("image-subpath") or keys.get("subpath") or "")
    return MountPoint(
        kind="image", target=target, source=str(keys["source"]), subpath=subpath, is_readonly=True
    )


def recorded_mount(item: Mapping[str, Any]) -> MountPoint:
    """What dump_mounts wrote of one."""
    return MountPoint(**{**item, **{name: tuple(item.get(name, ())) for name in ("words", "snapshots")}})


def _pairs(text: str) -> dict[str, object]:
    """The words of the long form; those that may be repeated as a dict each."""
    found: dict[str, object] = {}
    for part in filter(None, csv_fields(text)):
        key, value = _pair(part)
        if key in _REPEATED:
            inner, _, rest = str(value).partition("=")
            gathered = found.setdefault(key, {})
            assert isinstance(gathered, dict)
            gathered[inner] = rest
        else:
            found[key] = value
    return found


def _volume(
    target: str, keys: Mapping[str, object], switches: set[str], words: tuple[str, ...]
) -> MountPoint:
    name = getattr(keys.get("source"), "name", keys.get("source") or "")
    if not isinstance(name, str) or (name and re.fullmatch(_VOLUME, name) is None):
        raise ValueError(f"{name!r} is no name of a volume; a directory of the host needs type=bind")
    if keys.get("volume-driver", "local") != "local":
        raise ValueError(f"volume-driver={keys['volume-driver']}: there is only local")
    return MountPoint(
        kind="volume",
        target=target,
        source=name,
        subpath=str(keys.get("volume-subpath") or keys.get("subpath") or ""),
        is_readonly="readonly" in switches,
        is_filled="volume-nocopy" not in switches,
        is_owned="chown" in switches,
        words=words,
        driver_options=_texts(keys.get("volume-opt")),
        labels=_texts(keys.get("volume-label")),
    )


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def mount_flags() -> frozenset[str]:
    """Words that any mount may have."""
    return frozenset(_FLAGS)


def mount_propagations() -> tuple[str, ...]:
    """Words of mount(8) that say how mounts below a bind spread."""
    return _PROPAGATIONS


def _pair(part: str) -> tuple[str, object]:
    key, equals, value = part.partition("=")
    return key.strip(), value if equals else True


def _path(value: object, what: str) -> str:
    path = str(value)
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"the {what} of a mount is an absolute path, not {path!r}")
    return path


def _is_on(key: str, value: object) -> bool:
    if value in (True, "true", "1"):
        return True
    if value in (False, "false", "0"):
        return False
    raise ValueError(f"{key} of a mount is true or false, not {value!r}")


def _chosen(keys: Mapping[str, object], key: str, known: Sequence[str], default: str) -> str:
    value = str(keys.get(key, default))
    if value not in known:
        raise ValueError(f"{key} of a mount is one of {', '.join(known)}, not {value!r}")
    return value


def _bind(target: str, keys: Mapping[str, object], switches: set[str], words: tuple[str, ...]) -> MountPoint:
    # The older word for it.
    default = "disabled" if "bind-nonrecursive" in switches else "enabled"
    recursion = _chosen(keys, "bind-recursive", _RECURSIONS, default)
    propagation = _chosen(keys, "bind-propagation", _PROPAGATIONS, "rprivate")
    if recursion in ("readonly", "writable") and "readonly" not in switches:
        raise ValueError(f"bind-recursive={recursion} is for read-only mounts; add readonly")
    if recursion == "readonly" and propagation != "rprivate":
        raise ValueError("bind-recursive=readonly needs bind-propagation=rprivate")
    is_copied = _chosen(keys, "mode", ("rw", "ro", "cow"), "rw") == "cow"
    if "chown" in switches and (is_copied or "idmap" in switches):
        raise ValueError("chown gives files to a user, a copy on write or idmap leave them; choose one")
    if is_copied and (propagation != "rprivate" or "idmap" in switches):
        raise ValueError("a copy on write has neither bind-propagation nor idmap; leave them out")
    return MountPoint(
        kind="bind",
        target=target,
        source=_path(keys.get("source", ""), "source"),
        subpath=str(keys.get("bind-subpath") or keys.get("subpath") or ""),
        is_readonly="readonly" in switches or keys.get("mode") == "ro",
        recursion=recursion,
        propagation=propagation,
        is_owned="chown" in switches,
        is_copied=is_copied,
        has_ids="idmap" in switches,
        is_made="bind-create-src" in switches,
        words=words,
    )


def _tmpfs(target: str, keys: Mapping[str, object], switches: set[str], words: tuple[str, ...]) -> MountPoint:
    found = list(words)
    found += [word for word in ("nosuid", "nodev", "noexec") if word.removeprefix("no") not in words]
    if "tmpfs-size" in keys:
        found.append(f"size={parse_size(keys['tmpfs-size'])}")
    mode = keys.get("tmpfs-mode", "1777")
    text = f"{mode:o}" if isinstance(mode, int) and not isinstance(mode, bool) else str(mode)
    if not re.fullmatch(_OCTAL, text):
        raise ValueError(f"tmpfs-mode is octal as 1777, not {mode!r}")
    found.append(f"mode={text}")
    found += [word for word in str(keys.get("tmpfs-options") or "").split(";") if word]
    is_readonly = "readonly" in switches
    return MountPoint(kind="tmpfs", target=target, is_readonly=is_readonly, words=tuple(dict.fromkeys(found)))


def dump_mounts(value: Iterable[MountPoint]) -> list[dict[str, Any]]:
    """Mounts as they are recorded."""
    return [attrs.asdict(point) for point in value]


MOUNTS = Kind(
    "Sequence[str | Mapping[str, object]] | Mapping[str, object] | str",
    "KEY=VALUE,...",
    _parse,
    dump_mounts,
    True,
)
