"""What only real sockets show: stalls, cancelling, name resolution, TLS, proxies. Loopback only."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pycontainer.errors import DigestMismatch, NotFound, RegistryError, TransferFailed
from pycontainer.oci import Descriptor, Platform, Reference, mediatype, sha256
from pycontainer.registry import (
    Cancellation,
    Fault,
    Proxies,
    Redirect,
    Registry,
    RegistryClient,
    RegistryConfig,
    TlsFiles,
)
from pycontainer.registry.certs import Tls, client_context
from pycontainer.registry.guard import Zone
from pycontainer.registry.transport import PooledTransport
from tests.unit.registry.fakes import FAST, SHORT, MemorySink, small_image

AMD64 = Platform.parse("linux/amd64")
DATA = os.urandom(3 << 20)
BLOB = Descriptor(media_type=mediatype.OCI_LAYER, digest=sha256(DATA), size=len(DATA))


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request per connection, lets `answer` reply, and closes; gives host:port."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return
                    head += chunk
                answer(connection)
            except OSError:
                return

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,))
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def reference(host: str) -> Reference:
    return Reference.parse(f"{host}/app:1")


def test_a_dead_registry_is_reported_soon_and_by_name() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
    started = time.monotonic()
    with RegistryClient() as client, pytest.raises(TransferFailed, match=host):
        client.describe(Reference.parse(f"{host}/app:1"))
    assert time.monotonic() - started < 3


def test_an_endless_body_is_cut_off() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"\0" * 65536 + b"\r\n")

    with server(endless) as host, RegistryClient(RegistryConfig(retries=FAST, timeouts=SHORT)) as client:
        with pytest.raises(DigestMismatch):
            client.fetch(reference(host), BLOB, MemorySink())


def test_bytes_behind_the_announced_length_are_never_read_into_the_blob() -> None:
    def generous(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA + b"more")

    with server(generous) as host, RegistryClient(RegistryConfig(retries=FAST, timeouts=SHORT)) as client:
        sink = MemorySink()
        client.fetch(reference(host), BLOB, sink)
        assert sink.blobs[BLOB.digest] == DATA


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\nabc"]
)
def test_cancelling_wakes_whoever_waits_for_the_network(sent: bytes) -> None:
    arrived, leave = threading.Event(), threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.sendall(sent)
        arrived.set()
        leave.wait(20)

    cancellation = Cancellation()

    def cancel() -> None:
        arrived.wait(10)
        cancellation.cancel()

    canceller = threading.Thread(target=cancel)
    with server(hang) as host, RegistryClient() as client:
        canceller.start()
        started = time.monotonic()
        with pytest.raises(TransferFailed, match="cancelled"):
            client.fetch_all(reference(host), [BLOB], MemorySink(), cancellation=cancellation)
        assert time.monotonic() - started < 5
        leave.set()
    canceller.join()


def test_cancelling_ends_a_wait_between_attempts() -> None:
    cancellation = Cancellation()
    threading.Timer(0.05, cancellation.cancel).start()
    started = time.monotonic()
    with pytest.raises(TransferFailed):
        cancellation.wait(30)
    assert time.monotonic() - started < 5


def test_a_name_that_resolves_to_a_nearer_address_is_refused_when_connecting() -> None:
    """The check cannot be passed by a name that resolves differently a moment later."""
    connected = threading.Event()
    with server(lambda connection: connected.set()) as host:
        port = int(host.rpartition(":")[2])
        transport = PooledTransport(client_context("x", (), (), Tls()), zone=Zone.PUBLIC)
        with pytest.raises(RegistryError, match="loopback"):
            transport.handle_request(httpx.Request("GET", f"http://localhost:{port}/"))
        transport.close()
    assert not connected.is_set()


def test_a_registry_on_loopback_may_redirect_within_loopback() -> None:
    source = MemorySink()
    top = small_image(source, DATA)
    with Registry() as registry, Registry() as other, RegistryClient(RegistryConfig(retries=FAST)) as client:
        for each in (registry, other):
            client.push(reference(each.address), source, top)
        registry.inject(Fault(Redirect(other.url + "{path}"), method="GET", path="/blobs/", count=None))
        found = client.resolve(reference(registry.address), AMD64)
        sink = MemorySink()
        client.fetch_all(reference(registry.address), found.manifest.layers, sink)
        assert sink.blobs[BLOB.digest] == DATA


class TestTls:
    @pytest.fixture
    def files(self, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
        return make_certificate(tmp_path_factory.mktemp("tls"))

    def test_a_certs_directory_makes_a_loopback_registry_speak_verified_tls(
        self, files: TlsFiles, tmp_path: Path
    ) -> None:
        with Registry(tls=files) as registry:
            folder = tmp_path / registry.address
            folder.mkdir()
            (folder / "ca.crt").write_bytes(files.certificate.read_bytes())
            self._round_trip(registry, RegistryConfig(certs_dirs=(tmp_path,), retries=FAST))

    def test_an_insecure_registrys_certificate_is_not_checked(self, files: TlsFiles) -> None:
        with Registry(tls=files) as registry:
            self._round_trip(registry, RegistryConfig(insecure=("127.0.0.0/8",), retries=FAST))

    def test_a_certificate_nobody_vouches_for_is_refused_at_once_with_the_remedy(
        self, files: TlsFiles
    ) -> None:
        with Registry(tls=files) as registry:
            config = RegistryConfig(secure=(registry.address,))
            with RegistryClient(config) as client, pytest.raises(TransferFailed, match=r"certs\.d") as caught:
                client.describe(reference(registry.address))
            assert not caught.value.is_temporary

    def test_a_client_certificate_of_the_directory_is_shown(self, files: TlsFiles, tmp_path: Path) -> None:
        mutual = TlsFiles(certificate=files.certificate, key=files.key, client_ca=files.certificate)
        with Registry(tls=mutual) as registry:
            folder = tmp_path / registry.address
            folder.mkdir()
            (folder / "ca.crt").write_bytes(files.certificate.read_bytes())
            config = RegistryConfig(certs_dirs=(tmp_path,), retries=FAST, timeouts=SHORT)
            with (
                RegistryClient(config) as client,
                pytest.raises(TransferFailed, match="demands a client certificate") as caught,
            ):
                client.ping(registry.address)
            assert not caught.value.is_temporary
            (folder / "client.cert").write_bytes(files.certificate.read_bytes())
            with RegistryClient(config) as client, pytest.raises(ValueError, match=r"client\.key"):
                client.ping(registry.address)
            (folder / "client.key").write_bytes(files.key.read_bytes())
            self._round_trip(registry, config)

    def test_hosts_toml_has_authorities_certificates_and_trust_for_each_server(
        self, files: TlsFiles, tmp_path: Path
    ) -> None:
        mutual = TlsFiles(certificate=files.certificate, key=files.key, client_ca=files.certificate)
        folder = tmp_path / "reg.example"
        folder.mkdir()
        with Registry(tls=mutual) as registry:
            ours = f'client = [["{files.certificate}", "{files.key}"]]\n'
            for trust in (f'ca = "{files.certificate}"\n', "skip_verify = true\n"):
                (folder / "hosts.toml").write_text(f'server = "https://{registry.address}"\n{trust}{ours}')
                with RegistryClient(RegistryConfig(certs_dirs=(tmp_path,))) as client:
                    with pytest.raises(NotFound):  # it has no such image, and said so over TLS
                        client.describe(Reference.parse("reg.example/app:1"))

    def test_a_loopback_registry_with_nothing_but_hosts_toml_is_reached_in_the_clear(
        self, tmp_path: Path
    ) -> None:
        with Registry() as registry:
            folder = tmp_path / registry.address
            folder.mkdir()
            (folder / "hosts.toml").write_text('[host."http://127.0.0.1:9"]\n')
            with RegistryClient(RegistryConfig(certs_dirs=(tmp_path,))) as client, pytest.raises(NotFound):
                client.describe(reference(registry.address))

    def test_a_loopback_registry_that_wants_tls_is_told_how(self, files: TlsFiles) -> None:
        config = RegistryConfig(certs_dirs=(), retries=FAST, timeouts=SHORT)
        with Registry(tls=files) as registry, RegistryClient(config) as client:
            with pytest.raises(TransferFailed, match=r"RegistryConfig\(secure=.*certs\.d"):
                client.ping(registry.address)

    def test_an_insecure_registry_without_tls_is_reached_in_the_clear(self) -> None:
        with Registry() as registry:
            self._round_trip(registry, RegistryConfig(insecure=(registry.address,), retries=FAST))

    @staticmethod
    def _round_trip(registry: Registry, config: RegistryConfig) -> None:
        source = MemorySink()
        top = small_image(source, DATA, b"small")
        with RegistryClient(config) as client:
            client.push(reference(registry.address), source, top)
            found = client.resolve(reference(registry.address), AMD64)
            sink = MemorySink()
            client.fetch_all(reference(registry.address), found.manifest.layers, sink)
            assert sink.blobs[BLOB.digest] == DATA


def test_a_proxy_is_asked_for_what_is_not_loopback() -> None:
    def proxy(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with server(proxy) as host:
        proxies = Proxies(http=f"http://{host}", https=host)
        config = RegistryConfig(proxies=proxies, retries=FAST, insecure=("reg.invalid",))
        with RegistryClient(config) as client, pytest.raises(TransferFailed) as caught:
            client.describe(Reference.parse("reg.invalid/app:1"))
        assert caught.value.status == 502
    with (
        Registry() as registry,
        RegistryClient(RegistryConfig(proxies=proxies)) as client,
        pytest.raises(NotFound),
    ):
        client.describe(reference(registry.address))


def test_a_client_can_be_used_again_after_closing_and_in_a_forked_child() -> None:
    source = MemorySink()
    top = small_image(source, b"x")
    with Registry() as registry:
        client = RegistryClient(RegistryConfig(retries=FAST, timeouts=SHORT))
        client.push(reference(registry.address), source, top)
        client.close()
        assert client.describe(reference(registry.address)).digest == top.digest
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if client.describe(reference(registry.address)).digest == top.digest else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert client.describe(reference(registry.address)).digest == top.digest
        client.close()


def make_certificate(folder: Path) -> TlsFiles:
    """A self-signed certificate for 127.0.0.1 and localhost, good as its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(certificate=folder / "cert.pem", key=folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files
