"""Options and an image's configuration become a runtime-spec, with Docker's defaults."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pycontainer.errors import InvalidImage, InvalidInput, InvalidOption, Unsupported
from pycontainer.oci import ContainerConfig, ImageConfig
from pycontainer.oci import runtime as model
from pycontainer.options import parse_run_options
from pycontainer.runtime import (
    build_spec,
    check_spec,
    identity,
    plan_cgroups,
    seccomp_program,
    stop_signal,
)
from pycontainer.runtime.defaults import CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from tests.support.hosts import HOST

ID = "0123456789abcdef" * 4


def image(**config: Any) -> ImageConfig:
    return ImageConfig(config=ContainerConfig(**{"cmd": ("sh",), **config}))


def spec_of(config: ImageConfig | None = None, **options: Any) -> model.Spec:
    return build_spec(parse_run_options(**options), config or image(), HOST, container_id=ID)


def process(config: ImageConfig | None = None, **options: Any) -> model.Process:
    made = spec_of(config, **options).process
    assert made is not None
    return made


def linux(config: ImageConfig | None = None, **options: Any) -> model.Linux:
    made = spec_of(config, **options).linux
    assert made is not None
    return made


def mount_at(spec: model.Spec, path: str) -> model.Mount:
    (found,) = [mount for mount in spec.mounts if mount.destination == path]
    return found


# -- the program


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "options", "args"),
    [
        (None, ("sh",), {}, ("sh",)),
        (("/init",), ("run",), {}, ("/init", "run")),
        (("/init",), ("run",), {"command": ["other", "x"]}, ("/init", "other", "x")),
        (("/init",), ("run",), {"command": []}, ("/init",)),
        (("/init",), ("run",), {"entrypoint": ["/mine"]}, ("/mine",)),
        (("/init",), ("run",), {"entrypoint": ["/mine"], "command": ["a"]}, ("/mine", "a")),
        (("/init",), ("run",), {"entrypoint": "", "command": ["a"]}, ("a",)),
        (("/init",), ("run",), {"entrypoint": [""], "command": ["a"]}, ("a",)),
        ((), ("sh", ""), {}, ("sh", "")),
    ],
)
def test_entrypoint_and_command_are_merged_as_docker_does(
    entrypoint: Any, cmd: Any, options: dict[str, Any], args: tuple[str, ...]
) -> None:
    assert process(image(entrypoint=entrypoint, cmd=cmd), **options).args == args


@pytest.mark.parametrize("options", [{}, {"entrypoint": ""}])
def test_without_a_command_there_is_nothing_to_run(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="no command"):
        spec_of(image(cmd=None), **options)


def test_the_environment_is_made_of_defaults_image_and_options() -> None:
    given = process(
        image(env=("PATH=/image", "LANG=C", "GONE=1", "EQ=a=b")), env={"LANG": "de", "GONE": None, "X": ""}
    )
    assert given.env == ("PATH=/image", "HOSTNAME=0123456789ab", "LANG=de", "EQ=a=b", "X=")
    assert process().env[0] == "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize("line", ["=x", "A=\0", ""])
def test_a_broken_environment_of_the_image_is_refused(line: str) -> None:
    with pytest.raises(InvalidImage, match="environment"):
        spec_of(image(env=(line,)))


def test_the_working_directory_comes_from_the_option_then_the_image() -> None:
    assert process().cwd == "/"
    assert process(image(working_dir="/srv")).cwd == "/srv"
    assert process(image(working_dir="/srv"), workdir="/x").cwd == "/x"


@pytest.mark.parametrize("cwd", ["srv", "../etc", "/a\0b"])
def test_a_working_directory_of_the_image_that_is_not_absolute_is_refused(cwd: str) -> None:
    with pytest.raises(InvalidImage, match="working directory"):
        spec_of(image(working_dir=cwd))


@pytest.mark.parametrize("word", ["a\0b"])
def test_a_nul_byte_in_the_images_command_is_refused(word: str) -> None:
    with pytest.raises(InvalidImage, match="NUL"):
        spec_of(image(cmd=(word,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), ("web", "web"), ("1000:1000", "1000:1000"), ("4294967294", "4294967294")],
)
def test_the_user_goes_to_the_launcher_in_words(text: str, expected: str) -> None:
    assert identity(parse_run_options(), image(user=text)).user == expected
    assert identity(parse_run_options(user="daemon"), image(user=text)).user == "daemon"


@pytest.mark.parametrize(
    "text",
    [
        "4294967295",
        "99999999999999999999",
        "-1",
        "+1",
        "1:4294967296",
        "a b",
        "a\nb",
        ":1",
        "web:",
        "a:b:c",
        "١",
    ],
)
def test_a_user_that_no_file_could_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="user"):
        identity(parse_run_options(user=text) if "\n" not in text else _raw_user(text), image())
    with pytest.raises(InvalidImage, match="user"):
        identity(parse_run_options(), image(user=text))


def _raw_user(text: str) -> Any:
    return attrs.evolve(parse_run_options(), user=text)


def test_groups_go_along_by_name_and_by_number() -> None:
    asked = parse_run_options(group_add=["audio", 44])
    assert identity(asked, image()).groups == ("audio", "44")
    assert process(group_add=["audio", 44]).user.additional_gids == (44,)
    with pytest.raises(InvalidOption, match="group_add"):
        spec_of(group_add=[4294967295])


def test_the_stop_signal_is_the_options_the_images_or_term() -> None:
    assert stop_signal(parse_run_options(), image()) == 15
    assert stop_signal(parse_run_options(), image(stop_signal="SIGQUIT")) == 3
    assert stop_signal(parse_run_options(stop_signal="INT"), image(stop_signal="SIGQUIT")) == 2
    with pytest.raises(InvalidImage, match="stop signal"):
        stop_signal(parse_run_options(), image(stop_signal="SIGNOPE"))


def test_labels_of_the_image_steer_nothing() -> None:
    hostile = image(
        labels={"io.pycontainer.privileged": "true", "cgroup_parent": "/", "org.cri.dev": "/dev/sda"}
    )
    assert spec_of(hostile) == spec_of()


# -- protections


def test_capabilities_are_dockers_fourteen_without_inheritance() -> None:
    held = process().capabilities
    assert held is not None
    assert len(held.bounding) == 14
    assert set(held.bounding) == set(CAPABILITIES) == set(held.effective) == set(held.permitted)
    assert held.inheritable == held.ambient == ()


@pytest.mark.parametrize(
    ("options", "gained", "lost"),
    [
        ({"cap_add": ["NET_ADMIN"]}, {"CAP_NET_ADMIN"}, set()),
        ({"cap_add": ["cap_net_admin"], "cap_drop": ["MKNOD"]}, {"CAP_NET_ADMIN"}, {"CAP_MKNOD"}),
        ({"cap_drop": ["ALL"]}, set(), set(CAPABILITIES)),
        ({"cap_drop": ["ALL"], "cap_add": ["CHOWN"]}, set(), set(CAPABILITIES) - {"CAP_CHOWN"}),
        ({"cap_add": ["ALL"]}, {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}, set()),
        ({"cap_add": ["ALL"], "cap_drop": ["SYS_ADMIN"]}, {"CAP_NET_ADMIN"}, set()),
    ],
)
def test_capabilities_are_added_and_dropped(
    options: dict[str, Any], gained: set[str], lost: set[str]
) -> None:
    held = process(**options).capabilities
    assert held is not None
    assert set(held.bounding) == (set(CAPABILITIES) | gained) - lost


@pytest.mark.parametrize("options", [{"cap_add": ["FLY"]}, {"cap_drop": ["FLY"]}, {"cap_add": ["SYS_BOOT"]}])
def test_a_capability_that_is_unknown_or_not_ours_to_give_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="cap_"):
        spec_of(**options)


def test_paths_are_hidden_and_no_new_privileges_set() -> None:
    made = linux()
    assert made.masked_paths == (*MASKED_PATHS, "/sys/devices/system/cpu/cpu0/thermal_throttle")
    assert made.readonly_paths == READONLY_PATHS
    assert process().no_new_privileges is True
    assert process(security_opt=["no-new-privileges:false"]).no_new_privileges is None
    assert linux(security_opt=["systempaths=unconfined"]).masked_paths == ()


def test_privileged_lifts_every_protection() -> None:
    spec = spec_of(privileged=True)
    made, program = spec.linux, spec.process
    assert made is not None
    assert program is not None
    assert (made.masked_paths, made.readonly_paths, program.no_new_privileges) == ((), (), None)
    assert program.capabilities is not None
    assert program.capabilities.bounding == HOST.capabilities
    assert [device.path for device in made.devices] == ["/dev/fuse", "/dev/kmsg"]
    assert made.resources is not None
    assert [rule.to_dict() for rule in made.resources.devices] == [{"allow": True, "access": "rwm"}]
    assert "rw" in mount_at(spec, "/sys").options
    assert "rw" in mount_at(spec, "/sys/fs/cgroup").options
    assert seccomp_program(parse_run_options(privileged=True), spec, HOST) is None
    assert process(privileged=True, security_opt=["no-new-privileges"]).no_new_privileges is True


@pytest.mark.parametrize("text", ["apparmor", "no-new-privileges:maybe", "seccomp", "systempaths=x"])
def test_an_unknown_security_option_says_what_is_known(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"security_opt.*systempaths=unconfined"):
        spec_of(security_opt=[text])


def test_the_filter_follows_the_capabilities() -> None:
    plain = parse_run_options()
    more = parse_run_options(cap_add=["SYS_ADMIN"])
    first = seccomp_program(plain, spec_of(), HOST)
    assert first
    assert first != seccomp_program(more, spec_of(cap_add=["SYS_ADMIN"]), HOST)
    assert seccomp_program(parse_run_options(security_opt="seccomp=unconfined"), spec_of(), HOST) is None
    with pytest.raises(Unsupported, match="seccomp=unconfined"):
        seccomp_program(plain, spec_of(), attrs.evolve(HOST, seccomp=False))
    with pytest.raises(InvalidOption, match="No such file"):
        seccomp_program(parse_run_options(security_opt="seccomp=/no/such"), spec_of(), HOST)


# -- mounts and namespaces


def test_the_default_mounts_are_dockers() -> None:
    spec = spec_of()
    assert [mount.destination for mount in spec.mounts] == [
        *("/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm")
    ]
    assert "ro" in mount_at(spec, "/sys").options
    assert "ro" in mount_at(spec, "/sys/fs/cgroup").options
    assert mount_at(spec, "/dev/shm").options[-2:] == ("mode=1777", "size=67108864")
    assert "gid=5" in mount_at(spec, "/dev/pts").options


def test_shared_memory_has_the_size_asked_for() -> None:
    assert "size=1048576" in mount_at(spec_of(shm_size="1m"), "/dev/shm").options


def test_tmpfs_mounts_come_last_and_parents_first() -> None:
    spec = spec_of(tmpfs={"/run/lock": "size=1m,exec", "/run": ""})
    assert [mount.destination for mount in spec.mounts][-2:] == ["/run", "/run/lock"]
    assert mount_at(spec, "/run").options == ("nosuid", "nodev", "noexec")
    assert mount_at(spec, "/run/lock").options == ("nosuid", "nodev", "size=1m", "exec")
    assert mount_at(spec_of(tmpfs={"/dev/shm": "size=1m"}), "/dev/shm").options[-1] == "size=1m"


@pytest.mark.parametrize(
    "tmpfs", [{"/": ""}, {"/proc": ""}, {"/proc/sys": ""}, {"/x": "bind"}, {"/x": "size=1m;rw"}]
)
def test_a_tmpfs_over_the_containers_own_or_with_odd_options_is_refused(tmpfs: dict[str, str]) -> None:
    with pytest.raises(InvalidOption, match="tmpfs"):
        spec_of(tmpfs=tmpfs)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"mount", "pid", "uts", "ipc", "cgroup", "network"}),
        ({"network": "host"}, {"mount", "pid", "uts", "ipc", "cgroup"}),
        ({"pid": "host", "ipc": "host", "uts": "host", "cgroupns": "host"}, {"mount", "network"}),
        (
            {"userns": "private", "time": "private"},
            {"mount", "pid", "uts", "ipc", "cgroup", "network", "user", "time"},
        ),
    ],
)
def test_namespaces_are_private_unless_asked(options: dict[str, Any], kinds: set[str]) -> None:
    assert {namespace.type for namespace in linux(**options).namespaces} == kinds


def test_the_hosts_ipc_comes_with_its_shared_memory() -> None:
    spec = spec_of(ipc="host")
    assert mount_at(spec, "/dev/shm").source == "/dev/shm"
    assert mount_at(spec, "/dev/mqueue").type == "mqueue"  # which shows the namespace it is mounted in


def test_a_user_namespace_maps_every_id_or_those_asked_for() -> None:
    assert [item.to_dict() for item in linux(userns="private").uid_mappings] == [
        {"containerID": 0, "hostID": 0, "size": 4294967295}
    ]
    made = linux(userns="private", uid_map="0:100000:65536")
    assert made.uid_mappings == made.gid_mappings
    with pytest.raises(InvalidOption, match="userns"):
        spec_of(uid_map="0:0:1")


def test_a_network_namespace_can_be_joined() -> None:
    spec = build_spec(parse_run_options(), image(), HOST, container_id=ID, network_namespace="/run/netns/x")
    assert spec.linux is not None
    assert model.Namespace(type="network", path="/run/netns/x") in spec.linux.namespaces
    assert spec.linux.sysctl == {}


def test_the_host_name_is_the_options_or_the_start_of_the_id() -> None:
    assert spec_of().hostname == "0123456789ab"
    assert spec_of(hostname="box").hostname == "box"
    assert spec_of(uts="host").hostname is None
    assert not any(line.startswith("HOSTNAME") for line in process(uts="host").env)
    with pytest.raises(InvalidOption, match="rename the host"):
        spec_of(uts="host", hostname="box")


# -- kernel settings


def test_settings_of_the_containers_own_namespaces_are_taken() -> None:
    made = linux(sysctls={"net.ipv4.ip_forward": 1, "kernel/shmmax": "5", "fs.mqueue.msg_max": "9"})
    assert made.sysctl["net.ipv4.ip_forward"] == "1"
    assert made.sysctl["kernel.shmmax"] == "5"
    assert made.sysctl["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert linux(network="host").sysctl == {}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sysctls": {"kernel.core_pattern": "x"}}, "whole host"),
        ({"sysctls": {"vm.swappiness": "0"}}, "whole host"),
        ({"sysctls": {"kernel.shmmax": "1\nkernel.core_pattern=x"}}, "control character"),
        ({"sysctls": {"net.ipv4.x+kernel.y": "1"}}, "no name"),
        ({"sysctls": {"net..x": "1"}}, "no name"),
        ({"sysctls": {"net/../kernel/x": "1"}}, "no name"),
        ({"sysctls": {"net.x": "1"}, "network": "host"}, "change the host"),
        ({"sysctls": {"kernel.sem": "1"}, "ipc": "host"}, "change the host"),
    ],
)
def test_settings_of_the_host_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidOption, match=reason):
        spec_of(**options)


# -- resources


def resources(**options: Any) -> dict[str, Any]:
    made = linux(**options).resources
    assert made is not None
    return {key: value for key, value in made.to_dict().items() if key != "devices"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"memory": "64m"}, {"memory": {"limit": 64 << 20, "swap": 128 << 20}}),
        ({"memory": "64m", "memory_swap": -1}, {"memory": {"limit": 64 << 20, "swap": -1}}),
        ({"memory": "64m", "memory_swap": "64m"}, {"memory": {"limit": 64 << 20, "swap": 64 << 20}}),
        ({"memory_reservation": "8m"}, {"memory": {"reservation": 8 << 20}}),
        ({"cpus": 1.5}, {"cpu": {"quota": 150000, "period": 100000}}),
        ({"cpus": 0.01}, {"cpu": {"quota": 1000, "period": 100000}}),
        ({"cpu_quota": 20000, "cpu_period": 40000}, {"cpu": {"quota": 20000, "period": 40000}}),
        ({"cpuset_cpus": "0-1", "cpuset_mems": "0"}, {"cpu": {"cpus": "0-1", "mems": "0"}}),
        ({"pids_limit": 5}, {"pids": {"limit": 5}}),
        ({"pids_limit": 0}, {"pids": {"limit": -1}}),
        ({"blkio_weight": 100}, {"blockIO": {"weight": 100}}),
        (
            {"device_read_bps": {"/dev/sda": "1m"}},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1 << 20}]}},
        ),
        ({"cgroup_conf": {"memory.high": "9M"}}, {"unified": {"memory.high": "9M"}}),
    ],
)
def test_limits_land_in_the_spec(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert resources(**options) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"memory": "1m"}, "6 MiB"),
        ({"memory_swap": "64m"}, "give memory too"),
        ({"memory": "64m", "memory_swap": "32m"}, "counts memory too"),
        ({"memory": "64m", "memory_reservation": "128m"}, "above memory"),
        ({"oom_kill_disable": True}, "needs a memory limit"),
        ({"cpus": 3}, "this host has 2"),
        ({"cpus": 1, "cpu_quota": 1000}, "one or the others"),
        ({"cpu_quota": 500}, "1000 microseconds"),
        ({"cpu_shares": 1}, "least is 2"),
        ({"cpuset_cpus": "0-5"}, "no CPU 5"),
        ({"cpuset_cpus": "1-0"}, "backwards"),
        ({"cpu_rt_runtime": 2, "cpu_rt_period": 1}, "above"),
        ({"device_read_bps": {"/dev/fuse": 1}}, "no block device"),
        ({"device_read_bps": {"/dev/none": 1}}, "no such file"),
        ({"log_opts": {"max-files": 3}}, "max-file"),
    ],
)
def test_limits_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidOption, match=reason):
        spec_of(**options)


@pytest.mark.parametrize(
    ("text", "path", "access"),
    [
        ("/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/fuse:r", "/dev/fuse", "r"),
        ("/dev/fuse:/dev/f", "/dev/f", "rwm"),
        ("/dev/fuse:/dev/f:rw", "/dev/f", "rw"),
    ],
)
def test_a_device_is_given_with_its_access(text: str, path: str, access: str) -> None:
    made = linux(devices=[text])
    assert [(device.path, device.major, device.minor) for device in made.devices] == [(path, 10, 229)]
    assert made.resources is not None
    assert made.resources.devices[-1].to_dict() == {
        "allow": True, "type": "c", "major": 10, "minor": 229, "access": access,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["fuse", "/etc/passwd", "/dev/fuse:/etc/x", "/dev/fuse:/dev/../x", "/dev/fuse:x", "/dev/a:/dev/b:r:w"],
)
def test_a_device_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="devices"):
        spec_of(devices=[text])


def test_the_cgroup_is_below_the_store_or_the_parent_asked_for() -> None:
    assert linux().cgroups_path == f"/pycontainer/default/{ID}"
    assert linux(cgroup_parent="/jobs/").cgroups_path == f"/jobs/{ID}"
    assert plan_cgroups(spec_of(), HOST)["clone_into"] == f"/sys/fs/cgroup/pycontainer/default/{ID}"


def test_ulimits_and_the_oom_score_are_the_process_own() -> None:
    made = process(ulimits={"nofile": (1, 2)}, oom_score_adj=7)
    assert [limit.to_dict() for limit in made.rlimits] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
    assert made.oom_score_adj == 7


# -- a spec of anyone's


def _changed(part: str, **values: Any) -> model.Spec:
    spec = spec_of()
    if part == "spec":
        return attrs.evolve(spec, **values)  # type: ignore[misc]
    changed = attrs.evolve(getattr(spec, part), **values)
    return attrs.evolve(spec, **{part: changed})  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (_changed("spec", process=None), "process"),
        (_changed("process", args=()), r"process\.args"),
        (_changed("process", cwd="x"), r"process\.cwd"),
        (_changed("process", cwd=""), r"process\.cwd"),
        (_changed("process", env=("A",)), r"process\.env"),
        (_changed("process", args=("a\0",)), r"process\.args"),
        (
            _changed("process", rlimits=(model.Rlimit(type="RLIMIT_CORE", soft=2, hard=1),)),
            r"process\.rlimits",
        ),
        (_changed("spec", hostname="x" * 65), "hostname"),
        (_changed("spec", mounts=(model.Mount(destination="x"),)), r"mounts\.destination"),
        (_changed("spec", mounts=(model.Mount(destination="/a/../b"),)), r"mounts\.destination"),
        (_changed("linux", namespaces=()), r"linux\.namespaces"),
        (_changed("linux", namespaces=(model.Namespace(type="mount"),) * 2), "twice"),
        (_changed("linux", namespaces=(model.Namespace(type="new"),)), "unknown type"),
        (_changed("linux", masked_paths=("x",)), r"linux\.maskedPaths"),
        (_changed("linux", sysctl={"a b": "1"}), r"linux\.sysctl"),
        (_changed("linux", devices=(model.Device(type="q", path="/dev/q"),)), r"linux\.devices"),
        (
            _changed("linux", uid_mappings=(model.IdMapping(container_id=0, host_id=0, size=1),)),
            "uidMappings",
        ),
    ],
)
def test_a_spec_that_cannot_be_carried_out_names_the_field(spec: model.Spec, field: str) -> None:
    with pytest.raises((InvalidInput, Unsupported), match=field):
        check_spec(spec)


def test_a_spec_survives_json_with_what_it_does_not_know() -> None:
    document = spec_of(memory="64m", tmpfs={"/x": ""}, userns="private").to_dict()
    document["vm"] = {"kernel": {"path": "/k"}}
    document["linux"]["intelRdt"] = {"closID": "x"}
    document["process"]["scheduler"] = {"policy": "SCHED_IDLE"}
    read = model.Spec.from_dict(document)
    assert read.to_dict() == document
    assert read == model.Spec.from_dict(read.to_dict())
    assert read != spec_of()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"process": []},
        {"process": {}},
        {"mounts": [{}]},
        {"linux": {"devices": [3]}},
        {"process": {"cwd": "/", "args": "sh"}},
        {"annotations": []},
    ],
)
def test_a_spec_of_the_wrong_shape_is_an_input_error(document: Any) -> None:
    with pytest.raises(InvalidInput):
        model.Spec.from_dict(document)
