"""One request to a registry: scheme, authentication, redirects, and errors of this package.

Theory of operation. `open` sends a request to an endpoint and gives the response with its body unread.
The first request to a host finds out its scheme. A 401 of the registry itself starts a negotiation, after
which the request is sent once more; a 401 of a host we were redirected to gets nothing. Redirects are
followed here, one by one, each checked by `guard`: credentials stay with the host they were for, and a
target may only lie where the registry itself lies (its zone is that of the address it answered from).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar
from urllib.parse import urlencode

import attrs
import httpx
from cachetools import LRUCache, TTLCache

from pycontainer.errors import IntegrityError, InvalidImage, PycontainerError, RegistryError, TransferFailed
from pycontainer.oci import Reference
from pycontainer.registry import guard
from pycontainer.registry.auth import Authenticator, Keychain, Right, TokenAnswer, TokenRequest
from pycontainer.registry.cancel import Cancelled, current
from pycontainer.registry.config import RegistryConfig
from pycontainer.registry.endpoints import Endpoint, endpoints_for, located, may_pull, schemes_for
from pycontainer.registry.errors import ERROR_BODY_BYTES, SPEAKS_TLS, Unreachable, refusal
from pycontainer.registry.guard import Zone
from pycontainer.registry.hosts import HostSettings
from pycontainer.registry.notices import Notices
from pycontainer.registry.redact import redact_url
from pycontainer.registry.retry import from_transport, parse_retry_after, with_retries
from pycontainer.registry.wires import Wires

__all__ = ["Content", "Request", "Session", "read_limited", "transport_errors"]

MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOKEN_BYTES = 1 << 20
DOWN_S = 30.0  # how long a mirror that could not be reached is passed over
T = TypeVar("T")
_NO_SETTINGS = HostSettings()
# A body is bytes, or a function giving its chunks anew for each time it is sent.
Content: TypeAlias = bytes | Callable[[], Iterable[bytes]] | None


@attrs.frozen(kw_only=True)
class Request:
    """What to ask a registry.

    action: what it is for, in the infinitive, for errors. path: below the API's root, or url: one the
    registry gave us itself. accepts: the statuses that are no failure. timeout_s: for each wait, instead
    of the configured ones.
    """

    action: str
    method: str = "GET"
    path: str = ""
    url: httpx.URL | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content: Content = attrs.field(default=None, repr=False)
    right: Right = attrs.field(factory=Right)
    accepts: frozenset[int] = frozenset({200})
    timeout_s: float | None = None


class Session:
    """Connections, credentials and what was learned about hosts; thread-safe."""

    def __init__(self, config: RegistryConfig, *, transport: httpx.BaseTransport | None = None) -> None:
        self.config = config
        self.notices: Notices = Notices()
        self._keychain = Keychain(config)
        self._authenticator = Authenticator(self._keychain)
        self._wires = Wires(config, transport)
        self._lock = threading.Lock()
        self._schemes: LRUCache[str, str] = LRUCache(1024)
        self._zones: LRUCache[str, Zone] = LRUCache(1024)
        self._down: TTLCache[str, bool] = TTLCache(256, DOWN_S)

    def forget_accounts(self) -> None:
        """Ask credential helpers anew: an account was written or removed."""
        self._keychain.forget()

    def close(self) -> None:
        """Close all connections."""
        self._wires.close()

    @contextmanager
    def open(self, endpoint: Endpoint, request: Request) -> Iterator[httpx.Response]:
        """Send a request; gives the response, its body unread, and closes it afterwards.

        Raises: RegistryError of the fitting kind for any status outside request.accepts.
        """
        current().check()
        answer = self._authorised(*self._located(endpoint, request))
        try:
            if answer.inner.status_code not in request.accepts:
                raise self._refusal(request, answer)
            with transport_errors(request.action, redact_url(answer.url)):
                yield answer.inner
        finally:
            answer.inner.close()

    @contextmanager
    def open_foreign(self, url: httpx.URL, request: Request) -> Iterator[httpx.Response]:
        """Send a request outside of any registry: no credentials, public addresses only."""
        answer = self._follow(url, request, None, Zone.PUBLIC, is_own=False)
        try:
            if answer.inner.status_code not in request.accepts:
                raise self._refusal(request, answer)
            with transport_errors(request.action, redact_url(answer.url)):
                yield answer.inner
        finally:
            answer.inner.close()

    def document(self, endpoint: Endpoint, request: Request, limit: int) -> tuple[bytes, httpx.Headers]:
        """A whole small answer, with retries.

        Raises: RegistryError, also if the answer is above `limit` bytes.
        """

        def once() -> tuple[bytes, httpx.Headers]:
            with self.open(endpoint, request) as response:
                if request.method == "HEAD":
                    return b"", response.headers  # its Content-Length is that of a GET
                return read_limited(response, limit, request.action), response.headers

        return with_retries(once, self.config.retries, current().wait)

    def anywhere(self, reference: Reference, call: Callable[[Endpoint], T], *, by_tag: bool = False) -> T:
        """The first success of `call` over the mirrors in their order and then the registry itself.

        What went wrong with mirrors becomes notes on the registry's own error.
        """
        *mirrors, registry = endpoints_for(reference, self.config)
        notes = []
        for mirror in mirrors:
            with self._lock:
                is_down = mirror.host in self._down
            if is_down or (by_tag and not mirror.resolves_tags):
                continue
            try:
                return call(mirror)
            except Cancelled:
                raise
            except (RegistryError, IntegrityError, InvalidImage) as error:
                notes.append(f"mirror {mirror.host}: {error}")
                if isinstance(error, Unreachable):
                    with self._lock:
                        self._down[mirror.host] = True
        try:
            if not may_pull(registry, reference, self.config):
                raise RegistryError(
                    f"the hosts.toml of {reference.domain} lets nothing be pulled from its server"
                )
            return call(registry)
        except PycontainerError as error:
            for note in notes:
                error.add_note(note)
            raise

    def known_url(self, endpoint: Endpoint, request: Request) -> httpx.URL:
        """Where a request goes that was sent before, so that the scheme is known."""
        if request.url is not None:
            return request.url
        endpoint, request = self._located(endpoint, request)
        with self._lock:
            scheme = self._schemes.get(endpoint.host) or schemes_for(endpoint, self.config)[0].name
        return self._url_of(endpoint, scheme, request)

    def _located(self, endpoint: Endpoint, request: Request) -> tuple[Endpoint, Request]:
        """Where a request really goes, and with the repository's path there."""
        endpoint = located(endpoint, request.right.repository, self.config)
        named, there = endpoint.repository
        if named == there or request.right.repository != named:
            return endpoint, request
        right = request.right.moved(named, there)
        path = request.path
        if path == named or path.startswith(f"{named}/"):
            path = there + path[len(named) :]
        return endpoint, attrs.evolve(request, path=path, right=right)

    def _url_of(self, endpoint: Endpoint, scheme: str, request: Request) -> httpx.URL:
        """The URL of a request that goes to the endpoint itself."""
        query = list(request.query)
        if endpoint.is_mirror:
            # Tells a mirror of several registries which one is meant (containerd's convention).
            query.append(("ns", endpoint.domain))
        text = f"{scheme}://{endpoint.host}{endpoint.root}/{request.path}"
        return httpx.URL(f"{text}?{urlencode(query)}" if query else text)

    # -- one request

    def _authorised(self, endpoint: Endpoint, request: Request) -> _Answer:
        authorization = self._authenticator.remembered(endpoint, request.right)
        answer = self._on_some_scheme(endpoint, request, authorization)
        if answer.inner.status_code != 401:
            return answer
        if not answer.is_own:
            return answer  # redirected elsewhere: credentials are none of that host's business
        offers = answer.inner.headers.get_list("www-authenticate")
        answer.inner.close()
        self._authenticator.forget(endpoint, request.right)
        header = self._negotiated(endpoint, request, answer, offers)
        answer = self._on_some_scheme(endpoint, request, header)
        if answer.inner.status_code == 401:
            self._authenticator.forget(endpoint, request.right)
        return answer

    def _negotiated(
        self, endpoint: Endpoint, request: Request, answer: _Answer, offers: Sequence[str]
    ) -> str:
        """Drive the authentication flow: the one place where its requests become traffic."""
        flow = self._authenticator.negotiate(endpoint, request.right, str(answer.first_url), offers)
        try:
            wanted = next(flow)
            while True:
                reply = self._ask_for_token(wanted, answer, endpoint.settings)
                wanted = flow.send(reply)
        except StopIteration as stop:
            header: str = stop.value
            return header

    def _ask_for_token(
        self, wanted: TokenRequest, answer: _Answer, settings: HostSettings | None
    ) -> TokenAnswer:
        headers = {"Accept": "application/json"}
        content = None
        if wanted.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            content = urlencode(wanted.form).encode()
        request = Request(
            action="get a token", method="POST" if content else "GET", headers=headers, content=content
        )
        url = httpx.URL(wanted.url)
        if guard.same_origin(url, answer.first_url):
            reply = self._follow(url, request, wanted.authorization, Zone.ANY, settings=settings)
        else:
            reply = self._follow(url, request, wanted.authorization, answer.zone)
        try:
            with transport_errors(request.action, redact_url(url)):
                return TokenAnswer(
                    status=reply.inner.status_code,
                    body=read_limited(reply.inner, TOKEN_BYTES, request.action),
                )
        finally:
            reply.inner.close()

    def _on_some_scheme(self, endpoint: Endpoint, request: Request, authorization: str | None) -> _Answer:
        """Send over the host's scheme; the first time, over the first one that connects."""
        if request.url is not None:
            return self._to_given_url(endpoint, request, request.url, authorization)
        with self._lock:
            known = self._schemes.get(endpoint.host)
        schemes = [known] if known else [scheme.name for scheme in schemes_for(endpoint, self.config)]
        for scheme in schemes[:-1]:
            try:
                return self._on_scheme(endpoint, scheme, request, authorization)
            except Unreachable:
                continue
        try:
            return self._on_scheme(endpoint, schemes[-1], request, authorization)
        except TransferFailed as error:
            is_assumed = not known and endpoint.scheme is None and schemes == ["http"]
            if not is_assumed or isinstance(error, Unreachable):
                raise
            raise TransferFailed(
                f"{error}; {SPEAKS_TLS}", is_temporary=error.is_temporary, url=error.url
            ) from error

    def _on_scheme(
        self, endpoint: Endpoint, scheme: str, request: Request, authorization: str | None
    ) -> _Answer:
        url = self._url_of(endpoint, scheme, request)
        answer = self._follow(url, request, authorization, Zone.ANY, settings=endpoint.settings)
        with self._lock:
            self._schemes[endpoint.host] = scheme
            self._zones[endpoint.host] = answer.zone
        return answer

    def _to_given_url(
        self, endpoint: Endpoint, request: Request, url: httpx.URL, authorization: str | None
    ) -> _Answer:
        """Send to a URL the registry gave us: with credentials only if it is the registry's own."""
        with self._lock:
            scheme = self._schemes.get(endpoint.host) or schemes_for(endpoint, self.config)[0].name
            zone = self._zones.get(endpoint.host, Zone.PUBLIC)
        own = httpx.URL(f"{scheme}://{endpoint.host}")
        if guard.same_origin(own, url):
            return self._follow(url, request, authorization, Zone.ANY, settings=endpoint.settings)
        return self._follow(url, request, None, zone, is_own=False)

    def _follow(
        self,
        url: httpx.URL,
        request: Request,
        authorization: str | None,
        zone: Zone,
        *,
        is_own: bool = True,
        settings: HostSettings | None = None,
    ) -> _Answer:
        first_url, hop_zone = url, zone
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, request, authorization, hop_zone, settings)
            if is_own and guard.same_origin(url, first_url):
                zone = self._zone_of(response, url)
                if "warning" in response.headers:
                    self.notices.note(url.netloc.decode("ascii"), response.headers.get_list("warning"))
            if not self._is_redirect(request, response):
                return _Answer(response, first_url=first_url, url=url, zone=zone, is_own=is_own)
            response.close()
            target = guard.next_url(url, response.headers.get("location", ""), "redirect")
            if not guard.same_origin(url, target):
                authorization, is_own, settings = None, False, None
            hop_zone = Zone.ANY if guard.same_origin(target, first_url) else zone
            guard.check_literal(target, hop_zone)
            url = target
        raise RegistryError(
            f"cannot {request.action}: {redact_url(first_url)} redirects more than {MAX_REDIRECTS} times",
            url=redact_url(first_url),
        )

    def _is_redirect(self, request: Request, response: httpx.Response) -> bool:
        if response.status_code not in REDIRECTS or response.status_code in request.accepts:
            return False
        # 301 to 303 turn other methods into GET, which would lose an upload without an error.
        return request.method in ("GET", "HEAD") or response.status_code in (307, 308)

    def _zone_of(self, response: httpx.Response, url: httpx.URL) -> Zone:
        """Where the server is that answered; behind a proxy its name alone can tell."""
        stream = response.extensions.get("network_stream")
        if stream is not None and not self._wires.proxy_for(url):
            address = stream.get_extra_info("server_addr")
            if address:
                return guard.zone_of_address(str(address[0]))
        return guard.zone_of_name(url.host) or Zone.PUBLIC

    def _send(
        self,
        url: httpx.URL,
        request: Request,
        authorization: str | None,
        zone: Zone,
        settings: HostSettings | None,
    ) -> httpx.Response:
        timeouts, settings = self.config.timeouts, settings or _NO_SETTINGS
        headers = httpx.Headers([("Accept-Encoding", "identity"), *settings.headers])
        headers.setdefault("User-Agent", self.config.user_agent)
        headers.update(request.headers)
        if authorization:
            headers["Authorization"] = authorization
        body = request.content() if callable(request.content) else request.content
        outgoing = httpx.Request(
            request.method,
            url,
            headers=headers,
            content=body,
            extensions={
                "timeout": {
                    "connect": request.timeout_s or settings.connect_s or timeouts.connect_s,
                    **dict.fromkeys(("read", "write", "pool"), request.timeout_s or timeouts.read_gap_s),
                }
            },
        )
        if zone is not Zone.ANY:
            guard.check_literal(url, zone)
        with transport_errors(request.action, redact_url(url)):
            response = self._wires.transport(url, zone, settings.tls).handle_request(outgoing)
        if response.is_stream_consumed:
            # A given transport may answer with a body in memory, which httpx counts as read.
            return httpx.Response(
                response.status_code, headers=response.headers, stream=httpx.ByteStream(response.content)
            )
        return response

    def _refusal(self, request: Request, answer: _Answer) -> RegistryError:
        body = b""
        if request.method != "HEAD":
            try:
                body = read_limited(answer.inner, ERROR_BODY_BYTES, request.action)
            except (RegistryError, httpx.TransportError):
                body = b""  # the status says enough
        return refusal(
            request.action,
            answer.url,
            answer.inner.status_code,
            body,
            retry_after_s=parse_retry_after(answer.inner.headers.get("retry-after")),
        )


