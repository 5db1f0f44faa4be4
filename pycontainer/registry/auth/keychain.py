"""Where credentials come from: given ones, then Docker's and podman's files and helpers.

Keys of a file are hosts, or hosts with a part of the repository path (podman); the longest that fits a
repository wins, and one with a path never serves anything outside it.
Source: containers-auth.json(5); docs.docker.com, "docker login".
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cachetools import TTLCache

from pycontainer.errors import InvalidInput
from pycontainer.registry.auth.helpers import Helper
from pycontainer.registry.config import Credentials, RegistryConfig
from pycontainer.registry.redact import printable

__all__ = ["Keychain", "normal_key", "parse_file", "server_of"]

MAX_FILE = 4 << 20
HELPER_MEMORY_S = 300.0
HUB_SERVER = "https://index.docker.io/v1/"  # the key Docker writes for docker.io
HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class Keychain:
    """Finds the account for a repository. Thread-safe; files are read again whenever they are asked."""

    def __init__(self, config: RegistryConfig) -> None:
        self._config = config
        self._explicit = {normal_key(name): account for name, account in config.credentials.items()}
        self._answers: TTLCache[tuple[str, str], Credentials | None] = TTLCache(256, HELPER_MEMORY_S)
        self._lock = threading.Lock()

    def find(self, domain: str, repository: str = "") -> Credentials | None:
        """The account for `repository` (without its domain) of a registry, or None.

        Raises: InvalidInput naming a file that is not what it should be; AuthDenied from a helper.
        """
        names = list(_candidates(domain, repository))
        for name in names:
            if name in self._explicit:
                return self._explicit[name]
        for document, origin in self._documents():
            found = self._look_up(document, origin, names)
            if found is not None:
                return found
        return None

    def forget(self) -> None:
        """Ask credential helpers anew from now on."""
        with self._lock:
            self._answers.clear()

    def _documents(self) -> Iterator[tuple[dict[str, Any], str]]:
        if self._config.inline_auth:
            yield parse_file(self._config.inline_auth.encode(), "DOCKER_AUTH_CONFIG"), "DOCKER_AUTH_CONFIG"
        for path in self._config.auth_files:
            content = _read(path)
            if content is not None:
                yield parse_file(content, str(path)), str(path)

    def _look_up(self, document: dict[str, Any], origin: str, names: list[str]) -> Credentials | None:
        """Ask one file: the host's own helper, else its entries, else the general helper."""
        helpers = {normal_key(key): value for key, value in _mapping(document, "credHelpers", origin).items()}
        for name in names:
            if name in helpers:
                return self._from_helper(helpers[name], name, origin)
        entries = {normal_key(key): value for key, value in _mapping(document, "auths", origin).items()}
        for name in names:
            account = _account(entries[name], name, origin) if name in entries else None
            if account is not None:
                return account
        store = document.get("credsStore")
        return self._from_helper(store, names[-1], origin) if store else None

    def _from_helper(self, helper: object, name: str, origin: str) -> Credentials | None:
        if not isinstance(helper, str):
            raise InvalidInput(f"{origin}: the credential helper of {name} is not a name")
        with self._lock:
            if (helper, name) in self._answers:
                return self._answers[helper, name]
        found = Helper.of(helper, self._config).get(server_of(name))
        with self._lock:
            self._answers[helper, name] = found
        return found


def _candidates(domain: str, repository: str) -> Iterator[str]:
    """Keys that cover a repository, the narrowest first, the host last."""
    host = "docker.io" if domain in HUB_NAMES else domain
    parts = repository.split("/") if repository else []
    for length in range(len(parts), -1, -1):
        yield "/".join([host, *parts[:length]])


def normal_key(key: str) -> str:
    """A file's key as host and path. Old Docker keys are URLs of an API version."""
    text = key.strip()
    text = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = text.partition("/")
    if path in ("v1", "v2"):
        path = ""
    host = "docker.io" if host.lower() in HUB_NAMES else host.lower()
    return f"{host}/{path}" if path else host


def _read(path: Path) -> bytes | None:
    """A file's content; None if there is none, or it is another user's."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return None
    if len(content) > MAX_FILE:
        raise InvalidInput(f"credentials file {path} is larger than {MAX_FILE} bytes")
    return content


def server_of(name: str) -> str:
    """How credential helpers and Docker's own file call a registry."""
    return HUB_SERVER if name in HUB_NAMES else name


def parse_file(content: bytes, origin: str) -> dict[str, Any]:
    """The document of a credentials file; an empty file is one without entries. Raises: InvalidInput."""
    if not content.strip():
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        # Only the position: the text around it may be a secret.
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"credentials file {origin} is not JSON{where}; repair or remove it") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"credentials file {origin} does not hold a JSON object")
    return document


def _mapping(document: Mapping[str, Any], key: str, origin: str) -> dict[str, Any]:
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise InvalidInput(f"credentials file {origin}: {key} is not a JSON object")
    return found


def _account(entry: object, name: str, origin: str) -> Credentials | None:
    """One entry of `auths`; None for the empty ones Docker writes beside a credsStore."""
    if not isinstance(entry, dict):
        raise InvalidInput(f"credentials file {origin}: the entry of {printable(name)} is not a JSON object")
    fields = {
        key: entry.get(key) or ""
        for key in ("username", "password", "auth", "identitytoken", "registrytoken")
    }
    if not all(isinstance(value, str) for value in fields.values()):
        raise InvalidInput(
            f"credentials file {origin}: the entry of {printable(name)} has a field that is not text"
        )
    user, password = fields["username"], fields["password"]
    if fields["auth"]:
        try:
            pair = base64.b64decode(fields["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        if ":" not in pair:
            raise InvalidInput(
                f"credentials file {origin}: auth of {printable(name)} is not base64 of user:password; "
                "log in again"
            )
        user, _, password = pair.partition(":")
        password = password.rstrip("\0")  # old Docker padded it
    account = Credentials(
        username=user,
        password=password,
        identity_token=fields["identitytoken"],
        registry_token=fields["registrytoken"],
    )
    return None if account.is_empty else account
