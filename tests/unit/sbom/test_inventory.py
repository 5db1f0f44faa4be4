"""What databases of packages tell, what is broken in them, and the documents made of it."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Mapping

import pytest

from pycontainer.sbom import Package, document, inventory, is_wanted

DPKG = b"""Package: bash
Status: install ok installed
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Source: bash (5.2.15-2)
Version: 5.2.15-2+b9
Description: GNU Bourne Again SHell
 Version: not this one
Homepage: http://tiswww.case.edu/php/chet/bash/bashtop.html

Package: gone
Status: deinstall ok config-files
Version: 1

Package: libc6
Status: hold ok installed
Architecture: amd64
Version: 1:2.36-9
"""
RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
APK = b"""C:Q1pSfbR
P:musl
V:1.2.5-r0
A:x86_64
L:MIT
o:musl
m:Timo <timo@alpinelinux.org>

P:busybox-binsh
V:1.36.1-r29
A:x86_64
L:GPL-2.0-only
o:busybox
"""
METADATA = b"""Metadata-Version: 2.1\r
Name: Flask_SQL.Alchemy\r
Version: 3.1\r
License: BSD License\r
Author-email: A B <a@b.c>\r
\r
Name: of the description\r
"""


def purls(files: Mapping[str, bytes]) -> list[str]:
    return [package.purl for package in inventory(files.items()).packages]


def rpm_header(tags: Mapping[int, str | int]) -> bytes:
    entries, store = b"", b""
    for tag, value in tags.items():
        if isinstance(value, int):
            store += b"\0" * (-len(store) % 4)
            entries += struct.pack(">4I", tag, 4, len(store), 1)
            store += struct.pack(">I", value)
        else:
            entries += struct.pack(">4I", tag, 6, len(store), 1)
            store += value.encode() + b"\0"
    return struct.pack(">2I", len(tags), len(store)) + entries + store


def rpm_database(*headers: bytes, schema: str = "CREATE TABLE Packages (hnum INTEGER, blob BLOB)") -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute(schema)
        for number, header in enumerate(headers):
            connection.execute("INSERT INTO Packages VALUES (?, ?)", (number, header))
        connection.commit()
        return connection.serialize()


def test_installed_packages_of_each_kind_are_told() -> None:
    assert purls({"var/lib/dpkg/status": DPKG, "etc/os-release": RELEASE}) == [
        "pkg:deb/debian/bash@5.2.15-2%2Bb9?arch=amd64&distro=debian-12&upstream=bash",
        "pkg:deb/debian/libc6@1:2.36-9?arch=amd64&distro=debian-12",
    ]
    assert purls({"var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12\n"}) == [
        "pkg:deb/debian/base-files@12?distro=debian"
    ]
    assert purls({"lib/apk/db/installed": APK}) == [
        "pkg:apk/alpine/busybox-binsh@1.36.1-r29?arch=x86_64&distro=alpine&upstream=busybox",
        "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine",
    ]
    assert purls({"usr/lib/python3/dist-packages/f-3.1.dist-info/METADATA": METADATA}) == [
        "pkg:pypi/flask-sql-alchemy@3.1"
    ]
    header = rpm_header({1000: "bash", 1001: "5.2", 1002: "1.fc40", 1003: 2, 1014: "GPL-3.0", 1022: "noarch"})
    key = rpm_header({1000: "gpg-pubkey", 1001: "1"})
    files = {"usr/lib/sysimage/rpm/rpmdb.sqlite": rpm_database(header, key)}
    assert purls({**files, "usr/lib/os-release": b"ID=fedora\nVERSION_ID=40\n"}) == [
        "pkg:rpm/fedora/bash@5.2-1.fc40?arch=noarch&distro=fedora-40&epoch=2"
    ]


@pytest.mark.parametrize(
    "path",
    [
        *("var/lib/dpkg/status", "lib/apk/db/installed", "etc/os-release", "usr/lib/os-release"),
        *("var/lib/rpm/rpmdb.sqlite", "app/x.dist-info/METADATA", "x.egg-info/PKG-INFO", "d/x-1.egg-info"),
    ],
)
def test_files_of_package_managers_are_wanted(path: str) -> None:
    assert is_wanted(path)
    assert not is_wanted(f"{path}x")
    assert not is_wanted(f"{path}/x")
    assert is_wanted("var/lib/dpkg/status.d/tzdata")
    assert not is_wanted("var/lib/dpkg/status.d/tzdata.md5sums")


def test_what_is_broken_is_passed_over() -> None:
    endless = (
        "CREATE VIEW Packages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT x AS hnum, x AS blob FROM n"
    )
    header = rpm_header({1000: "a", 1001: "1"})
    for content in (
        b"no database",
        b"",
        rpm_database(schema=endless),
        rpm_database(schema="CREATE TABLE Other (x)"),
        rpm_database(header[:7], header[:-1], struct.pack(">2I", 1 << 31, 8), b"\xff" * 64),
    ):
        assert purls({"var/lib/rpm/rpmdb.sqlite": content}) == []
    for content in (b"\xff\xfe\0", b"Package\n\n:\nVersion: 1", b"Package: x\n\nVersion: 1", b" Package: x"):
        assert purls({"var/lib/dpkg/status": content, "lib/apk/db/installed": content}) == []
    assert purls({"etc/shadow": DPKG}) == []


def test_a_document_says_what_the_specification_asks_for() -> None:
    files = {"var/lib/dpkg/status": DPKG, "lib/apk/db/installed": APK, "etc/os-release": RELEASE}
    found = inventory(files.items())
    made = document("app:1", f"sha256:{'a' * 64}", found, created="2024-01-01T00:00:00Z", tool="t-1")
    assert made == document("app:1", f"sha256:{'a' * 64}", found, created="2024-01-01T00:00:00Z", tool="t-1")
    assert (made["spdxVersion"], made["dataLicense"]) == ("SPDX-2.3", "CC0-1.0")
    ids = [package["SPDXID"] for package in made["packages"]]
    assert len(set(ids)) == len(ids) == 5
    assert {relation["relatedSpdxElement"] for relation in made["relationships"]} == set(ids)
    bash = next(package for package in made["packages"] if package["name"] == "bash")
    assert bash["supplier"] == "Organization: Matthias Klose (doko@debian.org)"
    assert bash["licenseDeclared"] == "NOASSERTION"
    musl = next(package for package in made["packages"] if package["name"] == "musl")
    assert musl["licenseDeclared"] == "MIT"
    assert made["packages"][0]["summary"] == "Debian GNU/Linux 12 (bookworm)"


def test_a_hostile_name_stays_text() -> None:
    package = Package(kind="deb", name='../"\x1b[2J\n', version="\ud800 1", supplier="\n<>", found_in="x")
    status = b'Package: ../"\x1b[2J\nVersion: <1>\nHomepage: http:// x\n'
    found = inventory([("var/lib/dpkg/status", status)])
    made = document("app", "sha256:0", found, created="", tool="t")
    assert made["packages"][1]["SPDXID"].isprintable()
    assert "homepage" not in made["packages"][1]
    assert json.loads(json.dumps(made)) == made
    assert package.purl.isascii()
