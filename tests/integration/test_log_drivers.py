"""Where the output of a container goes: each log driver, its bounds, and what it does when it cannot."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import logdrivers
from pycontainer.kernel import pidfd
from pycontainer.launcher import ask

pytestmark = pytest.mark.needs("root", "overlay")

SECONDS = 30


@contextmanager
def created(engine: pc.Engine, image: pc.Image, script: str, **options: Any) -> Iterator[pc.Container]:
    box = pc.Container.create(image, ["sh", "-c", script], engine=engine, **options)
    try:
        yield box
    finally:
        box.remove(force=True)


def finished(box: pc.Container) -> pc.Container:
    box.start()
    box.wait(SECONDS)
    return box


def state_of_log(box: pc.Container) -> dict[str, Any]:
    return ask(str(box._directory), {"op": "log_state"})


def last_status(box: pc.Container) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((box._directory / "status.json").read_text())
    return fields


# -- json-file -------------------------------------------------------------------------------------


def json_log(box: pc.Container, suffix: str = "") -> Path:
    return Path(box._directory / f"{box.id}-json.log{suffix}")


def test_json_file_writes_dockers_lines(engine: pc.Engine, busybox: pc.Image) -> None:
    script = r"""printf 'one\n"<two>"\ttab\\\n\001\303\251\377\n'; echo err >&2; printf end"""
    options = {"tag": "{{.Name}}/{{.ImageName}}", "labels": "team,none", "env-regex": "^APP_"}
    with created(
        engine, busybox, script, name="box", log_driver="json-file", log_opts=options,
        labels={"team": "a&b", "other": "x"}, env={"APP_KEY": "v", "HIDDEN": "h"},
    ) as box:  # fmt: skip
        lines = json_log(finished(box)).read_text().splitlines()
        assert box.inspect()["LogPath"] == str(json_log(box))
        assert [json.loads(line)["log"] for line in lines if '"stdout"' in line] == [
            "one\n", '"<two>"\ttab\\\n', "\x01é\ufffd\n", "end",
        ]  # fmt: skip
        assert [json.loads(line)["log"] for line in lines if '"stderr"' in line] == ["err\n"]
        assert {json.dumps(json.loads(line)["attrs"]) for line in lines} == {
            json.dumps({"team": "a&b", "APP_KEY": "v", "tag": f"box/{box.image.name}"})
        }
        form = (
            r'\{"log":"one\\n","stream":"stdout","attrs":\{.*\},"time":"20..-..-..T..:..:..(\.\d{1,9})?Z"\}'
        )
        assert re.fullmatch(form, lines[0])
        assert box.logs().text(details=True).startswith("APP_KEY=v,tag=box%2F")


def test_json_file_splits_long_lines_at_16_kib(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "yes | tr -d '\\n' | head -c 40000; echo; yes é | tr -d '\\n' | head -c 20000"
    with created(engine, busybox, script, log_driver="json-file") as box:
        found = [json.loads(line)["log"] for line in json_log(finished(box)).read_text().splitlines()]
        assert found == ["y" * 16384, "y" * 16384, "y" * 7232 + "\n", "é" * 8192, "é" * 1808]
        pieces = list(box.logs())
        assert [piece.is_partial for piece in pieces] == [True, True, False, True, True]
        assert box.logs(tail=1).text() == "é" * 10000


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_rotated_files_are_compressed_and_read_as_one(
    engine: pc.Engine, busybox: pc.Image, driver: str
) -> None:
    options = {"max-size": "20k", "max-file": "4", "compress": "true"}
    with created(engine, busybox, "seq 1 30000", log_driver=driver, log_opts=options) as box:
        pieces = [line.content for line in finished(box).logs()]
        # A piece ends where one read of the pipe ended, which may be within a line.
        numbers = [int(line) for line in b"".join(pieces).split()]
        assert numbers == list(range(numbers[0], 30001))
        # All four files were read, three of them full.
        assert len(numbers) > (10000 if driver == "local" else 600)
        stem = json_log(box).name if driver == "json-file" else "log"
        names = {path.name for path in box._directory.glob(f"{stem}*")}
        assert {stem, f"{stem}.3.gz"} <= names
        assert len(names) <= 4
        assert gzip.decompress((box._directory / f"{stem}.3.gz").read_bytes())
        assert (box._directory / stem).stat().st_size <= 20480 + 16384


def test_a_reader_follows_through_rotation_and_compression(engine: pc.Engine, busybox: pc.Image) -> None:
    # More files than are written: a reader that comes late to the oldest has lost it, however it reads.
    options = {"max-size": "64k", "max-file": "200", "compress": "true"}
    script = "for n in $(seq 1 60); do seq $((n * 1000)) $((n * 1000 + 999)); sleep 0.01; done"
    with created(engine, busybox, script, log_driver="json-file", log_opts=options) as box:
        box.start()
        assert [int(line.text) for line in box.logs(follow=True, timeout_s=SECONDS)] == list(
            range(1000, 61000)
        )


# -- none, and all that is read besides ------------------------------------------------------------


def test_without_a_log_there_is_nothing_to_read_but_the_result(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, "echo x", log_driver="none") as box:
        assert box.inspect()["LogPath"] == ""
        finished(box)
        with pytest.raises(errors.NotFound, match="log driver none"):
            box.logs()
        assert not (box._directory / "log").exists()
    result = pc.run(busybox, ["seq", "1", "50000"], log_driver="none", engine=engine)
    assert result.stdout == b"".join(b"%d\n" % number for number in range(1, 50001))


def test_bytes_of_a_result_are_exact_whatever_the_driver(engine: pc.Engine, busybox: pc.Image) -> None:
    content = bytes(range(256)) * 1024
    result = pc.run(busybox, ["cat"], input=content, log_driver="json-file", engine=engine)
    assert result.stdout == content


def test_times_select_and_are_shown_to_the_nanosecond(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, "echo early; sleep 0.3; echo late; printf unfinished") as box:
        lines = list(finished(box).logs())
        assert box.logs(since=lines[1].at).text() == "late\nunfinished"
        assert box.logs(until=lines[0].at.timestamp() + 0.1).text() == "early\n"
        assert box.logs(since="1h", until="0s").text() == "early\nlate\nunfinished"
        assert box.logs(tail=1).text() == "unfinished"
        assert re.fullmatch(
            r"(20..-..-..T..:..:..\.\d{9}Z (early|late|unfinished)\n?){3}", box.logs().text(timestamps=True)
        )


def test_following_ends_at_the_time_asked_for(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, "echo up; sleep 1000") as box:
        box.start()
        until = time.time() + 0.5
        assert [line.text for line in box.logs(follow=True, until=until, timeout_s=SECONDS)] == ["up"]
        assert time.time() >= until


def test_a_full_disk_costs_log_bytes_that_are_counted_and_not_the_container(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    for driver in ("local", "json-file"):
        script = "read go; seq 1 200000; echo done >&2; read stop; exit 4"
        with created(engine, busybox, script, log_driver=driver, stdin_open=True) as box:
            with box.attach(start=True) as attachment:
                pid = json.loads((box._directory / "status.json").read_text())["monitor_pid"]
                # What the monitor may write to one file: as a full disk it is an error of write(2).
                subprocess.run(["prlimit", f"--pid={pid}", "--fsize=65536:"], check=True)
                attachment.write(b"go\n")
                while (chunk := attachment.read(SECONDS)) is not None and chunk.stream == "stdout":
                    pass
                assert state_of_log(box)["lost_bytes"] > 1_000_000
                subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited:"], check=True)
                attachment.write(b"stop\n")
                attachment.read_all(SECONDS)
                assert attachment.wait() == 4
            assert last_status(box)["log_lost_bytes"] > 1_000_000
            assert box.logs(tail=0).text() == ""


# -- journald --------------------------------------------------------------------------------------


class Server:
    """A log server of the test's own."""

    def __init__(self, family: int, style: int, address: Any) -> None:
        self.sock = socket.socket(family, style)
        self.sock.bind(address)
        self.sock.settimeout(SECONDS)
        if style == socket.SOCK_STREAM:
            self.sock.listen()
        self.address = self.sock.getsockname()

    def packets(self, count: int) -> list[bytes]:
        return [self.sock.recv(1 << 17) for _ in range(count)]

    def stream(self) -> bytes:
        connection, _ = self.sock.accept()
        with connection:
            connection.settimeout(SECONDS)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def serving(family: int, style: int, address: Any) -> Iterator[Server]:
    server = Server(family, style, address)
    with server.sock:
        yield server


