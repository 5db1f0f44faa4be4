"""Docker's credential helpers: programs that keep secrets in a keyring.

They are run by absolute path with a cleaned environment, since their names come from a file.
Source: github.com/docker/docker-credential-helpers, README.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping

import attrs

from pycontainer.errors import AuthDenied, InvalidInput
from pycontainer.registry.config import Credentials, RegistryConfig
from pycontainer.registry.redact import printable

__all__ = ["Helper"]

IDENTITY_TOKEN_USER = "<token>"  # the protocol's word for "the secret is an identity token"
NOT_FOUND = "credentials not found"
MAX_ANSWER = 1 << 20
_NAME = re.compile(r"[a-z0-9_.-]+")


@attrs.frozen(kw_only=True)
class Helper:
    """The program `docker-credential-NAME`. search_path, environment: all it gets of them.

    Raises (in every method): InvalidInput for a name outside [a-z0-9-_.]; AuthDenied if the program is
    missing, fails or takes longer than timeout_s.
    """

    name: str
    search_path: str
    environment: Mapping[str, str] = attrs.field(repr=False)
    timeout_s: float

    @classmethod
    def of(cls, name: str, config: RegistryConfig) -> Helper:
        """The helper of that name, run as a configuration says."""
        return cls(
            name=name,
            search_path=config.helper_path,
            environment=config.helper_environment,
            timeout_s=config.timeouts.helper_s,
        )

    def get(self, server: str) -> Credentials | None:
        """What it knows of a server; None if it knows nothing."""
        answer = self._run("get", server.encode() + b"\n")
        return None if answer is None else _read(answer, f"docker-credential-{self.name}")

    def store(self, server: str, account: Credentials) -> None:
        """Have it keep an account, in place of the one it had."""
        is_token = bool(account.identity_token)
        document = {
            "ServerURL": server,
            "Username": IDENTITY_TOKEN_USER if is_token else account.username,
            "Secret": account.identity_token if is_token else account.password,
        }
        self._run("store", json.dumps(document).encode())

    def erase(self, server: str) -> bool:
        """Have it forget a server; whether it knew it."""
        return self._run("erase", server.encode() + b"\n") is not None

    def _run(self, verb: str, said: bytes) -> bytes | None:
        """What it answers; None if it says that it knows nothing."""
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"credential helper {printable(self.name)!r} may only have the letters a-z 0-9 - _ ."
            )
        program = _find(f"docker-credential-{self.name}", self.search_path)
        try:
            done = subprocess.run(
                [program, verb],
                input=said,
                capture_output=True,
                env={**self.environment, "PATH": self.search_path},
                cwd="/",
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AuthDenied(
                f"credential helper {program} gave no answer within {self.timeout_s:g} s"
            ) from None
        except OSError as error:
            raise AuthDenied(f"credential helper {program} cannot be run: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        told = (done.stdout + done.stderr).decode(errors="replace")
        if NOT_FOUND in told:
            return None
        raise AuthDenied(f"credential helper {program} failed with {done.returncode}: {printable(told)}")


def _find(program: str, search_path: str) -> str:
    """The absolute path of a program; a relative entry of the path is never searched."""
    folders = os.pathsep.join(part for part in search_path.split(os.pathsep) if os.path.isabs(part))
    found = shutil.which(program, path=folders) if folders else None
    if found is None:
        raise AuthDenied(
            f"credential helper {program} is not installed; install it or remove it from the file"
        )
    return found


def _read(answer: bytes, program: str) -> Credentials | None:
    try:
        document = json.loads(answer[:MAX_ANSWER])
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise AuthDenied(f"credential helper {program} did not answer with a JSON object")
    user, secret = document.get("Username") or "", document.get("Secret") or ""
    if not isinstance(user, str) or not isinstance(secret, str):
        raise AuthDenied(f"credential helper {program} answered with a user or secret that is not text")
    if user == IDENTITY_TOKEN_USER:
        return Credentials(identity_token=secret)
    found = Credentials(username=user, password=secret)
    return None if found.is_empty else found
