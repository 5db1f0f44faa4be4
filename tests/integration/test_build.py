"""Image.build: what Dockerfiles make, what is taken from the cache, and what is left when a build fails."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.errors import (
    BuildError,
    Conflict,
    DeadlineExceeded,
    DockerfileError,
    InvalidInput,
    InvalidOption,
    NotFound,
)
from pycontainer.image import Layout
from tests.support.needs import needs

pytestmark = needs("root", "overlay")


class Recorder:
    """Takes the events of builds."""

    def __init__(self) -> None:
        self.events: list[pc.BuildEvent] = []

    def __call__(self, event: pc.BuildEvent) -> None:
        self.events.append(event)

    def take(self, action: str) -> list[str]:
        """The steps of these events since the last call."""
        found = [event.step for event in self.events if event.action == action]
        self.events.clear()
        return found

    @property
    def output(self) -> str:
        return b"".join(event.output for event in self.events).decode()


@contextmanager
def served(directory: Path, answers: list[int] | None = None) -> Iterator[str]:
    """The address of a web server on loopback that serves a directory. answers: is given their codes."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(directory))

        def log_message(self, *_: object) -> None:
            pass

        def send_response(self, code: int, message: str | None = None) -> None:
            if answers is not None:
                answers.append(code)
            super().send_response(code, message)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def build(
    engine: pc.Engine, dockerfile: str, files: Mapping[str, Any] | None = None, **options: Any
) -> pc.Image:
    return pc.Image.build(files, dockerfile=dockerfile, engine=engine, **{"network": "none", **options})


def shell(engine: pc.Engine, image: pc.Image, script: str, **options: Any) -> str:
    return pc.run(image, ["sh", "-c", script], engine=engine, check=True, **options).text


def test_instructions_make_files_and_configuration(engine: pc.Engine, busybox: pc.Image) -> None:
    image = build(
        engine,
        """
        FROM busybox
        ARG GREETING=hello
        ENV A=1 B="two words"
        LABEL org.example=yes
        WORKDIR /srv/app
        COPY a.txt sub ./
        RUN echo "$GREETING $B" > out && ln /srv/app/out other
        USER web
        WORKDIR mine
        EXPOSE 80 53/udp
        VOLUME /data
        STOPSIGNAL SIGINT
        SHELL ["/bin/sh", "-ec"]
        CMD cat ../out
        """,
        {"a.txt": "a", "sub/b.txt": "b", "sub/run.sh": "#!/bin/sh\n"},
        tags=["made:1"],
        labels={"more": "label"},
    )
    own = image.config.config
    assert own.env[-2:] == ("A=1", "B=two words")
    assert (own.user, own.working_dir, own.stop_signal) == ("web", "/srv/app/mine", "SIGINT")
    assert (own.exposed_ports, own.volumes) == (("53/udp", "80/tcp"), ("/data",))
    assert own.labels == {"org.example": "yes", "more": "label"}
    assert own.cmd == ("/bin/sh", "-ec", "cat ../out")
    assert image.tags == ("made:1",)
    assert pc.run("made:1", engine=engine).text == "hello two words\n"
    listing = shell(engine, image, "stat -c '%n %a %u:%g %h' /srv/app/* | sort")
    assert listing == (
        "/srv/app/a.txt 644 0:0 1\n/srv/app/b.txt 644 0:0 1\n/srv/app/mine 755 1000:1000 2\n"
        "/srv/app/other 644 0:0 2\n/srv/app/out 644 0:0 2\n/srv/app/run.sh 755 0:0 1\n"
    )
    told = [step.created_by for step in image.history()[len(busybox.history()) :]]
    assert told == [
        "ARG GREETING=hello",
        "ENV A=1 B=two words",
        "LABEL org.example=yes",
        "WORKDIR /srv/app",
        "COPY a.txt sub ./ # buildkit",
        'RUN |1 GREETING=hello /bin/sh -c echo "$GREETING $B" > out && ln /srv/app/out other # buildkit',
        "USER web",
        "WORKDIR /srv/app/mine",
        "EXPOSE [53/udp 80/tcp]",
        "VOLUME [/data]",
        "STOPSIGNAL SIGINT",
        "SHELL [/bin/sh -ec]",
        'CMD ["/bin/sh" "-ec" "cat ../out"]',
    ]
    image.remove()


def test_scratch_stages_and_what_copies_between_them(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = Recorder()
    image = build(
        engine,
        """
        FROM busybox AS one
        RUN mkdir /out && echo one > /out/file && chown 7:8 /out/file && ln -s file /out/link
        FROM busybox AS unused
        RUN exit 1
        FROM one AS two
        RUN echo two >> /out/file
        FROM scratch
        COPY --from=two /out /from-two/
        COPY --from=one --chown=5 --chmod=u=rwX,go= /out/link /single
        COPY --from=busybox /bin /bin
        ENTRYPOINT ["/bin/busybox"]
        """,
        progress=seen,
    )
    assert not any("unused" in step for step in seen.take("done"))
    script = "cat /from-two/file /single; stat -c '%n %a %u:%g %F' /from-two/file /from-two/link /single"
    told = pc.run(image, ["sh", "-c", script], engine=engine, check=True).text
    assert told == (
        "one\ntwo\none\n/from-two/file 644 7:8 regular file\n/from-two/link 777 0:0 symbolic link\n"
        "/single 600 5:5 regular file\n"
    )
    assert image.config.config.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    image.remove()


def test_what_did_not_change_comes_from_the_cache(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nARG UNUSED\nCOPY kept /\nRUN cat /proc/sys/kernel/random/uuid > /first\n"
        "COPY changed /\nARG USED=1\nRUN cat /proc/sys/kernel/random/uuid > /second\n"
    )
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "changed").write_text("1")
    seen = Recorder()

    def again(**options: Any) -> tuple[pc.Image, int]:
        image = pc.Image.build(tmp_path, engine=engine, progress=seen, network="none", **options)
        executed = [step for step in seen.take("done") if " FROM " not in step]
        return image, len(executed)

    first, executed = again()
    assert executed == 4
    os.utime(tmp_path / "kept", (1, 1))
    second, executed = again(build_args={"UNUSED": "x"})
    assert executed == 3, "an ARG counts for the first RUN after it, and what is upon that is new"
    third, executed = again()
    assert (third.id, executed) == (first.id, 0)
    (tmp_path / "changed").write_text("2")
    fourth, executed = again()
    assert executed == 2
    assert shell(engine, fourth, "cat /first") == shell(engine, first, "cat /first")
    (tmp_path / "kept").chmod(0o600)
    assert again()[1] == 4, "the mode counts"
    _, executed = again(build_args={"USED": "2"})
    assert executed == 1
    fresh, executed = again(no_cache=True)
    assert executed == 4
    assert shell(engine, fresh, "cat /first") != shell(engine, first, "cat /first")
    for image in (first, second, fourth, fresh):
        image.remove(force=True)


