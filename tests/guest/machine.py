"""A virtual machine with cgroup v2 only, made from what is at hand: Debian's kernel, this interpreter.

The disk holds this Python with its libraries at their own paths, the package under test, busybox and one
image; the initial RAM disk loads the disk driver and hands over. Nothing of the host is shared with it.
Its first process is busybox's shell, or systemd, on a Debian that is kept between runs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guest import libraries
from tests.support import debian, images

META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_blk", "overlay")
LIBRARIES = (
    "anyio attr attrs backports cachetools certifi click h11 httpcore httpx idna isal markdown_it mdurl "
    "pygments pyroute2 rich typing_extensions.py "
    "_pytest iniconfig packaging pluggy py.py pytest pytest_timeout.py "
    "_cffi_backend.*.so cffi cryptography"
).split()
PARTS = ("benchmarks", "docs", "examples")
"""Of the repository, what some tests look at."""
NOT_NEEDED = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages")
VERDICT = "VERDICT "
BOOT_LIMIT_S = 240.0
LOADABLE = ("crypto", "drivers/block", "drivers/net", "fs", "lib", "net")
"""Parts of the kernel's modules that the engine and its tests may have loaded."""

PROCESSOR = "qemu64,+rdrand"
"""Without wide vectors, for which libraries have code that is faster unless emulated; with what fills the
kernel's pool of randomness at once.
"""
MEMORY_MIB = 2048
DISK_BYTES = 4 << 30


@dataclass(frozen=True)
class Debian:
    """A machine with systemd: what else is in it. `name` is that of its directory in the cache."""

    name: str
    packages: tuple[str, ...]
    is_whole: bool = False
    """Whether it has all libraries and files of the project that the integration suite asks for."""
    memory_mib: int = MEMORY_MIB
    disk_bytes: int = DISK_BYTES


SYSTEMD = Debian(
    "systemd",
    (
        *("bash", "coreutils", "dbus", "findutils", "grep", "iproute2", "mount", "procps", "sed"),
        *("systemd", "systemd-sysv", "util-linux"),
    ),
)
SUITE = Debian(
    "suite",
    (
        *SYSTEMD.packages,
        *("curl", "docker-registry", "e2fsprogs", "git", "gzip", "nftables", "openssh-client"),
        *("skopeo", "tar"),
    ),
    is_whole=True,
    memory_mib=4096,
    disk_bytes=16 << 30,
)

_INITRAMFS_INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
for turn in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && break; /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /guest/init
"""
_DISK_INIT = """\
#!/bin/busybox sh
export PATH=/bin:/usr/bin:/sbin PYTHONPATH=/guest/libraries:/guest/repository PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
echo 3 > /proc/sys/kernel/printk
{python} /guest/repository/tests/guest/{script}
poweroff -f
"""
_UNIT = """\
[Unit]
Description=The test of this machine
After=dbus.service basic.target

[Service]
Type=oneshot
Environment=PYTHONPATH=/guest/libraries:/guest/repository PYTHONDONTWRITEBYTECODE=1 HOME=/root
Environment=PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin
WorkingDirectory=/guest/repository
ExecStart={python} /guest/repository/tests/guest/{script}
ExecStopPost=/usr/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
"""
_NOT_STARTED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer "
    "getty.target systemd-logind.service systemd-timesyncd.service systemd-update-utmp.service "
    "systemd-tmpfiles-setup.service systemd-random-seed.service systemd-journal-flush.service"
).split()


def _run(*command: str | os.PathLike[str], cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=600).stdout


def fetch_kernel(cache: Path) -> tuple[Path, Path]:
    """Debian's cloud kernel, unpacked below cache: its image and its directory of modules."""
    dependencies = _run("apt-cache", "depends", META_PACKAGE)
    match = re.search(r"Depends: (linux-image-\S+)", dependencies)
    if match is None:
        raise FileNotFoundError(f"apt knows no {META_PACKAGE}: apt-get update")
    release = match[1].removeprefix("linux-image-").removesuffix("-unsigned")
    target = cache / release
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "download", "-qq", match[1], cwd=cache)
        (package,) = cache.glob(f"{match[1]}_*.deb")
        partial = cache / f"{release}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _run("dpkg-deb", "-x", package, partial)
        package.unlink()
        partial.rename(target)
    (image,) = (target / "boot").glob("vmlinuz-*")
    (modules,) = [path for path in (target / "lib/modules").iterdir() if path.is_dir()]
    return image, modules


