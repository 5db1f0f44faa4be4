from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from pycontainer.errors import InUse, InvalidInput
from pycontainer.registry.server import Fault, Registry, ServerLimits, Slow
from tests.unit.registry_server.support import (
    begin,
    connect,
    manifest,
    push_blob,
    push_image,
    sha256,
    status_of,
    until,
)


def get(registry: Registry, path: str) -> httpx.Response:
    return httpx.get(registry.url + path, trust_env=False)


def server_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("registry-")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_address_is_loopback_and_url_names_it() -> None:
    with Registry() as registry:
        host, _, port = registry.address.partition(":")
        assert (host, registry.url) == ("127.0.0.1", f"http://127.0.0.1:{port}")
        assert int(port) > 0


def test_server_on_ipv6_loopback_has_a_bracketed_address() -> None:
    try:
        registry = Registry(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback on this host")
    with registry:
        assert registry.address.startswith("[::1]:")
        assert get(registry, "/v2/").status_code == 200


def test_temporary_root_is_private_and_gone_after_close() -> None:
    with Registry() as registry:
        root = registry.root
        assert root.stat().st_mode & 0o777 == 0o700
    assert not root.exists()


def test_close_is_idempotent_and_leaves_no_thread_and_no_descriptor() -> None:
    Registry().close()
    before = descriptors()
    registry = Registry()
    with httpx.Client(base_url=registry.url, trust_env=False) as client:
        push_image(client, "a", "1")
        begin(client, "a")
    registry.close()
    registry.close()
    assert server_threads() == []
    assert descriptors() == before
    with pytest.raises(ConnectionRefusedError):
        connect(registry.address)


def test_close_is_quick_beside_idle_slow_and_stuck_clients() -> None:
    registry = Registry(limits=ServerLimits(workers=4))
    content = os.urandom(8 << 20)
    with httpx.Client(base_url=registry.url, trust_env=False) as client:
        digest = push_blob(client, "a", content)
    head = f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    registry.inject(Fault(Slow(10), path=digest, skip=1))
    clients = [connect(registry.address) for _ in range(8)]
    clients[0].sendall(head)  # never reads: the server waits in send
    clients[1].sendall(head)  # paced by a fault
    clients[2].sendall(b"GET /v2/ HT")  # half a head
    clients[3].sendall(
        b"POST /v2/a/blobs/uploads/?digest=sha256:00 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    )
    location = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx"
    clients[4].sendall(location.encode())
    until(lambda: len(registry.requests) >= 3)
    before = time.monotonic()
    registry.close()
    assert time.monotonic() - before < 2
    assert server_threads() == []
    for sock in clients:
        sock.close()


def test_content_survives_a_restart(tmp_path: Path) -> None:
    subject = sha256(manifest())
    pointer = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 1}
    with Registry(tmp_path) as registry, httpx.Client(base_url=registry.url, trust_env=False) as client:
        push_image(client, "a/b", "1")
        signature = push_image(client, "a/b", "sig", subject=pointer)
        client.post("/v2/c/blobs/uploads/", params={"mount": sha256(b"layer"), "from": "a/b"})
        begin(client, "a/b")
    with Registry(tmp_path) as registry:
        assert registry.repositories() == ["a/b", "c"]
        assert registry.tags("a/b") == ["1", "sig"]
        assert get(registry, "/v2/a/b/manifests/1").content == manifest()
        assert get(registry, f"/v2/c/blobs/{sha256(b'layer')}").content == b"layer"
        assert get(registry, f"/v2/c/blobs/{sha256(b'{}')}").status_code == 404
        found = get(registry, f"/v2/a/b/referrers/{subject}").json()["manifests"]
        assert [each["digest"] for each in found] == [signature]
        assert list((tmp_path / "uploads").iterdir()) == []


def test_directory_has_one_server_at_a_time(tmp_path: Path) -> None:
    with Registry(tmp_path), pytest.raises(InUse, match="another registry"):
        Registry(tmp_path)
    Registry(tmp_path).close()


def test_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidInput, match="neither empty nor"):
        Registry(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"version": 99}'])
def test_directory_of_another_layout_is_refused(tmp_path: Path, marker: str) -> None:
    (tmp_path / "registry.json").write_text(marker)
    with pytest.raises(InvalidInput):
        Registry(tmp_path)


