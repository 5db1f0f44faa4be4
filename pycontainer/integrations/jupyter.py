"""Notebooks: `%load_ext pycontainer`, the cell magic `%%container`, live cards, pictures of builds and of
use.

Objects have rich displays without this, see `pycontainer.engine.displays`.
"""

from __future__ import annotations

import codecs
import os
import posixpath
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.engine import Container, Image, RunResult, Stats, Usage
from pycontainer.engine.displays import build_graph_html, container_html, looks_html
from pycontainer.errors import InvalidInput, NotFound, Unsupported
from pycontainer.options import OPTIONS, given_seconds

if TYPE_CHECKING:
    from datetime import timedelta

    from pycontainer.engine import Engine

__all__ = ["Picture", "build_graph", "live", "load_ipython_extension", "plot", "run_cell"]

_KEPT_LOOKS = 120
_MOST_OUTPUT = 16 << 20
# What takes a program on its standard input, and how it is told to.
_INTERPRETERS = {"bash": ["-s"], "node": ["-"], "perl": ["-"], "ruby": ["-"], "sh": ["-s"]}

_SHORT = {"-e": "env", "-m": "memory", "-p": "ports", "-u": "user", "-v": "volumes", "-w": "workdir"}


class Picture:
    """Markup that notebooks show; `str()` is the markup."""

    def __init__(self, markup: str, text: str) -> None:
        self._markup, self._text = markup, text

    def __str__(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._markup


def plot(looks: Iterable[Stats], title: str = "usage") -> Picture:
    """A picture of processor, memory and network over time.

    looks: as `container.stats_stream(0.1, timeout=5)` gives them, or a list.
    """
    taken = list(looks)
    return Picture(looks_html(taken, title), f"{title}: {len(taken)} looks")


def build_graph(
    dockerfile: str | os.PathLike[str] | bytes,
    *,
    target: str = "",
    build_args: Mapping[str, str] | None = None,
) -> Picture:
    """A picture of the stages that a target of a Dockerfile needs.

    dockerfile: the text, or a path, as for `Image.build`. Raises: DockerfileError, OSError.
    """
    from pycontainer.build import parse, plan

    is_text = isinstance(dockerfile, bytes) or (isinstance(dockerfile, str) and "\n" in dockerfile)
    text = os.fspath(dockerfile) if not isinstance(dockerfile, bytes) else dockerfile
    parsed = parse(text if is_text else Path(os.fsdecode(text)).read_bytes())
    planned = plan(parsed, target=target, build_args=build_args)
    return Picture(build_graph_html(planned), f"{len(planned.stages)} stages")


def live(
    container: Container,
    *,
    interval: float | str | timedelta = 1.0,
    timeout: float | str | timedelta = 30.0,
) -> None:
    """Show a container's card and keep it up to date until the container ends, or the time is up.

    Interrupting the cell ends it, too. interval, timeout: seconds. Raises: Unsupported outside of IPython.
    """
    from IPython.display import display

    looks: list[Stats] = []
    handle = display(_card(container, looks), display_id=True)
    if handle is None:
        raise Unsupported("a live card is kept up to date by a notebook", "iterate c.stats_stream() here")
    if container.state != "running":
        return
    try:
        with container.stats_stream(interval, timeout=given_seconds(timeout)) as stream:
            for look in stream:
                looks = [*looks, look][-_KEPT_LOOKS:]
                handle.update(_card(container, looks))
    except KeyboardInterrupt:
        pass
    finally:
        handle.update(_card(container, looks))


def _card(container: Container, looks: Sequence[Stats]) -> Picture:
    return Picture(container_html(container, looks), repr(container))


# -- the magic


def run_cell(line: str, cell: str, *, engine: Engine | None = None) -> tuple[RunResult, str | None]:
    """Run a cell's text in a container: what `%%container` does. Gives the result, and the name to keep it
    by.

    line: IMAGE [--flag value | option=value ...] [--out NAME] [COMMAND ...]. The text is the standard input
    of the command. Output is written as it comes. Raises: InvalidInput; ContainerFailed for an exit code that
    is not 0.
    """
    image, command, options, name = _parsed(line)
    found = _image(image, engine)
    if not command:
        command = _interpreter(found)
    return _run(found, command, options, cell.encode(), engine), name


def _image(reference: str, engine: Engine | None) -> Image:
    try:
        return Image.get(reference, engine=engine)
    except NotFound:
        return Image.pull(reference, engine=engine)


def _interpreter(image: Image) -> list[str]:
    """What reads a program: the image's own command if that is such a one, else a shell."""
    config = image.config.config
    first = next(iter([*(config.entrypoint or ()), *(config.cmd or ())]), "sh")
    base = posixpath.basename(first)
    if base.startswith("python"):
        return [first, "-"]
    return [first, *_INTERPRETERS[base]] if base in _INTERPRETERS else ["sh", "-s"]


def _parsed(line: str) -> tuple[str, list[str], dict[str, Any], str | None]:
    flags = {**_SHORT, **{info.flag: name for name, info in OPTIONS.items()}}
    words = shlex.split(line)
    options: dict[str, Any] = {}
    image, name = "", None
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if key == "--out":
            name = value if equals else _taken(words, key)
            if not name.isidentifier():
                raise InvalidInput(f"%%container: --out {name!r} is no name of a variable")
        elif key in flags:
            option = flags[key]
            if not equals and OPTIONS[option].kind.accepts != "bool":
                value = _taken(words, key)
            _add(options, option, value or True)
        elif equals and key in OPTIONS:
            _add(options, key, value)
        elif word.startswith("-") and not image:
            raise InvalidInput(f"%%container: {key} is no option of run")
        elif not image:
            image = word
        else:
            return image, [word, *words], options, name
    if not image:
        raise InvalidInput("%%container: name an image, as in %%container alpine:3.20")
    return image, [], options, name


def _taken(words: list[str], key: str) -> str:
    if not words:
        raise InvalidInput(f"%%container: {key} needs a value")
    return words.pop(0)


def _add(options: dict[str, Any], name: str, value: Any) -> None:
    """Options that are lists are given once for each item."""
    takes_list = "Sequence[" in OPTIONS[name].kind.accepts
    options[name] = [*options.get(name, []), value] if takes_list else value


def _run(
    image: Image, command: list[str], options: Mapping[str, Any], text: bytes, engine: Engine | None
) -> RunResult:
    given = {**options, "stdin_open": True, "entrypoint": command[:1]}
    container = Container.create(image, command[1:], engine=engine, owned=True, **given)
    begun = time.monotonic()
    kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    size = 0
    decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in kept}
    files = {"stdout": sys.stdout, "stderr": sys.stderr}
    try:
        with container.attach(start=True, stdin_once=True) as attached:
            attached.write(text)
            attached.close_stdin()
            for chunk in attached:
                files[chunk.stream].write(decoders[chunk.stream].decode(chunk.content))
                files[chunk.stream].flush()
                size += len(chunk.content)
                if size <= _MOST_OUTPUT:
                    kept[chunk.stream].append(chunk.content)
            code = attached.wait()
        result = RunResult(
            exit_code=code,
            stdout=b"".join(kept["stdout"]),
            stderr=b"".join(kept["stderr"]),
            oom_killed=container.oom_killed,
            usage=Usage(wall_s=time.monotonic() - begun),
            container_id=container.id,
        )
    finally:
        container.remove(force=True, volumes=True)
    return result


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext pycontainer` calls: the magics `%%container` and `%container_live`."""

    def container(line: str, cell: str) -> None:
        result, name = run_cell(line, cell)
        if name is not None:
            shell.user_ns[name] = result
        result.check()

    def container_live(line: str) -> None:
        """%container_live NAME [SECONDS]"""
        name, *rest = line.split()
        live(Container.get(name), timeout=rest[0] if rest else 30.0)

    shell.register_magic_function(container, magic_kind="cell")
    shell.register_magic_function(container_live, magic_kind="line")
