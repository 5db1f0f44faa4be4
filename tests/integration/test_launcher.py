"""Containers as the launcher makes them, seen from inside by programs and from outside by the kernel."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.kernel import syscalls
from pycontainer.launcher import Helper, status
from tests.support import images
from tests.support.launching import CAPABILITIES, MOUNTS, Launcher, pidfd_of, wait_for_end
from tests.support.needs import needs
from tests.support.processes import await_next

pytestmark = [needs("root", "overlay")]


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper()
    made.start()
    yield made
    made.close()


@pytest.fixture
def launcher(helper: Helper, tmp_path: Path, busybox_rootfs: Path) -> Launcher:
    return Launcher(helper, tmp_path, busybox_rootfs)


def own_rootfs(launcher: Launcher, tmp_path: Path) -> Path:
    """A root file system that the test may spoil."""
    launcher.rootfs = images.busybox_rootfs(tmp_path / "rootfs")
    return launcher.rootfs


def field(text: str, name: str) -> str:
    """A line of /proc/PID/status."""
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(name + ":"))


class TestIsolation:
    def test_mountinfo_shows_no_path_of_the_host(self, launcher: Launcher) -> None:
        mountinfo = launcher.run(["cat", "/proc/self/mountinfo"]).stdout
        assert str(launcher.base) not in mountinfo
        assert str(launcher.rootfs) not in mountinfo

    def test_the_expected_file_systems_are_mounted_and_nothing_else(self, launcher: Launcher) -> None:
        lines = launcher.run(["cat", "/proc/self/mounts"]).stdout.splitlines()
        places = {(line.split()[1], line.split()[2]) for line in lines}
        kinds = {(mount["destination"], mount["type"]) for mount in MOUNTS}
        assert ("/", "overlay") in places
        assert kinds <= places
        covered = {place for place, _ in places - kinds - {("/", "overlay")}}
        assert all(place.startswith(("/proc/", "/sys/firmware")) for place in covered)

    def test_only_the_three_streams_are_open(self, launcher: Launcher) -> None:
        # A shell has the pipes of a pipeline open itself, for a moment.
        listed = launcher.run(["sh", "-c", "ls -l /proc/$$/fd; true"]).stdout.splitlines()[1:]
        assert [line.split()[-3] for line in listed] == ["0", "1", "2"]
        assert "/dev/null" in listed[0]

    def test_capabilities_filter_and_masks_are_exact(self, launcher: Launcher) -> None:
        text = launcher.run(["cat", "/proc/self/status"]).stdout
        expected = "00000000a80425fb"
        assert [field(text, name) for name in ("CapPrm", "CapEff", "CapBnd")] == [expected] * 3
        assert [field(text, name) for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
        assert field(text, "NoNewPrivs") == "1"
        assert field(text, "Umask") == "0022"
        assert field(text, "Groups") == "0"
        assert [field(text, name) for name in ("SigBlk", "SigIgn", "SigCgt")] == ["0" * 16] * 3

    def test_namespaces_differ_from_the_host(self, launcher: Launcher) -> None:
        kinds = ("pid", "mnt", "uts", "ipc", "net")
        listed = launcher.run(["sh", "-c", "for k in $0 $@; do readlink /proc/self/ns/$k; done", *kinds])
        inside = listed.stdout.split()
        assert all(
            link != os.readlink(f"/proc/self/ns/{kind}") for kind, link in zip(kinds, inside, strict=True)
        )

    def test_the_first_process_is_the_program(self, launcher: Launcher) -> None:
        ended = launcher.run(["sh", "-c", "readlink /proc/1/exe; echo $$; cut -d ' ' -f 6 /proc/1/stat"])
        assert ended.stdout.split() == ["/bin/busybox", "1", "1"]

    def test_the_environment_is_exact(self, launcher: Launcher) -> None:
        ended = launcher.run(["env"], {"process": {"env": ["PATH=/bin", "A=b=c", "EMPTY=", "NAME=\udcff"]}})
        assert {os.fsencode(line) for line in _raw(ended).split("\n") if line} == {
            b"PATH=/bin",
            b"A=b=c",
            b"EMPTY=",
            b"NAME=\xff",
            b"HOME=/root",
        }

    def test_loopback_is_up_and_alone(self, launcher: Launcher) -> None:
        text = launcher.run(["ip", "-o", "addr"]).stdout
        assert "127.0.0.1/8" in text
        assert {line.split()[1] for line in text.splitlines()} == {"lo"}

    def test_a_message_of_the_old_root_is_gone(self, launcher: Launcher) -> None:
        ended = launcher.run(["sh", "-c", "ls /; cd /proc/1/cwd && pwd; ls /.. | wc -l"])
        assert "upper" not in ended.stdout

    def test_kernel_memory_is_masked_even_from_a_remount(self, launcher: Launcher) -> None:
        script = (
            "cat /proc/timer_list | wc -c; mount -o remount,rw /proc/sys; echo 1 > /proc/sys/kernel/panic"
        )
        ended = launcher.run(["sh", "-c", script])
        assert ended.stdout.strip() == "0"
        assert "Read-only file system" in ended.stderr

    def test_hostname_and_devices_are_the_container_s(self, launcher: Launcher) -> None:
        ended = launcher.run(
            ["sh", "-c", "hostname; echo x > /dev/null; stat -c '%t:%T %a' /dev/null; readlink /dev/fd"]
        )
        assert ended.stdout.split("\n")[:3] == ["box", "1:3 666", "/proc/self/fd"]

    def test_a_read_only_root_leaves_volumes_and_dev_writable(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        (tmp_path / "volume").mkdir()
        mounts = [
            *MOUNTS,
            {"destination": "/data", "type": "bind", "source": f"{tmp_path}/volume", "options": ["rbind"]},
        ]
        script = "touch /etc/x; touch /data/y && echo > /dev/shm/z && echo fine"
        ended = launcher.run(["sh", "-c", script], {"root": {"readonly": True}, "mounts": mounts})
        assert ended.stdout == "fine\n"
        assert "Read-only" in ended.stderr
        assert (tmp_path / "volume/y").exists()

    @pytest.mark.parametrize("is_readonly", [False, True], ids=["writable", "read-only"])
    def test_files_are_put_over_the_image_s_and_written_as_the_root_is(
        self, launcher: Launcher, is_readonly: bool
    ) -> None:
        script = (
            "cat /etc/hosts; stat -c %a,%u /etc/hosts; grep ' /etc/hosts ' /proc/self/mountinfo;"
            " echo more >> /etc/hosts && echo wrote"
        )
        ended = launcher.run(
            ["sh", "-c", script], {"root": {"readonly": is_readonly}}, files={"/etc/hosts": "10.0.0.1 here\n"}
        )
        content, owner, mount, *wrote = ended.stdout.splitlines()
        assert content == "10.0.0.1 here"
        assert owner == "644,0"
        assert " - tmpfs none " in mount
        assert wrote == ([] if is_readonly else ["wrote"])

    def test_a_new_cgroup_namespace_and_session_keyring(self, launcher: Launcher) -> None:
        kinds = [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network", "cgroup")]
        ended = launcher.run(["cat", "/proc/self/cgroup"], {"linux": {"namespaces": kinds}})
        assert all(line.endswith(":/") for line in ended.stdout.splitlines())


def _raw(ended: Any) -> str:
    import base64

    return os.fsdecode(base64.b64decode(ended.message["stdout_b64"]))


def _open_files(pid: int) -> Counter[str]:
    """What the descriptors of a process lead to, but for the names of the cgroup it has made."""
    found = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    return Counter(re.sub(r"[0-9a-f]{64}", "ID", re.sub(r"\[\d+\]", "", name)) for name in found)


def _mount_of(file: Path) -> tuple[str, str]:
    """A descriptor, by its file in /proc/PID/fdinfo, and the number of the mount that it is on."""
    told = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
    return file.name, told["mnt_id"].strip()


class TestMadeAhead:
    def test_the_monitor_of_a_container_that_is_done_waits_for_another_and_keeps_nothing_of_it(
        self, launcher: Launcher
    ) -> None:
        seen: dict[int, Counter[str]] = {}
        for _ in range(12):
            launcher.run(["sh", "-c", "echo out; echo err >&2"], auto_remove=True)
            pid = await_next(launcher.helper.pid)
            # One that was just forked has a little more, of the helper.
            assert not _open_files(pid) - seen.setdefault(pid, _open_files(pid))
        assert len(seen) <= 6

    def test_small_file_systems_are_made_before_they_are_asked_for(self, launcher: Launcher) -> None:
        for _ in range(3):
            launcher.run(["true"], auto_remove=True)
            waiting = await_next(launcher.helper.pid)
            mounted = {
                line.split()[0] for line in Path(f"/proc/{waiting}/mountinfo").read_text().splitlines()
            }
            held = [_mount_of(file) for file in Path(f"/proc/{waiting}/fdinfo").iterdir()]
            there = [
                os.readlink(f"/proc/{waiting}/fd/{name}") for name, mount in held if mount not in mounted
            ]
            assert there.count("/") >= sum(mount["type"] in ("tmpfs", "sysfs", "devpts") for mount in MOUNTS)

    def test_a_monitor_is_kept_for_a_limited_number_of_containers(self, launcher: Launcher) -> None:
        seen = set()
        for _ in range(220):  # twenty more than one is kept for
            launcher.run(["true"], auto_remove=True)
            seen.add(await_next(launcher.helper.pid))
        assert 1 < len(seen) < 55

    def test_the_waiting_process_is_the_monitor_of_one_container_that_goes_on(
        self, launcher: Launcher
    ) -> None:
        launcher.run(["true"])
        waiting = await_next(launcher.helper.pid)
        with launcher.start(launcher.params(["sleep", "60"]))[0] as first:
            name = Path(f"/proc/{waiting}/comm").read_text().strip()
            following = await_next(launcher.helper.pid)
            assert name == "pycontainer-mon"
            assert following != waiting
            first.close()
        _ended(waiting)

    def test_ids_that_were_drawn_and_never_launched_are_passed_over(self, launcher: Launcher) -> None:
        launcher.run(["true"])
        passed_over = await_next(launcher.helper.pid)
        for _ in range(100):
            launcher.helper.next_id()
        launcher.run(["true"])
        _ended(passed_over)
        waiting = await_next(launcher.helper.pid)
        with launcher.start(launcher.params(["sleep", "60"]))[0]:
            assert Path(f"/proc/{waiting}/comm").read_text().strip() == "pycontainer-mon"
        _ended(waiting)

    def test_a_monitor_is_in_the_host_s_namespaces_and_its_container_in_none_of_another(
        self, launcher: Launcher
    ) -> None:
        launcher.run(["true"])
        kinds = ("net", "ipc", "uts", "mnt", "pid")
        here = {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
        inside: list[str] = []
        with ExitStack() as running:
            for _ in range(3):
                waiting = await_next(launcher.helper.pid)
                job, pid = launcher.start(launcher.params(["sleep", "60"]))
                running.callback(_ended, pid)
                running.enter_context(job)
                assert {os.readlink(f"/proc/{waiting}/ns/{kind}") for kind in kinds} == here
                inside += [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
            assert len(here | set(inside)) == len(here) + len(inside) == 20

    def test_a_container_unlike_the_last_gets_what_it_asks_for(self, launcher: Launcher) -> None:
        launcher.run(
            ["true"], {"linux": {"devices": [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]}}
        )
        await_next(launcher.helper.pid)
        kinds = [{"type": kind} for kind in ("pid", "mount", "uts", "ipc")]
        script = "ls /dev; readlink /proc/self/ns/net; grep ' /dev/shm ' /proc/self/mounts"
        shm = [
            entry | {"options": ["size=1m"]} if entry["destination"] == "/dev/shm" else entry
            for entry in MOUNTS
        ]
        ended = launcher.run(["sh", "-c", script], {"linux": {"namespaces": kinds}, "mounts": shm})
        lines = ended.stdout.splitlines()
        assert "extra" not in lines
        assert os.readlink("/proc/self/ns/net") in lines
        assert "size=1024k" in lines[-1]
        await_next(launcher.helper.pid)
        assert "extra" not in launcher.run(["ls", "/dev"]).stdout

    def test_a_template_that_was_killed_is_made_anew(self, tmp_path: Path, busybox_rootfs: Path) -> None:
        with closing(Helper()) as helper:
            launcher = Launcher(helper, tmp_path, busybox_rootfs)
            launcher.run(["true"])
            assert helper.pid is not None
            children = Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text().split()
            for template in map(int, children):  # all that the helper forks for launches
                gone = os.pidfd_open(template)
                os.kill(template, signal.SIGKILL)
                wait_for_end(gone)
                os.close(gone)
            with launcher.start(launcher.params(["sleep", "60"]))[0] as first:
                assert launcher.run(["echo", "hi"]).stdout == "hi\n"
                first.close()

    def test_the_waiting_process_dies_with_the_helper(self, tmp_path: Path, busybox_rootfs: Path) -> None:
        with closing(Helper()) as helper:
            Launcher(helper, tmp_path, busybox_rootfs).run(["true"])
            waiting = await_next(helper.pid)
            assert helper.pid is not None
            os.kill(helper.pid, signal.SIGKILL)
            _ended(waiting)

    def test_a_launch_goes_on_when_the_waiting_process_was_killed(self, launcher: Launcher) -> None:
        launcher.run(["true"])
        waiting = await_next(launcher.helper.pid)
        os.kill(waiting, signal.SIGKILL)
        _ended(waiting)
        assert launcher.run(["echo", "still"]).stdout == "still\n"


class TestIdentity:
    @pytest.mark.parametrize(
        ("user", "expected"),
        [
            ("", "0 0 0 10 /root"),
            ("web", "1000 1000 1000 50 44 /home/web"),
            ("web:video", "1000 44 44 /home/web"),
            ("1000", "1000 1000 1000 50 44 /home/web"),
            ("4242", "4242 0 0 /"),
            ("4242:17", "4242 17 17 /"),
            ("1:staff", "1 50 50 /"),
        ],
    )
    def test_a_user_is_resolved_in_the_container(self, launcher: Launcher, user: str, expected: str) -> None:
        script = "echo $(id -u) $(id -g) $(grep ^Groups: /proc/self/status | cut -f 2) $HOME"
        ended = launcher.run(["sh", "-c", script], user=user)
        words = ended.stdout.split()
        assert words[:2] + sorted(words[2:-1]) + words[-1:] == (
            expected.split()[:2] + sorted(expected.split()[2:-1]) + expected.split()[-1:]
        )

    @pytest.mark.parametrize(
        "user", ["nobody-here", "4294967295", "-1", "99999999999999999999", "web:nogroup", "0x0"]
    )
    def test_a_user_that_is_none_is_refused(self, launcher: Launcher, user: str) -> None:
        error = launcher.failure(["true"], user=user)
        assert error.step == "user"
        assert error.exit_code == 125

    def test_a_name_of_digits_is_an_id(self, launcher: Launcher, tmp_path: Path) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        (rootfs / "etc/passwd").write_text("1000:x:0:0::/root:/bin/sh\n")
        assert launcher.run(["id", "-u"], user="1000").stdout == "1000\n"

    def test_additional_groups_by_name_and_number(self, launcher: Launcher) -> None:
        ended = launcher.run(["grep", "^Groups:", "/proc/self/status"], user="1", groups=["video", "777"])
        assert set(ended.stdout.split()[1:]) == {"1", "44", "777"}

    @pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
    def test_a_passwd_that_is_no_file_is_refused(self, launcher: Launcher, tmp_path: Path, kind: str) -> None:
        path = own_rootfs(launcher, tmp_path) / "etc/passwd"
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        else:
            path.mkdir()
        error = launcher.failure(["true"], user="web")
        assert error.step == "user"
        assert "/etc/passwd" in error.reason

    def test_a_user_loses_capabilities_and_owns_its_output(self, launcher: Launcher) -> None:
        script = "grep -E '^Cap(Prm|Eff):' /proc/self/status; echo again > /dev/stdout"
        ended = launcher.run(["sh", "-c", script], user="web")
        assert ended.stdout.split() == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "again"]


class TestExecution:
    def test_exit_codes_come_back(self, launcher: Launcher) -> None:
        assert launcher.run(["sh", "-c", "exit 42"]).exit_code == 42
        ended = launcher.run(["sh", "-c", "kill -TERM $$; sleep 5"], init=True)
        assert ended.exit_code == 128 + signal.SIGTERM

    def test_a_kill_from_outside_is_a_signal(self, launcher: Launcher) -> None:
        job, pid = launcher.start(launcher.params(["sleep", "60"]))
        with job:
            os.kill(pid, signal.SIGKILL)
            message = job.receive(20)
            assert message is not None
            assert message["exit_code"] == 137
            job.receive(20)

    @pytest.mark.parametrize(
        ("args", "code", "text"),
        [
            (["nothing-like-it"], 127, 'exec: "nothing-like-it": executable file not found in $PATH'),
            (["/no/such"], 127, "no such file or directory"),
            (["/etc/passwd"], 126, "permission denied"),
            (["/etc"], 126, "is a directory"),
            (["/script"], 127, "its interpreter /no/interpreter is not in the image"),
            (["/garbage"], 126, "exec format error"),
        ],
    )
    def test_what_cannot_be_executed_says_why(
        self, launcher: Launcher, tmp_path: Path, args: list[str], code: int, text: str
    ) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        for name, content in (("script", "#!/no/interpreter -x\n"), ("garbage", "not a program")):
            (rootfs / name).write_text(content)
            (rootfs / name).chmod(0o755)
        error = launcher.failure(args)
        assert error.exit_code == code
        assert text in str(error)
        assert error.step == "exec"

    @pytest.mark.parametrize("init", [False, True], ids=["plain", "init"])
    def test_a_missing_program_is_reported_under_init_too(self, launcher: Launcher, init: bool) -> None:
        assert launcher.failure(["nothing-like-it"], init=init).exit_code == 127

    def test_the_working_directory_is_made(self, launcher: Launcher) -> None:
        ended = launcher.run(["pwd"], {"process": {"cwd": "/new/deep"}})
        assert ended.stdout == "/new/deep\n"
        assert (ended.directory / "upper/new/deep").is_dir()

    def test_the_working_directory_cannot_be_a_descriptor(self, launcher: Launcher) -> None:
        for number in range(3, 20):
            error = launcher.failure(["true"], {"process": {"cwd": f"/proc/self/fd/{number}"}})
            assert error.step == "cwd"

    def test_stdin_is_the_given_descriptor(self, launcher: Launcher) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"to the container")
        os.close(writer)
        try:
            ended = launcher.run(["cat"], fds={"stdin": reader})
        finally:
            os.close(reader)
        assert ended.stdout == "to the container"

    def test_limits_are_set_and_a_hard_limit_out_of_reach_is_named(self, launcher: Launcher) -> None:
        limits = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
        assert launcher.run(["sh", "-c", "ulimit -n"], {"process": {"rlimits": limits}}).stdout == "100\n"
        if syscalls.capget()[0] >> 24 & 1:
            pytest.skip("this process may raise any limit")
        limits = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
        error = launcher.failure(["true"], {"process": {"rlimits": limits}})
        assert "ulimit nofile" in str(error)

    def test_sysctls_of_the_container_s_namespaces(self, launcher: Launcher) -> None:
        sysctl = {"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1"}
        ended = launcher.run(
            ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced"],
            {"linux": {"sysctl": sysctl}},
        )
        assert ended.stdout == "7\n1\n"
        error = launcher.failure(["true"], {"linux": {"sysctl": {"net.no.such": "1"}}})
        assert error.step == "sysctl"

    def test_an_oom_score_is_set(self, launcher: Launcher) -> None:
        ended = launcher.run(["cat", "/proc/self/oom_score_adj"], {"process": {"oomScoreAdj": 500}})
        assert ended.stdout == "500\n"

    def test_a_filter_is_in_force(self, launcher: Launcher) -> None:
        # Return EPERM for mkdir(2), number 83 on x86-64: load nr; jeq; ret errno; ret allow.
        if not syscalls.IS_X86_64:
            pytest.skip("the numbers are x86-64's")
        import base64
        import struct

        program = b"".join(
            struct.pack("<HBBI", *instruction)
            for instruction in (
                (0x20, 0, 0, 0),
                (0x15, 0, 1, 83),
                (0x06, 0, 0, 0x50001),
                (0x06, 0, 0, 0x7FFF0000),
            )
        )
        ended = launcher.run(
            ["sh", "-c", "grep ^Seccomp: /proc/self/status; mkdir /x"],
            seccomp_b64=base64.b64encode(program).decode(),
        )
        assert field(ended.stdout, "Seccomp") == "2"
        assert "Operation not permitted" in ended.stderr

    def test_an_init_reaps_forwards_and_cannot_be_read(self, launcher: Launcher) -> None:
        script = (
            "readlink /proc/1/exe || echo hidden; (sleep 0.05 & ) ; sleep 0.3;"
            " ps -o stat | grep -c Z; trap 'exit 7' TERM; kill -TERM 1; sleep 5 & wait"
        )
        ended = launcher.run(["sh", "-c", script], init=True)
        assert ended.stdout.split("\n")[:2] == ["hidden", "0"]
        assert ended.exit_code == 7

    def test_an_init_holds_no_descriptor_of_the_host(self, launcher: Launcher) -> None:
        sets = {kind: [*CAPABILITIES, "CAP_SYS_PTRACE"] for kind in ("bounding", "effective", "permitted")}
        ended = launcher.run(
            ["sh", "-c", "ls -l /proc/1/fd | wc -l"], {"process": {"capabilities": sets}}, init=True
        )
        assert ended.stdout == "1\n"  # the line "total 0"

    def test_a_user_namespace_maps_ids(self, launcher: Launcher, tmp_path: Path) -> None:
        own_rootfs(launcher, tmp_path)
        kinds = [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network")]
        ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        tmp_path.chmod(0o755)
        params = launcher.params(
            ["sh", "-c", "cat /proc/self/uid_map; id -u; stat -c %t:%T /dev/null"],
            {"linux": {"namespaces": kinds, "uidMappings": ids, "gidMappings": ids}},
        )
        job, _ = launcher.start(params)
        with job:
            message = job.receive(20)
            job.receive(20)
        import base64

        assert message is not None
        assert base64.b64decode(message["stdout_b64"]).split() == [b"0", b"100000", b"65536", b"0", b"1:3"]

    def test_a_time_namespace_is_offset(self, launcher: Launcher) -> None:
        kinds = [{"type": kind} for kind in ("time", "pid", "mount", "uts", "ipc", "network")]
        ended = launcher.run(
            ["cat", "/proc/uptime"],
            {"linux": {"namespaces": kinds, "timeOffsets": {"boottime": {"secs": 10_000_000}}}},
        )
        assert float(ended.stdout.split()[0]) > 10_000_000

    def test_a_time_namespace_without_offsets_is_one_too(self, launcher: Launcher) -> None:
        kinds = [{"type": kind} for kind in ("time", "pid", "mount", "uts", "ipc", "network")]
        ended = launcher.run(["readlink", "/proc/self/ns/time"], {"linux": {"namespaces": kinds}})
        assert ended.stdout.strip() != os.readlink("/proc/self/ns/time")

    def test_a_network_namespace_is_joined_by_path(self, launcher: Launcher) -> None:
        first, pid = launcher.start(launcher.params(["sleep", "60"]))
        with first:
            kinds: list[dict[str, str]] = [{"type": kind} for kind in ("mount", "uts", "ipc")]
            kinds += [
                {"type": kind, "path": f"/proc/{pid}/ns/{name}"}
                for kind, name in (("network", "net"), ("pid", "pid"))
            ]
            ended = launcher.run(
                ["sh", "-c", "readlink /proc/self/ns/net; echo $$"], {"linux": {"namespaces": kinds}}
            )
            assert ended.stdout.split()[0] == os.readlink(f"/proc/{pid}/ns/net")
            assert 1 < int(ended.stdout.split()[1]) < 100
        _ended(pid)

    def test_a_specification_that_cannot_be_is_explained(self, launcher: Launcher) -> None:
        for _ in range(20):  # the clone may fail before or after its parent has done its part
            with launcher.submit(
                launcher.params(["true"], {"mounts": [{"destination": "/proc/self", "type": "tmpfs"}]})
            ) as job:
                with pytest.raises(InvalidInput, match="/proc/self"):
                    job.receive(20)
                job.receive(20)


def _ended(pid: int) -> None:
    """Wait for a process of another's, which may be gone already."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    wait_for_end(fd)
    os.close(fd)


