"""What a container started through the SDK can see and do, told by the kernel from inside and outside."""

from __future__ import annotations

import errno
import itertools
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")

DOCKER_CAPABILITIES = 0x00000000A80425FB


def status(engine: pc.Engine, image: pc.Image, **options: object) -> dict[str, str]:
    text = pc.run(image, ["cat", "/proc/self/status"], engine=engine, check=True, **options).text  # type: ignore[arg-type]
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def sh(engine: pc.Engine, image: pc.Image, command: str, **options: object) -> pc.RunResult:
    return pc.run(image, ["sh", "-c", command], engine=engine, **options)  # type: ignore[arg-type]


def test_a_default_container_is_confined_as_dockers_are_and_more(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    seen = status(engine, busybox)
    assert (seen["Seccomp"], seen["NoNewPrivs"]) == ("2", "1")
    assert int(seen["CapEff"], 16) == int(seen["CapBnd"], 16) == DOCKER_CAPABILITIES
    assert int(seen["CapInh"], 16) == int(seen["CapAmb"], 16) == 0
    assert (seen["Umask"], seen["SigBlk"], seen["SigIgn"]) == ("0022", "0" * 16, "0" * 16)
    assert (seen["Uid"].split(), seen["Groups"].split()) == (["0"] * 4, ["0", "10"])


def test_the_filter_holds_for_every_container_and_not_only_the_first(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    assert [status(engine, busybox)["Seccomp"] for _ in range(3)] == ["2"] * 3


def test_privileged_lifts_the_confinement_and_only_it(engine: pc.Engine, busybox: pc.Image) -> None:
    with open("/proc/self/status") as file:
        own = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))
    seen = status(engine, busybox, privileged=True)
    assert (seen["Seccomp"], seen["NoNewPrivs"], int(seen["CapEff"], 16)) == ("0", "0", own)


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def test_a_filter_without_close_range_is_no_obstacle_without_no_new_privs(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, refusal: int
) -> None:
    rule = {"names": ["close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": refusal}
    (tmp_path / "old.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    chosen = ["no-new-privileges:false", f"seccomp={tmp_path}/old.json"]
    shown = " ".join(f"/proc/self/fd/{fd}" for fd in range(4)) + "\n"  # the shell's own among them
    assert sh(engine, busybox, "echo /proc/self/fd/*", security_opt=chosen, init=True).text == shown
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, security_opt=chosen) as box:
        assert box.exec(["sh", "-c", "echo /proc/self/fd/*"]).text == shown


def test_options_change_exactly_what_they_name(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = status(engine, busybox, cap_drop=["ALL"], cap_add=["NET_BIND_SERVICE"])
    assert int(seen["CapEff"], 16) == 1 << 10
    assert status(engine, busybox, security_opt=["seccomp=unconfined"])["Seccomp"] == "0"
    assert status(engine, busybox, security_opt=["no-new-privileges:false"])["NoNewPrivs"] == "0"


@pytest.mark.parametrize(
    ("user", "ids", "groups"),
    [
        pytest.param("web", ["1000", "1000"], {"1000", "44", "50"}, id="by name, with its groups"),
        pytest.param("1000", ["1000", "1000"], {"1000", "44", "50"}, id="by number of a known user"),
        pytest.param("4242:4343", ["4242", "4343"], {"4343"}, id="unknown numbers"),
        pytest.param("web:staff", ["1000", "50"], {"50"}, id="with a group"),
    ],
)
def test_the_user_is_found_in_the_images_own_files(
    engine: pc.Engine, busybox: pc.Image, user: str, ids: list[str], groups: set[str]
) -> None:
    seen = status(engine, busybox, user=user)
    assert [seen["Uid"].split()[0], seen["Gid"].split()[0]] == ids
    assert set(seen["Groups"].split()) == groups
    assert int(seen["CapEff"], 16) == 0


@pytest.mark.parametrize("user", ["nobody-here", "4294967295", "-1", "99999999999999999999"])
def test_a_user_that_cannot_be_is_refused_by_name(engine: pc.Engine, busybox: pc.Image, user: str) -> None:
    with pytest.raises((errors.LaunchError, errors.InvalidOption), match=user):
        pc.run(busybox, ["true"], user=user, engine=engine)


def test_no_descriptor_and_no_path_of_the_host_is_visible(engine: pc.Engine, busybox: pc.Image) -> None:
    result = sh(engine, busybox, "ls -l /proc/self/fd; cat /proc/self/mountinfo; cat /proc/1/environ")
    assert str(engine.root) not in result.text
    opened = pc.run(busybox, ["ls", "/proc/self/fd"], engine=engine).text.split()
    assert opened == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_the_namespaces_are_its_own(engine: pc.Engine, busybox: pc.Image) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    links = sh(engine, busybox, " ".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)).text.split()
    for kind, link in zip(kinds, links, strict=True):
        assert link != os.readlink(f"/proc/self/ns/{kind}")


@pytest.mark.parametrize(
    "attack",
    [
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/kernel/mm/ksm/run",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /sys",
        "umount /proc/kcore",
        "mknod /dev/sda b 8 0 && dd if=/dev/sda of=/dev/null count=1",
        "chroot /proc/1/root true && ls /proc/1/root/work",
        "unshare -U true",
        "echo /tmp/x > /sys/fs/cgroup/memory/release_agent",
        "mkdir /sys/fs/cgroup/memory/x",
        "hostname changed",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "cat /proc/timer_list | head -c 1 | grep -q .",
        "ls /sys/firmware | grep -q .",
    ],
)
def test_what_would_reach_the_host_is_refused(engine: pc.Engine, busybox: pc.Image, attack: str) -> None:
    assert sh(engine, busybox, attack).exit_code != 0


def test_the_host_name_files_say_what_was_asked(engine: pc.Engine, busybox: pc.Image) -> None:
    result = sh(engine, busybox, "hostname; cat /etc/hostname; grep -c box /etc/hosts", hostname="box")
    assert result.text.split() == ["box", "box", "1"]


def test_a_read_only_root_takes_no_write_but_tmpfs_does(engine: pc.Engine, busybox: pc.Image) -> None:
    result = sh(
        engine,
        busybox,
        "touch /x; touch /scratch/y && echo ok",
        read_only=True,
        tmpfs={"/scratch": "size=1m"},
    )
    assert result.text == "ok\n"
    assert b"Read-only" in result.stderr


def test_limits_are_in_the_kernel(engine: pc.Engine, busybox: pc.Image) -> None:
    forks = sh(engine, busybox, "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", pids_limit=4)
    assert b"fork" in forks.stderr
    text = sh(engine, busybox, "ulimit -n; ulimit -c", ulimits={"nofile": "512:1024"}).text.split()
    assert text[0] == "512"


def test_init_reaps_orphans_and_passes_the_exit_code(engine: pc.Engine, busybox: pc.Image) -> None:
    command = "(sleep 0.05 &); echo $$; sleep 0.2; ps | grep -c '[Zz]ombie'; exit 6"
    result = sh(engine, busybox, command, init=True)
    assert result.exit_code == 6
    assert result.text.split()[0] != "1"


def test_the_network_is_loopback_only_or_the_hosts(engine: pc.Engine, busybox: pc.Image) -> None:
    assert sh(engine, busybox, "ls /sys/class/net").text.split() == ["lo"]
    assert (
        sh(engine, busybox, "cat /sys/class/net/lo/operstate; ping -c1 -w2 127.0.0.1 >/dev/null").exit_code
        == 0
    )
    link = pc.run(busybox, ["readlink", "/proc/self/ns/net"], network="host", engine=engine).text.strip()
    assert link == os.readlink("/proc/self/ns/net")


def test_a_private_user_namespace_maps_its_root_to_the_given_ids(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(
        busybox, ["sleep", "100"], userns="private", uid_map=["0:100000:65536"], engine=engine
    ) as box:
        with open(f"/proc/{box.pid}/status") as file:
            uid = next(line.split()[1] for line in file if line.startswith("Uid"))
    assert uid == "100000"


@pytest.mark.parametrize("user", ["1000", "1000:1000"])
def test_a_user_of_a_private_user_namespace_owns_its_output_and_may_open_it_again(
    engine: pc.Engine, busybox: pc.Image, user: str
) -> None:
    maps = ["0:100000:65536"]
    done = pc.run(
        busybox,
        ["sh", "-c", "echo one > /dev/stdout; echo two > /dev/stderr; stat -Lc %u /proc/self/fd/1"],
        userns="private",
        uid_map=maps,
        gid_map=maps,
        user=user,
        engine=engine,
    )
    assert (done.check().text.split(), done.stderr) == (["one", "1000"], b"two\n")


def test_a_user_namespace_owns_the_images_files_and_the_disk_keeps_them_as_they_are(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    script = (
        "stat -c %u:%g /bin/busybox; touch /new; chown 7:8 /new; echo x >>/etc/passwd; stat -c %u:%g /new"
    )
    maps: dict[str, Any] = {"userns": "private", "uid_map": "0:300000:65536"}
    bind = f"{tmp_path}:/made/here"
    box = pc.Container.create(
        busybox, ["sh", "-c", f"{script}; ls -d /made/here"], volumes=[bind], engine=engine, **maps
    )
    box.start()
    assert (box.wait(60), box.logs().text()) == (0, "0:0\n7:8\n/made/here\n")
    assert [(box.path / name).stat().st_uid for name in ("new", "etc/passwd")] == [7, 0]
    box.start()  # mounts it anew
    assert box.wait(60) == 0
    image = box.commit()
    box.remove()
    assert pc.run(image, ["stat", "-c", "%u:%g", "/new"], engine=engine).text == "7:8\n"
    other = {**maps, "uid_map": "0:400000:65536"}
    assert pc.run(image, ["stat", "-c", "%u:%g", "/new"], engine=engine, **other).text == "7:8\n"
    image.remove()


def test_files_of_a_user_namespace_are_reached_while_it_runs(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"userns": "private", "uid_map": "0:300000:65536"}
    (tmp_path / "sent").write_text("sent\n")
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, **options) as box:
        (box.path / "written").write_text("written\n")
        box.copy_to(tmp_path / "sent", "/sent")
        assert box.exec(["stat", "-c", "%u:%g", "/written", "/sent"]).text == "0:0\n0:0\n"
        assert (box.path / "written").stat().st_uid == 0
        box.copy_from("/written", tmp_path / "got")
        assert (tmp_path / "got").read_text() == "written\n"
        assert {change.path for change in box.diff()} == {"/sent", "/written"}
        with open(tmp_path / "tar", "wb") as file:
            box.export(file)
        with tarfile.open(tmp_path / "tar") as tar:
            assert tar.getmember("written").uid == 0


def test_a_container_may_have_ids_that_no_other_has(engine: pc.Engine, busybox: pc.Image) -> None:
    boxes = [pc.Container.create(busybox, ["true"], userns="auto", engine=engine) for _ in range(2)]
    script = "cat /proc/self/uid_map /proc/self/gid_map; touch /x"
    seen = pc.run(busybox, ["sh", "-c", script], userns="auto", engine=engine).check().text.split()
    assert seen[:3] == seen[3:]
    starts = {int(seen[1])}
    for box in boxes:
        assert box.spec.linux is not None
        (mapping,) = box.spec.linux.uid_mappings
        assert (mapping.container_id, mapping.size) == (0, 65536)
        starts.add(mapping.host_id)
        box.remove()
    ordered = sorted(starts)
    assert len(ordered) == 3
    assert all(after - before >= 65536 for before, after in itertools.pairwise(ordered))
    with pytest.raises(errors.InvalidOption, match="chooses the maps"):
        pc.run(busybox, ["true"], userns="auto", uid_map="0:1000:1", engine=engine)
