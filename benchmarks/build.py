"""Build a 12-step Dockerfile of three stages, cold and from the cache, and copy 20,000 files into an image.

    python -m benchmarks.build [--rounds 5] [--files 20000]

Beside docker (its classic builder, since Debian has no buildx) and buildah where they are installed. Cold is
without the cache, with the base image there. `cp -a` on the host is the floor of the copy.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers
from tests.support import images

STEPS = """\
FROM {base} AS one
WORKDIR /one
COPY a b /one/
RUN echo 1 > /one/1
RUN echo 2 > /one/2
FROM {base} AS two
WORKDIR /two
COPY c /two/
RUN echo 3 > /two/3
RUN echo 4 > /two/4
FROM {base}
COPY --from=one /one /one
COPY --from=two /two /two
RUN cat /one/1 /two/3 > /all
RUN echo 5 > /five
CMD ["true"]
"""
COPY = "FROM {base}\nCOPY . /files/\n"


def _contexts(work: Path, files: int) -> dict[str, Path]:
    steps, many = work / "steps", work / "many"
    steps.mkdir()
    for name in "abc":
        (steps / name).write_text(name * 1000)
    for number in range(files):
        directory = many / f"d{number % 200:03}"
        if number < 200:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(b"%d" % number * 100)
    return {"steps": steps, "copy": many}


def _dockerfile(work: Path, name: str, text: str) -> Path:
    path = work / f"{name}.Dockerfile"
    path.write_text(text)
    return path


def _builders(stack: ExitStack, work: Path, layout: Path) -> dict[str, tuple[str, list[str], list[str]]]:
    """By name: what the base is called, the command, and the options for doing without the cache."""
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    archive = work / "image.tar"
    if peers.installed("dockerd", "docker", "skopeo"):
        docker, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
        harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
        harness.quiet(*docker, "load", "-i", archive)
        found["docker build"] = (
            "bench:1",
            ["env", "DOCKER_BUILDKIT=0", *docker, "build", "-q"],
            ["--no-cache"],
        )
    if peers.installed("buildah"):
        buildah = ["buildah", "--root", str(work / "buildah"), "--runroot", str(work / "buildah-run")]
        pulled = subprocess.run(
            [*buildah, "pull", "-q", f"oci:{layout}:latest"], capture_output=True, text=True, check=True
        )
        harness.quiet(*buildah, "tag", pulled.stdout.strip(), "localhost/bench:1")
        # Not every host lets it start containers, and it needs a network for them.
        options = ["build", "-q", "--layers", "--isolation", "chroot", "--pull-never"]
        found["buildah build (chroot)"] = ("localhost/bench:1", [*buildah, *options], ["--no-cache"])
    return found


def main() -> None:
    options = harness.arguments(__doc__, rounds=5, files=20_000)
    with ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        contexts = _contexts(work, options.files)
        layout = images.oci_layout(work / "layout", [images.tar_of(images.busybox_rootfs(work / "rootfs"))])
        engine = stack.enter_context(pc.Engine(work / "store", progress="off"))
        pc.Image.load(layout, engine=engine)[0].tag("bench:1")
        builders = _builders(stack, work, layout)
        for title, name, text, is_cold in (
            ("12 steps, cold", "steps", STEPS, True),
            ("12 steps, cached", "steps", STEPS, False),
            (f"COPY of {options.files} files", "copy", COPY, True),
        ):
            context = contexts[name]
            file = _dockerfile(work, f"ours-{name}", text.format(base="bench:1"))

            def ours(context: Path = context, file: Path = file, is_cold: bool = is_cold) -> None:
                pc.Image.build(context, dockerfile=file, no_cache=is_cold, network="none", engine=engine)

            rivals: dict[str, harness.Work] = {"pycontainer": ours}
            for rival, (base, command, uncached) in builders.items():
                theirs = _dockerfile(work, f"{rival.split()[0]}-{name}", text.format(base=base))
                words = [*command, "-f", str(theirs), *(uncached if is_cold else [])]
                rivals[rival] = lambda words=words, context=context: harness.quiet(*words, context)  # type: ignore[misc]
            if name == "copy":
                rivals["cp -a on the host"] = lambda: _copied(contexts["copy"], work / "copied")
            for rival_work in rivals.values():
                rival_work()
            harness.report(title, harness.interleave(rivals, options.rounds), as_json=options.json)


def _copied(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    harness.quiet("cp", "-a", source, target)


if __name__ == "__main__":
    main()
