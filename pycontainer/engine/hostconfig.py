"""A container's options in the shapes of Docker's HostConfig, for the tools that read `docker inspect`.

What was not asked for has Docker's value for that: 0, "", null or an empty list.
Source: Docker Engine API v1.51, ContainerInspect, HostConfig.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pycontainer.engine.supervision import restart_document
from pycontainer.options import OPTIONS, split_port

if TYPE_CHECKING:
    from pycontainer.oci import ImageConfig
    from pycontainer.oci import runtime as model
    from pycontainer.options import MountPoint, RunOptions

__all__ = ["host_config"]

_NUMBERS = frozenset(
    (
        *("BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares"),
        *("Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "OomScoreAdj"),
    )
)
"""What Docker writes as 0 where nothing is asked."""
_TEXTS = frozenset(("CgroupParent", "CpusetCpus", "CpusetMems"))
_NOT_HERE: Mapping[str, Any] = {
    "ContainerIDFile": "",
    "VolumeDriver": "",
    "ConsoleSize": [0, 0],
    "Cgroup": "",
    "Isolation": "",
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
}
"""What no option here sets, and every reader of Docker's document finds."""


def host_config(options: RunOptions, image: ImageConfig, spec: model.Spec) -> dict[str, Any]:
    """The document for a container. spec: what its options come to."""
    found: dict[str, Any] = {**_NOT_HERE, "Runtime": "pycontainer"}
    for name, info in OPTIONS.items():
        place, _, key = (info.api or "").partition(".")
        if place == "HostConfig" and key and "." not in key:
            found[key] = _plain(key, getattr(options, name))
    found |= {key: shape(options) for key, shape in _SHAPES.items()}
    if options.memory and options.memory_swap is None:
        found["MemorySwap"] = 2 * options.memory
    found["Mounts"] = [_mount(point) for point in _asked_for(options, image)]
    linux = spec.linux
    assert linux is not None  # build_spec always makes one
    found["CgroupnsMode"] = options.cgroupns or _mode("cgroup", linux)
    return {**found, "MaskedPaths": list(linux.masked_paths), "ReadonlyPaths": list(linux.readonly_paths)}


def _plain(key: str, value: Any) -> Any:
    if value is None:
        return 0 if key in _NUMBERS else "" if key in _TEXTS else None
    return list(value) if isinstance(value, tuple) else value


def _mode(kind: str, linux: model.Linux) -> str:
    return "private" if any(each.type == kind for each in linux.namespaces) else "host"


def _unless_private(mode: str) -> str:
    return "" if mode == "private" else mode


def _binds(options: RunOptions) -> list[str] | None:
    """As `-v` has them; a volume of the container's own is none of these."""
    found = []
    for point in options.volumes or ():
        if point.source:
            words = ["ro"] * point.is_readonly + [*point.words] + ["nocopy"] * (not point.is_filled)
            words += ["U"] * point.is_owned
            if point.propagation != "rprivate":
                words.append(point.propagation)
            found.append(":".join((point.source, point.target, *([",".join(words)] if words else []))))
    return found or None


def _asked_for(options: RunOptions, image: ImageConfig) -> Iterable[MountPoint]:
    """Mounts that were given as such: not those that volumes, the image or another container brought."""
    others = {point.target for point in options.volumes or ()} | set(image.config.volumes)
    return (point for point in options.mounts or () if point.target not in others and not point.is_borrowed)


def _mount(point: MountPoint) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": point.kind, "Target": point.target}
    if point.source:
        found["Source"] = point.source
    if point.is_readonly:
        found["ReadOnly"] = True
    if point.kind == "bind":
        found["BindOptions"] = {"Propagation": point.propagation}
        if point.recursion == "disabled":
            found["BindOptions"]["NonRecursive"] = True
    if point.kind == "volume":
        found["VolumeOptions"] = {
            **({} if point.is_filled else {"NoCopy": True}),
            **({"Subpath": point.subpath} if point.subpath else {}),
            **({"Labels": dict(point.labels)} if point.labels else {}),
            **(
                {"DriverConfig": {"Name": "local", "Options": dict(point.driver_options)}}
                if point.driver_options
                else {}
            ),
        }
    return found


def _port_bindings(options: RunOptions) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for each in map(split_port, options.ports or ()):
        place = {"HostIp": each.host_address, "HostPort": each.host_ports}
        found.setdefault(f"{each.port}/{each.protocol}", []).append(place)
    return found


def _device(text: str) -> dict[str, str]:
    source, *rest = text.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    return {
        "PathOnHost": source,
        "PathInContainer": rest[0] if rest else source,
        "CgroupPermissions": access,
    }


def _device_requests(options: RunOptions) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] = []
    named = [text for text in options.devices or () if not text.startswith("/")]
    if named:
        found.append({"Driver": "cdi", "Count": 0, "DeviceIDs": named, "Capabilities": None, "Options": None})
    if options.gpus is not None:
        kind, _, names = options.gpus.partition("=")
        ids = names.split(",") if names else None
        count = -1 if kind == "all" else 0 if ids else int(kind)
        found.append(
            {"Driver": "", "Count": count, "DeviceIDs": ids, "Capabilities": [["gpu"]], "Options": {}}
        )
    return found or None


def _weights(options: RunOptions) -> list[dict[str, Any]]:
    return [{"Path": path, "Weight": weight} for path, weight in (options.blkio_weight_device or {}).items()]


def _rates(name: str) -> Callable[[RunOptions], list[dict[str, Any]]]:
    def shape(options: RunOptions) -> list[dict[str, Any]]:
        return [{"Path": path, "Rate": rate} for path, rate in (getattr(options, name) or {}).items()]

    return shape


_SHAPES: Mapping[str, Callable[[RunOptions], Any]] = {
    "Binds": _binds,
    "BlkioWeightDevice": _weights,
    "BlkioDeviceReadBps": _rates("device_read_bps"),
    "BlkioDeviceReadIOps": _rates("device_read_iops"),
    "BlkioDeviceWriteBps": _rates("device_write_bps"),
    "BlkioDeviceWriteIOps": _rates("device_write_iops"),
    "DeviceRequests": _device_requests,
    "Devices": lambda options: [_device(text) for text in options.devices or () if text.startswith("/")],
    "Dns": lambda options: list(options.dns or ()),
    "DnsOptions": lambda options: list(options.dns_option or ()),
    "DnsSearch": lambda options: list(options.dns_search or ()),
    "LogConfig": lambda options: {"Type": options.log_driver, "Config": dict(options.log_opts or {})},
    "NanoCpus": lambda options: round((options.cpus or 0) * 1e9),
    "PidMode": lambda options: _unless_private(options.pid),
    "PortBindings": _port_bindings,
    "RestartPolicy": restart_document,
    "UTSMode": lambda options: _unless_private(options.uts),
    "Ulimits": lambda options: (
        [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in (options.ulimits or {}).items()]
        or None
    ),
    "UsernsMode": lambda options: "" if options.userns == "host" else options.userns,
}
"""Those that Docker does not write as the option has them."""