class TestHostileImages:
    @pytest.mark.parametrize("name", ["proc", "sys", "dev"])
    def test_a_kernel_directory_that_is_a_link_is_refused(
        self, launcher: Launcher, tmp_path: Path, name: str
    ) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        (rootfs / name).rmdir()
        (rootfs / "elsewhere").mkdir()
        (rootfs / name).symlink_to("/elsewhere")
        error = launcher.failure(["true"])
        assert error.step == f"mount /{name}"
        assert "symbolic link" in error.reason

    def test_a_dev_link_without_a_mount_makes_no_node_on_the_host(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        outside = tmp_path / "outside"
        outside.mkdir()
        (rootfs / "dev").rmdir()
        (rootfs / "dev").symlink_to(outside)
        mounts = [mount for mount in MOUNTS if not mount["destination"].startswith("/dev")]
        assert launcher.failure(["true"], {"mounts": mounts}).step == "devices"
        assert list(outside.iterdir()) == []

    def test_a_bind_target_through_a_link_stays_in_the_root(self, launcher: Launcher, tmp_path: Path) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        (tmp_path / "volume").mkdir()
        (tmp_path / "volume/inside").touch()
        (rootfs / "run").mkdir()
        (rootfs / "var/run").symlink_to("/run")
        (rootfs / "out").symlink_to("../../../../../../../../etc")
        bind = {"type": "bind", "source": f"{tmp_path}/volume", "options": ["rbind"]}
        mounts = [*MOUNTS, {**bind, "destination": "/var/run/app"}, {**bind, "destination": "/out/made"}]
        ended = launcher.run(["ls", "/run/app", "/etc/made"], {"mounts": mounts})
        assert ended.stdout.count("inside") == 2
        assert not os.path.exists("/etc/made")

    def test_a_bind_through_a_link_into_proc_is_refused(self, launcher: Launcher, tmp_path: Path) -> None:
        rootfs = own_rootfs(launcher, tmp_path)
        (rootfs / "data").symlink_to("/proc/1")
        bind = {"type": "bind", "source": str(tmp_path), "options": ["rbind"], "destination": "/data"}
        error = launcher.failure(["true"], {"mounts": [*MOUNTS, bind]})
        assert "/proc" in error.reason

    def test_bind_mounts_of_one_container_are_not_seen_by_the_host(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        job, pid = launcher.start(launcher.params(["sleep", "60"]))
        with job:
            assert Path("/proc/self/mountinfo").read_text() == before
        _ended(pid)


class TestLife:
    def test_the_status_file_tells_running_and_exited(self, launcher: Launcher) -> None:
        params = launcher.params(["sleep", "60"])
        job, pid = launcher.start(params)
        with job:
            fields = status.read(params["container_dir"])
            assert fields is not None
            assert (fields["state"], fields["pid"], fields["boot_id"]) == ("running", pid, status.BOOT_ID)
            job.send({"signal": signal.SIGKILL})
            message = job.receive(20)
            assert message is not None
            fields = status.read(params["container_dir"])
            assert fields is not None
            assert (fields["state"], fields["exit_code"], fields["signal"]) == ("exited", 137, signal.SIGKILL)
            job.receive(20)

    def test_the_monitor_s_death_kills_the_container(self, launcher: Launcher) -> None:
        params = launcher.params(["sleep", "60"])
        job, pid = launcher.start(params)
        with job:
            fields = status.read(params["container_dir"])
            assert fields is not None
            pidfd = pidfd_of(pid)
            os.kill(fields["monitor_pid"], signal.SIGKILL)
            wait_for_end(pidfd)
            os.close(pidfd)
            assert job.receive(20) is None

    def test_an_owned_container_ends_with_its_channel(self, launcher: Launcher) -> None:
        job, pid = launcher.start(launcher.params(["sleep", "60"]))
        pidfd = pidfd_of(pid)
        job.close()
        wait_for_end(pidfd)
        os.close(pidfd)

    def test_an_owned_container_ends_with_its_caller(self, launcher: Launcher) -> None:
        caller = subprocess.Popen(["sleep", "60"])
        fd = os.pidfd_open(caller.pid)
        try:
            job, pid = launcher.start(launcher.params(["sleep", "60"]), {"caller": fd})
        finally:
            os.close(fd)
        with job:
            caller.kill()
            caller.wait()
            message = job.receive(20)
            assert message is not None
            assert message["exit_code"] == 137
            job.receive(20)
        _ended(pid)

    def test_a_detached_container_outlives_the_helper(self, tmp_path: Path, busybox_rootfs: Path) -> None:
        with_own = Helper()
        launcher = Launcher(with_own, tmp_path, busybox_rootfs)
        params = launcher.params(["sleep", "60"], owned=False)
        job, pid = launcher.start(params)
        assert job.receive(20) is None
        job.close()
        with_own.close()
        fields = status.read(params["container_dir"])
        assert fields is not None
        monitor = pidfd_of(fields["monitor_pid"])
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(monitor)
        os.close(monitor)
        fields = status.read(params["container_dir"])
        assert fields is not None
        assert (fields["state"], fields["exit_code"]) == ("exited", 137)

    def test_auto_remove_takes_the_directory_away(self, launcher: Launcher) -> None:
        ended = launcher.run(["sh", "-c", "mkdir -p /a/b; touch /a/b/c; chmod 0 /a"], auto_remove=True)
        assert ended.exit_code == 0
        assert not ended.directory.exists()

    def test_a_long_output_is_kept_until_it_was_read(self, launcher: Launcher) -> None:
        params = launcher.params(
            ["sh", "-c", "head -c 100000 /dev/zero"], auto_remove=True, inline_output=1000
        )
        job, _ = launcher.start(params)
        message = job.receive(20)
        assert message is not None
        assert "stdout_b64" not in message
        directory = Path(params["container_dir"])
        assert len(records(directory)) > 0
        job.close()
        deadline = time.monotonic() + 20
        while directory.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not directory.exists()

    def test_what_a_program_leaves_in_the_host_s_pids_is_killed(self, launcher: Launcher) -> None:
        kinds = [{"type": kind} for kind in ("mount", "uts", "ipc", "network")]
        directory = "/sys/fs/cgroup/pids/pycontainer-test-launcher"
        if not os.path.isdir("/sys/fs/cgroup/pids"):
            pytest.skip("no pids controller of cgroup version 1")
        plan = {"dirs": [directory], "own": [directory], "procs": [f"{directory}/cgroup.procs"]}
        script = "sleep 61 & echo started"
        begun = time.monotonic()
        ended = launcher.run(["sh", "-c", script], {"linux": {"namespaces": kinds}}, cgroup=plan)
        assert ended.stdout == "started\n"
        assert time.monotonic() - begun < 30
        assert not os.path.exists(directory)

    def test_memory_exhaustion_is_seen(self, launcher: Launcher) -> None:
        directory = "/sys/fs/cgroup/memory/pycontainer-test-launcher"
        if not os.path.isdir("/sys/fs/cgroup/memory"):
            pytest.skip("no memory controller of cgroup version 1")
        plan = {
            "dirs": [directory],
            "own": [directory],
            "writes": [[f"{directory}/memory.limit_in_bytes", str(16 << 20), True]],
            "procs": [f"{directory}/cgroup.procs"],
            "reads": {
                "oom": [f"{directory}/memory.oom_control", "oom_kill", 1],
                "memory_peak": [f"{directory}/memory.max_usage_in_bytes", None, 1],
            },
        }
        ended = launcher.run(["sh", "-c", "head -c 100000000 /dev/zero | tail"], cgroup=plan)
        assert ended.message["oom_killed"] is True
        assert 8 << 20 < ended.message["usage"]["memory_peak"] <= 16 << 20
        assert not os.path.exists(directory)

    def test_a_limit_the_kernel_refuses_is_named(self, launcher: Launcher) -> None:
        directory = "/sys/fs/cgroup/memory/pycontainer-test-launcher"
        if not os.path.isdir("/sys/fs/cgroup/memory"):
            pytest.skip("no memory controller of cgroup version 1")
        file = f"{directory}/memory.limit_in_bytes"
        plan = {"dirs": [directory], "own": [directory], "writes": [[file, "nonsense", True]]}
        error = launcher.failure(["true"], cgroup=plan)
        assert error.step == "cgroup"
        assert file in str(error)
        assert not os.path.exists(directory)


def records(directory: Path) -> list[tuple[int, int, bytes]]:
    """(stream, flags, payload) of every record, oldest file first."""
    from pycontainer.launcher.logs import HEADER

    found = []
    names = sorted(directory.glob("log*"), key=lambda path: -int(path.suffix[1:] or 0))
    for name in names:
        content, at = name.read_bytes(), 0
        while at < len(content):
            stream, flags, _, length, _ = HEADER.unpack_from(content, at)
            at += HEADER.size
            found.append((stream, flags, content[at : at + length]))
            at += length
    return found


class TestOutput:
    def test_a_hundred_megabytes_arrive_whole(self, launcher: Launcher) -> None:
        import hashlib

        script = "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 104857600"
        ended = launcher.run(["sh", "-c", script], inline_output=1 << 16)
        line = b"0123456789abcdefghijklmnopqrstuvwxyz\n"
        expected = (line * (104857600 // len(line) + 1))[:104857600]
        found = hashlib.sha256()
        size = 0
        for _, _, payload in records(ended.directory):
            found.update(payload)
            size += len(payload)
        assert size == 104857600
        assert found.digest() == hashlib.sha256(expected).digest()
        assert ended.message["log_complete"] is True
        (ended.directory / "log").unlink()

    def test_streams_are_tagged_and_parts_of_lines_marked(self, launcher: Launcher) -> None:
        ended = launcher.run(["sh", "-c", "echo out; echo err >&2; sleep 0.1; printf half"])
        assert sorted(records(ended.directory)) == [(1, 0, b"out\n"), (1, 1, b"half"), (2, 0, b"err\n")]

    def test_the_log_is_rotated_and_the_newest_kept(self, launcher: Launcher) -> None:
        log = {"max_size": 200_000, "max_files": 3}
        ended = launcher.run(["sh", "-c", "seq 1 300000"], log=log, inline_output=0)
        names = sorted(path.name for path in ended.directory.glob("log*"))
        assert names == ["log", "log.1", "log.2"]
        assert all((ended.directory / name).stat().st_size <= 200_000 for name in names)
        assert b"".join(payload for _, _, payload in records(ended.directory)).endswith(b"299999\n300000\n")

    def test_output_goes_on_when_the_disk_is_full(self, launcher: Launcher, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
        try:
            full = Launcher(launcher.helper, small, launcher.rootfs)
            ended = full.run(["sh", "-c", "head -c 5000000 /dev/zero; echo done >&2"], inline_output=0)
            assert ended.exit_code == 0
            assert ended.message["log_complete"] is False
            assert sum(len(payload) for _, _, payload in records(ended.directory)) > 500_000
        finally:
            subprocess.run(["umount", small], check=True)


def test_a_monitor_is_small(launcher: Launcher) -> None:
    sizes, pids = [], []
    with ExitStack() as running:
        # Several, as a page that only one of them shares with the helper seems its own once the helper
        # has written to it.
        for _ in range(5):
            params = launcher.params(["sleep", "60"], inline_output=0)
            job, pid = launcher.start(params)
            running.enter_context(job)
            pids.append(pid)
            fields = status.read(params["container_dir"])
            assert fields is not None
            text = Path(f"/proc/{fields['monitor_pid']}/smaps_rollup").read_text()
            own = (int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))
            sizes.append(sum(own))
        assert min(sizes) <= 1950, f"{sizes} KiB"
    for pid in pids:
        _ended(pid)


def test_a_capability_outside_the_set_is_gone(launcher: Launcher) -> None:
    assert "CAP_SYS_ADMIN" not in CAPABILITIES
    ended = launcher.run(["sh", "-c", "hostname other || mount -t tmpfs none /mnt || echo refused"])
    assert ended.stdout == "refused\n"
