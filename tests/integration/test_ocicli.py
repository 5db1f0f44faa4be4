"""The OCI runtime command: the life of a container, its hooks, and what is refused."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.launching import wait_for_end
from tests.support.ocicli import Runtime

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def runtime(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Runtime]:
    made = Runtime(tmp_path, busybox_rootfs)
    yield made
    made.clean()


def end(runtime: Runtime, name: str) -> None:
    """Kill the first process and wait for its end."""
    pidfd = os.pidfd_open(runtime.pid(name))
    runtime.ok("kill", name, "KILL")
    wait_for_end(pidfd)
    os.close(pidfd)


def test_a_container_is_created_started_stopped_and_deleted(runtime: Runtime, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle = runtime.bundle("a", ["sh", "-c", "echo ran; exec sleep 1000"])
    with out.open("w") as stdout:
        subprocess.run(
            [*runtime.command, "--root", tmp_path / "state", "create", "--bundle", bundle, "a"],
            stdin=subprocess.DEVNULL, stdout=stdout, check=True,
        )  # fmt: skip
    assert runtime.status("a") == "created"
    assert out.read_text() == ""
    pid = runtime.pid("a")
    runtime.ok("start", "a")
    assert runtime.status("a") == "running"
    assert runtime.pid("a") == pid
    end(runtime, "a")
    assert out.read_text() == "ran\n"
    assert runtime.status("a") == "stopped"
    runtime.ok("delete", "a")
    assert runtime("state", "a").code == 1
    assert "does not exist" in runtime("state", "a").stderr
    assert not (tmp_path / "state" / "a").exists()


def test_run_gives_the_output_and_the_exit_code(runtime: Runtime) -> None:
    done = runtime.run("a", ["sh", "-c", "echo out; echo err >&2; exit 42"])
    assert (done.code, done.stdout, done.stderr) == (42, "out\n", "err\n")
    assert runtime.ok("list", "--quiet") == ""


def test_a_signal_that_ends_the_program_is_told_by_the_exit_code(runtime: Runtime) -> None:
    assert runtime.run("a", ["sh", "-c", "ulimit -t 1; while :; do :; done"]).code == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["start"], "only a created one"),
        (["delete"], "not stopped"),
        (["resume"], "it is running"),
    ],
    ids=["start twice", "delete", "resume"],
)
def test_what_does_not_fit_a_running_container_is_refused_without_effect(
    runtime: Runtime, words: list[str], reason: str
) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    done = runtime(*words, "a")
    assert done.code == 1
    assert reason in done.stderr
    assert runtime.status("a") == "running"


def test_a_created_container_can_be_neither_deleted_nor_made_again(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["sleep", "1000"])
    runtime.ok("create", "--bundle", bundle, "a")
    assert runtime("delete", "a").code == 1
    assert "exists already" in runtime("create", "--bundle", bundle, "a").stderr
    assert runtime.status("a") == "created"
    runtime.ok("delete", "--force", "a")


def test_a_stopped_container_takes_no_signal(runtime: Runtime) -> None:
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    end(runtime, "a")
    done = runtime("kill", "a", "TERM")
    assert done.code == 1
    assert "container not running" in done.stderr


def test_deleting_what_is_not_there_is_an_error_but_by_force(runtime: Runtime) -> None:
    assert runtime("delete", "nothing").code == 1
    assert runtime("delete", "--force", "nothing").code == 0


def test_expressions_mean_every_container_whose_name_they_are_found_in(runtime: Runtime) -> None:
    for name in ("one-1", "one-2", "two"):
        runtime.ok("create", "--bundle", runtime.bundle(name, ["sleep", "1000"]), name)
    assert runtime("delete", "--force", "--regex", "one-(").code == 1
    runtime.ok("kill", "--regex", "^one-", "KILL")
    runtime.ok("delete", "--force", "--regex", "^one-")
    assert runtime.ok("list", "--quiet").split() == ["two"]


def test_the_devices_that_every_program_needs_can_be_used_and_no_others(runtime: Runtime) -> None:
    script = "echo x > /dev/null && head -c1 /dev/zero | wc -c; mknod /disk b 7 0; cat /disk; rm /disk"
    rules: list[Any] = [[{"allow": False, "access": "rwm"}], []]
    rules.append([{"allow": True, "type": "b", "major": 259, "minor": 1, "access": "rwa"}])
    for number, devices in enumerate(rules):  # as `runc spec` writes them, and none at all
        changes = {"linux": {"resources": {"devices": devices}}}
        done = runtime.run(f"box-{number}", ["sh", "-c", script], changes)
        assert (done.code, done.stdout) == (0, "1\n"), done.stderr
        assert "can't open '/disk': Operation not permitted" in done.stderr


def test_the_example_of_a_specification_runs(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    runtime.ok("spec", "--bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "config.json"
    spec = json.loads(path.read_text())
    spec["root"]["path"] = str(runtime.rootfs)
    spec["linux"]["cgroupsPath"] = f"/pytest-oci-{os.getpid()}-example"
    spec["process"].update(terminal=False, args=["sh", "-c", "echo x > /dev/null && hostname"])
    path.write_text(json.dumps(spec))
    assert runtime.ok("run", "--bundle", tmp_path / "bundle", "example") == "pycontainer\n"


def test_a_program_that_is_missing_is_told_by_create(runtime: Runtime) -> None:
    done = runtime("create", "--bundle", runtime.bundle("a", ["no-such-program"]), "a")
    assert done.code == 1
    assert 'exec: "no-such-program": executable file not found in $PATH' in done.stderr
    assert runtime.ok("list", "--quiet") == ""


def test_a_program_that_cannot_be_executed_after_all_is_told_by_start(
    runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "program").write_bytes(b"no program at all")
    (tmp_path / "program").chmod(0o755)
    mounts = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"]
    mounts.append({"destination": "/program", "source": str(tmp_path / "program"), "options": ["bind"]})
    runtime.ok("create", "--bundle", runtime.bundle("a", ["/program"], {"mounts": mounts}), "a")
    done = runtime("start", "a")
    assert done.code == 1
    assert "exec format error" in done.stderr


def test_exec_joins_the_container(runtime: Runtime) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    script = "hostname; readlink /proc/self/ns/pid; grep -c . /proc/self/cgroup; exit 9"
    done = runtime(
        "exec", "--env", "A=1", "--cwd", "/tmp", "--user", "7:8", "a", "sh", "-c", "id; pwd; echo $A"
    )
    assert done.stdout == "uid=7 gid=8 groups=8\n/tmp\n1\n"
    done = runtime("exec", "a", "sh", "-c", script)
    assert done.code == 9
    assert done.stdout.splitlines()[:2] == ["box", os.readlink(f"/proc/{runtime.pid('a')}/ns/pid")]


def test_exec_of_a_process_file_is_detached_with_a_pid_file(runtime: Runtime, tmp_path: Path) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    described = {"args": ["sleep", "999"], "cwd": "/", "user": {"uid": 3, "gid": 4}}
    (tmp_path / "process.json").write_text(json.dumps(described))
    pid_file = tmp_path / "pid"
    runtime.ok("exec", "--process", tmp_path / "process.json", "--detach", "--pid-file", pid_file, "a")
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00999\x00"
    assert pid in json.loads(runtime.ok("ps", "--format", "json", "a"))
    assert "sleep 999" in runtime.ok("ps", "a")


def test_exec_in_what_does_not_run_is_refused(runtime: Runtime) -> None:
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    end(runtime, "a")
    assert runtime("exec", "a", "true").code == 255


def test_pause_stops_every_process_and_resume_lets_them_go_on(runtime: Runtime) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    runtime.ok("pause", "a")
    assert runtime.status("a") == "paused"
    assert runtime("exec", "a", "true").code == 255
    runtime.ok("resume", "a")
    assert runtime.status("a") == "running"


def test_a_paused_container_is_deleted_by_force(runtime: Runtime) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    runtime.ok("pause", "a")
    runtime.ok("delete", "--force", "a")
    assert runtime.ok("list", "--quiet") == ""


def test_limits_are_set_by_the_specification_and_changed_by_update(runtime: Runtime) -> None:
    changes = {"linux": {"resources": {"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}}}
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    name = f"pytest-oci-{os.getpid()}-a/pids.max"
    places = (Path("/sys/fs/cgroup/pids", name), Path("/sys/fs/cgroup", name))
    leaf = next(path for path in places if path.exists())
    assert leaf.read_text() == "50\n"
    runtime.ok("update", "--pids-limit", "60", "a")
    assert leaf.read_text() == "60\n"
    runtime.ok("update", "--resources", "-", "a", input=json.dumps({"pids": {"limit": 70}}))
    assert leaf.read_text() == "70\n"
    figures = json.loads(runtime.ok("events", "--stats", "a"))
    assert figures["data"]["memory"]["usage"]["usage"] > 0
    assert figures["data"]["pids"] == {"current": 1, "limit": 70}


def test_what_the_kernel_kills_for_memory_is_an_event(runtime: Runtime, tmp_path: Path) -> None:
    script = "head -c 100m /dev/zero | tail; exec sleep 1000"
    limits = {"linux": {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}}
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sh", "-c", script], limits), "a")
    command = [*runtime.command, "--root", str(tmp_path / "state"), "events", "--interval", "100ms", "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["type"] == "stats"
        runtime.ok("start", "a")
        kinds = (json.loads(line)["type"] for line in watcher.stdout)
        assert "oom" in kinds
        watcher.kill()


def test_limits_that_hold_each_other_are_changed_in_whatever_order_goes(runtime: Runtime) -> None:
    """A period below its quota, no memory limit below the one together with swap, and bursts back to none."""
    changes = {
        "linux": {"resources": {"cpu": {"period": 100000, "quota": 60000}, "memory": {"limit": 64 << 20}}}
    }
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    runtime.ok("update", "--memory-swap", str(96 << 20), "a")
    runtime.ok("update", "--memory", "-1", "a")
    runtime.ok("update", "--cpu-period", "10000", "--cpu-quota", "3000", "a")
    runtime.ok("update", "--cpu-burst", "1000", "a")
    runtime.ok("update", "--cpu-burst", "0", "a")
    name = f"pytest-oci-{os.getpid()}-a"
    places = (Path("/sys/fs/cgroup/cpu", name, "cpu.cfs_quota_us"), Path("/sys/fs/cgroup", name, "cpu.max"))
    assert next(path for path in places if path.exists()).read_text().split()[0] == "3000"


def test_list_tells_every_container(runtime: Runtime) -> None:
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"]), "a")
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("b", ["sleep", "1000"]), "b")
    rows = json.loads(runtime.ok("list", "--format", "json"))
    assert [(row["id"], row["status"]) for row in rows] == [("a", "created"), ("b", "running")]


# -- hooks


def hooks_that_write(directory: Path, kinds: list[str]) -> dict[str, Any]:
    """A hook of each kind that appends its kind, the state it was told and its mount namespace to a file."""
    script = 'echo "$KIND $(cat) $(readlink /proc/self/ns/mnt)" >> "$LOG"'
    made = {}
    for kind in kinds:
        log = "/log/hooks" if kind == "startContainer" else str(directory / "hooks")
        env = [f"KIND={kind}", f"LOG={log}", "PATH=/usr/bin:/bin"]
        made[kind] = [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": env}]
    return made


ORDER = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def test_hooks_run_in_order_with_the_state_in_their_namespaces(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    mounts = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"]
    mounts.append({"destination": "/log", "source": str(tmp_path / "log"), "options": ["bind"]})
    changes = {"mounts": mounts, "hooks": hooks_that_write(tmp_path / "log", ORDER)}
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    log = tmp_path / "log" / "hooks"
    assert [line.split()[0] for line in log.read_text().splitlines()] == ORDER[:3]
    runtime.ok("start", "a")
    inner = os.readlink(f"/proc/{runtime.pid('a')}/ns/mnt")
    end(runtime, "a")
    runtime.ok("delete", "a")
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [kind for kind, _ in lines] == ORDER
    told = {kind: json.loads(rest.rpartition(" ")[0]) for kind, rest in lines}
    places = {kind: rest.rpartition(" ")[2] for kind, rest in lines}
    assert [told[kind]["status"] for kind in ORDER] == [
        *("creating", "creating", "creating", "created", "running", "stopped")
    ]
    assert {kind for kind in ORDER if places[kind] == inner} == {"createContainer", "startContainer"}
    assert {state["id"] for state in told.values()} == {"a"}


def test_hooks_inherit_the_environment_they_do_not_name(runtime: Runtime, tmp_path: Path) -> None:
    """Of the command outside, of the container inside, as with runc."""
    (tmp_path / "log").mkdir()
    mounts = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"]
    mounts.append({"destination": "/log", "source": str(tmp_path / "log"), "options": ["bind"]})
    hooks: dict[str, Any] = {}
    for kind in ORDER:
        file = "/log/hooks" if kind == "startContainer" else f"{tmp_path}/log/hooks"
        args = ["sh", "-c", f"echo {kind} $WHOSE >> {file}"]
        hooks[kind] = [{"path": "/bin/sh", "args": args}, {"path": "/bin/sh", "args": args, "env": []}]
    changes = {"mounts": mounts, "hooks": hooks, "process": {"env": ["PATH=/bin", "WHOSE=container"]}}
    bundle = runtime.bundle("a", ["true"], changes)
    runtime.ok("run", "--bundle", bundle, "a", env={**os.environ, "WHOSE": "caller"})
    inherited = {kind: "container" if kind == "startContainer" else "caller" for kind in ORDER}
    assert (tmp_path / "log" / "hooks").read_text().splitlines() == [
        line for kind in ORDER for line in (f"{kind} {inherited[kind]}", kind)
    ]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_undoes_create(runtime: Runtime, kind: str) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo broken; exit 3"]}
    changes = {"hooks": {kind: [hook]}}
    done = runtime("create", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    assert done.code == 1
    assert f"{kind} hook #0: hook /bin/sh ended with code 3: broken" in done.stderr
    assert runtime.ok("list", "--quiet") == ""


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_fails_at_start_stops_the_container(runtime: Runtime, kind: str) -> None:
    changes = {"hooks": {kind: [{"path": "/bin/false"}]}}
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    assert runtime("start", "a").code == 1
    assert runtime.status("a") == "stopped"
    runtime.ok("delete", "a")


def test_a_poststop_hook_that_fails_is_a_warning_and_the_next_one_runs(
    runtime: Runtime, tmp_path: Path
) -> None:
    after = {"path": "/bin/sh", "args": ["sh", "-c", f"echo ran > {tmp_path}/after"]}
    changes = {"hooks": {"poststop": [{"path": "/no/such"}, after]}}
    runtime.ok("create", "--bundle", runtime.bundle("a", ["true"], changes), "a")
    end(runtime, "a")
    done = runtime("delete", "a")
    assert done.code == 0
    assert "poststop hook #0: hook /no/such cannot be executed" in done.stderr
    assert (tmp_path / "after").read_text() == "ran\n"


def test_a_hook_that_takes_too_long_is_killed(runtime: Runtime) -> None:
    hook = {"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}
    changes = {"hooks": {"createRuntime": [hook]}}
    done = runtime("create", "--bundle", runtime.bundle("a", ["true"], changes), "a")
    assert "did not end within 1 s" in done.stderr


# -- what callers pass


def test_a_terminal_is_handed_over_through_the_console_socket(runtime: Runtime, tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "console"))
    server.listen()
    changes = {"process": {"terminal": True, "consoleSize": {"height": 33, "width": 77}}}
    bundle = runtime.bundle("a", ["sh", "-c", "stty size; tty; sleep 1000"], changes)
    masters: list[int] = []

    def accept() -> None:
        connection, _ = server.accept()
        _, fds, _, _ = socket.recv_fds(connection, 64, 1)
        masters.extend(fds)
        connection.close()

    taker = threading.Thread(target=accept)
    taker.start()
    runtime.ok("create", "--console-socket", tmp_path / "console", "--bundle", bundle, "a")
    taker.join(20)
    server.close()
    runtime.ok("start", "a")
    said = b""
    while said.count(b"\n") < 2:
        said += os.read(masters[0], 4096)
    os.close(masters[0])
    assert said.split() == [b"33", b"77", b"/dev/pts/0"]


def test_passed_descriptors_and_no_others_reach_the_program(runtime: Runtime) -> None:
    script = "cat <&3; for n in 4 5 6 7 8 9 10 11 12; do [ -e /proc/1/fd/$n ] && echo $n; done"
    bundle = runtime.bundle("a", ["sh", "-c", script])
    reader, writer = os.pipe()
    os.write(writer, b"given\n")
    os.close(writer)

    def place() -> None:
        os.dup2(reader, 3)
        os.set_inheritable(3, True)

    done = runtime("run", "--preserve-fds", "1", "--bundle", bundle, "a", pass_fds=(3,), preexec_fn=place)
    os.close(reader)
    assert done.stdout == "given\n"


def test_errors_go_to_the_log_as_json(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    runtime("--log", log, "--log-format", "json", "start", "nothing")
    entry = json.loads(log.read_text())
    assert (entry["level"], "does not exist" in entry["msg"]) == ("error", True)


def test_the_filter_s_listener_gets_the_state_and_decides(runtime: Runtime, tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "listener"))
    server.listen()
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "listener"),
        "listenerMetadata": "mine",
        "syscalls": [rule],
    }
    bundle = runtime.bundle("a", ["sh", "-c", "mkdir /tmp/x; sleep 1000"], {"linux": {"seccomp": seccomp}})
    taken: list[Any] = []

    def accept() -> None:
        connection, _ = server.accept()
        text, fds, _, _ = socket.recv_fds(connection, 65536, 4)
        taken.extend((json.loads(text), fds))
        connection.close()

    def give_listener(*words: str | Path) -> tuple[Any, list[int]]:
        taken.clear()
        taker = threading.Thread(target=accept)
        taker.start()
        runtime.ok(*words)
        taker.join(20)
        message, fds = taken
        return message, fds

    message, fds = give_listener("create", "--bundle", bundle, "a")
    assert message["fds"] == ["seccompFd"]
    assert message["metadata"] == "mine"
    assert message["state"]["id"] == "a"
    assert message["pid"] == runtime.pid("a")
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    runtime.ok("start", "a")
    poller = select.poll()
    poller.register(fds[0], select.POLLIN)
    assert poller.poll(20_000), "the program's mkdir did not ask"
    os.close(fds[0])

    pid_file = tmp_path / "pid"
    message, fds = give_listener("exec", "--detach", "--pid-file", pid_file, "a", "mkdir", "/tmp/y")
    assert message["pid"] == int(pid_file.read_text())
    assert (message["state"]["pid"], message["state"]["status"]) == (runtime.pid("a"), "running")
    poller.register(fds[0], select.POLLIN)
    assert poller.poll(20_000), "the further program's mkdir did not ask"
    os.close(fds[0])
    server.close()
    refused = runtime("exec", "a", "true")
    assert refused.code == 255
    assert "cannot be connected to" in refused.stderr


# -- refusals


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"ociVersion": "2.0.0"}, "ociVersion"),
    "no version": ({"ociVersion": None}, "ociVersion"),
    "no process": ({"process": None}, "process"),
    "args": ({"process": {"args": []}}, "process.args"),
    "cwd": ({"process": {"cwd": "relative"}}, "process.cwd"),
    "env": ({"process": {"env": ["novalue"]}}, "process.env"),
    "rlimit": (
        {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]}},
        "process.rlimits",
    ),
    "oom": ({"process": {"oomScoreAdj": 2000}}, "process.oomScoreAdj"),
    "uid": ({"process": {"user": {"uid": -1}}}, "process.user.uid"),
    "root": ({"root": {"path": "/no/such/directory"}}, "root.path"),
    "hostname": ({"hostname": 7}, "hostname"),
    "namespace": ({"linux": {"namespaces": [{"type": "mount"}, {"type": "strange"}]}}, "linux.namespaces"),
    "namespace of another type": (
        {"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc", "path": "/proc/self/ns/uts"}]}},
        "linux.namespaces[1].path",
    ),
    "no namespace": (
        {"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc", "path": "/proc/self/status"}]}},
        "linux.namespaces[1].path",
    ),
    "sysctl": ({"linux": {"sysctl": {"vm.overcommit_memory": "1"}}}, "linux.sysctl"),
    "masked": ({"linux": {"maskedPaths": ["relative"]}}, "linux.maskedPaths"),
    "device": ({"linux": {"devices": [{"type": "x", "path": "/dev/x"}]}}, "linux.devices[0].type"),
    "action": ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_WHATEVER"}}}, "linux.seccomp"),
    "flag": (
        {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["NO_SUCH"]}}},
        "linux.seccomp.flags",
    ),
    "hook": ({"hooks": {"poststop": [{"path": "relative"}]}}, "hooks.poststop[0].path"),
    "annotation": ({"annotations": {"": "x"}}, "annotations"),
    "propagation": ({"linux": {"rootfsPropagation": "sideways"}}, "linux.rootfsPropagation"),
    "network device": ({"linux": {"netDevices": {"a/b": {}}}}, "linux.netDevices"),
    "two devices of a name": (
        {"linux": {"netDevices": {"pcnone0": {"name": "x"}, "pcnone1": {"name": "x"}}}},
        "linux.netDevices",
    ),
    "no such device": ({"linux": {"netDevices": {"pcnone0": {}}}}, "linux.netDevices"),
}


@pytest.mark.parametrize(("changes", "field"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_specification_is_refused_by_its_field_and_leaves_nothing(
    runtime: Runtime, tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    done = runtime("create", "--bundle", runtime.bundle("a", ["true"], changes), "a")
    assert done.code == 1
    assert field in done.stderr
    assert not (tmp_path / "state" / "a").exists()


def test_unknown_properties_are_ignored(runtime: Runtime) -> None:
    changes = {"strange": {"x": 1}, "process": {"stranger": True}, "linux": {"strangest": []}}
    assert runtime.run("a", ["echo", "ran"], changes).stdout == "ran\n"


@pytest.mark.parametrize("name", ["..", "a/b", "", "a b"])
def test_an_id_that_is_no_name_is_refused(runtime: Runtime, name: str) -> None:
    assert runtime("create", "--bundle", runtime.bundle("x", ["true"]), name).code == 1


# -- crashes


@pytest.mark.parametrize(
    "step",
    [
        *("create.state.written", "create.cgroup.made", "create.init.cloned", "create.hooks.run"),
        *("create.init.waiting", "create.state.settled"),
    ],
)
def test_a_create_that_was_killed_is_repaired_by_a_forced_delete(runtime: Runtime, step: str) -> None:
    changes = {"hooks": {"createRuntime": [{"path": "/bin/true"}]}}
    bundle = runtime.bundle("a", ["sleep", "1000"], changes)
    environment = {**os.environ, "PYCONTAINER_RUNTIME_KILL_AT": step}
    assert runtime("create", "--bundle", bundle, "a", env=environment).code == -signal.SIGKILL
    assert runtime.status("a") in ("stopped", "created")
    runtime.ok("delete", "--force", "a")
    assert runtime("run", "--bundle", runtime.bundle("b", ["echo", "again"]), "a").stdout == "again\n"


# -- settings


def test_a_bind_mount_shows_other_owners_by_its_own_maps(runtime: Runtime, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    os.chown(shared / "file", 1000, 1001)
    maps = [{"containerID": 1000, "hostID": 5000, "size": 2}]
    mount = {
        "destination": "/shared",
        "source": str(shared),
        "options": ["rbind", "idmap"],
        "uidMappings": maps,
        "gidMappings": maps,
    }
    mounts = [*json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"], mount]
    done = runtime.run("a", ["stat", "-c", "%u:%g", "/shared/file"], {"mounts": mounts})
    assert (done.stdout, done.stderr) == ("5000:5001\n", "")


def test_a_tmpfs_begins_with_what_it_covers_if_asked(runtime: Runtime, tmp_path: Path) -> None:
    mount = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "mode=755"]}
    mounts = [*json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"], mount]
    done = runtime.run("a", ["sh", "-c", "cat /etc/passwd; echo x > /etc/new && ls /etc"], {"mounts": mounts})
    assert done.code == 0, done.stderr
    assert done.stdout.startswith((runtime.rootfs / "etc/passwd").read_text())
    assert not (runtime.rootfs / "etc/new").exists()


def test_a_copy_that_has_no_room_is_an_error_and_not_cut_short(runtime: Runtime) -> None:
    (runtime.rootfs / "big").mkdir()
    (runtime.rootfs / "big/file").write_bytes(os.urandom(700 << 10))
    mount = {"destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=512k"]}
    mounts = [*json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"], mount]
    done = runtime.run("a", ["wc", "-c", "/big/file"], {"mounts": mounts})
    assert done.code != 0
    assert "No space left" in done.stderr


def test_personality_groups_and_io_priority_are_as_the_specification_says(runtime: Runtime) -> None:
    changes = {
        "process": {
            "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]},
            "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3},
        },
        "linux": {"personality": {"domain": "LINUX32"}},
    }
    done = runtime.run("a", ["sh", "-c", "uname -m; grep Groups /proc/self/status; ionice -p $$"], changes)
    assert done.stdout.split() == ["i686", "Groups:", "7", "8", "realtime:", "prio", "3"]


def test_the_root_s_propagation_is_set(runtime: Runtime) -> None:
    for name, word, is_shared in (("a", "shared", True), ("b", "private", False)):
        done = runtime.run(name, ["cat", "/proc/self/mountinfo"], {"linux": {"rootfsPropagation": word}})
        root = next(line for line in done.stdout.splitlines() if line.split()[4] == "/")
        assert ("shared:" in root) == is_shared


@pytest.mark.skipif("resctrl" in Path("/proc/self/mountinfo").read_text(), reason="resctrl is mounted")
def test_shares_of_caches_are_refused_where_the_host_has_none(runtime: Runtime) -> None:
    done = runtime.run("a", ["true"], {"linux": {"intelRdt": {"closID": "x"}}})
    assert done.code == 1
    assert "linux.intelRdt needs resctrl" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--rootless", "true"], "root's rights"),
        (["--systemd-cgroup"], "systemd"),
        (["--cgroup-manager", "disabled"], "--cgroup-manager"),
    ],
)
def test_what_cannot_be_done_is_refused_and_not_passed_over(
    runtime: Runtime, options: list[str], named: str
) -> None:
    done = runtime(*options, "run", "--bundle", runtime.bundle("a", ["true"]), "a")
    assert done.code == 1
    assert named in done.stderr
    assert runtime.ok("list", "--quiet") == ""


def test_a_session_keyring_of_its_own_is_made_unless_it_is_not_wanted(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["cat", "/proc/keys"], {"linux": {"maskedPaths": []}})
    for flags in ([], ["--no-new-keyring"]):
        # Keys are the host's, and stay a while: so no other container may have had this name.
        name = f"keys-{uuid.uuid4().hex}"
        keys = runtime.ok("run", *flags, "--bundle", bundle, name)
        assert (f"_ses.{name}" in keys) == (not flags)


@pytest.mark.parametrize("is_above", [False, True], ids=["itself", "above"])
def test_a_frozen_cgroup_is_refused(runtime: Runtime, is_above: bool) -> None:
    top = next(
        (
            each
            for each in ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup")
            if os.path.exists(f"{each}/cgroup.procs")
        ),
        "",
    )
    file, frozen, thawed = (
        ("freezer.state", "FROZEN", "THAWED") if top.endswith("freezer") else ("cgroup.freeze", "1", "0")
    )
    if is_above and file == "cgroup.freeze":
        pytest.skip("version 2 tells of it only once there is a process")
    directory = f"{top}/pytest-oci-{os.getpid()}-frozen"
    path = f"{os.path.basename(directory)}/box" if is_above else os.path.basename(directory)
    os.mkdir(directory)
    try:
        with open(f"{directory}/{file}", "w") as state:
            state.write(frozen)
        done = runtime.run("box", ["true"], {"linux": {"cgroupsPath": f"/{path}"}})
        assert (done.code, "unexpectedly frozen" in done.stderr) == (1, True), done.stderr
        assert runtime.ok("list", "--quiet") == ""
    finally:
        if os.path.exists(directory):  # one above goes with what was made below it
            with open(f"{directory}/{file}", "w") as state:
                state.write(thawed)
            os.rmdir(directory)


def test_a_cgroup_that_another_container_is_in_is_refused_and_left_alone(runtime: Runtime) -> None:
    path = {"linux": {"cgroupsPath": f"/pycontainer-test/{uuid.uuid4().hex}"}}
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("one", ["sleep", "1000"], path), "one")
    again = runtime("run", "--bundle", runtime.bundle("two", ["true"], path), "two")
    assert again.code != 0
    assert "has processes already" in again.stderr
    assert (runtime.status("one"), runtime.ok("list", "--quiet").split()) == ("running", ["one"])