def _ordered_modules(directory: Path) -> dict[str, Path]:
    """The wanted modules after those they depend on; what is built into the kernel has no file."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in directory.rglob("*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or name in ordered:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for needed in found[1].decode().split(",") if found else []:
            add(needed)
        ordered[name] = path

    for name in MODULES:
        add(name)
    return ordered


def make_initramfs(work: Path, modules: Path) -> Path:
    """A cpio archive with busybox and the modules it takes to reach the disk."""
    tree = work / "initramfs"
    (tree / "modules").mkdir(parents=True)
    (tree / "bin").mkdir()
    busybox = images.busybox_path()
    assert busybox is not None
    shutil.copy2(busybox, tree / "bin/busybox")
    ordered = _ordered_modules(modules)
    for name, path in ordered.items():
        shutil.copy2(path, tree / "modules" / f"{name}.ko")
    (tree / "init").write_text(_INITRAMFS_INIT.format(modules=" ".join(ordered)))
    (tree / "init").chmod(0o755)
    archive = work / "initramfs.cpio"
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with archive.open("wb") as stream:
        command = [busybox, "cpio", "-o", "-H", "newc"]
        subprocess.run(
            command, cwd=tree, input=names.encode(), stdout=stream, check=True, stderr=subprocess.DEVNULL
        )
    return archive


def _copy(source: Path, tree: Path) -> None:
    """Copy a file or directory to its own path below tree."""
    target = tree / source.relative_to("/")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_NEEDED, "config-*"))
    else:
        shutil.copy2(source, target)


def _shared_libraries(objects: list[Path]) -> set[Path]:
    found: set[Path] = set()
    for line in _run("ldd", *objects).splitlines():
        match = re.search(r"(?:=> )?(/\S+) \(0x", line)
        if match:
            found.add(Path(match[1]))
    return found


def _install_python(tree: Path, *, is_whole: bool) -> Path:
    """Copy this interpreter, its libraries (all that tests use, or few) and what they load; its path."""
    python = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
    python = python.resolve()
    standard = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    _copy(python, tree)
    _copy(standard, tree)
    target = tree / "guest/libraries"
    target.mkdir(parents=True)
    if is_whole:
        for distribution in libraries.needed_by("pycontainer-engine", "test"):
            libraries.copy(distribution, target)
    else:
        _copy_some_libraries(target)
    objects = [python, *standard.rglob("*.so"), *target.rglob("*.so")]
    for path in _shared_libraries(objects):
        if target not in path.parents:
            _copy(path, tree)
    return python


def _copy_some_libraries(target: Path) -> None:
    installed = Path(sysconfig.get_path("purelib"))
    # One asks for its own version, pytest finds the other by what it tells of itself.
    for name in ("pluggy", "pytest_timeout"):
        for about in installed.glob(f"{name}-*.dist-info"):
            shutil.copytree(about, target / about.name)
    for source in (path for name in LIBRARIES for path in installed.glob(name)):
        if source.is_dir():
            shutil.copytree(source, target / source.name)
        else:
            shutil.copy2(source, target)


def _unpacked(wanted: Debian, cache: Path) -> Path:
    """A Debian tree with systemd, of the host's own release, unpacked once."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    target = cache / f"{wanted.name}-{release}"
    if not target.is_dir():
        partial = cache / f"{wanted.name}-{release}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        debian.unpack(partial, wanted.packages, {"tty": 5, "messagebus": 100, "nobody": 65534})
        (partial / "usr/bin/sh").symlink_to("bash")
        # Else it would take this for its first boot, and turn on all that there is.
        (partial / "etc/machine-id").write_text("b08dfa6083e7567a1921a715000001fb\n")
        partial.rename(target)
    return target


def _add_busybox_init(tree: Path, python: Path, script: str) -> None:
    for name in ("run", "sbin", "var/lib"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "guest/init").write_text(_DISK_INIT.format(python=python, script=script))
    (tree / "guest/init").chmod(0o755)


def _add_systemd_unit(tree: Path, python: Path, script: str) -> None:
    units = tree / "etc/systemd/system"
    (units / "guest.service").write_text(_UNIT.format(python=python, script=script))
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "guest.service").symlink_to("../guest.service")
    for name in _NOT_STARTED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (tree / "guest/init").symlink_to("/sbin/init")
    shutil.copy2(images.busybox_path() or "", tree / "bin/busybox")


def _add_modules(tree: Path, modules: Path) -> None:
    """The modules that the kernel asks modprobe for, and their index."""
    target = tree / "lib/modules" / modules.name
    for name in LOADABLE:
        shutil.copytree(modules / "kernel" / name, target / "kernel" / name)
    for about in modules.glob("modules.*"):
        shutil.copy2(about, target)
    _run(images.busybox_path() or "", "depmod", "-b", tree, modules.name)
    (tree / "sbin/modprobe").symlink_to("/bin/busybox")