def test_what_a_crash_left_is_repaired_at_the_next_open(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry, httpx.Client(base_url=registry.url, trust_env=False) as client:
        push_image(client, "a", "1")
    blobs, repository = tmp_path / "blobs" / "sha256", tmp_path / "repositories" / "a"
    (blobs / ("0" * 64)).write_bytes(b"content whose link was never written")
    (blobs / f".{'1' * 64}.tmp").write_bytes(b"half a manifest")
    (tmp_path / "uploads" / ("2" * 32)).write_bytes(b"half a blob")
    (repository / "_blobs" / ("sha256-" + "3" * 64)).write_bytes(b"")
    (repository / "_tags" / "lost").write_text("sha256:" + "4" * 64)
    (repository / "_tags" / ".1.tmp").write_bytes(b"\xff")
    with Registry(tmp_path) as registry:
        assert registry.tags("a") == ["1"]
        assert get(registry, f"/v2/a/blobs/sha256:{'3' * 64}").status_code == 404
    assert len(list(blobs.iterdir())) == 3
    assert list((tmp_path / "uploads").iterdir()) == []
    assert sorted(path.name for path in (repository / "_tags").iterdir()) == ["1"]


@pytest.mark.parametrize(
    "step", ["registry.upload.verified", "registry.blob.committed", "registry.manifest.stored"]
)
def test_server_killed_while_storing_serves_a_sound_store_afterwards(tmp_path: Path, step: str) -> None:
    script = (
        "import sys, pathlib\n"
        "from pycontainer import checkpoints\n"
        "from pycontainer.registry.server import Registry\n"
        "import httpx\n"
        "from tests.unit.registry_server.support import push_image\n"
        f"checkpoints.arm({step!r})\n"
        "registry = Registry(sys.argv[1])\n"
        "push_image(httpx.Client(base_url=registry.url, trust_env=False), 'a', '1')\n"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "r")], cwd=root, check=False)
    assert ended.returncode == -9
    with Registry(tmp_path / "r") as registry, httpx.Client(base_url=registry.url, trust_env=False) as client:
        assert client.get("/v2/a/manifests/1").status_code == 404
        push_image(client, "a", "1")
        assert client.get("/v2/a/manifests/1").content == manifest()


