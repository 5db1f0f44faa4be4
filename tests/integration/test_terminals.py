"""Terminals, attaching, and a human's terminal joined to a container."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine.interaction import _raw

pytestmark = pytest.mark.needs("root", "overlay")

SECONDS = 20


@contextmanager
def created(engine: pc.Engine, image: pc.Image, args: list[str], **options: object) -> Iterator[pc.Container]:
    box = pc.Container.create(image, args, engine=engine, **options)  # type: ignore[arg-type]
    try:
        yield box
    finally:
        box.remove(force=True)


def read_until(attachment: pc.Attachment, wanted: bytes) -> bytes:
    """What comes up to and with the wanted text."""
    seen = b""
    while wanted not in seen:
        chunk = attachment.read(SECONDS)
        assert chunk is not None, f"the output ended with {seen!r}"
        seen += chunk.content
    return seen


# -- the terminal itself ---------------------------------------------------------------------------


def test_with_tty_the_program_has_a_terminal_of_the_containers_own(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; echo hi > /dev/console; echo ho > /dev/tty"
    result = pc.run(busybox, ["sh", "-c", script], tty=True, engine=engine)
    assert result.text.splitlines() == ["/dev/pts/0", "all", "hi", "ho"]


def test_a_terminal_merges_both_streams_with_its_line_ends(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(busybox, ["sh", "-c", "echo out; echo err >&2"], tty=True, engine=engine)
    assert (result.stdout, result.stderr) == (b"out\r\nerr\r\n", b"")


def test_without_tty_there_is_none(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(busybox, ["sh", "-c", "tty; ls /dev/console"], engine=engine)
    assert result.stdout == b"not a tty\n"
    assert b"No such file" in result.stderr


@pytest.mark.parametrize("init", [False, True])
def test_the_terminal_controls_the_programs_session(engine: pc.Engine, busybox: pc.Image, init: bool) -> None:
    with (
        created(engine, busybox, ["sleep", "1000"], tty=True, stdin_open=True, init=init) as box,
        box.attach(start=True) as attachment,
    ):
        attachment.write(b"\x03")
        # The first process of a pid namespace is not ended by a signal it does not handle; its child is.
        if init:
            assert attachment.wait() == 130
        else:
            assert box.state == "running"


def test_the_interrupt_key_reaches_the_foreground(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    with (
        created(engine, busybox, ["sh", "-c", script], tty=True, stdin_open=True) as box,
        box.attach(start=True) as attachment,
    ):
        read_until(attachment, b"ready")
        attachment.write(b"\x03")
        read_until(attachment, b"caught")
        assert attachment.wait() == 5


def test_the_terminal_belongs_to_the_user(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(
        busybox, ["sh", "-c", "stat -c '%u %a' /dev/pts/0; echo x > /dev/console"],
        tty=True, user="1000:1000", engine=engine,
    )  # fmt: skip
    assert result.stdout == b"1000 620\r\nx\r\n"


@pytest.mark.parametrize("how", ["attached", "container"])
def test_its_size_can_be_set_and_the_program_is_told(engine: pc.Engine, busybox: pc.Image, how: str) -> None:
    # It goes on: the first size may be told by a signal as well.
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    with (
        created(engine, busybox, ["sh", "-c", script], tty=True, stdin_open=True) as box,
        box.attach(start=True, size=(33, 77)) as attachment,
    ):
        read_until(attachment, b"33 77")
        (attachment if how == "attached" else box).resize(50, 132)
        read_until(attachment, b"50 132")


def test_resizing_needs_a_terminal_and_a_size_that_one_can_have(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["sleep", "1000"]) as box:
        box.start()
        with pytest.raises(errors.WrongState, match="tty=True"):
            box.resize(24, 80)
        with pytest.raises(errors.InvalidOption, match="65535"):
            box.resize(0, 70000)


def test_letting_go_of_the_terminal_and_opening_it_again_is_no_end(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "exec </dev/null >/dev/null 2>&1; sleep 0.2; exec >/dev/console; echo back"
    result = pc.run(busybox, ["sh", "-c", script], tty=True, engine=engine)
    assert result.stdout == b"back\r\n"


def test_an_image_s_device_in_the_place_of_ptmx_is_not_used(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["tty"], tty=True, tmpfs={"/dev/pts": ""}) as box:
        with pytest.raises(errors.LaunchError, match=r"/dev/pts/ptmx.*devpts") as caught:
            box.start()
        assert caught.value.step == "terminal"


# -- attaching -------------------------------------------------------------------------------------


def test_streams_come_separate_and_in_order(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done; exit 7"
    with created(engine, busybox, ["sh", "-c", script]) as box, box.attach(start=True) as attachment:
        seen = [(chunk.stream, chunk.content) for chunk in attachment]
        assert seen == [
            (stream, f"{stream[3:]}{number}\n".encode())
            for number in (1, 2, 3)
            for stream in ("stdout", "stderr")
        ]
        assert attachment.wait() == 7


def test_only_the_streams_that_were_asked_for_come(engine: pc.Engine, busybox: pc.Image) -> None:
    script = ["sh", "-c", "echo out; echo err >&2"]
    with created(engine, busybox, script) as box, box.attach(start=True, stdout=False) as attachment:
        assert attachment.read_all(SECONDS) == (b"", b"err\n")


def test_input_goes_in_and_its_end_too(engine: pc.Engine, busybox: pc.Image) -> None:
    content = bytes(range(256)) * 4096
    with (
        created(engine, busybox, ["cat"], stdin_open=True) as box,
        box.attach(start=True) as attachment,
    ):
        assert attachment.communicate(content, SECONDS) == (content, b"")
        assert attachment.wait() == 0


def test_several_see_all_and_share_the_input(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["cat"], stdin_open=True) as box:
        box.start()
        with box.attach() as one, box.attach() as two, box.attach(stdin=False) as three:
            one.write(b"from one\n")
            assert [read_until(each, b"from one\n") for each in (one, two, three)] == [b"from one\n"] * 3
            two.write(b"from two\n")
            assert [read_until(each, b"from two\n") for each in (one, two, three)] == [b"from two\n"] * 3
            with pytest.raises(errors.WrongState, match="stdin_open"):
                three.write(b"from three\n")


def test_leaving_does_not_end_the_input_unless_it_was_to(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["cat"], stdin_open=True) as box:
        box.start()
        box.attach().close()
        with box.attach(stdin_once=True) as attachment:
            attachment.write(b"still open\n")
            read_until(attachment, b"still open\n")
        assert box.wait(SECONDS) == 0


def test_without_open_input_the_program_reads_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["cat"]) as box, box.attach(start=True) as attachment:
        assert not attachment.may_write
        assert attachment.read_all(SECONDS) == (b"", b"")


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_what_was_written_before_comes_first_on_request(
    engine: pc.Engine, busybox: pc.Image, driver: str
) -> None:
    script = "echo before; printf par; while read line; do echo $line; done"
    with created(engine, busybox, ["sh", "-c", script], stdin_open=True, log_driver=driver) as box:
        with box.attach(start=True) as first:
            read_until(first, b"before\npar")
            with box.attach() as late, box.attach(logs=True) as informed:
                first.write(b"tial\n")
                assert read_until(informed, b"tial\n") == b"before\npartial\n"
                assert read_until(late, b"tial\n") == b"tial\n"
                first.close_stdin()
                assert informed.read(SECONDS) is None


def test_one_that_reads_nothing_is_dropped_and_holds_up_nobody(engine: pc.Engine, busybox: pc.Image) -> None:
    # More than may wait for one, and so little more that who does read is never as far behind.
    script = "read go; yes 0123456789 | head -c 2000000; exit 3"
    with created(engine, busybox, ["sh", "-c", script], stdin_open=True) as box:
        box.start()
        with box.attach() as reader, box.attach() as sleeper:
            reader.write(b"go\n")
            out, _ = reader.read_all(60)
            assert len(out) == 2_000_000
            assert box.wait(SECONDS) == 3
            with pytest.raises(errors.WrongState, match="dropped: "):
                sleeper.read_all(SECONDS)


def test_attaching_needs_a_container_that_runs(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["true"]) as box:
        with pytest.raises(errors.WrongState, match="start=True"):
            box.attach()


def test_a_failed_start_leaves_no_attachment(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["/nowhere"], tty=True) as box:
        with pytest.raises(errors.LaunchError, match="/nowhere"):
            box.attach(start=True)


def test_a_killed_monitor_is_told_to_who_is_attached(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["sleep", "1000"]) as box, box.attach(start=True) as attachment:
        with open(box._directory / "status.json") as file:
            os.kill(json.load(file)["monitor_pid"], signal.SIGKILL)
        with pytest.raises(errors.HelperDied, match="monitor was killed"):
            attachment.read(SECONDS)


def test_reading_has_a_deadline(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["sleep", "1000"]) as box, box.attach(start=True) as attachment:
        with pytest.raises(errors.DeadlineExceeded):
            attachment.read(0.05)


# -- a human at a terminal -------------------------------------------------------------------------

PROGRAM = """
import signal, sys, termios
import pycontainer as pc
store, image, mode = sys.argv[1:4]
before = [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)]
modes = termios.tcgetattr(0) if sys.stdin.isatty() else None
with pc.Engine(store) as engine:
    if mode == "run":
        code = pc.run(image, sys.argv[4:], interactive=True, engine=engine).exit_code
    elif mode in ("exec", "exec without a terminal"):
        with pc.Container(image, ["sleep", "1000"], engine=engine) as box:
            with box.popen(sys.argv[4:], stdin=-1, tty=mode == "exec") as process:
                code = process.interact()
    elif mode == "run without signals":
        signal.signal(signal.SIGTERM, lambda *_: print("mine", flush=True))
        before = [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)]
        with pc.Container.create(image, sys.argv[4:], engine=engine, owned=True) as box:
            code = box.interact(start=True, sig_proxy=False)
    else:
        code = pc.Container.get(mode, engine=engine).interact()
