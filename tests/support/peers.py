"""Other engines, started by hand on data of their own: containerd with dockerd, podman, docker-registry.

Theory of operation. All of them live in one mount namespace, which a child of the tests keeps alive, and in
which the places where they write whatever one tells them are empty file systems in memory. So all that
they mount, and their caches, locks and keys, goes when the last of them does. Their sockets and stores are
in one short directory: a socket's path holds 108 bytes, a run directory of podman's 50.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

USER, PASSWORD = "me", "s3cret"
# bcrypt of the password at the least cost; docker-registry takes no other hash
HTPASSWD = f"{USER}:$2b$04$e57mmFkyuezUuas2SrFEQeYnueMfhrnsLl6JURkdIETSCqGPFDjSW\n"
READY_S = 30.0
_HIDDEN = "/run /dev/shm /var/lib/containers /var/lib/docker /var/lib/containerd /var/lib/cni /etc/docker"
# crun refuses cgroups where version 2 is mounted beside version 1.
_KEEPER = f"""
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified || exit 1
for place in {_HIDDEN}; do [ ! -d $place ] || mount -t tmpfs peers $place || exit 1; done
if [ $1 ]; then
    mkdir $1/cgroup
    mount --rbind /sys/fs/cgroup $1/cgroup && mount -t sysfs sysfs /sys || exit 1
    mount --move $1/cgroup /sys/fs/cgroup && ip link set lo up || exit 1
