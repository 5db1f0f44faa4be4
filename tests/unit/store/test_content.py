"""Blobs: exclusive, resumable, verified; followed while they grow."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pycontainer.errors import (
    DeadlineExceeded,
    DigestMismatch,
    InvalidImage,
    InvalidInput,
    KernelError,
    NotFound,
)
from pycontainer.image import BlobSink, BlobSource
from pycontainer.oci import Descriptor, Digest
from pycontainer.store.content import ContentStore
from pycontainer.store.ingest import COMPLETE
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases

TYPE = "application/octet-stream"


def descriptor_of(data: bytes, algorithm: str = "sha256") -> Descriptor:
    digest = Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")
    return Descriptor(media_type=TYPE, digest=digest, size=len(data))


def store_blob(content: ContentStore, data: bytes) -> Descriptor:
    descriptor = descriptor_of(data)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        ingest.write(data)
        ingest.commit()
    return descriptor


def attempt(content: ContentStore, descriptor: Descriptor, data: bytes, *, commit: bool = True) -> None:
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        ingest.write(data)
        if commit:
            ingest.commit()


def test_it_is_a_blob_sink_and_source(content: ContentStore) -> None:
    assert isinstance(content, BlobSink)
    assert isinstance(content, BlobSource)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", b"x", b"ab" * 300_000], ids=["empty", "byte", "large"])
def test_what_was_ingested_is_read_back(content: ContentStore, data: bytes, algorithm: str) -> None:
    descriptor = descriptor_of(data, algorithm)
    assert not content.has(descriptor.digest)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        for start in range(0, len(data), 70_000):
            ingest.write(data[start : start + 70_000])
        assert not content.has(descriptor.digest)
        ingest.commit()
        assert content.has(descriptor.digest)
    assert content.read(descriptor, 1 << 20) == data
    with content.open(descriptor) as file:
        assert file.read() == data
    assert list(content.digests()) == [descriptor.digest]


def test_a_present_blob_needs_no_ingest(content: ContentStore) -> None:
    descriptor = store_blob(content, b"here")
    with content.ingest(descriptor) as ingest:
        assert ingest is None


def test_put_stores_small_documents_once(content: ContentStore) -> None:
    digest = content.put(b"{}")
    assert content.put(b"{}") == digest
    assert content.path(digest).read_bytes() == b"{}"


def test_blobs_and_partials_are_private(content: ContentStore, layout: Layout) -> None:
    old = os.umask(0)
    try:
        descriptor = store_blob(content, b"private")
    finally:
        os.umask(old)
    assert content.path(descriptor.digest).stat().st_mode & 0o777 == 0o600


def test_leaving_without_commit_keeps_the_bytes_for_the_next_attempt(content: ContentStore) -> None:
    data = os.urandom(3_000_000)
    descriptor = descriptor_of(data)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        ingest.write(data[:2_000_000])
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        assert ingest.offset == 2_000_000
        ingest.write(data[ingest.offset :])
        ingest.commit()
    assert content.read(descriptor, 1 << 22) == data


def test_restart_drops_what_is_there(content: ContentStore) -> None:
    data = b"right" * 1000
    descriptor = descriptor_of(data)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        ingest.write(b"wrong")
        ingest.restart()
        assert ingest.offset == 0
        ingest.write(data)
        ingest.commit()
    assert content.read(descriptor, 1 << 20) == data


@pytest.mark.parametrize("wrong", [b"abcX", b"abc"], ids=["digest", "short"])
def test_a_mismatch_leaves_nothing(content: ContentStore, layout: Layout, wrong: bytes) -> None:
    descriptor = descriptor_of(b"abcd")
    with pytest.raises(DigestMismatch):
        attempt(content, descriptor, wrong)
    assert not content.has(descriptor.digest)
    assert list(layout.ingest.iterdir()) == []


def test_more_bytes_than_promised_are_refused_before_the_end(content: ContentStore, layout: Layout) -> None:
    descriptor = descriptor_of(b"abcd")
    with pytest.raises(DigestMismatch):
        attempt(content, descriptor, b"abcde", commit=False)
    assert list(layout.ingest.iterdir()) == []


def test_a_partial_longer_than_the_blob_is_begun_anew(content: ContentStore, layout: Layout) -> None:
    descriptor = descriptor_of(b"abcd")
    (layout.ingest / f"{descriptor.digest[7:]}.partial").write_bytes(b"too long by far")
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        assert ingest.offset == 0


def test_a_second_writer_waits_and_then_finds_the_blob(content: ContentStore) -> None:
    descriptor = descriptor_of(b"shared")
    seen: list[object] = []

    def second() -> None:
        with content.ingest(descriptor, timeout_s=10) as ingest:
            seen.append(ingest)

    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        thread = threading.Thread(target=second)
        thread.start()
        ingest.write(b"shared")
        ingest.commit()
    thread.join()
    assert seen == [None]


def test_a_second_writer_gives_up_after_its_timeout(content: ContentStore) -> None:
    descriptor = descriptor_of(b"slow")
    with content.ingest(descriptor):
        with pytest.raises(DeadlineExceeded):
            with content.ingest(descriptor, timeout_s=0.05):
                pass


def test_when_the_first_writer_fails_the_second_goes_on_from_its_bytes(content: ContentStore) -> None:
    data = b"0123456789"
    descriptor = descriptor_of(data)
    offsets: list[int] = []

    def second() -> None:
        with content.ingest(descriptor, timeout_s=10) as ingest:
            assert ingest is not None
            offsets.append(ingest.offset)
            ingest.write(data[ingest.offset :])
            ingest.commit()

    def first() -> None:
        with content.ingest(descriptor) as ingest:
            assert ingest is not None
            ingest.write(data[:4])
            thread.start()
            raise RuntimeError("the connection broke")

    thread = threading.Thread(target=second)
    with pytest.raises(RuntimeError):
        first()
    thread.join()
    assert offsets == [4]
    assert content.read(descriptor, 100) == data


KILLED = """
import os, sys
from pathlib import Path
from pycontainer.oci import Descriptor
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
descriptor = Descriptor(media_type="x", digest=sys.argv[2], size=int(sys.argv[3]))
with ContentStore(Layout(Path(sys.argv[1]))).ingest(descriptor) as ingest:
    ingest.write(b"a" * 1000)
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_is_resumed_by_another_process(content: ContentStore, layout: Layout) -> None:
    data = b"a" * 1000 + b"b" * 1000
    descriptor = descriptor_of(data)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(layout.root), descriptor.digest, str(descriptor.size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    with pytest.raises(DeadlineExceeded):
        with content.ingest(descriptor, timeout_s=0.05):
            pass
    process.send_signal(signal.SIGKILL)
    with content.ingest(descriptor, timeout_s=10) as ingest:
        assert ingest is not None
        assert ingest.offset == 1000
        ingest.write(data[1000:])
        ingest.commit()
    process.communicate()
    assert content.read(descriptor, 10_000) == data


def test_a_missing_blob_is_not_found(content: ContentStore) -> None:
    descriptor = descriptor_of(b"nowhere")
    for attempt in (lambda: content.read(descriptor, 100), lambda: content.open(descriptor)):
        with pytest.raises(NotFound, match=descriptor.digest):
            attempt()
    with pytest.raises(NotFound):
        content.size(descriptor.digest)


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:AB", "md5:00", ""])
def test_a_digest_that_is_none_never_becomes_a_path(content: ContentStore, digest: str) -> None:
    with pytest.raises(InvalidInput):
        content.path(Digest(digest))


def test_a_document_above_the_limit_is_not_read(content: ContentStore) -> None:
    descriptor = store_blob(content, b"x" * 100)
    with pytest.raises(InvalidImage, match="at most 99"):
        content.read(descriptor, 99)


@pytest.mark.parametrize("change", [b"wrong", b"right+more", b"rig"], ids=["changed", "longer", "shorter"])
def test_bytes_that_changed_on_disk_are_noticed(content: ContentStore, change: bytes) -> None:
    descriptor = store_blob(content, b"right")
    content.path(descriptor.digest).write_bytes(change)
    with pytest.raises(DigestMismatch):
        content.read(descriptor, 100)
    with content.open(descriptor) as file, pytest.raises(DigestMismatch):
        file.read()


def test_rereading_from_the_beginning_checks_again(content: ContentStore) -> None:
    descriptor = store_blob(content, b"0123456789")
    with content.open(descriptor) as file:
        assert file.read(3) == b"012"
        file.seek(0)
        assert file.read() == b"0123456789"
        file.seek(8)
        assert file.read() == b"89"


def test_verify_removes_a_changed_blob_so_that_it_is_fetched_again(content: ContentStore) -> None:
    good, bad = store_blob(content, b"good"), store_blob(content, b"bad")
    content.path(bad.digest).write_bytes(b"BAD")
    assert content.verify(good.digest)
    assert not content.verify(bad.digest)
    assert content.has(good.digest)
    assert not content.has(bad.digest)


def _totals(fd: int) -> list[int]:
    data = b""
    while chunk := os.read(fd, 4096):
        data += chunk
    return [total for (total,) in struct.iter_unpack("<Q", data)]


def test_a_follower_sees_the_bytes_grow_and_the_end(content: ContentStore) -> None:
    data = os.urandom(1_000_000)
    descriptor = descriptor_of(data)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        ingest.write(data[:400_000])
        followed = content.follow(descriptor.digest)
        assert followed is not None
        with followed:
            assert followed.progress_fd is not None
            assert struct.unpack("<Q", os.read(followed.progress_fd, 8)) == (400_000,)
            assert os.pread(followed.blob_fd, 400_000, 0) == data[:400_000]
            ingest.write(data[400_000:])
            ingest.commit()
            assert _totals(followed.progress_fd)[-2:] == [len(data), COMPLETE]
            assert os.pread(followed.blob_fd, len(data), 0) == data


def test_a_follower_is_told_the_end_of_a_broken_attempt(content: ContentStore) -> None:
    descriptor = descriptor_of(b"x" * 1_000_000)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        followed = content.follow(descriptor.digest)
        assert followed is not None
        ingest.write(b"x" * 500_000)
    with followed:
        assert followed.progress_fd is not None
        assert COMPLETE not in _totals(followed.progress_fd)


def test_a_restart_lets_followers_go(content: ContentStore) -> None:
    descriptor = descriptor_of(b"x" * 10)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        followed = content.follow(descriptor.digest)
        assert followed is not None
        ingest.restart()
        with followed:
            assert followed.progress_fd is not None
            assert COMPLETE not in _totals(followed.progress_fd)


def test_a_follower_that_does_not_read_never_blocks_the_writer(content: ContentStore) -> None:
    size = 64 << 20
    data = bytes(size)
    descriptor = descriptor_of(data)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        followed = content.follow(descriptor.digest)
        assert followed is not None
        with followed:
            assert followed.progress_fd is not None
            for _ in range(1024):
                ingest.write(data[: size // 1024])
            ingest.commit()
            assert _totals(followed.progress_fd)[-2:] == [size, COMPLETE]


def test_following_waits_for_a_blob_that_is_not_there_yet(content: ContentStore) -> None:
    descriptor = descriptor_of(b"late")
    with pytest.raises(DeadlineExceeded):
        content.follow(descriptor.digest, timeout_s=0.05)
    assert content.follow(descriptor.digest, stop=lambda: True) is None
    store_blob(content, b"late")
    followed = content.follow(descriptor.digest)
    assert followed is not None
    with followed:
        assert followed.progress_fd is None
        assert os.read(followed.blob_fd, 10) == b"late"


def test_a_blob_of_another_process_is_followed_when_complete(content: ContentStore, layout: Layout) -> None:
    data = b"a" * 1000
    descriptor = descriptor_of(data)
    script = KILLED.replace("sys.stdin.read()", "sys.stdin.readline(); ingest.commit()")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(layout.root), descriptor.digest, "1000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    with pytest.raises(DeadlineExceeded):
        content.follow(descriptor.digest, timeout_s=0.05)
    process.communicate("go\n")
    followed = content.follow(descriptor.digest, timeout_s=10)
    assert followed is not None
    with followed:
        assert os.read(followed.blob_fd, 2000) == data


def test_stale_partials_are_removed_but_not_those_being_written(
    content: ContentStore, layout: Layout
) -> None:
    stale, live = descriptor_of(b"stale"), descriptor_of(b"live")
    with content.ingest(stale) as ingest:
        assert ingest is not None
        ingest.write(b"sta")
    assert content.remove_stale_ingests(3600) == 0
    with content.ingest(live) as ingest:
        assert ingest is not None
        ingest.write(b"li")
        assert content.remove_stale_ingests(0) == 3
        ingest.write(b"ve")
        ingest.commit()
    assert list(layout.ingest.iterdir()) == []


def test_what_a_lease_holder_looks_for_is_protected_before_it_looks(
    content: ContentStore, leases: Leases
) -> None:
    descriptor = descriptor_of(b"wanted")
    with leases.hold("a pull"):
        content.has(descriptor.digest)
        assert descriptor.digest in leases.protected().digests
    assert leases.protected().digests == set()


def test_a_full_disk_is_a_kernel_error_with_a_remedy(content: ContentStore) -> None:
    descriptor = descriptor_of(b"x" * 10)
    with content.ingest(descriptor) as ingest:
        assert ingest is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, ingest._fd)
        os.close(full)
        with pytest.raises(KernelError, match="free some space"):
            ingest.write(b"x" * 10)


def test_a_forked_child_can_ingest_while_its_parent_does(content: ContentStore) -> None:
    mine, theirs = descriptor_of(b"parent"), descriptor_of(b"child")
    with content.ingest(mine) as ingest:
        assert ingest is not None
        child = os.fork()
        if child == 0:
            try:
                with content.ingest(theirs) as other:
                    assert other is not None
                    other.write(b"child")
                    other.commit()
                os._exit(0)
            finally:
                os._exit(1)
        pidfd = os.pidfd_open(child)
        try:
            assert select.select([pidfd], [], [], 10)[0]
        finally:
            os.close(pidfd)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ingest.write(b"parent")
        ingest.commit()
    assert content.has(theirs.digest)
    assert content.has(mine.digest)


def test_many_threads_write_many_blobs_once_each(content: ContentStore, tmp_path: Path) -> None:
    blobs = [bytes([number]) * 50_000 for number in range(20)]
    written: list[int] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number, data in enumerate(blobs):
                with content.ingest(descriptor_of(data), timeout_s=30) as ingest:
                    if ingest is not None:
                        ingest.write(data)
                        ingest.commit()
                        written.append(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(written) == list(range(20))
