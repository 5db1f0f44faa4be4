"""podman, Docker and containerd run, enter, stop and remove containers through pycontainer-runtime."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, peers
from tests.support.peers import Docker, Namespace, PeerFailed, Podman

pytestmark = [pytest.mark.needs("root", "overlay", "nsenter"), pytest.mark.timeout(120)]
IMAGE = "docker.io/library/busybox:oci"


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    with peers.namespace() as made:
        yield made


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as a program, which engines want by its path."""
    script = tmp_path_factory.mktemp("runtime") / "pycontainer-runtime"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer.ocicli "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def archive(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system as a tar, to be imported."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    path.write_bytes(images.tar_of(busybox_rootfs))
    return path


@pytest.fixture(scope="module")
def podman(space: Namespace, command: Path, archive: Path) -> Iterator[Podman]:
    made = Podman(space, space.directory / "podman", ("--runtime", str(command)))
    made("import", archive, IMAGE)
    yield made
    made("rm", "--all", "--force")


@pytest.fixture(scope="module")
def docker(space: Namespace, command: Path, archive: Path) -> Iterator[Docker]:
    with peers.docker(space, "--add-runtime", f"ours={command}") as made:
        made("import", archive, IMAGE)
        yield made


LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none")


@pytest.mark.needs("podman", "conmon")
def test_podman_runs_a_container_and_gets_output_and_code(podman: Podman) -> None:
    assert podman("run", "--rm", *LIMITS, IMAGE, "echo", "through") == b"through\n"
    with pytest.raises(PeerFailed, match="ended with 42"):
        podman("run", "--rm", *LIMITS, IMAGE, "sh", "-c", "exit 42")


@pytest.mark.needs("podman", "conmon")
def test_podman_tells_a_missing_program_by_its_code(podman: Podman) -> None:
    with pytest.raises(PeerFailed, match="ended with 127"):
        podman("run", "--rm", *LIMITS, IMAGE, "no-such-program")


@pytest.mark.needs("podman", "conmon")
def test_podman_gives_a_terminal(podman: Podman) -> None:
    assert b"/dev/pts/0" in podman("run", "--rm", "--tty", *LIMITS, IMAGE, "tty")


@pytest.mark.needs("podman", "conmon")
def test_podman_enters_pauses_stops_and_removes(podman: Podman) -> None:
    podman("run", "--detach", "--name", "box", *LIMITS, IMAGE, "sleep", "1000")
    assert podman("exec", "box", "echo", "inside") == b"inside\n"
    podman("pause", "box")
    assert podman("inspect", "--format", "{{.State.Status}}", "box") == b"paused\n"
    podman("unpause", "box")
    podman("stop", "--time", "0", "box")
    assert podman("inspect", "--format", "{{.State.Status}}", "box") == b"exited\n"
    podman("rm", "box")


@pytest.mark.needs("dockerd", "docker", "containerd")
def test_docker_runs_enters_stops_and_removes(docker: Docker) -> None:
    options = ("--runtime", "ours", "--network", "none")
    assert docker("run", "--rm", *options, IMAGE, "echo", "through") == b"through\n"
    docker("run", "--detach", "--name", "box", *options, IMAGE, "sleep", "1000")
    assert docker("exec", "box", "hostname") == docker("inspect", "--format", "{{.Config.Hostname}}", "box")
    assert b"sleep 1000" in docker("top", "box")
    docker("update", "--memory", "64m", "--memory-swap", "-1", "box")
    docker("stop", "--time", "0", "box")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", "box") == b"137\n"
    docker("rm", "box")


@pytest.mark.needs("dockerd", "docker", "containerd")
def test_docker_tells_a_missing_program_by_its_code(docker: Docker) -> None:
    with pytest.raises(PeerFailed, match="ended with 127"):
        docker("run", "--rm", "--runtime", "ours", "--network", "none", IMAGE, "no-such-program")


@pytest.mark.needs("dockerd", "ctr", "containerd")
def test_containerd_runs_a_container(docker: Docker, command: Path, tmp_path: Path) -> None:
    docker("save", "--output", tmp_path / "image.tar", IMAGE)
    docker.containerd("image", "import", tmp_path / "image.tar")
    name = f"box{os.getpid()}"
    words = ("run", "--rm", "--runc-binary", command, IMAGE, name, "echo", "through")
    assert docker.containerd(*words) == b"through\n"
    docker.containerd("image", "rm", IMAGE)