after = [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)]
assert before == after
assert modes is None or modes == termios.tcgetattr(0)
print("LEFT WITH", code)
"""


class Human:
    """Types at a terminal on which a program runs."""

    def __init__(self, store: Path, image: str, mode: str, *args: str) -> None:
        self.master, peer = pty.openpty()
        self.resize(24, 80)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(store), image, mode, *args],
            stdin=peer, stdout=peer, stderr=peer, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(peer)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, wanted: bytes) -> None:
        """Read until the wanted text has come, and forget it."""
        deadline = time.monotonic() + SECONDS
        poller = select.poll()
        poller.register(self.master, select.POLLIN)
        while wanted not in self.seen:
            assert poller.poll(max(0.0, deadline - time.monotonic()) * 1000), f"only {self.seen!r} came"
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                raise AssertionError(f"the program ended after {self.seen!r}") from None
        self.seen = self.seen.partition(wanted)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@contextmanager
def human(engine: pc.Engine, image: str, mode: str, *args: str) -> Iterator[Human]:
    made = Human(engine.root, image, mode, *args)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("mode", ["run", "exec"])
def test_a_shell_is_used_at_a_terminal(engine: pc.Engine, busybox: pc.Image, mode: str) -> None:
    with human(engine, busybox.id, mode, "sh", "-c", "echo begun; exec sh") as user:
        # The shell forgets what is typed before its prompt.
        user.wait_for(b"begun")
        user.wait_for(b"# ")
        user.type(b"stty size\n")
        user.wait_for(b"24 80")
        user.wait_for(b"# ")
        user.resize(40, 100)
        user.type(b"echo tty=$(tty); sleep 0.1; stty size\n")
        user.wait_for(b"tty=/dev/pts/0")
        user.wait_for(b"40 100")
        user.wait_for(b"# ")
        # What is interrupted says that it is there: a key before that would be for the shell.
        user.type(b"sh -c 'trap \"kill \\$!; exit 130\" INT; sleep 100 & echo sleep$((1))ing; wait'\n")
        user.wait_for(b"sleep1ing")
        user.type(b"\x03")
        user.wait_for(b"# ")
        user.type(b"echo interrupted=$?\n")
        user.wait_for(b"interrupted=130")
        user.wait_for(b"# ")
        user.type(b"exit 6\n")
        user.wait_for(b"LEFT WITH 6")


def test_the_detach_keys_leave_it_running(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, ["sh"], tty=True, stdin_open=True) as box:
        box.start()
        with human(engine, busybox.id, box.name) as user:
            user.type(b"echo one=$((1))\n")
            user.wait_for(b"one=1")
            user.type(b"\x10\x11")
            user.wait_for(b"LEFT WITH None")
        assert box.state == "running"
        with human(engine, busybox.id, box.name) as user:
            user.type(b"exit 9\n")
            user.wait_for(b"LEFT WITH 9")


def test_signals_go_to_a_container_without_a_terminal(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "trap 'echo got it; exit 8' TERM; echo ready; while :; do sleep 0.05; done"
    program = [sys.executable, "-c", PROGRAM, str(engine.root), busybox.id, "run", "sh", "-c", script]
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == b"got it\nLEFT WITH 8\n"
        finally:
            process.kill()


def test_signals_that_are_not_wanted_stay_with_the_caller(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "trap 'echo got it' TERM; echo ready; while [ ! -e /go ]; do sleep 0.05; done; exit 4"
    program = [sys.executable, "-c", PROGRAM, str(engine.root), busybox.id, "run without signals", "sh", "-c"]
    with subprocess.Popen([*program, script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == b"mine\n"
            (box,) = pc.Container.list(engine=engine)
            (box.path / "go").write_text("")
            assert process.stdout.read() == b"LEFT WITH 4\n"
        finally:
            process.kill()


def test_a_program_that_writes_more_than_it_reads_is_no_deadlock(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    given = bytes(range(256)) * 8192
    program = [sys.executable, "-c", PROGRAM, str(engine.root), busybox.id, "exec without a terminal"]
    done = subprocess.run([*program, "od", "-v", "-An"], input=given, capture_output=True, timeout=60)
    shown, _, left = done.stdout.rpartition(b"LEFT WITH ")
    assert (left, len(shown.split())) == (b"0\n", len(given) // 2)


def test_what_a_program_wrote_is_read_though_it_ended_without_reading(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with created(engine, busybox, ["sh", "-c", "echo said; exit 3"], stdin_open=True) as box:
        with box.attach(start=True) as attachment:
            assert attachment.communicate(b"x" * 4_194_304, timeout=SECONDS)[0] == b"said\n"
        assert box.wait(SECONDS) == 3


def test_the_terminal_of_a_human_who_has_left_needs_no_modes() -> None:
    master, peer = pty.openpty()
    with _raw(peer):
        os.close(master)
    os.close(peer)


def test_a_pipe_is_the_input_of_an_interactive_run(engine: pc.Engine, busybox: pc.Image) -> None:
    program = [sys.executable, "-c", PROGRAM, str(engine.root), busybox.id, "run", "sh", "-c", "cat; exit 2"]
    done = subprocess.run(program, input=b"piped\n" * 100_000, capture_output=True, timeout=60)
    assert done.stderr == b""
    assert done.stdout == b"piped\n" * 100_000 + b"LEFT WITH 2\n"


def test_the_exit_code_of_what_removes_itself_is_read_before_it_goes(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    for _ in range(10):
        box = pc.Container.create(busybox, ["sh", "-c", "exit 7"], auto_remove=True, engine=engine)
        assert box.interact(start=True) == 7
    assert pc.Container.list(all=True, engine=engine) == []
