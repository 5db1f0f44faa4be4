"""Statements become instructions, with BuildKit's demands and messages.

The behaviours are those that moby/buildkit tests in frontend/dockerfile/instructions; the cases here are
our own.
"""

from __future__ import annotations

import pytest

from pycontainer.build import dockerfile as df
from pycontainer.build.dockerfile import parse
from pycontainer.errors import DockerfileError
from pycontainer.oci import Healthcheck


def made(line: str) -> df.Instruction:
    """The instruction of a line in a stage."""
    (found,) = parse(f"FROM scratch\n{line}").stages[0].instructions
    return found


def refused(line: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        made(line)
    assert caught.value.line == 2
    return caught.value


def test_a_stage_begins_with_from() -> None:
    (stage,) = parse("# Web is the site\n# web is it\nfrom --platform=$P a:1 As Web\nUSER x").stages
    start = stage.start
    assert (start.base, start.name, start.name_spelled, start.platform) == ("a:1", "web", "Web", "$P")
    assert (start.spelled, start.as_spelled, start.comment) == ("from", "As", "is it")
    assert (stage.name, stage.title, [type(item) for item in stage.instructions]) == ("web", "web", [df.User])


def test_global_args_stand_before_the_first_stage() -> None:
    found = parse("ARG a=1 b\nFROM x\nARG c\nFROM y")
    assert [[(item.name, item.value) for item in arg.args] for arg in found.global_args] == [
        [("a", "1"), ("b", None)]
    ]
    assert [(stage.index, stage.title, len(stage.instructions)) for stage in found.stages] == [
        (0, "stage-0", 1),
        (1, "stage-1", 0),
    ]


def test_an_argument_is_described_by_the_comment_that_begins_with_its_name() -> None:
    (arg,) = parse("# a says a\n# b says b\nARG b a=1 c\nFROM x").global_args
    assert [(item.name, item.comment) for item in arg.args] == [("b", "says b"), ("a", "says a"), ("c", "")]


def test_env_and_label_have_pairs() -> None:
    env = made('ENV A=1 B="2 3"')
    assert isinstance(env, df.Env)
    assert env.pairs == (df.Pair(name="A", value="1"), df.Pair(name="B", value='"2 3"'))
    label = made("LABEL A some words")
    assert isinstance(label, df.Label)
    assert label.pairs == (df.Pair(name="A", value="some words", is_legacy=True),)


def test_copy_takes_its_flags() -> None:
    copy = made("COPY --from=0 --chown=a:b --chmod=u=rw --link --parents --exclude=*.o --exclude=tmp a b /c/")
    assert isinstance(copy, df.Copy)
    assert (copy.sources, copy.destination, copy.from_stage) == (("a", "b"), "/c/", "0")
    assert (copy.chown, copy.chmod, copy.link, copy.parents) == ("a:b", "u=rw", True, True)
    assert copy.excludes == ("*.o", "tmp")


def test_add_takes_its_flags() -> None:
    add = made(
        "ADD --checksum=sha256:1 --keep-git-dir --unpack=false --chown=1 --chmod=644 --link=true "
        "--exclude=x https://a/b /c"
    )
    assert isinstance(add, df.Add)
    assert (add.checksum, add.keep_git_dir, add.unpack, add.link) == ("sha256:1", True, False, True)
    assert (add.chown, add.chmod, add.excludes) == ("1", "644", ("x",))
    plain = made("ADD a /b")
    assert isinstance(plain, df.Add)
    assert (plain.keep_git_dir, plain.unpack, plain.link) == (None, None, False)


def test_here_documents_are_files_to_copy() -> None:
    copy = made("COPY <<one.txt plain <<-'two' /d/\n$a\none.txt\n\t$b\ntwo")
    assert isinstance(copy, df.Copy)
    assert copy.sources == ("plain",)
    assert copy.files == (
        df.InlineFile(path="one.txt", content="$a\n", is_expanded=True),
        df.InlineFile(path="two", content="$b\n", is_expanded=False),
    )


def test_in_the_json_form_nothing_is_a_here_document() -> None:
    copy = made('COPY ["<<E", "/d"]')
    assert isinstance(copy, df.Copy)
    assert (copy.sources, copy.files) == (("<<E",), ())


def test_run_takes_its_flags() -> None:
    run = made(
        "RUN --mount=type=cache,target=/c --mount=from=base,target=/b --network=none --security=insecure "
        "--device=vendor.com/class=gpu0,required --device=name=a.b/c=d x"
    )
    assert isinstance(run, df.Run)
    assert run.mount_flags == ("type=cache,target=/c", "from=base,target=/b")
    assert [mount.from_stage for mount in run.mounts] == ["", "base"]
    assert (run.network, run.security) == ("none", "insecure")
    assert run.devices == (
        df.Device(name="vendor.com/class=gpu0", is_required=True),
        df.Device(name="a.b/c=d"),
    )
    plain = made("RUN x")
    assert isinstance(plain, df.Run)
    assert (plain.network, plain.security, plain.mounts) == ("default", "sandbox", ())


SHELL = ("/bin/sh", "-c")


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("RUN echo  hi", (*SHELL, "echo  hi")),
        ('RUN ["echo", "hi"]', ("echo", "hi")),
        ("RUN", (*SHELL, "")),
        ("RUN <<E\na\nb\nE", (*SHELL, "a\nb\n")),
        ("RUN <<-E\n\ta\nE", (*SHELL, "a\n")),
        ("RUN cat <<A <<'B'\na\nA\nb\nB", (*SHELL, "cat <<A <<'B'\na\nA\nb\nB")),
        ("RUN cat <<-A\n\ta\n\tA", (*SHELL, "cat <<-A\n\ta\nA")),
        ("RUN <<E\n#!/usr/bin/env python3\nprint()\nE", (*SHELL, "/dev/pipes/E")),
        ("CMD run it", (*SHELL, "run it")),
        ('ENTRYPOINT ["run", "it"]', ("run", "it")),
        ("ENTRYPOINT []", ()),
    ],
)
def test_a_command_has_its_arguments(line: str, argv: tuple[str, ...]) -> None:
    found = made(line)
    assert isinstance(found, df.Run | df.Cmd | df.Entrypoint)
    assert found.command.argv(SHELL) == argv


