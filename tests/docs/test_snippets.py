"""Every snippet of the documentation runs, page by page, as a reader would run it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import testing
from tests.docs.conftest import World
from tests.support import images
from tests.support.netem import has_netem
from tests.support.pythons import python_options

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md")
}

pytestmark = pytest.mark.needs("root", "overlay")

Names = dict[str, Any]
Expected = str | type[Exception] | None
Setup = Callable[[World, Names], Iterator[Expected]]


def snippets(page: Path) -> list[tuple[int, str]]:
    """Line and text of each Python block."""
    found: list[tuple[int, str]] = []
    begun = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        if begun is None and line.strip().startswith("```python"):
            begun = number + 1
        elif begun is not None and line.strip() == "```":
            found.append((begun, textwrap.dedent("\n".join(lines[begun:number]))))
            begun = None
    return found


def box(*command: str, image: str = "alpine:3.20", **options: Any) -> pc.Container:
    """A container that runs."""
    made = pc.Container.create(image, list(command) or ["sleep", "1000"], **options)
    made.start()
    return made


# What each page takes for granted: its set-up goes on to its next yield before each of the page's snippets.
# A text that is yielded says why the snippet is only compiled, an error's type what it is to raise.


def getting_started(world: World, names: Names) -> Iterator[Expected]:
    yield pc.errors.ContainerFailed


def build(world: World, names: Names) -> Iterator[Expected]:
    (world.directory / "Dockerfile").write_text(
        "FROM alpine:3.20 AS build\nRUN echo hi >/hi\n"
        "FROM scratch AS dist\nCOPY --from=build /hi /\nFROM build\n"
    )
    (world.directory / "home").mkdir()
    (world.directory / "home/.netrc").write_text("machine example")
    world.patch.setenv("HOME", str(world.directory / "home"))
    world.patch.setenv("API_KEY", "k")
    agent = socket.socket(socket.AF_UNIX)
    agent.bind("agent")
    world.patch.setenv("SSH_AUTH_SOCK", str(world.directory / "agent"))
    with agent:
        for _ in range(4):
            yield None
        names["stream"] = io.BytesIO()
        dockerfile = (world.directory / "Dockerfile").read_text()
        (world.directory / "Dockerfile").write_text("FROM alpine:3.20\nRUN exit 3\n")
        yield None
        yield pc.errors.BuildError
        (world.directory / "Dockerfile").write_text(dockerfile)
        yield None


def compose(world: World, names: Names) -> Iterator[Expected]:
    services = (
        "services:\n"
        "  web: {image: my/web, ports: ['80'], stop_signal: SIGKILL, depends_on: [db]}\n"
        "  db: {image: 'postgres:16', stop_signal: SIGKILL}\n"
        "  worker: {image: 'alpine:3.20', command: sleep 1000, stop_signal: SIGKILL}\n"
    )
    (world.directory / "compose.yaml").write_text(services)
    (world.directory / "compose.prod.yaml").write_text("services: {web: {environment: {TAG: $TAG}}}")
    yield None
    yield None
    yield None
    yield "goes on for ever"


def embedded_registry(world: World, names: Names) -> Iterator[Expected]:
    names["image"] = pc.Image.get("alpine:3.20")
    yield None


def exec_(world: World, names: Names) -> Iterator[Expected]:
    names |= {"c": box(name="box"), "archive": images.tar_with({"f": b"x"})}
    yield None
    yield None
    yield "joins the terminal of whoever runs it"
    yield None


def files(world: World, names: Names) -> Iterator[Expected]:
    c = box(
        "sh", "-c", "echo hi >/var/log/a.log; echo hi >/data.bin; echo hi >/var/lib/data/f; exec sleep 1000"
    )
    c.wait_until(pc.wait.file("/var/lib/data/f"))
    names |= {"c": c, "tar_bytes_or_stream": images.tar_with({"f": b"x"})}
    for name in ("build/app", "site/index.html"):
        (world.directory / name).parent.mkdir()
        (world.directory / name).write_text("hi")
    yield None


def image_pages(world: World, names: Names) -> Iterator[Expected]:
    for name in ("rootfs/bin/tool", "build/site/index.html", "app.py", "hello-arm64"):
        (world.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (world.directory / name).write_text("hi")
    (world.directory / "rootfs.tar.gz").write_bytes(images.tar_with({"f": b"x"}))
    yield None
    names["other"] = pc.Image.get("alpine:3.20")
    yield None
    pc.Image.pull("debian:bookworm-slim")
    yield None
    names["image"] = pc.Image.get("app:1")
    yield None


def lifecycle(world: World, names: Names) -> Iterator[Expected]:
    yield None
    yield "waits for what somebody else does to the container"
    names["c"] = box()
    yield None
    box(name="db").stop(timeout=0)
    pc.Container.create("alpine:3.20", ["sleep", "1000"], name="app", network="container:db")
    yield None
    world.clear()
    yield None


def logging(world: World, names: Names) -> Iterator[Expected]:
    names["box"] = box("echo", "hi")
    yield None


def names_page(world: World, names: Names) -> Iterator[Expected]:
    yield None
    yield None
    yield None
    for name in ("db", "web", "worker"):
        names[name] = box(name=name, network="app")
    yield None
    yield None if has_netem() else pc.errors.Unsupported
    yield None


def networks(world: World, names: Names) -> Iterator[Expected]:
    yield None
    yield None
    pc.Network.create("front")
    pc.Network.create("back", subnet="10.233.2.0/24")
    box(name="web", network="front")
    yield None


def observing(world: World, names: Names) -> Iterator[Expected]:
    names["c"] = box("sleep", "3", health_cmd="exit 1", health_interval="1s", health_retries=1)
    yield None
    names["c"] = box("sleep", "2")
    yield None
    names["c"] = box()
    yield None


def options(world: World, names: Names) -> Iterator[Expected]:
    (world.directory / "service.env").write_text("A=b\n")
    yield None
    yield "needs the devices"
    yield None
    yield "needs systemd"


def running(world: World, names: Names) -> Iterator[Expected]:
    yield None
    names["c"] = box("echo", "hi")
    yield None


def sharing(world: World, names: Names) -> Iterator[Expected]:
    (world.directory / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    image = pc.Image.get("app:1")
    (world.directory / "weights.bin").write_bytes(b"w")
    (world.directory / "policy.json").write_text(json.dumps({"default": [{"type": "reject"}]}))
    names |= {"image": image, "sbom": b"{}", "password": b"secret"}
    names |= {"amd64": image, "arm64": pc.Image.scratch("linux/arm64").add({"hello": "hi"})}
    yield None
    yield None
    yield None
    names["arm64"].push(f"{world.registry.address}/me/app:1-arm64")
    yield None
    image.push(f"{world.registry.address}/team/app:1")
    yield None
    image.push(f"{world.registry.address}/me/app:1")
    yield None


def supervision(world: World, names: Names) -> Iterator[Expected]:
    yield None


def terminals(world: World, names: Names) -> Iterator[Expected]:
    yield "joins the terminal of whoever runs it"
    yield "joins the terminal of whoever runs it"
    yield None


def helpers(world: World, names: Names) -> Iterator[Expected]:
    names["tmp_path"] = world.directory
    yield None
    source = f"pc.Image.pull('alpine', engine=pc.Engine({str(world.directory / 'killed')!r}))"
    names["script"] = f"import pycontainer as pc; {source}"
    yield None


def volumes(world: World, names: Names) -> Iterator[Expected]:
    (world.directory / "project").mkdir()
    yield None


def asynchronous(world: World, names: Names) -> Iterator[Expected]:
    yield None
    yield TimeoutError


def executor(world: World, names: Names) -> Iterator[Expected]:
    # The images are busybox; the interpreter is this one, mounted.
    for name in ("ContainerExecutor", "function"):
        world.patch.setattr(pc, name, partial(getattr(pc, name), **python_options()))
    yield None
    yield None
    names["parse"].close()
    yield "needs a cluster: examples/dask_cluster.py has one"
    yield "needs a cluster: examples/ray_cluster.py has one"


def notebooks(world: World, names: Names) -> Iterator[Expected]:
    (world.directory / "Dockerfile").write_text("FROM alpine AS build\nFROM build AS release\nRUN echo hi\n")
    yield None
    names["c"] = box("sleep", "2")
    yield pc.errors.Unsupported  # this is none


def pytest_page(world: World, names: Names) -> Iterator[Expected]:
    head = (
        "import os, shutil, types\nimport httpx\nimport pytest\nimport pycontainer as pc\n"
        "from pycontainer import testing\nsqlalchemy = types.SimpleNamespace(create_engine=str)\n"
        "connect = str\n"
    )
    texts = [text for _, text in snippets(ROOT / "docs/guides/pytest.md")]
    inside = [text for text in texts if "in_container" in text]
    outside = [text for text in texts if text not in inside]
    for name, parts in (("test_outside", outside), ("test_inside", inside)):
        (world.directory / f"{name}.py").write_text(head + "\n".join(parts))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"--pycontainer-root={world.engine.root}",
        ".",
    ]
    few = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pycontainer.integrations.pytest_plugin"}
    few["PYCONTAINER_ROOT"] = str(world.engine.root)
    done = subprocess.run(
        command, env={**os.environ, **few}, capture_output=True, text=True, timeout=100, check=False
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    while True:
        yield "all of them ran, by pytest"


def from_testcontainers(world: World, names: Names) -> Iterator[Expected]:
    names["testing"] = testing
    yield "needs SQLAlchemy"
    yield None
    yield None


def plain(world: World, names: Names) -> Iterator[Expected]:
    yield None


SETUPS: dict[str, Setup] = {
    "README.md": plain,
    "docs/getting-started.md": getting_started,
    "docs/guides/asyncio.md": asynchronous,
    "docs/guides/build.md": build,
    "docs/guides/compose.md": compose,
    "docs/guides/embedded-registry.md": embedded_registry,
    "docs/guides/exec.md": exec_,
    "docs/guides/executor.md": executor,
    "docs/guides/files.md": files,
    "docs/guides/images.md": image_pages,
    "docs/guides/lifecycle.md": lifecycle,
    "docs/guides/logging.md": logging,
    "docs/guides/names.md": names_page,
    "docs/guides/networks.md": networks,
    "docs/guides/notebooks.md": notebooks,
    "docs/guides/observing.md": observing,
    "docs/guides/options.md": options,
    "docs/guides/registries.md": plain,
    "docs/guides/running.md": running,
    "docs/guides/sharing.md": sharing,
    "docs/guides/supervision.md": supervision,
    "docs/guides/terminals.md": terminals,
    "docs/guides/testing.md": helpers,
    "docs/guides/volumes.md": volumes,
    "docs/guides/waiting.md": plain,
    "docs/faq.md": plain,
    "docs/guides/ci.md": plain,
    "docs/index.md": plain,
    "docs/guides/pytest.md": pytest_page,
    "docs/migrating/docker-py.md": plain,
    "docs/migrating/testcontainers.md": from_testcontainers,
    "docs/tutorial.md": plain,
}


def run(code: CodeType, names: Names) -> None:
    """Execute a snippet, in an event loop if it awaits."""
    found = eval(code, names)
    if inspect.iscoroutine(found):
        asyncio.run(found)


@pytest.mark.parametrize("page", [name for name, path in PAGES.items() if snippets(path)])
def test_the_snippets_of_a_page_run(page: str, world: World) -> None:
    names: Names = {"pc": pc, "Path": Path, "subprocess": subprocess, "os": os}
    setup = SETUPS[page](world, names)
    for line, text in snippets(PAGES[page]):
        expected = next(setup, None)
        # As notebooks have it: a snippet may await.
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * line + world.here(text), page, "exec", flags)
        if isinstance(expected, str):
            continue
        if expected is None:
            run(code, names)
        else:
            with pytest.raises(expected):
                run(code, names)
    setup.close()
