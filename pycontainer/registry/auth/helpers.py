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

from pycontainer.errors import AuthDenied, InvalidInput
from pycontainer.registry.config import Credentials
from pycontainer.registry.redact import printable

__all__ = ["ask_helper"]

IDENTITY_TOKEN_USER = "<token>"  # the protocol's word for "the secret is an identity token"
NOT_FOUND = "credentials not found"
MAX_ANSWER = 1 << 20
_NAME = re.compile(r"[a-z0-9_.-]+")


def ask_helper(
    name: str, server: str, *, search_path: str, environment: Mapping[str, str], timeout_s: float
) -> Credentials | None:
    """What the helper `docker-credential-NAME` knows of a server; None if it knows nothing.

    Raises: InvalidInput for a name outside [a-z0-9-_.]; AuthDenied if the program is missing, fails or
    takes longer than timeout_s.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"credential helper {printable(name)!r} may only have the letters a-z 0-9 - _ .")
    program = _find(f"docker-credential-{name}", search_path)
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode() + b"\n",
            capture_output=True,
            env={**environment, "PATH": search_path},
            cwd="/",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AuthDenied(f"credential helper {program} gave no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise AuthDenied(f"credential helper {program} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        if NOT_FOUND in said:
            return None
        raise AuthDenied(f"credential helper {program} failed with {done.returncode}: {printable(said)}")
    return _read(done.stdout, program)


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
