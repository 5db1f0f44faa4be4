"""Bearer tokens from the server a challenge names.

A user and password go there as Basic with GET, an identity token as an OAuth2 refresh token with POST;
a server that knows no GET gets the password grant. Source: distribution, docs/spec/auth/token.md and
oauth.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any

import httpx

from pycontainer.errors import AuthDenied, RegistryError, TransferFailed
from pycontainer.registry.auth.basic import basic_header
from pycontainer.registry.auth.challenge import Challenge
from pycontainer.registry.auth.flow import Ask, Flow, Grant, TokenAnswer, TokenRequest
from pycontainer.registry.endpoints import is_loopback
from pycontainer.registry.redact import printable, redact_url

__all__ = ["bearer_flow"]

CLIENT_ID = "pycontainer"
DEFAULT_LIFETIME_S = 60.0  # the specification's, also for values that make no sense
LONGEST_LIFETIME_S = 3600.0
MAX_TOKEN = 64 << 10
# More than RFC 6750's token68, as token servers have it; above all no line break (RFC 9110, field values).
_TOKEN = re.compile(r"[!-~]+")


def bearer_flow(challenge: Challenge, ask: Ask) -> Flow:
    """Get a token for exactly the scopes asked for.

    Raises: AuthDenied if the token server refuses; RegistryError for a challenge that must not be
    followed or an answer that is no token.
    """
    if ask.credentials is not None and ask.credentials.registry_token:
        return Grant(
            header=f"Bearer {_checked(ask.credentials.registry_token)}", lifetime_s=DEFAULT_LIFETIME_S
        )
    realm = _realm(challenge, ask)
    service = challenge.parameters.get("service", "")
    if ask.credentials is not None and ask.credentials.identity_token:
        fields = {"grant_type": "refresh_token", "refresh_token": ask.credentials.identity_token}
        answer = yield _post(realm, service, ask, fields)
    else:
        answer = yield from _with_password(realm, service, ask)
    return _grant(answer, realm, ask)


def _with_password(
    realm: httpx.URL, service: str, ask: Ask
) -> Generator[TokenRequest, TokenAnswer, TokenAnswer]:
    """GET as user or anonymously; where only OAuth2 is served, the password grant."""
    pairs: list[tuple[str, Any]] = [*realm.params.multi_items()]
    if service:
        pairs.append(("service", service))
    if ask.credentials is not None and ask.credentials.username:
        pairs.append(("account", ask.credentials.username))
    pairs += [("scope", scope) for scope in ask.scopes]
    has_password = ask.credentials is not None and bool(ask.credentials.password)
    answer = yield TokenRequest(
        url=str(realm.copy_with(params=httpx.QueryParams(pairs))),
        authorization=basic_header(ask.credentials) if has_password and ask.credentials else "",
    )
    if answer.status in (404, 405) and has_password and ask.credentials is not None:
        fields = {
            "grant_type": "password",
            "username": ask.credentials.username,
            "password": ask.credentials.password,
        }
        answer = yield _post(realm, service, ask, fields)
    return answer


def _post(realm: httpx.URL, service: str, ask: Ask, fields: dict[str, str]) -> TokenRequest:
    form = {"client_id": CLIENT_ID, "service": service, "scope": " ".join(ask.scopes), **fields}
    return TokenRequest(url=str(realm), form={name: value for name, value in form.items() if value})


def _realm(challenge: Challenge, ask: Ask) -> httpx.URL:
    """The token server's URL, if credentials may go there.

    Plain HTTP only where the registry itself is spoken to so, and on its own host or loopback.
    """
    text = challenge.parameters.get("realm", "")
    registry = httpx.URL(ask.url)
    try:
        realm = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise RegistryError(
            f"token server {printable(text)!r} of {redact_url(registry)} is not a URL"
        ) from None
    is_near = realm.host == registry.host or (
        is_loopback(_bracketed(realm)) and is_loopback(_bracketed(registry))
    )
    is_allowed = realm.scheme == "https" or (realm.scheme == "http" == registry.scheme and is_near)
    if not is_allowed or not realm.host or realm.userinfo:
        raise RegistryError(
            f"{redact_url(registry)} names {redact_url(text)!r} as its token server; "
            "only https, or the host of a registry that is itself without TLS, may get credentials"
        )
    return realm.copy_with(fragment=None)


def _grant(answer: TokenAnswer, realm: httpx.URL, ask: Ask) -> Grant:
    shown = redact_url(realm.copy_with(query=None))
    who = f" for user {ask.credentials.username!r}" if ask.credentials and ask.credentials.username else ""
    if answer.status >= 500 or answer.status == 429:
        raise TransferFailed(
            f"token server {shown} answered {answer.status}", status=answer.status, url=shown
        )
    if answer.status != 200:
        raise AuthDenied(
            f"token server {shown} refused{who or ' anonymous access'} with {answer.status}; "
            f"check the credentials of {httpx.URL(ask.url).host}",
            status=answer.status,
            url=shown,
        )
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(f"token server {shown} did not answer with a JSON object", url=shown)
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str):
        raise RegistryError(f"token server {shown} answered without a token", url=shown)
    return Grant(header=f"Bearer {_checked(token)}", lifetime_s=_lifetime(document.get("expires_in")))


def _checked(token: str) -> str:
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise RegistryError("a bearer token has characters that do not belong in a header, or is too long")
    return token


def _lifetime(value: object) -> float:
    """Seconds; nonsense counts as the default, and nothing as longer than an hour."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        return DEFAULT_LIFETIME_S
    return min(float(value), LONGEST_LIFETIME_S)


def _bracketed(url: httpx.URL) -> str:
    return f"[{url.host}]" if ":" in url.host else url.host
