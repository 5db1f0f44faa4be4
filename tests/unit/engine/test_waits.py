"""What is waited for: how strategies combine, and how an answer over HTTP is judged."""

from __future__ import annotations

import datetime
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pycontainer import wait
from pycontainer.engine import waits
from pycontainer.engine.httpprobe import Exchange
from pycontainer.engine.waiting import _judge, _Verdict

A, B, C = wait.port(1), wait.port(2), wait.port(3)
M, P, F = _Verdict.MET, _Verdict.PENDING, _Verdict.FAILED


@pytest.mark.parametrize(
    ("strategy", "facts", "expected"),
    [
        (A & B, (M, M, P), M),
        (A & B, (M, P, P), P),
        (A & B, (P, F, P), F),
        (A | B, (F, M, P), M),
        (A | B, (P, F, P), P),
        (A | B, (F, F, P), F),
        ((A & B) | C, (F, M, P), P),
        ((A & B) | C, (M, M, F), M),
        ((A | B) & C, (M, F, F), F),
        ((A | B) & C, (M, F, M), M),
        (A.within(1) | B, (P, P, P), P),
        (A.within(1) & B, (P, M, P), F),
        (A.within(1) & B, (M, M, P), M),
        (A.within(9) & B, (P, M, P), P),
    ],
    ids=str,
)
def test_a_verdict_has_three_values(
    strategy: wait.Wait, facts: tuple[_Verdict, ...], expected: _Verdict
) -> None:
    known = {id(leaf): verdict for leaf, verdict in zip((A, B, C), facts, strict=True)}
    assert _judge(strategy, known, 2.0) is expected


def test_what_is_waited_for_is_said_in_words() -> None:
    assert str(A & B | C) == "(port 1/tcp and port 2/tcp) or port 3/tcp"
    assert str((A & B).within("1m30s")) == "(port 1/tcp and port 2/tcp) within 90 s"
    assert str(wait.log("up$", times=2, stream="stderr")) == "'up$' in its stderr 2 times"
    assert str(wait.http("/x", 8080, method="HEAD", tls=True)) == "HEAD https://localhost:8080/x"
    assert str(wait.exit()) == "its end with code 0"
    assert str(wait.exec(["pg_isready", "-q"])) == "exit code 0 of 'pg_isready -q'"


def test_parts_of_one_kind_lie_flat() -> None:
    together = A & B & C
    assert isinstance(together, waits.AllOf)
    assert together.parts == (A, B, C)
    assert list((A & (B | C)).leaves()) == [A, B, C]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"you sent {self.headers.get('X-Token', 'nothing')}".encode()
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
            return
        self.send_response(200 if self.path == "/" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def outcome(wanted: wait.Wait) -> bool | None:
    assert isinstance(wanted, waits.Http)
    exchange = Exchange(socket.socket(), "127.0.0.1", wanted)
    try:
        while True:
            poller = select.poll()
            poller.register(exchange, exchange.events)
            assert poller.poll(10_000)
            found = exchange.step()
            if found is not None:
                return found
    finally:
        exchange.close()


def test_an_answer_is_judged_by_its_status_and_its_body(port: int) -> None:
    assert outcome(wait.http("/", port)) is True
    assert outcome(wait.http("/down", port)) is False
    assert outcome(wait.http("/down", port, status=range(500, 600))) is True
    assert outcome(wait.http("/", port, headers={"x-token": "abc"}, body="sent abc$")) is True
    assert outcome(wait.http("/", port, body="sent abc")) is False
    assert outcome(wait.http("/chunked", port, body="^hello$")) is True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key, of a name that nobody asks for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    signed = made.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return path


def test_https_is_spoken_without_looking_at_the_certificate(certificate: Path, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert outcome(wait.http("/", server.server_port, tls=True)) is True
            assert outcome(wait.http("/down", server.server_port, tls=True)) is False
        finally:
            server.shutdown()
            thread.join()
    assert outcome(wait.http("/", port, tls=True)) is False  # one that does not speak TLS


def _served(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\x16\x03\x01" + bytes(100),
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (70 << 10) + b"\r\n\r\n",
    ],
    ids=["nothing", "another protocol", "cut", "no number", "tls", "endless head"],
)
def test_what_is_no_answer_will_not_do(answer: bytes) -> None:
    for port in _served(answer):
        assert outcome(wait.http("/", port)) is False


def test_nobody_who_listens_is_no_answer() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert outcome(wait.http("/", port)) is False
