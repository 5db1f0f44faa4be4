"""The OCI runtime-spec as data: the Linux part that this engine writes and reads.

Every property without an attribute here survives in `extra`, so a document of another engine round-trips.
None and empty collections are left out of the JSON, as the specification's "omitempty" asks.
Source: opencontainers/runtime-spec 1.3, config.md and config-linux.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, dataclass_transform

import attrs

from pycontainer.errors import InvalidInput

VERSION = "1.3.0"
_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,))
def _model(**nested: str) -> Any:
    """Make a model: attrs data whose generic methods come from Model; `nested` names models of attributes."""

    def decorate(cls: type[_T]) -> type[_T]:
        # eq and repr generated per class would double the import time; Model has them once.
        made = attrs.define(frozen=True, kw_only=True, eq=False, repr=False)(cls)
        made._nested = nested  # type: ignore[attr-defined]
        return made

    return decorate


# Keys that are not the camel case of their attribute.
_SPECIAL_KEYS = {
    "additional_gids": "additionalGids",
    "container_id": "containerID",
    "host_id": "hostID",
    "class_id": "classID",
    "block_io": "blockIO",
    "kernel_tcp": "kernelTCP",
    "disable_oom_killer": "disableOOMKiller",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
}


def _key(attribute: str) -> str:
    if attribute in _SPECIAL_KEYS:
        return _SPECIAL_KEYS[attribute]
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Field(NamedTuple):
    """How one attribute is written: its name, its JSON key, the model in it, list or dict where it is one."""

    name: str
    key: str
    kind: type[Model] | None
    shape: type | None


def _shape(default: object) -> type | None:
    if default == ():
        return list
    return dict if getattr(default, "factory", None) is dict else None


class Model:
    """Conversion from and to JSON-like dicts, comparison and a short repr, for every model here."""

    __slots__ = ()
    _nested: ClassVar[dict[str, str]] = {}
    _table: ClassVar[tuple[_Field, ...]]
    extra: dict[str, Any]

    @classmethod
    def _fields(cls) -> tuple[_Field, ...]:
        table = cls.__dict__.get("_table")
        if table is None:
            kinds = {name: globals()[kind] for name, kind in cls._nested.items()}
            table = cls._table = tuple(
                _Field(item.name, _key(item.name), kinds.get(item.name), _shape(item.default))
                for item in attrs.fields(cls)  # type: ignore[arg-type]
                if item.name != "extra"
            )
        return table

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; attributes that are None or empty are left out."""
        made: dict[str, Any] = {}
        for name, key, kind, _ in self._fields():
            value = getattr(self, name)
            if value is None or value == () or value == {}:
                continue
            if kind is not None:
                value = [item.to_dict() for item in value] if type(value) is tuple else value.to_dict()
            elif type(value) is tuple:
                value = list(value)
            made[key] = value
        if self.extra:
            made.update(self.extra)
        return made

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object; properties without an attribute go to `extra`.

        Raises: InvalidInput when a property has the wrong JSON type or a required one is missing.
        """
        if not isinstance(document, Mapping):
            raise InvalidInput(f"{cls.__name__} is {type(document).__name__} where an object belongs")
        left = dict(document)
        values: dict[str, Any] = {}
        for name, key, kind, shape in cls._fields():
            value = left.pop(key, None)
            if value is None:
                continue
            wanted = shape or (dict if isinstance(value, list) else None)
            if wanted is not None and not isinstance(value, wanted):
                raise InvalidInput(f"{cls.__name__}.{key} is of the wrong JSON type: {type(value).__name__}")
            if isinstance(value, list):
                value = tuple(value if kind is None else [kind.from_dict(item) for item in value])
            elif kind is not None:
                value = kind.from_dict(value)
            values[name] = value
        try:
            return cls(**values, extra=left)  # type: ignore[call-arg]
        except TypeError as problem:
            raise InvalidInput(f"{cls.__name__} lacks a required property: {problem}") from None

    @classmethod
    def has_path(cls, path: str) -> bool:
        """Whether a dotted path of JSON keys, as "linux.resources.pids.limit", names an attribute here."""
        first, _, rest = path.partition(".")
        for _, key, kind, _ in cls._fields():
            if key == first:
                return not rest or (kind is not None and kind.has_path(rest))
        return False

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name, *_ in self._fields()) and (
            self.extra == other.extra
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"


Extra = dict[str, Any]


@_model()
class IdMapping(Model):
    """A range of ids: `size` ids from `container_id` inside are those from `host_id` outside."""

    container_id: int
    host_id: int
    size: int
    extra: Extra = attrs.field(factory=dict)


@_model()
class User(Model):
    """Who the process is, in numbers; names are resolved inside the root file system."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model()
