"""The OCI runtime command where suites for runtimes look closely: what runc does in corners of the spec."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.launching import wait_for_end
from tests.support.ocicli import Runtime

pytestmark = pytest.mark.needs("root")

MACHINE_32 = {"x86_64": "i686", "aarch64": "armv8l"}.get(os.uname().machine, "")
TMPFS: dict[str, Any] = {"type": "tmpfs", "source": "tmpfs"}


@pytest.fixture
def runtime(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Runtime]:
    """With a root file system of its own, for tests that change it."""
    made = Runtime(tmp_path, Path(shutil.copytree(busybox_rootfs, tmp_path / "rootfs", symlinks=True)))
    yield made
    made.clean()


def test_a_program_is_found_although_the_filter_refuses_the_newer_calls_for_that(runtime: Runtime) -> None:
    (runtime.rootfs / "data").write_text("")
    (runtime.rootfs / "data").chmod(0o644)
    rule = {"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO"}
    seccomp = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}}}
    assert runtime.run("a", ["/bin/echo", "found"], seccomp).stdout == "found\n"
    refused = runtime.run("b", ["/data"], seccomp)
    assert (refused.code, "permission denied" in refused.stderr) == (1, True), refused.stderr


def test_a_listener_of_the_call_that_tells_of_it_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    rule = {"names": ["write"], "action": "SCMP_ACT_NOTIFY"}
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(tmp_path / "none"), "syscalls": [rule]}
    refused = runtime.run("a", ["true"], {"linux": {"seccomp": seccomp}})
    assert (refused.code, "cannot be used for the system call write" in refused.stderr) == (1, True)


def test_the_callers_proc_is_bound_where_the_pid_namespace_is_the_callers(runtime: Runtime) -> None:
    kinds = [{"type": kind} for kind in ("mount", "uts", "ipc", "network")]
    bound = {"destination": "/proc", "source": "/proc", "options": ["rbind", "nosuid", "nodev", "noexec"]}
    mounts = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"]
    mounts = [bound if mount["destination"] == "/proc" else mount for mount in mounts]
    changes = {"linux": {"namespaces": kinds}, "mounts": mounts}
    script = f"readlink /proc/self/ns/pid; test -d /proc/{os.getpid()}; cat /proc/kcore | wc -c"
    done = runtime.run("a", ["sh", "-e", "-c", script], changes)
    assert (done.stdout.split(), done.code) == ([os.readlink("/proc/self/ns/pid"), "0"], 0), done.stderr
    other = {**bound, "source": str(runtime.rootfs)}
    assert "cannot mount on /proc" in runtime.run("b", ["true"], {"mounts": [*mounts, other]}).stderr


@pytest.fixture
def box(runtime: Runtime) -> str:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("box", ["sleep", "1000"]), "box")
    return "box"


# -- exec


def test_exec_passes_the_callers_descriptors_and_no_others(
    runtime: Runtime, box: str, tmp_path: Path
) -> None:
    (tmp_path / "given").write_text("hello\n")
    script = "cat <&3; exec ls /proc/self/fd"
    with open(tmp_path / "given") as file:
        words = [
            "bash",
            "-c",
            f'exec 3<&{file.fileno()} {file.fileno()}<&-; exec "$@"',
            "bash",
            *runtime.command,
            "--root",
            str(tmp_path / "state"),
            *("exec", "--preserve-fds", "1", box, "sh", "-c", script),
        ]
        done = subprocess.run(
            words, pass_fds=(file.fileno(),), capture_output=True, text=True, timeout=30, check=True
        )
    # The last is the directory that it lists.
    assert done.stdout.split() == ["hello", "0", "1", "2", "3", "4"]
    assert "descriptor 3 is not open" in runtime("exec", "--preserve-fds", "1", box, "true").stderr


def test_exec_joins_cgroups_below_the_containers_and_refuses_what_there_is_none_of(
    runtime: Runtime, box: str
) -> None:
    for wanted, complaint in [
        ("..", "bad sub cgroup path"),
        ("nonexistent", "no such file or directory"),
        ("whaaat:/", "unknown controller 'whaaat'"),
    ]:
        done = runtime("exec", "--cgroup", wanted, box, "true")
        assert (done.code, complaint in done.stderr) == (255, True), done.stderr
    assert runtime("exec", "--cgroup", "/", box, "true").code == 0


def test_a_process_may_run_on_some_processors_only(runtime: Runtime, box: str, tmp_path: Path) -> None:
    show = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    process = {
        "args": show,
        "cwd": "/",
        "env": ["PATH=/bin"],
        "execCPUAffinity": {"initial": "0", "final": "0"},
    }
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert runtime.ok("exec", "--process", tmp_path / "process.json", box).split()[1] == "0"
    process["execCPUAffinity"] = {"final": "0,x"}
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert "not of the form 0-2,4" in runtime("exec", "--process", tmp_path / "process.json", box).stderr


def test_neither_container_nor_exec_is_confined_to_the_callers_processors(
    runtime: Runtime, tmp_path: Path
) -> None:
    everything = runtime.run("all", ["grep", "Cpus_allowed_list", "/proc/self/status"]).stdout
    runtime.ok("run", "-d", "--bundle", runtime.bundle("box", ["sleep", "1000"]), "box")
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    try:
        show = ["grep", "Cpus_allowed_list", "/proc/self/status"]
        assert runtime.run("one", show).stdout == everything
        assert runtime.ok("exec", "box", *show) == everything
    finally:
        os.sched_setaffinity(0, mask)


@pytest.mark.parametrize("command", ["create", "run", "exec"])
def test_the_process_is_handed_over_as_a_pidfd(runtime: Runtime, tmp_path: Path, command: str) -> None:
    path = tmp_path / "pidfd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        bundle = runtime.bundle("box", ["sleep", "1000"])
        pid_file = tmp_path / "pid"
        more = ["--pidfd-socket", path, "--pid-file", pid_file]
        if command == "exec":
            runtime.ok("run", "-d", "--bundle", bundle, "box")
            runtime.ok("exec", "-d", *more, "box", "sleep", "1000")
        else:
            detach = ["-d"] if command == "run" else []
            runtime.ok(command, *detach, *more, "--bundle", bundle, "box")
        connection, _ = listener.accept()
        with connection:
            said, fds, _, _ = socket.recv_fds(connection, 16, 1)
    assert said == b"pidfd"
    with open(f"/proc/self/fdinfo/{fds[0]}") as file:
        assert f"Pid:\t{pid_file.read_text()}\n" in file.read()
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    os.close(fds[0])


def test_options_of_ps_come_after_the_container(runtime: Runtime, box: str) -> None:
    lines = runtime.ok("ps", box, "-e", "-o", "pid,comm").splitlines()
    assert [line.split() for line in lines] == [["PID", "COMMAND"], [str(runtime.pid(box)), "sleep"]]


# -- processes


def test_an_empty_home_is_replaced_by_the_users(runtime: Runtime) -> None:
    with open(runtime.rootfs / "etc/passwd", "a") as file:
        file.write("tempuser:x:2000:2000::/home/tempuser:/bin/sh\n")
    changes = {"process": {"user": {"uid": 2000, "gid": 2000}, "env": ["HOME=/x", "HOME=", "PATH=/bin"]}}
    assert runtime.run("box", ["sh", "-c", "echo $HOME"], changes).stdout == "/home/tempuser\n"


def test_the_scheduling_policy_is_set_and_checked(runtime: Runtime) -> None:
    changes: dict[str, Any] = {"process": {"scheduler": {"policy": "SCHED_BATCH", "nice": 19}}}
    show = ["sh", "-c", "cut -d' ' -f19,41 /proc/self/stat"]
    assert runtime.run("box", show, changes).stdout == "19 3\n"  # proc_pid_stat(5): nice, policy
    for field, value in [("policy", "SCHED_FAST"), ("flags", ["SCHED_FLAG_X"])]:
        changes["process"]["scheduler"] = {"policy": "SCHED_OTHER", field: value}
        done = runtime.run(f"box-{field}", ["true"], changes)
        assert (done.code, f"process.scheduler.{field}" in done.stderr) == (1, True), done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="a kernel without CONFIG_NUMA")
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}, "interleave:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "prefer=static:0"),
        ({"mode": "MPOL_BEST"}, "linux.memoryPolicy.mode"),
        ({"mode": "MPOL_BIND", "nodes": "all"}, "linux.memoryPolicy"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}, "linux.memoryPolicy.flags"),
        ({"mode": "MPOL_INTERLEAVE"}, "linux.memoryPolicy: Invalid argument"),
        ({}, "linux.memoryPolicy.mode is missing"),
    ],
)
def test_where_memory_comes_from_is_set_and_checked(
    runtime: Runtime, policy: dict[str, Any], shown: str
) -> None:
    done = runtime.run(
        "box", ["sh", "-c", "exec cat /proc/self/numa_maps"], {"linux": {"memoryPolicy": policy}}
    )
    if shown.startswith("linux."):
        assert (done.code, shown in done.stderr) == (1, True), done.stderr
    else:
        assert f" {shown} " in done.stdout, done.stderr


def test_an_interpreter_that_is_missing_is_told_in_one_line(runtime: Runtime, box: str) -> None:
    script = runtime.rootfs / "run.sh"
    script.write_text("#!/mmnnttbb foo\n")
    script.chmod(0o755)
    for done in (runtime.run("other", ["/run.sh"]), runtime("exec", box, "/run.sh")):
        assert done.code != 0
        assert len(done.stderr.splitlines()) == 1
        assert "exec /run.sh: no such file or directory" in done.stderr


@pytest.mark.parametrize(
    "kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
)
def test_a_hook_that_fails_is_named_by_kind_and_number(runtime: Runtime, kind: str) -> None:
    true, false = ("/bin/true", "/bin/false")
    done = runtime.run("box", ["true"], {"hooks": {kind: [{"path": true}, {"path": false}]}})
    assert done.code != 0
    assert f"error running {kind} hook #1:" in done.stderr


def test_inside_a_hook_runs_under_the_filter_of_the_program(runtime: Runtime) -> None:
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "mkdir /made"]}
    done = runtime.run("box", ["true"], {"linux": {"seccomp": seccomp}, "hooks": {"startContainer": [hook]}})
    assert done.code != 0
    assert "error running startContainer hook #0:" in done.stderr
    assert "not supported" in done.stderr
    assert not (runtime.rootfs / "made").exists()


def test_a_further_process_has_the_manners_of_the_first(runtime: Runtime) -> None:
    changes: dict[str, Any] = {
        "process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}},
        "linux": {"personality": {"domain": "LINUX32"}},
    }
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("box", ["sleep", "1000"], changes), "box")
    told = runtime.ok("exec", "box", "sh", "-c", "ionice; uname -m")
    assert told == f"best-effort: prio 6\n{MACHINE_32}\n"


def test_ambient_capabilities_that_cannot_be_raised_are_left_out_with_a_warning(runtime: Runtime) -> None:
    sets = {kind: ["CAP_KILL", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted", "ambient")}
    changes = {"process": {"capabilities": {**sets, "inheritable": ["CAP_KILL"]}}}
    done = runtime.run("box", ["grep", "CapAmb", "/proc/self/status"], changes)
    assert done.stdout == "CapAmb:\t0000000000000020\n", done.stderr
    assert "can't raise ambient capability CAP_CHOWN" in done.stderr


def test_what_a_terminal_shows_goes_to_a_file_with_plain_line_ends(runtime: Runtime) -> None:
    changes = {"process": {"terminal": True}}
    done = runtime.run("box", ["sh", "-c", "test -t 1 && echo one && echo two"], changes)
    assert (done.code, done.stdout) == (0, "one\ntwo\n"), done.stderr
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("other", ["sleep", "1000"]), "other")
    script = "test -t 1 && echo one && echo two"
    assert runtime.ok("exec", "--tty", "other", "sh", "-c", script) == "one\ntwo\n"
    assert runtime("exec", "--tty", "other", "no-such-program").code == 255


@pytest.mark.parametrize("errno_", [errno.ENOSYS, errno.EPERM])
def test_a_filter_that_is_older_than_close_range_is_no_obstacle(runtime: Runtime, errno_: int) -> None:
    rule = {"names": ["close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno_}
    filter_ = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    changes = {"process": {"noNewPrivileges": False}, "linux": {"seccomp": filter_}}
    done = runtime.run("box", ["sh", "-c", "echo /proc/self/fd/*"], changes)
    assert done.stdout.split() == [f"/proc/self/fd/{fd}" for fd in (0, 1, 2, 3)], done.stderr


# -- mounts


def test_a_mount_is_made_where_links_lead_that_lead_nowhere_yet(runtime: Runtime) -> None:
    (runtime.rootfs / "jump").symlink_to("/tmp/far/away")
    (runtime.rootfs / "link").symlink_to("/jump/below/file")
    mounts = [{"source": "config.json", "destination": "/link", "options": ["bind"]}]
    done = runtime.run("box", ["readlink", "-f", "/link"], {"mounts": mounts})
    assert done.stdout == "/tmp/far/away/below/file\n", done.stderr
    assert (runtime.rootfs / "tmp/far/away/below/file").is_file()
    (runtime.rootfs / "circle").symlink_to("/circle/on")
    mounts[0]["destination"] = "/circle/x"
    done = runtime.run("other", ["true"], {"mounts": mounts})
    assert (done.code, "/circle/x" in done.stderr) == (1, True), done.stderr


def test_a_tmpfs_has_the_mode_of_what_it_covers_unless_one_is_given(runtime: Runtime) -> None:
    (runtime.rootfs / "over").mkdir()
    (runtime.rootfs / "over").chmod(0o2710)
    for name, options, mode in [("own", [], "2710"), ("given", ["mode=0410"], "410")]:
        mounts = [{**TMPFS, "destination": "/over", "options": options}]
        assert runtime.run(name, ["stat", "-c", "%a", "/over"], {"mounts": mounts}).stdout == f"{mode}\n"


def test_a_remount_changes_the_mount_or_its_file_system(runtime: Runtime, tmp_path: Path) -> None:
    places = ["alone", "whole"]
    mounts: list[dict[str, Any]] = [{**TMPFS, "destination": f"/{place}", "options": []} for place in places]
    mounts += [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/alone", "type": "bind", "source": "/alone", "options": ["bind", "remount", "ro"]},
        {**TMPFS, "destination": "/whole", "options": ["remount", "nosuid", "size=1m"]},
    ]
    done = runtime.run("box", ["sh", "-c", "mount | grep -E 'alone|whole'"], {"mounts": mounts})
    alone, whole = done.stdout.splitlines()
    assert ("(ro," in alone, "size=" in alone) == (True, False), done.stderr
    assert ("(rw,nosuid" in whole, "size=1024k" in whole) == (True, True)
    mounts = [{**TMPFS, "destination": "/etc", "options": ["remount"]}]
    done = runtime.run("other", ["true"], {"mounts": mounts})
    assert (done.code, "/etc cannot be remounted" in done.stderr) == (1, True), done.stderr


def test_a_relative_source_starts_at_the_bundle(runtime: Runtime) -> None:
    mounts = [{"source": ".", "destination": "/tmp/bind", "options": ["bind"]}]
    done = runtime.run("box", ["ls", "/tmp/bind"], {"mounts": mounts})
    assert done.stdout == "config.json\n", done.stderr


def test_dev_may_be_read_only_and_has_its_nodes_all_the_same(runtime: Runtime) -> None:
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {**TMPFS, "destination": "/dev", "options": ["nosuid", "mode=755", "ro"]},
    ]
    script = "echo x > /dev/null && test -c /dev/zero && echo there; touch /dev/new"
    done = runtime.run("box", ["sh", "-c", script], {"mounts": mounts})
    assert done.stdout == "there\n"
    assert "Read-only file system" in done.stderr


def test_kernel_directories_must_be_ordinary_ones(runtime: Runtime) -> None:
    shutil.rmtree(runtime.rootfs / "proc")
    (runtime.rootfs / "proc").symlink_to("/symlink")
    done = runtime.run("box", ["true"])
    assert (done.code, "must be mounted on ordinary directory" in done.stderr) == (1, True)


def test_sigkill_ends_all_of_a_container_without_a_pid_namespace(runtime: Runtime) -> None:
    kinds = ("mount", "network", "ipc", "uts")
    changes = {"linux": {"namespaces": [{"type": kind} for kind in kinds]}}
    runtime.ok("run", "-d", "--bundle", runtime.bundle("box", ["sleep", "1000"], changes), "box")
    for name in ("one", "two"):
        runtime.ok("exec", "-d", "--pid-file", runtime.base / name, "box", "sleep", "1000")
    others = [os.pidfd_open(int((runtime.base / name).read_text())) for name in ("one", "two")]
    first = os.pidfd_open(runtime.pid("box"))
    signal.pidfd_send_signal(first, signal.SIGKILL)
    wait_for_end(first)
    runtime.ok("kill", "box", "KILL")
    for fd in others:
        wait_for_end(fd)
    for fd in (first, *others):
        os.close(fd)
    assert runtime("kill", "box", "KILL").code == 1


def test_what_is_left_without_the_first_process_goes_with_the_container(runtime: Runtime) -> None:
    kinds = ("mount", "network", "ipc", "uts")
    changes = {"linux": {"namespaces": [{"type": kind} for kind in kinds]}}
    runtime.ok("run", "-d", "--bundle", runtime.bundle("box", ["sleep", "1000"], changes), "box")
    runtime.ok("exec", "-d", "--pid-file", runtime.base / "pid", "box", "sleep", "1000")
    first, other = (
        os.pidfd_open(pid) for pid in (runtime.pid("box"), int((runtime.base / "pid").read_text()))
    )
    signal.pidfd_send_signal(first, signal.SIGKILL)
    wait_for_end(first)
    assert runtime.status("box") == "stopped"
    runtime.ok("delete", "box")
    wait_for_end(other)
    for fd in (first, other):
        os.close(fd)
