"""The client against Debian's docker-registry, with skopeo as the other client."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from pycontainer.errors import AuthDenied, NotFound, RegistryError, TransferFailed
from pycontainer.image import Progress
from pycontainer.oci import Manifest, Platform, Reference, encode, mediatype
from pycontainer.registry import Credentials, Limits, RegistryClient, RegistryConfig
from tests.support.needs import needs
from tests.unit.registry.fakes import FAST, MemorySink, small_image, small_index

pytestmark = needs("docker-registry", "skopeo")
AMD64 = Platform.parse("linux/amd64")
USER, PASSWORD = "me", "s3cret"
# bcrypt of the password, at the least cost
HTPASSWD = f"{USER}:$2b$04$e57mmFkyuezUuas2SrFEQeYnueMfhrnsLl6JURkdIETSCqGPFDjSW\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(folder: Path, *, auth: bool = False, address: str = "") -> tuple[subprocess.Popen[bytes], str]:
    """Start docker-registry on a free loopback port, and wait until it answers."""
    address = address or f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    if auth:
        (folder / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    with RegistryClient(RegistryConfig(certs_dirs=())) as client:
        while True:
            try:
                client.ping(address)
            except AuthDenied:
                break
            except TransferFailed:
                assert process.poll() is None, "docker-registry did not start"
                assert time.monotonic() < deadline, "docker-registry did not answer"
                continue
            break
    return process, address


def running(folder: Path, *, auth: bool = False) -> Iterator[str]:
    process, address = start(folder, auth=auth)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    yield from running(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    yield from running(tmp_path, auth=True)


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(RegistryConfig(retries=FAST, certs_dirs=())) as made:
        yield made


def skopeo(*words: str | Path) -> str:
    ended = subprocess.run(
        ["skopeo", "--insecure-policy", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("form", "compression"), [("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd")], ids="-".join
)
def test_what_skopeo_pushed_is_pulled_and_verified(
    address: str, client: RegistryClient, busybox_layout: Path, tmp_path: Path, form: str, compression: str
) -> None:
    plain = tmp_path / "plain"  # skopeo compresses anew only what is not compressed
    skopeo("copy", "--dest-decompress", f"oci:{busybox_layout}:latest", f"dir:{plain}")
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        f"--format={form}",
        f"--dest-compress-format={compression}",
        f"dir:{plain}",
        f"docker://{address}/team/busybox:1",
    )
    reference = Reference.parse(f"{address}/team/busybox:1")
    found = client.resolve(reference, AMD64)
    expected = mediatype.OCI_MANIFEST if form == "oci" else mediatype.DOCKER_MANIFEST
    assert found.manifest.media_type == expected
    assert all(mediatype.compression_of(layer.media_type) == compression for layer in found.manifest.layers)
    sink = MemorySink()
    client.fetch_all(reference, found.manifest.layers, sink)
    for layer in found.manifest.layers:
        assert "sha256:" + hashlib.sha256(sink.blobs[layer.digest]).hexdigest() == layer.digest
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{address}/team/busybox:1")
    assert raw.encode() == found.manifest_bytes


@pytest.mark.parametrize("chunk_bytes", [None, 1 << 20], ids=["monolithic", "chunked"])
def test_what_we_pushed_is_pulled_by_skopeo(address: str, tmp_path: Path, chunk_bytes: int | None) -> None:
    source = MemorySink()
    layers = [os.urandom(3 << 20), b"second layer"]
    top = small_index(source, small_image(source, *layers), small_image(source, b"arm", architecture="arm64"))
    limits = Limits()
    if chunk_bytes:
        limits = Limits(upload_chunk_bytes=chunk_bytes, monolithic_upload_bytes=0)
    with RegistryClient(RegistryConfig(retries=FAST, certs_dirs=(), limits=limits)) as client:
        client.push(Reference.parse(f"{address}/app:1"), source, top)
    target = tmp_path / "copy"
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{address}/app:1", f"dir:{target}")
    copied = {hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()}
    assert {digest.partition(":")[2] for digest in source.blobs} <= copied


def test_blobs_are_mounted_tags_listed_and_manifests_deleted(address: str, client: RegistryClient) -> None:
    source, events = MemorySink(), list[Progress]()
    top = small_image(source, b"one", b"two")
    first, second = (Reference.parse(f"{address}/{name}:1") for name in ("first", "second"))
    client.push(first, source, top)
    client.push(second, source, top, on_event=events.append, mount_from=["first"])
    assert sum(event.action == "mounted" for event in events) == 3
    client.push(second.with_tag("2"), source, top)
    assert sorted(client.tags(second)) == ["1", "2"]
    with pytest.raises(RegistryError):
        client.delete(second)  # docker-registry 2 deletes by digest only
    client.delete(Reference.parse(f"{second.repository}@{top.digest}"))
    with pytest.raises(NotFound):
        client.describe(second)
    assert client.describe(first).digest == top.digest


def test_referrers_are_kept_by_tag_where_the_registry_has_no_api(
    address: str, client: RegistryClient
) -> None:
    source = MemorySink()
    top = small_image(source, b"one")
    reference = Reference.parse(f"{address}/app:1")
    client.push(reference, source, top)
    config = source.add(b"{}", mediatype.OCI_EMPTY)
    artifact = Manifest(
        config=config, artifact_type="application/x.sbom", subject=attrs.evolve(top, platform=None)
    )
    descriptor = source.add(encode(artifact), mediatype.OCI_MANIFEST)
    for _ in range(2):  # the second time changes nothing
        client.push(Reference.parse(f"{reference.repository}@{descriptor.digest}"), source, descriptor)
    [found] = client.referrers(reference, top.digest)
    assert (found.digest, found.artifact_type) == (descriptor.digest, "application/x.sbom")


def test_accounts_are_asked_for_and_taken_from_the_file_that_skopeo_login_wrote(
    guarded: str, tmp_path: Path
) -> None:
    auth_file = tmp_path / "auth.json"
    reference = Reference.parse(f"{guarded}/app:1")
    source = MemorySink()
    top = small_image(source, b"one")
    with RegistryClient(RegistryConfig(certs_dirs=())) as anonymous, pytest.raises(AuthDenied):
        anonymous.push(reference, source, top)
    skopeo("login", "--tls-verify=false", f"--authfile={auth_file}", "-u", USER, "-p", PASSWORD, guarded)
    with RegistryClient(RegistryConfig(certs_dirs=(), auth_files=(auth_file,))) as client:
        client.push(reference, source, top)
        assert client.resolve(reference, AMD64).descriptor.digest == top.digest
    wrong = RegistryConfig(certs_dirs=(), credentials={guarded: Credentials(username=USER, password="wr0ng")})
    with RegistryClient(wrong) as client, pytest.raises(AuthDenied) as caught:
        client.resolve(reference, AMD64)
    assert "wr0ng" not in str(caught.value)


def test_a_transfer_goes_on_when_a_registry_that_died_in_the_middle_is_back(tmp_path: Path) -> None:
    process, address = start(tmp_path)
    source, data = MemorySink(), os.urandom(48 << 20)
    reference = Reference.parse(f"{address}/app:1")
    with RegistryClient(RegistryConfig(retries=FAST, certs_dirs=())) as client:
        try:
            client.push(reference, source, small_image(source, data))
            [layer] = client.resolve(reference, AMD64).manifest.layers
            sink = MemorySink()

            def kill_it(event: Progress) -> None:
                if event.action == "downloading":
                    process.kill()

            with pytest.raises(TransferFailed):
                client.fetch(reference, layer, sink, kill_it)
        finally:
            process.kill()
            process.wait(10)
        assert 0 < len(sink.partial[layer.digest]) < layer.size
        assert data.startswith(sink.partial[layer.digest])
        process, _ = start(tmp_path, address=address)
        try:
            events: list[Progress] = []
            client.fetch(reference, layer, sink, events.append)
        finally:
            process.kill()
            process.wait(10)
        assert sink.blobs[layer.digest] == data
        assert min(event.done_bytes for event in events if event.action == "downloading") > 0
