"""Chooses the way to authenticate, and remembers what was granted.

Requests go out anonymously first. A refusal names the ways the server offers; the first of FLOWS that it
offers is taken, and its grant is kept in memory for as long as it is good, per server, account and scope,
so that one account's token never serves another's request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence

import attrs
from cachetools import LRUCache, TLRUCache

from pycontainer.errors import AuthDenied
from pycontainer.registry.auth.basic import basic_flow
from pycontainer.registry.auth.bearer import bearer_flow
from pycontainer.registry.auth.challenge import Challenge, parse_challenges
from pycontainer.registry.auth.flow import Ask, Flow, Grant, TokenAnswer, TokenRequest
from pycontainer.registry.auth.keychain import Keychain
from pycontainer.registry.config import Credentials
from pycontainer.registry.endpoints import Endpoint
from pycontainer.registry.redact import printable, redact_url

__all__ = ["FLOWS", "Authenticator", "Right"]

# In the order of preference, by scheme.
FLOWS: tuple[tuple[str, Callable[[Challenge, Ask], Flow]], ...] = (
    ("bearer", bearer_flow),
    ("basic", basic_flow),
)
MAX_GRANTS = 1024
MARGIN_S = 5.0  # a token is not used in its last seconds, for it must survive the way


@attrs.frozen(kw_only=True)
class Right:
    """What a request needs: the scopes, and the repository whose account counts."""

    repository: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def to(cls, repository: str, actions: str, *, mount_from: Sequence[str] = ()) -> Right:
        """The right to `actions` ("pull", "pull,push") on a repository, and to pull from others."""
        others = [f"repository:{other}:pull" for other in dict.fromkeys(mount_from) if other != repository]
        return cls(repository=repository, scopes=(f"repository:{repository}:{actions}", *others))

    def moved(self, repository: str, there: str) -> Right:
        """The right to the same on a repository that has another path there."""
        start, moved = f"repository:{repository}:", f"repository:{there}:"
        scopes = (moved + scope[len(start) :] if scope.startswith(start) else scope for scope in self.scopes)
        return Right(repository=there, scopes=tuple(scopes))


@attrs.frozen
class _Key:
    host: str
    challenge: str
    scopes: frozenset[str]
    account: Credentials | None


class Authenticator:
    """Thread-safe; one per client."""

    def __init__(self, keychain: Keychain, timer: Callable[[], float] = time.monotonic) -> None:
        self._keychain = keychain
        self._lock = threading.Lock()
        self._challenges: LRUCache[str, Challenge] = LRUCache(256)
        self._grants: TLRUCache[_Key, Grant] = TLRUCache(MAX_GRANTS, ttu=_expiry, timer=timer)

    def remembered(self, endpoint: Endpoint, right: Right) -> str | None:
        """The Authorization header an earlier negotiation earned, or None."""
        with self._lock:
            challenge = self._challenges.get(endpoint.host)
        if challenge is None:
            return None
        key = self._key(endpoint, right, challenge)
        with self._lock:
            grant = self._grants.get(key)
        return grant.header if grant is not None else None

    def negotiate(
        self, endpoint: Endpoint, right: Right, url: str, offers: Sequence[str]
    ) -> Generator[TokenRequest, TokenAnswer, str]:
        """Earn an Authorization header after a refusal with these WWW-Authenticate headers.

        Raises: AuthDenied; RegistryError.
        """
        challenges = parse_challenges(offers)
        for scheme, flow in FLOWS:
            challenge = next((offer for offer in challenges if offer.scheme == scheme), None)
            if challenge is None:
                continue
            key = self._key(endpoint, right, challenge)
            grant = yield from flow(challenge, Ask(url=url, scopes=right.scopes, credentials=key.account))
            with self._lock:
                self._challenges[endpoint.host] = challenge
                self._grants[key] = grant
            return grant.header
        offered = ", ".join(printable(offer.scheme, 40) for offer in challenges) or "none"
        raise AuthDenied(
            f"{redact_url(url)} wants authentication, and of the ways it offers ({offered}) none is known",
            status=401,
            url=redact_url(url),
        )

    def forget(self, endpoint: Endpoint, right: Right) -> None:
        """Drop what the server no longer accepts."""
        with self._lock:
            challenge = self._challenges.get(endpoint.host)
        if challenge is not None:
            key = self._key(endpoint, right, challenge)
            with self._lock:
                self._grants.pop(key, None)

    def _key(self, endpoint: Endpoint, right: Right, challenge: Challenge) -> _Key:
        account = self._keychain.find(endpoint.account, right.repository)
        named = (
            f"{challenge.scheme} {challenge.parameters.get('realm')} {challenge.parameters.get('service')}"
        )
        return _Key(endpoint.host, named, frozenset(right.scopes), account)


def _expiry(_key: _Key, grant: Grant, now: float) -> float:
    return now + max(0.0, grant.lifetime_s - MARGIN_S)