def test_a_here_document_with_an_interpreter_is_a_program() -> None:
    run = made("RUN <<-go.py\n\t#!/usr/bin/python3\n\tprint()\ngo.py")
    assert isinstance(run, df.Run)
    assert run.command.script == df.InlineFile(
        path="/dev/pipes/go.py", content="#!/usr/bin/python3\nprint()\n"
    )


TIMES = "--interval=1m30s --timeout=1.5s --start-period=3ms --start-interval=2s"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("HEALTHCHECK none", Healthcheck(test=("NONE",))),
        ("HEALTHCHECK CMD a b", Healthcheck(test=("CMD-SHELL", "a b"))),
        ('HEALTHCHECK cmd ["a","b"]', Healthcheck(test=("CMD", "a", "b"))),
        (
            f"HEALTHCHECK {TIMES} --retries=3 CMD a",
            Healthcheck(
                test=("CMD-SHELL", "a"),
                interval_ns=90 * 10**9,
                timeout_ns=15 * 10**8,
                start_period_ns=3 * 10**6,
                start_interval_ns=2 * 10**9,
                retries=3,
            ),
        ),
        ("HEALTHCHECK --interval=0 --retries=0 CMD a", Healthcheck(test=("CMD-SHELL", "a"))),
        ("HEALTHCHECK --interval=1ms CMD a", Healthcheck(test=("CMD-SHELL", "a"), interval_ns=10**6)),
    ],
)
def test_a_healthcheck_has_its_times_in_nanoseconds(line: str, expected: Healthcheck) -> None:
    found = made(line)
    assert isinstance(found, df.HealthCheck)
    assert found.healthcheck == expected