class Capabilities(Model):
    """The five sets, as CAP_ names."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model()
class Rlimit(Model):
    """One resource limit, as RLIMIT_NOFILE."""

    type: str
    soft: int
    hard: int
    extra: Extra = attrs.field(factory=dict)


@_model(user="User", capabilities="Capabilities", rlimits="Rlimit")
class Process(Model):
    """The container's first process."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool | None = None
    console_size: dict[str, int] | None = None
    user: User = attrs.field(factory=User)
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    oom_score_adj: int | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class Root(Model):
    """The root file system."""

    path: str
    readonly: bool | None = None
    extra: Extra = attrs.field(factory=dict)


@_model(uid_mappings="IdMapping", gid_mappings="IdMapping")
class Mount(Model):
    """One mount, in the order of mounting."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model()
class Namespace(Model):
    """A namespace to make, or with a path to join."""

    type: str
    path: str | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class Device(Model):
    """A device node to make inside; file_mode holds permission bits only."""

    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class DeviceRule(Model):
    """Allow or deny access to devices; a None number means every one. Later rules win."""

    allow: bool
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class Memory(Model):
    """Memory limits in bytes; `swap` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class Cpu(Model):
    """CPU limits; times in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: int | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class Pids(Model):
    """The most processes; -1 is no limit."""

    limit: int | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class WeightDevice(Model):
    """A share of one block device's time."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None
    extra: Extra = attrs.field(factory=dict)


@_model()
class ThrottleDevice(Model):
    """A rate limit of one block device, in bytes or operations per second."""

    major: int
    minor: int
    rate: int
    extra: Extra = attrs.field(factory=dict)


@_model(
    weight_device="WeightDevice",
    throttle_read_bps_device="ThrottleDevice",
    throttle_write_bps_device="ThrottleDevice",
    throttle_read_iops_device="ThrottleDevice",
    throttle_write_iops_device="ThrottleDevice",
)
class BlockIO(Model):
    """Block device limits."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model()
class HugepageLimit(Model):
    """A limit in bytes for one huge page size, named as "2MB"."""

    page_size: str
    limit: int
    extra: Extra = attrs.field(factory=dict)


@_model(
    devices="DeviceRule",
    memory="Memory",
    cpu="Cpu",
    pids="Pids",
    block_io="BlockIO",
    hugepage_limits="HugepageLimit",
)
class Resources(Model):
    """Every limit that a cgroup carries."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    unified: dict[str, str] = attrs.field(factory=dict)
    extra: Extra = attrs.field(factory=dict)


@_model()
class SeccompArg(Model):
    """A test of one system call argument; for SCMP_CMP_MASKED_EQ `value` is the mask."""

    index: int
    value: int
    op: str
    value_two: int = 0
    extra: Extra = attrs.field(factory=dict)


@_model(args="SeccompArg")
class SeccompRule(Model):
    """An action for the named system calls, when all the argument tests hold."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model(syscalls="SeccompRule")
class Seccomp(Model):
    """A system call filter, in symbolic form."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[SeccompRule, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@_model(
    namespaces="Namespace",
    uid_mappings="IdMapping",
    gid_mappings="IdMapping",
    devices="Device",
    resources="Resources",
    seccomp="Seccomp",
)
class Linux(Model):
    """What only Linux has."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: dict[str, dict[str, int]] = attrs.field(factory=dict)
    devices: tuple[Device, ...] = ()
    cgroups_path: str | None = None
    resources: Resources | None = None
    sysctl: dict[str, str] = attrs.field(factory=dict)
    seccomp: Seccomp | None = None
    rootfs_propagation: str | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    personality: dict[str, Any] | None = None
    extra: Extra = attrs.field(factory=dict)


@_model(process="Process", root="Root", mounts="Mount", linux="Linux")
class Spec(Model):
    """A whole config.json."""

    oci_version: str = VERSION
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: dict[str, Any] = attrs.field(factory=dict)
    annotations: dict[str, str] = attrs.field(factory=dict)
    linux: Linux | None = None
    extra: Extra = attrs.field(factory=dict)
