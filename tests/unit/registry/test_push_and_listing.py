"""Pushing and listing against registries that answer wrongly; the rest is in the integration tests."""

from __future__ import annotations

import json
from typing import Any

import attrs
import httpx
import pytest

from pycontainer.errors import DigestMismatch, IntegrityError, RegistryError
from pycontainer.image import Progress
from pycontainer.oci import Descriptor, Index, Manifest, Reference, decode_manifest, encode, mediatype, sha256
from pycontainer.registry import Credentials, Limits, RegistryClient, RegistryConfig
from tests.unit.registry.fakes import FAST, MemorySink, Reply, Table, small_image

REF = Reference.parse("reg.example/app:1")
BASE = "https://reg.example/v2/app"
BEGIN = f"POST {BASE}/blobs/uploads/"


def client(replies: dict[str, Any], **settings: Any) -> tuple[RegistryClient, Table]:
    table = Table(replies)
    return RegistryClient(RegistryConfig(retries=FAST, certs_dirs=(), **settings), transport=table), table


def accepting(source: MemorySink, location: str = "/upload/1?state=a%2Fb") -> dict[str, Reply | list[Reply]]:
    """A registry without blobs that takes every upload."""
    url = location if "://" in location else f"https://reg.example{location}"
    url = url.partition("?")[0]
    replies: dict[str, Reply | list[Reply]] = {
        BEGIN: httpx.Response(202, headers={"Location": location}),
        f"PUT {url}": httpx.Response(201),
        f"DELETE {url}": httpx.Response(204),
    }
    for digest in [*source.blobs, "1"]:
        replies[f"PUT {BASE}/manifests/{digest}"] = httpx.Response(201)
    return replies


