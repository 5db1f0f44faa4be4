"""A Dockerfile as data: frozen instructions, stages, and where in the text each was written.

Strings are as written, variables unexpanded; a scope expands an instruction into another of the same
class. Names follow the Dockerfile reference.
Source: docs.docker.com/reference/dockerfile; moby/buildkit, frontend/dockerfile/instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from attrs import Factory, frozen

from pycontainer.oci import Healthcheck

__all__ = [
    "Add",
    "Arg",
    "BuildWarning",
    "Cmd",
    "Command",
    "Copy",
    "Declaration",
    "Device",
    "Directive",
    "Dockerfile",
    "Entrypoint",
    "Env",
    "Expose",
    "From",
    "HealthCheck",
    "Heredoc",
    "InlineFile",
    "Instruction",
    "Label",
    "Lines",
    "Maintainer",
    "Mount",
    "OnBuild",
    "Pair",
    "Run",
    "Shell",
    "Stage",
    "StopSignal",
    "User",
    "Volume",
    "Workdir",
]

SCRIPT_DIRECTORY = "/dev/pipes"  # where BuildKit shows a here-document that is a script of its own


@frozen(kw_only=True)
class Lines:
    """A range of lines of a file, counted from 1, both ends included."""

    first: int
    last: int


NOWHERE = Lines(first=0, last=0)


@frozen(kw_only=True)
class Directive:
    """A parser directive at the top of the file. Attributes: name in lower case, value as written."""

    name: str
    value: str
    lines: Lines


@frozen(kw_only=True)
class Heredoc:
    """A here-document.

    Attributes: name (the delimiter without quotes), content (as written, with its last newline),
    is_expanded (the delimiter was not quoted), strips_tabs (`<<-`), descriptor (3 in `3<<EOF`).
    """

    name: str
    content: str = ""
    is_expanded: bool = True
    strips_tabs: bool = False
    descriptor: int = 0

    @property
    def text(self) -> str:
        """The content as the reader of the document gets it: without leading tabs after `<<-`."""
        if not self.strips_tabs:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


@frozen(kw_only=True)
class InlineFile:
    """A file whose content stands in the Dockerfile. Attributes: path (its name), is_expanded."""

    path: str
    content: str
    is_expanded: bool = False


@frozen(kw_only=True)
class Command:
    """What RUN, CMD and ENTRYPOINT execute.

    Attributes: words (the one text for the shell, or the argument list of the JSON form), is_shell
    (the shell form), heredocs (of RUN's shell form), is_heredoc (the document is the whole command).
    """

    words: tuple[str, ...]
    is_shell: bool
    heredocs: tuple[Heredoc, ...] = ()
    is_heredoc: bool = False

    @property
    def script(self) -> InlineFile | None:
        """A program to show, executable, at its path: the only here-document, where it starts with `#!`."""
        if not self.is_heredoc or not self.heredocs[0].text.startswith("#!"):
            return None
        return InlineFile(path=f"{SCRIPT_DIRECTORY}/{self.heredocs[0].name}", content=self.heredocs[0].text)

    def argv(self, shell: Sequence[str]) -> tuple[str, ...]:
        """The arguments to execute. Args: shell, what SHELL says, `["/bin/sh", "-c"]` by default.

        A lone here-document is the shell's script; beside a command, the shell gets the documents as
        it would in a terminal.
        """
        if not self.is_shell:
            return self.words
        text = self.words[0] if self.words else ""
        if self.is_heredoc:
            text = self.heredocs[0].text if self.script is None else self.script.path
        else:
            text += "".join(f"\n{document.content}{document.name}" for document in self.heredocs)
        return (*shell, text)


@frozen(kw_only=True)
class Pair:
    """NAME=value of ENV and LABEL. Attributes: is_legacy (written with a blank instead of `=`)."""

    name: str
    value: str
    is_legacy: bool = False


@frozen(kw_only=True)
class Declaration:
    """One name of ARG. Attributes: value (its default, None without one), comment (its description)."""

    name: str
    value: str | None = None
    comment: str = ""


@frozen(kw_only=True)
class Mount:
    """One `RUN --mount`, variables expanded.

    Attributes: kind (bind, cache, tmpfs, secret, ssh), target ("" for the kind's default), source (a
    path in `from_stage`, for bind and cache), from_stage (stage, image or context; "" the context for
    bind, an empty directory for cache), id (of a cache, secret or agent; "" where none is given),
    is_read_only, is_required, sharing (of a cache: shared, private or locked; "" means shared),
    size_bytes (of a tmpfs, 0 unlimited), mode, uid, gid (None: the kind's default), env (the variable
    that gets a secret, None for a file).
    """

    kind: str = "bind"
    target: str = ""
    source: str = ""
    from_stage: str = ""
    id: str = ""
    is_read_only: bool = True
    is_required: bool = False
    sharing: str = ""
    size_bytes: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


@frozen(kw_only=True)
class Device:
    """One `RUN --device`: a CDI device name, and whether its absence fails the step."""

    name: str
    is_required: bool = False


@frozen(kw_only=True)
class Instruction:
    """One instruction.

    Attributes: spelled (the keyword as written), source (the whole instruction on one line,
    continuations joined and comments left out, without the content of here-documents), lines,
    comments (the ones directly above, without `#`).
    """

    keyword: ClassVar[str] = ""

    spelled: str = ""
    source: str = ""
    lines: Lines = NOWHERE
    comments: tuple[str, ...] = ()


@frozen(kw_only=True)
class From(Instruction):
    """Attributes: base (image, stage, context or `scratch`), name (the stage's, lower case, "" without one),
    name_spelled (as written), as_spelled (how AS was written), platform.
    """

    keyword = "FROM"

    base: str
    name: str = ""
    name_spelled: str = ""
    as_spelled: str = ""
    platform: str = ""
    comment: str = ""


@frozen(kw_only=True)
class Arg(Instruction):
    """Attributes: args, the names it declares."""

    keyword = "ARG"

    args: tuple[Declaration, ...]


@frozen(kw_only=True)
class Env(Instruction):
    """Attributes: pairs, variables of the image and of what follows."""

    keyword = "ENV"

    pairs: tuple[Pair, ...]


@frozen(kw_only=True)
class Label(Instruction):
    """Attributes: pairs."""

    keyword = "LABEL"

    pairs: tuple[Pair, ...]


@frozen(kw_only=True)
class Maintainer(Instruction):
    """Attributes: name, the image's author."""

    keyword = "MAINTAINER"

    name: str


@frozen(kw_only=True)
class Run(Instruction):
    """Attributes: mount_flags (each `--mount` as written), mounts (the same, understood; complete only
    after expansion), network (default, none, host), security (sandbox, insecure), devices.
    """

    keyword = "RUN"

    command: Command
    mount_flags: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[Device, ...] = ()


@frozen(kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD have in common.

    Attributes: sources (paths), files (here-documents among the sources), destination, chown (user[:group]),
    chmod (octal or symbolic), link, excludes (patterns).
    """

    sources: tuple[str, ...]
    files: tuple[InlineFile, ...] = ()
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Copy(Transfer):
    """Attributes: from_stage (stage name or number, image or context; "" the build context), parents."""

    keyword = "COPY"

    from_stage: str = ""
    parents: bool = False


@frozen(kw_only=True)
class Add(Transfer):
    """Its sources may also be URLs and git repositories.

    Attributes: checksum (`sha256:…` of a URL, or the commit of a repository), keep_git_dir and unpack
    (None where not given: the source decides).
    """

    keyword = "ADD"

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@frozen(kw_only=True)
class Cmd(Instruction):
    """Attributes: command, the default arguments of a container."""

    keyword = "CMD"

    command: Command


@frozen(kw_only=True)
class Entrypoint(Instruction):
    """Attributes: command, what a container starts."""

    keyword = "ENTRYPOINT"

    command: Command


@frozen(kw_only=True)
class HealthCheck(Instruction):
    """Attributes: healthcheck, as the image config has it."""

    keyword = "HEALTHCHECK"

    healthcheck: Healthcheck


@frozen(kw_only=True)
class Expose(Instruction):
    """Attributes: ports as written: `80`, `53/udp`, `8000-8010/tcp`, sorted."""

    keyword = "EXPOSE"

    ports: tuple[str, ...]


@frozen(kw_only=True)
class Volume(Instruction):
    """Attributes: paths in the image."""

    keyword = "VOLUME"

    paths: tuple[str, ...]


@frozen(kw_only=True)
class User(Instruction):
    """Attributes: user, a name or number, with `:GROUP` or without."""

    keyword = "USER"

    user: str


@frozen(kw_only=True)
class Workdir(Instruction):
    """Attributes: path, absolute or below the directory so far."""

    keyword = "WORKDIR"

    path: str


@frozen(kw_only=True)
class StopSignal(Instruction):
    """Attributes: signal, a name or number."""

    keyword = "STOPSIGNAL"

    signal: str


@frozen(kw_only=True)
class Shell(Instruction):
    """Attributes: words, the program and arguments in front of a shell form."""

    keyword = "SHELL"

    words: tuple[str, ...]


@frozen(kw_only=True)
class OnBuild(Instruction):
    """Attributes: trigger (the instruction as text, here-documents included, as an image stores it)."""

    keyword = "ONBUILD"

    trigger: str


@frozen(kw_only=True)
class Stage:
    """What follows one FROM. Attributes: index from 0, start (the FROM), instructions."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The name AS gave, in lower case; "" without one."""
        return self.start.name

    @property
    def title(self) -> str:
        """What to call it in messages: its name, or `stage-NUMBER`."""
        return self.start.name or f"stage-{self.index}"


@frozen(kw_only=True)
class BuildWarning:
    """What a build check finds.

    Attributes: rule (BuildKit's name: `StageNameCasing`), message (about this place), description (of the
    rule), url (where the rule is explained), lines, is_experimental (reported only on request).
    """

    rule: str
    message: str
    description: str
    url: str
    lines: Lines
    is_experimental: bool = False

    def __str__(self) -> str:
        return f"{self.rule}: {self.message} (line {self.lines.first})"


@frozen(kw_only=True)
class Dockerfile:
    """A whole file.

    Attributes: filename (for messages), text, escape (a backslash or a backtick), directives by name,
    global_args (the ARGs before the first FROM), stages in the order written, warnings (of the text; more
    come with the plan).
    """

    filename: str
    text: str
    escape: str = "\\"
    directives: Mapping[str, Directive] = Factory(dict)
    global_args: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()
    warnings: tuple[BuildWarning, ...] = ()

    def instructions(self) -> Iterator[Instruction]:
        """Every instruction in the order written, FROMs included."""
        yield from self.global_args
        for stage in self.stages:
            yield stage.start
            yield from stage.instructions
