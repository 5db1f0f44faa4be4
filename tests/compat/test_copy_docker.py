"""Copies, diff, export and commit beside Docker's: the same work on the same image, and what came of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import PycontainerError
from tests.support import peers
from tests.support.peers import Docker, PeerFailed

pytestmark = [
    pytest.mark.needs("root", "overlay", "dockerd", "containerd", "nsenter"),
    pytest.mark.timeout(180),
]

LAY_OUT = (
    "mkdir -p /w/dir/sub /w/full/src; echo old > /w/file; echo x > /w/full/name; "
    "ln -s dir /w/link; ln -s none /w/loose"
)
LIST = (
    "cd /w && find . -exec stat -c '%n|%F|%a|%N' {} + | sort; "
    "cd / && find /w -type f -exec sh -c 'echo $0; cat $0' {} ';'"
)
SOURCES = ("src", "src/", "src/.", "file", "link", "linkdir", "linkdir/", "none")
TARGETS = (
    *("/w", "/w/", "/w/dir", "/w/dir/.", "/w/new", "/w/new/", "/w/file", "/w/file/", "/w/no/new", "/w/link"),
    *("/w/link/", "/w/loose", "/w/full"),
)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with peers.namespace() as space, peers.docker(space) as made:
        yield made


@pytest.fixture(scope="module")
def both(
    docker: Docker, busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Docker, pc.Container]]:
    """The same container, running, in both engines: called "box"."""
    with pc.Engine(tmp_path_factory.mktemp("engine") / "store") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        archive = tmp_path_factory.mktemp("image") / "busybox.tar"
        image.save(archive, format="docker-archive")
        docker("load", "--input", archive)
        docker("run", "--detach", "--name", "box", "--network", "none", "busybox:latest", "sleep", "100000")
        with pc.Container(image, ["sleep", "100000"], network="none", engine=engine) as container:
            yield docker, container
        docker("rm", "--force", "box")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "src/sub").mkdir(parents=True)
    (tmp_path / "src/name").write_text("name\n")
    (tmp_path / "src/sub/deep").write_text("deep\n")
    (tmp_path / "file").write_text("new\n")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "linkdir").symlink_to("src")
    return tmp_path


def outcome(work: Callable[[], object], look: Callable[[], str]) -> str:
    """What there is afterwards, or that it was refused."""
    try:
        work()
    except (PycontainerError, PeerFailed):
        return "refused"
    return look()


@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_into_a_container_ends_as_dockers(
    both: tuple[Docker, pc.Container], sources: Path, source: str
) -> None:
    docker, container = both
    given = f"{sources}/{source}"
    theirs, ours = {}, {}
    for target in TARGETS:
        docker("exec", "box", "sh", "-c", f"rm -rf /w; {LAY_OUT}")
        theirs[target] = outcome(
            lambda target=target: docker("cp", given, f"box:{target}"),  # type: ignore[misc]
            lambda: docker("exec", "box", "sh", "-c", LIST).decode(),
        )
        container.exec(["sh", "-c", f"rm -rf /w; {LAY_OUT}"])
        ours[target] = outcome(
            lambda target=target: container.copy_to(given, target),  # type: ignore[misc]
            lambda: container.exec(["sh", "-c", LIST]).stdout.decode(),
        )
    assert ours == theirs


def test_owners_are_roots_where_docker_keeps_the_hosts(
    both: tuple[Docker, pc.Container], sources: Path
) -> None:
    docker, container = both
    given, look = sources / "file", ["stat", "-c", "%u:%g", "/owned"]
    os.chown(given, 11, 12)
    docker("cp", given, "box:/owned")
    assert docker("exec", "box", *look) == b"11:12\n"
    container.copy_to(given, "/owned")
    assert container.exec(look).stdout == b"0:0\n"
    container.copy_to(given, "/owned", archive=True)
    assert container.exec(look).stdout == b"11:12\n"


def tree(top: Path) -> str:
    found = [top, *sorted(top.rglob("*"))] if top.is_dir() and not top.is_symlink() else [top]
    lines = []
    for path in found:
        kind = path.lstat().st_mode
        said = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text()
        lines.append(f"{path.relative_to(top.parent)}|{kind:o}|{said}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "source", ["/s/src", "/s/src/", "/s/src/.", "/s/file", "/s/link", "/s/linkdir/", "/s/none"]
)
def test_a_copy_out_of_a_container_ends_as_dockers(
    both: tuple[Docker, pc.Container], tmp_path: Path, source: str
) -> None:
    docker, container = both
    script = (
        "mkdir -p /s/src/sub; echo name > /s/src/name; echo deep > /s/src/sub/deep; echo new > /s/file; "
        "ln -sfn file /s/link; ln -sfn src /s/linkdir"
    )
    docker("exec", "box", "sh", "-c", script)
    container.exec(["sh", "-c", script])
    top = tmp_path / "t"
    results: list[dict[str, str]] = []
    for copy in (
        lambda target: docker("cp", f"box:/s/{source}", target),
        lambda target: container.copy_from(f"/s/{source}", target),
    ):
        told = {}
        for target in ("", "/", "/dir", "/new", "/new/", "/file", "/no/new"):
            (top / "dir").mkdir(parents=True)
            (top / "file").write_text("old\n")
            told[target] = outcome(
                lambda target=target, copy=copy: copy(f"{top}{target}"),  # type: ignore[misc]
                lambda: tree(top),
            )
            shutil.rmtree(top)
        results.append(told)
    assert results[1] == results[0]


# What is mounted over in every container: Docker makes these executable.
PLACEHOLDERS = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")

CHANGES = """
mkdir -p /made/below; echo x > /made/below/file; echo changed >> /etc/passwd; rm /srv/greeting
mkdir -p /usr/share/a; echo z > /usr/bin/new; chmod 700 /tmp; touch /gone; rm /gone; ln -s a /link
rm -rf /home; mkdir /home; echo y > /home/new
"""


def test_changes_are_told_as_by_docker(both: tuple[Docker, pc.Container]) -> None:
    docker, container = both
    made = pc.Container.create(container.image, ["sh", "-c", CHANGES], engine=container._engine)
    made.start()
    made.wait(30)
    docker("run", "--name", "changed", "--network", "none", "busybox:latest", "sh", "-c", CHANGES)
    theirs = sorted(docker("diff", "changed").decode().splitlines(), key=lambda line: line[2:])
    assert [str(change) for change in made.diff()] == theirs
    made.remove()
    docker("rm", "changed")


def test_an_export_has_the_same_members(both: tuple[Docker, pc.Container], tmp_path: Path) -> None:
    docker, container = both
    made = pc.Container.create(container.image, ["sh", "-c", CHANGES], engine=container._engine)
    made.start()
    made.wait(30)
    docker("run", "--name", "exported", "--network", "none", "busybox:latest", "sh", "-c", CHANGES)
    got = io.BytesIO()
    made.export(got)
    theirs, ours = (members(data) for data in (docker("export", "exported"), got.getvalue()))
    assert ours == theirs
    made.remove()
    docker("rm", "exported")


def members(data: bytes) -> dict[str, tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: (member.type, member.mode & 0o7777, member.uid, member.gid, member.linkname)
            for member in tar
            if not member.islnk() and member.name not in PLACEHOLDERS
        }


def test_a_commit_has_the_same_configuration(both: tuple[Docker, pc.Container]) -> None:
    docker, container = both
    changes = [
        "ENV B=2 C='x y'", 'CMD ["echo", "hi"]', "EXPOSE 80 90/udp", "LABEL l=v", "ONBUILD RUN true",
        "USER 5", "VOLUME /data", "WORKDIR /srv", "HEALTHCHECK --interval=5s CMD true",
        "ENTRYPOINT sh -c x",
    ]  # fmt: skip
    words = [word for change in changes for word in ("--change", change)]
    docker("commit", *words, "--author", "me", "--message", "said", "box", "made:1")
    theirs = json.loads(docker("image", "inspect", "made:1"))[0]
    image = container.commit("made:1", author="me", message="said", changes=changes)
    ours = image.config
    config = theirs["Config"]
    assert list(ours.config.env) == config["Env"]
    assert list(ours.config.cmd or ()) == config["Cmd"]
    assert list(ours.config.entrypoint or ()) == config["Entrypoint"]
    assert sorted(ours.config.exposed_ports) == sorted(config["ExposedPorts"])
    assert set(ours.config.volumes) == set(config["Volumes"])
    assert (ours.config.user, ours.config.working_dir) == (config["User"], config["WorkingDir"])
    assert dict(ours.config.labels) == config["Labels"]
    assert list(ours.config.on_build) == config["OnBuild"]
    assert ours.config.healthcheck is not None
    assert list(ours.config.healthcheck.test) == config["Healthcheck"]["Test"]
    assert ours.config.healthcheck.interval_ns == config["Healthcheck"]["Interval"]
    assert (ours.author, ours.history[-1].comment) == (theirs["Author"], theirs["Comment"])
    image.remove()
    docker("rmi", "made:1")
