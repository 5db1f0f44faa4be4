"""The helper process, as its caller sees it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.launcher import Helper, client


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.close()


def remove(helper: Helper, directory: Path, name: str) -> dict[str, object]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return helper.run("remove_tree", {"name": name}, [fd], timeout_s=20)
    finally:
        os.close(fd)


def tree(directory: Path, name: str) -> Path:
    made = directory / name / "a" / "b"
    made.mkdir(parents=True)
    (made / "file").write_text("x")
    return directory / name


def test_nothing_is_started_before_the_first_request() -> None:
    helper = Helper()
    assert helper.pid is None
    helper.close()


def test_a_job_does_its_work_in_another_process(helper: Helper, tmp_path: Path) -> None:
    target = tree(tmp_path, "old")
    remove(helper, tmp_path, "old")
    assert not target.exists()


def test_a_kernel_error_of_a_job_keeps_its_errno_and_type(helper: Helper, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(errors.KernelError) as caught:
            helper.run("remove_tree", {"name": "x"}, [fd], timeout_s=20)
    finally:
        os.close(fd)
    assert caught.value.errno == errno.ENOTDIR


def test_an_unknown_job_is_reported_as_our_bug_and_not_as_the_users_error(helper: Helper) -> None:
    with pytest.raises(RuntimeError, match="bug in the nonsense job"):
        helper.run("nonsense", {}, timeout_s=20)


def test_requests_from_many_threads_get_their_own_answers(helper: Helper, tmp_path: Path) -> None:
    names = [f"tree-{number}" for number in range(24)]
    targets = [tree(tmp_path, name) for name in names]
    threads = [threading.Thread(target=remove, args=(helper, tmp_path, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [target.exists() for target in targets] == [False] * len(names)


def test_a_killed_helper_is_replaced(helper: Helper, tmp_path: Path) -> None:
    helper.start()
    first = helper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    tree(tmp_path, "old")
    remove(helper, tmp_path, "old")
    assert helper.pid != first


def test_a_killed_helper_is_replaced_though_another_process_holds_its_socket(
    helper: Helper, tmp_path: Path
) -> None:
    helper.start()
    assert helper.pid is not None
    process = os.pidfd_open(helper.pid)
    # As a child of it does that was just forked (pidfd_getfd(2)).
    opened = list(Path(f"/proc/{helper.pid}/fd").iterdir())
    (control,) = (int(file.name) for file in opened if os.readlink(file).startswith("socket:"))
    held = syscalls.raw(438, ctypes.c_int(process), ctypes.c_int(control), ctypes.c_uint(0))
    os.kill(helper.pid, signal.SIGKILL)
    assert select.select([process], [], [], 20)[0]
    target = tree(tmp_path, "old")
    remove(helper, tmp_path, "old")
    assert not target.exists()
    os.close(held)
    os.close(process)


def test_close_ends_the_process_leaves_no_zombie_and_can_be_repeated(helper: Helper) -> None:
    helper.start()
    pid = helper.pid
    helper.close()
    helper.close()
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(errors.WrongState):
        helper.start()


def test_the_helper_runs_from_a_sealed_copy_with_an_empty_environment(helper: Helper) -> None:
    helper.start()
    assert os.readlink(f"/proc/{helper.pid}/exe").startswith("/memfd:pycontainer-helper")
    with pytest.raises(OSError):
        os.open(f"/proc/{helper.pid}/exe", os.O_WRONLY)


def test_what_the_caller_lets_every_program_inherit_does_not_reach_the_helper(
    helper: Helper, tmp_path: Path
) -> None:
    with (tmp_path / "of-the-caller").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        helper.start()
        opened = {os.readlink(each) for each in Path(f"/proc/{helper.pid}/fd").iterdir()}
    assert file.name not in opened


def waiting_below(pid: int) -> int:
    """How many descendants of a process wait for a container."""
    found = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            found += Path(f"/proc/{child}/comm").read_text() == "pycontainer-nxt\n"
            found += waiting_below(int(child))
    return found


def test_a_helper_for_one_container_has_a_process_waiting_for_it_and_leaves_none() -> None:
    helper = Helper(makes_ahead=False)
    helper.start()
    assert helper.pid is not None
    deadline = time.monotonic() + 30
    while waiting_below(helper.pid) < 2:  # the template that it comes from is called so, too
        assert time.monotonic() < deadline
        time.sleep(0.01)
    helper.close()
    assert waiting_below(os.getpid()) == 0


def test_an_interpreter_that_is_none_is_refused_with_the_remedy(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\n")
    helper = Helper(python=str(script))
    with pytest.raises(errors.Unsupported, match=r"Engine\(python="):
        helper.start()


def run_script(text: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def test_the_helper_dies_with_a_killed_caller_though_a_child_holds_its_socket() -> None:
    done = run_script(
        "import os, signal\n"
        "from pycontainer.launcher import Helper\n"
        "h = Helper(); h.start()\n"
        "print(h.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pid = int(done.stdout)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(10_000)
    os.close(pidfd)


def test_a_forked_child_starts_a_helper_of_its_own() -> None:
    done = run_script(
        "import os\n"
        "from pycontainer.launcher import Helper\n"
        "h = Helper(); h.start(); first = h.pid\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    h.start(); ok = h.pid not in (None, first); h.close(); os._exit(0 if ok else 1)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "h.start(); print(status, h.pid == first); h.close()\n"
    )
    assert (done.stdout.split(), done.stderr) == (["0", "True"], "")


def test_a_caller_with_closed_stdio_and_ignored_signals_gets_a_sound_helper() -> None:
    done = run_script(
        "import os, signal, sys\n"
        "from pycontainer.launcher import Helper\n"
        "out = os.dup(1)\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "h = Helper(); h.start()\n"
        "status = open(f'/proc/{h.pid}/status').read()\n"
        "fields = dict(line.split(':\\t', 1) for line in status.splitlines() if ':\\t' in line)\n"
        "term = int(fields['SigIgn'], 16) >> (signal.SIGTERM - 1) & 1\n"
        "os.write(out, f\"{fields['SigBlk']} {term}\".encode()); h.close()\n"
    )
    assert done.stdout == "0000000000000000 0", done.stderr


def test_one_that_is_not_ready_in_time_is_not_said_to_be_no_python(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(client, "_MAIN", "import time; time.sleep(1000)")
    with pytest.raises(errors.Unsupported, match=r"not ready within 0\.2 s; is this host overloaded\?"):
        helper.start()