def test_the_simple_ones_hold_what_is_written() -> None:
    expose, volume, shell = made("EXPOSE 90 8000-8010/udp"), made("VOLUME /a /b"), made('SHELL ["a", "-b"]')
    assert isinstance(expose, df.Expose)
    assert isinstance(volume, df.Volume)
    assert isinstance(shell, df.Shell)
    assert (expose.ports, volume.paths, shell.words) == (("8000-8010/udp", "90"), ("/a", "/b"), ("a", "-b"))
    user, workdir = made("USER a:b"), made("WORKDIR /a b")
    signal, maintainer = made("STOPSIGNAL 9"), made("MAINTAINER me <me@x>")
    assert isinstance(user, df.User)
    assert isinstance(workdir, df.Workdir)
    assert isinstance(signal, df.StopSignal)
    assert isinstance(maintainer, df.Maintainer)
    assert (user.user, workdir.path, signal.signal) == ("a:b", "/a b", "9")
    assert maintainer.name == "me <me@x>"


def test_a_trigger_is_kept_as_text_with_its_here_documents() -> None:
    found = made("ONBUILD  COPY --link <<E /d\na\nE")
    assert isinstance(found, df.OnBuild)
    assert found.trigger == "COPY --link <<E /d\na\nE"


def test_an_instruction_knows_its_source_on_one_line() -> None:
    found = made("run a \\\n  # no text\n  b")
    assert (found.spelled, found.source, found.lines) == ("run", "run a   b", df.Lines(first=2, last=4))


REFUSED = {
    "FOO bar": "unknown instruction: FOO",
    "foo bar": "unknown instruction: foo",
    "FROM": "FROM requires either one or three arguments",
    "FROM a b": "FROM requires either one or three arguments",
    "FROM a is b": "FROM requires either one or three arguments",
    "FROM a AS 1b": 'invalid name for build stage: "1b"',
    "FROM a AS b/c": 'invalid name for build stage: "b/c"',
    "FROM --chown=x a": "unknown flag: --chown",
    "ARG": "ARG requires at least one argument",
    "ARG =a": "ARG names can not be blank",
    "ENV": "ENV requires at least one argument",
    "ENV =a": "ENV names can not be blank",
    "LABEL": "LABEL requires at least one argument",
    "LABEL --a b=c": "unknown flag: --a",
    "COPY a": "COPY requires at least two arguments",
    "ADD a": "ADD requires at least two arguments",
    "COPY": "COPY requires at least two arguments",
    "COPY a <<E\nE": "COPY cannot accept a heredoc as a destination",
    "COPY --form=x a b": "unknown flag: --form",
    "COPY --from=x --from=y a b": "duplicate flag specified: --from",
    "COPY --from a b": "missing a value on flag: --from",
    "COPY --link= a b": "missing a value on flag: --link",
    "COPY --link=maybe a b": "expecting boolean value for flag --link, not: maybe",
    "COPY --checksum=x a b": "unknown flag: --checksum",
    "RUN --mount=target=/a,from=$X x": "'from' doesn't support variable expansion",
    'RUN --mount=type=bind,\\"a x': "failed to parse csv mounts",
    "RUN --network=mine x": 'invalid network mode "mine"',
    "RUN --security=none x": 'security "none" is not valid',
    "RUN --device=gpu x": "invalid device name gpu",
    "RUN --device=a.b/c=d,name=e.f/g=h x": "device name already set to a.b/c=d",
    "RUN --chown=x y": "unknown flag: --chown",
    "CMD --x a": "unknown flag: --x",
    "HEALTHCHECK": "HEALTHCHECK requires at least one argument",
    "HEALTHCHECK NONE a": "HEALTHCHECK NONE takes no arguments",
    "HEALTHCHECK CMD": "Missing command after HEALTHCHECK CMD",
    "HEALTHCHECK curl x": 'Unknown type "CURL" in HEALTHCHECK (try CMD)',
    "HEALTHCHECK --interval=1 CMD a": 'invalid duration "1"',
    "HEALTHCHECK --interval=50ns CMD a": 'Interval "interval" cannot be less than 1ms',
    "HEALTHCHECK --timeout=-1s CMD a": 'Interval "timeout" cannot be less than 1ms',
    "HEALTHCHECK --retries=-1 CMD a": "--retries cannot be negative (-1)",
    "HEALTHCHECK --retries=x CMD a": "invalid --retries x",
    "EXPOSE": "EXPOSE requires at least one argument",
    "VOLUME": "VOLUME requires at least one argument",
    'VOLUME [" "]': "VOLUME specified can not be an empty string",
    "USER": "USER requires exactly one argument",
    "WORKDIR": "WORKDIR requires exactly one argument",
    "STOPSIGNAL": "STOPSIGNAL requires exactly one argument",
    "MAINTAINER": "MAINTAINER requires exactly one argument",
    "MAINTAINER --boo joe": "unknown flag: --boo",
    "SHELL []": "SHELL requires at least one argument",
    "SHELL bash -c": "SHELL requires the arguments to be in JSON form",
    "ONBUILD": "ONBUILD requires at least one argument",
    "ONBUILD ONBUILD RUN a": "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    "ONBUILD FROM a": "FROM isn't allowed as an ONBUILD trigger",
    "onbuild maintainer a": "MAINTAINER isn't allowed as an ONBUILD trigger",
    'RUN ["a\\u0000"]': "RUN cannot hold a NUL character",
    "RUN a\0b": "RUN cannot hold a NUL character",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_an_instruction_does_not_take_is_refused(line: str) -> None:
    assert refused(line).problem.startswith(REFUSED[line])


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("RUM x", "RUN"),
        ("copi a b", "copy"),
        ("ENTRYPONT x", "ENTRYPOINT"),
        ("BANANA x", ""),
        ("COPY --form=x a b", "--from"),
        ("COPY --chwon=x a b", "--chown"),
        ("RUN --mounts=x a", "--mount"),
        ("COPY --banana a b", ""),
    ],
)
def test_a_misspelt_word_is_answered_with_the_one_that_was_meant(line: str, suggestion: str) -> None:
    error = refused(line)
    assert error.suggestion == suggestion
    assert (f"(did you mean {suggestion}?)" in str(error)) == bool(suggestion)


