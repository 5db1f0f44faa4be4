"""Basic authentication. Source: RFC 7617."""

from __future__ import annotations

import base64

from pycontainer.errors import AuthDenied
from pycontainer.registry.auth.challenge import Challenge
from pycontainer.registry.auth.flow import Ask, Flow, Grant
from pycontainer.registry.config import Credentials
from pycontainer.registry.redact import redact_url

__all__ = ["basic_flow", "basic_header"]

LIFETIME_S = 3600.0  # only how long the keychain is not asked again


def basic_flow(_challenge: Challenge, ask: Ask) -> Flow:
    """Answer with user and password, if there are any for this host.

    Raises: AuthDenied.
    """
    yield from ()
    credentials = ask.credentials
    if credentials is None or not (credentials.username and credentials.password):
        raise AuthDenied(
            f"{redact_url(ask.url)} wants a user and a password; log in first",
            status=401,
            url=redact_url(ask.url),
        )
    return Grant(header=basic_header(credentials), lifetime_s=LIFETIME_S)


def basic_header(credentials: Credentials) -> str:
    """The Authorization header for a user and a password."""
    pair = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
