from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pycontainer.errors import InvalidInput
from pycontainer.registry.server import Registry, ServerLimits, TlsFiles
from tests.unit.registry_server.support import connect, push_blob


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A self-signed certificate for loopback, which is its own CA."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return TlsFiles(directory / "cert.pem", directory / "key.pem")


def open_client(registry: Registry, files: TlsFiles, *, with_certificate: bool = False) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(files.certificate))
    if with_certificate:
        context.load_cert_chain(files.certificate, files.key)
    return httpx.Client(base_url=registry.url, verify=context, trust_env=False, timeout=20)


def test_blob_travels_over_tls(files: TlsFiles) -> None:
    content = os.urandom(3 << 20)
    with Registry(tls=files) as registry, open_client(registry, files) as client:
        assert registry.url.startswith("https://127.0.0.1:")
        digest = push_blob(client, "a", content)
        assert client.get(f"/v2/a/blobs/{digest}").content == content
        ranged = client.get(f"/v2/a/blobs/{digest}", headers={"Range": "bytes=100-299"})
        assert (ranged.status_code, ranged.content) == (206, content[100:300])


def test_token_realm_is_https(files: TlsFiles) -> None:
    with Registry(tls=files, token_auth=True) as registry, open_client(registry, files) as client:
        assert f'realm="{registry.url}/token"' in client.get("/v2/").headers["WWW-Authenticate"]


def test_client_certificate_is_demanded_when_asked_for(files: TlsFiles) -> None:
    strict = TlsFiles(files.certificate, files.key, client_ca=files.certificate)
    with Registry(tls=strict) as registry:
        with open_client(registry, files) as client, pytest.raises(httpx.TransportError):
            client.get("/v2/")
        with open_client(registry, files, with_certificate=True) as client:
            assert client.get("/v2/").status_code == 200


def test_plain_http_and_silence_on_the_tls_port_are_cut_off(files: TlsFiles) -> None:
    with Registry(tls=files, limits=ServerLimits(head_s=0.3)) as registry:
        with connect(registry.address) as sock:
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                answer = sock.recv(100)
            except ConnectionResetError:
                answer = b""
            assert not answer.startswith(b"HTTP")
        with connect(registry.address) as sock:
            sock.sendall(b"\x16\x03\x01")
            assert sock.recv(100) == b""
        with open_client(registry, files) as client:
            assert client.get("/v2/").status_code == 200


def test_close_is_quick_beside_a_stuck_tls_client(files: TlsFiles) -> None:
    registry = Registry(tls=files)
    with open_client(registry, files) as client:
        push_blob(client, "a", b"x")
        with connect(registry.address) as sock:
            sock.sendall(b"\x16\x03\x01")
            before = time.monotonic()
            registry.close()
            assert time.monotonic() - before < 2


def test_files_that_are_no_certificate_are_an_error_naming_them(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("x")
    with pytest.raises(InvalidInput, match="cert"):
        Registry(tls=TlsFiles(tmp_path / "cert", tmp_path / "nokey"))
