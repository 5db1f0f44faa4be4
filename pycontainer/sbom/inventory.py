"""Which files tell what is installed in an image, and the packages they tell of.

Theory of operation. Files come one by one, as they are read. What belongs to one package is read at once and
let go; databases of distributions wait for the name of the distribution, which may come after them.
Source: dpkg-query(1) and deb-control(5) (distroless images have one file a package in status.d); apk-tools,
doc/apk-installed-db; packaging.python.org, core metadata and recorded installed projects; os-release(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen

from pycontainer.errors import InvalidImage
from pycontainer.sbom.golang import MAGIC, go_packages
from pycontainer.sbom.java import JAVA_ARCHIVE, java_packages
from pycontainer.sbom.npm import locked_packages, npm_packages
from pycontainer.sbom.packages import Package
from pycontainer.sbom.rpmdb import rpm_packages

__all__ = ["MAX_FILE_BYTES", "Inventory", "inventory", "is_wanted"]

MAX_FILE_BYTES = 256 << 20
MAX_PACKAGES = 100_000
MAX_DATABASE_BYTES = 1 << 30  # of all; those of a large distribution have a tenth of it
_METADATA_BYTES = 1 << 20  # of a Python project's, whose description may be long and is not read
_DPKG = "var/lib/dpkg/status"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_RPM = ("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")
_RELEASE = ("etc/os-release", "usr/lib/os-release")
_STATUS_D = re.compile(r"var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)")
_PYTHON = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)")
_NPM = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^@/][^/]*/package\.json")
_NPM_LOCK = re.compile(r"(?:.*/)?(?:package-lock|npm-shrinkwrap)\.json")


@frozen(kw_only=True)
class Inventory:
    """What an image contains. release: fields of its os-release. packages: sorted, each once."""

    release: Mapping[str, str]
    packages: tuple[Package, ...]


def is_wanted(path: str, *, with_locks: bool = False) -> bool:
    """Whether a file, by its path without a slash in front, is one that `inventory` reads.

    with_locks: as those that list what an application is to be installed with; of an image that says nothing.
    """
    return (
        _is_database(path)
        or path in _RELEASE
        or any(pattern.fullmatch(path) for pattern in (_PYTHON, _NPM, JAVA_ARCHIVE))
        or (with_locks and bool(_NPM_LOCK.fullmatch(path)))
    )


def inventory(files: Iterable[tuple[str, bytes]]) -> Inventory:
    """The packages that files tell of, each given with its path; others are passed over.

    Of a program its build information is to be given, see `BuildInfo`.
    Raises: InvalidImage for databases of more than 1 GiB together.
    """
    waiting: dict[str, bytes] = {}
    found: dict[tuple[str, ...], Package] = {}
    total = 0
    for path, content in files:
        if _is_database(path) or path in _RELEASE:
            waiting[path] = content
            total += len(content)
            if total > MAX_DATABASE_BYTES:
                raise InvalidImage(f"databases of packages have more than {MAX_DATABASE_BYTES} bytes")
        else:
            _add(found, _of_language(path, content))
    release = _release(next((waiting[path] for path in _RELEASE if path in waiting), b""))
    for path in sorted(waiting):
        _add(found, _of_distribution(path, waiting[path], release))
    return Inventory(release=release, packages=tuple(found[key] for key in sorted(found)))


def _is_database(path: str) -> bool:
    return path == _DPKG or path in _APK or path in _RPM or bool(_STATUS_D.fullmatch(path))


def _add(found: dict[tuple[str, ...], Package], packages: Iterable[Package]) -> None:
    for package in packages:
        if len(found) >= MAX_PACKAGES:
            return
        key = (package.kind, package.name, package.version, package.architecture, package.found_in)
        found.setdefault(key, package)


def _of_language(path: str, content: bytes) -> Iterator[Package]:
    if _NPM.fullmatch(path):
        yield from npm_packages(path, content)
    elif _NPM_LOCK.fullmatch(path):
        yield from locked_packages(path, content)
    elif _PYTHON.fullmatch(path):
        yield from _python(path, content)
    elif JAVA_ARCHIVE.fullmatch(path):
        yield from java_packages(path, content)
    elif content.startswith(MAGIC):
        yield from go_packages(path, content)


def _of_distribution(path: str, content: bytes, release: Mapping[str, str]) -> Iterator[Package]:
    if path in _APK:
        yield from _apk(path, content, release)
    elif path in _RPM:
        yield from rpm_packages(path, content, *_distribution(release, ""))
    elif path not in _RELEASE:
        yield from _dpkg(path, content, release)


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
