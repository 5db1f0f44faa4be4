"""Refusals of a registry, turned into this package's errors.

The body of a refusal is the server's: it is read up to a limit, parsed leniently, and only its codes
and a cleaned line of its text are shown. Source: distribution-spec, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pycontainer.errors import AuthDenied, NotFound, RateLimited, RegistryError, TransferFailed
from pycontainer.registry.redact import printable, redact_url

__all__ = ["CODES", "NotInRegistry", "Unavailable", "Unreachable", "refusal"]

ERROR_BODY_BYTES = 64 << 10
MAX_CODES = 8
# The specification's codes, and what each one means for the caller.
CODES: Mapping[str, type[RegistryError]]


class NotInRegistry(RegistryError, NotFound):
    """The registry has no such repository, tag, manifest, blob or upload."""


class Unreachable(TransferFailed):
    """No connection came about."""


class Unavailable(TransferFailed):
    """The server answered that it cannot just now.

    Attributes: retry_after_s (seconds it asked to wait, or None).
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


CODES = {
    "BLOB_UNKNOWN": NotInRegistry,
    "BLOB_UPLOAD_INVALID": RegistryError,
    "BLOB_UPLOAD_UNKNOWN": NotInRegistry,
    "DIGEST_INVALID": RegistryError,
    "MANIFEST_BLOB_UNKNOWN": RegistryError,
    "MANIFEST_INVALID": RegistryError,
    "MANIFEST_UNKNOWN": NotInRegistry,
    "NAME_INVALID": RegistryError,
    "NAME_UNKNOWN": NotInRegistry,
    "SIZE_INVALID": RegistryError,
    "UNAUTHORIZED": AuthDenied,
    "DENIED": AuthDenied,
    "UNSUPPORTED": RegistryError,
    "TOOMANYREQUESTS": RateLimited,
}
REMEDIES = {
    "UNAUTHORIZED": "log in first, or check the account's rights",
    "DENIED": "the account may not do this, or the repository does not exist",
    "MANIFEST_BLOB_UNKNOWN": "push the blobs before the manifest",
    "UNSUPPORTED": "this registry does not offer the operation",
    "TOOMANYREQUESTS": "log in for a higher limit, or try later",
}
SPEAKS_TLS = "if it speaks TLS, name it in RegistryConfig(secure=...), or put its authority into certs.d"


def refusal(
    action: str, url: object, status: int, body: bytes = b"", *, retry_after_s: float | None = None
) -> RegistryError:
    """The error for an answer outside the expected statuses.

    `action` says in the infinitive what was tried ("get manifest alpine:3.20").
    """
    codes, detail = _parse(body)
    kind = _kind(status, codes)
    said = ", ".join(codes) + (f": {detail}" if codes and detail else detail)
    remedy = next((REMEDIES[code] for code in codes if code in REMEDIES), "")
    if kind is AuthDenied and not remedy:
        remedy = REMEDIES["UNAUTHORIZED"]
    if status == 400 and not codes and str(url).startswith("http://"):
        remedy = SPEAKS_TLS  # as the servers of Go and nginx answer at such a port
    message = f"cannot {action}: {redact_url(url)} answered {status}"
    message += (f" ({said})" if said else "") + (f"; {remedy}" if remedy else "")
    if retry_after_s is not None and kind in (RateLimited, Unavailable):
        message += f"; it asks to wait {retry_after_s:.0f} s"
    details: dict[str, Any] = {"status": status, "codes": codes, "url": redact_url(url)}
    if kind is RateLimited:
        return RateLimited(message, retry_after_s=retry_after_s, **details)
    if kind is Unavailable:
        return Unavailable(message, retry_after_s=retry_after_s, **details)
    return kind(message, **details)


def _kind(status: int, codes: tuple[str, ...]) -> type[RegistryError]:
    # The status decides where it is exact: some registries hide a missing repository behind DENIED.
    if status == 429:
        return RateLimited
    if status in (401, 403):
        return AuthDenied
    if status in (404, 410):
        return NotInRegistry
    if status >= 500 or status == 408:
        return Unavailable
    return next((CODES[code] for code in codes if code in CODES), RegistryError)


def _parse(body: bytes) -> tuple[tuple[str, ...], str]:
    """The specification's error codes in a body, and the first message."""
    try:
        document = json.loads(body[:ERROR_BODY_BYTES])
    except (ValueError, RecursionError):
        return (), ""
    entries = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return (), ""
    found = [entry for entry in entries[:MAX_CODES] if isinstance(entry, dict)]
    codes = [printable(str(entry["code"]), limit=64) for entry in found if entry.get("code")]
    details = [printable(str(entry["message"])) for entry in found if entry.get("message")]
    return tuple(codes), details[0] if details else ""
