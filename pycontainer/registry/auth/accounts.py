"""Accounts written to and removed from Docker's and podman's credentials file, or the helper it names.

The file is replaced as a whole, with mode 0600 from its first byte on, and everything in it that is not about
the registry stays. Programs of ours take turns; a reader sees the old file or the new one.
Source: docs.docker.com, "docker login"; containers-auth.json(5).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pycontainer.errors import InvalidInput, PycontainerError, mapped
from pycontainer.registry.auth.helpers import Helper
from pycontainer.registry.auth.keychain import MAX_FILE, normal_key, parse_file, server_of
from pycontainer.registry.config import Credentials, RegistryConfig

__all__ = ["forget_account", "save_account"]

DOCKER_FILE = "config.json"
LOCK_S = 60.0  # longer than a credential helper may take
LOOK_S = 0.02


def save_account(config: RegistryConfig, name: str, account: Credentials) -> Path:
    """Write an account under `domain` or `domain/namespace`; returns the file.

    A credential helper that the file names for the registry, or for all, gets the secret instead.
    Raises: InvalidInput for a file that is broken or cannot be written; AuthDenied from the helper.
    """
    path = _file(config)
    with _changed(path) as document:
        helper = _helper(document, name, config, path)
        entry: dict[str, str] = {}
        if helper is not None:
            helper.store(server_of(name), account)
        else:
            pair = f"{account.username}:{'' if account.identity_token else account.password}"
            entry["auth"] = base64.b64encode(pair.encode()).decode("ascii")
            if account.identity_token:
                entry["identitytoken"] = account.identity_token
        accounts = _without(_object(document, "auths", path), name)
        key = server_of(name) if path.name == DOCKER_FILE else name
        document["auths"] = {**accounts, key: entry}
    return path


def forget_account(config: RegistryConfig, name: str) -> bool:
    """Remove an account; whether there was one. Raises: as save_account."""
    path = _file(config)
    if not path.exists():
        return False
    with _changed(path) as document:
        helper = _helper(document, name, config, path)
        was_known = helper is not None and helper.erase(server_of(name))
        accounts = _object(document, "auths", path)
        kept = _without(accounts, name)
        if kept != accounts:
            was_known = True
            document["auths"] = kept
    return was_known


def _file(config: RegistryConfig) -> Path:
    if config.login_file is None:
        raise InvalidInput(
            "no file to keep accounts in: set HOME or DOCKER_CONFIG, or RegistryConfig(login_file=)"
        )
    return config.login_file


def _helper(document: dict[str, Any], name: str, config: RegistryConfig, path: Path) -> Helper | None:
    helpers = {normal_key(key): value for key, value in _object(document, "credHelpers", path).items()}
    chosen = helpers.get(name, document.get("credsStore"))
    if not chosen:
        return None
    if not isinstance(chosen, str):
        raise InvalidInput(f"credentials file {path}: the credential helper of {name} is not a name")
    return Helper.of(chosen, config)


def _object(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise InvalidInput(f"credentials file {path}: {key} is not a JSON object")
    return found


def _without(accounts: dict[str, Any], name: str) -> dict[str, Any]:
    """Without any spelling of a registry: Docker's has been a URL, with and without a version."""
    return {key: value for key, value in accounts.items() if normal_key(key) != name}


def _refused(path: Path) -> Callable[[BaseException], PycontainerError]:
    def made(error: BaseException) -> PycontainerError:
        why = error.strerror if isinstance(error, OSError) else error
        return InvalidInput(f"credentials file {path} cannot be changed: {why}")

    return made


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, Any]]:
    """The document of a file, which is written when the block ends well and has changed it."""
    with mapped(OSError, to=_refused(path)):
        target = Path(os.path.realpath(path))  # a link to it stays a link
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(folder, path)
            content = _read(target)
            document = parse_file(content, str(path))
            before = json.dumps(document)
            yield document
            if json.dumps(document) != before:
                _replace(target, json.dumps(document, indent="\t").encode())
                os.fsync(folder)
        finally:
            os.close(folder)


def _lock(fd: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InvalidInput(f"credentials file {path} is being changed for {LOCK_S:g} s") from None
            time.sleep(LOOK_S)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return b""
    if len(content) > MAX_FILE:
        raise InvalidInput(f"credentials file {path} is larger than {MAX_FILE} bytes")
    return content


def _replace(path: Path, content: bytes) -> None:
    fd, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with open(fd, "wb") as file:
            if path.exists():
                known = path.stat()
                os.fchown(fd, known.st_uid, known.st_gid)  # root's logging in must not lock its user out
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
