"""What every way to authenticate has in common. A flow is a generator without I/O.

It yields requests to the token server and is resumed with the answers; its return value is what goes
into the Authorization header. So the same body serves the client, and tests without a network.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypeAlias

import attrs

from pycontainer.registry.config import Credentials

__all__ = ["Ask", "Flow", "Grant", "TokenAnswer", "TokenRequest"]


@attrs.frozen(kw_only=True)
class Ask:
    """What is to be authorised.

    url: the request that was refused, redacted by whoever shows it. scopes: what we need, in our own
    words; what the server says it wants never widens them.
    """

    url: str
    scopes: tuple[str, ...]
    credentials: Credentials | None


@attrs.frozen(kw_only=True)
class TokenRequest:
    """A request to a token server. form: fields of a POST, or None for GET."""

    url: str
    authorization: str = attrs.field(default="", repr=False)
    form: Mapping[str, str] | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class TokenAnswer:
    """The token server's answer."""

    status: int
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen(kw_only=True)
class Grant:
    """A value for the Authorization header, and for how many seconds it is good."""

    header: str = attrs.field(repr=False)
    lifetime_s: float


Flow: TypeAlias = Generator[TokenRequest, TokenAnswer, Grant]
