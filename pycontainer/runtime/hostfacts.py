"""What this host is, looked up once: kernel, capabilities, cgroups, CPUs, devices.

`build_spec` takes these as data, so that a spec for another host can be made in a test.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from pycontainer.errors import InvalidOption
from pycontainer.kernel import caps
from pycontainer.runtime.cgroups.detection import CgroupLayout, detect
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.oci import runtime as model

# Nodes below these are made anew in every container, or are no devices (moby: getDevicesFromPath).
_OWN_DIRECTORIES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
_ZONES = "/usr/share/zoneinfo"
_MAX_ZONE_BYTES = 16 << 10
_OWN_NODES = frozenset({"console", "null", "zero", "full", "random", "urandom", "tty", "ptmx"})


def device_node(path: str) -> model.Device:
    """The device behind a path of the host, links followed.

    Raises: InvalidOption when there is none.
    """
    try:
        found = os.stat(path)
    except OSError as problem:
        raise InvalidOption(f"device {path}: {problem.strerror}; give a device of this host") from None
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        raise InvalidOption(f"device {path} is no character or block device; bind other files instead")
    from pycontainer.oci import runtime as model  # only for devices of the host

    return model.Device(
        type=kind,
        path=path,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        file_mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )


def devices_below(path: str) -> tuple[model.Device, ...] | None:
    """The devices in a directory of the host and those below it; None when the path is no directory."""
    if not os.path.isdir(path):
        return None
    found = []
    for directory, _, names in os.walk(path):
        for name in sorted(names):
            inner = os.path.join(directory, name)
            # Links are left out, as Docker does: where they lead is not what was asked for.
            if stat.S_IFMT(os.lstat(inner).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                found.append(device_node(inner))
    if not found:
        raise InvalidOption(f"device {path}: there is none in this directory; give a device of this host")
    return tuple(found)


def host_devices() -> tuple[model.Device, ...]:
    """Every device node of the host's /dev but those that each container has of its own."""
    found = []
    for directory, subdirectories, names in os.walk("/dev"):
        if directory == "/dev":
            subdirectories[:] = [name for name in subdirectories if name not in _OWN_DIRECTORIES]
            names = [name for name in names if name not in _OWN_NODES]
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                found.append(device_node(path))
    return tuple(sorted(found, key=lambda device: device.path))


@frozen(kw_only=True, eq=False, repr=False)
class HostFacts(Value):
    """Facts about one host; `device` and `all_devices` look at /dev when called."""

    kernel: tuple[int, int]
    """Version of the kernel, as (6, 18)."""
    architecture: str
    """As uname -m says: x86_64, aarch64."""
    capabilities: tuple[str, ...]
    """Every capability that the kernel knows and this process may pass on, in the kernel's order."""
    cgroups: CgroupLayout
    cpus: frozenset[int]
    """Numbers of the CPUs that are online."""
    seccomp: bool
    """Whether the kernel takes system call filters."""
    has_apparmor: bool = False
    """Whether the kernel runs AppArmor."""
    has_selinux: bool = False
    """Whether the kernel runs SELinux."""
    has_systemd: bool = False
    """Whether systemd is the host's first process."""
    extra_masked_paths: tuple[str, ...] = ()
    """Paths to hide that depend on the hardware: each CPU's thermal throttle counters."""
    device: Callable[[str], model.Device] = device_node
    devices_below: Callable[[str], tuple[model.Device, ...] | None] = devices_below
    all_devices: Callable[[], tuple[model.Device, ...]] = host_devices
    device_directories: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    """Where specifications of devices by name are."""

    @classmethod
    def detect(cls) -> HostFacts:
        """Look at this host; the answer is kept for the life of the process."""
        return _detected()


@functools.cache
def _detected() -> HostFacts:
    about = os.uname()
    version = re.match(r"(\d+)\.(\d+)", about.release)
    assert version is not None, about.release
    return HostFacts(
        kernel=(int(version[1]), int(version[2])),
        architecture=about.machine,
        capabilities=tuple(caps.names(caps.supported() & _bounding())),
        cgroups=detect(),
        cpus=frozenset(_number_list(_read("/sys/devices/system/cpu/online")))
        or frozenset(os.sched_getaffinity(0)),
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        has_apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        has_selinux=os.path.exists("/sys/fs/selinux/enforce"),
        has_systemd=os.path.isdir("/run/systemd/system"),  # sd_booted(3)
        extra_masked_paths=tuple(sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"))),
    )


def time_zone(name: str) -> str:
    """The rules of a time zone of this host, for /etc/localtime; each byte as the launch passes bytes on.

    name: as in the zone database, or "local" for the host's own. Raises: InvalidOption.
    """
    path = "/etc/localtime" if name == "local" else os.path.join(_ZONES, name)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_ZONE_BYTES + 1)
    except OSError as problem:
        raise InvalidOption(
            f"option tz={name!r}: {path} of this host: {problem.strerror}; install tzdata, or set TZ with env"
        ) from None
    if not content.startswith(b"TZif") or len(content) > _MAX_ZONE_BYTES:
        raise InvalidOption(f"option tz={name!r}: {path} of this host holds no time zone")
    return content.decode("utf-8", "surrogateescape")


def _bounding() -> int:
    for line in _read("/proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == "CapBnd":
            return int(value, 16)
    return 0


def _number_list(text: str) -> list[int]:
    """Read the kernel's list form, as "0-3,5"."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
