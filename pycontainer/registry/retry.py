"""When to try again, and after how long. No I/O and no clock of its own: waits are the caller's."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from pycontainer.errors import RateLimited, RegistryError, TransferFailed
from pycontainer.registry.config import Retries
from pycontainer.registry.errors import Unavailable, Unreachable
from pycontainer.registry.redact import printable

__all__ = [
    "delays",
    "from_transport",
    "is_worth_retrying",
    "parse_retry_after",
    "pause_after",
    "with_retries",
]

T = TypeVar("T")
_CLIENT_CERTIFICATE_ALERTS = ("ALERT_CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")
UNREACHABLE_ATTEMPTS = 2  # nobody listens there: once more, for a server that is just restarting


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds a Retry-After header asks for: a number of them or a date; None if it says neither."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def delays(policy: Retries) -> Iterator[float]:
    """Seconds to wait before each further attempt: exponential, between half and all of it by chance."""
    for attempt in range(policy.attempts - 1):
        longest = min(policy.cap_s, policy.base_s * 2.0**attempt)
        yield longest * random.uniform(0.5, 1.0)  # not for secrets: it only spreads the clients


def pause_after(error: RegistryError, delay_s: float, policy: Retries) -> float:
    """How long to wait after `error`, which may carry the server's own wish.

    Raises: the error itself where the server asks for longer than the policy allows.
    """
    asked = error.retry_after_s if isinstance(error, RateLimited | Unavailable) else None
    if asked is None:
        return delay_s
    if asked > policy.retry_after_cap_s:
        raise error
    return max(delay_s, asked)


def is_worth_retrying(error: RegistryError) -> bool:
    """Whether the failure may pass by itself."""
    return isinstance(error, RateLimited) or (isinstance(error, TransferFailed) and error.is_temporary)


def with_retries(
    call: Callable[[], T],
    policy: Retries,
    wait: Callable[[float], None],
    on_retry: Callable[[RegistryError], None] | None = None,
) -> T:
    """Call until it works, the failure is one that stays, or the attempts are used up."""
    waits = delays(policy)
    unreachable = 0
    while True:
        try:
            return call()
        except RegistryError as error:
            unreachable += isinstance(error, Unreachable)
            delay_s = next(waits, None)
            if delay_s is None or not is_worth_retrying(error) or unreachable >= UNREACHABLE_ATTEMPTS:
                raise
            pause_s = pause_after(error, delay_s, policy)
            if on_retry is not None:
                on_retry(error)
        wait(pause_s)


def from_transport(error: httpx.TransportError, action: str, url: str) -> TransferFailed:
    """The error for a connection that failed, with what the kernel or TLS said."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        reason = f"the server did not answer in time ({type(error).__name__})"
    certificate = _certificate_error(error)
    if certificate is not None:
        reason = (
            f"its certificate is not trusted ({certificate.verify_message}); "
            "add its authority to certs.d, or list the host as insecure"
        )
    wants_certificate = _wants_certificate(error)
    if wants_certificate:
        reason = (
            f"it demands a client certificate that it trusts ({printable(reason)}); put client.cert and "
            "client.key into its directory of certs.d"
        )
    is_temporary = (
        certificate is None and not wants_certificate and not isinstance(error, httpx.UnsupportedProtocol)
    )
    is_connecting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
    kind = Unreachable if is_connecting else TransferFailed
    return kind(f"cannot {action}: {url}: {printable(reason)}", is_temporary=is_temporary, url=url)


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    return next((each for each in _chain(error) if isinstance(each, ssl.SSLCertVerificationError)), None)


def _wants_certificate(error: BaseException) -> bool:
    """Whether the server ended the handshake for want of a certificate (RFC 8446, section 6.2)."""
    reasons = [str(each.reason) for each in _chain(error) if isinstance(each, ssl.SSLError)]
    return any(reason.endswith(alert) for reason in reasons for alert in _CLIENT_CERTIFICATE_ALERTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
