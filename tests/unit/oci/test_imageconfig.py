"""Image configurations: all of Docker's fields, strictly typed, nothing lost on rewriting."""

from __future__ import annotations

import json

import pytest

from pycontainer.errors import InvalidImage
from pycontainer.oci import (
    CONFIG_LIMIT,
    ContainerConfig,
    Healthcheck,
    History,
    ImageConfig,
    decode_config,
    encode,
    sha256,
)

DIFF_ID = sha256(b"tar")

FULL = {
    "created": "2026-08-01T12:00:00.123456789Z",
    "author": "somebody",
    "architecture": "arm64",
    "os": "linux",
    "os.version": "1",
    "os.features": ["f"],
    "variant": "v8",
    "config": {
        "User": "web:www",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Env": ["PATH=/bin", "EMPTY=", "UNICODE=é"],
        "Entrypoint": ["/entry", "point"],
        "Cmd": ["--flag"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"a.b": "c"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {
            "Test": ["CMD-SHELL", "true"],
            "Interval": 30_000_000_000,
            "Timeout": 1,
            "StartPeriod": 2,
            "StartInterval": 3,
            "Retries": 4,
            "Novel": 1,
        },
        "Shell": ["/bin/bash", "-c"],
        "OnBuild": ["RUN true"],
        "Hostname": "build",
        "ArgsEscaped": True,
    },
    "rootfs": {"type": "layers", "diff_ids": [DIFF_ID], "base_layer": "x"},
    "history": [
        {"created": "2026-08-01T12:00:00Z", "created_by": "ADD", "author": "a", "comment": "c", "novel": 1},
        {"created_by": "CMD", "empty_layer": True},
    ],
    "docker_version": "29.0",
    "container_config": {"Cmd": ["x"]},
}


def config(**changes: object) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}} | changes).encode()


def test_every_field_is_read() -> None:
    image = decode_config(json.dumps(FULL).encode())
    assert image.diff_ids == (DIFF_ID,)
    assert (image.os, image.architecture, image.variant) == ("linux", "arm64", "v8")
    assert (image.os_version, image.os_features) == ("1", ("f",))
    assert image.extra == {"docker_version": "29.0", "container_config": {"Cmd": ["x"]}}
    assert image.config == ContainerConfig(
        user="web:www",
        exposed_ports=("80/tcp", "53/udp"),
        env=("PATH=/bin", "EMPTY=", "UNICODE=é"),
        entrypoint=("/entry", "point"),
        cmd=("--flag",),
        volumes=("/data",),
        working_dir="/srv",
        labels={"a.b": "c"},
        stop_signal="SIGQUIT",
        healthcheck=Healthcheck(
            test=("CMD-SHELL", "true"),
            interval_ns=30_000_000_000,
            timeout_ns=1,
            start_period_ns=2,
            start_interval_ns=3,
            retries=4,
            extra={"Novel": 1},
        ),
        shell=("/bin/bash", "-c"),
        on_build=("RUN true",),
        extra={"Hostname": "build", "ArgsEscaped": True},
    )
    assert image.history[1] == History(created_by="CMD", empty_layer=True)


def test_nothing_is_lost_on_a_rewrite() -> None:
    data = json.dumps(FULL).encode()
    assert json.loads(encode(decode_config(data))) == FULL


def test_an_unset_command_differs_from_an_empty_one() -> None:
    unset, empty = decode_config(config(config={"Cmd": None})), decode_config(config(config={"Cmd": []}))
    assert unset.config.cmd is None
    assert empty.config.cmd == ()
    assert decode_config(encode(unset)).config.cmd is None
    assert decode_config(encode(empty)).config.cmd == ()


def test_what_docker_reads_leniently_is_read_so_too() -> None:
    image = decode_config(config(config={"cmd": "single", "ENV": ["A=b"], "Labels": None, "Volumes": None}))
    assert image.config.cmd == ("single",)
    assert image.config.env == ("A=b",)
    assert decode_config(b"{}") == ImageConfig()
    assert decode_config(config(config=None, history=None)).config == ContainerConfig()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        config(architecture=1),
        config(config=[]),
        config(config={"Env": "A=b"}),
        config(config={"Env": [1]}),
        config(config={"Env": ["A=\0"]}),
        config(config={"Cmd": [None]}),
        config(config={"Cmd": {"a": 1}}),
        config(config={"Labels": {"a": 1}}),
        config(config={"Labels": ["a"]}),
        config(config={"ExposedPorts": ["80"]}),
        config(config={"User": 0}),
        config(config={"User": "a", "user": "b"}),
        config(config={"Healthcheck": {"Interval": "30s"}}),
        config(config={"Healthcheck": {"Retries": 2**70}}),
        config(rootfs=[]),
        config(rootfs={"type": "erofs", "diff_ids": []}),
        config(rootfs={"diff_ids": ["sha256:../.."]}),
        config(rootfs={"diff_ids": [None]}),
        config(rootfs={"diff_ids": [DIFF_ID] * 5000}),
        config(history={}),
        config(history=[{"empty_layer": "yes"}]),
        config(history=[{}] * 20_000),
        config(**{"os.features": "x"}),
        config()[:-1] + b',"os":"windows"}',
        b" " * CONFIG_LIMIT + config(),
    ],
    ids=lambda data: repr(data[-44:]),
)
def test_a_broken_configuration_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode_config(data)
