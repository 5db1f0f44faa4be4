"""What the caller and the platform give to a Dockerfile: build arguments, proxies, platform ARGs.

Source: docs.docker.com/reference/dockerfile, "ARG"; moby/buildkit, frontend/dockerfile/dockerfile2llb.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import Factory, frozen

from pycontainer.build.dockerfile.limits import MAX_EXPANDED
from pycontainer.build.dockerfile.shellword import Expansion, expand
from pycontainer.build.dockerfile.source import Problem
from pycontainer.oci import Platform

__all__ = ["NOT_IN_ENVIRONMENT", "SCAN_CONTEXT", "SCAN_STAGE", "Budget", "Variables", "proxy_environment"]

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
# ARGs that steer the scanner for a bill of materials and are nobody's environment.
SCAN_CONTEXT, SCAN_STAGE = "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"
NOT_IN_ENVIRONMENT = frozenset({SCAN_CONTEXT, SCAN_STAGE})
_ENTRY_COST = 100  # characters that one name in a copied environment counts as


@frozen(kw_only=True)
class Variables:
    """Attributes: build_args (NAME to value), build_platform (of this machine), target_platform (of the
    image), target_stage (the stage asked for).
    """

    build_args: Mapping[str, str] = Factory(dict)
    build_platform: Platform = Factory(Platform.host)
    target_platform: Platform = Factory(Platform.host)
    target_stage: str = ""

    def predefined(self) -> dict[str, str]:
        """The platform ARGs, which every FROM sees and a stage may declare; build arguments replace them."""
        values = {
            **dict(_platform("BUILD", self.build_platform)),
            **dict(_platform("TARGET", self.target_platform)),
            "TARGETSTAGE": self.target_stage or "default",
        }
        return {name: self.build_args.get(name, value) for name, value in values.items()}


def _platform(prefix: str, platform: Platform) -> Iterator[tuple[str, str]]:
    yield f"{prefix}PLATFORM", str(platform)
    yield f"{prefix}OS", platform.os
    yield f"{prefix}OSVERSION", platform.os_version
    yield f"{prefix}ARCH", platform.architecture
    yield f"{prefix}VARIANT", platform.variant


def proxy_environment(build_args: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables for every RUN, in both spellings; no part of history, image or cache key."""
    found: dict[str, str] = {}
    for name in sorted(build_args):
        if name.lower() in PROXIES:
            found[name.lower()] = found[name.upper()] = build_args[name]
    return found


class Budget:
    """What the expansions of one build may still make."""

    def __init__(self) -> None:
        self._left = MAX_EXPANDED

    def spend(self, characters: int) -> None:
        """Raises: Problem when it is used up."""
        self._left -= characters
        if self._left < 0:
            raise Problem(f"the variables of this Dockerfile expand to more than {MAX_EXPANDED} characters")

    def copy(self, values: Mapping[str, str]) -> dict[str, str]:
        """Copy an environment, which costs too."""
        self.spend(len(values) * _ENTRY_COST)
        return dict(values)

    def expand(self, word: str, values: Mapping[str, str], escape: str, *, raw: bool = False) -> Expansion:
        """Expand a word. Args: raw, of a here-document: quotes are text, the escape is a backslash."""
        found = expand(word, values, escape="\\" if raw else escape, ignore_quotes=raw)
        self.spend(len(found.text))
        return found
