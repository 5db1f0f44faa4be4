"""The embedded registry beside real peers: Debian's docker-registry behind it, dockerd before it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from pycontainer.registry import RegistryConfig, Retries
from pycontainer.registry.server import Registry
from tests.support.needs import needs

BIG = 256 << 20


def run(command: Sequence[str | Path], timeout_s: float = 60) -> str:
    ended = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return ended.stdout


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come up in time"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def debian_registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on a free port; its address."""
    port = free_port()
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path / 'peer'}\n"
        f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n"
    )
    with (tmp_path / "peer.log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/v2/"), 15)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@needs("docker-registry", "skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_image_of_debians_registry_comes_through(
    debian_registry: str, busybox_layout: Path, tmp_path: Path, form: str
) -> None:
    source = f"docker://{debian_registry}/library/busybox:1"
    copy = ["skopeo", "--insecure-policy", "copy"]
    run([*copy, "--dest-tls-verify=false", "--format", form, f"oci:{busybox_layout}:latest", source])
    config = RegistryConfig(retries=Retries(attempts=2, base_s=0.05), certs_dirs=())
    with Registry(tmp_path / "proxy", upstream=debian_registry, upstream_config=config) as proxy:
        through = f"docker://{proxy.address}/library/busybox:1"
        run([*copy, "--src-tls-verify=false", through, f"dir:{tmp_path / 'through'}"])
        run([*copy, "--src-tls-verify=false", source, f"dir:{tmp_path / 'direct'}"])
    files = {path.name: path.read_bytes() for path in (tmp_path / "direct").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "through").iterdir()} == files
    with Registry(tmp_path / "proxy") as kept:
        assert kept.tags("library/busybox") == ["1"]
        name = f"docker://{kept.address}/library/busybox:1"
        run([*copy, "--src-tls-verify=false", name, f"dir:{tmp_path / 'kept'}"])


@pytest.fixture
def big_file(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    path, hasher = tmp_path / "big", hashlib.sha256()
    with path.open("wb") as stream:
        for _ in range(BIG >> 20):
            block = os.urandom(1 << 20)
            stream.write(block)
            hasher.update(block)
    yield path, f"sha256:{hasher.hexdigest()}"
    path.unlink()


@needs("curl")
def test_a_big_blob_is_never_held_in_memory(big_file: tuple[Path, str]) -> None:
    path, digest = big_file
    script = (
        "import sys\n"
        "from pycontainer.registry.server import Registry\n"
        "registry = Registry()\n"
        "print(registry.url, flush=True)\n"
        "for _line in sys.stdin:\n"
        # Not ru_maxrss: that begins with the peak of the process which started this one.
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    print(next(line.split()[1] for line in lines if line.startswith('VmHWM')), flush=True)\n"
        "registry.close()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()

        curl = ["curl", "--silent", "--fail", "--output", "/dev/null"]
        push: list[str | Path] = ["--header", "Expect:", "--request", "POST", "--upload-file", path]
        run([*curl, *push, f"{url}/v2/a/blobs/uploads?digest={digest}"])
        for _ in range(4):
            run([*curl, f"{url}/v2/a/blobs/{digest}"])
        server.stdin.write("\n")
        server.stdin.flush()
        peak_kib = int(server.stdout.readline())
    finally:
        server.stdin.close()
        server.stdout.close()
        server.wait(10)
    assert peak_kib < 80 << 10


@pytest.fixture
def docker() -> Iterator[list[str]]:
    """The docker command on a daemon of its own, without network, below a short directory."""
    with tempfile.TemporaryDirectory(prefix="pcd-", dir="/tmp") as directory:
        host = f"unix://{directory}/d.sock"
        options = ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"]
        options += ["--pidfile", f"{directory}/d.pid", "--host", host, "--storage-driver", "vfs"]
        options += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        with Path(directory, "log").open("wb") as log:
            # In a mount namespace of its own: it binds its data directory to itself.
            command = ["unshare", "--mount", "--propagation", "private", "dockerd", *options]
            daemon = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: Path(directory, "d.sock").exists() and _is_up(host), 40)
            yield ["docker", "--host", host, "--config", f"{directory}/config"]
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _is_up(host: str) -> bool:
    found = subprocess.run(
        ["docker", "--host", host, "version"], capture_output=True, timeout=10, check=False
    )
    return found.returncode == 0


@needs("root", "dockerd", "docker", "skopeo")
def test_docker_logs_in_pushes_and_pulls(docker: list[str], busybox_layout: Path, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    run(
        [
            "skopeo",
            "--insecure-policy",
            "copy",
            f"oci:{busybox_layout}:latest",
            f"docker-archive:{archive}:box:1",
        ]
    )
    run([*docker, "load", "--input", archive])
    archive.unlink()
    for with_tokens in (False, True):
        with Registry(auth={"ada": "lovelace"}, token_auth=with_tokens) as registry:
            name = f"{registry.address}/team/box:1"
            run([*docker, "login", "--username", "ada", "--password", "lovelace", registry.address])
            run([*docker, "tag", "box:1", name])
            run([*docker, "push", name])
            run([*docker, "rmi", name])
            run([*docker, "pull", name])
            found = json.loads(run([*docker, "inspect", name]))[0]
            assert found["RepoDigests"][0].startswith(f"{registry.address}/team/box@sha256:")
            assert registry.tags("team/box") == ["1"]
            run([*docker, "rmi", name])
