"""A package, and its package URL.

Source: package-url/purl-spec, PURL-SPECIFICATION.rst and PURL-TYPES.rst.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from attrs import frozen

__all__ = ["Package"]

_PYPI_DASHES = re.compile(r"[-_.]+")


@frozen(kw_only=True)
class Package:
    """One installed package.

    kind: deb, apk, rpm, pypi, npm, golang or maven. origin: the source package it was built from. namespace:
    the distribution (debian, alpine, ...), or Maven's group. distro: with its version, as "debian-12".
    found_in: the file that told of it.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    origin: str = ""
    license: str = ""
    supplier: str = ""
    homepage: str = ""
    namespace: str = ""
    distro: str = ""
    epoch: str = ""
    found_in: str = ""

    @property
    def purl(self) -> str:
        """As "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12"."""
        name = _PYPI_DASHES.sub("-", self.name).lower() if self.kind == "pypi" else self.name
        if self.kind == "golang":
            name = name.lower()
        namespaces = [self.namespace]
        if self.kind in ("golang", "npm"):  # whose names are paths
            *namespaces, name = name.split("/")
        parts = ["pkg:", self.kind, "/", *(f"{_quoted(each)}/" for each in namespaces if each), _quoted(name)]
        given = {
            "arch": self.architecture,
            "distro": self.distro,
            "epoch": self.epoch,
            "upstream": self.origin,
        }
        qualifiers = "&".join(f"{key}={_quoted(value)}" for key, value in sorted(given.items()) if value)
        return f"{''.join(parts)}@{_quoted(self.version)}{'?' if qualifiers else ''}{qualifiers}"


def _quoted(text: str) -> str:
    return quote(text, safe=":", errors="replace")
