"""Docker's long form of mounts: what is read, what it means to the kernel, and what is refused."""

from __future__ import annotations

import json

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.options import MountPoint, dump_run_options, parse_run_options


def one(text: object) -> MountPoint:
    points = parse_run_options(mounts=[text]).mounts
    assert points is not None
    return points[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=bind,source=/a,target=/b", "rbind rprivate"),
        ("src=/a,dst=/b,ro", "rbind rprivate ro rro"),
        ("source=/a,destination=/b,readonly=true", "rbind rprivate ro rro"),
        ("src=/a,dst=/b,ro,bind-recursive=writable", "rbind rprivate ro"),
        ("src=/a,dst=/b,ro,bind-recursive=disabled", "bind rprivate ro"),
        ("src=/a,dst=/b,ro,bind-recursive=readonly", "rbind rprivate ro rro"),
        ("src=/a,dst=/b,bind-nonrecursive,consistency=cached", "bind rprivate"),
        ("src=/a,dst=/b,bind-propagation=rslave,nosuid,noexec", "rbind rslave noexec nosuid"),
        ("src=/a,dst=/b,idmap", "rbind rprivate ridmap"),
        ('"src=/a,b",dst=/b,U', "rbind rprivate"),
        ("type=image,src=x,dst=/b", "rbind rprivate ro rro"),
        ("type=tmpfs,dst=/b", "nosuid nodev noexec mode=1777"),
        ("type=tmpfs,dst=/b,exec,tmpfs-size=1k,tmpfs-mode=700", "exec nosuid nodev size=1024 mode=700"),
        ("type=tmpfs,dst=/b,ro,tmpfs-options=uid=5;gid=6", "ro nosuid nodev noexec mode=1777 uid=5 gid=6"),
        ({"type": "bind", "source": "/a", "target": "/b", "readonly": False}, "rbind rprivate"),
        ({"type": "tmpfs", "target": "/b", "tmpfs-mode": 0o755}, "nosuid nodev noexec mode=755"),
    ],
)
def test_a_mount_is_these_words_to_the_runtime(text: object, words: str) -> None:
    assert " ".join(one(text).options()) == words


def test_old_kernels_get_read_only_mounts_that_are_not_recursive_unless_that_is_demanded() -> None:
    plain, strict = one("src=/a,dst=/b,ro"), one("src=/a,dst=/b,ro,bind-recursive=readonly")
    assert "rro" not in plain.options(is_recursive_possible=False)
    assert "rro" in strict.options(is_recursive_possible=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=bind,target=/b", "the source of a mount is an absolute path"),
        ("type=bind,source=a,target=/b", "the source of a mount is an absolute path"),
        ("type=bind,source=/a", "the target of a mount is an absolute path"),
        ("type=other,target=/b", "unknown type 'other'"),
        ("type=tmpfs,target=/b,source=/a", "has no 'source'"),
        ("type=bind,source=/a,target=/b,tmpfs-size=1m", "has no 'tmpfs-size'"),
        ("type=bind,source=/a,target=/b,readonly=maybe", "true or false"),
        ('type=bind,"source=/a,target=/b', "unexpected end of data"),
        ("type=bind,source=/a,target=/b,chown,mode=cow", "choose one"),
        ("type=bind,source=/a,target=/b,chown,idmap", "choose one"),
        ("type=bind,source=/a,target=/b,consistency=later", "consistency of a mount is one of"),
        ("type=bind,source=/a,target=/b,bind-propagation=shared;rw", "bind-propagation of a mount is one of"),
        ("type=bind,source=/a,target=/b,bind-recursive=readonly", "add readonly"),
        (
            "src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rslave",
            "needs bind-propagation=rprivate",
        ),
        ("src=/a,dst=/b,mode=cow,idmap", "has neither"),
        ("type=image,target=/b", "needs a source"),
        ("type=tmpfs,target=/b,tmpfs-mode=999", "tmpfs-mode is octal"),
        (5, "is no mount"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: object, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        one(text)


def test_two_mounts_on_one_place_are_refused() -> None:
    with pytest.raises(InvalidOption, match="two mounts have the target /b"):
        parse_run_options(mounts=["src=/a,dst=/b", "src=/c,dst=/b"])


def test_what_is_recorded_is_read_back_the_same() -> None:
    options = parse_run_options(
        mounts=["src=/a,dst=/b,ro,nosuid", "type=image,src=x,dst=/c", "type=tmpfs,dst=/d"]
    )
    assert parse_run_options(**json.loads(json.dumps(dump_run_options(options)))) == options
