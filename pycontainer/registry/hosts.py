"""containerd's hosts.toml: which servers stand for a registry, in which order, and how to speak to them.

`CERTS_DIR/HOST[:PORT]/hosts.toml`, or that of `_default`: the tables `host` are asked first, for what
their capabilities allow, and `server` (else the registry itself) last; pushes go to the first that takes
them. Source: containerd, docs/hosts.md and core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from pycontainer.errors import InvalidInput
from pycontainer.options import parse_duration
from pycontainer.registry.certs import Tls
from pycontainer.registry.redact import redact_url
from pycontainer.registry.rules import flag

__all__ = ["FILE_NAME", "HostSettings", "Hosts", "hosts_for"]

FILE_NAME = "hosts.toml"
LARGEST_FILE = 1 << 20
CAPABILITIES = frozenset({"pull", "resolve", "push"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
# What the client says itself, and what would turn its requests into others.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


@attrs.frozen(kw_only=True)
class HostSettings:
    """One server of the file.

    host, scheme: "" and None for the registry itself, where the file names no other server. path: before
    every request. is_root: the path takes the place of /v2. capabilities: of "pull", "resolve" (its word
    counts for what a tag means) and "push". headers: sent to this server alone. connect_s: bound on
    connecting.
    """

    host: str = ""
    scheme: str | None = None
    path: str = ""
    is_root: bool = False
    capabilities: frozenset[str] = CAPABILITIES
    tls: Tls = attrs.field(factory=Tls)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    connect_s: float | None = None


@attrs.frozen(kw_only=True)
class Hosts:
    """What one file says."""

    server: HostSettings
    others: tuple[HostSettings, ...]


def hosts_for(domain: str, roots: Iterable[Path]) -> Hosts | None:
    """What holds for a registry by the first file there is; None where there is none.

    Raises: InvalidInput naming the file and what is wrong in it.
    """
    for path in _candidates(domain, roots):
        try:
            found = path.stat()
        except OSError:
            continue  # not there, or a name that no file system holds
        return _read(path, found.st_mtime_ns, found.st_ino)
    return None


def _candidates(domain: str, roots: Iterable[Path]) -> Iterator[Path]:
    if "/" in domain or domain in ("", ".", ".."):
        return
    name, colon, port = domain.rpartition(":")
    spellings = [domain, f"{name}_{port}_"] if colon else [domain]
    for root in roots:
        for folder in (*spellings, "_default"):
            yield root / folder / FILE_NAME


@lru_cache(maxsize=64)
def _read(path: Path, _changed_ns: int, _inode: int) -> Hosts:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InvalidInput(f"{path} is larger than {LARGEST_FILE} bytes")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None
    others = document.get("host", {})
    if not isinstance(others, dict):
        raise InvalidInput(f'{path}: host is no table; write [host."https://mirror.example"]')
    return Hosts(
        server=_settings(document.get("server", ""), document, path, "server"),
        others=tuple(_settings(url, table, path, f"host {url!r}") for url, table in others.items()),
    )


def _settings(url: object, table: object, path: Path, what: str) -> HostSettings:
    where = f"{path}: {what}"
    if not isinstance(url, str) or not isinstance(table, dict):
        raise InvalidInput(f'{where} is none; write a URL, and a table as [host."https://mirror.example"]')
    scheme, host, below = _parts(url, where) if url else (None, "", "")
    is_root = flag(table, "override_path", where) and below != "/v2" and not below.endswith("/v2")
    return HostSettings(
        host=host,
        scheme=scheme,
        path=below if is_root else below.removesuffix("/v2"),
        is_root=is_root and bool(url),
        capabilities=_capabilities(table, where),
        tls=Tls(
            ca_files=tuple(path.parent / name for name in _texts(table.get("ca", []), f"{where}: ca")),
            pairs=tuple(_pairs(table.get("client", []), path.parent, f"{where}: client")),
            is_verified=not flag(table, "skip_verify", where),
        ),
        headers=tuple(_headers(table.get("header", {}), f"{where}: header")),
        connect_s=_timeout(table.get("dial_timeout"), f"{where}: dial_timeout"),
    )


def _parts(url: str, where: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.username is not None or parts.query or parts.fragment:
        raise InvalidInput(f"{where}: {redact_url(url)[:200]!r} must be scheme, host and path only")
    return parts.scheme, parts.netloc.lower(), parts.path.rstrip("/")


def _capabilities(table: dict[str, Any], where: str) -> frozenset[str]:
    given = _texts(table.get("capabilities", []), f"{where}: capabilities")
    if wrong := set(given) - CAPABILITIES:
        raise InvalidInput(f"{where}: capabilities are pull, resolve and push, not {min(wrong)[:80]!r}")
    return frozenset(given) or CAPABILITIES


def _pairs(given: Any, folder: Path, where: str) -> Iterator[tuple[Path, Path | None]]:
    """Certificates with their keys, or files that hold both."""
    for each in [given] if isinstance(given, str) else given if isinstance(given, list) else [None]:
        names = [each] if isinstance(each, str) else each
        if not isinstance(names, list) or len(names) not in (1, 2):
            raise InvalidInput(f'{where} is a file, or [["CERTIFICATE", "KEY"]]')
        certificate, *key = _texts(names, where)
        yield folder / certificate, folder / key[0] if key and key[0] else None


def _headers(given: Any, where: str) -> Iterator[tuple[str, str]]:
    if not isinstance(given, dict):
        raise InvalidInput(f"{where} is no table")
    for name, values in given.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise InvalidInput(f"{where}: {name[:80]!r} is no name of a header that can be added")
        for value in _texts(values, f"{where}: {name}"):
            if not _HEADER_VALUE.fullmatch(value):
                raise InvalidInput(f"{where}: the value of {name} holds a control character or no ASCII")
            yield name, value


def _timeout(given: Any, where: str) -> float | None:
    if given is None:
        return None
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}") from None
    if seconds <= 0:
        raise InvalidInput(f"{where} is not above 0")
    return seconds


def _texts(given: Any, where: str) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise InvalidInput(f"{where} is neither text nor a list of it")
    return texts