def journal_fields(packet: bytes) -> dict[str, bytes]:
    found, rest = {}, packet
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        found[name.decode()] = value
    return found


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "journal")) as server:
        monkeypatch.setattr(logdrivers, "JOURNAL", str(tmp_path / "journal"))
        yield server


def test_the_journal_gets_dockers_fields_and_the_log_is_read_here_too(
    engine: pc.Engine, busybox: pc.Image, journal: Server
) -> None:
    with created(
        engine, busybox, "echo out; echo err >&2; yes | tr -d '\\n' | head -c 20000", name="box",
        log_driver="journald", log_opts={"tag": "my {{.Name}}", "labels": "team"}, labels={"team": "a\nb"},
    ) as box:  # fmt: skip
        box.start()
        packets = [journal_fields(packet) for packet in journal.packets(4)]
        (err,) = (packet for packet in packets if packet["PRIORITY"] == b"3")
        out, first, last = (packet for packet in packets if packet is not err)
        box.wait(SECONDS)
        assert (out["MESSAGE"], out["PRIORITY"], err["MESSAGE"], err["PRIORITY"]) == (
            b"out",
            b"6",
            b"err",
            b"3",
        )
        assert out["CONTAINER_ID_FULL"] == box.id.encode()
        assert out["CONTAINER_ID"] == box.id[:12].encode()
        assert (out["CONTAINER_NAME"], out["CONTAINER_TAG"]) == (b"box", b"my box")
        assert (out["SYSLOG_IDENTIFIER"], out["TEAM"]) == (b"my box", b"a\nb")
        assert (first["CONTAINER_PARTIAL_MESSAGE"], len(first["MESSAGE"])) == (b"true", 16384)
        assert (last["CONTAINER_PARTIAL_LAST"], len(last["MESSAGE"])) == (b"true", 3616)
        assert first["CONTAINER_PARTIAL_ID"] == last["CONTAINER_PARTIAL_ID"]
        assert "CONTAINER_PARTIAL_ID" not in out
        assert box.logs(stdout=False).text() == "err\n"
        assert len(box.logs(stderr=False).text()) == 20004


