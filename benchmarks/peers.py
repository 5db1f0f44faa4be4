"""Rivals and registries started by hand, on data of their own: dockerd, podman, Debian's docker-registry."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def installed(*names: str) -> bool:
    """Whether every program is on the path."""
    return all(shutil.which(name) for name in names)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await(is_ready: object, process: subprocess.Popen[bytes], log: Path, timeout_s: float = 60.0) -> None:
    assert callable(is_ready)
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def docker_registry(directory: Path) -> Iterator[str]:
    """Debian's docker-registry on a loopback port; gives "127.0.0.1:PORT"."""
    port = _free_port()
    directory.mkdir(parents=True, exist_ok=True)
    config, log = directory / "config.yml", directory / "registry.log"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'data'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _await(lambda: _accepts(port), process, log)
        yield f"127.0.0.1:{port}"
    finally:
        _stop(process)


@contextmanager
def docker_daemon(
    directory: Path, *, insecure: str = "127.0.0.0/8", has_network: bool = False
) -> Iterator[tuple[list[str], int]]:
    """dockerd with its own containerd, data and socket; gives the command that speaks to it, and its pid.

    has_network: with its bridge and firewall rules, for a network namespace of one's own.
    """
    network = [] if has_network else ["--bridge=none", "--iptables=false"]
    directory.mkdir(parents=True, exist_ok=True)
    # A path of a socket holds 108 bytes.
    short = Path("/run") / f"bench-docker-{os.getpid()}"
    short.mkdir()
    log = directory / "dockerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "dockerd", "--host", f"unix://{short}/docker.sock", "--data-root", directory / "data",
                "--exec-root", short / "exec", "--pidfile", short / "pid",
                *network, "--insecure-registry", insecure,
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    command = ["docker", "--host", f"unix://{short}/docker.sock"]

    def answers() -> bool:
        return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0

    try:
        _await(answers, process, log)
        yield command, process.pid
    finally:
        _stop(process)
        shutil.rmtree(short, ignore_errors=True)


def podman(directory: Path) -> list[str]:
    """A podman command with its own store."""
    return [
        "podman", "--root", str(directory / "root"), "--runroot", str(directory / "run"),
        "--tmpdir", str(directory / "tmp"), "--cgroup-manager=cgroupfs", "--events-backend=none",
    ]  # fmt: skip


def cgroup_is_hybrid() -> bool:
    """Whether version 1 controllers are mounted beside the unified hierarchy."""
    kinds = {
        line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()
    }
    return {"cgroup", "cgroup2"} <= kinds