fi
echo ready
exec cat
"""


class PeerFailed(AssertionError):
    """A program of the others failed; the text is what it complained of."""


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections on the loopback port."""
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@attrs.frozen
class Namespace:
    """The mount namespace of the peers; directory is theirs alone, on the host's file system."""

    keeper: subprocess.Popen[bytes]
    directory: Path
    has_own_network: bool = False

    def enter(self, *words: str | Path) -> list[str]:
        """The command that runs a program in there."""
        place = f"/proc/{self.keeper.pid}/ns"
        network = [f"--net={place}/net"] if self.has_own_network else []
        return ["nsenter", f"--mount={place}/mnt", *network, *map(str, words)]

    def run(
        self,
        *words: str | Path,
        input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> bytes:
        """Run a program to its end and return its stdout. Raises PeerFailed with its complaint."""
        ended = subprocess.run(
            self.enter(*words),
            input=b"" if input is None else input,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=None if environment is None else {**os.environ, **environment},
        )
        if ended.returncode != 0:
            complaint = (ended.stderr + ended.stdout[-2000:]).decode(errors="replace")
            raise PeerFailed(f"{' '.join(map(str, words))} ended with {ended.returncode}: {complaint}")
        return ended.stdout


@contextmanager
def namespace(*, has_own_network: bool = False) -> Iterator[Namespace]:
    """A mount namespace that ends with its last process, and a directory that ends with this block.

    has_own_network: a network namespace as well, with its loopback link up and nothing else.
    """
    directory = Path(tempfile.mkdtemp(prefix="pcpeer-", dir="/tmp"))
    network = ["--net"] if has_own_network else []
    keeper = subprocess.Popen(
        [
            *("unshare", "--mount", "--propagation", "private", *network),
            *("sh", "-c", _KEEPER, "sh", str(directory) if has_own_network else ""),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        assert keeper.stdout.readline() == b"ready\n", "no mount namespace of its own"
        yield Namespace(keeper, directory, has_own_network)
    finally:
        keeper.stdin.close()
        keeper.wait(10)
        keeper.stdout.close()
        shutil.rmtree(directory)


@contextmanager
def _daemon(
    name: str, command: Sequence[str], log: Path, is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background from when it is ready; ended with the block, and by its pid."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + READY_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PeerFailed(f"{name} does not start: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def docker_registry(directory: Path, *, password_file: str = "") -> Iterator[str]:
    """Debian's docker-registry; gives "127.0.0.1:PORT". password_file: content of an htpasswd file."""
    port = free_port()
    directory.mkdir(parents=True)
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if password_file:
        (directory / "htpasswd").write_text(password_file)
        settings["auth"] = {"htpasswd": {"realm": "peers", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    command = ["docker-registry", "serve", str(directory / "config.yml")]
    with _daemon("docker-registry", command, directory / "log", lambda: listens(port)):
        yield f"127.0.0.1:{port}"


@attrs.frozen
class Docker:
    """The docker client of a daemon of one's own."""

    space: Namespace
    home: Path

    def __call__(self, *words: str | Path, input: bytes | None = None, config: Path | None = None) -> bytes:
        """Run `docker …`. config: directory of its config.json."""
        command: list[str | Path] = [
            "docker",
            "--config",
            config or self.home / "client",
            "--host",
            self.host,
        ]
        return self.space.run(*command, *words, input=input)

    @property
    def host(self) -> str:
        return f"unix://{self.home}/d.sock"

    def run(self, *words: str) -> bytes:
        """stdout of a container without network."""
        return self("run", "--rm", "--network", "none", *words)

    def pull(self, reference: str) -> str:
        """Pull, and return the image's id."""
        self("pull", "--quiet", reference)
        return self.id_of(reference)

    def push(self, name: str) -> None:
        self("push", "--quiet", name)

    def load(self, archive: Path) -> None:
        self("load", "--quiet", "--input", archive)

    def id_of(self, name: str) -> str:
        """sha256 digest of the configuration of an image it has."""
        return self("image", "inspect", "--format", "{{.Id}}", name).decode().strip()

    def containerd(self, *words: str | Path) -> bytes:
        """Run `ctr …` against the daemon's containerd, which keeps images of its own."""
        return self.space.run("ctr", "--address", self.home / "c.sock", "--namespace", "tests", *words)

    def forget(self) -> None:
        """Remove all images."""
        images = self("images", "--all", "--quiet", "--no-trunc").decode().split()
        if images:
            self("rmi", "--force", *dict.fromkeys(images))


@contextmanager
def docker(space: Namespace, *options: str) -> Iterator[Docker]:
    """containerd and dockerd, with a cgroup of their own that goes with them. options: dockerd's."""
    home = space.directory / "docker"
    (home / "client").mkdir(parents=True)
    address, parent = home / "c.sock", f"/{space.directory.name}"
    client = Docker(space, home)
    containerd = space.enter(
        "containerd", "--root", home / "c-root", "--state", home / "c-state", "--address", address
    )
    dockerd = space.enter(
        "dockerd", "--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid",
        "--host", client.host, "--containerd", address, "--cgroup-parent", parent,
        "--bridge=none", "--iptables=false", "--ip6tables=false", "--insecure-registry", "127.0.0.0/8",
        *options,
    )  # fmt: skip

    def answers() -> bool:
        try:
            client("version")
        except PeerFailed:
            return False
        return True

    with ExitStack() as ending:
        ending.callback(_remove_cgroups, parent)
        ending.enter_context(_daemon("containerd", containerd, home / "c.log", address.is_socket))
        ending.enter_context(_daemon("dockerd", dockerd, home / "d.log", answers))
        yield client


def _remove_cgroups(parent: str) -> None:
    root = Path("/sys/fs/cgroup")
    for top in (root / parent.strip("/"), *root.glob(f"*{parent}")):
        for directory, _names, _files in os.walk(top, topdown=False):
            os.rmdir(directory)


@attrs.frozen
class Podman:
    """podman on a store of its own, without daemon, cgroups or network."""

    space: Namespace
    home: Path
    options: tuple[str, ...] = ()

    def __call__(self, *words: str | Path, input: bytes | None = None) -> bytes:
        """Run `podman …`."""
        base: list[str | Path] = ["podman", "--root", self.home / "root", "--runroot", self.home / "run"]
        base += ["--tmpdir", self.home / "tmp", "--storage-driver", "overlay", "--events-backend", "none"]
        return self.space.run(*base, "--cgroup-manager", "cgroupfs", *self.options, *words, input=input)

    def run(self, *words: str) -> bytes:
        """stdout of a container without network."""
        # By default it asks for more open files and processes than the hard limits here may allow.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        options = ("--network", "none", "--cgroups", "disabled", *limits)
        return self("run", "--rm", *options, *words)

    def pull(self, reference: str) -> str:
        """Pull, and return the image's id. reference: with a transport, or a registry's."""
        name = reference if reference.startswith("oci") else f"docker://{reference}"
        return f"sha256:{self('pull', '--quiet', '--tls-verify=false', name).decode().strip()}"

    def push(self, name: str, *options: str) -> None:
        self("push", "--quiet", "--tls-verify=false", *options, name, f"docker://{name}")

    def load(self, archive: Path) -> None:
        self("load", "--quiet", "--input", archive)

    def id_of(self, name: str) -> str:
        """sha256 digest of the configuration of an image it has."""
        return f"sha256:{self('image', 'inspect', '--format', '{{.Id}}', name).decode().strip()}"

    def forget(self) -> None:
        """Remove all images, and what it learnt of registries."""
        self("rmi", "--all", "--force")
        self.space.run("rm", "-rf", "/var/lib/containers/cache")


@attrs.frozen
class Skopeo:
    """skopeo, which forgets between two calls what it learnt of registries."""

    space: Namespace

    def __call__(self, *words: str | Path) -> bytes:
        """Run `skopeo …`."""
        # It would otherwise offer a registry any compression of a layer that it saw there before.
        forget = 'rm -rf /var/lib/containers/cache; exec skopeo --insecure-policy "$@"'
        return self.space.run("sh", "-c", forget, "skopeo", *words)

    def push(self, layout: Path, name: str, *options: str) -> None:
        """Push the image "latest" of an OCI layout."""
        self("copy", "--dest-tls-verify=false", *options, f"oci:{layout}:latest", f"docker://{name}")

    def inspect(self, name: str) -> dict[str, Any]:
        """What it tells of an image in a registry."""
        told: dict[str, Any] = json.loads(self("inspect", "--tls-verify=false", f"docker://{name}"))
        return told
