"""What an instruction does to an image's configuration, and how the history tells of it.

The texts of the history are BuildKit's, so that tools that read them find what they expect.
Source: moby/buildkit, frontend/dockerfile/dockerfile2llb; OCI image-spec, config.md.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve

from pycontainer.build.dockerfile import model
from pycontainer.errors import InvalidInput
from pycontainer.oci import ContainerConfig, Healthcheck
from pycontainer.options import parse_signal

__all__ = ["COMMENT", "DEFAULT_SHELL", "apply", "copy_text", "run_text", "workdir"]

COMMENT = "buildkit.dockerfile.v0"
DEFAULT_SHELL = ("/bin/sh", "-c")
_PORTS = re.compile(r"(?:[^/]*:)?(\d{1,5})(?:-(\d{1,5}))?(?:/(\w*))?")


def apply(config: ContainerConfig, instruction: model.Instruction) -> tuple[ContainerConfig, str] | None:
    """The configuration after an expanded instruction and its line of history; None for one that makes a
    layer.

    Raises: InvalidInput.
    """
    change = _CHANGES.get(type(instruction))
    return None if change is None else change(config, instruction)


def workdir(config: ContainerConfig, path: str) -> str:
    """The directory that WORKDIR means."""
    joined = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    return "/" + joined.lstrip("/")


def run_text(argv: Sequence[str], args: Iterable[tuple[str, str]]) -> str:
    """The line of history of a RUN. args: the build arguments that it sees."""
    pairs = [f"{name}={value}" for name, value in args]
    counted = [f"|{len(pairs)}", *pairs] if pairs else []
    return f"RUN {' '.join([*counted, *argv])} # buildkit"


def copy_text(instruction: model.Transfer) -> str:
    """The line of history of a COPY or ADD."""
    words = [instruction.keyword]
    if isinstance(instruction, model.Copy) and instruction.parents:
        words.append("--parents")
    if instruction.chown:
        words.append(f"--chown={instruction.chown}")
    if instruction.chmod:
        words.append(f"--chmod={instruction.chmod}")
    words += instruction.sources
    words += [f"<<{file.path}" for file in instruction.files]
    return f"{' '.join(words)} {instruction.destination} # buildkit"


def _pairs_text(pairs: Iterable[model.Pair]) -> str:
    return " ".join(f"{pair.name}={pair.value}" for pair in pairs)


def _env(config: ContainerConfig, instruction: model.Env) -> tuple[ContainerConfig, str]:
    variables = dict(entry.partition("=")[::2] for entry in config.env)
    variables.update((pair.name, pair.value) for pair in instruction.pairs)
    made = tuple(f"{name}={value}" for name, value in variables.items())
    return evolve(config, env=made), f"ENV {_pairs_text(instruction.pairs)}"


def _label(config: ContainerConfig, instruction: model.Label) -> tuple[ContainerConfig, str]:
    labels = {**config.labels, **{pair.name: pair.value for pair in instruction.pairs}}
    return evolve(config, labels=labels), f"LABEL {_pairs_text(instruction.pairs)}"


def _user(config: ContainerConfig, instruction: model.User) -> tuple[ContainerConfig, str]:
    return evolve(config, user=instruction.user), f"USER {instruction.user}"


def _expose(config: ContainerConfig, instruction: model.Expose) -> tuple[ContainerConfig, str]:
    ports: list[str] = []
    for text in instruction.ports:
        found = _PORTS.fullmatch(text)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        protocol = (found[3] or "tcp").lower() if found else ""
        if not 0 <= first <= last < 65536 or protocol not in ("tcp", "udp", "sctp"):
            raise InvalidInput(f"EXPOSE {text}: give a port or a range of them, with /tcp, /udp or /sctp")
        ports += [f"{port}/{protocol}" for port in range(first, last + 1)]
    exposed = tuple(sorted(dict.fromkeys((*config.exposed_ports, *ports))))
    return evolve(config, exposed_ports=exposed), f"EXPOSE {_list_text(ports)}"


def _volume(config: ContainerConfig, instruction: model.Volume) -> tuple[ContainerConfig, str]:
    if not all(path.strip() for path in instruction.paths):
        raise InvalidInput("VOLUME: a path is empty")
    volumes = tuple(sorted(dict.fromkeys((*config.volumes, *instruction.paths))))
    return evolve(config, volumes=volumes), f"VOLUME {_list_text(instruction.paths)}"


def _cmd(config: ContainerConfig, instruction: model.Cmd) -> tuple[ContainerConfig, str]:
    words = instruction.command.argv(config.shell or DEFAULT_SHELL)
    return evolve(config, cmd=words), f"CMD {_quoted_text(words)}"


def _entrypoint(config: ContainerConfig, instruction: model.Entrypoint) -> tuple[ContainerConfig, str]:
    words = instruction.command.argv(config.shell or DEFAULT_SHELL)
    return evolve(config, entrypoint=words), f"ENTRYPOINT {_quoted_text(words)}"


def _shell(config: ContainerConfig, instruction: model.Shell) -> tuple[ContainerConfig, str]:
    return evolve(config, shell=instruction.words), f"SHELL {_list_text(instruction.words)}"


def _stop_signal(config: ContainerConfig, instruction: model.StopSignal) -> tuple[ContainerConfig, str]:
    try:
        parse_signal(instruction.signal)
    except ValueError as error:
        raise InvalidInput(f"STOPSIGNAL {instruction.signal!r}: {error}") from None
    return evolve(config, stop_signal=instruction.signal), f"STOPSIGNAL {instruction.signal}"


def _healthcheck(config: ContainerConfig, instruction: model.HealthCheck) -> tuple[ContainerConfig, str]:
    check = instruction.healthcheck
    return evolve(config, healthcheck=check), f"HEALTHCHECK {_health_text(check)}"


def _on_build(config: ContainerConfig, instruction: model.OnBuild) -> tuple[ContainerConfig, str]:
    return evolve(config, on_build=(*config.on_build, instruction.trigger)), ""


def _maintainer(config: ContainerConfig, instruction: model.Maintainer) -> tuple[ContainerConfig, str]:
    return config, f"MAINTAINER {instruction.name}"


def _arg(config: ContainerConfig, instruction: model.Arg) -> tuple[ContainerConfig, str]:
    words = [name.name if name.value is None else f"{name.name}={name.value}" for name in instruction.args]
    return config, f"ARG {' '.join(words)}"


def _list_text(words: Iterable[str]) -> str:
    return f"[{' '.join(words)}]"


def _quoted_text(words: Iterable[str]) -> str:
    return f"[{' '.join(map(_quoted, words))}]"


def _quoted(text: str) -> str:
    """As Go's %q writes a string. Source: strconv, Quote."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif character.isprintable():
            out.append(character)
        elif character in _ESCAPES:
            out.append(_ESCAPES[character])
        elif ord(character) < 0x80:
            out.append(f"\\x{ord(character):02x}")
        else:
            out.append(f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
    return f'"{"".join(out)}"'


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _health_text(check: Healthcheck) -> str:
    times = (
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    )
    shown = " ".join(f"{name}:{_duration(value)}" for name, value in times)
    return f"{{Test:{_list_text(check.test)} {shown} Retries:{check.retries}}}"


def _duration(nanoseconds: int) -> str:
    """As Go writes a time.Duration."""
    if not nanoseconds:
        return "0s"
    seconds, rest = divmod(nanoseconds, 10**9)
    if not seconds:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if rest >= size:
                return f"{rest / size:.6f}".rstrip("0").rstrip(".") + unit
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    shown = f"{seconds}{fraction}s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown


_CHANGES: Mapping[type[model.Instruction], Callable[[ContainerConfig, Any], tuple[ContainerConfig, str]]] = {
    model.Arg: _arg,
    model.Cmd: _cmd,
    model.Entrypoint: _entrypoint,
    model.Env: _env,
    model.Expose: _expose,
    model.HealthCheck: _healthcheck,
    model.Label: _label,
    model.Maintainer: _maintainer,
    model.OnBuild: _on_build,
    model.Shell: _shell,
    model.StopSignal: _stop_signal,
    model.User: _user,
    model.Volume: _volume,
}
