"""Which files of an image tell what is installed in it, and the packages they tell of.

Source: dpkg-query(1) and deb-control(5) (distroless images have one file a package in status.d); apk-tools,
doc/apk-installed-db; packaging.python.org, core metadata and recorded installed projects; os-release(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from pycontainer.sbom.packages import Package
from pycontainer.sbom.rpmdb import rpm_packages

__all__ = ["MAX_FILE_BYTES", "Inventory", "inventory", "is_wanted"]

MAX_FILE_BYTES = 256 << 20
MAX_PACKAGES = 100_000
_METADATA_BYTES = 1 << 20  # of a Python project's, whose description may be long and is not read
_DPKG = "var/lib/dpkg/status"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_RPM = ("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")
_RELEASE = ("etc/os-release", "usr/lib/os-release")
_STATUS_D = re.compile(r"var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)")
_PYTHON = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)")


@frozen(kw_only=True)
class Inventory:
    """What an image contains. release: fields of its os-release. packages: sorted, each once."""

    release: Mapping[str, str]
    packages: tuple[Package, ...]


def is_wanted(path: str) -> bool:
    """Whether a file, by its path without a slash in front, is one that `inventory` reads."""
    return (
        path == _DPKG
        or path in _APK
        or path in _RPM
        or path in _RELEASE
        or bool(_STATUS_D.fullmatch(path) or _PYTHON.fullmatch(path))
    )


def inventory(files: Mapping[str, bytes]) -> Inventory:
    """The packages that these files tell of, by path; files that are none of theirs are passed over."""
    release = _release(next((files[path] for path in _RELEASE if path in files), b""))
    found: dict[tuple[str, ...], Package] = {}
    for path in sorted(files):
        for package in _read(path, files[path], release):
            key = (package.kind, package.name, package.version, package.architecture, package.found_in)
            found.setdefault(key, package)
            if len(found) >= MAX_PACKAGES:
                break
    return Inventory(release=release, packages=tuple(found[key] for key in sorted(found)))


def _read(path: str, content: bytes, release: Mapping[str, str]) -> Iterator[Package]:
    if path == _DPKG or _STATUS_D.fullmatch(path):
        yield from _dpkg(path, content, release)
    elif path in _APK:
        yield from _apk(path, content, release)
    elif path in _RPM:
        yield from rpm_packages(path, content, *_distribution(release, ""))
    elif _PYTHON.fullmatch(path):
        yield from _python(path, content)


def _release(content: bytes) -> dict[str, str]:
    found = {}
    for line in content[:_METADATA_BYTES].decode(errors="replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.isidentifier():
            found[name] = value.strip("\"'")
    return found


def _distribution(release: Mapping[str, str], default: str) -> tuple[str, str]:
    """The distribution, and with its version."""
    name = release.get("ID", default)
    version = release.get("VERSION_ID", "")
    return name, f"{name}-{version}" if name and version else name


def _stanzas(content: bytes, separator: str) -> Iterator[dict[str, str]]:
    """Fields of each paragraph; lines that go on with a field before are left out."""
    fields: dict[str, str] = {}
    for line in content.decode(errors="replace").split("\n"):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            name, colon, value = line.partition(separator)
            if colon:
                fields.setdefault(name, value.strip())
    if fields:
        yield fields


def _dpkg(path: str, content: bytes, release: Mapping[str, str]) -> Iterator[Package]:
    namespace, distro = _distribution(release, "debian")
    for fields in _stanzas(content, ":"):
        name, version = fields.get("Package", ""), fields.get("Version", "")
        # Removed packages whose configuration is left stay in the list.
        is_installed = "Status" not in fields or fields["Status"].split(" ")[-1] == "installed"
        if name and version and is_installed:
            yield Package(
                kind="deb",
                name=name,
                version=version,
                architecture=fields.get("Architecture", ""),
                origin=fields.get("Source", "").split(" ")[0],
                supplier=fields.get("Maintainer", ""),
                homepage=fields.get("Homepage", ""),
                namespace=namespace,
                distro=distro,
                found_in=path,
            )


def _apk(path: str, content: bytes, release: Mapping[str, str]) -> Iterator[Package]:
    namespace, distro = _distribution(release, "alpine")
    for fields in _stanzas(content, ":"):
        if fields.get("P") and fields.get("V"):
            origin = fields.get("o", "")
            yield Package(
                kind="apk",
                name=fields["P"],
                version=fields["V"],
                architecture=fields.get("A", ""),
                origin="" if origin == fields["P"] else origin,
                license=fields.get("L", ""),
                supplier=fields.get("m", ""),
                homepage=fields.get("U", ""),
                namespace=namespace,
                distro=distro,
                found_in=path,
            )


def _python(path: str, content: bytes) -> Iterator[Package]:
    head = content[:_METADATA_BYTES].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    for fields in _stanzas(head, ":"):
        if fields.get("Name") and fields.get("Version"):
            yield Package(
                kind="pypi",
                name=fields["Name"],
                version=fields["Version"],
                license=fields.get("License-Expression", fields.get("License", "")),
                supplier=fields.get("Author-email", fields.get("Author", "")),
                homepage=fields.get("Home-page", ""),
                found_in=path,
            )