def test_a_journal_that_is_slow_makes_the_program_wait_and_loses_nothing(
    engine: pc.Engine, busybox: pc.Image, journal: Server
) -> None:
    with created(engine, busybox, "seq 1 60000; exit 5", log_driver="journald") as box:
        box.start()
        handle = pidfd.open_checked(box.pid or 0, box._observed.pid_start)
        assert handle is not None
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        assert not poller.poll(500), "the program did not wait"
        numbers = [int(journal_fields(packet)["MESSAGE"]) for packet in journal.packets(60000)]
        assert numbers == list(range(1, 60001))
        assert box.wait(SECONDS) == 5
        os.close(handle)
        assert last_status(box)["log_lost_bytes"] == 0


def test_without_blocking_the_program_goes_on_and_what_is_dropped_is_counted(
    engine: pc.Engine, busybox: pc.Image, journal: Server
) -> None:
    options = {"mode": "non-blocking", "max-buffer-size": "64k"}
    script = "seq 1 60000; echo done >&2; read stop"
    with created(engine, busybox, script, log_driver="journald", log_opts=options, stdin_open=True) as box:
        with box.attach(start=True, stdout=False) as attachment:
            chunk = attachment.read(SECONDS)
            assert chunk is not None
            assert chunk.content == b"done\n"
            lost = state_of_log(box)["lost_bytes"]
            assert lost > 100_000
            # The journal reads again: what waited goes out, and the container ends as it would.
            reader = threading.Thread(target=_drain, args=(journal,))
            reader.start()
            attachment.close_stdin()
            assert attachment.wait() == 1
            box.logs(tail=1)
            journal.sock.settimeout(1.0)
            reader.join()
        assert lost <= last_status(box)["log_lost_bytes"] < 60000 * 5
        assert len(box.logs(stderr=False).text().splitlines()) == 60000


