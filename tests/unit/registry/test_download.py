"""One blob into a sink, from servers that break off, lie about ranges, and send too much or too little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pycontainer.errors import DigestMismatch, InvalidInput, NotFound, RegistryError, TransferFailed
from pycontainer.image.events import Progress
from pycontainer.oci import Descriptor, Digest, Hasher, Reference, mediatype, sha256
from pycontainer.registry import Limits, Mirror, RegistryClient, RegistryConfig
from tests.unit.registry.fakes import FAST, MemorySink, Reply, Table, refuse_connection

REF = Reference.parse("reg.example/app:1")
DATA = bytes(range(256)) * 64
BLOB = Descriptor(media_type=mediatype.OCI_LAYER, digest=sha256(DATA), size=len(DATA))
URL = f"GET https://reg.example/v2/app/blobs/{BLOB.digest}"


def fetch(
    *replies: Reply, sink: MemorySink | None = None, blob: Descriptor = BLOB, **settings: Any
) -> tuple[MemorySink, Table]:
    sink = sink or MemorySink()
    table = Table({URL: list(replies)} if replies else {})
    RegistryClient(RegistryConfig(retries=FAST, certs_dirs=(), **settings), transport=table).fetch(
        REF, blob, sink
    )
    return sink, table


def whole(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=DATA)


def ranged(request: httpx.Request) -> httpx.Response:
    """A server that serves ranges as it should."""
    wanted = request.headers.get("range")
    if wanted is None:
        return whole(request)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), int(last or len(DATA) - 1)
    headers = {"Content-Range": f"bytes {start}-{end}/{len(DATA)}"}
    return httpx.Response(206, content=DATA[start : end + 1], headers=headers)


def breaking_after(count: int) -> Reply:
    """A connection that breaks after so many bytes of what `ranged` would send."""

    def answer(request: httpx.Request) -> httpx.Response:
        good = ranged(request)

        def chunks() -> Iterator[bytes]:
            yield good.content[:count]
            raise httpx.ReadError("connection reset")

        return httpx.Response(good.status_code, headers=good.headers, content=chunks())

    return answer


def kept(data: bytes, blob: Descriptor = BLOB) -> MemorySink:
    sink = MemorySink()
    sink.partial[blob.digest] = data
    return sink


def test_a_blob_arrives_whole() -> None:
    sink, table = fetch(whole)
    assert sink.blobs[BLOB.digest] == DATA
    assert table.seen[0].headers["accept-encoding"] == "identity"


def test_a_blob_that_is_there_is_not_asked_for() -> None:
    _, table = fetch(whole, sink=MemorySink(DATA))
    assert table.seen == []


def test_inline_data_is_taken_instead() -> None:
    inline = Descriptor(media_type=BLOB.media_type, digest=BLOB.digest, size=BLOB.size, data=DATA)
    sink, table = fetch(blob=inline)
    assert sink.blobs[BLOB.digest] == DATA
    assert table.seen == []


def test_an_empty_blob_needs_no_transfer() -> None:
    empty = Descriptor(media_type=BLOB.media_type, digest=sha256(b""), size=0)
    sink, _ = fetch(blob=empty)
    assert sink.blobs[empty.digest] == b""


def test_a_blob_with_a_sha512_digest_is_verified_by_it() -> None:
    hasher = Hasher("sha512")
    hasher.update(DATA)
    blob = Descriptor(media_type=BLOB.media_type, digest=hasher.digest(), size=BLOB.size)
    table = Table({f"GET https://reg.example/v2/app/blobs/{blob.digest}": whole})
    sink = MemorySink()
    RegistryClient(RegistryConfig(certs_dirs=()), transport=table).fetch(REF, blob, sink)
    assert sink.blobs[blob.digest] == DATA


@pytest.mark.parametrize(
    "digest", ["sha256:../../x", "sha256:" + "A" * 64, "", "md5:" + "0" * 32, "x/../../y"]
)
def test_a_digest_outside_the_grammar_never_reaches_a_url(digest: str) -> None:
    with pytest.raises(InvalidInput):
        fetch(whole, blob=Descriptor(media_type="x", digest=Digest(digest), size=1))


class TestResume:
    def test_a_transfer_that_breaks_goes_on_where_it_was(self) -> None:
        sink, table = fetch(breaking_after(1000), breaking_after(500), ranged)
        assert sink.blobs[BLOB.digest] == DATA
        assert [request.headers.get("range") for request in table.seen] == [
            None,
            f"bytes=1000-{len(DATA) - 1}",
            f"bytes=1500-{len(DATA) - 1}",
        ]

    def test_what_an_earlier_process_left_is_kept(self) -> None:
        sink, table = fetch(ranged, sink=kept(DATA[:5000]))
        assert sink.blobs[BLOB.digest] == DATA
        assert table.seen[0].headers["range"] == f"bytes=5000-{len(DATA) - 1}"

    def test_what_is_complete_is_only_verified(self) -> None:
        sink, table = fetch(sink=kept(DATA))
        assert sink.blobs[BLOB.digest] == DATA
        assert table.seen == []

    def test_more_than_the_whole_is_dropped(self) -> None:
        sink, table = fetch(ranged, sink=kept(DATA + b"x"))
        assert sink.blobs[BLOB.digest] == DATA
        assert "range" not in table.seen[0].headers

    def test_a_server_without_ranges_sends_it_all_again(self) -> None:
        sink, _ = fetch(whole, sink=kept(DATA[:5000]))
        assert sink.blobs[BLOB.digest] == DATA

    def test_damaged_leftovers_cost_one_more_attempt(self) -> None:
        sink, table = fetch(ranged, sink=kept(b"\0" * 5000))
        assert sink.blobs[BLOB.digest] == DATA
        assert len(table.seen) == 2

    def test_a_server_that_no_longer_satisfies_the_range_is_asked_for_all(self) -> None:
        sink, _ = fetch(httpx.Response(416), whole, sink=kept(DATA[:5000]))
        assert sink.blobs[BLOB.digest] == DATA

    def test_a_piece_shorter_than_asked_for_is_a_step(self) -> None:
        def half(request: httpx.Request) -> httpx.Response:
            return httpx.Response(
                206, content=DATA[5000:6000], headers={"Content-Range": f"bytes 5000-5999/{len(DATA)}"}
            )

        sink, _ = fetch(half, ranged, sink=kept(DATA[:5000]))
        assert sink.blobs[BLOB.digest] == DATA

    @pytest.mark.parametrize(
        "header",
        [
            f"bytes 0-{len(DATA) - 1}/{len(DATA)}",
            f"bytes 5001-{len(DATA) - 1}/{len(DATA)}",
            f"bytes 5000-{len(DATA)}/{len(DATA)}",
            f"bytes 5000-{len(DATA) - 1}/{len(DATA) + 1}",
            f"bytes 5000-4999/{len(DATA)}",
            "bytes */*",
            "",
            "5000-6000",
            "bytes 5000-" + "9" * 50 + "/*",
        ],
    )
    def test_a_range_that_was_not_asked_for_is_refused(self, header: str) -> None:
        sink = kept(DATA[:5000])
        with pytest.raises(RegistryError):
            fetch(httpx.Response(206, content=DATA[5000:], headers={"Content-Range": header}), sink=sink)
        assert not sink.has(BLOB.digest)

    def test_a_partial_answer_to_a_whole_request_is_refused(self) -> None:
        headers = {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
        with pytest.raises(RegistryError):
            fetch(httpx.Response(206, content=DATA, headers=headers))

    def test_attempts_without_progress_are_bounded_and_what_came_is_kept(self) -> None:
        sink = MemorySink()
        with pytest.raises(TransferFailed) as caught:
            fetch(breaking_after(100), sink=sink)
        assert caught.value.is_temporary
        assert sink.partial[BLOB.digest] == DATA[:300]  # three attempts


class TestLies:
    @pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 0, 10**18])
    def test_a_content_length_that_is_not_the_descriptors_is_refused_unread(self, size: int) -> None:
        sink = MemorySink()

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"Content-Length": str(size)}, content=iter([DATA]))

        with pytest.raises(DigestMismatch):
            fetch(answer, sink=sink)
        assert sink.partial == {}

    def test_an_endless_body_is_cut_at_the_descriptors_size(self) -> None:
        sent: list[int] = []

        def answer(request: httpx.Request) -> httpx.Response:
            def chunks() -> Iterator[bytes]:
                while True:
                    sent.append(4096)
                    yield b"\0" * 4096

            return httpx.Response(200, content=chunks())

        sink = MemorySink()
        with pytest.raises(DigestMismatch):
            fetch(answer, sink=sink)
        assert sum(sent) <= len(DATA) + 2 * 4096
        assert sink.partial == {}

    def test_a_body_that_ends_early_without_an_error_is_refused(self) -> None:
        with pytest.raises(DigestMismatch):
            fetch(lambda request: httpx.Response(200, content=iter([DATA[:100]])))

    def test_bytes_that_are_not_the_digests_are_refused_and_not_kept(self) -> None:
        sink = MemorySink()
        with pytest.raises(DigestMismatch):
            fetch(httpx.Response(200, content=b"\0" * len(DATA)), sink=sink)
        assert sink.partial == {}
        assert not sink.has(BLOB.digest)

    def test_content_encoding_changes_nothing(self) -> None:
        sink, _ = fetch(
            lambda request: httpx.Response(
                200, stream=httpx.ByteStream(DATA), headers={"Content-Encoding": "gzip"}
            )
        )
        assert sink.blobs[BLOB.digest] == DATA

    def test_a_mirror_with_wrong_bytes_is_followed_by_the_registry(self) -> None:
        ref = Reference.parse("app:1")
        path = f"/v2/library/app/blobs/{BLOB.digest}"
        table = Table(
            {
                f"GET https://m.example{path}": httpx.Response(200, content=b"\0" * len(DATA)),
                f"GET https://registry-1.docker.io{path}": whole,
            }
        )
        sink = MemorySink()
        config = RegistryConfig(retries=FAST, mirrors=(Mirror(url="https://m.example"),), certs_dirs=())
        RegistryClient(config, transport=table).fetch(ref, BLOB, sink)
        assert sink.blobs[BLOB.digest] == DATA

    def test_a_mirror_that_breaks_off_is_resumed_from_the_registry(self) -> None:
        ref = Reference.parse("app:1")
        path = f"/v2/library/app/blobs/{BLOB.digest}"
        table = Table(
            {
                f"GET https://m.example{path}": [breaking_after(1000), refuse_connection],
                f"GET https://registry-1.docker.io{path}": ranged,
            }
        )
        sink = MemorySink()
        config = RegistryConfig(retries=FAST, mirrors=(Mirror(url="https://m.example"),), certs_dirs=())
        RegistryClient(config, transport=table).fetch(ref, BLOB, sink)
        assert sink.blobs[BLOB.digest] == DATA
        assert table.seen[-1].headers["range"].startswith("bytes=1000-")


class TestForeignLayers:
    FOREIGN = Descriptor(
        media_type=mediatype.OCI_FOREIGN,
        digest=BLOB.digest,
        size=BLOB.size,
        urls=("file:///etc/passwd", "http://plain.example/l", "https://127.0.0.1/l", "https://cdn.example/l"),
    )

    def test_their_urls_are_not_fetched_unless_allowed(self) -> None:
        with pytest.raises(NotFound):
            fetch(blob=self.FOREIGN)

    def test_their_urls_are_fetched_without_credentials_and_only_over_https_from_public_hosts(self) -> None:
        table = Table({"GET https://cdn.example/l": whole})
        sink = MemorySink()
        config = RegistryConfig(retries=FAST, allow_foreign_urls=True, certs_dirs=())
        RegistryClient(config, transport=table).fetch(REF, self.FOREIGN, sink)
        assert sink.blobs[BLOB.digest] == DATA
        assert [request.url.host for request in table.seen] == ["reg.example", "cdn.example"]
        assert "authorization" not in table.seen[-1].headers

    def test_urls_of_ordinary_layers_are_never_fetched(self) -> None:
        ordinary = Descriptor(
            media_type=BLOB.media_type, digest=BLOB.digest, size=BLOB.size, urls=("https://cdn.example/l",)
        )
        with pytest.raises(NotFound):
            fetch(blob=ordinary, allow_foreign_urls=True)


class TestMany:
    @staticmethod
    def blobs(count: int) -> list[bytes]:
        return [bytes([number]) * 1000 for number in range(count)]

    def test_blobs_come_in_parallel_each_once_and_are_reported_on_the_callers_thread(self) -> None:
        blobs = self.blobs(8)
        descriptors = [Descriptor(media_type="x", digest=sha256(blob), size=len(blob)) for blob in blobs]
        together = threading.Barrier(3, timeout=10)

        def answer(request: httpx.Request) -> httpx.Response:
            together.wait()
            return httpx.Response(200, content=blobs[[d.digest for d in descriptors].index(_digest(request))])

        table = Table({f"GET https://reg.example/v2/app/blobs/{d.digest}": answer for d in descriptors[:6]})
        sink, events, done = MemorySink(*blobs[6:]), list[Progress](), list[Digest]()

        def on_blob(descriptor: Descriptor) -> None:
            assert threading.current_thread() is threading.main_thread()
            done.append(descriptor.digest)

        registry = RegistryClient(RegistryConfig(limits=Limits(parallel_downloads=3)), transport=table)
        registry.fetch_all(REF, [*descriptors, *descriptors], sink, events.append, on_blob)
        assert sorted(done) == sorted(d.digest for d in descriptors)
        assert len(table.seen) == 6
        last = {event.digest: event.action for event in events}
        assert sorted(last.values()) == ["downloaded"] * 6 + ["exists"] * 2
        assert not _transfer_threads()

    def test_the_first_error_ends_them_all_and_leaves_no_thread(self) -> None:
        blobs = self.blobs(6)
        descriptors = [Descriptor(media_type="x", digest=sha256(blob), size=len(blob)) for blob in blobs]
        started = threading.Event()

        def trickle(request: httpx.Request) -> httpx.Response:
            def chunks() -> Iterator[bytes]:
                started.set()
                for _ in range(999):
                    yield b"\0"
                    threading.Event().wait(0.05)

            return httpx.Response(200, content=chunks())

        def missing(request: httpx.Request) -> httpx.Response:
            started.wait(10)
            return httpx.Response(404)

        urls = [f"GET https://reg.example/v2/app/blobs/{d.digest}" for d in descriptors]
        table = Table({urls[0]: trickle, urls[1]: missing} | dict.fromkeys(urls[2:], trickle))
        registry = RegistryClient(RegistryConfig(certs_dirs=()), transport=table)
        with pytest.raises(NotFound):
            registry.fetch_all(REF, descriptors, MemorySink())
        assert not _transfer_threads()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
    def test_an_error_of_the_callers_own_ends_them_all(self, kind: type[BaseException]) -> None:
        blobs = self.blobs(4)
        descriptors = [Descriptor(media_type="x", digest=sha256(blob), size=len(blob)) for blob in blobs]
        urls = {
            f"GET https://reg.example/v2/app/blobs/{d.digest}": httpx.Response(200, content=b)
            for d, b in zip(descriptors, blobs, strict=True)
        }

        def on_blob(descriptor: Descriptor) -> None:
            raise kind

        registry = RegistryClient(RegistryConfig(certs_dirs=()), transport=Table(dict(urls)))
        with pytest.raises(kind):
            registry.fetch_all(REF, descriptors, MemorySink(), on_blob=on_blob)
        assert not _transfer_threads()

    def test_two_callers_of_one_blob_share_one_transfer(self) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(request: httpx.Request) -> httpx.Response:
            entered.set()
            leave.wait(10)
            return whole(request)

        table, sink = Table({URL: slow}), MemorySink()
        registry = RegistryClient(RegistryConfig(certs_dirs=()), transport=table)
        threads = [threading.Thread(target=registry.fetch, args=(REF, BLOB, sink)) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert entered.wait(10)
        leave.set()
        for thread in threads:
            thread.join(10)
        assert sink.blobs[BLOB.digest] == DATA
        assert len(table.seen) == 1


def test_events_tell_the_story_of_a_transfer() -> None:
    events: list[Progress] = []
    table = Table({URL: [breaking_after(1000), ranged]})
    registry = RegistryClient(RegistryConfig(retries=FAST, certs_dirs=()), transport=table)
    registry.fetch(REF, BLOB, MemorySink(), events.append)
    actions = [event.action for event in events]
    assert actions[0] == "waiting"
    assert actions[-2:] == ["verifying", "downloaded"]
    assert "retrying" in actions
    assert {(event.digest, event.total_bytes, event.reference) for event in events} == {
        (BLOB.digest, len(DATA), "reg.example/app:1")
    }
    assert [event.done_bytes for event in events] == sorted(event.done_bytes for event in events)


def _digest(request: httpx.Request) -> str:
    return request.url.path.rpartition("/")[2]


def _transfer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pycontainer-transfer")]
