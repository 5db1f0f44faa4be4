"""Which stages are built, on what, in which order; what variables make of their instructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pycontainer.build import dockerfile as df
from pycontainer.build.dockerfile import Base, Plan, Step, parse, plan, proxy_environment
from pycontainer.errors import DockerfileError
from pycontainer.oci import ContainerConfig, Platform

AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64")


def planned(text: str, **options: Any) -> Plan:
    return plan(parse(text), **{"build_platform": AMD64, **options})


def steps(text: str, configs: Mapping[int, ContainerConfig] | None = None, **options: Any) -> list[Step]:
    """The steps of the target."""
    made = planned(text, **options)
    return list(made.evaluate(configs or {})[made.target])


def last(text: str, configs: Mapping[int, ContainerConfig] | None = None, **options: Any) -> Any:
    """The last instruction of the target, expanded."""
    return steps(text, configs, **options)[-1].instruction


def refused(text: str, **options: Any) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        planned(text, **options).evaluate({})
    return caught.value


def indices(made: Plan) -> list[int]:
    return [stage.index for stage in made.stages]


# --- stages -----------------------------------------------------------------------------------------

THREE = """FROM alpine AS base
FROM base AS tools
FROM busybox AS unused
FROM scratch
COPY --from=tools /a /b
RUN --mount=from=golang:1.22,target=/go x
"""


def test_stages_the_target_does_not_need_are_left_out() -> None:
    assert indices(planned(THREE)) == [0, 1, 3]
    assert indices(planned(THREE, target="tools")) == [0, 1]
    assert indices(planned(THREE, target="BASE")) == [0]
    assert indices(planned(THREE, target="2")) == [2]
    assert indices(planned(THREE, all_stages=True)) == [0, 1, 2, 3]


def test_each_stage_knows_what_it_is_made_from() -> None:
    made = planned(THREE)
    assert made.stage(0).base == Base(kind="image", name="alpine")
    assert made.stage(1).base == Base(kind="stage", name="base", stage=0)
    assert made.stage(3).base == Base(kind="scratch", name="scratch")
    assert made.stage(3).sources == {
        "tools": Base(kind="stage", name="tools", stage=1),
        "golang:1.22": Base(kind="image", name="golang:1.22"),
    }
    assert made.stage(3).needs == {1}


def test_a_stage_can_be_named_by_its_number_and_in_any_case() -> None:
    made = planned("FROM a AS One\nFROM b\nCOPY --from=0 x y\nCOPY --from=ONE x y\n")
    assert {base.stage for base in made.stage(1).sources.values()} == {0}


def test_of_two_stages_with_one_name_the_nearest_above_is_the_base() -> None:
    made = planned("FROM a AS x\nFROM x AS x\nFROM x AS x\nFROM x")
    assert [stage.base.stage for stage in made.stages] == [None, 0, 1, 2]


def test_a_name_that_is_no_stage_above_is_an_image() -> None:
    assert planned("FROM later\nFROM a AS later").stage(0).base.kind == "image"


def test_named_contexts_replace_images_and_stages() -> None:
    text = (
        "FROM alpine AS base\nFROM docker.io/library/alpine:latest\nCOPY --from=base x y\nCOPY --from=src x y"
    )
    made = planned(text, contexts={"alpine", "src"})
    assert made.stage(1).base == Base(kind="context", name="alpine")
    assert made.stage(1).sources["src"] == Base(kind="context", name="src")
    replaced = planned(text, contexts={"base"})
    assert replaced.stage(0).base == Base(kind="context", name="base")
    assert replaced.stage(0).instructions == ()


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("FROM $x", 1, "base name ($x) should not be blank"),
        ("FROM Upper/Case", 1, 'failed to parse stage name "Upper/Case": invalid reference format'),
        ("FROM --platform=$x a", 1, "empty platform value from expression $x"),
        ("FROM --platform=a/b/c/d a", 1, "failed to parse platform a/b/c/d"),
        ("FROM ${x:?choose}", 1, "x: choose"),
        ("ARG a=${b?needed}\nFROM $a", 1, "b: needed"),
        ("FROM a\nCOPY --from=1 x y", 2, "invalid stage index 1"),
        ("FROM a\nCOPY --from=-1 x y", 2, "invalid stage index -1"),
        ("FROM a\nCOPY --from=$s x y", 2, "variable expansion is not supported for --from"),
        ("FROM a AS s\nCOPY --from=s x y", 2, "circular dependency detected on stage: s"),
        (
            "FROM a AS s\nCOPY --from=t x y\nFROM b AS t\nCOPY --from=s x y",
            4,
            "circular dependency detected on stage: s",
        ),
        (
            "FROM a AS s\nCOPY --from=t x y\nFROM b AS t\nFROM s",
            2,
            'cannot copy from stage "t", it needs to be defined before current stage "s"',
        ),
        (
            "FROM a AS s\nRUN --mount=from=t,target=/t x\nFROM b AS t\nFROM s",
            2,
            'cannot mount from stage "t", it needs to be defined before current stage "s"',
        ),
        ("FROM a\nCOPY $x${y:?no} z", 2, "y: no"),
        ("FROM a\nSTOPSIGNAL SIGNOPE", 2, "invalid signal: SIGNOPE"),
        ('FROM a\nVOLUME ["$x"]', 2, "VOLUME specified can not be an empty string"),
        ("FROM a\nCOPY http://a/b /c", 2, "source can't be a URL for COPY"),
        ("FROM a\nARG h=a\nCOPY git@$h:b.git /c", 3, "source can't be a git ref for COPY"),
        ("FROM a\nADD --checksum=sha256:0 http://a/b c /d", 2, "checksum can't be specified for multiple"),
        ("FROM a\nADD --checksum=sha256:0 b /c", 2, "checksum requires HTTP(S) or Git sources"),
        ("FROM a\nEXPOSE localhost:80:80", 2, "invalid IP address: localhost"),
        ("FROM a\nEXPOSE 1-3:1-2", 2, "invalid ranges specified for container and host Ports"),
        ("FROM a\nEXPOSE x", 2, "invalid containerPort: x"),
        ("FROM a\nEXPOSE 80/icmp", 2, "invalid proto: icmp"),
        ("FROM a\nEXPOSE 90-80", 2, "invalid containerPort: 90-80"),
        ("FROM a\nRUN --mount=type=$x,target=/a y", 2, 'unsupported mount type ""'),
    ],
)
def test_what_cannot_be_planned_is_refused_at_its_line(text: str, line: int, problem: str) -> None:
    error = refused(text)
    assert error.problem.startswith(problem)
    assert error.line == line


def test_a_target_that_does_not_exist_is_refused_with_the_nearest() -> None:
    error = refused("FROM a AS builder\nFROM b", target="bulider")
    assert (error.problem, error.suggestion) == ('target stage "bulider" could not be found', "builder")


def test_what_is_wrong_in_a_stage_that_is_not_needed_does_not_matter() -> None:
    assert indices(planned("FROM a\nEXPOSE $x${y:?no}\nFROM b")) == [1]


# --- ONBUILD ----------------------------------------------------------------------------------------


def test_triggers_of_a_base_image_come_first_and_may_need_more_stages() -> None:
    made = planned("FROM a AS assets\nFROM base\nRUN own")
    assert indices(made) == [1]
    made = made.with_triggers(1, ["COPY --from=assets /a /b", "RUN <<E\nhi\nE"])
    assert indices(made) == [0, 1]
    found = made.evaluate({})[1]
    assert [(step.instruction.keyword, step.is_trigger) for step in found] == [
        ("COPY", True),
        ("RUN", True),
        ("RUN", False),
    ]
    assert found[0].instruction.lines == df.Lines(first=2, last=2)


def test_triggers_of_a_stage_run_in_the_stage_directly_above_only() -> None:
    text = "FROM a AS one\nONBUILD ENV X=1\nFROM one AS two\nFROM two"
    made = planned(text)
    assert [stage.triggers for stage in made.stages] == [0, 1, 0]


@pytest.mark.parametrize("text", ["FROM x", "ONBUILD RUN x", "MAINTAINER x", "RUN a\nRUN b", "NOPE"])
def test_a_trigger_that_is_not_allowed_is_refused_at_the_from(text: str) -> None:
    with pytest.raises(DockerfileError):
        planned("FROM scratch\nRUN x").with_triggers(0, [text])


# --- variables --------------------------------------------------------------------------------------


def env_of(text: str, **options: Any) -> dict[str, str]:
    """What a RUN at the end of the file sees."""
    step = steps(f"{text}\nRUN x", **options)[-1]
    return {name: value for name, value in step.environment.items() if name != "PATH"}


def test_a_global_argument_is_seen_by_from_and_where_it_is_declared_again() -> None:
    text = "ARG v=1 w=$v.2\nFROM a:$w AS x\nRUN a\nARG w\nARG v=own"
    assert planned(text).stage(0).base.name == "a:1.2"
    assert env_of(text) == {"w": "1.2", "v": "own"}
    assert steps(text)[0].environment.get("v") is None


def test_build_arguments_stand_above_defaults() -> None:
    text = "ARG v=1\nFROM a:$v\nARG v\nARG x=y\nARG z"
    assert planned(text, build_args={"v": "2"}).stage(0).base.name == "a:2"
    assert env_of(text, build_args={"v": "2", "x": "", "z": "3", "other": "4"}) == {
        "v": "2",
        "x": "",
        "z": "3",
    }
    assert env_of(text) == {"v": "1", "x": "y"}


def test_a_stage_inherits_the_variables_of_the_stage_below() -> None:
    assert env_of("FROM a AS x\nARG v=1\nENV E=$v\nFROM x\nENV F=$v$E") == {"v": "1", "E": "1", "F": "11"}
    assert env_of("FROM a AS x\nARG v=1\nFROM b") == {}


def test_the_later_of_env_and_arg_counts() -> None:
    assert env_of("FROM a\nARG v=1\nENV v=2") == {"v": "2"}
    assert env_of("FROM a\nENV v=2\nARG v=1") == {"v": "1"}


def test_values_are_those_from_before_the_instruction() -> None:
    assert env_of("FROM a\nENV a=1\nENV a=2 b=$a") == {"a": "2", "b": "1"}


def test_the_base_image_brings_its_environment() -> None:
    config = ContainerConfig(env=("A=1", "PATH=/x"))
    (step,) = steps("FROM a\nENV B=$A PATH=$PATH:/y", {0: config})
    assert isinstance(step.instruction, df.Env)
    assert [pair.value for pair in step.instruction.pairs] == ["1", "/x:/y"]
    assert step.used == {"A", "PATH"}


def test_without_a_path_in_the_image_there_is_a_default() -> None:
    env = last("FROM scratch\nENV PATH=/x:$PATH")
    assert env.pairs[0].value == f"/x:{df.DEFAULT_PATH}"


def test_platform_arguments_are_predefined() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM a AS x\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT\n"
        "ARG BUILDARCH TARGETSTAGE"
    )
    arm = Platform(architecture="arm", variant="v7")
    assert env_of(text, target_platform=arm) == {
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "linux",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
        "BUILDARCH": "amd64",
        "TARGETSTAGE": "x",
    }
    assert planned(text, target_platform=arm).stage(0).platform == AMD64
    assert env_of("FROM a\nARG TARGETARCH", build_args={"TARGETARCH": "mine"}) == {"TARGETARCH": "mine"}
    assert env_of("FROM a") == {}


def test_proxies_are_given_to_every_run_but_are_no_variable_unless_declared() -> None:
    arguments = {"HTTP_PROXY": "http://p", "no_proxy": "x", "other": "y"}
    assert proxy_environment(arguments) == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "x",
        "no_proxy": "x",
    }
    assert env_of("FROM a", build_args=arguments) == {}
    assert env_of("FROM a\nARG HTTP_PROXY", build_args=arguments) == {"HTTP_PROXY": "http://p"}


def test_arguments_for_the_scanner_are_nobodys_environment() -> None:
    assert env_of("FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=true") == {}


@pytest.mark.parametrize(
    ("text", "build_args", "scanned"),
    [
        ("FROM a\nFROM b", {"SCAN": "1"}, []),
        ("ARG SCAN\nFROM a AS one\nFROM one", {"SCAN": "1"}, [0, 1]),
        ("ARG SCAN=true\nFROM a AS one\nARG SCAN=false\nFROM one", {}, [1]),
        ("FROM a AS one\nARG SCAN=true\nFROM one AS two", {}, [0]),
        ("FROM a AS One\nARG SCAN\nFROM one AS two\nARG SCAN", {"SCAN": "one,other"}, [0]),
        ("ARG SCAN=two\nFROM a AS one\nFROM a AS two", {}, [1]),
        ("ARG SCAN=one\nFROM a AS one\nFROM a AS two", {}, []),
    ],
)
def test_stages_are_scanned_as_their_arguments_say(
    text: str, build_args: dict[str, str], scanned: list[int]
) -> None:
    given = {name.replace("SCAN", df.SCAN_STAGE): value for name, value in build_args.items()}
    made = planned(text.replace("SCAN", df.SCAN_STAGE), build_args=given)
    assert list(made.scanned(df.SCAN_STAGE, made.evaluate({}))) == scanned


def test_the_history_of_a_run_tells_the_declared_arguments() -> None:
    step = steps("FROM a\nARG v=1\nARG w\nENV v=2\nRUN x")[-1]
    assert step.build_args == {"v": "2", "w": ""}


def test_only_what_was_read_is_used() -> None:
    text = "FROM a\nARG a=1\nARG b=2\nCOPY $a ${c:-$b} /d"
    assert steps(text)[-1].used == {"a", "b"}


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("COPY $x ${y}z /$x", "sources", ("1", "2 3z")),
        ("COPY --chown=$x --chmod=$x a /$x", "chown", "1"),
        ("COPY --chown=$x --chmod=$x a /$x", "chmod", "1"),
        ("COPY --exclude=$x a /$x", "excludes", ("1",)),
        ('COPY "a" "b/$x"', "destination", "b/1"),
        ("ADD --checksum=$x https://$x/a /b", "checksum", "1"),
        ("ADD --checksum=$x https://$x/a /b", "sources", ("https://1/a",)),
        ('USER $x:"$x"', "user", "1:1"),
        ("WORKDIR /$x/'$x'", "path", "/1/$x"),
        ("VOLUME /$x", "paths", ("/1",)),
        ("STOPSIGNAL $x", "signal", "1"),
        ("EXPOSE 80-82 $x 53/UDP 80", "ports", ("1/tcp", "53/udp", "80/tcp", "81/tcp", "82/tcp")),
        ("EXPOSE $y", "ports", ("2/tcp", "3/tcp")),
        ("EXPOSE 127.0.0.1:8080:80", "ports", ("80/tcp",)),
        ("EXPOSE 0.0.0.0:1-2:81-82/sctp", "ports", ("81/sctp", "82/sctp")),
        ("EXPOSE [::1]:80:80", "ports", ("80/tcp",)),
        ("EXPOSE ::::80", "ports", ("80/tcp",)),
        ("EXPOSE 9000-9001:80", "ports", ("80/tcp",)),
        ("LABEL $x=$y", "pairs", (df.Pair(name="1", value="2 3"),)),
        ("ENV k$x=a\\ b", "pairs", (df.Pair(name="k1", value="a b"),)),
        ('ENV k $y "q"', "pairs", (df.Pair(name="k", value="2 3 q", is_legacy=True),)),
        ("CMD $x", "command", df.Command(words=("$x",), is_shell=True)),
        ('SHELL ["$x"]', "words", ("$x",)),
        (
            "COPY <<E /d\n'$x' \\$x\nE",
            "files",
            (df.InlineFile(path="E", content="'1' $x\n", is_expanded=True),),
        ),
        ("COPY <<'E' /d\n$x\nE", "files", (df.InlineFile(path="E", content="$x\n"),)),
    ],
)
def test_variables_are_replaced_where_the_instruction_wants_it(line: str, field: str, value: object) -> None:
    assert getattr(last(f'FROM a\nARG x=1 y="2 3"\n{line}'), field) == value


def test_the_escape_of_the_file_is_that_of_its_words() -> None:
    text = "# escape=`\nFROM a\nENV D=C:\\x`$y z=`"
    assert [pair.value for pair in last(text).pairs] == ["C:\\x$y", ""]
