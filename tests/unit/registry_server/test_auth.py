from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from pycontainer.oci import Reference
from pycontainer.registry import Credentials, RegistryClient, RegistryConfig
from pycontainer.registry.server import Registry
from pycontainer.registry.server.auth import Gate
from tests.unit.registry.fakes import MemorySink, small_image
from tests.unit.registry_server.support import begin, code, push_blob, push_image, raw, sha256, status_of

USERS = {"ada": "löve:lace", "bob": ""}
ADA = httpx.BasicAuth("ada", "löve:lace")


@pytest.fixture
def guarded() -> Iterator[Registry]:
    with Registry(auth=USERS) as running:
        yield running


@pytest.fixture
def tokened() -> Iterator[Registry]:
    with Registry(auth=USERS, token_auth=True) as running:
        yield running


def open_client(registry: Registry) -> httpx.Client:
    return httpx.Client(base_url=registry.url, trust_env=False)


def get_token(client: httpx.Client, *scopes: str) -> str:
    answer = client.get("/token", params={"service": "x", "scope": list(scopes)}, auth=ADA)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_right_password_opens_and_everything_else_is_challenged(guarded: Registry) -> None:
    with open_client(guarded) as client:
        assert client.get("/v2/", auth=ADA).status_code == 200
        for path in ("/v2/", "/v2/_catalog", "/v2/a/tags/list", f"/v2/a/blobs/{sha256(b'')}"):
            answer = client.get(path)
            assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="pycontainer-registry"'


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic", "Basic =", "Basic !!!", "Basic YWRh", "Basic YWRhOg==", "Basic YWRhOndyb25n",
        "Basic /w==", "Bearer x", "Negotiate x", "Basic bm9ib2R5Og==", "Basic Og==",
    ],
)  # fmt: skip
def test_wrong_credentials_are_refused(guarded: Registry, header: str) -> None:
    with open_client(guarded) as client:
        assert client.get("/v2/", headers={"Authorization": header}).status_code == 401


def test_empty_password_is_a_password_like_any_other(guarded: Registry) -> None:
    with open_client(guarded) as client:
        assert client.get("/v2/", auth=httpx.BasicAuth("bob", "")).status_code == 200
        assert client.get("/v2/", auth=httpx.BasicAuth("bob", "x")).status_code == 401


def test_upload_needs_credentials_before_its_body_is_read(guarded: Registry) -> None:
    request = b"POST /v2/a/blobs/uploads/?digest=x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    assert status_of(raw(guarded.address, request)) == 401


def test_token_challenge_names_realm_service_and_scope(tokened: Registry) -> None:
    with open_client(tokened) as client:
        realm = f'Bearer realm="{tokened.url}/token",service="pycontainer-registry"'
        assert client.get("/v2/").headers["WWW-Authenticate"] == realm
        pull = client.get("/v2/a/b/manifests/1")
        assert pull.headers["WWW-Authenticate"] == f'{realm},scope="repository:a/b:pull"'
        push = client.post("/v2/a/b/blobs/uploads/")
        assert push.headers["WWW-Authenticate"] == f'{realm},scope="repository:a/b:pull,push"'
        catalog = client.get("/v2/_catalog")
        assert catalog.headers["WWW-Authenticate"] == f'{realm},scope="registry:catalog:*"'


@pytest.mark.parametrize("host", ['evil" x="', "a b", "h\u00e4", "x" * 300, "user@host"])
def test_hostile_host_header_never_gets_into_the_challenge(tokened: Registry, host: str) -> None:
    request = f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
    answer = raw(tokened.address, request)
    if status_of(answer) == 401:
        assert f'realm="http://{tokened.address}/token"'.encode() in answer


def test_token_grants_what_was_asked_for_and_nothing_else(tokened: Registry) -> None:
    with open_client(tokened) as client:
        both = bearer(get_token(client, "repository:a:pull,push"))
        pull = bearer(get_token(client, "repository:a:pull"))
        client.headers.update(both)
        digest = push_blob(client, "a", b"x")
        push_image(client, "a", "1")
        path = f"/v2/a/blobs/{digest}"
        assert client.get(path, headers=pull).status_code == 200
        refused = client.post("/v2/a/blobs/uploads/", headers=pull)
        assert refused.status_code == 401
        assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
        assert client.get("/v2/b/tags/list", headers=both).status_code == 401
        assert client.delete(path, headers=both).status_code == 401
        assert client.delete(path, headers=bearer(get_token(client, "repository:a:*"))).status_code == 202
        assert client.get("/v2/", headers=pull).status_code == 200


def test_our_client_takes_tokens_of_any_length(tokened: Registry) -> None:
    account = Credentials(username="ada", password=USERS["ada"])
    config = RegistryConfig(credentials={tokened.address: account}, certs_dirs=())
    sink = MemorySink()
    top = small_image(sink, b"layer")
    with RegistryClient(config) as client, open_client(tokened) as by_hand:
        for name in ("a", "ab", "abc", "abcd"):
            reference = Reference.parse(f"{tokened.address}/{name}:1")
            client.push(reference, sink, top)
            assert client.tags(reference) == ["1"]
            token = get_token(by_hand, f"repository:{name}:pull")
            assert re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", token), "not a b64token of RFC 6750"