def test_port_can_be_used_again_at_once(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        port = int(registry.address.rpartition(":")[2])
        assert get(registry, "/v2/").status_code == 200
    with Registry(tmp_path, port=port) as registry:
        assert get(registry, "/v2/").status_code == 200


def test_taken_port_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with Registry() as registry:
        port = int(registry.address.rpartition(":")[2])
        before = descriptors()
        with pytest.raises(OSError, match="in use"):
            Registry(tmp_path / "new", port=port)
        assert descriptors() == before
    assert not (tmp_path / "new").exists()


def test_forgotten_server_ends_when_it_is_collected() -> None:
    registry = Registry()
    root, address = registry.root, registry.address
    del registry
    gc.collect()
    assert not root.exists()
    assert server_threads() == []
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_program_that_forgets_close_ends_and_leaves_no_directory() -> None:
    script = (
        "from pycontainer.registry.server import Registry\n"
        "import httpx\n"
        "registry = Registry()\n"
        "client = httpx.Client(base_url=registry.url, trust_env=False)\n"
        "assert client.get('/v2/').status_code == 200\n"
        "print(registry.root)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert ended.stderr == ""
    assert not Path(ended.stdout.strip()).exists()


def run_in_fork(work: object) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_server_works_in_a_forked_child() -> None:
    def work() -> None:
        with Registry() as registry:
            assert get(registry, "/v2/").status_code == 200

    assert run_in_fork(work) == 0


def test_forked_child_lets_go_of_its_parents_server(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        assert get(registry, "/v2/").status_code == 200
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            registry.close()
            os.read(read_end, 1)
            os._exit(0)
        assert get(registry, "/v2/").status_code == 200
        registry.close()
        with pytest.raises(ConnectionRefusedError):
            connect(registry.address)
        Registry(tmp_path).close()
        os.write(write_end, b"x")
        assert os.waitpid(child, 0)[1] == 0
        os.close(read_end)
        os.close(write_end)
    assert (tmp_path / "registry.json").exists()


def test_server_works_beside_a_running_event_loop() -> None:
    async def talk() -> int:
        with Registry() as registry:
            async with httpx.AsyncClient(base_url=registry.url, trust_env=False) as client:
                answers = await asyncio.gather(*(client.get("/v2/") for _ in range(20)))
        return sum(answer.status_code == 200 for answer in answers)

    assert asyncio.run(talk()) == 20


def test_server_can_be_made_and_closed_in_another_thread() -> None:
    statuses = []

    def work() -> None:
        with Registry() as registry:
            statuses.append(get(registry, "/v2/").status_code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert statuses == [200]


def test_idle_connections_hold_no_thread() -> None:
    with Registry(limits=ServerLimits(workers=2)) as registry:
        clients = [connect(registry.address) for _ in range(50)]
        for sock in clients:
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(sock.recv(65536)) == 200
        assert len(server_threads()) <= 3
        for sock in clients:
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(sock.recv(65536)) == 200
            sock.close()


def test_silent_connection_is_closed_after_the_idle_time() -> None:
    with Registry(limits=ServerLimits(idle_s=0.2)) as registry, connect(registry.address) as sock:
        assert sock.recv(1) == b""


def test_longest_idle_connection_gives_way_to_a_new_one() -> None:
    with Registry(limits=ServerLimits(connections=3)) as registry:
        clients = [connect(registry.address) for _ in range(3)]
        for sock in clients:
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(sock.recv(65536)) == 200
            time.sleep(0.06)  # until it is parked, in this order
        with connect(registry.address) as newcomer:
            newcomer.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(newcomer.recv(65536)) == 200
        assert clients[0].recv(1) == b""
        for sock in clients:
            sock.close()


def test_file_descriptors_running_out_do_not_end_the_server() -> None:
    script = (
        "import resource, socket, time, httpx\n"
        "from pycontainer.registry.server import Registry\n"
        "registry = Registry()\n"
        "host, port = registry.address.split(':')\n"
        "assert httpx.get(registry.url + '/v2/', trust_env=False).status_code == 200\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "held = []\n"
        "try:\n"
        "    while True:\n"
        "        held.append(socket.create_connection((host, int(port)), timeout=5))\n"
        "except OSError:\n"
        "    pass\n"
        "time.sleep(0.3)\n"
        "for sock in held:\n"
        "    sock.close()\n"
        "assert httpx.get(registry.url + '/v2/', trust_env=False, timeout=10).status_code == 200\n"
        "registry.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], timeout=30, check=True, cwd=Path(__file__).parents[3])


def test_blob_removed_while_it_is_sent_arrives_whole() -> None:
    content = os.urandom(32 << 20)
    with Registry() as registry, httpx.Client(base_url=registry.url, trust_env=False, timeout=20) as client:
        digest = push_blob(client, "a", content)
        with connect(registry.address) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(
                f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            answer = bytearray(sock.recv(1000))
            assert client.delete(f"/v2/a/blobs/{digest}").status_code == 202
            while block := sock.recv(1 << 20):
                answer += block
        assert bytes(answer).endswith(content)


def test_full_disk_is_a_server_error_and_the_upload_is_gone(
    registry: Registry, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr("pycontainer.registry.server.storage.os.replace", full)
        answer = client.post(f"/v2/a/blobs/uploads/?digest={sha256(b'x')}", content=b"x")
        assert answer.status_code == 500
        assert "No space left" in json.loads(answer.content)["errors"][0]["message"]
    assert list((registry.root / "uploads").iterdir()) == []
    assert client.head(f"/v2/a/blobs/{sha256(b'x')}").status_code == 404
    push_blob(client, "a", b"x")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_error_of_ours_costs_one_connection_and_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    with Registry(limits=ServerLimits(workers=1)) as registry:
        with monkeypatch.context() as patched:
            patched.setattr("pycontainer.registry.server.handlers.Handlers.get_base", broken)
            for _ in range(3):
                with pytest.raises(httpx.RemoteProtocolError):
                    get(registry, "/v2/")
        assert get(registry, "/v2/").status_code == 200
