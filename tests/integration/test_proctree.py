"""Trees of processes that are held together by a cgroup, in both versions of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.launcher.proctree import Tree
from tests.support.needs import needs

pytestmark = needs("root")

TREE = "setsid sh -c 'sleep 611 & sleep 612 &' & (setsid sleep 613 &) & while :; do sleep 0.001; done"
ROOTS = {
    "version 1": Path("/sys/fs/cgroup/freezer"),
    "version 2": Path("/sys/fs/cgroup/unified"),
    "version 2 without cgroup.kill": Path("/sys/fs/cgroup/unified"),
}


@pytest.fixture(params=ROOTS)
def container(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The plan of a container's cgroup, which is there."""
    root = ROOTS[request.param]
    if request.param.startswith("version 2") and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        root = Path("/sys/fs/cgroup")
    if not root.is_dir():
        pytest.skip(f"this host has no {root}")
    directory = root / f"test-proctree-{os.getpid()}"
    directory.mkdir()
    if request.param == "version 1":
        freeze = {"file": f"{directory}/freezer.state", "frozen": "FROZEN", "thawed": "THAWED"}
        yield {"procs": [f"{directory}/cgroup.procs"], "freeze": freeze}
    else:
        if request.param.endswith("without cgroup.kill"):
            from pycontainer.launcher import proctree

            write = proctree._write
            monkeypatch.setattr(
                proctree, "_write", lambda file, text: not file.endswith(".kill") and write(file, text)
            )
        yield {"clone_into": str(directory), "procs": []}
    for child in directory.glob("exec-*"):
        child.rmdir()
    directory.rmdir()


def start(directory: str) -> subprocess.Popen[bytes]:
    """A shell in the cgroup that forks without end."""
    process = subprocess.Popen(
        ["sh", "-c", f"echo $$ >{directory}/cgroup.procs; {TREE}"], stdin=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    # The shell and three that sleep long; one more is the shell's short sleep, or is about to be replaced.
    while len(Path(f"{directory}/cgroup.procs").read_text().split()) < 5 and time.monotonic() < deadline:
        pass
    return process


def test_no_descendant_outlives_a_kill(container: dict[str, Any]) -> None:
    tree = Tree(container, "0123456789abcdef")
    tree.make()
    process = start(tree.directory)
    assert len(tree.members()) >= 4
    tree.kill()
    assert process.wait(10) == -9
    await_empty(tree)
    assert tree.remove()
    assert not Path(tree.directory).exists()


def test_what_is_left_can_be_given_to_the_container(container: dict[str, Any]) -> None:
    tree = Tree(container, "0123456789abcdef")
    tree.make()
    process = subprocess.Popen(
        ["sh", "-c", f"echo $$ >{tree.directory}/cgroup.procs && exec sleep 614"], stdin=subprocess.DEVNULL
    )
    while tree.members() != {process.pid}:
        pass
    tree.release()
    assert not Path(tree.directory).exists()
    above = Path(tree.directory).parent / "cgroup.procs"
    assert str(process.pid) in above.read_text().split()
    process.kill()
    process.wait()
    while above.read_text():
        pass


def await_empty(tree: Tree) -> None:
    """Wait until the killed ones, whom somebody else reaps, are no members any more."""
    deadline = time.monotonic() + 10
    while tree.members() and time.monotonic() < deadline:
        pass
    assert tree.members() == set()