class TestPush:
    def test_a_relative_location_is_followed_with_its_query_kept(self) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        registry, table = client(accepting(source))
        assert registry.push(REF, source, top) == top.digest
        [upload] = [r for r in table.seen if r.method == "PUT" and r.content == b"layer"]
        assert upload.url.params["state"] == "a/b"
        assert upload.url.params["digest"] == sha256(b"layer")
        assert upload.headers["content-length"] == "5"
        assert "transfer-encoding" not in upload.headers
        assert str(table.seen[-1].url) == f"{BASE}/manifests/1"
        assert table.seen[-1].headers["content-type"] == mediatype.OCI_MANIFEST

    @pytest.mark.parametrize(
        "location",
        [
            "http://reg.example/upload",
            "https://169.254.169.254/upload",
            "https://127.0.0.1/upload",
            "https://localhost/upload",
            "https://user:pw@reg.example/upload",
            "file:///tmp/x",
            "",
        ],
    )
    def test_an_upload_never_goes_where_it_must_not(self, location: str) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        registry, table = client(
            accepting(source) | {BEGIN: httpx.Response(202, headers={"Location": location})}
        )
        with pytest.raises(RegistryError):
            registry.push(REF, source, top)
        assert {request.url.host for request in table.seen} == {"reg.example"}
        assert not any(request.method == "PUT" for request in table.seen)

    def test_an_upload_elsewhere_carries_no_credentials(self) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        challenge = httpx.Response(401, headers={"WWW-Authenticate": "Basic realm=x"})
        replies = accepting(source, "https://storage.example/upload")
        for key, reply in list(replies.items()):
            if "reg.example" in key:
                assert isinstance(reply, httpx.Response)
                replies[key] = lambda r, reply=reply: reply if "authorization" in r.headers else challenge
        registry, table = client(
            replies, credentials={"reg.example": Credentials(username="me", password="pw")}
        )
        registry.push(REF, source, top)
        stored = [request for request in table.seen if request.url.host == "storage.example"]
        assert stored
        assert not any("authorization" in request.headers for request in stored)

    def test_a_registry_that_stored_something_else_is_found_out(self) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        lie = httpx.Response(201, headers={"Docker-Content-Digest": sha256(b"other")})
        registry, _ = client(accepting(source) | {f"PUT {BASE}/manifests/1": lie})
        with pytest.raises(IntegrityError):
            registry.push(REF, source, top)

    def test_a_source_with_too_few_bytes_ends_the_upload(self) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        source.blobs[sha256(b"layer")] = b"lay"
        registry, table = client(accepting(source))
        with pytest.raises(DigestMismatch):
            registry.push(REF, source, top)
        assert any(request.method == "DELETE" for request in table.seen)

    @pytest.mark.parametrize("wish", ["99999999999", str((1 << 30) + 1)])
    def test_a_chunk_size_beyond_reason_is_refused(self, wish: str) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        begin = httpx.Response(202, headers={"Location": "/u", "OCI-Chunk-Min-Length": wish})
        registry, _ = client(accepting(source) | {BEGIN: begin})
        with pytest.raises(RegistryError, match="chunks"):
            registry.push(REF, source, top)

    def test_chunks_follow_the_registrys_count_and_a_registry_out_of_step_is_asked(self) -> None:
        source = MemorySink()
        layer = bytes(range(250)) * 10
        top = small_image(source, layer)
        config_and_layer: dict[str, bytearray] = {}

        def begin(request: httpx.Request) -> httpx.Response:
            name = str(len(config_and_layer))
            config_and_layer[name] = bytearray()
            return httpx.Response(202, headers={"Location": f"/u/{name}"})

        def patch(request: httpx.Request) -> httpx.Response:
            have = config_and_layer[request.url.path[-1]]
            start, _, end = request.headers["content-range"].partition("-")
            if int(start) != len(have):
                return httpx.Response(416)
            assert int(end) - int(start) + 1 == len(request.content) == int(request.headers["content-length"])
            have += request.content[:700]  # takes less than it was given
            return httpx.Response(202, headers={"Location": request.url.path, "Range": f"0-{len(have) - 1}"})

        replies = accepting(source) | {BEGIN: begin}
        for name in "01":
            url = f"https://reg.example/u/{name}"
            replies |= {f"PATCH {url}": patch, f"PUT {url}": httpx.Response(201)}
        limits = Limits(upload_chunk_bytes=1024, monolithic_upload_bytes=0, parallel_uploads=1)
        registry, _ = client(replies, limits=limits)
        registry.push(REF, source, top)
        assert layer in [bytes(have) for have in config_and_layer.values()]

    def test_events_tell_what_was_sent(self) -> None:
        source, events = MemorySink(), list[Progress]()
        top = small_image(source, b"layer")
        registry, _ = client(accepting(source))
        registry.push(REF, source, top, on_event=events.append)
        assert [event.action for event in events if event.digest == sha256(b"layer")] == [
            "uploading",
            "uploaded",
        ]
        assert events[-1].action == "done"

    def test_a_registry_without_referrers_gets_the_stand_in_tag(self) -> None:
        source = MemorySink()
        subject = attrs.evolve(small_image(source, b"layer"), platform=None)
        config = source.add(b"{}", mediatype.OCI_EMPTY)
        artifact = source.add(
            encode(Manifest(config=config, artifact_type="application/x.sbom", subject=subject)),
            mediatype.OCI_MANIFEST,
        )
        tag = subject.digest.replace(":", "-")
        known = Descriptor.of(b"known before", mediatype.OCI_MANIFEST)
        listed = httpx.Response(
            200, content=encode(Index(manifests=(known,))), headers={"Content-Type": mediatype.OCI_INDEX}
        )
        registry, table = client(
            accepting(source)
            | {f"GET {BASE}/manifests/{tag}": listed, f"PUT {BASE}/manifests/{tag}": httpx.Response(201)}
        )
        registry.push(REF, source, artifact)
        written = decode_manifest(table.seen[-1].content)
        assert isinstance(written, Index)
        assert [entry.digest for entry in written.manifests] == [known.digest, artifact.digest]
        assert written.manifests[1].artifact_type == "application/x.sbom"


class TestTags:
    URL = f"GET {BASE}/tags/list"

    @staticmethod
    def page(tags: object, following: str = "") -> httpx.Response:
        headers = {"Link": f'<{following}>; rel="next"'} if following else {}
        return httpx.Response(200, json={"name": "app", "tags": tags}, headers=headers)

    def test_pages_are_joined(self) -> None:
        registry, table = client(
            {self.URL: [self.page(["a", "b"], "/v2/app/tags/list?last=b&n=2"), self.page(["b", "c"])]}
        )
        assert registry.tags(REF) == ["a", "b", "c"]
        assert table.seen[1].url.params["last"] == "b"

    def test_a_repository_without_tags_has_none(self) -> None:
        registry, _ = client({self.URL: self.page(None)})
        assert registry.tags(REF) == []

    @pytest.mark.parametrize(
        "following",
        [
            "?last=b",
            "https://evil.example/v2/app/tags/list",
            "http://reg.example/v2/app/tags/list",
            "https://reg.example:8443/v2/app/tags/list",
            "file:///etc/passwd",
            "https://169.254.169.254/",
        ],
    )
    def test_pages_in_a_circle_or_on_another_host_end_the_listing(self, following: str) -> None:
        registry, table = client({self.URL: self.page(["a"], following)})
        with pytest.raises(RegistryError):
            registry.tags(REF)
        assert len(table.seen) <= 3
        assert {str(request.url.copy_with(query=None)) for request in table.seen} == {f"{BASE}/tags/list"}

    def test_pages_without_end_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pycontainer.registry.listing.MAX_PAGES", 5)
        count = iter(range(1000))
        registry, _ = client({self.URL: lambda r: self.page(["a"], f"?last={next(count)}")})
        with pytest.raises(RegistryError, match="more than 5 pages"):
            registry.tags(REF)

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"tags": "x"}', b'{"tags": [1]}', b"[" * 100_000])
    def test_an_answer_that_is_no_list_is_an_error(self, content: bytes) -> None:
        registry, _ = client({self.URL: httpx.Response(200, content=content)})
        with pytest.raises(RegistryError):
            registry.tags(REF)


