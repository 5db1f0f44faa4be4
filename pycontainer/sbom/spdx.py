"""SPDX 2.3 documents in JSON.

Source: spdx.github.io/spdx-spec/v2.3; its annex D for expressions of licences.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any

from pycontainer.sbom.inventory import Inventory
from pycontainer.sbom.packages import Package

__all__ = ["document"]

_NONE = "NOASSERTION"
_EXPRESSION = re.compile(r"\(*[A-Za-z0-9.+-]+\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.+-]+\)*)*")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9.-]+")
_IMAGE = "SPDXRef-Image"


def document(name: str, digest: str, found: Inventory, *, created: str, tool: str) -> dict[str, Any]:
    """The document of an image.

    name, digest: of the image, as "app:1" and "sha256:…". created: RFC 3339 in UTC, whole seconds. tool: what
    made it, as "pycontainer-1.0". Equal input gives an equal document.
    """
    packages = [_image(name, digest, found)]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE)]
    for package in found.packages:
        made = _package(package)
        packages.append(made)
        relations.append(_relation(_IMAGE, "CONTAINS", made["SPDXID"]))
    unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {digest} {created} {tool}")
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{unique}",
        "creationInfo": {"created": created, "creators": [f"Tool: {tool}"]},
        "packages": packages,
        "relationships": relations,
    }


def _image(name: str, digest: str, found: Inventory) -> dict[str, Any]:
    algorithm, _, digits = digest.partition(":")
    return {
        "SPDXID": _IMAGE,
        "name": name,
        "versionInfo": digest,
        "summary": found.release.get("PRETTY_NAME", ""),
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "checksums": [{"algorithm": algorithm.upper(), "checksumValue": digits}],
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
    }


def _package(package: Package) -> dict[str, Any]:
    told = f"{package.purl} {package.found_in}"
    unique = hashlib.sha256(told.encode(errors="replace")).hexdigest()[:16]
    made = {
        "SPDXID": f"SPDXRef-{package.kind}-{_NOT_IN_ID.sub('-', package.name)[:100]}-{unique}",
        "name": package.name,
        "versionInfo": package.version,
        "supplier": _supplier(package),
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "sourceInfo": f"from {package.found_in}",
        "licenseConcluded": _NONE,
        "licenseDeclared": package.license if _EXPRESSION.fullmatch(package.license) else _NONE,
        "copyrightText": _NONE,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl,
            }
        ],
    }
    if package.homepage.startswith(("http://", "https://")) and not re.search(r"\s", package.homepage):
        made["homepage"] = package.homepage
    return made


def _supplier(package: Package) -> str:
    text = " ".join(package.supplier.split())[:300]
    if not text:
        return _NONE
    name, _, rest = text.partition("<")
    address = rest.partition(">")[0].strip()
    kind = "Organization" if package.kind in ("deb", "rpm", "apk") else "Person"
    shown = name.strip().strip('"') or address
    return f"{kind}: {shown} ({address})" if address and address != shown else f"{kind}: {shown}"


def _relation(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}
