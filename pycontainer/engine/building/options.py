"""What is asked of a build, understood and checked before anything is done."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import Factory, frozen

from pycontainer.build import OnBuildEvent
from pycontainer.engine.building.cacheimages import CachePlace, understood_caches
from pycontainer.engine.building.failing import OnFailure
from pycontainer.engine.building.outputs import Output, understood_outputs
from pycontainer.engine.building.provenance import Provenance, understood_provenance
from pycontainer.errors import BadReference, InvalidOption, NotFound
from pycontainer.image import Compression
from pycontainer.oci import Platform, Reference
from pycontainer.options import given_seconds

__all__ = [
    "EPOCH_ARG",
    "Annotations",
    "BuildRequest",
    "epoch_of",
    "understood",
    "understood_annotations",
    "understood_check",
]

EPOCH_ARG = "SOURCE_DATE_EPOCH"
_PULLS = ("missing", "always", "never")
_ENTITLEMENTS = ("network.host", "security.insecure")
_LEVELS = {"manifest": "manifest", "index": "index", "manifest-descriptor": "descriptor"}
_MAX_SECRET_BYTES = 512_000
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@frozen(kw_only=True)
class Annotations:
    """manifest: of the manifest of each platform. index: of the index that lists these; descriptor: of their
    entries there.
    """

    manifest: Mapping[str, str] = Factory(dict)
    index: Mapping[str, str] = Factory(dict)
    descriptor: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class BuildRequest:
    """A build as it is to be done.

    epoch: SOURCE_DATE_EPOCH in seconds, None without. ignores_cache: nothing of it is taken; uncached: stages
    of which nothing is. limits: run options of every RUN. agents: sockets of ssh agents by id.
    """

    build_args: Mapping[str, str] = Factory(dict)
    target: str = ""
    platforms: tuple[Platform, ...]
    tags: tuple[Reference, ...] = ()
    labels: Mapping[str, str] = Factory(dict)
    annotations: Annotations = Annotations()
    secrets: Mapping[str, bytes] = Factory(dict)
    agents: Mapping[str, str] = Factory(dict)
    contexts: Mapping[str, object] = Factory(dict)
    ignores_cache: bool = False
    uncached: frozenset[str] = frozenset()
    pull: str = "missing"
    network: str = "default"
    allow: frozenset[str] = frozenset()
    limits: Mapping[str, Any] = Factory(dict)
    epoch: int | None = None
    compression: Compression
    outputs: tuple[Output, ...] = ()
    cache_from: tuple[CachePlace, ...] = ()
    cache_to: tuple[CachePlace, ...] = ()
    provenance: Provenance | None = None
    has_sbom: bool = False
    timeout_s: float | None = None
    on_event: OnBuildEvent | None = None
    on_failure: OnFailure | None = None


def understood(
    *,
    build_args: Mapping[str, str | None] | None,
    target: str | None,
    platform: str | None,
    platforms: Sequence[str],
    tags: Sequence[str],
    labels: Mapping[str, str] | None,
    annotations: Mapping[str, str] | None,
    secrets: Mapping[str, object] | None,
    ssh: object,
    contexts: Mapping[str, object] | None,
    no_cache: bool | Sequence[str],
    pull: str | bool,
    network: str,
    allow: Sequence[str],
    limits: Mapping[str, Any],
    compression: str | Compression,
    outputs: Sequence[str | Mapping[str, object]] | str | Mapping[str, object],
    cache_from: Sequence[str | Mapping[str, str]] | str | Mapping[str, str],
    cache_to: Sequence[str | Mapping[str, str]] | str | Mapping[str, str],
    provenance: bool | str | Mapping[str, str],
    sbom: bool,
    timeout: float | str | timedelta | None,
    on_event: OnBuildEvent | None,
    on_failure: OnFailure | None,
) -> BuildRequest:
    """The request that these options mean. Raises: InvalidOption, BadReference, NotFound, TypeError."""
    args = _arguments(build_args)
    if isinstance(pull, bool):
        pull = "always" if pull else "missing"
    if pull not in _PULLS:
        raise InvalidOption(f"option pull: {pull!r} is not one of {', '.join(_PULLS)}")
    if unknown := set(allow) - set(_ENTITLEMENTS):
        raise InvalidOption(f"option allow: {min(unknown)!r} is not one of {', '.join(_ENTITLEMENTS)}")
    if network not in ("default", "none", "host") and not _NAME.fullmatch(network):
        raise InvalidOption(
            f"option network: {network!r} is neither default, none, host nor a network's name"
        )
    made, attests = tuple(understood_outputs(outputs)), understood_provenance(provenance)
    if len(platforms) > 1 and any(output.kind == "tar" for output in made):
        raise InvalidOption("option outputs: type=tar is for one platform; build each for itself")
    return BuildRequest(
        build_args=args,
        target=target or "",
        platforms=_platforms(platform, platforms),
        tags=tuple(map(_tag, _several(tags, "tags"))),
        labels=dict(labels or {}),
        annotations=understood_annotations(
            annotations or {}, has_index=bool(attests or sbom or len(platforms) > 1)
        ),
        secrets={name: _secret(name, value) for name, value in (secrets or {}).items()},
        agents=_agents(ssh),
        contexts=dict(contexts or {}),
        ignores_cache=no_cache is True,
        uncached=frozenset() if isinstance(no_cache, bool) else frozenset(_several(no_cache, "no_cache")),
        pull=pull,
        network=network,
        allow=frozenset(allow) | ({"network.host"} if network == "host" else set()),
        limits=limits,
        epoch=epoch_of(args.get(EPOCH_ARG, os.environ.get(EPOCH_ARG, ""))),
        compression=Compression.parse(compression),
        outputs=made,
        cache_from=understood_caches(cache_from, "cache_from"),
        cache_to=understood_caches(cache_to, "cache_to"),
        provenance=attests,
        has_sbom=_flag("sbom", sbom),
        timeout_s=None if timeout is None else given_seconds(timeout),
        on_event=on_event,
        on_failure=on_failure,
    )


def understood_check(
    *,
    build_args: Mapping[str, str | None] | None,
    target: str | None,
    platform: str | None,
    contexts: Mapping[str, object] | None,
) -> BuildRequest:
    """What concerns the checks of a Dockerfile. Raises: InvalidOption."""
    return BuildRequest(
        build_args=_arguments(build_args),
        target=target or "",
        platforms=_platforms(platform, ()),
        contexts=dict(contexts or {}),
        compression=Compression.parse("gzip"),
    )


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(f"option {name}: {value!r} is neither True nor False")
    return value


def _platforms(one: str | None, several: Sequence[str]) -> tuple[Platform, ...]:
    if one is not None and several:
        raise InvalidOption("options platform and platforms: give one of them")
    names = [one] if one is not None else list(_several(several, "platforms"))
    return tuple(map(Platform.parse, names)) or (Platform.host(),)


def _several(values: Sequence[str], option: str) -> Sequence[str]:
    if isinstance(values, str):
        raise TypeError(f"{option}={values!r} is one string; give a list of them")
    return values


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise BadReference(f"{text!r} names a digest, which no tag can change; leave the digest out")
    return reference


def understood_annotations(given: Mapping[str, str], *, has_index: bool) -> Annotations:
    """Annotations by what they are of: `index:KEY`, `manifest-descriptor:KEY`; a plain KEY is the manifest's.

    Source: docs.docker.com/build/metadata/annotations, "Specify annotation level".
    """
    found: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}
    for name, value in given.items():
        prefix, colon, key = name.partition(":")
        levels = prefix.split(",") if colon else ["manifest"]
        if not set(levels) <= set(_LEVELS):
            levels, key = ["manifest"], name
        elif not colon:
            key = name
        for level in levels:
            found[level][key] = value
    made = Annotations(**{_LEVELS[level]: annotations for level, annotations in found.items()})
    if not has_index and (made.index or made.descriptor):
        raise InvalidOption("option annotations: an image of one platform without attestations has no index")
    return made


def _arguments(given: Mapping[str, str | None] | None) -> dict[str, str]:
    """The build arguments; None takes the value of the caller's environment, if there is one."""
    found: dict[str, str] = {}
    for name, value in (given or {}).items():
        if not name or "=" in name:
            raise InvalidOption(f"option build_args: {name!r} is no name")
        if value is None:
            value = os.environ.get(name)
        if value is not None:
            found[name] = str(value)
    return found