class TestReferrers:
    DIGEST = sha256(b"subject")
    SBOM = attrs.evolve(Descriptor.of(b"1", mediatype.OCI_MANIFEST), artifact_type="sbom")
    SIGNATURE = attrs.evolve(Descriptor.of(b"2", mediatype.OCI_MANIFEST), artifact_type="signature")
    LIST = httpx.Response(
        200, content=encode(Index(manifests=(SBOM, SIGNATURE))), headers={"Content-Type": mediatype.OCI_INDEX}
    )

    def test_the_filter_is_applied_even_if_the_server_ignores_it(self) -> None:
        registry, table = client({f"GET {BASE}/referrers/{self.DIGEST}": self.LIST})
        assert [entry.digest for entry in registry.referrers(REF, self.DIGEST, "sbom")] == [self.SBOM.digest]
        assert table.seen[0].url.params["artifactType"] == "sbom"

    def test_the_stand_in_tag_is_read_where_there_is_no_api(self) -> None:
        tag = self.DIGEST.replace(":", "-")
        registry, _ = client({f"GET {BASE}/manifests/{tag}": self.LIST})
        assert len(registry.referrers(REF, self.DIGEST)) == 2

    def test_nothing_refers_where_there_is_neither(self) -> None:
        registry, _ = client({})
        assert registry.referrers(REF, self.DIGEST) == []

    @pytest.mark.parametrize("digest", ["sha256:../../x", "", "sha256:" + "G" * 64])
    def test_a_digest_outside_the_grammar_is_refused(self, digest: str) -> None:
        registry, table = client({})
        with pytest.raises(ValueError):
            registry.referrers(REF, digest)
        assert table.seen == []

    def test_what_is_no_index_is_refused(self) -> None:
        content = json.dumps({"schemaVersion": 2, "manifests": "x"}).encode()
        registry, _ = client({f"GET {BASE}/referrers/{self.DIGEST}": httpx.Response(200, content=content)})
        with pytest.raises(ValueError):
            registry.referrers(REF, self.DIGEST)


class TestMounts:
    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_source_we_may_not_read_is_passed_over(self, status: int) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")

        def begin(request: httpx.Request) -> httpx.Response:
            if "mount" in request.url.params:
                return httpx.Response(status)
            return httpx.Response(202, headers={"Location": "/upload/1"})

        registry, _ = client(accepting(source) | {BEGIN: begin})
        assert registry.push(REF, source, top, mount_from=["private/base"]) == top.digest

    def test_only_the_mount_itself_asks_for_the_right_to_read_its_source(self) -> None:
        source = MemorySink()
        top = small_image(source, b"layer")
        challenge = httpx.Response(
            401, headers={"WWW-Authenticate": 'Bearer realm="https://auth.example/t",service="s"'}
        )
        replies = accepting(source)
        for key, reply in list(replies.items()):
            replies[key] = lambda r, reply=reply: reply if "authorization" in r.headers else challenge
        replies[BEGIN] = lambda r: (
            httpx.Response(201) if "authorization" in r.headers and "mount" in r.url.params else challenge
        )
        replies["GET https://auth.example/t"] = httpx.Response(200, json={"token": "t"})
        registry, table = client(replies)
        registry.push(REF, source, top, mount_from=["base"])
        asked = [
            request.url.params.get_list("scope")
            for request in table.seen
            if request.url.host == "auth.example"
        ]
        assert ["repository:app:pull,push", "repository:base:pull"] in asked
        assert ["repository:app:pull,push"] in asked
