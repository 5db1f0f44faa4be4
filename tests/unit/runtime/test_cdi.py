"""Devices by name: what their specifications add, and which specifications are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from pycontainer.errors import InvalidOption, NotFound, Unsupported
from pycontainer.oci import runtime as model
from pycontainer.options import parse_run_options
from pycontainer.runtime import build_spec
from pycontainer.runtime.cdi import Edits, edits_of, gpu_names, is_name
from tests.unit.runtime.test_specgen import HOST, ID, image

NODE: dict[str, Any] = {"path": "/dev/toy0", "type": "c", "major": 42, "minor": 0}


def node(path: str) -> model.Device:
    assert path == "/dev/real", path
    return model.Device(type="c", path=path, major=10, minor=229, file_mode=0o660, uid=0, gid=6)


def write(directory: Path, name: str = "toy.json", **changed: Any) -> Path:
    document: dict[str, Any] = {
        "cdiVersion": "0.6.0",
        "kind": "acme.com/toy",
        "devices": [{"name": "0", "containerEdits": {"deviceNodes": [NODE]}}],
        **changed,
    }
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(document))
    return directory


def edits(directory: Path, *names: str) -> Edits:
    return edits_of(names or ("acme.com/toy=0",), node=node, directories=(str(directory),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acme.com/toy=0", True),
        ("nvidia.com/gpu=GPU-1:0", True),
        ("/dev/fuse", False),
        ("acme.com/toy", False),
        ("acme.com/toy=", False),
        ("acme/../toy=0", False),
        ("-acme/toy=0", False),
    ],
)
def test_a_name_is_vendor_class_and_device(text: str, expected: bool) -> None:
    assert is_name(text) is expected


def test_everything_a_device_names_is_added_and_what_all_share_is_added_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        devices=[
            {"name": "0", "containerEdits": {"deviceNodes": [NODE], "env": ["TOY=zero"]}},
            {
                "name": "1",
                "containerEdits": {"deviceNodes": [{"path": "/dev/toy1", "hostPath": "/dev/real"}]},
            },
        ],
        containerEdits={
            "mounts": [
                {"hostPath": "/usr/lib/toy", "containerPath": "/usr/lib/toy", "options": ["ro", "bind"]}
            ],
            "hooks": [
                {"hookName": "createContainer", "path": "/bin/toy", "args": ["toy", "x"], "timeout": 5}
            ],
            "additionalGids": [44, 0],
        },
    )
    made = edits(tmp_path, "acme.com/toy=0", "acme.com/toy=1", "acme.com/toy=0")
    assert [(device.path, device.major, device.minor) for device in made.devices] == [
        ("/dev/toy0", 42, 0),
        ("/dev/toy1", 10, 229),
    ]
    assert [(rule.major, rule.minor, rule.access) for rule in made.rules] == [
        (42, 0, "rwm"),
        (10, 229, "rwm"),
    ]
    assert [(mount.source, mount.options) for mount in made.mounts] == [("/usr/lib/toy", ("ro", "bind"))]
    assert (made.env, made.gids) == ({"TOY": "zero"}, (44,))
    assert made.hooks == {"createContainer": [{"path": "/bin/toy", "args": ["toy", "x"], "timeout": 5}]}


def test_a_later_directory_wins_and_a_device_twice_in_one_is_refused(tmp_path: Path) -> None:
    static = write(tmp_path / "etc")
    dynamic = write(tmp_path / "run", devices=[{"name": "0", "containerEdits": {"env": ["FROM=run"]}}])
    both = (str(static), str(dynamic))
    assert edits_of(["acme.com/toy=0"], node=node, directories=both).env == {"FROM": "run"}
    write(tmp_path / "run", "other.json")
    with pytest.raises(InvalidOption, match=r"is in both .*other\.json and .*toy\.json"):
        edits_of(["acme.com/toy=0"], node=node, directories=both)


HOSTILE: dict[str, dict[str, Any]] = {
    "unknown field": {"runAs": "root"},
    "unknown edit": {"containerEdits": {"privileged": True}},
    "kind that climbs": {"kind": "../../etc/toy"},
    "no version": {"cdiVersion": 1},
    "device name with a path": {"devices": [{"name": "../0"}]},
    "the same device twice": {"devices": [{"name": "0"}, {"name": "0"}]},
    "relative node": {"containerEdits": {"deviceNodes": [{**NODE, "path": "dev/toy"}]}},
    "node that climbs": {"containerEdits": {"deviceNodes": [{**NODE, "path": "/dev/../etc/x"}]}},
    "node of no type": {"containerEdits": {"deviceNodes": [{**NODE, "type": "d"}]}},
    "permissions": {"containerEdits": {"deviceNodes": [{**NODE, "permissions": "rwx"}]}},
    "major that is text": {"containerEdits": {"deviceNodes": [{**NODE, "major": "42"}]}},
    "mount over proc": {"containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "/proc/sys"}]}},
    "mount over the root": {"containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "/"}]}},
    "mount that climbs": {"containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "/a/../proc"}]}},
    "mount options": {
        "containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "/x", "options": ["ro\nrw"]}]}
    },
    "variable": {"containerEdits": {"env": ["=x"]}},
    "hook by name": {"containerEdits": {"hooks": [{"hookName": "createContainer", "path": "toy"}]}},
    "hook at no time": {"containerEdits": {"hooks": [{"hookName": "always", "path": "/bin/toy"}]}},
    "hook variable": {
        "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/toy", "env": ["LD"]}]}
    },
    "hook that never starts": {
        "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/toy", "timeout": 0}]}
    },
    "group": {"containerEdits": {"additionalGids": [-1]}},
    "edits that are a list": {"containerEdits": ["x"]},
}  # fmt: skip


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE)
def test_a_specification_that_says_what_it_must_not_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    write(tmp_path, **changed)
    with pytest.raises(InvalidOption, match=r"toy\.json"):
        edits(tmp_path)


@pytest.mark.parametrize("content", [b"{", b'{"kind": 1, "kind": 2}', b"[" * 5000, b"\xff", b"null"])
def test_a_file_that_is_no_specification_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "toy.json").write_bytes(content)
    with pytest.raises(InvalidOption, match=r"toy\.json"):
        edits(tmp_path)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "toy.json").chmod(0o666)
    with pytest.raises(InvalidOption, match="give it to root, with mode 0644"):
        edits(tmp_path)


def test_a_fifo_in_the_directory_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "toy.json")
    with pytest.raises(InvalidOption, match="is no regular file"):
        edits(tmp_path)


def test_what_cannot_be_carried_out_is_told_with_a_remedy(tmp_path: Path) -> None:
    for changed in (
        {"containerEdits": {"intelRdt": {"closID": "x"}}},
        {"containerEdits": {"hooks": [{"hookName": "poststop", "path": "/bin/toy"}]}},
        {"containerEdits": {"mounts": [{"hostPath": "x", "containerPath": "/x", "type": "tmpfs"}]}},
    ):
        write(tmp_path, **changed)
        with pytest.raises((Unsupported, InvalidOption), match=r"toy\.json"):
            edits(tmp_path)


def test_a_name_that_no_file_has_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"acme\.com/toy=9 is in no specification"):
        edits(write(tmp_path), "acme.com/toy=9")


def test_gpus_are_names_of_the_specification(tmp_path: Path) -> None:
    devices = [{"name": name} for name in ("0", "1", "10", "2", "all")]
    directories = (str(write(tmp_path, kind="nvidia.com/gpu", devices=devices)),)
    assert gpu_names("all", directories) == ["nvidia.com/gpu=all"]
    assert gpu_names("3", directories) == [f"nvidia.com/gpu={index}" for index in (0, 1, 2)]
    assert gpu_names("device=0,10", directories) == ["nvidia.com/gpu=0", "nvidia.com/gpu=10"]
    with pytest.raises(NotFound, match="this host has 4"):
        gpu_names("5", directories)
    with pytest.raises(NotFound, match="nvidia-ctk cdi generate"):
        gpu_names("all", (str(tmp_path / "none"),))


def test_the_runtime_spec_has_what_the_devices_add_and_images_add_none(tmp_path: Path) -> None:
    write(
        tmp_path,
        containerEdits={
            "env": ["PATH=/toy"],
            "additionalGids": [44],
            "mounts": [{"hostPath": "/usr/lib/toy", "containerPath": "/toy", "options": ["ro"]}],
        },
    )
    host = attrs.evolve(HOST, device_directories=(str(tmp_path),))
    asked = parse_run_options(devices=["acme.com/toy=0"])
    spec = build_spec(asked, image(), host, container_id=ID)
    assert spec.linux is not None
    assert spec.process is not None
    assert [device.path for device in spec.linux.devices] == ["/dev/toy0"]
    assert "PATH=/toy" in spec.process.env
    assert spec.process.user.additional_gids == (44,)
    assert spec.mounts[-1].options == ("rbind", "ro")
    labelled = image(labels={"cdi.k8s.io/toy": "acme.com/toy=0"}, env=("CDI_DEVICES=acme.com/toy=0",))
    plain = build_spec(parse_run_options(), labelled, host, container_id=ID)
    assert plain.linux is not None
    assert plain.linux.devices == ()