def epoch_of(text: str) -> int | None:
    """The seconds of a SOURCE_DATE_EPOCH, None for an empty one. Raises: InvalidOption."""
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or int(text) > 1 << 33:
        raise InvalidOption(f"{EPOCH_ARG} {text!r}: give whole seconds since 1970")
    return int(text)


def _secret(name: str, value: object) -> bytes:
    """What a secret says: bytes or text themselves, a Path the file, {"env": NAME} the variable."""
    content: bytes
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        content = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, os.PathLike):
        try:
            content = Path(value).read_bytes()
        except OSError as error:
            raise NotFound(f"secret {name!r}: {os.fspath(value)}: {error.strerror}") from None
    elif isinstance(value, Mapping) and set(value) == {"env"}:
        text = os.environb.get(os.fsencode(str(value["env"])))
        if text is None:
            raise NotFound(f"secret {name!r}: the environment has no {value['env']}")
        content = text
    else:
        raise InvalidOption(f'secret {name!r}: give bytes, text, a Path, or {{"env": "NAME"}}')
    if len(content) > _MAX_SECRET_BYTES:
        raise InvalidOption(f"secret {name!r} has {len(content)} bytes; {_MAX_SECRET_BYTES} are the most")
    return content


def _agents(given: object) -> dict[str, str]:
    """Sockets by id. True or "default" is the caller's own agent."""
    if given in (None, False, ()):
        return {}
    if given is True or given == "default":
        given = {"default": None}
    if isinstance(given, (list, tuple)):
        given = {str(name): None for name in given}
    if not isinstance(given, Mapping):
        raise InvalidOption('option ssh: give True, or {"default": "/path/of/socket"}')
    found: dict[str, str] = {}
    for name, path in given.items():
        path = os.environ.get("SSH_AUTH_SOCK") if path is None else os.fspath(path)
        if not path or not Path(path).is_socket():
            raise NotFound(f"ssh agent {name!r}: {path or 'SSH_AUTH_SOCK'} is no socket; start ssh-agent")
        found[str(name)] = os.path.abspath(path)
    return found


def seconds_ago(moment: float | str | timedelta | datetime) -> float:
    """The time on the clock that a duration ago, or a moment, is."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return time.time() - given_seconds(moment)