@attrs.frozen
class _Answer:
    """A response, with where it came from.

    first_url: where we asked. url: who answered. zone: the registry's. is_own: whether that is the
    registry itself, not a host it redirected to.
    """

    inner: httpx.Response
    first_url: httpx.URL = attrs.field(kw_only=True)
    url: httpx.URL = attrs.field(kw_only=True)
    zone: Zone = attrs.field(kw_only=True)
    is_own: bool = attrs.field(kw_only=True)


def read_limited(response: httpx.Response, limit: int, action: str) -> bytes:
    """A whole body, undecoded.

    Raises: RegistryError as soon as it is above `limit` bytes.
    """
    announced = response.headers.get("content-length", "")
    is_too_long = announced.isdigit() and int(announced) > limit
    parts: list[bytes] = []
    size = 0
    if not is_too_long:
        for chunk in response.iter_raw():
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                is_too_long = True
                break
    if is_too_long:
        raise RegistryError(
            f"cannot {action}: the answer is larger than {limit} bytes", status=response.status_code
        )
    return b"".join(parts)


@contextmanager
def transport_errors(action: str, url: str) -> Iterator[None]:
    """Within, a broken connection becomes TransferFailed, and a cancelled one Cancelled."""
    try:
        yield
    except httpx.TransportError as error:
        current().check()  # a socket that was shut down by cancelling shows as a broken connection
        raise from_transport(error, action, url) from error
    except httpx.InvalidURL as error:
        raise TransferFailed(f"cannot {action}: {url}: {error}", is_temporary=False, url=url) from error