def test_an_error_shows_the_place_with_its_neighbours() -> None:
    text = "FROM a\n\nENV B=c\nRUN --network=mine \\\n  x\nUSER d\nUSER e\nUSER f\n"
    with pytest.raises(DockerfileError) as caught:
        parse(text, "docker/Dockerfile")
    error = caught.value
    assert (error.file, error.line, error.last_line) == ("docker/Dockerfile", 4, 5)
    assert error.text == "RUN --network=mine \\\n  x"
    assert error.expected == "default, none or host"
    assert str(error) == (
        'docker/Dockerfile:4: invalid network mode "mine"; expected default, none or host\n'
        "   2 |\n"
        "   3 |     ENV B=c\n"
        "   4 | >>> RUN --network=mine \\\n"
        "   5 | >>>   x\n"
        "   6 |     USER d\n"
        "   7 |     USER e"
    )


def test_an_error_writes_no_control_characters() -> None:
    assert "\x1b" not in str(refused("RUM \x1b[2Jx"))


def test_instructions_before_the_first_stage_are_refused() -> None:
    with pytest.raises(DockerfileError, match="no build stage in current context"):
        parse("RUN x\nFROM a")


def test_a_file_of_arguments_alone_has_no_stage() -> None:
    with pytest.raises(DockerfileError, match="no stages to build"):
        parse("ARG a")


def test_bytes_that_are_not_utf8_may_stand_in_comments_only() -> None:
    assert parse(b"# caf\xe9\nFROM a\nRUN x # caf\xc3\xa9").stages
    with pytest.raises(DockerfileError, match="not UTF-8"):
        parse(b"FROM a\nRUN caf\xe9")
    with pytest.raises(DockerfileError, match="not UTF-8"):
        parse(b"FROM a\nRUN <<E\n\xe9\nE")
