"""Ways out of a container that a program in it, an image or an option could try: none leads out."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.integration.test_attacks import Make, base, canary, layer, make, untouched

pytestmark = pytest.mark.needs("root", "overlay")

__all__ = ["base", "canary", "make"]  # fixtures


def sh(engine: pc.Engine, image: pc.Image, script: str, **options: Any) -> list[str]:
    """What the script writes; each line of it is one attempt."""
    return pc.run(
        image, ["sh", "-c", f"exec 2>&1; {script}; true"], engine=engine, **options
    ).text.splitlines()


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -t cgroup -o memory x /mnt",
        "mount -t proc x /mnt",
        "mount -o remount,rw /proc/sys",
        "mount -o remount,rw /sys",
        "umount /proc/kcore",
        "unshare -U true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "dmesg",
        "hostname other",
        "swapoff -a; swapon /etc/hosts",
        "ip link add dummy0 type dummy",
        "insmod /etc/hosts",
        "chroot / sh -c 'pivot_root . .'",
        "echo c > /proc/sysrq-trigger",
        "echo '|/x' > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo /x > /sys/kernel/uevent_helper",
        "echo 1 > /proc/irq/default_smp_affinity",
        "mkdir /sys/fs/cgroup/mine; mkdir /sys/fs/cgroup/memory/mine",
    ],
)
def test_what_belongs_to_the_host_is_refused_to_root_inside(
    engine: pc.Engine, busybox: pc.Image, attempt: str
) -> None:
    seen = sh(engine, busybox, f"{attempt} && echo it worked")
    assert "it worked" not in seen
    words = ("ermission denied", "ot permitted", "ead-only", "onexistent", "an't", "o such", "annot", "rror")
    assert any(word in line for line in seen for word in words), seen


def test_what_is_hidden_tells_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    script = (
        "cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2> /dev/null | wc -c; "
        "ls -A /sys/firmware /proc/scsi 2> /dev/null | grep -v :"
    )
    assert "".join(sh(engine, busybox, script)) == "0"


def test_a_node_of_the_hosts_disk_is_made_and_not_opened(engine: pc.Engine, busybox: pc.Image) -> None:
    number = os.stat(os.path.realpath("/")).st_dev
    disk = f"{os.major(number) or 8} {os.minor(number)}"
    script = f"mknod /disk b {disk}; mknod /kmem c 1 1; cat /disk; cat /kmem"
    seen = sh(engine, busybox, script)
    assert len(seen) == 2
    assert all("not permitted" in line for line in seen)


def test_the_first_process_that_is_our_init_shows_nothing_of_the_host(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = (
        "cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/1/environ; cat /proc/1/maps; readlink /proc/1/exe; "
        "ls /proc/1/fd; ls /proc/1/root/; cat /proc/1/mem"
    )
    seen = "\n".join(sh(engine, busybox, script, init=True))
    for secret in (str(engine.root), sys.prefix, "python", "zygote"):
        assert secret not in seen
    assert seen.startswith("init ")


@pytest.mark.parametrize("way", ["#!/proc/self/exe", "link"])
def test_an_image_that_has_the_engine_execute_itself_gets_no_writable_copy(
    make: Make, engine: pc.Engine, way: str
) -> None:
    """CVE-2019-5736."""
    before = hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).digest()
    evil = layer(("bin/evil", "/proc/self/exe")) if way == "link" else layer(bin__evil=b"#!/proc/self/exe\n")
    image = make(evil)
    with pc.Container(image, ["sleep", "100"], engine=engine) as box:
        for command in (["/bin/evil"], ["/bin/evil", "-c", "open('/proc/self/exe', 'ab').write(b'x')"]):
            try:
                seen = box.exec(command, timeout=20)
            except errors.LaunchError:
                continue
            assert seen.exit_code != 0
    assert hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).digest() == before


def test_files_of_the_engine_in_a_container_do_not_grow_without_end(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    fill = "dd if=/dev/zero of=/etc/$f bs=1M count=64"
    script = f"for f in hosts hostname resolv.conf; do {fill}; done; du -c /etc/hosts"
    seen = sh(engine, busybox, script)
    assert sum("No space" in line for line in seen) == 3
    assert int(seen[-1].split()[0]) <= 64


def test_dev_does_not_grow_without_end(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = sh(engine, busybox, "dd if=/dev/zero of=/dev/x bs=1M count=80; du -m /dev/x")
    assert any("No space" in line for line in seen)
    assert int(seen[-1].split()[0]) <= 64


def test_a_time_zone_goes_to_no_link_of_the_image(make: Make, engine: pc.Engine, canary: Path) -> None:
    image = make(layer(("etc/localtime", f"../../../../..{canary}/canary")))
    with suppress(errors.LaunchError):
        pc.run(image, ["true"], tz="local", engine=engine)
    assert untouched(canary)


def test_users_are_not_looked_up_in_files_of_the_host(make: Make, engine: pc.Engine, canary: Path) -> None:
    (canary / "canary").write_text("ghost:x:4321:4321::/:/bin/sh\n")
    for target in (f"{canary}/canary", f"../../../../../../..{canary}/canary", "/proc/self/environ"):
        with pytest.raises(errors.LaunchError):
            pc.run(make(layer(("etc/passwd", target))), ["id"], user="ghost", engine=engine)


def test_an_image_cannot_have_a_volume_over_the_kernels_directories(make: Make, engine: pc.Engine) -> None:
    volumes: dict[str, Any] = {
        path: {} for path in ("/proc/1", "/sys/fs/cgroup", "/dev/../proc", "/../srv/x")
    }
    script = "grep -c ' /proc/1 ' /proc/mounts; grep -o ' /srv/x ' /proc/mounts"
    seen = pc.run(make(Volumes=volumes), ["sh", "-c", script], engine=engine)
    assert seen.text.split() == ["0", "/srv/x"]


@pytest.mark.parametrize(
    "options",
    [
        {"cgroup_parent": "/../../../tmp"},
        {"cgroup_parent": "/a/../../b"},
        {"cgroup_conf": {"../../memory.max": "1"}},
        {"cgroup_conf": {"/etc/passwd": "1"}},
        {"cgroup_conf": {"memory.max": "1\n2"}},
        {"devices": ["/etc/passwd"]},
        {"devices": ["/dev/null:/proc/sys/x"]},
        {"devices": ["/dev/null:/../../x"]},
        {"sysctls": {"net/../kernel/core_pattern": "x"}},
        {"sysctls": {"net.ipv4.ip_forward": "1\nkernel.panic=1"}},
        {"tmpfs": {"/proc/sys": ""}},
        {"hostname": "a\n127.0.0.1 google.com"},
        {"extra_hosts": {"a b": "1.2.3.4"}},
        {"env": {"A": "1\0B=2"}},
        {"name": "../../etc"},
        {"user": "0\n0"},
        {"workdir": "/a\0b"},
        {"label_file": "/dev/zero"},
        {"env_file": "/dev/zero"},
    ],
    ids=str,
)
def test_an_option_that_reaches_for_the_host_is_refused(
    engine: pc.Engine, busybox: pc.Image, options: dict[str, Any]
) -> None:
    with pytest.raises((errors.InvalidOption, errors.LaunchError, errors.Unsupported)):
        pc.run(busybox, ["true"], engine=engine, **options)


def test_no_router_is_believed_and_links_without_ipv6_have_none(engine: pc.Engine, busybox: pc.Image) -> None:
    network = pc.Network.create("plain", engine=engine)
    try:
        script = "cd /proc/sys/net/ipv6/conf/eth0; cat accept_ra disable_ipv6"
        assert sh(engine, busybox, script, network="plain") == ["0", "1"]
    finally:
        network.remove()
