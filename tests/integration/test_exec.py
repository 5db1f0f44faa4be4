"""Further programs in a running container: what they get, what they are confined to, how they end."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import (
    ContainerFailed,
    DeadlineExceeded,
    InvalidOption,
    LaunchError,
    NotFound,
    WrongState,
)
from pycontainer.kernel import caps
from tests.support.needs import needs
from tests.support.patience import patient
from tests.support.processes import descendants

pytestmark = needs("root", "overlay")

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
TREE = "sleep 600 & setsid sh -c 'sleep 601 & sleep 602 &' & (setsid sleep 603 &) & exec sleep 604"
"""A shell command whose processes leave their parent, group and session."""


@pytest.fixture(scope="module")
def engine(warm_engine: tuple[pc.Engine, pc.Image]) -> pc.Engine:
    """The engine of all tests here; nothing of theirs stays."""
    return warm_engine[0]


@pytest.fixture(scope="module")
def box(engine: pc.Engine) -> Iterator[pc.Container]:
    """A container that waits, with limits and settings of its own."""
    with pc.Container(
        "busybox",
        ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"],
        engine=engine,
        env={"COLOUR": "blue", "SIZE": "big"},
        memory="64m",
        ulimits={"nofile": "100:200"},
        oom_score_adj=77,
        umask="027",
        workdir="/srv",
        group_add=["44"],
    ) as made:
        made.exec(["true"])
        yield made


def sleepers(container: pc.Container) -> list[str]:
    """Command lines of the container's processes that sleep, but for its own."""
    text = container.exec(["sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done"]).text
    return sorted(line.strip() for line in text.splitlines() if line.startswith("sleep 60"))


def running(container: pc.Container) -> list[str]:
    """Ids of its further processes that run."""
    return [found.id for found in container.execs if found.is_running]


def await_no_sleepers(container: pc.Container) -> None:
    deadline = time.monotonic() + patient(10)
    while sleepers(container) and time.monotonic() < deadline:
        pass
    assert sleepers(container) == []


