"""Dockerfiles, contexts and images that attack whoever builds them; each name of a CVE is one of another
builder's.
"""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.errors import BuildError, DockerfileError, InvalidImage, PycontainerError
from tests.support.needs import needs

pytestmark = needs("root", "overlay")


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A directory of the host that no build may see, change or clean up."""
    made = tmp_path / "witness"
    (made / "x").mkdir(parents=True)
    (made / "host").write_text("of the host")
    return made


def build(
    engine: pc.Engine, dockerfile: str, files: dict[str, Any] | None = None, **options: Any
) -> pc.Image:
    return pc.Image.build(files, dockerfile=dockerfile, engine=engine, network="none", **options)


def is_untouched(witness: Path) -> bool:
    return sorted(path.name for path in witness.iterdir()) == ["host", "x"] and not os.listdir(witness / "x")


def test_the_source_of_a_mount_is_resolved_in_its_root(
    engine: pc.Engine, busybox: pc.Image, witness: Path
) -> None:
    """CVE-2024-1753, CVE-2024-11218, CVE-2025-4953."""
    context = {"f": "context"}
    image = build(
        engine,
        f"""
        FROM busybox AS evil
        RUN ln -s / /root-link && ln -s {witness} /host-link && mkdir -p {witness} \
            && echo mine > {witness}/inner
        FROM busybox
        RUN --mount=type=bind,from=evil,source=/root-link,target=/m,rw \
            ls /m/root-link > /dev/null && ! ls /m{witness}/host 2>/dev/null && echo x > /m/written
        RUN --mount=type=bind,from=evil,source=/host-link,target=/m ls /m > /seen
        RUN --mount=type=bind,target=/c,rw echo changed > /c/f && cat /c/f >> /seen
        RUN --mount=type=bind,source=f,target=/f cat /f >> /seen; ls / >> /seen
        """,
        context,
    )
    seen = pc.run(image, ["cat", "/seen"], engine=engine).text
    assert seen.startswith("inner\nchanged\ncontext")
    assert "written" not in seen
    assert is_untouched(witness)
    image.remove()


def test_places_of_mounts_are_cleaned_up_in_the_layer_only(
    engine: pc.Engine, busybox: pc.Image, witness: Path
) -> None:
    """CVE-2024-23652: the parent of a mount point becomes a link to a directory of the host."""
    image = build(
        engine,
        f"FROM busybox\nRUN --mount=type=tmpfs,target=/m/x mv /m /m2 && ln -s {witness} /m\n"
        f"RUN --mount=type=cache,target=/m2/c mkdir /kept\n",
    )
    assert is_untouched(witness)
    assert pc.run(image, ["ls", "-d", "/kept"], engine=engine).text == "/kept\n"
    image.remove()


def test_a_cache_stays_in_its_place(engine: pc.Engine, busybox: pc.Image, witness: Path) -> None:
    """CVE-2024-23651, CVE-2024-9675: links in a cache, and ids that are paths."""
    escape = f"../../../../../..{witness}"
    image = build(
        engine,
        f"""
        FROM busybox
        RUN --mount=type=cache,id={escape},target=/c rm -rf /c/sub && ln -s {witness} /c/sub && ls /c > /seen
        RUN --mount=type=cache,id={escape},target=/c ! ls /c/sub/host 2>/dev/null; touch /c/sub/y || true
        """,
    )
    assert pc.run(image, ["cat", "/seen"], engine=engine).text == "sub\n"
    assert is_untouched(witness)
    image.remove()


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("RUN --security=insecure true", BuildError),  # CVE-2024-23653
        ("RUN --mount=type=bind,target=/m,bind-propagation=shared true", DockerfileError),  # CVE-2024-9407
        ("RUN --mount=type=bind,target=/ true", PycontainerError),
        ("USER 4294967296\nRUN true", BuildError),  # CVE-2024-40635
        ("COPY --chown=4294967295 f /", BuildError),
    ],
)
def test_what_is_not_allowed_is_refused(
    engine: pc.Engine, busybox: pc.Image, step: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        build(engine, f"FROM busybox\n{step}\n", {"f": "f"})


def test_files_of_the_image_are_read_as_files(engine: pc.Engine, busybox: pc.Image, witness: Path) -> None:
    """CVE-2024-9676, GHSA-q6r4-3wmg-fwcq: a FIFO or link at /etc/passwd, links where a WORKDIR is made."""
    base = build(
        engine,
        f"FROM busybox\nRUN rm /etc/passwd && mkfifo /etc/passwd && ln -s {witness} /w && ln -s /w/d /v\n",
        tags=["evil"],
    )
    with pytest.raises(BuildError, match="passwd"):
        build(engine, "FROM evil\nCOPY --chown=web f /\n", {"f": "f"})
    stream = io.BytesIO()
    image = build(
        engine,
        "FROM evil\nWORKDIR /w/made\nWORKDIR /v/deeper\nCOPY f ../f\n",
        {"f": "f"},
        outputs={"type": "tar", "dest": stream},
    )
    assert is_untouched(witness)
    stream.seek(0)
    inside = str(witness).lstrip("/")
    with tarfile.open(fileobj=stream) as archive:
        assert {f"{inside}/made", f"{inside}/d/deeper", f"{inside}/d/f"} <= set(archive.getnames())
    image.remove(force=True)
    base.remove(force=True)


def _tar(*entries: tuple[str, dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, fields in entries:
            entry = tarfile.TarInfo(name)
            content = fields.pop("content", b"")
            entry.size = len(content)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_archives_stay_where_they_are_unpacked(engine: pc.Engine, busybox: pc.Image, witness: Path) -> None:
    """CVE-2026-33748, CVE-2020-10696: as a context, and by ADD."""
    link = {"type": tarfile.SYMTYPE, "linkname": str(witness)}
    through = _tar(
        ("out", dict(link)),
        ("out/evil", {"content": b"evil"}),
        ("Dockerfile", {"content": b"FROM busybox\nCOPY . /c/\n"}),
    )
    upwards = _tar(("../evil", {"content": b"evil"}), ("Dockerfile", {"content": b"FROM scratch\n"}))
    with pytest.raises((InvalidImage, PycontainerError)):
        pc.Image.build(upwards, engine=engine)
    try:
        pc.Image.build(through, engine=engine).remove()
    except PycontainerError:
        pass  # refused is as good as confined
    assert is_untouched(witness)
    image = build(
        engine, f"FROM busybox\nRUN mkdir -p {witness}\nADD through.tar /a/\n", {"through.tar": through}
    )
    assert is_untouched(witness)
    assert pc.run(image, ["cat", f"{witness}/evil"], engine=engine).text == "evil"
    image.remove()


def test_secrets_are_nowhere_but_in_the_step(engine: pc.Engine, busybox: pc.Image) -> None:
    """Neither in the image nor in any file of the store, while the step runs or after it."""
    secret = "s3cr3t-of-this-test"
    found: list[str] = []

    def look(event: pc.BuildEvent) -> None:
        if event.output == b"now\n":
            with closing(sqlite3.connect(engine.root / "state.db")) as connection:
                found.extend(str(row) for row in connection.execute("SELECT options FROM containers"))
            found.extend(_texts_with(engine.root, secret))

    text = (
        "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=TOKEN "
        'test "$TOKEN" = "$(cat /run/secrets/s)"; echo now; sleep 0.1\n'
    )
    image = build(
        engine, text, secrets={"s": secret}, progress=look, build_args={"HTTP_PROXY": f"http://{secret}"}
    )
    assert len(found) == 1
    assert secret not in "".join(found)
    assert _texts_with(engine.root, secret) == []
    image.remove()


def _texts_with(root: Path, text: str) -> list[str]:
    return [
        str(path)
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes()
    ]
