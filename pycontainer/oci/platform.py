"""Platforms: spelling, normal form, and which of an index's images fits one best.

Source: github.com/containerd/platforms (database.go, compare.go); OCI image-spec, image-index.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import Factory, evolve, frozen

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.oci.descriptor import Descriptor
    from pycontainer.oci.manifest import Index

__all__ = ["Platform", "choose"]

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KNOWN_OS = frozenset({"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasip1"})
# Spelling (of uname, Debian or Go) -> architecture and the variant it implies.
_ARCHITECTURES: dict[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "386": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "arm": ("arm", ""),
    "ppc64le": ("ppc64le", ""),
    "ppc64": ("ppc64", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loong64": ("loong64", ""),
    "loongarch64": ("loong64", ""),
    "mips64le": ("mips64le", ""),
    "mips64": ("mips64", ""),
    "wasm": ("wasm", ""),
}
# Variants of each architecture from the least to the most demanding; the first is the default.
_VARIANTS: dict[str, tuple[str, ...]] = {
    "amd64": ("", "v2", "v3", "v4"),
    "arm": ("v5", "v6", "v7", "v8"),
    "arm64": ("", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9", "v9"),
}
# What a processor of this architecture runs as well, at worst with the variant named.
_COMPATIBLE: dict[str, tuple[str, str]] = {"amd64": ("386", ""), "arm64": ("arm", "v8")}


@frozen(kw_only=True, eq=False, repr=False)
class Platform(Value):
    """What an image needs to run. Attributes keep the spelling they came with; see `normalized`."""

    os: str = "linux"
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, object] = Factory(dict)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`, or one of the first two alone; returns the normal form.

        Raises: InvalidInput.
        """
        parts = text.split("/")
        if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
            raise InvalidInput(f"platform {text[:100]!r} is not os/architecture[/variant], as in linux/arm64")
        if len(parts) == 1:
            word = parts[0].lower()
            if word in _KNOWN_OS or word == "macos":
                return evolve(cls.host(), os=word, variant="").normalized()
            if word not in _ARCHITECTURES:
                raise InvalidInput(f"platform {text[:100]!r} is no known architecture; use linux/NAME")
            return cls(architecture=word).normalized()
        variant = parts[2] if len(parts) == 3 else ""
        return cls(os=parts[0], architecture=parts[1], variant=variant).normalized()

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine, without processor levels: `linux/amd64`, `linux/arm/v7`."""
        uname = os.uname()
        return cls(os=uname.sysname.lower(), architecture=uname.machine).normalized()

    def normalized(self) -> Platform:
        """The same in Go's spelling, with the variant left out where it is the architecture's default.

        `linux/arm64/v8` becomes `linux/arm64`, `linux/arm` becomes `linux/arm/v7`.
        """
        system = self.os.lower()
        spelled = self.architecture.lower()
        architecture, implied = _ARCHITECTURES.get(spelled, (spelled, ""))
        variant = self.variant.lower() or implied
        if variant[:1].isdigit():
            variant = f"v{variant}"
        if architecture == "arm":
            variant = variant or "v7"  # what an unmarked image was built for, by convention
        elif variant in {"amd64": ("v1",), "arm64": ("v8", "v8.0")}.get(architecture, ()):
            variant = ""
        return evolve(
            self,
            os="darwin" if system == "macos" else system,
            architecture=architecture,
            variant=variant.removesuffix(".0"),
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def choose(index: Index, platform: Platform) -> Descriptor:
    """The manifest of an index that fits a platform best.

    Preferred is the same variant, then ever less demanding ones, then a compatible architecture
    (386 on amd64, arm on arm64); the first listed among equals. Entries for unknown/unknown
    (attestations) and artifacts never fit. An index that names no platform at all offers its only
    manifest.
    Raises: NotFound listing what there is.
    """
    candidates = [entry for entry in index.manifests if not _is_attachment(entry)]
    placed = [(entry, entry.platform.normalized()) for entry in candidates if entry.platform is not None]
    wanted = platform.normalized()
    for architecture, variant in _acceptable(wanted):
        for entry, offered in placed:
            if (offered.architecture, offered.variant) == (architecture, variant) and _system_fits(
                offered, wanted
            ):
                return entry
    unplaced = [entry for entry in candidates if entry.platform is None]
    if len(unplaced) == 1 and not placed:
        return unplaced[0]
    offers = ", ".join(sorted({str(offered) for _, offered in placed})) or "none that is named"
    raise NotFound(f"no image for platform {platform}; there are: {offers}")


def _is_attachment(entry: Descriptor) -> bool:
    unknown = entry.platform is not None and entry.platform.architecture.lower() == "unknown"
    return unknown or bool(entry.artifact_type) or "vnd.docker.reference.type" in entry.annotations


def _acceptable(wanted: Platform) -> Iterator[tuple[str, str]]:
    """Architectures and variants that run on `wanted`, best first."""
    yield wanted.architecture, wanted.variant
    yield from _below(wanted.architecture, wanted.variant)
    if wanted.architecture in _COMPATIBLE:
        architecture, variant = _COMPATIBLE[wanted.architecture]
        yield architecture, variant
        yield from _below(architecture, variant)


def _below(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    known = _VARIANTS.get(architecture, ("",))
    rank = known.index(variant) if variant in known else 0
    for lesser in reversed(known[:rank]):
        yield architecture, lesser


def _system_fits(offered: Platform, wanted: Platform) -> bool:
    if offered.os != wanted.os:
        return False
    if wanted.os_version and offered.os_version and offered.os_version != wanted.os_version:
        return False
    # Features are what the image demands; a platform that does not list them lacks them.
    return set(offered.os_features) <= set(wanted.os_features)
