"""Build checks find what BuildKit's find, and are chosen as there.

The rules are those of docs.docker.com/reference/build-checks, as moby/buildkit tests them in
frontend/dockerfile/dockerfile_lint_test.go; the Dockerfiles here are our own.
"""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.build.dockerfile import RULES, BuildWarning, parse, plan
from pycontainer.errors import DockerfileError
from pycontainer.oci import ContainerConfig, Platform
from pycontainer.patterns import PatternMatcher

AMD64 = Platform(architecture="amd64")


def found(text: str, *, config: ContainerConfig | None = None, **options: Any) -> list[BuildWarning]:
    made = plan(parse(text), build_platform=AMD64, **options)
    made.evaluate({0: config} if config else {})
    return list(made.checks.warnings)


def shown(text: str, **options: Any) -> list[tuple[str, int, str]]:
    return [(item.rule, item.lines.first, item.message) for item in found(text, **options)]


TARGET = "${TARGETPLATFORM}"
ONLY_LAST = (
    "Multiple {} instructions should not be used in the same stage because only the last one will be used"
)
FINDINGS = {
    "FROM a AS Web": ("StageNameCasing", 1, "Stage name 'Web' should be lowercase"),
    "FROM a as b": ("FromAsCasing", 1, "'as' and 'FROM' keywords' casing do not match"),
    "from a AS b": ("FromAsCasing", 1, "'AS' and 'from' keywords' casing do not match"),
    "FROM a\nRUN x \\\n\n y": ("NoEmptyContinuation", 4, "Empty continuation line"),
    "FROM a\nrun x\nRUN y": (
        "ConsistentInstructionCasing",
        2,
        "Command 'run' should match the case of the command majority (uppercase)",
    ),
    "from a\nRun x\nrun y": (
        "ConsistentInstructionCasing",
        2,
        "Command 'Run' should match the case of the command majority (lowercase)",
    ),
    "FROM a AS x\nFROM b AS x": (
        "DuplicateStageName",
        2,
        'Duplicate stage name "x", stage names should be unique',
    ),
    "FROM a AS context": (
        "ReservedStageName",
        1,
        'Stage name should not use the same name as reserved stage "context"',
    ),
    "FROM a\nCMD x": (
        "JSONArgsRecommended",
        2,
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    ),
    "FROM a\nMAINTAINER me": (
        "MaintainerDeprecated",
        2,
        "Maintainer instruction is deprecated in favor of using label",
    ),
    "FROM a:1$verison": ("UndefinedArgInFrom", 1, "FROM argument 'verison' is not declared"),
    "ARG version\nFROM a:1$verison": (
        "UndefinedArgInFrom",
        2,
        "FROM argument 'verison' is not declared (did you mean version?)",
    ),
    "FROM a\nWORKDIR b/": (
        "WorkdirRelativePath",
        2,
        'Relative workdir "b/" can have unexpected results if the base image changes',
    ),
    "FROM a\nCOPY $from /": ("UndefinedVar", 2, "Usage of undefined variable '$from'"),
    "FROM a\nENV PATH=$PAHT:/x": (
        "UndefinedVar",
        2,
        "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
    ),
    'FROM a\nCMD ["x"]\nRUN y\nCMD ["z"]': (
        "MultipleInstructionsDisallowed",
        2,
        ONLY_LAST.format("CMD"),
    ),
    "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK NONE": (
        "MultipleInstructionsDisallowed",
        2,
        ONLY_LAST.format("HEALTHCHECK"),
    ),
    "FROM a\nLABEL b c": (
        "LegacyKeyValueFormat",
        2,
        '"LABEL key=value" should be used instead of legacy "LABEL key value" format',
    ),
    f"FROM --platform={TARGET} a": (
        "RedundantTargetPlatform",
        1,
        f"Setting platform to predefined {TARGET} in FROM is redundant as this is the default behavior",
    ),
    "FROM a\nENV GIT_TOKEN=x": (
        "SecretsUsedInArgOrEnv",
        2,
        'Do not use ARG or ENV instructions for sensitive data (ENV "GIT_TOKEN")',
    ),
    "FROM a\nARG auth": (
        "SecretsUsedInArgOrEnv",
        2,
        'Do not use ARG or ENV instructions for sensitive data (ARG "auth")',
    ),
    "FROM --platform=linux/arm64 a": (
        "FromPlatformFlagConstDisallowed",
        1,
        'FROM --platform flag should not use constant value "linux/arm64"',
    ),
    "# check=experimental=InvalidDefinitionDescription\n# about something\nARG x\nFROM a": (
        "InvalidDefinitionDescription",
        3,
        "Comment for ARG should follow the format: `# x <description>`",
    ),
    "# check=experimental=all\n# about something\nFROM a AS b": (
        "InvalidDefinitionDescription",
        3,
        "Comment for FROM should follow the format: `# b <description>`",
    ),
    "FROM a\nEXPOSE 80/TCP": (
        "ExposeProtoCasing",
        2,
        "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    ),
    "FROM a\nEXPOSE 127.0.0.1:80:80": (
        "ExposeInvalidFormat",
        2,
        "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
    ),
}


@pytest.mark.parametrize("text", FINDINGS)
def test_a_rule_finds_its_case_and_nothing_else(text: str) -> None:
    assert shown(text) == [FINDINGS[text]]


CLEAN = [
    "FROM scratch AS web\nFROM web",
    "from a as b\nrun x",
    "FROM a\nRUN x \\\n# comment\n y",
    'FROM a\nSHELL ["/bin/bash", "-c"]\nCMD x',
    'FROM a AS b\nSHELL ["/bin/bash", "-c"]\nFROM b\nENTRYPOINT x',
    "ARG v\nFROM a${v}",
    "ARG v\nFROM a${v:-b}",
    "FROM --platform=$BUILDPLATFORM a",
    "FROM --platform=linux/arm64 a AS my_arm64_stage",
    "FROM a AS b\nWORKDIR /c\nFROM b\nWORKDIR d",
    "FROM a\nARG v\nCOPY a$v /",
    "FROM a AS b\nARG v=1\nFROM b\nCOPY $v /",
    "FROM a\nRUN echo $undefined",
    'FROM a AS b\nCMD ["x"]\nFROM b\nCMD ["y"]',
    "FROM a\nENV PUBLIC_KEY=x KEY_FILE=y MONKEY=z token_version=1",
    "# about something\nARG x\nFROM a",
    "# check=experimental=all\n# x is it\nARG x\n# about\n\nFROM a AS b\n# about\nRUN y",
]


@pytest.mark.parametrize("text", CLEAN)
def test_a_rule_finds_nothing_in_what_is_right(text: str) -> None:
    assert shown(text) == []


def test_a_base_that_needs_a_build_argument_is_found() -> None:
    text = "ARG VERSION\nFROM a:$VERSION"
    message = "Default value for ARG a:$VERSION results in empty or invalid base image name"
    assert shown(text, build_args={"VERSION": "1"}) == [("InvalidDefaultArgInFrom", 2, message)]
    assert shown("ARG V=\nFROM a:b$V", build_args={"V": "-1"}) == []


def test_the_shell_of_the_base_image_counts() -> None:
    assert found("FROM a\nCMD x", config=ContainerConfig(shell=("/bin/bash", "-c"))) == []


def test_a_base_image_for_another_platform_is_found() -> None:
    made = plan(parse("FROM a"), build_platform=AMD64)
    made.check_base_platform(0, Platform(architecture="x86_64"))
    assert made.checks.warnings == ()
    made.check_base_platform(0, Platform(architecture="arm64"))
    (only,) = made.checks.warnings
    assert only.message == (
        'Base image a was pulled with platform "linux/arm64", expected "linux/amd64" for current build'
    )


def test_copying_what_is_ignored_is_found_on_request() -> None:
    text = "FROM a AS b\nCOPY x/y z /\nADD x /\nCOPY . /\nFROM a\nCOPY --from=b x /"
    ignored = PatternMatcher(["x"])
    assert shown(text, ignored=ignored, all_stages=True) == []
    request = "# check=skip=all;experimental=CopyIgnoredFile\n"
    assert shown(request + text, ignored=ignored, all_stages=True) == [
        ("CopyIgnoredFile", 3, 'Attempting to Copy file "x/y" that is excluded by .dockerignore'),
        ("CopyIgnoredFile", 4, 'Attempting to Add file "x" that is excluded by .dockerignore'),
    ]
    assert shown(request + text, ignored=PatternMatcher(["x", "!x/y"]), all_stages=True) == []
    assert [line for _, line, _ in shown(request + "FROM a\nCOPY . /", ignored=PatternMatcher(["*"]))] == [3]


TWO = "FROM a as b\ncopy x y\n"  # FromAsCasing, ConsistentInstructionCasing


@pytest.mark.parametrize(
    ("directive", "argument", "expected"),
    [
        ("", None, ["FromAsCasing", "ConsistentInstructionCasing"]),
        ("skip=all", None, []),
        ("skip=FromAsCasing", None, ["ConsistentInstructionCasing"]),
        ("skip=FromAsCasing,ConsistentInstructionCasing;error=true", None, []),
        ("error=false;skip=FromAsCasing", None, ["ConsistentInstructionCasing"]),
        ("skip=all;error=true", None, []),
        ("skip=all // a note", None, []),
        ("skip=all", "skip=FromAsCasing", ["ConsistentInstructionCasing"]),
        ("error=true", "skip=all", []),
    ],
)
def test_the_file_and_a_build_argument_choose_the_rules(
    directive: str, argument: str | None, expected: list[str]
) -> None:
    text = f"# check={directive}\n{TWO}" if directive else TWO
    arguments = {} if argument is None else {"BUILDKIT_DOCKERFILE_CHECK": argument}
    assert [rule for rule, _, _ in shown(text, build_args=arguments)] == expected


def test_a_comment_above_an_instruction_skips_a_rule_there_only() -> None:
    text = "FROM a\n# check=skip=LegacyKeyValueFormat\nENV b c\nENV d e"
    assert [line for _, line, _ in shown(text)] == [4]


def test_findings_can_be_errors() -> None:
    with pytest.raises(DockerfileError) as caught:
        found(f"# check=skip=ConsistentInstructionCasing;error=true\n{TWO}")
    assert caught.value.problem == "lint violation found for rules: FromAsCasing"
    assert caught.value.line == 2


@pytest.mark.parametrize("option", ["skip", "skipp=all", "error=maybe", "a=b;skip=all"])
def test_a_check_option_that_is_not_known_is_an_error(option: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        found(f"# check={option}\nFROM a")
    assert caught.value.line == 1


def test_stages_that_are_not_built_are_looked_at_only_where_all_are() -> None:
    text = "FROM a AS x\nENV b c\nFROM a"
    assert shown(text) == []
    assert [rule for rule, _, _ in shown(text, all_stages=True)] == ["LegacyKeyValueFormat"]


def test_every_rule_is_explained_somewhere() -> None:
    assert RULES["JSONArgsRecommended"].url.endswith("/rule/json-args-recommended/")
    assert RULES["SecretsUsedInArgOrEnv"].url.endswith("/rule/secrets-used-in-arg-or-env/")
    assert RULES["FromAsCasing"].url.endswith("/rule/from-as-casing/")
    assert len(RULES) == 22


def test_an_error_carries_what_was_found_before_it() -> None:
    text = "# check=skip=StageNameCasing\nFROM a AS Web\nMAINTAINER me\nRUN x\nCOPY\nEXPOSE"
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert [(found.rule, found.lines.first) for found in caught.value.warnings] == [
        ("MaintainerDeprecated", 3)
    ]
    with pytest.raises(DockerfileError) as caught:
        plan(parse("FROM a AS Web\nFROM $B"))
    assert [found.rule for found in caught.value.warnings] == [
        "StageNameCasing",
        "InvalidDefaultArgInFrom",
        "UndefinedArgInFrom",
    ]
    with pytest.raises(DockerfileError) as caught:
        plan(parse("FROM a\nENV A=$B\nEXPOSE x")).evaluate({})
    assert [found.rule for found in caught.value.warnings] == ["UndefinedVar"]
