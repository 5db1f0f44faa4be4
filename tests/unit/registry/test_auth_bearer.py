from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pycontainer.errors import AuthDenied, RegistryError, TransferFailed
from pycontainer.registry import Credentials
from pycontainer.registry.auth.bearer import bearer_flow
from pycontainer.registry.auth.challenge import Challenge
from pycontainer.registry.auth.flow import Ask, Grant, TokenAnswer, TokenRequest

REGISTRY = "https://reg.example/v2/app/manifests/1"
REALM = "https://auth.example/token"
SCOPES = ("repository:app:pull", "repository:base:pull")


def run(
    *answers: TokenAnswer,
    credentials: Credentials | None = None,
    realm: str = REALM,
    url: str = REGISTRY,
    **parameters: str,
) -> tuple[Grant, list[TokenRequest]]:
    """Drive the flow without a network."""
    flow = bearer_flow(
        Challenge("bearer", {"realm": realm, "service": "reg", **parameters}),
        Ask(url=url, scopes=SCOPES, credentials=credentials),
    )
    requests: list[TokenRequest] = []
    replies = iter(answers)
    try:
        requests.append(next(flow))
        while True:
            requests.append(flow.send(next(replies)))
    except StopIteration as stop:
        return stop.value, requests


def token(**fields: Any) -> TokenAnswer:
    return TokenAnswer(status=200, body=json.dumps({"token": "abc", **fields}).encode())


def test_an_anonymous_token_is_asked_for_with_our_scopes_and_no_credentials() -> None:
    grant, [request] = run(token())
    assert grant.header == "Bearer abc"
    assert request.url == (
        f"{REALM}?service=reg&scope=repository%3Aapp%3Apull&scope=repository%3Abase%3Apull"
    )
    assert request.authorization == ""
    assert request.form is None


def test_the_servers_scope_never_widens_what_is_asked_for() -> None:
    _, [request] = run(token(), scope="repository:secret:pull,push,delete registry:catalog:*")
    assert "secret" not in request.url
    assert "catalog" not in request.url


def test_service_and_scope_are_encoded_so_that_they_inject_nothing() -> None:
    _, [request] = run(token(), service="a&scope=repository:x:push\r\nHost: evil")
    assert "&scope=repository:x" not in request.url
    assert "\r" not in request.url
    assert "\n" not in request.url


def test_a_realm_keeps_its_own_query() -> None:
    _, [request] = run(token(), realm=f"{REALM}?tenant=7")
    assert request.url.startswith(f"{REALM}?tenant=7&service=reg&")


def test_user_and_password_go_as_basic() -> None:
    _, [request] = run(token(), credentials=Credentials(username="me", password="pässword"))
    assert base64.b64decode(request.authorization.removeprefix("Basic ")).decode() == "me:pässword"
    assert "account=me" in request.url


def test_an_identity_token_is_exchanged_by_post() -> None:
    answer = TokenAnswer(status=200, body=b'{"access_token": "xyz", "expires_in": 300}')
    grant, [request] = run(answer, credentials=Credentials(identity_token="refresh"))
    assert grant == Grant(header="Bearer xyz", lifetime_s=300.0)
    assert request.url == REALM
    assert request.form == {
        "client_id": "pycontainer",
        "service": "reg",
        "scope": " ".join(SCOPES),
        "grant_type": "refresh_token",
        "refresh_token": "refresh",
    }


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_get_is_asked_with_the_password_grant(status: int) -> None:
    grant, [_, second] = run(
        TokenAnswer(status=status), token(), credentials=Credentials(username="me", password="pw")
    )
    assert grant.header == "Bearer abc"
    assert second.form is not None
    assert second.form["grant_type"] == "password"
    assert (second.form["username"], second.form["password"]) == ("me", "pw")