def test_a_failed_run_tells_its_place_and_keeps_what_came_before(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    seen = Recorder()
    text = (
        "FROM busybox AS base\nRUN echo before > /before\n"
        "RUN echo some output; \\\n    echo to stderr >&2; exit 7\n"
    )
    with pytest.raises(BuildError) as caught:
        build(engine, text, progress=seen)
    error = caught.value
    assert (error.file, error.line, error.last_line) == ("Dockerfile", 3, 4)
    assert (error.stage, error.exit_code) == ("base", 7)
    assert error.log_tail == "some output\nto stderr\n"
    assert "Dockerfile:3" in str(error)
    assert "exit code 7" in str(error)
    assert "to stderr" in str(error)
    assert len(seen.take("done")) == 2
    with pytest.raises(BuildError):
        build(engine, text, progress=seen)
    assert len(seen.take("cached")) == 1


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("FROM busybox\nCOPY missing /\n", BuildError, "'missing' is not there"),
        ("FROM busybox\nCOPY --from=busybox /no/such /\n", BuildError, "'/no/such' is not there"),
        ("FROM busybox\nCOPY --chown=nobody-here a /\n", BuildError, "nobody-here"),
        ("FROM busybox\nUSER nobody-here\nRUN true\n", BuildError, "nobody-here"),
        ("FROM busybox\nCOPY a /etc/passwd/\n", BuildError, "no directory"),
        ("FROM busybox\nCOPY a a /x\n", BuildError, "end it with a slash"),
        ("FROM busybox\nRUN --network=host true\n", BuildError, "network.host"),
        ("FROM busybox\nRUN --mount=type=secret,id=s,required true\n", BuildError, "secret 's' is required"),
        ("FROM busybox\nRUM true\n", DockerfileError, "RUN"),
        ("FROM busybox\nCOPY --from=later x /\nFROM busybox AS later\n", DockerfileError, "later"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(
    engine: pc.Engine, busybox: pc.Image, text: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        build(engine, text, {"a": "a"}, target="0" if kind is DockerfileError and "later" in text else None)


def test_all_of_a_dockerfile_is_checked_before_any_of_it_is_carried_out(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    seen = Recorder()
    text = "FROM busybox\nMAINTAINER me\nRUN true\nENV A=$MISSING\n"
    with pytest.raises(DockerfileError, match="MaintainerDeprecated, UndefinedVar"):
        build(engine, f"# check=error=true\n{text}", progress=seen)
    assert [event.action for event in seen.events] == ["warning", "warning"]
    seen.events.clear()
    with pytest.raises(DockerfileError, match="Dockerfile:5"):
        build(engine, f"{text}EXPOSE none\n", progress=seen)
    assert [event.action for event in seen.events] == ["warning", "warning"]


def test_a_dockerfile_is_checked_without_being_built(busybox_layout: Path, tmp_path: Path) -> None:
    """What its base image says counts, of which the configuration alone is asked for."""
    with pc.Registry() as registry, pc.Engine(tmp_path / "store", progress="off") as engine:
        name = f"{registry.address}/base:1"
        text = (
            f"# check=experimental=CopyIgnoredFile\nFROM {name} AS other\nCOPY $KNOWN $UNKNOWN /\n"
            f"FROM {name}\nCOPY ignored /\nRUN false\nCMD x\n"
        )
        files = {".dockerignore": "ignored", "Dockerfile": text}
        (base,) = pc.Image.load(busybox_layout, engine=engine)
        base.env(KNOWN="1").push(name)
        for image in pc.Image.list(engine=engine):
            image.remove(force=True)
        count = len(registry.requests)
        found = pc.Image.check(files, engine=engine)
        assert [(each.rule, each.lines.first) for each in found] == [
            ("UndefinedVar", 3),
            ("CopyIgnoredFile", 5),
            ("JSONArgsRecommended", 7),
        ]
        assert sum("/blobs/" in each.path for each in registry.requests[count:]) == 1  # the configuration
        assert pc.Image.list(engine=engine) == []
        strict = text.replace("experimental=", "error=true;experimental=")
        with pytest.raises(DockerfileError, match="lint violation") as caught:
            pc.Image.check(files, dockerfile=strict, engine=engine)
        assert len(caught.value.warnings) == 3
        with pytest.raises(DockerfileError, match="no:1"):
            pc.Image.check(None, dockerfile=f"FROM {registry.address}/no:1", engine=engine)
        engine.registries.close()


def test_mounts_of_a_run(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    (tmp_path / "from-file").write_text("of a file")
    seen = Recorder()
    text = """
    FROM busybox AS tools
    RUN mkdir /tools && echo tool > /tools/t
    FROM busybox
    RUN --mount=type=bind,target=/context,rw --mount=type=bind,from=tools,source=/tools,target=/tools \
        --mount=type=bind,source=a/b,target=/single \
        cat /context/a/b /tools/t /single; echo x > /context/new; ! touch /tools/x 2>/dev/null
    RUN --mount=type=cache,target=/var/cache/x,id=kept,mode=0700 \
        echo more >> /var/cache/x/log; wc -l < /var/cache/x/log; stat -c %a /var/cache/x
    RUN --mount=type=tmpfs,target=/scratch,size=1m touch /scratch/x; df /scratch | tail -1
    RUN --mount=type=secret,id=large wc -c < /run/secrets/large
    USER web
    RUN --mount=type=secret,id=one,uid=1000 --mount=type=secret,id=two,target=/elsewhere/deep,mode=0444 \
        --mount=type=secret,id=one,env=ONE --mount=type=secret,id=optional \
        cat /run/secrets/one /elsewhere/deep; stat -c '%a %u' /run/secrets/one; echo "$ONE"; ls /run/secrets
    """
    secrets = {"one": b"first", "two": tmp_path / "from-file", "large": b"s" * 400_000}
    image = build(engine, text, {"a/b": "content\n", "c": "c"}, progress=seen, secrets=secrets)
    assert "content\ntool\ncontent\n" in seen.output
    assert "1\n700\n" in seen.output
    assert "400000\n" in seen.output
    assert "firstof a file400 1000\nfirst\none\n" in seen.output
    places = "/context /tools /single /var/cache/x /scratch /run/secrets /elsewhere"
    left = shell(engine, image, f"ls -d {places}; true", user="0")
    assert left == "/run\n" or left == ""
    told = repr(image.view.config_bytes) + repr(image.history())
    assert "first" not in told
    assert "of a file" not in told
    again = build(engine, text, {"a/b": "content\n", "c": "c"}, secrets={"one": b"other", "two": b"x"})
    assert again.id == image.id, "what a secret says is no part of the key"
    image.remove()


def test_caches_are_shared_private_or_locked(engine: pc.Engine, busybox: pc.Image) -> None:
    """Two stages at once: shared ones see each other, private ones do not, locked ones take turns."""
    text = """
    FROM busybox AS base
    FROM base AS one
    RUN --mount=type=cache,id=s{n},target=/s --mount=type=cache,id=p{n},sharing=private,target=/p \
        touch /s/one /p/one; while [ ! -e /s/two ]; do sleep 0.02; done; ls /p > /seen
    RUN --mount=type=cache,id=l{n},sharing=locked,target=/l mkdir /l/lock && sleep 0.1 && rmdir /l/lock
    FROM base AS two
    RUN --mount=type=cache,id=s{n},target=/s --mount=type=cache,id=p{n},sharing=private,target=/p \
        touch /s/two /p/two; while [ ! -e /s/one ]; do sleep 0.02; done; ls /p > /seen
    RUN --mount=type=cache,id=l{n},sharing=locked,target=/l mkdir /l/lock && sleep 0.1 && rmdir /l/lock
    FROM busybox
    COPY --from=one /seen /one
    COPY --from=two /seen /two
    """
    image = build(engine, text.replace("{n}", "1"))
    assert shell(engine, image, "cat /one /two") == "one\ntwo\n"
    image.remove()


def test_here_documents_and_scripts(engine: pc.Engine, busybox: pc.Image) -> None:
    image = build(
        engine,
        'FROM busybox\nENV NAME=world\nRUN <<EOF\necho "hello $NAME" > /a\nEOF\n'
        "RUN <<EOF\n#!/bin/cat\nscript itself\nEOF\n"
        "COPY <<ONE <<'TWO' /etc/\nexpanded $NAME\nONE\nplain $NAME\nTWO\n",
    )
    assert shell(engine, image, "cat /a /etc/ONE /etc/TWO") == ("hello world\nexpanded world\nplain $NAME\n")
    image.remove()


def test_sources_with_wildcards_excludes_and_parents(engine: pc.Engine, busybox: pc.Image) -> None:
    files = {
        "src/a.py": "", "src/b.py": "", "src/c.txt": "", "src/deep/d.py": "", "src/deep/e.txt": "",
        "ignored/x": "", "ignored/kept": "", ".dockerignore": "ignored\n!ignored/kept\n*.md\n", "r.md": "",
    }  # fmt: skip
    image = build(
        engine,
        """
        FROM scratch AS all
        COPY . /
        FROM busybox
        COPY --from=all / /all/
        COPY src/*.py /wild/
        COPY --exclude=**/*.txt src /excluded
        COPY --parents src/deep/*.py src/./deep/e.txt /parents/
        COPY --parents ./**/*.py /trees/
        COPY --link --chmod=750 src/a.py /linked/
        """,
        files,
    )
    script = "cd /; find all wild excluded parents trees linked ! -type d | sort; stat -c %a linked"
    found = shell(engine, image, script).split()
    assert found == [
        "all/.dockerignore", "all/ignored/kept", "all/src/a.py", "all/src/b.py", "all/src/c.txt",
        "all/src/deep/d.py", "all/src/deep/e.txt", "excluded/a.py", "excluded/b.py", "excluded/deep/d.py",
        "linked/a.py", "parents/deep/e.txt", "parents/src/deep/d.py", "trees/src/a.py", "trees/src/b.py",
        "trees/src/deep/d.py", "wild/a.py", "wild/b.py", "750",
    ]  # fmt: skip
    image.remove()


def tar_of(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar of these files, whose owner is 11:12. mode: as for tarfile.open."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid, entry.mode = len(content), 11, 12, 0o640
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_add_unpacks_local_archives_only(engine: pc.Engine, busybox: pc.Image, mode: str) -> None:
    files = {"a.tar": tar_of({"d/f": b"in the tar"}, mode), "plain.gz": b"\x1f\x8bno tar"}
    text = "FROM busybox\nADD a.tar plain.gz /x/\nCOPY a.tar /y/\nADD --unpack=false a.tar /z/\n"
    image = build(engine, text, files)
    told = shell(engine, image, "cat /x/d/f; stat -c '%a %u:%g' /x/d/f; ls /x /y /z")
    assert told == "in the tar640 11:12\n/x:\nd\nplain.gz\n\n/y:\na.tar\n\n/z:\na.tar\n"
    image.remove()


def test_onbuild_triggers_run_in_the_image_built_on_it(engine: pc.Engine, busybox: pc.Image) -> None:
    base = build(
        engine, "FROM busybox\nONBUILD COPY given /\nONBUILD RUN cat /given > /seen\n", tags=["trigger"]
    )
    assert base.config.config.on_build == ("COPY given /", "RUN cat /given > /seen")
    image = build(engine, "FROM trigger\nRUN cat /seen > /more\n", {"given": "x"})
    assert shell(engine, image, "cat /more") == "x"
    assert image.config.config.on_build == ()
    image.remove()
    base.remove()


def test_two_builds_of_equal_inputs_give_one_digest(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    text = (
        "FROM busybox\nRUN mkdir -p /a/b && date > /dev/null && touch /a/b/c\nWORKDIR /w/x\n"
        "COPY --chown=1:1 f /deep/er/\nRUN --mount=type=tmpfs,target=/t echo x > /x\n"
    )
    args = {"SOURCE_DATE_EPOCH": "1700000000"}
    first = build(engine, text, {"f": "f"}, build_args=args)
    second = build(engine, text, {"f": "f"}, build_args=args, no_cache=True)
    assert first.manifest_digest == second.manifest_digest
    assert first.config.created == "2023-11-14T22:13:20Z"
    newest = shell(engine, first, "stat -c %Y /a /a/b/c /w/x /deep/er /x")
    assert set(newest.split()) == {"1700000000"}
    by_default = "ARG SOURCE_DATE_EPOCH=1700000001\nFROM scratch\nCOPY f /\n"
    assert build(engine, by_default, {"f": ""}).config.created == "2023-11-14T22:13:21Z"
    assert build(engine, by_default, {"f": ""}, build_args=args).config.created == "2023-11-14T22:13:20Z"
    with pytest.raises(InvalidOption, match="whole seconds"):
        build(engine, "ARG SOURCE_DATE_EPOCH=yesterday\nFROM scratch\n")
    first.remove()


def test_contexts_of_every_kind(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    text = "FROM busybox\nCOPY f /f\n"
    files = {"Dockerfile": text.encode(), "f": b"content"}
    directory = tmp_path / "context"
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o640)
    archive = tmp_path / "context.tar.gz"
    archive.write_bytes(tar_of(files, "w:gz"))
    ids = set()
    with open(archive, "rb") as stream:
        for context in (directory, str(archive), tar_of(files), stream, io.BytesIO(tar_of(files, "w:xz"))):
            image = pc.Image.build(context, engine=engine, build_args={"SOURCE_DATE_EPOCH": "0"})
            ids.add(image.id)
    assert len(ids) == 1
    image.remove()
    for given in (io.BytesIO(b"FROM busybox\nENV ONLY=text\n"), b"FROM busybox\nENV ONLY=text\n"):
        assert "ONLY=text" in pc.Image.build(given, engine=engine).config.config.env
    with pytest.raises(NotFound, match="no Dockerfile"):
        pc.Image.build({"f": ""}, engine=engine)
    with pytest.raises(NotFound, match="no such directory"):
        pc.Image.build(tmp_path / "none", engine=engine)


def test_a_hostile_context_is_confined(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("host secret")
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "out").symlink_to(outside)
    (context / "abs").symlink_to("/secret")
    (context / "loop").symlink_to("loop")
    (context / "secret").write_text("in the context")
    os.mkfifo(context / "d/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(context / "d/socket"))
    (context / os.fsdecode(b"d/\xff\xfe")).write_text("odd name")
    (context / "d/unreadable").touch(mode=0)  # to others than root
    image = pc.Image.build(context, dockerfile="FROM busybox\nCOPY . /c/\nCOPY abs /abs\n", engine=engine)
    told = "cat /abs; ls -l /c/d | wc -l; stat -c %a /c/d/unreadable; readlink /c/out; readlink /c/loop"
    assert shell(engine, image, told) == f"in the context4\n0\n{outside}\nloop\n"
    for source, words in (
        ("out/secret", "is not there"),
        ("loop", "circle"),
        ("../outside/secret", "is not there"),
    ):
        with pytest.raises(BuildError, match=words):
            pc.Image.build(context, dockerfile=f"FROM busybox\nCOPY {source} /\n", engine=engine)
    (context / ".dockerignore").symlink_to(outside / "secret")
    with pytest.raises(InvalidInput, match="link"):
        pc.Image.build(context, dockerfile="FROM busybox\n", engine=engine)
    image.remove()


def test_links_of_the_image_lead_inside_it(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    """A destination through links of the image writes in the image (CVE-2024-1753 and its kin)."""
    witness = tmp_path / "witness"
    witness.mkdir()
    image = build(
        engine,
        f"FROM busybox\nRUN ln -s {witness} /out && ln -s /run/real /linked\n"
        "COPY f /out/f\nCOPY f /linked/f\n"
        "RUN --mount=type=bind,target=/out/mounted ls /out > /dev/null\n"
        "RUN --mount=type=cache,target=/linked/cache touch /linked/cache/x\n",
        {"f": "f"},
    )
    assert list(witness.iterdir()) == []
    assert shell(engine, image, f"cat {witness}/f /run/real/f; ls {witness}; ls /run/real") == ("fff\nf\n")
    image.remove()


def test_two_builds_at_once_make_each_step_once(engine: pc.Engine, busybox: pc.Image) -> None:
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id; sleep 0.3\nRUN cp /id /again\n"
    seen = Recorder()
    images: list[pc.Image] = []
    threads = [
        threading.Thread(target=lambda: images.append(build(engine, text, progress=seen))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image.id for image in images}) == 1
    assert len(images) == 3
    assert len([step for step in seen.take("done") if "RUN" in step]) == 2
    images[0].remove()


def test_pruning_forgets_steps_and_mounts(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = Recorder()
    text = "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/x; echo pruned > /pruned\n"
    image = build(engine, text)
    assert pc.prune_build_cache(engine=engine).mounts > 0
    assert build(engine, text, progress=seen).id == image.id
    assert len(seen.take("cached")) == 1, "what an image has stays"
    image.remove()
    assert pc.prune_build_cache(all=True, engine=engine).steps > 0
    build(engine, text, progress=seen).remove()
    assert len(seen.take("cached")) == 0


def test_the_room_that_builds_take_is_counted_and_pruned(busybox_layout: Path, tmp_path: Path) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        base = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        before = pc.disk_usage(engine=engine)
        text = "FROM busybox\nRUN --mount=type=cache,target=/c head -c 5000 /dev/zero | tee /c/x > /made\n"
        image = build(engine, text)
        with_image = pc.disk_usage(engine=engine)
        cache = with_image.build_cache
        assert (cache.steps, cache.layers_bytes, cache.mounts, cache.mounts_bytes) == (1, 0, 1, 5000)
        image.remove()
        used = pc.disk_usage(engine=engine)
        assert used.images_bytes == before.images_bytes
        assert used.build_cache.layers_bytes > 5000
        assert used.reclaimable_image_bytes == before.reclaimable_image_bytes
        assert used.reclaimable_build_bytes == used.build_cache.size_bytes
        assert pc.prune(filters={"until": "1h"}, engine=engine).build_steps == 0
        for kept in ({"reserved": "1m"}, {"keep": 0, "reserved": "1m"}, {"min_free": 1}):
            assert pc.prune_build_cache(**kept, engine=engine).steps == 0  # type: ignore[arg-type]
        assert pc.prune(filters={"label!": "x"}, engine=engine).build_steps == 0
        pruned = pc.prune(engine=engine)
        assert (pruned.build_steps, pruned.build_mounts) == (1, 1)
        assert pruned.freed_bytes == used.build_cache.size_bytes
        assert pc.disk_usage(engine=engine) == before
        assert base.tags == ("busybox:latest",)


def test_an_add_of_a_url_is_checked(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    (tmp_path / "file.tar").write_bytes(tar_of({"inner": b"inner"}))
    digest = f"sha256:{hashlib.sha256((tmp_path / 'file.tar').read_bytes()).hexdigest()}"

    with served(tmp_path) as address:
        url = f"{address}/file.tar"
        image = build(
            engine, f"FROM busybox\nADD {url} /x/\nADD --unpack=true --checksum={digest} {url} /y/\n"
        )
        assert shell(engine, image, "stat -c %a /x/file.tar; cat /y/inner") == "600\ninner"
        image.remove()
        with pytest.raises(BuildError, match="sha256"):
            build(engine, f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {url} /x/\n")
        with pytest.raises(BuildError, match="no such file"):
            build(engine, f"FROM busybox\nADD {url}x /x/\n")


def test_outputs_beside_the_store(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    stream = io.BytesIO()
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/led").symlink_to(tmp_path / "elsewhere")
    text = (
        "FROM busybox AS b\nRUN mkdir -p /r/d && echo x > /r/d/f && chmod 4755 /r/d/f\n"
        "FROM scratch\nCOPY --from=b /r /\n"
    )
    image = build(
        engine,
        text,
        outputs=[
            str(tmp_path / "out"),
            {"type": "tar", "dest": stream},
            f"type=oci,dest={tmp_path}/oci.tar",
            f"type=docker,dest={tmp_path}/docker.tar",
            f"type=oci,tar=false,dest={tmp_path}/layout,compression=zstd,compression-level=3",
            "type=docker",
            "type=cacheonly",
        ],
    )
    with pc.Registry() as registry, pc.Engine(tmp_path / "store") as other:
        name = f"{registry.address}/made:1"
        given = "type=registry,compression=uncompressed,force-compression=true"
        pushed = build(other, "FROM scratch\nCOPY f /\n", {"f": "f"}, tags=[name], outputs=given)
        [layer] = pc.RemoteImage(name, engine=other).manifest["layers"]
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        assert pc.Image.pull(name, engine=other).id == pushed.id
        # What the base image has stays as it is unless it is forced, as with BuildKit.
        for force, kinds in (("false", ["gzip", "zstd"]), ("true", ["zstd", "zstd"])):
            place = tmp_path / force
            given = f"type=oci,tar=false,dest={place},compression=zstd,force-compression={force}"
            build(engine, "FROM busybox AS one\nFROM one\nCOPY f /\n", {"f": "f"}, outputs=given)
            found = [layer.media_type.rpartition("+")[2] for layer in Layout(place).view().layers]
            assert found[-2:] == kinds
    layout = Layout(tmp_path / "layout")
    assert {layer.media_type for layer in layout.view().layers} == {
        "application/vnd.oci.image.layer.v1.tar+zstd"
    }
    assert (tmp_path / "out/d/f").read_text() == "x\n"
    assert (tmp_path / "out/d/f").stat().st_mode & 0o7777 == 0o755, "no power leaves the image"
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        assert sorted(archive.getnames()) == ["d", "d/f"]
    for archive_name in ("oci.tar", "docker.tar"):
        assert pc.Image.load(tmp_path / archive_name, engine=engine)[0].id == image.id
    text = "FROM busybox AS b\nRUN mkdir -p /r/led && echo x > /r/led/f\nFROM scratch\nCOPY --from=b /r /\n"
    with pytest.raises(Conflict):
        build(engine, text, outputs=str(tmp_path / "out"))
    for wrong in (
        "type=tar,dest=x,compression=zstd",
        "type=oci,dest=x,compression=estargz",
        "type=docker,tar=false",
    ):
        with pytest.raises(InvalidInput, match="option outputs"):
            build(engine, text, outputs=wrong)
    assert list((tmp_path / "elsewhere").iterdir()) == [], "an output stays in its directory"
    image.remove(force=True)


def test_a_hook_opens_a_container_in_the_failed_state(engine: pc.Engine, busybox: pc.Image) -> None:
    found: list[str] = []

    def look(failed: pc.FailedStep) -> None:
        container = failed.container()
        found.append(container.exec(["sh", "-c", "cat half; pwd; echo $NAME; id -u"]).text)
        container.remove(force=True)
        found.append(f"{failed.exit_code} {failed.log_tail}")

    before = {image.id for image in pc.Image.list(engine=engine)}
    text = "FROM busybox\nENV NAME=value\nWORKDIR /tmp\nUSER web\nRUN echo half > half; echo said; exit 3\n"
    with pytest.raises(BuildError):
        build(engine, text, on_failure=look)
    assert found[1] == "3 said\n"
    assert found[0] == "half\n/tmp\nvalue\n1000\n"
    assert {image.id for image in pc.Image.list(engine=engine)} == before


def test_an_interrupted_build_leaves_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    script = (
        "import pycontainer as pc, sys\n"
        f"with pc.Engine({str(engine.root)!r}):\n"
        "    def tell(event):\n"
        "        if event.output: print(event.output.decode(), flush=True)\n"
        "    pc.Image.build(None, dockerfile='FROM busybox\\nRUN echo begun; sleep 1000\\n',\n"
        "        progress=tell, network='none')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert list((engine.root / "builds/scratch").iterdir()) == []
    assert engine.store.state.containers.list() == []
    assert list((engine.root / "containers").iterdir()) == []


@needs("git")
def in_repository(directory: Path, *words: str) -> str:
    """What git says in a directory."""
    own = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    own += ["-c", "protocol.allow=always"]
    told = subprocess.run(
        ["git", *own, "-C", str(directory), *words], check=True, capture_output=True, text=True
    )
    return told.stdout.strip()


def served_repository(work: Path, bare: Path) -> None:
    """Commit all of a directory, and have a web server give it out as a repository."""
    if not (work / ".git").exists():
        in_repository(work, "init", "--quiet")
    in_repository(work, "add", ".")
    in_repository(work, "commit", "--quiet", "--message=1")
    in_repository(work, "clone", "--quiet", "--bare", str(work), str(bare))
    in_repository(bare, "update-server-info")


def test_git_repositories_are_contexts_and_sources(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "sub/Dockerfile").write_text("FROM busybox\nCOPY f /f\n")
    (work / "sub/f").write_text("first")
    (work / "link").symlink_to("/etc")
    (work / ".gitattributes").write_text("f filter=evil\n")

    def git(*words: str) -> str:
        return in_repository(work, *words)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=1")
    commit = git("rev-parse", "HEAD")
    (work / "sub/f").write_text("second")
    git("commit", "--quiet", "--all", "--message=2")
    git("clone", "--quiet", "--bare", str(work), str(tmp_path / "r.git"))
    subprocess.run(["git", "-C", str(tmp_path / "r.git"), "update-server-info"], check=True)
    with served(tmp_path) as address:
        url = f"{address}/r.git"
        image = pc.Image.build(f"{url}#main:sub", engine=engine)
        assert shell(engine, image, "cat /f") == "second"
        image.remove()
        text = (
            f"FROM busybox\nADD {url}#{commit} /r\nADD --keep-git-dir=true {url}?branch=main&subdir=sub /s\n"
        )
        image = build(engine, text)
        assert shell(engine, image, "cat /r/sub/f /s/f; ls -A /r") == "firstsecond.gitattributes\nlink\nsub\n"
        image.remove()
        for source, words in ((f"{url}#main:link", "no directory"), (f"{url}#none", "none")):
            with pytest.raises(BuildError, match=words):
                build(engine, f"FROM busybox\nADD {source} /x\n")
        with pytest.raises(BuildError):
            build(engine, f"FROM busybox\nADD --checksum={'0' * 40} {url} /x\n")


def test_submodules_of_a_repository_come_with_it(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    inner, outer, web = tmp_path / "inner", tmp_path / "outer", tmp_path / "web"
    for path in (inner, outer, web):
        path.mkdir()
    (inner / "f").write_text("inner")
    served_repository(inner, web / "inner.git")
    with served(web) as address:
        in_repository(outer, "init", "--quiet")
        in_repository(outer, "submodule", "--quiet", "add", f"{address}/inner.git", "absolute")
        in_repository(outer, "submodule", "--quiet", "add", f"{address}/inner.git", "relative")
        in_repository(outer, "config", "--file=.gitmodules", "submodule.relative.url", "../inner.git")
        served_repository(outer, web / "outer.git")
        image = build(engine, f"FROM busybox\nADD {address}/outer.git#main /r\n")
        listing = shell(engine, image, "cd /r; cat */f; find . | sort")
        assert listing == "innerinner.\n./.gitmodules\n./absolute\n./absolute/f\n./relative\n./relative/f\n"
        image.remove()
        # A password is in nothing that is kept.
        guarded = address.replace("//", "//me:hush@")
        kept = build(engine, f"FROM busybox\nADD --keep-git-dir=true {guarded}/inner.git#main /r\n")
        assert shell(engine, kept, "ls -A /r; grep -r hush /r || echo none") == ".git\nf\nnone\n"
        with pytest.raises(BuildError, match="note the password"):
            build(engine, f"FROM busybox\nADD --keep-git-dir=true {guarded}/outer.git#main /r\n")
        kept.remove()
        # What would read the host's files, or start a program, is no address of a submodule.
        for number, url in enumerate((f"file://{web}/inner.git", "ext::sh -c x")):
            in_repository(outer, "config", "--file=.gitmodules", "submodule.absolute.url", url)
            served_repository(outer, web / f"evil{number}.git")
            with pytest.raises(BuildError, match="git submodule"):
                build(engine, f"FROM busybox\nADD {address}/evil{number}.git#main /r\n")


def test_several_platforms_make_an_index(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    foreign = "linux/riscv64" if os.uname().machine != "riscv64" else "linux/amd64"
    here = busybox.platform
    text = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n"
    files = {Platform.partition("/")[2]: Platform for Platform in (foreign, here)}
    with pc.Registry() as registry, pc.Engine(tmp_path / "store") as other:
        name = f"{registry.address}/made:1"
        told = {"of": "manifest", "index:of": "index", "manifest-descriptor:of": "entry"}
        byname = f"{registry.address}/untagged"
        image = build(
            other,
            text,
            files,
            platforms=[foreign, here],
            tags=[name],
            annotations=told,
            outputs=[
                "type=registry",
                f"type=image,name={byname},push=true,push-by-digest=true",
                str(tmp_path / "split"),
            ],
        )
        for platform in (foreign, here):
            assert (tmp_path / "split" / platform.replace("/", "_") / "arch").read_text() == platform
        assert pc.RemoteImage.tags(byname, engine=other) == []
        untagged = pc.RemoteImage(f"{byname}@{image.digest}", engine=other).manifest
        assert untagged["annotations"] == {"of": "index"}
        assert [entry["annotations"] for entry in untagged["manifests"]] == [{"of": "entry"}] * 2
        assert image.view.manifest.annotations == {"of": "manifest"}
        assert image.platform == here
        assert image.digest != image.manifest_digest
        pulled = pc.Image.pull(name, platform=foreign, engine=other)
        assert (pulled.platform, pulled.digest) == (foreign, image.digest)
        # Both are here under one name, and go out, into files and back together.
        assert set(image.platforms) == {foreign, here}
        there = pc.Image.get(name, platform=foreign, engine=other)
        assert (there.platform, there.id == image.id) == (foreign, False)
        again = f"{registry.address}/again:1"
        assert image.push(again) == image.digest
        assert pc.RemoteImage(again, engine=other).platforms == pc.RemoteImage(name, engine=other).platforms
        assert image.push(again, platform=foreign) == there.manifest_digest
        plain = image.push(again, compression="plain")
        assert len(pc.RemoteImage(again, engine=other).platforms) == 2
        assert plain != image.digest
        image.save(tmp_path / "both.tar", format="oci-archive")
        pc.copy(f"oci-archive:{tmp_path}/both.tar", "store:copied:1", platform="all", engine=other)
        assert set(pc.Image.get("copied:1", engine=other).platforms) == {foreign, here}
        layout = f"{tmp_path}/layout"
        pc.copy(f"oci-archive:{tmp_path}/both.tar", f"oci:{layout}:made", platform="all", engine=other)
        for written in (f"{layout}:made", f"{layout}@{image.digest}"):
            build(
                other,
                "FROM empty AS nothing\nFROM base\nCOPY --from=nothing / /\n",
                contexts={"base": f"oci-layout://{written}", "empty": "docker-image://scratch"},
                platforms=[foreign, here],
                outputs=str(tmp_path / "upon"),
            )
            for platform in (foreign, here):
                upon = tmp_path / "upon" / platform.replace("/", "_")
                assert (upon / "arch").read_text() == platform
            shutil.rmtree(tmp_path / "upon")
        with pytest.raises(NotFound, match="no image"):
            build(other, "FROM base\n", contexts={"base": f"oci-layout://{layout}:none"})
    with pc.Engine(tmp_path / "puller") as puller, pc.Registry() as registry:
        pc.copy(f"oci-archive:{tmp_path}/both.tar", f"{registry.address}/made:1", engine=puller)
        name = f"{registry.address}/made:1"
        first = pc.Image.pull(name, platform=foreign, engine=puller)
        assert pc.Image.get(name, engine=puller).id == first.id
        assert first.push(f"{registry.address}/one:1") == first.manifest_digest
        mine = pc.Image.pull(name, engine=puller)
        assert pc.Image.get(name, engine=puller).id == mine.id
        assert pc.Image.pull(name, platform=foreign, engine=puller).id == first.id
        assert pc.Image.get(name, engine=puller).id == mine.id
        pc.Image.prune(engine=puller)
        assert pc.Image.get(name, platform=foreign, engine=puller).id == first.id
        with pytest.raises(NotFound, match="linux/s390x"):
            pc.Image.get(name, platform="linux/s390x", engine=puller)
        assert mine.push(f"{registry.address}/both:1") == image.digest
    if not any(Path("/proc/sys/fs/binfmt_misc").glob("qemu-*")):
        with pytest.raises(BuildError, match="qemu-user-static"):
            build(engine, "FROM scratch\nCOPY a /a\nRUN /a\n", {"a": ""}, platform=foreign)


def test_how_an_image_was_built_and_what_it_contains_is_attested(
    busybox_layout: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("data")
    digest = hashlib.sha256(b"data").hexdigest()
    status = "Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\n"
    lock = {"packages": {"node_modules/left-pad": {"version": "1.3.0"}}}
    module = '{"name": "left-pad", "version": "1.3.0"}'
    files = {
        "status": status,
        "METADATA": "Name: Hello\nVersion: 1.0\n",
        "node_modules/left-pad/package.json": module,
        "package-lock.json": json.dumps(lock),
    }
    with (
        served(tmp_path) as address,
        pc.Registry() as registry,
        pc.Engine(tmp_path / "store") as engine,
    ):
        busybox = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        name = f"{registry.address}/attested:1"
        guarded = address.replace("//", "//me:hush@")
        text = (
            "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\n"
            f"FROM busybox AS one\nADD {guarded}/data /data\nCOPY status /var/lib/dpkg/status\n"
            "FROM one AS two\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY node_modules /srv/node_modules\n"
            "FROM scratch\nARG WHO\nCOPY --from=one / /\nCOPY --from=two /data /\n"
            "COPY METADATA /opt/Hello-1.0.dist-info/\n"
        )
        options: dict[str, Any] = {
            "provenance": "mode=max,builder-id=https://ci/1",
            "build_args": {"WHO": "me", "SOURCE_DATE_EPOCH": "1700000000"},
            "secrets": {"token": b"hush"},
            "sbom": True,
        }
        image = build(engine, text, files, tags=[name], **options)
        assert build(engine, text, files, tags=[name], **options).digest == image.digest
        image.push()
        remote = pc.RemoteImage(name, engine=engine)
        assert remote.digest == image.digest != image.manifest_digest
        assert remote.platforms == (image.platform,)
        [sbom, of_stage, of_context, provenance] = remote.attestations()
        assert image.attestations() == (sbom, of_stage, of_context, provenance)
        for found in (provenance, sbom, of_stage, of_context):
            assert found["subject"][0]["digest"] == {"sha256": image.manifest_digest[7:]}
            assert "attested@1" in found["subject"][0]["name"]
            assert "hush" not in str(found)
        assert provenance["predicateType"] == "https://slsa.dev/provenance/v1"
        made = provenance["predicate"]["buildDefinition"]
        assert made["externalParameters"]["request"]["args"]["build-arg:WHO"] == "me"
        assert made["externalParameters"]["request"]["secrets"] == [{"id": "token"}]
        assert made["externalParameters"]["configSource"] == {"path": "Dockerfile"}
        assert made["resolvedDependencies"] == [
            {"uri": f"{address}/data", "digest": {"sha256": digest}},
            {
                "uri": f"pkg:docker/busybox@latest?platform={busybox.platform.replace('/', '%2F')}",
                "digest": {"sha256": busybox.digest[7:]},
            },
        ]
        assert provenance["predicate"]["runDetails"]["builder"]["id"] == "https://ci/1"
        packages = [package["name"] for package in sbom["predicate"]["packages"]]
        assert packages == [image.tags[0], "bash", "Hello"]
        assert [package["name"] for package in image.sbom()["packages"]][1:] == ["bash", "Hello"]
        for found, title, names in (
            (of_stage, "two", ["bash", "left-pad"]),
            (of_context, "context", ["left-pad", "left-pad"]),
        ):
            first, *packages = [package["name"] for package in found["predicate"]["packages"]]
            assert (first, packages) == (f"{image.tags[0]} ({title})", names)
        assert busybox.attestations() == ()
        # Known to tools as BuildKit writes it.
        entries = {entry["digest"]: entry for entry in remote.manifest["manifests"]}
        attesting = next(entry for digest, entry in entries.items() if digest != image.manifest_digest)
        assert attesting["platform"] == {"architecture": "unknown", "os": "unknown"}
        assert attesting["annotations"] == {
            "vnd.docker.reference.digest": image.manifest_digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        pc.Image.prune(engine=engine)
        image.push(f"{registry.address}/again:1")
        image.remove()
        for wrong in ("mode=most", "version=v0.2", "colour=red"):
            with pytest.raises(InvalidInput, match="provenance"):
                build(engine, "FROM busybox\n", provenance=wrong)


def test_a_file_by_url_is_fetched_again_only_if_it_changed(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    answers: list[int] = []
    (tmp_path / "file").write_text("one")
    text = "FROM busybox\nADD {}/file /f\n"
    with served(tmp_path, answers) as address:
        image = build(engine, text.format(address))
        assert build(engine, text.format(address)).id == image.id
        assert answers == [200, 304]
        (tmp_path / "file").write_text("two")
        os.utime(tmp_path / "file", (2_000_000_000, 2_000_000_000))
        assert shell(engine, build(engine, text.format(address)), "cat /f") == "two"
        assert answers == [200, 304, 200]
        # What is kept has the digest that is asked for: the server is left alone.
        summed = (
            f"FROM busybox\nADD --checksum=sha256:{hashlib.sha256(b'two').hexdigest()} {address}/file /f\n"
        )
        build(engine, summed)
        assert answers == [200, 304, 200]
        kept = pc.disk_usage(engine=engine).build_cache
        assert kept.downloads_bytes >= 3
        assert pc.prune_build_cache(all=True, engine=engine).freed_bytes >= kept.downloads_bytes
        assert pc.disk_usage(engine=engine).build_cache.size_bytes == 0
        build(engine, text.format(address))
        assert answers == [200, 304, 200, 200]
    pc.Image.prune(engine=engine)


def test_a_build_that_takes_too_long_is_ended(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(DeadlineExceeded):
        build(engine, "FROM busybox\nRUN sleep 1000\n", timeout=0.5)
    assert engine.store.state.containers.list() == []


def test_a_cache_is_carried_to_another_store(busybox_layout: Path, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\n"
        "FROM busybox\nCOPY --from=one /id /id\nRUN rm -r /usr && echo x > /x\n"
    )
    seen = Recorder()
    places = iter(range(10))

    def elsewhere(target: str = "", **options: Any) -> tuple[str, int]:
        """What a store that knows nothing makes of it, and how many steps it took from a cache."""
        with pc.Engine(tmp_path / f"store{next(places)}") as other:
            pc.Image.load(busybox_layout, engine=other)[0].tag("busybox:latest")
            image = build(other, text, target=target, progress=seen, **options)
            told = shell(other, image, "cat /id; ls -d /usr /x 2>/dev/null || true")
        return told, len(seen.take("cached"))

    with pc.Registry() as registry:
        name = f"{registry.address}/cache:1"
        local = f"type=local,{{}}={tmp_path}/cache"
        first, _ = elsewhere(
            cache_to=[f"type=registry,ref={name},mode=max", local.format("dest") + ",mode=max"]
        )
        assert elsewhere(cache_from=name) == (first, 3)
        assert elsewhere(cache_from=[f"{registry.address}/none:1", local.format("src")]) == (first, 3)
        made = f"{registry.address}/made:1"
        inline, _ = elsewhere("one", cache_to="type=inline", tags=[made], outputs="type=registry")
        assert elsewhere("one", cache_from=made) == (inline, 1)


def test_steps_have_a_network_unless_told_otherwise(busybox_layout: Path, tmp_path: Path) -> None:
    with pc.Engine(tmp_path / "store") as other:
        pc.Image.load(busybox_layout, engine=other)[0].tag("busybox:latest")
        seen = Recorder()
        text = (
            "FROM busybox\nRUN ls /sys/class/net\n"
            "RUN --network=none ls /sys/class/net | grep -v lo || echo none\n"
        )
        pc.Image.build(None, dockerfile=text, engine=other, progress=seen)
        assert seen.output == "eth0\nlo\nnone\n"
