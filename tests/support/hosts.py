"""A host for what is worked out from facts about one, whatever this one is like."""

from __future__ import annotations

from pycontainer.errors import InvalidOption
from pycontainer.oci import runtime as model
from pycontainer.runtime import HostFacts
from pycontainer.runtime.cgroups import CgroupLayout
from pycontainer.runtime.defaults import CAPABILITIES

V2 = CgroupLayout(
    mode="v2",
    v2="/sys/fs/cgroup",
    v2_controllers=frozenset({"memory", "cpu", "cpuset", "io", "pids", "hugetlb"}),
)


def _device(path: str) -> model.Device:
    known = {"/dev/sda": ("b", 8, 0), "/dev/fuse": ("c", 10, 229), "/dev/kmsg": ("c", 1, 11)}
    if path not in known:
        raise InvalidOption(f"device {path}: no such file")
    kind, major, minor = known[path]
    return model.Device(type=kind, path=path, major=major, minor=minor, file_mode=0o660, uid=0, gid=6)


HOST = HostFacts(
    kernel=(6, 1),
    architecture="x86_64",
    capabilities=(*CAPABILITIES, "CAP_SYS_ADMIN", "CAP_NET_ADMIN"),
    cgroups=V2,
    cpus=frozenset({0, 1}),
    seccomp=True,
    extra_masked_paths=("/sys/devices/system/cpu/cpu0/thermal_throttle",),
    device=_device,
    all_devices=lambda: (_device("/dev/fuse"), _device("/dev/kmsg")),
)
