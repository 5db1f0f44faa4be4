"""What programs, archives and packages of a language tell of what is in them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

import pytest

from pycontainer.sbom import BuildInfo, inventory, is_wanted

MODULES = (
    "path\texample.com/Me/app\nmod\texample.com/Me/app\t(devel)\t\n"
    "dep\tgolang.org/x/sys\tv0.1.0\th1:a=\ndep\tgithub.com/old/fork\tv1.0.0\n=>\tgithub.com/new/fork\tv1.2.0\th1:b=\n"
    "build\tGOOS=linux\n"
)
POM = "#made\ngroupId=org.slf4j\nartifactId=slf4j-api\nversion=2.0.1\n"


def length(size: int) -> bytes:
    octets = b""
    while size > 0x7F:
        octets, size = octets + bytes([size & 0x7F | 0x80]), size >> 7
    return octets + bytes([size])


def build_info(modules: str = MODULES, version: str = "go1.22.1") -> bytes:
    text = b"g" * 16 + modules.encode() + b"g" * 16
    head = b"\xff Go buildinf:\x08\x02" + bytes(16)
    return head + length(len(version)) + version.encode() + length(len(text)) + text


def program(content: bytes, piece: int = 1 << 20) -> bytes | None:
    reading = BuildInfo()
    for start in range(0, len(content), piece):
        reading.feed(memoryview(content)[start : start + piece])
    return reading.end()


def jar(members: Mapping[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def purls(path: str, content: bytes | None) -> list[str]:
    assert content is not None
    return [package.purl for package in inventory([(path, content)]).packages]


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_go_program_tells_its_modules_and_the_replaced_are_those_in_their_place(piece: int) -> None:
    mark_of_a_reader = b"\xff Go buildinf:" + bytes(40)
    content = b"\x7fELF" + bytes(100) + mark_of_a_reader + build_info() + bytes(100)
    assert purls("usr/bin/app", program(content, piece)) == [
        "pkg:golang/example.com/me/app@%28devel%29",
        "pkg:golang/github.com/new/fork@v1.2.0",
        "pkg:golang/golang.org/x/sys@v0.1.0",
        "pkg:golang/stdlib@1.22.1",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n" + build_info(),
        b"\x7fELF" + bytes(1000),
        b"\x7fELF" + build_info()[:-1],
        b"\x7fELF\xff Go buildinf:\x08\x00" + bytes(100),
        b"\x7fELF\xff Go buildinf:\x08\x02" + bytes(16) + b"\xff" * 100,
        b"\x7fELF" + b"\xff Go buildinf:\x08\x02" * 5000 + build_info(),
    ],
    ids=["empty", "script", "of C", "cut off", "older", "endless length", "marks"],
)
def test_another_program_tells_nothing(content: bytes) -> None:
    assert program(content, 4096) is None


def test_packages_in_node_modules_are_told_and_others_of_npm_are_not() -> None:
    told = {
        "name": "@babel/core",
        "version": "7.1.0",
        "license": "MIT",
        "author": {"name": "B", "email": "b@c"},
    }
    path = "app/node_modules/@babel/core/package.json"
    assert purls(path, json.dumps(told).encode()) == ["pkg:npm/%40babel/core@7.1.0"]
    [package] = inventory([(path, json.dumps(told).encode())]).packages
    assert (package.name, package.license, package.supplier) == ("@babel/core", "MIT", "B <b@c>")
    assert is_wanted("node_modules/a/node_modules/b/package.json")
    for other in ("package.json", "node_modules/a/lib/package.json", "node_modules/@a/package.json"):
        assert not is_wanted(other)
    for broken in (
        b"",
        b"[",
        b"[]",
        b'{"name": 1, "version": "2"}',
        b'{"name": "a"}',
        b"[" * 100_000,
        b"\xff",
    ):
        assert purls(path, broken) == []


def test_a_lock_file_tells_only_where_that_is_asked_for() -> None:
    lock = {
        "packages": {
            "": {"name": "app", "version": "1.0.0"},
            "node_modules/a": {"version": "1.1.0"},
            "node_modules/a/node_modules/@s/b": {"version": "2.0.0"},
            "node_modules/own": {"link": True},
            "own": {"version": "3.0.0"},
        }
    }
    assert purls("package-lock.json", json.dumps(lock).encode()) == [
        "pkg:npm/%40s/b@2.0.0",
        "pkg:npm/a@1.1.0",
    ]
    assert is_wanted("web/package-lock.json", with_locks=True)
    assert not is_wanted("web/package-lock.json")
    assert purls("package-lock.json", b'{"packages": []}') == []


def test_java_archives_tell_of_those_within_them() -> None:
    named = jar(
        {"META-INF/MANIFEST.MF": "Implementation-Vendor-Id: org.x\r\nImplementation-Version: 1.\r\n 5\r\n"}
    )
    members: dict[str, str | bytes] = {
        "META-INF/maven/org.slf4j/slf4j-api/pom.properties": POM,
        "BOOT-INF/lib/named.jar": named,
        "BOOT-INF/lib/by-name-2.3.jar": jar({"a.class": ""}),
        "BOOT-INF/lib/broken-1.jar": b"PK",
        "other/pom.properties": POM,
    }
    found = inventory([("opt/app.jar", jar(members))]).packages
    assert [(package.purl, package.found_in) for package in found] == [
        ("pkg:maven/by-name@2.3", "opt/app.jar:BOOT-INF/lib/by-name-2.3.jar"),
        ("pkg:maven/org.x/named@1.5", "opt/app.jar:BOOT-INF/lib/named.jar"),
        ("pkg:maven/org.slf4j/slf4j-api@2.0.1", "opt/app.jar"),
    ]
    assert is_wanted("opt/app.war")
    assert is_wanted("a/b.ear")


def test_archives_that_would_unpack_without_end_are_given_up() -> None:
    inner = jar({"META-INF/maven/a/b/pom.properties": POM})
    for _ in range(5):
        inner = jar({"in-1.jar": inner})
    assert len(purls("a.jar", inner)) == 2  # as deep as is looked
    bomb = jar({"META-INF/maven/a/b/pom.properties": b"\n" * (2 << 20) + POM.encode()})
    assert purls("bomb.jar", bomb) == []
    for broken in (b"", b"PK\x05\x06" + bytes(18), jar({"a": "b"})[:-9], b"x" * 100):
        assert purls("x.jar", broken) == []
