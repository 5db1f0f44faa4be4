"""A container that gets what was made ahead is the same as one for which all is made when it is asked for."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import expect_network, use_helper
from pycontainer.launcher import Helper
from tests.support import images, stores
from tests.support.processes import await_next

pytestmark = pytest.mark.needs("root", "overlay")

_LOOK = r"""
echo "ipc namespace: $(readlink /proc/1/ns/ipc)"
echo "== mounts"; cat /proc/1/mountinfo
echo "== status"; cat /proc/1/status
echo "== descriptors"; ls -l /proc/1/fd
echo "== cgroups"; cat /proc/1/cgroup; ls -l /sys/fs/cgroup | awk '{print $1, $9, $10, $11}'
for file in memory/memory.limit_in_bytes memory.max pids/pids.max pids.max cpu/cpu.shares cpu.weight \
    devices/devices.list cgroup.procs; do
    [ -e /sys/fs/cgroup/$file ] && echo "$file: $(cat /sys/fs/cgroup/$file)"
done
echo "== limits"; cat /proc/1/limits; cat /proc/1/oom_score_adj /proc/1/timerslack_ns /proc/1/personality
echo "== devices"; ls -lR /dev | awk '!/^total/ {print $1, $3, $4, $5, $6, $10, $11, $12}'
echo "== network"; cat /proc/1/net/dev | cut -d: -f1; cat /sys/class/net/*/flags
echo "== sysctls"; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced
echo "== hidden"
for path in /proc/kcore /proc/keys /proc/timer_list /sys/firmware /proc/acpi; do
    [ -e $path ] && { ls -A $path; head -c 1 $path 2>/dev/null | wc -c; }
done
for path in /proc/sys/kernel/shm_rmid_forced /proc/sysrq-trigger /proc/irq/default_smp_affinity \
    /sys/power/state; do
    [ -e $path ] && { ( : >>$path ) 2>/dev/null && echo "$path is writable"; }
done
echo "== others"; hostname; pwd; umask; env | sort; id; ls -a /
ls -l /proc/1/cwd /proc/1/root | awk '{print $9, $10, $11}'
ls /dev/mqueue /dev/shm
"""

_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "limited": {"memory": "64m", "pids_limit": 50, "cpu_shares": 512, "ulimits": {"nofile": (100, 200)}},
    "init": {"init": True},
    "devices": {"devices": ["/dev/full:/dev/other:rw"]},
    "sysctls": {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}},
    "read only": {"read_only": True, "tmpfs": {"/run": "size=1m"}},
    "privileged": {"privileged": True},
    "tmpfs on shm": {"tmpfs": {"/dev/shm": "size=2m,mode=755"}},
    "terminal": {"tty": True},
    "user": {"user": "web", "cap_add": ["NET_RAW"]},
    "host network": {"network": "host"},
    "host pids": {"pid": "host"},
    "own time": {"time": "private"},
    "host cgroups": {"cgroupns": "host"},
    "bridge": {"network": "bridge"},
}


def _look(engine: pc.Engine, image: pc.Image, options: dict[str, Any]) -> tuple[str, str]:
    """What a container with these options sees of itself, without what differs in any two; and of which
    ipc namespace it is."""
    # Among the host's processes the first of the container is not number 1.
    script = _LOOK.replace("/proc/1/", "/proc/$$/") if options.get("pid") == "host" else _LOOK
    text = pc.run(image, ["sh", "-c", script], hostname="same", engine=engine, **options).text
    text = re.sub(r"/proc/\d+/", "/proc/1/", text)
    first, _, rest = text.partition("\n")
    rest = re.sub(r"[0-9a-f]{64}", "ID", rest)
    rest = re.sub(r"(?m)^\d+ \d+ \d+:\d+ ", "", rest)  # of mountinfo: numbers of mounts and file systems
    rest = re.sub(r"(upperdir|workdir|lowerdir\+?)=[^, ]*", r"\1", rest)
    rest = re.sub(r" \w{3} +\d+ +\d+:\d+ ", " ", rest)  # times of links to descriptors
    rest = re.sub(r"((?:pipe|socket|pid|mnt|net|anon_inode):)\[\d+\]", r"\1[]", rest)
    # SigQ counts the signals queued for the user on the whole host; State is of that moment.
    rest = re.sub(r"(?m)^(Vm|Rss|voluntary|nonvoluntary|Hugetlb|Cpus_allowed|x86|SigQ|State).*\n", "", rest)
    if options.get("pid") == "host":
        rest = re.sub(r"(?m)^cgroup\.procs: .*\n", "", rest)
        rest = re.sub(r"(?m)^(N?S?t?g?id|Pid|PPid|Tgid|Ngid|NS\w+|FDSize|Threads|SigQ).*\n|^\d+$", "", rest)
    if options.get("network") == "host":
        # Whoever else works on this host makes and removes links meanwhile.
        rest = re.sub(r"(?s)== network\n.*?(?=== sysctls)", "", rest)
    mounts, mark, others = rest.partition("== status")
    # The kernel lists them in the order in which they were made.
    return first.rpartition(" ")[2], "\n".join(sorted(mounts.splitlines())) + mark + others


class TestLikeOneMadeWhenAsked:
    """By what the container sees: mounts, descriptors, ids, limits, cgroups, devices, namespaces."""

    @pytest.fixture(autouse=True)
    def forwarding(self, engine: pc.Engine, busybox: pc.Image) -> None:
        """The first bridge makes the host forward, which new network namespaces take over from it."""
        if Path("/proc/sys/net/ipv4/ip_forward").read_text() != "1\n":
            pc.run(busybox, ["true"], network="bridge", engine=engine)

    @pytest.mark.parametrize("name", _SHAPES)
    def test_after_a_container_of_its_shape_and_of_another(
        self, name: str, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        options = _SHAPES[name]
        names = list(_SHAPES)
        other = _SHAPES[names[names.index(name) - 1]]
        with pc.Engine(engine.root) as fresh:
            _, made_when_asked = _look(fresh, busybox, options)
            assert made_when_asked.count("\n") > 100
            pc.run(busybox, ["true"], engine=fresh)
            expected = os.readlink(f"/proc/{await_next(fresh.helper.pid)}/ns/ipc")
            namespace, after_plain = _look(fresh, busybox, options)
            if not options:
                assert namespace == expected, "what was made ahead was not used"
            pc.run(busybox, ["true"], engine=fresh, **other)
            _, after_other = _look(fresh, busybox, options)
            _, after_itself = _look(fresh, busybox, options)
        for seen in (after_plain, after_other, after_itself):
            assert seen.splitlines() == made_when_asked.splitlines()


@pytest.mark.parametrize("sysctls", [{}, {"net.ipv4.ip_default_ttl": "77"}], ids=["plain", "with settings"])
def test_one_that_joins_a_network_gets_what_was_made_for_the_last(
    sysctls: dict[str, str], engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Engine(engine.root) as fresh:
        options: dict[str, Any] = {"network": "bridge", "sysctls": sysctls, "engine": fresh}
        pc.run(busybox, ["true"], **options)
        monitor = await_next(fresh.helper.pid)
        expected = os.readlink(f"/proc/{monitor}/ns/ipc")
        held = os.open(f"/proc/{monitor}/ns/ipc", os.O_RDONLY)  # or its number may be given to another
        look = "readlink /proc/1/ns/ipc; cat /proc/sys/net/ipv4/ip_default_ttl; ls /sys/class/net"
        seen = pc.run(busybox, ["sh", "-c", look], **options).text.splitlines()
        beside = pc.run(busybox, ["sh", "-c", look], engine=fresh, network="none").text.splitlines()
    os.close(held)
    assert seen == [expected, sysctls.get("net.ipv4.ip_default_ttl", "64"), "eth0", "lo"]
    assert beside[0] != expected
    assert beside[1:] == ["64", "lo"]


_ODD: dict[str, tuple[list[str], dict[str, Any]]] = {
    "missing program": (["/nothing"], {}),
    "missing name": (["nothing"], {}),
    "not executable": (["/etc/passwd"], {}),
    "directory": (["/etc"], {}),
    "bad directory": (["true"], {"workdir": "/etc/passwd"}),
    "bad user": (["true"], {"user": "nobody-here"}),
    "over a link": (["true"], {"tmpfs": {"/dangling": ""}}),
    "over the kernel's by a link": (["true"], {"tmpfs": {"/kcore": ""}}),
    "over a masked path by a link": (["true"], {"tmpfs": {"/masked": ""}}),
    "missing sysctl": (["true"], {"sysctls": {"net.ipv4.nothing": "1"}}),
    "missing cpu": (["true"], {"cpuset_cpus": "4000"}),
}


@pytest.fixture(scope="module")
def odd(warm_engine: tuple[pc.Engine, pc.Image], tmp_path_factory: pytest.TempPathFactory) -> pc.Image:
    """An image with links to where nothing can be mounted."""
    engine, _ = warm_engine
    root = images.busybox_rootfs(tmp_path_factory.mktemp("odd") / "rootfs")
    (root / "dangling").symlink_to("/nowhere/at/all")
    (root / "kcore").symlink_to("/proc/kcore")
    (root / "masked").symlink_to("/proc/acpi")
    layout = images.oci_layout(tmp_path_factory.mktemp("odd") / "layout", [images.tar_of(root)])
    return pc.Image.load(layout, engine=engine)[0]


class TestErrors:
    @pytest.mark.parametrize("name", _ODD)
    def test_are_those_of_a_container_made_when_asked(
        self, name: str, engine: pc.Engine, odd: pc.Image
    ) -> None:
        command, options = _ODD[name]

        def fail(fresh: pc.Engine) -> tuple[str, object, object]:
            try:
                done = pc.run(odd, command, engine=fresh, check=False, **options)
            except errors.PycontainerError as error:
                text = re.sub(r"[0-9a-f]{64}", "ID", str(error))
                return text, getattr(error, "step", None), getattr(error, "exit_code", None)
            return done.text, "", done.exit_code

        with pc.Engine(engine.root) as fresh:
            made_when_asked = fail(fresh)
            pc.run(odd, ["true"], engine=fresh)
            await_next(fresh.helper.pid)
            assert fail(fresh) == made_when_asked
            assert pc.run(odd, ["echo", "well"], engine=fresh).text == "well\n"


class TestRobust:
    def test_a_killed_one_is_replaced(self, engine: pc.Engine, busybox: pc.Image) -> None:
        pc.run(busybox, ["true"], engine=engine)
        pid = await_next(engine.helper.pid)
        ended = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        _await_end(ended)
        assert pc.run(busybox, ["echo", "well"], engine=engine).text == "well\n"

    def test_what_a_killed_caller_had_goes(self, engine: pc.Engine, busybox: pc.Image) -> None:
        code = textwrap.dedent(
            """
            import sys, pycontainer as pc
            engine = pc.Engine(sys.argv[1])
            for _ in range(2):
                pc.run(sys.argv[2], ["true"], engine=engine)
            print(engine.helper.pid, flush=True)
            sys.stdin.read()
            """
        )
        arguments = [sys.executable, "-c", code, str(engine.root), busybox.id]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
            assert caller.stdout is not None
            helper = os.pidfd_open(int(caller.stdout.readline()))
            caller.kill()
        _await_end(helper)
        with pc.Engine(engine.root) as other:
            assert pc.run(busybox.id, ["echo", "well"], engine=other).text == "well\n"

    def test_many_at_once_while_other_engines_come_and_go(self, engine: pc.Engine, busybox: pc.Image) -> None:
        done = False

        def come_and_go() -> int:
            count = 0
            while not done:
                with pc.Engine(engine.root) as other:
                    other.sweep_cgroups()
                    count += 1
            return count

        with ThreadPoolExecutor(9) as pool:
            sweeper = pool.submit(come_and_go)
            try:
                found = list(
                    pool.map(
                        lambda number: pc.run(busybox, ["echo", str(number)], engine=engine).text, range(80)
                    )
                )
            finally:
                done = True
            assert sweeper.result() > 1
        assert found == [f"{number}\n" for number in range(80)]
        stores.check_running(engine)


def _await_end(pidfd: int) -> None:
    """Wait for the process's end."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(20_000), "it lives on"
    os.close(pidfd)


def test_ids_are_never_given_twice(engine: pc.Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda _: engine.helper.next_id(), range(400)))
    assert len(set(first)) == 400


@pytest.mark.skipif(not Path("/usr/share/zoneinfo/UTC").exists(), reason="no time zones: install tzdata")
def test_no_file_is_put_over_one_of_the_kernel_by_a_link_of_the_image(
    engine: pc.Engine, tmp_path: Path
) -> None:
    root = images.busybox_rootfs(tmp_path / "rootfs")
    (root / "etc/localtime").symlink_to("/proc/self/attr/exec")
    image = pc.Image.load(images.oci_layout(tmp_path / "layout", [images.tar_of(root)]), engine=engine)[0]
    with pytest.raises(errors.LaunchError, match="lies in /proc") as caught:
        pc.run(image, ["true"], tz="UTC", engine=engine)
    assert caught.value.step == "files"


_SEARCH = r"""
sed -n 's/^\([0-9a-f]*\)-\([0-9a-f]*\) rw.*/\1 \2/p' /proc/1/maps | while read from to; do
    dd if=/proc/1/mem bs=4096 skip=$((0x$from / 4096)) count=$(((0x$to - 0x$from) / 4096)) 2>/dev/null