def _drain(server: Server) -> None:
    server.sock.settimeout(1.0)
    try:
        while server.sock.recv(1 << 17):
            pass
    except TimeoutError:
        pass


def test_a_start_without_a_journal_says_so(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logdrivers, "JOURNAL", str(tmp_path / "nowhere"))
    with created(engine, busybox, "true", log_driver="journald") as box:
        with pytest.raises(errors.LaunchError, match=r"journald cannot reach .*nowhere") as caught:
            box.start()
        assert caught.value.step == "log"


# -- syslog ----------------------------------------------------------------------------------------

LOOPBACK = ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d my_tag\[\d+\]: out\n"),
        ("rfc3164", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ my_tag\[\d+\]: out\n"),
        ("rfc5424", r"<30>1 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) \S+ my_tag \d+ my_tag - out\n"),
        ("rfc5424micro", r"<30>1 20\d\d\S+T\d\d:\d\d:\d\d\.\d{6}\S+ \S+ my_tag \d+ my_tag - out\n"),
    ],
)
def test_syslog_gets_each_form_in_datagrams(
    engine: pc.Engine, busybox: pc.Image, form: str, expected: str
) -> None:
    with serving(socket.AF_INET, socket.SOCK_DGRAM, LOOPBACK) as server:
        options = {"syslog-address": f"udp://localhost:{server.address[1]}", "tag": "my tag"}
        if form:
            options["syslog-format"] = form
        script = "echo out; sleep 0.1; echo err >&2"
        with created(engine, busybox, script, log_driver="syslog", log_opts=options) as box:
            box.start()
            out, err = (packet.decode() for packet in server.packets(2))
            assert re.fullmatch(expected, out)
            assert err.startswith("<27>")
            box.wait(SECONDS)
            assert box.logs().text() == "out\nerr\n"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_syslog_gets_a_line_for_each_over_a_stream(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, kind: str
) -> None:
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    with serving(family, socket.SOCK_STREAM, LOOPBACK if kind == "tcp" else str(tmp_path / "s")) as server:
        place = f"127.0.0.1:{server.address[1]}" if kind == "tcp" else str(tmp_path / "s")
        options = {"syslog-address": f"{kind}://{place}", "syslog-facility": "local3"}
        with created(engine, busybox, "seq 1 50000", log_driver="syslog", log_opts=options) as box:
            box.start()
            lines = server.stream().decode().splitlines()
            assert [int(line.rpartition(": ")[2]) for line in lines] == list(range(1, 50001))
            assert all(line.startswith("<158>") for line in lines)
            assert box.wait(SECONDS) == 0


