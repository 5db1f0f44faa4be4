"""Namespaces shared with the host and with other containers, as the kernel shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")

KINDS = {"network": "net", "ipc": "ipc", "pid": "pid", "uts": "uts", "cgroupns": "cgroup"}


@pytest.fixture
def donor(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    """A running container that lets others into all its namespaces."""
    box = pc.Container.create(
        busybox, ["sleep", "1000"], name="donor", hostname="giver", ipc="shareable", engine=engine
    )
    box.start()
    yield box
    box.remove(force=True)


def namespace(box: pc.Container, file: str) -> str:
    return os.readlink(f"/proc/{box.pid}/ns/{file}")


@pytest.mark.parametrize("option", KINDS)
def test_the_namespace_of_another_container_is_the_same_one_and_no_other_is(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container, option: str
) -> None:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, **{option: "container:donor"}) as box:  # type: ignore[arg-type]
        shared = {name for name, file in KINDS.items() if namespace(box, file) == namespace(donor, file)}
        assert shared == {option}
        assert namespace(box, KINDS[option]) != os.readlink(f"/proc/self/ns/{KINDS[option]}")


def test_containers_that_share_all_see_one_host_name_and_each_others_processes_and_memory(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    names = dict.fromkeys(KINDS, "container:donor")
    with pc.Container(
        busybox,
        ["sh", "-c", "echo here > /dev/shm/note; sleep 1000"],
        engine=engine,
        **names,  # type: ignore[arg-type]
    ) as box:
        script = (
            "until [ -s /dev/shm/note ]; do :; done; cat /dev/shm/note; hostname; ps | grep -c '[s]leep 1000'"
        )
        seen = pc.run(busybox, ["sh", "-c", script], engine=engine, **names)  # type: ignore[arg-type]
        assert seen.check().text.split() == ["here", "giver", "2"]
        with open(f"/proc/{box.pid}/mountinfo") as file:
            assert str(engine.root) not in file.read()


def test_who_shares_a_network_has_its_hosts_file_and_its_own_name(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    seen = pc.run(
        busybox,
        ["sh", "-c", "grep 127.0.1.1 /etc/hosts; cat /etc/hostname"],
        network="container:donor",
        hostname="taker",
        engine=engine,
    )
    assert seen.check().text.split() == ["127.0.1.1", "giver", "taker"]


def test_a_container_that_keeps_its_ipc_to_itself_is_not_joined(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sleep", "1000"], name="keeper", engine=engine):
        with pytest.raises(errors.InvalidOption, match=r'create it with ipc="shareable"'):
            pc.run(busybox, ["true"], ipc="container:keeper", engine=engine)


def test_a_container_that_does_not_run_or_does_not_exist_is_not_joined(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    with pytest.raises(errors.NotFound, match="nobody"):
        pc.Container.create(busybox, network="container:nobody", engine=engine)
    donor.kill()
    donor.wait(10)
    with pytest.raises(errors.WrongState, match="container donor, whose namespace is wanted, is exited"):
        pc.run(busybox, ["true"], network="container:donor", engine=engine)


def test_a_process_id_that_was_used_again_is_not_joined(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the record were of an earlier process with the same id: its start is another moment.
    from pycontainer.engine import sharing
    from pycontainer.engine.state import Observed, observe

    def earlier(directory: object) -> Observed:
        found = observe(directory)  # type: ignore[arg-type]
        return Observed(state=found.state, pid=found.pid, pid_start=found.pid_start - 1)

    monkeypatch.setattr(sharing, "observe", earlier)
    with pytest.raises(errors.WrongState, match="start it first"):
        pc.run(busybox, ["true"], pid="container:donor", engine=engine)


def test_when_the_other_ends_it_is_let_go_of(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    with pc.Container(
        busybox, ["sleep", "1000"], ipc="container:donor", network="container:donor", engine=engine
    ) as box:
        donor.kill()
        donor.wait(10)
        assert box.state == "running"
        donor.start()  # its root is mounted by nobody else, or the kernel would complain
        assert namespace(box, "ipc") != namespace(donor, "ipc")


def test_ipc_none_has_no_shared_memory_directory(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = pc.run(busybox, ["sh", "-c", "mount | grep -c /dev/shm; ls /dev/shm"], ipc="none", engine=engine)
    assert seen.text.split() == ["0"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"network": "container:a", "sysctls": {"net.core.somaxconn": 1}}, "belongs to container:a"),
        ({"ipc": "container:a", "sysctls": {"kernel.shmmax": 1}}, "belongs to container:a"),
        ({"ipc": "container:a", "shm_size": "1m"}, "no /dev/shm of its own"),
        ({"ipc": "none", "shm_size": "1m"}, "no /dev/shm of its own"),
        ({"uts": "container:a", "hostname": "x"}, "would rename container:a"),
        ({"pid": "container:a", "userns": "private"}, "no rights in the namespaces of others"),
        ({"ipc": "container:a", "restart": "always"}, "leave out restart"),
    ],
)
def test_what_would_change_the_other_container_is_refused(
    engine: pc.Engine, busybox: pc.Image, options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(errors.InvalidOption, match=complaint):
        pc.Container.create(busybox, engine=engine, **options)  # type: ignore[arg-type]


def test_a_further_process_is_in_the_shared_namespaces_too(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    names = dict.fromkeys(KINDS, "container:donor")
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, **names) as box:  # type: ignore[arg-type]
        script = "; ".join(f"readlink /proc/self/ns/{file}" for file in KINDS.values())
        seen = box.exec(["sh", "-c", script]).text.split()
        assert seen == [namespace(donor, file) for file in KINDS.values()]


def test_one_that_is_started_again_by_its_policy_shares_still(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    box = pc.Container.create(
        busybox,
        ["sh", "-c", "readlink /proc/self/ns/net; exit 1"],
        network="container:donor",
        restart="on-failure:1",
        engine=engine,
    )
    box.start()
    assert box.wait(30) == 1
    assert box.logs().text().split() == [namespace(donor, "net")] * 2
    box.remove()


@pytest.fixture
def mapped(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    """A running container with user ids of its own."""
    box = pc.Container.create(
        busybox,
        ["sleep", "1000"],
        name="mapped",
        userns="private",
        uid_map="0:200000:65536",
        ipc="shareable",
        engine=engine,
    )
    box.start()
    yield box
    box.remove(force=True)


def test_user_ids_are_those_of_another_container_and_all_else_is_its_own(
    engine: pc.Engine, busybox: pc.Image, mapped: pc.Container
) -> None:
    script = "cat /proc/self/uid_map; id -u; mount -t tmpfs t /mnt 2>&1; sleep 1000"
    with pc.Container(busybox, ["sh", "-c", script], userns="container:mapped", engine=engine) as box:
        assert namespace(box, "user") == namespace(mapped, "user")
        for file in (*KINDS.values(), "mnt"):
            assert namespace(box, file) != namespace(mapped, file)
        box.wait_until(pc.wait.log("denied|permitted"))
        ids = box.logs().text().split()[:4]
        assert ids == ["0", "200000", "65536", "0"]
        assert os.stat(f"/proc/{box.pid}").st_uid == 200000
        assert box.exec(["sh", "-c", "cat /proc/self/uid_map; echo $$"]).text.split()[1] == "200000"


def test_with_its_user_ids_go_its_other_namespaces(
    engine: pc.Engine, busybox: pc.Image, mapped: pc.Container
) -> None:
    names = dict.fromkeys((*KINDS, "userns"), "container:mapped")
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, **names) as box:  # type: ignore[arg-type]
        for file in (*KINDS.values(), "user"):
            assert namespace(box, file) == namespace(mapped, file)
        assert (
            pc.run(busybox, ["cat", "/proc/self/uid_map"], engine=engine, **names).text.split()[1] == "200000"
        )  # type: ignore[arg-type]


def test_user_ids_of_one_that_has_the_hosts_are_the_hosts(
    engine: pc.Engine, busybox: pc.Image, donor: pc.Container
) -> None:
    seen = pc.run(busybox, ["readlink", "/proc/self/ns/user"], userns="container:donor", engine=engine)
    assert seen.text.strip() == os.readlink("/proc/self/ns/user")


def test_user_ids_are_mapped_in_one_place_only(
    engine: pc.Engine, busybox: pc.Image, mapped: pc.Container
) -> None:
    with pytest.raises(errors.InvalidOption, match="mapped already; leave them out"):
        pc.run(busybox, ["true"], userns="container:mapped", uid_map="0:1000:10", engine=engine)
