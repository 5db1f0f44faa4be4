"""What a container gets when nobody asks: Docker's defaults, as data.

Source: moby, daemon/pkg/oci/defaults.go and daemon/pkg/oci/caps/defaults.go; reference lists of
security.md. No device nodes are listed: the launcher always makes null, zero, full, random, urandom, tty,
ptmx, console where there is a terminal, and the links fd, stdin, stdout, stderr, core.
"""

from __future__ import annotations

from pycontainer.oci import runtime as model
from pycontainer.runtime import cgroups

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",  # keystroke timing (moby GHSA-6fw5-f8r9-fgfm)
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",  # power readings leak keys (CVE-2020-8694)
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_KERNEL_FS = ("nosuid", "noexec", "nodev")
SHM_BYTES = 64 << 20

PROC = model.Mount(destination="/proc", type="proc", source="proc", options=_KERNEL_FS)
DEV = model.Mount(
    destination="/dev",
    type="tmpfs",
    source="tmpfs",
    options=("nosuid", "strictatime", "mode=755", "size=65536k"),
)
DEVPTS = model.Mount(
    destination="/dev/pts",
    type="devpts",
    source="devpts",
    options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
)
MQUEUE = model.Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_KERNEL_FS)
TMPFS_OPTIONS = ("nosuid", "nodev", "noexec")


def sysfs(*, is_writable: bool) -> model.Mount:
    """/sys as a view of the container's own network namespace."""
    return model.Mount(
        destination="/sys", type="sysfs", source="sysfs", options=(*_KERNEL_FS, "rw" if is_writable else "ro")
    )


def cgroup(*, is_writable: bool) -> model.Mount:
    """/sys/fs/cgroup, of whichever version the host has."""
    access = "rw" if is_writable else "ro"
    return model.Mount(
        destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_KERNEL_FS, access)
    )


def shm(size_bytes: int) -> model.Mount:
    """/dev/shm, a tmpfs of its own that anyone inside may write."""
    options = (*_KERNEL_FS, "mode=1777", f"size={size_bytes}")
    return model.Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options)


def host_bind(path: str, *options: str) -> model.Mount:
    """The host's own directory at the same place inside."""
    return model.Mount(destination=path, type="bind", source=path, options=("rbind", *options))


def container_bind(path: str, container: str) -> model.Mount:
    """The directory of another container ("container:NAME"), which the launch gets as a descriptor."""
    return model.Mount(
        destination=path, type="bind", source=f"{container}:{path}", options=("bind", *_KERNEL_FS)
    )


# The kernel settings that belong to a namespace; all else is the host's (moby: opts.ValidateSysctl).
IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)

DEVICE_RULES = (
    model.DeviceRule(allow=False, access="rwm"),
    *(model.DeviceRule(**rule) for rule in cgroups.USUAL_DEVICES),
)
ALL_DEVICES = (model.DeviceRule(allow=True, access="rwm"),)