def facts(text: str) -> dict[str, str]:
    """The lines of a /proc/PID/status."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


class TestResult:
    def test_output_and_exit_code_come_back_apart(self, box: pc.Container) -> None:
        result = box.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
        assert result.args == ("sh", "-c", "echo out; echo err >&2; exit 3")

    def test_a_string_is_split_as_a_shell_would(self, box: pc.Container) -> None:
        assert box.exec("echo 'a  b' c").text == "a  b c\n"

    def test_a_signal_that_ends_it_is_told_as_128_and_its_number(self, box: pc.Container) -> None:
        assert box.exec(["sh", "-c", "kill -9 $$"]).exit_code == 137

    def test_check_raises_with_what_it_wrote(self, box: pc.Container) -> None:
        with pytest.raises(ContainerFailed, match="exited with code 4: it broke") as caught:
            box.exec(["sh", "-c", "echo it broke >&2; exit 4"], check=True)
        assert (caught.value.exit_code, caught.value.stderr) == (4, b"it broke\n")

    @pytest.mark.parametrize("size", [0, 10, 65536, 3_000_000])
    def test_input_arrives_whole_and_ends(self, box: pc.Container, size: int) -> None:
        assert box.exec(["cat"], input=b"x" * size).stdout == b"x" * size

    def test_a_file_can_be_its_input(self, box: pc.Container, tmp_path: Path) -> None:
        (tmp_path / "given").write_bytes(b"from a file")
        with open(tmp_path / "given", "rb") as file:
            assert box.exec(["cat"], input=file).stdout == b"from a file"
        assert box.exec(["cat"], input=io.BytesIO(b"from memory")).stdout == b"from memory"

    def test_without_input_its_stdin_is_the_containers_null_device(self, box: pc.Container) -> None:
        told = box.exec(
            ["sh", "-c", "stat -L -c '%t:%T %d' /proc/self/fd/0 /dev/null; cat"]
        ).text.splitlines()
        assert told[0].startswith("1:3 ")
        assert told[0] == told[1]

    def test_megabytes_on_both_streams_come_back(self, box: pc.Container) -> None:
        result = box.exec(["sh", "-c", "head -c 2000000 /dev/zero; head -c 1500000 /dev/zero >&2"])
        assert (len(result.stdout), len(result.stderr)) == (2_000_000, 1_500_000)


class TestSurroundings:
    def test_variables_are_the_containers_and_the_given(self, box: pc.Container) -> None:
        env = facts(box.exec(["env"], env={"SIZE": None, "MORE": "1"}).text.replace("=", ":"))
        assert (env["COLOUR"], env["MORE"], env["HOME"]) == ("blue", "1", "/root")
        assert set(env) == {"PATH", "HOSTNAME", "COLOUR", "MORE", "HOME"}

    def test_a_user_is_looked_up_in_the_container(self, box: pc.Container) -> None:
        assert box.exec(["sh", "-c", "id -u; id -g; echo $HOME"], user="web").text.split()[:2] == [
            "1000",
            "1000",
        ]
        assert box.exec("id -u", user="4321:4322").text == "4321\n"
        assert box.exec("id -g", user="4321:4322").text == "4322\n"
        with pytest.raises(LaunchError, match="unable to find user 'nobody-here'") as caught:
            box.exec("id", user="nobody-here")
        assert (caught.value.exit_code, caught.value.step) == (125, "user")

    def test_the_containers_further_groups_are_its_own_and_no_other(self, box: pc.Container) -> None:
        assert box.exec("id -G", user="4321").text.split() == ["0", "44"]

    def test_the_directory_is_the_containers_or_the_given(self, box: pc.Container) -> None:
        assert box.exec("pwd").text == "/srv\n"
        assert box.exec("pwd", workdir="/tmp").text == "/tmp\n"

    @pytest.mark.parametrize("path", ["/not/there", "/proc/self/fd/3", "/proc/self/fd/7", "/etc/passwd"])
    def test_a_directory_that_is_none_of_the_container_is_refused(self, box: pc.Container, path: str) -> None:
        with pytest.raises(LaunchError, match="working directory") as caught:
            box.exec("pwd", workdir=path)
        assert caught.value.step == "cwd"

    def test_limits_score_and_umask_are_the_containers(self, box: pc.Container) -> None:
        script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; umask"
        assert box.exec(["sh", "-c", script]).text.split() == ["100", "200", "77", "0027"]

    def test_namespaces_are_those_of_the_first_process(self, box: pc.Container) -> None:
        kinds = "cgroup ipc mnt net pid pid_for_children user uts"
        script = f"for k in {kinds}; do readlink /proc/self/ns/$k; readlink /proc/1/ns/$k; done"
        links = box.exec(["sh", "-c", script]).text.split()
        assert len(links) == 2 * len(kinds.split())
        assert links[0::2] == links[1::2]

    def test_nothing_but_the_streams_is_open(self, box: pc.Container) -> None:
        with box.popen(["sleep", "600"]) as process:
            assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["0", "1", "2"]
            process.kill()

    def test_privileges_are_those_of_the_first_process(self, box: pc.Container) -> None:
        kept = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")
        own = facts(box.exec(["cat", "/proc/self/status"]).text)
        first = facts(box.exec(["cat", "/proc/1/status"]).text)
        assert {name: own[name] for name in kept} == {name: first[name] for name in kept}
        assert (own["Seccomp"], own["NoNewPrivs"], own["SigBlk"], own["SigIgn"]) == (
            "2",
            "1",
            *["0" * 16] * 2,
        )

    def test_privileged_has_every_capability_under_the_same_filter(
        self, engine: pc.Engine, box: pc.Container
    ) -> None:
        own = facts(box.exec(["cat", "/proc/self/status"], privileged=True).text)
        assert int(own["CapEff"], 16) == int(own["CapBnd"], 16) == caps.mask(engine.host.capabilities)
        assert (int(own["CapInh"], 16), int(own["CapAmb"], 16), own["Seccomp"]) == (0, 0, "2")

    def test_it_lives_below_every_cgroup_of_the_container(self, box: pc.Container) -> None:
        with box.popen(["sleep", "600"]) as process:
            own, first = (
                dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
                for pid in (process.pid, box.pid)
            )
            for controllers, path in first.items():
                assert own[controllers] == path or own[controllers].startswith(f"{path}/exec-"), controllers
            process.kill()

    def test_the_session_keyring_is_that_of_the_container(self, engine: pc.Engine) -> None:
        with pc.Container(
            "busybox", ["sh", "-c", "cat /proc/keys; sleep 600"], engine=engine, privileged=True
        ) as c:
            listed = c.exec(["cat", "/proc/keys"]).text
            first = next(line.text for line in c.logs(follow=True) if f"_ses.{c.id}" in line.text)
            ours = [line.split()[0] for line in listed.splitlines() if f"_ses.{c.id}" in line]
            assert ours == [first.split()[0]]

    def test_a_user_namespace_is_entered_too(self, engine: pc.Engine) -> None:
        maps = ["0:100000:65536"]
        with pc.Container(
            "busybox", ["sleep", "600"], engine=engine, userns="private", uid_map=maps, gid_map=maps
        ) as c:
            assert c.exec(["sh", "-c", "id -u; id -g; readlink /proc/self/ns/user"]).text.split()[:2] == [
                "0",
                "0",
            ]
            with c.popen(["sleep", "600"], user="1000") as process:
                assert os.stat(f"/proc/{process.pid}").st_uid == 101000
                process.kill()

    def test_a_null_device_that_was_replaced_is_not_used(self, engine: pc.Engine) -> None:
        with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
            c.exec(["sh", "-c", "rm /dev/null && mkfifo /dev/null"], check=True)
            with pytest.raises(LaunchError, match="is not the null device"):
                c.exec(["true"])
            c.exec(["sh", "-c", "rm /dev/null && ln -s zero /dev/null"], input=b"", check=True)
            with pytest.raises(LaunchError, match="null"):
                c.exec(["true"])
            assert c.exec(["echo", "hi"], input=b"").text == "hi\n"


class TestRefusals:
    @pytest.mark.parametrize(
        ("args", "code", "words"),
        [
            (["no-such-program"], 127, '"no-such-program": executable file not found in \\$PATH'),
            (["/bin/no-such"], 127, "stat /bin/no-such: no such file or directory"),
            (["/etc/passwd"], 126, '"/etc/passwd": permission denied'),
            (["/etc"], 126, '"/etc": is a directory'),
        ],
    )
    def test_a_program_that_cannot_be_run_is_named(
        self, box: pc.Container, args: list[str], code: int, words: str
    ) -> None:
        with pytest.raises(LaunchError, match=words) as caught:
            box.exec(args)
        assert caught.value.exit_code == code
        assert running(box) == []

    def test_an_empty_command_is_refused(self, box: pc.Container) -> None:
        with pytest.raises(InvalidOption, match="the command is empty"):
            box.exec([])

    def test_only_a_running_container_takes_it(self, engine: pc.Engine) -> None:
        c = pc.Container.create("busybox", ["sleep", "600"], engine=engine)
        with pytest.raises(WrongState, match="start it first"):
            c.exec(["true"])
        c.start()
        c.pause()
        with pytest.raises(WrongState, match="unpause it first"):
            c.exec(["true"])
        c.unpause()
        assert c.exec(["true"]).exit_code == 0
        c.kill()
        c.wait(patient(10))
        with pytest.raises(WrongState, match="start it first"):
            c.exec(["true"])
        c.remove()
        with pytest.raises(NotFound):
            c.exec(["true"])

    def test_one_that_ends_meanwhile_is_told_as_such(self, engine: pc.Engine) -> None:
        for delay in (0.0, 0.001, 0.002, 0.003, 0.004, 0.006):
            with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
                killer = threading.Timer(delay, c.kill)
                killer.start()
                try:
                    with pytest.raises((WrongState, LaunchError, NotFound)) as caught:
                        exec_many(c)
                    assert (
                        "ended" in str(caught.value)
                        or "exited" in str(caught.value)
                        or "killed" in str(caught.value)
                    )
                finally:
                    killer.join()
                assert c.wait(patient(10)) == 137

    def test_the_containers_limit_of_processes_holds_for_them_too(self, engine: pc.Engine) -> None:
        with pc.Container("busybox", ["sleep", "600"], engine=engine, pids_limit=3) as c:
            held = [c.popen(["sleep", "600"]) for _ in range(2)]
            told = c.exec(["sh", "-c", "sleep 1 & wait"])
            assert (told.exit_code, b"can't fork" in told.stderr) == (2, True)
            for process in held:
                process.close()


class TestTime:
    def test_a_timeout_kills_every_descendant_wherever_it_hid(self, box: pc.Container) -> None:
        with pytest.raises(DeadlineExceeded, match="killed with its descendants") as caught:
            box.exec(["sh", "-c", TREE], timeout=patient(0.3))
        assert caught.value.timeout_s == patient(0.3)
        await_no_sleepers(box)

    def test_an_output_held_open_in_the_background_is_waited_for_up_to_the_timeout(
        self, box: pc.Container
    ) -> None:
        with pytest.raises(DeadlineExceeded):
            box.exec(["sh", "-c", "sleep 600 & exit 0"], timeout=patient(0.2))
        await_no_sleepers(box)

    def test_what_it_leaves_in_the_background_is_the_containers(self, box: pc.Container) -> None:
        assert box.exec(["sh", "-c", "sleep 605 >/dev/null 2>&1 & echo $!"]).exit_code == 0
        assert sleepers(box) == ["sleep 605"]
        box.exec(["sh", "-c", "for p in $(pidof sleep); do grep -q 605 /proc/$p/cmdline && kill -9 $p; done"])
        await_no_sleepers(box)

    def test_wait_gives_up_and_lets_it_go_on(self, box: pc.Container) -> None:
        with box.popen(["sleep", "600"]) as process:
            with pytest.raises(DeadlineExceeded, match=r"still runs after 0\.05 s"):
                process.wait(0.05)
            assert (process.poll(), process.returncode) == (None, None)
            process.terminate()
            assert process.wait(patient(10)) == 143


class TestProcess:
    def test_its_streams_lead_straight_to_it(self, box: pc.Container) -> None:
        with box.popen(["cat"], stdin=PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            ours = os.fstat(process.stdout.fileno()).st_ino
            assert os.stat(f"/proc/{process.pid}/fd/1").st_ino == ours
            process.stdin.write(b"one\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"one\n"
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait(patient(10)) == 0
            assert process.returncode == 0

    def test_communicate_feeds_and_reads_at_once(self, box: pc.Container) -> None:
        process = box.popen(["sh", "-c", "cat; echo done >&2"], stdin=PIPE)
        assert process.communicate(b"y" * 1_000_000, timeout=patient(30)) == (b"y" * 1_000_000, b"done\n")
        assert process.returncode == 0
        process.close()

    def test_lines_are_tagged_and_in_order_with_the_code_at_the_end(self, box: pc.Container) -> None:
        both = "echo out $i; sleep 0.02; echo err $i >&2; sleep 0.02"
        script = f"for i in 1 2 3; do {both}; done; printf end; exit 5"
        process = box.popen(["sh", "-c", script])
        told = [(line.stream, line.text) for line in process.lines(timeout=patient(30))]
        assert told == [
            *[(stream, f"{stream[3:]} {i}") for i in (1, 2, 3) for stream in ("stdout", "stderr")],
            ("stdout", "end"),
        ]
        assert process.returncode == 5
        process.close()

    def test_lines_begin_with_what_was_read_ahead(self, box: pc.Container) -> None:
        with box.popen(["sh", "-c", "echo a; echo b; echo c"]) as process:
            process.wait(patient(10))
            assert process.stdout is not None
            assert process.stdout.readline() == b"a\n"
            assert [line.text for line in process.lines()] == ["b", "c"]

    def test_files_descriptors_and_a_shared_stream_are_taken(self, box: pc.Container, tmp_path: Path) -> None:
        with open(tmp_path / "log", "wb") as file:
            process = box.popen(["sh", "-c", "echo one; echo two >&2"], stdout=file, stderr=STDOUT)
            assert process.wait(patient(10)) == 0
        assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
        assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
        reader, writer = os.pipe()
        process = box.popen(["echo", "three"], stdout=writer, user="web")
        os.close(writer)
        assert process.wait(patient(10)) == 0
        assert os.read(reader, 100) == b"three\n"
        assert os.fstat(reader).st_uid == os.getuid()  # what is ours stays ours
        os.close(reader)
        process.close()

    def test_the_users_own_pipes_can_be_opened_again_by_name(self, box: pc.Container) -> None:
        assert box.exec(["sh", "-c", "echo again >/dev/stdout"], user="web").text == "again\n"

    def test_its_end_can_be_polled_for(self, box: pc.Container) -> None:
        process = box.popen(["sleep", "0.05"])
        poller = select.poll()
        poller.register(process.fileno(), select.POLLIN)
        assert poller.poll(patient(10_000))
        assert process.poll() == 0
        process.close()

    def test_several_threads_may_wait_for_it(self, box: pc.Container) -> None:
        process = box.popen(["sh", "-c", "sleep 0.1; exit 6"])
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: process.wait(patient(10)), range(4))) == [6, 6, 6, 6]
        process.close()

    def test_an_exception_in_its_block_kills_it(self, box: pc.Container) -> None:
        with pytest.raises(KeyError), box.popen(["sh", "-c", TREE]):
            raise KeyError
        await_no_sleepers(box)

    def test_without_a_handle_it_goes_on_until_the_engine_closes(
        self, warm_engine: tuple[pc.Engine, pc.Image], box: pc.Container
    ) -> None:
        with pc.Engine(warm_engine[0].root) as other:
            c = pc.Container.get(box.id, engine=other)
            c.popen(["sleep", "606"], stdout=DEVNULL, stderr=DEVNULL)
            c.exec(["true"])
            assert sleepers(box) == ["sleep 606"]
        await_no_sleepers(box)


class TestTerminal:
    def test_it_is_of_the_containers_own_and_controls_the_session(self, box: pc.Container) -> None:
        script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; cat </dev/tty"
        result = box.exec(["sh", "-c", script], tty=True, input=b"typed\n")
        assert result.stderr == b""
        lines = result.text.replace("\r", "").splitlines()
        assert {"/dev/pts/0", "all", "xterm"} <= set(lines)
        assert lines.count("typed") == 2  # the terminal's echo, and what cat read

    def test_its_size_is_given_and_changed(self, box: pc.Container) -> None:
        script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.02; done"
        with box.popen(["sh", "-c", script], tty=True, size=(11, 22)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"11 22\r\n"
            process.resize(33, 44)
            assert process.stdout.readline() == b"33 44\r\n"
            assert process.wait(patient(10)) == 0

    def test_control_c_interrupts_what_runs_there(self, box: pc.Container) -> None:
        with box.popen(["sh", "-c", "echo up; sleep 607"], tty=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\r\n"
            process.stdin.write(b"\x03")
            process.stdin.flush()
            assert process.wait(patient(10)) == 130

    def test_a_process_without_one_has_no_size(self, box: pc.Container) -> None:
        with box.popen(["true"]) as process, pytest.raises(WrongState, match="pass tty=True"):
            process.resize(10, 10)

    def test_a_user_owns_it(self, box: pc.Container) -> None:
        assert box.exec(["sh", "-c", "stat -c %u $(tty)"], user="web", tty=True).text == "1000\r\n"


class TestLookUp:
    def test_those_that_run_are_listed_whoever_started_them(
        self, warm_engine: tuple[pc.Engine, pc.Image], box: pc.Container
    ) -> None:
        with box.popen(["sleep", "600"], user="web") as process:
            with pc.Engine(warm_engine[0].root) as other:
                (found,) = [one for one in pc.Container.get(box.id, engine=other).execs if one.is_running]
            (found,) = [one for one in box.execs if one.is_running]
            assert (found.id, found.args, found.pid) == (process.id, ("sleep", "600"), process.pid)
            assert (found.is_running, found.exit_code, found.user) == (True, None, "web")
            assert found.inspect()["ProcessConfig"]["arguments"] == ["600"]
            found.kill()
            assert process.wait(patient(10)) == 137
        assert running(box) == []
        with pytest.raises(NotFound, match="has no exec"):
            box.get_exec(process.id)

    def test_a_detached_one_outlives_its_caller_and_is_waited_for_elsewhere(
        self, warm_engine: tuple[pc.Engine, pc.Image], box: pc.Container
    ) -> None:
        script = (
            "import pycontainer as pc, sys\n"
            f"with pc.Engine({str(warm_engine[0].root)!r}) as engine:\n"
            f"    box = pc.Container.get({box.id!r}, engine=engine)\n"
            "    args = ['sh', '-c', 'while ! test -e /tmp/go; do sleep 0.02; done; echo $COLOUR; exit 9']\n"
            "    print(box.popen(args, detach=True).id)\n"
        )
        told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        found = box.get_exec(told.stdout.strip()[:12])
        assert (found.is_running, found.is_detached) == (True, True)
        box.exec(["touch", "/tmp/go"])
        assert found.wait(patient(10)) == 9
        again = box.get_exec(found.id)
        assert (again.is_running, again.exit_code, again.pid) == (False, 9, None)
        assert again.finished_at is not None
        assert again.started_at is not None
        assert again.finished_at > again.started_at

    def test_a_detached_terminal_takes_what_nobody_reads(self, box: pc.Container) -> None:
        process = box.popen(["sh", "-c", "head -c 300000 /dev/zero; test -t 1"], tty=True, detach=True)
        assert process.wait(patient(30)) == 0
        process.close()
        assert box.get_exec(process.id).tty

    def test_events_tell_of_it(self, engine: pc.Engine, box: pc.Container) -> None:
        begun = time.time()
        process = box.popen(["sh", "-c", "exit 2"])
        process.wait(patient(10))
        process.close()
        ours: list[pc.Event] = []
        deadline = time.monotonic() + patient(10)
        while len(ours) < 3 and time.monotonic() < deadline:
            found = pc.events(since=begun, until=time.time(), engine=engine)
            ours = [event for event in found if event.attributes.get("execID") == process.id]
        assert [event.action for event in ours] == [
            "exec_create: sh -c exit 2",
            "exec_start: sh -c exit 2",
            "exec_die",
        ]
        assert ours[2].attributes["exitCode"] == "2"


class TestDeaths:
    def test_it_dies_with_its_container(self, engine: pc.Engine) -> None:
        with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
            process = c.popen(["sh", "-c", TREE])
            detached = c.popen(["sleep", "600"], detach=True)
            c.kill()
            assert c.wait(patient(10)) == 137
            assert process.wait(patient(10)) == 137
            assert detached.wait(patient(10)) == 137
            process.close()
            detached.close()

    def test_it_dies_with_a_container_that_has_the_hosts_pids(self, engine: pc.Engine) -> None:
        with pc.Container("busybox", ["sleep", "600"], engine=engine, pid="host") as c:
            process = c.popen(["sh", "-c", "setsid sleep 608 & echo $!; exec sleep 609"])
            assert process.stdout is not None
            deep = int(process.stdout.readline())
            c.kill()
            assert c.wait(patient(10)) == 137
            assert process.wait(patient(10)) == 137
            process.close()
        with suppress(FileNotFoundError):
            assert "Z" in Path(f"/proc/{deep}/stat").read_text().rpartition(")")[2].split()[0]

    def test_it_dies_with_its_caller_and_all_it_began(
        self, warm_engine: tuple[pc.Engine, pc.Image], box: pc.Container
    ) -> None:
        script = (
            "import pycontainer as pc, sys, os\n"
            f"engine = pc.Engine({str(warm_engine[0].root)!r})\n"
            f"box = pc.Container.get({box.id!r}, engine=engine)\n"
            f"process = box.popen(['sh', '-c', {TREE!r}])\n"
            "print(process.pid, flush=True)\n"
            "if os.fork() == 0:\n"  # a copy of every descriptor lives on
            "    os.close(1); os.read(0, 1); os._exit(0)\n"
            "os.read(0, 1)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as caller:
            assert caller.stdout is not None
            handle = os.pidfd_open(int(caller.stdout.readline()))
            caller.send_signal(signal.SIGKILL)
            caller.wait()
            assert select.select([handle], [], [], 10)[0]
            os.close(handle)
            await_no_sleepers(box)
        assert running(box) == []

    def test_when_its_parent_is_killed_it_is_told_lost_and_nothing_of_it_stays(
        self, box: pc.Container
    ) -> None:
        process = box.popen(["sh", "-c", TREE])
        parent = int(facts(Path(f"/proc/{process.pid}/status").read_text())["PPid"])
        os.kill(parent, signal.SIGKILL)
        assert process.wait(patient(10)) == 137
        process.close()
        await_no_sleepers(box)
        assert running(box) == []

    def test_it_goes_on_when_the_helper_is_killed(
        self, warm_engine: tuple[pc.Engine, pc.Image], box: pc.Container
    ) -> None:
        with pc.Engine(warm_engine[0].root) as other:
            c = pc.Container.get(box.id, engine=other)
            process = c.popen(["cat"], stdin=PIPE)
            assert other.helper.pid is not None
            helper = os.pidfd_open(other.helper.pid)
            os.kill(other.helper.pid, signal.SIGKILL)
            assert select.select([helper], [], [], 10)[0]
            os.close(helper)
            assert process.communicate(b"still here", timeout=patient(10)) == (b"still here", b"")
            assert c.exec(["echo", "again"]).text == "again\n"
            process.close()


class TestFromInside:
    def test_a_process_that_joins_cannot_be_looked_into_before_it_is_the_program(
        self, engine: pc.Engine
    ) -> None:
        """What CVE-2016-9962 and CVE-2019-5736 did: reach the joining process from the container."""
        spy = (
            "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
            "for l in exe cwd root fd/0 fd/1 fd/3 fd/4 fd/5 fd/6; do readlink $p/$l 2>/dev/null; done; "
            "tr '\\0' '\\n' 2>/dev/null <$p/environ; done; done"
        )
        with pc.Container("busybox", ["sh", "-c", spy], engine=engine) as c:
            for _ in range(150):
                c.exec(["true"])
            c.exec(["sleep", "0.3"])
            seen = set(c.logs().text().split())
        assert "/bin/busybox" in seen  # it did look
        assert not [link for link in seen if "python" in link or "memfd" in link or "pycontainer" in link]
        allowed = ("/", "/bin/busybox", "/dev/null", "pipe:", "PATH=", "HOSTNAME=", "HOME=")
        assert not [link for link in seen if not link.startswith(allowed)]
        assert {link for link in seen if link.startswith("/")} <= {"/", "/bin/busybox", "/dev/null"}

    def test_no_file_of_the_image_is_executed_or_loaded_on_the_way(self, engine: pc.Engine) -> None:
        """CVE-2019-14271: name services and libraries of the container are not its runtime's."""
        files = "/etc/nsswitch.conf /etc/ld.so.preload"
        trap = f"for f in {files}; do echo /tmp/evil.so >$f; done"
        with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
            c.exec(["sh", "-c", trap], check=True)
            c.exec(["sh", "-c", "touch -a -d @0 /etc/nsswitch.conf /etc/ld.so.preload"], check=True)
            assert c.exec(["id", "-un"], user="web").text == "web\n"

    def test_a_passwd_file_that_is_no_file_does_not_hold_it_up(self, engine: pc.Engine) -> None:
        with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
            c.exec(["sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd"], check=True)
            with pytest.raises(LaunchError, match="not a regular file"):
                c.exec(["true"], user="web", timeout=patient(10))


