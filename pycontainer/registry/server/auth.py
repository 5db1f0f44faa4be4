"""Who may do what: nobody asked, basic authentication, or Docker's bearer tokens from our own /token.

Tokens are signed claims (HMAC-SHA-256 under a key of this server's lifetime), so the server keeps no list
of them. Source: distribution docs, "Docker Registry v2 authentication via central service" and "OAuth2
Token Authentication"; RFC 7617; RFC 6750.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from pycontainer.registry.server.messages import Request, Response
from pycontainer.registry.server.refusals import Refusal

SERVICE: Final = "pycontainer-registry"

_TOKEN_LIFE_S: Final = 300
_FORM_BYTES: Final = 64 << 10
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_SCOPE: Final = re.compile(r"([a-z]+(?:\([a-z]+\))?):([a-zA-Z0-9._/*:\[\]-]+):([a-z,*]+)")
_ACTIONS: Final = {
    "GET": "pull",
    "HEAD": "pull",
    "POST": "push",
    "PUT": "push",
    "PATCH": "push",
    "DELETE": "delete",
}


class Gate:
    """Decides on every request. users None lets everybody in.

    with_tokens: demand a bearer token from /token instead of basic credentials.
    """

    def __init__(
        self, users: Mapping[str, str] | None, *, with_tokens: bool, scheme: str, address: str
    ) -> None:
        self._users = None if users is None else {name: word.encode() for name, word in users.items()}
        self.with_tokens = with_tokens
        self._scheme = scheme
        self._address = address
        self._key = secrets.token_bytes(32)

    # -- requests to /v2/ ---------------------------------------------------------------------------

    def check(self, request: Request, resource: str, name: str) -> None:
        """Let the request pass, or raise Refusal UNAUTHORIZED with the challenge.

        resource and name say what it is about: ("repository", "a/b"), ("registry", "catalog"), ("", "").
        """
        if self.with_tokens:
            action = "*" if resource == "registry" else _ACTIONS.get(request.method, "push")
            if not self.may(request, resource, name, action):
                raise self._bearer_challenge(request, resource, name, action)
        elif self._users is not None and self._basic_user(request) is None:
            raise Refusal(
                401, "UNAUTHORIZED", "log in first", headers={"WWW-Authenticate": f'Basic realm="{SERVICE}"'}
            )

    def may(self, request: Request, resource: str, name: str, action: str) -> bool:
        """Whether the request's token grants one action; without tokens, whatever check() let pass."""
        if not self.with_tokens:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = self._verified(token.strip(), "access") if scheme.lower() == "bearer" else None
        if claims is None:
            return False
        if not resource:
            return True
        granted = claims["access"].get(f"{resource}:{name}", [])
        return action in granted or "*" in granted

    def _bearer_challenge(self, request: Request, resource: str, name: str, action: str) -> Refusal:
        parts = [f'Bearer realm="{self._scheme}://{self._host(request)}/token"', f'service="{SERVICE}"']
        if resource:
            wanted = "pull,push" if action == "push" else action
            parts.append(f'scope="{resource}:{name}:{wanted}"')
        if "authorization" in request.headers:
            parts.append('error="insufficient_scope"' if resource else 'error="invalid_token"')
        return Refusal(
            401, "UNAUTHORIZED", "get a token first", headers={"WWW-Authenticate": ",".join(parts)}
        )

    def _host(self, request: Request) -> str:
        # As the client calls us, so that the realm is on the same host; never text that ends the quotes.
        host = request.headers.get("host", "")
        return host if _HOST.fullmatch(host) else self._address

    # -- credentials --------------------------------------------------------------------------------

    def _basic_user(self, request: Request) -> str | None:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, _, word = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return name if self._is_password(name, word) else None

    def _is_password(self, name: str, word: str) -> bool:
        if self._users is None:
            return True
        # Digests have one length, and an unknown user costs the same comparison as a known one.
        expected = hashlib.sha256(self._users.get(name, self._key)).digest()
        matches = hmac.compare_digest(expected, hashlib.sha256(word.encode()).digest())
        return matches and name in self._users

    # -- /token -------------------------------------------------------------------------------------

    def token(self, request: Request) -> Response:
        """Answer GET (basic credentials or nobody) and POST (OAuth2 password and refresh_token grants)."""
        if request.method == "GET":
            scopes, offline = request.queries("scope"), request.query("offline_token") == "true"
            user = self._basic_user(request)
            if user is None and (self._users is not None or "authorization" in request.headers):
                raise Refusal(401, "UNAUTHORIZED", "wrong user name or password")
            return self._token_response("token", user or "", scopes, with_refresh=offline)
        if request.method != "POST":
            raise Refusal(405, "UNSUPPORTED", "use GET or POST", headers={"Allow": "GET, POST"})
        form = self._form(request)
        grant = form.get("grant_type", [""])[0]
        user = None
        if grant == "refresh_token":
            claims = self._verified(form.get("refresh_token", [""])[0], "refresh")
            user = None if claims is None else str(claims["user"])
        elif grant == "password":
            name, word = form.get("username", [""])[0], form.get("password", [""])[0]
            user = name if self._is_password(name, word) else None
        else:
            raise Refusal(400, "UNSUPPORTED", f"grant type {grant[:50]!r} is not supported")
        if user is None:
            raise Refusal(401, "UNAUTHORIZED", "wrong credentials")
        offline = grant == "refresh_token" or form.get("access_type", [""])[0] == "offline"
        return self._token_response("access_token", user, form.get("scope", []), with_refresh=offline)

    @staticmethod
    def _form(request: Request) -> dict[str, list[str]]:
        content = request.body.read(_FORM_BYTES)
        if content is None:
            raise Refusal(413, "SIZE_INVALID", f"a token request has at most {_FORM_BYTES} bytes")
        try:
            return parse_qs(content.decode(), keep_blank_values=True, max_num_fields=64)
        except ValueError as error:
            raise Refusal(400, "UNSUPPORTED", "the body is not a form") from error

    def _token_response(
        self, field: str, user: str, scopes: Iterable[str], *, with_refresh: bool
    ) -> Response:
        granted: dict[str, list[str]] = {}
        for scope in (each for line in scopes for each in line.split()):
            found = _SCOPE.fullmatch(scope)
            if found is not None:
                granted.setdefault(f"{found[1]}:{found[2]}", []).extend(found[3].split(","))
        now = int(time.time())
        access = self._signed(
            {"kind": "access", "user": user, "access": granted, "until": now + _TOKEN_LIFE_S}
        )
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        document: dict[str, Any] = {field: access, "expires_in": _TOKEN_LIFE_S, "issued_at": issued}
        document["scope"] = " ".join(f"{name}:{','.join(actions)}" for name, actions in granted.items())
        if with_refresh:
            document["refresh_token"] = self._signed({"kind": "refresh", "user": user, "until": now + 86400})
        return Response(
            200,
            {"Content-Type": "application/json", "Cache-Control": "no-store"},
            json.dumps(document).encode(),
        )

    def _signed(self, claims: dict[str, Any]) -> str:
        # RFC 6750 has "=" only at the end of a token, where the padding of its first half is not.
        body = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
        return f"{body.decode()}.{self._signature(body)}"

    def _signature(self, body: bytes) -> str:
        return hmac.new(self._key, body, hashlib.sha256).hexdigest()

    def _verified(self, token: str, kind: str) -> dict[str, Any] | None:
        body, _, signature = token.partition(".")
        if not body.isascii() or not signature.isascii():
            return None
        if not hmac.compare_digest(self._signature(body.encode()), signature):
            return None
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return claims if claims["kind"] == kind and claims["until"] > time.time() else None