def test_a_registry_token_is_used_as_it_is() -> None:
    grant, requests = run(credentials=Credentials(registry_token="ready"))
    assert grant.header == "Bearer ready"
    assert requests == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 60),
        (0, 60),
        (-5, 60),
        ("300", 60),
        (True, 60),
        (float("nan"), 60),
        (float("inf"), 60),
        (1e300, 3600),
        (10**9, 3600),
        (300, 300),
        (1.5, 1.5),
    ],
)
def test_lifetimes_that_make_no_sense_are_bounded(value: object, seconds: float) -> None:
    grant, _ = run(token(expires_in=value))
    assert grant.lifetime_s == seconds


@pytest.mark.parametrize(
    "text", ["a\r\nX-Evil: 1", "a\n", "a b", "a\tb", "", "ü", "a\0", "a\x7f", "x" * 100_000]
)
def test_a_token_that_does_not_belong_in_a_header_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        run(token(token=text))


@pytest.mark.parametrize("text", ["abc", "YQ==.c2ln", "a=b", "v4:a|b,c;d", "{x}", "x" * 60_000])
def test_any_visible_text_is_a_token(text: str) -> None:
    grant, _ = run(token(token=text))
    assert grant.header == f"Bearer {text}"


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b'{"token": 5}', b"{}", b"[" * 100_000])
def test_an_answer_without_a_token_is_an_error_of_the_registry(body: bytes) -> None:
    with pytest.raises(RegistryError):
        run(TokenAnswer(status=200, body=body))


def test_refused_credentials_are_named_by_user_and_host_and_not_shown() -> None:
    with pytest.raises(AuthDenied) as caught:
        run(TokenAnswer(status=401), credentials=Credentials(username="me", password="s3cret"))
    assert "'me'" in str(caught.value)
    assert "reg.example" in str(caught.value)
    assert "auth.example" in str(caught.value)
    assert "s3cret" not in repr(caught.value) + str(caught.value)


def test_a_token_server_that_fails_just_now_is_worth_another_try() -> None:
    with pytest.raises(TransferFailed) as caught:
        run(TokenAnswer(status=503))
    assert caught.value.is_temporary


BAD_REALMS = {
    "http for a registry with TLS": (REGISTRY, "http://auth.example/token"),
    "http on the same host of a registry with TLS": (REGISTRY, "http://reg.example/token"),
    "http on another host of a registry without TLS": ("http://reg.example/v2/", "http://auth.example/token"),
    "a file": (REGISTRY, "file:///etc/passwd"),
    "no URL": (REGISTRY, "token"),
    "empty": (REGISTRY, ""),
    "user info": (REGISTRY, "https://user@auth.example/token"),
    "line break": (REGISTRY, "https://auth.example/\r\nX: 1"),
}


@pytest.mark.parametrize(("url", "realm"), BAD_REALMS.values(), ids=BAD_REALMS)
def test_a_realm_that_may_not_have_credentials_gets_none(url: str, realm: str) -> None:
    with pytest.raises(RegistryError) as caught:
        run(token(), credentials=Credentials(username="me", password="s3cret"), realm=realm, url=url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "realm"),
    [
        ("http://reg.lan:5000/v2/", "http://reg.lan:5001/token"),
        ("http://127.0.0.1:5000/v2/", "http://localhost:5001/token"),
        ("http://[::1]:5000/v2/", "http://127.0.0.1:5001/token"),
    ],
)
def test_a_registry_without_tls_may_have_its_token_server_beside_it(url: str, realm: str) -> None:
    grant, [request] = run(token(), realm=realm, url=url)
    assert request.url.startswith(realm)
    assert grant.header == "Bearer abc"


def test_secrets_do_not_show_in_any_repr() -> None:
    account = Credentials(username="me", password="s3cret", identity_token="s3cret", registry_token="s3cret")
    shown = repr(
        [
            account,
            TokenRequest(url="u", authorization="s3cret", form={"password": "s3cret"}),
            TokenAnswer(status=200, body=b"s3cret"),
            Grant(header="s3cret", lifetime_s=1),
        ]
    )
    assert "s3cret" not in shown
