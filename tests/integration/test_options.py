"""Options as a program in the container meets them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")


def sh(engine: pc.Engine, image: pc.Image, command: str, **options: Any) -> str:
    return pc.run(image, ["sh", "-c", command], engine=engine, **options).check().text


def test_the_umask_is_what_was_asked(engine: pc.Engine, busybox: pc.Image) -> None:
    assert sh(engine, busybox, "umask; touch /f; stat -c %a /f", umask="0077").split() == ["0077", "600"]


def test_the_time_zone_is_set_by_name_and_taken_from_the_host(engine: pc.Engine, busybox: pc.Image) -> None:
    zone = "Asia/Tokyo"
    if not Path("/usr/share/zoneinfo", zone).exists():
        pytest.skip("no time zones on this host: apt-get install tzdata")
    assert sh(engine, busybox, "echo $TZ; head -c 4 /etc/localtime", tz=zone).split() == [zone, "TZif"]
    with pytest.raises(errors.InvalidOption, match="install tzdata, or set TZ with env"):
        sh(engine, busybox, "true", tz="Nowhere/Atall")


@pytest.mark.parametrize("link", ["/usr/share/zoneinfo/Etc/UTC", "../usr/share/zone", "hop"])
def test_a_file_goes_to_where_a_link_that_leads_to_nothing_leads(
    engine: pc.Engine, tmp_path: Path, link: str
) -> None:
    root = images.busybox_rootfs(tmp_path / "rootfs")
    (root / "etc/localtime").symlink_to(link)
    (root / "etc/hop").symlink_to("/made/anew")
    image = pc.Image.load(images.oci_layout(tmp_path / "layout", [images.tar_of(root)]), engine=engine)[0]
    (tmp_path / "bound").write_text("bound")
    place = {"type": "bind", "source": str(tmp_path / "bound"), "target": "/etc/localtime"}
    assert sh(engine, image, "test -L /etc/localtime && cat /etc/localtime", mounts=[place]) == "bound"


def test_the_files_of_names_may_be_the_containers_own_or_begin_as_another(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    script = "cat /etc/hosts /etc/hostname; hostname"
    assert sh(engine, busybox, script, no_hosts=True, no_hostname=True, hostname="box") == "box\n"
    (tmp_path / "hosts").write_text("10.9.8.7 other")
    given = {"hosts_file": str(tmp_path / "hosts"), "extra_hosts": ["more:10.9.8.6"], "hostname": "box"}
    wanted = ["10.9.8.7 other", "10.9.8.6\tmore", "127.0.1.1\tbox"]
    script = "cat /etc/hosts; uname -m; echo $PATH"
    seen = sh(engine, busybox, script, **given, personality="LINUX32", env_merge={"PATH": "/opt:${PATH}"})
    *hosts, machine, path = seen.splitlines()
    assert hosts == wanted
    assert machine in ("i686", "armv8l")
    assert path.startswith("/opt:/")
    for refused in (
        {"no_hosts": True, "hosts_file": "none"},
        {"hosts_file": "/no/such"},
        {"hosts_file": "/"},
    ):
        with pytest.raises(errors.InvalidOption, match="hosts"):
            sh(engine, busybox, "true", **refused)


def test_variables_come_from_files_and_can_be_left_out(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    (tmp_path / "variables").write_text("FILE=1\nBOTH=file\n")
    seen = sh(engine, busybox, "env", env_file=tmp_path / "variables", env={"BOTH": "given"})
    assert {"FILE=1", "BOTH=given"} <= set(seen.split())
    left = pc.run(busybox, ["/bin/env"], unsetenv_all=True, env={"ONLY": "1"}, engine=engine).check()
    assert {line.partition("=")[0] for line in left.text.split()} == {"ONLY", "HOME"}
    assert "HOSTNAME" not in sh(engine, busybox, "env", unsetenv="HOSTNAME")


def test_a_read_only_root_may_have_the_usual_places_to_write_to(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "for p in /run /tmp /var/tmp; do touch $p/x && echo $p; done; touch /x 2>&1 | grep -o Read-only"
    seen = sh(engine, busybox, script, read_only=True, read_only_tmpfs=True)
    assert seen.split() == ["/run", "/tmp", "/var/tmp", "Read-only"]
    with pytest.raises(errors.InvalidOption, match="read_only_tmpfs has a meaning with read_only"):
        sh(engine, busybox, "true", read_only_tmpfs=True)


def test_the_image_s_volumes_may_be_memory_or_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    maker = pc.Container.create(busybox, ["true"], engine=engine)
    (maker.path / "v").mkdir()
    (maker.path / "v" / "file").write_text("")
    image = maker.commit(changes=["VOLUME /v"])
    maker.remove()
    script = "ls /v; grep -o '^[a-z]* /v ' /proc/mounts; true"
    assert sh(engine, image, script, image_volume="ignore") == "file\n"
    assert sh(engine, image, script, image_volume="tmpfs") == "tmpfs /v \n"
    image.remove()


def test_shared_memory_and_tmpfs_have_their_sizes_and_modes(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "df -k /dev/shm /t | awk 'NR>1 {print $2}'; stat -c %a /t; mount | grep -o 'on /t .*'"
    seen = sh(engine, busybox, script, shm_size="3m", tmpfs={"/t": "size=2m,mode=700,exec"})
    sizes = seen.split()
    assert sizes[:3] == ["3072", "2048", "700"]
    assert "noexec" not in seen.splitlines()[-1]
    assert "nosuid" in seen.splitlines()[-1]


def test_privileged_gives_devices_and_writable_kernel_directories_and_lifts_masks(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "ls -l /dev; mount; touch -c /sys/kernel && echo sys; touch -c /proc/sys && echo proc"
    seen = sh(engine, busybox, script, privileged=True)
    assert seen.splitlines()[-2:] == ["sys", "proc"]
    for node in Path("/dev").iterdir():
        if stat.S_ISBLK(node.lstat().st_mode):
            assert node.name in seen
    for masked in ("/proc/timer_list", "/proc/keys", "/sys/firmware"):
        assert f"on {masked} " not in seen
        assert f"on {masked} " in sh(engine, busybox, "mount") or not Path(masked).exists()


def test_system_paths_are_lifted_alone(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = sh(
        engine, busybox, "mount; grep Seccomp: /proc/self/status", security_opt=["systempaths=unconfined"]
    )
    assert "on /proc/timer_list" not in seen
    assert seen.split()[-1] == "2"


def test_a_profile_of_ones_own_is_in_force(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
        '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}'
    )
    script = "mkdir /made 2>&1 | grep -o 'not permitted'; touch /file && echo file"
    seen = sh(engine, busybox, script, security_opt=[f"seccomp={profile}"])
    assert seen.splitlines() == ["not permitted", "file"]


def test_labels_of_modules_that_do_not_run_are_refused_and_switching_them_off_is_not(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    assert sh(engine, busybox, "echo ok", security_opt=["label=disable", "apparmor=unconfined"]) == "ok\n"
    host = engine.host
    if not host.has_apparmor:
        with pytest.raises(errors.Unsupported, match="apparmor=1"):
            sh(engine, busybox, "true", security_opt=["apparmor=mine"])
    if not host.has_selinux:
        with pytest.raises(errors.Unsupported, match="selinux=1"):
            sh(engine, busybox, "true", security_opt=["label=type:mine_t"])


def test_a_limit_on_the_disk_that_cannot_be_kept_is_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.Unsupported, match="no project quotas are set"):
        pc.Container.create(busybox, storage_opt={"size": "1g"}, engine=engine)
    with pytest.raises(errors.InvalidOption, match="there is size"):
        pc.Container.create(busybox, storage_opt={"colour": "red"}, engine=engine)


def test_the_callers_proxies_are_passed_on_if_asked(
    engine: pc.Engine, busybox: pc.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen = sh(engine, busybox, "env", http_proxy=True, env={"no_proxy": "inside"}).split()
    assert {"HTTPS_PROXY=http://proxy:3128", "no_proxy=inside"} <= set(seen)
    assert not any("secret" in line for line in seen)
    assert "HTTPS_PROXY" not in sh(engine, busybox, "env")


def test_replace_takes_the_place_of_the_one_with_the_name(engine: pc.Engine, busybox: pc.Image) -> None:
    old = pc.Container.create(busybox, ["sleep", "1000"], name="box", engine=engine)
    old.start()
    with pytest.raises(errors.AlreadyExists):
        pc.Container.create(busybox, name="box", engine=engine)
    new = pc.Container.create(busybox, ["true"], name="box", replace=True, engine=engine)
    assert pc.Container.get("box", engine=engine) == new != old
    with pytest.raises(errors.NotFound):
        _ = old.state
    with pytest.raises(errors.InvalidOption, match="give name too"):
        pc.Container.create(busybox, replace=True, engine=engine)
    new.remove()


def test_a_replacement_that_cannot_be_made_leaves_the_old_one(engine: pc.Engine, busybox: pc.Image) -> None:
    old = pc.Container.create(busybox, ["sleep", "1000"], name="box", engine=engine)
    with pytest.raises(errors.InvalidOption):
        pc.Container.create(busybox, name="box", replace=True, memory="1k", engine=engine)
    assert old.state == "created"
    old.remove()


def test_cgroups_are_writable_if_asked_and_only_its_own(engine: pc.Engine, busybox: pc.Image) -> None:
    script = (
        "d=/sys/fs/cgroup; test -e $d/cgroup.procs || d=/sys/fs/cgroup/memory; "
        "mkdir $d/mine 2>/dev/null && echo $$ > $d/mine/cgroup.procs && grep -c mine /proc/self/cgroup; "
        "echo $$ > $d/cgroup.procs; rmdir $d/mine 2>/dev/null; echo end"
    )
    assert sh(engine, busybox, script, security_opt=["writable-cgroups=true"]).split() == ["1", "end"]
    assert sh(engine, busybox, script).split() == ["end"]
    with pytest.raises(errors.InvalidOption, match="open the cgroups of others"):
        sh(engine, busybox, "true", security_opt=["writable-cgroups"], cgroupns="host")
