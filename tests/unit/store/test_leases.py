"""Leases protect while their holder lives, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases
from tests.unit.store.records import digest, key

HOLDER = """
import sys
from pathlib import Path
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases
from tests.unit.store.records import digest, key
with Leases(Layout(Path(sys.argv[1]))).hold("a test") as lease:
    lease.protect(digest("blob"))
    lease.protect_snapshot(key("layer"))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lease_protects_what_it_names(leases: Leases) -> None:
    with leases.hold("one") as lease:
        lease.protect(digest("a"))
        lease.protect(digest("a"))
        lease.protect_snapshot(key("b"))
        kept = leases.protected()
        assert (kept.digests, kept.snapshots) == ({digest("a")}, {key("b")})
    kept = leases.protected()
    assert (kept.digests, kept.snapshots) == (set(), set())


def test_two_leases_protect_independently(leases: Leases) -> None:
    with leases.hold("one") as one, leases.hold("two") as two:
        one.protect(digest("a"))
        two.protect(digest("b"))
        one.release()
        assert leases.protected().digests == {digest("b")}


def test_touching_protects_with_every_lease_of_this_process(leases: Leases) -> None:
    leases.touch(digest("before"))
    with leases.hold("one"), leases.hold("two") as two:
        leases.touch(digest("a"))
        two.release()
        assert leases.protected().digests == {digest("a")}


def test_a_lease_of_a_killed_process_is_dead(leases: Leases, layout: Layout) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(layout.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    kept = leases.protected()
    assert (kept.digests, kept.snapshots) == ({digest("blob")}, {key("layer")})
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert leases.protected().digests == set()
    assert list(layout.leases.iterdir()) == []


def test_a_forked_child_does_not_keep_its_parents_lease(leases: Leases) -> None:
    read_end, write_end = os.pipe()
    with leases.hold("one") as lease:
        lease.protect(digest("a"))
        child = os.fork()
        if child == 0:
            leases.touch(digest("of the child"))
            lease.release()
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        assert leases.protected().digests == {digest("a")}
    assert leases.protected().digests == set()
    os.close(write_end)
    os.close(read_end)
    os.waitpid(child, 0)