done | grep -c 'of-the-last-on[e]'
"""


def test_the_init_of_a_container_holds_nothing_of_an_earlier_one(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    for _ in range(3):
        pc.run(busybox, ["true"], env={"SECRET": "of-the-last-one" * 40}, engine=engine)
        await_next(engine.helper.pid)
    own = {"SECRET": "of-the-last-one"} | {"OWN": "1"}
    search = ["sh", "-c", _SEARCH]
    assert pc.run(busybox, search, init=True, privileged=True, env=own, engine=engine).text != "0\n"
    assert pc.run(busybox, search, init=True, privileged=True, engine=engine).text == "0\n"


@pytest.mark.needs("nft")
@pytest.mark.parametrize(
    "expected", ["one", pytest.param("other", id="of another kind"), pytest.param("none", id="not there")]
)
def test_a_network_that_was_expected_is_used_where_it_fits_and_let_go_of_else(
    engine: pc.Engine, busybox: pc.Image, expected: str
) -> None:
    with (
        pc.Network.create("one", engine=engine),
        pc.Network.create("other", ipv6=True, engine=engine),
        pc.Engine(engine.root) as command,
    ):
        use_helper(command, Helper(makes_ahead=False))
        expect_network(command, expected)
        look = "ip -o addr | grep -c inet6; ip -o link | wc -l"
        found = pc.run(busybox.id, ["sh", "-c", look], network="one", engine=command)
        assert (found.text.split(), command.networks_ahead.fileno) == (
            ["1", "2"],
            -1,
        )  # of the loopback link alone
