"""Authentication, redirects, schemes and mirrors of single requests, over a table instead of a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pycontainer.errors import AuthDenied, NotFound, RateLimited, RegistryError, TransferFailed
from pycontainer.oci import Reference
from pycontainer.registry import Credentials, Mirror, RegistryClient, RegistryConfig
from tests.unit.registry.fakes import (
    FAST,
    MemorySink,
    Reply,
    Table,
    refuse_connection,
    served,
    small_image,
)

REF = Reference.parse("reg.example/app:1")
BASE = "https://reg.example"
MANIFEST = f"GET {BASE}/v2/app/manifests/1"
TOKEN = "GET https://auth.example/token"
BEARER = {"WWW-Authenticate": 'Bearer realm="https://auth.example/token",service="reg"'}
ME = {"reg.example": Credentials(username="me", password="s3cret")}

image = MemorySink()
TOP = small_image(image, b"layer")


def table() -> dict[str, Reply | list[Reply]]:
    return served(image, BASE, "app", "1", TOP)


def client(replies: dict[str, Any], **settings: Any) -> tuple[RegistryClient, Table]:
    transport = Table(replies)
    config = RegistryConfig(**{"retries": FAST, "certs_dirs": (), **settings})
    return RegistryClient(config, transport=transport), transport


def manifest_reply(request: httpx.Request | None = None) -> httpx.Response:
    return httpx.Response(200, content=image.blobs[TOP.digest], headers={"Content-Type": TOP.media_type})


def needs(
    authorization: str, challenge: dict[str, str] = BEARER
) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") == authorization:
            return manifest_reply()
        return httpx.Response(401, headers=challenge)

    return answer


def token(value: str = "tok", **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"token": value, **more})


class TestAuthentication:
    def test_a_netrc_is_for_other_programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".netrc").write_text(
            "machine reg.example login me password s3cret\nmachine cdn.example login me password s3cret\n"
        )
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        elsewhere = httpx.Response(307, headers={"Location": "https://cdn.example/m"})
        registry, seen = client({MANIFEST: elsewhere, "GET https://cdn.example/m": manifest_reply})
        registry.describe(REF)
        basic = {"WWW-Authenticate": 'Basic realm="reg"'}
        asking, asked = client({MANIFEST: httpx.Response(401, headers=basic)})
        with pytest.raises(AuthDenied):
            asking.describe(REF)
        for request in (*seen.seen, *asked.seen):
            assert "authorization" not in request.headers

    def test_the_first_request_is_anonymous_even_with_credentials_at_hand(self) -> None:
        registry, seen = client(table(), credentials=ME)
        registry.describe(REF)
        assert "authorization" not in seen.seen[0].headers

    def test_a_challenge_is_answered_with_a_token_which_is_then_reused(self) -> None:
        registry, seen = client({MANIFEST: needs("Bearer tok"), TOKEN: token()})
        assert registry.describe(REF).digest == TOP.digest
        registry.describe(REF)
        assert [request.split("?")[0] for request in seen.asked] == [MANIFEST, TOKEN, MANIFEST, MANIFEST]
        assert "scope=repository%3Aapp%3Apull" in seen.asked[1]

    def test_another_repository_needs_another_token(self) -> None:
        registry, seen = client(
            {
                MANIFEST: needs("Bearer one"),
                f"GET {BASE}/v2/other/manifests/1": needs("Bearer two"),
                TOKEN: [token("one"), token("two")],
            }
        )
        registry.describe(REF)
        registry.describe(Reference.parse("reg.example/other:1"))
        assert sum(request.startswith(TOKEN) for request in seen.asked) == 2

    def test_a_token_that_is_no_longer_accepted_is_replaced_once(self) -> None:
        registry, seen = client(
            {
                MANIFEST: [needs("Bearer one"), needs("Bearer one"), needs("Bearer two")],
                TOKEN: [token("one", expires_in=3000), token("two")],
            }
        )
        registry.describe(REF)
        registry.describe(REF)
        assert [
            request.headers.get("authorization") for request in seen.seen if "manifests" in str(request.url)
        ] == [
            None,
            "Bearer one",
            "Bearer one",
            "Bearer two",
        ]

    def test_a_second_refusal_is_final(self) -> None:
        registry, seen = client(
            {MANIFEST: httpx.Response(401, headers=BEARER), TOKEN: token()}, credentials=ME
        )
        with pytest.raises(AuthDenied) as caught:
            registry.describe(REF)
        assert len(seen.seen) == 3
        assert "s3cret" not in str(caught.value)

    def test_tokens_of_one_account_do_not_serve_another(self, tmp_path: Path) -> None:
        def log_in(user: str) -> None:
            pair = base64.b64encode(f"{user}:pw".encode()).decode()
            file.write_text(json.dumps({"auths": {"reg.example": {"auth": pair}}}))

        def answer(request: httpx.Request) -> httpx.Response:
            return (
                manifest_reply()
                if "authorization" in request.headers
                else httpx.Response(401, headers=BEARER)
            )

        file = tmp_path / "config.json"
        log_in("me")
        registry, seen = client({MANIFEST: answer, TOKEN: token()}, auth_files=(file,))
        registry.describe(REF)
        registry.describe(REF)
        log_in("you")
        registry.describe(REF)
        tokens = [request for request in seen.seen if request.url.host == "auth.example"]
        assert [request.url.params["account"] for request in tokens] == ["me", "you"]

    def test_basic_is_answered_only_with_an_account_for_that_very_host(self) -> None:
        challenge = {"WWW-Authenticate": 'Basic realm="reg"'}
        expected = "Basic " + base64.b64encode(b"me:s3cret").decode()
        registry, _ = client({MANIFEST: needs(expected, challenge)}, credentials=ME)
        assert registry.describe(REF).digest == TOP.digest
        stranger, seen = client(
            {MANIFEST: needs(expected, challenge)}, credentials={"reg.example.evil": ME["reg.example"]}
        )
        with pytest.raises(AuthDenied):
            stranger.describe(REF)
        assert len(seen.seen) == 1

    def test_bearer_is_preferred_to_basic(self) -> None:
        challenge = {"WWW-Authenticate": f'Basic realm="x", {BEARER["WWW-Authenticate"]}'}
        registry, _ = client({MANIFEST: needs("Bearer tok", challenge), TOKEN: token()}, credentials=ME)
        assert registry.describe(REF).digest == TOP.digest

    @pytest.mark.parametrize("header", [{}, {"WWW-Authenticate": "Negotiate"}, {"WWW-Authenticate": '="'}])
    def test_a_challenge_we_cannot_meet_is_a_clear_refusal(self, header: dict[str, str]) -> None:
        registry, _ = client({MANIFEST: httpx.Response(401, headers=header)}, credentials=ME)
        with pytest.raises(AuthDenied):
            registry.describe(REF)

    @pytest.mark.parametrize(
        "realm",
        [
            "https://169.254.169.254/latest",
            "https://localhost/token",
            "https://127.0.0.1/token",
            "https://10.0.0.1/token",
            "https://[::ffff:127.0.0.1]/token",
            "http://auth.example/token",
        ],
    )
    def test_a_token_server_too_near_or_without_tls_is_never_asked(self, realm: str) -> None:
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
        registry, seen = client({MANIFEST: httpx.Response(401, headers=challenge)}, credentials=ME)
        with pytest.raises(RegistryError):
            registry.describe(REF)
        assert len(seen.seen) == 1

    def test_credentials_do_not_follow_a_token_servers_redirect(self) -> None:
        registry, seen = client(
            {
                MANIFEST: needs("Bearer tok"),
                TOKEN: httpx.Response(307, headers={"Location": "https://evil.example/t"}),
                "GET https://evil.example/t": token(),
            },
            credentials=ME,
        )
        registry.describe(REF)
        assert "authorization" in seen.seen[1].headers
        assert "authorization" not in seen.seen[2].headers

    def test_a_mirror_gets_its_own_account_and_not_its_upstreams(self) -> None:
        challenge = {"WWW-Authenticate": 'Basic realm="x"'}
        registry, seen = client(
            {"GET https://m.example/v2/library/x/manifests/1": httpx.Response(401, headers=challenge)},
            credentials={"docker.io": Credentials(username="hub", password="s3cret")},
            mirrors=(Mirror(url="https://m.example"),),
        )
        with pytest.raises(NotFound):
            registry.describe(Reference.parse("x:1"))
        assert not any("authorization" in r.headers for r in seen.seen if r.url.host == "m.example")


class TestRedirects:
    def test_a_redirect_is_followed_without_credentials(self) -> None:
        registry, seen = client(
            {
                MANIFEST: lambda r: (
                    httpx.Response(307, headers={"Location": "https://cdn.example/m?sig=1"})
                    if "authorization" in r.headers
                    else httpx.Response(401, headers=BEARER)
                ),
                TOKEN: token(),
                "GET https://cdn.example/m": manifest_reply,
            }
        )
        assert registry.describe(REF).digest == TOP.digest
        assert seen.seen[-1].url.host == "cdn.example"
        assert "authorization" not in seen.seen[-1].headers
        assert "cookie" not in seen.seen[-1].headers

    def test_credentials_stay_on_a_redirect_within_the_registry(self) -> None:
        registry, _seen = client(
            {
                MANIFEST: lambda r: (
                    httpx.Response(302, headers={"Location": "/moved"})
                    if "authorization" in r.headers
                    else httpx.Response(401, headers=BEARER)
                ),
                TOKEN: token(),
                f"GET {BASE}/moved": needs("Bearer tok"),
            }
        )
        assert registry.describe(REF).digest == TOP.digest

    def test_a_target_that_asks_for_credentials_gets_none(self) -> None:
        registry, seen = client(
            {
                MANIFEST: httpx.Response(307, headers={"Location": "https://evil.example/m"}),
                "GET https://evil.example/m": httpx.Response(401, headers=BEARER),
            },
            credentials=ME | {"evil.example": ME["reg.example"]},
        )
        with pytest.raises(AuthDenied) as caught:
            registry.describe(REF)
        assert "evil.example" in str(caught.value)
        assert len(seen.seen) == 2

    def test_cookies_are_never_sent_back(self) -> None:
        registry, seen = client(
            {
                MANIFEST: lambda r: httpx.Response(
                    200, content=image.blobs[TOP.digest], headers={"Set-Cookie": "a=b"}
                )
            }
        )
        registry.describe(REF)
        registry.describe(REF)
        assert not any("cookie" in request.headers for request in seen.seen)

    @pytest.mark.parametrize(
        "location",
        [
            "http://reg.example/m",
            "file:///etc/passwd",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost/m",
            "https://127.0.0.1:2375/containers/json",
            "https://192.168.1.1/",
            "https://[fd00:ec2::254]/",
            "https://user:pw@cdn.example/m",
            "",
        ],
    )
    def test_a_redirect_that_must_not_be_followed_is_not(self, location: str) -> None:
        registry, seen = client({MANIFEST: httpx.Response(307, headers={"Location": location})})
        with pytest.raises(RegistryError):
            registry.describe(REF)
        assert len(seen.seen) == 1

    def test_a_registry_on_loopback_may_redirect_to_loopback(self) -> None:
        registry, _ = client(
            {
                "GET http://localhost:5000/v2/app/manifests/1": httpx.Response(
                    307, headers={"Location": "http://127.0.0.1:9000/m"}
                ),
                "GET http://127.0.0.1:9000/m": manifest_reply,
            }
        )
        assert registry.describe(Reference.parse("localhost:5000/app:1")).digest == TOP.digest

    def test_redirects_are_counted(self) -> None:
        registry, seen = client({MANIFEST: httpx.Response(307, headers={"Location": "?again"})})
        with pytest.raises(RegistryError, match="more than 10 times"):
            registry.describe(REF)
        assert len(seen.seen) == 11


class TestSchemes:
    LAN = Reference.parse("lan.example:5000/app:1")
    HTTPS = "GET https://lan.example:5000/v2/app/manifests/1"
    HTTP = "GET http://lan.example:5000/v2/app/manifests/1"

    def test_an_insecure_registry_is_asked_by_https_first(self) -> None:
        registry, seen = client(
            {self.HTTPS: manifest_reply, self.HTTP: manifest_reply}, insecure=("lan.example",)
        )
        registry.describe(self.LAN)
        assert seen.asked == [self.HTTPS]

    def test_an_insecure_registry_without_tls_is_asked_by_http_and_remembered(self) -> None:
        registry, seen = client(
            {self.HTTPS: refuse_connection, self.HTTP: manifest_reply}, insecure=("lan.example",)
        )
        registry.describe(self.LAN)
        registry.describe(self.LAN)
        assert seen.asked == [self.HTTPS, self.HTTP, self.HTTP]

    def test_any_other_registry_is_never_asked_without_tls(self) -> None:
        registry, seen = client({self.HTTPS: refuse_connection, self.HTTP: manifest_reply})
        with pytest.raises(TransferFailed):
            registry.describe(self.LAN)
        assert set(seen.asked) == {self.HTTPS}

    def test_a_loopback_registry_is_asked_without_tls(self) -> None:
        registry, seen = client({"GET http://127.0.0.1:5000/v2/app/manifests/1": manifest_reply})
        registry.describe(Reference.parse("127.0.0.1:5000/app:1"))
        assert len(seen.asked) == 1


class TestMirrors:
    REF = Reference.parse("alpine:3")
    PATH = "/v2/library/alpine/manifests/3"
    HUB = f"GET https://registry-1.docker.io{PATH}"
    ONE, TWO = f"GET https://one.example{PATH}", f"GET https://two.example{PATH}"
    BOTH = (Mirror(url="https://one.example"), Mirror(url="https://two.example"))

    def test_the_first_mirror_that_has_it_serves_and_is_told_the_registry(self) -> None:
        registry, seen = client({self.TWO: manifest_reply, self.HUB: manifest_reply}, mirrors=self.BOTH)
        registry.describe(self.REF)
        assert seen.asked == [f"{self.ONE}?ns=docker.io", f"{self.TWO}?ns=docker.io"]

    def test_the_registry_itself_is_the_last_resort(self) -> None:
        registry, seen = client({self.HUB: manifest_reply}, mirrors=self.BOTH)
        registry.describe(self.REF)
        assert seen.asked[-1] == self.HUB

    def test_a_mirror_that_is_down_is_passed_over_for_a_while(self) -> None:
        registry, seen = client(
            {self.ONE: refuse_connection, self.HUB: manifest_reply}, mirrors=self.BOTH[:1]
        )
        registry.describe(self.REF)
        tried = seen.asked.count(f"{self.ONE}?ns=docker.io")
        registry.describe(self.REF)
        assert seen.asked.count(f"{self.ONE}?ns=docker.io") == tried

    def test_a_mirror_that_lies_about_a_digest_is_passed_over(self) -> None:
        pinned = Reference.parse(f"alpine@{TOP.digest}")
        path = f"/v2/library/alpine/manifests/{TOP.digest}"
        registry, seen = client(
            {
                f"GET https://one.example{path}": httpx.Response(200, content=b"{}"),
                f"GET https://registry-1.docker.io{path}": manifest_reply,
            },
            mirrors=self.BOTH[:1],
        )
        assert registry.describe(pinned).digest == TOP.digest
        assert len(seen.asked) == 2

    def test_a_mirror_answers_tags_only_where_it_may(self) -> None:
        silent = (Mirror(url="https://one.example", resolves_tags=False),)
        registry, seen = client({self.ONE: manifest_reply, self.HUB: manifest_reply}, mirrors=silent)
        registry.describe(self.REF)
        assert seen.asked == [self.HUB]

    def test_when_all_fail_the_registrys_error_names_what_the_mirrors_said(self) -> None:
        registry, _ = client({self.ONE: httpx.Response(403)}, mirrors=self.BOTH)
        with pytest.raises(NotFound) as caught:
            registry.describe(self.REF)
        assert "registry-1.docker.io" in str(caught.value)
        notes = "\n".join(caught.value.__notes__)
        assert "one.example" in notes
        assert "two.example" in notes


class TestRetries:
    def test_a_busy_registry_is_asked_again_after_the_time_it_names(self) -> None:
        busy = httpx.Response(429, headers={"Retry-After": "0"})
        registry, seen = client({MANIFEST: [busy, httpx.Response(503), manifest_reply]})
        assert registry.describe(REF).digest == TOP.digest
        assert len(seen.seen) == 3

    def test_a_rate_limit_that_lasts_says_for_how_long(self) -> None:
        registry, seen = client({MANIFEST: httpx.Response(429, headers={"Retry-After": "3600"})})
        with pytest.raises(RateLimited) as caught:
            registry.describe(REF)
        assert caught.value.retry_after_s == 3600
        assert len(seen.seen) == 1

    def test_a_missing_image_is_not_asked_for_twice(self) -> None:
        registry, seen = client({})
        with pytest.raises(NotFound):
            registry.describe(REF)
        assert len(seen.seen) == 1


def test_ping_says_where_the_registry_answered() -> None:
    registry, _seen = client({f"GET {BASE}/v2/": httpx.Response(200)})
    assert registry.ping("reg.example") == BASE
    with pytest.raises(ValueError):
        registry.ping("reg.example/path")
    with pytest.raises(ValueError):
        registry.ping("user@reg.example")


def test_delete_names_the_digest_or_the_tag() -> None:
    registry, _seen = client(
        {
            f"DELETE {BASE}/v2/app/manifests/1": httpx.Response(
                405, content=json.dumps({"errors": [{"code": "UNSUPPORTED"}]})
            ),
            f"DELETE {BASE}/v2/app/manifests/{TOP.digest}": httpx.Response(202),
        }
    )
    registry.delete(REF.with_digest(TOP.digest))
    with pytest.raises(RegistryError) as caught:
        registry.delete(REF)
    assert caught.value.codes == ("UNSUPPORTED",)
