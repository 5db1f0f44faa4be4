"""Builds beside Docker's: the same Dockerfile, and what the images are made of, entry by entry."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from tests.support import peers
from tests.support.peers import Docker
from tests.support.trees import described

pytestmark = [
    pytest.mark.needs("root", "overlay", "dockerd", "containerd", "nsenter"),
    pytest.mark.timeout(180),
]

DOCKERFILE = """\
ARG TAG=latest
FROM busybox:${TAG} AS tools
ARG NAME=default
ENV GREETING="hello ${NAME:-nobody}" EMPTY=
RUN mkdir -p /out/deep && echo "$GREETING" > /out/deep/file && chmod 2750 /out/deep \\
    && ln -s deep/file /out/link && ln /out/deep/file /out/hard && chown -R 7:8 /out/deep
FROM busybox:latest
LABEL a=1 "b c"="two words" d='$NOT'
WORKDIR /srv/app
COPY --from=tools /out ./
COPY --from=tools --chown=web:staff /out/link /owned/
COPY src src/*.txt /copied/
COPY ["src/with space", "/spaced/"]
COPY --chown=5:6 src /numbered
COPY src/deep /new/one
COPY --from=tools /out/deep /new/two
COPY --from=tools --chown=web /out/deep /new/three/
ADD archive.tar.gz /unpacked/
COPY archive.tar.gz linked /plain/
RUN rm -rf /usr/bin && rm -r /home/web && touch -d @1000000 /old
WORKDIR relative
RUN ["sh", "-c", "chown web . && echo exec form > mine"]
RUN id > root
USER web:staff
RUN id > own
ENV PATH=/srv/bin:$PATH
EXPOSE 80 443/tcp 53/udp
VOLUME ["/data", "/more"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=90s --retries=4 CMD test -e /srv
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["entry", "with \\"quotes\\""]
CMD echo $GREETING
ONBUILD RUN echo triggered
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with peers.namespace() as space, peers.docker(space) as made:
        yield made


@pytest.fixture
def context(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    (top / "src/deep").mkdir(parents=True)
    (top / "src/deep").chmod(0o711)
    for name, mode in {
        "a.txt": 0o600,
        "b.txt": 0o644,
        "run.sh": 0o755,
        "deep/c": 0o444,
        "with space": 0o640,
    }.items():
        (top / "src" / name).write_text(name)
        (top / "src" / name).chmod(mode)
    (top / "src/link").symlink_to("a.txt")
    (top / "linked").symlink_to("src/run.sh")
    os.chown(top / "src/b.txt", 1234, 1234)
    (top / "ignored").write_text("ignored")
    (top / ".dockerignore").write_text("ignored\n**/*.md\n")
    (top / "src/no.md").write_text("ignored")
    with tarfile.open(top / "archive.tar.gz", "w:gz") as archive:
        for name, owner in (("d/f", 11), ("g", 0)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid, entry.mode = 1, owner, owner, 0o604
            archive.addfile(entry, io.BytesIO(b"x"))
    (top / "Dockerfile").write_text(DOCKERFILE)
    return top


def test_docker_builds_the_same_tree_and_configuration(
    docker: Docker, context: Path, busybox_layout: Path, tmp_path: Path
) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        base = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        base.save(tmp_path / "busybox.tar", format="docker-archive")
        docker("load", "--input", tmp_path / "busybox.tar")
        docker("build", "--quiet", "--tag", "made", "--build-arg", "NAME=given", context)
        docker("create", "--name", "made", "made")
        theirs = described(io.BytesIO(docker("export", "made")))
        stream = io.BytesIO()
        image = pc.Image.build(
            context,
            build_args={"NAME": "given"},
            network="none",
            engine=engine,
            outputs={"type": "tar", "dest": stream},
        )
        stream.seek(0)
        ours = described(stream)
        assert sorted(ours) == sorted(theirs)
        assert {name: entry for name, entry in ours.items() if theirs[name] != entry} == {}
        told = json.loads(docker("image", "inspect", "made"))[0]["Config"]
        mine = json.loads(image.view.config_bytes)["config"]
        for key in (
            *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell"),
            *("StopSignal", "User", "Volumes", "WorkingDir"),
        ):
            assert (mine.get(key) or None) == (told.get(key) or None), key
        docker("rm", "--volumes", "made")
        docker("rmi", "made")