def make_disk(
    work: Path, cache: Path, script: str, system: Debian | None, arguments: Sequence[str], modules: Path
) -> Path:
    """An ext4 image with Python, the package, busybox, the image to run and the script's arguments."""
    if system is None:
        tree = images.busybox_rootfs(work / "tree")
    else:
        tree = work / "tree"
        _run("cp", "-a", _unpacked(system, cache), tree)
    is_whole = system is not None and system.is_whole
    python = _install_python(tree, is_whole=is_whole)
    repository = Path(__file__).resolve().parent.parent.parent
    for name in ("pycontainer", "tests", *(PARTS if is_whole else ())):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, tree / "guest/repository" / name, ignore=ignored)
    shutil.copy2(repository / "pyproject.toml", tree / "guest/repository")
    # Each process in the machine imports the package, and would compile it first.
    compiled = ("-q", "-j0", "--invalidation-mode", "unchecked-hash", tree / "guest", "-s", tree, "-p", "/")
    _run(sys.executable, "-m", "compileall", *compiled)
    (tree / "guest/arguments.json").write_text(json.dumps(list(arguments)))
    rootfs = images.busybox_rootfs(work / "rootfs")
    layers = [
        images.tar_of(rootfs),
        images.tar_with({"srv/": None, "srv/greeting": b"of the second layer\n"}),
    ]
    images.oci_layout(tree / "guest/layout", layers)
    (_add_busybox_init if system is None else _add_systemd_unit)(tree, python, script)
    if system is not None:
        _add_modules(tree, modules)
    disk = work / "disk.img"
    with disk.open("wb") as stream:
        stream.truncate(system.disk_bytes if system else DISK_BYTES)
    _run("mkfs.ext4", "-q", "-F", "-d", tree, disk)
    shutil.rmtree(tree)
    return disk


def boot(
    work: Path,
    cache: Path,
    script: str = "inside.py",
    *,
    system: Debian | None = None,
    command_line: str = "",
    arguments: Sequence[str] = (),
    limit_s: float = BOOT_LIMIT_S,
    is_shown: bool = False,
) -> tuple[dict[str, Any], str]:
    """Boot the machine, run the script of this directory in it; its verdict and everything it said.

    system: a Debian with systemd as its first process, and the kernel's modules; else busybox is all there
    is. command_line: further words for the kernel. arguments: what the script finds in
    /guest/arguments.json. is_shown: copy what it says to our standard output meanwhile.
    Raises: subprocess.TimeoutExpired after limit_s, AssertionError if it gave no verdict.
    """
    image, modules = fetch_kernel(cache)
    initramfs = make_initramfs(work, modules)
    disk = make_disk(work, cache, script, system, arguments, modules)
    memory_mib = system.memory_mib if system else MEMORY_MIB
    hierarchy = command_line or "cgroup_no_v1=all"
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-m", str(memory_mib),
        "-smp", "2", "-nographic", "-no-reboot", "-nic", "none", "-kernel", image, "-initrd", initramfs,
        "-append", f"console=ttyS0 quiet loglevel=2 panic=-1 mitigations=off {hierarchy}",
        "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
    ]  # fmt: skip
    said = _watch(command, work / "console", limit_s, is_shown=is_shown)
    for line in said.splitlines():
        if line.startswith(VERDICT):
            verdict: dict[str, Any] = json.loads(line.removeprefix(VERDICT))
            return verdict, said
    raise AssertionError(f"the machine gave no verdict:\n{said[-8000:]}")


def _watch(command: Sequence[str | Path], console: Path, limit_s: float, *, is_shown: bool) -> str:
    """Run the machine to its end; what it said. Raises: subprocess.TimeoutExpired."""
    deadline = time.monotonic() + limit_s
    with (
        console.open("wb", buffering=0) as stream,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as machine,
    ):
        assert machine.stdout is not None
        try:
            while select.select([machine.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                chunk = os.read(machine.stdout.fileno(), 65536)
                if not chunk:
                    break
                stream.write(chunk)
                if is_shown:
                    sys.stdout.write(chunk.decode(errors="replace"))
                    sys.stdout.flush()
            else:
                late = subprocess.TimeoutExpired(list(command), limit_s)
                late.add_note(console.read_text(errors="replace")[-8000:])
                raise late
        finally:
            machine.kill()
    return console.read_text(errors="replace")
