"""Java archives, and the archives in these: what Maven and the manifest say that they are.

Theory of operation. A shaded archive has a pom.properties for each project that went into it, and each
counts. One without any is what its manifest and its name say. Archives are a stranger's: how many members are
read, how much they unpack to and how deep archives lie in archives is limited.
Source: JAR File Specification; maven.apache.org, shared/maven-archiver; OSGi core, bundle manifest headers.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator

from pycontainer.sbom.packages import Package

__all__ = ["JAVA_ARCHIVE", "java_packages"]

JAVA_ARCHIVE = re.compile(r".+\.(?:jar|war|ear)")
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_NAME = re.compile(r"(?P<name>.+?)(?:-(?P<version>[0-9][^/]*))?\.(?:jar|war|ear)")
_MANIFEST = "META-INF/MANIFEST.MF"
_MAX_TEXT = 1 << 20
_MAX_MEMBERS = 10_000  # that are read, in all
_MAX_UNPACKED = 512 << 20  # of archives in an archive, in all
_MAX_DEPTH = 3
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, KeyError)


class _Budget:
    def __init__(self) -> None:
        self.members, self.octets = _MAX_MEMBERS, _MAX_UNPACKED


def java_packages(path: str, content: bytes) -> Iterator[Package]:
    """The packages of an archive; none if it is broken."""
    yield from _archive(path, content, _Budget(), 1)


def _archive(path: str, content: bytes, budget: _Budget, depth: int) -> Iterator[Package]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _BROKEN:
        return
    with archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        poms = [each for each in members if _POM.fullmatch(each.filename)]
        has_told = False
        for pom in poms:
            for package in _maven(path, _read(archive, pom, _MAX_TEXT, budget)):
                has_told = True
                yield package
        if not has_told:
            manifest = next((each for each in members if each.filename == _MANIFEST), None)
            told = b"" if manifest is None else _read(archive, manifest, _MAX_TEXT, budget)
            yield from _described(path, told)
        if depth >= _MAX_DEPTH:
            return
        for inner in members:
            if JAVA_ARCHIVE.fullmatch(inner.filename):
                unpacked = _read(archive, inner, budget.octets, budget)
                budget.octets -= len(unpacked)
                yield from _archive(f"{path}:{inner.filename}", unpacked, budget, depth + 1)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, budget: _Budget) -> bytes:
    """What a member holds; nothing where it is broken or too much."""
    budget.members -= 1
    if budget.members < 0 or member.file_size > limit:
        return b""
    try:
        with archive.open(member) as file:
            return file.read(limit)
    except _BROKEN:
        return b""


def _maven(path: str, content: bytes) -> Iterator[Package]:
    fields = {}
    for line in content.decode("iso-8859-1").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "!")):
            fields[name.strip()] = value.strip()
    name, version = fields.get("artifactId", ""), fields.get("version", "")
    if name and version:
        yield Package(
            kind="maven", name=name, version=version, namespace=fields.get("groupId", ""), found_in=path
        )


def _described(path: str, manifest: bytes) -> Iterator[Package]:
    lines = manifest.decode(errors="replace").replace("\r\n", "\n").replace("\n ", "").split("\n\n")[0]
    fields = dict(line.partition(": ")[::2] for line in lines.split("\n"))
    called = _NAME.fullmatch(path.rpartition("/")[2])
    version = (
        (called and called["version"])
        or fields.get("Implementation-Version")
        or fields.get("Bundle-Version")
        or ""
    ).strip()
    name = called["name"] if called else fields.get("Implementation-Title", "").strip()
    if name and version:
        yield Package(
            kind="maven",
            name=name,
            version=version,
            namespace=fields.get("Implementation-Vendor-Id", "").strip(),
            license=fields.get("Bundle-License", "").strip(),
            supplier=fields.get("Implementation-Vendor", "").strip(),
            found_in=path,
        )
