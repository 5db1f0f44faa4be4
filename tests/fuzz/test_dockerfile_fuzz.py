"""Damaged Dockerfiles and ignore files: a plan or an error with a place, nothing else, and always soon."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycontainer.build.dockerfile import parse, plan
from pycontainer.errors import DockerfileError, InvalidInput
from pycontainer.oci import ContainerConfig, Platform
from pycontainer.patterns import PatternMatcher, read_patterns

pytestmark = pytest.mark.fuzz

SEED = r"""# syntax=docker/dockerfile:1
# check=skip=StageNameCasing;experimental=all
ARG VERSION=1.2 SUFFIX=${VERSION%.*}
FROM --platform=$BUILDPLATFORM alpine:${VERSION:-latest} AS base
# TOKEN is secret
ARG TOKEN VERSION
ENV PATH=/x:$PATH A="b \"c\"" D='e $f'
ENV OLD form
ONBUILD COPY <<E /d
$x
E
RUN --mount=type=cache,target=/c/$VERSION,sharing=locked,mode=0700 \
    --mount=type=secret,id=s,env=T --network=none a && \
  # no text
  b <<-'X' 3<<Y
	x
	X
y
Y
FROM base AS out
COPY --from=base --chown=1:2 --chmod=u+x --exclude=*.o ["a b", "/c"]
ADD --checksum=sha256:0 --unpack=true https://x/${A/b/c} ${D//\//_}
HEALTHCHECK --interval=1m30s --retries=3 CMD ["a"]
EXPOSE 80 8000-8010/udp 127.0.0.1:1:2
VOLUME ["/a", "/b"]
USER a:b
WORKDIR rel/$A
STOPSIGNAL SIGTERM
SHELL ["/bin/bash", "-c"]
CMD a
"""
PIECES = [
    *(
        "\\",
        "\\\n",
        "\n",
        "\r\n",
        "`",
        "$",
        "${",
        "}",
        "${a:-",
        "${a##*",
        "//",
        "'",
        '"',
        "<<",
        "<<E\n",
        "<<-",
    ),
    *(
        "[",
        "]",
        '["',
        '"]',
        ",",
        "=",
        ":",
        "#",
        "# escape=`\n",
        "--",
        "--x=",
        " ",
        "\t",
        "\0",
        "\ufeff",
        "\x85",
    ),
    *(
        "é",
        "\ud800",
        "ONBUILD ",
        "FROM ",
        "RUN ",
        "ENV ",
        "AS ",
        "COPY --from=",
        "99999999999",
        "-1",
        "%",
        "*",
    ),
]


@st.composite
def damaged(draw: st.DrawFn, seed: str) -> str:
    text = seed
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(text)))
        end = min(at + draw(st.integers(0, 40)), len(text))
        change = draw(st.sampled_from(["insert", "insert", "cut", "copy", "move"]))
        if change == "insert":
            text = text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
        elif change == "cut":
            text = text[:at] + text[end:]
        else:
            to = draw(st.integers(0, len(text)))
            rest = text if change == "copy" else text[:at] + text[end:]
            text = rest[:to] + text[at:end] + rest[to:]
    return text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(SEED))
def test_a_damaged_dockerfile_gives_a_plan_or_an_error_with_a_place(text: str) -> None:
    config = ContainerConfig(env=("X=1",), on_build=("ENV Y=$X",))
    problem, line = "none", 0
    try:
        made = plan(parse(text), build_platform=Platform(architecture="amd64"), build_args={"TOKEN": "t"})
        for planned in made.stages:
            if planned.base.kind == "image":
                made = made.with_triggers(planned.index, config.on_build)
        made.evaluate({planned.index: config for planned in made.stages})
    except DockerfileError as error:
        problem, line = error.problem, error.line
    assert problem
    assert 0 <= line <= text.count("\n") + 1


@settings(max_examples=150, deadline=None)
@given(damaged("# c\n*.py[co]\n!keep/**/x\n**/node_modules\n/a\\*b/[^a-z]?\n! b \n"), st.text(max_size=30))
def test_a_damaged_ignore_file_gives_an_answer_or_an_error(text: str, path: str) -> None:
    try:
        chosen = PatternMatcher(read_patterns(text))
    except InvalidInput:
        return
    is_out, state = chosen.along(path)
    assert is_out == chosen.matches(path)
    assert chosen.can_skip(path, state) in {True, False}
