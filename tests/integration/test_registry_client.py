"""The registry client against the embedded registry, over real sockets, with what goes wrong on bad days."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import attrs
import pytest

from pycontainer.errors import (
    AuthDenied,
    DigestMismatch,
    NotFound,
    RateLimited,
    RegistryError,
    TransferFailed,
)
from pycontainer.image import Progress
from pycontainer.oci import (
    Descriptor,
    Digest,
    Manifest,
    Platform,
    Reference,
    decode_manifest,
    encode,
    mediatype,
)
from pycontainer.registry import (
    Answer,
    Cancellation,
    Corrupt,
    Credentials,
    Drop,
    DropUpload,
    Fault,
    Hang,
    Headers,
    IgnoreRange,
    Limits,
    Mirror,
    Redirect,
    Registry,
    RegistryClient,
    RegistryConfig,
    Silence,
    Slow,
    Status,
    Timeouts,
    Truncate,
)
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
from tests.support import stores
from tests.unit.registry.fakes import FAST, SHORT, MemorySink, small_image, small_index

AMD64 = Platform.parse("linux/amd64")
LAYERS = [os.urandom(3 << 20), os.urandom(2 << 20), b"small"]
ME = Credentials(username="me", password="s3cret")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(RegistryConfig(retries=FAST, timeouts=SHORT)) as made:
        yield made


@pytest.fixture
def source() -> MemorySink:
    return MemorySink()


@pytest.fixture
def top(source: MemorySink) -> Descriptor:
    return small_image(source, *LAYERS)


def ref(registry: Registry, name: str = "team/app:1") -> Reference:
    return Reference.parse(f"{registry.address}/{name}")


@pytest.fixture
def pushed(registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor) -> Reference:
    reference = ref(registry)
    assert client.push(reference, source, top) == top.digest
    return reference


def layers(source: MemorySink, top: Descriptor) -> tuple[Descriptor, ...]:
    manifest = decode_manifest(source.blobs[top.digest])
    assert isinstance(manifest, Manifest)
    return manifest.layers


def store(folder: Path) -> ContentStore:
    layout = Layout(folder)
    layout.create()
    return ContentStore(layout)


def requests(registry: Registry, method: str, fragment: str) -> list[str]:
    return [
        str(record) for record in registry.requests if record.method == method and fragment in record.path
    ]


class TestRoundTrip:
    def test_an_image_that_was_pushed_comes_back_byte_by_byte(
        self, client: RegistryClient, pushed: Reference, source: MemorySink, top: Descriptor
    ) -> None:
        found = client.resolve(pushed, AMD64)
        assert found.manifest_bytes == source.blobs[top.digest]
        sink, done = MemorySink(), list[Digest]()
        client.fetch_all(pushed, found.manifest.layers, sink, on_blob=lambda blob: done.append(blob.digest))
        assert [sink.blobs[layer.digest] for layer in found.manifest.layers] == LAYERS
        assert sorted(done) == sorted(layer.digest for layer in found.manifest.layers)
        assert not [
            thread for thread in threading.enumerate() if thread.name.startswith("pycontainer-transfer")
        ]

    def test_an_index_is_pushed_children_first(
        self, registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor
    ) -> None:
        arm = small_image(source, b"arm", architecture="arm64")
        index = small_index(source, top, arm)
        client.push(ref(registry), source, index)
        found = client.resolve(ref(registry), Platform.parse("linux/arm64"))
        assert found.manifest_descriptor.digest == arm.digest
        assert found.index_bytes == source.blobs[index.digest]
        puts = [
            record.path
            for record in registry.requests
            if record.method == "PUT" and "/manifests/" in record.path
        ]
        assert puts[-1].endswith("/manifests/1")
        assert {path.rpartition("/")[2] for path in puts[:-1]} == {top.digest, arm.digest}

    def test_a_push_by_digest_makes_no_tag(
        self, registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor
    ) -> None:
        by_digest = Reference.parse(f"{registry.address}/team/app@{top.digest}")
        client.push(by_digest, source, top)
        assert client.describe(by_digest).digest == top.digest
        assert client.tags(by_digest) == []

    def test_blobs_that_are_there_are_not_sent_again(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        before, events = len(registry.requests), list[Progress]()
        client.push(pushed.with_tag("2"), source, top, on_event=events.append)
        assert not [record for record in registry.requests[before:] if record.method in ("POST", "PATCH")]
        assert {event.action for event in events} == {"exists", "done"}
        assert sorted(client.tags(pushed)) == ["1", "2"]

    def test_blobs_are_mounted_from_another_repository(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        events: list[Progress] = []
        other = ref(registry, "other/app:1")
        client.push(other, source, top, on_event=events.append, mount_from=["no/such", "team/app"])
        assert sum(event.action == "mounted" for event in events) == 4
        assert client.resolve(other, AMD64).descriptor.digest == top.digest

    def test_foreign_layers_are_not_pushed(self, registry: Registry, client: RegistryClient) -> None:
        source, events = MemorySink(), list[Progress]()
        top = small_image(source, b"mine", b"theirs")
        manifest = decode_manifest(source.blobs[top.digest])
        assert isinstance(manifest, Manifest)
        foreign = attrs.evolve(
            manifest.layers[1], media_type=mediatype.OCI_FOREIGN, urls=("https://x.example/l",)
        )
        changed = attrs.evolve(manifest, layers=(manifest.layers[0], foreign))
        descriptor = source.add(encode(changed), mediatype.OCI_MANIFEST)
        client.push(ref(registry), source, descriptor, on_event=events.append)
        assert [event.digest for event in events if event.action == "skipped"] == [foreign.digest]

    def test_a_source_that_lacks_a_part_ends_the_push_before_any_manifest(
        self, registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor
    ) -> None:
        del source.blobs[layers(source, top)[0].digest]
        with pytest.raises(NotFound):
            client.push(ref(registry), source, top)
        assert not requests(registry, "PUT", "/manifests/")

    def test_tags_come_in_pages(
        self, registry: Registry, client: RegistryClient, source: MemorySink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pycontainer.registry.listing.PAGE_ENTRIES", 3)
        top = small_image(source, b"x")
        names = [f"v{number}" for number in range(10)]
        for name in names:
            client.push(ref(registry, f"app:{name}"), source, top)
        assert client.tags(ref(registry, "app")) == names
        assert len(requests(registry, "GET", "/tags/list")) == 4

    def test_what_refers_to_an_image_is_listed_and_filtered(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        config = source.add(b"{}", mediatype.OCI_EMPTY)
        for kind in ("application/x.sbom", "application/x.signature"):
            artifact = Manifest(config=config, artifact_type=kind, subject=attrs.evolve(top, platform=None))
            descriptor = source.add(encode(artifact), mediatype.OCI_MANIFEST)
            client.push(Reference.parse(f"{pushed.repository}@{descriptor.digest}"), source, descriptor)
        assert {entry.artifact_type for entry in client.referrers(pushed, top.digest)} == {
            "application/x.sbom",
            "application/x.signature",
        }
        [only] = client.referrers(pushed, top.digest, "application/x.sbom")
        assert only.artifact_type == "application/x.sbom"

    def test_a_deleted_tag_is_gone_and_the_digest_stays(
        self, client: RegistryClient, pushed: Reference, top: Descriptor
    ) -> None:
        client.delete(pushed)
        with pytest.raises(NotFound):
            client.describe(pushed)
        assert client.describe(Reference.parse(f"{pushed.repository}@{top.digest}")).digest == top.digest


class TestUploads:
    CHUNKED = Limits(upload_chunk_bytes=1 << 20, monolithic_upload_bytes=1 << 20)

    def chunked(self) -> RegistryClient:
        return RegistryClient(RegistryConfig(retries=FAST, timeouts=SHORT, limits=self.CHUNKED))

    def test_a_large_blob_goes_in_chunks(
        self, registry: Registry, source: MemorySink, top: Descriptor
    ) -> None:
        with self.chunked() as client:
            client.push(ref(registry), source, top)
            assert client.resolve(ref(registry), AMD64).descriptor.digest == top.digest
        assert len(requests(registry, "PATCH", "/uploads/")) == 5

    def test_a_chunk_that_breaks_off_is_resumed_where_the_registry_is(
        self, registry: Registry, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(Fault(DropUpload(after_bytes=300_000), method="PATCH", skip=1, count=2))
        with self.chunked() as client:
            client.push(ref(registry), source, top)
            assert client.resolve(ref(registry), AMD64).descriptor.digest == top.digest
        assert requests(registry, "GET", "/uploads/")

    def test_an_upload_that_breaks_off_begins_anew(
        self, registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(Fault(DropUpload(after_bytes=1_000_000), method="PUT", path="/uploads/", count=2))
        client.push(ref(registry), source, top)
        assert client.resolve(ref(registry), AMD64).descriptor.digest == top.digest

    def test_an_upload_that_fails_for_good_is_cancelled_with_the_registry(
        self, registry: Registry, client: RegistryClient, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(Fault(Status(400, code="DIGEST_INVALID"), method="PUT", path="/uploads/", count=None))
        with pytest.raises(RegistryError) as caught:
            client.push(ref(registry), source, top)
        assert "DIGEST_INVALID" in caught.value.codes
        assert requests(registry, "DELETE", "/uploads/")
        assert not requests(registry, "PUT", "/manifests/")

    def test_a_least_chunk_size_of_the_registry_is_kept(
        self, registry: Registry, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(
            Fault(
                Headers({"OCI-Chunk-Min-Length": str(2 << 20)}), method="POST", path="/uploads/", count=None
            )
        )
        with self.chunked() as client:
            client.push(ref(registry), source, top)
        assert len(requests(registry, "PATCH", "/uploads/")) == 3  # 2 and 1 MiB, 2 MiB

    def test_an_upload_location_on_another_host_gets_no_token(
        self, source: MemorySink, top: Descriptor
    ) -> None:
        with Registry(auth={"me": "s3cret"}) as registry, Registry() as other:
            registry.inject(
                Fault(
                    Headers({"Location": f"{other.url}/v2/team/app/blobs/uploads/x"}),
                    method="POST",
                    path="/uploads/",
                    count=None,
                )
            )
            config = RegistryConfig(retries=FAST, timeouts=SHORT, credentials={registry.address: ME})
            with RegistryClient(config) as client, pytest.raises(RegistryError):
                client.push(ref(registry), source, top)
            assert other.requests
            assert not any("authorization" in str(record.headers).lower() for record in other.requests)


class TestBadDays:
    @pytest.mark.parametrize(
        "fault",
        [
            Status(429, retry_after=0),
            Status(503),
            Status(500),
            Silence(),
            Truncate(after_bytes=100_000),
            Truncate(after_bytes=2_500_000),
            Drop(after_bytes=0),
            Drop(after_bytes=100_000),
            Drop(after_bytes=2_500_000),
        ],
        ids=repr,
    )
    def test_a_transfer_survives_what_passes(
        self,
        fault: Status | Silence | Truncate | Drop,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        registry.inject(Fault(fault, method="GET", path="/blobs/", count=2))
        sink = MemorySink()
        client.fetch(pushed, layers(source, top)[0], sink)
        assert sink.blobs[layers(source, top)[0].digest] == LAYERS[0]

    def test_a_broken_transfer_asks_only_for_the_rest(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        registry.inject(Fault(Drop(after_bytes=2_000_000), method="GET", path="/blobs/"))
        sink, events = MemorySink(), list[Progress]()
        client.fetch(pushed, layers(source, top)[0], sink, events.append)
        resumed = [event.done_bytes for event in events if event.action == "retrying"]
        assert resumed
        assert 0 < resumed[0] <= 2_000_000
        assert registry.requests[-1].status == 206

    def test_a_registry_that_ignores_ranges_is_read_from_the_start(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        layer, sink = layers(source, top)[0], MemorySink()
        sink.partial[layer.digest] = LAYERS[0][:1_000_000]
        registry.inject(Fault(IgnoreRange(), method="GET", path="/blobs/"))
        client.fetch(pushed, layer, sink)
        assert sink.blobs[layer.digest] == LAYERS[0]

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Corrupt(at=5), DigestMismatch),
            (Corrupt(at=2_500_000), DigestMismatch),
            (Headers({"Content-Range": "bytes 0-5/6"}), RegistryError),
            (Status(404, code="BLOB_UNKNOWN"), NotFound),
            (Status(403, code="DENIED"), AuthDenied),
            (Status(429, retry_after=3600), RateLimited),
            (Redirect("http://169.254.169.254{path}"), RegistryError),
            (Redirect("file:///etc/passwd"), RegistryError),
            (Answer(b"x" * 100), DigestMismatch),
        ],
        ids=repr,
    )
    def test_what_does_not_pass_is_a_clear_error_and_nothing_is_visible(
        self,
        fault: Corrupt,
        kind: type[Exception],
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        layer, sink = layers(source, top)[0], MemorySink()
        if isinstance(fault, Headers):
            sink.partial[layer.digest] = LAYERS[0][:1000]
        registry.inject(Fault(fault, method="GET", path="/blobs/", count=None))
        with pytest.raises(kind):
            client.fetch(pushed, layer, sink)
        assert sink.blobs == {}

    def test_a_silent_server_is_given_up_after_the_read_gap(
        self, registry: Registry, pushed: Reference, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(Fault(Hang(30), method="GET", path="/blobs/", count=None))
        timeouts = Timeouts(read_gap_s=0.2)
        with RegistryClient(RegistryConfig(retries=FAST, timeouts=timeouts)) as client:
            with pytest.raises(TransferFailed):
                client.fetch(pushed, layers(source, top)[0], MemorySink())

    def test_a_trickle_below_the_least_rate_is_given_up(
        self, registry: Registry, pushed: Reference, source: MemorySink, top: Descriptor
    ) -> None:
        registry.inject(Fault(Slow(bytes_per_s=2000), method="GET", path="/blobs/", count=None))
        timeouts = Timeouts(minimum_rate=10_000_000, rate_window_s=0.3)
        with RegistryClient(RegistryConfig(retries=FAST, timeouts=timeouts)) as client:
            with pytest.raises(TransferFailed, match="bytes per second"):
                client.fetch(pushed, layers(source, top)[0], MemorySink())

    @pytest.mark.parametrize("fault", [Slow(bytes_per_s=1000), Hang(60)], ids=repr)
    def test_the_first_error_ends_transfers_that_wait_for_the_network(
        self,
        fault: Slow | Hang,
        registry: Registry,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        first, second, _ = layers(source, top)
        registry.inject(Fault(fault, method="GET", path=first.digest, count=None))
        registry.inject(Fault(Status(404), method="GET", path=second.digest, count=None))
        with RegistryClient(RegistryConfig(retries=FAST)) as client:
            started = time.monotonic()
            with pytest.raises(NotFound):
                client.fetch_all(pushed, [first, second], MemorySink())
        assert time.monotonic() - started < 5
        assert not [
            thread for thread in threading.enumerate() if thread.name.startswith("pycontainer-transfer")
        ]

    def test_another_thread_can_cancel(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
    ) -> None:
        registry.inject(Fault(Slow(bytes_per_s=100_000), method="GET", path="/blobs/", count=None))
        cancellation, sink = Cancellation(), MemorySink()

        def stop_when_it_moves(event: Progress) -> None:
            if event.action == "downloading":
                threading.Thread(target=cancellation.cancel).start()

        with pytest.raises(TransferFailed, match="cancelled"):
            client.fetch_all(
                pushed, layers(source, top)[:1], sink, stop_when_it_moves, cancellation=cancellation
            )
        assert sink.partial  # kept for the next time


class TestStore:
    def test_concurrent_pulls_of_one_blob_share_one_transfer(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
        tmp_path: Path,
    ) -> None:
        content, before = store(tmp_path), len(registry.requests)
        threads = [
            threading.Thread(target=client.fetch_all, args=(pushed, layers(source, top), content))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fetched = [record.path for record in registry.requests[before:] if "/blobs/" in record.path]
        assert len(fetched) == len(set(fetched)) == 3
        for layer in layers(source, top):
            assert content.read(layer, 10 << 20) == source.blobs[layer.digest]

    def test_a_transfer_that_was_killed_goes_on_in_the_next_process(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
        tmp_path: Path,
    ) -> None:
        layer = layers(source, top)[0]
        registry.inject(Fault(Drop(after_bytes=500_000), method="GET", path="/blobs/", count=None))
        with pytest.raises(TransferFailed):
            client.fetch(pushed, layer, store(tmp_path))
        registry.clear_faults()
        client.fetch(pushed, layer, store(tmp_path))
        assert registry.requests[-1].status == 206
        assert store(tmp_path).read(layer, 10 << 20) == LAYERS[0]

    def test_a_wrong_digest_leaves_the_store_clean_and_the_next_attempt_succeeds(
        self,
        registry: Registry,
        client: RegistryClient,
        pushed: Reference,
        source: MemorySink,
        top: Descriptor,
        tmp_path: Path,
    ) -> None:
        content, layer = store(tmp_path), layers(source, top)[0]
        registry.inject(Fault(Corrupt(at=99), method="GET", path="/blobs/"))
        with pytest.raises(DigestMismatch):
            client.fetch(pushed, layer, content)
        client.fetch(pushed, layer, content)
        assert content.read(layer, 10 << 20) == LAYERS[0]


class TestAccounts:
    def test_the_right_account_gets_in_and_the_wrong_one_is_told(
        self, source: MemorySink, top: Descriptor
    ) -> None:
        with Registry(auth={"me": "s3cret"}) as registry:
            good = RegistryConfig(credentials={registry.address: ME})
            with RegistryClient(good) as client:
                client.push(ref(registry), source, top)
                assert client.resolve(ref(registry), AMD64).descriptor.digest == top.digest
                assert client.ping(registry.address) == registry.url
            for config in (
                RegistryConfig(),
                RegistryConfig(credentials={registry.address: Credentials(username="me", password="wr0ng")}),
            ):
                with RegistryClient(config) as client, pytest.raises(AuthDenied) as caught:
                    client.resolve(ref(registry), AMD64)
                assert "wr0ng" not in str(caught.value)

    def test_credentials_do_not_follow_a_redirect_to_another_port(
        self, source: MemorySink, top: Descriptor
    ) -> None:
        with Registry(auth={"me": "s3cret"}) as registry, Registry(auth={"me": "s3cret"}) as other:
            config = RegistryConfig(retries=FAST, credentials={registry.address: ME})
            with RegistryClient(config) as client:
                client.push(ref(registry), source, top)
                registry.inject(
                    Fault(Redirect(other.url + "{path}"), method="GET", path="/blobs/", count=None)
                )
                with pytest.raises(AuthDenied):
                    client.fetch(ref(registry), layers(source, top)[0], MemorySink())
            assert other.requests
            assert not any("authorization" in str(record.headers).lower() for record in other.requests)


class TestMirrors:
    def test_a_mirror_serves_until_it_breaks_and_the_registry_goes_on(
        self, registry: Registry, pushed: Reference, source: MemorySink, top: Descriptor
    ) -> None:
        with Registry(upstream=registry.address) as mirror:
            config = RegistryConfig(
                retries=FAST, mirrors=(Mirror(url=mirror.url, registry=registry.address),)
            )
            with RegistryClient(config) as client:
                found = client.resolve(pushed, AMD64)
                assert [record for record in mirror.requests if "/manifests/" in record.path]
                mirror.inject(Fault(Drop(after_bytes=1_000_000), method="GET", path="/blobs/", count=None))
                sink = MemorySink()
                client.fetch_all(pushed, found.manifest.layers, sink)
            assert [sink.blobs[layer.digest] for layer in found.manifest.layers] == LAYERS


def test_uploads_that_were_cancelled_by_anothers_error_are_given_up_with_the_registry(
    registry: Registry, source: MemorySink, top: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = layers(source, top)
    registry.inject(Fault(Hang(60), method="PUT", path=first.digest.replace(":", "%3A"), count=None))
    registry.inject(Fault(Status(400), method="PUT", path=second.digest.replace(":", "%3A"), count=None))
    others = [
        digest.replace(":", "%3A") for digest in source.blobs if digest not in (second.digest, top.digest)
    ]
    open_blob = source.open

    def open_last(descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest == second.digest:
            # Else an upload might be cancelled before the registry's answer has said where it is.
            stores.await_condition(lambda: all(requests(registry, "PUT", name) for name in others))
        return open_blob(descriptor)

    monkeypatch.setattr(source, "open", open_last)
    with RegistryClient(RegistryConfig(retries=FAST)) as client, pytest.raises(RegistryError):
        client.push(ref(registry), source, top)
    ended = {
        record.path.partition("?")[0]
        for record in registry.requests
        if record.method == "DELETE" or (record.method == "PUT" and record.status == 201)
    }
    assert len(ended) == len(requests(registry, "POST", "/uploads/"))
