"""A container's options as Docker writes them down: what its clients and templates read."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.engine.hostconfig import host_config
from pycontainer.oci import ImageConfig
from pycontainer.oci import runtime as model
from pycontainer.options import parse_run_options

SPEC = model.Spec(
    oci_version="1.2.0",
    linux=model.Linux(namespaces=(model.Namespace(type="cgroup"),), masked_paths=("/proc/kcore",)),
)


def written(**options: Any) -> dict[str, Any]:
    return host_config(parse_run_options(**options), ImageConfig(architecture="amd64", os="linux"), SPEC)


def test_what_is_not_asked_for_has_dockers_zero_values() -> None:
    found = written()
    assert (found["Memory"], found["NanoCpus"], found["CpusetCpus"], found["OomScoreAdj"]) == (0, 0, "", 0)
    assert (found["PidsLimit"], found["Binds"], found["Ulimits"], found["CapAdd"]) == (None,) * 4
    assert (found["PidMode"], found["UTSMode"], found["UsernsMode"]) == ("", "", "")
    assert (found["CgroupnsMode"], found["IpcMode"], found["NetworkMode"]) == ("private", "private", "none")
    assert (found["MaskedPaths"], found["ReadonlyPaths"]) == (["/proc/kcore"], [])
    assert found["LogConfig"] == {"Type": "local", "Config": {}}


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [
        ("MemorySwap", 128 << 20, {"memory": "64m"}),
        ("NanoCpus", 1_500_000_000, {"cpus": 1.5}),
        ("Ulimits", [{"Name": "nofile", "Soft": 10, "Hard": 20}], {"ulimits": {"nofile": (10, 20)}}),
        ("BlkioDeviceReadBps", [{"Path": "/dev/a", "Rate": 1 << 20}], {"device_read_bps": {"/dev/a": "1m"}}),
        ("BlkioWeightDevice", [{"Path": "/dev/a", "Weight": 99}], {"blkio_weight_device": {"/dev/a": 99}}),
        ("LogConfig", {"Type": "none", "Config": {}}, {"log_driver": "none"}),
        ("Binds", ["/srv:/data:ro", "named:/var"], {"volumes": ["/srv:/data:ro", "named:/var", "/own"]}),
        (
            "PortBindings",
            {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "", "HostPort": ""}],
            },
            {"ports": ["0.0.0.0:8080:80", "53/udp"], "network": "bridge"},
        ),
        (
            "Devices",
            [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw"}],
            {"devices": ["/dev/a:/dev/b:rw"]},
        ),
        (
            "DeviceRequests",
            [{"Driver": "", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]], "Options": {}}],
            {"gpus": "device=0,1"},
        ),
        (
            "Mounts",
            [{"Type": "bind", "Source": "/s", "Target": "/x", "BindOptions": {"Propagation": "rslave"}}],
            {"mounts": ["type=bind,source=/s,target=/x,bind-propagation=rslave"]},
        ),
        ("RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}, {"restart": "on-failure:3"}),
        ("PidMode", "host", {"pid": "host"}),
        ("Dns", ["1.1.1.1"], {"dns": ["1.1.1.1"]}),
    ],
)  # fmt: skip
def test_an_option_has_dockers_shape(key: str, value: Any, options: dict[str, Any]) -> None:
    assert written(**options)[key] == value


def test_mounts_of_another_container_are_none_of_its_own() -> None:
    mounts = [
        {"kind": "bind", "target": target, "source": "/s", "is_borrowed": target == "/other"}
        for target in ("/own", "/other")
    ]
    found = written(mounts=mounts, volumes_from=["other"])
    assert [each["Target"] for each in found["Mounts"]] == ["/own"]