def test_scopes_in_one_parameter_and_in_several_are_the_same(tokened: Registry) -> None:
    with open_client(tokened) as client:
        for scopes in (("repository:a:pull repository:b:pull",), ("repository:a:pull", "repository:b:pull")):
            headers = bearer(get_token(client, *scopes))
            for name in ("a", "b"):
                assert client.get(f"/v2/{name}/tags/list", headers=headers).status_code == 404


def test_mount_needs_pull_on_its_source(tokened: Registry) -> None:
    with open_client(tokened) as client:
        headers = bearer(get_token(client, "repository:secret:pull,push"))
        answer = client.post(
            f"/v2/secret/blobs/uploads/?digest={sha256(b'x')}", content=b"x", headers=headers
        )
        assert answer.status_code == 201
        only_mine = bearer(get_token(client, "repository:mine:pull,push"))
        for query in ({"mount": sha256(b"x"), "from": "secret"}, {"mount": sha256(b"x")}):
            assert client.post("/v2/mine/blobs/uploads/", params=query, headers=only_mine).status_code == 202
        both = bearer(get_token(client, "repository:mine:pull,push", "repository:secret:pull"))
        query = {"mount": sha256(b"x"), "from": "secret"}
        assert client.post("/v2/mine/blobs/uploads/", params=query, headers=both).status_code == 201


def test_token_needs_credentials(tokened: Registry) -> None:
    with open_client(tokened) as client:
        assert client.get("/token").status_code == 401
        assert client.get("/token", auth=httpx.BasicAuth("ada", "wrong")).status_code == 401


def test_basic_credentials_do_not_replace_a_token(tokened: Registry) -> None:
    with open_client(tokened) as client:
        assert client.get("/v2/", auth=ADA).status_code == 401


def test_server_without_users_hands_tokens_to_anybody() -> None:
    with Registry(token_auth=True) as registry, open_client(registry) as client:
        assert client.get("/v2/").status_code == 401
        token = client.get("/token", params={"scope": "repository:a:pull,push"}).json()["token"]
        client.headers.update(bearer(token))
        begin(client, "a")


def test_oauth2_password_and_refresh_grants_give_access(tokened: Registry) -> None:
    with open_client(tokened) as client:
        form = {
            "grant_type": "password",
            "username": "ada",
            "password": USERS["ada"],
            "service": "x",
            "client_id": "test",
            "access_type": "offline",
            "scope": "repository:a:pull",
        }
        first = client.post("/token", data=form).json()
        assert client.get("/v2/a/tags/list", headers=bearer(first["access_token"])).status_code == 404
        again = {
            "grant_type": "refresh_token",
            "refresh_token": first["refresh_token"],
            "scope": "repository:b:pull,push",
        }
        second = client.post("/token", data=again).json()
        assert client.post("/v2/b/blobs/uploads/", headers=bearer(second["access_token"])).status_code == 202
        assert client.get("/v2/", headers=bearer(first["refresh_token"])).status_code == 401
        again["refresh_token"] = first["access_token"]
        assert client.post("/token", data=again).status_code == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "ada", "password": "x"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "a.b"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "é.ü"}, 401),
        ({"grant_type": "implicit"}, 400),
        ({}, 400),
        ({"x": "y" * 70_000}, 413),
    ],
)
def test_token_form_without_a_good_grant_is_refused(
    tokened: Registry, form: dict[str, str], status: int
) -> None:
    with open_client(tokened) as client:
        assert client.post("/token", data=form).status_code == status


def test_docker_login_gets_a_refresh_token_when_it_asks(tokened: Registry) -> None:
    with open_client(tokened) as client:
        assert "refresh_token" in client.get("/token", params={"offline_token": "true"}, auth=ADA).json()
        assert "refresh_token" not in client.get("/token", auth=ADA).json()


@pytest.mark.parametrize("spoil", ["x", ".", "é", "a.b.c"])
def test_forged_token_is_refused(tokened: Registry, spoil: str) -> None:
    with open_client(tokened) as client:
        token = get_token(client, "repository:a:pull")
        for forged in (token + spoil, spoil + token, spoil, token.partition(".")[0] + "." + spoil):
            headers = {b"Authorization": f"Bearer {forged}".encode()}
            assert client.get("/v2/", headers=headers).status_code == 401


def test_token_of_another_server_is_refused(tokened: Registry) -> None:
    with Registry(auth=USERS, token_auth=True) as other, open_client(other) as there:
        token = get_token(there, "repository:a:pull")
    with open_client(tokened) as client:
        assert client.get("/v2/", headers=bearer(token)).status_code == 401


def test_token_ends_after_its_time(tokened: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_client(tokened) as client:
        token = get_token(client, "repository:a:pull")
        later = time.time() + 301
        monkeypatch.setattr("pycontainer.registry.server.auth.time.time", lambda: later)
        assert client.get("/v2/", headers=bearer(token)).status_code == 401


def test_password_check_hides_whether_the_user_exists() -> None:
    gate = Gate({"ada": "x"}, with_tokens=False, scheme="http", address="x")
    assert not gate._is_password("nobody", "")
    assert not gate._is_password("ada", "")
    assert gate._is_password("ada", "x")
