"""The plan of steps, made without root and without touching the host."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.kernel import mounts, namespaces
from pycontainer.launcher import plan
from pycontainer.launcher.steps import devices, identity, process, rootfs, security, settings
from pycontainer.launcher.steps import mounts as mount_steps
from tests.support.launching import base_spec, merge


def params(**changes: Any) -> dict[str, Any]:
    overlay = {"lower": ["/l1", "/l0"], "upper": "/c/upper", "work": "/c/work"}
    return {"id": "x", "rootfs": {"overlay": overlay}, "container_dir": "/c", **changes}


def steps(
    spec_changes: dict[str, Any] | None = None, *, seccomp: bytes = b"", **changes: Any
) -> tuple[plan.Step, ...]:
    spec = base_spec(["prog", "arg"])
    merge(spec, spec_changes or {})
    return plan.plan(spec, params(**changes), seccomp=seccomp)


def position(found: tuple[plan.Step, ...], function: Any) -> int:
    return next(index for index, step in enumerate(found) if step.function is function)


def test_the_order_carries_the_safety() -> None:
    found = steps({"root": {"readonly": True}}, seccomp=b"12345678", user="web")
    order = [
        process.settle,
        rootfs.isolate_mounts,
        rootfs.attach_root,
        mount_steps.mount_filesystem,
        devices.make_nodes,
        settings.set_names,
        mount_steps.freeze,
        mount_steps.mask,
        rootfs.make_readonly,
        settings.enter_cgroups,
        rootfs.pivot,
        identity.resolve,
        process.enter_directory,
        security.forbid_new_privileges,
        identity.become,
        process.die_with_monitor,
        process.prepare_exec,
        security.load_filter,
        process.execute,
    ]
    positions = [position(found, function) for function in order]
    assert positions == sorted(positions)
    assert found[-1] == plan.Step("exec", process.execute, ((b"prog", b"arg"),))


def test_sysctls_are_written_before_proc_sys_is_frozen() -> None:
    found = steps({"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}})
    assert position(found, security.set_sysctls) < position(found, mount_steps.freeze)


def test_every_mount_comes_before_every_mask() -> None:
    found = steps()
    last_mount = max(i for i, step in enumerate(found) if step.function is mount_steps.mount_filesystem)
    assert last_mount < position(found, mount_steps.freeze) < position(found, mount_steps.mask)


def test_without_no_new_privileges_the_filter_comes_before_the_drop() -> None:
    found = steps({"process": {"noNewPrivileges": False}}, seccomp=b"12345678")
    assert position(found, security.load_filter) < position(found, identity.become)
    assert all(step.function is not security.forbid_new_privileges for step in found)


def test_device_nodes_are_made_right_after_dev() -> None:
    found = steps()
    index = position(found, devices.make_nodes)
    assert found[index - 1].name == "mount /dev"
    nodes = {node.path: node for node in found[index].args[0]}
    assert nodes[b"/dev/null"].device == (1 << 8 | 3)
    assert nodes[b"/dev/null"].mode == stat.S_IFCHR | 0o666


def test_a_user_namespace_waits_for_its_ids_and_binds_devices() -> None:
    kinds = [{"type": kind} for kind in ("user", "mount", "pid")]
    ids = [{"containerID": 0, "hostID": 1000, "size": 10}]
    spec = base_spec(["x"])
    merge(spec, {"linux": {"namespaces": kinds, "uidMappings": ids, "gidMappings": ids}})
    outline = plan.outline(spec)
    assert outline.uid_map == b"0 1000 10\n"
    found = plan.plan(spec, params())
    assert found[1].function is process.become_root
    assert found[position(found, devices.make_nodes)].args[1] is True


def test_the_outline_names_namespaces_trees_and_clocks() -> None:
    spec = base_spec(["x"])
    bind = {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro"]}
    spec["mounts"].append(bind)
    spec["linux"]["namespaces"] = [
        *({"type": kind} for kind in ("mount", "time", "cgroup")),
        {"type": "network", "path": "/run/netns/x"},
    ]
    spec["linux"]["timeOffsets"] = {"monotonic": {"secs": 5}}
    outline = plan.outline(spec)
    assert outline.clone_flags == namespaces.NEWNS
    assert outline.joined == (("ns:network", namespaces.NEWNET, "/run/netns/x"),)
    assert outline.trees == ((b"/srv", True),)
    assert outline.time_offsets == (b"monotonic 5 0\n",)
    assert not outline.has_own_pids
    (bound,) = [step.args for step in plan.plan(spec, params()) if step.function is mount_steps.mount_bind]
    assert bound[:2] == (0, b"/data")
    assert bound[2][0] == mounts.ATTR_RDONLY
    assert bound[3] == (mounts.MS_PRIVATE, True)


@pytest.mark.parametrize(("is_readonly", "attributes"), [(False, 0), (True, mounts.ATTR_RDONLY)])
def test_files_of_ours_give_way_to_mounts_and_are_as_read_only_as_the_root(
    is_readonly: bool, attributes: int
) -> None:
    spec = base_spec(["x"])
    spec["mounts"].append({"destination": "/data", "type": "tmpfs"})
    spec["root"] = {"path": "rootfs", "readonly": is_readonly}
    given = {"/etc/hosts": "1 \udcff\n", "/data": "ignored"}
    found = plan.plan(spec, params(files=given, secrets={"/run/s": ["secret", 0o400, 5, 6]}))
    (step,) = [step for step in found if step.function is mount_steps.mount_files]
    files = ((b"/etc/hosts", b"1 \xff\n", 0o644, 0, 0), (b"/run/s", b"secret", 0o400, 5, 6))
    assert step.args == (files, attributes)


def test_cgroups_of_version_1_are_shown_by_controller() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}
    spec = base_spec(["x"])
    spec["mounts"].append(mount)
    spec["linux"]["namespaces"].append({"type": "cgroup"})
    found = plan.plan(spec, params(cgroup={"view": [["memory", "/sys/fs/cgroup/memory/x"]]}))
    index = position(found, mount_steps.mount_cgroups)
    assert found[index].args[1] == ((b"memory", b"/sys/fs/cgroup/memory/x"),)
    assert found[index - 1].function is settings.enter_cgroup_namespace


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mounts": [{"destination": "/proc/sys", "type": "tmpfs"}]}, "/proc/sys"),
        ({"mounts": [{"destination": "/proc", "type": "tmpfs"}]}, "/proc"),
        ({"mounts": [{"destination": "/a/../proc/1", "type": "tmpfs"}]}, "/proc/1"),
        ({"mounts": [{"destination": "/", "type": "tmpfs"}]}, "root"),
        ({"mounts": [{"destination": "relative", "type": "tmpfs"}]}, "relative"),
        ({"mounts": [{"destination": "/x"}]}, "neither"),
        ({"process": {"args": []}}, "no command"),
        ({"process": {"args": ["a\0b"]}}, "NUL"),
        ({"process": {"env": ["=x"]}}, "NAME=value"),
        ({"process": {"rlimits": [{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]}}, "RLIMIT_FUN"),
        ({"process": {"capabilities": {"bounding": ["CAP_FLY"]}}}, "CAP_FLY"),
        ({"linux": {"namespaces": [{"type": "pid"}]}}, "mount namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "moon"}]}}, "moon"),
        ({"linux": {"devices": [{"path": "/dev/x", "type": "z"}]}}, "'z'"),
        ({"linux": {"sysctl": {"net..x": "1"}}}, "net..x"),
        ({"linux": {"sysctl": {"net.ipv4.ip_forward": "1\nkernel.x=2"}}}, "several lines"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], word: str) -> None:
    spec = base_spec(["x"])
    merge(spec, changes)

    def all_of_it() -> None:
        plan.outline(spec)
        plan.environment(spec)
        plan.plan(spec, params())

    with pytest.raises(InvalidInput, match=word.replace("'", ".")):
        all_of_it()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", b"sys/net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", b"sys/net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", b"sys/net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_sysctl_names_have_two_spellings(name: str, path: bytes) -> None:
    found = steps({"linux": {"sysctl": {name: "1"}}})
    assert found[position(found, security.set_sysctls)].args[0][0][1] == path


def test_lxcfs_files_may_cover_proc_s() -> None:
    bind = {"destination": "/proc/cpuinfo", "type": "bind", "source": "/x", "options": ["bind"]}
    found = steps({"mounts": [bind]})
    assert found[position(found, mount_steps.mount_bind)].args[-1] is True
