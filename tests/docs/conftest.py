"""What the documentation's snippets take for granted: a store with the images they name, and a registry.

No public registry is asked. The images are busybox under other names, with stand-ins for the programs that
the snippets call; names of registries stand for one that is made here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import pycontainer as pc
from tests.support import images

PROGRAMS = {
    "redis-server": "exec nc -ll -p 6379 -e cat",
    "redis-cli": "echo PONG",
    "postgres": "for n in 1 2; do echo ready to accept connections; done; exec nc -ll -p 5432 -e cat",
    "pg_isready": "exit 0",
    "psql": "exit 0",
    "nginx": "exec httpd -f -p 80 -h /var/www",
    "web": "exec httpd -f -p 8080 -h /var/www",
    "serve": "exit 0",
    "make": "echo made",
    "apt-get": "exit 0",
    "migrate": "exit 0",
    "backup": "exit 0",
    "python": "echo hello",
    "id-of": "exit 0",
}
"""Stand-ins, as shell scripts."""

IMAGES = {
    "alpine:3.20": ["sh"],
    "alpine": ["sh"],
    "debian:bookworm": ["sh"],
    "debian:bookworm-slim": ["sh"],
    "debian": ["sh"],
    "debian:12": ["sh"],
    "python:3.13-slim": ["sh"],
    "redis:7": ["redis-server"],
    "postgres:16": ["postgres"],
    "postgres:17": ["postgres"],
    "nginx:1.27": ["nginx"],
    "my/web": ["web"],
    "my/proxy": ["web"],
    "my/tool": ["serve"],
    "my/agent": ["sleep", "1000"],
    "app:1": ["serve"],
}
"""Names and commands."""

STOPS = "#!/bin/sh\ntrap 'kill $!; exit 0' TERM\n(%s) &\nwait $!\n"
"""A program that listens to SIGTERM, as those it stands for do."""


@attrs.frozen
class World:
    """What is there before a page's first snippet."""

    engine: pc.Engine
    registry: pc.Registry
    directory: Path
    """The working directory."""
    patch: pytest.MonkeyPatch

    def here(self, text: str) -> str:
        """A snippet with names of registries, directories and ports that are this test's own."""
        ours = {
            "ghcr.io": self.registry.address,
            "registry.example": self.registry.address,
            "/etc/containers/": f"{self.directory}/",
            "/srv/data,": f"{self.directory},",
            '"/srv/data"': f'"{self.directory}"',
            ".../project": f"{self.directory}/project",
            "80: 8080}": f"80: {_free_port()}}}",
            "10.1.0.": "10.233.1.",
            "10.2.0.": "10.233.2.",
            "443: 8443": f"443: {_free_port()}",
        }
        for public, own in ours.items():
            text = text.replace(public, own)
        return text

    def clear(self) -> None:
        """Remove all containers."""
        for container in pc.Container.list(all=True):
            container.remove(force=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout of the one image behind all the names."""
    root = images.busybox_rootfs(tmp_path_factory.mktemp("docs") / "rootfs")
    for name, script in PROGRAMS.items():
        path = root / "usr/bin" / name
        path.write_text(STOPS % script)
        path.chmod(0o755)
    with (root / "etc/passwd").open("a") as users:
        users.write("nobody:x:65534:65534:nobody:/:/bin/false\n")
    for name in ("srv", "opt", "data", "var/log", "var/lib/data", "var/www"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("health", "index.html"):
        (root / "var/www" / name).write_text("ok")
    return images.oci_layout(root.parent / "layout", [images.tar_of(root)])


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, layout: Path
) -> Iterator[tuple[pc.Engine, pc.Registry, Path]]:
    """An engine with the images, a registry that has them, too, and the environment that leads to it."""
    place = tmp_path_factory.mktemp("docs-store")
    conf = place / "registries.conf"
    with pytest.MonkeyPatch.context() as patch, pc.Registry(place / "registry") as registry:
        conf.write_text(
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry.address}/hub"\ninsecure = true\n'
        )
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        with pc.Engine(place / "store") as engine:
            (base,) = pc.Image.load(layout, engine=engine)
            for name, command in IMAGES.items():
                image = base.label(role=name).cmd(command).healthcheck(["true"], interval=1).tag(name)
                library = name if "/" in name else f"library/{name}"
                image.push(f"{registry.address}/hub/{library}")
            yield engine, registry, conf


@pytest.fixture
def world(
    shared: tuple[pc.Engine, pc.Registry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """For one page, in a directory of its own; what its snippets have left running ends behind it."""
    engine, registry, conf = shared
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "CONTAINERS_REGISTRIES_CONF": conf,
        "DOCKER_CONFIG": tmp_path / "docker",
        "PYCONTAINER_ROOT": tmp_path / "default",
    }.items():
        monkeypatch.setenv(name, str(value))
    with pytest.MonkeyPatch.context() as patch:
        made = World(engine, registry, tmp_path, patch)
        for name in IMAGES:
            pc.Image.pull(name)  # another page has removed it, or given its name away
        yield made
        made.clear()
        for volume in pc.Volume.list():
            volume.remove(force=True)
        for network in pc.Network.list():
            if network.name not in ("bridge", "host", "none"):
                network.remove()