class TestLoad:
    def test_five_hundred_at_sixteen_in_parallel_leave_nothing(
        self, warm_engine: tuple[pc.Engine, pc.Image]
    ) -> None:
        engine, _ = warm_engine
        with pc.Container("busybox", ["sleep", "600"], engine=engine) as c:
            c.exec(["true"])
            fds = len(os.listdir("/proc/self/fd"))
            with ThreadPoolExecutor(16) as pool:
                results = list(
                    pool.map(lambda i: c.exec(["sh", "-c", f"echo {i}; exit {i % 7}"]), range(500))
                )
            assert [(r.exit_code, r.text) for r in results] == [(i % 7, f"{i}\n") for i in range(500)]
            assert running(c) == []
            assert len(os.listdir("/proc/self/fd")) == fds
            assert sorted(os.listdir(engine.store.container_dir(c.id) / "execs")) == []
            await_only_the_first(c)


def exec_many(container: pc.Container) -> None:
    for _ in range(200):
        container.exec(["true"])


def await_only_the_first(container: pc.Container) -> None:
    """Wait until the container's cgroups hold its first process alone and no directory more."""
    pid = container.pid
    paths = [line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    deadline = time.monotonic() + patient(10)
    left: list[Path] = []
    while time.monotonic() < deadline:
        left = [
            found
            for _, path in paths
            if path != "/"
            for mount in Path("/sys/fs/cgroup").iterdir()
            for found in (mount / path.lstrip("/")).glob("exec-*")
        ]
        if not left:
            return
    assert left == []


def test_whoever_lets_go_of_a_detached_one_keeps_no_descriptor_of_it(box: pc.Container) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ids = [box.popen(["true"], detach=True).id for _ in range(3)]
    assert [box.get_exec(id).wait(timeout=patient(20)) for id in ids] == [0, 0, 0]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_short_one_leaves_its_parent_to_another(box: pc.Container) -> None:
    seen: set[int] = set()
    for _ in range(50):
        with box.popen(["cat"], stdin=PIPE) as process:
            parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
            process.communicate(b"")
        if parent in seen:
            return
        seen.add(parent)
    raise AssertionError("each had one of its own")


def test_users_and_directories_are_the_containers_though_its_first_process_has_another_root(
    engine: pc.Engine,
) -> None:
    script = (
        "mkdir -p /jail/bin /jail/etc /here; cp /bin/busybox /jail/bin; "
        "echo u:x:7:7::/:/bin/sh >/jail/etc/passwd; echo u:x:1234:1234::/here:/bin/sh >>/etc/passwd; "
        "exec chroot /jail /bin/busybox sleep 600"
    )
    look = "id -u; pwd; echo $HOME; ls -d /jail; cat /proc/self/oom_score_adj"
    with pc.Container(
        "busybox",
        ["sh", "-c", script],
        engine=engine,
        oom_score_adj=5,
        wait=pc.wait.exec(["grep", "-q", "^/bin/busybox", "/proc/1/cmdline"]),
    ) as c:
        shown = c.exec(["sh", "-c", look], user="u", workdir="/here")
    assert shown.text.split() == ["1234", "/here", "/here", "/jail", "5"]


def test_nobody_who_waits_for_an_exec_is_left_behind_the_engine(busybox_layout: Path, tmp_path: Path) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0]
        with pc.Container(image, ["sleep", "600"], engine=engine) as c:
            # One that takes its time has another forked for the next, which has done nothing yet.
            with c.popen(["sleep", "600"]) as held:
                deadline = time.monotonic() + patient(20)
                while len(waiting := children(engine)) < 4 and time.monotonic() < deadline:
                    time.sleep(0.01)
                held.kill()
            c.exec(["true"])
            waiting |= children(engine)
    deadline = time.monotonic() + patient(20)
    while (left := {pid for pid in waiting if is_ours(pid)}) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == set()


def children(engine: pc.Engine) -> set[int]:
    """Processes of the engine's helper."""
    return set(descendants(engine.helper.pid))


def is_ours(pid: int) -> bool:
    """Whether the process is one of a helper's, and not another one's with its number."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("pycontainer")
    except OSError:
        return False
