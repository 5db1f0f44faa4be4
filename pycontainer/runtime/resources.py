"""Limits and devices: the options' numbers as linux.resources and linux.devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pycontainer.errors import InvalidOption
from pycontainer.oci import runtime as model
from pycontainer.options import RunOptions
from pycontainer.runtime import cdi, cgroups, defaults
from pycontainer.runtime.cgroups import CgroupPlan
from pycontainer.runtime.hostfacts import HostFacts

_NO_EDITS = cdi.Edits()
CPU_PERIOD_US = 100_000  # what Docker's --cpus divides


def linux_resources(options: RunOptions, host: HostFacts, edits: cdi.Edits = _NO_EDITS) -> model.Resources:
    """Everything the cgroup carries: device rules always, limits where asked."""
    return model.Resources(
        devices=_device_rules(options, host, edits),
        memory=_memory(options),
        cpu=cpu_resources(options),
        pids=_pids(options),
        block_io=_block_io(options, host),
        unified=dict(options.cgroup_conf or {}),
    )


def plan_cgroups(spec: model.Spec, host: HostFacts) -> CgroupPlan:
    """What the monitor does to the host's cgroups for a spec, or has systemd do.

    Raises: InvalidOption, Unsupported.
    """
    linux = spec.linux
    if linux is None or linux.cgroups_path is None:
        raise InvalidOption("linux.cgroupsPath is missing; name the container's cgroup")
    if not cgroups.is_scope(linux.cgroups_path):
        return cgroups.plan(linux.resources or {}, linux.cgroups_path, host.cgroups)
    resources = {} if linux.resources is None else linux.resources.to_dict()
    name = linux.cgroups_path.rpartition(":")[2]
    made, _ = cgroups.scope_plan(resources, linux.cgroups_path, name, host.cgroups)
    return made


def _memory(options: RunOptions) -> model.Memory | None:
    limit, swap = options.memory, options.memory_swap
    if limit and swap is None:
        swap = limit * 2  # Docker: as much swap as memory, when nothing is said
    given = (limit, options.memory_reservation, swap, options.memory_swappiness, options.oom_kill_disable)
    if all(value is None for value in given):
        return None
    return model.Memory(
        limit=limit,
        reservation=options.memory_reservation,
        swap=swap,
        swappiness=options.memory_swappiness,
        disable_oom_killer=options.oom_kill_disable,
    )


def cpu_resources(options: RunOptions) -> model.Cpu | None:
    """CPU limits; `cpus` is a quota in periods of 100 ms."""
    quota, period = options.cpu_quota, options.cpu_period
    if options.cpus is not None:
        quota, period = max(1000, round(options.cpus * CPU_PERIOD_US)), CPU_PERIOD_US
    given: dict[str, Any] = {
        "shares": options.cpu_shares,
        "quota": quota,
        "period": period,
        "realtime_runtime": options.cpu_rt_runtime,
        "realtime_period": options.cpu_rt_period,
        "cpus": options.cpuset_cpus,
        "mems": options.cpuset_mems,
    }
    return None if all(value is None for value in given.values()) else model.Cpu(**given)


def _pids(options: RunOptions) -> model.Pids | None:
    if options.pids_limit is None:
        return None
    # Docker takes 0 for "no limit" too.
    return model.Pids(limit=options.pids_limit or -1)


def _numbers(host: HostFacts, path: str) -> tuple[int, int]:
    node = host.device(path)
    if node.type != "b":
        raise InvalidOption(f"device {path} is no block device; limits of disk traffic need one")
    return node.major or 0, node.minor or 0


def _throttles(rates: Mapping[str, int] | None, host: HostFacts) -> tuple[model.ThrottleDevice, ...]:
    found = []
    for path, rate in (rates or {}).items():
        major, minor = _numbers(host, path)
        found.append(model.ThrottleDevice(major=major, minor=minor, rate=rate))
    return tuple(found)


def _block_io(options: RunOptions, host: HostFacts) -> model.BlockIO | None:
    weights = []
    for path, weight in (options.blkio_weight_device or {}).items():
        major, minor = _numbers(host, path)
        weights.append(model.WeightDevice(major=major, minor=minor, weight=weight))
    given: dict[str, Any] = {
        "weight": options.blkio_weight,
        "weight_device": tuple(weights),
        "throttle_read_bps_device": _throttles(options.device_read_bps, host),
        "throttle_write_bps_device": _throttles(options.device_write_bps, host),
        "throttle_read_iops_device": _throttles(options.device_read_iops, host),
        "throttle_write_iops_device": _throttles(options.device_write_iops, host),
    }
    return None if all(value in (None, ()) for value in given.values()) else model.BlockIO(**given)


def _split_device(text: str) -> tuple[str, str, str]:
    """Read "/dev/sdc", "/dev/sdc:rwm", "/dev/sdc:/dev/xvdc" or "/dev/sdc:/dev/xvdc:rwm"."""
    source, *rest = text.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    target = rest.pop() if rest else source
    is_path = (
        source.startswith("/dev/")
        and ".." not in source.split("/")
        and target.startswith("/dev/")
        and ".." not in target.split("/")
    )
    if rest or not is_path or not access or set(access) - set("rwm"):
        raise InvalidOption(
            f"option devices={text!r}: give /dev/NAME, /dev/NAME:/dev/INSIDE or one with :rwm, "
            "or a CDI name as vendor/class=device"
        )
    return source, target, access


def device_edits(options: RunOptions, host: HostFacts) -> cdi.Edits:
    """What the devices asked for by name add. Raises NotFound, InvalidOption, Unsupported."""
    names = [text for text in options.devices or () if cdi.is_name(text)]
    if options.gpus is not None:
        names += cdi.gpu_names(options.gpus, host.device_directories)
    if not names:
        return cdi.Edits()
    return cdi.edits_of(names, node=host.device, directories=host.device_directories)


def _by_path(options: RunOptions, host: HostFacts) -> Iterator[tuple[model.Device, str, str]]:
    """Each device asked for by path: as it is on the host, its place inside, and the access to it."""
    for text in options.devices or ():
        if cdi.is_name(text):
            continue
        source, target, access = _split_device(text)
        below = host.devices_below(source)
        if below is None:
            yield host.device(source), target, access
        for node in below or ():
            yield node, target.rstrip("/") + node.path.removeprefix(source.rstrip("/")), access


def device_nodes(options: RunOptions, host: HostFacts, edits: cdi.Edits) -> tuple[model.Device, ...]:
    """Nodes to make beyond the launcher's default ones: those asked for, or with privileged all."""
    found = {device.path: device for device in host.all_devices()} if options.privileged else {}
    for node, target, _ in _by_path(options, host):
        found[target] = model.Device(
            type=node.type,
            path=target,
            major=node.major,
            minor=node.minor,
            file_mode=node.file_mode,
            uid=node.uid,
            gid=node.gid,
        )
    found.update((device.path, device) for device in edits.devices)
    return tuple(found.values())


def _device_rules(options: RunOptions, host: HostFacts, edits: cdi.Edits) -> tuple[model.DeviceRule, ...]:
    if options.privileged:
        return defaults.ALL_DEVICES
    found = list(defaults.DEVICE_RULES)
    for node, _, access in _by_path(options, host):
        found.append(
            model.DeviceRule(allow=True, type=node.type, major=node.major, minor=node.minor, access=access)
        )
    for line in options.device_cgroup_rules or ():
        kind, numbers, access = line.split()
        major, minor = (None if number == "*" else int(number) for number in numbers.split(":"))
        if kind == "a" and (major is not None or minor is not None or set(access) != set("rwm")):
            raise InvalidOption(f"option device_cgroup_rules={line!r}: all types means all; give a *:* rwm")
        found.append(model.DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access))
    return (*found, *edits.rules)
