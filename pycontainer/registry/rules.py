"""containers-registries.conf(5), version 2: where a repository's content really is, and who else has it.

A rule is for a prefix of names; the longest that fits decides. Its location takes the prefix's place, for
pulls and pushes; its mirrors are asked first when pulling. Short names are not searched for: `alpine` is the
image of Docker Hub.
Source: containers/image, docs/containers-registries.conf.5.md.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from pycontainer.errors import BadReference, InvalidInput
from pycontainer.oci import Reference

__all__ = ["MirrorRule", "RegistryRule", "flag", "load_rules", "rule_files", "rule_for"]

LARGEST_FILE = 4 << 20
_LOCATION = re.compile(r"[A-Za-z0-9.\-:\[\]]+(?:/[a-z0-9._\-]+)*")


@attrs.frozen(kw_only=True)
class MirrorRule:
    """A place that has a copy. location: host, with a path where names are below one. by_digest_only: its
    word does not count for what a tag means.
    """

    location: str
    insecure: bool = False
    by_digest_only: bool = False


@attrs.frozen(kw_only=True)
class RegistryRule:
    """What holds for all names that begin with `prefix`, up to a whole component.

    prefix: host, with the beginning of a path; or "*.example.com". location: what takes its place, or "".
    insecure: its certificate is not checked, and plain HTTP will do. blocked: nothing of it is pulled or
    pushed.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[MirrorRule, ...] = ()

    @property
    def hosts_without_tls(self) -> tuple[str, ...]:
        """The hosts that are insecure by this rule."""
        place = self.location or self.prefix
        own = [place] if self.insecure and not place.startswith("*") else []
        mirrors = [mirror.location for mirror in self.mirrors if mirror.insecure]
        return tuple(place.partition("/")[0] for place in (*own, *mirrors))

    def length_of_fit(self, domain: str, path: str) -> int:
        """How long the part of a name is that the prefix covers; 0 where it does not fit."""
        if self.prefix.startswith("*."):
            return len(self.prefix) - 1 if domain.endswith(self.prefix[1:]) else 0
        name = f"{domain}/{path}" if path else domain
        fits = name == self.prefix or name.startswith(self.prefix + "/")
        return len(self.prefix) if fits else 0

    def moved(self, location: str, domain: str, path: str) -> tuple[str, str]:
        """Host and path of a repository where the prefix is replaced by a location."""
        host, _, below = location.partition("/")
        rest = path
        if not self.prefix.startswith("*."):
            rest = f"{domain}/{path}"[len(self.prefix) :].lstrip("/")
        return host, "/".join(part for part in (below, rest) if part)


def rule_for(rules: Iterable[RegistryRule], domain: str, path: str) -> RegistryRule | None:
    """The rule for a repository: the one with the longest prefix."""
    fitting = [(rule.length_of_fit(domain, path), rule) for rule in rules]
    length, found = max(fitting, key=lambda each: each[0], default=(0, None))
    return found if length else None


def load_rules(files: Sequence[Path]) -> tuple[RegistryRule, ...]:
    """The rules of several files that exist; of two for one prefix the later counts.

    Raises: InvalidInput naming the file and what is wrong in it.
    """
    rules: dict[str, RegistryRule] = {}
    for path in files:
        try:
            with open(path, "rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        if len(content) > LARGEST_FILE:
            raise InvalidInput(f"{path} is larger than {LARGEST_FILE} bytes")
        try:
            document = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is not TOML: {error}") from None
        for rule in _rules(document, str(path)):
            rules[rule.prefix] = rule
    return tuple(rules.values())


def rule_files(environ: Mapping[str, str]) -> list[Path]:
    """The files podman would read: the user's, else the system's, and the drop-ins beside it."""
    if given := environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH"):
        return [Path(given)]
    home = environ.get("XDG_CONFIG_HOME") or (
        os.path.join(environ["HOME"], ".config") if environ.get("HOME") else ""
    )
    own = Path(home, "containers", "registries.conf")
    main = own if home and own.is_file() else Path("/etc/containers/registries.conf")
    folders = [Path("/etc/containers/registries.conf.d")]
    if home:
        folders.append(Path(home, "containers", "registries.conf.d"))
    drop_ins: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            drop_ins |= {path.name: path for path in folder.glob("*.conf")}
    return [main, *(drop_ins[name] for name in sorted(drop_ins))]


def _rules(document: dict[str, Any], where: str) -> list[RegistryRule]:
    if "registries" in document:
        # Its lists of blocked registries would be passed over; containers/image refuses it, too.
        raise InvalidInput(
            f"{where} has the format of version 1; write [[registry]] tables, as version 2 has"
        )
    found = []
    for number, given in enumerate(_tables(document.get("registry"), f"{where}: registry")):
        at = f"{where}: registry {number + 1}"
        prefix, location = _text(given, "prefix", at), _text(given, "location", at)
        only_by_digest = flag(given, "mirror-by-digest-only", at)
        mirrors = [
            MirrorRule(
                location=_place(_text(each, "location", at), at),
                insecure=flag(each, "insecure", at),
                by_digest_only=only_by_digest or _by_digest_only(each, at),
            )
            for each in _tables(given.get("mirror"), f"{at}: mirror")
        ]
        found.append(
            RegistryRule(
                prefix=_prefix(prefix or location, at),
                location=_place(location, at) if location and prefix else "",
                insecure=flag(given, "insecure", at),
                blocked=flag(given, "blocked", at),
                mirrors=tuple(mirrors),
            )
        )
    return found


def _tables(given: Any, where: str) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidInput(f"{where} is no list of tables")
    return given


def _by_digest_only(mirror: dict[str, Any], where: str) -> bool:
    wanted = _text(mirror, "pull-from-mirror", where)
    if wanted not in ("", "all", "digest-only", "tag-only"):
        raise InvalidInput(f"{where}: pull-from-mirror is all, digest-only or tag-only, not {wanted[:80]!r}")
    return wanted == "digest-only"


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: {key} is no text")
    return value


def flag(table: dict[str, Any], key: str, where: str) -> bool:
    """What a table of a configuration file says of a key, false by default. Raises InvalidInput."""
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{where}: {key} is neither true nor false")
    return value


def _place(text: str, where: str) -> str:
    if not _LOCATION.fullmatch(text):
        raise InvalidInput(f"{where}: location {text[:200]!r} is no host with the beginning of a path")
    return text


def _prefix(text: str, where: str) -> str:
    if text.startswith("*.") and "/" not in text:
        return text.lower()
    if not text:
        raise InvalidInput(f"{where}: it has neither prefix nor location")
    try:
        domain = Reference.parse(f"{text.partition('/')[0]}/x").domain
    except BadReference as error:
        raise InvalidInput(f"{where}: prefix {text[:200]!r}: {error}") from None
    _, slash, path = text.partition("/")
    return f"{domain}/{path}" if slash else domain