def test_a_syslog_server_that_comes_back_gets_what_waited(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    address = str(tmp_path / "syslog")
    options = {"syslog-address": f"unix://{address}"}
    script = "echo first; read go; echo second; read go; exit 3"
    with created(engine, busybox, script, log_driver="syslog", log_opts=options, stdin_open=True) as box:
        with serving(socket.AF_UNIX, socket.SOCK_STREAM, address) as server:
            box.start()
            connection, _ = server.sock.accept()
            with connection:
                assert connection.recv(4096).endswith(b"first\n")
        os.unlink(address)
        with box.attach() as attachment:
            attachment.write(b"go\n")
            while (chunk := attachment.read(SECONDS)) is not None and chunk.content != b"second\n":
                pass
            assert "cannot be reached" in state_of_log(box)["problem"]
            with serving(socket.AF_UNIX, socket.SOCK_STREAM, address) as server:
                connection, _ = server.sock.accept()
                with connection:
                    assert connection.recv(4096).endswith(b"second\n")
                    attachment.write(b"go\n")
                    assert attachment.wait() == 3
        assert last_status(box)["log_lost_bytes"] == 0


def test_a_dead_syslog_server_is_reported_and_the_container_goes_on(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    address = str(tmp_path / "syslog")
    with serving(socket.AF_UNIX, socket.SOCK_DGRAM, address):
        options = {"syslog-address": f"unixgram://{address}", "mode": "non-blocking"}
        box = pc.Container.create(
            busybox, ["sh", "-c", "read go; seq 1 500000; exit 6"],
            log_driver="syslog", log_opts=options, stdin_open=True, engine=engine,
        )  # fmt: skip
        attachment = box.attach(start=True, stdout=False)
    os.unlink(address)
    with attachment:
        attachment.write(b"go\n")
        assert attachment.wait() == 6
    fields = last_status(box)
    assert fields["log_lost_bytes"] > 2_000_000
    assert "cannot be reached" in fields["log_problem"]
    assert box.logs(tail=1).text() == "500000\n"
    box.remove()


ASKING = """
import sys, pycontainer as pc
with pc.Engine(sys.argv[1]) as engine:
    try:
        pc.run("busybox:latest", ["true"], log_driver="syslog",
               log_opts={"syslog-address": "udp://logs.example:514"}, engine=engine)
    except pc.errors.DeadlineExceeded as error:
        print(error)
"""


def test_a_name_server_that_never_answers_holds_up_no_start(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:5\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.77", 53))
        mount = f"mount --bind {tmp_path}/resolv.conf $(readlink -f /etc/resolv.conf)"
        command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
        done = subprocess.run(
            [*command, sys.executable, "-c", ASKING, str(engine.root)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert "no name server answered for 'logs.example'" in done.stdout, done.stderr
    assert "give the numeric address" in done.stdout
    assert pc.Container.list(all=True, engine=engine) == []


# -- syslog over TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate of localhost, which vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "logs")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, plain)
    )
    return path


class Encrypted(threading.Thread):
    """A server that hangs up on its first client after one message, and hears the second one out."""

    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(SECONDS)
        self.got: list[bytes] = []
        self.has_hung_up = threading.Event()

    def run(self) -> None:
        for is_last in (False, True):
            with suppress(OSError), self.context.wrap_socket(self.sock.accept()[0], server_side=True) as peer:
                peer.settimeout(SECONDS)
                while chunk := peer.recv(1 << 16):
                    self.got.append(chunk)
                    if not is_last:
                        break
            self.has_hung_up.set()


def test_syslog_over_tls_is_encrypted_counted_and_comes_back(
    engine: pc.Engine, busybox: pc.Image, certificate: Path
) -> None:
    server = Encrypted(certificate)
    server.start()
    options = {
        "syslog-address": f"tcp+tls://localhost:{server.sock.getsockname()[1]}",
        "syslog-format": "rfc5424",
        "syslog-tls-ca-cert": str(certificate),
    }
    script = "echo first; read go; seq 1 20000"
    with created(engine, busybox, script, log_driver="syslog", log_opts=options, stdin_open=True) as box:
        with box.attach(start=True, stdout=False) as attachment:
            assert server.has_hung_up.wait(SECONDS)
            attachment.write(b"go\n")
            assert attachment.wait() == 0
        server.join(SECONDS)
    server.sock.close()
    first, *others = re.findall(rb"(\d+) (<30>1 \S+ \S+ \S+ \d+ \S+ - [^\n]*\n)", b"".join(server.got))
    assert first[1].endswith(b" first\n")
    assert all(int(count) == len(message) for count, message in (first, *others))
    # What had gone out when the server hung up may be lost with the connection.
    assert [int(message.split()[-1]) for _, message in others][-1] == 20000


def test_a_server_that_nobody_vouches_for_gets_nothing(
    engine: pc.Engine, busybox: pc.Image, certificate: Path
) -> None:
    server = Encrypted(certificate)
    server.start()
    options = {"syslog-address": f"tcp+tls://localhost:{server.sock.getsockname()[1]}"}
    with created(engine, busybox, "echo secret", log_driver="syslog", log_opts=options) as box:
        with pytest.raises(errors.LaunchError, match="certificate verify failed"):
            box.start()
    options["syslog-tls-skip-verify"] = "true"
    with created(engine, busybox, "echo shown", log_driver="syslog", log_opts=options) as box:
        finished(box)
    server.join(SECONDS)
    server.sock.close()
    assert b"secret" not in b"".join(server.got)
    assert b"shown" in b"".join(server.got)


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "options", "named"),
    [
        ("local", {"tag": "x"}, "no option 'tag'"),
        ("json-file", {"max-size": "10"}, "4096"),
        ("json-file", {"max-file": "0"}, "between 1 and 1000"),
        ("json-file", {"compress": "true", "max-file": "1"}, "max-file=2"),
        ("json-file", {"tag": "{{.Nonsense}}"}, "Nonsense"),
        ("json-file", {"env-regex": "("}, "regular expression"),
        ("journald", {"max-buffer-size": "1m"}, "non-blocking"),
        ("journald", {"mode": "sometimes"}, "blocking"),
        ("syslog", {"syslog-address": "tcp://host", "syslog-tls-skip-verify": "true"}, "tcp+tls"),
        ("syslog", {"syslog-address": "tcp+tls://host", "syslog-tls-cert": "/c"}, "go together"),
        ("syslog", {"syslog-address": "host"}, "udp://host:port"),
        ("syslog", {"syslog-facility": "local9"}, "local7"),
        ("syslog", {"syslog-format": "rfc1"}, "rfc5424"),
        ("none", {"max-size": "1m"}, "none at all"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_is_made(
    engine: pc.Engine, busybox: pc.Image, driver: Any, options: dict[str, str], named: str
) -> None:
    with pytest.raises(errors.InvalidOption, match=re.escape(named)):
        pc.Container.create(busybox, ["true"], log_driver=driver, log_opts=options, engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_a_flood_of_output_costs_neither_memory_nor_more_disk_than_was_allowed(
    engine: pc.Engine, busybox: pc.Image, driver: Any
) -> None:
    def peak_kib() -> int:
        status = Path(f"/proc/{last_status(box)['monitor_pid']}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    script = "echo begun >&2; read go; yes abcdefgh | head -c 100000000; echo done >&2; read stop"
    options = {"max-size": "5m", "max-file": "3"}
    with (
        created(engine, busybox, script, log_driver=driver, log_opts=options, stdin_open=True) as box,
        box.attach(start=True, stdout=False) as attachment,
    ):
        attachment.read(SECONDS)
        before = peak_kib()
        attachment.write(b"go\n")
        chunk = attachment.read(60)
        assert chunk is not None
        assert chunk.content == b"done\n"
        assert peak_kib() - before < 4096
        assert state_of_log(box)["lost_bytes"] == 0
        files = [path.stat().st_size for path in box._directory.iterdir() if "log" in path.name]
        assert len(files) == 3
        assert sum(files) < 3 * (5 << 20) + 65536


# -- what a reader is given ------------------------------------------------------------------------


def test_the_last_lines_are_those_there_were_when_they_were_asked_for(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "echo a; echo b; echo c; until [ -e /go ]; do :; done; echo d"
    with created(engine, busybox, script) as box:
        box.start()
        for line in box.logs(follow=True):
            if line.text == "c":
                break
        lines = iter(box.logs(tail=2))
        assert next(lines).text == "b"
        (box.path / "go").touch()
        box.wait(SECONDS)
        assert [line.text for line in lines] == ["c"]
        assert [line.text for line in box.logs(tail=2)] == ["c", "d"]


def test_following_ends_in_time_however_much_is_written(engine: pc.Engine, busybox: pc.Image) -> None:
    with created(engine, busybox, "while :; do echo x; done") as box:
        box.start()
        with pytest.raises(errors.DeadlineExceeded):
            for _ in box.logs(follow=True, timeout_s=0.5):
                pass
