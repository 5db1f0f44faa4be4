"""How an image was built, as SLSA provenance in the shape that BuildKit gives it.

Source: slsa.dev/spec/v1.1/provenance; moby/buildkit, docs/attestations/slsa-definitions.md; package-url,
purl-types (docker).
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import frozen

from pycontainer.errors import InvalidOption
from pycontainer.oci import Platform, Reference

if TYPE_CHECKING:
    from pycontainer.engine.building.options import BuildRequest

__all__ = ["PROVENANCE", "Material", "Provenance", "image_purl", "predicate", "understood_provenance"]

PROVENANCE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_MODES = ("min", "max")
_KEYS = {"mode", "builder-id", "reproducible", "version"}


@frozen(kw_only=True)
class Provenance:
    """What provenance is to say. is_full: build arguments, names of secrets, and the Dockerfile, too."""

    is_full: bool = False
    builder_id: str = ""
    is_reproducible: bool = False


@frozen(kw_only=True)
class Material:
    """Something that a build took from elsewhere. digest: algorithm and hexadecimal digits."""

    uri: str
    digest: tuple[str, str]

    @classmethod
    def of_image(cls, reference: str, platform: Platform, digest: str) -> Material:
        """An image that was built on, or files were taken of."""
        return cls(uri=image_purl(reference, platform), digest=_split(digest))

    @classmethod
    def of_file(cls, url: str, digest: str) -> Material:
        """A file from a web server."""
        return cls(uri=url, digest=_split(digest))

    @classmethod
    def of_commit(cls, url: str, commit: str) -> Material:
        """A commit of a git repository."""
        return cls(uri=url, digest=("sha1" if len(commit) == 40 else "sha256", commit))

    @property
    def descriptor(self) -> dict[str, Any]:
        """As in-toto's ResourceDescriptor."""
        return {"uri": self.uri, "digest": dict([self.digest])}


def understood_provenance(given: bool | str | Mapping[str, str]) -> Provenance | None:
    """From True, "min", "max", or "mode=max,builder-id=URL". Raises: InvalidOption."""
    if isinstance(given, bool) or not given:
        return Provenance() if given else None
    if isinstance(given, str):
        if given in _MODES:
            given = {"mode": given}
        else:
            given = {name.strip(): value for name, _, value in (p.partition("=") for p in given.split(","))}
    if unknown := set(given) - _KEYS:
        raise InvalidOption(
            f"option provenance: {min(unknown)!r} is not one of {', '.join(sorted(_KEYS))}; "
            "give True, min, max, or mode=max,builder-id=URL"
        )
    if given.get("mode", "min") not in _MODES:
        raise InvalidOption(f"option provenance: mode {given['mode']!r} is neither min nor max")
    if given.get("version", "v1") != "v1":
        raise InvalidOption(f"option provenance: version {given['version']!r} is not v1, which alone is made")
    return Provenance(
        is_full=given.get("mode") == "max",
        builder_id=given.get("builder-id", ""),
        is_reproducible=given.get("reproducible", "").lower() in ("1", "true"),
    )


def image_purl(reference: str, platform: Platform) -> str:
    """The package URL of an image: "pkg:docker/alpine@3.20?platform=linux%2Famd64"."""
    if reference.startswith("sha256:"):
        return f"pkg:oci/image@{reference}?platform={quote(str(platform), safe='')}"  # by its id
    name = Reference.parse(reference)
    repository = quote(name.familiar_repository, safe="/")
    version = quote(name.tag or name.digest or "", safe=":")
    return f"pkg:docker/{repository}@{version}?platform={quote(str(platform), safe='')}"


def predicate(
    wanted: Provenance,
    request: BuildRequest,
    *,
    context: str,
    filename: str,
    dockerfile: str,
    materials: Iterable[Material],
    times: tuple[str, str] | None,
) -> dict[str, Any]:
    """The predicate of a build.

    context: the URL of the main context, "" for one of this host. times: begin and end, RFC 3339; None leaves
    out what differs between builds of equal inputs. Secrets are named, never told; so are URLs' passwords.
    """
    known = {material.uri: material for material in materials}
    source: dict[str, Any] = {"path": filename}
    if context:
        source["uri"] = context
        if context in known:
            source["digest"] = known[context].descriptor["digest"]
    is_complete = bool(context) and not any(_is_local(value) for value in request.contexts.values())
    metadata: dict[str, Any] = {
        "buildkit_metadata": _extra(filename, dockerfile) if wanted.is_full else {},
        "buildkit_hermetic": is_complete
        and request.network == "none"
        and "network.host" not in request.allow,
        "buildkit_completeness": {"request": wanted.is_full, "resolvedDependencies": is_complete},
        "buildkit_reproducible": wanted.is_reproducible,
    }
    if times is not None:
        begun, ended = times
        metadata |= {"invocationID": uuid.uuid4().hex, "startedOn": begun, "finishedOn": ended}
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {"configSource": source, "request": _request(wanted, request, context)},
            "internalParameters": {"builderPlatform": str(Platform.host())},
            "resolvedDependencies": [known[uri].descriptor for uri in sorted(known)],
        },
        "runDetails": {"builder": {"id": wanted.builder_id}, "metadata": metadata},
    }


def _request(wanted: Provenance, request: BuildRequest, context: str) -> dict[str, Any]:
    args = {"target": request.target} if request.target else {}
    if wanted.is_full:
        args |= {f"build-arg:{name}": value for name, value in request.build_args.items()}
        args |= {f"label:{name}": value for name, value in request.labels.items()}
    found: dict[str, Any] = {"frontend": "dockerfile.v0", "args": args}
    locals_ = [name for name, value in request.contexts.items() if _is_local(value)]
    found["locals"] = [{"name": name} for name in (*([] if context else ["context"]), *locals_)]
    if wanted.is_full:
        found["secrets"] = [{"id": name} for name in sorted(request.secrets)]
        found["ssh"] = [{"id": name} for name in sorted(request.agents)]
    return found


def _extra(filename: str, dockerfile: str) -> dict[str, Any]:
    content = base64.b64encode(dockerfile.encode("utf-8", "surrogateescape")).decode()
    return {"source": {"infos": [{"filename": filename, "language": "Dockerfile", "data": content}]}}


def _is_local(context: object) -> bool:
    return not (isinstance(context, str) and context.startswith(("docker-image://", "http://", "https://")))


def _split(digest: str) -> tuple[str, str]:
    algorithm, _, digits = digest.partition(":")
    return algorithm, digits
