"""Commands and errors that the documentation quotes: each can be given, each is really said."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import pycontainer as pc
from pycontainer.cli.app import app
from tests.docs.conftest import World
from tests.support.needs import needs

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
LANGUAGES = {"python", "py", "console", "text", "yaml", "{eval-rst}", "{include}", "{toctree}"}
"""python runs (see test_snippets), py is of other libraries, console is read here; others are no programs."""
OF_OTHERS = re.compile(r"--runtime |--add-runtime ")
"""Lines that are for Docker itself."""


def commands() -> Iterator[tuple[str, str]]:
    """Each line of the consoles that calls our command, with its page."""
    for page in PAGES:
        for block in re.findall(r"^ *```console\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^ *\$ (?:\w+=\S+ )*((?:docker|pycontainer) .*)", block, re.MULTILINE):
                if not OF_OTHERS.search(line):
                    yield page.relative_to(ROOT).as_posix(), line


def read(words: list[str]) -> None:
    """Have click read a line, down to the command that it names, without calling it. Raises: UsageError."""
    command: click.Command | None = app
    context = None
    while command is not None:
        context = command.make_context(command.name or "", words, parent=context)
        if not isinstance(command, click.Group):
            return
        words = [*context._protected_args, *context.args]
        _, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize(("page", "line"), [*commands()])
def test_a_command_of_the_documentation_is_one(page: str, line: str) -> None:
    for part in re.split(r" && | > |\)", line):
        words = shlex.split(re.sub(r"\s#.*", "", part))
        if words[:1] in (["docker"], ["pycontainer"]):
            read(words[1:])


def test_what_is_no_command_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        read(["compose", "up", "--nosuch"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_is_of_a_language_that_is_checked(page: Path) -> None:
    found = re.findall(r"^ *```+([^\s`]+)", page.read_text(), re.MULTILINE)
    assert set(found) <= LANGUAGES


# -- what the page of questions quotes as an error


def _launch(*command: str) -> Callable[[World], object]:
    return lambda world: pc.run("alpine:3.20", list(command))


def _twice_the_same_port(world: World) -> None:
    with pc.Container("alpine:3.20", ["sleep", "60"], ports={80: None}) as first:
        taken = first.ports[80].host_port
        pc.run("alpine:3.20", ["true"], ports={80: taken})


def _unready(world: World) -> None:
    with pc.Container("alpine:3.20", ["true"], wait=pc.wait.port(80)):
        pass


def _without_rights(world: World) -> str:
    pc.Image.get("alpine:3.20").save(world.directory / "alpine.tar")
    code = "import pycontainer as pc; image, = pc.Image.load('alpine.tar'); pc.run(image, ['true'])"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code],
        cwd=world.directory,
        env={**os.environ, "PYCONTAINER_ROOT": str(world.directory / "powerless"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stderr.splitlines()[-1].removeprefix("pycontainer.errors.")


RAISED: dict[str, Callable[[World], object]] = {
    "KernelError: ... Operation not permitted; it takes ...": _without_rights,
    'LaunchError: exec: "foo": executable file not found in $PATH': _launch("foo"),
    "LaunchError: exec: ... permission denied": _launch("/etc/passwd"),
    "NotFound: no such image: ...": lambda world: pc.Image.get("nosuch"),
    "InUse: port 8080/tcp ... is in use by ...": _twice_the_same_port,
    "NotReady": _unready,
}
TOLD_ELSEWHERE = {
    "RateLimited": "tests/unit/registry/test_errors_and_retries.py",
    "AuthDenied": "tests/unit/registry/test_errors_and_retries.py",
    "ReadinessTimeout": "tests/integration/test_waits.py",
    "Unsupported: ...": "tests/unit/compose/test_yamlfile.py",
}


def quoted() -> list[str]:
    """The errors that stand in the questions."""
    questions = re.findall(r"^\*\*(.*?)\*\*", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    return [
        each for line in questions for each in re.findall(r"`(\w+(?:: [^`]+)?)`", line) if each[0].isupper()
    ]


def test_each_error_of_the_questions_is_shown_somewhere() -> None:
    assert {*quoted()} == {*RAISED, *TOLD_ELSEWHERE}
    for error, place in TOLD_ELSEWHERE.items():
        assert issubclass(getattr(pc.errors, error.partition(":")[0]), pc.errors.PycontainerError)
        assert error.partition(":")[0] in (ROOT / place).read_text()


@needs("root", "overlay")
@pytest.mark.parametrize("error", RAISED)
def test_an_error_of_the_questions_is_said_so(error: str, world: World) -> None:
    pattern = re.escape(error).replace(re.escape("..."), ".*").replace("8080", r"\d+")
    try:
        said = RAISED[error](world)
    except pc.errors.PycontainerError as raised:
        said = f"{type(raised).__name__}: {raised}"
    assert re.match(pattern, str(said))
