"""Dockerfiles written to cost: each ends in an answer or a refusal, soon and with little memory.

The timeout is far above what any of them takes and far below what it would take if the work grew with a
power of the length.
"""

from __future__ import annotations

import pytest

from pycontainer.build.dockerfile import parse, plan
from pycontainer.build.dockerfile.limits import MAX_FILE, MAX_NESTING
from pycontainer.build.dockerfile.shellword import expand
from pycontainer.errors import DockerfileError
from pycontainer.oci import Platform

pytestmark = pytest.mark.timeout(60)
AMD64 = Platform(architecture="amd64")


def evaluated(text: str) -> None:
    plan(parse(text), build_platform=AMD64).evaluate({})


def refusal(text: str) -> str:
    with pytest.raises(DockerfileError) as caught:
        evaluated(text)
    return caught.value.problem


LONG = 60_000
WIDE = {
    "comments": "#a\n" * LONG + "FROM a",
    "described": "#a\n" * 20_000 + "ARG " + " ".join(f"a{index}" for index in range(8_000)) + "\nFROM a",
    "blank lines": "\n" * LONG + "FROM a",
    "a directive of blanks": f"# syntax = x{' ' * LONG}x\nFROM a",
    "empty continuations": "FROM a\nRUN a \\\n" + "\n" * LONG + "b",
    "continuations": "FROM a\nRUN a \\\n" + "b \\\n" * LONG + "c",
    "flags": "FROM a\nCOPY " + "--exclude=a " * 5_000 + "a b",
    "quotes": "FROM a\nENV A=" + '"\'"' * 20_000,
    "escapes": "FROM a\nENV A=" + "\\" * LONG,
    "redirections": "FROM a\nRUN " + "<" * LONG,
    "dollars": "FROM a\nENV A=" + "$" * LONG,
    "open brackets": "FROM a\nCMD " + "[" * LONG,
    "brackets in strings": 'FROM a\nCMD ["' + '\\"[' * 20_000,
    "open quotes": "FROM a\nCMD [[" + '"\\' * 30_000,
    "objects": "FROM a\nCMD " + '[{"a":' * 10_000,
    "json numbers": "FROM a\nCMD [" + "9" * 50_000,
    "labels": "FROM a\nLABEL " + " ".join(f"a{index}=b" for index in range(7_000)),
    "missing variables": "FROM a\nCOPY " + " ".join(f"$a{index}" for index in range(7_000)) + " b",
    "stages": "FROM a AS s0\n" + "".join(f"FROM s{index} AS s{index + 1}\n" for index in range(2_000)),
    "copies": "FROM a AS s\nFROM b\n" + "COPY --from=s a b\n" * 5_000,
    "arguments": "ARG a0=x\n" + "".join(f"ARG a{i + 1}=$a{i}\n" for i in range(5_000)) + "FROM a$a5000",
    "env and run": "FROM a\n" + "".join(f"ENV a{index}=b\nRUN c\n" for index in range(300)),
}


@pytest.mark.parametrize("text", WIDE.values(), ids=WIDE)
def test_length_costs_no_more_than_its_share(text: str) -> None:
    try:
        evaluated(text)
        shown = ""
    except DockerfileError as error:
        shown = str(error)
    assert len(shown) < 5_000


def test_a_megabyte_is_read() -> None:
    padding = "x" * 60
    lines = "".join(
        f"RUN echo {index} && \\\n   echo $FOO {padding}\nCOPY --link a{index} /b\n" for index in range(9_000)
    )
    assert len(lines) > 1_000_000
    assert len(parse(f"FROM a\n{lines}").stages[0].instructions) == 18_000


def test_more_instructions_than_anyone_writes_are_refused_before_they_are_read() -> None:
    assert "more than 20000 instructions" in refusal("FROM a\n" + "RUN b\n" * 2_000_000)


def test_values_that_double_are_refused() -> None:
    doubling = "".join(f"ENV a{index + 1}=$a{index}$a{index}\n" for index in range(64))
    assert "expands to more than" in refusal(f"FROM a\nENV a0=aaaaaaaa\n{doubling}")
    doubling = doubling.replace("ENV", "ARG")
    assert "expands to more than" in refusal(f"ARG a0=aaaaaaaa\n{doubling}FROM a$a64")


def test_many_long_values_are_refused() -> None:
    text = "FROM a\nENV a=" + "x" * 60_000 + "\nENV a=$a$a$a$a$a$a$a$a\n" + "ENV b=$a c=$a d=$a\n" * 1_000
    assert "expand to more than" in refusal(text)


def test_environments_that_are_copied_for_ever_are_refused() -> None:
    text = "FROM a\n" + "".join(f"ENV a{index}=b\nRUN c\n" for index in range(5_000))
    assert "expand to more than" in refusal(text)


def test_ports_by_the_million_are_refused() -> None:
    assert "expand to more than" in refusal("FROM a\n" + "EXPOSE 0-65535\n" * 1_000)


def test_variables_are_not_nested_without_end() -> None:
    deep = "${a:-" * 10_000 + "}" * 10_000
    assert "nested deeper" in refusal(f"FROM a\nENV A={deep}")
    allowed = "${a:-" * MAX_NESTING + "x" + "}" * MAX_NESTING
    assert expand(allowed, {}).text == "x"


def test_triggers_are_not_nested_without_end() -> None:
    assert "Chaining ONBUILD" in refusal("FROM a\n" + "ONBUILD " * 8_000 + "RUN x")


@pytest.mark.parametrize(
    "word",
    [
        "${v#" + "*a" * 5_000 + "b}",
        "${v##" + "*a" * 5_000 + "b}",
        "${v%%b" + "*a" * 5_000 + "}",
        "${v//" + "*a" * 5_000 + "b/c}",
        "${v//b" + "a" * 5_000 + "/c}",
        "${v//" + "a" * 5_000 + "*" + "b/c}",
        "${v//?*?*?*b/c}",
    ],
)
def test_a_pattern_costs_no_more_than_its_share(word: str) -> None:
    value = "a" * 500_000
    assert expand(word, {"v": value}).text == value


def test_a_pattern_that_is_too_long_for_its_value_is_refused() -> None:
    assert "too long for its value" in refusal(
        f"FROM a\nENV v={'a' * 60_000}\nENV w=${{v//{'?' * 2_000}b/c}}"
    )


def test_a_replacement_that_grows_is_refused() -> None:
    assert "more than" in refusal(f"FROM a\nENV v={'a' * 50_000} w={'b' * 10_000}\nENV x=${{v//a/$w}}")
    assert expand("${v//a/bb}", {"v": "a" * 1000}).text == "b" * 2000


def test_a_file_or_instruction_that_is_too_long_is_refused() -> None:
    with pytest.raises(DockerfileError, match="not read"):
        parse("#" * (MAX_FILE + 1))
    assert "not read" in refusal("FROM a\nRUN a \\\n" + f"{'b' * 60_000} \\\n" * 20)
    assert "more than" in refusal("FROM a\n" * 10_001)
