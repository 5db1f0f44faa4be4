"""Variables in values; the tables are those of the specification and of compose-go's template_test.go."""

from __future__ import annotations

import pytest

from pycontainer.compose.interpolation import TemplateError, substitute

VARIABLES = {"FOO": "first", "BAR": ""}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("foo", "foo"),
        ("$${foo}", "${foo}"),
        ("$$", "$"),
        ("$FOO-bar", "first-bar"),
        ("This ${missing} var", "This  var"),
        ("This ${BAR} var", "This  var"),
        ("This $FOO var", "This first var"),
        ("This ${FOO} var", "This first var"),
        ("ok ${missing:-def}", "ok def"),
        ("ok ${missing-def}", "ok def"),
        ("ok ${BAR:-def}", "ok def"),
        ("ok ${FOO:-def}", "ok first"),
        ("ok ${BAR-def}", "ok "),
        ("ok ${BAR:-/non:-alphanumeric}", "ok /non:-alphanumeric"),
        ("ok ${UNSET_VAR-$FOO}", "ok first"),
        ("ok ${UNSET_VAR-${FOO}}", "ok first"),
        ("ok ${UNSET_VAR-${FOO} ${FOO}}", "ok first first"),
        ("ok ${BAR:-${missing:-default}}", "ok default"),
        ("ok ${FOO:?err}", "ok first"),
        ("ok ${FOO?err}", "ok first"),
        ("ok ${BAR?err}", "ok "),
        ("${UNSET_VAR-myerror?msg}", "myerror?msg"),
        ("${FOO:+set}", "set"),
        ("${BAR:+set}", ""),
        ("${BAR+set}", "set"),
        ("${missing+set}", ""),
        ("${missing+${other:?never asked for}}", ""),
        ("${FOO:-${other:?never asked for}}", "first"),
    ],
)
def test_variables_are_put_in(template: str, expected: str) -> None:
    assert substitute(template, VARIABLES) == expected


@pytest.mark.parametrize(
    "template", ["${", "$}", "${}", "${ }", "${ foo}", "${foo }", "${foo!}", "${FOO:-a", "$"]
)
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="invalid template"):
        substitute(template, VARIABLES)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${UNSET_VAR:?Mandatory Variable Unset}", "UNSET_VAR is missing a value: Mandatory Variable Unset$"),
        ("${BAR:?Mandatory Variable Empty}", "BAR is missing a value: Mandatory Variable Empty$"),
        ("${UNSET_VAR:?}", "UNSET_VAR is missing a value$"),
        ("${UNSET_VAR?bar-baz}", "UNSET_VAR is missing a value: bar-baz$"),
        (
            "${UNSET_VAR:?Mandatory Variable ${FOO}}",
            "UNSET_VAR is missing a value: Mandatory Variable first$",
        ),
    ],
)
def test_a_required_variable_that_is_missing_is_named(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        substitute(template, VARIABLES)


def test_variables_that_are_not_set_are_told_once_they_are_asked_for() -> None:
    missing: list[str] = []
    substitute("$A ${B} ${C:-default} ${FOO:-$D} $$E", VARIABLES, missing.append)
    assert missing == ["A", "B"]


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(TemplateError, match="nested"):
        substitute("${A:-" * 1000 + "}" * 1000, {})
    with pytest.raises(TemplateError, match="characters"):
        substitute("$A" * 2000, {"A": "x" * 1000})
